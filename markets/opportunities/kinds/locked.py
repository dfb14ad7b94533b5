"""Sets, one contract of each leg, that pay a dollar whatever happens: all kinds that need no opinion.

The legs' books are walked together, up to the largest number of sets whose last one still earns after fees.
"""

from collections.abc import Iterable, Sequence

from markets.book import fills
from markets.fees import FeeSchedule, fee_schedule, fill_fee, grows_with_price
from markets.opportunities.legs import ONE_E18, Ladder, ladder, least_cost_e18, leg
from markets.opportunities.types import EventView, MarketView, Opportunity, ScanLimits
from markets.opportunities.words import each_e6, price, sure_profit
from markets.units import COUNT_ONE_E2, MONEY_ONE_E6, PRICE_ONE_E4

from .kind import Kind

Wanted = tuple[MarketView, str]
"""A market and the side to buy there."""


class LockedKind(Kind):
    """A kind whose sets, one contract of each leg, pay at least a dollar."""

    by_prices = True

    def lead(self, opportunity: Opportunity) -> str:
        """Return why a set pays at least a dollar, as a sentence without its full stop."""
        return opportunity.notes[0] if opportunity.notes else "Whatever happens, one of these legs pays"

    def explain(self, opportunity: Opportunity) -> str:
        """Return why a set pays, what it costs, and what is left."""
        cost_e6 = each_e6(sum(leg.cost_e6 for leg in opportunity.legs), opportunity.count_e2)
        lead = self.lead(opportunity)
        return (
            f"{lead[:1].upper()}{lead[1:]}. A set costs {price(cost_e6)} and pays $1 at least: "
            f"{sure_profit(opportunity, even=True)}."
        )

    def sets(
        self,
        view: EventView,
        wanted: Sequence[Wanted],
        now_ms: int,
        limits: ScanLimits,
        *,
        fees: Sequence[FeeSchedule | None] | None = None,
        doubts: Iterable[str] = (),
        because: str | None = None,
        notes: tuple[str, ...] = (),
    ) -> Opportunity | None:
        """Return as many sets as earn something after fees; if none does, one level of them, if there is any.

        Args:
            fees: those of each leg, if they are not all those of `view`.
        """
        ladders = [ladder(seen, side, limits) for seen, side in wanted]
        if not all(asks.levels for asks in ladders):
            return None
        if fees is None:
            fees = [fee_schedule(view.event, view.series)] * len(wanted)
        count_e2 = _walk(ladders, fees, now_ms) or min(asks.levels[0][1] for asks in ladders)
        bought = [
            (seen, leg(seen, side, fills(asks.levels, count_e2), asks.as_of_ms, own, now_ms))
            for (seen, side), asks, own in zip(wanted, ladders, fees, strict=True)
        ]
        floor_e6 = count_e2 * PRICE_ONE_E4
        gross_e6 = floor_e6 - sum([one.cost_e6 for _, one in bought])
        if gross_e6 <= 0:
            return None
        return self.offer(
            view,
            bought,
            gross_e6,
            now_ms,
            limits,
            doubts=doubts,
            floor=floor_e6,
            because=because,
            notes=notes,
        )


def may_earn(prices_e4: Iterable[int], fees: FeeSchedule | None) -> bool:
    """Return whether a set bought at these prices may cost less than a dollar after fees, at any size."""
    if fees is None:
        return False
    return sum([least_cost_e18(fees, price_e4) for price_e4 in prices_e4]) < ONE_E18 or not grows_with_price(
        fees
    )


def _walk(ladders: Sequence[Ladder], fees: Sequence[FeeSchedule | None], now_ms: int) -> int:
    """Return the largest count of sets such that the last still earns more than its fees."""
    count_e2 = 0
    at = [0] * len(ladders)
    left = [asks.levels[0][1] for asks in ladders]
    costs_e6 = [_costs_e6(asks.levels[0][0], own, now_ms) for asks, own in zip(ladders, fees, strict=True)]
    while True:
        if sum(costs_e6) >= MONEY_ONE_E6:
            return count_e2
        step = min(left)
        count_e2 += step
        for i, asks in enumerate(ladders):
            left[i] -= step
            if left[i] == 0:
                at[i] += 1
                if at[i] == len(asks.levels):
                    return count_e2
                price_e4, left[i] = asks.levels[at[i]]
                costs_e6[i] = _costs_e6(price_e4, fees[i], now_ms)


def _costs_e6(price_e4: int, fees: FeeSchedule | None, now_ms: int) -> int:
    fee_e6 = 0 if fees is None else fill_fee(fees, price_e4, COUNT_ONE_E2, time_ms=now_ms).total_e6
    return price_e4 * COUNT_ONE_E2 + fee_e6
