"""Uneven baskets: what to do when a leg got less than the others. Pure.

A basket pays whatever happens only for what all its legs have. So either the short legs are completed, or
what the others have too much is sold: whichever leaves the better worst case at the asks and bids of now,
and nothing if neither beats leaving it as it is. Selling is buying the other outcome: a pair of YES and NO
pays a dollar.

After `TRIES` the remainder stays and is said to be one (`status`, member `uneven`). The last tries only
sell: a level that shows more than it gives must not keep a basket open for ever.
"""

from collections.abc import Sequence
from typing import Final

from markets.book import NO, YES, cost_e6, depth, fills
from markets.fees import FeeSchedule, fee_schedule, taker_fees_e6
from markets.opportunities import EventView, MarketView, ScanLimits
from markets.opportunities.kinds.no_basket import guaranteed_payout_e6
from markets.opportunities.legs import ladder
from markets.orders import Proposal, Wanted
from markets.units import COUNT_ONE_E2, PRICE_ONE_E4

from .ledger import Basket, BasketLeg, Ledger

TRIES: Final = 4
SELL_FROM_TRY: Final = 3


def missing_e2(basket: Basket) -> list[int]:
    """Return for each leg how many whole contracts it has less than the fullest ones, as planned."""
    level_e2 = max(one.got_e2 for one in basket.legs)
    return [_whole(min(one.planned_e2, level_e2) - one.got_e2) for one in basket.legs]


def excess_e2(basket: Basket) -> list[int]:
    """Return for each leg how many whole contracts it has more than the emptiest of the short ones."""
    level_e2 = min((one.got_e2 for one in basket.legs if one.got_e2 < one.planned_e2), default=None)
    if level_e2 is None:
        return [0] * len(basket.legs)
    return [_whole(one.got_e2 - level_e2) for one in basket.legs]


def uneven(basket: Basket) -> bool:
    """Whether a leg lacks what others have."""
    return any(missing_e2(basket))


def follow_ups(
    trade: int, basket: Basket, view: EventView, ledger: Ledger, now_ms: int, scan: ScanLimits
) -> list[Proposal]:
    """Return what would even a basket out, the better worst case first; empty if nothing would help now."""
    fees = fee_schedule(view.event, view.series)
    markets = {one.market.ticker: one for one in view.markets}
    if (
        fees is None
        or basket.tries >= TRIES
        or not uneven(basket)
        or not view.event.mutually_exclusive
        or any(one.side != NO or one.ticker not in markets for one in basket.legs)
    ):
        return []
    seen = [markets[one.ticker] for one in basket.legs]
    got = [one.got_e2 for one in basket.legs]
    found = []
    if basket.tries + 1 < SELL_FROM_TRY:
        missing = missing_e2(basket)
        bought = _legs(basket.legs, seen, missing, NO, scan)
        if bought is not None:
            gain_e6 = _guaranteed_more_e6(got, missing) - _cost_e6(bought, fees, now_ms)
            found.append((gain_e6, bought))
    excess = excess_e2(basket)
    sold = _legs(basket.legs, seen, excess, YES, scan)
    if sold is not None and all(
        _held_e2(ledger, one) >= out for one, out in zip(basket.legs, excess, strict=True)
    ):
        pairs_e6 = sum(excess) * PRICE_ONE_E4
        gain_e6 = pairs_e6 + _guaranteed_more_e6(got, [-out for out in excess]) - _cost_e6(sold, fees, now_ms)
        found.append((gain_e6, sold))
    return [
        Proposal(
            basket.strategy, view.event.event_ticker, tuple(one for one, _ in legs), gain_e6, None, trade
        )
        for gain_e6, legs in sorted(found, key=lambda entry: -entry[0])
        if gain_e6 > 0
    ]


Purchase = tuple[Wanted, tuple[tuple[int, int], ...]]
"""An order and the levels that it would take."""


def _legs(
    legs: Sequence[BasketLeg],
    seen: Sequence[MarketView],
    counts_e2: Sequence[int],
    side: str,
    scan: ScanLimits,
) -> list[Purchase] | None:
    """Return the orders for these counts, None if a ladder is too short for one."""
    found = []
    for leg, one, count_e2 in zip(legs, seen, counts_e2, strict=True):
        if not count_e2:
            continue
        taken = fills(ladder(one, side, scan).levels, count_e2)
        if depth(taken) < count_e2:
            return None
        found.append((Wanted(leg.ticker, side, taken[-1][0], count_e2), taken))
    return found


def _guaranteed_more_e6(got_e2: Sequence[int], changes_e2: Sequence[int]) -> int:
    after = [got + change for got, change in zip(got_e2, changes_e2, strict=True)]
    return guaranteed_payout_e6(after) - guaranteed_payout_e6(got_e2)


def _cost_e6(bought: Sequence[Purchase], fees: FeeSchedule, now_ms: int) -> int:
    return sum(cost_e6(levels) + taker_fees_e6(fees, levels, time_ms=now_ms) for _, levels in bought)


def _held_e2(ledger: Ledger, leg: BasketLeg) -> int:
    position = ledger.positions.get(leg.ticker)
    return position.count_e2 if position is not None and position.side == leg.side else 0


def _whole(count_e2: int) -> int:
    return max(0, count_e2) // COUNT_ONE_E2 * COUNT_ONE_E2
