"""A publisher whose feed is recorded, and recordings made of it."""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq

from bus.clock import SystemClock
from bus.process.lifecycle import Stop
from bus.protocol.messages import PublisherHealth, decode
from bus.replica import Replica
from bus.server import FeedServer
from bus.tape.file import Frame, Recording, RecordingError
from bus.tape.recorder import Recorder
from tests.bus.world import START_MS, Publisher
from tests.support import eventually

TICKERS = ("A-1-X", "A-1-Y", "B-1-X", "C-1-X")
Context = zmq.Context[Any]


class PublisherClock(SystemClock):
    """The time that the publisher's messages carry."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    def now_ns(self) -> int:
        return self._publisher.now_ms * 1_000_000

    def now_ms(self) -> int:
        return self._publisher.now_ms


class Live:
    """A publisher on real sockets that does what it is told."""

    def __init__(self, context: Context, folder: Path, publisher: Publisher, name: str = "live") -> None:
        self.publisher = publisher
        self.feed, self.state = f"ipc://{folder}/{name}-feed", f"ipc://{folder}/{name}-state"
        self.stop = Stop()
        self._started = threading.Event()
        self._context = context
        self._thread = threading.Thread(target=self._run, name="live")
        self._thread.start()
        assert self._started.wait(30)

    def _run(self) -> None:
        self.server = FeedServer(
            self._context, self.feed, self.state, PublisherClock(self.publisher), PublisherHealth
        )
        self.server.open(self.publisher.writer)
        self._started.set()
        self.server.serve(self.stop)

    def do(self, *acts: Callable[[], list[bytes]]) -> None:
        """Run these in the bus thread and send what they return; wait until it is done."""
        done = threading.Event()

        def job(server: FeedServer) -> None:
            for act in acts:
                server.send(act())
            done.set()

        self.server.submit(job)
        assert done.wait(30)

    def close(self) -> None:
        self.stop.set()
        self._thread.join()
        self.stop.close()


@pytest.fixture
def live(zmq_context: Context, short_dir: Path) -> Iterator[Live]:
    live = Live(zmq_context, short_dir, Publisher(START_MS, random.Random(7), TICKERS))
    yield live
    live.close()


@contextmanager
def recording(context: Context, live: Live, path: Path) -> Iterator[Recorder]:
    stop = Stop()
    recorder = Recorder(context, live.feed, live.state, path, SystemClock(), random.Random(1))
    thread = threading.Thread(target=recorder.run, args=(stop,))
    thread.start()
    try:
        eventually(lambda: recorder.keyframes)
        yield recorder
    finally:
        stop.set()
        thread.join()
        stop.close()


@contextmanager
def following(context: Context, feed: str, state: str, **options: Any) -> Iterator[Replica]:
    replica = Replica(context, feed, state, SystemClock(), random.Random(2), **options)
    replica.start()
    try:
        yield replica
    finally:
        replica.stop()


def a_day(live: Live, acts: int = 40) -> None:
    """Commits and streamed messages; ends with a heartbeat, so that everything is confirmed."""
    rng = random.Random(3)
    publisher = live.publisher
    for _ in range(acts):
        live.do(publisher.commit if rng.random() < 0.3 else publisher.stream)
    live.do(publisher.heartbeat)


def record_a_day(context: Context, live: Live, path: Path) -> None:
    with recording(context, live, path) as recorder:
        a_day(live)
        eventually(lambda: recorder._replica.state.seq == live.publisher.writer.state.seq)


def last_seq(path: Path) -> int:
    """The last number in a recording that may be growing, 0 while there is none."""
    if not path.exists():
        return 0
    seq = 0
    try:
        recording = Recording(path)
    except RecordingError:
        return 0
    for item in recording.play():
        seq = max(seq, decode(item.data)[1].seq if isinstance(item, Frame) else item.head.as_of)
    return seq
