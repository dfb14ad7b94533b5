"""A publisher on real sockets that publishes what a test tells it to."""

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import zmq

from bus.clock import SystemClock
from bus.process.lifecycle import Stop
from bus.protocol.messages import PublisherHealth
from bus.replica import Follower
from bus.server import FeedServer
from markets.errors import StartupError
from tests.bus.world import START_MS, Publisher
from tests.support import TIMEOUT_S, eventually, free_ports

TICKERS: Final = ("A-1-X", "A-1-Y", "B-1-X", "C-1-X")
Context = zmq.Context[Any]


class Live:
    """A publisher on tcp sockets of this machine; `flood` makes it publish as fast as told."""

    def __init__(self, context: Context, epoch: int = START_MS, ports: Sequence[int] | None = None) -> None:
        self.publisher = Publisher(epoch, random.Random(epoch), TICKERS)
        self.publisher.remember = lambda: None  # type: ignore[method-assign]  # nobody looks at it here
        self._context = context
        self._stop = Stop()
        # Of our own choice, so that a publisher of the next epoch can have them again.
        self._ports = free_ports(2) if ports is None else ports
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live")
        self._thread.start()
        assert self._started.wait(TIMEOUT_S)

    def _run(self) -> None:
        # ZeroMQ frees the ports of a closed publisher when it comes to it.
        server = eventually(self._bound)
        assert server is not None
        self.server = server
        self.feed, self.state = self.server.feed_address, self.server.state_address
        self.server.open(self.publisher.writer)
        self._started.set()
        self.server.serve(self._stop)

    def _bound(self) -> FeedServer | None:
        feed, state = (f"tcp://127.0.0.1:{port}" for port in self._ports)
        try:
            return FeedServer(self._context, feed, state, SystemClock(), PublisherHealth)
        except StartupError:
            return None

    def do(self, *acts: Callable[[], list[bytes]]) -> None:
        """Run these in the bus thread and send what they return; wait until it is done."""
        done = threading.Event()

        def job(server: FeedServer) -> None:
            for act in acts:
                server.send(act())
            done.set()

        self.server.submit(job)
        assert done.wait(30)

    @contextmanager
    def flood(self) -> Iterator[None]:
        """Publish without a pause, commits among it, while the block runs."""
        stop = threading.Event()

        def pour() -> None:
            while not stop.is_set():
                self.do(*[self.publisher.stream] * 200, self.publisher.commit)

        thread = threading.Thread(target=pour)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def agrees(self, replica: Follower) -> bool:
        """Whether the replica, live, holds what we hold; ask when nothing is being published."""
        truth, state = self.publisher.writer.state, replica.state
        return (
            replica.status().live
            and state.epoch == truth.epoch
            and all(
                topic in state.streams and state.position(topic) == truth.position(topic)
                for topic in truth.streams
                if topic.startswith(replica.prefixes)
            )
        )

    def port(self, of: str) -> int:
        return int(getattr(self, of).rsplit(":", 1)[1])

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._stop.close()
