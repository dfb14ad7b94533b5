"""The real process: one port for REST and WebSocket, start and end, and an independent client against it."""

import asyncio
import json
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import websockets
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pykalshi import KalshiClient, MarketStatus
from pykalshi.enums import CandlestickPeriod
from pykalshi.exceptions import AuthenticationError, ResourceNotFoundError
from pykalshi.feed import OrderbookSnapshotMessage
from pykalshi.orderbook import OrderbookManager

from simulator import options
from tests.simulator.served import Venue
from tests.support import Runner, eventually

pytestmark = pytest.mark.e2e


@pytest.fixture
def own_venue(runner: Runner) -> Venue:
    """A simulator of one's own, to break or end."""
    return Venue(runner)


@pytest.fixture(scope="module")
def venue() -> Iterator[Venue]:
    """A simulator for all tests that leave it as it was."""
    folder = Path(tempfile.mkdtemp(prefix="kb-"))
    runner = Runner(folder)
    yield Venue(runner, "--tier", "none")
    runner.close()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.alone
def test_it_serves_until_sigterm_and_leaves_within_two_seconds(own_venue: Venue) -> None:
    assert own_venue.get("/exchange/status")["trading_active"]
    assert own_venue.key_path.stat().st_mode & 0o777 == 0o600
    with requests.Session() as session:  # an idle keep-alive connection must not hold it up
        session.get(own_venue.base + "/exchange/status", timeout=10)
        assert own_venue.process.stop(2.5) == 0
    assert len(own_venue.process.events()) == 2
    assert "Traceback" not in own_venue.process.output()


def test_the_key_pair_survives_a_restart(runner: Runner) -> None:
    first = Venue(runner)
    pem = first.key_path.read_bytes()
    assert first.process.stop() == 0
    second = Venue(runner)
    assert (second.key_id, second.key_path.read_bytes()) == (first.key_id, pem)


def test_a_replaced_key_shows_as_401(own_venue: Venue) -> None:
    path = "/trade-api/v2/exchange/status"
    assert requests.get(own_venue.root + path, headers=own_venue.headers(path), timeout=10).status_code == 200
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    own_venue.key_path.write_bytes(
        other.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    refused = requests.get(own_venue.root + path, headers=own_venue.headers(path), timeout=10)
    assert refused.status_code == 401
    assert refused.json()["error"]["details"] == "INCORRECT_API_KEY_SIGNATURE"


def test_a_port_in_use_is_one_clear_line(runner: Runner) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = runner.start("simulator", "--port", str(port), "--markets", "10")
        assert process.wait() == 1
    (line,) = process.output().splitlines()
    assert f"port {port}" in line


def test_answers_are_compressed_for_those_who_accept_it(venue: Venue) -> None:
    plain = requests.get(
        venue.base + "/markets?limit=50", headers={"Accept-Encoding": "identity"}, timeout=10
    )
    small = requests.get(venue.base + "/markets?limit=50", headers={"Accept-Encoding": "gzip"}, timeout=10)
    assert "content-encoding" not in plain.headers
    assert small.headers["content-encoding"] == "gzip"
    assert int(small.headers["content-length"]) < int(plain.headers["content-length"]) / 5
    assert [m["ticker"] for m in small.json()["markets"]] == [m["ticker"] for m in plain.json()["markets"]]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--tier", "gold"], "--tier"),
        (["--markets", "0"], "--markets"),
        (["--markets", "many"], "--markets"),
        (["--port", "70000"], "--port"),
        (["--wat"], "--wat"),
    ],
)
def test_bad_arguments_are_one_clear_error(
    args: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        options.parse(args)
    assert end.value.code == 2
    assert words in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("option", ["--catalogue", "--faults"])
def test_an_unreadable_file_is_one_clear_line(runner: Runner, option: str) -> None:
    process = runner.start("simulator", option, "/nonexistent")
    assert process.wait() == 1
    (line,) = process.output().splitlines()
    assert line.startswith(f"simulator: {option} /nonexistent")


def test_faults_reach_the_wire(venue: Venue) -> None:
    def install(*rules: dict[str, Any]) -> None:
        assert requests.post(venue.root + "/sim/faults", json={"rules": rules}, timeout=10).status_code == 200

    install({"fault": "timeout", "route": "GET /markets", "ms": 100})
    with pytest.raises(requests.ConnectionError):
        requests.get(venue.base + "/markets", timeout=10)
    install({"fault": "latency", "route": "GET /markets", "ms": 5000})
    with pytest.raises(requests.Timeout):
        requests.get(venue.base + "/markets", timeout=0.2)
    install({"fault": "html", "route": "*", "status": 502})
    answer = requests.get(venue.base + "/series", timeout=10)
    assert (answer.status_code, answer.headers["content-type"]) == (502, "text/html")
    install()
    assert venue.get("/markets")["markets"]


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x01garbage\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: abc\r\n\r\n",
        b"POST /trade-api/v2/markets HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\nxxx",
        b"GET /trade-api/v2/" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /trade-api/v2/markets?limit=%zz&cursor=%ff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=["bytes", "length", "half", "long", "percent", "tls"],
)
def test_garbage_on_the_port_hurts_nobody(venue: Venue, data: bytes) -> None:
    port = int(venue.root.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(data)
    assert venue.get("/exchange/status")["exchange_active"]
    assert "Traceback" not in venue.process.output()


def test_a_thousand_tickers_fit_into_one_request(venue: Venue) -> None:
    tickers = [m["ticker"] for m in venue.get("/markets?limit=1000")["markets"]] * 4
    found = venue.get("/markets?limit=1000&tickers=" + ",".join(tickers[:1000]))["markets"]
    assert len(found) == len(set(tickers[:1000]))


def converse(
    venue: Venue, dialogue: Callable[[Any], Awaitable[None]], headers: dict[str, str] | None = None
) -> None:
    async def talk() -> None:
        given = venue.headers("/trade-api/ws/v2") if headers is None else headers
        async with websockets.connect(
            venue.socket_url, additional_headers=given, ping_interval=None
        ) as connection:
            await asyncio.wait_for(dialogue(connection), 20)

    asyncio.run(talk())


@pytest.mark.parametrize("bad", ["none", "old", "wrong_path"])
def test_a_socket_is_refused_without_a_good_signature(venue: Venue, bad: str) -> None:
    headers = {
        "none": {},
        "old": venue.headers("/trade-api/ws/v2", -60_000),
        "wrong_path": venue.headers("/ws"),
    }[bad]

    async def never(_connection: Any) -> None:
        raise AssertionError("connected")

    with pytest.raises(websockets.InvalidStatus) as refusal:
        converse(venue, never, headers)
    assert refusal.value.response.status_code == 401
    assert b"error" in (refusal.value.response.body or b"")


def test_a_live_book_follows_the_exchange(venue: Venue) -> None:
    markets = venue.get("/markets?limit=1000&status=open")["markets"]
    tickers = [m["ticker"] for m in markets if m["yes_bid_size_fp"] != "0.00"]

    async def dialogue(connection: Any) -> None:
        params = {"channels": ["orderbook_delta", "ticker"], "market_tickers": tickers}
        await connection.send(json.dumps({"id": 1, "cmd": "subscribe", "params": params}))
        seen: set[str] = set()
        seq = 0
        while not {"subscribed", "orderbook_snapshot", "orderbook_delta", "ticker"} <= seen:
            frame = json.loads(await connection.recv())
            seen.add(frame["type"])
            if "seq" in frame:
                assert frame["seq"] == seq + 1
                seq = frame["seq"]

    converse(venue, dialogue)
    assert requests.get(venue.root + "/sim/stats", timeout=10).json()["ws_frames"] > len(tickers)


def test_open_sockets_do_not_hold_up_the_end(own_venue: Venue) -> None:
    async def dialogue(connection: Any) -> None:
        await connection.send('{"id":1,"cmd":"subscribe","params":{"channels":["ticker"]}}')
        await connection.recv()
        os.kill(own_venue.process.pid, signal.SIGTERM)
        async for _frame in connection:  # ends when the server says good-bye
            pass

    converse(own_venue, dialogue)
    assert own_venue.process.wait(10) == 0


# An independent client -----------------------------------------------------------------------------


def test_pykalshi_reads_market_data_unchanged(venue: Venue) -> None:
    with KalshiClient(venue.key_id, str(venue.key_path), api_base=venue.base) as client:
        assert client.exchange.is_trading()
        markets = client.get_markets(status=MarketStatus.OPEN, limit=200, fetch_all=True)
        assert len(markets) > 200
        assert len({m.ticker for m in markets}) == len(markets)
        quoted = (m for m in markets if m.yes_bid_dollars > "0.1000" and m.yes_ask_dollars < "0.9000")
        market = min(quoted, key=lambda m: m.open_time or "~")  # not opened this minute: it has candles
        same = client.get_market(market.ticker)
        assert same.event_ticker == market.event_ticker
        book = same.get_orderbook()
        assert book.orderbook.yes_dollars
        event = client.get_event(market.event_ticker)
        series = client.get_series(event.series_ticker)
        assert series.ticker == event.series_ticker
        assert client.get_events(series_ticker=event.series_ticker)
        eventually(lambda: client.get_trades(limit=5), what="a trade")
        end = eventually(lambda: client.get_trades(limit=1), what="a trade")[0]
        assert end.yes_price_dollars
        now = int(time.time())
        candles = client.get_candlesticks_batch(
            [market.ticker], now - 3600, now, CandlestickPeriod.ONE_MINUTE
        )
        assert candles[market.ticker].candlesticks
        with pytest.raises(ResourceNotFoundError):
            client.get_market("NOPE")


def test_pykalshi_is_refused_with_a_foreign_key(venue: Venue, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.pem"
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    foreign.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    with (
        KalshiClient(venue.key_id, str(foreign), api_base=venue.base) as client,
        pytest.raises(AuthenticationError),
    ):
        client.get_markets()


def test_pykalshi_keeps_live_books_that_agree_with_rest(venue: Venue) -> None:
    tickers = [m["ticker"] for m in venue.get("/markets?limit=1000&status=open")["markets"]][:100]
    books: dict[str, OrderbookManager] = {}
    deltas: list[str] = []

    def on_book(message: Any) -> None:
        if isinstance(message, OrderbookSnapshotMessage):
            books[message.market_ticker] = OrderbookManager(message.market_ticker)
            books[message.market_ticker].apply_snapshot(message.yes_dollars, message.no_dollars)
        else:
            books[message.market_ticker].apply_delta(message.side, message.price_dollars, message.delta_fp)
            deltas.append(message.market_ticker)

    with KalshiClient(venue.key_id, str(venue.key_path), api_base=venue.base) as client:
        feed = client.feed()
        feed._ws_url = venue.socket_url  # its only choices are Kalshi's own hosts
        feed.on("orderbook_delta", on_book)
        feed.subscribe("orderbook_delta", market_tickers=tickers)
        feed.start()
        try:
            eventually(lambda: len(books) == len(tickers), what="all snapshots")
            eventually(lambda: len(deltas) > 20, 30, "some differences")

            def agree() -> bool:
                for ticker in set(deltas):
                    served = venue.get(f"/markets/{ticker}/orderbook")["orderbook_fp"]
                    mine = books[ticker]
                    for side, levels in (("yes_dollars", mine.yes), ("no_dollars", mine.no)):
                        if {p: float(c) for p, c in served[side]} != {p: float(c) for p, c in levels.items()}:
                            return False
                return True

            eventually(agree, 20, "books of client and exchange are equal")
        finally:
            feed.stop()
