"""Replicas: exact copies of the publisher's state in this process.

`Replica` keeps one in a thread of its own, for readers in any thread: snapshot server, dashboard, recorder.
`SteppedReplica` moves only when its owner says so, one message at a time, for an owner that acts on each: the
trader. The algorithm of both is in bus/protocol/join.py, their sockets are in bus/line.py.
"""

import contextlib
import gc
import random
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
import structlog
import zmq
import zstandard

from bus.process.lifecycle import release_memory
from bus.protocol.asks import Ask
from bus.protocol.join import Action, FeedSync, Phase, Rebuild, ReplicaStatus, Tap, Tell
from bus.protocol.memory import Keeping
from bus.protocol.messages import (
    CONTROL_TOPICS,
    Header,
    Heartbeat,
    Quotes,
    Refused,
    SnapshotHead,
    convert_map,
    unpack_chunk,
    unpack_map,
)
from bus.protocol.state import State
from markets.errors import DecodeError

from .clock import Clock
from .jetstream.stored import address_of, is_remote
from .line import POLL_MS, Line
from .sockets import check_connect
from .threads import Owner
from .wake import Wake

if TYPE_CHECKING:
    from .jetstream.line import JetStreamLine

__all__ = ("Follower", "Listener", "Replica", "ReplicaStatus", "SteppedReplica")

log = structlog.get_logger()

RETRY_UNCONNECTED_MS: Final = 100
MANY_CHUNKS: Final = 100
"""From this size on, a snapshot leaves enough memory behind to be worth giving back."""

ANSWERS_WAITING: Final = 2
"""How many answers may wait for the owner of a stepped replica, which asks one question at a time: older ones
belong to abandoned questions."""

MAX_WAITING_BYTES: Final = 64 * 1_048_576
"""How much may wait for the owner of a stepped replica."""

Listener = Callable[[Sequence[Action]], None]


class _Sends(Protocol):
    """What a replica asks of its sockets: a Line, or an adapter to the thread that has one."""

    def ask(self, ask: Ask) -> bool: ...

    def rebuild(self) -> None: ...


class Follower:
    """What every replica is: a FeedSync fed by one thread, and its status, for readers in any thread.

    Args:
        feed: endpoint of the feed. snapshots: endpoint that answers op `snapshot` (`state` or `query`).
            A feed in a JetStream (``nats://...``, docs/bridge.md) needs no such endpoint.
        topics: prefixes to follow; everything by default. Control topics are added.
        keeping: how the state keeps its records; by default as they came.
        spare: endpoint asked for what changed, never for everything, while nobody answers at `snapshots`.
        name: that of the thread with the sockets.

    Raises:
        StartupError: `feed` is a malformed JetStream address, or nats-py is not installed; or an endpoint is
            on another machine and the context has no key for it.
    """

    def __init__(
        self,
        context: zmq.Context[Any],
        feed: str,
        snapshots: str,
        clock: Clock,
        rng: random.Random,
        topics: Iterable[str],
        keeping: Keeping | None,
        spare: str | None,
        name: str,
    ) -> None:
        wanted = tuple(topics)
        self.prefixes = wanted if "" in wanted else (*wanted, *CONTROL_TOPICS)
        self._make_line: Callable[[], Line | JetStreamLine] = partial(
            Line, context, feed, snapshots, self.prefixes, spare
        )
        for endpoint in filter(None, (spare, *(() if is_remote(feed) else (feed, snapshots)))):
            check_connect(context, endpoint)
        if is_remote(feed):
            from .jetstream import line  # the library it needs is an extra

            self._make_line = partial(line.JetStreamLine, address_of(feed), self.prefixes, clock)
        self._clock = clock
        self._owner = Owner("the state of a replica")
        self._sync = FeedSync(self.prefixes, rng, self._steady_ms(), keeping)
        self._undecodable = 0
        self._unpacker = zstandard.ZstdDecompressor()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name)

    # -- for readers, any thread

    @property
    def state(self) -> State:
        """The state readers see. Take it once; hold its lock while reading more than one record."""
        return self._sync.state

    def now_ms(self) -> int:
        """Return the present as consumers must take it: the wall clock, in a replay the recording's time."""
        heartbeat = self._sync.heartbeat
        if heartbeat is None or heartbeat.source == "live":
            return self._clock.now_ms()
        return self._replay_ns() // 1_000_000

    @property
    def published_ns(self) -> int:
        """When the publisher sent the last message heard, ns since 1970 by its clock."""
        return self._sync.published_ns

    @property
    def heartbeat(self) -> Heartbeat | None:
        """The last heartbeat heard."""
        return self._sync.heartbeat

    def status(self) -> ReplicaStatus:
        """Return the status of this replica."""
        # Stopped, or ended by a listener that raised.
        ended = self._thread.ident is not None and not self._thread.is_alive()
        return self._sync.status(self.now_ms(), self._steady_ms(), ended=ended)

    # -- life

    @property
    def running(self) -> bool:
        """Whether the feed is listened to: not before `start`, nor after `stop` or a listener that raised."""
        return self._thread.is_alive()

    def start(self, *, daemon: bool = False) -> None:
        """Start following the feed; a `daemon` does not keep the process from ending."""
        self._thread.daemon = daemon
        self._thread.start()

    def stop(self) -> None:
        """Stop and join the thread; its sockets are closed."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    # -- for the two subclasses

    def _run(self) -> None:
        raise NotImplementedError

    def _replay_ns(self) -> int:
        return self._sync.published_ns

    def _steady_ms(self) -> int:
        return self._clock.monotonic_ns() // 1_000_000

    def _pass_time(self, now_ms: int) -> list[Action]:
        """Let time pass, and log messages that could not be decoded.

        Not every one: a newer publisher must not fill the log.
        """
        self._owner.check()
        count = self._sync.stats.undecodable
        if count // 1_000 != self._undecodable // 1_000 or (count and not self._undecodable):
            log.warning("feed.undecodable", error=self._sync.last_error, count=count)
        self._undecodable = count
        return self._sync.tick(now_ms)

    def _take_answer(self, frames: list[bytes], now_ms: int) -> list[Action]:
        """Take the frames of an answer, which are released as soon as they are used."""
        self._owner.check()
        try:
            if len(frames) < 2 or frames[0]:
                raise DecodeError("answer: got no delimiter, expected an empty frame and a map")
            answer = unpack_map(frames[1])
            if answer.get("ok") is not True:
                refused = convert_map(answer, Refused)
                return self._sync.refused(refused.id or 0, refused.error.retry_ms, now_ms)
            id_, head = convert_map(answer.get("id"), int), convert_map(answer, SnapshotHead)
        except DecodeError as error:
            self._sync.undecodable(error)
            log.warning("snapshot.undecodable", error=str(error))
            return []
        if len(frames) - 2 != head.chunks:
            return []
        undecodable = self._sync.stats.undecodable
        # Decoded one by one as they are put in: all at once would take as much memory again as the state.
        chunks = (unpack_chunk(frame, self._unpacker) for frame in islice(frames, 2, None))
        with _uncollected() if head.chunks > MANY_CHUNKS else contextlib.nullcontext():
            actions = self._sync.snapshot(id_, head, chunks, now_ms)
        if self._sync.stats.undecodable != undecodable:
            log.warning("snapshot.undecodable", error=self._sync.last_error)
        del chunks
        frames.clear()
        if head.chunks > MANY_CHUNKS:
            release_memory()
        return actions

    def _perform(self, line: _Sends, actions: Sequence[Action], now_ms: int) -> list[Action]:
        """Do what the sync asks for; return what it reports."""
        told: list[Action] = []
        for action in actions:
            if isinstance(action, Ask):
                if not line.ask(action):
                    self._sync.refused(action.id, RETRY_UNCONNECTED_MS, now_ms)
            elif isinstance(action, Rebuild):
                line.rebuild()
            else:
                if isinstance(action, Tell):
                    name = f"feed.{action.event}"
                    log.info(name, **action.detail)
                told.append(action)
        return told


class Replica(Follower):
    """An exact, self-repairing copy of the publisher's state that keeps itself up to date.

    In a replay `now_ms` is the time of the last message, heartbeats included.

    Args:
        feed, snapshots, topics, keeping, spare: as of `Follower`.
        listener: called in the replica's thread with what happened (Changed, Tell), in order. It must be
            quick. If it raises, the replica ends, and `status` says `lost`.
        tap: called in the replica's thread with every message as it came, before it is applied. It must
            be quick.
    """

    def __init__(
        self,
        context: zmq.Context[Any],
        feed: str,
        snapshots: str,
        clock: Clock,
        rng: random.Random,
        topics: Iterable[str] = ("",),
        listener: Listener | None = None,
        tap: Tap | None = None,
        keeping: Keeping | None = None,
        spare: str | None = None,
    ) -> None:
        super().__init__(context, feed, snapshots, clock, rng, topics, keeping, spare, "replica")
        self._listener = listener
        self._tap = tap
        self._changed = threading.Condition()

    def wait(self, predicate: Callable[["Replica"], bool], timeout_s: float) -> bool:
        """Wait until `predicate(self)` holds, checking after every message; return whether it does."""
        with self._changed:
            return self._changed.wait_for(lambda: predicate(self), timeout_s)

    def _run(self) -> None:
        self._owner.check()
        tick_ms = 0
        with contextlib.closing(self._make_line()) as line:
            while not self._stopping.is_set():
                asking = self._sync.asking
                frames = self._receive(line, asking)
                now_ms = self._steady_ms()
                actions = self._sync.hear(frames, now_ms, self._tap)
                if asking or now_ms >= tick_ms:
                    tick_ms = now_ms + POLL_MS
                    for answer in line.answers():
                        actions += self._take_answer(answer, self._steady_ms())
                    if asking and (gone := line.deserted()) is not None:
                        self._sync.refused(gone, RETRY_UNCONNECTED_MS, now_ms)
                    actions += self._pass_time(now_ms)
                if actions:
                    told = self._perform(line, actions, now_ms)
                    if told and self._listener is not None:
                        self._listener(told)
                with self._changed:
                    self._changed.notify_all()

    def _receive(self, line: "Line | JetStreamLine", asking: bool) -> list[bytes]:
        """Return the messages that have arrived, else the next; none if an answer or POLL_MS comes first."""
        frames = line.heard()
        if not frames:
            if asking:
                line.wait()
            else:
                self._sync.idle()
                frames = line.hear()
        return frames


class _Refused(msgspec.Struct, frozen=True):
    """A question that found nobody to take it."""

    id: int


class _Waiting:
    """What the line has heard and the owner has not yet taken, and what the owner asks of the line.

    Both threads use it.

    Attributes:
        dropped: messages dropped for lack of room.
    """

    def __init__(self, now_ns: int) -> None:
        self.wake_line = Wake()
        self.dropped = 0
        self._ready = threading.Condition()
        self._frames: deque[tuple[bytes, int]] = deque()
        self._bytes = 0
        self._answers: deque[tuple[list[bytes] | _Refused, int]] = deque(maxlen=ANSWERS_WAITING)
        self._requests: deque[Ask | Rebuild] = deque()
        self._complete_ns = now_ns
        self._roused = False

    def __len__(self) -> int:
        """Return how many messages wait."""
        return len(self._frames)

    # -- the owner's

    def take(self, timeout_s: float) -> tuple[bytes | list[bytes] | _Refused | None, int, int]:
        """Return the next answer, else the next message, else None after at most `timeout_s`.

        With it comes when it was heard, and the sync's present, ns of the steady clock: the time of the next
        message or, if none waits, the time up to which there was none. So an owner that is late never
        mistakes its own lateness for silence of the feed.
        """
        with self._ready:
            if timeout_s > 0 and not (self._answers or self._frames or self._roused):
                self._ready.wait(timeout_s)
            if self._answers:
                answer, heard_ns = self._answers.popleft()
                return answer, heard_ns, self._frames[0][1] if self._frames else self._complete_ns
            if self._frames:
                frame, heard_ns = self._frames.popleft()
                self._bytes -= len(frame)
                return frame, heard_ns, heard_ns
            return None, self._complete_ns, self._complete_ns

    def roused(self) -> bool:
        """Return whether `rouse` has been called since the last time."""
        with self._ready:
            roused, self._roused = self._roused, False
            return roused

    def ask(self, ask: Ask) -> bool:
        """Have the line ask; if nobody is there to take the question, that is an answer."""
        self._request(ask)
        return True

    def rebuild(self) -> None:
        """Have the line reconnect."""
        self._request(Rebuild())

    def _request(self, request: Ask | Rebuild) -> None:
        self._requests.append(request)
        self.wake_line.set()

    def rouse(self) -> None:
        """End a waiting `take`."""
        with self._ready:
            self._roused = True
            self._ready.notify()

    # -- the line's

    @property
    def full(self) -> bool:
        """Whether nothing more should be heard before the owner has taken some."""
        return self._bytes > MAX_WAITING_BYTES

    def put(self, frames: Sequence[bytes], now_ns: int) -> None:
        """Add messages heard at `now_ns`; an empty list means that there was nothing to hear until then."""
        with self._ready:
            self._frames.extend([(frame, now_ns) for frame in frames])
            self._bytes += sum(map(len, frames))
            self._complete_ns = now_ns
            if frames:
                self._ready.notify()

    def drop(self) -> None:
        """Drop the waiting messages except the last, which shows that something is missing."""
        with self._ready:
            if not self.full:
                return  # the owner has just taken some
            newest = self._frames.pop()
            self.dropped += len(self._frames)
            self._frames.clear()
            self._frames.append(newest)
            self._bytes = len(newest[0])

    def put_answer(self, answer: list[bytes] | _Refused, now_ns: int) -> None:
        """Add an answer, for the owner to take first."""
        with self._ready:
            self._answers.append((answer, now_ns))
            self._ready.notify()

    def requests(self) -> Iterator[Ask | Rebuild]:
        """Yield what the owner asks for."""
        self.wake_line.clear()
        while self._requests:
            yield self._requests.popleft()


class SteppedReplica(Follower):
    """An exact, self-repairing copy of the publisher's state that moves by one message per `step`.

    A thread hears and queues, up to MAX_WAITING_BYTES. Beyond that a replay is made to wait, while of a live
    feed everything queued is dropped: a gap like any other, repaired from where the feed is now. State and
    sync belong to the thread that steps: what a step does depends on what was published, never on when the
    owner got to it.

    In a replay `now_ms` is the time of the last numbered message taken, since the player makes heartbeats
    afresh; while the state is incomplete, that of any message.

    Args:
        feed, snapshots, topics, keeping, spare: as of `Follower`.

    Attributes:
        heard_ns: when the message or answer of the last step was received, ns of the steady clock; if there
            was none, the time up to which there was none.
    """

    def __init__(
        self,
        context: zmq.Context[Any],
        feed: str,
        snapshots: str,
        clock: Clock,
        rng: random.Random,
        topics: Iterable[str] = ("",),
        keeping: Keeping | None = None,
        spare: str | None = None,
    ) -> None:
        super().__init__(context, feed, snapshots, clock, rng, topics, keeping, spare, "line")
        self.heard_ns = clock.monotonic_ns()
        self._waiting = _Waiting(self.heard_ns)
        self._said_ns = 0
        self._tick_ms = 0

    # -- the owner's

    def step(self, timeout_s: float) -> Sequence[Action]:
        """Apply the next message or answer, waiting at most about `timeout_s` for it; return what that did.

        That may be nothing: for a heartbeat, or for part of a commit. With nothing to apply, time passes,
        which can have effects too.
        """
        self._owner.check()
        waiting = self._waiting
        taken, self.heard_ns, now_ns = waiting.take(0)
        actions: list[Action] = []
        while taken is None:
            actions = self._pass_time(now_ns // 1_000_000)
            if actions or timeout_s <= 0 or waiting.roused():
                return self._perform(waiting, actions, now_ns // 1_000_000)
            self._sync.idle()
            wait_s = min(timeout_s, POLL_MS / 1_000)
            timeout_s -= wait_s
            taken, self.heard_ns, now_ns = waiting.take(wait_s)
        now_ms = now_ns // 1_000_000
        if isinstance(taken, bytes):
            actions = self._hear(taken, now_ms)
        elif isinstance(taken, _Refused):
            actions = self._sync.refused(taken.id, RETRY_UNCONNECTED_MS, now_ms)
        else:
            actions = self._take_answer(taken, now_ms)
        # A live sync has nothing due, except to check now and then whether the feed is silent.
        if self._sync.phase is not Phase.LIVE or self._sync.asking or now_ms >= self._tick_ms:
            self._tick_ms = now_ms + POLL_MS
            actions += self._pass_time(now_ms)
        return self._perform(waiting, actions, now_ms)

    def rouse(self) -> None:
        """End the waiting step, or else the next one that would wait. May be called from any thread."""
        self._waiting.rouse()

    @property
    def backlog(self) -> int:
        """How many messages wait to be applied."""
        return len(self._waiting)

    @property
    def dropped(self) -> int:
        """How many messages were dropped for lack of room."""
        return self._waiting.dropped

    def _hear(self, frame: bytes, now_ms: int) -> list[Action]:
        sync = self._sync
        if sync.source == "live":
            actions = sync.hear((frame,), now_ms)
            if sync.source != "live":  # a heartbeat said so: nothing of the replay is complete yet
                self._said_ns = sync.published_ns
            return actions
        whole = sync.phase is Phase.LIVE
        noted: list[Header | Quotes] = []
        actions = sync.hear((frame,), now_ms, lambda _frame, header: noted.append(header))
        whole = whole and sync.phase is Phase.LIVE
        for header in noted:
            # One from a past epoch is not taken, and does not move the publisher's time.
            taken = header.published_ns == sync.published_ns
            if taken and (header.kind != "heartbeat" or not whole):
                self._said_ns = header.published_ns
        return actions

    def _replay_ns(self) -> int:
        return self._said_ns

    # -- hearing; its sockets know their thread

    def _run(self) -> None:
        waiting = self._waiting
        try:
            with contextlib.closing(self._make_line()) as line:
                while not self._stopping.is_set():
                    if waiting.full and self._sync.source == "live":
                        waiting.drop()
                        log.warning("feed.behind", dropped=waiting.dropped)
                    listening = not waiting.full
                    now_ns = self._clock.monotonic_ns()
                    frames = line.heard() if listening else []
                    if listening:
                        waiting.put(frames, now_ns)
                    for answer in line.answers():
                        waiting.put_answer(answer, now_ns)
                    if (gone := line.deserted()) is not None:
                        waiting.put_answer(_Refused(gone), now_ns)
                    for request in waiting.requests():
                        if isinstance(request, Rebuild):
                            line.rebuild()
                        elif not line.ask(request):
                            waiting.put_answer(_Refused(request.id), now_ns)
                    if not frames:
                        line.wait(waiting.wake_line, feed=listening)
        finally:
            waiting.rouse()

    def stop(self) -> None:
        """Stop and join the thread; its sockets are closed. Steps take what still waits, then nothing."""
        self._stopping.set()
        self._waiting.wake_line.set()
        super().stop()
        self._waiting.wake_line.close()


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Suspend garbage collection.

    Everything a snapshot brings is there to stay, and a quarter of the time would go into tracing it again.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
