"""The state that publisher and replicas hold: records by kind, numbered streams, digests.

One class for both sides, so that the two ends compute the same thing the same way. Not thread-safe by itself:
the one thread that applies holds `lock` while it changes anything, and a reader that needs more than one
record holds it while it reads. `Records` is the part that readers see, and all there is to a frozen copy.
"""

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from operator import attrgetter
from typing import Any, Final, NamedTuple

import msgspec

from bus.threads import assert_held
from markets.errors import DecodeError
from markets.records import (
    Book,
    BookDelta,
    Candles,
    Drift,
    Event,
    ExchangeStatus,
    FairValue,
    Level,
    Market,
    Milestone,
    Quote,
    Record,
    Remove,
    Series,
    Suspect,
    Trade,
)

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
from .memory import Keeping
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
    "candles": attrgetter("ticker"),
    "drift": lambda drift: f"{drift.what} {drift.route} {drift.member}",
    "trade": attrgetter("ticker"),
    "trader": attrgetter("what"),
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
"""Lane of each kind that is state and counted in digests."""

STATE_KINDS: Final = (*LANE, "candles", "drift")
"""Kinds that are state. Those in no lane came later: a replica that does not know one still agrees."""

_OF_MARKET: Final = ("market", "quote", "book", "suspect", "candles")

AGELESS_MS: Final = 86_400_000
"""The age assumed for a quote whose age is unknown."""

_SENT_AGAIN: Final = frozenset(("market", "series", "event", "milestone", "fair_value"))
"""Kinds whose records are sent again unchanged, in rotation or after a restart. Others carry their time."""


Version = tuple[int, int]
"""(last seq, edits) of a stream."""

Digests = tuple[int, int, int, int]
"""Digests of a stream's lanes: static, quote, book, reference."""


class Stream:
    """One stream's position and content: `digests` by lane, `keys` of its records by kind, with their hashes.

    `fresh` has the keys whose records `digests` does not yet count in their present form. Most records change
    again before anybody asks, so hashing waits until then. `edits` moves when content changes without a
    number, so that `version` changes whenever the content may have.
    """

    __slots__ = ("digests", "edits", "fresh", "fresh_quotes", "keys", "last", "topic")

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.last = 0
        self.edits = 0
        self.digests = [0, 0, 0, 0]
        self.keys: dict[str, dict[str, int]] = {"quote": {}}
        self.fresh_quotes: set[str] = set()
        self.fresh = {"quote": self.fresh_quotes}

    @property
    def version(self) -> Version:
        """What distinguishes this content from that at another moment of the same state."""
        return self.last, self.edits


class Captured(NamedTuple):
    """A stream as it was at one moment: its records, not yet encoded.

    Attributes:
        content: for each kind (kind, records, their bytes if those are kept, else None).
        digests: those of its lanes, as in a heartbeat.
    """

    topic: str
    version: Version
    digests: Digests
    content: Sequence[tuple[str, Sequence[Any], Sequence[bytes | None] | None]]

    @property
    def last(self) -> int:
        """Number of its last message."""
        return self.version[0]


Position = tuple[int, int, int, int, int]
"""(last seq, static, quote, book, reference digest) of a stream."""

Group = tuple[str, Sequence[str]]
"""(kind, keys) of records."""

Touched = Mapping[str, set[str]]
"""Keys, by kind, of records that were set or removed."""


class Changed(msgspec.Struct, frozen=True, gc=False):
    """What was changed by an applied commit, a streamed message, or several heard together.

    `seq` is that of the last one, `cycle` is 0 unless it is a commit. `groups` holds everything set or
    removed. `trades` are those in a message of trades, which no state keeps.
    """

    seq: int
    cycle: int
    groups: Sequence[Group]
    trades: Sequence[Trade] = ()

    @property
    def records(self) -> Iterator[tuple[str, str]]:
        """(kind, key) of each."""
        return ((kind, key) for kind, keys in self.groups for key in keys)


class Records:
    """What is known at (`epoch`, `seq`), for readers: all records by kind, and how old they are.

    `markets`, `quotes`, `books`, `suspects` are keyed by market ticker, `series` by series ticker, `events`
    by event ticker, `milestones` by id; `exchange` holds the exchange's status under "", `fair_values` the
    trader's by ticker (on its own feed only), `candles` price history by ticker, where wished for, `drifts`
    what the exchange sends differently from its documents; `records` has them all by kind. `stream_since_ms`:
    since when every change of a quote has been heard as it happened, as the publisher says in its heartbeats;
    None: changes are not heard. What was seen since then and has not changed holds now. `ages` has the times
    (ms) of the quotes that the last commit did not confirm. `keeping` says how records of the static lane are
    kept; by default as they came.
    """

    def __init__(self, epoch: int = 0, keeping: Keeping | None = None) -> None:
        self.epoch = epoch
        self.seq = 0
        self.keeping = keeping
        self.cycle: CycleEnd | None = None
        self.ages: dict[str, int] = {}
        self.stream_since_ms: int | None = None
        self.hold({kind: {} for kind in STATE_KINDS})

    def hold(self, records: Mapping[str, MutableMapping[str, Any]]) -> None:
        """Hold these records, by kind and key."""
        self.records = records
        self.markets: MutableMapping[str, Market] = records["market"]
        self.quotes: MutableMapping[str, Quote] = records["quote"]
        self.books: MutableMapping[str, Book] = records["book"]
        self.suspects: MutableMapping[str, Suspect] = records["suspect"]
        self.series: MutableMapping[str, Series] = records["series"]
        self.events: MutableMapping[str, Event] = records["event"]
        self.milestones: MutableMapping[str, Milestone] = records["milestone"]
        self.exchange: MutableMapping[str, ExchangeStatus] = records["exchange"]
        self.fair_values: MutableMapping[str, FairValue] = records["fair_value"]
        self.candles: MutableMapping[str, Candles] = records["candles"]
        self.drifts: MutableMapping[str, Drift] = records["drift"]

    def quote_as_of_ms(self, ticker: str) -> int | None:
        """Return when this market's quote was last known to be true, None without a quote."""
        quote = self.quotes.get(ticker)
        if quote is None:
            return None
        return max(quote.as_of_ms, self.ages.get(ticker, self.confirmed_ms))

    @property
    def confirmed_ms(self) -> int:
        """As of when the last commit confirmed all quotes but those in `ages`; 0 before one."""
        return (self.cycle.as_of_ms if self.cycle else None) or 0

    def raw(self, market: Market) -> bytes:
        """Return the JSON of a market held here, as it came."""
        return market.raw if self.keeping is None else self.keeping.raw(market)


class State(Records):
    """Everything a replica, or the publisher, holds: the records, and the numbered streams they came in."""

    def __init__(self, epoch: int = 0, keeping: Keeping | None = None) -> None:
        super().__init__(epoch, keeping)
        self.lock = threading.RLock()
        self.streams: dict[str, Stream] = {}
        self.stream_of: dict[str, str] = {}
        self.keep_bytes = False
        self.reworked = 0
        """Moves when a stream's content may have changed without a later number."""

        self.fields = FIELD_COUNTS
        """How many fields of each kind are passed on: as many as the records came with."""
        self._touched: dict[str, set[str]] | None = None
        """What changed since it was last taken; None: it has not been taken yet."""
        self._foreign: dict[tuple[str, str], bytes] = {}
        self._unsettled: set[Stream] = set()
        self._total: int | None = 0
        """The sum of all streams' digests, reduced modulo 2^64 only at the end; None: still to be added
        up."""

    def digest(self) -> int:
        """Return the digest of the whole state: the sum over streams and lanes."""
        with self.lock:
            while self._unsettled:
                self.settle(self._unsettled.pop())
            if self._total is None:
                self._total = sum([sum(stream.digests) for stream in self.streams.values()])
            self._total &= MASK
            return self._total

    def position(self, topic: str) -> Position:
        """Return the position of a stream."""
        with self.lock:
            stream = self.streams[topic]
            if any(stream.fresh.values()):
                self.settle(stream)
                self._unsettled.discard(stream)
            static, quote, book, reference = stream.digests
            return stream.last, static, quote, book, reference

    def frozen(self, only: Touched | None = None) -> Records:
        """Return a frozen copy of records and position, for readers.

        Cheap: records never change, so only the dicts are copied, or the part of them in `only`.
        """
        copy = Records(self.epoch, self.keeping)
        with self.lock:
            copy.seq, copy.cycle = self.seq, self.cycle
            if only is None:
                for kind, records in self.records.items():
                    copy.records[kind].update(records)
            else:
                found: dict[str, MutableMapping[str, Any]] = {kind: {} for kind in self.records}
                for kind, keys in only.items():
                    held = self.records[kind]
                    found[kind] = {key: held[key] for key in keys if key in held}
                copy.hold(found)
            copy.ages = self.ages.copy()
            copy.stream_since_ms = self.stream_since_ms
        return copy

    def take_touched(self) -> Touched | None:
        """Return what was set or removed since the last call; None the first time. For a single caller."""
        with self.lock:
            touched, self._touched = self._touched, {}
        return touched

    # -- changing

    def touch(self, kind: str, keys: Iterable[str]) -> None:
        """Note that records were set or removed, if anybody wants to know; the caller holds `lock`.

        Everything but `put_quotes` does this itself; after that, one call covers many.
        """
        if self._touched is not None:
            self._touched.setdefault(kind, set()).update(keys)

    def stream(self, topic: str) -> Stream:
        """Return the stream of a topic, making it if it is new."""
        stream = self.streams.get(topic)
        if stream is None:
            stream = self.streams[topic] = Stream(topic)
        return stream

    def apply(self, topic: str, seq: int, kind: str, raws: Sequence[msgspec.Raw | bytes]) -> list[Group]:
        """Apply one message's records; the caller holds `lock`. Return what it changed.

        Unknown kinds and kinds that are not state only move the stream's position.

        Raises:
            DecodeError: a record is malformed; nothing of this message was applied.
        """
        assert_held(self.lock)
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
        *,
        count: bool = False,
    ) -> list[Group]:
        """Apply decoded records; the caller holds `lock`. Return what it changed.

        A record sent again as it is held changes nothing. `raws` are their bytes as they came, needed only
        with `keep_bytes`, `keeping` or `count`, which hashes them now: the digest is wanted soon, and the
        records would have to be encoded for it.
        """
        assert_held(self.lock)
        stream = self.streams.get(topic) or self.stream(topic)
        stream.last = seq
        stream.edits += 1
        if kind == "book":
            for record in records:
                self._set_book(stream, record)
                self._drop(stream, "suspect", record.ticker)
        elif kind == "book_delta":
            return [("book", [record.ticker for record in records if self._delta(stream, record)])]
        elif kind == "suspect":
            for record in records:
                if record.since_ms is None:
                    self._drop(stream, kind, record.ticker)
                else:
                    self._replace(stream, kind, (record.ticker,), (record,))
        elif kind == "remove":
            return [(record.what, (record.key,)) for record in records if self._remove(stream, record)]
        elif kind not in STATE_KINDS:
            return [(kind, list(map(_KEY_OF[kind], records)))]
        keeping = self.keeping
        if keeping is not None and kind == "quote":
            keeping.share_quotes(records, self.markets)
        keys = list(map(_KEY_OF[kind], records))
        if kind in _SENT_AGAIN and not self.keep_bytes:
            news = self._news(stream, kind, keys, records, raws)
            if not news:
                return []
            if len(news) < len(keys):
                keys, records = [keys[place] for place in news], [records[place] for place in news]
                raws = raws and [raws[place] for place in news]
        if keeping is not None and kind in keeping.kinds:
            assert raws is not None
            keeping.keep(kind, records, raws)
            self._replace(stream, kind, keys, records)
            self._count(stream, kind, keys, map(record_hash, raws))
        elif kind not in ("book", "suspect"):
            self._replace(stream, kind, keys, records)
            if count and raws is not None:
                self._count_now(stream, kind, keys, records, raws)
        if self.keep_bytes and raws is not None and kind != "book":
            for key, raw in zip(keys, raws, strict=True):
                self._foreign[kind, key] = bytes(raw)
        return [(kind, keys)]

    def _news(
        self,
        stream: Stream,
        kind: str,
        keys: Sequence[str],
        records: Sequence[Any],
        raws: Sequence[msgspec.Raw | bytes] | None,
    ) -> Sequence[int]:
        """Return the indices of those records that are not held in this stream as they are."""
        own = stream.keys.get(kind)
        if not own or len(set(keys)) < len(keys):
            return range(len(keys))
        if self.keeping is not None and kind in self.keeping.kinds and raws is not None:
            # What is kept may say less than what came, so their bytes are compared.
            hashes = map(record_hash, raws)
            return [place for place, hash_ in enumerate(hashes) if own.get(keys[place]) != hash_]
        held = self.records[kind]
        return [place for place, key in enumerate(keys) if key not in own or held[key] != records[place]]

    def put_quotes(self, stream: Stream, seq: int, quotes: Sequence[Quote], tickers: list[str]) -> None:
        """Do what `put` does for kind `quote` without `keep_bytes`, but cheaper; add to `tickers`.

        The caller passes them to `touch`. This trusts that `lock` is held: a batch of messages asserts or
        takes it once.
        """
        stream.last = seq
        if len(quotes) == 1:
            quote = quotes[0]
            ticker = quote.ticker
            if ticker in stream.fresh_quotes:
                self.quotes[ticker] = quote
                tickers.append(ticker)
                return
        keys = [quote.ticker for quote in quotes]
        self._replace(stream, "quote", keys, quotes)
        tickers += keys

    def _replace(self, stream: Stream, kind: str, keys: Sequence[str], records: Sequence[Any]) -> None:
        """Put records in, their hashes left to `settle`.

        Works on whole lists: a loop in Python costs twice as much.
        """
        held = stream.keys.setdefault(kind, {})
        fresh = stream.fresh.setdefault(kind, set())
        if not fresh.issuperset(keys):
            self._unsettled.add(stream)
            new = [key for key in keys if key not in held]
            if new:
                held.update(dict.fromkeys(new, 0))
                if kind in _OF_MARKET:
                    self._adopt(stream, new)
            fresh.update(keys)
        self.records[kind].update(zip(keys, records, strict=True))
        self.touch(kind, keys)

    def settle(self, stream: Stream, limit: int | None = None) -> None:
        """Bring a stream's digests up to date, for `limit` records of each kind; the caller holds `lock`."""
        assert_held(self.lock)
        for kind, fresh in stream.fresh.items():
            if kind not in LANE or not fresh:
                continue
            hashes, records, foreign = stream.keys[kind], self.records[kind], self._foreign
            before = total = stream.digests[LANE[kind]]
            keys = [fresh.pop() for _ in range(len(fresh) if limit is None else min(limit, len(fresh)))]
            if self.keeping is not None and kind == "quote":
                self.keeping.share_prices(map(records.__getitem__, keys), self.markets)
            for key in keys:
                raw = foreign.get((kind, key)) if foreign else None
                new = record_hash(raw or encode_record(records[key]))
                total += new - hashes[key]
                hashes[key] = new
            stream.digests[LANE[kind]] = total & MASK
            self._add(total - before)

    def _add(self, change: int) -> None:
        """Bring the digest of the whole state up to date with a change of a stream's."""
        if self._total is not None:
            self._total += change

    def _count_now(
        self,
        stream: Stream,
        kind: str,
        keys: Sequence[str],
        records: Sequence[Any],
        raws: Sequence[msgspec.Raw | bytes],
    ) -> None:
        """Do what `settle` would, for records just put in."""
        if kind not in LANE or len(set(keys)) < len(keys):
            return
        if self.keeping is not None and kind == "quote":
            self.keeping.share_prices(records, self.markets)
        self._count(stream, kind, keys, map(record_hash, raws))

    def _count(self, stream: Stream, kind: str, keys: Sequence[str], new_hashes: Iterable[int]) -> None:
        """Bring a stream's digests up to date with records just put in, from the hashes of their bytes."""
        hashes, lane = stream.keys[kind], LANE[kind]
        before = total = stream.digests[lane]
        for key, new in zip(keys, new_hashes, strict=True):
            total += new - hashes[key]
            hashes[key] = new
        stream.digests[lane] = total & MASK
        self._add(total - before)
        stream.fresh[kind].difference_update(keys)

    def _adopt(self, stream: Stream, tickers: Sequence[str]) -> None:
        """Make markets this stream's own, taking them out of others."""
        topic, stream_of = stream.topic, self.stream_of
        owners = set(map(stream_of.get, tickers))
        if owners == {topic}:
            return
        if owners <= {topic, None}:  # nearly always
            stream_of.update(dict.fromkeys(tickers, topic))
            return
        for ticker in tickers:
            other = stream_of.get(ticker)
            if other is not None and other != topic:
                for part in _OF_MARKET:
                    self._drop(self.streams[other], part, ticker)
            stream_of[ticker] = topic

    def _set_book(self, stream: Stream, book: Book) -> None:
        hashes, ticker = stream.keys.setdefault("book", {}), book.ticker
        self._adopt(stream, (ticker,))
        new = book_hash(book)
        change = new - hashes.get(ticker, 0)
        stream.digests[BOOK] = (stream.digests[BOOK] + change) & MASK
        self._add(change)
        hashes[ticker] = new
        self.books[ticker] = book
        self.touch("book", (ticker,))

    def _drop(self, stream: Stream, kind: str, key: str) -> bool:
        """Take a record out; return whether it was there."""
        keys = stream.keys.get(kind)
        if keys is None or key not in keys:
            return False
        counted = keys.pop(key)
        stream.edits += 1
        self.reworked += 1
        if kind in stream.fresh:
            stream.fresh[kind].discard(key)
        self.records[kind].pop(key, None)
        self.touch(kind, (key,))
        lane = LANE.get(kind)
        if lane is not None:
            stream.digests[lane] = (stream.digests[lane] - counted) & MASK
            self._add(-counted)
        self._foreign.pop((kind, key), None)
        return True

    def _remove(self, stream: Stream, record: Remove) -> bool:
        """Take out a record and everything that belongs to it; return whether it was there."""
        if record.what != "market":
            return record.what in STATE_KINDS and self._drop(stream, record.what, record.key)
        if self.stream_of.get(record.key) != stream.topic:
            return False
        for kind in _OF_MARKET:
            self._drop(stream, kind, record.key)
        del self.stream_of[record.key]
        self.ages.pop(record.key, None)
        return True

    def _delta(self, stream: Stream, delta: BookDelta) -> bool:
        book = self.books.get(delta.ticker)
        if book is None or delta.ticker not in stream.keys.get("book", ()):
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
        self.touch("book", (delta.ticker,))
        hashes = stream.keys["book"]
        hashes[delta.ticker] = (hashes[delta.ticker] + change) & MASK
        stream.digests[BOOK] = (stream.digests[BOOK] + change) & MASK
        self._add(change)
        return True

    def end_cycle(self, cycle: CycleEnd) -> None:
        """Apply a commit's end: when its data was true; the caller holds `lock`."""
        assert_held(self.lock)
        kept: dict[str, int] = {}
        for ticker in cycle.unconfirmed:
            as_of_ms = self.quote_as_of_ms(ticker)
            if as_of_ms is not None:
                # Later than the commit itself: the clock was ahead, and the quote's age is unknown.
                ahead = as_of_ms > cycle.ended_ms
                kept[ticker] = max(0, cycle.ended_ms - AGELESS_MS) if ahead else as_of_ms
        self.set_cycle(cycle, kept)

    def set_cycle(self, cycle: CycleEnd | None, ages: dict[str, int]) -> None:
        """Apply the last commit's end and the `ages` it left, from a snapshot; the caller holds `lock`."""
        assert_held(self.lock)
        self.cycle = cycle
        self.ages = dict(ages)

    # -- whole streams

    def capture(self, topic: str) -> Captured:
        """Return a stream as it is now, to be encoded at any later time; the caller holds `lock`.

        This costs a tenth of encoding it, so the lock is held only briefly. It makes tuples, which the
        garbage collector soon stops tracking.
        """
        captured = Capture(self, topic).more()
        assert captured is not None, "all of it was asked for"
        return captured

    def chunks(self, captured: Captured) -> Iterator[Chunk]:
        """Yield a captured stream as snapshot chunks of about 200 kB before compression. Any thread."""
        encode = _encoded if self.keeping is None else self.keeping.encoded
        topic, last = captured.topic, captured.last
        content: list[tuple[str, list[msgspec.Raw]]] = []
        size, some = 0, False
        for kind, records, foreign in captured.content:
            raws: list[msgspec.Raw] = []
            for index, record in enumerate(records):
                raw = (foreign and foreign[index]) or encode(kind, record)
                raws.append(msgspec.Raw(raw))
                size += len(raw)
                if size > 200_000:
                    content.append((kind, raws))
                    yield Chunk(topic, last, content)
                    content, raws, size, some = [], [], 0, True
            if raws:
                content.append((kind, raws))
        if content or not some:
            yield Chunk(topic, last, content)

    def chunk(self, topic: str) -> list[Chunk]:
        """Return a stream as it is now as snapshot chunks."""
        with self.lock:
            captured = self.capture(topic)
        return list(self.chunks(captured))

    def clear_stream(self, topic: str) -> None:
        """Forget a stream's records, before a snapshot of it is put in; the caller holds `lock`."""
        assert_held(self.lock)
        self.reworked += 1
        stream = self.streams.get(topic)
        if stream is None:
            return
        for kind in STATE_KINDS:
            for key in list(stream.keys.get(kind, ())):
                self._drop(stream, kind, key)
                if kind in _OF_MARKET:
                    self.stream_of.pop(key, None)
        stream.digests = [0, 0, 0, 0]
        self._total = None  # an error in the stream may be an error in the sum

    def put_chunk(self, chunk: Chunk, before: "Before | None" = None) -> None:
        """Put a snapshot chunk's records in; the caller holds `lock`.

        Records that the state `before` this one also has are taken from there.

        Raises:
            DecodeError: a record is malformed.
        """
        assert_held(self.lock)
        self.stream(chunk.topic).last = chunk.last
        for kind, raws in chunk.content:
            if before is not None and not self.keep_bytes:
                raws = self._take_over(self.stream(chunk.topic), kind, raws, before.known(kind))
            if kind in RECORD_TYPES:
                self.put(chunk.topic, chunk.last, kind, decode_all(kind, raws), raws, count=True)

    def _take_over(
        self, stream: Stream, kind: str, raws: Sequence[msgspec.Raw], known: Mapping[int, Record]
    ) -> list[msgspec.Raw]:
        """Put in the records `known` by their hash; return the bytes of the others."""
        if not known:
            return list(raws)
        hashes = list(map(record_hash, raws))
        same = [hash_ for hash_ in hashes if hash_ in known]
        records = [known[hash_] for hash_ in same]
        keys = list(map(_KEY_OF[kind], records))
        self._replace(stream, kind, keys, records)
        self._count(stream, kind, keys, same)
        return [raw for raw, hash_ in zip(raws, hashes, strict=True) if hash_ not in known]

    def expect_fields(self, fields: dict[str, int]) -> None:
        """Keep records' own bytes if the peer sends fields we do not know: to hash them, and to pass them on.

        Otherwise the bytes are what this build encodes, and need not be kept.
        """
        if any(count != FIELD_COUNTS.get(kind, count) for kind, count in fields.items()):
            self.keep_bytes = True
            self.fields = fields


class Capture:
    """The noting of a stream in parts; the caller that makes or uses one holds the state's lock.

    What was noted is useless once `version` is no longer the stream's.
    """

    def __init__(self, state: State, topic: str) -> None:
        assert_held(state.lock)
        stream = state.streams[topic]
        state.settle(stream)
        self.topic = topic
        self.version = stream.version
        static, quote, book, reference = stream.digests
        self._digests = static, quote, book, reference
        self._state = state
        self._content: list[tuple[str, Sequence[Any], Sequence[bytes | None] | None]] = []
        self._left = [(kind, tuple(keys)) for kind in STATE_KINDS if (keys := stream.keys.get(kind))]
        self._left.reverse()
        self._records: list[Any] = []
        self._foreign: list[bytes | None] = []

    def more(self, limit: int | None = None) -> Captured | None:
        """Note this many more records; return all of them once none is left."""
        state = self._state
        assert_held(state.lock)
        foreign = state._foreign  # noqa: SLF001 -- a part of State
        while self._left and (limit is None or limit > 0):
            kind, keys = self._left[-1]
            begin = len(self._records)
            part = keys[begin:] if limit is None else keys[begin : begin + limit]
            self._records += map(state.records[kind].__getitem__, part)
            if foreign:
                self._foreign += [None] * (begin - len(self._foreign))
                self._foreign += [foreign.get((kind, key)) for key in part]
            if limit is not None:
                limit -= len(part)
            if len(self._records) == len(keys):
                self._content.append((kind, tuple(self._records), tuple(self._foreign) or None))
                self._left.pop()
                self._records, self._foreign = [], []
        if self._left:
            return None
        return Captured(self.topic, self.version, self._digests, tuple(self._content))


class Before:
    """The records of the previous state, for one that replaces it and is mostly the same.

    Records never change, so both can share them: nothing is decoded, hashed or packed again, and a search for
    what is new finds only that.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._known: dict[str, dict[int, Record]] = {}

    def known(self, kind: str) -> Mapping[int, Record]:
        """Return the records of a kind by the hash of their bytes, as far as that is known."""
        known = self._known.get(kind)
        if known is None:
            known = self._known[kind] = {}
            # A book's hash is not that of its bytes; where bytes are kept, a record does not hold everything
            # in them.
            if kind in LANE and kind != "book" and not self._state.keep_bytes:
                records = self._state.records[kind]
                for stream in self._state.streams.values():
                    with self._state.lock:  # a reader may be in `settle`
                        fresh = stream.fresh.get(kind, ())
                        hashes = stream.keys.get(kind, {})
                        known.update((hashes[key], records[key]) for key in hashes if key not in fresh)
        return known


def _encoded(_kind: str, record: Record) -> bytes:
    return encode_record(record)


def set_level(levels: tuple[Level, ...], price_e4: int, count_e2: int) -> tuple[tuple[Level, ...], int]:
    """Return ascending `levels` with `price_e4` set to `count_e2` (0 removes), and the previous count."""
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
