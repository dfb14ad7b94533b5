"""Is a recording everything it claims to be? The proof, or the first place that is wrong. docs/recording.md.

Each segment is read from front to back: every message is checked against the checksum it carries, the
certificate against one made again from the messages, the bytes against the hashes in the certificate and the
next segment. Then the messages are played, and every recorded digest is compared with the resulting state.
"""

import hashlib
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec
from mcap.records import Chunk as McapChunk
from mcap.records import Footer, Header
from mcap.records import Metadata as McapMetadata
from mcap.stream_reader import StreamReader

from bus.files import open_regular
from bus.protocol.messages import SnapshotHead, decode_map, unpack_chunk
from bus.protocol.state import State
from markets.errors import DecodeError, KalshiBusError

from .certificate import (
    Certificate,
    Coverage,
    Gap,
    KeyframeMark,
    Range,
    SegmentHead,
    between,
    chained,
    header_of,
)
from .file import (
    CERTIFICATE,
    CHUNK,
    FAULTS,
    FEED,
    KEYFRAME,
    MARK,
    MAX_RECORD_BYTES,
    SEGMENT,
    Message,
    Recording,
    RecordingError,
    broken_up,
    check_header,
    from_metadata,
    reason,
    to_json,
)
from .tape import Opening, Tally, TapeReader

_MAGIC: Final = b"\x89MCAP0\r\n"
_DATA_END: Final = b"\x0f\x04\0\0\0\0\0\0\0\0\0\0\0"
_FOOTER: Final = struct.Struct("<BQQQI")
_BEGIN_BYTES: Final = 9
"""The start of a record: its type and its length."""

_BLOCK: Final = 1_048_576


class Fault(msgspec.Struct, frozen=True):
    """The first thing that is wrong.

    Attributes:
        segment: its number; 0 in a single file.
        byte: where in the segment what is wrong begins: a chunk, or what follows the chunks.
        chunk: the number of the chunk in the segment, from 1; 0 before the first.
        message: the number of the message in the chunk, from 1; 0 if unknown.
        seq: the number that the publisher gave it; None if there is none.
    """

    segment: int
    byte: int
    chunk: int
    message: int
    seq: int | None
    why: str


class _Wrong(KalshiBusError):
    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        super().__init__(fault.why)


class Segment(msgspec.Struct):
    """What was found in one segment.

    Attributes:
        head: None if the file is not a segment of a chain.
        covers: made again from the messages.
        certified: whether it ends with a certificate, which is right.
        bytes: how many of them are good.
        sha256: of the whole file.
        cut: why it ends without a certificate; None if it has one.
    """

    number: int
    head: SegmentHead | None
    covers: Certificate
    certified: bool
    bytes: int
    sha256: str
    cut: str | None = None
    digests_checked: int = 0


class Verdict(msgspec.Struct):
    """What `verify` says about a recording.

    Attributes:
        verdict: "proven", "incomplete", "wrong" or "uncertified".
        said: the same in a sentence.
        wrong: the first thing that is wrong, None if nothing.
        covers, gaps: over all segments.
        head: the hash of the last segment.
        digests_checked: recorded digests that were compared with the state.
    """

    verdict: str
    said: str
    wrong: Fault | None
    segments: tuple[int, ...]
    covers: tuple[Range, ...]
    gaps: tuple[Gap, ...]
    keyframes: int
    head: str
    digests_checked: int


def verify(recording: Recording, *, deep: bool = True, each: Callable[[], None] = lambda: None) -> Verdict:
    """Return the verdict on a recording.

    Args:
        deep: whether to rebuild the states and compare the digests.
        each: called after each segment.

    Raises:
        OSError: it cannot be read.
    """
    found: list[Segment] = []
    wrong: Fault | None = None
    numbers = recording.segments()
    try:
        for number in numbers:
            try:
                segment = _Check(recording.segment(number), number, deep=deep).segment()
            except FileNotFoundError:
                continue  # the oldest is dropped while the recorder runs
            _follows(found, segment)
            found.append(segment)
            each()
    except _Wrong as error:
        wrong = error.fault
    covers, gaps = _together(found)
    verdict, said = _said(found, wrong, recording)
    return Verdict(
        verdict,
        said,
        wrong,
        tuple(numbers),
        tuple(covers),
        tuple(gaps),
        sum(len(segment.covers.keyframes) for segment in found),
        found[-1].sha256 if found else "",
        sum(segment.digests_checked for segment in found),
    )


def _follows(found: list[Segment], segment: Segment) -> None:
    """Check the beginning of a segment against the previous ones."""
    if not found or (
        segment.head is None and segment.cut is not None
    ):  # it was cut off before it said anything
        return
    before, head = found[-1], segment.head
    if head is None:
        raise _Wrong(Fault(segment.number, 0, 0, 0, None, "a segment that names no segment before it"))
    recording = next((one.head.recording for one in reversed(found) if one.head is not None), None)
    if recording is not None and head.recording != recording:
        why = f"it is of another recording, {head.recording}, than the segment before, {recording}"
        raise _Wrong(Fault(segment.number, 0, 0, 0, None, why))
    if segment.number != before.number + 1:
        why = f"segment {before.number + 1} is missing"
        raise _Wrong(Fault(before.number + 1, 0, 0, 0, None, why))
    if head.previous != before.sha256:
        cut = f", and {before.cut}" if before.cut is not None else ""
        why = f"segment {segment.number} names another one as the one before it than this is{cut}"
        raise _Wrong(Fault(before.number, before.bytes, 0, 0, None, why))


def _together(found: list[Segment]) -> tuple[list[Range], list[Gap]]:
    """Return what all segments cover, and all gaps, including those between segments."""
    covers: list[Range] = []
    gaps: list[Gap] = []
    for segment in found:
        for index, one in enumerate(segment.covers.covers):
            last = covers[-1] if covers else None
            if last is not None and last.epoch == one.epoch and one.first <= last.last + 1:
                covers[-1] = Range(
                    one.epoch,
                    last.first,
                    max(last.last, one.last),
                    last.begin_ns,
                    max(last.end_ns, one.end_ns),
                )
                continue
            if last is not None and index == 0:
                continues = segment.head is not None and segment.head.continues
                mark = KeyframeMark(one.begin_ns, one.epoch, one.first - 1)
                gaps.append(between(last, mark, continues))
            covers.append(one)
        gaps += segment.covers.gaps
    return covers, gaps


def _said(found: list[Segment], wrong: Fault | None, recording: Recording) -> tuple[str, str]:
    last = found[-1] if found else None
    upto = "nothing"
    covered = next((one.covers.covers[-1] for one in reversed(found) if one.covers.covers), None)
    if covered is not None:
        upto = f"number {covered.last} of epoch {covered.epoch}"
    if wrong is not None:
        place = f"segment {wrong.segment}, " if recording.in_segments else ""
        chunk = f"chunk {wrong.chunk}, " if wrong.chunk else ""
        message = f"message {wrong.message}, " if wrong.message else ""
        return "wrong", f"wrong: {place}{chunk}{message}byte {wrong.byte}: {wrong.why}"
    if last is None or all(segment.head is None for segment in found):
        cut = f"; {last.cut}" if last is not None and last.cut else ""
        return (
            "uncertified",
            f"uncertified: it is as it says up to {upto}, but nothing says that it is all{cut}",
        )
    begin = f", from segment {found[0].number} on: the oldest were dropped" if found[0].number > 1 else ""
    if not last.certified:
        return "incomplete", f"incomplete, proven up to {upto}{begin}: {last.cut}"
    return "proven", f"proven up to {upto}{begin}"


class _Check:
    """The check of one segment."""

    def __init__(self, path: Path, number: int, *, deep: bool) -> None:
        self._path = path
        self._number = number
        self._deep = deep
        self._coverage = Coverage()
        self._head: SegmentHead | None = None
        self._chain = 0
        self._chunk = self._good = 0
        self._footed = False
        self._mark: KeyframeMark | None = None
        self._keyframe: SnapshotHead | None = None
        self._state = State()
        self._left = 0
        self._digests: dict[tuple[int, int], str] = {}
        self._certificate: tuple[int, bytes] | None = None
        self._checked = 0

    def segment(self) -> Segment:
        cut = None
        with open_regular(self._path) as file:
            try:
                self._read(file)
            except (*FAULTS, RecordingError) as error:
                if not self._is_cut(file):
                    raise self._wrong(self._good, reason(error), self._chunk + 1) from None
                cut = f"it was cut off at byte {self._good}, or is being written"
            covers = self._coverage.certificate("")
            sha256 = self._hashes(file, covers, whole=cut is None)
        if self._deep and covers.frames:
            self._play()
        certified = self._certificate is not None and cut is None
        return Segment(self._number, self._head, covers, certified, self._good, sha256, cut, self._checked)

    def _read(self, file: BinaryIO) -> None:
        """Take one record after the other."""
        while True:
            reader = StreamReader(file, emit_chunks=True, record_size_limit=MAX_RECORD_BYTES)
            records = iter(reader.records)
            for record in records:
                self._take(self._good, record)
                self._good = file.tell()
                if isinstance(record, Footer):
                    self._footed = True
                    next(records, None)  # reads the closing magic
                    break
            self._good = file.tell()
            if not file.peek(1):  # type: ignore[attr-defined]
                return
            if self._head is not None:
                raise self._wrong(self._good, "it goes on behind its end")

    def _wrong(self, byte: int, why: str, chunk: int = 0, message: int = 0, seq: int | None = None) -> _Wrong:
        return _Wrong(Fault(self._number, byte, chunk, message, seq, why))

    def _take(self, offset: int, record: Any) -> None:
        if isinstance(record, Header):
            check_header(self._path, record)
        elif isinstance(record, McapMetadata):
            self._take_metadata(offset, record)
        elif isinstance(record, McapChunk):
            if self._certificate is not None:
                raise self._wrong(offset, "a chunk behind the certificate", self._chunk + 1)
            self._chunk += 1
            self._take_chunk(offset, record)

    def _take_metadata(self, offset: int, record: McapMetadata) -> None:
        if record.name == SEGMENT:
            if self._head is not None or self._chunk:
                raise self._wrong(offset, "a second beginning of a segment: two were put together")
            head = self._head = from_metadata(record, SegmentHead)
            self._chain = chained(0, to_json(head), head.segment)
            if self._number and head.segment != self._number:
                raise self._wrong(offset, f"it says that it is segment {head.segment}")
        elif record.name == MARK:
            mark = from_metadata(record, KeyframeMark)
            self._mark = msgspec.structs.replace(mark, offset=offset)
        elif record.name == CERTIFICATE:
            if self._head is None:
                raise self._wrong(offset, "a certificate, but no beginning of a segment")
            self._certificate = offset, record.metadata.get("json", "").encode()

    def _take_chunk(self, offset: int, record: McapChunk) -> None:
        messages = broken_up(record)
        for number, message in enumerate(messages, 1):
            header = header_of(message.data) if message.channel_id == FEED else None
            seq = header.seq if header is not None and header.kind != "heartbeat" else None
            time_ns = message.log_time
            if self._head is not None:
                self._chain = chained(self._chain, message.data, time_ns)
                if message.sequence != self._chain:
                    why = "it is not what was written here: changed, or one is missing, doubled or moved"
                    raise self._wrong(offset, why, self._chunk, number, seq)
            if message.publish_time != time_ns:
                raise self._wrong(offset, "its two times differ", self._chunk, number, seq)
            try:
                if message.channel_id != FEED:
                    self._take_keyframe(message)
                elif header is not None:
                    self._coverage.hear(message.data, time_ns, header.epoch, header.seq)
            except DecodeError as error:
                raise self._wrong(offset, str(error), self._chunk, number, seq) from None
        times = [message.log_time for message in messages]
        if times and (min(times), max(times)) != (record.message_start_time, record.message_end_time):
            raise self._wrong(offset, "its times are not those of its messages", self._chunk)

    def _take_keyframe(self, message: Message) -> None:
        if message.channel_id == KEYFRAME:
            head = self._keyframe = decode_map(message.data, SnapshotHead)
            self._state, self._left = State(), head.chunks
            self._state.expect_fields(head.fields)
            mark, self._mark = self._mark, None
            digest = None if head.digest is None else f"{head.digest:016x}"
            said = KeyframeMark(message.log_time, head.epoch, head.as_of, digest)
            if mark is not None and msgspec.structs.replace(mark, offset=0) != said:
                raise DecodeError("a keyframe that is not the one that was announced")
            self._coverage.keyframe(mark or said)
        elif message.channel_id == CHUNK and self._keyframe is not None:
            self._left -= 1
            if self._deep:
                with self._state.lock:
                    self._state.put_chunk(unpack_chunk(message.data))
        if self._keyframe is not None and not self._left and self._deep:
            self._compare(self._keyframe)

    def _compare(self, head: SnapshotHead) -> None:
        """Check the digest that a keyframe names against its content."""
        made = self._state.digest()
        if head.digest is not None:
            self._checked += 1
            if head.digest != made:
                raise DecodeError(f"a keyframe with digest {made:016x}, that says {head.digest:016x}")
        self._digests[head.epoch, head.as_of] = f"{made:016x}"
        self._keyframe = None

    def _hashes(self, file: BinaryIO, covers: Certificate, *, whole: bool) -> str:
        """Return the hash of the file; check the certificate and the end against what they describe."""
        sha, at = hashlib.sha256(), 0
        file.seek(0)
        upto = self._certificate[0] if self._certificate is not None else 0
        while at < upto:
            block = file.read(min(_BLOCK, upto - at))
            sha.update(block)
            at += len(block)
        if self._certificate is not None:
            offset, text = self._certificate
            expected = to_json(msgspec.structs.replace(covers, sha256=sha.hexdigest()))
            if text != expected:
                raise self._wrong(offset, _difference(text, expected))
            if whole:
                self._check_end(file.read(), offset)
            file.seek(upto)
        elif self._head is not None and whole:
            raise self._wrong(self._good, "it ends without a certificate")
        while block := file.read(_BLOCK):
            sha.update(block)
        return sha.hexdigest()

    def _is_cut(self, file: BinaryIO) -> bool:
        """Tell whether the file ends in the middle of whatever follows the good part."""
        size = file.seek(0, 2)
        if self._footed or size < len(_MAGIC):
            return size - self._good < len(_MAGIC)
        good = self._good or len(_MAGIC)  # what precedes the first record
        left = size - good
        file.seek(good)
        begin = file.read(_BEGIN_BYTES)
        ends = len(begin) < _BEGIN_BYTES or int.from_bytes(begin[1:], "little") > left - _BEGIN_BYTES
        return ends and not self._ended(file)

    def _ended(self, file: BinaryIO) -> bool:
        if file.seek(0, 2) < 2 * len(_MAGIC):  # it begins the same way
            return False
        file.seek(-len(_MAGIC), 2)
        return file.read() == _MAGIC

    def _check_end(self, end: bytes, offset: int) -> None:
        """Check what follows the certificate against its own checksum."""
        length = 9 + int.from_bytes(end[1:9], "little")
        rest = end[length:]
        if not rest.startswith(_DATA_END) or len(rest) < len(_DATA_END) + _FOOTER.size + len(_MAGIC):
            raise self._wrong(offset + length, "what follows the certificate is not what was written")
        summary = rest[len(_DATA_END) : -len(_MAGIC)]
        footer = _FOOTER.unpack(summary[-_FOOTER.size :])
        start = offset + length + len(_DATA_END)
        if footer[2] != start or zlib.crc32(summary[:-4]) != footer[4]:
            raise self._wrong(start, "its end is not what was written")

    def _play(self) -> None:
        """Play the segment, and compare every digest that was recorded."""
        tally, state = Tally(), None
        for part in TapeReader(Recording(self._path), (), tally, 0):
            if isinstance(part, Opening):
                writer, state = part.writer, part.writer.state
                continue
            assert state is not None
            with state.lock:
                differing = tally.take(writer, part)
                recorded = self._digests.get((state.epoch, state.seq)) if part.heartbeat is None else None
                made = f"{state.digest():016x}" if recorded is not None else None
            self._checked += made is not None
            if differing or made != recorded:
                what = f"stream {differing[0]}" if differing else "the whole"
                place = f"number {state.seq} of epoch {state.epoch}"
                why = f"the digest of {what} at {place} is not the recorded one"
                raise self._wrong(0, why, 0, 0, state.seq)
        self._checked += tally.checked


def _difference(text: bytes, expected: bytes) -> str:
    """Say where a certificate differs from what it should say."""
    try:
        says, is_ = (
            msgspec.json.decode(text, type=Certificate),
            msgspec.json.decode(expected, type=Certificate),
        )
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return "the certificate cannot be read"
    names = [name for name in Certificate.__struct_fields__ if getattr(says, name) != getattr(is_, name)]
    if not names:
        return "the certificate was written otherwise"
    return f"the certificate says otherwise than the segment: {', '.join(names)}"
