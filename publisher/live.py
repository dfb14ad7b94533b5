"""Turns what the stream says into records and publishes them: bus thread only, except for `sink`.

A book followed here belongs to the stream alone: books read by REST are compared with it, and if they differ
the stream's own, uncached snapshot decides. A streamed quote gives way to a newer sweep; an older one is
refused, and if the two disagree on the best prices the uncached book decides.

A result is announced with the status "determined", half a minute before any list shows it: both are published
at once, the result first, and the next sweep confirms them. If the result itself was not heard, the status
that announces it waits for the sweep.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec
import structlog

from bus.clock import Clock
from bus.server import FeedServer, Job
from bus.threads import Owner
from markets.book import top_of_book, top_of_quote
from markets.json.frames import StatusChange, TickerUpdate
from markets.json.results import decided
from markets.records import Book, BookDelta, Market, Quote, Record, Status, Suspect, Trade
from markets.units import PRICE_ONE_E4, opposite

from .held import Held
from .kalshi.stream_session import Fact

log = structlog.get_logger()

SETTLE_MS: Final = 1_000
"""A difference from a book that changed this shortly before the request is explained by the delay."""

_DECIDED: Final = frozenset({Status.DETERMINED, Status.FINALIZED})
"""What is announced about a market that has its result."""

_UNDECIDED: Final = frozenset({Status.INITIALIZED, Status.ACTIVE, Status.INACTIVE, Status.CLOSED})

_TICKED: Final = frozenset(
    {
        "yes_bid_dollars",
        "yes_ask_dollars",
        "no_bid_dollars",
        "no_ask_dollars",
        "yes_bid_size_fp",
        "yes_ask_size_fp",
        "last_price_dollars",
        "volume_fp",
        "open_interest_fp",
    }
)


class Live:
    """Publishes facts of the stream.

    Args:
        submit: hands a job to the bus thread.
        want: tells the stream which books to follow. verify: asks it for these books again.

    Attributes:
        followed: books that the stream keeps right. older: records refused because a newer one is held.
        healed, confirmed: how often the uncached book proved a streamed quote wrong, and right.
    """

    def __init__(
        self,
        held: Held,
        submit: Callable[[Job], None],
        want: Callable[[Iterable[str]], None],
        verify: Callable[[Iterable[str]], None],
        clock: Clock,
    ) -> None:
        self.followed: set[str] = set()
        self.older = 0
        self.healed = 0
        self.confirmed = 0
        self._held = held
        self._submit = submit
        self._want = want
        self._verify = verify
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: list[Fact] = []
        self._thread = Owner("what the stream says")

    def sink(self, facts: Sequence[Fact]) -> None:
        """Take facts, in order. Any single thread; what waits is published together."""
        with self._lock:
            first = not self._waiting
            self._waiting += facts
        if first:
            self._submit(self._publish_waiting)

    def _publish_waiting(self, server: FeedServer) -> None:
        with self._lock:
            facts, self._waiting = self._waiting, []
        self.publish(server, facts, self._clock.now_ns())

    def publish(self, server: FeedServer, facts: Sequence[Fact], now_ns: int) -> None:
        """Publish facts, those of one stream together."""
        self._thread.check()
        writer = server.writer
        if writer is None:
            return  # no epoch yet; the first commit's plan will ask for books again
        last_tick = {fact.ticker: index for index, fact in enumerate(facts) if isinstance(fact, TickerUpdate)}
        # Per topic, in order; a run of one kind goes into one message.
        runs: dict[str, list[tuple[str, list[Record]]]] = {}
        quotes: dict[str, Quote] = {}
        markets: dict[str, Market] = {}
        whole: set[str] = set()
        for index, fact in enumerate(facts):
            if isinstance(fact, TickerUpdate) and last_tick[fact.ticker] != index:
                continue
            topic = writer.state.stream_of.get(fact.ticker)
            if topic is None:
                self.followed.discard(fact.ticker)
                continue  # the sweep has not brought this market yet, or it is out of the universe
            if isinstance(fact, StatusChange):
                made_of = self._status(fact, quotes, markets, now_ns // 1_000_000)
            else:
                made = self._record(fact, quotes, whole, now_ns // 1_000_000)
                made_of = () if made is None else (made,)
            of_topic = runs.setdefault(topic, [])
            for kind, record in made_of:
                if not of_topic or of_topic[-1][0] != kind:
                    of_topic.append((kind, []))
                of_topic[-1][1].append(record)
        for topic, batches in runs.items():
            for kind, records in batches:
                source_ns = max(_time_of(record) for record in records) * 1_000_000 or now_ns
                server.publish(topic, kind, records, source_ns, now_ns)

    @property
    def disputed(self) -> set[str]:
        """Markets whose quotes an uncached book is to decide."""
        return self._held.disputed.copy()

    def follow(self, tickers: frozenset[str]) -> None:
        """Follow these books; all others are removed."""
        self._thread.check()
        self.followed &= tickers
        self._want(sorted(tickers))

    def compare(self, server: FeedServer, book: Book, asked_ms: int) -> bool:
        """Compare a book read by REST with what is held; return whether the stream keeps it.

        Args:
            asked_ms: when it was asked for: later changes cannot be judged.
        """
        self._thread.check()
        assert server.writer is not None, "books are planned from a state that is served"
        state = server.writer.state
        held = state.books.get(book.ticker)
        if book.ticker not in self.followed or held is None:
            self.followed.discard(book.ticker)
            return False
        if (held.yes, held.no) != (book.yes, book.no) and held.as_of_ms <= asked_ms - SETTLE_MS:
            self._verify([book.ticker])
        return True

    def judge(self, server: FeedServer, book: Book, asked_ms: int, now_ns: int) -> None:
        """Let an uncached book decide on a quote contradicted by a sweep older than the stream."""
        self._thread.check()
        disputed = self._held.disputed
        if book.ticker not in disputed or server.writer is None:
            return
        disputed.discard(book.ticker)
        state = server.writer.state
        quote = state.quotes.get(book.ticker)
        if quote is None or quote.as_of_ms > asked_ms:
            return
        top = top_of_book(book)
        if top_of_quote(quote) == top:
            self.confirmed += 1
            return
        self.healed += 1
        bid, ask = top.yes_bid or (0, 0), top.yes_ask or (PRICE_ONE_E4, 0)
        tick = TickerUpdate(book.ticker, bid[0], ask[0], bid[1], ask[1], None, None, None, book.as_of_ms)
        self._held.streamed(book.ticker, quote.status, book.as_of_ms)
        topic = state.stream_of[book.ticker]
        record = [_ticked(quote, tick)]
        server.publish(topic, "quote", record, book.as_of_ms * 1_000_000, now_ns)

    def _record(
        self,
        fact: Book | BookDelta | Suspect | Trade | TickerUpdate,
        quotes: dict[str, Quote],
        whole: set[str],
        now_ms: int,
    ) -> tuple[str, Record] | None:
        """Return the kind and record that a fact about a known market makes, if any.

        `quotes` and `whole` (books) are those already made and not yet published.
        """
        state = self._held.state
        if isinstance(fact, BookDelta):
            if fact.ticker not in self.followed:
                return None
            if fact.ticker not in state.books and fact.ticker not in whole:
                # Its market moved, or came back: the book is fetched again.
                self.followed.discard(fact.ticker)
                self._verify([fact.ticker])
                return None
            return "book_delta", fact
        if isinstance(fact, Book):
            self.followed.add(fact.ticker)
            whole.add(fact.ticker)
            return "book", fact
        if isinstance(fact, Suspect):
            self.followed.discard(fact.ticker)
            return "suspect", fact
        if isinstance(fact, Trade):
            return "trade", fact
        quote = quotes.get(fact.ticker) or state.quotes.get(fact.ticker)
        if quote is None or self._is_older(fact, quote, now_ms):
            return None
        return "quote", self._quoted(_ticked(quote, fact), quotes)

    def _status(
        self, change: StatusChange, quotes: dict[str, Quote], markets: dict[str, Market], now_ms: int
    ) -> tuple[tuple[str, Record], ...]:
        """Return what an announced status makes: the quote, preceded by the market if it now has a result.

        `quotes` and `markets` are those already made and not yet published.
        """
        state, ticker = self._held.state, change.ticker
        quote, market = quotes.get(ticker) or state.quotes.get(ticker), markets.get(ticker)
        market = market or state.markets.get(ticker)
        if quote is None or market is None:
            return ()
        ends = change.status in _DECIDED
        if ends and not change.result and not market.result:
            log.info("result.unheard", ticker=ticker, status=change.status)  # the sweep brings both
            return ()
        # A reply under way meanwhile is younger by our clock, but knew nothing of the result.
        if not (ends and quote.status in _UNDECIDED) and self._is_older(change, quote, now_ms):
            return ()
        made: list[tuple[str, Record]] = []
        said = change.result, change.settlement_value_e4
        if change.result and said != (market.result, market.settlement_value_e4):
            markets[ticker] = decided(market, *said)
            made.append(("market", markets[ticker]))
        as_of_ms = max(quote.as_of_ms, change.as_of_ms) if quote.as_of_ms <= now_ms else change.as_of_ms
        new = msgspec.structs.replace(quote, status=change.status, as_of_ms=as_of_ms)
        made.append(("quote", self._quoted(new, quotes)))
        return tuple(made)

    def _is_older(self, fact: TickerUpdate | StatusChange, quote: Quote, now_ms: int) -> bool:
        known_ms = max(quote.as_of_ms, self._held.state.quote_as_of_ms(fact.ticker) or 0)
        # A held time in the future is a clock that was set back, not a newer quote.
        if fact.as_of_ms < known_ms <= now_ms:
            self.older += 1
            return True
        return False

    def _quoted(self, quote: Quote, quotes: dict[str, Quote]) -> Quote:
        quotes[quote.ticker] = quote
        self._held.streamed(quote.ticker, quote.status, quote.as_of_ms)
        return quote


def _ticked(quote: Quote, tick: TickerUpdate) -> Quote:
    as_sent = quote.as_sent
    if as_sent is not None:
        as_sent = {name: text for name, text in as_sent.items() if name not in _TICKED}
    return msgspec.structs.replace(
        quote,
        yes_bid_e4=tick.yes_bid_e4,
        yes_ask_e4=tick.yes_ask_e4,
        no_bid_e4=opposite(tick.yes_ask_e4),
        no_ask_e4=opposite(tick.yes_bid_e4),
        yes_bid_size_e2=tick.yes_bid_size_e2,
        yes_ask_size_e2=tick.yes_ask_size_e2,
        last_price_e4=quote.last_price_e4 if tick.last_price_e4 is None else tick.last_price_e4,
        volume_e2=quote.volume_e2 if tick.volume_e2 is None else tick.volume_e2,
        open_interest_e2=quote.open_interest_e2 if tick.open_interest_e2 is None else tick.open_interest_e2,
        as_of_ms=tick.as_of_ms,
        as_sent={**(as_sent or {}), **(tick.as_sent or {})} or None,
    )


def _time_of(record: Record) -> int:
    for name in ("as_of_ms", "since_ms", "time_ms"):
        time_ms = getattr(record, name, None)
        if time_ms is not None:
            return int(time_ms)
    return 0
