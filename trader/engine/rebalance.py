"""Uneven baskets: what to do when a leg got less than the others. Pure.

What legs pay whatever happens the kinds of opportunity know (`Kind.least_payout_e6`); mostly that counts only
for what all of them have. So either the short legs are completed, or what the others have too much is sold:
whichever leaves the better worst case at the asks and bids of now, and nothing if neither beats leaving it as
it is. Selling is buying the other outcome: a pair of YES and NO pays a dollar. Legs of which no kind promises
anything are left alone.

When that is tried says `Pace`: time, not what happens to change. It is never given up; what is uneven is said
to be (`status`, member `uneven`). The third and fourth try only sell: a level that shows more than it gives
must not keep a basket open for ever. Sessions of rules before 2 tried four times, whenever the event changed.
"""

from collections.abc import Container, Sequence
from typing import Final

from markets.book import NO, YES, cost_e6, depth, fills
from markets.fees import FeeSchedule, fee_schedule, taker_fees_e6
from markets.opportunities import EventView, Failure, MarketView, ScanLimits, least_payout_e6
from markets.opportunities.legs import ladder
from markets.orders import Proposal, Wanted
from markets.units import COUNT_ONE_E2, PRICE_ONE_E4
from trader.ledger.ledger import CLOSED_BY_HAND, Basket

TRIES: Final = 4
SELL_FROM_TRY: Final = 3
"""Tries from this one up to `TRIES` only sell."""

PACE_MS: Final = (1_000, 5_000, 30_000, 60_000)
"""So long after each try the next one may come; after the last of these always so long."""

LOOK_AGAIN_MS: Final = 5_000
"""So long after a look that ordered nothing, because nothing would help or risk refused, comes the next."""


class Pace:
    """When each uneven basket is looked at again, by the steady clock. What is not known is due."""

    def __init__(self) -> None:
        self._due_ms: dict[int, int] = {}

    def due(self, trade: int, steady_ms: int) -> bool:
        """Whether it is time for a basket."""
        return self._due_ms.get(trade, steady_ms) <= steady_ms

    def all_due(self, steady_ms: int) -> list[int]:
        """Return the baskets that were tried before and are due again."""
        return sorted(trade for trade, due_ms in self._due_ms.items() if due_ms <= steady_ms)

    def tried(self, trade: int, steady_ms: int, tries: int, *, ordered: bool) -> None:
        """Note that a basket was looked at, after so many tries, and whether something was ordered."""
        wait_ms = PACE_MS[min(max(tries, 1), len(PACE_MS)) - 1] if ordered else LOOK_AGAIN_MS
        self._due_ms[trade] = steady_ms + wait_ms

    def keep(self, trades: Container[int]) -> None:
        """Forget baskets that are none of these."""
        self._due_ms = {trade: due_ms for trade, due_ms in self._due_ms.items() if trade in trades}


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
    trade: int,
    basket: Basket,
    view: EventView,
    now_ms: int,
    scan: ScanLimits,
    failures: list[Failure],
    *,
    gives_up: bool = False,
) -> list[Proposal]:
    """Return what would even a basket out, the better worst case first; empty if nothing would help now.

    Args:
        gives_up: whether nothing is tried after `TRIES`.
        failures: takes those of kinds that raise when they are asked what the legs pay.
    """
    fees = fee_schedule(view.event, view.series)
    markets = {seen.market.ticker: seen for seen in view.markets}
    if (
        fees is None
        or basket.tries >= (TRIES if gives_up else CLOSED_BY_HAND)
        or not uneven(basket)
        or any(leg.ticker not in markets for leg in basket.legs)
    ):
        return []
    seen = [markets[leg.ticker] for leg in basket.legs]

    def least_e6(changes_e2: Sequence[int]) -> int | None:
        legs = [
            (leg.ticker, leg.side, leg.got_e2 + change_e2)
            for leg, change_e2 in zip(basket.legs, changes_e2, strict=True)
        ]
        return least_payout_e6(view, legs, failures)

    now_e6 = least_e6([0] * len(basket.legs))
    if now_e6 is None:
        return []
    found = []
    if not SELL_FROM_TRY <= basket.tries + 1 <= TRIES:
        missing = missing_e2(basket)
        sides = [leg.side for leg in basket.legs]
        bought, then_e6 = _legs(sides, seen, missing, scan), least_e6(missing)
        if bought is not None and then_e6 is not None:
            found.append((then_e6 - now_e6 - _cost_e6(bought, fees, now_ms), bought))
    excess = excess_e2(basket)
    sides = [NO if leg.side == YES else YES for leg in basket.legs]
    sold, then_e6 = _legs(sides, seen, excess, scan), least_e6([-out for out in excess])
    if sold is not None and then_e6 is not None:
        pairs_e6 = sum(excess) * PRICE_ONE_E4
        found.append((pairs_e6 + then_e6 - now_e6 - _cost_e6(sold, fees, now_ms), sold))
    return [
        Proposal(
            basket.strategy,
            view.event.event_ticker,
            tuple(wanted for wanted, _ in legs),
            gain_e6,
            None,
            trade,
        )
        for gain_e6, legs in sorted(found, key=lambda entry: -entry[0])
        if gain_e6 > 0
    ]


Purchase = tuple[Wanted, tuple[tuple[int, int], ...]]
"""An order and the levels that it would take."""


def _legs(
    sides: Sequence[str], seen: Sequence[MarketView], counts_e2: Sequence[int], scan: ScanLimits
) -> list[Purchase] | None:
    """Return the orders for these counts, None if a ladder is too short for one."""
    found = []
    for side, view, count_e2 in zip(sides, seen, counts_e2, strict=True):
        if not count_e2:
            continue
        taken = fills(ladder(view, side, scan).levels, count_e2)
        if depth(taken) < count_e2:
            return None
        found.append((Wanted(view.market.ticker, side, taken[-1][0], count_e2), taken))
    return found


def _cost_e6(bought: Sequence[Purchase], fees: FeeSchedule, now_ms: int) -> int:
    return sum(cost_e6(levels) + taker_fees_e6(fees, levels, time_ms=now_ms) for _, levels in bought)


def _whole(count_e2: int) -> int:
    return max(0, count_e2) // COUNT_ONE_E2 * COUNT_ONE_E2
