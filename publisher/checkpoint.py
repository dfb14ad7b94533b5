"""The state on disk, so that a restarted publisher serves at once, with true ages.

One file: zstd of objects, each preceded by its length: a head map, then the chunks of every stream as `state`
would send them, then an empty one, followed by the XXH3-64 hash of it all. It is replaced by rename, so it is
either complete or absent; a file that is broken, newer or another exchange's is ignored with a line in the
log.
"""

import contextlib
import io
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import msgspec
import structlog
import xxhash
import zstandard

from bus.clock import Clock
from bus.files import open_regular
from bus.protocol.messages import (
    TOPIC_CYCLE,
    CycleEnd,
    decode_chunk,
    decode_map,
    decode_record,
    encode_chunk,
    encode_map,
)
from bus.protocol.state import STATE_KINDS, State
from bus.protocol.writer import Change
from bus.threads import Owner
from markets.errors import DecodeError
from markets.records import Quote, Record

log = structlog.get_logger()

VERSION: Final = 1
NAME: Final = "checkpoint"
SAVE_EVERY_NS: Final = 30_000_000_000
SAVE_SHARE: Final = 40
"""Pause between checkpoints, as a multiple of the time one takes: seconds with 130,000 markets."""

MAX_FILE_BYTES: Final = 2**31
"""A larger file is not one of ours: with 130,000 markets it has some 50 MB."""

_MAX_OBJECT_BYTES: Final = 64 * 1_048_576
_LENGTH: Final = struct.Struct("<I")
_DIGEST_BYTES: Final = 8


class _AnyHead(msgspec.Struct):
    """The part of the head common to all versions."""

    version: int
    epoch: int


class _Hashed(io.RawIOBase):
    """Hashes what is written through it to a file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = xxhash.xxh3_64()

    def write(self, data: Any) -> int:
        self._hash.update(data)
        return self._file.write(data)

    def digest(self) -> bytes:
        return self._hash.digest()


class Head(msgspec.Struct, frozen=True):
    """The first object of the file.

    Attributes:
        source: which exchange and which part of it, such as "sim http://127.0.0.1:5003/trade-api/v2".
        cycle: the commit after which it was written. ages: tickers not confirmed by that -> as_of_ms of their
            quotes.
    """

    version: int
    source: str
    epoch: int
    saved_ms: int
    cycle: CycleEnd
    ages: dict[str, int]


class Checkpoint(msgspec.Struct, frozen=True):
    """What a file held: its head, and the records to open an epoch with (none if it cannot be used)."""

    epoch: int = 0
    cycle: CycleEnd | None = None
    changes: tuple[Change, ...] = ()


def save(directory: Path, state: State, source: str, now_ms: int) -> int:
    """Write the state; return the file's size in bytes.

    The lock is held for one stream at a time: what is published meanwhile may or may not be in it. The ages
    are those at the beginning, never too young; the first sweep after a load repairs any inconsistency.

    Raises:
        OSError: it cannot be written; the previous file stays.
    """
    with state.lock:
        cycle = state.cycle
        topics = [topic for topic in state.streams if topic != TOPIC_CYCLE]
        ages = {ticker: state.quote_as_of_ms(ticker) for ticker in cycle.unconfirmed} if cycle else {}
    assert cycle is not None, "a checkpoint is written after a commit"
    known_ages = {ticker: as_of_ms for ticker, as_of_ms in ages.items() if as_of_ms is not None}
    head = Head(VERSION, source, state.epoch, now_ms, cycle, known_ages)
    path = directory / NAME
    temporary = directory / f"{NAME}.new"
    # O_NONBLOCK: a pipe in its place gives an error instead of a wait.
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        fd = os.open(temporary, flags, 0o600)
        with os.fdopen(fd, "wb") as file:
            hashed = _Hashed(file)
            with zstandard.ZstdCompressor(level=1).stream_writer(
                cast(BinaryIO, hashed), closefd=False
            ) as out:
                _put(out, encode_map(head))
                for topic in topics:
                    for chunk in state.chunk(topic):
                        _put(out, encode_chunk(chunk))
                _put(out, b"")
            file.write(hashed.digest())
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        temporary.rename(path)
    except OSError:
        with contextlib.suppress(OSError):  # what is of no use must not keep a disk full
            temporary.unlink(missing_ok=True)
        raise
    directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory_fd)
    finally:
        os.close(directory_fd)
    return size


def load(directory: Path, source: str) -> Checkpoint:
    """Return what the last run left: all of it if it is complete and of the same `source`.

    Never raises for what is in the file. `epoch` is set if it can be read at all: the next must be larger.
    """
    path = directory / NAME
    epoch = 0
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_FILE_BYTES:
                return _ignored(path, f"it has {size} bytes, expected at most {MAX_FILE_BYTES}", 0)
            body = file.read()
        if len(body) < _DIGEST_BYTES or xxhash.xxh3_64_digest(body[:-_DIGEST_BYTES]) != body[-_DIGEST_BYTES:]:
            return _ignored(path, "it is damaged: its hash does not match", 0)
        with zstandard.ZstdDecompressor().stream_reader(body[:-_DIGEST_BYTES]) as reader:
            first = _take(reader)
            epoch = decode_map(first, _AnyHead).epoch
            head = _head(first)
            if head.source != source:
                return _ignored(path, f"it is of {head.source!r}, this is {source!r}", epoch)
            changes = tuple(_changes(reader, head.ages))
    except FileNotFoundError:
        return Checkpoint()
    except (OSError, DecodeError, zstandard.ZstdError, MemoryError) as error:
        return _ignored(path, str(error) or type(error).__name__, epoch)
    cycle = msgspec.structs.replace(head.cycle, unconfirmed=tuple(head.ages))
    return Checkpoint(epoch, cycle, changes)


class Saver:
    """Saves the state now and then, in the background: with many markets it takes seconds.

    Args:
        source: what the checkpoint must be from to be used again: exchange and universe.
    """

    def __init__(self, directory: Path, state: State, source: str, clock: Clock) -> None:
        self._directory = directory
        self._state = state
        self._source = source
        self._clock = clock
        self._saving: threading.Thread | None = None
        self._saved_ns: int | None = None
        self._pause_ns = SAVE_EVERY_NS
        self._thread = Owner("the saving of checkpoints")

    def begin(self) -> None:
        """Save, if it is time and the last save is finished. One thread calls this, and never waits."""
        self._thread.check()
        if self._saving is None or not self._saving.is_alive():
            # A daemon, like the publisher's others: the file is replaced by rename.
            self._saving = threading.Thread(target=self._save, name="checkpoint", daemon=True)
            self._saving.start()

    def _save(self) -> None:
        now_ns = self._clock.monotonic_ns()
        if self._saved_ns is not None and now_ns - self._saved_ns < self._pause_ns:
            return
        self._saved_ns = now_ns
        try:
            size = save(self._directory, self._state, self._source, self._clock.now_ms())
        except OSError as error:
            log.warning("checkpoint.failed", error=str(error))
            return
        taken_ns = self._clock.monotonic_ns() - now_ns
        self._pause_ns = max(SAVE_EVERY_NS, SAVE_SHARE * taken_ns)
        log.info("checkpoint.saved", bytes=size, ms=taken_ns // 1_000_000)


def _put(out: zstandard.ZstdCompressionWriter, body: bytes) -> None:
    out.write(_LENGTH.pack(len(body)))
    out.write(body)


def _take(reader: zstandard.ZstdDecompressionReader) -> bytes:
    """Return the next object, b"" at the end mark."""
    (size,) = _LENGTH.unpack(_exactly(reader, _LENGTH.size))
    if size > _MAX_OBJECT_BYTES:
        raise DecodeError(f"an object of {size} bytes")
    return _exactly(reader, size)


def _exactly(reader: zstandard.ZstdDecompressionReader, size: int) -> bytes:
    parts = []
    while size:
        part = reader.read(size)
        if not part:
            raise DecodeError("its end is missing")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _head(body: bytes) -> Head:
    version = decode_map(body, _AnyHead).version
    if version != VERSION:
        raise DecodeError(f"got version {version}, this build reads {VERSION}")
    return decode_map(body, Head)


def _changes(reader: zstandard.ZstdDecompressionReader, ages: dict[str, int]) -> Iterator[Change]:
    while body := _take(reader):
        chunk = decode_chunk(body)
        for kind, raws in chunk.content:
            if kind not in STATE_KINDS:
                raise DecodeError(f"a record of kind {kind!r}")
            if kind == "drift":
                continue  # drift is found again, by what the new build takes for documented
            yield chunk.topic, kind, [_aged(decode_record(kind, raw), ages) for raw in raws]


def _aged(record: Record, ages: dict[str, int]) -> Record:
    if isinstance(record, Quote) and record.ticker in ages:
        return msgspec.structs.replace(record, as_of_ms=ages[record.ticker])
    return record


def _ignored(path: Path, why: str, epoch: int) -> Checkpoint:
    log.warning("checkpoint.ignored", path=str(path), why=why)
    return Checkpoint(epoch)
