"""The equity curve by day, summed up as points arrive, so that a year costs little. Pure."""

from collections.abc import Iterable

import msgspec

from bus.trading.shapes import EquityDay
from markets.units import format_money

from .attribution import day_of


class Day(msgspec.Struct):
    """Equity of one day; `fall_e6` is the largest fall from a high to a later low, 0 or negative."""

    first_e6: int
    low_e6: int
    high_e6: int
    last_e6: int
    fall_e6: int = 0

    def take(self, equity_e6: int) -> None:
        """Take the next point."""
        self.high_e6 = max(self.high_e6, equity_e6)
        self.low_e6 = min(self.low_e6, equity_e6)
        self.fall_e6 = min(self.fall_e6, equity_e6 - self.high_e6)
        self.last_e6 = equity_e6


class EquityDays:
    """The days so far, and how far the points were read. One thread uses it."""

    def __init__(self) -> None:
        self.read_to = 0
        self._days: dict[str, Day] = {}

    def take(self, points: Iterable[tuple[int, int, int]]) -> None:
        """Take points: id, time in ms, equity in micro-dollars; oldest first."""
        for id_, time_ms, equity_e6 in points:
            name = day_of(time_ms)
            day = self._days.get(name)
            if day is None:
                day = self._days[name] = Day(equity_e6, equity_e6, equity_e6, equity_e6)
            day.take(equity_e6)
            self.read_to = id_

    def within(self, first: str, last: str) -> tuple[EquityDay, ...]:
        """Return the days from `first` to `last`, given as YYYY-MM-DD."""
        return tuple(
            EquityDay(
                day=name,
                first_dollars=format_money(day.first_e6),
                low_dollars=format_money(day.low_e6),
                high_dollars=format_money(day.high_e6),
                last_dollars=format_money(day.last_e6),
                drawdown_dollars=format_money(day.fall_e6),
            )
            for name, day in sorted(self._days.items())
            if first <= name <= last
        )

    def drawdown_e6(self, first: str, last: str) -> int | None:
        """Return the largest fall within these days, across days too; None if there are none."""
        fall_e6 = high_e6 = None
        for name, day in sorted(self._days.items()):
            if first <= name <= last:
                across_e6 = 0 if high_e6 is None else day.low_e6 - high_e6
                fall_e6 = min(fall_e6 or 0, day.fall_e6, across_e6)
                high_e6 = max(high_e6 or day.high_e6, day.high_e6)
        return fall_e6
