"""A person's orders at the control socket: from questions to asks, and to answers (docs/trader.md). Pure."""

from collections.abc import Iterable, Mapping
from typing import Final

from bus.protocol.answers import Refusal
from bus.trading import reasons
from bus.trading.asked import asked
from bus.trading.shapes import (
    PREPARES,
    AdoptCommand,
    AnyTicketRow,
    ByHandAnswer,
    ByHandCommand,
    CancelTicketRow,
    ConfirmCommand,
    FlattenTicketRow,
    LeftPosition,
    PrepareCancelCommand,
    PrepareCommand,
    PrepareFlattenCommand,
    PrepareSaleCommand,
    SaleRow,
    SaleTicketRow,
    ShownOrderRow,
    TicketAnswer,
    TicketRow,
)
from markets.book import NO, YES
from markets.errors import BadRecord
from markets.units import PRICE_ONE_E4, format_count, format_money, format_price, parse_decimal
from trader.engine.asks import (
    Adopt,
    AnyAsk,
    AnyPrepare,
    AnyTicket,
    CancelTicket,
    Confirm,
    Prepare,
    PrepareCancel,
    PrepareFlatten,
    PrepareSale,
    Sale,
    SaleTicket,
    ShownOrder,
    Ticket,
)
from trader.engine.outputs import (
    AnyOutput,
    Cancel,
    CancelPrepared,
    Confirmed,
    FlattenConfirmed,
    FlattenPrepared,
    Place,
    Prepared,
    SalePrepared,
    Undone,
)

from .flatten import Left
from .manual import ManualCommand

BY_HAND_OPS: Final[Mapping[str, tuple[str, ...]]] = {
    "prepare": ("what", "ticker", "side", "count_fp", "price_dollars", "rest_seconds", "number"),
    "confirm": ("ticket",),
    "adopt": ("lines", "word"),
}
"""Each operation and its parameters."""


def ask_of(op: str, question: Mapping[str, object]) -> AnyAsk:
    """Return what a question asks of the engine.

    Raises:
        Refusal: a parameter is missing or wrong; the message names it.
    """
    command: type[ByHandCommand]
    if op == "prepare":
        what = question.get("what", "buy")
        found = PREPARES.get(what) if isinstance(what, str) else None
        if found is None:
            raise Refusal("bad_request", f"what: got {what!r:.50}, expected one of {', '.join(PREPARES)}")
        for name in BY_HAND_OPS[op]:
            if name in question and name not in found.__struct_fields__:
                raise Refusal("bad_request", f"{name}: not a parameter of prepare {what}")
        command = found
    else:
        command = ConfirmCommand if op == "confirm" else AdoptCommand
    try:
        return _ask(asked({**question, "op": op}, command))
    except BadRecord as error:
        raise Refusal("bad_request", str(error)) from None


def _ask(command: ByHandCommand) -> AnyAsk:
    match command:
        case PrepareCommand():
            return Prepare(
                ticker=command.ticker,
                side=command.side,
                count_e2=_count_e2(command.count_fp),
                price_e4=_price_e4(command.price_dollars),
                rest_ms=None if command.rest_seconds is None else command.rest_seconds * 1000,
            )
        case PrepareSaleCommand():
            count, least = command.count_fp, command.price_dollars
            return PrepareSale(
                command.ticker,
                None if count is None else _count_e2(count),
                None if least is None else _price_e4(least),
            )
        case PrepareCancelCommand():
            return PrepareCancel(command.number)
        case PrepareFlattenCommand():
            return PrepareFlatten()
        case ConfirmCommand():
            return Confirm(command.ticket)
        case AdoptCommand():
            return Adopt(command.lines)


def answer_of(state: str, command: ManualCommand) -> TicketAnswer | ByHandAnswer:
    """Return the answer to a command that the engine has taken.

    Raises:
        Refusal: no ticket could be made, or the journal takes nothing now.
    """
    outputs = command.outputs
    if state == reasons.HALTED and not outputs:
        raise Refusal("not_ready", f"{command.op}: {reasons.why_refused(state)}: nothing is done")
    undone = [output for output in outputs if isinstance(output, Undone)]
    if isinstance(command.ask, AnyPrepare):
        for output in outputs:
            if isinstance(output, Prepared | SalePrepared | CancelPrepared | FlattenPrepared):
                return TicketAnswer(state=state, ticket=ticket_row(output.ticket))
        because = undone[0].reason if undone else reasons.ERROR
        subject = undone[0].subject if undone else command.op
        raise Refusal("bad_request", f"{subject}: {reasons.why_refused(because)}")
    orders = tuple(dict.fromkeys(_orders(outputs)))
    flattens = any(isinstance(output, FlattenConfirmed) for output in outputs)
    refused = None if orders or flattens or not undone else undone[0].reason
    return ByHandAnswer(
        state=state,
        orders=orders,
        refused=refused,
        why=None if refused is None else reasons.why_refused(refused),
        left=tuple(
            left_position(Left(one.subject, one.count_e2, one.reason)) for one in undone if one.count_e2
        ),
        flattening=command.flattening,
    )


def _orders(outputs: Iterable[AnyOutput]) -> Iterable[int]:
    for output in outputs:
        match output:
            case Confirmed():
                yield output.order
            case Cancel():
                yield output.number
            case Place() if output.intent.attempt:  # a confirmed order is yielded by Confirmed
                yield output.intent.number
            case _:
                pass


def left_position(left: Left) -> LeftPosition:
    """Return what is left of a position, in the answer's shape."""
    return LeftPosition(ticker=left.ticker, count_fp=format_count(left.count_e2), reason=left.reason)


def ticket_row(ticket: AnyTicket) -> AnyTicketRow:
    """Return a ticket in the answer's shape."""
    valid_until = ticket.valid_until_ms / 1000
    if isinstance(ticket, CancelTicket):
        return CancelTicketRow(
            number=ticket.number,
            order=_order_row(ticket.order),
            ahead_fp=None if ticket.ahead_e2 is None else format_count(ticket.ahead_e2),
            ahead_as_of=None if ticket.ahead_ms is None else ticket.ahead_ms / 1000,
            valid_until=valid_until,
        )
    if isinstance(ticket, SaleTicket):
        return SaleTicketRow(
            number=ticket.number,
            sale=_sale_row(ticket.sale),
            worst_before_dollars=format_money(ticket.worst_before_e6),
            worst_after_dollars=format_money(ticket.worst_after_e6),
            valid_until=valid_until,
            refused=ticket.reason or None,
            why=reasons.why_refused(ticket.reason) if ticket.reason else None,
        )
    if isinstance(ticket, Ticket):
        return _buy_row(ticket)
    against = [sale.against_settlement_e6 for sale in ticket.sales if sale.count_e2]
    known = [one for one in against if one is not None]
    refused = None
    if not any(sale.count_e2 for sale in ticket.sales):
        refused = next((sale.reason for sale in ticket.sales if sale.price_e4 is not None), None)
    return FlattenTicketRow(
        number=ticket.number,
        orders=tuple(map(_order_row, ticket.orders)),
        sales=tuple(map(_sale_row, ticket.sales)),
        brings_dollars=format_money(sum(sale.brings_e6 for sale in ticket.sales)),
        fees_dollars=format_money(sum(sale.fees_e6 for sale in ticket.sales)),
        realised_dollars=format_money(sum(sale.realised_e6 for sale in ticket.sales)),
        against_settlement_dollars=format_money(sum(known)) if len(known) == len(against) else None,
        worst_before_dollars=format_money(ticket.worst_before_e6),
        worst_after_dollars=format_money(ticket.worst_after_e6),
        valid_until=valid_until,
        refused=refused,
        why=None if refused is None else reasons.why_refused(refused),
    )


def _buy_row(ticket: Ticket) -> TicketRow:
    return TicketRow(
        number=ticket.number,
        ticker=ticket.ticker,
        event_ticker=ticket.event_ticker,
        label=ticket.label,
        side=YES if ticket.side == YES else NO,
        count_fp=format_count(ticket.count_e2),
        price_dollars=format_price(ticket.price_e4),
        best_dollars=None if ticket.best_e4 is None else format_price(ticket.best_e4),
        fillable_fp=format_count(ticket.fillable_e2),
        cost_dollars=format_money(ticket.cost_e6),
        fees_dollars=format_money(ticket.fees_e6),
        worst_dollars=format_money(ticket.worst_e6),
        payout_dollars=format_money(ticket.count_e2 * PRICE_ONE_E4),
        rest_seconds=None if ticket.rest_ms is None else ticket.rest_ms // 1000,
        valid_until=ticket.valid_until_ms / 1000,
        refused=ticket.reason or None,
        why=reasons.why_refused(ticket.reason) if ticket.reason else None,
    )


def _sale_row(sale: Sale) -> SaleRow:
    against_e6 = sale.against_settlement_e6
    return SaleRow(
        ticker=sale.ticker,
        event_ticker=sale.event_ticker,
        label=sale.label,
        side=YES if sale.side == YES else NO,
        held_fp=format_count(sale.held_e2),
        count_fp=format_count(sale.count_e2),
        left_fp=format_count(sale.held_e2 - sale.count_e2),
        best_dollars=None if sale.best_e4 is None else format_price(sale.best_e4),
        price_dollars=None if sale.price_e4 is None else format_price(sale.price_e4),
        brings_dollars=format_money(sale.brings_e6),
        fees_dollars=format_money(sale.fees_e6),
        cost_dollars=format_money(sale.cost_e6),
        realised_dollars=format_money(sale.realised_e6),
        settlement_dollars=None if sale.settlement_e6 is None else format_money(sale.settlement_e6),
        against_settlement_dollars=None if against_e6 is None else format_money(against_e6),
        expected_from=sale.sources,
        refused=sale.reason or None,
        why=reasons.why_refused(sale.reason) if sale.reason else None,
    )


def _order_row(order: ShownOrder) -> ShownOrderRow:
    return ShownOrderRow(
        number=order.number,
        ticker=order.ticker,
        event_ticker=order.event_ticker,
        label=order.label,
        side=YES if order.side == YES else NO,
        price_dollars=format_price(order.price_e4),
        count_fp=format_count(order.count_e2),
        filled_fp=format_count(order.filled_e2),
        rests_fp=format_count(order.count_e2 - order.filled_e2),
        frees_dollars=format_money(order.frees_e6),
    )


def _count_e2(text: str) -> int:
    return parse_decimal(text, 2, "count_fp")


def _price_e4(text: str) -> int:
    return parse_decimal(f"0{text.removeprefix('0')}", 4, "price_dollars")
