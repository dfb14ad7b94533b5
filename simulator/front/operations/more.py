"""The rest of the market-data operations: trades, candlesticks, live data, schedule, costs and lookups."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from markets.json.words import BASE, PERIODS_MINUTES
from markets.units import format_time
from simulator.floor.happenings import Trade
from simulator.floor.history import Place, candles, newest, newest_of_all, place_of
from simulator.floor.latent import Match, Window
from simulator.floor.model import Event, Market, Milestone
from simulator.front import cursors
from simulator.front.api import (
    CACHED,
    Call,
    Routes,
    boolean,
    integer,
    limit,
    newest_first,
    page,
    required,
    required_integer,
)
from simulator.front.limits import COSTS, DEFAULT_COST
from simulator.front.render import dumps, event_json, trade_json
from simulator.front.wire import Response, bad_request, invalid, not_found, ok, out_of_range
from simulator.matching.engine import LIVE_KEPT_MS
from simulator.matching.kept import LIVE_MS

routes = Routes()

_MAX_MS: Final = 1 << 53
MAX_CANDLES = 5_000
MAX_CANDLES_IN_BATCH = 10_000
COLLECTION = "KXMVECROSSCATEGORY-R"
"""The collection to which all combos belong; collections themselves are not listed."""

# Trades and candlesticks -----------------------------------------------------------------------------


def _newest_trades(call: Call, before: Place | None) -> Iterator[Trade]:
    """Yield public trades, latest first: of one market, or those just printed, then all that are kept."""
    request, exchange = call.request, call.api.exchange
    low, high = integer(request, "min_ts"), integer(request, "max_ts")
    low_ms, high_ms = low * 1000 if low is not None else 0, _MAX_MS if high is None else high * 1000 + 999
    ticker = request.get("ticker")
    market = exchange.markets.get(ticker) if ticker is not None else None
    if market is not None:
        yield from newest(market, before, low_ms, high_ms)
        return
    for trade in reversed(exchange.trades):
        if trade.time_ms < low_ms:
            return
        place = place_of(trade)
        if before is not None and place >= before:
            continue
        before = place
        if trade.time_ms <= high_ms and ticker in (None, trade.market.ticker):
            yield trade
    if ticker is None:
        yield from newest_of_all(exchange.markets.values(), before, low_ms, high_ms)


def _paged_trades(call: Call, size: int) -> tuple[list[Trade], str]:
    """Return one page of public trades, newest first, and the cursor of the next."""
    cursor = call.request.get("cursor")
    if boolean(call.request, "is_block_trade"):
        return [], ""  # no trade here is a block trade
    found = list(islice(_newest_trades(call, cursors.decode(cursor) if cursor else None), size + 1))
    if len(found) <= size:
        return found, ""
    return found[:size], cursors.encode(*place_of(found[size - 1]))


@routes.get("/markets/trades")
def get_trades(call: Call) -> Response:
    size = limit(call.request, "GetTrades", 0, 1000, 100)
    found, cursor = _paged_trades(call, size)
    return ok(f'{{"cursor":"{cursor}","trades":[{",".join(map(trade_json, found))}]}}')


def _period(call: Call, operation: str) -> tuple[int, int, int, bool]:
    start, end = required_integer(call.request, "start_ts"), required_integer(call.request, "end_ts")
    period = required_integer(call.request, "period_interval")
    if period not in PERIODS_MINUTES:
        raise out_of_range(operation, "PeriodInterval", "oneof")
    if end < start:
        raise bad_request("end_ts must not be before start_ts")
    if not 0 <= start <= end < 2**33:
        raise bad_request("start_ts and end_ts must be Unix seconds")
    return start, end, period, boolean(call.request, "include_latest_before_start")


def _candles(call: Call, market: Market, span: tuple[int, int, int, bool]) -> list[dict[str, Any]]:
    start, end, period, before = span
    start = max(start, market.event.open_ms // 1000 - 1)
    end = min(end, call.api.exchange.now_ms // 1000 + period * 60)
    if (end - start) // (period * 60) > MAX_CANDLES:
        raise bad_request(f"requested period has more than {MAX_CANDLES} candlesticks")
    return candles(market, start, end, period, call.api.exchange.now_ms, before)


@routes.get("/series/{series_ticker}/markets/{ticker}/candlesticks")
def get_market_candlesticks(call: Call) -> Response:
    market = call.api.market(call.args["ticker"])
    if market.event.series.ticker != call.args["series_ticker"]:
        raise not_found()
    found = _candles(call, market, _period(call, "GetMarketCandlesticks"))
    return ok(dumps({"candlesticks": found, "ticker": market.ticker}))


@routes.get("/markets/candlesticks")
def batch_get_market_candlesticks(call: Call) -> Response:
    tickers = required(call.request, "market_tickers").split(",")
    span = _period(call, "BatchGetMarketCandlesticks")
    if len(tickers) > 100:
        raise bad_request("at most 100 market_tickers")
    known = call.api.exchange.markets
    found = [
        {"candlesticks": _candles(call, known[t], span), "market_ticker": t} for t in tickers if t in known
    ]
    if sum(len(m["candlesticks"]) for m in found) > MAX_CANDLES_IN_BATCH:
        raise bad_request(f"more than {MAX_CANDLES_IN_BATCH} candlesticks in total")
    return ok(dumps({"markets": found}))


@routes.get("/series/{series_ticker}/events/{ticker}/candlesticks")
def get_event_candlesticks(call: Call) -> Response:
    event = call.api.event(call.args["ticker"])
    if event.series.ticker != call.args["series_ticker"]:
        raise not_found()
    span = _period(call, "GetMarketCandlesticksByEvent")
    body = {
        "adjusted_end_ts": span[1],
        "market_candlesticks": [_candles(call, market, span) for market in event.markets],
        "market_tickers": [market.ticker for market in event.markets],
    }
    return ok(dumps(body))


# Live data -------------------------------------------------------------------------------------------


def _live(call: Call, milestone: Milestone) -> dict[str, Any]:
    group = call.api.exchange.listings.groups_by_milestone[milestone.id]
    latent = group.latent
    assert isinstance(latent, Match)
    details: dict[str, Any] = {
        "away_points": latent.scores[0],
        "home_points": latent.scores[1],
        "last_updated_ts": group.updated_ms // 1000,
        "period": min(int(latent.elapsed * 4) + 1, 4) if latent.started else 0,
        "status": milestone.body["details"]["status"],
        "widget_status": "live" if group.in_play else "finished" if latent.over else "upcoming",
        "winner": "",
    }
    if latent.over and latent.scores[0] != latent.scores[1]:
        details["winner"] = "away" if latent.scores[0] > latent.scores[1] else "home"
    return {"details": details, "milestone_id": milestone.id, "type": milestone.body["type"]}


def _milestone(call: Call) -> Milestone:
    found = call.api.exchange.listings.milestones.get(call.args["milestone_id"])
    if found is None or ("type" in call.args and found.body["type"] != call.args["type"]):
        raise not_found()
    return found


@routes.get("/live_data/milestone/{milestone_id}")
@routes.get("/live_data/{type}/milestone/{milestone_id}")
def get_live_data(call: Call) -> Response:
    boolean(call.request, "include_player_stats")
    return ok(dumps({"live_data": _live(call, _milestone(call))}))


@routes.get("/live_data/milestone/{milestone_id}/game_stats")
def get_game_stats(call: Call) -> Response:
    _milestone(call)
    return ok(dumps({"pbp": {"periods": []}}))


@routes.get("/live_data/batch")
def get_live_datas(call: Call) -> Response:
    ids = call.request.all("milestone_ids")
    if not ids:
        raise invalid("Query argument milestone_ids is required, but not found")
    if len(ids) > 100:
        raise out_of_range("GetLiveDatas", "MilestoneIds", "max")
    known = call.api.exchange.listings.milestones
    return ok(dumps({"live_datas": [_live(call, known[i]) for i in ids if i in known]}))


@routes.get("/live_data/events/{event_ticker}")
def get_event_live_data(call: Call) -> Response:
    event = call.api.event(call.args["event_ticker"])
    if event.group.milestone is not None:
        live = _live(call, event.group.milestone)
        return ok(dumps({"live_data": {"details": live["details"], "type": live["type"]}}))
    if isinstance(event.group.latent, Window):
        asset = event.group.latent.asset
        details = {"price": round(asset.price, asset.decimals), "last_updated_ts": asset.now_ms // 1000}
        return ok(dumps({"live_data": {"details": details, "type": "price"}}))
    raise not_found()


# Exchange and account --------------------------------------------------------------------------------


@routes.get("/exchange/schedule")
def get_exchange_schedule(call: Call) -> Response:
    return ok(dumps({"schedule": call.api.exchange.recorded.schedule}))


@routes.get("/account/endpoint_costs")
def get_account_endpoint_costs(_call: Call) -> Response:
    costs = [{"cost": cost, "method": method, "path": BASE + path} for method, path, cost in COSTS]
    return ok(dumps({"default_cost": DEFAULT_COST, "endpoint_costs": costs}))


# Fees ------------------------------------------------------------------------------------------------


@routes.get("/series/fee_changes")
def get_series_fee_changes(call: Call) -> Response:
    exchange = call.api.exchange
    series, history = call.request.get("series_ticker"), boolean(call.request, "show_historical")
    found = [
        change.body()
        for change in exchange.fee_changes
        if change.event is None
        and (series is None or change.series == series)
        and (history or change.time_ms > exchange.now_ms)
    ]
    return ok(dumps({"series_fee_change_arr": found}))


@routes.get("/events/fee_changes")
def get_event_fee_changes(call: Call) -> Response:
    limit(call.request, "GetEventFeeChanges", 1, 1000, 100)
    exchange, event = call.api.exchange, call.request.get("event_ticker")
    found = [
        change.body()
        for change in exchange.fee_changes
        if change.event is not None
        and (event is None or change.event == event)
        and change.time_ms > exchange.now_ms
    ]
    return ok(dumps({"cursor": "", "event_fee_changes": found}))


# History ---------------------------------------------------------------------------------------------


@routes.get("/historical/cutoff")
def get_historical_cutoff(call: Call) -> Response:
    now = call.api.exchange.now_ms
    live = format_time(now - LIVE_MS)
    body = {
        "market_positions_last_updated_ts": live,
        "market_settled_ts": live,
        "orders_updated_ts": format_time(now - LIVE_KEPT_MS),
        "trades_created_ts": live,
    }
    return ok(dumps(body))


@routes.get("/historical/markets")
def get_historical_markets(call: Call) -> Response:
    limit(call.request, "GetHistoricalMarkets", 0, 1000, 100)
    return ok(dumps({"cursor": "", "markets": []}))


@routes.get("/historical/markets/{ticker}")
def get_historical_market(_call: Call) -> Response:
    raise not_found()


@routes.get("/historical/markets/{ticker}/candlesticks")
def get_historical_candlesticks(call: Call) -> Response:
    _period(call, "GetMarketCandlesticksHistorical")
    raise not_found()


@routes.get("/historical/trades")
def get_historical_trades(call: Call) -> Response:
    limit(call.request, "GetTradesHistorical", 0, 1000, 100)
    for name in ("min_ts", "max_ts"):
        integer(call.request, name)
    boolean(call.request, "is_block_trade")
    return ok(dumps({"cursor": "", "trades": []}))


# Combos ----------------------------------------------------------------------------------------------


@routes.get("/events/multivariate")
def get_multivariate_events(call: Call) -> Response:
    request, exchange = call.request, call.api.exchange
    size = limit(request, "GetMultivariateEvents", 1, 200, 100)
    nested = boolean(request, "with_nested_markets")
    series, collection = request.get("series_ticker"), request.get("collection_ticker")
    if series is not None and collection is not None:
        raise bad_request("series_ticker and collection_ticker exclude each other")

    def keep(ticker: str) -> bool:
        event = exchange.events[ticker]
        return event.combo and series in (None, event.series.ticker) and collection in (None, COLLECTION)

    keys, cursor = page(newest_first(exchange.listings.event_order, request.get("cursor")), keep, size)
    events = [exchange.events[key] for key in keys]
    body = ",".join(event_json(event, exchange.now_ms, event.markets if nested else None) for event in events)
    return ok(f'{{"cursor":"{cursor}","events":[{body}]}}')


@routes.get("/multivariate_event_collections")
def get_multivariate_event_collections(call: Call) -> Response:
    limit(call.request, "GetMultivariateEventCollections", 1, 200, 100)
    if call.request.get("status") not in (None, "unopened", "open", "closed"):
        raise bad_request("invalid status filter")
    return ok(dumps({"cursor": "", "multivariate_contracts": []}))


@routes.get("/multivariate_event_collections/{collection_ticker}")
def get_multivariate_event_collection(_call: Call) -> Response:
    raise not_found()


# Lookups ---------------------------------------------------------------------------------------------


def _colour(ticker: str) -> str:
    return f"#{sum(ticker.encode()) * 2654435761 % 0xFFFFFF:06x}"


@routes.get("/events/{event_ticker}/metadata")
def get_event_metadata(call: Call) -> Response:
    event: Event = call.api.event(call.args["event_ticker"])
    body = {
        "image_url": "",
        "market_details": [
            {"color_code": _colour(m.ticker), "image_url": "", "market_ticker": m.ticker}
            for m in event.markets
        ],
        "settlement_sources": event.series.body["settlement_sources"] or [],
    }
    return ok(dumps(body))


@routes.get("/structured_targets")
def get_structured_targets(call: Call) -> Response:
    size = limit(call.request, "GetStructuredTargets", 1, 2000, 100, "page_size")
    ids = call.request.all("ids")
    if len(ids) > 2000:
        raise out_of_range("GetStructuredTargets", "Ids", "max")
    targets = call.api.exchange.catalogue.targets
    kind, competition = call.request.get("type"), call.request.get("competition")
    chosen = [targets[i] for i in ids if i in targets] if ids else [targets[i] for i in sorted(targets)]
    chosen = [
        target
        for target in chosen
        if (kind is None or target["type"] == kind)
        and (competition is None or target["details"].get("league") == competition)
    ]
    start = call.request.get("cursor") or ""
    first = int(start) if start.isascii() and start.isdigit() and len(start) < 10 else 0
    following = str(first + size) if first + size < len(chosen) else ""
    return ok(dumps({"cursor": following, "structured_targets": chosen[first : first + size]}))


@routes.get("/structured_targets/{structured_target_id}")
def get_structured_target(call: Call) -> Response:
    found = call.api.exchange.catalogue.targets.get(call.args["structured_target_id"])
    if found is None:
        raise not_found()
    return ok(dumps({"structured_target": found}))


@routes.get("/search/tags_by_categories")
def get_tags_by_categories(call: Call) -> Response:
    return ok(dumps(call.api.exchange.recorded.tags_by_categories), CACHED)


@routes.get("/search/filters_by_sport")
def get_filters_by_sport(_call: Call) -> Response:
    return ok(dumps({"filters_by_sports": {}, "sport_ordering": []}), CACHED)


@routes.get("/incentive_programs")
def get_incentive_programs(call: Call) -> Response:
    limit(call.request, "GetIncentivePrograms", 1, 10_000, 100)
    if call.request.get("status") not in (None, "all", "active", "upcoming", "closed", "paid_out"):
        raise bad_request("invalid status filter")
    return ok(dumps({"incentive_programs": []}))
