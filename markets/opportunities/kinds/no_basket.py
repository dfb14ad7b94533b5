"""Kind ``no_basket``: NO on several markets of a mutually exclusive event.

At most one of them resolves YES, so of n legs at least n - 1 pay. That is a sure profit when the NO prices
add up to less than n - 1, that is, when the YES bids add up to more than 1. No exhaustiveness is
needed: if none resolves YES, all n pay.

The legs' books are walked together. A leg that runs dry, or whose bid no longer pays its own fee, drops out,
and the rest go on while they still pay; so legs may differ in count, those dropped being smaller. Whichever
leg then resolves YES, the payout is at least the sum of all counts less the largest one.
"""

from collections.abc import Mapping, Sequence

from markets.book import NO, fills
from markets.fees import FeeSchedule, fee_schedule, grows_with_price, trade_fee_e6
from markets.opportunities.legs import (
    ONE_E18,
    Ladder,
    ladder,
    least_cost_e18,
    leg,
    market_reasons,
    yes_prices,
)
from markets.opportunities.types import EventView, Leg, MarketView, Opportunity, ScanLimits
from markets.opportunities.words import dollars, each_e6, price, sure_profit
from markets.records import Event, FairValue, Quote, Status
from markets.units import COUNT_ONE_E2, MONEY_ONE_E6, PRICE_ONE_E4, opposite

from .kind import NEVER_E4, Kind

_Pool = list[tuple[MarketView, Ladder]]
"""The markets that a basket may be made of, with their NO asks."""


class NoBasketKind(Kind):
    """NO on several markets of an event in which at most one resolves YES."""

    name = "no_basket"
    title = "NO basket"
    tone = "no"
    by_prices = True

    def find(
        self, view: EventView, fair_values: Mapping[str, FairValue], now_ms: int, limits: ScanLimits
    ) -> list[Opportunity]:
        """Return the event's basket if its gross edge is positive: made of sound legs if they suffice."""
        del fair_values  # a basket needs no opinion
        if not view.event.mutually_exclusive:
            return []
        # Most events end here: depth is examined only if the best bids say that it may matter.
        if sum(_bids_e4(view)) <= PRICE_ONE_E4:
            return []
        everything = _pool(view, limits)
        fees = fee_schedule(view.event, view.series)
        sound = [
            (seen, asks)
            for seen, asks in everything
            if not market_reasons(seen, asks.as_of_ms, now_ms, limits)
        ]
        basket = self._basket(view, sound, fees, now_ms, limits, sound=True)
        if basket is None and len(sound) < len(everything):
            basket = self._basket(view, everything, fees, now_ms, limits, sound=False)
        return [] if basket is None else [basket]

    def lacks_e4(self, view: EventView, fair_values: Mapping[str, FairValue]) -> int:
        """Return by how much the bids fall short of $1 together.

        Whatever a basket's legs and counts, it earns no more than its largest count times what NO of each,
        less its fee, is worth beyond the one leg that may lose.
        """
        del fair_values
        if not view.event.mutually_exclusive:
            return NEVER_E4
        bids_e4 = _bids_e4(view)
        short_e4 = PRICE_ONE_E4 - sum(bids_e4)
        if short_e4 >= 0:
            return short_e4 + 1
        fees = fee_schedule(view.event, view.series)
        if fees is None:
            return NEVER_E4
        earns = [ONE_E18 - least_cost_e18(fees, opposite(bid_e4)) for bid_e4 in bids_e4 if bid_e4]
        pays = sum([each for each in earns if each > 0]) > ONE_E18 or not grows_with_price(fees)
        return 0 if pays else 1

    def may_matter(self, event: Event, *, valued: bool) -> bool:
        """Return whether at most one of the event's markets resolves YES."""
        return event.mutually_exclusive

    def worth_of_books_e4(self, event: Event, quotes: Sequence[Quote]) -> int | None:
        """Return by how much the YES bids exceed $1 together: NO of all costs that much less than it pays."""
        if not event.mutually_exclusive:
            return None
        bids_e4 = sum([quote.yes_bid_e4 for quote in quotes if quote.yes_bid_size_e2])
        return max(0, bids_e4 - PRICE_ONE_E4)

    def least_payout_e6(self, view: EventView, legs: Sequence[tuple[str, str, int]]) -> int | None:
        """Return what NO legs pay when the largest of them is the one that resolves YES."""
        if not view.event.mutually_exclusive or any(side != NO for _, side, _ in legs):
            return None
        return guaranteed_payout_e6([count_e2 for _, _, count_e2 in legs])

    def explain(self, opportunity: Opportunity) -> str:
        """Say that at most one leg loses, what they cost, and what is left."""
        legs = opportunity.legs
        many, even = len(legs), len({bought.count_e2 for bought in legs}) == 1
        cost_e6 = sum(bought.cost_e6 for bought in legs)
        if even:
            each = price(each_e6(cost_e6, opportunity.count_e2))
            pays = f"{many} NO cost {each}, at least {many - 1} {'pay' if many > 2 else 'pays'} $1"
        else:
            pays = (
                f"{many} NO cost {dollars(cost_e6)} together and pay at least {dollars(opportunity.floor_e6)}"
            )
        return f"At most one of these {many} can win. {pays}: {sure_profit(opportunity, even=even)}."

    def key(self, event_ticker: str, legs: Sequence[Leg]) -> str:
        """Name the event: it has one basket, whose legs come and go with their prices."""
        return f"{self.name}:{event_ticker}"

    def _basket(
        self,
        view: EventView,
        pool: _Pool,
        fees: FeeSchedule | None,
        now_ms: int,
        limits: ScanLimits,
        *,
        sound: bool,
    ) -> Opportunity | None:
        ladders = [asks for _, asks in pool]
        counts = _walk(ladders, fees, now_ms) or _top_only(ladders)
        chosen = [
            (seen, leg(seen, NO, fills(asks.levels, count_e2), asks.as_of_ms, fees, now_ms))
            for (seen, asks), count_e2 in zip(pool, counts, strict=True)
            if count_e2 > 0
        ]
        if len(chosen) < 2:
            return None
        cost_e6 = sum([bought.cost_e6 for _, bought in chosen])
        gross_e6 = guaranteed_payout_e6([bought.count_e2 for _, bought in chosen]) - cost_e6
        if gross_e6 <= 0:
            return None
        return self.offer(view, chosen, gross_e6, now_ms, limits, sound=sound, floor=gross_e6 + cost_e6)


def _pooled(view: EventView) -> list[MarketView]:
    return [
        seen
        for seen in view.markets
        if seen.quote.status is Status.ACTIVE and seen.market.market_type == "binary"
    ]


def _bids_e4(view: EventView) -> list[int]:
    return [yes_prices(seen)[0] or 0 for seen in _pooled(view)]


def _pool(view: EventView, limits: ScanLimits) -> _Pool:
    asked = [(seen, ladder(seen, NO, limits)) for seen in _pooled(view)]
    return [(seen, asks) for seen, asks in asked if asks.levels]


def guaranteed_payout_e6(counts_e2: Sequence[int]) -> int:
    """Return the least that NO legs of these counts pay when at most one of their markets resolves YES."""
    return (sum(counts_e2) - max(counts_e2)) * PRICE_ONE_E4


def _walk(ladders: Sequence[Ladder], fees: FeeSchedule | None, now_ms: int) -> list[int]:
    """Buy tranches over all legs that earn their place, until one more basket would earn nothing.

    Returns the count of each leg; empty if not even the first basket earns anything.
    """
    counts = [0] * len(ladders)
    position = [0] * len(ladders)
    left = [asks.levels[0][1] for asks in ladders]
    # A leg earns 1 less its price and fee; a basket earns the sum of that, less the one leg that may lose.
    earns = [_earns_e6(asks.levels[0][0], fees, now_ms) for asks in ladders]
    live = list(range(len(ladders)))
    while True:
        live = [i for i in live if earns[i] > 0]
        if len(live) < 2 or sum([earns[i] for i in live]) <= MONEY_ONE_E6:
            return counts if any(counts) else []
        step = min([left[i] for i in live])
        for i in live:
            counts[i] += step
            left[i] -= step
            if left[i] == 0:
                position[i] += 1
                earns[i] = 0
                if position[i] < len(ladders[i].levels):
                    price_e4, left[i] = ladders[i].levels[position[i]]
                    earns[i] = _earns_e6(price_e4, fees, now_ms)


def _earns_e6(no_price_e4: int, fees: FeeSchedule | None, now_ms: int) -> int:
    """What one NO contract adds to a basket's guaranteed profit, if it is not the leg that loses."""
    fee_e6 = 0 if fees is None else trade_fee_e6(fees, no_price_e4, COUNT_ONE_E2, time_ms=now_ms)
    return MONEY_ONE_E6 - no_price_e4 * 100 - fee_e6


def _top_only(ladders: Sequence[Ladder]) -> list[int]:
    """The largest equal count of all legs at their best asks: what to show when fees take the edge."""
    return [min((asks.levels[0][1] for asks in ladders), default=0)] * len(ladders)
