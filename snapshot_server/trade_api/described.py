"""The part of Kalshi's read API that is served, for `/openapi.json`: one row per route.

Kalshi's own file describes its objects; here are the parameters that are used, and what an answer contains. A
parameter out of bounds is refused; an unknown one is ignored, as at Kalshi.
"""

from typing import Any, Final, NamedTuple

from markets.json.words import BASE, EVENT_STATUS_WORDS, PERIODS_MINUTES, STATUS_WORDS

_TEXT: Final = {"type": "string"}
_INTEGER: Final = {"type": "integer", "format": "int64"}
_FLAG: Final = {"type": "boolean"}
_OBJECT: Final = {"type": "object"}
_LIST: Final = {"type": "array", "items": {"type": "object"}}
_CURSOR: Final = {"type": "string", "description": "Where the next page begins; empty on the last."}
_LEVELS: Final = {
    "type": "array",
    "items": {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2},
}
_BOOK: Final = {
    "type": "object",
    "properties": {"yes_dollars": _LEVELS, "no_dollars": _LEVELS},
    "required": ["yes_dollars", "no_dollars"],
}
_PERIOD: Final = {"type": "integer", "enum": list(PERIODS_MINUTES)}
_CANDLES: Final = {"start_ts": _INTEGER, "end_ts": _INTEGER, "period_interval": _PERIOD}
_SPANS: Final = {
    f"{side}_{family}_ts": _INTEGER
    for family in ("created", "close", "settled", "updated")
    for side in ("min", "max")
    if (side, family) != ("max", "updated")
}


def _limit(least: int, most: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": least, "maximum": most}


class Described(NamedTuple):
    """A route: its parameters, the required ones, and the members of its answer."""

    summary: str
    parameters: dict[str, Any]
    members: dict[str, Any]
    required: tuple[str, ...] = ()


_Schemas = dict[str, Any]

ROUTES: Final[dict[str, Described]] = {
    "/exchange/status": Described(
        "Whether the exchange trades", {}, {"exchange_active": _FLAG, "trading_active": _FLAG}
    ),
    "/exchange/schedule": Described("Hours and maintenance windows", {}, {"schedule": _OBJECT}),
    "/account/endpoint_costs": Described("What requests cost at Kalshi", {}, {}),
    "/account/limits": Described("What a reader without a key has at Kalshi", {}, {}),
    "/historical/cutoff": Described("Until when Kalshi's historical part reaches", {}, {}),
    "/search/tags_by_categories": Described("Tags of each category", {}, {"tags_by_categories": _OBJECT}),
    "/search/filters_by_sport": Described("Filters of each sport", {}, {}),
    "/series/fee_changes": Described(
        "Changes of series' fees",
        {"series_ticker": _TEXT, "show_historical": _FLAG},
        {"series_fee_change_arr": _LIST},
    ),
    "/events/fee_changes": Described(
        "Changes of events' fees",
        {"event_ticker": _TEXT, "limit": _limit(1, 1000), "cursor": _TEXT},
        {"event_fee_changes": _LIST, "cursor": _CURSOR},
    ),
    "/series": Described(
        "Series",
        {
            "category": _TEXT,
            "tags": _TEXT,
            "include_product_metadata": _FLAG,
            "include_volume": _FLAG,
            "min_updated_ts": _INTEGER,
        },
        {"series": _LIST},
    ),
    "/series/{series_ticker}": Described("A series", {"include_volume": _FLAG}, {"series": _OBJECT}),
    "/events": Described(
        "Events",
        {
            "limit": _limit(1, 200),
            "cursor": _TEXT,
            "status": {"type": "string", "enum": list(EVENT_STATUS_WORDS)},
            "series_ticker": _TEXT,
            "tickers": _TEXT,
            "with_nested_markets": _FLAG,
            "with_milestones": _FLAG,
            "min_close_ts": _INTEGER,
            "min_updated_ts": _INTEGER,
        },
        {"events": _LIST, "cursor": _CURSOR},
    ),
    "/events/{event_ticker}": Described("An event", {"with_nested_markets": _FLAG}, {"event": _OBJECT}),
    "/markets": Described(
        "Markets",
        {
            "limit": _limit(0, 1000),
            "cursor": _TEXT,
            "status": {"type": "string", "enum": list(STATUS_WORDS)},
            "event_ticker": _TEXT,
            "series_ticker": _TEXT,
            "tickers": _TEXT,
            "mve_filter": {"type": "string", "enum": ["only", "exclude"]},
            **_SPANS,
        },
        {"markets": _LIST, "cursor": _CURSOR},
    ),
    "/markets/orderbooks": Described(
        "Order books",
        {"tickers": {"type": "array", "items": {"type": "string", "maxLength": 200}, "maxItems": 100}},
        {
            "orderbooks": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"ticker": _TEXT, "orderbook_fp": _BOOK},
                    "required": ["ticker", "orderbook_fp"],
                },
            }
        },
        ("tickers",),
    ),
    "/markets/candlesticks": Described(
        "Candlesticks of some markets",
        {"market_tickers": _TEXT, **_CANDLES, "include_latest_before_start": _FLAG},
        {"markets": _LIST},
        ("market_tickers", *_CANDLES),
    ),
    "/markets/trades": Described(
        "Trades",
        {
            "limit": _limit(0, 1000),
            "cursor": _TEXT,
            "ticker": _TEXT,
            "min_ts": _INTEGER,
            "max_ts": _INTEGER,
            "is_block_trade": _FLAG,
        },
        {"trades": _LIST, "cursor": _CURSOR},
    ),
    "/markets/{ticker}": Described("A market", {}, {"market": _OBJECT}),
    "/markets/{ticker}/orderbook": Described(
        "The order book of a market", {"depth": _limit(0, 100)}, {"orderbook_fp": _BOOK}
    ),
    "/series/{series_ticker}/markets/{ticker}/candlesticks": Described(
        "Candlesticks of a market",
        {**_CANDLES, "include_latest_before_start": _FLAG},
        {"ticker": _TEXT, "candlesticks": _LIST},
        tuple(_CANDLES),
    ),
    "/series/{series_ticker}/events/{ticker}/candlesticks": Described(
        "Candlesticks of the markets of an event",
        {**_CANDLES},
        {"market_tickers": {"type": "array", "items": _TEXT}, "market_candlesticks": {"type": "array"}},
        tuple(_CANDLES),
    ),
    "/milestones": Described(
        "Milestones",
        {
            "limit": _limit(1, 500),
            "cursor": _TEXT,
            "minimum_start_date": {"type": "string", "format": "date-time"},
            "category": _TEXT,
            "competition": _TEXT,
            "type": _TEXT,
            "source_id": _TEXT,
            "related_event_ticker": _TEXT,
            "min_updated_ts": _INTEGER,
        },
        {"milestones": _LIST, "cursor": _CURSOR},
        ("limit",),
    ),
    "/milestones/{milestone_id}": Described("A milestone", {}, {"milestone": _OBJECT}),
}

SCHEMAS: Final[_Schemas] = {
    "KalshiRefusal": {
        "description": "Kalshi's two forms of a refusal's body.",
        "anyOf": [
            {"type": "object", "properties": {"msg": _TEXT}, "required": ["msg"]},
            {
                "type": "object",
                "properties": {
                    "error": {
                        "type": "object",
                        "properties": {"code": _TEXT, "message": _TEXT},
                        "required": ["code", "message"],
                    }
                },
                "required": ["error"],
            },
        ],
    }
}


def paths() -> dict[str, Any]:
    """Return the OpenAPI paths of the routes."""
    return {BASE + template: {"get": _operation(template, route)} for template, route in ROUTES.items()}


def _operation(template: str, route: Described) -> dict[str, Any]:
    named = [part[1:-1] for part in template.split("/") if part.startswith("{")]
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in named
    ] + [
        {"name": name, "in": "query", "required": name in route.required, "schema": schema}
        for name, schema in route.parameters.items()
    ]
    answer = {"type": "object", "properties": route.members, "required": list(route.members)}
    refusal = {"application/json": {"schema": {"$ref": "#/components/schemas/KalshiRefusal"}}}
    return {
        "operationId": "trade_api" + template.replace("/", "_").replace("{", "").replace("}", ""),
        "summary": f"Kalshi: {route.summary}",
        "tags": ["Kalshi's read API"],
        "parameters": parameters,
        "responses": {
            "200": {
                "description": "As Kalshi answers; headers say how old it is and what it lacks.",
                "content": {"application/json": {"schema": answer}},
            },
            "400": {"description": "A parameter cannot be read or is out of its bounds.", "content": refusal},
            "404": {"description": "Not here; the message says why.", "content": refusal},
            "503": {"description": "No data has arrived yet, or too much is under way.", "content": refusal},
        },
    }
