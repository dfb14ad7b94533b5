"""`kalshi-bus trader reconcile`: the journal's money against itself, and line by line against the exchange.

It is computed from the sums of the rows, through the ledger, and by each view of the record; and if an order
gateway answers, compared with what the exchange lists of the account.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import msgspec

from bus.ask import Asker, NoAnswer
from bus.protocol.answers import Refusal
from bus.trading.gateway import AccountAnswer, AccountAsk, GatewayStatus
from bus.trading.shapes import told
from markets.errors import DecodeError
from markets.units import format_count, format_money
from trader.engine.reconciliation import LOOKS, Difference, cash_line, settled_e4
from trader.journal.reader import Reader, readable
from trader.ledger.ledger import Ledger, LedgerError
from trader.ledger.lots import net_positions, tax_lots, trade_lots

TIMEOUT_MS: Final = 12_000
TRIES: Final = 5
AGAIN_S: Final = 0.5
LOOK_S: Final = 2.5
"""How long until what differs is looked at again."""

LOOKS_OPEN: Final = 11
"""After so many looks a difference counts while orders are open, otherwise after LOOKS."""

LOOK_BACK_MS: Final = 3_600_000

Ask = Callable[[dict[str, Any]], Mapping[str, Any]]
"""Asks the order gateway; raises NoAnswer."""


class Books(msgspec.Struct, frozen=True):
    """A journal's contents: its money, the sums that must be 0, where its views differ, and its ledger."""

    money: dict[str, int]
    exact: dict[str, int]
    differ: tuple[str, ...]
    ledger: Ledger
    fees_e6: dict[str, int]
    meta: dict[str, str]

    @property
    def whole(self) -> bool:
        """Whether it adds up."""
        return not any(self.exact.values()) and not self.differ


class Line(msgspec.Struct, frozen=True):
    """A line of the journal beside the exchange's, as text for people."""

    what: str
    ours: str
    theirs: str

    @property
    def equal(self) -> bool:
        """Whether both are the same."""
        return self.ours == self.theirs


class Comparison(msgspec.Struct, frozen=True):
    """The journal against the exchange.

    Attributes:
        trouble: why they could not be compared, None if they were.
        unknown: of how many orders the gateway does not know the fate, if a line differs.
    """

    lines: tuple[Line, ...] = ()
    as_of_ms: int | None = None
    trouble: str | None = None
    unknown: int = 0


def books_of(path: Path) -> Books:
    """Return a journal's contents.

    Raises:
        StartupError: it cannot be read. LedgerError: it contradicts itself.
    """
    with readable(path), closing(Reader(path)) as reader:
        sums, record, meta, fees = reader.sums(), reader.record(), reader.meta(), reader.fees_by_market()
        try:
            ledger = reader.ledger()
            ledger.check_whole()
        except LedgerError as error:
            raise LedgerError(f"the journal does not add up: {error}") from None
    by_trade, by_purchase, net = trade_lots(record), tax_lots(record), net_positions(record)
    external_e6 = sums.get("external_e6", 0)
    began_e6 = sums["start_e6"] + external_e6
    cash_e6 = began_e6 - sums["spent_e6"] - sums["fees_e6"] + sums["payouts_e6"] + ledger.netted_e6
    money = {
        "start": sums["start_e6"],
        **({"external cash": external_e6} if external_e6 else {}),
        "bought": -sums["spent_e6"],
        "fees": -sums["fees_e6"],
        "settlements": sums["payouts_e6"],
        "pairs of yes and no": ledger.netted_e6,
        "cash": cash_e6,
        "lots at cost": ledger.lots_cost_e6,
        "clearing: pairs of open lots": ledger.clearing_e6,
        "realised profit before fees": ledger.realised_e6,
        "gain by tax lots, first in first out": by_purchase.gain_e6,
    }
    exact = {
        "cash + lots - clearing - start - profit + fees": (
            cash_e6 + ledger.basis_e6 - began_e6 - ledger.realised_e6 + sums["fees_e6"]
        ),
        "cash + tax lots with fees - start - gain": (
            cash_e6 + by_purchase.cost_e6 + by_purchase.fees_e6 - began_e6 - by_purchase.gain_e6
        ),
        "profit by the ledger less that by trade lots": ledger.realised_e6 - by_trade.realised_e6,
        "cash by the ledger less cash by the rows": ledger.cash_e6 - cash_e6,
    }
    held = {ticker: position.signed_e2 for ticker, position in ledger.positions.items()}
    differ = tuple(
        f"{ticker}: the fills make {net.get(ticker, 0)}, the ledger has {held.get(ticker, 0)}"
        for ticker in sorted(net.keys() | held.keys())
        if net.get(ticker) != held.get(ticker)
    )
    return Books(money, exact, differ, ledger, fees, meta)


def compare(
    path: Path,
    ask: Ask,
    wait: Callable[[float], None] = time.sleep,
    say: Callable[[str], None] = lambda _text: None,
) -> Comparison:
    """Compare a journal with what the exchange lists of its account, at a quiet moment.

    Only a difference that lasts counts: what an order got, or its end, may be in one of the exchange's lists
    before it is in another.

    Raises:
        StartupError: the journal cannot be read. LedgerError: it contradicts itself.
    """
    looks = restless = 0
    while True:
        meta = _meta(path)
        question = AccountAsk(journal=meta["id"], since_ms=max(0, int(meta["created_ms"]) - LOOK_BACK_MS))
        try:
            listed = told(ask(msgspec.to_builtins(question)), AccountAnswer)
        except NoAnswer:
            return Comparison(trouble=_why_not_listed(_gateway(ask)))
        except (Refusal, DecodeError) as error:
            return Comparison(trouble=f"the order gateway: {error}")
        if listed.exchange != meta.get("exchange") or listed.account != meta["account"]:
            whose = f"{listed.exchange!r}, {listed.account!r}"
            return Comparison(trouble=f"the order gateway belongs to another exchange or account: {whose}")
        books = books_of(path)
        if listed.in_flight or listed.missing or int(books.meta["heard"]) != listed.last_event:
            restless += 1
            wait(AGAIN_S)
            if restless == TRIES:
                lacks = f"the exchange's {', '.join(listed.missing)} could not be listed"
                never = "the account was never quiet while it was looked at"
                return Comparison(trouble=lacks if listed.missing else never)
            continue
        restless = 0
        looks += 1
        lines = tuple(_lines(books, listed))
        if all(line.equal for line in lines):
            return Comparison(lines, listed.as_of_ms)
        open_ = books.ledger.open or any(order.number is not None for order in listed.orders)
        if looks >= (LOOKS_OPEN if open_ else LOOKS):
            status = _gateway(ask)
            return Comparison(lines, listed.as_of_ms, unknown=0 if status is None else status.unknown)
        if looks == 1:
            say("the exchange differs, perhaps by what is on its way: it is looked at again")
        wait(LOOK_S)


def _gateway(ask: Ask) -> GatewayStatus | None:
    """Return how the order gateway stands, None if that cannot be had."""
    try:
        return told(ask({"op": "gateway"}), GatewayStatus)
    except (NoAnswer, Refusal, DecodeError):
        return None


def _why_not_listed(status: GatewayStatus | None) -> str:
    if status is None:
        return "no order gateway answers"
    return f"the order gateway has not listed the account: {status.error or status.state}"


def _lines(books: Books, listed: AccountAnswer) -> list[Line]:
    ledger = books.ledger.copy()
    for settlement in listed.settlements:
        # The trader will book these at its next look.
        ticker = settlement.ticker
        if ticker in ledger.lots:
            result, value_e4 = settled_e4(settlement, ledger.positions.get(ticker), None)
            ledger.settle(ticker, result, value_e4, settlement.time_ms, paid_e6=settlement.revenue_e6)
    cash = cash_line(listed, ledger, [position.event_ticker for position in ledger.positions.values()])
    lines = [_shown(cash)]
    theirs = {position.ticker: position for position in listed.positions}
    for ticker in sorted(theirs.keys() | ledger.positions.keys()):
        ours, there = ledger.positions.get(ticker), theirs.get(ticker)
        signed = 0 if ours is None else ours.signed_e2, 0 if there is None else there.signed_e2
        lines.append(_shown(Difference(f"position in {ticker}", *signed, "contracts")))
        if ticker in books.fees_e6 and there is not None and there.fees_e6 is not None:
            fees = books.fees_e6[ticker], there.fees_e6
            lines.append(_shown(Difference(f"fees in {ticker}", *fees, "money")))
    resting = {order.number: order for order in listed.orders if order.number is not None}
    for number, order in sorted(resting.items()):
        intent = ledger.open.get(number)
        left_e2 = 0 if intent is None else intent.count_e2 - ledger.filled(number).count_e2
        lines.append(_shown(Difference(f"left of order {number}", left_e2, order.left_e2, "contracts")))
    return lines


def _shown(line: Difference) -> Line:
    shown = format_money if line.unit == "money" else format_count
    return Line(line.what, shown(line.ours), shown(line.theirs))


def _meta(path: Path) -> dict[str, str]:
    with readable(path), closing(Reader(path)) as reader:
        return reader.meta()


def asking(context: Any, endpoint: str) -> Ask:
    """Return a function that asks the order gateway once, over its own socket."""

    def ask(question: dict[str, Any]) -> Mapping[str, Any]:
        with closing(Asker(context, endpoint)) as asker:
            return asker.ask(question, TIMEOUT_MS)

    return ask


def as_text(books: Books, comparison: Comparison | None) -> str:
    """Return everything as lines for people."""
    lines = [f"{name:<46}{format_money(money):>20}" for name, money in (books.money | books.exact).items()]
    ledger = books.ledger
    lines.append(f"{'open orders':<46}{len(ledger.open):>13}")
    lines.append(f"{'open lots':<46}{sum(map(len, ledger.lots.values())):>13}")
    lines.append(f"{'net positions':<46}{len(ledger.positions):>13}")
    lines += books.differ
    lines.append("reconciled to the micro-dollar" if books.whole else "DOES NOT RECONCILE")
    if comparison is None:
        return "\n".join(lines)
    if comparison.trouble is not None:
        lines.append(f"not compared with the exchange: {comparison.trouble}")
        return "\n".join(lines)
    lines.append(f"{'':<46}{'the journal':>20}{'the exchange':>20}")
    for line in comparison.lines:
        mark = "" if line.equal else "  DIFFERS"
        lines.append(f"{line.what:<46}{line.ours:>20}{line.theirs:>20}{mark}")
    same = all(line.equal for line in comparison.lines)
    lines.append("the exchange has the same" if same else "THE EXCHANGE DIFFERS")
    if comparison.unknown:
        lines.append(f"orders whose fate is not known yet: {comparison.unknown}: ask again in a minute")
    return "\n".join(lines)


def as_json(path: Path, books: Books, comparison: Comparison | None) -> dict[str, Any]:
    """Return everything for programs: money is text in dollars."""
    found: dict[str, Any] = {
        "journal": str(path),
        "whole": whole(books, comparison),
        "money": {name: format_money(money) for name, money in books.money.items()},
        "off_by": {name: format_money(money) for name, money in books.exact.items()},
        "differ": list(books.differ),
        "open_orders": len(books.ledger.open),
        "exchange": None,
    }
    if comparison is not None:
        found["exchange"] = {
            "compared": comparison.trouble is None,
            "trouble": comparison.trouble,
            "unknown": comparison.unknown,
            "as_of": None if comparison.as_of_ms is None else comparison.as_of_ms / 1000,
            "lines": [{**msgspec.to_builtins(line), "equal": line.equal} for line in comparison.lines],
        }
    return found


def whole(books: Books, comparison: Comparison | None) -> bool:
    """Whether the journal adds up, and the exchange agrees as far as it was asked."""
    return books.whole and (comparison is None or all(line.equal for line in comparison.lines))
