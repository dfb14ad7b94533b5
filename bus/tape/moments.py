"""Any moment of a recording, as it was: the state at a position or an instant. docs/recording.md.

No thread, no socket. The keyframe before the moment is loaded, and what was said since is applied: either
everything, or only the streams that name certain markets.
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

import msgspec

from bus.protocol.memory import Keeping, Packed
from bus.protocol.messages import (
    MAX_CHUNK,
    TOPIC_EX,
    TOPIC_REF,
    Chunk,
    PublisherHealth,
    decode_chunk,
    unpack,
)
from bus.protocol.state import State
from bus.protocol.writer import Writer
from markets.errors import BadRecord, KalshiBusError

from .certificate import Gap, KeyframeMark, Range, SegmentHead, between
from .file import NUMBER_BITS, Keyframe, Recording, certificate_of, head_of
from .tape import Opening, Run, Tally, TapeReader


class Position(NamedTuple):
    """A message, by its number."""

    epoch: int
    seq: int


At = int | Position
"""An instant, ns since 1970, or a position."""


class NotRecorded(KalshiBusError):
    """A moment that is not in the recording.

    Attributes:
        code: "before_begin", "after_end" or "in_gap".
    """

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


class Then(msgspec.Struct, frozen=True):
    """The state at a moment.

    Attributes:
        state: the state, with its recorded epoch, without what was not asked for.
        published_ns: when the last message in it was published, heartbeats included.
        health: the publisher's account of itself.
    """

    state: State
    published_ns: int
    health: PublisherHealth


class Moments:
    """A recording to ask for moments; meanwhile it may grow, and lose its beginning."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self._marks: dict[int, list[KeyframeMark]] = {}
        self._closed: set[int] = set()
        self._reached: dict[int, int] = {}
        self._heads: dict[int, SegmentHead | None] = {}

    def span(self) -> tuple[int, int]:
        """Return the time of the first and of the last moment, ns since 1970; (0, 0) if there are none."""
        marks = self._look()
        return (marks[0].time_ns, self.recording.end_ns) if marks else (0, 0)

    def at(self, at: At, named: Collection[str] | None = None) -> Then:
        """Return the state at a moment.

        Args:
            named: tickers of markets or events, or topics (``md.SERIES.``): only streams that name one of
                them are included, with all reference data. None: everything.

        Raises:
            NotRecorded: the moment is not in the recording.
            OSError: the recording cannot be read.
        """
        mark = self._before(at, self._look())
        chosen = _Chosen(named) if named is not None else None
        tally = Tally()
        reader = TapeReader(
            self.recording,
            [(mark.time_ns, mark.offset)],
            tally,
            None,
            chosen=chosen.chunks if chosen is not None else Keyframe.decoded,
            keeping=_keeping if named is None else lambda: None,
        )
        writer: Writer | None = None
        last_ns = 0
        for part in reader:
            if isinstance(part, Opening):
                if writer is not None:
                    self._not_in_a_gap(at, mark, writer.state, last_ns, part)
                    break
                writer, last_ns = part.writer, part.at_ns
                continue
            assert writer is not None
            if _is_later(part, at):
                break
            with writer.state.lock:
                _apply(writer, part, chosen, tally)
            last_ns = max(last_ns, part.end_ns)
            if isinstance(at, Position) and writer.state.seq >= at.seq:
                break
        else:
            if writer is None or not _is_there(at, writer.state, last_ns):
                raise NotRecorded(
                    "after_end", f"at: {said(at)}: the last moment recorded is {moment(last_ns)}"
                )
        assert writer is not None
        return Then(writer.state, last_ns, tally.health)

    def _look(self) -> list[KeyframeMark]:
        """Return all keyframes that exist at present."""
        numbers = self.recording.segments()
        for number in numbers:
            try:
                head = head_of(self.recording.segment(number))
                if self._heads.setdefault(number, head) != head:  # another recording has taken its place
                    self._closed.discard(number)
                    self._marks.pop(number, None)
                    self._reached.pop(number, None)
                    self._heads[number] = head
                if number in self._closed:
                    continue
                certificate = certificate_of(self.recording.segment(number)) if number else None
                if certificate is not None:
                    self._closed.add(number)
                    self._marks[number] = [
                        self.recording.placed(number, mark) for mark in certificate.keyframes
                    ]
                    self.recording.end_ns = max(self.recording.end_ns, certificate.end_ns)
                    continue
                found, self._reached[number] = self.recording.look(number, self._reached.get(number, 0))
            except FileNotFoundError:
                continue
            self._marks.setdefault(number, []).extend(found)
        for gone in self._marks.keys() - numbers:
            del self._marks[gone]
        return [mark for number in numbers for mark in self._marks.get(number, ())]

    def _before(self, at: At, marks: Sequence[KeyframeMark]) -> KeyframeMark:
        """Return the last keyframe not later than a moment."""
        if not marks:
            raise NotRecorded("before_begin", "at: nothing has been recorded yet")
        if isinstance(at, int):
            found = [mark for mark in marks if mark.time_ns <= at]
        else:
            marks = [mark if mark.epoch else self._read(mark) for mark in marks]
            # Rather an earlier one, so that the message itself is heard, and with it its time.
            found = [mark for mark in marks if (mark.epoch, mark.as_of) < at]
            if not found or found[-1].epoch != at.epoch:
                found = [mark for mark in marks if (mark.epoch, mark.as_of) <= at]
        first = marks[0]
        if not found:
            begin = f"{moment(first.time_ns)}, {first.epoch}:{first.as_of}"
            raise NotRecorded("before_begin", f"at: {said(at)}: the recording begins at {begin}")
        mark = found[-1]
        if isinstance(at, Position) and mark.epoch != at.epoch:
            later = next((one for one in marks if one.epoch >= at.epoch), None)
            if later is None:
                end = moment(self.recording.end_ns)
                raise NotRecorded(
                    "after_end", f"at: {said(at)}: the last moment recorded, {end}, is before it"
                )
            why = f"the recorder has of epoch {at.epoch} nothing" + (
                f" before number {later.as_of}" if later.epoch == at.epoch else ""
            )
            raise NotRecorded("in_gap", f"at: {said(at)}: {why}")
        return mark

    def _read(self, mark: KeyframeMark) -> KeyframeMark:
        """Return a keyframe, of which only the place is known, with its position."""
        for item in self.recording.play(mark.offset):
            if isinstance(item, Keyframe):
                return msgspec.structs.replace(mark, epoch=item.head.epoch, as_of=item.head.as_of)
        return mark

    def _not_in_a_gap(self, at: At, mark: KeyframeMark, state: State, last_ns: int, opening: Opening) -> None:
        """Refuse a moment after the last message and before a state that does not go on from it."""
        if _is_there(at, state, last_ns):
            return
        found = KeyframeMark(opening.at_ns, opening.recorded_epoch, opening.writer.state.seq)
        gap = between(
            Range(state.epoch, 0, state.seq, last_ns, last_ns), found, self._is_continued(mark, opening.at_ns)
        )
        if gap.whose == "recorder" or isinstance(at, Position):
            raise NotRecorded("in_gap", f"at: {said(at)}: {gap_said(gap)}")

    def _is_continued(self, mark: KeyframeMark, time_ns: int) -> bool:
        """Tell whether one recorder heard both this keyframe and what was recorded at `time_ns`."""
        number = mark.offset >> NUMBER_BITS
        for later in self.recording.segments():
            if later <= number:
                continue
            marks = self._marks.get(later, ())
            if marks and marks[0].time_ns > time_ns:
                break
            head = head_of(self.recording.segment(later))
            if head is None or not head.continues:
                return False
        return True


class _Chosen:
    """Which streams are wanted: those that name something, and reference data."""

    def __init__(self, named: Collection[str]) -> None:
        self._named = [name.encode() for name in named]
        self._topics = {TOPIC_REF, TOPIC_EX, *named}

    def chunks(self, keyframe: Keyframe) -> Iterator[Chunk]:
        """Yield the wanted chunks of a keyframe."""
        bodies = [unpack(packed, MAX_CHUNK) for packed in keyframe.chunks]
        chunks = [decode_chunk(body) for body in bodies]
        for body, chunk in zip(bodies, chunks, strict=True):
            if chunk.topic not in self._topics and self._is_named(body):
                self._topics.add(chunk.topic)
        return (chunk for chunk in chunks if chunk.topic in self._topics)

    def has(self, topic: str, data: bytes) -> bool:
        """Tell whether a message is wanted."""
        if topic in self._topics:
            return True
        if self._is_named(data):  # the market has moved there, or is new
            self._topics.add(topic)
            return True
        return False

    def _is_named(self, body: bytes) -> bool:
        return any(name in body for name in self._named)


def _apply(writer: Writer, run: Run, chosen: _Chosen | None, tally: Tally) -> None:
    state = writer.state
    if run.heartbeat is not None:
        tally.health = run.heartbeat.publisher
        state.stream_since_ms = tally.health.stream_since_ms
        return
    told = run.messages
    if chosen is not None:
        told = [
            one
            for one, data in zip(run.messages, run.frames, strict=True)
            if one[1].kind == "cycle" or chosen.has(one[0], data)
        ]
    writer.relay(told)
    state.seq = run.messages[-1][1].seq


def _is_later(run: Run, at: At) -> bool:
    if isinstance(at, int):
        return run.end_ns > at
    return run.heartbeat is None and run.messages[-1][1].seq > at.seq


def _is_there(at: At, state: State, last_ns: int) -> bool:
    """Tell whether a moment is not after the last message."""
    return at <= last_ns if isinstance(at, int) else at <= (state.epoch, state.seq)


def _keeping() -> Keeping | None:
    return Packed()


def parse_at(text: object) -> At:
    """Read a moment: ISO 8601, UTC unless it says otherwise; ms since 1970; or EPOCH:SEQ.

    Raises:
        BadRecord: it is none.
    """
    expected = "2026-08-10T22:45:38, ms since 1970, or EPOCH:SEQ"
    if isinstance(text, int) and not isinstance(text, bool):
        text = str(text)
    if not isinstance(text, str) or len(text) > 60 or not text.isascii():
        raise BadRecord("at", text, expected)
    epoch, colon, seq = text.partition(":")
    digits = _MOST_DIGITS
    try:
        if text.isdigit() and len(text) <= digits:
            return int(text) * 1_000_000
        if colon and epoch.isdigit() and seq.isdigit() and max(len(epoch), len(seq)) <= digits:
            return Position(int(epoch), int(seq))
        # A plus sign in a URL arrives as a space.
        time = datetime.fromisoformat(text.replace(" ", "+") if text[10:11] == "T" else text)
        since = (time if time.tzinfo else time.replace(tzinfo=UTC)) - _BEGIN
    except (ValueError, OverflowError):
        raise BadRecord("at", text, expected) from None
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000


_BEGIN: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_DIGITS: Final = 15


def said(at: At) -> str:
    """Return a moment as a person would write it."""
    return moment(at) if isinstance(at, int) else f"{at.epoch}:{at.seq}"


def moment(time_ns: int) -> str:
    """Return a time as ISO 8601, to the millisecond."""
    try:
        return datetime.fromtimestamp(time_ns // 1_000_000 / 1e3, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return f"{time_ns} ns"


def gap_said(gap: Gap) -> str:
    """Describe a gap in a sentence."""
    numbers = f", {gap.first} to {gap.last} of epoch {gap.epoch}" if gap.epoch else ""
    return f"a gap of the {gap.whose}'s: {gap.why}{numbers}, {moment(gap.begin_ns)} to {moment(gap.end_ns)}"
