"""Order books of the markets where they are worth most, with what the sweep leaves of the budget.

After each commit a plan is made: whole events where a kind of opportunity compares their markets with each
other, and single markets, by value. The number of requests a cycle depends on settings and budget alone;
whoever watches a market moves it to the front and adds none.

Source: Kalshi API reference, ``GET /markets/orderbooks``: up to 100 repeated `tickers`, not cached, 10 tokens
a call as far as is known.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import log1p
from typing import Final, NamedTuple

import msgspec
import structlog

from bus.clock import Clock
from bus.protocol.state import State
from bus.server import FeedServer, Job
from markets.errors import BadRecord
from markets.json.books import decode_books, decode_candles
from markets.json.faults import BadMember
from markets.json.words import COST
from markets.opportunities import Failure, worth_of_books_e4
from markets.records import Book, Candles, Event, Market, Quote, Remove, Status
from publisher.kalshi.budget import Budget
from publisher.kalshi.client import Client, ExchangeError, Stopped, StopSignal
from publisher.live import Live
from publisher.quarantine import Quarantine

from .candles import CALLS_PER_CYCLE, PERIOD_MINUTES, SPAN_S, CandlePlanner

log = structlog.get_logger()

BOOKS_PER_REQUEST: Final = 100
URL_BUDGET: Final = 6_000
"""Characters of tickers in one URL."""

MAX_ROUNDS: Final = 3
"""How often a cycle's books are fetched, evenly spread, if the budget has it."""

FAIR_SHARE: Final = 0.1
"""Part of the books that goes to markets of lower value, longest unfetched first."""

BUDGET_USE: Final = 0.8
"""Part of what the sweep leaves that is spent."""

MAX_CANDLES_BYTES: Final = 200_000
"""Longer price history would not fit into a message: its beginning is left out."""

MAX_LEVELS: Final = 10_000
"""A longer book would not fit into a message."""

REFUSALS_BELIEVED: Final = 2
BILLING_EVERY_MS: Final = 600_000
REPLAN_FROM_MARKETS: Final = 20_000
"""A plan over this many markets takes tenths of a second: it is kept for a while."""

REPLAN_MS: Final = 45_000
MAX_WATCHED: Final = 10_000
BOOKS_PER_MESSAGE: Final = 64
HOUR_MS: Final = 3_600_000


class Tradable(NamedTuple):
    """One active market as the planner sees it; `start_ms` is the start of its match, if known."""

    market: Market
    quote: Quote
    event: Event | None
    start_ms: int | None


def value_of(tradable: Tradable, now_ms: int) -> float:
    """Return what a market's book is worth: more if it is liquid, tight, or near its start or end."""
    market, quote, _, start_ms = tradable
    worth = log1p((quote.volume_24h_e2 or 0) / 100) + 0.5 * log1p((quote.open_interest_e2 or 0) / 100)
    if quote.yes_bid_size_e2 and quote.yes_ask_size_e2:
        spread_e4 = quote.yes_ask_e4 - quote.yes_bid_e4
        worth += 4.0 / (1.0 + max(0, spread_e4) / 100)
    nearest_ms = abs(market.close_ms - now_ms)
    for ms in (market.expected_expiration_ms, start_ms):
        if ms is not None and (away_ms := abs(ms - now_ms)) < nearest_ms:
            nearest_ms = away_ms
    return worth + 6.0 / (1.0 + nearest_ms / HOUR_MS)


class Planner:
    """Chooses which books to fetch. Pure over explicit time; `watch` may be called from any thread.

    Args:
        limit: the most books of a plan.

    Attributes:
        watches: how often something not watched before was wished for.
        failures: of kinds of opportunity that raised when the last plan asked them.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self.watches = 0
        self.failures: list[Failure] = []
        self._watched: dict[str, int] = {}
        self._fetched_ms: dict[str, int] = {}

    @property
    def calls(self) -> int:
        """Requests that a full plan takes."""
        return -(-self.limit // BOOKS_PER_REQUEST)

    def watch(self, tickers: Sequence[str], ttl_s: float, now_ms: int) -> None:
        """Wish for these books for `ttl_s` seconds."""
        with self._lock:
            self.watches += any(ticker not in self._watched for ticker in tickers)
            for ticker in tickers:
                until_ms = now_ms + int(ttl_s * 1000)
                self._watched[ticker] = max(until_ms, self._watched.pop(ticker, 0))
            while len(self._watched) > MAX_WATCHED:
                del self._watched[next(iter(self._watched))]

    def plan(self, tradables: Iterable[Tradable], now_ms: int, calls: int | None = None) -> list[list[str]]:
        """Return the tickers of each request, at most `calls` of them and `limit` tickers in all.

        An event that is fetched as a whole is not torn between two requests.
        """
        with self._lock:
            self._watched = {t: until_ms for t, until_ms in self._watched.items() if until_ms > now_ms}
            watched = frozenset(self._watched)
        self.failures = []
        units = _units(tradables, watched, now_ms, self.failures)
        known = {ticker for unit in units for ticker in unit.tickers}
        self._fetched_ms = {t: at_ms for t, at_ms in self._fetched_ms.items() if t in known}
        bins = _Bins(self.limit, self.calls if calls is None else min(calls, self.calls))
        fair = int(self.limit * FAIR_SHARE)
        by_value = sorted(units, key=lambda unit: (-unit.value, unit.tickers))
        rest = [unit for unit in by_value if not bins.add(unit.tickers, leave=fair)]
        rest.sort(key=self._last_fetched)
        for unit in rest:
            bins.add(unit.tickers)
        return bins.batches()

    def fetched(self, tickers: Iterable[str], now_ms: int) -> None:
        """Note that these books came."""
        for ticker in tickers:
            self._fetched_ms[ticker] = now_ms

    def _last_fetched(self, unit: "_Unit") -> int:
        return min(self._fetched_ms.get(ticker, 0) for ticker in unit.tickers)


class _Unit(NamedTuple):
    value: float
    tickers: tuple[str, ...]


def _units(
    tradables: Iterable[Tradable], watched: frozenset[str], now_ms: int, failures: list[Failure]
) -> list[_Unit]:
    """Group what must be seen together, as far as it fits into a request; else market by market."""
    units: list[_Unit] = []
    events: dict[str, list[Tradable]] = {}
    for tradable in tradables:
        events.setdefault(tradable.market.event_ticker, []).append(tradable)
    for members in events.values():
        event, together_e4 = members[0].event, None
        if event is not None and 1 < len(members) <= BOOKS_PER_REQUEST:
            together_e4 = worth_of_books_e4(event, [member.quote for member in members], failures)
        if together_e4 is None:
            units += [_unit((member.market.ticker,), value_of(member, now_ms), watched) for member in members]
        else:
            tickers = tuple(sorted(member.market.ticker for member in members))
            value = max(value_of(member, now_ms) for member in members)
            units.append(_unit(tickers, value + together_e4 / 25, watched))
    return units


def _unit(tickers: tuple[str, ...], value: float, watched: frozenset[str]) -> _Unit:
    return _Unit(value if watched.isdisjoint(tickers) else value + 1_000.0, tickers)


class _Bins:
    """Requests being filled, first fit."""

    def __init__(self, limit: int, calls: int) -> None:
        self._left = limit
        self._bins: list[list[str]] = [[] for _ in range(calls)]
        self._characters = [0] * calls

    def add(self, tickers: Sequence[str], leave: int = 0) -> bool:
        if len(tickers) > self._left - leave:
            return False
        size = sum(len(ticker) + len("&tickers=") for ticker in tickers)
        for index, batch in enumerate(self._bins):
            fits = len(batch) + len(tickers) <= BOOKS_PER_REQUEST
            if fits and self._characters[index] + size <= URL_BUDGET:
                batch += tickers
                self._characters[index] += size
                self._left -= len(tickers)
                return True
        return False

    def batches(self) -> list[list[str]]:
        return [batch for batch in self._bins if batch]


def tradables(state: State) -> list[Tradable]:
    """Return the active markets of a state, as the planner takes them. Any thread but the bus thread."""
    with state.lock:
        quotes = list(state.quotes.values())
        markets: Mapping[str, Market] = dict(state.markets)
        events: Mapping[str, Event] = dict(state.events)
        milestones = list(state.milestones.values())
    starts = {ticker: m.start_ms for m in milestones for ticker in m.primary_event_tickers}
    found = []
    for quote in quotes:
        market = markets.get(quote.ticker)
        if quote.status is Status.ACTIVE and market is not None:
            event = events.get(market.event_ticker)
            found.append(Tradable(market, quote, event, starts.get(market.event_ticker)))
    return found


def rounds_of(budget: Budget, interval_s: float, sweep_requests: int, calls: int) -> tuple[int, int]:
    """Return how many rounds of how many requests a cycle has room for, beside the sweep."""
    left = BUDGET_USE * (budget.rate_per_s * interval_s / COST - sweep_requests)
    if left < 1 or calls < 1:
        return 0, 0
    if left < calls:
        return 1, int(left)
    return min(MAX_ROUNDS, int(left // calls)), calls


class Enrichment:
    """Fetches the planned books after each commit and streams them.

    Args:
        client: of this thread alone.
        submit: hands a job to the bus thread.
        live: what the stream follows; None without one. follow: tells the stream which books to follow.
    """

    def __init__(
        self,
        planner: Planner,
        candles: CandlePlanner,
        client: Client,
        budget: Budget,
        submit: Callable[[Job], None],
        state: State,
        quarantine: Quarantine,
        clock: Clock,
        stop: StopSignal,
        interval_s: float,
        live: Live | None = None,
        follow: Callable[[Iterable[str]], None] = lambda _tickers: None,
    ) -> None:
        self.planner = planner
        self._candles = candles
        self._live = live
        self._follow = follow
        self._billing = Billing()
        self._planned: list[list[str]] = []
        self._failed: set[str] = set()
        self._planned_for: tuple[int, int] | None = None
        self._planned_ms = 0
        self._client = client
        self._budget = budget
        self._submit = submit
        self._state = state
        self._quarantine = quarantine
        self._clock = clock
        self._stop = stop
        self._interval_s = interval_s
        self._work: queue.SimpleQueue[int | None] = queue.SimpleQueue()

    def begin(self, sweep_requests: int) -> None:
        """Start the cycle of a commit. Any thread."""
        self._work.put(sweep_requests)

    def end(self) -> None:
        """Let `run` return. Any thread; set the stop signal before."""
        self._work.put(None)

    def run(self) -> None:
        """Work until `end`."""
        try:
            while (sweep_requests := self._work.get()) is not None:
                try:
                    self._cycle(sweep_requests)
                except ExchangeError as error:
                    # The next sweep meets the same trouble and tells of it; the books age meanwhile.
                    log.info("books.failed", outcome=error.outcome, error=str(error))
        except Stopped:
            return
        finally:
            self._client.close()

    def _cycle(self, sweep_requests: int) -> None:
        now_ms = self._clock.now_ms()
        size, cost = self._billing.batch(self._budget.capacity, now_ms)
        self._candles_cycle(min(sweep_requests * COST, 0.8 * self._budget.capacity))
        others = sweep_requests + CALLS_PER_CYCLE
        rounds, calls = rounds_of(self._budget, self._interval_s, others, self.planner.calls)
        plan = self._plan(calls, now_ms)
        planned = frozenset(ticker for batch in plan for ticker in batch)
        self._submit(lambda server: self._drop_others(server, planned))
        live = self._live
        if live is not None:
            disputed = sorted(live.disputed)[:BOOKS_PER_REQUEST]
            if disputed:
                plan = [disputed, *plan]
            if planned and planned <= live.followed:
                rounds = min(rounds, 1)  # the stream is quicker: reading them is a cross-check
        for number in range(rounds):
            if number and self._stop.wait(self._interval_s / rounds):
                raise Stopped
            for batch in plan:
                for start in range(0, len(batch), size):
                    if not self._work.empty():
                        return  # the next commit is there: plan anew
                    # The next sweep must not wait for tokens that were spent here.
                    reserve = min(sweep_requests * COST, 0.8 * self._budget.capacity)
                    if not self._fetch(batch[start : start + size], reserve, cost):
                        return

    def _candles_cycle(self, reserve: float) -> None:
        """Fetch price history that is wished for, with the one request of its share, and drop what is not."""
        now_ms = self._clock.now_ms()
        known = self._state.stream_of
        wished = self._candles.wished(known, now_ms)
        batch = self._candles.plan(known, now_ms)
        found: list[Candles] = []
        if batch:
            try:
                found = self._fetch_candles(batch, now_ms, reserve)
            except ExchangeError as error:
                # Who wishes for price history must not cost the others their books.
                log.info("candles.failed", outcome=error.outcome, error=str(error))
        records = [candles for candles in found if candles.ticker in wished]
        if records or self._state.candles:
            self._submit(lambda server: _publish_candles(server, records, wished, self._clock.now_ns()))

    def _fetch_candles(self, batch: list[str], now_ms: int, reserve: float) -> list[Candles]:
        (found, bad), reply = self._client.get(
            "/markets/candlesticks",
            [
                ("market_tickers", ",".join(batch)),
                ("start_ts", now_ms // 1000 - SPAN_S),
                ("end_ts", now_ms // 1000),
                ("period_interval", PERIOD_MINUTES),
            ],
            read=lambda body: decode_candles(body, MAX_CANDLES_BYTES),
            reserve=reserve,
            attempts=1,
        )
        self._candles.fetched(batch, self._clock.now_ms())
        for member in bad:
            self._quarantine.put("candles", member.ticker or "", member.error, member.raw)
        return [Candles(ticker, reply.as_of_ms, PERIOD_MINUTES * 60, raw) for ticker, raw in found]

    def _plan(self, calls: int, now_ms: int) -> list[list[str]]:
        """Plan anew, or in a large catalogue for some cycles as before: values are those of hours."""
        key = calls, self.planner.watches
        large = len(self._state.markets) > REPLAN_FROM_MARKETS
        if large and key == self._planned_for and 0 <= now_ms - self._planned_ms < REPLAN_MS:
            return self._planned
        self._planned = self.planner.plan(tradables(self._state), now_ms, calls)
        for failure in self.planner.failures:
            if failure.part not in self._failed:
                self._failed.add(failure.part)
                log.error("plan.failed", **msgspec.structs.asdict(failure))
        self._planned_for, self._planned_ms = key, now_ms
        return self._planned

    def _fetch(self, batch: list[str], reserve: float, cost: int) -> bool:
        """Fetch books and publish them; return False when the exchange refused for rate."""
        asked_ms = self._clock.now_ms()
        price = cost * len(batch) if self._billing.per_ticker else cost
        try:
            (books, bad), reply = self._client.get(
                "/markets/orderbooks",
                [("tickers", ticker) for ticker in batch],
                read=lambda body: decode_books(body, self._clock.now_ms()),
                reserve=min(reserve, max(0.0, self._budget.capacity - price)),
                cost=price,
                attempts=1,
            )
        except ExchangeError as error:
            if error.outcome != "rate_limited":
                raise
            self._billing.refused(len(batch), self._clock.now_ms())
            return False
        self._billing.accepted(len(batch))
        now_ms = self._clock.now_ms()
        self.planner.fetched(batch, now_ms)
        wanted = set(batch)
        good: list[Book] = []
        for book in books:
            if len(book.yes) + len(book.no) > MAX_LEVELS:
                levels = len(book.yes) + len(book.no)
                too_long = BadRecord("orderbook", f"{levels} levels", f"at most {MAX_LEVELS}")
                bad.append(BadMember(book.ticker, too_long, b""))
            elif book.ticker in wanted:
                self._quarantine.good("book", book.ticker)
                good.append(book)
        for member in bad:
            self._quarantine.put("book", member.ticker or "", member.error, member.raw)
        self._submit(lambda server: self._publish(server, good, reply.as_of_ms, asked_ms))
        return True

    def _publish(self, server: FeedServer, books: Sequence[Book], as_of_ms: int, asked_ms: int) -> None:
        """Stream books, those of one event in one message; bus thread."""
        now_ns = self._clock.now_ns()
        live = self._live
        if live is not None:
            for book in books:
                live.judge(server, book, asked_ms, now_ns)
            books = [book for book in books if not live.compare(server, book, asked_ms)]
        _publish(server, books, as_of_ms, now_ns)

    def _drop_others(self, server: FeedServer, planned: frozenset[str]) -> None:
        if self._live is not None:
            self._live.keep(planned)
        self._follow(sorted(planned))
        _drop_others(server, planned, self._clock.now_ns())


class Billing:
    """What a batch of books costs: 10 a call, as documented, until refusals say that each ticker counts.

    Not established for the real exchange: it is asked again, one whole batch every 10 minutes.

    Attributes:
        per_ticker: what is believed now.
    """

    def __init__(self) -> None:
        self.per_ticker = False
        self._refusals = 0
        self._again_ms = 0

    def batch(self, capacity: float, now_ms: int) -> tuple[int, int]:
        """Return how many tickers to ask for at once, and the tokens of a call (or of each, if billed so)."""
        if self.per_ticker and now_ms >= self._again_ms:
            self.per_ticker, self._refusals = False, REFUSALS_BELIEVED - 1
        if not self.per_ticker:
            return BOOKS_PER_REQUEST, COST
        return max(1, min(BOOKS_PER_REQUEST, int(capacity / 4 / COST))), COST

    def refused(self, tickers: int, now_ms: int) -> None:
        """Note a 429 for a batch that the budget had tokens for."""
        if tickers == 1 or self.per_ticker:
            return
        self._refusals += 1
        if self._refusals >= REFUSALS_BELIEVED:
            log.warning("books.billed_per_ticker", again_in_s=BILLING_EVERY_MS // 1000)
            self.per_ticker, self._again_ms = True, now_ms + BILLING_EVERY_MS

    def accepted(self, tickers: int) -> None:
        """Note a batch that was answered."""
        if tickers > 1 and not self.per_ticker:
            self._refusals = 0


def _publish(server: FeedServer, books: Sequence[Book], as_of_ms: int, now_ns: int) -> None:
    """Stream books, those of one event in one message; bus thread."""
    writer = server.writer
    assert writer is not None, "books are planned from a state that is served"
    state = writer.state
    events: dict[tuple[str, str], list[Book]] = {}
    for book in books:
        topic = state.stream_of.get(book.ticker)
        market: Market | None = state.markets.get(book.ticker)
        held: Book | None = state.books.get(book.ticker)
        if topic is None or market is None:
            continue  # removed meanwhile
        if held is not None and book.as_of_ms < held.as_of_ms <= now_ns // 1_000_000:
            continue
        events.setdefault((topic, market.event_ticker), []).append(book)
    for topic, message in _messages(events):
        server.send(writer.stream(topic, "book", message, as_of_ms * 1_000_000, now_ns))


def _publish_candles(
    server: FeedServer, found: Sequence[Candles], wished: frozenset[str], now_ns: int
) -> None:
    """Stream price history, and the removal of what nobody wishes for; bus thread."""
    writer = server.writer
    if writer is None:
        return
    state = writer.state
    for candles in found:
        topic = state.stream_of.get(candles.ticker)
        if topic is not None:
            server.send(writer.stream(topic, "candles", [candles], candles.as_of_ms * 1_000_000, now_ns))
    for ticker in sorted(state.candles.keys() - wished):
        removal = [Remove("candles", ticker)]
        server.send(writer.stream(state.stream_of[ticker], "remove", removal, now_ns, now_ns))


def _messages(events: Mapping[tuple[str, str], list[Book]]) -> Iterable[tuple[str, list[Book]]]:
    """Put events of one topic together while they fit into a message; never cut one that fits."""
    topic, message = "", list[Book]()
    for (next_topic, _), books in sorted(events.items(), key=lambda item: item[0]):
        if message and (next_topic != topic or len(message) + len(books) > BOOKS_PER_MESSAGE):
            yield topic, message
            message = []
        topic = next_topic
        message = message + books
    if message:
        yield topic, message


def _drop_others(server: FeedServer, planned: frozenset[str], now_ns: int) -> None:
    """Remove books that are not kept fresh any more; bus thread."""
    writer = server.writer
    if writer is None:
        return
    state = writer.state
    topics: dict[str, list[Remove]] = {}
    for ticker in sorted(state.books.keys() - planned):
        topics.setdefault(state.stream_of[ticker], []).append(Remove("book", ticker))
    for topic, removals in topics.items():
        server.send(writer.stream(topic, "remove", removals, now_ns, now_ns))
