"""Kind ``no_basket``: NO on several markets of a mutually exclusive event.

At most one of them resolves YES, so of n legs at least n - 1 pay. That is a sure profit when the NO prices
add up to less than n - 1, which is to say when the YES bids add up to more than 1. No exhaustiveness is
needed: if none resolves YES, all n pay.

The legs' books are walked together. A leg that runs dry, or whose bid no longer pays its own fee, drops out
and the rest goes on while it still pays; legs may therefore differ in count, the dropped ones being smaller.
Whichever leg then resolves YES, the payout is at least all counts less the largest one.

Worst case: that guarantee. Where the rules of a leg let the exchange settle at a fair price (a voided match),
the legs are counted at no more than today's NO bids, since the guarantee says nothing about a voided match.
"""

from collections.abc import Mapping, Sequence

import msgspec

from markets.book import NO, fills
from markets.fees import FeeSchedule, fee_schedule, fill_fee
from markets.json.read import mentions_fair_price
from markets.opportunities import reasons as why
from markets.opportunities.legs import (
    Ladder,
    annualised,
    ladder,
    least_volume_e2,
    leg,
    legs_reasons,
    market_reasons,
    top,
    total_fees_e6,
)
from markets.opportunities.types import EventView, Leg, MarketView, Opportunity, ScanLimits
from markets.records import FairValue, Level, Status
from markets.units import COUNT_ONE_E2, MONEY_ONE_E6, PRICE_ONE_E4

KIND = "no_basket"
NOTE_VOID = "the rules allow a settlement at a fair price; the worst case then assumes today's bids"


class _Pool(msgspec.Struct, frozen=True):
    """Markets that a basket may be made of, with their NO asks."""

    markets: list[MarketView]
    ladders: list[Ladder]


def find(
    view: EventView, fair_values: Mapping[str, FairValue], now_ms: int, limits: ScanLimits
) -> list[Opportunity]:
    """Return the event's basket if its gross edge is positive: of sound legs if they suffice, else of all."""
    del fair_values  # a basket needs no opinion
    if not view.event.mutually_exclusive:
        return []
    # Most events end here: no depth is looked at before the best bids say that it may matter.
    bids = [best for one in view.markets if _pooled(one) and (best := top(one).yes_bid) is not None]
    if sum(price_e4 for price_e4, _ in bids) <= PRICE_ONE_E4:
        return []
    everything = _pool(view, limits)
    fees = fee_schedule(view.event, view.series)
    for sound, pool in ((True, _sound(everything, now_ms, limits)), (False, everything)):
        basket = _basket(view, pool, fees, now_ms, limits, sound=sound)
        if basket is not None:
            return [basket]
    return []


def _pooled(market: MarketView) -> bool:
    return market.quote.status is Status.ACTIVE and market.market.market_type == "binary"


def _pool(view: EventView, limits: ScanLimits) -> _Pool:
    pool = _Pool([], [])
    for market in view.markets:
        if _pooled(market):
            asks = ladder(market, NO, limits)
            if asks.levels:
                pool.markets.append(market)
                pool.ladders.append(asks)
    return pool


def _sound(pool: _Pool, now_ms: int, limits: ScanLimits) -> _Pool:
    sound = [
        (market, asks)
        for market, asks in zip(pool.markets, pool.ladders, strict=True)
        if not any(market_reasons(market, asks.as_of_ms, now_ms, limits))
    ]
    return _Pool([market for market, _ in sound], [asks for _, asks in sound])


def _basket(
    view: EventView, pool: _Pool, fees: FeeSchedule | None, now_ms: int, limits: ScanLimits, *, sound: bool
) -> Opportunity | None:
    counts = _walk(pool.ladders, fees, now_ms) or _top_only(pool.ladders)
    chosen = [
        (market, leg(market, NO, fills(asks.levels, count_e2), asks.as_of_ms, fees, now_ms))
        for market, asks, count_e2 in zip(pool.markets, pool.ladders, counts, strict=True)
        if count_e2 > 0
    ]
    legs = tuple(one for _, one in chosen)
    if len(legs) < 2:
        return None
    cost_e6 = sum(one.cost_e6 for one in legs)
    gross_e6 = guaranteed_payout_e6([one.count_e2 for one in legs]) - cost_e6
    if gross_e6 <= 0:
        return None
    fees_e6 = total_fees_e6(legs)
    net_e6 = None if fees_e6 is None else gross_e6 - fees_e6
    capital_e6 = None if fees_e6 is None else cost_e6 + fees_e6
    voidable = [market for market, _ in chosen if mentions_fair_price(market.market)]
    worst_e6 = net_e6
    if capital_e6 is not None and net_e6 is not None and voidable:
        worst_e6 = min(net_e6, _void_payout_e6(chosen) - capital_e6)
    edge = why.FEE_UNKNOWN if net_e6 is None else why.FEES_EXCEED_EDGE if net_e6 <= 0 else None
    return Opportunity(
        kind=KIND,
        event_ticker=view.event.event_ticker,
        series_ticker=view.event.series_ticker,
        title=view.event.title,
        legs=legs,
        count_e2=max(one.count_e2 for one in legs),
        gross_edge_e6=gross_e6,
        fees_e6=fees_e6,
        net_edge_e6=net_e6,
        ev_e6=net_e6,
        worst_case_e6=worst_e6,
        capital_e6=capital_e6,
        annualised_return=annualised(view, net_e6, capital_e6, now_ms),
        probability=None,
        value=None,
        start_ms=view.timing.start_ms,
        close_ms=min(market.market.close_ms for market, _ in chosen),
        as_of_ms=min(one.as_of_ms for one in legs),
        volume_e2=least_volume_e2(market for market, _ in chosen),
        exhaustive_because=None,
        reasons=why.ordered(
            (*legs_reasons(view, chosen, now_ms, limits, sound=sound), *([edge] if edge else ()))
        ),
        notes=(NOTE_VOID,) if voidable else (),
    )


def guaranteed_payout_e6(counts_e2: Sequence[int]) -> int:
    """Return what NO legs of these counts pay at least when at most one of their markets resolves YES."""
    return (sum(counts_e2) - max(counts_e2)) * PRICE_ONE_E4


def _walk(ladders: Sequence[Ladder], fees: FeeSchedule | None, now_ms: int) -> list[int]:
    """Buy tranches over all legs that earn their place, until one more basket would not profit.

    Returns the count of each leg; empty if not even the first basket profits.
    """
    counts = [0] * len(ladders)
    position = [0] * len(ladders)
    left = [asks.levels[0][1] for asks in ladders]
    live = list(range(len(ladders)))
    while True:
        # A leg earns 1 less its price and fee; a basket the sum of that, less the one leg that may lose.
        earns = {i: _earns_e6(ladders[i].levels[position[i]][0], fees, now_ms) for i in live}
        live = [i for i in live if earns[i] > 0]
        if len(live) < 2 or sum(earns[i] for i in live) <= MONEY_ONE_E6:
            return counts if any(counts) else []
        step = min(left[i] for i in live)
        for i in live:
            counts[i] += step
            left[i] -= step
            if left[i] == 0:
                position[i] += 1
                if position[i] < len(ladders[i].levels):
                    left[i] = ladders[i].levels[position[i]][1]
        live = [i for i in live if position[i] < len(ladders[i].levels)]


def _earns_e6(no_price_e4: int, fees: FeeSchedule | None, now_ms: int) -> int:
    """What one NO contract adds to a basket's guaranteed profit, if it is not the leg that loses."""
    fee_e6 = 0 if fees is None else fill_fee(fees, no_price_e4, COUNT_ONE_E2, time_ms=now_ms).trade_fee_e6
    return MONEY_ONE_E6 - no_price_e4 * 100 - fee_e6


def _top_only(ladders: Sequence[Ladder]) -> list[int]:
    """The largest equal count of all legs at their best asks: what to show when fees take the edge."""
    return [min((asks.levels[0][1] for asks in ladders), default=0)] * len(ladders)


def _void_payout_e6(chosen: Sequence[tuple[MarketView, Leg]]) -> int:
    """What selling every leg into its best bid would return, at most."""
    payout_e6 = 0
    for market, one in chosen:
        bid: Level | None = top(market).no_bid
        payout_e6 += bid[0] * one.count_e2 if bid else 0
    return payout_e6
