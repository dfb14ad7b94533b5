"""The files of a recording: what a feed said, verbatim, with snapshots to begin and to seek from.

A folder of segments, or one file. Each is an MCAP file (https://mcap.dev), so that its tools open it: channel
1 `feed` holds the frames as heard, 2 `keyframe` the head of a snapshot's answer, 3 `chunk` the chunks that
follow it. Times are the publisher's (`published_ns`). docs/recording.md.

What a file must survive: a writer that is killed (a chunk is complete or absent, and ends soon), a full disk,
flipped bits (every chunk has a checksum), files appended to one another. A reader takes what is good from the
front, says in `problem` why it stopped, and goes on with the next segment.
"""

import contextlib
import hashlib
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, TypeVar

import msgspec
import zstandard
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Chunk as McapChunk
from mcap.records import Footer, Header, McapRecord, MessageIndex, MetadataIndex
from mcap.records import Metadata as McapMetadata
from mcap.stream_reader import StreamReader
from mcap.writer import MCAP0_MAGIC, IndexType
from mcap.writer import Writer as McapWriter

from bus.files import open_regular
from bus.protocol.messages import Chunk, SnapshotHead, decode_map, unpack, unpack_chunk
from markets.errors import DecodeError, KalshiBusError

from .certificate import Certificate, Coverage, KeyframeMark, SegmentHead, chained

T = TypeVar("T")

VERSION: Final = 1
PROFILE: Final = "kalshi-bus/"
FEED: Final = 1
KEYFRAME: Final = 2
CHUNK: Final = 3
CHUNK_MS: Final = 500
"""A chunk is finished after this time at the latest: the most a killed recorder loses."""

MAX_RECORD_BYTES: Final = 64 * 1_048_576
MAX_UNPACKED_BYTES: Final = 32 * 1_048_576
"""The most bytes in a chunk of the file, unpacked: ours end with the message that takes them over 1 MB."""

SEGMENT: Final = "segment"
MARK: Final = "keyframe"
CERTIFICATE: Final = "certificate"
"""Names of the metadata records of a segment."""

NUMBER_BITS: Final = 48
"""A place in a recording is an offset in a segment and, above this many bits, the segment's number."""

_SEGMENT_FILE: Final = re.compile(r"([0-9]{8})\.mcap")

FAULTS: Final = (
    McapError,
    zstandard.ZstdError,
    DecodeError,
    ValueError,
    KeyError,
    IndexError,
    struct.error,
    OverflowError,
    MemoryError,
)


class RecordingError(KalshiBusError):
    """A file that is not a recording, or one of a newer version: the message says which."""


class Message(NamedTuple):
    """A message of the file. Times in ns since 1970; `sequence` as docs/recording.md says."""

    channel_id: int
    sequence: int
    log_time: int
    publish_time: int
    data: bytes


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One message as it was heard, and when it was published (ns since 1970)."""

    time_ns: int
    data: bytes


class Keyframe(msgspec.Struct, frozen=True):
    """The whole state at one position. Frames after `head.as_of` follow it."""

    time_ns: int
    head: SnapshotHead
    chunks: list[bytes]

    def decoded(self) -> Iterator[Chunk]:
        """Yield its chunks, each decoded as it is taken.

        Raises:
            DecodeError: one is damaged.
        """
        return map(unpack_chunk, self.chunks)


Item = Frame | Keyframe


class RecordingWriter:
    """Writes a recording, or one segment of it, to a binary file, which the caller opens and closes.

    Args:
        head: if given, makes it a segment of a chain, which ends with a certificate.

    Attributes:
        sha256: that of everything written, once it is finished; "" if it is not a segment.

    Raises (every method):
        OSError: the disk is full or broken; what was flushed before stays readable.
    """

    def __init__(self, file: IO[bytes], head: SegmentHead | None = None) -> None:
        self._out = _Hashed(file, hashing=head is not None)
        # Without an index of chunks and messages, which would keep growing.
        self._mcap: Any = McapWriter(self._out, index_types=IndexType.METADATA)  # type: ignore[arg-type]
        self._coverage = Coverage() if head is not None else None
        self._chain = 0
        self.sha256 = ""
        self._mcap.start(f"{PROFILE}{VERSION}", "kalshi-bus")
        for expected, name in ((FEED, "feed"), (KEYFRAME, "keyframe"), (CHUNK, "chunk")):
            assert self._mcap.register_channel(name, "msgpack", 0) == expected
        if head is not None:
            self._chain = chained(0, to_json(head), head.segment)
            self._metadata(SEGMENT, head)

    def frame(self, data: bytes, time_ns: int, seq: int, epoch: int = 0) -> None:
        """Add a feed message; a segment needs its epoch."""
        if self._coverage is not None:
            self._coverage.hear(data, time_ns, epoch, seq)
        self._add(FEED, data, time_ns, seq)

    def keyframe(self, answer: list[bytes], time_ns: int) -> None:
        """Add the frames of a snapshot's answer: the head, then the chunks."""
        self._mcap.flush()  # a keyframe begins a chunk, so that a reader can begin there
        with contextlib.suppress(DecodeError):  # nobody can begin at a head that nobody can read
            self._mark(decode_map(answer[0], SnapshotHead), time_ns)
        for channel, data in zip((KEYFRAME, *[CHUNK] * (len(answer) - 1)), answer, strict=True):
            self._add(channel, data, time_ns, 0)
        self._mcap.flush()

    def _mark(self, head: SnapshotHead, time_ns: int) -> None:
        digest = None if head.digest is None else f"{head.digest:016x}"
        mark = KeyframeMark(time_ns, head.epoch, head.as_of, digest, self._out.tell())
        self._metadata(MARK, msgspec.structs.replace(mark, offset=0))
        if self._coverage is not None:
            self._coverage.keyframe(mark)

    def flush(self) -> None:
        """Hand everything so far to the operating system, so that it survives this process."""
        self._mcap.flush()
        # The library remembers each chunk for an index that is not written.
        self._mcap._Writer__chunk_indices.clear()  # noqa: SLF001

    def finish(self) -> None:
        """Write the certificate, if this is a segment, and the end. Nothing can be added afterwards."""
        self._mcap.flush()
        if self._coverage is not None:
            self._metadata(CERTIFICATE, self._coverage.certificate(self._out.sha256()))
        self._mcap.finish()
        self._out.flush()
        self.sha256 = self._out.sha256()

    def _add(self, channel: int, data: bytes, time_ns: int, number: int) -> None:
        if self._coverage is not None:
            number = self._chain = chained(self._chain, data, time_ns)
        self._mcap.add_message(channel, time_ns, data, time_ns, number & 0xFFFFFFFF)

    def _metadata(self, name: str, value: msgspec.Struct) -> None:
        self._mcap.add_metadata(name, {"json": to_json(value).decode()})


class _Hashed:
    """A file being written, and hashed on the way."""

    def __init__(self, file: IO[bytes], *, hashing: bool) -> None:
        self._file = file
        self._hash = hashlib.sha256() if hashing else None
        self.tell = file.tell
        self.flush = file.flush

    def write(self, data: bytes) -> int:
        if self._hash is not None:
            self._hash.update(data)
        return self._file.write(data)

    def sha256(self) -> str:
        return self._hash.hexdigest() if self._hash is not None else ""


def to_json(value: msgspec.Struct) -> bytes:
    """Return the canonical text for this in a metadata record."""
    return msgspec.json.encode(value)


def from_metadata(record: McapMetadata, type_: type[T]) -> T:
    """Return the content of a metadata record.

    Raises:
        DecodeError: it is not of that shape.
    """
    try:
        return msgspec.json.decode(record.metadata["json"], type=type_)
    except (KeyError, msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise DecodeError(f"{record.name}: {error}") from None


def segment_path(folder: Path, number: int) -> Path:
    """Return the path of a segment."""
    return folder / f"{number:08}.mcap"


def segments_of(folder: Path) -> list[int]:
    """Return the numbers of the segments in a folder, ascending.

    Raises:
        OSError: it cannot be read.
    """
    found = (_SEGMENT_FILE.fullmatch(path.name) for path in folder.iterdir())
    return sorted(int(name[1]) for name in found if name)


def head_of(path: Path) -> SegmentHead | None:
    """Return how a segment begins; None if the file is not one, or cannot be read that far.

    Raises:
        OSError: it cannot be opened.
    """
    with open_regular(path) as file:
        try:
            for record in StreamReader(file, emit_chunks=True, record_size_limit=MAX_RECORD_BYTES).records:
                if isinstance(record, McapMetadata) and record.name == SEGMENT:
                    return from_metadata(record, SegmentHead)
                if not isinstance(record, Header):
                    break
        except FAULTS:
            pass
    return None


def certificate_of(path: Path) -> Certificate | None:
    """Return the certificate of a segment, without reading the rest; None if it has none that is readable.

    Raises:
        OSError: the file cannot be read.
    """
    with open_regular(path) as file:
        try:
            file.seek(-_END_BYTES, 2)
            start, _, _ = _FOOTER.unpack(file.read(_FOOTER.size))
            if file.read() != MCAP0_MAGIC:
                return None
            file.seek(start)
            reader = StreamReader(file, skip_magic=True, emit_chunks=True, record_size_limit=MAX_RECORD_BYTES)
            found = 0
            for record in reader.records:
                if isinstance(record, MetadataIndex) and record.name == CERTIFICATE:
                    found = record.offset
                if isinstance(record, Footer):
                    break
            if not found:
                return None
            file.seek(found)
            reader = StreamReader(file, skip_magic=True, emit_chunks=True, record_size_limit=MAX_RECORD_BYTES)
            record = next(iter(reader.records))
            return from_metadata(record, Certificate) if isinstance(record, McapMetadata) else None
        except (*FAULTS, StopIteration, OSError):
            return None


_FOOTER: Final = struct.Struct("<QQI")
_END_BYTES: Final = _FOOTER.size + 8
"""The end of an MCAP file: the members of its footer and the magic."""


class Recording:
    """A recording on disk: a folder of segments, or one file.

    Attributes:
        problem: why the last `play` or `keyframes` left out something, None if it did not. If more segments
            follow, it went on with them.
        end_ns: time of the last message, once `keyframes` has found it; 0 before.

    Raises:
        OSError: it cannot be read.
        RecordingError: it is not a recording, empty, or of a newer version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem: str | None = None
        self.end_ns = 0
        self.in_segments = path.is_dir()
        if not self.in_segments:
            self._open(path)
            return
        numbers = self.segments()
        if not numbers:
            raise RecordingError(f"{path}: not a recording: no segment (00000001.mcap and on) is in it")
        refused: RecordingError | None = None
        for number in numbers:  # one that was begun in vain may be among them, still empty
            try:
                self._open(segment_path(path, number))
            except RecordingError as error:
                refused = refused or error
            else:
                return
        assert refused is not None
        raise refused

    def segments(self) -> list[int]:
        """Return the numbers of the segments that exist now; for a single file, 0."""
        return segments_of(self.path) if self.in_segments else [0]

    def segment(self, number: int) -> Path:
        """Return the file of a segment."""
        return segment_path(self.path, number) if self.in_segments else self.path

    def _open(self, path: Path) -> None:
        with open_regular(path) as file:
            try:
                first = next(iter(StreamReader(file, record_size_limit=MAX_RECORD_BYTES).records))
            except (*FAULTS, StopIteration) as error:
                raise RecordingError(f"{path}: not a recording ({reason(error)})") from None
        check_header(path, first)

    def keyframes(self) -> list[tuple[int, int]]:
        """Return (time_ns, place) for each place to begin from, without unpacking the files."""
        self.problem = None
        return [(mark.time_ns, mark.offset) for number in self.segments() for mark in self._marks(number)]

    def _marks(self, number: int) -> Sequence[KeyframeMark]:
        try:
            certificate = certificate_of(self.segment(number)) if self.in_segments else None
            if certificate is None:
                return self.look(number)[0]
        except FileNotFoundError:
            if not self.in_segments:
                raise
            return ()  # it has just been dropped
        self.end_ns = max(self.end_ns, certificate.end_ns)
        return [self.placed(number, mark) for mark in certificate.keyframes]

    @staticmethod
    def placed(number: int, mark: KeyframeMark) -> KeyframeMark:
        """Return a segment's keyframe with its place in the recording for `offset`."""
        return msgspec.structs.replace(mark, offset=(number << NUMBER_BITS) + mark.offset)

    def look(self, number: int, offset: int = 0) -> tuple[list[KeyframeMark], int]:
        """Look through a segment from `offset` on; return its keyframes, and where it ends at present.

        Their `offset` is their place in the recording. For files of earlier builds only time and place are
        known.
        """
        path, reached = self.segment(number), offset
        found: list[KeyframeMark] = []
        with open_regular(path) as file:
            file.seek(offset)
            chunk = KeyframeMark(0, 0, 0)
            for at, record in self._records(path, file, middle=offset > 0):
                reached = file.tell()
                if isinstance(record, McapChunk):
                    chunk = KeyframeMark(record.message_start_time, 0, 0, None, at)
                    self.end_ns = max(self.end_ns, record.message_end_time)
                elif isinstance(record, MessageIndex) and record.channel_id == KEYFRAME and chunk.offset:
                    found.append(self.placed(number, chunk))  # earlier builds wrote no marks, but indexes
                elif isinstance(record, McapMetadata) and record.name == MARK:
                    with contextlib.suppress(DecodeError):
                        mark = from_metadata(record, KeyframeMark)
                        found.append(self.placed(number, msgspec.structs.replace(mark, offset=at)))
        return found, reached

    def play(self, place: int = 0) -> Iterator[Item]:
        """Yield everything from a keyframe's `place` on (0: from the beginning), as far as it is good."""
        self.problem = None
        number, offset = place >> NUMBER_BITS, place & ((1 << NUMBER_BITS) - 1)
        if not self.in_segments:
            yield from self._play(self.path, offset)
            return
        # Looked up one by one: during the play the oldest may be dropped, and a new one begun.
        while (following := next((one for one in self.segments() if one >= number), None)) is not None:
            path = segment_path(self.path, following)
            try:
                yield from self._play(path, offset if following == number else 0)
            except FileNotFoundError:
                self._stopped(path, 0, KalshiBusError("it was dropped while it was read"))
            number, offset = following + 1, 0

    def _play(self, path: Path, offset: int) -> Iterator[Item]:
        head: SnapshotHead | None = None
        chunks: list[bytes] = []
        with open_regular(path) as file:
            file.seek(offset)
            for _, record in self._records(path, file, middle=offset > 0):
                if not isinstance(record, McapChunk):
                    continue
                try:
                    messages = broken_up(record)
                except FAULTS as error:
                    self._stopped(path, file.tell(), error)
                    return
                for message in messages:
                    if message.channel_id == FEED:
                        yield Frame(message.publish_time, message.data)
                        continue
                    if message.channel_id == KEYFRAME:
                        try:
                            head, chunks = decode_map(message.data, SnapshotHead), []
                        except DecodeError as error:
                            self._stopped(path, file.tell(), error)
                            return
                    elif message.channel_id == CHUNK:
                        chunks.append(message.data)
                    if head is not None and len(chunks) == head.chunks:
                        yield Keyframe(message.publish_time, head, chunks)
                        head = None

    def _records(self, path: Path, file: IO[bytes], middle: bool = False) -> Iterator[tuple[int, Any]]:
        """Yield (offset, record) through all recordings appended to one another in the file."""
        while True:
            reader = StreamReader(
                file, skip_magic=middle, emit_chunks=True, record_size_limit=MAX_RECORD_BYTES
            )
            records = iter(reader.records)
            offset = file.tell()
            try:
                for record in records:
                    if isinstance(record, Header):
                        check_header(path, record)
                    yield offset, record
                    if isinstance(record, Footer):
                        next(records, None)  # reads the closing magic
                        break
                    offset = file.tell()
            except (*FAULTS, RecordingError) as error:
                self._stopped(path, offset, error)
                return
            middle = False
            if not file.peek(1):  # type: ignore[attr-defined]
                return

    def _stopped(self, path: Path, offset: int, error: BaseException) -> None:
        self.problem = self.problem or f"{path}: good up to byte {offset}, then {reason(error)}"


def check_header(path: Path, record: McapRecord) -> None:
    """Refuse a file whose first record is not a header of ours.

    Raises:
        RecordingError: it is not ours, or of a newer version.
    """
    if not isinstance(record, Header) or not record.profile.startswith(PROFILE):
        raise RecordingError(f"{path}: an MCAP file, but not a recording of this bus")
    version = record.profile.removeprefix(PROFILE)
    if not version.isdigit() or int(version) > VERSION:
        raise RecordingError(
            f"{path}: recorded in format {version:.20}, this build reads {VERSION}: upgrade it"
        )


def broken_up(chunk: McapChunk) -> list[Message]:
    """Return the messages in a chunk of the file.

    Raises:
        DecodeError, or another of FAULTS: it is damaged, too large unpacked, or not packed as ours are.
    """
    data = chunk.data
    if chunk.compression == "zstd":
        data = unpack(data, MAX_UNPACKED_BYTES)
    elif chunk.compression:
        raise DecodeError(f"a chunk packed with {chunk.compression!r:.20}, expected zstd")
    if chunk.uncompressed_crc and zlib.crc32(data) != chunk.uncompressed_crc:
        raise DecodeError("a chunk that has not the checksum it names")
    # The library's own way takes four times as long, which is most of a reader's time.
    messages: list[Message] = []
    at, end = 0, len(data)
    while at < end:
        opcode, length = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        if at + length > end:
            raise DecodeError("a record that goes on behind its chunk")
        if opcode == Opcode.MESSAGE:
            if length < _MESSAGE.size:
                raise DecodeError(f"a message of {length} bytes")
            channel_id, sequence, log_time, publish_time = _MESSAGE.unpack_from(data, at)
            body = data[at + _MESSAGE.size : at + length]
            messages.append(Message(channel_id, sequence, log_time, publish_time, body))
        at += length
    return messages


_RECORD: Final = struct.Struct("<BQ")
_MESSAGE: Final = struct.Struct("<HIQQ")


def reason(error: BaseException) -> str:
    """Return, in words, why the reading of a file ended."""
    name = type(error).__name__
    if name in ("EndOfFile", "StopIteration"):
        return "it ends in the middle"
    return f"{name}: {error}".rstrip(": ")
