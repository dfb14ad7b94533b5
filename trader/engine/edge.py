"""What a trade is expected to earn, worked out from what is seen: nobody's word is taken for it. Pure.

A trade without an opinion earns what it pays at least (its floor), less cost and fees, if no leg is missed.
What a missed leg costs is that the basket is evened out: completed at the levels beyond, or sold at the bids.
A trade on an opinion earns what the published fair values say.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from bus.trading import reasons
from markets.book import NO, YES, cost_e6, depth, fills
from markets.fees import FeeSchedule, fee_schedule, taker_fees_e6
from markets.opportunities import EventView, MarketView, ScanLimits, floor_e6, void_e6
from markets.opportunities.legs import ladder
from markets.orders import Proposal, Wanted
from markets.records import FairValue, Level
from markets.units import COUNT_ONE_E2, PRICE_ONE_E4

MILLION: Final = 1_000_000


class Edge(NamedTuple):
    """What a trade earns after fees if all of it is had, and what may be expected of it."""

    whole_e6: int
    expected_e6: int


class _Leg(NamedTuple):
    wanted: Wanted
    seen: MarketView
    levels: tuple[Level, ...]
    paid_e6: int
    unwound_e6: int | None


def edge_of(
    legs: Sequence[Wanted],
    proposal: Proposal,
    view: EventView,
    fair_values: Mapping[str, FairValue],
    scan: ScanLimits,
    now_ms: int,
    miss_ppm: int,
) -> Edge | str:
    """Return what a trade earns, or why nothing says so.

    Args:
        legs: of the proposal, cut to size, in markets of the view.
        miss_ppm: chance in a million that a leg of a basket is gone when its order arrives.
    """
    fees, seen = fee_schedule(view.event, view.series), {one.market.ticker: one for one in view.markets}
    if fees is None:
        return reasons.FEE_UNKNOWN
    if any(leg.ticker not in seen for leg in legs):
        return reasons.MARKET_UNKNOWN
    rests = proposal.time_in_force == "gtc"
    looked = [_look(leg, seen[leg.ticker], fees, scan, now_ms, rests=rests) for leg in legs]
    cost = sum(leg.paid_e6 for leg in looked)
    if proposal.probability is not None:
        worth_e6 = 0
        for leg in legs:
            fair = fair_values.get(leg.ticker)
            if fair is None:
                return reasons.NO_FAIR_VALUE
            if now_ms - fair.as_of_ms > scan.max_fair_value_age_ms:
                return reasons.FAIR_VALUE_STALE
            yes_e6 = round(fair.probability * MILLION)
            worth_e6 += (yes_e6 if leg.side == YES else MILLION - yes_e6) * leg.count_e2 // COUNT_ONE_E2
        return Edge(worth_e6 - cost, worth_e6 - cost)
    whole_e6 = _floor_e6(view, legs) - cost
    if len(legs) < 2 or whole_e6 <= 0:
        return Edge(whole_e6, whole_e6)
    missed_e6 = _missed_e6(view, looked, fees, now_ms)
    return Edge(whole_e6, (whole_e6 * (MILLION - miss_ppm) + missed_e6 * miss_ppm) // MILLION)


def shown_cost_e6(levels: Sequence[tuple[int, int]], price_e4: int, count_e2: int) -> int:
    """Return what an order costs at what is offered, without fees; its limit for what is not offered."""
    taken = fills([level for level in levels if level[0] <= price_e4], count_e2)
    return cost_e6(taken) + price_e4 * (count_e2 - depth(taken))


def may_lose_if_void(
    legs: Sequence[Wanted], view: EventView, fees: FeeSchedule, scan: ScanLimits, now_ms: int
) -> bool:
    """Return whether a trade that is locked once it is decided may pay back less than it costs if it is not.

    Args:
        legs: in markets of the view.
    """
    seen = {one.market.ticker: one for one in view.markets}
    looked = [_look(leg, seen[leg.ticker], fees, scan, now_ms, rests=False) for leg in legs]
    amounts = [(leg.ticker, leg.side, leg.count_e2) for leg in legs]
    cost = sum(leg.paid_e6 for leg in looked)
    return void_e6(view.markets, amounts) < cost < floor_e6(view, amounts)


def thin_first(legs: Sequence[Wanted], view: EventView, scan: ScanLimits) -> tuple[Wanted, ...]:
    """Return the legs, that first which takes the largest part of what is offered at its price."""
    seen = {one.market.ticker: one for one in view.markets}
    thick = {leg: -_part_ppm(leg, ladder(seen[leg.ticker], leg.side, scan).levels) for leg in legs}
    return tuple(sorted(legs, key=thick.__getitem__))


def _look(
    leg: Wanted, seen: MarketView, fees: FeeSchedule, scan: ScanLimits, now_ms: int, *, rests: bool
) -> _Leg:
    levels = ladder(seen, leg.side, scan).levels
    within = fills([level for level in levels if level[0] <= leg.price_e4], leg.count_e2)
    if rests or depth(within) < leg.count_e2:
        within = ((leg.price_e4, leg.count_e2),)
    paid_e6 = cost_e6(within) + (0 if rests else taker_fees_e6(fees, within, time_ms=now_ms))
    bids = fills(ladder(seen, NO if leg.side == YES else YES, scan).levels, leg.count_e2)
    unwound_e6 = None
    if depth(bids) == leg.count_e2:
        unwound_e6 = leg.count_e2 * PRICE_ONE_E4 - cost_e6(bids) - taker_fees_e6(fees, bids, time_ms=now_ms)
    return _Leg(leg, seen, levels, paid_e6, unwound_e6)


def _floor_e6(view: EventView, legs: Sequence[Wanted]) -> int:
    return floor_e6(view, [(leg.ticker, leg.side, leg.count_e2) for leg in legs])


def _part_ppm(leg: Wanted, levels: Sequence[Level]) -> int:
    """Return which part of what is offered up to its price an order takes."""
    offered_e2 = sum(count_e2 for price_e4, count_e2 in levels if price_e4 <= leg.price_e4)
    return min(MILLION, leg.count_e2 * MILLION // offered_e2) if offered_e2 > 0 else MILLION


def _missed_e6(view: EventView, looked: Sequence[_Leg], fees: FeeSchedule, now_ms: int) -> int:
    """Return what is expected once a leg turns out to be gone: the thinner, the likelier it is that one."""
    weights = [_part_ppm(leg.wanted, leg.levels) for leg in looked]
    total_e6 = 0
    for at, (weight, missed) in enumerate(zip(weights, looked, strict=True)):
        others = [leg for index, leg in enumerate(looked) if index != at]
        paid_e6 = sum(leg.paid_e6 for leg in others)
        ends_e6 = [_floor_e6(view, [leg.wanted for leg in others]) - paid_e6]
        if (sold_e6 := _sum([leg.unwound_e6 for leg in others])) is not None:
            ends_e6.append(sold_e6 - paid_e6)
        wanted = missed.wanted
        beyond = fills([level for level in missed.levels if level[0] > wanted.price_e4], wanted.count_e2)
        if depth(beyond) == wanted.count_e2:
            dearer_e6 = cost_e6(beyond) + taker_fees_e6(fees, beyond, time_ms=now_ms)
            ends_e6.append(_floor_e6(view, [leg.wanted for leg in looked]) - paid_e6 - dearer_e6)
        total_e6 += weight * max(ends_e6)
    return total_e6 // max(1, sum(weights))


def _sum(amounts: Sequence[int | None]) -> int | None:
    total_e6 = 0
    for amount_e6 in amounts:
        if amount_e6 is None:
            return None
        total_e6 += amount_e6
    return total_e6
