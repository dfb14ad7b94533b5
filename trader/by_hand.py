"""`python -m trader prepare | confirm | cancel | close | flatten`: a person's own orders, from the shell."""

import argparse
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any, Final, Protocol

import msgspec

from bus.ask import Asker, NoAnswer
from bus.process.lifecycle import EXIT_CRASHED, EXIT_REFUSED
from bus.process.settings import Settings
from bus.protocol.answers import Refusal
from bus.trading.gateway import AccountAnswer, AccountAsk
from bus.trading.reasons import NO_DRIFT, why_refused
from bus.trading.shapes import (
    AdoptCommand,
    ByHandAnswer,
    ByHandCommand,
    CancelCommand,
    CloseCommand,
    ConfirmCommand,
    FlattenCommand,
    PrepareCommand,
    TicketAnswer,
    TicketRow,
    TraderStatus,
    told,
)
from markets.errors import BadRecord, DecodeError
from markets.units import format_price, parse_count_e2, parse_price_e4
from trader.journal.reader import Reader, readable

from .opening import newest_journal

WORD: Final = "FLATTEN"
ADOPT: Final = "ADOPT"
OPS: Final = frozenset({"prepare", "confirm", "cancel", "close", "flatten", "adopt"})
TIMEOUT_MS: Final = 3_000
ACCOUNT_MS: Final = 12_000
POLL_S: Final = 0.5
POLLS: Final = 240


class SubParsers(Protocol):
    """What argparse's `add_subparsers` returns."""

    def add_parser(self, name: str, **options: Any) -> argparse.ArgumentParser: ...


def add_parsers(commands: SubParsers) -> None:
    """Add these commands to the command line."""
    prepare = commands.add_parser("prepare", help="work out an order of one's own; places nothing")
    prepare.add_argument("ticker")
    prepare.add_argument("side", choices=("yes", "no"))
    prepare.add_argument("count", help="whole contracts")
    prepare.add_argument("limit", help="the highest price, in dollars: 0.43")
    prepare.add_argument("--rest", type=int, metavar="SECONDS", help="let rest what is not filled at once")
    confirm = commands.add_parser("confirm", help="place the order of a ticket, within 60 s")
    confirm.add_argument("ticket", type=int)
    cancel = commands.add_parser("cancel", help="end an order, by its number")
    cancel.add_argument("number", type=int)
    close = commands.add_parser("close", help="sell what is held of a market")
    close.add_argument("ticker")
    close.add_argument("--limit", help="the lowest price of the side held, in dollars")
    flatten = commands.add_parser("flatten", help=f"pause, cancel all, close all, prove it: flatten {WORD}")
    flatten.add_argument("word", nargs="?", default="")
    adopt = commands.add_parser("adopt", help=f"show what nothing explains (drift); adopt {ADOPT} accepts it")
    adopt.add_argument("word", nargs="?", default="")


def by_hand(settings: Settings, parsed: argparse.Namespace, context: Any) -> int:
    """Carry out one of these commands; return the exit code: 0 done, 1 nobody answers or not all, 2 refused.

    Raises:
        Refusal: the trader will not. NoAnswer: it does not answer. DecodeError: not as it should.
        BadRecord: an argument is wrong; it is named.
    """

    def ask(question: dict[str, Any], timeout_ms: int = TIMEOUT_MS) -> Mapping[str, object]:
        with closing(Asker(context, settings.trader_control)) as asker:
            return asker.ask(question, timeout_ms)

    if parsed.command == "flatten" and parsed.word != WORD:
        raise Refusal("bad_request", f"word: this closes every position: flatten {WORD}")
    if parsed.command == "adopt":
        return adopt(ask, parsed.word)
    question = msgspec.to_builtins(_command(parsed))
    if parsed.command == "prepare":
        ticket = told(ask(question), TicketAnswer).ticket
        print("\n".join(ticket_lines(ticket)))
        return EXIT_REFUSED if ticket.refused else 0
    if parsed.command == "flatten":
        before = told(ask({"op": "status"}), TraderStatus).flatten
        number = 1 if before is None else before.number + (before.state != "works")
        told(ask(question), ByHandAnswer)
        return _watch_flatten(settings, ask, context, number)
    answer = told(ask(question), ByHandAnswer)
    done = {"confirm": "placed", "cancel": "asked to end", "close": "selling"}[parsed.command]
    for number in answer.orders:
        print(f"order {number}: {done}")
    for left in answer.left:
        print(f"{left.ticker}: {left.count_fp} contracts stay: {why_refused(left.reason)} ({left.reason})")
    if answer.refused is not None:
        print(f"not done: {answer.why} ({answer.refused})")
        return EXIT_REFUSED
    return EXIT_CRASHED if answer.left else 0


def adopt(ask: Callable[[dict[str, Any]], Mapping[str, object]], word: str) -> int:
    """Show the lines of drift; with the word accept them; return the exit code."""
    account = told(ask({"op": "status"}), TraderStatus).exchange_account
    lines = () if account is None else account.drift
    for line in lines:
        print(line)
    if not lines:
        print(f"nothing to adopt: {why_refused(NO_DRIFT)}")
        return EXIT_CRASHED
    if word != ADOPT:
        print(f"what the exchange has is booked as external, and trading goes on, with: adopt {ADOPT}")
        return EXIT_REFUSED
    answer = told(ask(msgspec.to_builtins(AdoptCommand(lines=lines, word=ADOPT))), ByHandAnswer)
    if answer.refused is not None:
        print(f"not done: {answer.why} ({answer.refused})")
        return EXIT_REFUSED
    print("adopted: the journal has what the exchange lists")
    return 0


def _command(parsed: argparse.Namespace) -> ByHandCommand:
    match parsed.command:
        case "prepare":
            count_e2 = parse_count_e2(parsed.count)
            if count_e2 % 100 or not count_e2:
                raise BadRecord("count", parsed.count, "whole contracts, one or more")
            return PrepareCommand(
                ticker=parsed.ticker,
                side=parsed.side,
                count_fp=str(count_e2 // 100),
                price_dollars=_price(parsed.limit),
                rest_seconds=parsed.rest,
            )
        case "confirm":
            return ConfirmCommand(ticket=parsed.ticket)
        case "cancel":
            return CancelCommand(number=parsed.number)
        case "close":
            return CloseCommand(
                ticker=parsed.ticker, price_dollars=None if parsed.limit is None else _price(parsed.limit)
            )
        case _:
            return FlattenCommand()


def _price(text: str) -> str:
    price_e4 = parse_price_e4(f"0{text}" if text.startswith(".") else text, "limit")
    if not 0 < price_e4 < 10_000:
        raise BadRecord("limit", text, "a price above 0 and below 1 dollar")
    return format_price(price_e4)


def ticket_lines(ticket: TicketRow) -> list[str]:
    """Return a ticket as people read it."""
    rests = "the rest is cancelled at once"
    if ticket.rest_seconds is not None:
        rests = f"the rest waits in the book for {ticket.rest_seconds} s at most"
    best = "nobody offers now" if ticket.best_dollars is None else f"best price now {ticket.best_dollars}"
    lines = [
        f"ticket {ticket.number}",
        f"buy {ticket.count_fp} {ticket.side.upper()} of {ticket.ticker} at {ticket.price_dollars} or better",
        f"{best}; {ticket.fillable_fp} would be filled at once, {rests}",
        f"cost {ticket.cost_dollars}, fees {ticket.fees_dollars}",
        f"worst case {ticket.worst_dollars}: the most that it can cost, and all of it can be lost",
        f"pays {ticket.payout_dollars} if {ticket.side.upper()}",
    ]
    if ticket.refused is None:
        lines.append(f"risk would let it pass; within 60 s: python -m trader confirm {ticket.number}")
    else:
        lines.append(f"risk refuses it now: {ticket.why} ({ticket.refused})")
    return lines


def _watch_flatten(
    settings: Settings,
    ask: Callable[[dict[str, Any]], Mapping[str, object]],
    context: Any,
    number: int,
    wait: Callable[[float], None] = time.sleep,
) -> int:
    """Say how far it is until it is over, then look whether the exchange says the same."""
    said, now = None, None
    for _ in range(POLLS):
        status = told(ask({"op": "status"}), TraderStatus)
        now = status.flatten
        if now is None or now.number < number:  # the status is of a moment ago
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
        print("the trader has begun anew meanwhile: flatten again")
        return EXIT_CRASHED
    for left in now.left:
        print(f"{left.ticker}: {left.count_fp} contracts stay: {why_refused(left.reason)} ({left.reason})")
    if now.state != "flat":
        print(f"NOT FLAT: {now.open_orders} orders open, {len(now.left)} positions left; trading is paused")
        return EXIT_CRASHED
    print(f"flat: nothing is held or ordered; {now.cancelled} orders cancelled, {now.sent} sent to sell")
    proven = settings.mode == "paper" or _prove(settings, context)
    print("trading is paused until: python -m trader resume")
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
        print(f"NOT PROVEN{': could not be had: ' + ', '.join(listed.missing) if listed.missing else ''}")
        return False
    print("proven: the exchange lists no order of ours and no position")
    return True
