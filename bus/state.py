"""The state that publisher and replicas hold: records by kind, numbered streams, digests.

One class for both sides, so that the two ends compute the same thing the same way. Not thread-safe by
itself: the one thread that applies holds `lock` while it changes anything, and a reader that needs more
than one record holds it while it reads.
"""

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any, Final

import msgspec

from markets.errors import DecodeError
from markets.records import Book, BookDelta, Level, Quote, Record, Remove

from .digest import (
    BOOK,
    MASK,
    QUOTE,
    REFERENCE,
    STATIC,
    book_hash,
    head_hash,
    level_hash,
    record_hash,
    ticker_key,
)
from .messages import FIELD_COUNTS, RECORD_TYPES, Chunk, CycleEnd, decode_records, encode_record

_KEY_OF: Final[dict[str, Callable[[Any], str]]] = {
    "market": attrgetter("ticker"),
    "quote": attrgetter("ticker"),
    "book": attrgetter("ticker"),
    "suspect": attrgetter("ticker"),
    "series": attrgetter("ticker"),
    "event": attrgetter("event_ticker"),
    "milestone": attrgetter("id"),
    "exchange": lambda _status: "",  # there is one
    "fair_value": attrgetter("ticker"),
}
LANE: Final = {
    "market": STATIC,
    "quote": QUOTE,
    "book": BOOK,
    "suspect": BOOK,
    "series": REFERENCE,
    "event": REFERENCE,
    "milestone": REFERENCE,
    "exchange": REFERENCE,
    "fair_value": REFERENCE,
}
"""Lane of each kind that is state."""

STATE_KINDS: Final = tuple(LANE)
_OF_MARKET: Final = ("market", "quote", "book", "suspect")


class Stream:
    """One stream's position and content: `digests` by lane, `keys` of its records by kind.

    `unhashed` holds, by kind, the keys of records that `digests` does not yet count as they now are.
    """

    __slots__ = ("digests", "keys", "last", "unhashed")

    def __init__(self) -> None:
        self.last = 0
        self.digests = [0, 0, 0, 0]
        self.keys: dict[str, dict[str, None]] = {}
        self.unhashed: dict[str, set[str]] = {}


class Changed(msgspec.Struct, frozen=True, gc=False):
    """What one applied message or commit changed.

    `cycle` is 0 for streamed updates. `records` holds (kind, key) of all that was set or removed.
    """

    seq: int
    cycle: int
    records: tuple[tuple[str, str], ...]


class State:
    """Everything a replica knows at (`epoch`, `seq`).

    `markets`, `quotes`, `books`, `suspects` are keyed by market ticker, `series` by series ticker,
    `events` by event ticker, `milestones` by id; `exchange` holds the exchange's status under "",
    `fair_values` the trader's by ticker (on its own feed only). `ages` has the
    times (ms) that the quotes had which the last commit did not confirm.
    """

    def __init__(self, epoch: int = 0) -> None:
        self.lock = threading.RLock()
        self.epoch = epoch
        self.seq = 0
        self.cycle: CycleEnd | None = None
        self.streams: dict[str, Stream] = {}
        self.records: dict[str, dict[str, Any]] = {kind: {} for kind in STATE_KINDS}
        self.stream_of: dict[str, str] = {}
        self.keep_bytes = False
        self._hashes: dict[str, dict[str, int]] = {kind: {} for kind in STATE_KINDS}
        self._foreign: dict[tuple[str, str], bytes] = {}
        self.ages: dict[str, int] = {}
        self.markets = self.records["market"]
        self.quotes = self.records["quote"]
        self.books = self.records["book"]
        self.suspects = self.records["suspect"]
        self.series = self.records["series"]
        self.events = self.records["event"]
        self.milestones = self.records["milestone"]
        self.exchange = self.records["exchange"]
        self.fair_values = self.records["fair_value"]

    # -- reading

    def quote_as_of_ms(self, ticker: str) -> int | None:
        """Return when this market's quote was last known to be true, or None without a quote."""
        quote: Quote | None = self.quotes.get(ticker)
        if quote is None:
            return None
        confirmed = self.ages.get(ticker)
        if confirmed is None:
            confirmed = (self.cycle.as_of_ms if self.cycle else None) or 0
        return max(quote.as_of_ms, confirmed)

    def digest(self) -> int:
        """Return the digest of the whole: the sum over streams and lanes."""
        with self.lock:
            for stream in self.streams.values():
                self._settle(stream)
            return sum(sum(stream.digests) for stream in self.streams.values()) & MASK

    def position(self, topic: str) -> tuple[int, int, int, int, int]:
        """Return (last seq, static, quote, book, reference digest) of a stream."""
        with self.lock:
            stream = self.streams[topic]
            self._settle(stream)
            static, quote, book, reference = stream.digests
        return stream.last, static, quote, book, reference

    def frozen(self) -> "State":
        """Return a copy of records and position that stands still, for readers; the caller holds `lock`.

        Cheap: records never change, so only the dicts are copied. It has no streams, so no digest.
        """
        copy = State(self.epoch)
        copy.seq, copy.cycle = self.seq, self.cycle
        for kind, records in self.records.items():
            copy.records[kind].update(records)
        copy.ages = self.ages.copy()
        return copy

    # -- changing

    def stream(self, topic: str) -> Stream:
        """Return the stream of a topic, made if new."""
        stream = self.streams.get(topic)
        if stream is None:
            stream = self.streams[topic] = Stream()
        return stream

    def apply(
        self, topic: str, seq: int, kind: str, raws: Sequence[msgspec.Raw | bytes]
    ) -> list[tuple[str, str]]:
        """Apply one message's records; the caller holds `lock`. Return (kind, key) of each.

        Unknown kinds and kinds that are not state only move the stream's position.

        Raises:
            DecodeError: a record is malformed; nothing of this message was applied.
        """
        if kind not in RECORD_TYPES:
            self.stream(topic).last = seq
            return []
        return self.put(topic, seq, kind, decode_all(kind, raws), raws)

    def put(
        self,
        topic: str,
        seq: int,
        kind: str,
        records: Sequence[Any],
        raws: Sequence[msgspec.Raw | bytes] | None = None,
    ) -> list[tuple[str, str]]:
        """Apply decoded records; the caller holds `lock`. Return (kind, key) of each.

        `raws` are their bytes as they came, needed only with `keep_bytes`.
        """
        stream = self.streams.get(topic) or self.stream(topic)
        stream.last = seq
        if kind == "book":
            for record in records:
                self._set_book(topic, stream, record)
                self._drop(stream, "suspect", record.ticker)
        elif kind == "book_delta":
            return [("book", record.ticker) for record in records if self._delta(stream, record)]
        elif kind == "suspect":
            for record in records:
                if record.since_ms is None:
                    self._drop(stream, kind, record.ticker)
            self._replace(topic, stream, kind, [record for record in records if record.since_ms is not None])
        elif kind == "remove":
            for record in records:
                self._remove(stream, topic, record)
            return [(record.what, record.key) for record in records]
        elif kind in LANE:
            self._replace(topic, stream, kind, records)
        else:
            return [(kind, getattr(record, "ticker", "")) for record in records]
        changed = [(kind, key) for key in map(_KEY_OF[kind], records)]
        if self.keep_bytes and raws is not None and kind != "book":
            self._foreign.update(zip(changed, map(bytes, raws), strict=True))
        return changed

    def put_quotes(self, topic: str, seq: int, quotes: Sequence[Quote]) -> tuple[tuple[str, str], ...]:
        """Do what `put` does for kind `quote` without `keep_bytes`, at less cost: most messages are these."""
        stream = self.streams.get(topic) or self.stream(topic)
        stream.last = seq
        if len(quotes) == 1:
            quote = quotes[0]
            key = quote.ticker
            keys = stream.keys.get("quote")
            if keys is not None and key in keys:
                self.quotes[key] = quote
                stream.unhashed["quote"].add(key)
                return (("quote", key),)
        return tuple([("quote", key) for key in self._replace(topic, stream, "quote", quotes)])

    def _replace(self, topic: str, stream: Stream, kind: str, records: Sequence[Any]) -> list[str]:
        """Put records in and leave their hashes to `_settle`: most change again before anybody asks."""
        held = stream.keys.get(kind)
        if held is None:
            held = stream.keys[kind] = {}
            stream.unhashed[kind] = set()
        keys = list(
            map(_KEY_OF[kind], records)
        )  # whole lists at a time: a loop in Python costs twice as much
        if not all(map(held.__contains__, keys)):
            for key in keys:
                if key not in held:
                    self._adopt(topic, kind, key)
                    held[key] = None
        self.records[kind].update(zip(keys, records, strict=True))
        stream.unhashed[kind].update(keys)
        return keys

    def _settle(self, stream: Stream) -> None:
        """Bring a stream's digests up to its records."""
        for kind, unhashed in stream.unhashed.items():
            if not unhashed:
                continue
            hashes, records, foreign = self._hashes[kind], self.records[kind], self._foreign
            total = stream.digests[LANE[kind]]
            for key in unhashed:
                raw = foreign.get((kind, key)) if foreign else None
                new = record_hash(raw or encode_record(records[key]))
                total += new - hashes.get(key, 0)
                hashes[key] = new
            stream.digests[LANE[kind]] = total & MASK
            unhashed.clear()

    def _adopt(self, topic: str, kind: str, key: str) -> None:
        """Make a market that is new to this stream its own, taking it out of another."""
        if kind in _OF_MARKET:
            other = self.stream_of.get(key)
            if other is not None and other != topic:
                for part in _OF_MARKET:
                    self._drop(self.streams[other], part, key)
            self.stream_of[key] = topic

    def _set_book(self, topic: str, stream: Stream, book: Book) -> None:
        keys, hashes, key = stream.keys.setdefault("book", {}), self._hashes["book"], book.ticker
        if key not in keys:
            self._adopt(topic, "book", key)
            keys[key] = None
        new = book_hash(book)
        stream.digests[BOOK] = (stream.digests[BOOK] + new - hashes.get(key, 0)) & MASK
        hashes[key] = new
        self.books[key] = book

    def _drop(self, stream: Stream, kind: str, key: str) -> None:
        keys = stream.keys.get(kind)
        if keys is None or key not in keys:
            return
        del keys[key]
        self.records[kind].pop(key, None)
        if kind in stream.unhashed:
            stream.unhashed[kind].discard(key)
        lane = LANE[kind]
        stream.digests[lane] = (stream.digests[lane] - self._hashes[kind].pop(key, 0)) & MASK
        self._foreign.pop((kind, key), None)

    def _remove(self, stream: Stream, topic: str, record: Remove) -> None:
        if record.what != "market":
            if record.what in LANE:
                self._drop(stream, record.what, record.key)
            return
        if self.stream_of.get(record.key) != topic:
            return
        for kind in _OF_MARKET:
            self._drop(stream, kind, record.key)
        del self.stream_of[record.key]
        self.ages.pop(record.key, None)

    def _delta(self, stream: Stream, delta: BookDelta) -> bool:
        book: Book | None = self.books.get(delta.ticker)
        if book is None:
            return False
        side = 0 if delta.side == "yes" else 1
        levels, old_count = set_level(book.no if side else book.yes, delta.price_e4, delta.count_e2)
        new_book = Book(
            book.ticker, delta.as_of_ms, book.yes if side else levels, levels if side else book.no
        )
        key = ticker_key(book.ticker)
        change = (
            head_hash(book.ticker, delta.as_of_ms)
            - head_hash(book.ticker, book.as_of_ms)
            + level_hash(key, side, delta.price_e4, delta.count_e2)
            - level_hash(key, side, delta.price_e4, old_count)
        )
        self.books[delta.ticker] = new_book
        hashes = self._hashes["book"]
        hashes[delta.ticker] = (hashes[delta.ticker] + change) & MASK
        stream.digests[BOOK] = (stream.digests[BOOK] + change) & MASK
        return True

    def end_cycle(self, cycle: CycleEnd) -> None:
        """Take over a commit's end: position of the data in time; the caller holds `lock`."""
        kept: dict[str, int] = {}
        for ticker in cycle.unconfirmed:
            as_of_ms = self.quote_as_of_ms(ticker)
            if as_of_ms is not None:
                kept[ticker] = as_of_ms
        self.set_cycle(cycle, kept)

    def set_cycle(self, cycle: CycleEnd | None, ages: dict[str, int]) -> None:
        """Take over a last commit's end and the `ages` it left, from a snapshot; the caller holds `lock`."""
        self.cycle = cycle
        self.ages = dict(ages)

    # -- whole streams

    def chunk(self, topic: str) -> list[Chunk]:
        """Return a stream's records as snapshot chunks of about 200 kB before compression."""
        stream = self.streams[topic]
        chunks: list[Chunk] = []
        content: list[tuple[str, list[msgspec.Raw]]] = []
        size = 0
        for kind in STATE_KINDS:
            raws: list[msgspec.Raw] = []
            for key in stream.keys.get(kind, ()):
                raw = self._foreign.get((kind, key)) or encode_record(self.records[kind][key])
                raws.append(msgspec.Raw(raw))
                size += len(raw)
                if size > 200_000:
                    content.append((kind, raws))
                    chunks.append(Chunk(topic, stream.last, content))
                    content, raws, size = [], [], 0
            if raws:
                content.append((kind, raws))
        if content or not chunks:
            chunks.append(Chunk(topic, stream.last, content))
        return chunks

    def clear_stream(self, topic: str) -> None:
        """Forget a stream's records, before a snapshot of it is put in; the caller holds `lock`."""
        stream = self.streams.get(topic)
        if stream is None:
            return
        for kind in STATE_KINDS:
            for key in list(stream.keys.get(kind, ())):
                self._drop(stream, kind, key)
                if kind in _OF_MARKET:
                    self.stream_of.pop(key, None)
        stream.digests = [0, 0, 0, 0]

    def put_chunk(self, chunk: Chunk) -> None:
        """Put a snapshot chunk's records in; the caller holds `lock`.

        Raises:
            DecodeError: a record is malformed.
        """
        self.stream(chunk.topic).last = chunk.last
        for kind, raws in chunk.content:
            self.apply(chunk.topic, chunk.last, kind, raws)

    def watch_fields(self, fields: dict[str, int]) -> None:
        """Keep records' own bytes if the peer sends other fields than we know: to hash, and to pass all on.

        Without it the bytes are what this build encodes, and need not be kept.
        """
        if any(count != FIELD_COUNTS.get(kind, count) for kind, count in fields.items()):
            self.keep_bytes = True


def set_level(levels: tuple[Level, ...], price_e4: int, count_e2: int) -> tuple[tuple[Level, ...], int]:
    """Return ascending `levels` with `price_e4` set to `count_e2` (0 removes), and the count there before."""
    index = bisect_left(levels, price_e4, key=lambda level: level[0])
    present = index < len(levels) and levels[index][0] == price_e4
    old = levels[index][1] if present else 0
    new = ((price_e4, count_e2),) if count_e2 else ()
    return levels[:index] + new + levels[index + present :], old


def decode_all(kind: str, raws: Iterable[msgspec.Raw | bytes]) -> list[Record]:
    """Return the decoded records of a message.

    Raises:
        DecodeError: one of them is malformed, or a level's side is neither yes nor no.
    """
    records = decode_records(kind, raws)
    if kind == "book_delta":
        for record in records:
            if isinstance(record, BookDelta) and record.side not in ("yes", "no"):
                raise DecodeError(f"book_delta record: got side {record.side!r}, expected yes or no")
    return records
