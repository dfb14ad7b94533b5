"""The routes of Kalshi's read API: their parameters and answers."""

import re
from collections.abc import Callable, Sequence
from typing import Final, Literal
from urllib.parse import parse_qsl

import msgspec

from markets.errors import BadRecord
from markets.json.decoding import members_of
from markets.json.pages import text_member
from markets.json.words import (
    BASE,
    EVENT_STATUS_WORDS,
    FALSE_WORDS,
    PERIODS_MINUTES,
    STATUS_WORDS,
    TIME_FAMILIES,
    TRUE_WORDS,
    out_of_range,
    unparsable,
)
from markets.json.write import book_json
from markets.records import Book, Level, Quote
from markets.units import MAX_TIME_MS, MIN_TIME_MS, PRICE_ONE_E4, format_time, parse_time_ms
from snapshot_server.edition import Edition
from snapshot_server.elsewhere import NOT_OPEN, NOWHERE, Elsewhere
from snapshot_server.history.rows import key_of
from snapshot_server.history.store import Store

from .candlesticks import MAX_CANDLES, MAX_IN_ALL, Span, known_from, opened_ms
from .listings import (
    Answer,
    Bound,
    CandleList,
    EventList,
    Listing,
    MarketList,
    MilestoneList,
    SeriesList,
    TradeList,
    Wish,
    confirmed_ms,
    event_json,
    event_markets,
    make_cursor,
    markets_json,
    read_cursor,
    series_json,
)
from .refusals import RESERVED, CallRefused, absent, bad_request, error, invalid, not_found, why_not

TOP_ONLY: Final = "x-kalshi-bus-top-only"
SUSPECT: Final = "x-kalshi-bus-suspect"
"""Our headers: which of the order books asked for, counted from 0, are only the top from the quote, and which
the publisher considers suspect."""

BEGINS: Final = "x-kalshi-bus-begins"
"""A header of ours: more was asked for than was heard; from this Unix second on it is complete."""

INCOMPLETE: Final = "x-kalshi-bus-incomplete"
"""A header of ours: what a list lacks."""

_LACKING: Final = {
    "unopened": "those that are not on the feed were not read yet: ask again in a minute",
    "closed": "those that are not on the feed were not read yet: ask again in a minute",
    "settled": "what settled longer than a day ago is not here",
}
"""What a list of markets with a status may lack."""

_NOT_READ: Final = "not found: this is read slowly, and was not yet: ask again in a minute"

ACCOUNT_LIMITS: Final = {
    "grants": [],
    "read": {"bucket_capacity": 200, "refill_rate": 200},
    "usage_tier": "basic",
    "write": {"bucket_capacity": 100, "refill_rate": 100},
}

_MAX_BOOKS: Final = 100
_MAX_PARAMETERS: Final = 200
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)

_encode: Final = msgspec.json.Encoder().encode
_raws: Final = msgspec.json.Decoder(list[msgspec.Raw])


def answer(
    method: str,
    path: str,
    query: str,
    edition: Edition | None,
    history: Store,
    elsewhere: Elsewhere,
    now_ms: int,
) -> Answer:
    """Return the answer to a request below ROOT. Never raises, whatever the request contains."""
    matches = ((entry, entry[1].fullmatch(path, len(BASE))) for entry in _ROUTES if path.startswith(BASE))
    entry, match = next((found for found in matches if found[1] is not None), (None, None))
    if entry is None or match is None or path.removeprefix(BASE) in RESERVED:
        return not_found(why_not(path.removeprefix(BASE)))
    template, _, handler = entry
    route = BASE + template
    if method not in ("GET", "HEAD"):
        refusal = error(405, "method_not_allowed", "method not allowed")
        return msgspec.structs.replace(refusal, route=route, headers=(("allow", "GET, HEAD"),))
    if edition is None:
        refusal = error(503, "service_unavailable", "starting: no data has arrived yet")
        return msgspec.structs.replace(refusal, route=route, headers=(("retry-after", "1"),))
    try:
        made = handler(_Call(edition, history, elsewhere, now_ms, _parameters(query), *match.groups()))
    except CallRefused as refused:
        made = refused.answer
    if isinstance(made.body, Listing) and made.as_of_ms is None:
        made = msgspec.structs.replace(made, as_of_ms=made.body.as_of_ms(edition))
    elif made.status == 200 and made.as_of_ms is None:
        made = msgspec.structs.replace(made, as_of_ms=confirmed_ms(edition))
    return msgspec.structs.replace(made, route=route)


_Handler = Callable[["_Call"], Answer]


class _Call(msgspec.Struct, frozen=True):
    """A call: its parameters, and the variable parts of its path."""

    edition: Edition
    history: Store
    elsewhere: Elsewhere
    now_ms: int
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
            raise invalid(unparsable(name, "ParseInt", text))
        return int(text)

    def required(self, name: str) -> int:
        value = self.integer(name)
        if value is None:
            raise invalid(f"Query argument {name} is required, but not found")
        return value

    def boolean(self, name: str) -> bool:
        text = self.get(name)
        if text is not None and text not in TRUE_WORDS and text not in FALSE_WORDS:
            raise invalid(unparsable(name, "ParseBool", text))
        return text in TRUE_WORDS

    def limit(self, operation: str, lowest: int, highest: int, default: int) -> int:
        """Return the page size; refused if out of bounds, never clamped."""
        return self.bounded(operation, "limit", lowest, highest) or default

    def bounded(self, operation: str, name: str, lowest: int, highest: int) -> int | None:
        value = self.integer(name)
        if value is not None and not lowest <= value <= highest:
            raise invalid(out_of_range(operation, name, "lte" if value > highest else "gte"))
        return value

    def listed(self, name: str) -> tuple[str, ...] | None:
        text = self.get(name)
        return tuple(text.split(",")) if text is not None else None


def _exchange_status(call: _Call) -> Answer:
    status = call.edition.state.exchange.get("")
    if status is None:
        return error(503, "service_unavailable", "the exchange's status is not known")
    if status.raw:
        return Answer(200, status.raw, as_of_ms=status.as_of_ms)
    # As an older publisher passes it on: without everything a shard's status must have, so without any.
    resume_ms = status.resume_ms
    body = {
        "exchange_active": status.exchange_active,
        "trading_active": status.trading_active,
        "exchange_estimated_resume_time": None if resume_ms is None else format_time(resume_ms),
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
        elsewhere=call.elsewhere,
    )
    lacks = (
        () if "series" in call.elsewhere.as_of_ms else ((INCOMPLETE, "series without a market on the feed"),)
    )
    return Answer(200, listing, headers=lacks)


def _series(call: _Call) -> Answer:
    volume = call.boolean("include_volume")
    series = call.edition.state.series.get(call.key)
    if series is not None:
        return Answer(200, b'{"series":%b}' % series_json(series.raw, True, volume))
    raw = call.elsewhere.series.get(call.key)
    if raw is None:
        return absent("series", call.key)
    body = b'{"series":%b}' % series_json(raw, True, volume)
    return Answer(200, body, as_of_ms=call.elsewhere.as_of_ms["series"])


def _events(call: _Call) -> Answer:
    listing = EventList(
        size=call.limit("GetEvents", 1, 200, 200),
        after=read_cursor(call.get("cursor")),
        status=_status(call, EVENT_STATUS_WORDS),
        series=call.get("series_ticker"),
        tickers=call.listed("tickers"),
        nested=call.boolean("with_nested_markets"),
        milestones=call.boolean("with_milestones"),
        min_close=call.integer("min_close_ts"),
        min_updated=call.integer("min_updated_ts"),
        elsewhere=call.elsewhere,
    )
    return _of_status(call, listing, listing.status, named=listing.tickers is not None)


def _event(call: _Call) -> Answer:
    nested = call.boolean("with_nested_markets")
    edition, elsewhere = call.edition, call.elsewhere
    event = edition.state.events.get(call.key) or elsewhere.events.get(call.key)
    if event is None:
        return absent("event", call.key)
    tickers = edition.by_event.get(call.key, ())
    ages_ms = [edition.state.quote_as_of_ms(ticker) or 0 for ticker in tickers]
    others = [t for t in elsewhere.markets_of.get(call.key, ()) if t not in edition.moving]
    ages_ms += [elsewhere.markets[ticker].quote.as_of_ms for ticker in others]
    as_of_ms = min(ages_ms, default=None)
    markets = b"" if nested else markets_json(edition, elsewhere, event)
    body = b'{"event":%b,"markets":[%b]}' % (event_json(edition, elsewhere, event, nested), markets)
    return Answer(200, body, as_of_ms=as_of_ms, lasts=True)


def _markets(call: _Call) -> Answer:
    size = call.limit("GetMarkets", 0, 1_000, 100)
    status, mve = _status(call, tuple(STATUS_WORDS)), call.get("mve_filter")
    if mve is not None and mve not in ("only", "exclude"):
        raise bad_request("invalid mve_filter")
    event, series, tickers = call.get("event_ticker"), call.get("series_ticker"), call.listed("tickers")
    if event is not None and "," in event:
        raise bad_request("only one event_ticker is allowed")
    bounds: list[Bound] = []
    for family in (*TIME_FAMILIES, "updated"):
        low, high = call.integer(f"min_{family}_ts"), call.integer(f"max_{family}_ts")
        if low is not None or high is not None:
            bounds.append((family, low, high))
    if len(bounds) > 1:
        raise bad_request("only one of the created, close, settled and updated timestamp filters is allowed")
    bound = bounds[0] if bounds else None
    if bound is not None and bound[0] == "updated":
        if status or event or tickers or mve == "only":
            raise bad_request("min_updated_ts cannot be combined with other filters")
        if series and mve != "exclude":
            raise bad_request("min_updated_ts with series_ticker requires mve_filter=exclude")
    elif bound is not None and status and status not in TIME_FAMILIES[bound[0]]:
        raise bad_request(f"{bound[0]} timestamp filters are not compatible with status {status}")
    listing = MarketList(
        size=size,
        after=read_cursor(call.get("cursor")),
        status=status,
        event=event,
        series=series,
        tickers=tickers,
        bounds=bound,
        combos=None if mve is None else mve == "only",
        elsewhere=call.elsewhere,
    )
    return _of_status(call, listing, status, named=bool(event or tickers))


def _of_status(call: _Call, listing: MarketList | EventList, status: str | None, *, named: bool) -> Answer:
    """Return a list if Kalshi could give it; otherwise why not, or what it lacks."""
    if status in NOT_OPEN and status in call.elsewhere.as_of_ms:
        return Answer(200, listing, as_of_ms=call.elsewhere.as_of_ms[status])
    if status not in _LACKING or (status == "settled" and named):
        return Answer(200, listing)
    words = STATUS_WORDS[status]
    if not any(quote.status in words for quote in call.edition.state.quotes.values()):
        return not_found(f"not found: here are none now, but {_LACKING[status]}")
    return Answer(200, listing, headers=((INCOMPLETE, _LACKING[status]),))


def _market(call: _Call) -> Answer:
    if call.key not in call.edition.moving:
        other = call.elsewhere.markets.get(call.key)
        if other is None:
            return absent("market", call.key)
        return Answer(200, b'{"market":%b}' % other.raw, as_of_ms=other.quote.as_of_ms)
    body = b'{"market":%b}' % call.edition.kalshi_market(call.key)
    return Answer(200, body, as_of_ms=call.edition.state.quote_as_of_ms(call.key), lasts=True)


def _orderbook(call: _Call) -> Answer:
    depth = call.bounded("GetMarketOrderbook", "depth", 0, 100) or 0
    books = _books(call.edition, call.elsewhere, [call.key])
    book, _ = books[0]
    if depth:
        book = msgspec.structs.replace(book, yes=book.yes[-depth:], no=book.no[-depth:])
    made = _of_books(call, books, b'{"orderbook_fp":%b}' % book_json(book))
    return msgspec.structs.replace(made, wishes=(Wish("book", (call.key,)),))


def _orderbooks(call: _Call) -> Answer:
    tickers = [text for name, text in call.parameters if name == "tickers"]
    if not tickers:
        raise invalid("Query argument tickers is required, but not found")
    if len(tickers) > _MAX_BOOKS or any(len(ticker) > 200 for ticker in tickers):
        raise invalid(out_of_range("GetMarketOrderbooks", "tickers", "max"))
    books = _books(call.edition, call.elsewhere, tickers)
    parts = [
        b'{"ticker":%b,"orderbook_fp":%b}' % (_encode(book.ticker), book_json(book)) for book, _ in books
    ]
    made = _of_books(call, books, b'{"orderbooks":[%b]}' % b",".join(parts))
    return msgspec.structs.replace(made, wishes=(Wish("book", tuple(tickers)),))


def _trades(call: _Call) -> Answer:
    """Trades as far as they were heard: if that is less than was asked for, the answer says so."""
    size = call.limit("GetTrades", 0, 1_000, 100)
    ticker, low, high = call.get("ticker"), call.integer("min_ts"), call.integer("max_ts")
    if call.boolean("is_block_trade"):
        return not_found("not found: which trades are block trades is not known here")
    low_ms = MIN_TIME_MS if low is None else max(MIN_TIME_MS, low * 1000)
    high_ms = MAX_TIME_MS if high is None else min(MAX_TIME_MS, high * 1000 + 999)
    history, edition = call.history, call.edition
    key = None if ticker is None else key_of(ticker)
    begin_ms = history.trades.begin_ms(key)
    after = read_cursor(call.get("cursor"))
    listing = TradeList(history, size, after, ticker, low_ms, high_ms)
    from_ms = low_ms
    if ticker is not None and ticker in edition.moving:
        market, quote = edition.state.markets[ticker], edition.state.quotes[ticker]
        from_ms = max(low_ms, call.now_ms if quote.volume_e2 == 0 else opened_ms(market))
    if high_ms <= from_ms or (begin_ms is not None and begin_ms <= from_ms):
        return Answer(200, listing)
    if begin_ms is None and not history.trades.count:
        return not_found(
            "not found: no trades are heard here: the publisher follows no stream of the exchange"
        )
    if after is None and not history.newest_trades(low_ms, high_ms, 1, None, ticker):
        known = (
            "no trades are known here"
            if begin_ms is None
            else f"trades are known here from {format_time(begin_ms)} on"
        )
        return not_found(f"not found: {known}, and none is within these times")
    return Answer(200, listing, headers=((BEGINS, str(-(-(begin_ms or call.now_ms) // 1000))),))


def _span(call: _Call, operation: str) -> Span:
    start, end, period = (call.required(name) for name in ("start_ts", "end_ts", "period_interval"))
    before = call.boolean("include_latest_before_start")
    if period not in PERIODS_MINUTES:
        raise invalid(out_of_range(operation, "period_interval", "oneof"))
    if end < start:
        raise bad_request("end_ts must not be before start_ts")
    return Span(start, end, period * 60, before)


def _market_candlesticks(call: _Call) -> Answer:
    span = _span(call, "GetMarketCandlesticks")
    market = call.edition.state.markets.get(call.second)
    if market is None or market.series_ticker != call.key:
        return absent(f"market of series {call.key:.200}", call.second)
    return _candles_of(call, "one", (call.second,), span)


def _batch_candlesticks(call: _Call) -> Answer:
    tickers = call.listed("market_tickers")
    if tickers is None:
        raise invalid("Query argument market_tickers is required, but not found")
    span = _span(call, "BatchGetMarketCandlesticks")
    if len(tickers) > _MAX_BOOKS:
        raise bad_request(f"at most {_MAX_BOOKS} market_tickers")
    known = tuple(ticker for ticker in dict.fromkeys(tickers) if ticker in call.edition.moving)
    return _candles_of(call, "batch", known, span)


def _event_candlesticks(call: _Call) -> Answer:
    event = call.edition.state.events.get(call.second)
    if event is None or event.series_ticker != call.key:
        return absent(f"event of series {call.key:.200}", call.second)
    span = _span(call, "GetMarketCandlesticksByEvent")
    return _candles_of(call, "event", tuple(event_markets(call.edition, NOWHERE, event)), span)


def _candles_of(
    call: _Call, shape: Literal["one", "batch", "event"], tickers: tuple[str, ...], span: Span
) -> Answer:
    """Price history as far as it is here; the rest is wished for, so that the next request gets more."""
    state, now_s = call.edition.state, -(-call.now_ms // 1000)
    wishes = (Wish("candles", tickers),) if tickers else ()
    end_s = min(span.end_s, now_s + span.width_s)
    if (end_s - span.start_s) // span.width_s > MAX_CANDLES:
        opened_s = min((opened_ms(state.markets[ticker]) for ticker in tickers), default=0) // 1000
        if (end_s - max(span.start_s, opened_s)) // span.width_s > MAX_CANDLES:
            raise bad_request(f"requested period has more than {MAX_CANDLES} candlesticks")
    begins_s: list[int] = []
    count = 0
    for ticker in tickers:
        market, candles = state.markets[ticker], state.candles.get(ticker)
        start_s = max(span.start_s, opened_ms(market) // 1000)
        count += max(0, min(end_s, now_s) - start_s) // span.width_s
        if start_s >= min(end_s, now_s):
            continue  # there is nothing to know
        from_s = known_from(market, candles, call.history, span)
        if from_s is None:
            refusal = not_found(
                f"not found: nothing is known here of {ticker:.200} within these times; its candlesticks are "
                "asked for: look again in a minute"
            )
            return msgspec.structs.replace(refusal, wishes=wishes)
        if from_s > start_s:
            begins_s.append(from_s)
    if count > MAX_IN_ALL:
        raise bad_request(f"more than {MAX_IN_ALL} candlesticks in total")
    headers = ((BEGINS, str(max(begins_s))),) if begins_s else ()
    listing = CandleList(call.history, shape, tickers, span, now_s)
    return Answer(200, listing, headers=headers, wishes=wishes if begins_s else ())


def _document(name: str) -> _Handler:
    """Return a handler that passes on a document of Kalshi's as it was sent."""

    def handler(call: _Call) -> Answer:
        body = call.elsewhere.documents.get(name)
        if body is None:
            return not_found(_NOT_READ)
        return Answer(200, body, as_of_ms=call.elsewhere.as_of_ms[name])

    return handler


def _fee_changes(name: str, member: str, key: str) -> _Handler:
    """Return a handler that lists fee changes: those still to come, or all that Kalshi lists if asked for."""

    def handler(call: _Call) -> Answer:
        wanted, history = call.get(key), call.boolean("show_historical")
        size = call.limit("GetEventFeeChanges", 1, 1_000, 100) if name == "event_fees" else None
        body = call.elsewhere.documents.get(name)
        if body is None:
            return not_found(_NOT_READ)
        found = []
        for raw in _raws.decode(body):
            try:
                change = members_of(raw, "fee change")
                at_ms = parse_time_ms(text_member(bytes(raw), "scheduled_ts"))
            except BadRecord:
                continue
            if wanted is not None and bytes(change.get(key, b"")) != _encode(wanted):
                continue
            if history or at_ms > call.now_ms:
                found.append((at_ms, bytes(raw)))
        cursor = b""
        if size is not None:
            after = read_cursor(call.get("cursor"))
            first = max(0, after[0]) if after is not None and after[1] == member else 0
            rest = len(found) > first + size
            cursor = b',"cursor":%b' % _encode(make_cursor((first + size, member)) if rest else "")
            found = found[first : first + size]
        listed = b",".join(raw for _, raw in found)
        made = b'{"%b":[%b]%b}' % (member.encode(), listed, cursor)
        return Answer(200, made, as_of_ms=call.elsewhere.as_of_ms[name])

    return handler


def _account_limits(_call: _Call) -> Answer:
    """The limits of a reader without a key at Kalshi, which clients ask at their start. None apply here."""
    return Answer(200, _encode(ACCOUNT_LIMITS))


def _milestones(call: _Call) -> Answer:
    if call.get("limit") is None:
        raise invalid("Query argument limit is required, but not found")
    size = call.limit("GetMilestones", 1, 500, 500)
    earliest = call.get("minimum_start_date")
    try:
        start_ms = None if earliest is None else parse_time_ms(earliest)
    except BadRecord:
        raise invalid(
            f"Invalid format for parameter minimum_start_date: error parsing '{earliest:.50}' as RFC3339 time"
        ) from None
    listing = MilestoneList(
        size=size,
        after=read_cursor(call.get("cursor")),
        start_ms=start_ms,
        category=call.get("category"),
        type=call.get("type"),
        competition=call.get("competition"),
        source_id=call.get("source_id"),
        related=call.get("related_event_ticker"),
        min_updated=call.integer("min_updated_ts"),
        elsewhere=call.elsewhere,
    )
    return Answer(200, listing)


def _milestone(call: _Call) -> Answer:
    found = call.edition.state.milestones.get(call.key) or call.elsewhere.milestones.get(call.key)
    return absent("milestone", call.key) if found is None else Answer(200, b'{"milestone":%b}' % found.raw)


def _route(template: str, handler: _Handler) -> tuple[str, re.Pattern[str], _Handler]:
    return template, re.compile(re.sub(r"\{\w+\}", "([^/]+)", template)), handler


_ROUTES: Final = (
    _route("/exchange/status", _exchange_status),
    _route("/exchange/schedule", _document("schedule")),
    _route("/account/endpoint_costs", _document("costs")),
    _route("/historical/cutoff", _document("cutoff")),
    _route("/search/tags_by_categories", _document("tags")),
    _route("/search/filters_by_sport", _document("sports")),
    _route("/series/fee_changes", _fee_changes("series_fees", "series_fee_change_arr", "series_ticker")),
    _route("/events/fee_changes", _fee_changes("event_fees", "event_fee_changes", "event_ticker")),
    _route("/series", _series_list),
    _route("/series/{series_ticker}", _series),
    _route("/events", _events),
    _route("/events/{event_ticker}", _event),
    _route("/markets", _markets),
    _route("/markets/orderbooks", _orderbooks),
    _route("/markets/candlesticks", _batch_candlesticks),
    _route("/markets/trades", _trades),
    _route("/markets/{ticker}", _market),
    _route("/markets/{ticker}/orderbook", _orderbook),
    _route("/series/{series_ticker}/markets/{ticker}/candlesticks", _market_candlesticks),
    _route("/series/{series_ticker}/events/{ticker}/candlesticks", _event_candlesticks),
    _route("/milestones", _milestones),
    _route("/milestones/{milestone_id}", _milestone),
    _route("/account/limits", _account_limits),
)
TEMPLATES: Final = tuple(BASE + template for template, _, _ in _ROUTES)


# --- order books ---------------------------------------------------------------------------------


def _books(edition: Edition, elsewhere: Elsewhere, tickers: Sequence[str]) -> list[tuple[Book, bool]]:
    """Return the books of markets, each with whether it is only the top from its quote."""
    state, found = edition.state, []
    for ticker in tickers:
        other = elsewhere.markets.get(ticker)
        if ticker not in edition.moving and other is not None:
            found.append((_top(other.quote), True))
            continue
        if ticker not in edition.moving:
            # Kalshi answers with an empty book. Here it may be a market that just this replica does not hold.
            raise CallRefused(not_found(f"not found: no market {ticker!r:.210} here"))
        book = state.books.get(ticker)
        found.append((_top(state.quotes[ticker]), True) if book is None else (book, False))
    return found


def _top(quote: Quote) -> Book:
    """Return what a quote says about the book: the best bid of each side, if there is one."""
    return Book(
        ticker=quote.ticker,
        as_of_ms=quote.as_of_ms,
        yes=_level(quote.yes_bid_e4, quote.yes_bid_size_e2),
        no=_level(PRICE_ONE_E4 - quote.yes_ask_e4, quote.yes_ask_size_e2),
    )


def _level(price_e4: int, count_e2: int) -> tuple[Level, ...]:
    return ((price_e4, count_e2),) if count_e2 > 0 and 0 < price_e4 < PRICE_ONE_E4 else ()


def _of_books(call: _Call, books: Sequence[tuple[Book, bool]], body: bytes) -> Answer:
    state, moving = call.edition.state, call.edition.moving
    ages_ms = [
        (state.quote_as_of_ms(book.ticker) or 0) if top and book.ticker in moving else book.as_of_ms
        for book, top in books
    ]
    flags = {
        TOP_ONLY: [top for _, top in books],
        SUSPECT: [book.ticker in state.suspects for book, _ in books],
    }
    headers = tuple(
        (name, ",".join(str(index) for index, flag in enumerate(flagged) if flag))
        for name, flagged in flags.items()
        if any(flagged)
    )
    return Answer(200, body, as_of_ms=min(ages_ms), headers=headers)


# --- inside --------------------------------------------------------------------------------------


def _parameters(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS)
    except ValueError:
        raise invalid(f"at most {_MAX_PARAMETERS} parameters") from None


def _status(call: _Call, words: Sequence[str]) -> str | None:
    status = call.get("status")
    if status is not None and status not in words:
        raise bad_request("invalid status filter")
    return status
