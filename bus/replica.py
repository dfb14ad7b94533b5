"""Replica: an exact copy of the publisher's state in this process, kept by a thread of its own.

One class serves snapshot server, trader, dashboard and recorder. The algorithm is bus/protocol/join.py;
here are only the sockets: receive, feed, do what it says.
"""

import contextlib
import gc
import random
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

import msgspec
import structlog
import zmq
import zstandard

from bus.protocol.join import Action, Ask, FeedSync, Phase, Rebuild, Stats, Tap, Tell
from bus.protocol.memory import Keeping, release_memory
from bus.protocol.messages import CONTROL_TOPICS, Chunk, SnapshotHead, decode_chunk, decode_map, encode_map
from bus.protocol.state import State
from markets.errors import DecodeError

from .clock import Clock
from .sockets import MAX_ANSWER, MAX_FEED, make

log = structlog.get_logger()

POLL_MS: Final = 50
DRAIN: Final = 1_000
MAX_CHUNK: Final = 16 * 1_048_576
RETRY_UNCONNECTED_MS: Final = 100
MANY_CHUNKS: Final = 100
"""From so many on a snapshot leaves memory behind that is worth giving back."""

Listener = Callable[[Sequence[Action]], None]


class Status(msgspec.Struct, frozen=True):
    """Where a replica stands.

    Attributes:
        epoch, seq: position of what readers see; 0, 0 before the first snapshot.
        live: whether it follows the feed without a gap.
        phase: joining, live or repairing.
        lost: whether the feed has been silent for seconds, or is not listened to any more.
        age_ms: now less the end of the last complete sweep's fetch; None before one.
        degraded: streams whose content could not be brought to agree with the publisher's.
        source: "live" or "replay".
    """

    epoch: int
    seq: int
    live: bool
    phase: str
    lost: bool
    age_ms: int | None
    degraded: tuple[str, ...]
    source: str
    stats: Stats


class Replica:
    """An exact, self-repairing copy of the publisher's state.

    Args:
        feed: endpoint of the feed. snapshots: endpoint that answers op `snapshot` (`state` or `query`).
        topics: prefixes to follow; everything by default. Control topics are added.
        listener: called in the replica's thread with what happened (Changed, Tell), in order. It must be
            quick. If it raises, the replica ends, and `status` says `lost`.
        tap: called in the replica's thread with every message as it came, before it is applied. It must be
        quick.
        keeping: how the state keeps its records; by default as they came.
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
    ) -> None:
        wanted = tuple(topics)
        self.prefixes = wanted if "" in wanted else (*wanted, *CONTROL_TOPICS)
        self._context = context
        self._feed = feed
        self._snapshots = snapshots
        self._clock = clock
        self._listener = listener
        self._tap = tap
        self._sync = FeedSync(self.prefixes, rng, self._steady_ms(), keeping)
        self._undecodable = 0
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._decompress = zstandard.ZstdDecompressor()
        self._thread = threading.Thread(target=self._run, name="replica")

    # -- for readers, any thread

    @property
    def state(self) -> State:
        """The state readers see. Take it once, hold its lock while reading more than one record."""
        return self._sync.state

    def now_ms(self) -> int:
        """Return now as consumers must take it: wall clock, or in a replay the time of the last message."""
        heartbeat = self._sync.heartbeat
        if heartbeat is None or heartbeat.source == "live":
            return self._clock.now_ms()
        return self._sync.published_ns // 1_000_000

    @property
    def published_ns(self) -> int:
        """When the publisher sent the last message heard, ns since 1970 by its clock."""
        return self._sync.published_ns

    def status(self) -> Status:
        """Return where this replica stands."""
        sync, state = self._sync, self._sync.state
        complete_ms = state.cycle.complete_ms if state.cycle else None
        # Stopped, or ended by a listener that raised: what is held only ages.
        lost = sync.lost or (self._thread.ident is not None and not self._thread.is_alive())
        return Status(
            epoch=state.epoch,
            seq=state.seq,
            live=sync.phase is Phase.LIVE and not lost,
            phase=sync.phase.value,
            lost=lost,
            age_ms=None if complete_ms is None else max(0, self.now_ms() - complete_ms),
            degraded=tuple(sorted(sync.degraded)),
            source=sync.source,
            stats=msgspec.structs.replace(sync.stats),
        )

    @property
    def heartbeat(self) -> Any:
        """The last heartbeat heard (bus.protocol.messages.Heartbeat), or None."""
        return self._sync.heartbeat

    def wait(self, predicate: Callable[["Replica"], bool], timeout_s: float) -> bool:
        """Wait until `predicate(self)` holds, looking after every message; return whether it does."""
        with self._changed:
            return self._changed.wait_for(lambda: predicate(self), timeout_s)

    # -- life

    def start(self) -> None:
        """Start following the feed."""
        self._thread.start()

    def stop(self) -> None:
        """Stop and join the thread; its sockets are closed."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    # -- the thread

    def _steady_ms(self) -> int:
        return self._clock.monotonic_ns() // 1_000_000

    def _run(self) -> None:
        dealer = make(self._context, zmq.DEALER, MAX_ANSWER)
        dealer.setsockopt(zmq.IMMEDIATE, 1)  # a question must not wait in a queue for a server that is gone
        subscriber = self._subscribe()
        tick_ms = 0
        try:
            dealer.connect(self._snapshots)
            while not self._stopping.is_set():
                asking = self._sync.asking
                frames = self._receive(subscriber, dealer if asking else None)
                now_ms = self._steady_ms()
                actions = self._sync.hear(frames, now_ms, self._tap)
                if asking or now_ms >= tick_ms:
                    tick_ms = now_ms + POLL_MS
                    self._take_answers(dealer, actions)
                    actions += self._sync.tick(now_ms)
                    self._log_undecodable()
                if actions and self._perform(dealer, actions):
                    subscriber.close()
                    subscriber = self._subscribe()
                with self._changed:
                    self._changed.notify_all()
        finally:
            subscriber.close()
            dealer.close()

    def _receive(self, subscriber: zmq.Socket[bytes], dealer: zmq.Socket[bytes] | None) -> list[bytes]:
        """Return the messages that are there, else the next one; none if `dealer` or POLL_MS comes first.

        A blocking receive costs less than a poll before it, so who waits for no answer does without.
        """
        frames: list[bytes] = []
        try:
            while len(frames) < DRAIN:
                frames.append(subscriber.recv(zmq.NOBLOCK))
        except zmq.Again:
            if not frames:
                if dealer is not None:
                    zmq.select([subscriber, dealer], [], [], POLL_MS / 1_000)
                else:
                    self._sync.idle()
                    with contextlib.suppress(zmq.Again):
                        frames.append(subscriber.recv())
        return frames

    def _subscribe(self) -> zmq.Socket[bytes]:
        subscriber = make(self._context, zmq.SUB, MAX_FEED)
        subscriber.setsockopt(zmq.RCVTIMEO, POLL_MS)
        for prefix in self.prefixes:
            subscriber.setsockopt(zmq.SUBSCRIBE, prefix.encode())
        subscriber.connect(self._feed)
        return subscriber

    def _log_undecodable(self) -> None:
        """Log what could not be decoded, not each of it: a newer publisher must not fill the log."""
        count = self._sync.stats.undecodable
        if count // 1_000 != self._undecodable // 1_000 or (count and not self._undecodable):
            log.warning("feed.undecodable", error=self._sync.last_error, count=count)
        self._undecodable = count

    def _take_answers(self, dealer: zmq.Socket[bytes], actions: list[Action]) -> None:
        while True:
            try:
                frames = dealer.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            now_ms = self._steady_ms()
            try:
                if len(frames) < 2 or frames[0]:
                    raise DecodeError("answer: got no delimiter, expected an empty frame and a map")
                answer = decode_map(frames[1], dict[str, Any])
                if not answer.get("ok"):
                    retry_ms = decode_error(answer).get("retry_ms")
                    actions += self._sync.refused(answer.get("id", 0), retry_ms, now_ms)
                    continue
                head = msgspec.convert(answer, SnapshotHead)
            except (DecodeError, msgspec.ValidationError) as error:
                self._sync.undecodable(error)
                log.warning("snapshot.undecodable", error=str(error))
                continue
            if len(frames) - 2 == head.chunks:
                undecodable = self._sync.stats.undecodable
                # Decoded one by one as they are put in: all at once would take as much again as the state.
                chunks = map(self._chunk, islice(frames, 2, None))
                with _uncollected() if head.chunks > MANY_CHUNKS else contextlib.nullcontext():
                    actions += self._sync.snapshot(answer.get("id", 0), head, chunks, now_ms)
                if self._sync.stats.undecodable != undecodable:
                    log.warning("snapshot.undecodable", error=self._sync.last_error)
                del frames, chunks
                if head.chunks > MANY_CHUNKS:
                    release_memory()

    def _chunk(self, frame: bytes) -> Chunk:
        try:
            body = self._decompress.decompress(frame, max_output_size=MAX_CHUNK)
        except zstandard.ZstdError as error:
            raise DecodeError(f"snapshot chunk: {error}") from None
        return decode_chunk(body)

    def _perform(self, dealer: zmq.Socket[bytes], actions: list[Action]) -> bool:
        """Do what the sync asks for, tell the listener; return whether to rebuild the feed socket."""
        rebuild = False
        told: list[Action] = []
        for action in actions:
            if isinstance(action, Ask):
                self._send(dealer, action)
            elif isinstance(action, Rebuild):
                rebuild = True
            else:
                if isinstance(action, Tell):
                    name = f"feed.{action.event}"
                    log.info(name, **action.detail)
                told.append(action)
        if told and self._listener is not None:
            self._listener(told)
        return rebuild

    def _send(self, dealer: zmq.Socket[bytes], ask: Ask) -> None:
        question: dict[str, Any] = {
            "op": "snapshot",
            "id": ask.id,
            "epoch": ask.epoch,
            "streams": list(self.prefixes),
        }
        if ask.since is not None:
            question |= {"since": ask.since, "also": list(ask.also)}
        try:
            dealer.send_multipart([b"", encode_map(question)], zmq.NOBLOCK)
        except zmq.Again:
            self._sync.refused(ask.id, RETRY_UNCONNECTED_MS, self._steady_ms())


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Let no garbage be collected.

    All that a snapshot brings is to stay, and a quarter of the time would go into looking through it again.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def decode_error(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the error map of a refusal, empty if it has none."""
    error = answer.get("error")
    return error if isinstance(error, dict) else {}
