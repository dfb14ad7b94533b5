"""The bridge and its remote replicas, with a real nats-server: what is killed or cut off comes back whole."""

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import bus
from bridge.store import Fenced
from bus.clock import SystemClock
from bus.replica import SteppedReplica
from tests.bridge.world import LEAVES_OPEN, World, stored_numbers, world
from tests.bus.proxy import FaultProxy
from tests.bus.world import START_MS
from tests.support import Runner, eventually

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings(LEAVES_OPEN)]


@pytest.fixture(name="at")
def _at(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def in_order(at: World) -> list[tuple[int, int]]:
    """Check that nothing was stored twice, nor out of order; return what was."""
    numbers = stored_numbers(at.url)
    assert numbers == sorted(set(numbers))
    return numbers


def assert_whole(numbers: list[tuple[int, int]]) -> None:
    """Check that of what was published since the first that is stored nothing is missing."""
    first = numbers[0][1]
    assert [seq for _, seq in numbers] == list(range(first, first + len(numbers)))


def test_a_remote_replica_is_what_a_local_one_is(at: World) -> None:
    at.start()
    whole, some = at.replica(), at.replica(("md.A.",))
    at.publish()
    at.agree(whole, some)
    at.publish(500)
    at.agree(whole, some)

    assert whole.status().stats.gaps == 0
    assert set(some.state.streams) <= {"md.A.", "cycle."}
    assert len(in_order(at)) >= 500


def test_stepped_replicas_and_connections_follow_the_same_address(at: World) -> None:
    at.start()
    at.publish()
    stepped = SteppedReplica(at.context, at.url, "", SystemClock(), random.Random(1))
    stepped.start()
    try:
        with bus.connect(feed=at.url) as connection:
            eventually(lambda: at.live.agrees(connection.replica))
            at.publish(100)
            eventually(lambda: bool(stepped.step(0.05)) and at.live.agrees(stepped))
            eventually(lambda: at.live.agrees(connection.replica))
            assert connection.quotes()
    finally:
        stepped.stop()


def test_a_bridge_that_begins_again_fills_what_was_missed_with_a_repair(at: World) -> None:
    first = at.start()
    replica = at.replica()
    at.agree(replica)
    at.publish()
    at.agree(replica)
    first.close()
    at.publish(300)
    second = at.start()
    at.agree(replica)

    numbers = in_order(at)
    assert second.bridge.repairs == 1
    assert second.bridge.keyframes == 0
    assert replica.status().stats.gaps == 1
    assert replica.status().stats.resyncs == 1
    assert numbers == [(START_MS, 1 + number) for number in range(len(numbers))]
    assert len(numbers) < 50  # of the 300 none was stored late
    late = at.replica()
    at.publish()
    at.agree(replica, late)


def test_a_server_that_is_killed_costs_nothing_but_time(at: World) -> None:
    bridge = at.start()
    replica = at.replica()
    at.publish()
    at.agree(replica)
    with at.pour():
        at.server.kill()
        at.server.start()
        eventually(lambda: replica.status().live)
    at.publish()
    at.agree(replica, timeout_s=20)

    numbers = in_order(at)
    assert bridge.bridge.repairs == 0
    assert_whole(numbers)


def test_a_cut_longer_than_the_duplicate_window_stores_nothing_twice(at: World) -> None:
    ours, theirs = FaultProxy(at.server.port), FaultProxy(at.server.port)
    try:
        at.start(f"nats://127.0.0.1:{ours.port}")
        near, cut_off = at.replica(), at.replica(url=f"nats://127.0.0.1:{theirs.port}")
        at.publish()
        at.agree(near, cut_off)
        with at.pour():
            ours.black_hole = theirs.black_hole = True
            at.wait_published(2_000)  # some 0.5 s
            ours.cut()
            theirs.cut()
            ours.black_hole = theirs.black_hole = False
            eventually(lambda: near.status().live and cut_off.status().live)
        at.agree(near, cut_off, timeout_s=20)
        assert near.status().stats.gaps == cut_off.status().stats.gaps == 0
        assert_whole(in_order(at))
    finally:
        ours.close()
        theirs.close()


def test_an_epoch_that_begins_brings_a_keyframe(at: World) -> None:
    at.start()
    replica = at.replica()
    at.publish()
    at.agree(replica)
    at.succeed()
    at.publish()
    at.agree(replica)


def test_a_second_bridge_is_refused_and_the_first_goes_on(at: World) -> None:
    first = at.start()
    replica = at.replica()
    at.agree(replica)
    second = at.start()

    assert isinstance(second.ended(), Fenced)
    assert "another bridge writes to this stream: only one may" in str(second.error)
    at.publish()
    at.agree(replica)
    assert first.error is None


def test_of_two_bridges_that_begin_at_once_one_is_fenced(at: World) -> None:
    at.start().close()
    two = [at.start(), at.start()]
    fenced = eventually(lambda: [one for one in two if one.error])

    assert len(fenced) == 1
    assert "another bridge" in str(fenced[0].error)
    replica = at.replica()
    at.publish(200)
    at.agree(replica)
    in_order(at)


def test_a_process_that_is_killed_is_followed_by_another(at: World, runner: Runner) -> None:
    env = {"KALSHI_BUS_FEED": at.live.feed, "KALSHI_BUS_QUERY": at.live.state}
    process = runner.start("bridge", at.url, "--max-gb", "0.05", env=env)
    replica = at.replica()
    at.publish()
    at.agree(replica)
    with at.pour():
        process.signal(signal.SIGKILL)
        process.wait()
        again = at.start()
    at.publish()
    at.agree(replica, timeout_s=20)
    in_order(at)
    assert again.error is None
