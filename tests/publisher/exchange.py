"""A small exchange on a real socket, for the publisher's tests: what it lists and how it fails is data."""

import base64
import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, unquote, urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

BASE = "/trade-api/v2"
KEY_ID = "11111111-2222-4333-8444-555555555555"
PSS = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)


class Answer(NamedTuple):
    status: int = 200
    body: bytes = b"{}"
    headers: tuple[tuple[str, str], ...] = ()
    cut: int = 0
    """Bytes of the body that are promised and never sent."""


Fault = Callable[[str], Answer | None]


def on(path: str, answer: Answer) -> Fault:
    """A fault that answers requests whose path begins with `path`."""
    return lambda requested: answer if requested.startswith(path) else None


HTML = Answer(200, b"<html><body>Bad gateway</body></html>", (("Content-Type", "text/html"),))
TOO_MANY = Answer(429, b'{"error":{"code":"too_many_requests","message":"too many requests"}}')
BROKEN = Answer(503, b'{"error":{"code":"unavailable","message":"down"}}')


def market(ticker: str, event_ticker: str, *, bid: int = 40, ask: int = 45, **members: Any) -> dict[str, Any]:
    """A market as Kalshi sends it; prices in cents, sizes positive."""
    return {
        "ticker": ticker,
        "event_ticker": event_ticker,
        "market_type": "binary",
        "title": f"Will {ticker} win?",
        "yes_sub_title": ticker,
        "no_sub_title": ticker,
        "created_time": "2026-10-01T00:00:00Z",
        "updated_time": "2026-10-01T00:00:00Z",
        "open_time": "2026-10-01T00:00:00Z",
        "close_time": "2027-10-01T00:00:00Z",
        "latest_expiration_time": "2027-10-01T00:00:00Z",
        "settlement_timer_seconds": 300,
        "status": "active",
        "yes_bid_dollars": f"0.{bid:02d}00",
        "yes_ask_dollars": f"0.{ask:02d}00",
        "no_bid_dollars": f"0.{100 - ask:02d}00",
        "no_ask_dollars": f"0.{100 - bid:02d}00",
        "yes_bid_size_fp": "100.00",
        "yes_ask_size_fp": "50.00",
        "last_price_dollars": "0.4200",
        "volume_fp": "1000.00",
        "volume_24h_fp": "100.00",
        "open_interest_fp": "500.00",
        "result": "",
        "can_close_early": True,
        "expiration_value": "",
        "notional_value_dollars": "1.0000",
        "price_level_structure": "linear_cent",
        "price_ranges": [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}],
        "exchange_index": 0,
    } | members


def event(ticker: str, series_ticker: str, *markets: dict[str, Any], **members: Any) -> dict[str, Any]:
    """An event with nested markets as Kalshi sends it."""
    return {
        "event_ticker": ticker,
        "series_ticker": series_ticker,
        "title": ticker,
        "sub_title": "",
        "category": "Sports",
        "mutually_exclusive": True,
        "collateral_return_type": "MECNET",
        "settlement_sources": [],
        "exchange_index": 0,
        "markets": list(markets),
    } | members


def series(ticker: str, **members: Any) -> dict[str, Any]:
    """A series as Kalshi sends it."""
    return {
        "ticker": ticker,
        "title": ticker,
        "category": "Sports",
        "frequency": "custom",
        "fee_type": "quadratic",
        "fee_multiplier": 1,
    } | members


def milestone(id_: str, *events: str, **members: Any) -> dict[str, Any]:
    """A milestone as Kalshi sends it."""
    return {
        "id": id_,
        "type": "football_game",
        "category": "Sports",
        "title": id_,
        "start_date": "2026-12-01T18:00:00Z",
        "primary_event_tickers": list(events),
        "related_event_tickers": list(events),
        "details": {"status": "created"},
    } | members


def candle(end_s: int, close: str = "0.4200") -> dict[str, Any]:
    """A candlestick as Kalshi sends it."""
    names = ("open_dollars", "high_dollars", "low_dollars", "close_dollars")
    prices = dict.fromkeys(names, close)
    return {
        "end_period_ts": end_s,
        "yes_bid": prices,
        "yes_ask": prices,
        "price": prices | {"mean_dollars": close},
        "volume_fp": "10.00",
        "open_interest_fp": "500.00",
    }


class FakeExchange:
    """Serves ``/trade-api/v2`` on 127.0.0.1 while entered.

    Attributes:
        events, loose, series, milestones, books, candles: what it lists; change them at will.
        archive: markets that only its history has.
        still_listed: events that its list of open ones shows though no market of them is.
        faults: asked in order about each request's path; the first answer counts.
        ahead_s: how far its clock is ahead of ours.
        next_faults: answers to give instead, one per request; None lets it pass.
        calls: requests by route. paths: every path with its query, in order.
        public_key: verifies signatures when set; else anything goes.
    """

    def __init__(self, port: int = 0) -> None:
        self.events: dict[str, dict[str, Any]] = {}
        self.loose: dict[str, dict[str, Any]] = {}
        self.series: dict[str, dict[str, Any]] = {}
        self.milestones: list[dict[str, Any]] = []
        self.books: dict[str, dict[str, Any]] = {}
        self.candles: dict[str, list[dict[str, Any]]] = {}
        self.still_listed: set[str] = set()
        self.archive: dict[str, dict[str, Any]] = {}
        self.page_size = 200
        self.ahead_s = 0.0
        self.faults: list[Fault] = []
        self.next_faults: deque[Answer | None] = deque()
        self.calls: Counter[str] = Counter()
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.public_key: rsa.RSAPublicKey | None = None
        self.cursor_after: Callable[[int], str] = str
        exchange = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one packet
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                exchange._serve(self)

            def date_time_string(self, timestamp: float | None = None) -> str:
                now_s = time.time() if timestamp is None else timestamp
                return super().date_time_string(now_s + exchange.ahead_s)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}{BASE}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self.close()

    def close(self) -> None:
        self._server.server_close()

    def list_event(self, listed: dict[str, Any]) -> None:
        """List an event and its series."""
        self.events[listed["event_ticker"]] = listed
        self.series.setdefault(listed["series_ticker"], series(listed["series_ticker"]))

    def make_key(self, directory: Path) -> None:
        """Write a new key pair as the simulator does, and accept only its signatures."""
        key = rsa.generate_private_key(65537, 2048)
        self.public_key = key.public_key()
        write_key(directory, key)

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        path = parts.path.removeprefix(BASE)
        self.paths.append(handler.path.removeprefix(BASE))
        self.headers.append(dict(handler.headers))
        answer = self.fault(path)
        if answer is None and not self._signed(handler):
            answer = Answer(401, b'{"error":{"code":"authentication_error","message":"bad key"}}')
        if answer is None:
            answer = self.answer(path, parse_qs(parts.query))
        handler.send_response(answer.status)
        for name, value in answer.headers:
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(answer.body) + answer.cut))
        if answer.cut:
            handler.close_connection = True
            handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(answer.body)

    def fault(self, path: str) -> Answer | None:
        if self.next_faults:
            return self.next_faults.popleft()
        for fault in tuple(self.faults):
            if (answer := fault(path)) is not None:
                return answer
        return None

    def _signed(self, handler: BaseHTTPRequestHandler) -> bool:
        if self.public_key is None:
            return True
        stamp = handler.headers.get("KALSHI-ACCESS-TIMESTAMP", "")
        text = f"{stamp}GET{urlsplit(handler.path).path}".encode()
        try:
            signature = base64.b64decode(handler.headers.get("KALSHI-ACCESS-SIGNATURE", ""))
            self.public_key.verify(signature, text, PSS, hashes.SHA256())
        except InvalidSignature:
            return False
        return handler.headers.get("KALSHI-ACCESS-KEY") == KEY_ID

    def answer(self, path: str, query: dict[str, list[str]]) -> Answer:
        route, _, key = path.strip("/").partition("/")
        key = unquote(key)
        self.calls[f"{route}/{key}" if key in ("status", "orderbooks", "candlesticks") else route] += 1
        if path == "/exchange/status":
            return reply({"exchange_active": True, "trading_active": True})
        if route == "historical":
            return one("market", self.archive.get(key.removeprefix("markets/")))
        if route == "series":
            if key:
                return one("series", self.series.get(key))
            return reply({"series": list(self.series.values())})
        if path == "/markets/orderbooks":
            empty: dict[str, Any] = {"yes_dollars": [], "no_dollars": []}
            found = [{"ticker": t, "orderbook_fp": self.books.get(t, empty)} for t in query["tickers"]]
            return reply({"orderbooks": found})
        if path == "/markets/candlesticks":
            tickers = query["market_tickers"][0].split(",")
            return reply(
                {"markets": [{"market_ticker": t, "candlesticks": self.candles.get(t, [])} for t in tickers]}
            )
        if route == "events":
            if key:
                return one("event", self._bare(self.events.get(key)))
            return self._events(query)
        if key:
            return one("market", self._markets().get(key))
        listed = list(self._markets().values())
        if "tickers" in query:
            wanted = query["tickers"][0].split(",")
            return reply({"markets": [m for m in listed if m["ticker"] in wanted], "cursor": ""})
        created = [m for m in self.loose.values() if m["status"] == "active"]
        return reply({"markets": created, "cursor": ""})

    def _markets(self) -> dict[str, dict[str, Any]]:
        nested = {m["ticker"]: m for e in list(self.events.values()) for m in e["markets"]}
        return nested | self.loose

    @staticmethod
    def _bare(listed: dict[str, Any] | None) -> dict[str, Any] | None:
        return listed and {name: value for name, value in listed.items() if name != "markets"}

    def _events(self, query: dict[str, list[str]]) -> Answer:
        if "tickers" in query:
            found = [e for t in query["tickers"][0].split(",") if (e := self.events.get(t))]
            if "with_nested_markets" not in query:
                found = [bare for e in found if (bare := self._bare(e))]
            return reply({"events": found, "milestones": self._named(found, query), "cursor": ""})
        listed = [
            listed
            for ticker, listed in list(self.events.items())
            if ticker in self.still_listed or any(m["status"] == "active" for m in listed["markets"])
        ]
        if "series_ticker" in query:
            listed = [e for e in listed if e["series_ticker"] == query["series_ticker"][0]]
        start = int(query.get("cursor", ["0"])[0])
        end = start + self.page_size
        cursor = self.cursor_after(end) if end < len(listed) else ""
        shown = listed[start:end]
        return reply({"events": shown, "milestones": self._named(shown, query), "cursor": cursor})

    def _named(self, shown: list[dict[str, Any]], query: dict[str, list[str]]) -> list[dict[str, Any]]:
        tickers = {e["event_ticker"] for e in shown} if "with_milestones" in query else set()
        return [m for m in self.milestones if tickers.intersection(m["related_event_tickers"])]


def reply(body: dict[str, Any]) -> Answer:
    return Answer(200, json.dumps(body, separators=(",", ":")).encode())


def one(name: str, found: dict[str, Any] | None) -> Answer:
    if found is None:
        return Answer(404, b'{"error":{"code":"not_found","message":"not found"}}')
    return reply({name: found})


def write_key(directory: Path, key: rsa.RSAPrivateKey, key_id: str = KEY_ID) -> None:
    """Write key files as the simulator does, each replaced as a whole."""
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for name, body in (("sim_key_id", key_id.encode()), ("sim_private_key.pem", pem)):
        temporary = directory / f"{name}.new"
        temporary.touch(0o600)
        temporary.write_bytes(body)
        temporary.rename(directory / name)
