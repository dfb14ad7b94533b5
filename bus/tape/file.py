"""The file of a recording: what a feed said, as it said it, with snapshots to begin and to seek from.

An MCAP file (https://mcap.dev), so that its tools open it: channel 1 `feed` holds the frames as heard,
2 `keyframe` the head of a snapshot's answer, 3 `chunk` the chunks that follow it. Times are the publisher's
(`published_ns`). docs/recording.md.

What a file must survive: a writer that is killed (a chunk is whole or is not there, and ends soon), a full
disk, flipped bits (every chunk has a checksum), files put one behind the other. A reader takes what is good
from the front and says in `problem` why it stopped.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

import msgspec
import zstandard
from mcap.exceptions import McapError
from mcap.records import Chunk as McapChunk
from mcap.records import Footer, Header, McapRecord, MessageIndex
from mcap.records import Message as McapMessage
from mcap.stream_reader import StreamReader, breakup_chunk
from mcap.writer import Writer as McapWriter

from bus.files import open_regular
from bus.protocol.messages import Chunk, SnapshotHead, decode_map, unpack, unpack_chunk
from markets.errors import DecodeError, KalshiBusError

VERSION: Final = 1
PROFILE: Final = "kalshi-bus/"
FEED: Final = 1
KEYFRAME: Final = 2
CHUNK: Final = 3
CHUNK_MS: Final = 500
"""A chunk is finished at the latest after this time: what a killed recorder loses."""

MAX_RECORD_BYTES: Final = 64 * 1_048_576
MAX_UNPACKED_BYTES: Final = 32 * 1_048_576
"""Most bytes of a chunk of the file, unpacked: ours end with the message that takes them over 1 MB."""

_FAULTS: Final = (
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
    """A file that is no recording, or one of a newer version: the message says which."""


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One message as it was heard, and when it was published (ns since 1970)."""

    time_ns: int
    data: bytes


class Keyframe(msgspec.Struct, frozen=True):
    """The whole state at one position. Frames above `head.as_of` follow it."""

    time_ns: int
    head: SnapshotHead
    chunks: list[bytes]

    def decoded(self) -> Iterator[Chunk]:
        """Return its chunks, each decoded as it is taken.

        Raises:
            DecodeError: one is damaged.
        """
        return map(unpack_chunk, self.chunks)


Item = Frame | Keyframe


class RecordingWriter:
    """Writes a recording to a binary file, which the caller opens and closes.

    Raises (every method):
        OSError: the disk is full, or worse; what was flushed before stays readable.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._mcap: Any = McapWriter(file)  # typed by half
        self._mcap.start(f"{PROFILE}{VERSION}", "kalshi-bus")
        for expected, name in ((FEED, "feed"), (KEYFRAME, "keyframe"), (CHUNK, "chunk")):
            assert self._mcap.register_channel(name, "msgpack", 0) == expected

    def frame(self, data: bytes, time_ns: int, seq: int) -> None:
        """Add a feed message."""
        self._mcap.add_message(FEED, time_ns, data, time_ns, seq & 0xFFFFFFFF)

    def keyframe(self, answer: list[bytes], time_ns: int) -> None:
        """Add the frames of a snapshot's answer: the head, then the chunks."""
        self._mcap.flush()  # a keyframe begins a chunk, where a reader can begin too
        for channel, data in zip((KEYFRAME, *[CHUNK] * (len(answer) - 1)), answer, strict=True):
            self._mcap.add_message(channel, time_ns, data, time_ns)
        self._mcap.flush()

    def flush(self) -> None:
        """Hand everything so far to the operating system: it survives this process."""
        self._mcap.flush()

    def finish(self) -> None:
        """Write the index that MCAP tools use. Nothing can be added after it."""
        self._mcap.finish()


class Recording:
    """A recording on disk.

    Attributes:
        problem: why the last `play` or `keyframes` ended before the end of the file, None if it did not.
        end_ns: time of the last message, once `keyframes` has looked; 0 before.

    Raises:
        RecordingError: not a recording, empty, or of a newer version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem: str | None = None
        self.end_ns = 0
        with open_regular(path) as file:
            try:
                first = next(iter(StreamReader(file, record_size_limit=MAX_RECORD_BYTES).records))
            except (*_FAULTS, StopIteration) as error:
                raise RecordingError(f"{path}: not a recording ({_reason(error)})") from None
        self._check_header(first)

    def _check_header(self, record: McapRecord) -> None:
        if not isinstance(record, Header) or not record.profile.startswith(PROFILE):
            raise RecordingError(f"{self.path}: an MCAP file, but not a recording of this bus")
        version = record.profile.removeprefix(PROFILE)
        if not version.isdigit() or int(version) > VERSION:
            raise RecordingError(
                f"{self.path}: recorded in format {version:.20}, this build reads {VERSION}: upgrade it"
            )

    def keyframes(self) -> list[tuple[int, int]]:
        """Return (time_ns, offset in the file) of each place to begin from, without unpacking the file."""
        found: list[tuple[int, int]] = []
        with open_regular(self.path) as file:
            chunk: tuple[int, int] | None = None
            for offset, record in self._records(file):
                if isinstance(record, McapChunk):
                    chunk = (record.message_start_time, offset)
                    self.end_ns = max(self.end_ns, record.message_end_time)
                elif isinstance(record, MessageIndex) and record.channel_id == KEYFRAME and chunk:
                    found.append(chunk)
        return found

    def play(self, offset: int = 0) -> Iterator[Item]:
        """Yield everything from a keyframe's `offset` (0: from the beginning), as far as the file is good."""
        head: SnapshotHead | None = None
        chunks: list[bytes] = []
        with open_regular(self.path) as file:
            file.seek(offset)
            for _, record in self._records(file, middle=offset > 0):
                if not isinstance(record, McapChunk):
                    continue
                try:
                    messages = _broken_up(record)
                except _FAULTS as error:
                    self._stopped(file.tell(), error)
                    return
                for message in messages:
                    if not isinstance(message, McapMessage):
                        continue
                    if message.channel_id == FEED:
                        yield Frame(message.publish_time, message.data)
                        continue
                    if message.channel_id == KEYFRAME:
                        try:
                            head, chunks = decode_map(message.data, SnapshotHead), []
                        except DecodeError as error:
                            self._stopped(file.tell(), error)
                            return
                    elif message.channel_id == CHUNK:
                        chunks.append(message.data)
                    if head is not None and len(chunks) == head.chunks:
                        yield Keyframe(message.publish_time, head, chunks)
                        head = None

    def _records(self, file: IO[bytes], middle: bool = False) -> Iterator[tuple[int, Any]]:
        """Yield (offset, record) through all recordings that stand one behind the other in the file."""
        self.problem = None
        while True:
            reader = StreamReader(
                file, skip_magic=middle, emit_chunks=True, record_size_limit=MAX_RECORD_BYTES
            )
            records = iter(reader.records)
            offset = file.tell()
            try:
                for record in records:
                    if isinstance(record, Header):
                        self._check_header(record)
                    yield offset, record
                    if isinstance(record, Footer):
                        next(records, None)  # reads the closing magic
                        break
                    offset = file.tell()
            except (*_FAULTS, RecordingError) as error:
                self._stopped(offset, error)
                return
            middle = False
            if not file.peek(1):  # type: ignore[attr-defined]
                return

    def _stopped(self, offset: int, error: BaseException) -> None:
        self.problem = f"{self.path}: good up to byte {offset}, then {_reason(error)}"


def _broken_up(chunk: McapChunk) -> list[McapRecord]:
    """Return the records in a chunk.

    Raises:
        DecodeError, or another of _FAULTS: it is damaged, too large unpacked, or not packed as ours are.
    """
    if chunk.compression == "zstd":
        chunk.data, chunk.compression = unpack(chunk.data, MAX_UNPACKED_BYTES), ""
    if chunk.compression:
        raise DecodeError(f"a chunk packed with {chunk.compression!r:.20}, expected zstd")
    return breakup_chunk(chunk, validate_crc=True)


def _reason(error: BaseException) -> str:
    name = type(error).__name__
    if name in ("EndOfFile", "StopIteration"):
        return "it ends in the middle"
    return f"{name}: {error}".rstrip(": ")
