"""The wall clock is set, both ways, while the publisher works: nothing stays from a time to come."""

from typing import cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bus.server import FeedServer
from markets.json.frames import TickerUpdate
from markets.units import DAY_MS
from publisher.held import AHEAD_MS
from publisher.live import Live
from tests.publisher.exchange import event, market
from tests.publisher.sinks import Sink
from tests.publisher.world import World, content

YEAR_MS = 365 * DAY_MS
EARLIEST_MS, LATEST_MS = 946_684_800_000, 4_000_000_000_000

steps = st.lists(
    st.tuples(
        st.one_of(
            st.integers(-20_000, 20_000),
            st.sampled_from([-1, 1, 3_600_000, -3_600_000]),
            st.integers(-10 * YEAR_MS, 10 * YEAR_MS),
        ),
        st.booleans(),  # whether a quote is streamed then
        st.booleans(),  # whether a sweep comes then
    ),
    max_size=6,
)


@settings(max_examples=15, deadline=None)
@given(steps=steps)
@example(steps=[(3_600_000, True, False), (-3_600_000, False, False)])
@example(steps=[(3_600_000, True, True), (-3_600_000, False, False)])
@example(steps=[(3_600_000, False, True), (-3_600_000, True, False)])
@example(steps=[(10 * YEAR_MS, True, True), (-9 * YEAR_MS, False, True), (-YEAR_MS, True, False)])
def test_one_sweep_after_the_last_step_all_ages_are_true(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, bool, bool]]
) -> None:
    world = World(tmp_path_factory.mktemp("steps"))
    for name in ("E", "F"):
        world.exchange.list_event(event(name, "S", market(f"{name}-A", name), market(f"{name}-B", name)))
    world.run()
    live = Live(world.held, lambda _job: None, lambda _tickers: None, lambda _tickers: None, world.clock)
    bid_e4 = 4_000
    for step_ms, streams, sweeps in steps:
        world.clock.set_wall(min(max(world.clock.now_ms() + step_ms, EARLIEST_MS), LATEST_MS))
        world.clock.advance(500)
        if streams:
            bid_e4 = 4_300 if bid_e4 == 4_000 else 4_000
            tick = TickerUpdate("E-A", bid_e4, 4_500, 700, 5_000, None, None, None, world.clock.now_ms())
            live.publish(cast(FeedServer, Sink(world)), [tick], world.clock.now_ns())
        if sweeps:
            world.run(1_000)
    world.exchange.events.pop("F")  # nothing says any more how it stands
    world.run(2 * AHEAD_MS)

    now_ms = world.clock.now_ms()
    for ticker in ("E-A", "E-B"):
        assert 0 <= now_ms - (world.replica.quote_as_of_ms(ticker) or 0) <= AHEAD_MS, ticker
    assert content(world.replica) == content(world.state)
    for ticker in world.replica.quotes:
        assert world.age_ms(ticker) >= -AHEAD_MS, ticker
    world.close()
