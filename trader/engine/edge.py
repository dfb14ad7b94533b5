"""What a trade is expected to earn, worked out from the data and not taken from the proposal. Pure.

A trade without an opinion earns at least its floor, less cost and fees, if no leg is missed; what a miss
costs and how likely it is is estimated elsewhere (legrisk.py). A trade on an opinion earns what the published
fair values say.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

from bus.trading import reasons
from markets.book import NO, YES, cost_e6, depth, fills
from markets.fees import FeeSchedule, fee_schedule, taker_fees_e6
from markets.opportunities import EventView, MarketView, ScanLimits, floor_e6, void_e6
from markets.opportunities.legs import ask_e4, ladder
from markets.orders import Proposal, Wanted
from markets.records import FairValue, Level, Status
from markets.units import COUNT_ONE_E2, PRICE_ONE_E4

MILLION: Final = 1_000_000


class Edge(NamedTuple):
    """What a trade earns after fees if all of it fills.

    Attributes:
        gross_e6: the same before fees for a basket; 0 for others, which cannot miss a leg.
        paid_e6: what each leg costs, fees included.
    """

    whole_e6: int
    gross_e6: int
    paid_e6: tuple[int, ...]


def edge_of(
    legs: Sequence[Wanted],
    proposal: Proposal,
    view: EventView,
    fair_values: Mapping[str, FairValue],
    scan: ScanLimits,
    now_ms: int,
) -> Edge | str:
    """Return what a trade earns, or why that cannot be said.

    Args:
        legs: of the proposal, cut to size, in markets of the view.
    """
    rests = proposal.time_in_force == "gtc"
    if proposal.probability is None:
        return basket_edge(legs, view, scan, now_ms, rests=rests)
    fees, seen = fee_schedule(view.event, view.series), {one.market.ticker: one for one in view.markets}
    if fees is None:
        return reasons.FEE_UNKNOWN
    worth_e6 = 0
    paid: list[int] = []
    for leg in legs:
        fair = fair_values.get(leg.ticker)
        if leg.ticker not in seen:
            return reasons.MARKET_UNKNOWN
        if fair is None:
            return reasons.NO_FAIR_VALUE
        if now_ms - fair.as_of_ms > scan.max_fair_value_age_ms:
            return reasons.FAIR_VALUE_STALE
        yes_e6 = round(fair.probability * MILLION)
        worth_e6 += (yes_e6 if leg.side == YES else MILLION - yes_e6) * leg.count_e2 // COUNT_ONE_E2
        paid.append(sum(_paid_e6(leg, seen[leg.ticker], fees, scan, now_ms, rests=rests)))
    return Edge(worth_e6 - sum(paid), 0, tuple(paid))


def basket_edge(
    legs: Sequence[Wanted], view: EventView, scan: ScanLimits, now_ms: int, *, rests: bool = False
) -> Edge | str:
    """Return what legs that pay whatever happens earn, or why that cannot be said."""
    fees, seen = fee_schedule(view.event, view.series), {one.market.ticker: one for one in view.markets}
    if fees is None:
        return reasons.FEE_UNKNOWN
    if any(leg.ticker not in seen for leg in legs):
        return reasons.MARKET_UNKNOWN
    paid = [_paid_e6(leg, seen[leg.ticker], fees, scan, now_ms, rests=rests) for leg in legs]
    gross_e6 = _floor_e6(view, legs) - sum(cost for cost, _ in paid)
    whole_e6 = gross_e6 - sum(fee for _, fee in paid)
    return Edge(whole_e6, gross_e6 if len(legs) > 1 else 0, tuple(map(sum, paid)))


def had(leg: Wanted, view: EventView, scan: ScanLimits) -> bool:
    """Whether a leg is still available as it was wanted."""
    for seen in view.markets:
        if seen.market.ticker == leg.ticker and seen.quote.status is Status.ACTIVE:
            left_e2 = leg.count_e2
            for price_e4, count_e2 in ladder(seen, leg.side, scan).levels:
                if price_e4 > leg.price_e4 or left_e2 <= 0:
                    break
                left_e2 -= count_e2
            return left_e2 <= 0
    return False


def offered_e6(legs: Sequence[Wanted], view: EventView, scan: ScanLimits, most_e6: int) -> int | None:
    """Return what legs cost at the current offers, without fees; None if less is offered, or it is more."""
    total_e6 = 0
    for leg in legs:
        levels: Sequence[Level] = ()
        for seen in view.markets:
            if seen.market.ticker == leg.ticker:
                # Mostly the best price says already that it is more: then depth is not looked at.
                best_e4 = ask_e4(seen, leg.side)
                if best_e4 is not None and total_e6 + best_e4 * leg.count_e2 <= most_e6:
                    levels = ladder(seen, leg.side, scan).levels
                break
        taken = fills(levels, leg.count_e2)
        if depth(taken) < leg.count_e2:
            return None
        total_e6 += cost_e6(taken)
    return total_e6 if total_e6 <= most_e6 else None


def evened_e6(
    view: EventView,
    legs: Sequence[Wanted],
    paid_e6: Sequence[int],
    gone: Collection[int],
    scan: ScanLimits,
    now_ms: int,
) -> int | None:
    """Return the result of a basket whose legs `gone` were missed, evened out now in the best way.

    Either the missing legs are bought at the current asks, or the rest is sold, or left as it is. None if
    that cannot be said.

    Args:
        paid_e6: what each leg was expected to cost, fees included.
    """
    fees, seen = fee_schedule(view.event, view.series), {one.market.ticker: one for one in view.markets}
    if fees is None or any(leg.ticker not in seen for leg in legs):
        return None
    held = [leg for at, leg in enumerate(legs) if at not in gone]
    spent_e6 = sum(each_e6 for at, each_e6 in enumerate(paid_e6) if at not in gone)
    bought = [
        _cost_e6(leg.count_e2, ladder(seen[leg.ticker], leg.side, scan).levels, fees, now_ms)
        for at, leg in enumerate(legs)
        if at in gone
    ]
    sold = [_sold_e6(leg, seen[leg.ticker], fees, scan, now_ms) for leg in held]
    ends_e6 = [_floor_e6(view, held) - spent_e6]
    if (dearer_e6 := _sum(bought)) is not None:
        ends_e6.append(_floor_e6(view, legs) - spent_e6 - dearer_e6)
    if (back_e6 := _sum(sold)) is not None:
        ends_e6.append(back_e6 - spent_e6)
    return max(ends_e6)


def shown_cost_e6(levels: Sequence[tuple[int, int]], price_e4: int, count_e2: int) -> int:
    """Return what an order costs at the offers, without fees; what is not offered costs its limit."""
    taken = fills([level for level in levels if level[0] <= price_e4], count_e2)
    return cost_e6(taken) + price_e4 * (count_e2 - depth(taken))


def may_lose_if_void(
    legs: Sequence[Wanted], view: EventView, fees: FeeSchedule, scan: ScanLimits, now_ms: int
) -> bool:
    """Return whether a trade that is locked once it completes may pay back less than it costs if it does not.

    Args:
        legs: in markets of the view.
    """
    seen = {one.market.ticker: one for one in view.markets}
    cost = sum(sum(_paid_e6(leg, seen[leg.ticker], fees, scan, now_ms, rests=False)) for leg in legs)
    amounts = [(leg.ticker, leg.side, leg.count_e2) for leg in legs]
    return void_e6(view.markets, amounts) < cost < floor_e6(view, amounts)


def thin_first(legs: Sequence[Wanted], view: EventView, scan: ScanLimits) -> tuple[Wanted, ...]:
    """Return the legs, starting with the one that takes the largest part of what is offered at its price."""
    seen = {one.market.ticker: one for one in view.markets}
    thick = {leg: -_part_ppm(leg, ladder(seen[leg.ticker], leg.side, scan).levels) for leg in legs}
    return tuple(sorted(legs, key=thick.__getitem__))


def _paid_e6(
    leg: Wanted, seen: MarketView, fees: FeeSchedule, scan: ScanLimits, now_ms: int, *, rests: bool
) -> tuple[int, int]:
    """Return what a leg costs, and its fees."""
    within = fills([x for x in ladder(seen, leg.side, scan).levels if x[0] <= leg.price_e4], leg.count_e2)
    if rests or depth(within) < leg.count_e2:
        within = ((leg.price_e4, leg.count_e2),)
    return cost_e6(within), 0 if rests else taker_fees_e6(fees, within, time_ms=now_ms)


def _cost_e6(count_e2: int, levels: Sequence[Level], fees: FeeSchedule, now_ms: int) -> int | None:
    """Return what a count costs at these levels, fees included; None if they have less."""
    taken = fills(levels, count_e2)
    if depth(taken) < count_e2:
        return None
    return cost_e6(taken) + taker_fees_e6(fees, taken, time_ms=now_ms)


def _sold_e6(leg: Wanted, seen: MarketView, fees: FeeSchedule, scan: ScanLimits, now_ms: int) -> int | None:
    """Return what selling a leg brings after fees; None if less is bid for."""
    other = NO if leg.side == YES else YES
    against_e6 = _cost_e6(leg.count_e2, ladder(seen, other, scan).levels, fees, now_ms)
    return None if against_e6 is None else leg.count_e2 * PRICE_ONE_E4 - against_e6


def _floor_e6(view: EventView, legs: Sequence[Wanted]) -> int:
    return floor_e6(view, [(leg.ticker, leg.side, leg.count_e2) for leg in legs])


def _offered_e2(leg: Wanted, levels: Sequence[Level]) -> int:
    return sum([count_e2 for price_e4, count_e2 in levels if price_e4 <= leg.price_e4])


def _part_ppm(leg: Wanted, levels: Sequence[Level]) -> int:
    """Return which part of what is offered up to its price an order takes."""
    offered_e2 = _offered_e2(leg, levels)
    return min(MILLION, leg.count_e2 * MILLION // offered_e2) if offered_e2 > 0 else MILLION


def _sum(amounts: Sequence[int | None]) -> int | None:
    known = [amount_e6 for amount_e6 in amounts if amount_e6 is not None]
    return sum(known) if len(known) == len(amounts) else None
