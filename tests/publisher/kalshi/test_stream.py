"""The stream's connection against a real WebSocket server: signed, silent, closed again and again."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

from bus.clock import SystemClock
from bus.process.lifecycle import Stop
from markets.json.frames import BOOKS
from markets.records import Book, Suspect
from publisher.kalshi import stream as stream_module
from publisher.kalshi import subscriptions
from publisher.kalshi.budget import BACKOFF_FIRST_S, BACKOFF_MAX_S, backoff_s
from publisher.kalshi.signing import KeySource
from publisher.kalshi.stream import KalshiStream
from publisher.kalshi.stream_session import ALL_MARKETS, Fact
from tests.support import eventually

pytestmark = pytest.mark.slow


class WebSocketExchange:
    """Answers subscriptions with one small book per market, or not, as its attributes say."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.signed: list[bool] = []
        self.commands: list[dict[str, Any]] = []
        self.open = 0
        self.refuse = 0
        self.close_after = 0
        self.silent = False
        self.most = 1_000_000
        self.body = "no"
        self._server: Server = serve(
            self._serve, "127.0.0.1", 0, process_request=self._upgrade, ping_interval=None
        )
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"ws://127.0.0.1:{self._server.socket.getsockname()[1]}/trade-api/ws/v2"

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()

    def _upgrade(self, connection: ServerConnection, request: Request) -> Response | None:
        self.paths.append(request.path)
        self.signed.append("KALSHI-ACCESS-SIGNATURE" in request.headers)
        return connection.respond(self.refuse, self.body) if self.refuse else None

    def _serve(self, connection: ServerConnection) -> None:
        self.open += 1
        seq = 0
        try:
            for text in connection:
                command = json.loads(text)
                self.commands.append(command)
                params = command.get("params", {})
                tickers = params.get("market_tickers", [])
                if self.silent:
                    continue
                if not tickers:
                    for channel in params.get("channels", ()):
                        opened = {"channel": channel, "sid": command["id"]}
                        connection.send(
                            json.dumps({"type": "subscribed", "id": command["id"], "msg": opened})
                        )
                    continue
                if len(tickers) > self.most:
                    # As it was met in the field.
                    error = {"code": 26, "msg": "Subscription market limit exceeded"}
                    connection.send(json.dumps({"type": "error", "id": command["id"], "msg": error}))
                    continue
                if command["cmd"] == "subscribe":
                    opened = {"channel": "orderbook_delta", "sid": 9}
                    connection.send(json.dumps({"type": "subscribed", "id": command["id"], "msg": opened}))
                for ticker in tickers:
                    seq += 1
                    book = {"market_ticker": ticker, "yes_dollars_fp": [["0.4000", "1.00"]]}
                    frame = {"type": "orderbook_snapshot", "sid": 9, "seq": seq, "msg": book}
                    connection.send(json.dumps(frame))
                if self.close_after:
                    self.close_after -= 1
                    return
        finally:
            self.open -= 1


class Listening:
    def __init__(self, url: str, directory: Path) -> None:
        path = directory / "key.pem"
        path.touch(0o600)
        key = ed25519.Ed25519PrivateKey.generate()
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self.stop = Stop()
        self.facts: list[Fact] = []
        self.stream = KalshiStream(url, KeySource(path, "id", None), SystemClock(), Random(1), self.stop)
        self._thread = threading.Thread(target=self.stream.run, args=(self._sink,))
        self._thread.start()

    def _sink(self, facts: Sequence[Fact]) -> None:
        self.facts.extend(facts)

    def books(self) -> int:
        return sum(isinstance(fact, Book) for fact in self.facts)

    def close(self) -> None:
        self.stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()
        self.stop.close()


@pytest.fixture
def exchange() -> Iterator[WebSocketExchange]:
    made = WebSocketExchange()
    yield made
    made.stop()


@pytest.fixture
def listening(exchange: WebSocketExchange, tmp_path: Path) -> Iterator[Listening]:
    made = Listening(exchange.url, tmp_path)
    yield made
    made.close()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that the stream makes, in seconds; they last a hundredth of that."""
    made: list[float] = []

    def pause(attempt: int, rng: Random) -> float:
        made.append(backoff_s(attempt, rng))
        return made[-1] / 100

    monkeypatch.setattr(stream_module, "backoff_s", pause)
    return made


@pytest.fixture
def quick(pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses, and patience with silence, of a hundredth of theirs."""
    monkeypatch.setattr(subscriptions, "PROBE_AFTER_MS", 40)
    monkeypatch.setattr(subscriptions, "STALLED_AFTER_MS", 60)


def test_upgrade_is_signed_and_wanted_books_come(exchange: WebSocketExchange, listening: Listening) -> None:
    listening.stream.want(["A", "B"])

    eventually(lambda: listening.books() == 2)

    assert exchange.paths == ["/trade-api/ws/v2"]
    assert exchange.signed == [True]
    assert eventually(lambda: (listening.stream.state, listening.stream.books) == ("live", 2))


@pytest.mark.parametrize(
    ("proxy", "host", "said"),
    [("socks5h://127.0.0.1:9", "exchange.invalid", "SOCKS"), ("", "exchange..invalid", "label empty")],
)
def test_a_proxy_or_a_name_that_cannot_be_used_is_said_and_ends_nothing(
    proxy: str,
    host: str,
    said: str,
    pauses: list[float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("https_proxy", proxy)
    listening = Listening(f"wss://{host}/trade-api/ws/v2", tmp_path)
    try:
        eventually(lambda: len(pauses) > 2)
        assert listening.stream.state == "down"
        assert said in str(eventually(lambda: listening.stream.error))
    finally:
        listening.close()


def test_closed_twenty_times_it_waits_longer_and_follows_once_each_time(
    exchange: WebSocketExchange, pauses: list[float], listening: Listening
) -> None:
    process = psutil.Process()
    listening.stream.want(["A"])
    eventually(lambda: listening.stream.books == 1)
    descriptors = process.num_fds()

    exchange.close_after = 20
    listening.stream.verify(["A"])  # a command, after whose answer it is closed
    eventually(lambda: listening.stream.reconnects == 20 and listening.stream.books == 1)

    assert len(pauses) == 20
    for number, pause_s in enumerate(pauses):
        longest_s = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2**number)
        assert longest_s / 2 <= pause_s <= longest_s
    assert len(set(pauses)) == 20  # jittered, also where they grow no more
    eventually(lambda: exchange.open == 1)
    subscribed = [c for c in exchange.commands if c["cmd"] == "subscribe"]
    assert len(exchange.paths) == 21
    assert Counter(channel for c in subscribed for channel in c["params"]["channels"]) == dict.fromkeys(
        (*ALL_MARKETS, BOOKS), 21
    )
    assert len([fact for fact in listening.facts if isinstance(fact, Suspect)]) == 20
    eventually(lambda: process.num_fds() <= descriptors)


def test_open_but_silent_connection_is_made_again(
    exchange: WebSocketExchange, quick: None, listening: Listening
) -> None:
    listening.stream.want(["A"])
    eventually(lambda: listening.books() == 1)

    exchange.silent = True
    eventually(lambda: listening.stream.reconnects >= 1)
    exchange.silent = False

    assert any(isinstance(fact, Suspect) for fact in listening.facts)
    eventually(lambda: listening.stream.books == 1 and listening.books() >= 2)


def test_refused_key_is_told_and_tried_again_at_growing_intervals(
    exchange: WebSocketExchange, tmp_path: Path
) -> None:
    exchange.refuse = 401
    began_s = time.monotonic()
    listening = Listening(exchange.url, tmp_path)
    try:
        eventually(lambda: len(exchange.paths) >= 3)
        assert time.monotonic() - began_s >= 0.25 + 0.5  # at least half of each pause
        eventually(lambda: listening.stream.state == "key_refused")
    finally:
        listening.close()


@pytest.mark.parametrize(
    ("status", "body", "state", "reason"),
    [
        (401, '{"error":{"code":"authentication_error"}}', "key_refused", "401 authentication_error"),
        (403, "<html><title>Blocked</title>", "refused", '403 with a web page, "Blocked"'),
        (404, "", "refused", "upgrade refused with 404"),
        (301, "", "refused", "upgrade refused with 301"),
    ],
)
def test_a_refused_upgrade_is_told_with_its_status_at_once(
    exchange: WebSocketExchange, tmp_path: Path, status: int, body: str, state: str, reason: str
) -> None:
    exchange.refuse, exchange.body = status, body
    listening = Listening(exchange.url, tmp_path)
    try:
        eventually(lambda: listening.stream.state == state and reason in (listening.stream.error or ""))
        exchange.refuse = 0
        eventually(lambda: listening.stream.state == "live" and listening.stream.error is None)
    finally:
        listening.close()


def test_too_many_markets_cost_no_connection_no_ticker_and_no_trade(
    exchange: WebSocketExchange, listening: Listening
) -> None:
    exchange.most = 100

    listening.stream.want([f"T{number}" for number in range(300)])

    eventually(lambda: listening.stream.books == 75)
    assert (listening.stream.state, listening.stream.reconnects, exchange.open) == ("live", 0, 1)
    assert listening.stream.counters.refused == {"26": 2}
    subscribed = [c["params"]["channels"][0] for c in exchange.commands if c["cmd"] == "subscribe"]
    assert Counter(subscribed) == dict.fromkeys(ALL_MARKETS, 1) | {BOOKS: 3}


def test_stop_during_a_pause_ends_at_once(exchange: WebSocketExchange, tmp_path: Path) -> None:
    exchange.refuse = 503
    listening = Listening(exchange.url, tmp_path)
    eventually(lambda: listening.stream.state == "down")
    listening.close()
