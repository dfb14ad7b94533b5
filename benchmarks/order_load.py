"""Orders at the simulated exchange: how many per second in-process, and the time of an answer over HTTP."""

import asyncio
import http.client
import json
import re
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import requests
import websockets

from markets.units import format_price
from simulator.floor.exchange import Exchange
from simulator.floor.model import ACTIVE, Market
from simulator.front.api import Api
from simulator.front.operations import ROUTES
from simulator.matching.orders import BID, Amendment, NewOrder, Outcome
from simulator.universe import templates
from tests.simulator.served import Venue
from tests.support import Runner

START_MS: Final = 1_792_432_800_000
MARKETS: Final = 1_500
ROUNDS: Final = 8
PER_ROUND: Final = 1_000
ASKED: Final = 600
PATH: Final = "/trade-api/v2/portfolio/events/orders"


def in_process() -> None:
    """Print orders per second of processor time, in the engine and in REST without signatures and limits."""
    print("\n| one order, at 1,500 markets | us | orders/s | target |\n|---|---|---|---|")
    for name, way in (
        ("placed, rests, is cancelled", rest_and_cancel),
        ("placed, rests, is amended, is cancelled", amend_and_cancel),
        ("placed, filled at once by the crowd", take),
        ("the same, sent as JSON, answered as JSON", over_the_api),
    ):
        floor = Floor()
        found = statistics.median(seconds(way, floor) for _ in range(ROUNDS)) / PER_ROUND
        floor.exchange.ledger.check()
        assert len(floor.exchange.matching.orders[1]) == floor.number, "an order was refused"
        print(f"| {name} | {found * 1e6:.0f} | {1 / found:,.0f} | > 5,000 |", flush=True)


class Floor:
    """An exchange, and an account on it with plenty of cash."""

    def __init__(self) -> None:
        self.exchange = Exchange(templates.load(), MARKETS, 1, START_MS, cash_e6=10**15)
        self.exchange.open_account(1)
        self.api = Api(self.exchange, ROUTES)
        self.quoted = [
            market
            for market in self.exchange.markets.values()
            if market.status == ACTIVE and market.bid_e2 and market.ask_e2 and market.bid_e4 > 1_000
        ]
        self.number = 0

    def order(self, price_e4: int, market: Market, kind: Any = "good_till_canceled") -> NewOrder:
        self.number += 1
        return NewOrder((1, 0), market, BID, price_e4, 100, kind, "taker_at_cross", f"c{self.number}")

    def next(self) -> Market:
        return self.quoted[self.number % len(self.quoted)]


def seconds(way: Callable[[Floor], None], floor: Floor) -> float:
    """Return the processor time of a round."""
    start = time.thread_time_ns()
    for _ in range(PER_ROUND):
        way(floor)
    return (time.thread_time_ns() - start) / 1e9


def rest_and_cancel(floor: Floor) -> None:
    matching = floor.exchange.matching
    placed = matching.place(floor.order(100, floor.next()), START_MS)
    assert isinstance(placed, Outcome)
    matching.cancel(1, placed.order.order_id, START_MS)


def amend_and_cancel(floor: Floor) -> None:
    matching = floor.exchange.matching
    market = floor.next()
    placed = matching.place(floor.order(100, market), START_MS)
    assert isinstance(placed, Outcome)
    assert isinstance(
        matching.amend(1, placed.order.order_id, Amendment(market.ticker, BID, 200, 100), START_MS), Outcome
    )
    matching.cancel(1, placed.order.order_id, START_MS)


def take(floor: Floor) -> None:
    market = floor.next()
    placed = floor.exchange.matching.place(
        floor.order(market.ask_e4, market, "immediate_or_cancel"), START_MS
    )
    assert isinstance(placed, Outcome)
    if not market.ask_e2:  # nothing is left on offer: take another market
        floor.quoted.remove(market)


def over_the_api(floor: Floor) -> None:
    market = floor.next()
    floor.number += 1
    body = wish(market.ticker, f"a{floor.number}", format_price(market.ask_e4), "immediate_or_cancel")
    asked = {
        "at": START_MS,
        "account": 1,
        "method": "POST",
        "path": PATH,
        "query": (),
        "body": json.dumps(body),
    }
    floor.api.again(asked)
    if not market.ask_e2:
        floor.quoted.remove(market)


def wish(ticker: str, number: str, price: str, kind: str = "good_till_canceled") -> dict[str, str]:
    return {
        "ticker": ticker,
        "client_order_id": number,
        "side": BID,
        "count": "1.00",
        "price": price,
        "time_in_force": kind,
        "self_trade_prevention_type": "taker_at_cross",
    }


# Over HTTP -------------------------------------------------------------------------------------------


def over_http() -> None:
    """Print the times of create and cancel at a real process, alone and with market data being read."""
    print("\n| answers over HTTP | create p50 ms | p99 | cancel p50 ms | p99 | target |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="kb-bench-") as folder:
        runner = Runner(Path(folder))
        try:
            venue = Venue(runner, "--markets", str(MARKETS), "--tier", "none")
            venue.faults(settings={"pace": 1})
            _row("alone", venue)
            with_data = Readers(venue)
            _row("beside a sweep every 12 s and a WebSocket of all quotes and 300 books", venue)
            with_data.end()
        finally:
            for process in runner.processes:
                process.kill()


def _row(name: str, venue: Venue) -> None:
    markets = [m["ticker"] for m in venue.get("/markets?limit=1000&status=open")["markets"]]
    connection = http.client.HTTPConnection(venue.root.removeprefix("http://"), timeout=10)
    created, cancelled = [], []
    for number in range(ASKED):
        body = json.dumps(wish(markets[number % len(markets)], f"{name[:6]}{number}", "0.0100"))
        answer, took = _timed(connection, "POST", PATH, body, venue.headers(PATH, method="POST"))
        if "order_id" in answer:
            created.append(took)
            path = f"{PATH}/{answer['order_id']}"
            ticker = f"?market_ticker={markets[number % len(markets)]}"
            cancelled.append(
                _timed(connection, "DELETE", path + ticker, None, venue.headers(path, 0, "DELETE"))[1]
            )
        time.sleep(0.005)
    connection.close()
    cells = [f"{value * 1000:.2f}" for found in (created, cancelled) for value in _percentiles(found)]
    print(f"| {name} | {' | '.join(cells)} | < 2 ms |", flush=True)


def _timed(
    connection: http.client.HTTPConnection, method: str, path: str, body: str | None, headers: dict[str, str]
) -> tuple[dict[str, Any], float]:
    start = time.perf_counter()
    connection.request(method, path, body, headers)
    raw = connection.getresponse().read()
    took = time.perf_counter() - start
    return json.loads(raw), took


def _percentiles(found: list[float]) -> tuple[float, float]:
    ordered = sorted(found)
    return ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]


class Readers:
    """Read as a publisher does: a sweep every 12 s, and a WebSocket."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._over = threading.Event()
        self._threads = [threading.Thread(target=work) for work in (self._sweep, self._listen)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _sweep(self) -> None:
        while not self._over.is_set():
            cursor = ""
            while not self._over.is_set():
                path = f"/events?limit=200&with_nested_markets=true&status=open&cursor={cursor}"
                page = requests.get(self._venue.base + path, timeout=10).content
                found = re.search(rb'"cursor":"([^"]*)"', page)
                cursor = found[1].decode() if found is not None else ""
                if not cursor:
                    break
            self._over.wait(12)

    def _listen(self) -> None:
        asyncio.run(self._hear())

    async def _hear(self) -> None:
        tickers = [m["ticker"] for m in self._venue.get("/markets?limit=300&status=open")["markets"]]
        headers = self._venue.headers("/trade-api/ws/v2")
        async with websockets.connect(self._venue.socket_url, additional_headers=headers) as socket:
            for number, params in enumerate(
                (
                    {"channels": ["ticker", "trade"]},
                    {"channels": ["orderbook_delta"], "market_tickers": tickers},
                ),
                1,
            ):
                await socket.send(json.dumps({"id": number, "cmd": "subscribe", "params": params}))
            while not self._over.is_set():
                try:
                    await asyncio.wait_for(socket.recv(), 0.5)
                except TimeoutError:
                    continue
