"""The stream's sockets in a thread of the test: clients that are slow, silent, loud or gone."""

import json
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from websockets.frames import Frame, Opcode

from bus.process.lifecycle import Stop
from bus.protocol.join import Action
from bus.protocol.state import Changed
from markets.records import Book
from snapshot_server.websocket.figures import Board, Figures
from snapshot_server.websocket.hub import Hub
from snapshot_server.websocket.server import (
    JOINS_MS,
    MAX_MESSAGE_BYTES,
    PING_MS,
    SILENT_MS,
    Arrivals,
    Server,
)
from snapshot_server.websocket.session import BUFFER_BYTES
from tests.snapshot_server.websocket.world import World, a_quote
from tests.support import eventually


class Steady:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.ms = 1_000_000

    def now_ms(self) -> int:
        return self.ms

    def now_ns(self) -> int:
        return self.ms * 1_000_000

    def monotonic_ns(self) -> int:
        return self.ms * 1_000_000


class Peer:
    """A client's end of a connection, read by hand."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(10)
        self._held = b""

    def say(self, command: object) -> None:
        self.put(Frame(Opcode.TEXT, json.dumps(command).encode()).serialize(mask=True))

    def subscribe(self, channel: str, *tickers: str) -> None:
        params = {"channels": [channel], "market_tickers": list(tickers)}
        self.say({"id": 1, "cmd": "subscribe", "params": params})

    def put(self, data: bytes) -> None:
        self.sock.sendall(data)

    def frame(self) -> tuple[int, bytes]:
        head = self._exactly(2)
        size = head[1]
        if size >= 126:
            size = int.from_bytes(self._exactly(2 if size == 126 else 8))
        return head[0] & 0x0F, self._exactly(size)

    def hear(self) -> Any:
        """Return the next message; pings are passed over."""
        while True:
            opcode, payload = self.frame()
            if opcode != Opcode.PING:
                assert opcode == Opcode.TEXT, (opcode, payload)
                return json.loads(payload)

    def rest(self) -> list[tuple[int, bytes]]:
        """Return all that comes until the other end closes."""
        found = []
        with suppress(EOFError):
            while True:
                found.append(self.frame())
        return found

    def _exactly(self, size: int) -> bytes:
        while len(self._held) < size:
            data = self.sock.recv(65_536)
            if not data:
                raise EOFError
            self._held += data
        found, self._held = self._held[:size], self._held[size:]
        return found


class Served:
    """A server with its world; `peer` connects."""

    def __init__(self, world: World, doorway: socket.socket, arrivals: Arrivals, clock: Steady) -> None:
        self.world = world
        self.doorway = doorway
        self.arrivals = arrivals
        self.clock = clock
        self.wished: list[list[str]] = []
        self.peers: list[Peer] = []
        self.board = Board.make()

    def peer(self) -> Peer:
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self.doorway, [b"connection"], [theirs.fileno()])
        self.peers.append(Peer(ours))
        return self.peers[-1]

    def told(self, kind: str, *keys: str) -> None:
        actions: Sequence[Action] = [Changed(1, 0, [(kind, list(keys))])]
        self.arrivals.put(actions)

    def book(self, ticker: str, size: int) -> None:
        self.world.state.books[ticker] = Book(ticker, self.world.now_ms, ((4_000, size),), ())
        self.told("book", ticker)

    def pass_time(self, ms: int) -> None:
        self.clock.ms += ms
        self.arrivals.wake.set()

    def later(self) -> Figures:
        """Return the same after a while."""
        self.pass_time(500)
        return self.figures()

    def figures(self) -> Figures:
        """Return what the server last said of itself."""
        return self.board.latest() or Figures()


@contextmanager
def serving(world: World) -> Iterator[Served]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    arrivals, clock, stop = Arrivals(), Steady(), Stop()
    served = Served(world, ours, arrivals, clock)
    hub = Hub(lambda: world.state, lambda: world.now_ms)
    server = Server(
        hub,
        theirs,
        arrivals,
        lambda tickers, _s: served.wished.append(list(tickers)),
        clock,
        stop,
        served.board.put,
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield served
    finally:
        ours.close()
        thread.join(30)
        assert not thread.is_alive()
        for peer in served.peers:
            peer.sock.close()
        theirs.close()
        arrivals.wake.close()
        served.board.close()
        stop.close()


@pytest.fixture
def served() -> Iterator[Served]:
    with serving(World("A", "B")) as found:
        yield found


def test_a_client_is_answered_and_told(served: Served) -> None:
    peer = served.peer()
    peer.subscribe("orderbook_delta", "A")
    assert peer.hear()["type"] == "subscribed"
    served.pass_time(1_000)
    eventually(lambda: ["A"] in served.wished, what="a wish")
    served.book("A", 100)
    assert peer.hear()["type"] == "orderbook_snapshot"
    served.book("A", 200)
    assert peer.hear()["msg"]["delta_fp"] == "1.00"


def test_a_client_that_never_reads_ends_with_error_25_and_holds_up_nobody(served: Served) -> None:
    served.book("A", 1)
    slow, quick = served.peer(), served.peer()
    for peer in (slow, quick):
        peer.subscribe("orderbook_delta", "A")
        assert [peer.hear()["type"] for _ in range(2)] == ["subscribed", "orderbook_snapshot"]
    for turn in range(2, 400):
        served.world.state.books["A"] = Book(
            "A", 0, tuple((price, turn) for price in range(100, 9_000, 100)), ()
        )
        served.told("book", "A")
        for _ in range(89):
            assert quick.hear()["type"] == "orderbook_delta"
        served.pass_time(500)
        if served.figures().overflows:
            break
    eventually(lambda: served.later().overflows == 1, what="an overflow")
    assert 0 < served.figures().waiting_bytes < BUFFER_BYTES + 30_000
    codes: list[int] = []
    while not codes:
        frame = slow.hear()
        if frame["type"] == "error":
            codes.append(frame["msg"]["code"])
    assert codes == [25]
    slow.subscribe("orderbook_delta", "A")
    assert [slow.hear()["type"] for _ in range(2)] == ["subscribed", "orderbook_snapshot"]


def test_clients_are_pinged_as_kalshi_does_and_let_go_when_they_say_nothing(served: Served) -> None:
    silent, answering = served.peer(), served.peer()
    eventually(lambda: served.later().clients == 2, what="two clients")
    for _ in range(SILENT_MS // PING_MS + 1):
        served.pass_time(PING_MS)
        assert answering.frame() == (Opcode.PING, b"heartbeat")
        answering.put(Frame(Opcode.PONG, b"heartbeat").serialize(mask=True))
        answering.say({"id": 7, "cmd": "list_subscriptions"})
        assert answering.hear()["id"] == 7
    heard = silent.rest()
    assert {opcode for opcode, _ in heard} == {Opcode.PING}


def test_a_server_that_stood_still_takes_nobody_for_silent(served: Served) -> None:
    peer = served.peer()
    peer.say({"id": 1, "cmd": "list_subscriptions"})
    peer.hear()
    served.pass_time(10 * SILENT_MS)
    assert peer.frame() == (Opcode.PING, b"heartbeat")
    peer.say({"id": 2, "cmd": "list_subscriptions"})
    assert peer.hear()["id"] == 2


def test_a_client_that_sends_what_is_no_frame_is_closed_with_the_reason(served: Served) -> None:
    peer, other = served.peer(), served.peer()
    peer.put(b"GET / HTTP/1.1\r\n\r\n")
    assert peer.hear()["msg"]["code"] == 1
    opcode, payload = peer.frame()
    assert (opcode, int.from_bytes(payload[:2])) == (Opcode.CLOSE, 1002)
    with pytest.raises(EOFError):
        peer.frame()
    other.say({"id": 1, "cmd": "list_subscriptions"})
    assert other.hear()["msg"] == []


def test_a_message_that_is_too_big_is_refused_before_it_has_come(served: Served) -> None:
    peer = served.peer()
    size = (MAX_MESSAGE_BYTES + 1).to_bytes(8)
    peer.put(b"\x81\xff" + size + b"\0\0\0\0")
    assert peer.hear()["msg"]["msg"].startswith("Unable to process message: a message of more than")
    assert int.from_bytes(peer.frame()[1][:2]) == 1009


def test_a_close_is_answered(served: Served) -> None:
    peer = served.peer()
    peer.put(Frame(Opcode.PING, b"there?").serialize(mask=True))
    assert peer.frame() == (Opcode.PONG, b"there?")
    peer.put(Frame(Opcode.CLOSE, b"\x03\xe8bye").serialize(mask=True))
    assert peer.frame() == (Opcode.CLOSE, b"\x03\xe8")
    with pytest.raises(EOFError):
        peer.frame()


def test_who_sends_too_many_commands_waits_and_others_do_not(served: Served) -> None:
    loud, other = served.peer(), served.peer()
    command = Frame(Opcode.TEXT, b'{"id":1,"cmd":"subscribe","params":{"channels":["x"]}}').serialize(
        mask=True
    )
    sending = threading.Thread(target=loud.put, args=(command * 30_000,))
    sending.start()
    other.say({"id": 5, "cmd": "list_subscriptions"})
    assert other.hear()["id"] == 5
    answers = 0
    for _ in range(30_000):
        answers += loud.hear()["type"] == "error"
        if answers % 2_000 == 0:
            served.pass_time(1_000)
    assert answers == 30_000
    sending.join(30)


def test_before_there_is_data_commands_wait_and_then_are_refused() -> None:
    world = World()
    world.state.epoch = 0
    with serving(world) as served:
        early = served.peer()
        early.subscribe("ticker", "A")
        world.state.quotes["A"] = a_quote("A")
        world.state.epoch = 1
        served.pass_time(1_000)
        assert early.hear()["type"] == "subscribed"
        world.state.epoch = 0
        served.pass_time(JOINS_MS)
        late = served.peer()
        late.subscribe("ticker", "A")
        assert late.hear()["msg"]["code"] == 18


def test_what_comes_faster_than_it_is_taken_is_compared_instead() -> None:
    arrivals = Arrivals()
    for _ in range(60_000):
        arrivals.put([])
    _, lost = arrivals.take()
    assert lost
    assert arrivals.take() == ([], False)
    arrivals.wake.close()


def test_when_the_server_stops_clients_are_told() -> None:
    with serving(World()) as served:
        peer = served.peer()
        peer.say({"id": 1, "cmd": "list_subscriptions"})
        peer.hear()
        served.doorway.close()
        opcode, payload = peer.frame()
        assert (opcode, int.from_bytes(payload[:2])) == (Opcode.CLOSE, 1001)
        with pytest.raises(EOFError):
            peer.frame()


def test_figures_are_the_latest_however_seldom_somebody_asks() -> None:
    shown = Board.make()
    looked_at = Board(os.dup(shown.fileno()))
    assert looked_at.latest() is None
    for count in range(1_000):
        shown.put(Figures(clients=5, frames=10 ** (count % 12)))
    shown.put(Figures(clients=7))
    assert looked_at.latest() == Figures(clients=7)
    os.pwrite(shown.fileno(), b"9", 20)
    assert looked_at.latest() is None, "half of one and half of another are none"
    shown.close()
    looked_at.close()
