"""Whose each micro-dollar is: strategy, kind, source, series and day of all that was earned. Pure.

The account's record is taken apart into what each fill and settlement did to the money of one trade. Whatever
these parts are added up by, they make the ledger's own profit, to the micro-dollar: `realised - fees`.

Money is of the day on which it moved; a trade, its promise and what its open lots are worth are of the day on
which the trade was decided. All days are of UTC.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final, Protocol

import msgspec

from bus.protocol.answers import Refusal
from bus.trading.shapes import ReportAnswer, ReportRow
from markets.orders import Intent
from markets.units import DAY_MS, format_money
from trader.engine.worth import LotWorth
from trader.ledger.lots import FOREIGN, Lot, Paid, Recorded, Settling, after_purchase

FOREIGN_NAME: Final = "foreign"
"""Strategy and kind of what is not ours."""

UNKNOWN: Final = "unknown"


class Moved(msgspec.Struct, frozen=True):
    """What one fill or settlement did to the money of one trade, in micro-dollars.

    Attributes:
        bought_e6: what was paid for contracts, a purchase that sells own ones included.
        fees_e6: those of this fill or settlement. realised_e6: profit, before fees, of what was given up.
    """

    trade: int
    event_ticker: str
    time_ms: int
    bought_e6: int
    fees_e6: int
    realised_e6: int


class Sent(msgspec.Struct, frozen=True):
    """An order, and what came of it."""

    intent: Intent
    filled_e2: int
    cost_e6: int

    @property
    def slippage_e6(self) -> int | None:
        """By how much more was paid than was shown when it was decided; below 0 less; None if unknown."""
        shown_e6 = self.intent.shown_e6
        if not self.filled_e2:
            return 0
        return None if shown_e6 is None else self.cost_e6 - shown_e6 * self.filled_e2 // self.intent.count_e2


class OrdersOf(Protocol):
    """What this needs of a journal's reader."""

    def sent(self) -> Sequence[tuple[Intent, int, int]]: ...


def sent_of(journal: OrdersOf) -> list[Sent]:
    """Return all orders of a journal, oldest first."""
    return [Sent(*row) for row in journal.sent()]


class Whose(msgspec.Struct, frozen=True):
    """To whom a trade is due, when it was decided, and what it was to earn after fees."""

    strategy: str
    kind: str
    source: str
    series: str
    decided_ms: int
    expected_e6: int | None


def whose(orders: Sequence[Intent]) -> Whose | None:
    """Return what the orders of a trade say of it; None if there are none."""
    first = next((intent for intent in orders if not intent.attempt), orders[0] if orders else None)
    if first is None:
        return None
    return Whose(
        first.strategy,
        # Before orders had a kind, strategies took but one, and bore its name.
        first.kind or first.strategy,
        first.source,
        first.series_ticker,
        first.created_ms,
        None if first.attempt else first.edge_e6,
    )


def moves(record: Iterable[Recorded]) -> tuple[list[Moved], dict[str, dict[int, Lot]]]:
    """Return the record taken apart, and what is held in the end: ticker -> trade -> lot."""
    held: dict[str, dict[int, Lot]] = {}
    found: list[Moved] = []
    settling = Settling()
    for entry in record:
        if isinstance(entry, Paid):
            parts = settling.pay(held.pop(entry.ticker, {}).values(), entry)
            paid_for = {lot.trade: lot for lot in settling.lots(entry.ticker)}
            for part in parts:
                lot, fees_e6 = paid_for[part.trade], part.fees_e6
                if part.how == "settled":
                    fees_e6 -= lot.fees_e6  # they were paid when it was bought
                found.append(Moved(part.trade, lot.event_ticker, entry.time_ms, 0, fees_e6, part.realised_e6))
            continue
        lots = held.setdefault(entry.ticker, {})
        lot_then, sold = after_purchase(lots.pop(entry.trade, None), entry)
        if lot_then is not None:
            lots[entry.trade] = lot_then
        bought_e6 = entry.price_e4 * entry.count_e2
        realised_e6 = 0 if sold is None else sold.realised_e6
        money = (bought_e6, entry.fee_e6, realised_e6)
        found.append(Moved(entry.trade, entry.event_ticker, entry.time_ms, *money))
    return found, held


class _Sum(msgspec.Struct):
    """Sums of one row. `came_e6` and `due_e6` are of trades that are over: what they earned, and were to."""

    tried: int = 0
    trades: int = 0
    over: int = 0
    won: int = 0
    expected_e6: int = 0
    due_e6: int = 0
    came_e6: int = 0
    bought_e6: int = 0
    fees_e6: int = 0
    slippage_e6: int | None = 0
    realised_e6: int = 0
    open_cost_e6: int = 0
    locked_e6: int | None = 0
    bid_e6: int | None = 0
    settlement_e6: int | None = 0

    def row(self, name: str) -> ReportRow:
        """Return it as it is told."""
        profit_e6 = self.realised_e6 - self.fees_e6
        return ReportRow(
            name=name,
            tried=self.tried,
            trades=self.trades,
            over=self.over,
            won=self.won,
            expected_dollars=format_money(self.expected_e6),
            expected_of_over_dollars=format_money(self.due_e6),
            got_of_over_dollars=format_money(self.came_e6),
            bought_dollars=format_money(self.bought_e6),
            fees_dollars=format_money(self.fees_e6),
            slippage_dollars=_money(self.slippage_e6),
            realised_dollars=format_money(self.realised_e6),
            profit_dollars=format_money(profit_e6),
            open_cost_dollars=format_money(self.open_cost_e6),
            locked_dollars=_money(self.locked_e6),
            bid_dollars=_money(_plus(profit_e6, self.bid_e6)),
            settlement_dollars=_money(_plus(profit_e6, self.settlement_e6)),
        )


Cut = Callable[[Whose, int], str]
"""Trade and time -> the name of the row that something belongs to."""

CUTS: Final[Mapping[str, Cut]] = {
    "by_strategy": lambda of, _ms: of.strategy,
    "by_kind": lambda of, _ms: of.kind,
    "by_source": lambda of, _ms: of.source,
    "by_series": lambda of, _ms: of.series,
    "by_day": lambda _of, ms: day_of(ms),
}


class Account(msgspec.Struct, frozen=True):
    """The record of an account, taken apart: see `account_of`."""

    whose: Mapping[int, Whose]
    moved: Sequence[Moved]
    held: Sequence[Lot]
    sent: Sequence[Sent]

    def report(
        self,
        worths: Mapping[int, Sequence[LotWorth]] | None = None,
        since: date | None = None,
        until: date | None = None,
    ) -> ReportAnswer:
        """Return what was earned, by whom, on what and when.

        Args:
            worths: what the lots of each trade are worth now; None: nobody says.
            since, until: the first and the last day.
        """
        begin_ms = None if since is None else _ms_of(since)
        end_ms = None if until is None else _ms_of(until) + DAY_MS

        def within(time_ms: int) -> bool:
            return (begin_ms is None or time_ms >= begin_ms) and (end_ms is None or time_ms < end_ms)

        total = _Sum()
        rows: dict[str, dict[str, _Sum]] = {name: {} for name in CUTS}

        def sums(trade: int, time_ms: int, event_ticker: str = "") -> list[_Sum]:
            of = self.whose.get(trade) or _nobodys(trade, event_ticker)
            return [total, *(rows[name].setdefault(cut(of, time_ms), _Sum()) for name, cut in CUTS.items())]

        self._add_money(sums, within)
        self._add_trades(sums, within)
        self._add_open(sums, within, worths)
        tables = {
            name: tuple(one.row(key) for key, one in sorted(table.items())) for name, table in rows.items()
        }
        return ReportAnswer(
            since=None if since is None else since.isoformat(),
            until=None if until is None else until.isoformat(),
            marked=worths is not None,
            total=total.row("total"),
            **tables,
        )

    def _add_money(self, sums: Callable[..., list[_Sum]], within: Callable[[int], bool]) -> None:
        for one in self.moved:
            if within(one.time_ms):
                for total in sums(one.trade, one.time_ms, one.event_ticker):
                    total.bought_e6 += one.bought_e6
                    total.fees_e6 += one.fees_e6
                    total.realised_e6 += one.realised_e6
        for sent in self.sent:
            if within(sent.intent.created_ms):
                for total in sums(sent.intent.trade, sent.intent.created_ms, sent.intent.event_ticker):
                    total.slippage_e6 = _plus(total.slippage_e6, sent.slippage_e6)

    def _add_trades(self, sums: Callable[..., list[_Sum]], within: Callable[[int], bool]) -> None:
        earned_e6: dict[int, int] = {}
        for one in self.moved:
            earned_e6[one.trade] = earned_e6.get(one.trade, 0) + one.realised_e6 - one.fees_e6
        holding = {lot.trade for lot in self.held}
        for trade, of in self.whose.items():
            if of.expected_e6 is None or not within(of.decided_ms):
                continue
            for total in sums(trade, of.decided_ms):
                total.tried += 1
                if trade not in earned_e6:
                    continue
                total.trades += 1
                total.expected_e6 += of.expected_e6
                if trade not in holding:
                    total.over += 1
                    total.won += earned_e6[trade] > 0
                    total.due_e6 += of.expected_e6
                    total.came_e6 += earned_e6[trade]

    def _add_open(
        self,
        sums: Callable[..., list[_Sum]],
        within: Callable[[int], bool],
        worths: Mapping[int, Sequence[LotWorth]] | None,
    ) -> None:
        known = {
            (worth.lot.ticker, worth.lot.trade): worth for ones in (worths or {}).values() for worth in ones
        }
        for lot in self.held:
            of = self.whose.get(lot.trade)
            time_ms = lot.opened_ms if of is None else of.decided_ms
            if not within(time_ms):
                continue
            worth = known.get((lot.ticker, lot.trade))
            if worth is not None and worth.lot != lot:
                worth = None  # it was looked at before or after
            bid_e6 = None if worth is None or worth.bid_e6 is None else worth.bid_e6 - lot.cost_e6
            for total in sums(lot.trade, time_ms, lot.event_ticker):
                total.open_cost_e6 += lot.cost_e6
                total.bid_e6 = _plus(total.bid_e6, bid_e6)
                total.locked_e6 = _plus(total.locked_e6, None if worth is None else locked_e6(worth))
                total.settlement_e6 = _plus(
                    total.settlement_e6, None if worth is None else worth.settlement_e6 - lot.cost_e6
                )


def account_of(sent: Sequence[Sent], record: Iterable[Recorded]) -> Account:
    """Return an account's orders and record, taken apart."""
    orders: dict[int, list[Intent]] = {}
    for one in sent:
        if one.intent.trade != FOREIGN:  # what a person sells of what is not ours
            orders.setdefault(one.intent.trade, []).append(one.intent)
    found = {trade: of for trade, intents in orders.items() if (of := whose(intents)) is not None}
    moved, held = moves(record)
    return Account(found, moved, tuple(lot for lots in held.values() for lot in lots.values()), tuple(sent))


def locked_e6(worth: LotWorth) -> int:
    """Return what the locked contracts of a lot earn after fees, by their share of the floor."""
    lot = worth.lot
    return worth.floor_e6 - (lot.cost_e6 + lot.fees_e6) * worth.locked_e2 // lot.count_e2


def day_in(question: Mapping[str, Any], name: str) -> date | None:
    """Return the day that a question names, None if it names none.

    Raises:
        Refusal: it is no day.
    """
    text = question.get(name)
    if text is None:
        return None
    try:
        day = date.fromisoformat(text)
    except (TypeError, ValueError):
        raise Refusal("bad_request", f"{name}: got {text!r:.50}, expected a day as 2026-01-31") from None
    if not date(1970, 1, 1) <= day <= date(9998, 12, 31):
        raise Refusal("bad_request", f"{name}: got {text!r:.50}, expected 1970-01-01 to 9998-12-31")
    return day


def day_of(time_ms: int) -> str:
    """Return the day of a time, as YYYY-MM-DD."""
    return datetime.fromtimestamp(time_ms // 1000, UTC).date().isoformat()


def as_text(report: ReportAnswer) -> str:
    """Return a report as lines for people."""
    period = f"{report.since or 'the beginning'} to {report.until or 'now'}, days of UTC"
    lines = [period]
    for title, rows in (
        ("", (report.total,)),
        ("strategy", report.by_strategy),
        ("kind", report.by_kind),
        ("source of the fair value", report.by_source),
        ("series", report.by_series),
        ("day", report.by_day),
    ):
        lines += ["", _HEADS.format(title, *_COLUMNS)]
        lines += [_HEADS.format(*_cells(row)) for row in rows]
    lines += [
        "",
        "tried: trades sent; got: those that got something, whose promise is `expected`; over: those of",
        "which nothing is held; `was due` and `came` are theirs. profit: realised less fees; at bid, at",
        "settlement: with what is held now." + ("" if report.marked else " Nobody says what that is worth."),
    ]
    return "\n".join(lines)


_COLUMNS: Final = (
    "tried", "got", "over", "won", "expected", "was due", "came", "fees", "slippage", "profit", "locked",
    "at bid", "at settlement",
)  # fmt: skip
_HEADS: Final = "{:<26}" + "{:>7}" * 4 + "{:>13}" * 8 + "{:>15}"


def _cells(row: ReportRow) -> tuple[object, ...]:
    money = (
        row.expected_dollars,
        row.expected_of_over_dollars,
        row.got_of_over_dollars,
        row.fees_dollars,
        row.slippage_dollars,
        row.profit_dollars,
        row.locked_dollars,
        row.bid_dollars,
        row.settlement_dollars,
    )
    shown = ("unknown" if one is None else one[:-2] for one in money)  # hundredths of a cent are enough
    return (row.name or "none"), row.tried, row.trades, row.over, row.won, *shown


def _nobodys(trade: int, event_ticker: str) -> Whose:
    name = FOREIGN_NAME if trade == FOREIGN else UNKNOWN
    return Whose(name, name, "", event_ticker.partition("-")[0], 0, None)


def _ms_of(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000


def _plus(one_e6: int | None, other_e6: int | None) -> int | None:
    return None if one_e6 is None or other_e6 is None else one_e6 + other_e6


def _money(money_e6: int | None) -> str | None:
    return None if money_e6 is None else format_money(money_e6)
