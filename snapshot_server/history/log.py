"""Rows of one kind: the latest as they came, earlier ones packed in segments, the oldest dropped first.

What is dropped is kept a while longer for markets that somebody cares about. One thread writes, any thread
reads.
"""

import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Final, NamedTuple

from bus.threads import Owner

from .rows import KEY_BYTES, key_bytes, time_of
from .segment import BLOCKS, SHIFT, Pause, Segment, Span, cut, pack, pack_names

MAX_HOLES: Final = 1_000
"""The most holes in a segment; beyond that the last ones are merged."""

_FOREVER: Final = 2**62


class Found(NamedTuple):
    """Rows of one market in order of time. `more`: there are older ones than those asked for."""

    rows: list[bytes]
    more: bool


class Part(NamedTuple):
    """Rows of all markets, in no order, and the tickers of those markets.

    `later_ms` is the latest time in the parts that come after it: nothing later follows.
    """

    rows: list[bytes]
    names: Collection[str]
    later_ms: int


class Open:
    """Rows as they came, by block. Its owner holds the log's lock.

    Attributes:
        begin_ms: since when it has everything heard; None: nothing has been heard yet.
    """

    def __init__(self, width: int, begin_ms: int | None) -> None:
        self.width = width
        self.count = 0
        self.first_ms = _FOREVER
        self.last_ms = -_FOREVER
        self.begin_ms = begin_ms
        self.end_ms = begin_ms
        self.holes: list[Span] = []
        self.names: set[str] = set()
        self.since: dict[int, int] = {}
        self.blocks = [bytearray() for _ in range(BLOCKS)]

    @classmethod
    def of(cls, segment: Segment) -> "Open":
        """Return the rows of a segment as they came."""
        rows = cls(segment.width, segment.begin_ms)
        rows.end_ms, rows.holes, rows.since = segment.end_ms, list(segment.holes), dict(segment.since)
        rows.names = set(segment.names)
        rows.count, rows.first_ms, rows.last_ms = segment.count, segment.first_ms, segment.last_ms
        rows.blocks = [bytearray().join(segment.block(number)) for number in range(BLOCKS)]
        return rows

    def still(self) -> "Open":
        """Return a frozen copy."""
        copy = Open(self.width, self.begin_ms)
        copy.count, copy.first_ms, copy.last_ms = self.count, self.first_ms, self.last_ms
        copy.names = self.names.copy()
        copy.blocks = [block.copy() for block in self.blocks]
        return copy

    @property
    def size(self) -> int:
        return self.count * self.width

    def add(self, key: int, time_ms: int, row: bytes) -> None:
        self.blocks[key >> SHIFT] += row
        self.count += 1
        self.first_ms = min(self.first_ms, time_ms)
        self.last_ms = max(self.last_ms, time_ms)

    def rows(self, key: int) -> list[bytes]:
        """Return a market's rows in order of time."""
        wanted, flat, width = key_bytes(key), self.blocks[key >> SHIFT], self.width
        rows = []
        at = flat.find(wanted)
        while at >= 0:
            if at % width == 0:
                rows.append(bytes(flat[at : at + width]))
                at = flat.find(wanted, at + width)
            else:
                at = flat.find(wanted, at + 1)
        rows.sort(key=_by_time)
        return rows

    def block(self, number: int) -> list[bytes]:
        """Return all rows of a block, as they came."""
        return cut(self.blocks[number], self.width)


class Log:
    """The rows of one kind.

    Args:
        width: that of a row, in bytes.
        most: the most rows that wait, as they came, until they are packed.
        pause: lets other threads have the interpreter.

    Attributes:
        until_ms: up to when everything was heard; None: nothing was.
        sealed, evicted: called in the writer's thread with the (file name, segment) that was made, and the
            name of one that is gone.
    """

    def __init__(self, name: str, width: int, most: int, pause: Pause) -> None:
        self.name = name
        self.width = width
        self.sealed: Callable[[str, Segment], None] = lambda _name, _segment: None
        self.evicted: Callable[[str], None] = lambda _name: None
        self._most = most
        self._pause = pause
        self._lock = threading.Lock()
        self._open = Open(width, None)
        self._closing: Open | None = None
        self._segments: deque[tuple[str, Segment]] = deque()
        self._kept: deque[tuple[str, Segment]] = deque()
        self._kept_open = Open(width, None)
        self._kept_since: dict[int, int] = {}
        self._kept_from_ms = -_FOREVER
        self._number = 0
        self._writer = Owner(f"the history of {name}")

    # -- the writer's

    def put(self, rows: Sequence[tuple[int, int, bytes]]) -> None:
        """Add rows, each as (key, time, row)."""
        self._writer.check()
        with self._lock:
            for key, time_ms, row in rows:
                self._open.add(key, time_ms, row)
        if self._open.count >= self._most:
            self.seal()

    def note_names(self, tickers: Collection[str]) -> None:
        """Note the tickers of markets whose rows come next, if rows are asked for by time alone."""
        with self._lock:
            self._open.names.update(tickers)

    def heard(self, since_ms: int, until_ms: int) -> None:
        """Note that everything between two times is in, or about to come."""
        self._writer.check()
        with self._lock:
            now = self._open
            if now.begin_ms is None or now.end_ms is None:
                now.begin_ms = since_ms
            elif since_ms > now.end_ms:
                hole = (now.end_ms, since_ms)
                if len(now.holes) >= MAX_HOLES:
                    hole = (now.holes.pop()[0], since_ms)
                now.holes.append(hole)
            now.end_ms = until_ms if now.end_ms is None else max(now.end_ms, until_ms)

    def seal(self) -> None:
        """Pack the waiting rows."""
        self._writer.check()
        if not self._open.count:
            return
        with self._lock:
            closing = self._closing = self._open
            self._open = Open(self.width, closing.end_ms)
        segment = self.packed(closing)
        self._number += 1
        name = f"{self.name}-{self._number:010d}"
        with self._lock:
            self._segments.append((name, segment))
            self._closing = None
        self.sealed(name, segment)

    def packed(self, rows: Open) -> Segment:
        """Return rows as a segment."""
        blocks = []
        for block in rows.blocks:
            blocks.append(pack(cut(block, self.width)))
            self._pause()
        return Segment(
            width=self.width,
            count=rows.count,
            first_ms=rows.first_ms,
            last_ms=rows.last_ms,
            begin_ms=rows.begin_ms,
            end_ms=rows.end_ms,
            holes=tuple(rows.holes),
            packed_names=pack_names(rows.names),
            since=tuple(rows.since.items()),
            blocks=tuple(blocks),
        )

    def waiting(self) -> Iterator[tuple[str, Segment]]:
        """Yield what is not packed, as segments to be written, under the names they are restored by."""
        self._writer.check()
        for name, rows in ((f"{self.name}-open", self._open), (f"kept-{self.name}-open", self._kept_open)):
            if rows.count or rows.begin_ms is not None:
                yield name, self.packed(rows)

    def take(self, name: str, segment: Segment) -> None:
        """Restore an earlier segment: each sort in order, what was not packed last."""
        self._writer.check()
        kept, (_, _, number) = name.startswith("kept-"), name.rpartition("-")
        if kept:
            self._kept_since = dict(segment.since)
        with self._lock:
            if number != "open":
                (self._kept if kept else self._segments).append((name, segment))
                self._number = max(self._number, int(number))
            elif kept:
                self._kept_open = Open.of(segment)
            else:
                self._open = Open.of(segment)

    def last_rows(self, changed: Callable[[bytes, bytes], None], since_ms: int) -> dict[bytes, bytes]:
        """Return the last row of each market, by how it begins.

        Args:
            changed: is called with a market's row and the one after it, of parts that end after `since_ms`.
        """
        found: dict[bytes, bytes] = {}
        parts: list[Open | Segment] = [segment for _, segment in (*self._kept, *self._segments)]
        for part in (*parts, self._open):
            for number in range(BLOCKS):
                rows = part.block(number)
                if part.last_ms >= since_ms:
                    if isinstance(part, Open):  # packed ones are in order
                        rows.sort(key=_by_time)
                    for row in rows:
                        if (before := found.get(row[:KEY_BYTES])) is not None:
                            changed(before, row)
                        found[row[:KEY_BYTES]] = row
                else:
                    found.update((row[:KEY_BYTES], row) for row in rows)
                self._pause()
        return found

    def evict(self, cared_for: Collection[int], most_kept: int) -> bool:
        """Drop the oldest segment, except for the rows of markets that are `cared_for`.

        At most `most_kept` bytes of these are kept. Returns whether there was anything to drop.
        """
        self._writer.check()
        if self._kept and self.kept_size > most_kept:
            with self._lock:
                name, oldest = self._kept.popleft()
                self._kept_from_ms = max(self._kept_from_ms, _end_of(oldest))
            self.evicted(name)
            return True
        if not self._segments:
            return False
        name, oldest = self._segments[0]
        saved = self._rows_of(oldest, cared_for)
        with self._lock:
            self._segments.popleft()
            kept = self._kept_open
            for key, row in saved:
                kept.add(key, time_of(row), row)
            kept.begin_ms = oldest.begin_ms if kept.begin_ms is None else kept.begin_ms
            kept.end_ms = oldest.end_ms
            since_ms = oldest.first_ms if oldest.begin_ms is None else oldest.begin_ms
            self._kept_since = {key: self._kept_since.get(key, since_ms) for key in cared_for}
            kept.since = self._kept_since
        self.evicted(name)
        if self._kept_open.count >= self._most:
            self._seal_kept()
        return True

    def _rows_of(self, segment: Segment, keys: Collection[int]) -> list[tuple[int, bytes]]:
        """Return the rows of some markets, each with its market's key."""
        wanted = {key_bytes(key): key for key in keys}
        found: list[tuple[int, bytes]] = []
        for number in sorted({key >> SHIFT for key in keys}):
            rows = ((wanted.get(row[:KEY_BYTES]), row) for row in segment.block(number))
            found += [(key, row) for key, row in rows if key is not None]
            self._pause()
        return found

    def _seal_kept(self) -> None:
        segment = self.packed(self._kept_open)
        self._number += 1
        name = f"kept-{self.name}-{self._number:010d}"
        with self._lock:
            self._kept.append((name, segment))
            self._kept_open = Open(self.width, segment.end_ms)
        self.sealed(name, segment)

    # -- any thread's

    @property
    def until_ms(self) -> int | None:
        """Up to when everything was heard."""
        return self._open.end_ms

    @property
    def size(self) -> int:
        """Bytes of all rows."""
        with self._lock:
            closing = 0 if self._closing is None else self._closing.size
            packed = sum(segment.size for _, segment in (*self._segments, *self._kept))
            return packed + closing + self._open.size + self._kept_open.size

    @property
    def kept_size(self) -> int:
        """Bytes of what is kept longer."""
        with self._lock:
            return sum(segment.size for _, segment in self._kept) + self._kept_open.size

    @property
    def count(self) -> int:
        """How many rows there are."""
        with self._lock:
            closing = 0 if self._closing is None else self._closing.count
            packed = sum(segment.count for _, segment in (*self._segments, *self._kept))
            return packed + closing + self._open.count + self._kept_open.count

    @property
    def oldest_end_ms(self) -> int | None:
        """Until when the oldest segment reaches; None without one."""
        with self._lock:
            return _end_of(self._segments[0][1]) if self._segments else None

    def begin_ms(self, key: int | None = None) -> int | None:
        """Return since when there is everything heard, of a market or of all; None if there is nothing."""
        with self._lock:
            begin_ms = self._begin_ms()
            since_ms = None if key is None else self._kept_since.get(key)
            return begin_ms if since_ms is None else max(since_ms, self._kept_from_ms)

    def _begin_ms(self) -> int | None:
        parts: list[Open | Segment] = [segment for _, segment in self._segments]
        parts += [rows for rows in (self._closing, self._open) if rows is not None]
        return next((part.begin_ms for part in parts if part.begin_ms is not None), None)

    def holes(self, low_ms: int, high_ms: int) -> list[Span]:
        """Return the periods in which something may have happened unheard."""
        found: list[Span] = []
        with self._lock:
            parts: list[Open | Segment] = [part for _, part in (*self._kept, *self._segments)]
            parts += [rows for rows in (self._closing, self._open) if rows is not None]
            ends_ms: int | None = None
            for part in parts:
                if part.begin_ms is None or part.end_ms is None:
                    continue
                if ends_ms is not None and part.begin_ms > ends_ms:
                    found.append((ends_ms, part.begin_ms))
                found += part.holes
                ends_ms = part.end_ms
        return [(begin, end) for begin, end in found if begin < high_ms and end > low_ms]

    def read(self, key: int, low_ms: int, high_ms: int, most: int, *, before: bool) -> Found:
        """Return the rows of a market from `low_ms` to `high_ms`, at most the last `most`.

        Args:
            before: whether the last one before `low_ms` is wanted too, which says what stood then.
        """
        begin_ms = self.begin_ms(key)
        found: list[bytes] = []
        for part in self._parts_backwards(key):
            if part.first_ms <= high_ms and (before or part.last_ms >= low_ms):
                found = [row for row in part.rows(key) if time_of(row) <= high_ms] + found
                self._pause()
            if len(found) > most or (found and time_of(found[0]) < low_ms):
                break
        # Late arrivals are in a later part.
        found.sort(key=_by_time)
        from_ms = low_ms if begin_ms is None else max(low_ms, begin_ms)
        start = next((place for place, row in enumerate(found) if time_of(row) >= from_ms), len(found))
        if before:
            start = max(0, start - 1)
        found = found[start:]
        return Found(found[-most:], len(found) > most)

    def newest(self, low_ms: int, high_ms: int) -> Iterator[Part]:
        """Yield the rows of all markets from `high_ms` down, a part at a time."""
        with self._lock:
            parts: list[Open | Segment] = [
                rows.still() for rows in (self._open, self._closing) if rows is not None
            ]
            parts += [segment for _, segment in self._segments]
        parts = [part for part in parts if part.count and part.first_ms <= high_ms and part.last_ms >= low_ms]
        parts.sort(key=lambda part: part.last_ms, reverse=True)
        for place, part in enumerate(parts):
            rows: list[bytes] = []
            for number in range(BLOCKS):
                rows += part.block(number)
                self._pause()
            later_ms = parts[place + 1].last_ms if place + 1 < len(parts) else -_FOREVER
            rows = [row for row in rows if low_ms <= time_of(row) <= high_ms]
            yield Part(rows, part.names, later_ms)

    def _parts_backwards(self, key: int) -> Iterator["Segment | _Few"]:
        with self._lock:
            now = [_Few.of(part, key) for part in (self._open, self._closing) if part is not None]
            segments = [segment for _, segment in self._segments]
            kept = [segment for _, segment in self._kept] if key in self._kept_since else []
            kept_now = _Few.of(self._kept_open, key) if key in self._kept_since else None
        yield from now
        yield from reversed(segments)
        if kept_now is not None:
            yield kept_now
        yield from reversed(kept)


class _Few(NamedTuple):
    """The rows of one market that are not packed."""

    found: list[bytes]
    first_ms: int
    last_ms: int

    @classmethod
    def of(cls, rows: Open, key: int) -> "_Few":
        return cls(rows.rows(key), rows.first_ms, rows.last_ms)

    def rows(self, _key: int) -> list[bytes]:
        return self.found


def _end_of(segment: Segment) -> int:
    return segment.last_ms if segment.end_ms is None else segment.end_ms


def _by_time(row: bytes) -> bytes:
    return row[8:16]
