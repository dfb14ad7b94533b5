"""The chance and the cost of a missed leg: found by what was bought, and by what was only watched."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from markets.opportunities import EventView
from markets.orders import Wanted
from tests.trader.world import LIMITS, NOW_MS, SCAN, basket, data, filled, leg, live, start, tick, view_of
from trader.engine.edge import Edge, basket_edge
from trader.engine.engine import Engine
from trader.engine.inputs import Tick
from trader.engine.legrisk import (
    GAP_MS,
    GROUPS_MAX,
    GROWS_E4,
    LATENCY_MS,
    MOVED_MS,
    ONE,
    SEVERAL,
    SHRINKS_E4,
    TOUCHED,
    LegRisk,
    Like,
)
from trader.engine.outputs import Place

YOUNG = Like(SEVERAL, 0, 2, 2, "A")
OLD = Like(SEVERAL, 6, 2, 2, "A")
EVENT = basket().event
LEGS = tuple(Wanted(seen.market.ticker, "no", 6_000, 1_000) for seen in basket().markets)
EDGE = basket_edge(LEGS, basket(), SCAN, NOW_MS)
assert isinstance(EDGE, Edge)


def bought(risk: LegRisk, like: Like, *missed: bool, took_ms: int = LATENCY_MS) -> None:
    for trade, gone in enumerate(missed):
        risk.sent(trade, "E", like, EDGE, 0)  # type: ignore[arg-type]
        risk.ended(trade, took_ms, missed=gone, over=False)
        risk.ended(trade, took_ms, missed=False, over=True)


def see(risk: LegRisk, event_ticker: str, edge_e4: int, at_ms: int, *quoted_ms: int) -> None:
    risk.see(event_ticker, edge_e4, quoted_ms or (at_ms, at_ms), at_ms, at_ms)


def watch_often(
    risk: LegRisk, like: Like, view: EventView, tried: int, after_ms: int = 100, patience_ms: int = 0
) -> None:
    """Watch a basket so often, each time until the event is seen to be like this."""
    for number in range(tried):
        at_ms = number * 100_000
        see(risk, EVENT.event_ticker, 100, at_ms)
        risk.watch(EVENT.event_ticker, LEGS, EDGE, like, at_ms)  # type: ignore[arg-type]
        risk.look(view, SCAN, NOW_MS, at_ms + after_ms, patience_ms)
        risk.look(view, SCAN, NOW_MS, at_ms + after_ms + patience_ms, patience_ms)
        risk.forget()


def without_a_leg() -> EventView:
    """A leg is two cents dearer."""
    return view_of(EVENT, leg(EVENT, "HOM", (3_800, 9_000), (4_200, 9_000)), *basket().markets[1:])


def test_before_anything_is_known_what_has_stood_for_long_is_thought_to_stand() -> None:
    risk = LegRisk()
    chances = [risk.miss_ppm(YOUNG._replace(age=age)) for age in range(7)]

    assert chances[0] == 400_000
    assert chances == sorted(chances, reverse=True)
    assert chances[-1] < 60_000


def test_own_baskets_tell_by_state_and_age() -> None:
    risk = LegRisk()
    bought(risk, YOUNG, *[True, False] * 100)
    bought(risk, OLD, *[False] * 200)
    bought(risk, YOUNG._replace(state=ONE), *[False] * 200)

    assert 450_000 < risk.miss_ppm(YOUNG) < 600_000
    assert risk.miss_ppm(OLD) < 20_000
    assert risk.miss_ppm(YOUNG._replace(state=ONE)) < 20_000
    assert risk.miss_ppm(OLD._replace(legs=3)) < risk.miss_ppm(YOUNG._replace(legs=3)) < 700_000


def test_the_fewer_baskets_were_like_it_the_worse_it_is_taken_to_be() -> None:
    few, many = LegRisk(), LegRisk()
    bought(few, YOUNG, *[True, False] * 5)
    bought(many, YOUNG, *[True, False] * 90)

    assert many.miss_ppm(YOUNG) == pytest.approx(500_000, abs=10_000)
    assert 500_000 < many.miss_ppm(YOUNG, cautious=True) < 550_000 < few.miss_ppm(YOUNG, cautious=True)


def test_a_basket_that_is_only_watched_tells_the_same() -> None:
    risk, miss_ppm = LegRisk(), LegRisk().miss_ppm(YOUNG)
    watch_often(risk, YOUNG, without_a_leg(), 50)
    assert risk.miss_ppm(YOUNG) > 900_000 > miss_ppm

    watch_often(risk, YOUNG, without_a_leg(), 50, after_ms=LATENCY_MS + 1)  # its orders had arrived by then
    watch_often(risk, YOUNG, without_a_leg(), 200, after_ms=LATENCY_MS + 1)
    assert risk.miss_ppm(YOUNG) < miss_ppm / 2


def test_what_a_miss_costs_is_what_evening_out_would_have_cost_then() -> None:
    risk, before_ppm = LegRisk(), LegRisk().cost_ppm(YOUNG)
    watch_often(risk, YOUNG, without_a_leg(), 100)

    # 2 cents more of a leg, with lower fees, of 20 cents that a set earns before fees.
    assert risk.cost_ppm(YOUNG) == pytest.approx(100_000, rel=0.3)
    assert risk.cost_ppm(YOUNG) <= risk.cost_ppm(YOUNG._replace(legs=3)) < before_ppm


def missed(risk: LegRisk, *, back_ms: int, earns: bool) -> None:
    """Watch a basket that misses a leg; it comes back so much later, for as much, or for two cents more."""
    see(risk, EVENT.event_ticker, 100, 0)
    risk.watch(EVENT.event_ticker, LEGS, EDGE, YOUNG, 0)  # type: ignore[arg-type]
    risk.look(gone(), SCAN, NOW_MS, 100, 10_000)
    risk.look(gone(), SCAN, NOW_MS, 200, 10_000)
    assert EVENT.event_ticker in risk.watched
    risk.look(basket() if earns else without_a_leg(), SCAN, NOW_MS, 100 + back_ms, 10_000)


def gone() -> EventView:
    """Of a leg nobody offers anything that the basket could bear."""
    return view_of(EVENT, leg(EVENT, "HOM", (1_000, 9_000), (4_200, 9_000)), *basket().markets[1:])


@pytest.mark.parametrize(
    ("back_ms", "earns", "cost_e4"),
    [
        (1_000, True, 0),  # it earns what it was to earn
        (1_000, False, None),  # that is not waited for yet
        (6_000, False, 7_480),  # it earns nothing: 15 of the 20 cents before fees
        (11_000, False, 1_000),  # waited for long enough: what it is dearer by
    ],
)
def test_a_leg_that_is_gone_is_waited_for_on_what_is_watched_too(
    back_ms: int, earns: bool, cost_e4: int | None
) -> None:
    risk, before_ppm = LegRisk(), LegRisk().cost_ppm(YOUNG)
    missed(risk, back_ms=back_ms, earns=earns)

    found = {group: total / trials for group, total, trials in risk.learnt}.get("cost")
    if cost_e4 is None:
        assert (found, risk.cost_ppm(YOUNG)) == (None, before_ppm)
        assert risk.watched
    else:
        assert found == pytest.approx(cost_e4 / 10_000, abs=0.02)
        assert not risk.watched


def test_what_an_own_basket_came_to_tells_what_its_miss_cost() -> None:
    risk = LegRisk()
    edge = Edge(2_000_000, 5_000_000, (30_000_000, 30_000_000))
    for trade in (1, 2):
        risk.sent(trade, "E", YOUNG, edge, 0)
        risk.ended(trade, 100, missed=True, over=True)
        risk.paid(trade, -30_000_000)
    assert risk.uneven == [1, 2]

    risk.paid(1, -29_000_000)
    risk.came_to(1, 60_000_000)  # it earns a dollar of the two
    risk.drop(2)

    assert risk.uneven == []
    assert ("cost", 0.2, 1.0) in risk.learnt


def test_what_is_expected_has_the_chance_and_the_cost_of_a_miss_in_it() -> None:
    risk = LegRisk()
    miss, cost = risk.miss_ppm(YOUNG) / 1e6, risk.cost_ppm(YOUNG) / 1e6

    assert risk.expected_e6(YOUNG, Edge(3_000_000, 5_000_000, ())) == pytest.approx(
        3_000_000 - miss * cost * 5_000_000, abs=5
    )


def test_what_stands_is_watched_again_when_it_is_twice_as_old() -> None:
    risk = LegRisk()
    see(risk, "E", 100, 0)
    risk.watch("E", LEGS, EDGE, YOUNG, 0)  # type: ignore[arg-type]
    for at_ms in range(0, 64_000, 100):
        see(risk, "E", 100, at_ms)
        risk.pass_time(at_ms)

    assert risk.watched == {"E"}
    trials = {group: trials for group, _, trials in risk.learnt}
    assert [trials.get(f"{SEVERAL}/{age}") for age in range(6)] == [1, None, 1, 1, 1, 1]


def like(risk: LegRisk, at_ms: int) -> Like:
    return risk.like("E", "A", 2, 100, at_ms)


def test_a_basket_is_young_until_it_has_been_offered_for_a_while_at_this_price() -> None:
    risk = LegRisk()
    assert like(risk, 0) == YOUNG._replace(size=1)
    see(risk, "E", 100, 0)
    see(risk, "E", 100, 3_000)
    assert [like(risk, at_ms).age for at_ms in (499, 500, 3_000)] == [0, 1, 3]
    see(risk, "E", 100 - GROWS_E4, 4_000)
    assert like(risk, 4_000).age == 4
    see(risk, "E", 100, 5_000)
    assert like(risk, 5_000).age == 0
    see(risk, "E", 100, 5_001 + GAP_MS)
    assert like(risk, 5_001 + GAP_MS).age == 0


def test_what_one_quote_made_is_told_from_what_several_did_and_from_what_others_have_touched() -> None:
    risk, at_ms = LegRisk(), 10_000
    see(risk, "E", 100, at_ms, at_ms, at_ms - MOVED_MS, 0)
    assert like(risk, at_ms).state == SEVERAL
    see(risk, "E", 100 - SHRINKS_E4, at_ms + 100, 0, 0, 0)
    assert like(risk, at_ms + 100).state == SEVERAL
    see(risk, "E", 99 - SHRINKS_E4, at_ms + 200, 0, 0, 0)
    assert like(risk, at_ms + 200).state == TOUCHED

    see(risk, "E", 200, at_ms + 300, at_ms, 0, 0)
    assert like(risk, at_ms + 300).state == ONE
    see(risk, "E", 100, at_ms + 400, at_ms + 400, at_ms + 400)
    assert like(risk, at_ms + 400).state == ONE


def test_how_long_an_order_takes_is_learnt_and_bounded() -> None:
    risk = LegRisk()
    bought(risk, YOUNG, *[False] * 60, took_ms=100)
    assert risk.latency_ms < 120
    bought(risk, YOUNG, *[False] * 60, took_ms=10**9)
    assert 4_900 <= risk.latency_ms <= 5_000


def test_what_was_learnt_is_carried_over_and_bounded() -> None:
    risk = LegRisk()
    bought(risk, YOUNG, True, True, took_ms=300)
    for number in range(2 * GROUPS_MAX):
        watch_often(risk, OLD._replace(series_ticker=f"S{number}"), without_a_leg(), 1)
    again = LegRisk(risk.learnt)

    assert len(risk.learnt) <= GROUPS_MAX + 1
    assert again.learnt == risk.learnt
    assert again.latency_ms == risk.latency_ms
    assert again.miss_ppm(YOUNG) == risk.miss_ppm(YOUNG)


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3), st.integers(2, 6), st.booleans()), max_size=60)
)
def test_a_chance_stays_a_chance_whatever_is_found(trials: list[tuple[int, int, int, bool]]) -> None:
    risk = LegRisk()
    for age, size, legs, missed in trials:
        bought(risk, Like(SEVERAL, age, legs, size, "A"), missed)

    for age, size, legs, _ in trials:
        one = Like(SEVERAL, age, legs, size, "A")
        assert 0 < risk.miss_ppm(one) <= 1_000_000
        assert risk.expected_e6(one, Edge(100, 200, ())) <= 100


def vouched(view: EventView) -> EventView:
    return msgspec.structs.replace(
        view, markets=tuple(msgspec.structs.replace(seen, vouched=True) for seen in view.markets)
    )


def running(**limits: Any) -> Engine:
    engine = Engine()
    engine.step(start(limits=msgspec.structs.replace(LIMITS, **limits)))
    engine.step(live())
    engine.step(data())
    return engine


def test_what_is_refused_is_watched_and_its_event_heard_of() -> None:
    engine = running(min_edge_e6=10**9)
    assert not any(isinstance(one, Place) for one in engine.step(data(vouched(basket()))))
    assert engine.minded == {EVENT.event_ticker}

    chance_ppm = engine.leg_risk.miss_ppm(Like(SEVERAL, 0, 3, 3, EVENT.series_ticker))
    engine.step(data(vouched(without_a_leg()), now_ms=NOW_MS + 100))
    assert engine.leg_risk.miss_ppm(Like(SEVERAL, 0, 3, 3, EVENT.series_ticker)) > chance_ppm


def test_what_nobody_vouches_for_is_not_watched_and_nothing_is_while_nothing_may_be_traded() -> None:
    engine = running(min_edge_e6=10**9)
    engine.step(data(basket()))
    assert not engine.minded

    engine.step(data(vouched(basket())))
    engine.step(Tick(NOW_MS + 10**6, 10**6))  # all is stale by then
    assert not engine.minded


def test_what_is_bought_tells_by_its_own_orders() -> None:
    engine = running(min_edge_e6=0)
    placed = [one.intent for one in engine.step(data(vouched(basket()))) if isinstance(one, Place)]
    assert len(placed) == 3
    assert not engine.leg_risk.watched

    engine.step(tick(NOW_MS + 100))
    for intent in placed:
        engine.step(filled(intent))
    assert (SEVERAL, 0.0, 1.0) in engine.leg_risk.learnt
