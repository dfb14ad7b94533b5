"""Applies what a sweep has read: the bus thread commits it, since it alone changes the state."""

import threading

from bus.clock import Clock
from bus.protocol.messages import TOPIC_REF, CycleEnd
from bus.protocol.writer import Writer
from bus.server import FeedServer
from bus.threads import Owner

from .drift import DriftWatch
from .held import Held
from .kalshi.client import Stopped, StopSignal
from .reading import Reading


class Commits:
    """The commits of one publisher. Bus thread only, except for `take` and `opened`.

    Attributes:
        opened: whether there is an epoch: a complete sweep, or a checkpoint, has been applied.
    """

    def __init__(
        self, server: FeedServer, writer: Writer, held: Held, drift: DriftWatch, clock: Clock
    ) -> None:
        self.opened = False
        self._server = server
        self._writer = writer
        self._held = held
        self._drift = drift
        self._clock = clock
        self._thread = Owner("the publisher's commits")

    def open_from(self, cycle: CycleEnd) -> None:
        """Serve what a checkpoint contained, with the ages of its last sweep."""
        self._thread.check()
        now_ns = self._clock.now_ns()
        self._server.open(self._writer)
        self._server.send(self._writer.commit((), cycle, cycle.ended_ms * 1_000_000, now_ns))
        self.opened = True

    def take(self, reading: Reading, stop: StopSignal) -> None:
        """Have the bus thread apply what was read, and wait until it has. Any other thread.

        Raises:
            Stopped: the process is to stop.
        """
        done = threading.Event()

        def run(_server: FeedServer) -> None:
            try:
                self._commit(reading)
            finally:
                done.set()

        self._server.submit(run)
        while not done.wait(0.1):
            if stop.is_set():
                raise Stopped

    def _commit(self, reading: Reading) -> None:
        """Commit what was read, and resend what is due."""
        self._thread.check()
        server, writer, now_ns = self._server, self._writer, self._clock.now_ns()
        now_ms, source_ns = now_ns // 1_000_000, reading.ended_ms * 1_000_000
        if not self.opened:
            if reading.complete:
                with writer.state.lock:
                    diff = self._held.diff(reading, now_ms)
                writer.load([*diff.changes, (TOPIC_REF, "drift", self._drift.all())])
                server.open(writer)
                server.send(writer.commit((), diff.cycle, source_ns, now_ns))
                self.opened = True
            return
        if reading.as_of_ms is not None:
            with writer.state.lock:
                diff = self._held.diff(reading, now_ms)
                server.send(writer.commit(diff.changes, diff.cycle, source_ns, now_ns))
        elif reading.exchange is not None:
            server.send(writer.stream("ex.", "exchange", [reading.exchange], source_ns, now_ns))
        for topic, kind, records in self._held.rotate(now_ms):
            server.send(writer.stream(topic, kind, records, source_ns, now_ns))
        server.send(writer.stream(TOPIC_REF, "drift", self._drift.changes(now_ms), source_ns, now_ns))
