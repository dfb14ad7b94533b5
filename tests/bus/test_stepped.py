"""A replica that moves when it is told to, over real sockets."""

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

import bus.replica
from bus.clock import SystemClock
from bus.process.lifecycle import Stop
from bus.protocol.join import Action, Tell
from bus.protocol.memory import Slim
from bus.protocol.silence import SILENCE_MS
from bus.protocol.state import Changed
from bus.replica import SteppedReplica
from tests.bus.elsewhere import elsewhere
from tests.bus.live import Context, Live
from tests.bus.proxy import FaultProxy
from tests.bus.world import START_MS
from tests.support import eventually


class Ahead(SystemClock):
    """The machine's clock, ahead by what the test says."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def monotonic_ns(self) -> int:
        return super().monotonic_ns() + self.ahead_ms * 1_000_000


class Owner:
    """Who steps a replica: all that its steps gave, in order."""

    def __init__(self, replica: SteppedReplica) -> None:
        self.replica = replica
        self.steps: list[Sequence[Action]] = []

    def step(self, timeout_s: float = 0.05) -> None:
        self.steps.append(list(self.replica.step(timeout_s)))

    def until(self, predicate: Callable[[], object], timeout_s: float = 10) -> None:
        end_ns = SystemClock().monotonic_ns() + timeout_s * 1e9
        while not predicate():
            assert SystemClock().monotonic_ns() < end_ns, self.replica.status()
            self.step()

    @property
    def told(self) -> list[str]:
        return [action.event for actions in self.steps for action in actions if isinstance(action, Tell)]

    @property
    def changed(self) -> list[Changed]:
        return [action for actions in self.steps for action in actions if isinstance(action, Changed)]


@pytest.fixture
def live(zmq_context: Context) -> Iterator[Live]:
    live = Live(zmq_context)
    yield live
    live.close()


Own = Callable[..., Owner]


@pytest.fixture
def own(zmq_context: Context, live: Live) -> Iterator[Own]:
    """Start a stepped replica of `live` (or of another) and step it until it is live."""
    replicas: list[SteppedReplica] = []

    def start(of: Live = live, feed: str = "", joined: bool = True, **options: Any) -> Owner:
        clock = options.pop("clock", SystemClock())
        replica = SteppedReplica(
            zmq_context, feed or of.feed, of.state, clock, random.Random(len(replicas)), **options
        )
        replicas.append(replica)
        replica.start()
        owner = Owner(replica)
        if joined:
            owner.until(lambda: replica.status().live)
        return owner

    yield start
    for replica in replicas:
        replica.stop()


def acts(live: Live, count: int) -> list[Callable[[], list[bytes]]]:
    """Mostly streamed messages, a commit now and then; the same ones each time."""
    publisher, rng = live.publisher, random.Random(5)
    return [rng.choice([publisher.commit] + [publisher.stream] * 9) for _ in range(count)]


@pytest.mark.parametrize(
    "options", [{}, {"topics": ("md.A.", "ref.")}, {"keeping": Slim()}], ids=["all", "filtered", "slim"]
)
def test_stepped_replica_is_exact(live: Live, own: Own, options: dict[str, Any]) -> None:
    owner = own(**options)
    live.do(*acts(live, 500))
    owner.until(lambda: live.agrees(owner.replica))
    assert owner.told == ["live"]
    status = owner.replica.status()
    assert (status.stats.gaps, status.stats.digest_mismatches) == (0, 0)
    assert owner.replica.heartbeat is not None


def test_join_during_a_flood_is_exact(live: Live, own: Own) -> None:
    with live.flood():
        owner = own()
        seq = owner.replica.state.seq
        owner.until(lambda: owner.replica.state.seq > seq + 500)
    owner.until(lambda: live.agrees(owner.replica))
    assert owner.replica.status().stats.digest_mismatches == 0


def test_a_step_takes_one_message_whatever_has_arrived(zmq_context: Context, own: Own) -> None:
    given: list[list[Changed]] = []
    for at_once in (True, False):
        live = Live(zmq_context)
        try:
            owner = own(live)
            if at_once:
                live.do(*acts(live, 1_000))
                eventually(lambda owner=owner: owner.replica.backlog >= 1_000)  # type: ignore[misc]
            else:
                for act in acts(live, 1_000):
                    live.do(act)
                    owner.step()
            seq = live.publisher.writer.state.seq
            owner.until(lambda owner=owner, seq=seq: owner.replica.state.seq == seq)  # type: ignore[misc]
            assert max(map(len, owner.steps)) == 1
            given.append(owner.changed)
        finally:
            live.close()
    assert len(given[0]) > 500
    assert given[0] == given[1]


def test_late_owner_takes_its_own_lateness_for_no_silence(live: Live, own: Own) -> None:
    clock = Ahead()
    owner = own(clock=clock)
    asked = owner.replica.status().stats.asks
    for _ in range(2 * SILENCE_MS // 100):
        waiting = owner.replica.backlog
        live.do(live.publisher.stream)
        eventually(lambda waiting=waiting: owner.replica.backlog > waiting)  # type: ignore[misc]
        clock.ahead_ms += 100
    heard_ns = []
    while owner.replica.backlog:
        owner.step(0)
        heard_ns.append(owner.replica.heard_ns)
    assert heard_ns == sorted(heard_ns)
    assert heard_ns[-1] - heard_ns[0] > SILENCE_MS * 1_000_000, "messages keep the time they were heard at"
    owner.until(lambda: live.agrees(owner.replica))
    assert owner.told == ["live"]
    assert owner.replica.status().stats.asks == asked


def test_silence_is_told_and_left_by_itself(live: Live, own: Own) -> None:
    proxy = FaultProxy(live.port("feed"))
    try:
        owner = own(feed=proxy.endpoint)
        proxy.black_hole = True
        live.do(live.publisher.commit)
        owner.until(lambda: owner.replica.status().lost)
        assert not owner.replica.status().live
        accepted = proxy.connections
        owner.until(lambda: proxy.connections > accepted)
        proxy.black_hole = False
        proxy.cut()
        owner.until(lambda: live.agrees(owner.replica), 15)
        assert {"lost", "found"} <= set(owner.told)
    finally:
        proxy.close()


def test_what_does_not_fit_is_a_gap_that_heals(live: Live, own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus.replica, "MAX_WAITING_BYTES", 20_000)
    owner = own()

    def flood() -> int:
        live.do(*acts(live, 200))
        return owner.replica.dropped

    eventually(flood)
    assert owner.replica.backlog < 1_000
    owner.until(lambda: live.agrees(owner.replica))
    assert "gap" in owner.told
    assert owner.told[-1] == "resynced"
    assert owner.replica.status().stats.digest_mismatches == 0


def test_publisher_restart_is_followed(zmq_context: Context, live: Live, own: Own) -> None:
    owner = own()
    old, ports = owner.replica.state, (live.port("feed"), live.port("state"))
    live.do(live.publisher.commit)
    live.close()
    again = Live(zmq_context, START_MS + 5, ports)
    try:
        again.do(again.publisher.stream)
        owner.until(lambda: again.agrees(owner.replica), 15)
        assert owner.replica.state.epoch > old.epoch
    finally:
        again.close()
        live._stop = Stop()


def test_only_one_thread_steps(live: Live, own: Own) -> None:
    owner = own()
    raised = elsewhere(owner.step)
    assert "the state of a replica belongs to thread" in str(raised)


def test_replica_without_a_publisher_waits_and_stops(zmq_context: Context) -> None:
    before = threading.active_count()
    nowhere = "ipc:///tmp/nobody-is-here"
    replica = SteppedReplica(zmq_context, nowhere, nowhere, SystemClock(), random.Random(1))
    replica.start()
    owner = Owner(replica)
    owner.until(lambda: replica.status().stats.asks > 2)
    assert not any(owner.steps)
    assert not replica.status().live
    replica.stop()
    replica.stop()
    assert threading.active_count() == before
    owner.step(0.1)
    assert replica.status().lost, "what is held only ages"


def test_a_waiting_step_can_be_ended(zmq_context: Context) -> None:
    replica = SteppedReplica(zmq_context, "ipc://x", "ipc://y", SystemClock(), random.Random(1))
    replica.step(0)
    for _ in range(3):
        thread = threading.Thread(target=replica.rouse)
        thread.start()
        started_ns = SystemClock().monotonic_ns()
        assert not replica.step(60)
        assert SystemClock().monotonic_ns() - started_ns < 30e9
        thread.join()
    replica.stop()


def test_what_its_owner_has_just_taken_is_not_dropped() -> None:
    waiting = bus.replica._Waiting(0)

    waiting.drop()  # the line found it full a moment ago

    assert waiting.dropped == 0
    assert waiting.take(0)[0] is None
    waiting.wake_line.close()
