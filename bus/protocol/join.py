"""FeedSync: how a replica joins the feed, proves that it missed nothing, and repairs what it missed.

Sans-I/O: `hear`, `feed`, `snapshot`, `refused` and `tick` take data and explicit time and return actions; the
shell (bus/replica.py) owns sockets and threads. docs/protocol.md section 9 is the specification.

The whole algorithm is one comparison. `_base.seq` is the position the state stands at. `_covered_from` is the
smallest number from which on everything published has been heard. If ``_covered_from <= _base.seq + 1``
nothing is missing in between, and the state may go on; else what changed since `_base.seq` is asked for.

Phases::

    JOINING --whole snapshot fits--> LIVE --hole, digest differs--> REPAIRING --repair fits--> LIVE
       ^                              |                                  |
       +------- newer epoch ----------+----------------------------------+

In JOINING and REPAIRING messages are buffered and `state`, what users see, stands still at the last position
known to be whole.

Who filters cannot know from a `cycle` message alone that he has heard all of its run: he keeps the run, and
what comes after it, until a heartbeat confirms it. `_base.seq` is then the last confirmed position; what was
streamed since is applied already, so `_applied` may be ahead of it.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from itertools import islice
from typing import Any, Final

import msgspec

from markets.errors import DecodeError

from .memory import Keeping
from .messages import (
    DECODE_FAULTS,
    RECORD_TYPES,
    TOPIC_CYCLE,
    Chunk,
    CycleEnd,
    Envelope,
    Header,
    Heartbeat,
    Quotes,
    SnapshotHead,
    decode,
    decode_map,
    matches,
    quotes_decoder,
)
from .state import Before, Changed, Group, State, Stream, decode_all

ASK_TIMEOUT_MS: Final = 2_000
ASK_TIMEOUT_MAX_MS: Final = 16_000
BEHIND_RETRY_MS: Final = 50
RETRY_MAX_MS: Final = 4_000
SILENCE_MS: Final = 3_000
WHOLES: Final = 3
WHOLES_WINDOW_MS: Final = 30_000
UNCONFIRMED_SHOW_MS: Final = 1_000
MAX_REPAIRS: Final = 2
REPAIR_EVERY_MS: Final = 100
MAX_BUFFER: Final = 400_000
IDLE_RECORDS: Final = 32


class Phase(Enum):
    JOINING = "joining"
    LIVE = "live"
    REPAIRING = "repairing"


class Ask(msgspec.Struct, frozen=True):
    """Send op `snapshot`. `since` None asks for all; else for streams with a later number, and `also`."""

    id: int
    epoch: int
    since: int | None
    also: tuple[str, ...]


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


class FeedSync:
    """The join and repair of one replica.

    Args:
        prefixes: subscribed topic prefixes; ("",) is everything. Whoever filters includes "cycle." and "hb.".
        rng: jitter of retries.
        now_ms: any steady clock, the same one passed to the methods.
        keeping: how the state keeps its records.

    Attributes:
        state: what users see; replaced as a whole on a new epoch, else changed under its lock.
        heartbeat: the last one heard, or None.
        source: "live" or "replay", as the last snapshot or heartbeat said.
        published_ns: the publisher's clock in the last message heard; in a replay this is now.
        degraded: streams whose digest still differed after MAX_REPAIRS repairs in a row.
        last_error: what was wrong with the last message that could not be decoded.
    """

    def __init__(
        self, prefixes: Sequence[str], rng: random.Random, now_ms: int, keeping: Keeping | None = None
    ) -> None:
        self.state = State()
        self._keeping = keeping
        self.phase = Phase.JOINING
        self.heartbeat: Heartbeat | None = None
        self.source = "live"
        self.published_ns = 0
        self.degraded: set[str] = set()
        self.stats = Stats()
        self.last_error = ""
        self.epoch = 0
        self.prefixes = tuple(prefixes)
        self._full = "" in self.prefixes
        self._rng = rng
        self._base: State | None = None
        self._streams: dict[bytes, Stream] = {}  # of _base, by topic
        self._last_stream: Stream | None = None
        self._covered_from: int | None = None
        self._heard = 0
        self._applied = 0
        self._confirmed = 0
        self._heard_on: dict[str, int] = {}
        self._buffer: list[tuple[str, Envelope]] = []
        self._stage: list[tuple[str, int, str, list[Any], list[msgspec.Raw]]] = []
        self._stage_cycle = 0
        self._closed: CycleEnd | None = None
        self._closed_seq = 0
        self._parts: dict[int, Heartbeat] = {}
        self._failures: dict[str, int] = {}
        self._also: tuple[str, ...] = ()
        self._ask: Ask | None = None
        self._ask_deadline_ms = 0
        self._ask_at_ms: int | None = now_ms
        self._attempt = 0
        self._next_id = 1
        self._wholes_ms: list[int] = []
        self._repaired_ms = now_ms - REPAIR_EVERY_MS
        self._heard_ms = now_ms
        self._rebuild_at_ms = now_ms + SILENCE_MS
        self._rebuild_wait_ms = SILENCE_MS
        self._lost = False
        self._older_since_ms: int | None = None
        self._candidate_ms = now_ms

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
            if envelope.kind == "quote":
                self._note_stream(topic, envelope.epoch)

    def _hear_quotes(
        self, frames: Sequence[bytes], start: int, now_ms: int, tap: Tap | None, actions: list[Action]
    ) -> int:
        """Do what `feed` would do, at a third of its cost, where nothing is out of the ordinary.

        That is: from `start` on for as long as each frame is the next streamed message of quotes, in a live
        and full replica, as by far most are. Return where it ends.
        """
        base = self._base
        if (
            base is None
            or self.phase is not Phase.LIVE
            or not self._full
            or self._lost
            or base.keep_bytes
            or self._heard != base.seq
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
        if last is not None:
            self.stats.messages += count
            self._heard = self._applied = seq
            self._heard_ms = now_ms
            self.published_ns = last.published_ns
            actions.append(Changed(seq, 0, [("quote", tickers)]))
        return start + count

    def _note_stream(self, topic: str, epoch: int) -> None:
        """Remember a stream of quotes by its topic's bytes, once it is part of the state."""
        stream = self._base.streams.get(topic) if self._base is not None and epoch == self.epoch else None
        if stream is not None:
            self._streams[topic.encode()] = stream

    def feed(self, topic: str, envelope: Envelope, now_ms: int) -> list[Action]:
        """Take one feed message; return what to do."""
        self.stats.messages += 1
        actions: list[Action] = []
        if envelope.epoch != self.epoch and not self._follow(envelope.epoch, now_ms, actions):
            return actions
        self._heard_ms = now_ms
        self.published_ns = envelope.published_ns
        if self._lost:
            self._lost = False
            self._rebuild_wait_ms = SILENCE_MS
            actions.append(Tell("found", {"epoch": self.epoch}))
        if envelope.kind == "heartbeat":
            self._on_heartbeat(envelope, now_ms, actions)
        elif self._full or topic.startswith(self.prefixes):
            self._on_message(topic, envelope, now_ms, actions)
        return actions

    def undecodable(self, error: Exception) -> None:
        """Count bytes that were no message; what they should have been shows as a gap."""
        self.stats.undecodable += 1
        self.last_error = str(error)

    def snapshot(self, id_: int, head: SnapshotHead, chunks: Iterable[Chunk], now_ms: int) -> list[Action]:
        """Take the answer to an Ask; an answer to an older one is ignored.

        `chunks` may be decoded only as they are taken, and raise DecodeError then.
        """
        actions: list[Action] = []
        ask = self._ask
        if ask is None or ask.id != id_:
            return actions
        self._ask = None
        if head.epoch > self.epoch:
            self._open(head.epoch)  # there is a newer one, whether we heard of it or not
        if head.epoch < self.epoch or (ask.since is not None and self._base is None):
            self._ask_later(now_ms)
            return actions
        try:
            done = self._install_whole(head, chunks) if ask.since is None else self._install(head, chunks)
        except DecodeError as error:
            self.undecodable(error)
            done = False
        if not done:
            self._ask_later(now_ms)
            return actions
        if ask.since is None:
            self._candidate_ms = now_ms
        self._also = ()
        self._advance(now_ms, actions)
        return actions

    def refused(self, id_: int, retry_ms: int | None, now_ms: int) -> list[Action]:
        """Take an error as the answer to an Ask: try again later."""
        ask = self._ask
        if ask is not None and ask.id == id_:
            self._forget_ask()
            self._ask_later(now_ms, retry_ms or BEHIND_RETRY_MS)
        return []

    def tick(self, now_ms: int) -> list[Action]:
        """Let time pass; call it at least every 100 ms."""
        actions: list[Action] = []
        if self._ask is not None and now_ms >= self._ask_deadline_ms:
            self._forget_ask()
            self._attempt += 1
            self._ask_at_ms = now_ms
        if self._ask is None and self._ask_at_ms is not None and now_ms >= self._ask_at_ms:
            self._send_ask(now_ms, actions)
        if now_ms - self._heard_ms >= SILENCE_MS:
            if not self._lost:
                self._lost = True
                self._rebuild_at_ms = now_ms
                actions.append(Tell("lost", {"silent_ms": now_ms - self._heard_ms}))
            if now_ms >= self._rebuild_at_ms:
                self._rebuild_at_ms = now_ms + self._rebuild_wait_ms
                self._rebuild_wait_ms = min(2 * self._rebuild_wait_ms, 10 * SILENCE_MS)
                actions.append(Rebuild())
        if (
            self.phase is Phase.JOINING
            and self._base is not None
            and self._base is not self.state
            and self._covered_from is None
            and now_ms - self._candidate_ms >= UNCONFIRMED_SHOW_MS
            and self._base.epoch >= self.state.epoch
        ):
            # No feed to confirm it by: old data with its true age is better than none.
            self.state = self._base
            actions.append(Tell("epoch", {"epoch": self.state.epoch, "confirmed": False}))
        return actions

    def idle(self) -> None:
        """Use a moment in which nothing is to be heard: hash the last quotes, before a heartbeat needs it."""
        stream, self._last_stream = self._last_stream, None
        if stream is not None and self._base is not None:
            with self._base.lock:
                self._base.settle(stream, IDLE_RECORDS)

    @property
    def asking(self) -> bool:
        """Whether an answer is awaited."""
        return self._ask is not None

    @property
    def lost(self) -> bool:
        """Whether the feed has been silent for SILENCE_MS or more."""
        return self._lost

    # -- epochs

    def _follow(self, epoch: int, now_ms: int, actions: list[Action]) -> bool:
        if epoch < self.epoch:
            self.stats.old_epoch += 1
            if self._older_since_ms is None:
                self._older_since_ms = now_ms
            quiet = now_ms - max(self._heard_ms, self._older_since_ms)
            if quiet < SILENCE_MS:
                return False
        first_asked = not self.epoch and self._ask is not None
        self._open(epoch)
        if not first_asked:
            self._ask = None
            self._send_ask(now_ms, actions)
        return True

    def _open(self, epoch: int) -> None:
        """Begin a new join; what users see stays until it is whole."""
        self.stats.epochs += 1
        self.epoch = epoch
        self.phase = Phase.JOINING
        self.degraded = set()
        self._older_since_ms = None
        self._base = None
        self._streams = {}
        self._last_stream = None
        self._covered_from = None
        self._heard = self._applied = self._confirmed = 0
        self._heard_on = {}
        self._buffer = []
        self._drop_stage()
        self._parts = {}
        self._failures = {}
        self._also = ()
        self._attempt = 0

    # -- hearing

    def _on_message(self, topic: str, envelope: Envelope, now_ms: int, actions: list[Action]) -> None:
        if not (self._track(envelope.seq) if self._full else self._track_on(topic, envelope)):
            self.stats.duplicates += 1
            return
        if self.phase is Phase.LIVE and self._closed is None and self._covers():
            self._apply(topic, envelope, actions)
        else:
            self._hold(topic, envelope)
        self._advance(now_ms, actions)

    def _track(self, seq: int) -> bool:
        """Note a number heard by a subscriber of everything; tell whether it is new."""
        if self._covered_from is None:
            self._covered_from = seq
        elif seq <= self._heard:
            return False
        elif seq != self._heard + 1:
            self._covered_from = seq
        self._heard = seq
        return True

    def _track_on(self, topic: str, envelope: Envelope) -> bool:
        """Note a number heard by one who filters, who knows of a hole by `prev` and by order."""
        seq, prev = envelope.seq, envelope.prev
        if seq <= self._heard_on.get(topic, 0):
            return False
        if self._covered_from is None:
            self._covered_from = seq
        elif seq < self._heard:
            # Out of order: the run it belongs to may be closed already.
            self._covered_from = self._heard + 1
        elif prev > self._heard_on.get(topic, 0) and prev >= self._covered_from:
            self._covered_from = prev + 1
        self._heard_on[topic] = seq
        self._heard = max(self._heard, seq)
        return True

    def _on_heartbeat(self, envelope: Envelope, now_ms: int, actions: list[Action]) -> None:
        try:
            heartbeat = decode_map(envelope.records[0], Heartbeat) if envelope.records else None
        except DecodeError:
            heartbeat = None
        if heartbeat is None:
            self.stats.undecodable += 1
            return
        whole = self._assemble(heartbeat)
        if whole is None:
            return
        self.heartbeat = whole
        self.source = whole.source
        seq = whole.seq
        if self._covered_from is None:
            self._covered_from = seq + 1
            self._heard = seq
        elif seq < self._heard:
            return
        elif self._full:
            if seq > self._heard:
                self._covered_from = seq + 1
                self._heard = seq
        else:
            self._check_window(whole)
        self._confirmed = max(self._confirmed, seq)
        if self.phase is Phase.LIVE and self._covers():
            self._on_confirmed(whole, actions)
        self._advance(now_ms, actions)

    def _assemble(self, heartbeat: Heartbeat) -> Heartbeat | None:
        if heartbeat.parts == 1:
            self._parts = {}
            return heartbeat
        if any(part.seq != heartbeat.seq or part.parts != heartbeat.parts for part in self._parts.values()):
            self._parts = {}
        self._parts[heartbeat.part] = heartbeat
        if len(self._parts) < heartbeat.parts:
            return None
        streams: dict[str, tuple[int, int, int, int, int]] = {}
        since = 0
        for part in self._parts.values():
            since = max(since, part.since)  # parts of two beats of one position: the narrower window holds
            streams.update(part.streams)
        self._parts = {}
        return msgspec.structs.replace(heartbeat, since=since, streams=streams, part=0, parts=1)

    def _check_window(self, heartbeat: Heartbeat) -> None:
        """Compare what one who filters heard with what a complete heartbeat says was sent."""
        covered = self._covered_from or 0
        if heartbeat.since > self._confirmed:
            covered = max(covered, heartbeat.since + 1)
        for topic, (last, *_) in heartbeat.streams.items():
            if last > self._heard_on.get(topic, 0) and last >= covered and matches(topic, self.prefixes):
                covered = last + 1
        self._covered_from = covered
        self._heard = max(self._heard, heartbeat.seq)

    def _on_confirmed(self, heartbeat: Heartbeat, actions: list[Action]) -> None:
        """In LIVE, with nothing missing through the heartbeat's position: swap, compare."""
        assert self._base is not None
        if not self._full:
            while self._closed is not None:
                self._swap_closed(actions)
                self._apply_held(actions)
            if self.phase is not Phase.LIVE:
                return
            with self._base.lock:
                self._base.seq = max(self._base.seq, heartbeat.seq)
        differing = self._differing(heartbeat) if heartbeat.seq == self._base.seq else []
        if not differing:
            return
        self.stats.digest_mismatches += len(differing)
        repairable: list[str] = []
        for topic in differing:
            self._failures[topic] = self._failures.get(topic, 0) + 1
            if self._failures[topic] <= MAX_REPAIRS:
                repairable.append(topic)
            elif topic not in self.degraded:
                self.degraded.add(topic)
                actions.append(Tell("degraded", {"topic": topic, "seq": heartbeat.seq}))
        if repairable:
            self._also = tuple(repairable)
            self._start_repair("digest", actions)

    def _differing(self, heartbeat: Heartbeat) -> list[str]:
        assert self._base is not None
        differing = []
        for topic, position in heartbeat.streams.items():
            if not matches(topic, self.prefixes) or topic not in self._base.streams:
                if matches(topic, self.prefixes) and any(position[1:]):
                    differing.append(topic)
                continue
            self.stats.digests_compared += 1
            if self._base.position(topic) == position:
                self._failures.pop(topic, None)
                self.degraded.discard(topic)
            else:
                differing.append(topic)
        return differing

    # -- moving on

    def _covers(self) -> bool:
        """Tell whether everything after the state's position was heard."""
        return (
            self._base is not None
            and self._covered_from is not None
            and self._covered_from <= self._base.seq + 1
        )

    def _advance(self, now_ms: int, actions: list[Action]) -> None:
        if self._covers():
            if self.phase is not Phase.LIVE:
                self._go_live(now_ms, actions)
        elif self._base is not None and self._covered_from is not None:
            if self.phase is Phase.LIVE:
                self._start_repair("missing", actions)
            if self._ask is None and self._ask_at_ms is None:
                self._ask_at_ms = now_ms + self._behind_wait()
        if self._ask is None and self._ask_at_ms is not None and now_ms >= self._ask_at_ms:
            self._send_ask(now_ms, actions)

    def _go_live(self, now_ms: int, actions: list[Action]) -> None:
        assert self._base is not None
        if self._also:
            return
        joined = self.phase is Phase.JOINING
        self.phase = Phase.LIVE
        self._attempt = 0
        self._ask_at_ms = None
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
        self.phase = Phase.REPAIRING
        self.stats.gaps += 1
        self._drop_stage()
        self._ask = None
        # A line that keeps losing must not make its server answer all the time.
        self._ask_at_ms = max(self._heard_ms, self._repaired_ms + REPAIR_EVERY_MS)
        self._repaired_ms = self._ask_at_ms
        self._attempt = 0
        actions.append(
            Tell("gap", {"why": why, "seq": self._base.seq, "heard": self._heard, "topics": self._also})
        )

    def _hold(self, topic: str, envelope: Envelope) -> None:
        self._buffer.append((topic, envelope))
        if len(self._buffer) > MAX_BUFFER:
            # Forgetting what was heard is a hole like any other.
            self._buffer = []
            self._covered_from = self._heard + 1

    # -- applying

    def _apply(self, topic: str, envelope: Envelope, actions: list[Action]) -> None:
        base = self._base
        assert base is not None
        kind = envelope.kind
        if envelope.seq <= base.seq:
            return  # the snapshot was ahead of the feed and has it already
        if self._stage and envelope.cycle != self._stage_cycle:
            # Nothing is published between a run and its end: the end was lost, and who filters sees it only
            # here.
            self._covered_from = envelope.seq
            self._start_repair("missing", actions)
            self._hold(topic, envelope)
            return
        try:
            if kind == "cycle":
                self._close_cycle(envelope, actions)
            elif envelope.cycle:
                self._stage_message(topic, envelope)
            else:
                with base.lock:
                    changed = base.apply(topic, envelope.seq, kind, envelope.records)
                    self._applied = envelope.seq
                    if self._full:
                        base.seq = envelope.seq
                if kind not in RECORD_TYPES:
                    self.stats.unknown_kinds += 1
                actions.append(Changed(envelope.seq, 0, changed))
        except DecodeError:
            self.stats.undecodable += 1
            self._covered_from = envelope.seq + 1
            self._start_repair("undecodable", actions)

    def _apply_held(self, actions: list[Action]) -> None:
        """In LIVE, apply what was held, up to where it has to wait again."""
        held, self._buffer = self._buffer, []
        for index, (topic, envelope) in enumerate(held):
            if self._closed is not None or self.phase is not Phase.LIVE:
                self._buffer += held[index:]
                return
            self._apply(topic, envelope, actions)

    def _stage_message(self, topic: str, envelope: Envelope) -> None:
        if envelope.kind not in RECORD_TYPES:
            self.stats.unknown_kinds += 1
            records: list[Any] = []
        else:
            records = decode_all(envelope.kind, envelope.records)
        self._stage_cycle = envelope.cycle
        self._stage.append((topic, envelope.seq, envelope.kind, records, envelope.records))

    def _close_cycle(self, envelope: Envelope, actions: list[Action]) -> None:
        if not envelope.records:
            raise DecodeError("cycle: got no record, expected one map")
        self._closed = decode_map(envelope.records[0], CycleEnd)
        self._closed_seq = envelope.seq
        if self._full:
            self._swap_closed(actions)

    def _swap_closed(self, actions: list[Action]) -> None:
        """Apply the staged run as one swap."""
        cycle, base = self._closed, self._base
        if cycle is None or base is None:
            return
        changed: list[Group] = []
        with base.lock:
            for topic, seq, kind, records, raws in self._stage:
                if kind in RECORD_TYPES:
                    changed += base.put(topic, seq, kind, records, raws)
                else:
                    base.stream(topic).last = seq
            base.stream(TOPIC_CYCLE).last = self._closed_seq
            base.end_cycle(cycle)
            base.seq = self._applied = self._closed_seq
        self._drop_stage()
        actions.append(Changed(base.seq, cycle.cycle, changed))

    def _drop_stage(self) -> None:
        self._stage = []
        self._closed = None

    # -- snapshots

    def _install_whole(self, head: SnapshotHead, chunks: Iterable[Chunk]) -> bool:
        base = State(head.epoch, self._keeping)
        before = Before(self.state) if self.state.epoch else None
        base.expect_fields(head.fields)
        for topic, last in head.streams.items():
            base.stream(topic).last = last
        for chunk in chunks:
            base.put_chunk(chunk, before)
        base.seq = head.as_of
        base.set_cycle(head.cycle, head.ages)
        self._base = base
        self._streams = {}
        self._last_stream = None
        self._note_position(head)
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
                    base.put(chunk.topic, chunk.last, kind, records, raws)
            base.set_cycle(head.cycle, head.ages)
            base.seq = head.as_of
        self._note_position(head)
        return True

    def _note_position(self, head: SnapshotHead) -> None:
        """After an install at `as_of`, what was lost before it no longer matters."""
        self.source = head.source
        self._applied = head.as_of
        if self._full:
            return
        for topic, last in head.streams.items():
            if last > self._heard_on.get(topic, 0):
                self._heard_on[topic] = last
        self._confirmed = max(self._confirmed, head.as_of)

    def _send_ask(self, now_ms: int, actions: list[Action]) -> None:
        since = None if self._base is None else self._base.seq
        if since is None:
            # A publisher that keeps restarting must not make every replica fetch the whole each time.
            self._wholes_ms = [at for at in self._wholes_ms if at > now_ms - WHOLES_WINDOW_MS]
            if len(self._wholes_ms) >= WHOLES:
                self._ask_at_ms = self._wholes_ms[0] + WHOLES_WINDOW_MS + self._rng.randrange(1_000)
                return
            self._wholes_ms.append(now_ms)
        timeout = min(ASK_TIMEOUT_MS * 2 ** min(self._attempt, 6), ASK_TIMEOUT_MAX_MS)
        self._ask = Ask(self._next_id, self.epoch, since, self._also)
        self._next_id += 1
        self._ask_deadline_ms = now_ms + timeout + self._rng.randrange(timeout // 4)
        self._ask_at_ms = None
        self.stats.asks += 1
        actions.append(self._ask)

    def _forget_ask(self) -> None:
        """Give up an Ask that brought nothing; a whole snapshot that did not come does not count."""
        if self._ask is not None and self._ask.since is None:
            self._wholes_ms.pop()
        self._ask = None

    def _ask_later(self, now_ms: int, retry_ms: int = BEHIND_RETRY_MS) -> None:
        self._ask_at_ms = now_ms + self._behind_wait(retry_ms)

    def _behind_wait(self, retry_ms: int = BEHIND_RETRY_MS) -> int:
        wait: int = min(retry_ms * 2 ** min(self._attempt, 8), RETRY_MAX_MS)
        self._attempt += 1
        return wait + self._rng.randrange(wait)


def known(chunk: Chunk) -> list[tuple[str, list[msgspec.Raw]]]:
    """Return the parts of a chunk whose kind this build knows."""
    return [(kind, raws) for kind, raws in chunk.content if kind in RECORD_TYPES]
