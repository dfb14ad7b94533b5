"""To whom each micro-dollar is due: strategy, kind, source, series and day of all that was earned. Pure.

The account's record is taken apart into what each fill and settlement did to the money of one trade. However
these parts are grouped, they add up to the ledger's own profit, `realised - fees`, to the micro-dollar.

Money is of the day on which it moved; a trade, its promise and what its open lots are worth are of the day on
which the trade was decided. All days are of UTC.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from bus.protocol.answers import Refusal
from bus.trading.shapes import CalibrationBin, CalibrationRow, ReportAnswer, ReportRow
from markets.orders import Intent
from markets.units import DAY_MS, MONEY_ONE_E6, format_count, format_money
from trader.engine.worth import LotWorth
from trader.ledger.lots import FOREIGN, Bought, Closed, Fresh, Got, Lot, Paid, Settling, after_purchase
from trader.promised import Promised

_Key = TypeVar("_Key", str, "_Due")

FOREIGN_NAME: Final = "foreign"
"""Strategy and kind of what is not ours."""

UNKNOWN: Final = "unknown"


def slippage_e6(intent: Intent, filled_e2: int, cost_e6: int) -> int | None:
    """Return how much more was paid than was shown at the decision; negative if less, None if unknown."""
    if not filled_e2:
        return 0
    return None if intent.shown_e6 is None else cost_e6 - intent.shown_e6 * filled_e2 // intent.count_e2


class Whose(msgspec.Struct, frozen=True):
    """To whom a trade is attributed, and when it was decided.

    Attributes:
        promises: whether it was expected to earn something: not if it only evens out or sells.
        probability: that of its side according to its source; None where it relies on none.
    """

    strategy: str
    kind: str
    source: str
    series: str
    decided_ms: int
    promises: bool
    probability: float | None = None


def whose(first: Intent) -> Whose:
    """Return what the first order of a trade says of it."""
    return Whose(
        first.strategy,
        # Before orders had a kind, each strategy took a single kind and bore its name.
        first.kind or first.strategy,
        first.source,
        first.series_ticker,
        first.created_ms,
        not first.attempt,
        first.probability if first.source else None,
    )


class _Sum(msgspec.Struct):
    """Sums of one row. `came_e6` and `due_e6` are of trades that are over: what they earned, and were to.

    `won_e6` and `lost_e6` are the parts of `came_e6` of those that earned something, and of the others.
    """

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

    won_e6: int = 0
    lost_e6: int = 0
    floor_e6: int | None = 0

    def add(self, other: "_Sum") -> None:
        """Add another one to it."""
        for name in _NUMBERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in _MAYBE_UNKNOWN:
            setattr(self, name, _plus(getattr(self, name), getattr(other, name)))

    def more(self, numbers: Mapping[str, int | None]) -> None:
        """Add to some of its members; adding None makes that member unknown."""
        for name, number in numbers.items():
            setattr(self, name, _plus(getattr(self, name), number))

    def row(self, name: str) -> ReportRow:
        """Return it as it is sent."""
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
            won_dollars=format_money(self.won_e6),
            lost_dollars=format_money(self.lost_e6),
            floor_dollars=_money(_plus(profit_e6, self.floor_e6)),
        )


_MAYBE_UNKNOWN: Final = ("slippage_e6", "locked_e6", "bid_e6", "settlement_e6", "floor_e6")
_NUMBERS: Final = tuple(name for name in _Sum.__struct_fields__ if name not in _MAYBE_UNKNOWN)


class _Due(NamedTuple):
    """To whom something is attributed."""

    strategy: str
    kind: str
    source: str
    series: str


CUTS: Final[Mapping[str, Callable[[_Due, str], str]]] = {
    "by_strategy": lambda due, _day: due.strategy,
    "by_kind": lambda due, _day: due.kind,
    "by_source": lambda due, _day: due.source,
    "by_series": lambda due, _day: due.series,
    "by_day": lambda _due, day: day,
}
"""Maps that, and the day, to the name of the row that it belongs to."""

BINS: Final = 10
PAID: Final = ""
"""The name of the calibration of what was paid; the others are sources of fair values."""


class Bin(msgspec.Struct):
    """Lots that were held to the end, and were bought, or believed, at about the same price."""

    lots: int = 0
    count_e2: int = 0
    said_e6: int = 0
    paid_e6: int = 0

    def add(self, other: "Bin") -> None:
        """Add another one to it."""
        self.lots += other.lots
        self.count_e2 += other.count_e2
        self.said_e6 += other.said_e6
        self.paid_e6 += other.paid_e6


class Leg(msgspec.Struct):
    """What a trade gave up of one side of a market."""

    count_e2: int = 0
    cost_e6: int = 0


class Trade(msgspec.Struct):
    """One trade: what it holds, what it gave up, and what it got. All but `held` is of what it gave up.

    Attributes:
        first: what its first order says; None if it was never ordered here. promised: for what it got.
        labels: ticker -> outcome in words. held: ticker -> lot.
        slippage_e6: of all its orders; None as soon as it is unknown for one of them.
        gone: (ticker, side) -> what was given up. opened_ms, ended_ms: when it first bought, last gave up.
        counted: what it last added to its cell.
    """

    first: Whose | None = None
    promised: Promised = msgspec.field(default_factory=Promised)
    event_ticker: str = ""
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    held: dict[str, Lot] = msgspec.field(default_factory=dict)
    slippage_e6: int | None = 0
    gone: dict[tuple[str, str], Leg] = msgspec.field(default_factory=dict)
    cost_e6: int = 0
    fees_e6: int = 0
    got_e6: int = 0
    opened_ms: int | None = None
    ended_ms: int = 0
    counted: tuple[int, int, int, int, int, int, int, int, int] = (0,) * 9

    @property
    def came_e6(self) -> int:
        """The proceeds of what was given up, less its cost and fees."""
        return self.got_e6 - self.cost_e6 - self.fees_e6


class Account:
    """Orders and record of an account, taken apart as they arrive. One thread uses it.

    The sums of a report are maintained by day, by attribution, and by both, so that a report costs time by
    the number of days and not of trades.
    """

    def __init__(self) -> None:
        self.trades: dict[int, Trade] = {}
        self._numbers: list[int] = []
        self._held: dict[str, dict[int, Lot]] = {}
        self._settling = Settling()
        self._days: dict[str, dict[_Due, _Sum]] = {}
        self._of_day: dict[str, _Sum] = {}
        self._ever: dict[_Due, _Sum] = {}
        self._bins: dict[tuple[str, str], list[Bin]] = {}

    def take(self, fresh: Fresh) -> None:
        """Take what has arrived; orders come before their fills."""
        for intent in fresh.orders:
            trade = self._trade(intent.trade, intent.event_ticker)
            trade.labels.setdefault(intent.ticker, intent.label)
            # If a person sells what the trader never bought, it is ordered here, but is no trade.
            if intent.trade != FOREIGN:
                trade.promised.placed(intent)
                if trade.first is None:
                    trade.first = whose(intent)
                    self._count(intent.trade, trade)
        for got in fresh.got:
            self._slip(got)
            self._promise(got)
        for entry in fresh.record:
            if isinstance(entry, Paid):
                self._pay(entry)
            else:
                self._buy(entry)

    def newest(self, limit: int, before: int, *, held: bool = False) -> Sequence[tuple[int, Trade]]:
        """Return the newest trades with fills, below number `before`; `held`: only those still held."""
        if held:
            holding = {number for lots in self._held.values() for number in lots if number < before}
            return [(number, self.trades[number]) for number in sorted(holding, reverse=True)[:limit]]
        end = bisect_left(self._numbers, before)
        return [(number, self.trades[number]) for number in self._numbers[max(0, end - limit) : end][::-1]]

    # -- what has come

    def _trade(self, number: int, event_ticker: str = "") -> Trade:
        trade = self.trades.get(number)
        if trade is None:
            trade = self.trades[number] = Trade()
        trade.event_ticker = trade.event_ticker or event_ticker
        return trade

    def _buy(self, entry: Bought) -> None:
        if entry.count_e2:
            trade = self._open(entry.trade, entry.event_ticker, entry.time_ms)
        else:  # it costs a fee, and gets nothing
            trade = self._trade(entry.trade, entry.event_ticker)
        lots = self._held.setdefault(entry.ticker, {})
        lot, sold = after_purchase(lots.pop(entry.trade, None), entry)
        if lot is None:
            trade.held.pop(entry.ticker, None)
        else:
            lots[entry.trade] = trade.held[entry.ticker] = lot
        numbers = {"bought_e6": entry.price_e4 * entry.count_e2, "fees_e6": entry.fee_e6}
        if sold is not None:
            numbers["realised_e6"] = sold.realised_e6
            self._give_up(trade, sold)
        self._add(entry.trade, trade, entry.time_ms, numbers)
        self._count(entry.trade, trade)

    def _pay(self, entry: Paid) -> None:
        parts = self._settling.pay(self._held.pop(entry.ticker, {}).values(), entry)
        paid_for = {lot.trade: lot for lot in self._settling.lots(entry.ticker)}
        for part in parts:
            lot, fees_e6 = paid_for[part.trade], part.fees_e6
            if part.how == "settled":
                fees_e6 -= lot.fees_e6  # they were paid when it was bought
            trade = self._open(part.trade, lot.event_ticker, lot.opened_ms)
            trade.held.pop(entry.ticker, None)
            numbers = {"fees_e6": fees_e6, "realised_e6": part.realised_e6}
            self._add(part.trade, trade, entry.time_ms, numbers)
            self._give_up(trade, part)
            self._calibrate(trade, lot, part)
            self._count(part.trade, trade)

    def _open(self, number: int, event_ticker: str, time_ms: int) -> Trade:
        trade = self._trade(number, event_ticker)
        if trade.opened_ms is None:
            trade.opened_ms = time_ms
            insort(self._numbers, number)
        trade.opened_ms = min(trade.opened_ms, time_ms)
        return trade

    def _give_up(self, trade: Trade, part: Closed) -> None:
        if part.count_e2:
            leg = trade.gone.setdefault((part.ticker, part.side), Leg())
            leg.count_e2 += part.count_e2
            leg.cost_e6 += part.cost_e6
        trade.cost_e6 += part.cost_e6
        trade.fees_e6 += part.fees_e6
        trade.got_e6 += part.proceeds_e6
        trade.ended_ms = max(trade.ended_ms, part.disposed_ms)

    def _slip(self, got: Got) -> None:
        intent = got.intent
        trade = self._trade(intent.trade)
        now_e6 = slippage_e6(intent, got.filled_e2, got.cost_e6)
        before_e6 = slippage_e6(intent, got.before_e2, got.cost_before_e6)
        more_e6 = None if now_e6 is None or before_e6 is None else now_e6 - before_e6
        trade.slippage_e6 = _plus(trade.slippage_e6, more_e6)
        self._add(intent.trade, trade, intent.created_ms, {"slippage_e6": more_e6})

    def _promise(self, got: Got) -> None:
        trade = self._trade(got.intent.trade)
        trade.promised.filled(got.intent, got.before_e2, got.filled_e2)
        self._count(got.intent.trade, trade)

    def _add(self, number: int, trade: Trade, time_ms: int, numbers: Mapping[str, int | None]) -> None:
        day, due = day_of(time_ms), _due(trade.first or _nobodys(number, trade.event_ticker))
        _row_of(self._days.setdefault(day, {}), due).more(numbers)
        _row_of(self._of_day, day).more(numbers)
        _row_of(self._ever, due).more(numbers)

    def _count(self, number: int, trade: Trade) -> None:
        """Count a trade again in the cell of the day on which it was decided."""
        of = trade.first
        if of is None or not of.promises:
            return
        expected_e6 = trade.promised.e6
        got, over = trade.opened_ms is not None, trade.opened_ms is not None and not trade.held
        came_e6 = trade.came_e6 if over else 0
        counted = (
            1, int(got), int(over), int(came_e6 > 0), expected_e6 if got else 0,
            expected_e6 if over else 0, came_e6, max(0, came_e6), min(0, came_e6),
        )  # fmt: skip
        if counted != trade.counted:
            changes = zip(_COUNTED, counted, trade.counted, strict=True)
            self._add(number, trade, of.decided_ms, {name: now - before for name, now, before in changes})
            trade.counted = counted

    def _calibrate(self, trade: Trade, lot: Lot, part: Closed) -> None:
        price_e6 = lot.cost_e6 * 100 // lot.count_e2
        said = [(PAID, price_e6)]
        of = trade.first
        if of is not None and of.probability is not None:
            said.append((of.source, round(of.probability * MONEY_ONE_E6)))
        for name, each_e6 in said:
            bins = self._bins.setdefault((day_of(part.disposed_ms), name), [])
            bins.extend(Bin() for _ in range(BINS - len(bins)))
            count_e2 = part.count_e2  # none of a correction, which only pays more or less
            place = min(BINS - 1, max(0, each_e6 * BINS // MONEY_ONE_E6))
            bins[place].add(Bin(int(count_e2 > 0), count_e2, each_e6 * count_e2 // 100, part.proceeds_e6))

    # -- what is told

    def report(
        self,
        worths: Mapping[int, Sequence[LotWorth]] | None = None,
        since: date | None = None,
        until: date | None = None,
    ) -> ReportAnswer:
        """Return what was earned, by what, on what and when.

        Args:
            worths: what the lots of each trade are worth now; None if that is not known.
            since, until: the first and the last day.
        """
        first, last = days_of(since, until)
        total = _Sum()
        rows: dict[str, dict[str, _Sum]] = {name: {} for name in CUTS}

        def add(due: _Due, day: str, one: _Sum, *cuts: str) -> None:
            for name in cuts:
                _row_of(rows[name], CUTS[name](due, day)).add(one)

        dues = [name for name in CUTS if name != "by_day"]
        if since is None and until is None:
            for due, one in self._ever.items():
                total.add(one)
                add(due, "", one, *dues)
            rows["by_day"] = {day: _copy(one) for day, one in self._of_day.items()}
        else:
            for day, of_due in self._days.items():
                if first <= day <= last:
                    rows["by_day"][day] = _copy(self._of_day[day])
                    for due, one in of_due.items():
                        total.add(one)
                        add(due, day, one, *dues)
        for due, day, one in self._open_lots(worths):
            if first <= day <= last:
                total.add(one)
                add(due, day, one, *CUTS)
        tables = {
            name: tuple(one.row(key) for key, one in sorted(table.items())) for name, table in rows.items()
        }
        return ReportAnswer(
            since=None if since is None else since.isoformat(),
            until=None if until is None else until.isoformat(),
            marked=worths is not None,
            total=total.row("total"),
            by_strategy=tables["by_strategy"],
            by_kind=tables["by_kind"],
            by_source=tables["by_source"],
            by_series=tables["by_series"],
            by_day=tables["by_day"],
            calibration=self._calibration(first, last),
        )

    def _open_lots(self, worths: Mapping[int, Sequence[LotWorth]] | None) -> Iterator[tuple[_Due, str, _Sum]]:
        known = {
            (worth.lot.ticker, worth.lot.trade): worth for ones in (worths or {}).values() for worth in ones
        }
        for lots in self._held.values():
            for lot in lots.values():
                of = self.trades[lot.trade].first
                due = _due(of or _nobodys(lot.trade, lot.event_ticker))
                day = day_of(lot.opened_ms if of is None else of.decided_ms)
                yield due, day, _worth_of(lot, known.get((lot.ticker, lot.trade)))

    def _calibration(self, first: str, last: str) -> tuple[CalibrationRow, ...]:
        found: dict[str, list[Bin]] = {}
        for (day, name), bins in self._bins.items():
            if first <= day <= last:
                for total, one in zip(
                    found.setdefault(name, [Bin() for _ in range(BINS)]), bins, strict=True
                ):
                    total.add(one)
        return tuple(
            CalibrationRow(
                name=name,
                bins=tuple(
                    CalibrationBin(
                        lots=one.lots,
                        contracts_fp=format_count(one.count_e2),
                        said=round(one.said_e6 * 100 / one.count_e2 / MONEY_ONE_E6, 6),
                        came=round(one.paid_e6 * 100 / one.count_e2 / MONEY_ONE_E6, 6),
                    )
                    for one in bins
                    if one.count_e2
                ),
            )
            for name, bins in sorted(found.items())
        )


_COUNTED: Final = (
    "tried", "trades", "over", "won", "expected_e6", "due_e6", "came_e6", "won_e6", "lost_e6",
)  # fmt: skip


def _worth_of(lot: Lot, worth: LotWorth | None) -> _Sum:
    """Return what an open lot adds to a row."""
    if worth is not None and worth.lot != lot:
        worth = None  # it was seen before or after
    bid_e6 = None if worth is None or worth.bid_e6 is None else worth.bid_e6 - lot.cost_e6
    return _Sum(
        open_cost_e6=lot.cost_e6,
        bid_e6=bid_e6,
        locked_e6=None if worth is None else locked_e6(worth),
        settlement_e6=None if worth is None else worth.settlement_e6 - lot.cost_e6,
        floor_e6=None if worth is None else worth.floor_e6 - lot.cost_e6,
    )


def account_of(fresh: Fresh) -> Account:
    """Return an account's orders and record, taken apart."""
    account = Account()
    account.take(fresh)
    return account


def locked_e6(worth: LotWorth) -> int:
    """Return what the locked contracts of a lot earn after fees, by their share of the floor."""
    lot = worth.lot
    return worth.floor_e6 - (lot.cost_e6 + lot.fees_e6) * worth.locked_e2 // lot.count_e2


def days_in(question: Mapping[str, Any]) -> tuple[date | None, date | None]:
    """Return the first and the last day of a question, None where it names none.

    Raises: Refusal: one is not a day, or the last is before the first.
    """
    since, until = _day_in(question, "since"), _day_in(question, "until")
    if since is not None and until is not None and until < since:
        raise Refusal("bad_request", f"until: got '{until}', expected {since} or later")
    return since, until


def _day_in(question: Mapping[str, Any], name: str) -> date | None:
    text = question.get(name)
    if text is None:
        return None
    try:
        day = date.fromisoformat(text)
    except (TypeError, ValueError):
        raise Refusal("bad_request", f"{name}: got {text!r:.50}, expected a day like 2026-01-31") from None
    if not date(1970, 1, 1) <= day <= date(9998, 12, 31):
        raise Refusal("bad_request", f"{name}: got {text!r:.50}, expected 1970-01-01 to 9998-12-31")
    return day


def days_of(since: date | None, until: date | None) -> tuple[str, str]:
    """Return the first and the last day as texts that compare as the days do."""
    return "" if since is None else since.isoformat(), "9999" if until is None else until.isoformat()


def day_of(time_ms: int) -> str:
    """Return the day of a time, as YYYY-MM-DD."""
    return _day(time_ms // DAY_MS)


@lru_cache(1_000)
def _day(number: int) -> str:
    return datetime.fromtimestamp(number * DAY_MS // 1000, UTC).date().isoformat()


def as_text(report: ReportAnswer) -> str:
    """Return a report as lines for people."""
    period = f"{report.since or 'the beginning'} to {report.until or 'now'}, UTC days"
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
        "tried: trades sent; got: those with fills, which were to earn `expected`; over: those that hold",
        "nothing any more, which were to earn `was due` and earned `came`. profit: realised less fees;",
        "at bid, at settlement: with what is held now."
        + ("" if report.marked else " Its present worth is unknown."),
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


def _due(of: Whose) -> _Due:
    return _Due(of.strategy, of.kind, of.source, of.series)


def _row_of(sums: dict[_Key, _Sum], key: _Key) -> _Sum:
    found = sums.get(key)
    if found is None:
        found = sums[key] = _Sum()
    return found


def _copy(one: _Sum) -> _Sum:
    return msgspec.structs.replace(one)


def _nobodys(trade: int, event_ticker: str) -> Whose:
    name = FOREIGN_NAME if trade == FOREIGN else UNKNOWN
    return Whose(name, name, "", event_ticker.partition("-")[0], 0, promises=False)


def _plus(one_e6: int | None, other_e6: int | None) -> int | None:
    return None if one_e6 is None or other_e6 is None else one_e6 + other_e6


def _money(money_e6: int | None) -> str | None:
    return None if money_e6 is None else format_money(money_e6)
