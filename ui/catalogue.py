"""What pages find markets by: the search index, columns to sort and filter by, and counts of what there is.

A thread of its own keeps it up to date with what the scanner has seen change, so that no request ever builds
any of it: a new quote updates a few numbers, a new name rebuilds its part of the index.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec
import structlog

from bus.clock import Clock
from bus.process.lifecycle import Stop
from bus.protocol.state import Records
from bus.scan.rescan import Batch
from bus.scan.scans import Scan
from bus.scan.search import SEARCHED, IndexPart, SearchAnswer, SearchIndex, bucket_of, lines_of, named
from bus.threads import Owner
from markets.records import Event

from .pages.explore import Columns, MarketTree

log = structlog.get_logger()

TICK_S: Final = 0.25

INDEX_NS: Final = 2_000_000_000
"""How long new names wait for more of them, so that those of one sweep are indexed together."""

_KEPT: Final = (*SEARCHED, "quote")


class Shelf(msgspec.Struct, frozen=True):
    """Everything to find markets by; `ready` once it covers a whole state."""

    index: SearchIndex
    columns: Columns
    tree: MarketTree = MarketTree()
    ready: bool = False

    def find(self, query: str, limit: int) -> SearchAnswer:
        """Return what a query finds; of equally good matches the most active first."""
        return self.index.find(query, limit, self.columns.activity)


class MarketCatalogue:
    """Any thread may read `latest` and call `offer`; one keeps it up to date.

    Args:
        markets_of: the markets of an event, as the scanner has them.
    """

    def __init__(self, clock: Clock, markets_of: Callable[[], Mapping[str, tuple[str, ...]]]) -> None:
        self._clock = clock
        self._markets_of = markets_of
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._scan: Scan | None = None
        self._whole = False
        self._changed: dict[str, dict[str, None]] = {}
        self._owner = Owner("the catalogue")
        self.latest = Shelf(SearchIndex(), Columns())
        self._begin()

    def _begin(self) -> None:
        with self._lock:
            self._whole = True
        self._state = Records()
        self._columns, self._names = Columns(), SearchIndex()
        self._events_in: dict[int, set[str]] = {}
        self._series_in: dict[int, set[str]] = {}
        self._events_of: Counter[str] = Counter()
        self._dirty: set[int] = set()
        self._indexed_ns = 0

    # -- the scanner's thread

    def offer(self, scan: Scan, batch: Batch) -> None:
        """Take note of a scan, and of what has changed since the previous one."""
        with self._lock:
            self._scan = scan
            self._whole |= batch.whole
            if not self._whole:
                for kind in _KEPT:
                    if kind in batch.keys:
                        self._changed.setdefault(kind, {}).update(dict.fromkeys(batch.keys[kind]))
        self._news.set()

    # -- its own thread

    def run(self, stop: Stop) -> None:
        """Keep it up to date until `stop`; call `wake` after setting that."""
        self._owner.check()
        while not stop.is_set():
            self._news.wait(INDEX_NS / 1e9 if self._dirty else None)
            self._news.clear()
            try:
                self.update(self._clock.monotonic_ns())
            except Exception:
                # Nothing that comes from outside may end this thread: it starts over with the next scan.
                log.exception("catalogue.failed")
                self._begin()
            stop.wait(TICK_S)

    def wake(self) -> None:
        """End a wait at once, for the stop."""
        self._news.set()

    def update(self, now_ns: int) -> None:
        """Bring it up to the latest scan."""
        self._owner.check()
        with self._lock:
            scan, whole, changed = self._scan, self._whole, self._changed
            self._scan, self._whole, self._changed = None, whole and scan is None, {}
        if scan is not None:
            before, state = self._state, scan.state
            groups: dict[str, Iterable[str]] = {}
            if whole:
                groups = {kind: {**before.records[kind], **state.records[kind]} for kind in _KEPT}
            else:
                groups = {kind: changed.get(kind, ()) for kind in _KEPT}
            self._take(state, groups)
        if self._dirty and (whole or not 0 <= now_ns - self._indexed_ns < INDEX_NS):
            self._indexed_ns = now_ns
            self._index()

    def _take(self, state: Records, changed: Mapping[str, Iterable[str]]) -> None:
        before = self._state
        renamed = {
            kind: [key for key in changed[kind] if named(before, kind, key) != named(state, kind, key)]
            for kind in SEARCHED
        }
        for event_ticker in renamed["event"]:
            self._note_event(state, event_ticker)
        moved = set(renamed["series"])
        self._dirty.update(bucket_of(ticker) for ticker in moved if self._events_of[ticker])
        if moved:
            for event in state.events.values():
                if event.series_ticker in moved:
                    self._place_markets(state, event.event_ticker)
        for ticker in changed["market"]:
            self._note_market(state, ticker)
        for ticker in renamed["market"]:
            for market in (before.markets.get(ticker), state.markets.get(ticker)):
                if market is not None:
                    self._mark(state, market.event_ticker)
        for ticker in changed["quote"]:
            quote = state.quotes.get(ticker)
            if quote is not None:
                self._columns.put_quote(quote)
        self._state = state

    def _note_market(self, state: Records, ticker: str) -> None:
        market = state.markets.get(ticker)
        if market is None:
            self._columns.drop(ticker)
            return
        event = state.events.get(market.event_ticker)
        self._columns.put(market, event, None if event is None else state.series.get(event.series_ticker))
        quote = state.quotes.get(ticker)
        if quote is not None:
            self._columns.put_quote(quote)

    def _note_event(self, state: Records, event_ticker: str) -> None:
        before, event = self._state.events.get(event_ticker), state.events.get(event_ticker)
        self._count(before, -1)
        self._count(event, 1)
        self._mark(state, event_ticker)
        self._place_markets(state, event_ticker)

    def _place_markets(self, state: Records, event_ticker: str) -> None:
        """Put an event's markets under its present category and series."""
        event = state.events.get(event_ticker)
        series = None if event is None else state.series.get(event.series_ticker)
        for ticker in self._markets_of().get(event_ticker, ()):
            market = state.markets.get(ticker)
            if market is not None and ticker in self._columns.place_of:
                self._columns.put(market, event, series)

    def _count(self, event: Event | None, by: int) -> None:
        if event is None or not event.series_ticker:
            return
        name, number = event.series_ticker, bucket_of(event.series_ticker)
        self._events_of[name] += by
        within = self._series_in.setdefault(number, set())
        if self._events_of[name] > 0 and name not in within:
            within.add(name)
            self._dirty.add(number)
        elif self._events_of[name] <= 0:
            del self._events_of[name]
            within.discard(name)
            self._dirty.add(number)

    def _mark(self, state: Records, event_ticker: str) -> None:
        """Mark an event's part of the index to be rebuilt."""
        number = bucket_of(event_ticker)
        self._dirty.add(number)
        within = self._events_in.setdefault(number, set())
        if event_ticker in state.events or self._markets_of().get(event_ticker):
            within.add(event_ticker)
        else:
            within.discard(event_ticker)

    def _index(self) -> None:
        state, markets_of = self._state, self._markets_of()
        made = {
            number: IndexPart(
                lines_of(
                    state,
                    sorted(self._events_in.get(number, ())),
                    markets_of,
                    sorted(self._series_in.get(number, ())),
                )
            )
            for number in self._dirty
        }
        self._dirty = set()
        self._names = self._names.moved(made)
        tree = self._columns.tree(state.events.values(), state.series)
        self.latest = Shelf(self._names, self._columns, tree, ready=True)
