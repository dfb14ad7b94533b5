"""The list of opportunities as people read it: one row per event, its best trade first, the rest folded away.

Rows are ranked by profit per day within the limits: the size available in the book is cut to what an order, a
market, an event and everything together may cost, and its expected profit is divided by the time until the
payout.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec

from bus.trading.reasons import HALTS
from bus.trading.shapes import TraderStatus
from markets.opportunities import Opportunity
from ui.desk import Mark, Marks

from .filters import SORTS

HELD: Final = "held"
DAYS_OF_YEAR: Final = 365
TELLS_FROM_MS: Final = 86_400_000
"""A yearly return is meaningful only if the payout is at least this far away: a day."""


class Room(msgspec.Struct, frozen=True):
    """What a trade may cost, in micro-dollars; None for no bound.

    Attributes:
        leg_e6: most that one leg may cost. trade_e6: most that all legs together may cost.
    """

    leg_e6: int | None = None
    trade_e6: int | None = None

    @classmethod
    def of(cls, status: TraderStatus | None) -> "Room":
        """Return the room that the trader's limits leave for a trade in an event with no position."""
        if status is None:
            return cls()
        limits = status.limits
        left_e6 = max(0, _e6(limits.total_dollars) - _e6(status.exposure.total_dollars))
        return cls(
            min(_e6(limits.order_dollars), _e6(limits.market_dollars)),
            min(_e6(limits.event_dollars), _e6(limits.match_dollars), left_e6),
        )

    def share(self, opportunity: Opportunity) -> float:
        """Return the share of an opportunity's size that fits, 0..1."""
        share = 1.0
        if self.leg_e6 is not None:
            dearest_e6 = max(leg.cost_e6 + (leg.fee_e6 or 0) for leg in opportunity.legs)
            share = min(share, self.leg_e6 / dearest_e6) if dearest_e6 else share
        if self.trade_e6 is not None and opportunity.capital_e6:
            share = min(share, self.trade_e6 / opportunity.capital_e6)
        return share

    def capital_e6(self, opportunity: Opportunity) -> int | None:
        """Return the capital needed for as much of an opportunity as fits."""
        capital_e6 = opportunity.capital_e6
        return None if capital_e6 is None else int(capital_e6 * self.share(opportunity))

    def expected_e6(self, opportunity: Opportunity) -> int | None:
        """Return the expected profit of as much of an opportunity as fits."""
        return None if opportunity.ev_e6 is None else int(opportunity.ev_e6 * self.share(opportunity))

    def per_day_e6(self, opportunity: Opportunity) -> int | None:
        """Return that profit per day until the payout; None if the time of the payout is not known."""
        capital_e6, yearly = self.capital_e6(opportunity), opportunity.annualised_return
        if capital_e6 is None or yearly is None:
            return None
        return int(capital_e6 * yearly / DAYS_OF_YEAR)


NO_BOUND: Final = Room()


class Row(msgspec.Struct, frozen=True):
    """The ways to trade one event.

    Attributes:
        best: the best way. others: the other ways, best first.
        folded: why the row is folded away: "held", or the reason why risk refuses it; "" if it is not.
    """

    best: Opportunity
    others: tuple[Opportunity, ...]
    folded: str = ""

    @property
    def event_ticker(self) -> str:
        return self.best.event_ticker

    @property
    def keys(self) -> frozenset[str]:
        """The keys of all its ways."""
        return frozenset((self.best.key, *(other.key for other in self.others)))


class Board(msgspec.Struct, frozen=True):
    """The rows to look at, and those folded away as held or refused by risk, each best first.

    `because`: how many rows are folded away for each reason, most frequent first.
    """

    rows: tuple[Row, ...]
    folded: tuple[Row, ...]
    because: tuple[tuple[str, int], ...]
    pinned: int = 0


def board(
    opportunities: Sequence[Opportunity],
    marks: Marks,
    room: Room,
    sort: str = "",
    pins: Sequence[str] = (),
    pinned: Iterable[Opportunity] = (),
) -> Board:
    """Return opportunities by event.

    Args:
        sort: a key of SORTS, with a leading "-" for descending; "" for the highest profit per day first.
        pins: keys of opportunities whose events come first, in this order, even if folded otherwise.
        pinned: opportunities that may be pinned although they pass no filter.
    """
    of_event: dict[str, list[Opportunity]] = {}
    for opportunity in opportunities:
        of_event.setdefault(opportunity.event_ticker, []).append(opportunity)
    for opportunity in pinned:
        if opportunity.key in pins and opportunity.event_ticker not in of_event:
            of_event[opportunity.event_ticker] = [opportunity]
    rows = [_row(ways, marks, room) for ways in of_event.values()]
    rows.sort(key=lambda row: _best_first(row.best, row.folded, room))
    rows = _sorted(rows, sort, room)
    first = [row for key in pins for row in rows if key in row.keys]
    first = list({row.event_ticker: row for row in first}.values())
    held = {row.event_ticker for row in first}
    rest = [row for row in rows if row.event_ticker not in held]
    folded = tuple(row for row in rest if row.folded)
    because = Counter(row.folded for row in folded).most_common()
    shown = (*first, *(row for row in rest if not row.folded))
    return Board(shown, folded, tuple(because), len(first))


def informs(opportunity: Opportunity) -> bool:
    """Whether a yearly return is meaningful: whether the payout is a day away or more."""
    yearly, capital_e6, ev_e6 = opportunity.annualised_return, opportunity.capital_e6, opportunity.ev_e6
    if not yearly or not capital_e6 or ev_e6 is None:
        return False
    return abs(ev_e6 / capital_e6 / yearly) * DAYS_OF_YEAR * 86_400_000 >= TELLS_FROM_MS


def _row(ways: Sequence[Opportunity], marks: Marks, room: Room) -> Row:
    judged = [(_folded(way, marks.of(way)), way) for way in ways]
    judged.sort(key=lambda pair: _best_first(pair[1], pair[0], room))
    folded, best = judged[0]
    return Row(best, tuple(way for _, way in judged[1:]), folded)


def _folded(opportunity: Opportunity, mark: Mark) -> str:
    """Return why an opportunity is folded away. A halt of all trading is no reason against it."""
    if not opportunity.tradable:
        return ""
    if mark.held:
        return HELD
    return mark.refused if mark.by_risk and mark.refused and mark.refused not in HALTS else ""


def _best_first(
    opportunity: Opportunity, folded: str, room: Room
) -> tuple[bool, bool, bool, float, int, str]:
    day_e6 = room.per_day_e6(opportunity)
    o = opportunity
    return not o.tradable, bool(folded), day_e6 is None, -(day_e6 or 0), -(o.net_edge_e6 or 0), o.key


def _sorted(rows: Sequence[Row], sort: str, room: Room) -> list[Row]:
    name = sort.removeprefix("-")
    if not name:
        return list(rows)
    key = room.per_day_e6 if name == "day" else SORTS[name]
    keys: dict[str, Any] = {row.event_ticker: key(row.best) for row in rows}
    known = [row for row in rows if keys[row.event_ticker] is not None]
    known.sort(key=lambda row: keys[row.event_ticker], reverse=sort.startswith("-"))
    return known + [row for row in rows if keys[row.event_ticker] is None]


def _e6(dollars: str) -> int:
    return int(Decimal(dollars).scaleb(6))


WORDS: Final[Mapping[str, str]] = {HELD: "already held"}
"""Why a row is folded away, in words that bus.trading.reasons lacks."""
