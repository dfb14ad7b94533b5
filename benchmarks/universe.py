"""The simulator's universe as records: events, series and texts in the exchange's proportions."""

import json
from typing import Final

from markets.json.read import decode_event, decode_market, decode_milestone
from simulator.floor.exchange import Exchange
from simulator.front.render import event_json, market_json
from simulator.universe.templates import load
from tests.snapshot_server.venue import Catalogue

SEED: Final = 1


def universe(count: int, now_ms: int) -> Catalogue:
    """Return about `count` markets with their events and milestones."""
    exchange = Exchange(load(None), count, SEED, now_ms)
    found = Catalogue([], [], [], [], [])
    for event in exchange.events.values():
        found.events.append(decode_event(event_json(event, now_ms).encode())[0])
        for one in event.markets:
            body = market_json(one, now_ms).encode()
            market, quote = decode_market(body, series_ticker=event.series.ticker, as_of_ms=now_ms)
            found.markets.append(market)
            found.quotes.append(quote)
    found.milestones += (
        decode_milestone(json.dumps(one.body).encode()) for one in exchange.listings.milestones.values()
    )
    return found
