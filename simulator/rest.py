"""Kalshi's REST API over an `Exchange`, pure: `Api.handle(request, now_ms) -> Response`."""

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

import structlog

from markets.errors import BadRecord
from markets.units import format_time, parse_time_ms

from . import auth, cursors
from .auth import KeyPair
from .exchange import Exchange
from .limits import COSTS, DEFAULT_COST, TIERS, Limits
from .model import ACTIVE, CLOSED, DETERMINED, DISPUTED, FINALIZED, INACTIVE, INITIALIZED, Event, Market
from .render import book_json, dumps, event_json, market_json
from .wire import (
    JSON,
    ApiError,
    Request,
    Response,
    bad_request,
    error,
    invalid,
    not_found,
    ok,
    out_of_range,
    unsigned,
)
from .ws import Hub

BASE: Final = "/trade-api/v2"
CACHED: Final = {**JSON, "cache-control": "public, max-age=15", "x-kalshi-cache-hits": "0"}
"""Headers of routes behind the 15 s cache (contract 8)."""

_CLOSED_WORDS: Final = frozenset({CLOSED, DETERMINED, DISPUTED, "amended"})
STATUS_WORDS: Final = {
    "unopened": frozenset({INITIALIZED}), "open": frozenset({ACTIVE}), "paused": frozenset({INACTIVE}),
    "closed": _CLOSED_WORDS, "settled": frozenset({FINALIZED}),
}  # fmt: skip
"""Filter word -> returned words (contract 6)."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an operation: `args` are the parameters of its path."""

    api: "Api"
    request: Request
    args: dict[str, str]


Handler = Callable[[Call], Response]


@dataclass(frozen=True, slots=True)
class Route:
    """One operation: its name as the specification spells it, and what is needed to call it."""

    method: str
    template: str
    pattern: re.Pattern[str]
    handler: Handler
    private: bool


ROUTES: Final[list[Route]] = []


def route(template: str, method: str = "GET", private: bool = False) -> Callable[[Handler], Handler]:
    """Register a handler for a path below /trade-api/v2, with ``{name}`` segments."""

    def register(handler: Handler) -> Handler:
        pattern = re.compile("^" + re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template) + "$")
        ROUTES.append(Route(method, template, pattern, handler, private))
        return handler

    return register


class Api:
    """The REST side of the exchange.

    Args:
        exchange: what is served.
        keys: the user's key pair; None refuses every signed request.
        limits: token buckets; None never answers 429.
    """

    def __init__(self, exchange: Exchange, keys: KeyPair | None = None, limits: Limits | None = None) -> None:
        self.exchange = exchange
        self.keys = keys
        self.limits = limits
        self.by_route: Counter[str] = Counter()
        self.responses_429 = 0
        self.hub: Hub | None = None
        self.nested_429 = True
        self.bill_books_per_ticker = False

    # Entry ------------------------------------------------------------------------------------------

    def handle(self, request: Request, now_ms: int) -> Response:
        """Answer one request at `now_ms`. Never raises."""
        self.exchange.advance(now_ms)
        try:
            if request.path.startswith("/sim/"):
                return self._local(request)
            response = self._counted(request, now_ms)
        except ApiError as refusal:
            response = refusal.response
        except Exception:
            log.exception("request failed", method=request.method, path=request.path)
            response = error(500, "internal_server_error", "internal server error")
        if response.status == 429:
            self.responses_429 += 1
        return response

    def _counted(self, request: Request, now_ms: int) -> Response:
        if not request.path.startswith(BASE + "/"):
            self.by_route["other"] += 1
            raise not_found()
        path = request.path.removeprefix(BASE)
        matches = [(entry, found) for entry in ROUTES if (found := entry.pattern.match(path))]
        chosen = next(((entry, found) for entry, found in matches if entry.method == request.method), None)
        self.by_route[f"{request.method} {chosen[0].template}" if chosen else "other"] += 1
        caller = self.authenticate(request, now_ms)
        private = (
            chosen[0].private
            if chosen
            else path.startswith(("/portfolio", "/account", "/api_keys", "/communications"))
        )
        if private and caller is None:
            raise ApiError(
                error(401, "signature_is_missing_from_headers", "signature is missing from headers")
            )
        self._charge(request, path, caller, now_ms)
        if chosen is None:
            if matches:
                raise ApiError(error(405, "method_not_allowed", "method not allowed"))
            raise not_found()
        entry, found = chosen
        return entry.handler(Call(self, request, {name: unquote(v) for name, v in found.groupdict().items()}))

    def upgrade(self, request: Request, now_ms: int) -> Response | None:
        """Return the refusal of a WebSocket upgrade, None if it may go on; auth is always needed."""
        self.exchange.advance(now_ms)
        self.by_route["GET /trade-api/ws/v2"] += 1
        try:
            if self.authenticate(request, now_ms) is None:
                return unsigned()
        except ApiError as refusal:
            return refusal.response
        return None

    def authenticate(self, request: Request, now_ms: int) -> str | None:
        """Return the key id of a signed request, None of an unsigned one.

        Raises:
            ApiError: 401, the signature does not hold.
        """
        if not auth.present(request.headers):
            return None
        refusal = (
            auth.check(self.keys, request.method, request.path, request.headers, now_ms)
            if self.keys is not None
            else auth.Refusal("authentication_error", "authentication_error", "NOT_FOUND")
        )
        if refusal is not None:
            raise ApiError(error(401, refusal.code, refusal.message, refusal.details))
        return request.headers[auth.KEY]

    def _charge(self, request: Request, path: str, caller: str | None, now_ms: int) -> None:
        if self.limits is None or path == "/account/endpoint_costs":
            return
        cost = next((c for m, p, c in COSTS if m == request.method and _costs(p, path)), DEFAULT_COST)
        if path == "/markets/orderbooks" and self.bill_books_per_ticker:
            cost *= max(1, len(request.all("tickers")))
        if not self.limits.take(
            caller or f"address {request.address}", request.method != "GET", cost, now_ms
        ):
            raise ApiError(self.too_many())

    def too_many(self) -> Response:
        """Return the 429, in the shape seen live or in that of the documents."""
        if self.nested_429:
            return error(429, "too_many_requests", "too many requests")
        return Response(429, dumps({"error": "too many requests"}).encode())

    # Local routes -----------------------------------------------------------------------------------

    def _local(self, request: Request) -> Response:
        if request.method == "GET" and request.path == "/sim/stats":
            stats = {
                "requests_total": self.by_route.total(),
                "by_route": dict(sorted(self.by_route.items())),
                "responses_429": self.responses_429,
                "ws_frames": self.hub.frames if self.hub is not None else 0,
            }
            return ok(dumps(stats))
        if request.method == "GET" and request.path == "/sim/truth":
            return ok(dumps(self._truth(request)))
        raise not_found()

    def _truth(self, request: Request) -> dict[str, Any]:
        """Tell the true probabilities (of ``tickers=A,B`` or all) and the planted mispricings."""
        exchange = self.exchange
        wanted = request.get("tickers")
        tickers = wanted.split(",") if wanted else list(exchange.markets)
        return {
            "now_ms": exchange.now_ms,
            "probabilities": {t: round(exchange.markets[t].p, 6) for t in tickers if t in exchange.markets},
            "mispricings": [
                {
                    "kind": m.kind,
                    "event_ticker": m.event_ticker,
                    "tickers": m.tickers,
                    "from_ms": m.from_ms,
                    "until_ms": m.until_ms,
                    "active": m.from_ms <= exchange.now_ms < m.until_ms,
                    "edge_dollars": f"{m.edge_e4 / 1e4:.4f}",
                    "fair": m.fair,
                }
                for m in reversed(exchange.mispricings)
            ],
        }

    # Helpers ----------------------------------------------------------------------------------------

    def event(self, ticker: str) -> Event:
        """Return an event or answer 404."""
        found = self.exchange.events.get(ticker)
        if found is None:
            raise not_found()
        return found

    def market(self, ticker: str) -> Market:
        """Return a market or answer 404."""
        found = self.exchange.markets.get(ticker)
        if found is None:
            raise not_found()
        return found


def _costs(pattern: str, path: str) -> bool:
    mine, theirs = pattern.split("/"), path.split("/")
    if mine[-1].startswith("*"):
        return theirs[: len(mine) - 1] == mine[:-1] and len(theirs) >= len(mine)
    return len(mine) == len(theirs) and all(
        a == b or a.startswith(":") for a, b in zip(mine, theirs, strict=True)
    )


def integer(request: Request, name: str) -> int | None:
    """Return an integer parameter, None if absent; answers 400 to anything else."""
    text = request.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text, re.ASCII):
        raise invalid(
            f"Invalid format for parameter {name}: error binding string parameter: "
            f'strconv.ParseInt: parsing "{text[:50]}": invalid syntax'
        )
    return int(text)


def boolean(request: Request, name: str) -> bool:
    """Return a boolean parameter, False if absent; answers 400 to what Go's ParseBool refuses."""
    text = request.get(name)
    if text is None:
        return False
    if text in ("1", "t", "T", "TRUE", "true", "True"):
        return True
    if text in ("0", "f", "F", "FALSE", "false", "False"):
        return False
    raise invalid(
        f"Invalid format for parameter {name}: error binding string parameter: "
        f'strconv.ParseBool: parsing "{text[:50]}": invalid syntax'
    )


def required(request: Request, name: str) -> str:
    """Return a parameter that must be there; answers 400 if it is not."""
    text = request.get(name)
    if text is None:
        raise invalid(f"Query argument {name} is required, but not found")
    return text


def limit(
    request: Request, operation: str, lowest: int, highest: int, default: int, name: str = "limit"
) -> int:
    """Return the page size; beyond its bounds 400, never clamped (contract 7.1)."""
    value = integer(request, name)
    if value is None:
        return default
    if value > highest:
        raise out_of_range(operation, name, "lte")
    if value < lowest:
        raise out_of_range(operation, name, "gte")
    return value or default


def newest_first(order: list[tuple[int, str]], cursor: str | None) -> Iterator[tuple[int, str]]:
    """Yield (time, key) descending, after the element the cursor names."""
    position = cursors.decode(cursor) if cursor else None
    index = len(order) if position is None else bisect_left(order, position)
    for i in range(index - 1, -1, -1):
        yield order[i]


def page(order: Iterable[tuple[int, str]], keep: Callable[[str], bool], size: int) -> tuple[list[str], str]:
    """Return the keys of one page and the cursor of the next, "" at the end of the list."""
    keys: list[str] = []
    last: tuple[int, str] | None = None
    for entry in order:
        if not keep(entry[1]):
            continue
        if len(keys) == size:
            assert last is not None
            return keys, cursors.encode(*last)
        keys.append(entry[1])
        last = entry
    return keys, ""


# Exchange -------------------------------------------------------------------------------------------


@route("/exchange/status")
def get_exchange_status(call: Call) -> Response:
    exchange = call.api.exchange
    names = {0: "Default", 1: "Combos", 2: "Crypto and commodities", 3: "Tennis, baseball, basketball"}
    shards = [
        {
            "exchange_index": index,
            "description": names[index],
            "exchange_active": shard.exchange_active and exchange.exchange_active,
            "trading_active": shard.trading_active and exchange.trading_active,
            "intra_exchange_transfers_active": shard.exchange_active and exchange.exchange_active,
        }
        for index, shard in exchange.shards.items()
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


def _series_body(body: dict[str, Any], metadata: bool, volume: bool) -> dict[str, Any]:
    drop = {name for name, wanted in (("product_metadata", metadata), ("volume_fp", volume)) if not wanted}
    return {key: value for key, value in body.items() if key not in drop}


@route("/series")
def get_series_list(call: Call) -> Response:
    category, tags = call.request.get("category"), call.request.get("tags")
    metadata, volume = (
        boolean(call.request, "include_product_metadata"),
        boolean(call.request, "include_volume"),
    )
    since = integer(call.request, "min_updated_ts")
    wanted = set(tags.split(",")) if tags else set()
    found = [
        _series_body(s.body, metadata, volume)
        for s in call.api.exchange.series.values()
        if (category is None or category in s.body["categories"])
        and (not wanted or wanted & set(s.body["tags"] or ()))
        and (since is None or parse_time_ms(s.body["last_updated_ts"]) >= since * 1000)
    ]
    return ok(dumps({"series": found}), CACHED)


@route("/series/{series_ticker}")
def get_series(call: Call) -> Response:
    found = call.api.exchange.series.get(call.args["series_ticker"])
    if found is None:
        raise not_found()
    return ok(
        dumps({"series": _series_body(found.body, True, boolean(call.request, "include_volume"))}), CACHED
    )


# Events ---------------------------------------------------------------------------------------------


@route("/events")
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
    if status is not None and status not in ("unopened", "open", "closed", "settled"):
        raise bad_request("invalid status filter")
    words = STATUS_WORDS[status] if status else frozenset[str]()
    listed = set(tickers.split(",")) if tickers else None

    def keep(ticker: str) -> bool:
        event = exchange.events[ticker]
        return (
            (listed is None or ticker in listed)
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
        order = newest_first(exchange.event_order, call.request.get("cursor"))
    keys, cursor = page(order, keep, size)
    events = [exchange.events[key] for key in keys]
    body = [event_json(event, event.markets if nested else None) for event in events]
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


@route("/events/{event_ticker}")
def get_event(call: Call) -> Response:
    nested = boolean(call.request, "with_nested_markets")
    event = call.api.event(call.args["event_ticker"])
    if nested:
        return ok(f'{{"event":{event_json(event, event.markets)},"markets":[]}}')
    return ok(f'{{"event":{event_json(event)},"markets":[{",".join(map(market_json, event.markets))}]}}')


# Markets --------------------------------------------------------------------------------------------

_FAMILIES: Final = {"created": ("unopened", "open"), "close": ("closed", "open"), "settled": ("settled",)}


@dataclass(frozen=True, slots=True)
class _MarketFilter:
    words: frozenset[str]
    event: str | None
    series: str | None
    tickers: frozenset[str] | None
    bounds: tuple[tuple[str, int | None, int | None], ...]
    only_combos: bool

    def __call__(self, market: Market) -> bool:
        event = market.event
        return (
            not self.only_combos
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
    for family in (*_FAMILIES, "updated"):
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
    elif bounds and status and status not in _FAMILIES[bounds[0][0]]:
        raise bad_request(f"{bounds[0][0]} timestamp filters are not compatible with status {status}")
    return _MarketFilter(
        STATUS_WORDS[status] if status else frozenset(),
        event,
        series,
        frozenset(tickers.split(",")) if tickers else None,
        tuple(bounds),
        mve == "only",
    )


@route("/markets")
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
        order = newest_first(_created_between(exchange.market_order, chosen.bounds), cursor)
    keys, following = page(order, lambda key: chosen(markets[key]), size)
    body = ",".join([market_json(markets[key]) for key in keys])
    return ok(f'{{"cursor":"{following}","markets":[{body}]}}', CACHED)


def _created_between(
    order: list[tuple[int, str]], bounds: tuple[tuple[str, int | None, int | None], ...]
) -> list[tuple[int, str]]:
    """Return the part of the order that a created-time window leaves, without walking the rest."""
    if not bounds or bounds[0][0] != "created":
        return order
    _, low, high = bounds[0]
    first = 0 if low is None else bisect_left(order, (low * 1000, ""))
    last = len(order) if high is None else bisect_right(order, (high * 1000 + 1000, ""))
    return order[first:last]


@route("/markets/orderbooks")
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


@route("/markets/{ticker}/orderbook")
def get_market_orderbook(call: Call) -> Response:
    depth = integer(call.request, "depth") or 0
    if depth > 100:
        raise out_of_range("GetMarketOrderbook", "depth", "lte")
    if depth < 0:
        raise out_of_range("GetMarketOrderbook", "depth", "gte")
    return ok(f'{{"orderbook_fp":{_book_of(call.api, call.args["ticker"], depth)}}}')


@route("/markets/{ticker}")
def get_market(call: Call) -> Response:
    return ok(f'{{"market":{market_json(call.api.market(call.args["ticker"]))}}}', CACHED)


# Milestones -----------------------------------------------------------------------------------------


@route("/milestones")
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
    milestones = call.api.exchange.milestones

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

    order = call.api.exchange.milestone_order
    cursor = call.request.get("cursor")
    position = cursors.decode(cursor) if cursor else None
    index = 0 if position is None else bisect_right(order, position)
    keys, following = page((order[i] for i in range(index, len(order))), keep, size)
    return ok(dumps({"cursor": following, "milestones": [milestones[key].body for key in keys]}))


@route("/milestones/{milestone_id}")
def get_milestone(call: Call) -> Response:
    found = call.api.exchange.milestones.get(call.args["milestone_id"])
    if found is None:
        raise not_found()
    return ok(dumps({"milestone": found.body}))


__all__ = ["BASE", "ROUTES", "TIERS", "Api", "Route", "format_time"]
