"""Series, events, markets, order books and milestones (contract 7.1 to 7.5 and 7.9)."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from markets.errors import BadRecord
from markets.json.words import EVENT_STATUS_WORDS, STATUS_WORDS, TIME_FAMILIES
from markets.units import format_count, parse_time_ms
from simulator.floor.exchange import Exchange
from simulator.floor.model import Event, Market, Series
from simulator.front import cursors
from simulator.front.api import (
    CACHED,
    Api,
    Call,
    Routes,
    boolean,
    integer,
    limit,
    newest_first,
    page,
    required,
)
from simulator.front.render import book_json, dumps, event_json, market_json
from simulator.front.wire import Request, Response, bad_request, invalid, not_found, ok, out_of_range

routes = Routes()

# Exchange -------------------------------------------------------------------------------------------


@routes.get("/exchange/status")
def get_exchange_status(call: Call) -> Response:
    exchange = call.api.exchange
    names = {0: "Default", 1: "Combos", 2: "Crypto and commodities", 3: "Tennis, baseball, basketball"}
    shards = [
        {
            "exchange_index": index,
            "description": names[index],
            "exchange_active": shard.exchange_active and exchange.halts.exchange_active,
            "trading_active": shard.trading_active and exchange.halts.trading_active,
            "intra_exchange_transfers_active": shard.exchange_active and exchange.halts.exchange_active,
        }
        for index, shard in exchange.halts.shards.items()
    ]
    first = shards[0]
    body = {
        "exchange_active": first["exchange_active"],
        "trading_active": first["trading_active"],
        "intra_exchange_transfers_active": first["intra_exchange_transfers_active"],
        "exchange_estimated_resume_time": None,
        "exchange_index_statuses": shards,
    }
    return ok(dumps(body))


# Series ---------------------------------------------------------------------------------------------


def _series_body(series: Series, metadata: bool, volume: bool) -> dict[str, Any]:
    drop = {"volume_fp"} if metadata else {"volume_fp", "product_metadata"}
    body = {key: value for key, value in series.body.items() if key not in drop}
    if volume:
        listed_e2 = sum(market.volume_e2 for event in series.events for market in event.markets)
        body["volume_fp"] = format_count(series.gone_e2 + listed_e2)
    return body


@routes.get("/series")
def get_series_list(call: Call) -> Response:
    category, tags = call.request.get("category"), call.request.get("tags")
    metadata, volume = (
        boolean(call.request, "include_product_metadata"),
        boolean(call.request, "include_volume"),
    )
    since = integer(call.request, "min_updated_ts")
    wanted = set(tags.split(",")) if tags else set()
    found = [
        _series_body(s, metadata, volume)
        for s in call.api.exchange.series.values()
        if (category is None or category in s.body["categories"])
        and (not wanted or wanted & set(s.body["tags"] or ()))
        and (since is None or parse_time_ms(s.body["last_updated_ts"]) >= since * 1000)
    ]
    return ok(dumps({"series": found}), CACHED)


@routes.get("/series/{series_ticker}")
def get_series(call: Call) -> Response:
    found = call.api.exchange.series.get(call.args["series_ticker"])
    if found is None:
        raise not_found()
    return ok(dumps({"series": _series_body(found, True, boolean(call.request, "include_volume"))}), CACHED)


# Events ---------------------------------------------------------------------------------------------


@routes.get("/events")
def get_events(call: Call) -> Response:
    exchange = call.api.exchange
    size = limit(call.request, "GetEvents", 1, 200, 200)
    nested, milestones = (
        boolean(call.request, "with_nested_markets"),
        boolean(call.request, "with_milestones"),
    )
    min_close, min_updated = integer(call.request, "min_close_ts"), integer(call.request, "min_updated_ts")
    status, series, tickers = (
        call.request.get("status"),
        call.request.get("series_ticker"),
        call.request.get("tickers"),
    )
    if status is not None and status not in EVENT_STATUS_WORDS:
        raise bad_request("invalid status filter")
    words = STATUS_WORDS[status] if status else frozenset[str]()
    listed = set(tickers.split(",")) if tickers else None

    def keep(ticker: str) -> bool:
        event = exchange.events[ticker]
        return (
            not event.combo
            and (listed is None or ticker in listed)
            and (series is None or event.series.ticker == series)
            and (not words or any(m.status in words for m in event.markets))
            and (min_close is None or event.close_ms >= min_close * 1000)
            and (min_updated is None or event.updated_ms > min_updated * 1000)
        )

    order: Iterable[tuple[int, str]]
    if listed is not None or series is not None:
        names = listed if listed is not None else {e.ticker for e in _series_events(exchange, series)}
        few = sorted((exchange.events[t].created_ms, t) for t in names if t in exchange.events)
        order = newest_first(few, call.request.get("cursor"))
    else:
        order = newest_first(exchange.listings.event_order, call.request.get("cursor"))
    keys, cursor = page(order, keep, size)
    events = [exchange.events[key] for key in keys]
    body = [event_json(event, exchange.now_ms, event.markets if nested else None) for event in events]
    parts = [f'"cursor":"{cursor}"', '"events":[' + ",".join(body) + "]"]
    if milestones:
        found = {
            e.group.milestone.id: e.group.milestone.body for e in events if e.group.milestone is not None
        }
        parts.append('"milestones":' + dumps(list(found.values())))
    return ok("{" + ",".join(parts) + "}")


def _series_events(exchange: Exchange, ticker: str | None) -> list[Event]:
    series = exchange.series.get(ticker or "")
    return series.events if series is not None else []


@routes.get("/events/{event_ticker}")
def get_event(call: Call) -> Response:
    nested = boolean(call.request, "with_nested_markets")
    event = call.api.event(call.args["event_ticker"])
    now_ms = call.api.exchange.now_ms
    if nested:
        return ok(f'{{"event":{event_json(event, now_ms, event.markets)},"markets":[]}}')
    markets = ",".join([market_json(market, now_ms) for market in event.markets])
    return ok(f'{{"event":{event_json(event, now_ms)},"markets":[{markets}]}}')


# Markets --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _MarketFilter:
    words: frozenset[str]
    event: str | None
    series: str | None
    tickers: frozenset[str] | None
    bounds: tuple[tuple[str, int | None, int | None], ...]
    combos: bool | None

    def __call__(self, market: Market) -> bool:
        event = market.event
        return (
            (self.combos is None or event.combo == self.combos)
            and (not self.words or market.status in self.words)
            and (self.event is None or event.ticker == self.event)
            and (self.series is None or event.series.ticker == self.series)
            and (self.tickers is None or market.ticker in self.tickers)
            and all(_within(event, *bound) for bound in self.bounds)
        )


def _within(event: Event, family: str, low: int | None, high: int | None) -> bool:
    times = {
        "created": event.created_ms,
        "close": event.close_ms,
        "settled": event.settled_ms,
        "updated": event.updated_ms,
    }
    time_ms = times[family]
    if time_ms is None:
        return False
    # "Strictly later than" for updated_time (contract 7.1); the others include their bounds.
    low_ok = low is None or (time_ms > low * 1000 if family == "updated" else time_ms >= low * 1000)
    return low_ok and (high is None or time_ms <= high * 1000 + (0 if family == "updated" else 999))


def _market_filter(request: Request) -> _MarketFilter:
    status, mve = request.get("status"), request.get("mve_filter")
    if status is not None and status not in STATUS_WORDS:
        raise bad_request("invalid status filter")
    if mve is not None and mve not in ("only", "exclude"):
        raise bad_request("invalid mve_filter")
    event, series, tickers = request.get("event_ticker"), request.get("series_ticker"), request.get("tickers")
    if event is not None and "," in event:
        raise bad_request("only one event_ticker is allowed")
    bounds = []
    for family in (*TIME_FAMILIES, "updated"):
        low, high = integer(request, f"min_{family}_ts"), integer(request, f"max_{family}_ts")
        if low is not None or high is not None:
            bounds.append((family, low, high))
    if len(bounds) > 1:
        raise bad_request("only one of the created, close, settled and updated timestamp filters is allowed")
    if bounds and bounds[0][0] == "updated":
        if status or event or tickers or mve == "only":
            raise bad_request("min_updated_ts cannot be combined with other filters")
        if series and mve != "exclude":
            raise bad_request("min_updated_ts with series_ticker requires mve_filter=exclude")
    elif bounds and status and status not in TIME_FAMILIES[bounds[0][0]]:
        raise bad_request(f"{bounds[0][0]} timestamp filters are not compatible with status {status}")
    return _MarketFilter(
        STATUS_WORDS[status] if status else frozenset(),
        event,
        series,
        frozenset(tickers.split(",")) if tickers else None,
        tuple(bounds),
        None if mve is None else mve == "only",
    )


@routes.get("/markets")
def get_markets(call: Call) -> Response:
    exchange = call.api.exchange
    size = limit(call.request, "GetMarkets", 0, 1000, 100)
    chosen = _market_filter(call.request)
    cursor = call.request.get("cursor")
    markets = exchange.markets
    few: Iterable[Market] | None = None
    if chosen.tickers is not None:
        few = (markets[t] for t in chosen.tickers if t in markets)
    elif chosen.event is not None:
        few = exchange.events[chosen.event].markets if chosen.event in exchange.events else ()
    elif chosen.series is not None:
        few = (m for e in _series_events(exchange, chosen.series) for m in e.markets)
    if few is not None:
        order = newest_first(sorted((m.event.created_ms, m.ticker) for m in few), cursor)
    else:
        order = newest_first(_created_between(exchange.listings.market_order, chosen.bounds), cursor)
    keys, following = page(order, lambda key: chosen(markets[key]), size)
    body = ",".join([market_json(markets[key], exchange.now_ms) for key in keys])
    return ok(f'{{"cursor":"{following}","markets":[{body}]}}', CACHED)


def _created_between(
    order: list[tuple[int, str]], bounds: tuple[tuple[str, int | None, int | None], ...]
) -> list[tuple[int, str]]:
    """Return the part of the order within a created-time window, without walking the rest."""
    if not bounds or bounds[0][0] != "created":
        return order
    _, low, high = bounds[0]
    first = 0 if low is None else bisect_left(order, (low * 1000, ""))
    last = len(order) if high is None else bisect_right(order, (high * 1000 + 1000, ""))
    return order[first:last]


@routes.get("/markets/orderbooks")
def get_market_orderbooks(call: Call) -> Response:
    tickers = call.request.all("tickers")
    if not tickers:
        raise invalid("Query argument tickers is required, but not found")
    if len(tickers) > 100:
        raise out_of_range("GetMarketOrderbooks", "tickers", "max")
    if any(len(ticker) > 200 for ticker in tickers):
        raise out_of_range("GetMarketOrderbooks", "tickers", "max")
    parts = [
        f'{{"orderbook_fp":{_book_of(call.api, ticker)},"ticker":{dumps(ticker)}}}' for ticker in tickers
    ]
    return ok(f'{{"orderbooks":[{",".join(parts)}]}}')


def _book_of(api: Api, ticker: str, depth: int = 0) -> str:
    market = api.exchange.markets.get(ticker)
    return book_json(api.exchange.book(market) if market is not None else None, depth)


@routes.get("/markets/{ticker}/orderbook")
def get_market_orderbook(call: Call) -> Response:
    depth = integer(call.request, "depth") or 0
    if depth > 100:
        raise out_of_range("GetMarketOrderbook", "depth", "lte")
    if depth < 0:
        raise out_of_range("GetMarketOrderbook", "depth", "gte")
    return ok(f'{{"orderbook_fp":{_book_of(call.api, call.args["ticker"], depth)}}}')


@routes.get("/markets/{ticker}")
def get_market(call: Call) -> Response:
    market = call.api.market(call.args["ticker"])
    return ok(f'{{"market":{market_json(market, call.api.exchange.now_ms)}}}', CACHED)


# Milestones -----------------------------------------------------------------------------------------


@routes.get("/milestones")
def get_milestones(call: Call) -> Response:
    required(call.request, "limit")
    size = limit(call.request, "GetMilestones", 1, 500, 500)
    earliest = call.request.get("minimum_start_date")
    try:
        start_ms = parse_time_ms(earliest) if earliest else None
    except BadRecord:
        raise invalid(
            "Invalid format for parameter minimum_start_date: "
            f"error parsing '{(earliest or '')[:50]}' as RFC3339 time"
        ) from None
    since = integer(call.request, "min_updated_ts")
    equal = {name: call.request.get(name) for name in ("category", "type", "source_id")}
    competition, related = call.request.get("competition"), call.request.get("related_event_ticker")
    milestones = call.api.exchange.listings.milestones

    def keep(key: str) -> bool:
        milestone = milestones[key]
        body = milestone.body
        return (
            (start_ms is None or milestone.start_ms >= start_ms)
            and all(value is None or body[name] == value for name, value in equal.items())
            and (competition is None or body["details"].get("league") == competition)
            and (related is None or related in body["related_event_tickers"])
            and (since is None or parse_time_ms(body["last_updated_ts"]) > since * 1000)
        )

    order = call.api.exchange.listings.milestone_order
    cursor = call.request.get("cursor")
    position = cursors.decode(cursor) if cursor else None
    index = 0 if position is None else bisect_right(order, position)
    keys, following = page((order[i] for i in range(index, len(order))), keep, size)
    return ok(dumps({"cursor": following, "milestones": [milestones[key].body for key in keys]}))


@routes.get("/milestones/{milestone_id}")
def get_milestone(call: Call) -> Response:
    found = call.api.exchange.listings.milestones.get(call.args["milestone_id"])
    if found is None:
        raise not_found()
    return ok(dumps({"milestone": found.body}))
