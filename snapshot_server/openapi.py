"""`/openapi.json`: our own HTTP API and what is served of Kalshi's, OpenAPI 3.1.

Our own parameters come from the table that validates them.
"""

from functools import cache
from typing import Any, Final

from .parameters import MARKETS, STATUS_WORDS
from .trade_api import described

_NUMBER_OR_NULL: Final = {"type": ["number", "null"]}
_INTEGER: Final = {"type": "integer"}
_TEXT_OR_NULL: Final = {"type": ["string", "null"]}
_RESYNCING: Final = {
    "anyOf": [{"$ref": "#/components/schemas/Resyncing"}, {"type": "null"}],
    "description": "How far it is, while something is known to lack.",
}
_LEVELS: Final = {
    "type": "array",
    "description": "Bids, ascending: [price in dollars, contracts].",
    "items": {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2},
}


def _object(properties: dict[str, Any], *optional: str, more: bool = False, text: str = "") -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": more,
    }
    return schema | ({"description": text} if text else {})


_SCHEMAS: Final[dict[str, Any]] = {
    "Error": _object({"error": _object({"code": {"type": "string"}, "message": {"type": "string"}})}),
    "Market": _object(
        {
            "ticker": {"type": "string"},
            "event_ticker": {"type": "string"},
            "status": {"type": "string", "enum": list(STATUS_WORDS)},
            "series_ticker": _TEXT_OR_NULL
            | {"description": "Ours: the series of its event; null if unknown."},
            "as_of": {
                "type": "number",
                "description": "Ours: Unix seconds its quote is known to be true for.",
            },
            "orderbook": _object(
                {"yes_dollars": _LEVELS, "no_dollars": _LEVELS}, text="Ours: the book, when there is one."
            ),
            "suspect_since": {
                "type": "number",
                "description": "Ours: since when its book may be wrong, Unix seconds; else absent.",
            },
        },
        "event_ticker",
        "status",
        "series_ticker",
        "as_of",
        "orderbook",
        "suspect_since",  # `fields` may leave them out
        more=True,
        text="Kalshi's market object as Kalshi sends it, and members of ours.",
    ),
    "MatchTime": _object(
        {
            "start_time": _TEXT_OR_NULL | {"description": "RFC 3339; null if unknown. Never the close time."},
            "source": {"type": "string", "enum": ["milestone", "occurrence", "unknown"]},
            "close_time": _TEXT_OR_NULL,
            "expected_expiration_time": _TEXT_OR_NULL,
            "in_play": {"type": ["boolean", "null"]},
        }
    ),
    "Markets": _object(
        {
            "generated_at": _NUMBER_OR_NULL
            | {"description": "Unix seconds of the end of the last complete sweep's fetch; null before one."},
            "age_seconds": _NUMBER_OR_NULL | {"description": "Now less generated_at."},
            "stale": {"type": "boolean"},
            "complete": {"type": "boolean", "description": "Whether the last sweep fetched all it wanted."},
            "epoch": _INTEGER,
            "seq": _INTEGER,
            "markets": _object(
                {
                    "markets": {"type": "array", "items": {"$ref": "#/components/schemas/Market"}},
                    "total_count": _INTEGER | {"description": "Markets that match, on all pages."},
                    "enriched_count": _INTEGER | {"description": "Those of them with a book."},
                    "cursor": {
                        "type": "string",
                        "description": "Where the next page begins; empty on the last.",
                    },
                    "match_times": {
                        "type": "object",
                        "description": "By event ticker, for the events of these markets.",
                        "additionalProperties": {"$ref": "#/components/schemas/MatchTime"},
                    },
                }
            ),
        }
    ),
    "Health": _object(
        {
            "status": {"type": "string", "enum": ["ok", "resyncing", "stale", "starting"]},
            "age_seconds": _NUMBER_OR_NULL,
            "generated_at": _NUMBER_OR_NULL,
            "stale_after_seconds": {"type": "number"},
            "complete": {"type": "boolean"},
            "market_count": _INTEGER,
            "enriched_count": _INTEGER,
            "quarantined_count": _INTEGER,
            "unjoined_count": _INTEGER,
            "epoch": _INTEGER,
            "seq": _INTEGER,
            "digest": {"type": "string", "pattern": "^[0-9a-f]{16}$"},
            "feed": {"type": "string", "enum": ["joining", "live", "resyncing", "lost"]},
            "source": {"type": "string", "enum": ["live", "replay"]},
            "gaps": _INTEGER,
            "resyncs": _INTEGER,
            "degraded": {"type": "array", "items": {"type": "string"}},
            "publisher": {"type": ["object", "null"], "description": "Its own account, from its heartbeat."},
            "exchange": {"type": ["object", "null"], "description": "Exchange status as Kalshi told it."},
            "processes": {
                "type": ["object", "null"],
                "description": "By name, what supervisord says; null if they were started by hand.",
                "additionalProperties": {"$ref": "#/components/schemas/Process"},
            },
            "drift": {
                "type": "array",
                "description": "What Kalshi sends otherwise than documented, the newest first, at most 100.",
                "items": {"$ref": "#/components/schemas/Drift"},
            },
            "drift_more": _INTEGER | {"description": "How many more there are."},
            "resyncing": _RESYNCING,
            "proven_seq": _INTEGER
            | {"description": "Last number of this epoch at which the digest was the publisher's."},
        }
    ),
    "Drift": _object(
        {
            "route": {"type": "string", "description": "Such as GET /events, or ws ticker."},
            "member": {"type": "string", "description": "Such as markets.yes_bid_dollars."},
            "what": {"type": "string", "enum": ["unknown", "missing", "type", "range", "enum"]},
            "count": _INTEGER,
            "first_seen": {"type": "number", "description": "Unix seconds."},
            "example": {"type": "string", "description": "Its first value as JSON, cut; empty for none."},
        }
    ),
    "Process": _object(
        {
            "state": {
                "type": "string",
                "description": "supervisord's word: RUNNING, STARTING, BACKOFF, FATAL, STOPPED, ...",
            },
            "pid": {"type": ["integer", "null"]},
            "uptime_seconds": _NUMBER_OR_NULL,
            "restarts": _INTEGER | {"description": "Times it ended by itself after it had stayed up."},
            "tries": _INTEGER | {"description": "Starts since it last stayed up; 0 while it does."},
            "trouble": {"type": ["string", "null"], "description": "What is wrong with it, in words."},
        }
    ),
    "Resyncing": _object(
        {
            "since": {"type": "number", "description": "Unix seconds."},
            "seconds": {"type": "number"},
            "why": {"type": "string", "enum": ["missing", "digest", "undecodable", "behind", "epoch"]},
            "step": {"type": "string", "enum": ["waiting", "asked", "taking"]},
            "behind": {
                "type": ["integer", "null"],
                "description": "Messages that what is shown lacks, as far as known; null in a new epoch.",
            },
            "asked": _INTEGER,
            "chunks": _INTEGER | {"description": "Parts of the answer that are in."},
            "chunks_total": _INTEGER,
        }
    ),
    "Ready": _object(
        {
            "status": {"type": "string", "enum": ["ok", "resyncing", "stale", "starting"]},
            "resyncing": _RESYNCING,
        }
    ),
}


def _answer(text: str, schema: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": text, "content": content}


_BAD: Final = _answer("An unknown parameter, a bad value or a foreign Host; the message names it.", "Error")


def _get(
    operation: str, summary: str, answers: dict[str, Any], parameters: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    description = {"operationId": operation, "summary": summary, "responses": answers | {"400": _BAD}}
    return {"get": description | ({"parameters": parameters} if parameters else {})}


@cache
def document() -> dict[str, Any]:
    """Return the OpenAPI document."""
    parameters = [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": parameter.description,
            "schema": parameter.schema,
            "style": "form",
            "explode": False,
        }
        for name, parameter in MARKETS.items()
    ]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "kalshi-bus snapshot server",
            "version": "1",
            "description": "Kalshi's markets from memory. No request ever reaches Kalshi. Below "
            "/trade-api/v2 answers Kalshi's own public read API; its objects are described by Kalshi's file.",
        },
        "servers": [{"url": "http://127.0.0.1:5002"}],
        "paths": {
            "/markets": _get(
                "markets",
                "All markets, or those that match",
                {
                    "200": _answer("The markets, all of one epoch and seq.", "Markets"),
                    "304": {"description": "Still the ETag you know."},
                    "503": _answer(
                        "No data has arrived yet, or too many large answers are under way.", "Error"
                    ),
                },
                parameters,
            ),
            "/health": _get(
                "health",
                "How data, feed and publisher are",
                {
                    "200": _answer("There is data, fresh (ok) or old (stale).", "Health"),
                    "503": _answer("No data has arrived yet.", "Health"),
                },
            ),
            "/ready": _get(
                "ready",
                "Whether the data may be used now",
                {
                    "200": _answer("Fresh data.", "Ready"),
                    "503": _answer("None yet, or it is stale.", "Ready"),
                },
            ),
            "/metrics": _get(
                "metrics",
                "The same for Prometheus",
                {
                    "200": {
                        "description": "Prometheus text format.",
                        "content": {"text/plain": {"schema": {"type": "string"}}},
                    }
                },
            ),
            "/openapi.json": _get(
                "openapi",
                "This document",
                {
                    "200": {
                        "description": "OpenAPI 3.1.",
                        "content": {"application/json": {"schema": {"type": "object"}}},
                    }
                },
            ),
            "/docs": _get(
                "docs",
                "This document as a page",
                {
                    "200": {
                        "description": "HTML.",
                        "content": {"text/html": {"schema": {"type": "string"}}},
                    }
                },
            ),
            **described.paths(),
        },
        "components": {"schemas": _SCHEMAS | described.SCHEMAS},
    }
