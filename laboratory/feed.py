"""A feed from the simulated exchange without sockets; its state moves with a clock that the caller moves.

It carries what a publisher would: streamed quotes and announced statuses; everything else with a sweep,
decoded by the project's own decoders; and books of the markets that the planner chooses, vouched for every
few seconds. One thread, one process, no bytes on a wire.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final

from bus.clock import Clock
from bus.protocol.join import Action, ReplicaStatus, Stats, Tell
from bus.protocol.messages import TOPIC_EX, TOPIC_REF, CycleEnd, market_topic
from bus.protocol.state import Changed, Group, State
from bus.scan.membership import events_of
from markets.json.read import decode_event, decode_market, decode_milestone, decode_series
from markets.json.results import decided
from markets.records import Book, ExchangeStatus, Quote, Record, Remove, Status
from markets.records import Trade as PublicTrade
from markets.units import MINUTE_MS, PRICE_ONE_E4
from publisher.books.planner import Planner
from simulator.floor.exchange import Exchange
from simulator.floor.grid import Grid
from simulator.floor.happenings import Trade
from simulator.floor.history import day_ago
from simulator.floor.model import ACTIVE, FINALIZED, Event, Market
from simulator.front.render import dumps, event_json, market_json
from simulator.matching.book import Change

SWEEP_MS: Final = 12_000
PLAN_MS: Final = 48_000
VOUCH_MS: Final = 5_000
SERIES_MS: Final = 10 * MINUTE_MS
BOOKS: Final = 300
KEEP_MS: Final = 60 * MINUTE_MS
"""How long a market is kept after it was finalized (the publisher: a day); longer while it is wished for."""

_ENDS: Final = {"determined": Status.DETERMINED, "settled": Status.FINALIZED}

_OfDay = tuple[int | None, int | None, int | None, int | None]
"""The volume of a day, and price, bid and ask of a day ago."""


class ExchangeFeed:
    """Used in place of a stepped replica, of an exchange in this process. `advance` moves exchange and state.

    Args:
        keep_ms: how long a market is listed after it was finalized.
        trades: whether public trades are passed on: a broker that leaves fills to the exchange needs none.

    Attributes:
        followed: the markets whose books are kept.
    """

    def __init__(
        self,
        exchange: Exchange,
        clock: Clock,
        keep_ms: int = KEEP_MS,
        sweep_ms: int = SWEEP_MS,
        *,
        trades: bool = True,
    ) -> None:
        self.exchange = exchange
        self.clock = clock
        self.followed: set[str] = set()
        self.heard_ns = 0
        self._heard: deque[Action] = deque()
        self._state = State(exchange.now_ms)
        self._state.stream_since_ms = exchange.now_ms
        self._stats = Stats()
        self._keep_ms, self._sweep_ms = keep_ms, sweep_ms
        self._passes_trades = trades
        self._planner = Planner(BOOKS)
        self._wished: dict[str, int] = {}
        self._quotes: dict[str, Market] = {}
        self._books: dict[str, Market] = {}
        self._statuses: dict[str, Status] = {}
        self._trades: list[PublicTrade] = []
        self._markets: dict[str, Market] = {}
        self._moved: dict[str, Market] = {}
        self._quoted: set[str] = set()
        self._grids: dict[str, Grid] = {}
        self._events: dict[str, Event] = dict(exchange.events)
        self._series: dict[str, dict[str, Any]] = {}
        self._milestones: dict[str, str] = {}
        self._over: dict[str, int] = {}
        self._decided: dict[str, tuple[Event, str]] = {}
        self._sweep_at = self._plan_at = self._vouch_at = self._series_at = 0
        for market in exchange.markets.values():
            self._markets[market.ticker] = market
        exchange.listeners.append(self)
        self._step(exchange.now_ms)
        self._heard.clear()
        self._heard.append(Tell("live", {}))

    # -- what a worker needs of a replica

    @property
    def state(self) -> State:
        return self._state

    @property
    def backlog(self) -> int:
        return len(self._heard)

    def now_ms(self) -> int:
        return self.clock.now_ms()

    def status(self) -> ReplicaStatus:
        return ReplicaStatus(
            epoch=self._state.epoch,
            seq=self._state.seq,
            live=True,
            phase="live",
            lost=False,
            age_ms=0,
            degraded=(),
            source="live",
            stats=self._stats,
        )

    def step(self, timeout_s: float) -> Sequence[Action]:
        """Return the next action, if any; never wait."""
        self.heard_ns = self.clock.monotonic_ns()
        return (self._heard.popleft(),) if self._heard else ()

    def wish(self, tickers: Sequence[str], ttl_s: float, what: str) -> None:
        """Wish for books, or for markets by name, no matter how long ago they settled; there is no more."""
        now_ms = self.clock.now_ms()
        if what == "book":
            self._planner.wish(tickers, ttl_s, now_ms)
        if what != "market":
            return
        self._wished.update(dict.fromkeys(tickers, now_ms + round(ttl_s * 1000)))
        known, listed = self._state.markets, self.exchange.markets
        for ticker in tickers:
            if ticker not in known and (market := listed.get(ticker)) is not None:
                self._markets[ticker] = market
                self._events[market.event_ticker] = market.event

    # -- what the exchange reports

    def quoted(self, market: Market, changes: list[Change], time_ms: int) -> None:
        """See Listener."""
        ticker = market.ticker
        self._quotes[ticker] = market
        if ticker in self.followed:
            self._books[ticker] = market

    def deepened(self, market: Market, changes: list[Change], time_ms: int) -> None:
        """See Listener."""
        if market.ticker in self.followed:
            self._books[market.ticker] = market

    def emptied(self, market: Market, time_ms: int) -> None:
        """See Listener."""
        if market.ticker in self.followed:
            self._books[market.ticker] = market

    def traded(self, trade: Trade) -> None:
        """See Listener."""
        market = trade.market
        ticker = market.ticker
        self._quotes[ticker] = market
        if self._passes_trades and ticker in self._state.quotes:
            parts = (trade.yes_price_e4, trade.count_e2, trade.taker, trade.time_ms)
            self._trades.append(PublicTrade(trade.trade_id, ticker, *parts))

    def announced(
        self, event_type: str, subject: Market | Event, fields: dict[str, Any], time_ms: int
    ) -> None:
        """See Listener."""
        if isinstance(subject, Event):
            self._events[subject.ticker] = subject
            return
        ticker = subject.ticker
        self._markets[ticker] = subject
        self._events[subject.event_ticker] = subject.event
        if event_type in _ENDS:
            self._statuses[ticker] = _ENDS[event_type]
            self._decided[subject.event_ticker] = subject.event, subject.event.status
        elif event_type in ("activated", "deactivated"):
            paused = fields.get("is_deactivated", False)
            self._statuses[ticker] = Status.INACTIVE if paused else Status.ACTIVE

    # -- time

    def advance(self, now_ms: int) -> None:
        """Advance the exchange to `now_ms` and take in what happened. The clock has moved already."""
        self.exchange.advance(now_ms)
        self._step(now_ms)

    def _step(self, now_ms: int) -> None:
        groups: list[Group] = []
        cycle = 0
        state = self._state
        with state.lock:
            self._stream(groups, now_ms)
            if now_ms >= self._sweep_at:
                self._sweep_at = now_ms + self._sweep_ms
                cycle = self._sweep(groups, now_ms)
            for kind, keys in groups:
                if kind == "quote":
                    self._quoted.update(keys)
        if now_ms >= self._plan_at:
            self._plan_at = now_ms + PLAN_MS
            self._plan(groups, now_ms)
        if now_ms >= self._vouch_at:
            self._vouch_at = now_ms + VOUCH_MS
            self._vouch(groups, now_ms)
        if self._books:
            self._read_books(groups, now_ms)
        trades, self._trades = self._trades, []
        if groups or cycle or trades:
            self._heard.append(Changed(state.seq, cycle, groups, trades))

    def _vouch(self, groups: list[Group], now_ms: int) -> None:
        """Mark all books as current; of these, tell of those that were older than their quotes."""
        books, quotes, confirmed_ms = self._state.books, self._state.quotes, self._state.confirmed_ms
        quoted, again = self._quoted, []  # all others were older when the books were last vouched for
        for ticker, book in books.items():
            as_of_ms = book.as_of_ms
            if as_of_ms < confirmed_ms or (
                ticker in quoted and (quote := quotes.get(ticker)) is not None and as_of_ms < quote.as_of_ms
            ):
                again.append(ticker)
            books[ticker] = Book(ticker, now_ms, book.yes, book.no)
        quoted.clear()
        groups.append(("book", again))

    def _put(self, topic: str, kind: str, records: Sequence[Any], groups: list[Group]) -> None:
        state = self._state
        if records:
            state.seq += 1
            groups += state.put(topic, state.seq, kind, records)

    def _set(self, kind: str, records: Mapping[str, Quote | Book], groups: list[Group]) -> None:
        """Set quotes or books, by ticker, of markets that are known: all at once, whatever their series.

        They are in no digest, since this state is compared with no other.
        """
        if records:
            self._state.seq += 1
            self._state.records[kind].update(records)
            groups.append((kind, list(records)))

    def _read_books(self, groups: list[Group], now_ms: int) -> None:
        """Read the books that have changed or are new."""
        state, held, depth_of = self._state, self._state.books, self.exchange.venue.depth
        books: dict[str, Book] = {}
        for ticker, market in self._books.items():
            if ticker not in held:
                topic = state.stream_of.get(ticker)
                if topic is None:
                    continue
                state.stream(topic).keys.setdefault("book", {})[ticker] = 0
            book = depth_of(market).book
            books[ticker] = Book(ticker, now_ms, book.yes.ladder(), book.no.ladder())
        self._set("book", books, groups)
        self._books.clear()

    def _stream(self, groups: list[Group], now_ms: int) -> None:
        held, markets = self._state.quotes, self._state.markets
        quotes: dict[str, Quote] = {}
        for ticker, status in self._statuses.items():
            quote, market, now = held.get(ticker), markets.get(ticker), self.exchange.markets.get(ticker)
            if quote is None or market is None or now is None:
                continue  # the sweep brings it
            if now.result and (now.result, now.value_e4) != (market.result, market.settlement_value_e4):
                result = decided(market, now.result, now.value_e4)
                self._put(self._state.stream_of[ticker], "market", [result], groups)
            quotes[ticker] = shown(quote, now, now_ms, status)
        for ticker, now in self._quotes.items():
            quote = held.get(ticker)
            if quote is not None and ticker not in quotes:
                quotes[ticker] = shown(quote, now, now_ms, quote.status)
        self._statuses.clear()
        self._moved.update(self._quotes)
        self._quotes.clear()
        self._set("quote", quotes, groups)

    def _sweep(self, groups: list[Group], now_ms: int) -> int:
        """Read what may have changed, as a sweep would find it; return the number of the commit."""
        state, exchange = self._state, self.exchange
        if now_ms >= self._series_at:
            self._series_at = now_ms + SERIES_MS
            self._read_series(groups)
        events = [decode_event(event_json(one, now_ms).encode())[0] for one in self._events.values()]
        held_events = state.events
        news_of = [one for one in events if held_events.get(one.event_ticker) != one]
        self._put(TOPIC_REF, "event", news_of, groups)
        self._read_milestones(groups)
        status = ExchangeStatus(
            exchange.halts.exchange_active,
            exchange.halts.trading_active,
            None,
            tuple((i, one.exchange_active, one.trading_active) for i, one in exchange.halts.shards.items()),
            now_ms,
        )
        self._put(TOPIC_EX, "exchange", [status], groups)
        quotes, listed, grids = state.quotes, exchange.markets, self._grids
        news, active = dict[str, Quote](), Status.ACTIVE
        for ticker, one in self._moved.items():
            held = quotes.get(ticker)
            usual = held is not None and held.status is active and one.status == ACTIVE
            if held is None or not usual or grids.get(ticker) is not one.grid:
                self._markets.setdefault(ticker, one)
            elif ticker not in self._markets and ticker in listed:
                _, volume_then_e2, price_e4, bid_e4, ask_e4 = day_ago(one, now_ms)
                of_day = one.volume_e2 - volume_then_e2, price_e4, bid_e4, ask_e4
                news[ticker] = shown(held, one, now_ms, active, of_day)
        self._set("quote", news, groups)
        self._find_disputed()
        by_topic: dict[str, tuple[list[Record], list[Record]]] = {}
        for ticker, one in self._markets.items():
            if ticker not in listed:
                continue
            series_ticker, previous = one.event.series.ticker, state.markets.get(ticker)
            market, quote = decode_market(
                market_json(one, now_ms).encode(),
                series_ticker=series_ticker,
                as_of_ms=now_ms,
                previous=previous,
            )
            grids[ticker] = one.grid
            markets, of_topic = by_topic.setdefault(market_topic(series_ticker), ([], []))
            if market is not previous:
                markets.append(market)
            of_topic.append(quote)
            if quote.status is Status.FINALIZED:
                self._over.setdefault(ticker, now_ms)
        for topic, (markets, of_topic) in by_topic.items():
            self._put(topic, "market", markets, groups)
            self._put(topic, "quote", of_topic, groups)
        self._markets.clear()
        self._moved.clear()
        self._events.clear()
        self._drop(groups, now_ms)
        number = (state.cycle.cycle if state.cycle else 0) + 1
        state.seq += 1
        state.end_cycle(
            CycleEnd(
                number, state.seq, state.seq, 1, True, now_ms, now_ms, as_of_ms=now_ms, complete_ms=now_ms
            )
        )
        return number

    def _find_disputed(self) -> None:
        """Have the markets of events read that were disputed, or decided again: nothing announces that."""
        for ticker, (event, status) in tuple(self._decided.items()):
            if event.status != status:
                self._decided[ticker] = event, event.status
                self._markets.update((market.ticker, market) for market in event.markets)
            if event.status == FINALIZED:
                del self._decided[ticker]

    def _read_series(self, groups: list[Group]) -> None:
        """Read the series of which something has changed."""
        known = self._series
        found = []
        for ticker, one in self.exchange.series.items():
            if known.get(ticker) != one.body:
                known[ticker] = one.body.copy()
                found.append(decode_series(dumps(one.body).encode()))
        self._put(TOPIC_REF, "series", found, groups)

    def _read_milestones(self, groups: list[Group]) -> None:
        """Read the milestones of which something has changed: the last ones of the listing."""
        known = self._milestones
        found = []
        for id_, milestone in reversed(self.exchange.listings.milestones.items()):
            stamp = milestone.body["last_updated_ts"]  # whatever changes stamps it
            if known.get(id_) == stamp:
                break
            known[id_] = stamp
            found.append(decode_milestone(dumps(milestone.body).encode()))
        found.reverse()
        self._put(TOPIC_REF, "milestone", found, groups)

    def _drop(self, groups: list[Group], now_ms: int) -> None:
        """Drop markets finalized long ago, unless they are wished for, and what only they had."""
        state = self._state
        self._wished = {ticker: until for ticker, until in self._wished.items() if until > now_ms}
        due: list[str] = []
        for ticker, over_ms in self._over.items():  # the longest over first
            if over_ms + self._keep_ms > now_ms:
                break
            if ticker not in self._wished:
                due.append(ticker)
        removed: dict[str, list[Remove]] = {}
        events: set[str] = set()
        for ticker in due:
            del self._over[ticker]
            self._grids.pop(ticker, None)
            market = state.markets.get(ticker)
            if market is not None:
                removed.setdefault(state.stream_of[ticker], []).append(Remove("market", ticker))
                events.add(market.event_ticker)
        for topic, removals in removed.items():
            self._put(topic, "remove", removals, groups)
        if events:
            events -= {market.event_ticker for market in state.markets.values()}
            self._put(TOPIC_REF, "remove", [Remove("event", one) for one in sorted(events)], groups)
            held = state.events
            over = [
                milestone.id
                for milestone in state.milestones.values()
                if not any(ticker in held for ticker in events_of(milestone))
            ]
            self._put(TOPIC_REF, "remove", [Remove("milestone", id_) for id_ in over], groups)

    def _plan(self, groups: list[Group], now_ms: int) -> None:
        state = self._state
        planned = {t for batch in self._planner.plan_of(state, now_ms, self._planner.calls) for t in batch}
        self._planner.fetched(planned, now_ms)
        markets = self.exchange.markets
        self._books.update((t, markets[t]) for t in sorted(planned - self.followed) if t in markets)
        gone = sorted(ticker for ticker in state.books if ticker not in planned)
        for ticker in self._books.keys() - planned:  # it moved in this step, and is followed no more
            del self._books[ticker]
        self.followed = planned
        with state.lock:
            for ticker in gone:
                self._put(state.stream_of[ticker], "remove", [Remove("book", ticker)], groups)


def shown(quote: Quote, market: Market, now_ms: int, status: Status, of_day: _OfDay | None = None) -> Quote:
    """Return a quote as the exchange shows the market now.

    With `of_day`, as a sweep reads it; else as the present `ticker` frame, or the announcement of a `status`,
    leaves it.
    """
    volume_24h_e2, price_e4, previous_bid_e4, previous_ask_e4 = of_day or (
        quote.volume_24h_e2,
        quote.previous_price_e4,
        quote.previous_yes_bid_e4,
        quote.previous_yes_ask_e4,
    )
    ask_e4 = market.ask_e4 if market.ask_e2 else 0 if market.odd_sentinel else PRICE_ONE_E4
    bid_e4 = market.bid_e4 if market.bid_e2 else 0
    return Quote(
        quote.ticker,
        status,
        bid_e4,
        ask_e4,
        PRICE_ONE_E4 - ask_e4,
        PRICE_ONE_E4 - bid_e4,
        market.bid_e2,
        market.ask_e2,
        market.last_e4 or quote.last_price_e4,
        market.volume_e2,
        volume_24h_e2,
        market.open_interest_e2,
        price_e4,
        previous_bid_e4,
        previous_ask_e4,
        now_ms,
    )
