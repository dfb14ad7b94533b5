"""The one choke point: every order passes `check`, one trade at a time. Pure.

Anything not known to be fine is refused. Risk trusts neither the scanner nor the strategies: it checks ages,
doubts and prices itself.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from bus.trading import reasons
from markets.book import NO, YES, depth, fills, on_grid
from markets.fees import FeeSchedule, fee_schedule
from markets.opportunities import EventView, MarketView, ScanLimits, floor_e6
from markets.opportunities.legs import Ladder, expected_payout_ms, ladder, top
from markets.orders import Intent, Proposal, Wanted, reserve_e6
from markets.records import Status
from markets.timing import MatchTiming, is_open
from markets.units import CENT_E6, COUNT_ONE_E2, HOUR_MS, PRICE_ONE_E4, format_money
from trader.ledger.ledger import CLOSED_BY_HAND, Ledger

from .caps import DAY_MS, Cap, CapLimits
from .edge import may_lose_if_void
from .throttle import MINUTE_MS

MILLION: Final = 1_000_000

LARGEST: Final = 2**53
"""The largest amount, price, count or time: every JSON reader can represent integers up to here."""

FUTURE_MS: Final = 5_000
"""How far ahead of our clock a price's time may be: further ahead, one of the clocks is wrong."""


class Limits(msgspec.Struct, frozen=True, array_like=True):
    """Bounds on what may be at stake (ledger.py): in lots, and all that open orders can cost, including fees.

    `payout_ms` is how far off the expected payout may be: capital tied up until then earns nothing else.
    `daily_return_ppm` is the least profit per day, in millionths of what is tied up.
    `valid_ms` is the life of an order; `retry_after_ms` is an event's pause after an order that got nothing.
    """

    order_e6: int
    market_e6: int
    event_e6: int
    total_e6: int
    daily_loss_e6: int
    open_orders: int
    orders_per_minute: int
    positions_per_event: int
    price_collar_e4: int
    leg_age_ms: int
    min_edge_e6: int
    stale_after_ms: int
    valid_ms: int = 5_000
    retry_after_ms: int = 30_000
    payout_ms: int = 24 * 3_600_000
    match_e6: int = LARGEST
    series_e6: int = LARGEST
    day_e6: int = LARGEST
    shard_e6: int = LARGEST
    strategy_e6: int = LARGEST
    daily_return_ppm: int = 0

    @property
    def caps(self) -> CapLimits:
        """The limits that span events."""
        return CapLimits(self.match_e6, self.series_e6, self.day_e6, self.shard_e6, self.strategy_e6)


class Facts(msgspec.Struct, frozen=True):
    """Everything that risk looks at, besides the proposal.

    Attributes:
        halts: why nothing may be traded at all, worst first; empty if trading is allowed.
        floor_ms: data seen before this is not acted on.
        paced_ms: the same moment as `now_ms`, by the clock for rates, as `sent_ms` and `retry_at_ms` are.
        sent_ms: when each order of the last minute was sent.
        lost_today_e6: loss since the day began; negative for a profit.
        idle_shards: shards of the exchange that do not trade. degraded: series in doubt.
        free_e6: each shard's cash that no order needs; None if all cash is in one place.
        caps: limits that span events, for the strategy that wants to trade.
        netting: whether the exchange gives back what it will surely pay, so that it is not tied up.
        rules: those by which the session is decided (inputs.py).
    """

    now_ms: int
    paced_ms: int
    halts: tuple[str, ...]
    floor_ms: int
    ledger: Ledger
    sent_ms: Sequence[int]
    lost_today_e6: int
    idle_shards: tuple[int, ...]
    degraded: tuple[str, ...]
    retry_at_ms: Mapping[str, int]
    free_e6: Mapping[int, int] | None = None
    rules: int = 2
    caps: Sequence[Cap] = ()
    netting: bool = False


def eases(proposal: Proposal, facts: Facts) -> bool:
    """Whether it reduces risk, like orders that even out a basket or only sell what is held.

    No pause, loss or limit on new trades stands in its way: it never buys more than its trade lacks, nor
    sells more than its trade has (`evens_nothing`).
    """
    return proposal.evens is not None and facts.rules >= 2


def fit(
    proposal: Proposal,
    view: EventView,
    ledger: Ledger,
    limits: Limits,
    time_ms: int,
    free_e6: Mapping[int, int] | None = None,
    caps: Sequence[Cap] = (),
) -> tuple[Wanted, ...]:
    """Return the legs, all cut to the largest count for which the money limits leave room; empty if none.

    Counts are whole contracts. Cutting all legs of a basket to the same count preserves its guarantee.
    """
    fees, wanted, event_ticker = fee_schedule(view.event, view.series), proposal.legs, proposal.event_ticker
    whole_e2 = [leg.count_e2 - leg.count_e2 % COUNT_ONE_E2 for leg in wanted]
    if fees is None or not whole_e2 or min(whole_e2) <= 0:
        return ()
    room_e6 = min(
        limits.event_e6 - ledger.at_stake_e6(event_ticker),
        limits.total_e6 - ledger.at_stake_e6(),
        ledger.free_e6,
    )
    for cap in caps:
        room_e6 = min(room_e6, cap.room_e6)
    if free_e6 is not None:
        shards = _shards(view)
        room_e6 = min(room_e6, *(free_e6.get(shards.get(leg.ticker, 0), 0) for leg in wanted))
    rooms_e6 = [
        min(limits.order_e6, limits.market_e6 - ledger.at_stake_e6(event_ticker, ticker=leg.ticker))
        for leg in wanted
    ]

    def fits(contracts: int) -> bool:
        most_e2, total_e6 = contracts * COUNT_ONE_E2, 0
        for leg, leg_e2, leg_room_e6 in zip(wanted, whole_e2, rooms_e6, strict=True):
            cost_e6 = reserve_e6(fees, leg.price_e4, min(leg_e2, most_e2), time_ms)
            if cost_e6 > leg_room_e6:
                return False
            total_e6 += cost_e6
        return total_e6 <= room_e6

    # More would not fit even without fees, so the search starts lower.
    low, high, set_e4 = 0, max(whole_e2) // COUNT_ONE_E2, 0
    for leg, leg_room_e6 in zip(wanted, rooms_e6, strict=True):
        set_e4 += leg.price_e4
        high = _bound(high, leg.count_e2, leg_room_e6, leg.price_e4)
    high = _bound(high, min(whole_e2), room_e6, set_e4)
    if high and fits(high):  # the usual case
        low = high
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    if not low:
        return ()
    most_e2 = low * COUNT_ONE_E2
    return tuple(
        [
            msgspec.structs.replace(leg, count_e2=min(leg_e2, most_e2))
            for leg, leg_e2 in zip(wanted, whole_e2, strict=True)
        ]
    )


def _bound(high: int, count_e2: int, room_e6: int, price_e4: int) -> int:
    """Return the most contracts, no more than `high`, if a count at a price must find its place in a room."""
    most = max(0, room_e6) // max(1, price_e4 * COUNT_ONE_E2)
    return min(high, most) if count_e2 > most * COUNT_ONE_E2 else high


def early(proposal: Proposal, view: EventView, facts: Facts, limits: Limits, scan: ScanLimits) -> str | None:
    """Return why nothing may be traded in this event now at any price; `check` begins with the same tests.

    They cover nearly all refusals, and none of them needs sizes, edges or `facts.caps`.
    """
    reason = _standing(proposal, facts, limits)
    if reason is not None:
        return reason
    if view.event.event_ticker != proposal.event_ticker:
        return reasons.WRONG_EVENT
    if view.event.series_ticker in facts.degraded:
        return reasons.DEGRADED
    if fee_schedule(view.event, view.series) is None:
        return reasons.FEE_UNKNOWN
    timing = view.timing
    takes_off = eases(proposal, facts)
    if not (scan.in_play or takes_off) and (
        timing.in_play or (timing.start_ms is not None and facts.now_ms >= timing.start_ms)
    ):
        return reasons.MATCH_STARTED
    if not (scan.in_play or takes_off or proposal.by_hand) and _starts_soon(timing, facts, scan):
        return reasons.TOO_CLOSE_TO_START
    if proposal.evens is None and pays_too_late(view, facts.now_ms, limits):
        return reasons.PAYOUT_TOO_LATE
    return None


def check(
    legs: Sequence[Wanted],
    proposal: Proposal,
    view: EventView,
    facts: Facts,
    limits: Limits,
    scan: ScanLimits,
) -> str | None:
    """Return why this trade must not be placed, or None. `legs` are the proposal's, cut to size."""
    return next(_reasons(legs, proposal, view, facts, limits, scan), None)


def _reasons(
    legs: Sequence[Wanted],
    proposal: Proposal,
    view: EventView,
    facts: Facts,
    limits: Limits,
    scan: ScanLimits,
) -> Iterator[str]:
    reason = early(proposal, view, facts, limits, scan)
    if reason is not None:
        yield reason
    fees = fee_schedule(view.event, view.series)
    if fees is None:
        return
    if not legs or len(legs) != len(proposal.legs):
        yield reasons.NO_ROOM
        return
    if proposal.evens is not None:
        if proposal.exits and not all(_owns(leg, proposal, facts.ledger) for leg in legs):
            yield reasons.NOT_HELD
        allowed = _closes if _sells(proposal) else _evens
        if not all(allowed(leg, proposal.evens, facts.ledger) for leg in legs):
            yield reasons.EVENS_NOTHING
    elif not proposal.by_hand and proposal.edge_e6 * sum(
        leg.count_e2 for leg in legs
    ) < limits.min_edge_e6 * sum(leg.count_e2 for leg in proposal.legs):
        yield reasons.MIN_EDGE
    elif not proposal.by_hand and _returns_too_little(legs, proposal, view, fees, facts, limits):
        yield reasons.MIN_RETURN
    markets = {seen.market.ticker: seen for seen in view.markets}
    if len({leg.ticker for leg in legs}) != len(legs):
        yield reasons.SAME_MARKET_TWICE
    for leg in legs:
        seen = markets.get(leg.ticker)
        if seen is None:
            yield reasons.MARKET_UNKNOWN
            return
        yield from _leg_reasons(leg, seen, facts, limits, scan, rests=proposal.time_in_force == "gtc")
    locked = proposal.probability is None and proposal.evens is None and not proposal.by_hand
    if locked and not scan.void_risk and may_lose_if_void(legs, view, fees, scan, facts.now_ms):
        yield reasons.VOID_RISK
    yield from _money_reasons(legs, proposal, fees, facts, limits)
    if facts.free_e6 is not None:
        yield from _shard_reasons(legs, proposal, view, fees, facts, facts.free_e6)


def _starts_soon(timing: MatchTiming, facts: Facts, scan: ScanLimits) -> bool:
    return timing.start_ms is not None and timing.start_ms - facts.now_ms < scan.min_before_start_ms


def pays_too_late(view: EventView, now_ms: int, limits: Limits) -> bool:
    """Whether an event pays out later than the limit on new trades, or nobody knows when."""
    return pays_too_late_until_ms(view, now_ms, limits) > now_ms


def pays_too_late_until_ms(view: EventView, now_ms: int, limits: Limits) -> int:
    """Return until when an event pays out too late for new trades; a minute from now if nobody knows."""
    payout_ms = expected_payout_ms(view, now_ms)
    return now_ms + MINUTE_MS if payout_ms is None else payout_ms - limits.payout_ms


def amend(
    intent: Intent,
    got_e2: int,
    wanted: Wanted,
    view: EventView,
    facts: Facts,
    limits: Limits,
    scan: ScanLimits,
) -> str | None:
    """Return why a resting order must not be amended like this; `got_e2` is what it has filled already."""
    return next(_amend_reasons(intent, got_e2, wanted, view, facts, limits, scan), None)


def _amend_reasons(
    intent: Intent,
    got_e2: int,
    wanted: Wanted,
    view: EventView,
    facts: Facts,
    limits: Limits,
    scan: ScanLimits,
) -> Iterator[str]:
    ledger, left_e2 = facts.ledger, wanted.count_e2 - got_e2
    yield from facts.halts
    if max(abs(wanted.price_e4), abs(wanted.count_e2) * PRICE_ONE_E4) > LARGEST:
        yield reasons.UNREAL
    if left_e2 <= 0:
        yield reasons.BAD_SIZE
    if view.event.series_ticker in facts.degraded:
        yield reasons.DEGRADED
    seen = next((one for one in view.markets if one.market.ticker == wanted.ticker), None)
    if seen is None:
        yield reasons.MARKET_UNKNOWN
        return
    yield from _leg_reasons(wanted, seen, facts, limits, scan, rests=True)
    if sum(sent_ms > facts.paced_ms - MINUTE_MS for sent_ms in facts.sent_ms) + 1 > limits.orders_per_minute:
        yield reasons.ORDERS_PER_MINUTE
    other = NO if intent.side == YES else YES
    if intent.attempt == CLOSED_BY_HAND and ledger.held_e2(intent.trade, intent.ticker, other) < left_e2:
        yield reasons.NOT_HELD
    most_e6 = reserve_e6(intent.fees, wanted.price_e4, wanted.count_e2, facts.now_ms)
    reason = _amend_money(intent, most_e6, max(0, most_e6 - intent.reserve_e6), facts, limits)
    if reason is not None:
        yield reason


def _amend_money(intent: Intent, most_e6: int, more_e6: int, facts: Facts, limits: Limits) -> str | None:
    """Return why a resting order must not be allowed to cost `most_e6`, `more_e6` more than before."""
    ledger, event_ticker, shard = facts.ledger, intent.event_ticker, intent.exchange_index or 0
    if most_e6 > limits.order_e6:
        return reasons.ORDER_LIMIT
    for at_stake_e6, limit_e6, reason in (
        *((cap.at_stake_e6, cap.limit_e6, cap.reason) for cap in facts.caps),
        (ledger.at_stake_e6(event_ticker, ticker=intent.ticker), limits.market_e6, reasons.MARKET_LIMIT),
        (ledger.at_stake_e6(event_ticker), limits.event_e6, reasons.EVENT_LIMIT),
        (ledger.at_stake_e6(), limits.total_e6, reasons.TOTAL_LIMIT),
        (0, ledger.free_e6, reasons.CASH),
        (0, more_e6 if facts.free_e6 is None else facts.free_e6.get(shard, 0), reasons.CASH_ON_SHARD),
    ):
        if more_e6 and at_stake_e6 + more_e6 > limit_e6:
            return reason
    return None


def _returns_too_little(
    legs: Sequence[Wanted],
    proposal: Proposal,
    view: EventView,
    fees: FeeSchedule,
    facts: Facts,
    limits: Limits,
) -> bool:
    """Whether a trade earns too little per day on what it ties up until its expected payout."""
    if not limits.daily_return_ppm:
        return False
    payout_ms = expected_payout_ms(view, facts.now_ms)
    tied_ms = HOUR_MS if payout_ms is None else max(HOUR_MS, payout_ms - facts.now_ms)
    tied_e6 = sum(reserve_e6(fees, leg.price_e4, leg.count_e2, facts.now_ms) for leg in legs)
    if facts.netting:
        tied_e6 = max(0, tied_e6 - floor_e6(view, [(leg.ticker, leg.side, leg.count_e2) for leg in legs]))
    return proposal.edge_e6 * DAY_MS * MILLION < limits.daily_return_ppm * tied_e6 * tied_ms


def _shards(view: EventView) -> Mapping[str, int]:
    return {seen.market.ticker: seen.market.exchange_index or 0 for seen in view.markets}


def _shard_reasons(
    legs: Sequence[Wanted],
    proposal: Proposal,
    view: EventView,
    fees: FeeSchedule,
    facts: Facts,
    free_e6: Mapping[int, int],
) -> Iterator[str]:
    """Yield a reason if a shard lacks the cash that its legs may cost."""
    needs_e6 = _needs_e6(legs, proposal, view, fees, facts)
    if any(need_e6 > free_e6.get(shard, 0) for shard, need_e6 in needs_e6.items()):
        yield reasons.CASH_ON_SHARD


def _needs_e6(
    legs: Sequence[Wanted], proposal: Proposal, view: EventView, fees: FeeSchedule, facts: Facts
) -> dict[int, int]:
    """Return what the legs on each shard may cost; a leg that only sells a lot is paid for by that lot."""
    shards, needs_e6 = _shards(view), dict[int, int]()
    for leg in legs:
        if proposal.evens is not None and _closes(leg, proposal.evens, facts.ledger):
            continue
        shard = shards[leg.ticker]
        cost_e6 = reserve_e6(fees, leg.price_e4, leg.count_e2, facts.now_ms)
        needs_e6[shard] = needs_e6.get(shard, 0) + cost_e6
    return needs_e6


def what_to_move(proposal: Proposal, view: EventView, facts: Facts) -> str:
    """Return in words what the shards lack for a trade that was refused for that; journals contain it."""
    fees, free = fee_schedule(view.event, view.series), facts.free_e6
    if fees is None or free is None:
        return ""
    said = []
    for shard, need_e6 in _needs_e6(proposal.legs, proposal, view, fees, facts).items():
        lacks_e6 = need_e6 - free.get(shard, 0)
        if lacks_e6 <= 0:
            continue
        richest = max(
            (other for other in free if other != shard), key=lambda other: free[other], default=None
        )
        there = format_money(max(0, free.get(shard, 0)))
        text = f"{format_money(need_e6)} needed, {there} free on shard {shard}"
        text += f": move {format_money(lacks_e6 + -lacks_e6 % CENT_E6)} there"
        if richest is not None:
            text += f", shard {richest} has {format_money(max(0, free[richest]))} free"
        said.append(text)
    return "; ".join(said)


def _ordered(proposal: Proposal, trade: int, ledger: Ledger, *, sells: bool) -> bool:
    """Whether open orders of a trade may still change its holdings; for a sale, only those in its market."""
    if not sells or not ledger.ordered(trade):
        return ledger.ordered(trade)
    legs, tickers = {(leg.ticker, leg.side) for leg in proposal.legs}, {leg.ticker for leg in proposal.legs}
    return any(
        intent.trade == trade
        and intent.ticker in tickers
        # A resting order that buys more of what is held takes none of it away.
        and (intent.time_in_force != "gtc" or (intent.ticker, intent.side) in legs)
        for intent in ledger.open.values()
    )


def _sells(proposal: Proposal) -> bool:
    """Whether somebody wants to sell what is held: that reduces risk."""
    return (proposal.by_hand or proposal.exits) and proposal.evens is not None


def _owns(leg: Wanted, proposal: Proposal, ledger: Ledger) -> bool:
    """Whether a leg sells no more than a trade of this strategy holds."""
    trade = proposal.evens
    lot = None if trade is None else ledger.lots.get(leg.ticker, {}).get(trade)
    return lot is not None and lot.strategy == proposal.strategy and _closes(leg, lot.trade, ledger)


def _belongs(proposal: Proposal, trade: int, ledger: Ledger) -> bool:
    """Whether a trade is open in the event and belongs to the strategy that wants to add to it."""
    event_ticker, strategy = proposal.event_ticker, proposal.strategy
    return any(
        lot.trade == trade and lot.strategy == strategy for lot in ledger.lots_in(event_ticker)
    ) or any(
        (intent.trade, intent.strategy, intent.event_ticker) == (trade, strategy, event_ticker)
        for intent in ledger.open.values()
    )


def _evens(leg: Wanted, trade: int, ledger: Ledger) -> bool:
    """Whether a leg of a follow-up buys no more than its basket lacks, or sells no more than it has."""
    basket = ledger.baskets.get(trade)
    for held in basket.legs if basket is not None else ():
        if held.ticker == leg.ticker:
            return leg.count_e2 <= (held.planned_e2 - held.got_e2 if leg.side == held.side else held.got_e2)
    return False


def _closes(leg: Wanted, trade: int, ledger: Ledger) -> bool:
    """Whether buying this only sells what this trade holds of the other outcome.

    Then nothing more is at stake, unless another trade's holding offsets the lot that is sold.
    """
    return ledger.held_e2(trade, leg.ticker, NO if leg.side == YES else YES) >= leg.count_e2


def _unreal(proposal: Proposal) -> bool:
    """Whether a number is too large for a journal or a JSON reader; a single odd quote can cause that."""
    if abs(proposal.edge_e6) > LARGEST or abs(proposal.expires_ms or 0) > LARGEST:
        return True
    # The possible cost of a count must fit too.
    for leg in proposal.legs:
        price_e4, most_e6 = leg.price_e4, leg.count_e2 * PRICE_ONE_E4
        if not (-LARGEST <= price_e4 <= LARGEST and -LARGEST <= most_e6 <= LARGEST):
            return True
    return False


def _standing(proposal: Proposal, facts: Facts, limits: Limits) -> str | None:
    """Return why this trade cannot be wanted now, whatever is seen of its event."""
    ledger, event_ticker = facts.ledger, proposal.event_ticker
    takes_off = eases(proposal, facts)
    passed = (reasons.PAUSED, reasons.DAILY_LOSS) if takes_off else ()
    for word in facts.halts:
        if word not in passed:
            return word
    if _unreal(proposal):
        return reasons.UNREAL
    if facts.rules >= 2 and min([leg.count_e2 for leg in proposal.legs], default=1) <= 0:
        return reasons.BAD_SIZE
    if proposal.evens is not None:
        if _ordered(proposal, proposal.evens, ledger, sells=_sells(proposal)):
            return reasons.RETRY_LATER
    elif proposal.joins is not None:
        if not _belongs(proposal, proposal.joins, ledger):
            return reasons.NOT_OWN_TRADE
    elif not proposal.by_hand and facts.paced_ms < facts.retry_at_ms.get(event_ticker, facts.paced_ms):
        return reasons.RETRY_LATER
    elif len(ledger.trades_in(event_ticker)) >= limits.positions_per_event:
        alone = limits.positions_per_event == 1
        return reasons.ONE_POSITION_PER_EVENT if alone else reasons.POSITIONS_PER_EVENT
    if takes_off:
        return None
    if facts.lost_today_e6 >= limits.daily_loss_e6:
        return reasons.DAILY_LOSS
    if len(ledger.open) + len(proposal.legs) > limits.open_orders:
        return reasons.OPEN_ORDERS
    if len(facts.sent_ms) + len(proposal.legs) > limits.orders_per_minute:
        recent = sum(sent_ms > facts.paced_ms - MINUTE_MS for sent_ms in facts.sent_ms)
        if recent + len(proposal.legs) > limits.orders_per_minute:
            return reasons.ORDERS_PER_MINUTE
    return None


def _leg_reasons(
    leg: Wanted, seen: MarketView, facts: Facts, limits: Limits, scan: ScanLimits, *, rests: bool
) -> Iterator[str]:
    now_ms, market = facts.now_ms, seen.market
    if leg.ticker in facts.ledger.settled:
        yield reasons.SETTLED
    if market.exchange_index in facts.idle_shards:
        yield reasons.EXCHANGE_CLOSED
    if seen.quote.status is not Status.ACTIVE or not is_open(market, now_ms):
        yield reasons.NOT_ACTIVE
    if seen.suspect:
        yield reasons.SUSPECT
    if top(seen).crossed:
        yield reasons.CROSSED_BOOK
    asks: Ladder = ladder(seen, leg.side, scan)
    if now_ms - asks.as_of_ms > limits.leg_age_ms:
        yield reasons.STALE_LEG
    if asks.as_of_ms - now_ms > FUTURE_MS:
        yield reasons.PRICE_FROM_THE_FUTURE
    if asks.as_of_ms < facts.floor_ms:
        yield reasons.SEEN_BEFORE_A_GAP
    if leg.side not in ("yes", "no") or leg.count_e2 <= 0 or leg.count_e2 % COUNT_ONE_E2:
        yield reasons.BAD_SIZE
    if not 0 < leg.price_e4 < PRICE_ONE_E4 or not on_grid(leg.price_e4, market.price_ranges):
        yield reasons.OFF_GRID
    if not asks.levels:
        if not rests:
            yield reasons.NO_DEPTH
        return
    if leg.price_e4 > asks.levels[0][0] + limits.price_collar_e4:
        yield reasons.PRICE_COLLAR
    within = [level for level in asks.levels if level[0] <= leg.price_e4]
    if not rests and depth(fills(within, leg.count_e2)) < leg.count_e2:
        yield reasons.NO_DEPTH


def _money_reasons(
    legs: Sequence[Wanted], proposal: Proposal, fees: FeeSchedule, facts: Facts, limits: Limits
) -> Iterator[str]:
    ledger, event_ticker, bounded = facts.ledger, proposal.event_ticker, not eases(proposal, facts)
    total_e6 = paid_e6 = 0  # what is additionally at stake, and what is paid
    for leg in legs:
        cost_e6 = reserve_e6(fees, leg.price_e4, leg.count_e2, facts.now_ms)
        if bounded and cost_e6 > limits.order_e6:
            yield reasons.ORDER_LIMIT
        stake_e6 = cost_e6 if bounded else 0
        if proposal.evens is not None and _closes(leg, proposal.evens, ledger):
            stake_e6 = max(0, ledger.rise_by_sale_e6(proposal.evens, leg.ticker, leg.count_e2))
            if _sells(proposal):
                cost_e6 = stake_e6  # the pairs pay its cost back at once
        total_e6 += stake_e6
        paid_e6 += cost_e6
        if stake_e6 and ledger.at_stake_e6(event_ticker, ticker=leg.ticker) + stake_e6 > limits.market_e6:
            yield reasons.MARKET_LIMIT
    if total_e6 and ledger.at_stake_e6(event_ticker) + total_e6 > limits.event_e6:
        yield reasons.EVENT_LIMIT
    if total_e6 and ledger.at_stake_e6() + total_e6 > limits.total_e6:
        yield reasons.TOTAL_LIMIT
    for cap in facts.caps:
        if total_e6 and total_e6 > cap.room_e6:
            yield cap.reason
    if paid_e6 > ledger.free_e6:
        yield reasons.CASH
