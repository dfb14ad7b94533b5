"""An account's client of the pure core, and markets to trade on."""

import json
from collections.abc import Callable
from typing import Any

from simulator.floor.model import ACTIVE, Market
from simulator.front.api import Api
from simulator.front.operations import ROUTES
from simulator.front.wire import Request, Response

from .schemas import answer_errors, openapi
from .venue import Client

ORDERS = "/portfolio/events/orders"


def problems(method: str, path: str, status: int, body: Any) -> list[str]:
    """Return what is wrong with an answer: by the specification, or an error in no shape of Kalshi's."""
    if status >= 400:
        members = set(body.get("error", body))
        fits = members == {"msg"} or {"code", "message"} <= members <= {"code", "message", "details"}
        return [] if fits else [f"error {body}"]
    templates = [route.template for route in ROUTES if route.method == method and route.pattern.match(path)]
    known = openapi()["paths"].get(templates[0], {})
    return answer_errors(templates[0], body, method.lower(), status) if method.lower() in known else []


class Trader:
    """An account's client of the pure core: signs, sends, and checks answers against the specification."""

    def __init__(self, client: Client, signed: Callable[..., dict[str, str]], account: int = 1) -> None:
        self.client = client
        self.account = account
        self.signed = signed
        self.api: Api = client.api
        self.api.exchange.switches.read_lag_ms = 0
        self.number = 0

    def send(self, method: str, path: str, body: Any = None, **query: Any) -> Response:
        full = "/trade-api/v2" + path
        headers = self.signed(method, full, self.client.now_ms, self.account)
        raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        request = Request(
            method, full, tuple((k, str(v)) for k, v in query.items()), headers, raw, "127.0.0.1"
        )
        return self.api.handle(request, self.client.now_ms)

    def call(self, method: str, path: str, body: Any = None, expected: int = 200, **query: Any) -> Any:
        response = self.send(method, path, body, **query)
        assert response.status == expected, response.body[:400]
        found = json.loads(response.body) if response.body else None
        assert problems(method, path, response.status, found) == []
        return found

    def local(self, method: str, path: str, body: Any = None, expected: int = 200) -> Any:
        raw = b"" if body is None else json.dumps(body).encode()
        response = self.api.handle(Request(method, path, body=raw), self.client.now_ms)
        assert response.status == expected, response.body[:400]
        return json.loads(response.body)

    def order(
        self, market: Market, side: str = "bid", price: str = "0.0100", **members: Any
    ) -> dict[str, Any]:
        self.number += 1
        return {
            "ticker": market.ticker,
            "client_order_id": f"c{self.number}",
            "side": side,
            "count": "10.00",
            "price": price,
            "time_in_force": "good_till_canceled",
            "self_trade_prevention_type": "taker_at_cross",
            **members,
        }

    def place(self, market: Market, status: int = 201, **members: Any) -> Any:
        return self.call("POST", ORDERS, self.order(market, **members), status)


def quoted(market: Market) -> bool:
    """Whether it is a cent market that is quoted on both sides and stays so for a while."""
    return bool(
        market.status == ACTIVE
        and market.bid_e2
        and market.ask_e2
        and 1_000 < market.bid_e4 < market.ask_e4 < 9_000
        and market.grid.name == "linear_cent"
    )


def a_market(trader: Trader, shard: int | None = None) -> Market:
    """Return a quoted market, of a shard if one is named."""
    for market in trader.api.exchange.markets.values():
        if quoted(market) and shard in (None, market.exchange_index):
            return market
    raise AssertionError("no market is quoted")


def text(price_e4: int) -> str:
    return f"{price_e4 / 1e4:.4f}"
