"""Tape: a recording as states, changes and times, read in-process: no thread, no socket, no clock.

`TapeReader` turns the file into what was said, complete and in order: states to begin from, and after each
the messages and commits that follow it without a hole. Two things play that: `Tape`, for programs that want
the recording itself, and bus/tape/player.py, for those that want it through sockets and at a pace. Both give
the same, message by message: docs/recording.md.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import msgspec

from bus.clock import Rng
from bus.protocol.asks import Ask
from bus.protocol.join import Action, FeedSync, ReplicaStatus
from bus.protocol.memory import Keeping
from bus.protocol.messages import (
    VERSION,
    Chunk,
    Envelope,
    Heartbeat,
    PublisherHealth,
    SnapshotHead,
    decode,
    decode_at_once,
    decode_control,
    framed,
)
from bus.protocol.state import State
from bus.protocol.writer import Relayed, Writer, records_of
from bus.threads import assert_held
from markets.errors import DecodeError

from .certificate import SILENCE_NS
from .file import Frame, Keyframe, Recording

_EPOCH_AT: Final = 3
"""Where the epoch's eight bytes begin in a frame, after topic and zero: after array, version, uint64 mark."""

_APART_MS: Final = 60_000
"""How far apart a tape's openings seem to its FeedSync: far enough that it holds none of them back."""


class Opening(msgspec.Struct, frozen=True, gc=False):
    """From `at_ns` on this state is being played, and what follows goes on from it.

    Attributes:
        recorded_epoch: its epoch when it was recorded.
    """

    at_ns: int
    writer: Writer
    recorded_epoch: int


class Run(msgspec.Struct, frozen=True, gc=False):
    """What applies together: one streamed message, a whole commit, or one heartbeat.

    Attributes:
        time_ns, end_ns: when its first and its last message were published.
        frames: the messages as recorded.
        messages: the same, decoded, as `Writer.relay` takes them; none for a heartbeat.
        heartbeat: that of a heartbeat, else None.
    """

    time_ns: int
    end_ns: int
    frames: Sequence[bytes]
    messages: Sequence[Relayed]
    heartbeat: Heartbeat | None


class Tally:
    """What has been played, and how well it agrees with what was recorded.

    Attributes:
        messages, records: how many were played.
        holes: places where messages are missing in the recording, or cannot be read.
        gaps: the times (begin_ns, end_ns) of which nothing is known: until a new state after a hole or in a
            new epoch, and while the publisher was silent. One that ends before it begins is where time goes
            back.
        checked, mismatches: recorded digests that were compared, and those that differed: 0 in a good
            recording.
        health: the publisher's account of itself at this point of the recording.
    """

    def __init__(self) -> None:
        self.messages = 0
        self.records = 0
        self.holes = 0
        self.gaps: list[tuple[int, int]] = []
        self.checked = 0
        self.mismatches = 0
        self.health = PublisherHealth(sweep="replay", exchange_reachable=True)

    def take(self, writer: Writer, run: Run) -> list[str]:
        """Apply a run to the state, whose lock the caller holds; return the topics whose digests differ."""
        assert_held(writer.state.lock)
        if run.heartbeat is not None:
            return self.compare(writer.state, run.heartbeat)
        writer.relay(run.messages)
        self.records += sum([len(message.records) for _, message, _ in run.messages])
        return []

    def compare(self, state: State, heartbeat: Heartbeat) -> list[str]:
        """Compare a state with a recorded heartbeat; return the topics whose digests differ."""
        self.health = heartbeat.publisher
        state.stream_since_ms = self.health.stream_since_ms
        if heartbeat.seq != state.seq:
            return []
        differing = [
            topic
            for topic, position in heartbeat.streams.items()
            if topic not in state.streams or state.position(topic) != position
        ]
        self.checked += len(heartbeat.streams)
        self.mismatches += len(differing)
        return differing


class TapeReader:
    """The content of a recording from `from_ns` to `to_ns`, each thing once and in order.

    Yields an Opening, then the Runs that follow it without a hole; another Opening wherever what follows does
    not go on from there: after a hole, and where another epoch was recorded. What lies between the keyframe
    that a state is loaded from and its opening is applied to it silently.

    Args:
        places: the recording's keyframes; it begins with the last one not later than `from_ns`.
        from_ns: the first opening is at the first message from then on; None: at the first keyframe, and each
            opening at its own.
        to_ns: None: to the end.
        chosen: returns the part of a keyframe to be loaded; by default all of it.
        keeping: returns, for each state, how it keeps its records; by default as they came.
    """

    def __init__(
        self,
        recording: Recording,
        places: Iterable[tuple[int, int]],
        tally: Tally,
        from_ns: int | None,
        to_ns: int | None = None,
        chosen: Callable[[Keyframe], Iterable[Chunk]] = Keyframe.decoded,
        keeping: Callable[[], Keeping | None] = lambda: None,
    ) -> None:
        self._chosen = chosen
        self._keeping = keeping
        self._recording = recording
        self._offset = max(
            (place for time_ns, place in places if from_ns is None or time_ns <= from_ns), default=0
        )
        self._tally = tally
        self._at_keyframes = from_ns is None
        self._target_ns = from_ns or 0
        self._to_ns = to_ns
        self._writer: Writer | None = None
        self._opened = self._shown = False
        self._keep_bytes = False
        self._epoch = 0
        self._at_ns = 0
        self._expected = -1
        self._run: list[tuple[int, bytes, Relayed]] = []

    def __iter__(self) -> Iterator[Opening | Run]:
        for item in self._recording.play(self._offset):
            if self._to_ns is not None and item.time_ns > self._to_ns:
                break
            if isinstance(item, Keyframe):
                if not self._is_played(item):
                    self._load(item)
                continue
            run = self._hear(item)
            if run is None:
                continue
            if run.time_ns - self._at_ns > SILENCE_NS:
                self._tally.gaps.append((self._at_ns, run.time_ns))
            if run.time_ns >= self._target_ns:
                yield from self._open()
            if self._opened:
                yield run
            elif self._writer is not None:
                with self._writer.state.lock:
                    self._tally.take(self._writer, run)
            self._at_ns = max(self._at_ns, run.end_ns)
        yield from self._open()

    def _open(self) -> Iterator[Opening]:
        """Show the loaded state, if it has not been shown."""
        if self._writer is not None and not self._opened:
            self._opened = self._shown = True
            yield Opening(self._at_ns, self._writer, self._epoch)
            self._writer = None  # it belongs to the reader now, which releases it when it likes

    def _is_played(self, keyframe: Keyframe) -> bool:
        """Whether what was read is already past this keyframe; if not, count the hole that it closes."""
        if keyframe.head.epoch != self._epoch or self._expected < 0:
            return False
        if keyframe.head.as_of < self._expected:
            return True
        self._tally.holes += 1
        return False

    def _load(self, keyframe: Keyframe) -> None:
        """Take the keyframe's position, with an epoch that must be set by whoever shows the state."""
        head = keyframe.head
        writer = Writer(head.epoch, "replay")
        state = writer.state = State(head.epoch, self._keeping())
        state.expect_fields(head.fields)
        for topic, last in head.streams.items():
            state.stream(topic).last = last
        self._run = []
        try:
            with state.lock:
                for chunk in self._chosen(keyframe):
                    state.put_chunk(chunk)
                state.set_cycle(head.cycle, head.ages)
        except DecodeError:
            self._lose()
            return
        state.seq = head.as_of
        self._writer, self._opened = writer, False
        self._keep_bytes = state.keep_bytes
        self._epoch, self._expected = head.epoch, head.as_of + 1
        if self._at_ns:
            self._tally.gaps.append((self._at_ns, keyframe.time_ns))
        self._at_ns = keyframe.time_ns
        if not self._at_keyframes:
            self._target_ns = keyframe.time_ns if self._shown else max(self._target_ns, keyframe.time_ns)

    def _hear(self, frame: Frame) -> Run | None:
        """Return what this frame completes, None if nothing."""
        try:
            topic, message = decode(frame.data) if self._keep_bytes else decode_at_once(frame.data)
        except DecodeError:
            return None  # what it should have been shows as a hole
        if self._expected < 0 or message.epoch != self._epoch:
            return None
        if isinstance(message, Envelope) and message.kind == "heartbeat":
            return self._heartbeat(frame, message)
        if message.seq != self._expected:
            if message.seq > self._expected:
                self._lose()
            return None
        self._expected += 1
        run = self._run
        if run and message.cycle != run[0][2][1].cycle:
            self._lose()  # nothing is published between a commit and its end, so the end is missing
            return None
        try:
            told = (topic, message, records_of(message))
        except DecodeError:
            self._lose()
            return None
        if not message.cycle:  # it is complete by itself
            return Run(frame.time_ns, frame.time_ns, (frame.data,), (told,), None)
        run.append((frame.time_ns, frame.data, told))
        if message.kind != "cycle":
            return None
        self._run = []
        return Run(run[0][0], frame.time_ns, [data for _, data, _ in run], [told for *_, told in run], None)

    def _heartbeat(self, frame: Frame, message: Envelope) -> Run | None:
        if message.seq < self._expected - 1 or self._run:
            return None  # from before a keyframe, written again after it
        try:
            heartbeat = decode_control(message, Heartbeat)
        except DecodeError:
            return None
        return Run(frame.time_ns, frame.time_ns, (frame.data,), (), heartbeat)

    def _lose(self) -> None:
        """Go on from the next keyframe only."""
        self._tally.holes += 1
        self._expected, self._run = -1, []


class Moment(msgspec.Struct, frozen=True, gc=False):
    """What one message did (Changed, Tell; nothing, for part of a commit), and its time, ns since 1970."""

    actions: Sequence[Action]
    now_ns: int


class Tape:
    """A recording as a replica would hear it, moment by moment: iterate once.

    The moments are those that a SteppedReplica gets from a Player of the same recording, at any speed, if it
    joined before the Player started: docs/recording.md says how far that holds at holes.

    Args:
        epoch: the first state gets a larger one, as from a Player.
        from_ms, to_ms: what part of the recording; None: all of it.
        keeping: how the state keeps its records; by default as they came.

    Attributes:
        tally: what has been played, and how well it agrees with what was recorded.
        now_ns: the time of the last moment; 0 before the first.
    """

    def __init__(
        self,
        recording: Recording,
        epoch: int,
        from_ms: int | None = None,
        to_ms: int | None = None,
        keeping: Keeping | None = None,
    ) -> None:
        self.tally = Tally()
        self.now_ns = 0
        places = recording.keyframes()
        self._reading = TapeReader(recording, places, self.tally, _ns(from_ms) or 0, _ns(to_ms))
        self._sync = FeedSync(("",), Rng(0), 0, keeping)
        self._epoch = epoch
        self._recorded_epoch = 0
        self._steady_ms = 0

    @property
    def state(self) -> State:
        """The state after the last moment."""
        return self._sync.state

    def status(self) -> ReplicaStatus:
        """Return the tape's position after the last moment."""
        return self._sync.status(self.now_ns // 1_000_000)

    def __iter__(self) -> Iterator[Moment]:
        for part in self._reading:
            if isinstance(part, Opening):
                yield from self._open(part)
            elif part.heartbeat is not None:
                with self.state.lock:
                    self.tally.compare(self.state, part.heartbeat)
            else:
                yield from self._play(part)

    def _play(self, run: Run) -> Iterator[Moment]:
        for data, (_, message, records) in zip(run.frames, run.messages, strict=True):
            actions = self._sync.hear((renumbered(data, self._epoch),), self._steady_ms)
            self.tally.messages += 1
            self.tally.records += len(records)
            self.now_ns = message.published_ns
            yield Moment(actions, self.now_ns)

    def _open(self, opening: Opening) -> Iterator[Moment]:
        """Have the sync hear of a state and ask for it, as it would with a publisher."""
        sync, state = self._sync, opening.writer.state
        if opening.recorded_epoch != self._recorded_epoch or state.seq < sync.state.seq:
            self._epoch += 1
        self._recorded_epoch, state.epoch = opening.recorded_epoch, self._epoch
        self._steady_ms += _APART_MS
        beat = opening.writer.heartbeat(self.tally.health, opening.at_ns)
        actions = sync.hear(beat, self._steady_ms)
        while actions:
            self.now_ns = opening.at_ns
            yield Moment([action for action in actions if not isinstance(action, Ask)], self.now_ns)
            asks = [action for action in actions if isinstance(action, Ask)]
            actions = [action for ask in asks for action in self._answer(ask, opening)]

    def _answer(self, ask: Ask, opening: Opening) -> list[Action]:
        state = opening.writer.state
        wanted = [
            topic
            for topic, stream in state.streams.items()
            if ask.since is None or stream.last > ask.since or topic in ask.also
        ]
        head = SnapshotHead(
            epoch=state.epoch,
            as_of=state.seq,
            streams={topic: state.streams[topic].last for topic in wanted},
            chunks=0,  # only a sender counts them
            now_ms=opening.at_ns // 1_000_000,
            cycle=state.cycle,
            source="replay",
            fields=state.fields,
            ages=state.ages,
        )
        chunks = (chunk for topic in wanted for chunk in state.chunk(topic))
        return self._sync.snapshot(ask.id, head, chunks, self._steady_ms)


def messages(recording: Recording, place: int = 0) -> Iterator[tuple[str, Envelope]]:
    """Yield (topic, envelope) of every message from a keyframe's place on, once and in order."""
    seen = (0, 0)
    for item in recording.play(place):
        if not isinstance(item, Frame):
            continue
        try:
            topic, envelope = decode(item.data)
        except DecodeError:
            continue
        if envelope.kind != "heartbeat" and (envelope.epoch, envelope.seq) > seen:
            seen = (envelope.epoch, envelope.seq)
            yield topic, envelope


def renumbered(data: bytes, epoch: int) -> bytes:
    """Return a recorded frame with another epoch."""
    at = data.index(b"\x00") + 1 + _EPOCH_AT
    if data[at - 3 : at] == b"\x99\x01\xcf":
        return b"".join((data[:at], epoch.to_bytes(8, "big"), data[at + 8 :]))
    topic, envelope = decode(data)
    return framed(topic, msgspec.structs.replace(envelope, version=VERSION, epoch=epoch))


def _ns(ms: int | None) -> int | None:
    return None if ms is None else ms * 1_000_000
