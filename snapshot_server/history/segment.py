"""Rows that will no longer change, packed: sorted by market and time, turned into columns, compressed.

The rows of a segment are spread over BLOCKS by the first bits of their market's key, so that reading one
market unpacks one block. In columns, most bytes are next to equal ones: a change takes about a tenth of its
row.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Sequence
from operator import itemgetter
from typing import Any, Final

import msgspec
import xxhash
import zstandard

from markets.errors import DecodeError

from .rows import KEY_BYTES, key_bytes

BLOCKS: Final = 64
SHIFT: Final = 58
"""A key's block is given by the rest of its 64 bits."""

OVERHEAD: Final = 64 * 48 + 1_000
"""Bytes that a segment takes in memory in addition to its blocks."""

MAX_BLOCK: Final = 16 * 1_048_576
LEVEL: Final = 3

_MAGIC: Final = b"KBHIST1\n"
_DIGEST_BYTES: Final = 8

_PLACE: Final[Callable[[Any], Any]] = itemgetter(slice(16))  # market and time

Span = tuple[int, int]
"""Times (ms) between which something holds."""

Pause = Callable[[], None]


class Segment(msgspec.Struct, frozen=True):
    """Packed rows, and the time for which they contain everything there was to hear.

    Attributes:
        width: of a row, bytes.
        count: rows in it.
        first_ms, last_ms: times of the earliest and the latest.
        begin_ms, end_ms: the period for which it has everything, except for `holes`; None: the listener knew
            that some may be missing.
        packed_names: the tickers of its markets, compressed.
        since: markets whose rows were kept, by key, and since when without interruption.
    """

    width: int
    count: int
    first_ms: int
    last_ms: int
    begin_ms: int | None
    end_ms: int | None
    holes: tuple[Span, ...]
    packed_names: bytes
    blocks: tuple[bytes, ...]
    since: tuple[tuple[int, int], ...] = ()

    @property
    def size(self) -> int:
        """Approximate bytes it takes in memory."""
        return OVERHEAD + sum(map(len, self.blocks)) + len(self.packed_names)

    @property
    def names(self) -> list[str]:
        """The tickers of its markets, if rows are asked for by time alone."""
        if not self.packed_names:
            return []
        return _unpacked(self.packed_names).decode(errors="replace").split("\0")

    def rows(self, key: int) -> list[bytes]:
        """Return the rows of a market in order of time."""
        packed = self.blocks[key >> SHIFT]
        if not packed:
            return []
        columns = _unpacked(packed)
        width, wanted = self.width, key_bytes(key)
        count = len(columns) // width

        def key_at(place: int) -> bytes:
            return columns[place : KEY_BYTES * count : count]

        low = bisect_left(range(count), wanted, key=key_at)
        high = bisect_right(range(count), wanted, low, key=key_at)
        return _rows(columns, width, count, low, high)

    def block(self, number: int) -> list[bytes]:
        """Return all rows of a block, sorted by market and time."""
        packed = self.blocks[number]
        if not packed:
            return []
        columns = _unpacked(packed)
        count = len(columns) // self.width
        return _rows(columns, self.width, count, 0, count)


def pack(rows: Sequence[bytes]) -> bytes:
    """Return the rows of a block, packed; b"" for none."""
    if not rows:
        return b""
    width = len(rows[0])
    # A stable sort: what came at one time keeps its order.
    flat = b"".join(sorted(rows, key=_PLACE))
    columns = b"".join([flat[column::width] for column in range(width)])
    return zstandard.ZstdCompressor(level=LEVEL, write_checksum=False).compress(columns)


def pack_names(names: Collection[str]) -> bytes:
    """Return tickers, packed; b"" for none."""
    if not names:
        return b""
    text = "\0".join(sorted(names)).encode(errors="replace")
    return zstandard.ZstdCompressor(level=LEVEL, write_checksum=False).compress(text)


def cut(flat: bytes | bytearray, width: int) -> list[bytes]:
    """Return the consecutive rows in `flat`."""
    return [bytes(flat[start : start + width]) for start in range(0, len(flat), width)]


def encode_segment(segment: Segment) -> bytes:
    """Return the bytes of a file that holds a segment."""
    body = msgspec.msgpack.encode(segment)
    return _MAGIC + xxhash.xxh3_64_digest(body) + body


def decode_segment(data: bytes, width: int) -> Segment:
    """Return the segment that a file holds.

    Raises:
        DecodeError: it is not one, is damaged, or its rows are not `width` wide.
    """
    head = len(_MAGIC) + _DIGEST_BYTES
    body = memoryview(data)[head:]
    if data[: len(_MAGIC)] != _MAGIC:
        raise DecodeError("segment: got other first bytes than those of this version")
    if xxhash.xxh3_64_digest(body) != data[len(_MAGIC) : head]:
        raise DecodeError("segment: its bytes are not those that were written")
    try:
        segment = msgspec.msgpack.decode(body, type=Segment)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DecodeError(f"segment: {error}") from None
    if segment.width != width or len(segment.blocks) != BLOCKS:
        raise DecodeError(
            f"segment: got rows of {segment.width} bytes in {len(segment.blocks)} blocks, expected {width} "
            f"in {BLOCKS}"
        )
    return segment


def _unpacked(packed: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(packed, max_output_size=MAX_BLOCK)


def _rows(columns: bytes, width: int, count: int, low: int, high: int) -> list[bytes]:
    flat = bytearray(width * (high - low))
    for column in range(width):
        flat[column::width] = columns[column * count + low : column * count + high]
    return cut(flat, width)
