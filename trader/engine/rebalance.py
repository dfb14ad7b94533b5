"""Uneven baskets: what to do when a leg got less than the others. Pure.

The kinds of opportunity know what legs pay whatever happens (`Kind.least_payout_e6`); mostly that holds only
for the contracts that all legs have. So either the short legs are completed, or the excess of the others is
sold, by buying the other outcome: a pair of YES and NO pays a dollar. Legs about which no kind promises
anything are left alone.

Doing either at once pays the spread, and fees twice, although nothing presses: what is held was bought for
less than it is worth. So for a while (`Terms`) it is done only if the basket still earns what was expected
(in the first half of that time) or loses nothing (in the second). Otherwise the missing contracts are bid for
at such a price, with orders that only rest and mostly pay no fee. After that, and in any case before a match
starts, whichever of the two leaves the better worst case at the current asks and bids is done, or nothing if
neither improves on leaving the basket as it is. A level that shows more than it gives must not keep a basket
open for ever: after two orders that were to take something, the next two sell if possible, or, while waiting,
none takes anything.

`Pace` decides when to look: by time, not by what happens to change. A basket is never given up, and the
status lists uneven ones (member `uneven`). Sessions with rules before 2 never waited, and tried four times,
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
from markets.units import MINUTE_MS, PRICE_ONE_E4
from trader.ledger.ledger import CLOSED_BY_HAND, Basket, Ledger, missing_e2, uneven, whole_e2

TRIES: Final = 4
SELL_FROM_TRY: Final = 3
"""From this one of `TRIES` on, tries only sell."""

PACE_MS: Final = (1_000, 5_000, 30_000, 60_000)
"""How long after each try the next one may come; the last value is for all later tries."""

LOOK_AGAIN_MS: Final = 5_000
"""How long after a look that ordered nothing, because nothing would help or risk refused, the next comes."""


PATIENT_MS: Final = 20 * MINUTE_MS
"""How long to wait, at most, for a basket that lacks a leg."""

BEFORE_END_MS: Final = 90_000
"""Waiting ends this long before its match starts, or before the first of its markets closes."""

AFTER_REST_MS: Final = 1_000
"""How long after placing an order that rests the next look comes, if the order has ended by then."""


class Terms(NamedTuple):
    """On what terms a basket is evened out while waiting.

    Attributes:
        spent_e6: the cost of what it holds, including fees.
        earns_e6: what it must earn once it is whole.
        until_ms: until when these terms hold, by the wall clock.
        shies: two orders in a row were to take something and left it uneven.
    """

    spent_e6: int
    earns_e6: int
    until_ms: int
    shies: bool = False


class _Uneven(msgspec.Struct):
    """Since when a basket is uneven, when to look next, and how many orders were to take something."""

    since_ms: int
    due_ms: int
    takes: int = 0


class Pace:
    """When to look at each uneven basket again and how long to wait for it, by the steady clock.

    An unknown basket is due.
    """

    def __init__(self) -> None:
        self._earns_e6: dict[int, int] = {}
        self._uneven: dict[int, _Uneven] = {}

    def planned(self, trade: int, earns_e6: int) -> None:
        """Note what a basket earns if no leg is missed."""
        self._earns_e6[trade] = earns_e6

    def due(self, trade: int, steady_ms: int) -> bool:
        """Whether it is time to look at a basket."""
        known = self._uneven.get(trade)
        return known is None or known.due_ms <= steady_ms

    def all_due(self, ledger: Ledger, steady_ms: int) -> list[int]:
        """Return the baskets that were tried before, are due again, and still lack something."""
        uneven = self._uneven
        return sorted(
            [trade for trade in ledger.lacking if trade in uneven and uneven[trade].due_ms <= steady_ms]
        )

    def terms(
        self, trade: int, basket: Basket, view: EventView, spent_e6: int, now_ms: int, steady_ms: int
    ) -> Terms:
        """Return the present terms; they have ended already if the wait has been long enough."""
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
        """Note that a basket was looked at, after how many tries, and whether something was ordered."""
        wait_ms = PACE_MS[min(max(tries, 1), len(PACE_MS)) - 1] if ordered else LOOK_AGAIN_MS
        known = self._uneven.setdefault(trade, _Uneven(steady_ms, steady_ms))
        known.due_ms = steady_ms + (AFTER_REST_MS if rests else wait_ms)
        known.takes += ordered and not rests

    def keep(self, trades: Mapping[int, Basket]) -> None:
        """Forget other baskets than these once more are known: none that has ended is asked for again."""
        for known in (self._uneven, self._earns_e6):
            if len(known) > len(trades):
                for trade in known.keys() - trades.keys():
                    del known[trade]


def patience_ms(view: EventView, now_ms: int, waited_ms: int = 0) -> int:
    """Return how much longer to wait for a basket of an event, after waiting `waited_ms`."""
    until_ms = now_ms + PATIENT_MS - waited_ms
    start_ms = view.timing.start_ms
    if start_ms is not None and start_ms - BEFORE_END_MS < until_ms:
        until_ms = start_ms - BEFORE_END_MS
    for seen in view.markets:
        close_ms = seen.market.close_ms
        if close_ms is not None and close_ms - BEFORE_END_MS < until_ms:
            until_ms = close_ms - BEFORE_END_MS
    return max(0, until_ms - now_ms)


def excess_e2(basket: Basket) -> list[int]:
    """Return for each leg how many whole contracts it has beyond the emptiest of the short ones."""
    level_e2 = min((one.got_e2 for one in basket.legs if one.got_e2 < one.planned_e2), default=None)
    if level_e2 is None:
        return [0] * len(basket.legs)
    return [whole_e2(one.got_e2 - level_e2) for one in basket.legs]


def follow_ups(
    trade: int,
    basket: Basket,
    view: EventView,
    now_ms: int,
    scan: ScanLimits,
    failures: list[Failure],
    terms: Terms | None,
) -> list[Proposal]:
    """Return proposals that would even a basket out, the better worst case first; none if nothing helps now.

    Args:
        failures: collects the errors of kinds that raise when asked what the legs pay.
        terms: None in sessions with rules before 2.
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
    """Return bids for the missing contracts that take nothing and cost at most `budget_e6` with their fees.

    With several legs, all bids are equally far below their asks.
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
"""An order, and the levels that it would take."""


def _legs(
    sides: Sequence[str], seen: Sequence[MarketView], counts_e2: Sequence[int], scan: ScanLimits
) -> list[Purchase] | None:
    """Return the orders for these counts; None if a ladder is too short for one of them."""
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
