"""The wall clock is set, or the machine was suspended, under publisher and readers on real sockets.

Nobody loses anybody by it, nothing is numbered anew, and what was known before counts as stale until the next
sweep: nobody can say how old it is.
"""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import zmq

from bus.clock import Rng, SystemClock
from bus.health import Health, health_of
from bus.process.lifecycle import Stop
from bus.protocol.join import Tell
from bus.protocol.messages import CycleEnd, PublisherHealth
from bus.protocol.writer import Writer
from bus.replica import Replica
from bus.server import FeedServer
from tests.bus.world import a_market, a_quote
from tests.support import TIMEOUT_S, eventually, free_ports

HOUR_MS = 3_600_000
STALE_AFTER_MS = 30_000
BEATS = 3
"""So many heartbeats after a step it is looked whether anybody took it for silence."""


class SetClock(SystemClock):
    """The machine's clock, whose wall time somebody sets. A suspended machine's jumps like one set ahead."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def now_ns(self) -> int:
        return super().now_ns() + self.ahead_ms * 1_000_000

    def now_ms(self) -> int:
        return self.now_ns() // 1_000_000


class Feed:
    """A publisher of one market."""

    def __init__(self, context: "zmq.Context[Any]", clock: SetClock) -> None:
        self.clock = clock
        self.writer = Writer(clock.now_ms())
        self._context = context
        self._stop, self._made = Stop(), threading.Event()
        self._thread = threading.Thread(target=self._serve, name="publisher")
        self._thread.start()
        assert self._made.wait(TIMEOUT_S)

    def _serve(self) -> None:
        feed, state = (f"tcp://127.0.0.1:{port}" for port in free_ports(2))
        self.server = FeedServer(self._context, feed, state, self.clock, PublisherHealth)
        self.server.open(self.writer)
        self._made.set()
        self.server.serve(self._stop)

    def commit(self) -> None:
        now_ms = self.clock.now_ms()
        cycle = CycleEnd(0, 0, 0, 0, True, now_ms, now_ms, as_of_ms=now_ms, complete_ms=now_ms)
        market, quote = a_market("A-1-X", "A"), a_quote("A-1-X", as_of_ms=now_ms)
        changes = [("md.A.", "market", [market]), ("md.A.", "quote", [quote])]
        stamp_ns = now_ms * 1_000_000
        self.server.submit(
            lambda server: server.send(self.writer.commit(changes, cycle, stamp_ns, stamp_ns))  # type: ignore[arg-type]
        )

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._stop.close()


@pytest.fixture
def feed(zmq_context: "zmq.Context[Any]") -> Iterator[Feed]:
    made = Feed(zmq_context, SetClock())
    yield made
    made.close()


def test_a_wall_clock_that_is_set_costs_readers_nothing_but_freshness_until_the_next_sweep(
    zmq_context: "zmq.Context[Any]", feed: Feed
) -> None:
    clock = feed.clock
    told: list[str] = []
    replica = Replica(
        zmq_context,
        feed.server.feed_address,
        feed.server.state_address,
        clock,
        Rng(1),
        listener=lambda actions: told.extend(action.event for action in actions if isinstance(action, Tell)),
    )

    def next_beat() -> None:
        last = replica.heartbeat
        eventually(lambda: replica.heartbeat is not last)

    def health() -> Health:
        return health_of(replica.state, replica.status(), replica.heartbeat, replica.now_ms(), STALE_AFTER_MS)

    replica.start()
    try:
        feed.commit()
        eventually(lambda: not health().stale)
        epoch, seq = replica.state.epoch, replica.state.seq
        told.clear()
        for step_ms in (HOUR_MS, -2 * HOUR_MS, 24 * HOUR_MS, -1, -23 * HOUR_MS):
            clock.ahead_ms += step_ms
            assert health().stale is (abs(step_ms) > STALE_AFTER_MS)
            for _ in range(BEATS):
                next_beat()
            assert replica.status().live
            before = seq
            feed.commit()
            eventually(lambda before=before: replica.state.seq > before and not health().stale)  # type: ignore[misc]
            assert replica.state.epoch == epoch
            seq = replica.state.seq
        assert not {"gap", "lost", "epoch", "degraded"}.intersection(told)
        assert replica.status().stats.gaps == replica.status().stats.resyncs == 0
    finally:
        replica.stop()
