"""The WebSocket server behind the port of HTTP, with an independent client: the library `websockets`."""

import http.client
import json
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import zmq
from cryptography.hazmat.primitives.asymmetric import rsa
from pykalshi import KalshiClient
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.sync.connection import Connection
from websockets.typing import Origin

from bus.server import FeedServer
from markets.records import Book, Record, Trade
from tests.certificates import make_certificate, trusting
from tests.publisher.exchange import write_key
from tests.snapshot_server.venue import Catalogue, Venue, a_catalogue, a_writer, grouped, requoted
from tests.support import Process, Runner, eventually

pytestmark = pytest.mark.slow

COUNT = 30


class Stack:
    """A venue, and a snapshot server that follows it."""

    def __init__(self, venue: Venue, catalogue: Catalogue, process: Process, port: int) -> None:
        self.venue = venue
        self.catalogue = catalogue
        self.process = process
        self.port = port
        self.tickers = [market.ticker for market in catalogue.markets]

    def client(self, **more: Any) -> ClientConnection:
        return connect(f"ws://127.0.0.1:{self.port}/trade-api/ws/v2", **more)

    def publish(self, kind: str, *records: Any) -> None:
        series = {market.ticker: market.series_ticker or "_" for market in self.catalogue.markets}
        for topic, _, found in grouped(kind, records, series):
            self._send(topic, kind, found)

    def _send(self, topic: str, kind: str, records: Sequence[Record]) -> None:
        def send(server: FeedServer) -> None:
            assert server.writer is not None
            now_ns = self.venue.clock.now_ns()
            server.send(server.writer.stream(topic, kind, records, now_ns, now_ns))

        self.venue.do(send)

    def websocket_pid(self) -> int:
        begun = self.process.events("websocket.begun")
        pid: int = begun[-1]["pid"]
        return pid

    def metrics(self) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", "/metrics")
            return connection.getresponse().read()
        finally:
            connection.close()

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, Any, str | None]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read()), response.getheader("upgrade")
        finally:
            connection.close()


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with a_stack() as found:
        yield found
        assert found.process.popen.poll() is None, "the server ended"


@contextmanager
def a_stack(**env: str) -> Iterator[Stack]:
    folder = Path(tempfile.mkdtemp(prefix="kb-"))
    runner, context = Runner(folder), zmq.Context[Any]()
    runner.run_dir.mkdir(mode=0o700)
    feed, state = (f"ipc://{runner.run_dir}/{name}.sock" for name in ("feed", "state"))
    try:
        with Venue(context, feed, state) as venue:
            now_ms = venue.clock.now_ms()
            catalogue = a_catalogue(COUNT, now_ms)
            writer = a_writer(catalogue, now_ms, now_ms)
            venue.open(writer)
            process = runner.start("snapshot_server", env=env)
            found = Stack(venue, catalogue, process, runner.snapshot_port)

            def up() -> bool:
                try:
                    return found.get("/health")[0] == 200
                except OSError:
                    return False

            eventually(up, what="a snapshot server")
            yield found
    finally:
        runner.close()
        context.term()


def say(client: Connection, cmd: str, **params: Any) -> None:
    client.send(json.dumps({"id": 1, "cmd": cmd, "params": params}))


def hear(client: Connection) -> Any:
    return json.loads(client.recv(10))


def test_a_subscription_over_the_port_is_a_wish_and_told(stack: Stack) -> None:
    whole, lacking = stack.tickers[0], stack.tickers[20]
    with stack.client() as client:
        say(client, "subscribe", channels=["orderbook_delta", "trade"], market_tickers=[whole, lacking])
        assert [hear(client)["type"] for _ in range(3)] == ["subscribed", "orderbook_snapshot", "subscribed"]
        eventually(lambda: lacking in stack.venue.wished, what="a wish")
        stack.publish("book", Book(lacking, 1_790_000_000_000, ((4_000, 100),), ()))
        assert hear(client)["msg"]["market_ticker"] == lacking
        stack.publish("book", Book(lacking, 1_790_000_000_000, ((4_000, 300),), ()))
        assert hear(client)["msg"]["delta_fp"] == "2.00"
        trade = Trade("d17a9849-e50c-44eb-455a-eb6e1098773f", whole, 4_000, 100, "yes", 1_790_000_000_000)
        stack.publish("trade", trade)
        assert hear(client)["type"] == "trade"
        assert stack.get("/health")[0] == 200
        eventually(lambda: b"kalshi_bus_websocket_clients 1.0" in stack.metrics(), what="figures")


def test_clients_that_come_by_tls_are_told_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = make_certificate(tmp_path)
    trust = trusting(certificate)
    # pykalshi takes no context: it trusts whom OpenSSL trusts.
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    write_key(tmp_path, rsa.generate_private_key(65_537, 2_048))
    env = {"KALSHI_BUS_TLS_CERTIFICATE": str(certificate), "KALSHI_BUS_TLS_KEY": str(key)}
    with a_stack(**env) as stack, ExitStack() as all_of:
        address = f"wss://localhost:{stack.port}/trade-api/ws/v2"
        encrypted = [all_of.enter_context(connect(address, ssl=trust)) for _ in range(20)]
        clients = [*encrypted, all_of.enter_context(stack.client())]
        for client in clients:
            say(client, "subscribe", channels=["orderbook_delta"], market_tickers=[stack.tickers[0]])
            assert [hear(client)["type"] for _ in range(2)] == ["subscribed", "orderbook_snapshot"]
        stack.publish("book", Book(stack.tickers[0], 1_790_000_000_000, ((4_000, 300),), ()))
        told = [hear(client)["msg"] for client in clients]
        assert told == told[:1] * len(clients)
        encrypted[0].close()
        eventually(lambda: b"kalshi_bus_websocket_clients 20.0" in stack.metrics(), what="one has left")

        root = f"https://localhost:{stack.port}"
        signing = str(tmp_path / "sim_private_key.pem")
        with KalshiClient("any", signing, api_base=f"{root}/trade-api/v2") as independent:
            assert independent.get_market(stack.tickers[1]).ticker == stack.tickers[1]
        with pytest.raises(InvalidStatus) as foreign:
            connect(address, ssl=trust, origin=Origin("https://evil.example"))
        assert foreign.value.response.status_code == 403
        connect(address, ssl=trust, origin=Origin(root)).close()
        os.kill(stack.websocket_pid(), signal.SIGKILL)
        with pytest.raises(ConnectionClosed):
            [encrypted[1].recv(10) for _ in range(100)]


def test_many_clients_come_at_once_and_each_is_told(stack: Stack) -> None:
    clients = [stack.client() for _ in range(40)]
    for client in clients:
        say(client, "subscribe", channels=["ticker"], market_tickers=stack.tickers[:3])
    assert {hear(client)["type"] for client in clients} == {"subscribed"}
    stack.publish("quote", *requoted(stack.catalogue.quotes[:1], 777_700, 1_790_000_000_000))
    assert {hear(client)["msg"]["volume_fp"] for client in clients} == {"7777.00"}
    for client in clients:
        client.close()


def test_commands_that_are_sent_with_the_first_breath_are_heard(stack: Stack) -> None:
    for _ in range(100):
        with socket.create_connection(("127.0.0.1", stack.port), 10) as sock:
            sock.sendall(_upgrade(stack.port))
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += sock.recv(1)
            sock.sendall(b"\x81\x8c\0\0\0\0" + b'{"cmd":"no"}')
            assert head.startswith(b"HTTP/1.1 101 ")
            assert b'"code":5' in sock.recv(1_000)


def test_what_is_no_upgrade_is_answered_with_the_reason(stack: Stack) -> None:
    path = "/trade-api/ws/v2"
    status, body, upgrade = stack.get(path)
    assert (status, body["error"]["code"], upgrade) == (426, "upgrade_required", "websocket")
    assert stack.get(path, "POST")[0] == 405
    assert stack.get(path, Host="elsewhere.example")[0] == 400
    with pytest.raises(InvalidStatus) as refused:
        stack.client(origin="https://elsewhere.example")
    assert refused.value.response.status_code == 403
    with stack.client(origin="http://localhost:3000", additional_headers={"KALSHI-ACCESS-SIGNATURE": "x"}):
        pass


def test_a_websocket_server_that_is_killed_is_begun_again_for_the_next_client(stack: Stack) -> None:
    with stack.client() as client:
        say(client, "list_subscriptions")
        hear(client)
        os.kill(stack.websocket_pid(), signal.SIGKILL)
        with pytest.raises(ConnectionClosed):
            client.recv(10)
    with stack.client() as client:
        say(
            client,
            "subscribe",
            channels=["ticker"],
            market_ticker=stack.tickers[0],
            send_initial_snapshot=True,
        )
        assert [hear(client)["type"] for _ in range(2)] == ["subscribed", "ticker"]
    assert stack.process.events("websocket.ended")


def test_a_client_that_floods_takes_nothing_from_the_others(stack: Stack) -> None:
    with stack.client() as flooding, stack.client() as client:
        tickers = [f"KXNONE-{number}" for number in range(20_000)]
        text = json.dumps({"cmd": "subscribe", "params": {"channels": ["ticker"], "market_tickers": tickers}})

        def flood() -> None:
            with suppress(ConnectionClosed):
                for _ in range(200):
                    flooding.send(text)

        thread = threading.Thread(target=flood)
        thread.start()
        for _ in range(5):
            say(client, "list_subscriptions")
            assert hear(client)["msg"] == []
        flooding.socket.shutdown(socket.SHUT_RDWR)
        thread.join(30)
        assert not thread.is_alive()


def test_a_server_that_is_stopped_takes_the_websocket_server_with_it() -> None:
    with a_stack() as stack, stack.client() as client:
        say(client, "list_subscriptions")
        hear(client)
        pid = stack.websocket_pid()
        assert stack.process.stop() == 0
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def _upgrade(port: int) -> bytes:
    return (
        f"GET /trade-api/ws/v2 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ).encode()
