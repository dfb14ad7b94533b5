"""Recorded payloads, for the tests of Kalshi's JSON."""

import gzip
import json
from pathlib import Path
from typing import Any

from markets.json.read import decode_market
from markets.json.write import market_json
from markets.records import Market, Quote

DATA = Path(__file__).parents[2] / "data/kalshi"


def _gz(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(gzip.decompress((DATA / name).read_bytes()))
    return loaded


EVENTS = _gz("events.json.gz")
OTHER = _gz("markets_other.json.gz")
MARKETS: list[dict[str, Any]] = [
    *(market for event in EVENTS["events"] for market in event["markets"]),
    *EVENTS["event_single"]["markets"],
    *OTHER["markets"],
]
MARKET = MARKETS[0]


def encode(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def decode(value: object, **kwargs: Any) -> tuple[Market, Quote]:
    return decode_market(encode(value), **{"series_ticker": "S", "as_of_ms": 1_786_171_942_265, **kwargs})


def changed(**members: Any) -> dict[str, Any]:
    return {**MARKET, **members}


def without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in MARKET.items() if name not in names}


def served(market: Market, quote: Quote, **kwargs: Any) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(market_json(market, quote, as_of_ms=quote.as_of_ms, **kwargs))
    return loaded
