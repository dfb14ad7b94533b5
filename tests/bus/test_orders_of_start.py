"""Every order in which publisher, snapshot server, trader and dashboard start ends in the same state."""

import itertools
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import zmq

from bus.clock import SystemClock
from bus.process.lifecycle import Stop
from bus.protocol.answers import Answers
from bus.replica import Replica
from bus.server import QueryServer
from tests.bus.tape.recorded import Live
from tests.bus.world import START_MS, Publisher
from tests.support import eventually

pytestmark = pytest.mark.slow

Context = zmq.Context[Any]
PARTS = ("publisher", "snapshot_server", "trader", "ui")
TICKERS = ("A-1-X", "A-1-Y", "B-1-X", "C-1-X")


class Set:
    """The four of one order, each with its real sockets, in a directory of their own."""

    def __init__(self, context: Context, folder: Path, stack: ExitStack) -> None:
        folder.mkdir()
        self.replicas: dict[str, Replica] = {}
        self.live: Live | None = None
        self._context = context
        self._folder = folder
        self._stack = stack

    def start(self, name: str) -> None:
        feed, state, query = (f"ipc://{self._folder}/{end}" for end in ("live-feed", "live-state", "query"))
        if name == "publisher":
            self.live = Live(self._context, self._folder, Publisher(START_MS, random.Random(1), TICKERS))
            self._stack.callback(self.live.close)
            return
        server = name == "snapshot_server"
        replica = Replica(self._context, feed, state if server else query, SystemClock(), random.Random(2))
        self.replicas[name] = replica
        self._stack.callback(replica.stop)
        replica.start()
        if server:
            stop = Stop()
            queries = QueryServer(self._context, query, Answers(lambda: replica.state), SystemClock().now_ms)
            thread = threading.Thread(target=queries.serve, args=(stop,))
            thread.start()
            self._stack.callback(stop.close)
            self._stack.callback(thread.join)
            self._stack.callback(stop.set)

    def tried(self) -> bool:
        """Whether each that was started has what it wants, or has asked for it in vain."""
        return all(one.status().live or one.status().stats.asks for one in self.replicas.values())

    def publish(self) -> None:
        if self.live is not None:
            publisher = self.live.publisher
            self.live.do(publisher.commit, publisher.stream, publisher.quotes)

    def agree(self) -> bool:
        assert self.live is not None
        truth = self.live.publisher.writer.state
        return len(self.replicas) == 3 and all(
            one.status().live
            and (one.state.epoch, one.state.seq) == (truth.epoch, truth.seq)
            and one.state.digest() == truth.digest()
            for one in self.replicas.values()
        )


@pytest.fixture
def sets(zmq_context: Context, short_dir: Path) -> Iterator[Callable[[int], Set]]:
    with ExitStack() as stack:
        yield lambda number: Set(zmq_context, short_dir / str(number), stack)


def test_every_order_of_starts_ends_in_the_same_state(sets: Callable[[int], Set]) -> None:
    """All 24 at once; the same for all, the publisher's state goes on changing between two starts."""
    orders = list(itertools.permutations(PARTS))
    made = [sets(number) for number in range(len(orders))]
    for step in range(len(PARTS)):
        for order, one in zip(orders, made, strict=True):
            one.start(order[step])
        for one in made:
            eventually(one.tried, 20)
            one.publish()
    for order, one in zip(orders, made, strict=True):
        eventually(one.agree, 20, f"all agree after {order}")
        assert not any(replica.status().degraded for replica in one.replicas.values())
