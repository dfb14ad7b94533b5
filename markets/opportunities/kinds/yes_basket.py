"""Kind ``yes_basket``: YES of every market of an event in which exactly one resolves YES.

One of n legs pays, so it is a sure profit when the YES asks add up to less than 1. That at most one resolves
YES is not enough: if an outcome is missing from the list, nothing pays. So it needs the proof of
`exhaustive.py`, which the candidate carries.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from markets.book import YES
from markets.fees import fee_schedule
from markets.opportunities.floors import floor_e6, verdict
from markets.opportunities.legs import yes_prices
from markets.opportunities.types import EventView, Leg, Opportunity, ScanLimits
from markets.records import Event, FairValue, Quote
from markets.units import PRICE_ONE_E4

from .kind import NEVER_E4
from .locked import LockedKind, may_earn

BELIEVED_E4: Final = 1_000
"""From quotes alone, a list of outcomes cheaper than this is taken to have holes."""


class YesBasketKind(LockedKind):
    """YES of every market of an event in which exactly one resolves YES."""

    name = "yes_basket"
    title = "YES basket"
    tone = "yes"

    def lead(self, opportunity: Opportunity) -> str:
        """Say that exactly one of the outcomes wins."""
        return f"Exactly one of these {len(opportunity.legs)} wins"

    def find(
        self, view: EventView, fair_values: Mapping[str, FairValue], now_ms: int, limits: ScanLimits
    ) -> list[Opportunity]:
        """Return the event's basket if its gross edge is positive."""
        del fair_values  # a basket needs no opinion
        if not view.event.mutually_exclusive or len(view.markets) < 2:
            return []
        left_e4 = PRICE_ONE_E4
        for seen in view.markets:
            _, ask_e4 = yes_prices(seen)
            if ask_e4 is None:
                return []
            left_e4 -= ask_e4
            if left_e4 <= 0:
                return []
        known = verdict(view)
        if not known.known:
            return []
        wanted = [(seen, YES) for seen in view.markets]
        basket = self.sets(view, wanted, now_ms, limits, because=known.because)
        return [] if basket is None else [basket]

    def lacks_e4(self, view: EventView, fair_values: Mapping[str, FairValue]) -> int:
        """Return by how much the asks exceed $1 together, as they do if one is missing."""
        del fair_values
        if not view.event.mutually_exclusive or len(view.markets) < 2:
            return NEVER_E4
        asks_e4 = [
            PRICE_ONE_E4 if (ask_e4 := yes_prices(seen)[1]) is None else ask_e4 for seen in view.markets
        ]
        over_e4 = sum(asks_e4) - PRICE_ONE_E4
        if over_e4 >= 0:
            return over_e4 + 1
        return 0 if may_earn(asks_e4, fee_schedule(view.event, view.series)) else 1

    def may_matter(self, event: Event, *, valued: bool) -> bool:
        """Return whether at most one of the event's markets resolves YES."""
        return event.mutually_exclusive

    def worth_of_books_e4(self, event: Event, quotes: Sequence[Quote]) -> int | None:
        """Return by how much the YES asks fall short of $1 together, 0 if that is beyond belief."""
        if not event.mutually_exclusive:
            return None
        asks_e4 = [quote.yes_ask_e4 for quote in quotes if quote.yes_ask_size_e2]
        if len(asks_e4) < len(quotes):
            return 0
        left_e4 = PRICE_ONE_E4 - sum(asks_e4)
        return left_e4 if 0 < left_e4 <= BELIEVED_E4 else 0

    def least_payout_e6(self, view: EventView, legs: Sequence[tuple[str, str, int]]) -> int | None:
        """Return what YES of all markets pays when the smallest leg is the one that resolves YES."""
        every = {ticker for ticker, _, _ in legs} == {seen.market.ticker for seen in view.markets}
        if not every or any(side != YES for _, side, _ in legs) or not verdict(view).known:
            return None
        return floor_e6(view, legs, exhaustive=True)

    def key(self, event_ticker: str, legs: Sequence[Leg]) -> str:
        """Name the event: it has one basket."""
        return f"{self.name}:{event_ticker}"
