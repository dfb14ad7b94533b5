"""FeedSync: how a replica joins the feed, proves that it missed nothing, and repairs what it did miss.

Sans-I/O: `hear`, `feed`, `snapshot`, `refused` and `tick` take data and explicit time and return actions; the
shell (bus/replica.py) owns sockets and threads. docs/protocol.md section 9 is the specification.

The whole algorithm is one comparison. `_base.seq` is the position the state stands at, and coverage.py knows
`covered_from`, the smallest number from which on everything published has been heard. If
``covered_from <= _base.seq + 1`` nothing is missing in between, and the state may go on; else what changed
since `_base.seq` is asked for. TURNS has the phases: in each but LIVE messages are buffered and `state`, what
users see, stands still at the last position known to be whole.

A replica that filters cannot know from a `cycle` message alone that it has heard all of its run. It keeps the
run, and what comes after it, until a heartbeat confirms it. `_base.seq` is then the last confirmed position;
what was streamed since is applied already, so `_applied` may be ahead of it.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from itertools import islice
from typing import Any, Final

import msgspec

from markets.errors import DecodeError

from .agreement import Agreement
from .asks import RARELY_MS, REFUSED_MAX_MS, Ask, Asks
from .coverage import Coverage, FilteredCoverage, Parts
from .memory import Keeping
from .messages import (
    DECODE_FAULTS,
    RECORD_TYPES,
    Chunk,
    Envelope,
    Header,
    Heartbeat,
    Quotes,
    SnapshotHead,
    decode,
    decode_control,
    quotes_decoder,
)
from .silence import SILENCE_MS, Silence
from .stage import Stage
from .state import Before, Changed, State, Stream, decode_all

UNCONFIRMED_SHOW_MS: Final = 1_000
MAX_HELD_BYTES: Final = 256 * 1_048_576
"""How much may wait for an answer: anything beyond it is a hole like any other, and none of it is kept."""

MAX_STAGED_BYTES: Final = 256 * 1_048_576
"""A larger commit is fetched once it is over, a stream at a time: it is as large as the whole state."""

_ENVELOPE_BYTES: Final = 500
_RAW_BYTES: Final = 100
"""The memory that a message takes in addition to the bytes of its records, and that each record takes."""

IDLE_RECORDS: Final = 32


class Phase(Enum):
    """Where a replica stands."""

    JOINING = "joining"
    LIVE = "live"
    REPAIRING = "repairing"


class Turn(Enum):
    """What takes a replica from one phase to another."""

    EPOCH = "an epoch begins"
    WHOLE = "nothing is missing between the state and what was heard"
    HOLE = "something is missing, or a digest differs"


TURNS: Final = {
    (Phase.JOINING, Turn.WHOLE): Phase.LIVE,
    (Phase.LIVE, Turn.HOLE): Phase.REPAIRING,
    (Phase.REPAIRING, Turn.WHOLE): Phase.LIVE,
    **{(phase, Turn.EPOCH): Phase.JOINING for phase in Phase},
}
"""Every transition from phase to phase."""


class Tell(msgspec.Struct, frozen=True):
    """Tell the user: `event` is live, gap, resynced, epoch, degraded, lost or found."""

    event: str
    detail: dict[str, Any]


class Rebuild(msgspec.Struct, frozen=True):
    """Close the feed socket and connect anew: nothing was heard for too long."""


Action = Ask | Tell | Rebuild | Changed
Tap = Callable[[bytes, Header | Quotes], None]


class Stats(msgspec.Struct):
    """Counters since start."""

    messages: int = 0
    duplicates: int = 0
    old_epoch: int = 0
    undecodable: int = 0
    unknown_kinds: int = 0
    gaps: int = 0
    resyncs: int = 0
    epochs: int = 0
    asks: int = 0
    digest_mismatches: int = 0
    digests_compared: int = 0


class Resync(msgspec.Struct, frozen=True):
    """How far the repair has come of a replica that knows its state to lack something.

    Attributes:
        why: "missing" (a message was lost), "digest" (the content differs), "undecodable" (what came could
            not be read), "behind" (more came than may wait) or "epoch" (the publisher started over).
        step: "waiting" (nobody could answer yet; it asks again within half a second), "asked", "taking" (the
            answer is being put in).
        for_ms: since when, counted back from now.
        behind: how many messages the publisher is known to have sent beyond those shown; None in a new epoch.
        asked: how often what is lacking was asked for.
        chunks, chunks_total: chunks of the answer put in so far, and all.
    """

    why: str
    step: str
    for_ms: int
    behind: int | None
    asked: int
    chunks: int
    chunks_total: int


class ReplicaStatus(msgspec.Struct, frozen=True):
    """Where a replica stands.

    Attributes:
        epoch, seq: position of what readers see; 0, 0 before the first snapshot.
        live: whether it follows the feed without a gap.
        phase: joining, live or repairing.
        lost: whether the feed has been silent for seconds, or is no longer listened to.
        age_ms: now less the end of the last complete sweep's fetch; None before one.
        degraded: streams whose content could not be brought to agree with the publisher's.
        source: "live" or "replay".
        resync: how far a repair has come while what is shown is known to lack something; otherwise None.
        proven_seq: the last number in this epoch at which everything followed matched the publisher, digest
            for digest; 0 before the first.
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
    resync: Resync | None = None
    proven_seq: int = 0

    @property
    def feed(self) -> str:
        """The state of following: "joining" (nothing to show yet), "live", "resyncing" or "lost"."""
        if self.lost:
            return "lost"
        return self.phase if self.live or not self.epoch else "resyncing"


class FeedSync:
    """The join and repair of one replica.

    Args:
        prefixes: subscribed topic prefixes; ("",) is everything. Others must include "cycle." and "hb.".
        rng: jitter of retries.
        now_ms: any steady clock, the same one passed to the methods.
        keeping: how the state keeps its records.

    Attributes:
        state: what users see; replaced as a whole in a new epoch, otherwise changed under its lock.
        heartbeat: the last one heard, or None.
        source: "live" or "replay", as the last snapshot or heartbeat said.
        published_ns: the publisher's clock in the last message heard; in a replay this is now.
        last_error: what was wrong with the last message that could not be decoded.
        proven: (epoch, seq) at which the content was last found to be what the publisher said.
    """

    def __init__(
        self, prefixes: Sequence[str], rng: random.Random, now_ms: int, keeping: Keeping | None = None
    ) -> None:
        self.state = State()
        self.phase = Phase.JOINING
        self.heartbeat: Heartbeat | None = None
        self.source = "live"
        self.published_ns = 0
        self.stats = Stats()
        self.last_error = ""
        self.proven = (0, 0)
        self._since_ms: int | None = None
        self._why = ""
        self._chunks = (0, 0)
        self.prefixes = tuple(prefixes)
        self._keeping = keeping
        self._asks = Asks(rng, now_ms)
        self._silence = Silence(now_ms)
        self._candidate_ms = now_ms
        self._begin(0)

    def _begin(self, epoch: int) -> None:
        """Forget everything that belongs to one epoch only."""
        self.epoch = epoch
        self._older_since_ms: int | None = None
        self._passed_since_ms: int | None = None
        self._base: State | None = None
        self._streams: dict[bytes, Stream] = {}  # of _base, by topic
        self._last_stream: Stream | None = None
        self._coverage = Coverage() if "" in self.prefixes else FilteredCoverage(self.prefixes)
        self._applied = 0
        self._buffer: list[tuple[str, Envelope]] = []
        self._held_bytes = 0
        self._stage = Stage()
        self._parts = Parts()
        self._agreement = Agreement(self.prefixes)
        self._asks.begin()

    # -- input

    def hear(self, frames: Sequence[bytes], now_ms: int, tap: Tap | None = None) -> list[Action]:
        """Take feed messages as they came; return what to do. `tap` sees each one before it is applied."""
        actions: list[Action] = []
        done = 0
        while True:
            done = self._hear_quotes(frames, done, now_ms, tap, actions)
            if done == len(frames):
                return actions
            frame = frames[done]
            done += 1
            try:
                topic, envelope = decode(frame)
            except DecodeError as error:
                self.undecodable(error)
                continue
            if tap is not None:
                tap(frame, envelope)
            actions += self.feed(topic, envelope, now_ms)
            if envelope.kind == "quote" and self._base is not None and envelope.epoch == self.epoch:
                stream = self._base.streams.get(topic)
                if stream is not None:
                    self._streams[topic.encode()] = stream

    def _hear_quotes(
        self, frames: Sequence[bytes], start: int, now_ms: int, tap: Tap | None, actions: list[Action]
    ) -> int:
        """Do what `feed` would do, at a third of its cost, as long as nothing is out of the ordinary.

        That is, from `start` on, as long as each frame is the next streamed message of quotes in a live and
        full replica, as by far most are. Return where that ends.
        """
        base, coverage = self._base, self._coverage
        if (
            base is None
            or self.phase is not Phase.LIVE
            or not coverage.full
            or self._silence.lost
            or base.keep_bytes
            or coverage.heard != base.seq
        ):
            return start
        seq, epoch = base.seq, self.epoch
        tickers: list[str] = []
        last: Quotes | None = None
        streams, take = self._streams, quotes_decoder.decode
        with base.lock:
            for frame in islice(frames, start, None):
                topic, _, body = frame.partition(b"\x00")
                stream = streams.get(topic)
                if stream is None:
                    break
                try:
                    quotes = take(body)
                except DECODE_FAULTS:
                    break
                if (
                    quotes.seq != seq + 1
                    or quotes.cycle
                    or quotes.epoch != epoch
                    or quotes.prev != stream.last
                ):
                    break
                if tap is not None:
                    tap(frame, quotes)
                seq += 1
                base.put_quotes(stream, seq, quotes.records, tickers)
                last = quotes
                self._last_stream = stream
            count, base.seq = seq - base.seq, seq
            base.touch("quote", tickers)
        if last is not None:
            self.stats.messages += count
            coverage.heard = self._applied = seq
            self._silence.heard_ms = now_ms
            self.published_ns = last.published_ns
            actions.append(Changed(seq, 0, [("quote", tickers)]))
        return start + count

    def feed(self, topic: str, envelope: Envelope, now_ms: int) -> list[Action]:
        """Take one feed message; return what to do."""
        self.stats.messages += 1
        actions: list[Action] = []
        if envelope.epoch != self.epoch and not self._follow(envelope.epoch, now_ms, actions):
            return actions
        self.published_ns = envelope.published_ns
        if envelope.seq and self._base is None and self._coverage.only_announced:
            # The epoch is open: replicas that were told `not_ready` until now need not wait any longer.
            self._asks.begin()
            if not self.asking:
                self._asks.hurry(now_ms)
        if self._silence.hear(now_ms):
            actions.append(Tell("found", {"epoch": self.epoch}))
        if envelope.kind == "heartbeat":
            self._on_heartbeat(envelope, now_ms, actions)
        elif topic.startswith(self.prefixes):
            self._on_message(topic, envelope, now_ms, actions)
        return actions

    def undecodable(self, error: Exception) -> None:
        """Count bytes that were not a message; what they should have been shows as a gap."""
        self.stats.undecodable += 1
        self.last_error = str(error)

    def snapshot(self, id_: int, head: SnapshotHead, chunks: Iterable[Chunk], now_ms: int) -> list[Action]:
        """Take the answer to an Ask; an answer to an older one is ignored.

        `chunks` may be decoded lazily, and raise DecodeError then.
        """
        actions: list[Action] = []
        ask = self._asks.answered(id_, now_ms)
        if ask is None:
            return actions
        if head.epoch > self.epoch:
            self._open(head.epoch)  # there is a newer epoch, whether we heard of it or not
        if head.epoch < self.epoch or (ask.since is not None and self._base is None):
            self._asks.later(now_ms)
            return actions
        install = self._install_whole if ask.since is None else self._install
        try:
            done = install(head, self._counted(head, chunks))
        except DecodeError as error:
            self.undecodable(error)
            self._asks.later(now_ms, most_ms=RARELY_MS)
            return actions
        finally:
            self._chunks = (0, 0)
        if not done:
            self._asks.later(now_ms)
            return actions
        if ask.since is None:
            self._candidate_ms = now_ms
        # What was lost before the answer's position no longer matters.
        self.source = head.source
        self._applied = head.as_of
        self._coverage.installed(head.streams, head.as_of)
        self._asks.also = ()
        self._check(head, now_ms)
        self._advance(now_ms, actions)
        return actions

    def _counted(self, head: SnapshotHead, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        """Pass chunks on, so that readers see the progress."""
        for number, chunk in enumerate(chunks, 1):
            self._chunks = number, head.chunks
            yield chunk

    def _check(self, head: SnapshotHead, now_ms: int) -> None:
        """Compare what was just put in with the digest that came with it."""
        assert self._base is not None
        if head.digest is not None and self._agreement.check(self._base, head.streams, head.digest):
            self.stats.digest_mismatches += 1
            self._asks.also = tuple(head.streams)
            self._asks.later(now_ms)

    def refused(self, id_: int, retry_ms: int | None, now_ms: int) -> list[Action]:
        """Take an error as the answer to an Ask: try again later."""
        # When an announced epoch opens, we hear of it.
        rarely = self._base is None and self._coverage.only_announced
        self._asks.refused(id_, retry_ms, now_ms, RARELY_MS if rarely else REFUSED_MAX_MS)
        return []

    def tick(self, now_ms: int) -> list[Action]:
        """Let time pass; call it at least every 100 ms."""
        actions: list[Action] = []
        self._asks.expire(now_ms)
        self._ask_if_due(now_ms, actions)
        if self._silence.lose(now_ms):
            actions.append(Tell("lost", {"silent_ms": now_ms - self._silence.heard_ms}))
        if self._silence.rebuild(now_ms):
            actions.append(Rebuild())
        if (
            self.phase is Phase.JOINING
            and self._base is not None
            and self._base is not self.state
            and self._coverage.covered_from is None
            and now_ms - self._candidate_ms >= UNCONFIRMED_SHOW_MS
            and self._base.epoch >= self.state.epoch
        ):
            # There is no feed to confirm it: old data with its true age is better than none.
            self.state = self._base
            actions.append(Tell("epoch", {"epoch": self.state.epoch, "confirmed": False}))
        return actions

    def idle(self) -> None:
        """Use a quiet moment: hash the last quotes now, before a heartbeat needs it."""
        stream, self._last_stream = self._last_stream, None
        if stream is not None and self._base is not None:
            with self._base.lock:
                self._base.settle(stream, IDLE_RECORDS)

    @property
    def asking(self) -> bool:
        """Whether an answer is awaited now."""
        return self._asks.open is not None

    @property
    def lost(self) -> bool:
        """Whether the feed has been silent for SILENCE_MS or more."""
        return self._silence.lost

    @property
    def degraded(self) -> set[str]:
        """Streams whose digest still differed after MAX_REPAIRS repairs in a row."""
        return self._agreement.degraded

    def status(self, now_ms: int, steady_ms: int = 0, *, ended: bool = False) -> ReplicaStatus:
        """Return where the replica stands. Any thread.

        Args:
            now_ms: the present, ms since 1970. steady_ms: the present by the clock of the other methods.
            ended: it gets no more messages.
        """
        state, lost = self.state, self.lost or ended
        complete_ms = state.cycle.complete_ms if state.cycle else None
        return ReplicaStatus(
            epoch=state.epoch,
            seq=state.seq,
            live=self.phase is Phase.LIVE and not lost,
            phase=self.phase.value,
            lost=lost,
            age_ms=None if complete_ms is None else max(0, now_ms - complete_ms),
            degraded=tuple(sorted(self.degraded)),
            source=self.source,
            stats=msgspec.structs.replace(self.stats),
            resync=self._resync(steady_ms),
            proven_seq=self.proven[1] if self.proven[0] == state.epoch else 0,
        )

    def _resync(self, steady_ms: int) -> Resync | None:
        since_ms, base, (chunks, total) = self._since_ms, self._base, self._chunks
        if since_ms is None:
            return None
        same = base is not None and base.epoch == self.state.epoch == self.epoch
        return Resync(
            why=self._why,
            step="taking" if total else "asked" if self.asking else "waiting",
            for_ms=max(0, steady_ms - since_ms),
            behind=max(0, self._coverage.heard - self.state.seq) if same else None,
            asked=self._asks.asked,
            chunks=chunks,
            chunks_total=total,
        )

    # -- epochs

    def _follow(self, epoch: int, now_ms: int, actions: list[Action]) -> bool:
        if epoch < self.epoch:
            self.stats.old_epoch += 1
            if self._older_since_ms is None:
                self._older_since_ms = now_ms
            quiet = now_ms - max(self._silence.heard_ms, self._older_since_ms)
            if quiet < SILENCE_MS:
                return False
        first_asked = not self.epoch and self.asking
        self._open(epoch)
        if not first_asked:
            self._asks.hurry(now_ms)
            self._ask_if_due(now_ms, actions)
        return True

    def _open(self, epoch: int) -> None:
        """Begin a new join; what users see stays until that is complete."""
        self.stats.epochs += 1
        if self.state.epoch:
            self._lacks("epoch")
        self.phase = TURNS[self.phase, Turn.EPOCH]
        self._begin(epoch)

    # -- hearing

    def _on_message(self, topic: str, envelope: Envelope, now_ms: int, actions: list[Action]) -> None:
        if not self._coverage.hear(topic, envelope.seq, envelope.prev):
            self.stats.duplicates += 1
            return
        if self.phase is Phase.LIVE and not self._stage.closed and self._covers():
            self._apply(topic, envelope, actions)
        else:
            self._hold(topic, envelope)
        self._advance(now_ms, actions)

    def _on_heartbeat(self, envelope: Envelope, now_ms: int, actions: list[Action]) -> None:
        try:
            heartbeat = decode_control(envelope, Heartbeat)
        except DecodeError as error:
            self.undecodable(error)
            return
        whole = self._parts.add(heartbeat)
        if whole is None:
            return
        self.heartbeat = whole
        self.source = whole.source
        if self._base is not None:
            self._base.stream_since_ms = whole.publisher.stream_since_ms
        if not self._coverage.beat(whole):
            self._on_passed(now_ms, actions)
            return
        self._passed_since_ms = None
        if self.phase is not Phase.LIVE:
            self._advance(now_ms, actions)  # it may be everything that was waited for, and the proof as well
        if self.phase is Phase.LIVE and self._covers():
            self._on_confirmed(whole, actions)
        self._advance(now_ms, actions)

    def _on_passed(self, now_ms: int, actions: list[Action]) -> None:
        """Take a heartbeat of a position already passed; after SILENCE_MS without another, it never was.

        Otherwise a number damaged on its way would make everything after it look old, for ever.
        """
        if self._passed_since_ms is None:
            self._passed_since_ms = now_ms
        if now_ms - self._passed_since_ms >= SILENCE_MS:
            self.stats.gaps += 1
            self._open(self.epoch)
            self._asks.hurry(now_ms)
            self._ask_if_due(now_ms, actions)

    def _on_confirmed(self, heartbeat: Heartbeat, actions: list[Action]) -> None:
        """In LIVE, with nothing missing through the heartbeat's position: swap, compare."""
        assert self._base is not None
        if not self._coverage.full:
            while self._stage.closed:
                self._swap(actions)
                self._apply_held(actions)
            if self.phase is not Phase.LIVE:
                return
            with self._base.lock:
                self._base.seq = max(self._base.seq, heartbeat.seq)
        if heartbeat.seq != self._base.seq:
            return
        found = self._agreement.compare(self._base, heartbeat)
        if not found.differing and not self.degraded:
            self.proven = (self.epoch, heartbeat.seq)
        self.stats.digests_compared += found.compared
        self.stats.digest_mismatches += found.differing
        actions += [Tell("degraded", {"topic": topic, "seq": heartbeat.seq}) for topic in found.given_up]
        if found.repairable:
            self._asks.also = found.repairable
            self._start_repair("digest", actions)

    # -- moving on

    def _covers(self) -> bool:
        """Tell whether everything after the state's position has been heard."""
        return self._base is not None and self._coverage.joins(self._base.seq)

    def _advance(self, now_ms: int, actions: list[Action]) -> None:
        if self._covers():
            if self.phase is not Phase.LIVE:
                self._go_live(actions)
        elif self._base is not None and self._coverage.covered_from is not None:
            if self.phase is Phase.LIVE:
                self._start_repair("missing", actions)
            self._asks.later_if_idle(now_ms)
        self._ask_if_due(now_ms, actions)

    def _go_live(self, actions: list[Action]) -> None:
        assert self._base is not None
        if self._asks.also:
            return
        joined = self.phase is Phase.JOINING
        self.phase = TURNS[self.phase, Turn.WHOLE]
        self._asks.rest()
        self._since_ms = None
        base = self.state = self._base
        self._apply_held(actions)
        if self.phase is not Phase.LIVE:
            return
        if joined:
            actions.append(Tell("live", {"epoch": base.epoch, "seq": base.seq}))
        else:
            self.stats.resyncs += 1
            actions.append(Tell("resynced", {"epoch": base.epoch, "seq": base.seq}))

    def _start_repair(self, why: str, actions: list[Action]) -> None:
        assert self._base is not None
        self.phase = TURNS[self.phase, Turn.HOLE]
        self.stats.gaps += 1
        self._lacks(why)
        self._stage.drop()
        self._asks.repair(self._silence.heard_ms)
        heard, also = self._coverage.heard, self._asks.also
        actions.append(Tell("gap", {"why": why, "seq": self._base.seq, "heard": heard, "topics": also}))

    def _lacks(self, why: str) -> None:
        """Note that from now on what is shown is known to lack something."""
        if self._since_ms is None:
            self._since_ms, self._why = self._silence.heard_ms, why

    def _hold(self, topic: str, envelope: Envelope) -> None:
        self._buffer.append((topic, envelope))
        self._held_bytes += (
            _ENVELOPE_BYTES + sum(map(len, envelope.records)) + _RAW_BYTES * len(envelope.records)
        )
        if self._held_bytes > MAX_HELD_BYTES:
            # Dropping what was heard makes a hole like any other.
            self._buffer, self._held_bytes = [], 0
            self._coverage.lose(self._coverage.heard + 1)

    # -- applying

    def _apply(self, topic: str, envelope: Envelope, actions: list[Action]) -> None:
        base = self._base
        assert base is not None
        kind = envelope.kind
        if envelope.seq <= base.seq:
            return  # the snapshot was ahead of the feed and already contains it
        if self._stage.interrupted_by(envelope):
            # The end of its run was lost, which a filtering replica sees only here.
            self._coverage.lose(envelope.seq)
            self._start_repair("missing", actions)
            self._hold(topic, envelope)
            return
        try:
            if kind == "cycle":
                self._stage.close(envelope)
                if self._coverage.full:
                    self._swap(actions)
                return
            if envelope.cycle:
                self._stage.add(topic, envelope)
                if self._stage.size > MAX_STAGED_BYTES:
                    self._coverage.lose(envelope.seq + 1)
                    self._start_repair("behind", actions)
                    return
            else:
                trades: list[Any] = decode_all(kind, envelope.records) if kind == "trade" else []
                with base.lock:
                    if trades:
                        changed = base.put(topic, envelope.seq, kind, trades, envelope.records)
                    else:
                        changed = base.apply(topic, envelope.seq, kind, envelope.records)
                    self._applied = envelope.seq
                    if self._coverage.full:
                        base.seq = envelope.seq
                actions.append(Changed(envelope.seq, 0, changed, trades))
            if kind not in RECORD_TYPES:
                self.stats.unknown_kinds += 1
        except DecodeError as error:
            self.undecodable(error)
            self._coverage.lose(envelope.seq + 1)
            self._start_repair("undecodable", actions)

    def _apply_held(self, actions: list[Action]) -> None:
        """In LIVE, apply what was held back, up to where it has to wait again."""
        held, self._buffer, self._held_bytes = self._buffer, [], 0
        for index, (topic, envelope) in enumerate(held):
            if self._stage.closed or self.phase is not Phase.LIVE:
                for one in held[index:]:
                    self._hold(*one)
                return
            self._apply(topic, envelope, actions)

    def _swap(self, actions: list[Action]) -> None:
        """Apply the closed commit."""
        assert self._base is not None
        changed = self._stage.swap_into(self._base)
        self._applied = changed.seq
        actions.append(changed)

    # -- snapshots

    def _install_whole(self, head: SnapshotHead, chunks: Iterable[Chunk]) -> bool:
        base = State(head.epoch, self._keeping)
        before = Before(self.state) if self.state.epoch else None
        base.expect_fields(head.fields)
        with base.lock:
            for topic, last in head.streams.items():
                base.stream(topic).last = last
            for chunk in chunks:
                base.put_chunk(chunk, before)
            base.seq = head.as_of
            base.set_cycle(head.cycle, head.ages)
        self._base = base
        self._streams = {}
        self._last_stream = None
        return True

    def _install(self, head: SnapshotHead, chunks: Iterable[Chunk]) -> bool:
        base = self._base
        if base is None or head.as_of < self._applied:
            return False
        decoded = [
            (chunk, [(kind, decode_all(kind, raws), raws) for kind, raws in known(chunk)]) for chunk in chunks
        ]
        base.expect_fields(head.fields)
        with base.lock:
            for topic, last in head.streams.items():
                base.clear_stream(topic)
                base.stream(topic).last = last
            for chunk, content in decoded:
                for kind, records, raws in content:
                    base.put(chunk.topic, chunk.last, kind, records, raws, count=True)
            base.set_cycle(head.cycle, head.ages)
            # If a filtered replica's position is later, nothing that it follows has changed since.
            base.seq = max(base.seq, head.as_of)
        return True

    # -- asking

    def _ask_if_due(self, now_ms: int, actions: list[Action]) -> None:
        if not self._asks.due(now_ms):
            return
        ask = self._asks.ask(self.epoch, None if self._base is None else self._base.seq, now_ms)
        if ask is not None:
            self.stats.asks += 1
            actions.append(ask)


def known(chunk: Chunk) -> list[tuple[str, list[msgspec.Raw]]]:
    """Return the parts of a chunk whose kind this build knows."""
    return [(kind, raws) for kind, raws in chunk.content if kind in RECORD_TYPES]
