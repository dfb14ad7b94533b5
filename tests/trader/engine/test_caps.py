"""Bounds beyond one event: what counts together, exact at each limit, whatever is held."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from markets.opportunities import EventView
from markets.orders import Proposal, Wanted, reserve_e6
from markets.timing import MatchTiming
from markets.units import HOUR_MS
from tests.trader.engine.facts import facts
from tests.trader.ledger.builders import FEES, intent
from tests.trader.world import CLOSE_MS, LIMITS, NOW_MS, SCAN, event_of, leg, view_of
from trader.engine.caps import CapLimits, Groups, caps, strategy_stake_e6
from trader.engine.risk import LARGEST, check, fit
from trader.ledger.ledger import Ledger

DAY_MS = 24 * HOUR_MS
NONE = CapLimits(LARGEST, LARGEST, LARGEST, LARGEST, LARGEST)
WIN, SPREAD, OTHER = "KXMLSGAME-26AUG19E1", "KXMLSSPREAD-26AUG19E1", "KXMLSGAME-26AUG20E2"


def view(event_ticker: str, match: str = "", shard: int = 0, payout_ms: int = CLOSE_MS) -> EventView:
    event = event_of(event_ticker=event_ticker, series_ticker=event_ticker.partition("-")[0])
    made = view_of(event, leg(event, "HOM", (4_000, 100_000), (4_200, 100_000), exchange_index=shard))
    timing = MatchTiming(None, "milestone", payout_ms, payout_ms, False)
    return msgspec.structs.replace(made, match=match, timing=timing)


def holding(**stakes_e6: int) -> Ledger:
    """A ledger with an order of so much in each event, of the strategy `value`."""
    ledger = Ledger.new(10**12)
    names = {"win": WIN, "spread": SPREAD, "other": OTHER}
    for number, (name, stake_e6) in enumerate(stakes_e6.items(), 1):
        made = intent(number, ticker=f"{names[name]}-HOM")
        ledger.place(msgspec.structs.replace(made, event_ticker=names[name], reserve_e6=stake_e6))
    return ledger


def stakes(ledger: Ledger, seen: Sequence[EventView], own: EventView) -> dict[str, int]:
    views = {one.event.event_ticker: one for one in seen}
    return {cap.reason: cap.at_stake_e6 for cap in caps(own, "value", ledger, views, NONE, NOW_MS)}


def test_events_of_a_match_a_series_a_day_and_a_shard_count_together() -> None:
    ledger = holding(win=1, spread=10, other=100)
    others = [
        view(SPREAD, "m1", shard=1),
        view(OTHER, "m2", payout_ms=CLOSE_MS + DAY_MS),
    ]

    assert stakes(ledger, others, view(WIN, "m1")) == {
        "match_limit": 11,
        "series_limit": 101,
        "day_limit": 11,
        "shard_limit": 101,
        "strategy_limit": 111,
    }


def test_a_match_is_its_milestone_and_only_without_one_what_the_tickers_say() -> None:
    ledger = holding(win=1, spread=10)

    assert stakes(ledger, [view(SPREAD, "m2")], view(WIN, "m1"))["match_limit"] == 1
    assert stakes(ledger, [view(SPREAD)], view(WIN, "m1"))["match_limit"] == 11
    assert stakes(ledger, [view(SPREAD)], view(WIN))["match_limit"] == 11


def test_what_was_not_seen_since_the_start_counts_for_every_day_and_shard() -> None:
    found = stakes(holding(win=1, spread=10, other=100), [], view(WIN, "m1", shard=3))

    assert (found["match_limit"], found["day_limit"], found["shard_limit"]) == (11, 111, 111)
    assert found["series_limit"] == 101


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-2, 60)), min_size=1, max_size=8))
def test_what_is_kept_from_trade_to_trade_says_what_is_worked_out_anew(steps: list[tuple[int, int]]) -> None:
    ledger, groups = holding(win=1, spread=10, other=100), Groups()
    seen = {one.event.event_ticker: one for one in (view(SPREAD, "m1"), view(OTHER, "m2"))}
    for changes, hours in steps:
        if changes == 1:
            seen[OTHER] = view(OTHER, "m1", shard=2, payout_ms=CLOSE_MS + hours * HOUR_MS)
        elif changes == 2:
            groups.keep([OTHER])
        at_ms = NOW_MS + hours * HOUR_MS
        own = view(WIN, "m1")
        kept = caps(own, "value", ledger, seen, NONE, at_ms, groups)
        assert kept == caps(own, "value", ledger, seen, NONE, at_ms)


def test_a_strategy_has_at_stake_what_its_lots_cost_and_its_orders_may() -> None:
    ledger = holding(win=1_000)
    other = msgspec.structs.replace(intent(9, "X"), strategy="maker", reserve_e6=7)
    ledger.place(other)

    assert (strategy_stake_e6(ledger, "value"), strategy_stake_e6(ledger, "maker")) == (1_000, 7)


COST_E6 = reserve_e6(FEES, 4_200, 1_000, NOW_MS)
CAPS = ("match", "series", "day", "shard", "strategy")


def wants(count_e2: int = 1_000, **changes: Any) -> Proposal:
    wanted = Wanted(f"{WIN}-HOM", "yes", 4_200, count_e2)
    return Proposal("value", WIN, (wanted,), 1_000_000, 0.5, **changes)


@pytest.mark.parametrize("name", CAPS)
def test_at_its_limit_a_trade_passes_and_a_micro_dollar_above_it_does_not(name: str) -> None:
    ledger = holding(spread=5_000_000, other=3_000_000)
    held_e6 = stakes(ledger, [], view(WIN))[f"{name}_limit"]
    for spare_e6, verdict in ((0, None), (-1, f"{name}_limit")):
        limits = msgspec.structs.replace(LIMITS, **{f"{name}_e6": held_e6 + COST_E6 + spare_e6})
        bounds = caps(view(WIN), "value", ledger, {}, limits.caps, NOW_MS)
        known = facts(ledger=ledger, caps=bounds)
        assert check(wants().legs, wants(), view(WIN), known, limits, SCAN) == verdict


@given(
    st.dictionaries(st.sampled_from(["win", "spread", "other"]), st.integers(0, 40_000_000)),
    st.tuples(*[st.integers(0, 60_000_000)] * 5),
    st.integers(1, 150),
)
def test_what_fits_never_exceeds_a_limit_and_one_contract_more_would(
    held: dict[str, int], bounds: tuple[int, ...], contracts: int
) -> None:
    ledger, own = holding(**held), view(WIN)
    limits = msgspec.structs.replace(
        LIMITS, **{f"{name}_e6": e6 for name, e6 in zip(CAPS, bounds, strict=True)}
    )
    found = caps(own, "value", ledger, {}, limits.caps, NOW_MS)
    rooms = [cap.room_e6 for cap in found] + [
        limits.order_e6,
        limits.event_e6 - ledger.at_stake_e6(WIN),
        limits.market_e6 - ledger.at_stake_e6(WIN, ticker=f"{WIN}-HOM"),
        limits.total_e6 - ledger.at_stake_e6(),
    ]

    legs = fit(wants(contracts * 100), own, ledger, limits, NOW_MS, None, found)

    count_e2 = legs[0].count_e2 if legs else 0
    if count_e2:
        assert reserve_e6(FEES, 4_200, count_e2, NOW_MS) <= min(rooms)
    if count_e2 < contracts * 100:
        assert reserve_e6(FEES, 4_200, count_e2 + 100, NOW_MS) > min(rooms)


@given(
    st.dictionaries(st.sampled_from(["win", "spread", "other"]), st.integers(0, 40_000_000)),
    st.tuples(*[st.integers(-3_000_000, 9_000_000)] * 5),
    st.integers(0, 60_000_000),
    st.integers(1, 150),
)
def test_beside_the_limit_on_all_no_higher_one_on_a_part_says_anything(
    held: dict[str, int], above: tuple[int, ...], total_e6: int, contracts: int
) -> None:
    ledger, own, seen = holding(**held), view(WIN, "m1"), {SPREAD: view(SPREAD, "m1")}
    parts = {f"{name}_e6": max(0, total_e6 + more_e6) for name, more_e6 in zip(CAPS, above, strict=True)}
    limits = msgspec.structs.replace(LIMITS, total_e6=total_e6, **parts)
    every = caps(own, "value", ledger, seen, limits.caps, NOW_MS)
    some = caps(own, "value", ledger, seen, limits.caps, NOW_MS, total_e6=total_e6)
    wanted = wants(contracts * 100)

    legs = fit(wanted, own, ledger, limits, NOW_MS, None, every)
    assert fit(wanted, own, ledger, limits, NOW_MS, None, some) == legs
    for asked in (legs, wanted.legs):
        verdicts = [
            check(asked, wanted, own, facts(ledger=ledger, caps=one), limits, SCAN) for one in (every, some)
        ]
        assert verdicts[0] == verdicts[1]


def returns(payout_ms: int, edge_e6: int, *, netting: bool = False, ppm: int = 100) -> str | None:
    limits = msgspec.structs.replace(LIMITS, daily_return_ppm=ppm, payout_ms=10**12)
    seen = view(WIN, payout_ms=payout_ms)
    far = [
        msgspec.structs.replace(one.market, close_ms=payout_ms, settlement_timer_s=0) for one in seen.markets
    ]
    markets = [
        msgspec.structs.replace(one, market=market) for one, market in zip(seen.markets, far, strict=True)
    ]
    seen = msgspec.structs.replace(seen, markets=tuple(markets))
    wanted = msgspec.structs.replace(wants(), edge_e6=edge_e6)
    return check(wanted.legs, wanted, seen, facts(netting=netting), limits, SCAN)


def test_a_trade_that_earns_too_little_a_day_on_what_it_ties_up_is_refused() -> None:
    days = 60
    least_e6 = -(-100 * COST_E6 * days // 1_000_000)  # 0.01 % a day

    assert returns(NOW_MS + days * DAY_MS, least_e6) is None
    assert returns(NOW_MS + days * DAY_MS, least_e6 - 1) == "min_return"
    assert returns(NOW_MS + days * DAY_MS, least_e6 - 1, ppm=0) is None
    assert returns(NOW_MS + DAY_MS, least_e6 // 50) is None
    # So little time counts as an hour: what is paid at once need not earn a day's return.
    assert returns(NOW_MS + HOUR_MS, -(-100 * COST_E6 // 24_000_000)) is None
    assert returns(NOW_MS + 120_000, 1) == "min_return"


def test_what_a_person_wants_need_earn_nothing() -> None:
    limits = msgspec.structs.replace(LIMITS, daily_return_ppm=10**6)
    mine = wants(by_hand=True)

    assert check(mine.legs, mine, view(WIN), facts(), limits, SCAN) is None


def test_what_comes_back_at_once_is_not_tied_up() -> None:
    event = event_of()
    names = ("HOM", "AWY", "TIE")
    seen = view_of(event, *(leg(event, name, (3_400, 10_000), (3_600, 10_000)) for name in names))
    timing = MatchTiming(None, "milestone", NOW_MS + 59 * DAY_MS, NOW_MS + 59 * DAY_MS, False)
    seen = msgspec.structs.replace(seen, timing=timing)
    legs = tuple(Wanted(f"{event.event_ticker}-{name}", "no", 6_600, 1_000) for name in names)
    basket = Proposal("baskets", event.event_ticker, legs, 3_000, None)
    limits = msgspec.structs.replace(LIMITS, daily_return_ppm=100, payout_ms=10**12)

    assert check(legs, basket, seen, facts(), limits, SCAN) == "min_return"
    assert check(legs, basket, seen, facts(netting=True), limits, SCAN) is None
