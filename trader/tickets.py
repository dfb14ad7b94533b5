"""A person's orders at the control socket: what is asked, and what is answered (docs/trader.md). Pure."""

from collections.abc import Iterable, Mapping
from typing import Final

from bus.protocol.answers import Refusal
from bus.protocol.messages import convert_map
from bus.trading import reasons
from bus.trading.shapes import (
    AdoptCommand,
    ByHandAnswer,
    ByHandCommand,
    CancelCommand,
    CloseCommand,
    ConfirmCommand,
    FlattenCommand,
    LeftPosition,
    PrepareCommand,
    TicketAnswer,
    TicketRow,
)
from markets.book import NO, YES
from markets.errors import BadRecord, DecodeError
from markets.units import PRICE_ONE_E4, format_count, format_money, format_price, parse_decimal
from trader.engine.asks import Adopt, AnyAsk, CancelOrder, ClosePosition, Confirm, Flatten, Prepare, Ticket
from trader.engine.outputs import AnyOutput, Cancel, Confirmed, Place, Prepared, Undone

from .flatten import Left
from .manual import ManualCommand

BY_HAND_OPS: Final[Mapping[str, tuple[str, ...]]] = {
    "prepare": ("ticker", "side", "count_fp", "price_dollars", "rest_seconds"),
    "confirm": ("ticket",),
    "cancel": ("number",),
    "close": ("ticker", "price_dollars"),
    "flatten": (),
    "adopt": ("lines", "word"),
}
"""Each operation and its parameters."""

_COMMANDS: Final[Mapping[str, type[ByHandCommand]]] = {
    "prepare": PrepareCommand,
    "confirm": ConfirmCommand,
    "cancel": CancelCommand,
    "close": CloseCommand,
    "flatten": FlattenCommand,
    "adopt": AdoptCommand,
}


def ask_of(op: str, question: Mapping[str, object]) -> AnyAsk:
    """Return what a question asks of the engine.

    Raises:
        Refusal: a parameter is missing or wrong; it is named.
    """
    try:
        return _ask(convert_map({**question, "op": op}, _COMMANDS[op]))
    except (BadRecord, DecodeError) as error:
        raise Refusal("bad_request", str(error)) from None


def _ask(command: ByHandCommand) -> AnyAsk:
    match command:
        case PrepareCommand():
            return Prepare(
                ticker=command.ticker,
                side=command.side,
                count_e2=parse_decimal(command.count_fp, 2, "count_fp"),
                price_e4=_price_e4(command.price_dollars),
                rest_ms=None if command.rest_seconds is None else command.rest_seconds * 1000,
            )
        case ConfirmCommand():
            return Confirm(command.ticket)
        case CancelCommand():
            return CancelOrder(command.number)
        case CloseCommand():
            least = command.price_dollars
            return ClosePosition(command.ticker, None if least is None else _price_e4(least))
        case FlattenCommand():
            return Flatten(1)
        case AdoptCommand():
            return Adopt(command.lines)


def answer_of(state: str, command: ManualCommand) -> TicketAnswer | ByHandAnswer:
    """Return what came of it, once the engine has taken it.

    Raises:
        Refusal: no ticket could be made, or nothing can be written down now.
    """
    outputs = command.outputs
    if state == reasons.HALTED and not outputs:
        raise Refusal("not_ready", f"{command.op}: {reasons.why_refused(state)}: nothing is done")
    undone = [output for output in outputs if isinstance(output, Undone)]
    if isinstance(command.ask, Prepare):
        for output in outputs:
            if isinstance(output, Prepared):
                return TicketAnswer(state=state, ticket=ticket_row(output.ticket))
        because = undone[0].reason if undone else reasons.ERROR
        raise Refusal("bad_request", f"{command.ask.ticker}: {reasons.why_refused(because)}")
    orders = tuple(_orders(outputs))
    flattens = isinstance(command.ask, Flatten)
    refused = None if orders or flattens or not undone else undone[0].reason
    return ByHandAnswer(
        state=state,
        orders=orders,
        refused=refused,
        why=None if refused is None else reasons.why_refused(refused),
        left=tuple(
            left_position(Left(one.subject, one.count_e2, one.reason)) for one in undone if one.count_e2
        ),
    )


def _orders(outputs: Iterable[AnyOutput]) -> Iterable[int]:
    for output in outputs:
        match output:
            case Confirmed():
                yield output.order
            case Cancel():
                yield output.number
            case Place() if output.intent.attempt:  # what is confirmed is named by its ticket
                yield output.intent.number
            case _:
                pass


def left_position(left: Left) -> LeftPosition:
    """Return what stays of a position."""
    return LeftPosition(ticker=left.ticker, count_fp=format_count(left.count_e2), reason=left.reason)


def ticket_row(ticket: Ticket) -> TicketRow:
    """Return a ticket as it is answered."""
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


def _price_e4(text: str) -> int:
    return parse_decimal(f"0{text.removeprefix('0')}", 4, "price_dollars")
