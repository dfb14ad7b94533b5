"""Uneven baskets: what to do when a leg got less than the others. Pure.

What legs pay whatever happens the kinds of opportunity know (`Kind.least_payout_e6`); mostly that counts only
for what all of them have. So either the short legs are completed, or what the others have too much is sold,
which is buying the other outcome: a pair of YES and NO pays a dollar. Legs of which no kind promises anything
are left alone.

Whoever does either at once pays the spread, and fees twice, where nothing presses: what is held was bought
for less than it is worth. So for a while (`Terms`) that is done only if the basket still earns what it was to
earn, in the first half of that time, or loses nothing, in the second; else what is missing is bid for at such
a price, by orders that only rest and mostly pay no fee. After that, and in any case before a match starts,
whichever of the two leaves the better worst case at the asks and bids of now is done, and nothing if neither
beats leaving it as it is. A level that shows more than it gives must not keep a basket open for ever: after
two orders that were to take something, two sell if that can be done, or while it is waited for none takes.

When that is looked at says `Pace`: time, not what happens to change. It is never given up; what is uneven is
said to be (`status`, member `uneven`). Sessions of rules before 2 waited for nothing and tried four times,
whenever the event changed.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from markets.book import NO, YES, at_or_below, cost_e6, depth, fills
from markets.fees import FeeSchedule, fee_schedule, fill_fee, taker_fees_e6
from markets.opportunities import EventView, Failure, MarketView, ScanLimits, least_payout_e6
from markets.opportunities.legs import ladder
from markets.orders import Proposal, Wanted
from markets.units import COUNT_ONE_E2, MINUTE_MS, PRICE_ONE_E4
from trader.ledger.ledger import CLOSED_BY_HAND, Basket

TRIES: Final = 4
SELL_FROM_TRY: Final = 3
"""Of `TRIES` those from this one on only sell."""

PACE_MS: Final = (1_000, 5_000, 30_000, 60_000)
"""So long after each try the next one may come; after the last of these always so long."""

LOOK_AGAIN_MS: Final = 5_000
"""So long after a look that ordered nothing, because nothing would help or risk refused, comes the next."""


PATIENT_MS: Final = 20 * MINUTE_MS
"""So long a basket that lacks a leg is waited for, at most."""

BEFORE_END_MS: Final = 90_000
"""No longer than until so long before its match starts, or the first of its markets closes."""

AFTER_REST_MS: Final = 1_000
"""So long after an order that rests was placed comes the next look, if it has ended by then."""


class Terms(NamedTuple):
    """On what terms a basket is evened out while it is waited for.

    Attributes:
        spent_e6: what is held of it has cost, fees included.
        earns_e6: what it is to earn once it is whole.
        until_ms: until when these hold, by the wall clock.
        shies: two orders in a row were to take something, and left it uneven.
    """

    spent_e6: int
    earns_e6: int
    until_ms: int
    shies: bool = False


class _Uneven(msgspec.Struct):
    """Since when a basket is uneven, when it is looked at next, how often an order was to take something."""

    since_ms: int
    due_ms: int
    takes: int = 0


class Pace:
    """When each uneven basket is looked at again and for how long it is waited for, by the steady clock.

    What is not known is due.
    """

    def __init__(self) -> None:
        self._earns_e6: dict[int, int] = {}
        self._uneven: dict[int, _Uneven] = {}
        self._judged: dict[int, tuple[Basket, bool]] = {}

    def uneven(self, trade: int, basket: Basket) -> bool:
        """Return what `uneven` says of a trade's basket: worked out once of each that it has been."""
        judged = self._judged.get(trade)
        if judged is None or judged[0] is not basket:
            judged = self._judged[trade] = basket, uneven(basket)
        return judged[1]

    def planned(self, trade: int, earns_e6: int) -> None:
        """Note what a basket earns if no leg of it is missed."""
        self._earns_e6[trade] = earns_e6

    def due(self, trade: int, steady_ms: int) -> bool:
        """Whether it is time for a basket."""
        known = self._uneven.get(trade)
        return known is None or known.due_ms <= steady_ms

    def all_due(self, steady_ms: int) -> list[int]:
        """Return the baskets that were tried before and are due again."""
        return sorted(trade for trade, known in self._uneven.items() if known.due_ms <= steady_ms)

    def terms(
        self, trade: int, basket: Basket, view: EventView, spent_e6: int, now_ms: int, steady_ms: int
    ) -> Terms:
        """Return the terms of now; they are over where it was waited for long enough."""
        known = self._uneven.setdefault(trade, _Uneven(steady_ms, steady_ms))
        waited_ms = steady_ms - known.since_ms
        left_ms = patience_ms(view, now_ms, waited_ms)
        first_ms = (waited_ms + left_ms) // 2 - waited_ms
        shies = known.takes % 4 >= 2
        if left_ms <= 0 or first_ms <= 0:
            return Terms(spent_e6, 0, now_ms + left_ms, shies)
        planned_e2 = max(leg.planned_e2 for leg in basket.legs)
        earns_e6 = self._earns_e6.get(trade, 0) * max(leg.got_e2 for leg in basket.legs) // planned_e2
        return Terms(spent_e6, max(0, earns_e6), now_ms + first_ms, shies)

    def tried(self, trade: int, steady_ms: int, tries: int, *, ordered: bool, rests: bool = False) -> None:
        """Note that a basket was looked at, after so many tries, and whether something was ordered."""
        wait_ms = PACE_MS[min(max(tries, 1), len(PACE_MS)) - 1] if ordered else LOOK_AGAIN_MS
        known = self._uneven.setdefault(trade, _Uneven(steady_ms, steady_ms))
        known.due_ms = steady_ms + (AFTER_REST_MS if rests else wait_ms)
        known.takes += ordered and not rests

    def keep(self, trades: Mapping[int, Basket]) -> None:
        """Forget baskets that are none of these."""
        for known in (self._uneven, self._earns_e6, self._judged):
            for trade in known.keys() - trades.keys():
                del known[trade]


def patience_ms(view: EventView, now_ms: int, waited_ms: int = 0) -> int:
    """Return how much longer a basket of an event is waited for that was for so long."""
    ends_ms = [seen.market.close_ms for seen in view.markets if seen.market.close_ms is not None]
    if view.timing.start_ms is not None:
        ends_ms.append(view.timing.start_ms)
    left_ms = PATIENT_MS - waited_ms
    return max(0, min([left_ms, *(end_ms - BEFORE_END_MS - now_ms for end_ms in ends_ms)]))


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
    terms: Terms | None,
) -> list[Proposal]:
    """Return what would even a basket out, the better worst case first; empty if nothing would help now.

    Args:
        failures: takes those of kinds that raise when they are asked what the legs pay.
        terms: None in sessions of rules before 2.
    """
    fees = fee_schedule(view.event, view.series)
    markets = {seen.market.ticker: seen for seen in view.markets}
    if (
        fees is None
        or basket.tries >= (TRIES if terms is None else CLOSED_BY_HAND)
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
    found: list[tuple[bool, int, list[Purchase]]] = []
    missing, excess = missing_e2(basket), excess_e2(basket)
    whole_e6 = least_e6(missing)
    waits = terms is not None and now_ms < terms.until_ms
    shies = terms is not None and terms.shies
    if terms is not None or not SELL_FROM_TRY <= basket.tries + 1 <= TRIES:
        bought = _legs([leg.side for leg in basket.legs], seen, missing, scan)
        if bought is not None and whole_e6 is not None:
            found.append((shies, whole_e6 - now_e6 - _cost_e6(bought, fees, now_ms), bought))
    sides = [NO if leg.side == YES else YES for leg in basket.legs]
    sold, then_e6 = _legs(sides, seen, excess, scan), least_e6([-out for out in excess])
    if sold is not None and then_e6 is not None:
        pairs_e6 = sum(excess) * PRICE_ONE_E4
        found.append((False, pairs_e6 + then_e6 - now_e6 - _cost_e6(sold, fees, now_ms), sold))
    if waits and shies:
        found.clear()
    least_gain_e6 = terms.spent_e6 + terms.earns_e6 - now_e6 - 1 if terms is not None and waits else 0
    proposals = [
        Proposal(
            basket.strategy,
            view.event.event_ticker,
            tuple(wanted for wanted, _ in legs),
            gain_e6,
            None,
            trade,
        )
        for _, gain_e6, legs in sorted(found, key=lambda entry: (entry[0], -entry[1]))
        if gain_e6 > max(0, least_gain_e6)
    ]
    if terms is None or not waits or whole_e6 is None:
        return proposals
    budget_e6 = whole_e6 - terms.spent_e6 - terms.earns_e6
    bids = _bids(basket, seen, missing, budget_e6, fees, now_ms, scan)
    if bids:
        bid = Proposal(basket.strategy, view.event.event_ticker, bids, 0, None, trade)
        proposals.append(
            msgspec.structs.replace(bid, time_in_force="gtc", expires_ms=terms.until_ms, post_only=True)
        )
    return proposals


def _bids(
    basket: Basket,
    seen: Sequence[MarketView],
    missing: Sequence[int],
    budget_e6: int,
    fees: FeeSchedule,
    now_ms: int,
    scan: ScanLimits,
) -> tuple[Wanted, ...]:
    """Return bids for what is missing that take nothing and cost no more than `budget_e6` with their fees.

    Of several legs each is bid for as much below what is asked for it as the others.
    """
    asked: list[tuple[Wanted, MarketView]] = []
    for leg, view, count_e2 in zip(basket.legs, seen, missing, strict=True):
        if count_e2:
            levels = ladder(view, leg.side, scan).levels
            ask_e4 = levels[0][0] if levels else PRICE_ONE_E4
            asked.append((Wanted(leg.ticker, leg.side, ask_e4, count_e2), view))
    total_e2 = sum(wanted.count_e2 for wanted, _ in asked)

    def within(least_e6: int) -> tuple[Wanted, ...]:
        over_e6 = sum(wanted.price_e4 * wanted.count_e2 for wanted, _ in asked) - least_e6
        less_e4 = max(1, -(-over_e6 // total_e2))
        found: list[Wanted] = []
        for wanted, view in asked:
            price_e4 = at_or_below(wanted.price_e4 - less_e4, view.market.price_ranges)
            if price_e4 is None:
                return ()
            found.append(msgspec.structs.replace(wanted, price_e4=price_e4))
        return tuple(found)

    paid = [
        fill_fee(fees, bid.price_e4, bid.count_e2, time_ms=now_ms, maker=True) for bid in within(budget_e6)
    ]
    return within(budget_e6 - sum(fee.total_e6 for fee in paid))


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
