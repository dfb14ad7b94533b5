"""What the results page shows: the report of a period and one to compare, days, risks, calibration."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple

import msgspec

from bus.trading.shapes import CalibrationRow, EquityDay, ReportAnswer, ReportRow, RiskRow, TradeRow
from markets.errors import BadRecord

WEEKS_SHOWN: Final = 27
ROWS_SHOWN: Final = 60
"""Most rows of a table on the page; its file has them all."""

PERIODS: Final[Mapping[str, int | None]] = {"today": 1, "7 days": 7, "30 days": 30, "all": None}
"""Periods by name, in days up to today."""

PARAMETERS: Final = ("since", "until", "than_since", "than_until")
FIRST_DAY: Final = date(1970, 1, 1)
LAST_DAY: Final = date(9998, 12, 31)


FILES: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(("strategy", "kind", "source", "series", "day"), ReportRow.__struct_fields__),
    "equity": EquityDay.__struct_fields__,
    "trades": tuple(field for field in TradeRow.__struct_fields__ if field != "legs"),
    "risks": tuple(field for field in RiskRow.__struct_fields__ if field not in ("trades", "strategies")),
}
"""Columns of the CSV files."""


def rows_of(report: ReportAnswer, name: str) -> Sequence[ReportRow | EquityDay]:
    """Return the rows of a file made from a report."""
    rows: Sequence[ReportRow | EquityDay] = (
        report.equity_days if name == "equity" else getattr(report, f"by_{name}")
    )
    return rows


class Period(NamedTuple):
    """UTC days, both included; None means from the beginning, or until now."""

    since: date | None = None
    until: date | None = None

    @property
    def query(self) -> dict[str, str]:
        """The period in the address."""
        days = {"since": self.since, "until": self.until}
        return {name: day.isoformat() for name, day in days.items() if day is not None}

    @property
    def words(self) -> str:
        """The period in words."""
        if self.since is None and self.until is None:
            return "all days"
        if self.since == self.until and self.since is not None:
            return self.since.isoformat()
        since = "the beginning" if self.since is None else self.since.isoformat()
        return f"{since} to {'now' if self.until is None else self.until.isoformat()}"


class Choice(NamedTuple):
    """The wanted period, and possibly another to compare it with."""

    period: Period
    than: Period | None


def parse_choice(arguments: Iterable[tuple[str, str]]) -> Choice:
    """Return the periods in a query string; an empty value counts as not given.

    Raises:
        BadRecord: naming the first parameter that is unknown, repeated or not a day, or whose period ends
            before it begins.
    """
    days: dict[str, date] = {}
    seen: set[str] = set()
    for name, text in arguments:
        if name not in PARAMETERS:
            raise BadRecord(name, text, f"one of the parameters {', '.join(PARAMETERS)}")
        if name in seen:
            raise BadRecord(name, text, "the parameter only once")
        seen.add(name)
        if text:
            days[name] = _day(name, text)
    period = _period("", days)
    than = _period("than_", days)
    return Choice(period, None if than == Period() else than)


def _period(prefix: str, days: Mapping[str, date]) -> Period:
    since, until = days.get(f"{prefix}since"), days.get(f"{prefix}until")
    if since is not None and until is not None and until < since:
        raise BadRecord(f"{prefix}until", until.isoformat(), f"{since.isoformat()} or later")
    return Period(since, until)


def _day(name: str, text: str) -> date:
    try:
        day = date.fromisoformat(text) if len(text) == 10 else None
    except ValueError:
        day = None
    if day is None or not FIRST_DAY <= day <= LAST_DAY:
        raise BadRecord(name, text, "a day such as 2026-01-31")
    return day


def presets(now_ms: int) -> dict[str, Period]:
    """Return the periods one click away."""
    today = datetime.fromtimestamp(now_ms / 1000, UTC).date()
    return {
        name: Period() if days is None else Period(today - timedelta(days - 1), today)
        for name, days in PERIODS.items()
    }


def before(period: Period) -> Period | None:
    """Return the period of the same length just before; None unless both ends are given."""
    if period.since is None or period.until is None:
        return None
    days = period.until - period.since + timedelta(1)
    if period.since - FIRST_DAY < days:
        return None
    return Period(period.since - days, period.since - timedelta(1))


class DayCell(msgspec.Struct, frozen=True):
    """A day of the calendar; `row` is None if nothing happened. `weight` is 1 to 4, by the profit or loss."""

    day: date
    row: ReportRow | None = None
    weight: int = 0

    @property
    def monday(self) -> date:
        """The first day of its week, which may be before all that is shown."""
        return self.day - timedelta(self.day.weekday())

    @property
    def tone(self) -> str:
        """A CSS class."""
        if self.row is None or not self.weight:
            return ""
        return f"{'up' if earned(self.row) > 0 else 'down'}-{self.weight}"


class Point(msgspec.Struct, frozen=True):
    """A point of the calibration plot, in its viewBox of 100 x 100; `r` grows with the number of lots."""

    x: float
    y: float
    r: float


class Plot(msgspec.Struct, frozen=True):
    """The forecast value of contracts against what they paid, as a drawing and a table."""

    name: str
    points: Sequence[Point]
    row: CalibrationRow


class ResultsPage(msgspec.Struct, frozen=True):
    """The page.

    Attributes:
        weeks: the calendar, one row per week from Monday, newest last. older: number of days before it.
        tables: title -> name of the file, rows with the most profitable first, and how many more there are.
        sums: sums over `risks`, by name; not all worst cases need be possible at once.
    """

    report: ReportAnswer
    than: ReportAnswer | None
    weeks: Sequence[Sequence[DayCell | None]]
    older: int
    tables: Mapping[str, tuple[str, Sequence[ReportRow], int]]
    plots: Sequence[Plot]
    risks: Sequence[RiskRow]
    trades: Sequence[TradeRow]
    sums: Mapping[str, Decimal]


def results_page(
    report: ReportAnswer, than: ReportAnswer | None, risks: Sequence[RiskRow], trades: Sequence[TradeRow]
) -> ResultsPage:
    """Return what the page shows."""
    weeks, older = calendar(report.by_day)
    return ResultsPage(
        report=report,
        than=than,
        weeks=weeks,
        older=older,
        tables={
            title: (name, *_most_first(getattr(report, f"by_{name}")))
            for title, name in (
                ("Strategy", "strategy"),
                ("Kind", "kind"),
                ("Source of the fair value", "source"),
                ("Series", "series"),
            )
        },
        plots=[plot(row) for row in report.calibration],
        risks=risks,
        trades=[trade for trade in trades if trade.settled_dollars is not None],
        sums={
            name: sum((Decimal(getattr(risk, f"{name}_dollars")) for risk in risks), Decimal(0))
            for name in ("cost", "worst", "best", "pays")
            if all(getattr(risk, f"{name}_dollars") is not None for risk in risks)
        },
    )


def earned(row: ReportRow) -> Decimal:
    """Return a row's profit: at settlement where that is known, else realised.

    Realised profit alone would count the fees of open positions as a loss, and none of what they lock in.
    """
    return Decimal(row.profit_dollars if row.settlement_dollars is None else row.settlement_dollars)


def _most_first(rows: Sequence[ReportRow]) -> tuple[Sequence[ReportRow], int]:
    ordered = sorted(rows, key=lambda row: (-earned(row), row.name))
    if len(ordered) <= ROWS_SHOWN:
        return ordered, 0
    half = ROWS_SHOWN // 2  # the largest profits, and the largest losses
    return [*ordered[:half], *ordered[-half:]], len(ordered) - ROWS_SHOWN


def calendar(by_day: Sequence[ReportRow]) -> tuple[list[list[DayCell | None]], int]:
    """Return the newest weeks, and the number of earlier days on which anything happened."""
    rows = {date.fromisoformat(row.name): row for row in by_day}
    if not rows:
        return [], 0
    last = max(rows)
    monday = last - timedelta(last.weekday())
    first = max(min(rows), monday - timedelta(weeks=WEEKS_SHOWN - 1))
    begin = first - timedelta(first.weekday())
    shown = [row for day, row in rows.items() if day >= begin]
    most = max((abs(earned(row)) for row in shown), default=Decimal(0))
    weeks = []
    while begin <= last:
        week = [begin + timedelta(days) for days in range(7)]
        weeks.append([_cell(day, rows.get(day), most) if first <= day <= last else None for day in week])
        begin += timedelta(7)
    return weeks, len(rows) - len(shown)


def _cell(day: date, row: ReportRow | None, most: Decimal) -> DayCell:
    if row is None or not most:
        return DayCell(day, row)
    share = abs(earned(row)) / most
    return DayCell(day, row, 0 if not share else min(4, 1 + int(share * 4)))


def plot(row: CalibrationRow) -> Plot:
    """Return forecasts (to the right) against outcomes (upwards) as points."""
    most = max((one.lots for one in row.bins), default=1)
    points = [
        Point(
            round(100 * min(1.0, max(0.0, one.said)), 2),
            round(100 - 100 * min(1.0, max(0.0, one.came)), 2),
            round(1.2 + 2.8 * (one.lots / most) ** 0.5, 2) if most else 1.2,
        )
        for one in row.bins
    ]
    return Plot(row.name, points, row)


def win_rate(row: ReportRow) -> float | None:
    """Return the share of closed trades that made a profit; None if there are none."""
    return row.won / row.over if row.over else None


def profit_factor(row: ReportRow) -> float | None:
    """Return dollars won per dollar lost; None if nothing was lost."""
    lost = Decimal(row.lost_dollars)
    return float(Decimal(row.won_dollars) / -lost) if lost < 0 else None
