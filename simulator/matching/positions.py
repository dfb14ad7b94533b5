"""Positions: contracts, what they cost, and what was won or lost by closing some of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from .orders import BID, Instrument, Party, Side

_ONE_E4: Final = 10_000


@dataclass(slots=True, eq=False)
class Position:
    """What a party holds in one market; YES and NO offset each other, so it is one or the other.

    Contracts cost their average: closing some removes the same share of the cost, rounded down to the
    micro-dollar, and closing all removes all of it.

    Attributes:
        count_e2: contracts, YES positive, NO negative.
        cost_e6: what they cost without fees; Kalshi's `market_exposure_dollars`.
        traded_e6: price times count of all fills, in YES prices for bids, in NO prices for asks; Kalshi's
            `total_traded_dollars`.
        traded_e2: contracts of all fills, on either side.
        realized_e6: proceeds less cost of what was closed or settled, before fees.
        fees_e6: net fees of the fills, and what settlement rounded off.
        settled_ms: when the market was settled, None before.
    """

    party: Party
    instrument: Instrument
    count_e2: int = 0
    cost_e6: int = 0
    traded_e6: int = 0
    traded_e2: int = 0
    realized_e6: int = 0
    fees_e6: int = 0
    updated_ms: int = 0
    settled_ms: int | None = None

    @property
    def time_ms(self) -> int:
        """When it last changed."""
        return self.updated_ms

    def trade(self, side: Side, price_e4: int, count_e2: int) -> int:
        """Book a fill; return its revenue: negative for what it opens, positive for what it closes."""
        bid = side == BID
        unit_e4 = price_e4 if bid else _ONE_E4 - price_e4
        held_e2 = -self.count_e2 if bid else self.count_e2
        closed_e2 = min(count_e2, held_e2) if held_e2 > 0 else 0
        cost_e6 = (count_e2 - closed_e2) * unit_e4
        revenue_e6 = -cost_e6
        if closed_e2:
            proceeds_e6 = closed_e2 * (_ONE_E4 - unit_e4)
            released_e6 = self.cost_e6 * closed_e2 // held_e2
            self.cost_e6 -= released_e6
            self.realized_e6 += proceeds_e6 - released_e6
            revenue_e6 += proceeds_e6
        self.cost_e6 += cost_e6
        self.count_e2 += count_e2 if bid else -count_e2
        self.traded_e6 += unit_e4 * count_e2
        self.traded_e2 += count_e2
        return revenue_e6


@dataclass(frozen=True, slots=True)
class EventPosition:
    """The positions of a party in one event, added up; members as in `Position`."""

    event_ticker: str
    cost_e6: int
    traded_e6: int
    traded_e2: int
    realized_e6: int
    fees_e6: int


def by_event(positions: Iterable[Position]) -> list[EventPosition]:
    """Add up positions by event, in order of each event's first appearance."""
    events: dict[str, list[Position]] = {}
    for position in positions:
        events.setdefault(position.instrument.event_ticker, []).append(position)
    return [
        EventPosition(
            event_ticker=ticker,
            cost_e6=sum(position.cost_e6 for position in held),
            traded_e6=sum(position.traded_e6 for position in held),
            traded_e2=sum(position.traded_e2 for position in held),
            realized_e6=sum(position.realized_e6 for position in held),
            fees_e6=sum(position.fees_e6 for position in held),
        )
        for ticker, held in events.items()
    ]
