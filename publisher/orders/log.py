"""The gateway's log on disk: consecutive records, each durable before anything follows from it.

The file begins with `MAGIC`. Then frames, each written at once: length and CRC-32 of what follows, 4 bytes
each and little-endian, and the records of one sync as a MessagePack array of byte strings. A torn end was
never acknowledged, and is cut off; damage before the end prevents the start.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final
from zlib import crc32

import msgspec

from bus.files import write_whole
from markets.errors import StartupError

MAGIC: Final = b"kalshi-bus orders 1\n"
FRAME_MOST: Final = 256 * 1_048_576
"""The longest frame: a greater length is damage."""

GROWN: Final = 8 * 1_048_576
"""From this size on a log is rewritten whenever it has doubled."""

_HEAD: Final = 8
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(list[bytes])


class OrderLog:
    """An append-only log of records. One thread.

    Attributes:
        size: bytes that are on disk.
        cut: bytes cut off a torn end when it was opened.
    """

    def __init__(self, path: Path) -> None:
        """Open or make the log; `records` reads it, and must be exhausted before `append`.

        Raises:
            StartupError: it is damaged before its end, or is not a log of ours.
            OSError: it cannot be opened or made.
        """
        self._path = path
        self.cut = self._rewritten = 0
        fresh = not path.exists() or path.stat().st_size < len(MAGIC)
        if fresh:
            write_whole(path, MAGIC)
        self._content = path.read_bytes()
        if not self._content.startswith(MAGIC):
            raise StartupError(
                f"{path} is not a log of the order gateway's: move it away if you know what it is"
            )
        self.size = _good_end(self._content, path)
        self.cut = len(self._content) - self.size
        self._file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        if self.cut:
            os.ftruncate(self._file, self.size)
            os.fdatasync(self._file)
        os.lseek(self._file, self.size, os.SEEK_SET)

    @property
    def grown(self) -> bool:
        """Whether it is time to rewrite it, however little of it turns out to be of no use any more."""
        return self.size > max(GROWN, 2 * self._rewritten)

    def records(self) -> Iterator[bytes]:
        """Yield, and then release, all records that were there when it was opened."""
        content, self._content = memoryview(self._content)[: self.size], b""
        yield from _records(content)

    def append(self, records: Sequence[bytes]) -> None:
        """Write records and return once they are durable. After an error nothing of them remains.

        Raises:
            OSError: they could not be written or made durable.
        """
        if not records:
            return
        body = _ENCODER.encode(records)
        frame = len(body).to_bytes(4, "little") + crc32(body).to_bytes(4, "little") + body
        try:
            written = 0
            while written < len(frame):
                written += os.write(self._file, frame[written:])
            os.fdatasync(self._file)
        except OSError:
            os.ftruncate(self._file, self.size)
            os.lseek(self._file, self.size, os.SEEK_SET)
            raise
        self.size += len(frame)

    def compact(self, base: bytes, keeps: Callable[[bytes], bool]) -> None:
        """Rewrite the log: `base`, then what is kept. The old one stays until the new one is complete.

        Raises:
            OSError: it could not be written; the old one stays in use.
        """
        kept = [base, *(record for record in _records(self._path.read_bytes()[: self.size]) if keeps(record))]
        content = MAGIC + b"".join(
            len(body).to_bytes(4, "little") + crc32(body).to_bytes(4, "little") + body
            for body in (_ENCODER.encode(kept[at : at + 1000]) for at in range(0, len(kept), 1000))
        )
        write_whole(self._path, content)
        os.close(self._file)
        self._file = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        self.size = self._rewritten = os.lseek(self._file, 0, os.SEEK_END)

    def close(self) -> None:
        """Close it."""
        os.close(self._file)


def read_log(path: Path) -> list[bytes]:
    """Return the records of a log that another process may be writing; without a file there are none.

    Raises:
        StartupError: it is not a log of ours.
        OSError: it cannot be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    if not content.startswith(MAGIC):
        raise StartupError(f"{path} is not a log of the order gateway's")
    end = at = len(MAGIC)
    while at + _HEAD <= len(content) and (after := _frame_end(content, at)) is not None:
        end = at = after
    return list(_records(memoryview(content)[:end]))


def _frame_end(content: bytes | memoryview, at: int) -> int | None:
    """Return where the frame at an offset ends; None if there is no complete one."""
    end = at + _HEAD + int.from_bytes(content[at : at + 4], "little")
    if end <= at + _HEAD or end > len(content) or end - at > FRAME_MOST:
        return None
    return (
        end
        if crc32(content[at + _HEAD : end]) == int.from_bytes(content[at + 4 : at + 8], "little")
        else None
    )


def _good_end(content: bytes, path: Path) -> int:
    """Return where the last complete frame ends.

    Raises:
        StartupError: a complete frame follows one that is not: that is not a torn end.
    """
    view, at = memoryview(content), len(MAGIC)
    while at + _HEAD <= len(view) and (end := _frame_end(view, at)) is not None:
        at = end
    for later in range(at + 1, len(view) - _HEAD):
        end = later + _HEAD + int.from_bytes(view[later : later + 4], "little")
        if later + _HEAD < end <= len(view) and _frame_end(view, later) is not None:
            raise StartupError(
                f"{path} is damaged at byte {at}, before its end: what orders have become of is in it, so "
                "nothing is sent; put a whole copy in its place"
            )
    return at


def _records(content: bytes | memoryview) -> Iterator[bytes]:
    at = len(MAGIC)
    while at < len(content):
        end = at + _HEAD + int.from_bytes(content[at : at + 4], "little")
        yield from _DECODER.decode(content[at + _HEAD : end])
        at = end
