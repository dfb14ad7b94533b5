"""The servers of the bus: FeedServer publishes and answers, QueryServer only answers. Each has one thread.

The thread of a FeedServer owns its sockets and the state it publishes. Others hand over work with `submit`;
it runs there, between two messages, so that whatever it publishes is contiguous and what `state` answers is
never half a commit.
"""

import contextlib
import queue
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import structlog
import zmq

from bus.process.lifecycle import Stop
from bus.protocol.answers import Answers, OnWish
from bus.protocol.messages import PublisherHealth
from bus.protocol.state import State
from bus.protocol.writer import Writer
from markets.records import Record

from .clock import Clock
from .sockets import ANSWERS_WAITING, MAX_QUESTION, QUESTIONS_WAITING, bind, make
from .threads import Owner
from .wake import Wake

log = structlog.get_logger()

HEARTBEAT_MS: Final = 250
WELCOME_DELAY_MS: Final = 10
WELCOME_EVERY_MS: Final = 100
"""Least time between heartbeats for newcomers, however many come."""

SUBSCRIPTIONS_WAITING: Final = 10
"""Most subscriptions of one peer that wait between libzmq's thread and ours; the rest wait at the peer.

libzmq takes in all that wait in one go, in whatever call it is in: with many more, a peer that sends them as
fast as they are taken would keep it there, and nothing would be published.
"""

SUBSCRIBED_MS: Final = 20
"""Longest time to take in subscriptions at once: one that sends them without end takes turns with all else.

Long enough for most of them: those not taken wait in memory, and libzmq sets no bound to that.
"""

_LOOK_EVERY: Final = 100

ENVELOPE_MAX: Final = 8
"""The most frames before a question: the asker, a forwarder, another of each, and the empty delimiter."""

SLOW_MS: Final = 5_000
COPY_BELOW: Final = 65_536
"""Frames from this size up are handed to ZeroMQ without a copy (measured: pays off from about 100 kB)."""

Job = Callable[["FeedServer"], None]


class FeedServer:
    """PUB feed and ROUTER state of one publisher (or of a replay). The thread that serves owns all of it.

    Args:
        health: the publisher's account of itself for the next heartbeat.
        on_wish: takes (tickers, ttl_s, now_ms, what) of op `watch`, in the bus thread.
        names: the settings that hold the two endpoints.
        turn: called in the bus thread after anything happened there, and no later than the steady ms that it
            last returned.
        lossless: wait for slow subscribers, which only a replay can do; a live feed lets them lose messages.

    Attributes:
        answers: dispatch of the questions on `state`; a server may add its own before serving.
    """

    def __init__(
        self,
        context: zmq.Context[Any],
        feed: str,
        state: str,
        clock: Clock,
        health: Callable[[], PublisherHealth],
        on_wish: OnWish | None = None,
        names: tuple[str, str] = ("feed", "state"),
        lossless: bool = False,
        turn: Callable[[], int | None] | None = None,
    ) -> None:
        self._turn = turn
        self.writer: Writer | None = None
        self._announced: Writer | None = None
        self._owner = Owner("a feed's sockets and state")
        self._clock = clock
        self._health = health
        self._beaten_cycle = 0
        self._beaten_ms = 0
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._wake = Wake()
        self.answers = Answers(self._current, self._source, on_wish)
        self._pub = make(context, zmq.XPUB, MAX_QUESTION)
        self._pub.setsockopt(zmq.XPUB_VERBOSE, 1)
        self._pub.setsockopt(zmq.RCVHWM, SUBSCRIPTIONS_WAITING)
        if lossless:
            self._pub.setsockopt(zmq.XPUB_NODROP, 1)
            self._pub.setsockopt(zmq.SNDTIMEO, SLOW_MS)
        self._context = context
        self._router = _make_router(context)
        self._others: list[tuple[zmq.Socket[bytes], Answers]] = []
        try:
            self.feed_address = bind(self._pub, names[0], feed)
            self.state_address = bind(self._router, names[1], state)
        except BaseException:
            self._close()
            raise

    def also_answer(self, endpoint: str, name: str) -> Answers:
        """Return answers of a socket of their own, for whoever may ask only some of it. Before it serves.

        They know what is said of the state and nothing else, until a server adds to them.

        Args:
            name: the setting that holds the endpoint.

        Raises:
            StartupError: the endpoint is taken or cannot be used; all sockets are closed.
        """
        self._owner.check()
        answers, router = Answers(self._current, self._source), _make_router(self._context)
        self._others.append((router, answers))
        try:
            bind(router, name, endpoint)
        except BaseException:
            self._close()
            raise
        return answers

    def submit(self, job: Job) -> None:
        """Run `job(self)` in the bus thread, soon and in order of submission. Any thread may call this."""
        self._jobs.put(job)
        self._wake.set()

    def announce(self, writer: Writer) -> None:
        """Have heartbeats announce an epoch that is about to open. Bus thread only, or before it serves."""
        self._owner.check()
        self._announced = writer

    def open(self, writer: Writer) -> None:
        """Open an epoch. Bus thread only, or before it serves."""
        self._owner.check()
        writer.take()
        self.writer = writer
        self._beaten_cycle = -1
        log.info("epoch.opened", epoch=writer.state.epoch, markets=len(writer.state.markets))

    def send(self, frames: Iterable[bytes]) -> None:
        """Publish frames in order. Bus thread only."""
        self._owner.check()
        for frame in frames:
            self._send(frame)

    def publish(self, topic: str, kind: str, records: Sequence[Record], source_ns: int, now_ns: int) -> None:
        """Publish records that apply immediately, once an epoch is open. Bus thread only.

        Each message is sent before our own state has what it says: readers need not wait for that, and
        whoever asks this thread is answered after both.
        """
        self._owner.check()
        assert self.writer is not None, "an epoch is open"
        self.writer.stream(topic, kind, records, source_ns, now_ns, self._send)

    def _send(self, frame: bytes) -> None:
        try:
            self._pub.send(frame, 0, len(frame) < COPY_BELOW)
        except zmq.Again:
            log.warning("subscriber.stuck", waited_ms=SLOW_MS)
            self._pub.setsockopt(zmq.XPUB_NODROP, 0)  # it has had its chance: now it loses messages
            self._pub.send(frame, 0, len(frame) < COPY_BELOW)

    def serve(self, stop: Stop) -> None:
        """Run until `stop`. Sockets and state move to the calling thread, the bus thread from now on."""
        self._owner.take()
        asked = [(self._router, self.answers), *self._others]
        for _, answers in asked:
            answers.take()
        for writer in (self.writer, self._announced):
            if writer is not None:
                writer.take()
        poller = zmq.Poller()
        routers = (router for router, _ in asked)
        for readable in (self._pub, *routers, self._wake.fileno(), stop.fileno()):
            poller.register(readable, zmq.POLLIN)
        next_ms = 0
        try:
            while not stop.is_set():
                now_ms = self._clock.monotonic_ns() // 1_000_000
                if now_ms >= next_ms:
                    self.beat()
                    next_ms = now_ms + HEARTBEAT_MS
                wake_ms = next_ms
                if self._turn is not None and (turn_ms := self._turn()) is not None:
                    wake_ms = min(wake_ms, turn_ms)
                for router, answers in asked:
                    answer_later(router, answers, self._clock.monotonic_ns() // 1_000_000)
                now_ms = self._clock.monotonic_ns() // 1_000_000
                busy = any(answers.busy for _, answers in asked)
                ready = dict(poller.poll(0 if busy else max(0, wake_ms - now_ms)))
                if self._pub in ready and self._subscribed():
                    soon_ms = self._clock.monotonic_ns() // 1_000_000 + WELCOME_DELAY_MS
                    next_ms = min(next_ms, max(soon_ms, self._beaten_ms + WELCOME_EVERY_MS))
                for router, answers in asked:
                    if router in ready:
                        steady_ms = self._clock.monotonic_ns() // 1_000_000
                        serve_questions(router, answers, self._clock.now_ms(), steady_ms=steady_ms)
                # Taking turns while an answer is made: under constant work it would get only one slice per
                # beat.
                busy = any(answers.busy for _, answers in asked)
                if self._wake.fileno() in ready and self._work(0 if busy else next_ms):
                    next_ms = 0
        finally:
            self._close()

    def run_jobs(self) -> None:
        """Do what was handed over and is still to be done, once serving has ended. Bus thread only."""
        self._owner.check()
        while not self._jobs.empty():
            self._jobs.get_nowait()(self)

    def beat(self) -> None:
        """Send a heartbeat, once an epoch is announced or open. Bus thread only."""
        self._owner.check()
        writer = self.writer or self._announced
        if writer is not None:
            self._beaten_cycle = self._cycle()
            self._beaten_ms = steady_ms = self._clock.monotonic_ns() // 1_000_000
            self.send(writer.heartbeat(self._health(), self._clock.now_ns(), steady_ms))

    def _cycle(self) -> int:
        writer = self.writer
        return writer.state.cycle.cycle if writer is not None and writer.state.cycle else 0

    def _work(self, until_ms: int) -> bool:
        """Run the waiting jobs; return whether one was a commit, which a heartbeat follows."""
        self._wake.clear()
        while self._cycle() == self._beaten_cycle:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return False
            job(self)
            if self._clock.monotonic_ns() // 1_000_000 >= until_ms:
                break  # heartbeats and questions go on, however many jobs there are
        self._wake.set()
        return self._cycle() != self._beaten_cycle

    def _subscribed(self) -> bool:
        """Take note of subscriptions; return whether there is a new one."""
        new = False
        until_ns = self._clock.monotonic_ns() + SUBSCRIBED_MS * 1_000_000
        with contextlib.suppress(zmq.Again):
            while self._clock.monotonic_ns() < until_ns:
                for _ in range(_LOOK_EVERY):
                    new |= self._pub.recv(zmq.NOBLOCK)[:1] == b"\x01"
        return new

    def _source(self) -> str:
        return self.writer.source if self.writer is not None else "live"

    def _current(self) -> State | None:
        return self.writer.state if self.writer is not None else None

    def _close(self) -> None:
        self._pub.close()
        self._router.close()
        for router, _ in self._others:
            router.close()
        self._wake.close()


def _make_router(context: zmq.Context[Any]) -> zmq.Socket[bytes]:
    router = make(context, zmq.ROUTER, MAX_QUESTION)
    router.setsockopt(zmq.ROUTER_MANDATORY, 1)
    router.setsockopt(zmq.RCVHWM, QUESTIONS_WAITING)
    router.setsockopt(zmq.SNDHWM, ANSWERS_WAITING)
    return router


def serve_questions(
    router: zmq.Socket[bytes], answers: Answers, now_ms: int, limit: int = 100, steady_ms: int = 0
) -> int:
    """Answer up to `limit` questions waiting on a ROUTER; return how many.

    Never blocks, and never raises for a peer's fault. Accepts the envelope of a REQ, and of a DEALER with or
    without the empty delimiter; with the delimiter, also those of forwarders.

    Args:
        steady_ms: the present by the clock of `answers.due`.
    """
    for count in range(limit):
        try:
            frames = router.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return count
        if not 2 <= len(frames) <= ENVELOPE_MAX + 1:
            answers.errors += 1
            continue
        envelope, question = frames[:-1], frames[-1]
        if len(frames) > 2 and frames[-2]:  # a question of several frames
            envelope, question = frames[: frames.index(b"", 1) + 1] if b"" in frames[1:] else frames[:1], b""
        answer = answers.begin(question, now_ms, envelope, steady_ms)
        if answer and not _reply(router, envelope + answer):
            answers.errors += 1
    return limit


def answer_later(router: zmq.Socket[bytes], answers: Answers, steady_ms: int = 0) -> None:
    """Send the answers that have become complete, and make the next slice of one that is not."""
    for frames in answers.due(steady_ms):
        if not _reply(router, frames):
            answers.errors += 1


def _reply(router: zmq.Socket[bytes], frames: list[bytes]) -> bool:
    """Send an answer; return False if its peer is gone or does not read, which is only the peer's loss."""
    try:
        router.send_multipart(frames, zmq.NOBLOCK, copy=False)
    except zmq.ZMQError as error:
        if error.errno not in (zmq.EHOSTUNREACH, zmq.EAGAIN):
            raise
        return False
    return True


class QueryServer:
    """A ROUTER that only answers questions: the snapshot server's `query`.

    Args:
        now_ms: the present as answers mean it, that of a replica: in a replay it is not the wall clock.
        name: the setting that holds the endpoint.
    """

    def __init__(
        self,
        context: zmq.Context[Any],
        endpoint: str,
        answers: Answers,
        now_ms: Callable[[], int],
        name: str = "query",
    ) -> None:
        self._answers = answers
        self._now_ms = now_ms
        self._router = _make_router(context)
        try:
            self.address = bind(self._router, name, endpoint)
        except BaseException:
            self._router.close()
            raise

    def serve(self, stop: Stop) -> None:
        """Run until `stop`. The socket moves to the calling thread, the only one to use it from now on."""
        self._answers.take()
        poller = zmq.Poller()
        poller.register(self._router, zmq.POLLIN)
        poller.register(stop.fileno(), zmq.POLLIN)
        try:
            while not stop.is_set():
                if self._router in dict(poller.poll(0 if self._answers.busy else 1_000)):
                    serve_questions(self._router, self._answers, self._now_ms())
                answer_later(self._router, self._answers)
        finally:
            self._router.close()
