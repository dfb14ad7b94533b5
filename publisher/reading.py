"""What one sweep reads: which markets to read, and what it found. No I/O."""

from collections.abc import Collection
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from markets.records import Event, ExchangeStatus, Market, Milestone, Quote, Series


class Universe(NamedTuple):
    """Which markets are wanted: each list narrows the choice, unless it is empty."""

    series: frozenset[str] = frozenset()
    categories: frozenset[str] = frozenset()
    tickers: frozenset[str] = frozenset()

    def wants_event(self, event: Event, series: Series | None) -> bool:
        """Tell whether markets of this event may be wanted."""
        if self.series and event.series_ticker not in self.series:
            return False
        return not self.categories or bool(
            self.categories & {event.category, series.category if series else event.category}
        )

    def wants_market(self, ticker: str) -> bool:
        """Tell whether this market of a wanted event is wanted."""
        return not self.tickers or ticker in self.tickers


class Candidate(NamedTuple):
    """A market whose bytes are not those last accepted."""

    market: Market
    quote: Quote
    digest: int


class Seen(NamedTuple):
    """What an event's bytes were decoded to: its markets, and the hashes of those settled long ago."""

    event_ticker: str
    markets: tuple[str, ...]
    settled: dict[str, int]


class Reading:
    """What one sweep has read so far.

    Attributes:
        as_of_ms: the age of the crawl's oldest reply, None before the first. pages: how many there were.
        complete: whether every request so far succeeded.
        confirmed: held markets whose bytes are unchanged.
        candidates: the others.
        loose: markets that came apart from the crawl, often from an older cache -> the age of their reply.
        settled: markets settled long ago that are not kept, with the hashes of their bytes.
        unjoined: event ticker -> raw markets (and their age) whose event is not yet known.
        unwanted: events outside the universe.
        gone: held markets that the exchange no longer knows.
        bad: (what, key) of refused records.
        kept: markets in somebody's position: read by name if no list shows them, and not dropped, whatever
            the universe and however long ago they were settled. kept_events: their events that were read.
        whole: decoded event, no part of which was refused -> the hash of its bytes, and of each market's.
    """

    def __init__(self, started_ms: int) -> None:
        self.started_ms = started_ms
        self.ended_ms = started_ms
        self.as_of_ms: int | None = None
        self.pages = 0
        self.complete = True
        self.exchange: ExchangeStatus | None = None
        self.confirmed: set[str] = set()
        self.candidates: dict[str, Candidate] = {}
        self.loose: dict[str, int] = {}
        self.settled: dict[str, int] = {}
        self.unjoined: dict[str, list[tuple[bytes, int]]] = {}
        self.unwanted: set[str] = set()
        self.gone: set[str] = set()
        self.bad: set[tuple[str, str]] = set()
        self.events: dict[str, Event] = {}
        self.series: dict[str, Series] = {}
        self.milestones: dict[str, Milestone] = {}
        self.kept: frozenset[str] = frozenset()
        self.kept_events: set[str] = set()
        self.whole: dict[str, tuple[int, dict[str, int]]] = {}

    def reply(self, as_of_ms: int) -> None:
        """Note the age of one reply of the crawl."""
        self.pages += 1
        self.as_of_ms = as_of_ms if self.as_of_ms is None else min(self.as_of_ms, as_of_ms)

    def saw(self, ticker: str) -> bool:
        """Tell whether this market was in a reply in good shape."""
        return ticker in self.confirmed or ticker in self.candidates or ticker in self.settled

    def unseen(self, tickers: AbstractSet[str]) -> set[str]:
        """Return those `tickers` that were in no reply in good shape."""
        return set(tickers) - self.confirmed - self.candidates.keys() - self.settled.keys()

    def confirm(self, tickers: Collection[str]) -> None:
        """Note that these markets' bytes are the ones held."""
        self.confirmed.update(tickers)
        if not self.candidates.keys().isdisjoint(tickers):  # other bytes came earlier in this sweep
            for ticker in tickers:
                self.candidates.pop(ticker, None)

    def older_than_crawl(self, ticker: str) -> bool:
        """Tell whether a loose market is older than the crawl."""
        return self.as_of_ms is not None and self.loose[ticker] < self.as_of_ms
