"""Kalshi's public read API below `/trade-api/v2`, answered from an edition: pure.

Paths, parameters, order, cursors and error bodies are Kalshi's (API reference, spec 3.34.0), so that a client
of Kalshi works unchanged with this server as its base URL. docs/http-api.md says where an answer cannot be
Kalshi's own, and why.
"""

import base64
import binascii
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from bus.protocol.state import State
from markets.errors import BadRecord
from markets.json.words import (
    BASE,
    EVENT_STATUS_WORDS,
    FALSE_WORDS,
    PERIODS_MINUTES,
    STATUS_WORDS,
    TIME_FAMILIES,
    TRUE_WORDS,
    error_body,
    invalid_body,
    out_of_range,
    unparsable,
)
from markets.json.write import book_json
from markets.records import (
    Book,
    Candles,
    Event,
    ExchangeStatus,
    Level,
    Market,
    Milestone,
    Quote,
    Suspect,
)
from markets.units import PRICE_ONE_E4, format_time, parse_time_ms

from .edition import SCAN_SLICE, Edition, Entry, Order, Pause

ROOT: Final = "/trade-api"

SEQ: Final = "x-kalshi-bus-seq"
TOP_ONLY: Final = "x-kalshi-bus-top-only"
SUSPECT: Final = "x-kalshi-bus-suspect"
"""Headers of ours: `epoch:seq`; which of the order books asked for, counted from 0, are only the top of the
quote, and which the publisher holds suspect."""

SMALL: Final = 50
"""Lists that look at no more candidates are made at once; others where they hold up nobody."""

_COMBOS: Final = "KXMVE"
_MAX_BOOKS: Final = 100
_MAX_PARAMETERS: Final = 200
_JOIN: Final = 60
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)

Bound = tuple[str, int | None, int | None]

_encode: Final = msgspec.json.Encoder().encode
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_raws: Final = msgspec.json.Decoder(list[msgspec.Raw])
_values: Final = msgspec.json.Decoder(dict[str, Any])


class _CandleEnd(msgspec.Struct):
    end_period_ts: int


_candle_end: Final = msgspec.json.Decoder(_CandleEnd)


class Listing(msgspec.Struct, frozen=True):
    """What a list is asked for, all of it: a key to the body that an edition gives."""

    def render(self, edition: Edition, pause: Pause) -> Iterator[bytes]:
        """Yield the body without its last byte, in chunks, with `pause()` between them."""
        raise NotImplementedError

    def is_small(self, _edition: Edition) -> bool:
        """Whether rendering takes no time to speak of."""
        return False

    def as_of_ms(self, edition: Edition) -> int | None:
        """Return when what is listed was last known to be true: as the last sweep confirmed it."""
        return _confirmed_ms(edition)


class Answer(msgspec.Struct, frozen=True):
    """An answer. `as_of_ms`: when its data was last known to be true; `route` names it in the metrics."""

    status: int
    body: bytes | Listing
    route: str = "other"
    as_of_ms: int | None = None
    headers: tuple[tuple[str, str], ...] = ()


def answer(method: str, path: str, query: str, edition: Edition | None) -> Answer:
    """Return the answer to a request below ROOT. Never raises for what the request holds."""
    matches = ((entry, entry[1].fullmatch(path, len(BASE))) for entry in _ROUTES if path.startswith(BASE))
    entry, match = next((found for found in matches if found[1] is not None), (None, None))
    if entry is None or match is None:
        return _not_found("not found: only Kalshi's public market data is served here, from memory")
    template, _, handler = entry
    route = BASE + template
    if method not in ("GET", "HEAD"):
        refusal = _error(405, "method_not_allowed", "method not allowed")
        return msgspec.structs.replace(refusal, route=route, headers=(("allow", "GET, HEAD"),))
    if edition is None:
        refusal = _error(503, "service_unavailable", "starting: no data has arrived yet")
        return msgspec.structs.replace(refusal, route=route, headers=(("retry-after", "1"),))
    try:
        made = handler(_Call(edition, _parameters(query), *match.groups()))
    except _Refusal as refused:
        made = refused.answer
    if isinstance(made.body, Listing):
        made = msgspec.structs.replace(made, as_of_ms=made.body.as_of_ms(edition))
    elif made.status == 200 and made.as_of_ms is None:
        made = msgspec.structs.replace(made, as_of_ms=_confirmed_ms(edition))
    return msgspec.structs.replace(made, route=route)


def make_cursor(entry: Entry) -> str:
    """Return the cursor that goes on after the element at (time, key)."""
    return base64.urlsafe_b64encode(b"%d/%b" % (entry[0], entry[1].encode())).decode().rstrip("=")


def read_cursor(cursor: str | None) -> Entry | None:
    """Return what a cursor stands for; None, the first page, for one that is none of ours, as Kalshi does."""
    try:
        text = base64.urlsafe_b64decode((cursor or "") + "=" * (-len(cursor or "") % 4)).decode()
    except (binascii.Error, ValueError):
        return None
    time, _, key = text.partition("/")
    return (int(time), key) if _INTEGER.fullmatch(time) and key else None


# --- lists ---------------------------------------------------------------------------------------


class Markets(Listing, frozen=True):
    """`GET /markets`. `bounds`: (family of times, from, to) in Unix seconds."""

    size: int
    after: Entry | None = None
    status: str | None = None
    event: str | None = None
    series: str | None = None
    tickers: tuple[str, ...] | None = None
    bounds: Bound | None = None
    combos: bool | None = None

    def render(self, edition: Edition, pause: Pause) -> Iterator[bytes]:
        few = self._few(edition)
        order = self._created(edition.created) if few is None else _sorted(edition.state.markets, few)
        page, cursor = _page(_newest_first(order, self.after), self._filter(edition.state), self.size, pause)
        yield b'{"cursor":%b,"markets":[' % _encode(cursor)
        for start in range(0, len(page), _JOIN):
            chunk = b",".join(map(edition.kalshi_market, page[start : start + _JOIN]))
            yield b"," + chunk if start else chunk
            pause()
        yield b"]"

    def is_small(self, edition: Edition) -> bool:
        few = self._few(edition)
        if few is not None:
            return len(few) <= SMALL
        return self.size <= SMALL and self == Markets(self.size, self.after)

    def as_of_ms(self, edition: Edition) -> int | None:
        few = self._few(edition)
        if few is None or not 0 < len(few) <= SMALL:
            return _confirmed_ms(edition)
        return min(edition.state.quote_as_of_ms(ticker) or 0 for ticker in few)

    def _few(self, edition: Edition) -> Sequence[str] | None:
        """Return a part of the markets that holds all that match, if a filter names one."""
        if self.tickers is not None:
            return [ticker for ticker in dict.fromkeys(self.tickers) if ticker in edition.moving]
        if self.event is not None:
            return edition.by_event.get(self.event, ())
        return edition.by_series.get(self.series, ()) if self.series is not None else None

    def _created(self, order: Order) -> Order:
        if self.bounds is None or self.bounds[0] != "created":
            return order
        _, low, high = self.bounds
        first = 0 if low is None else bisect_left(order, (low * 1000, ""))
        last = len(order) if high is None else bisect_left(order, ((high + 1) * 1000, ""))
        return order[first:last]

    def _filter(self, state: State) -> Callable[[str], bool]:
        words = STATUS_WORDS[self.status] if self.status is not None else None
        in_time = _within(state, *self.bounds) if self.bounds is not None else None

        def keep(ticker: str) -> bool:
            market: Market = state.markets[ticker]
            return (
                (words is None or state.quotes[ticker].status in words)
                and (self.event is None or market.event_ticker == self.event)
                and (self.series is None or market.series_ticker == self.series)
                and (self.combos is None or market.event_ticker.startswith(_COMBOS) == self.combos)
                and (in_time is None or in_time(market))
            )

        return keep


class Events(Listing, frozen=True):
    """`GET /events`. Times in Unix seconds."""

    size: int
    after: Entry | None = None
    status: str | None = None
    series: str | None = None
    tickers: tuple[str, ...] | None = None
    nested: bool = False
    milestones: bool = False
    min_close: int | None = None
    min_updated: int | None = None

    def render(self, edition: Edition, pause: Pause) -> Iterator[bytes]:
        events, created_ms = edition.state.events, edition.event_created_ms
        order = edition.events_created
        if self.tickers is not None:
            order = sorted((created_ms[t], t) for t in set(self.tickers) if t in created_ms)
        page, cursor = _page(_newest_first(order, self.after), self._filter(edition), self.size, pause)
        yield b'{"cursor":%b,"events":[' % _encode(cursor)
        for index, ticker in enumerate(page):
            event = _event(edition, events[ticker], self.nested)
            yield b"," + event if index else event
            pause()
        yield b"]"
        if self.milestones:
            milestones = {m.id: m.raw for ticker in page for m in edition.milestones_of.get(ticker, ())}
            yield b',"milestones":[%b]' % b",".join(milestones.values())

    def is_small(self, edition: Edition) -> bool:
        if self.tickers is None:
            return False
        return sum(1 + len(edition.by_event.get(ticker, ())) for ticker in self.tickers) <= SMALL

    def _filter(self, edition: Edition) -> Callable[[str], bool]:
        events, markets, quotes = edition.state.events, edition.state.markets, edition.state.quotes
        words = STATUS_WORDS[self.status] if self.status is not None else None

        def keep(ticker: str) -> bool:
            event: Event = events[ticker]
            members = edition.by_event.get(ticker, ())
            return (
                not ticker.startswith(_COMBOS)
                and (self.series is None or event.series_ticker == self.series)
                and (words is None or any(quotes[market].status in words for market in members))
                and (
                    self.min_close is None
                    or any(markets[market].close_ms >= self.min_close * 1000 for market in members)
                )
                and (
                    self.min_updated is None
                    or (_time_ms(event.raw, "last_updated_ts") or 0) > self.min_updated * 1000
                )
            )

        return keep


class SeriesList(Listing, frozen=True):
    """`GET /series`: all that match, on one page, ascending."""

    category: str | None = None
    tags: frozenset[str] | None = None
    metadata: bool = False
    volume: bool = False
    min_updated: int | None = None

    def render(self, edition: Edition, pause: Pause) -> Iterator[bytes]:
        yield b'{"series":['
        comma = b""
        for index, (_, series) in enumerate(sorted(edition.state.series.items())):
            if index % _JOIN == _JOIN - 1:
                pause()
            if self._matches(series.raw):
                yield comma + _series(series.raw, self.metadata, self.volume)
                comma = b","
        yield b"]"

    def _matches(self, raw: bytes) -> bool:
        if self.category is None and self.tags is None and self.min_updated is None:
            return True
        body = _values.decode(raw)
        categories = (body.get("category"), *(body.get("categories") or ()))
        return (
            (self.category is None or self.category in categories)
            and (self.tags is None or not self.tags.isdisjoint(body.get("tags") or ()))
            and (
                self.min_updated is None or (_time_ms(raw, "last_updated_ts") or 0) >= self.min_updated * 1000
            )
        )


class Milestones(Listing, frozen=True):
    """`GET /milestones`, ascending by start."""

    size: int
    after: Entry | None = None
    start_ms: int | None = None
    category: str | None = None
    type: str | None = None
    competition: str | None = None
    source_id: str | None = None
    related: str | None = None
    min_updated: int | None = None

    def render(self, edition: Edition, pause: Pause) -> Iterator[bytes]:
        milestones = edition.state.milestones
        found: Iterable[Milestone] = milestones.values()
        if self.related is not None:
            found = edition.milestones_of.get(self.related, ())
        order = sorted((milestone.start_ms, milestone.id) for milestone in found)
        after = self.after
        rest = (entry for entry in order if after is None or entry > after)
        page, cursor = _page(rest, lambda key: self._matches(milestones[key]), self.size, pause)
        yield b'{"cursor":%b,"milestones":[' % _encode(cursor)
        yield b",".join([milestones[key].raw for key in page]) + b"]"

    def _matches(self, milestone: Milestone) -> bool:
        if self.start_ms is not None and milestone.start_ms < self.start_ms:
            return False
        if self.category not in (None, milestone.category) or self.type not in (None, milestone.type):
            return False
        if self.competition is None and self.source_id is None and self.min_updated is None:
            return True
        body = _values.decode(milestone.raw)
        return (
            (self.competition is None or (body.get("details") or {}).get("league") == self.competition)
            and (self.source_id is None or body.get("source_id") == self.source_id)
            and (
                self.min_updated is None
                or (_time_ms(milestone.raw, "last_updated_ts") or 0) > self.min_updated * 1000
            )
        )


# --- routes --------------------------------------------------------------------------------------


class _Call(msgspec.Struct, frozen=True):
    """A call: its parameters, and the variable parts of its path."""

    edition: Edition
    parameters: list[tuple[str, str]]
    key: str = ""
    second: str = ""

    def get(self, name: str) -> str | None:
        """Return the first value of a parameter; None if absent or empty."""
        return next((text for known, text in self.parameters if known == name and text), None)

    def integer(self, name: str) -> int | None:
        text = self.get(name)
        if text is None:
            return None
        if not _INTEGER.fullmatch(text):
            raise _invalid(unparsable(name, "ParseInt", text))
        return int(text)

    def required(self, name: str) -> int:
        value = self.integer(name)
        if value is None:
            raise _invalid(f"Query argument {name} is required, but not found")
        return value

    def boolean(self, name: str) -> bool:
        text = self.get(name)
        if text is not None and text not in TRUE_WORDS and text not in FALSE_WORDS:
            raise _invalid(unparsable(name, "ParseBool", text))
        return text in TRUE_WORDS

    def limit(self, operation: str, lowest: int, highest: int, default: int) -> int:
        """Return the page size; beyond its bounds refused, never clamped."""
        return self.bounded(operation, "limit", lowest, highest) or default

    def bounded(self, operation: str, name: str, lowest: int, highest: int) -> int | None:
        value = self.integer(name)
        if value is not None and not lowest <= value <= highest:
            raise _invalid(out_of_range(operation, name, "lte" if value > highest else "gte"))
        return value

    def listed(self, name: str) -> tuple[str, ...] | None:
        text = self.get(name)
        return tuple(text.split(",")) if text is not None else None


def _exchange_status(call: _Call) -> Answer:
    status: ExchangeStatus | None = call.edition.state.exchange.get("")
    if status is None:
        return _error(503, "service_unavailable", "the exchange's status is not known")
    body = {
        "exchange_active": status.exchange_active,
        "trading_active": status.trading_active,
        "exchange_estimated_resume_time": None if status.resume_ms is None else format_time(status.resume_ms),
        "exchange_index_statuses": [
            {"exchange_index": index, "exchange_active": exchange, "trading_active": trading}
            for index, exchange, trading in status.shards
        ],
    }
    return Answer(200, _encode(body), as_of_ms=status.as_of_ms)


def _series_list(call: _Call) -> Answer:
    tags = call.listed("tags")
    listing = SeriesList(
        category=call.get("category"),
        tags=frozenset(tags) if tags is not None else None,
        metadata=call.boolean("include_product_metadata"),
        volume=call.boolean("include_volume"),
        min_updated=call.integer("min_updated_ts"),
    )
    return Answer(200, listing)


def _one_series(call: _Call) -> Answer:
    series = call.edition.state.series.get(call.key)
    if series is None:
        return _not_found("not found")
    return Answer(200, b'{"series":%b}' % _series(series.raw, True, call.boolean("include_volume")))


def _events(call: _Call) -> Answer:
    listing = Events(
        size=call.limit("GetEvents", 1, 200, 200),
        after=read_cursor(call.get("cursor")),
        status=_status(call, EVENT_STATUS_WORDS),
        series=call.get("series_ticker"),
        tickers=call.listed("tickers"),
        nested=call.boolean("with_nested_markets"),
        milestones=call.boolean("with_milestones"),
        min_close=call.integer("min_close_ts"),
        min_updated=call.integer("min_updated_ts"),
    )
    return Answer(200, listing)


def _one_event(call: _Call) -> Answer:
    nested = call.boolean("with_nested_markets")
    edition = call.edition
    event: Event | None = edition.state.events.get(call.key)
    if event is None:
        return _not_found("not found")
    tickers = edition.by_event.get(call.key, ())
    as_of_ms = min((edition.state.quote_as_of_ms(ticker) or 0 for ticker in tickers), default=None)
    markets = b"" if nested else b",".join(map(edition.kalshi_market, tickers))
    body = b'{"event":%b,"markets":[%b]}' % (_event(edition, event, nested), markets)
    return Answer(200, body, as_of_ms=as_of_ms)


def _markets(call: _Call) -> Answer:
    size = call.limit("GetMarkets", 0, 1_000, 100)
    status, mve = _status(call, tuple(STATUS_WORDS)), call.get("mve_filter")
    if mve is not None and mve not in ("only", "exclude"):
        raise _bad_request("invalid mve_filter")
    event, series, tickers = call.get("event_ticker"), call.get("series_ticker"), call.listed("tickers")
    if event is not None and "," in event:
        raise _bad_request("only one event_ticker is allowed")
    bounds: list[Bound] = []
    for family in (*TIME_FAMILIES, "updated"):
        low, high = call.integer(f"min_{family}_ts"), call.integer(f"max_{family}_ts")
        if low is not None or high is not None:
            bounds.append((family, low, high))
    if len(bounds) > 1:
        raise _bad_request("only one of the created, close, settled and updated timestamp filters is allowed")
    bound = bounds[0] if bounds else None
    if bound is not None and bound[0] == "updated":
        if status or event or tickers or mve == "only":
            raise _bad_request("min_updated_ts cannot be combined with other filters")
        if series and mve != "exclude":
            raise _bad_request("min_updated_ts with series_ticker requires mve_filter=exclude")
    elif bound is not None and status and status not in TIME_FAMILIES[bound[0]]:
        raise _bad_request(f"{bound[0]} timestamp filters are not compatible with status {status}")
    listing = Markets(
        size=size,
        after=read_cursor(call.get("cursor")),
        status=status,
        event=event,
        series=series,
        tickers=tickers,
        bounds=bound,
        combos=None if mve is None else mve == "only",
    )
    return Answer(200, listing)


def _one_market(call: _Call) -> Answer:
    if call.key not in call.edition.moving:
        return _not_found("not found")
    body = b'{"market":%b}' % call.edition.kalshi_market(call.key)
    return Answer(200, body, as_of_ms=call.edition.state.quote_as_of_ms(call.key))


def _orderbook(call: _Call) -> Answer:
    depth = call.bounded("GetMarketOrderbook", "depth", 0, 100) or 0
    books = _books(call.edition, [call.key])
    book, _ = books[0]
    if depth:
        book = msgspec.structs.replace(book, yes=book.yes[-depth:], no=book.no[-depth:])
    return _of_books(call.edition, books, b'{"orderbook_fp":%b}' % book_json(book))


def _orderbooks(call: _Call) -> Answer:
    tickers = [text for name, text in call.parameters if name == "tickers"]
    if not tickers:
        raise _invalid("Query argument tickers is required, but not found")
    if len(tickers) > _MAX_BOOKS or any(len(ticker) > 200 for ticker in tickers):
        raise _invalid(out_of_range("GetMarketOrderbooks", "tickers", "max"))
    books = _books(call.edition, tickers)
    parts = [
        b'{"ticker":%b,"orderbook_fp":%b}' % (_encode(book.ticker), book_json(book)) for book, _ in books
    ]
    return _of_books(call.edition, books, b'{"orderbooks":[%b]}' % b",".join(parts))


def _candlesticks(call: _Call) -> Answer:
    """Price history as far as it is held: of whom it is wished for, in one period."""
    market: Market | None = call.edition.state.markets.get(call.second)
    if market is None or market.series_ticker != call.key:
        return _not_found("not found")
    start, end, period = (call.required(name) for name in ("start_ts", "end_ts", "period_interval"))
    if period not in PERIODS_MINUTES:
        raise _invalid(out_of_range("GetMarketCandlesticks", "period_interval", "oneof"))
    candles: Candles | None = call.edition.state.candles.get(call.second)
    if candles is None or candles.period_s != period * 60:
        return _not_found(
            "not found: no candlesticks of this market and period are held here; those of 60 minutes are "
            "fetched for whom op watch asks, with what=candles"
        )
    found = [
        raw for raw in _raws.decode(candles.raw) if start <= _candle_end.decode(raw).end_period_ts <= end
    ]
    body = b'{"ticker":%b,"candlesticks":[%b]}' % (_encode(call.second), b",".join(map(bytes, found)))
    return Answer(200, body, as_of_ms=candles.as_of_ms)


def _milestones(call: _Call) -> Answer:
    if call.get("limit") is None:
        raise _invalid("Query argument limit is required, but not found")
    size = call.limit("GetMilestones", 1, 500, 500)
    earliest = call.get("minimum_start_date")
    try:
        start_ms = None if earliest is None else parse_time_ms(earliest)
    except BadRecord:
        raise _invalid(
            f"Invalid format for parameter minimum_start_date: error parsing '{earliest:.50}' as RFC3339 time"
        ) from None
    listing = Milestones(
        size=size,
        after=read_cursor(call.get("cursor")),
        start_ms=start_ms,
        category=call.get("category"),
        type=call.get("type"),
        competition=call.get("competition"),
        source_id=call.get("source_id"),
        related=call.get("related_event_ticker"),
        min_updated=call.integer("min_updated_ts"),
    )
    return Answer(200, listing)


def _one_milestone(call: _Call) -> Answer:
    found: Milestone | None = call.edition.state.milestones.get(call.key)
    return _not_found("not found") if found is None else Answer(200, b'{"milestone":%b}' % found.raw)


_Handler = Callable[[_Call], Answer]


def _route(template: str, handler: _Handler) -> tuple[str, re.Pattern[str], _Handler]:
    return template, re.compile(re.sub(r"\{\w+\}", "([^/]+)", template)), handler


_ROUTES: Final = (
    _route("/exchange/status", _exchange_status),
    _route("/series", _series_list),
    _route("/series/{series_ticker}", _one_series),
    _route("/events", _events),
    _route("/events/{event_ticker}", _one_event),
    _route("/markets", _markets),
    _route("/markets/orderbooks", _orderbooks),
    _route("/markets/{ticker}", _one_market),
    _route("/markets/{ticker}/orderbook", _orderbook),
    _route("/series/{series_ticker}/markets/{ticker}/candlesticks", _candlesticks),
    _route("/milestones", _milestones),
    _route("/milestones/{milestone_id}", _one_milestone),
)
TEMPLATES: Final = tuple(BASE + template for template, _, _ in _ROUTES)


# --- order books ---------------------------------------------------------------------------------


def _books(edition: Edition, tickers: Sequence[str]) -> list[tuple[Book, bool]]:
    """Return the books of markets, each with whether it is only the top that its quote tells."""
    state, found = edition.state, []
    for ticker in tickers:
        if ticker not in edition.moving:
            # Kalshi answers an empty book. Here it may be a market that only this replica does not hold.
            raise _Refusal(_not_found(f"not found: no market {ticker!r:.210} here"))
        book: Book | None = state.books.get(ticker)
        found.append((_top(state.quotes[ticker]), True) if book is None else (book, False))
    return found


def _top(quote: Quote) -> Book:
    """Return what a quote says of the book: the best bid of each side, where there is one."""
    return Book(
        ticker=quote.ticker,
        as_of_ms=quote.as_of_ms,
        yes=_level(quote.yes_bid_e4, quote.yes_bid_size_e2),
        no=_level(PRICE_ONE_E4 - quote.yes_ask_e4, quote.yes_ask_size_e2),
    )


def _level(price_e4: int, count_e2: int) -> tuple[Level, ...]:
    return ((price_e4, count_e2),) if count_e2 > 0 and 0 < price_e4 < PRICE_ONE_E4 else ()


def _of_books(edition: Edition, books: Sequence[tuple[Book, bool]], body: bytes) -> Answer:
    state = edition.state
    ages_ms = [(state.quote_as_of_ms(book.ticker) or 0) if top else book.as_of_ms for book, top in books]
    flags = {
        TOP_ONLY: [top for _, top in books],
        SUSPECT: [_in_doubt(state.suspects.get(book.ticker)) for book, _ in books],
    }
    headers = tuple(
        (name, ",".join(str(index) for index, flag in enumerate(flagged) if flag))
        for name, flagged in flags.items()
        if any(flagged)
    )
    return Answer(200, body, as_of_ms=min(ages_ms), headers=headers)


def _in_doubt(suspect: Suspect | None) -> bool:
    return suspect is not None and suspect.since_ms is not None


# --- inside --------------------------------------------------------------------------------------


class _Refusal(Exception):
    def __init__(self, refusal: Answer) -> None:
        self.answer = refusal
        super().__init__(refusal.status)


def _error(status: int, code: str, message: str, details: str | None = None) -> Answer:
    return Answer(status, _encode(error_body(code, message, details)))


def _not_found(message: str) -> Answer:
    return _error(404, "not_found", message)


def _bad_request(details: str) -> _Refusal:
    """The parameters are well formed but refused."""
    return _Refusal(_error(400, "bad_request", "bad request", details))


def _invalid(message: str) -> _Refusal:
    """A parameter failed validation."""
    return _Refusal(Answer(400, _encode(invalid_body(message))))


def _parameters(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS)
    except ValueError:
        raise _invalid(f"at most {_MAX_PARAMETERS} parameters") from None


def _status(call: _Call, words: Sequence[str]) -> str | None:
    status = call.get("status")
    if status is not None and status not in words:
        raise _bad_request("invalid status filter")
    return status


def _confirmed_ms(edition: Edition) -> int | None:
    cycle = edition.cycle
    if cycle is None:
        return None
    return cycle.complete_ms if cycle.as_of_ms is None else cycle.as_of_ms


def _event(edition: Edition, event: Event, nested: bool) -> bytes:
    if not nested:
        return event.raw
    tickers = edition.by_event.get(event.event_ticker, ())
    return b'%b,"markets":[%b]}' % (event.raw[:-1], b",".join(map(edition.kalshi_market, tickers)))


def _series(raw: bytes, metadata: bool, volume: bool) -> bytes:
    dropped = {"product_metadata": metadata, "volume_fp": volume}
    if not any(not wanted and name.encode() in raw for name, wanted in dropped.items()):
        return raw
    return _encode({name: value for name, value in _members.decode(raw).items() if dropped.get(name, True)})


def _sorted(markets: dict[str, Market], tickers: Iterable[str]) -> Order:
    return sorted((markets[ticker].created_ms, ticker) for ticker in tickers)


def _newest_first(order: Order, after: Entry | None) -> Iterator[Entry]:
    index = len(order) if after is None else bisect_left(order, after)
    for at in range(index - 1, -1, -1):
        yield order[at]


def _page(
    order: Iterable[Entry], keep: Callable[[str], bool], size: int, pause: Pause
) -> tuple[list[str], str]:
    """Return the keys of one page, and the cursor of the next: "" at the end of the list."""
    keys: list[str] = []
    last: Entry | None = None
    for index, entry in enumerate(order):
        if index % SCAN_SLICE == SCAN_SLICE - 1:
            pause()
        if keep(entry[1]):
            if len(keys) == size:
                return keys, make_cursor(last) if last is not None else ""
            keys.append(entry[1])
            last = entry
    return keys, ""


def _within(state: State, family: str, low: int | None, high: int | None) -> Callable[[Market], bool]:
    """Return the test of a market's time. "Later than" excludes the bound for `updated`, for no other."""
    low_ms = None if low is None else low * 1000 + (1 if family == "updated" else 0)
    high_ms = None if high is None else high * 1000 + (0 if family == "updated" else 999)

    time_of = _TIMES[family]

    def in_time(market: Market) -> bool:
        time_ms = time_of(state, market)
        if time_ms is None:
            return False
        return (low_ms is None or time_ms >= low_ms) and (high_ms is None or time_ms <= high_ms)

    return in_time


_TIMES: Final[dict[str, Callable[[State, Market], int | None]]] = {
    "created": lambda _state, market: market.created_ms,
    "close": lambda _state, market: market.close_ms,
    "settled": lambda state, market: _time_ms(state.raw(market), "settlement_ts"),
    "updated": lambda state, market: _time_ms(state.raw(market), "updated_time"),
}


def _time_ms(raw: bytes, name: str) -> int | None:
    """Return a time that only the bytes as sent hold; None if there is none that can be read."""
    value = _members.decode(raw).get(name)
    try:
        return None if value is None else parse_time_ms(msgspec.json.decode(value), name)
    except BadRecord:
        return None
