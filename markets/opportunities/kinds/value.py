"""Kind ``value``: an outcome that trades below what it is believed to be worth, YES or NO.

The size is what the ladder offers while one more contract still earns more than its fee, reckoned at the
cautious end of the fair value (probability less margin). A fair value is an opinion, a model's or a person's:
the event's own prices give none. Nothing of it is locked: the floor is 0.
"""

from collections.abc import Iterator, Mapping

import msgspec

from markets.book import NO, YES
from markets.fees import FeeSchedule, fee_schedule, fill_fee
from markets.opportunities import reasons as why
from markets.opportunities.legs import ladder, leg, top
from markets.opportunities.types import (
    CONSENSUS,
    EventView,
    Leg,
    MarketView,
    Opportunity,
    ScanLimits,
)
from markets.opportunities.words import cents, each_e6
from markets.records import Event, FairValue, Level
from markets.units import MONEY_ONE_E6

from .kind import NEVER_E4, Kind


class ValueKind(Kind):
    """One outcome, YES or NO, that costs less than it is believed to be worth."""

    name = "value"
    title = "Value"
    tone = "yes"
    by_prices = True

    def find(
        self, view: EventView, fair_values: Mapping[str, FairValue], now_ms: int, limits: ScanLimits
    ) -> list[Opportunity]:
        """Return every outcome whose best ask is below its fair probability, tradable or not."""
        if not fair_values:
            return []
        fees = fee_schedule(view.event, view.series)
        found = []
        for seen in view.markets:
            fair = fair_values.get(seen.market.ticker)
            if fair is None:
                continue
            best_of = top(seen)
            yes_e6 = round(fair.probability * MONEY_ONE_E6)
            for side, fair_e6 in ((YES, yes_e6), (NO, MONEY_ONE_E6 - yes_e6)):
                best = best_of.ask(side)
                if best is None or best[0] * 100 >= fair_e6:
                    continue
                found.append(self._candidate(view, seen, side, fair, fair_e6, fees, now_ms, limits))
        return found

    def lacks_e4(self, view: EventView, fair_values: Mapping[str, FairValue]) -> int:
        """Return that no prices suffice without a published fair value; with one, only the walk shows."""
        if not fair_values:
            return NEVER_E4
        return 0 if any(seen.market.ticker in fair_values for seen in view.markets) else NEVER_E4

    def may_matter(self, event: Event, *, valued: bool) -> bool:
        """Return whether a fair value is published."""
        return valued

    def explain(self, opportunity: Opportunity) -> str:
        """Return what it is believed to be worth, what it costs, and what is expected of it."""
        o = opportunity
        if o.probability is None:
            return super().explain(o)
        (bought,) = o.legs
        worth = cents(round(o.probability * MONEY_ONE_E6))
        margin = f", give or take {cents(round(o.margin * MONEY_ONE_E6))}" if o.margin else ""
        cost = cents(each_e6(bought.cost_e6, o.count_e2))
        if o.fees_e6 is None or o.ev_e6 is None:
            left = "and fees that are not known"
        else:
            expected = cents(each_e6(o.ev_e6, o.count_e2), sign=True)
            left = f"and {cents(each_e6(o.fees_e6, o.count_e2))} in fees: {expected} expected a contract"
        side = bought.side.upper()
        return f"{side} is believed to be worth {worth}{margin}; it costs {cost} {left}, and all can be lost."

    def _candidate(
        self,
        view: EventView,
        seen: MarketView,
        side: str,
        fair: FairValue,
        fair_e6: int,
        fees: FeeSchedule | None,
        now_ms: int,
        limits: ScanLimits,
    ) -> Opportunity:
        margin_e6 = round(fair.margin * MONEY_ONE_E6)
        asks = ladder(seen, side, limits)
        levels = _worthwhile(asks.levels, fair_e6 - margin_e6, fees, now_ms) or asks.levels[:1]
        bought = leg(seen, side, levels, asks.as_of_ms, fees, now_ms)
        gross_e6 = fair_e6 * bought.count_e2 // 100 - bought.cost_e6
        doubts = list(_fair_value_reasons(fair, bought, now_ms, limits))
        margin_total_e6 = margin_e6 * bought.count_e2 // 100
        if margin_total_e6 > 0 and gross_e6 - (bought.fee_e6 or 0) <= margin_total_e6:
            doubts.append(why.EDGE_WITHIN_SPREAD)
        offer = self.offer(view, [(seen, bought)], gross_e6, now_ms, limits, doubts=doubts)
        return msgspec.structs.replace(
            offer,
            probability=fair_e6 / MONEY_ONE_E6,
            value=(fair_e6 - bought.price_e4 * 100) / MONEY_ONE_E6,
            notes=(f"fair value: {fair.source}, give or take {fair.margin:.4f}",),
            margin=fair.margin,
        )


def _worthwhile(
    levels: tuple[Level, ...], cautious_e6: int, fees: FeeSchedule | None, now_ms: int
) -> tuple[Level, ...]:
    """The levels that each earn more than their fee when an outcome is worth `cautious_e6` a contract."""
    count = 0
    for price_e4, count_e2 in levels:
        fee_e6 = 0 if fees is None else fill_fee(fees, price_e4, count_e2, time_ms=now_ms).total_e6
        if cautious_e6 * count_e2 // 100 - price_e4 * count_e2 <= fee_e6:
            break
        count += 1
    return levels[:count]


def _fair_value_reasons(fair: FairValue, bought: Leg, now_ms: int, limits: ScanLimits) -> Iterator[str]:
    if fair.source != CONSENSUS:
        if now_ms - fair.as_of_ms > limits.max_fair_value_age_ms:
            yield why.FAIR_VALUE_STALE
        return
    # Sessions under rules before 2 took this for a fair value, as old as the prices it was made from.
    if now_ms - fair.as_of_ms > limits.max_leg_age_ms:
        yield why.FAIR_VALUE_STALE
    if abs(fair.as_of_ms - bought.as_of_ms) > limits.max_leg_spread_ms:
        yield why.LEGS_NOT_SIMULTANEOUS
