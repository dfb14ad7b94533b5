"""`kalshi-bus trader prepare | confirm | adopt`: a person's own orders, from the shell."""

import argparse
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any, Final, Protocol

import msgspec

from bus.ask import Asker, NoAnswer
from bus.process.lifecycle import EXIT_CRASHED, EXIT_REFUSED
from bus.process.programs import explain_each, to_type
from bus.process.settings import Settings
from bus.protocol.answers import Refusal
from bus.trading.gateway import AccountAnswer, AccountAsk
from bus.trading.reasons import NO_DRIFT, why_refused
from bus.trading.shapes import (
    AdoptCommand,
    AnyTicketRow,
    ByHandAnswer,
    ByHandCommand,
    CancelTicketRow,
    ConfirmCommand,
    FlattenTicketRow,
    PrepareCancelCommand,
    PrepareCommand,
    PrepareFlattenCommand,
    PrepareSaleCommand,
    SaleRow,
    SaleTicketRow,
    ShownOrderRow,
    TicketAnswer,
    TicketRow,
    TraderStatus,
    told,
)
from markets.errors import BadRecord, DecodeError
from markets.units import format_price, parse_count_e2, parse_price_e4
from trader.journal.reader import Reader, readable

from .opening import newest_journal

ADOPT: Final = "ADOPT"
TIMEOUT_MS: Final = 3_000
ACCOUNT_MS: Final = 12_000
POLL_S: Final = 0.5
POLLS: Final = 240


class SubParsers(Protocol):
    """What argparse's `add_subparsers` returns."""

    def add_parser(self, name: str, **options: Any) -> argparse.ArgumentParser: ...


def add_parsers(commands: SubParsers) -> None:
    """Add these commands to the command line."""
    prepare = commands.add_parser("prepare", help="make a ticket that says what would be done; does nothing")
    what = prepare.add_subparsers(dest="what", required=True)
    buy = what.add_parser("buy", help="buy contracts of a market")
    buy.add_argument("ticker", help="of the market")
    buy.add_argument("side", choices=("yes", "no"), help="what to buy")
    buy.add_argument("count", help="whole contracts")
    buy.add_argument("limit", help="the highest price, in dollars: 0.43")
    buy.add_argument("--rest", type=int, metavar="SECONDS", help="let the part not filled at once rest")
    sell = what.add_parser("sell", help="sell a position")
    sell.add_argument("ticker", help="of the market")
    sell.add_argument("count", nargs="?", help="whole contracts; all if left out")
    sell.add_argument("--limit", help="the lowest price of the side held, in dollars")
    what.add_parser("cancel", help="cancel an order").add_argument(
        "number", type=int, help="of the order, whoever placed it"
    )
    what.add_parser("flatten", help="pause, cancel everything, sell everything, prove it")
    explain_each(what)
    confirm = commands.add_parser("confirm", help="do what a ticket says, within 60 s")
    confirm.add_argument("ticket", type=int, help="the number that prepare printed")
    adopt = commands.add_parser("adopt", help=f"show unexplained differences (drift); adopt {ADOPT} accepts")
    adopt.add_argument("word", nargs="?", default="", help=f"{ADOPT}, to accept what is shown without it")


def by_hand(settings: Settings, parsed: argparse.Namespace, context: Any) -> int:
    """Carry out one of these commands; return the exit code: 0 done, 1 no answer or not all, 2 refused.

    Raises:
        Refusal: the trader refuses. NoAnswer: it does not answer. DecodeError: its answer makes no sense.
        BadRecord: an argument is wrong; the message names it.
    """

    def ask(question: dict[str, Any], timeout_ms: int = TIMEOUT_MS) -> Mapping[str, object]:
        with closing(Asker(context, settings.trader_control)) as asker:
            return asker.ask(question, timeout_ms)

    if parsed.command == "adopt":
        return adopt(ask, parsed.word)
    question = msgspec.to_builtins(_command(parsed))
    if parsed.command == "prepare":
        ticket = told(ask(question), TicketAnswer).ticket
        print("\n".join(ticket_lines(ticket)))
        return EXIT_REFUSED if ticket.refused else 0
    answer = told(ask(question), ByHandAnswer)
    for number in answer.orders:
        print(f"order {number}")
    for left in answer.left:
        print(f"{left.ticker}: {left.count_fp} contracts stay: {why_refused(left.reason)} ({left.reason})")
    if answer.refused is not None:
        print(f"not done: {answer.why} ({answer.refused})")
        return EXIT_REFUSED
    if answer.flattening is not None:
        return _watch_flatten(settings, ask, context, answer.flattening)
    return EXIT_CRASHED if answer.left else 0


def adopt(ask: Callable[[dict[str, Any]], Mapping[str, object]], word: str) -> int:
    """Show the lines of drift; accept them if the word is given; return the exit code."""
    account = told(ask({"op": "status"}), TraderStatus).exchange_account
    lines = () if account is None else account.drift
    for line in lines:
        print(line)
    if not lines:
        print(f"nothing to adopt: {why_refused(NO_DRIFT)}")
        return EXIT_CRASHED
    if word != ADOPT:
        print(f"to book what the exchange has as external, and trade on: adopt {ADOPT}")
        return EXIT_REFUSED
    answer = told(ask(msgspec.to_builtins(AdoptCommand(lines=lines, word=ADOPT))), ByHandAnswer)
    if answer.refused is not None:
        print(f"not done: {answer.why} ({answer.refused})")
        return EXIT_REFUSED
    print("adopted: the journal now has what the exchange lists")
    return 0


def _command(parsed: argparse.Namespace) -> ByHandCommand:
    if parsed.command == "confirm":
        return ConfirmCommand(ticket=parsed.ticket)
    match parsed.what:
        case "buy":
            return PrepareCommand(
                ticker=parsed.ticker,
                side=parsed.side,
                count_fp=_count(parsed.count),
                price_dollars=_price(parsed.limit),
                rest_seconds=None if parsed.rest is None else _rest(parsed.rest),
            )
        case "sell":
            return PrepareSaleCommand(
                ticker=parsed.ticker,
                count_fp=None if parsed.count is None else _count(parsed.count),
                price_dollars=None if parsed.limit is None else _price(parsed.limit),
            )
        case "cancel":
            return PrepareCancelCommand(number=parsed.number)
        case _:
            return PrepareFlattenCommand()


def _count(text: str) -> str:
    count_e2 = parse_count_e2(text)
    if count_e2 % 100 or not count_e2:
        raise BadRecord("count", text, "whole contracts, one or more")
    return str(count_e2 // 100)


def _rest(seconds: int) -> int:
    if not 1 <= seconds <= 86_400:
        raise BadRecord("--rest", seconds, "whole seconds, 1 to 86400")
    return seconds


def _price(text: str) -> str:
    price_e4 = parse_price_e4(f"0{text}" if text.startswith(".") else text, "limit")
    if not 0 < price_e4 < 10_000:
        raise BadRecord("limit", text, "a price above 0 and below 1 dollar")
    return format_price(price_e4)


def ticket_lines(ticket: AnyTicketRow) -> list[str]:
    """Return a ticket as text for people."""
    lines = [f"ticket {ticket.number}"]
    match ticket:
        case TicketRow():
            lines += _buy_lines(ticket)
        case SaleTicketRow():
            lines += _sale_lines(ticket.sale)
            lines.append(
                f"worst case of the event: {ticket.worst_before_dollars} now,"
                f" {ticket.worst_after_dollars} after the sale"
            )
        case CancelTicketRow():
            lines.append(f"cancel {_order_line(ticket.order)}")
            ahead = "not known" if ticket.ahead_fp is None else f"{ticket.ahead_fp} contracts are ahead of it"
            lines.append(f"place in the queue: {ahead}")
        case FlattenTicketRow():
            lines.append(f"pause, cancel {len(ticket.orders)} orders, sell {len(ticket.sales)} positions")
            lines += [f"cancel {_order_line(order)}" for order in ticket.orders]
            for sale in ticket.sales:
                lines += _sale_lines(sale)
            lines.append(
                f"in total: brings {ticket.brings_dollars}, fees {ticket.fees_dollars}, realises"
                f" {ticket.realised_dollars}, against settlement"
                f" {ticket.against_settlement_dollars or 'not known'}"
            )
            lines.append(
                f"worst case of all events: {ticket.worst_before_dollars} now,"
                f" {ticket.worst_after_dollars} after the sales"
            )
    if isinstance(ticket, FlattenTicketRow) and ticket.refused is not None:
        lines.append(f"risk lets nothing be sold now: {ticket.why} ({ticket.refused})")
        again = f"within 60 s, {to_type('trader confirm')} {ticket.number}"
        lines.append(f"to pause and cancel all the same, and try for 90 s: {again}")
    elif ticket.refused is None:
        lines.append(f"risk allows it; to do it within 60 s: {to_type('trader confirm')} {ticket.number}")
    else:
        lines.append(f"risk refuses it now: {ticket.why} ({ticket.refused})")
    return lines


def _buy_lines(ticket: TicketRow) -> list[str]:
    rests = "the rest is cancelled at once"
    if ticket.rest_seconds is not None:
        rests = f"the rest waits in the book for at most {ticket.rest_seconds} s"
    best = "nobody offers now" if ticket.best_dollars is None else f"best price now {ticket.best_dollars}"
    return [
        f"buy {ticket.count_fp} {ticket.side.upper()} of {ticket.ticker} at {ticket.price_dollars} or better",
        f"{best}; {ticket.fillable_fp} would be filled at once, {rests}",
        f"cost {ticket.cost_dollars}, fees {ticket.fees_dollars}",
        f"worst case {ticket.worst_dollars}: the most it can cost, all of which can be lost",
        f"pays {ticket.payout_dollars} if {ticket.side.upper()}",
    ]


def _sale_lines(sale: SaleRow) -> list[str]:
    what, why = f"{sale.side.upper()} of {sale.ticker}", f"{sale.why} ({sale.refused})"
    if sale.price_dollars is None:
        return [f"sell none of {sale.held_fp} {what}: {why}"]
    best = "nobody bids now" if sale.best_dollars is None else f"best bid now {sale.best_dollars}"
    if not float(sale.count_fp):
        return [
            f"sell none of {sale.held_fp} {what} now: {why}; later at {sale.price_dollars} or better; {best}"
        ]
    settlement = sale.settlement_dollars or "not known"
    against = sale.against_settlement_dollars or "not known"
    lines = [
        f"sell {sale.count_fp} {what} at {sale.price_dollars} or better; {best}",
        f"brings {sale.brings_dollars}, fees {sale.fees_dollars}, cost {sale.cost_dollars} with fees",
        f"realises {sale.realised_dollars} against cost, {against} against settlement ({settlement})",
    ]
    if float(sale.left_fp):
        lines.append(f"{sale.left_fp} stay" + (f": {why}" if sale.refused is not None else ""))
    return lines


def _order_line(order: ShownOrderRow) -> str:
    return (
        f"order {order.number}: {order.side.upper()} of {order.ticker} at {order.price_dollars};"
        f" {order.filled_fp} of {order.count_fp} filled; {order.rests_fp} rest, for which"
        f" {order.frees_dollars} is reserved"
    )


def _watch_flatten(
    settings: Settings,
    ask: Callable[[dict[str, Any]], Mapping[str, object]],
    context: Any,
    number: int,
    wait: Callable[[float], None] = time.sleep,
) -> int:
    """Print its progress until it is over, then check that the exchange says the same."""
    said, now = None, None
    for _ in range(POLLS):
        status = told(ask({"op": "status"}), TraderStatus)
        now = status.flatten
        if now is None or now.number < number:  # the status is older than the flattening
            wait(POLL_S)
            continue
        line = f"round {now.rounds}: {now.open_orders} orders open, {len(now.left)} positions left"
        if line != said:
            said = line
            print(line)
        if now.state != "works":
            break
        wait(POLL_S)
    if now is None or now.number < number:
        print("the trader has restarted meanwhile: prepare flatten again")
        return EXIT_CRASHED
    for left in now.left:
        print(f"{left.ticker}: {left.count_fp} contracts stay: {why_refused(left.reason)} ({left.reason})")
    if now.state != "flat":
        print(f"NOT FLAT: {now.open_orders} orders open, {len(now.left)} positions left; trading is paused")
        return EXIT_CRASHED
    print(f"flat: nothing is held or ordered; {now.cancelled} orders cancelled, {now.sent} sales sent")
    proven = settings.mode == "paper" or _prove(settings, context)
    print(f"trading is paused until: {to_type('trader resume')}")
    return 0 if proven else EXIT_CRASHED


def _prove(settings: Settings, context: Any) -> bool:
    """Whether the exchange itself lists no order and no position."""
    path = newest_journal(settings.data_dir, settings.mode, settings.env)
    with readable(path), closing(Reader(path)) as reader:
        journal = reader.meta()["id"]
    try:
        with closing(Asker(context, settings.orders)) as asker:
            question = msgspec.to_builtins(AccountAsk(journal=journal))
            listed = told(asker.ask(question, ACCOUNT_MS), AccountAnswer)
    except (NoAnswer, Refusal, DecodeError) as error:
        print(f"NOT PROVEN: the exchange could not be asked: {error}")
        return False
    ours = [order for order in listed.orders if order.number is not None]
    held = [position for position in listed.positions if position.signed_e2]
    for order in ours:
        print(f"the exchange lists order {order.number} ({order.ticker})")
    for position in held:
        print(f"the exchange lists a position in {position.ticker}: {position.signed_e2 / 100:.2f}")
    if ours or held or listed.missing:
        print(f"NOT PROVEN{': no answer for: ' + ', '.join(listed.missing) if listed.missing else ''}")
        return False
    print("proven: the exchange lists no order of ours and no position")
    return True
