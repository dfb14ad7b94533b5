"""From a decision to the request on the exchange's socket: journal, hop, gateway, log, signature, one write.

An order is written to the trader's journal (SQLite, WAL, synchronous FULL), handed to a real order gateway
over its socket, logged there, checked, signed, and sent; it has arrived when a relay in front of the
simulated exchange has read it. The reference, in the same run, on the same disk and relay: two bare syncs of
as many bytes, and one bare signed request on a kept-alive socket. Target: at most twice the reference.
"""

import os
import queue
import random
import shutil
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import zmq

from bus.protocol.messages import encode_map
from bus.sockets import MAX_ANSWER, make
from bus.trading.gateway import PlaceAsk
from markets.orders import Intent
from publisher.kalshi.signing import ApiKey, KeySource
from tests.publisher.orders.floor import Floor
from tests.support import Runner, eventually, free_ports
from trader.engine.inputs import Tick
from trader.engine.outputs import Place
from trader.journal.journal import Journal

ORDERS: Final = 100
WARM_UP: Final = 20
PATH: Final = "/trade-api/v2/portfolio/events/orders"
MARK: Final = f"POST {PATH} ".encode()


class Relay:
    """Passes bytes between gateway and exchange, and notes when a request for an order arrives."""

    def __init__(self, port: int, to: int) -> None:
        self.arrived: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._to = to
        self._listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._to))
            for one in (near, far):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._pass, args=(near, far, True), daemon=True).start()
            threading.Thread(target=self._pass, args=(far, near, False), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, asks: bool) -> None:
        with source, sink:
            try:
                while content := source.recv(262_144):
                    if asks and content.startswith(MARK):
                        self.arrived.put(time.monotonic_ns())
                    sink.sendall(content)
            except OSError:
                pass  # one side is gone

    def close(self) -> None:
        self._listener.close()


def latencies_us(folder: Path, orders: int) -> tuple[list[float], list[float]]:
    """Return the times of orders to the socket, and the reference for each."""
    runner = Runner(folder)
    (port,) = free_ports(1)
    floor = Floor(runner, "--tier", "none")
    relay = Relay(port, runner.sim_port)
    runner.env["KALSHI_BUS_API_URL"] = f"http://127.0.0.1:{port}/trade-api/v2"
    runner.env["KALSHI_BUS_GATEWAY_LIMIT_ORDERS_PER_MINUTE"] = "100000"
    bare: _Bare | None = None
    dealer = make(floor.context, zmq.DEALER, MAX_ANSWER)
    try:
        floor.gateway()
        floor.wait_ready()
        dealer.connect(f"ipc://{runner.run_dir}/orders.sock")
        key = KeySource(runner.run_dir / "sim_private_key.pem", None, runner.run_dir / "sim_key_id").current()
        assert key is not None
        bare = _Bare(folder / "bare", port, key)
        owner = {"mode": "sim", "env": "sim", "account": "bench"}
        journal = Journal(
            folder / "journal" / "journal.sqlite", owner, 0, random.Random(1), time.time_ns() // 1_000_000
        )
        ours, reference = [], []
        for number in range(orders + WARM_UP):
            intent = floor.intent("ioc")
            took = _arrival(relay, lambda intent=intent: _place(journal, dealer, floor, intent))  # type: ignore[misc]
            _answered(dealer)
            # Wait, so that logging the end of this order does not delay the next.
            eventually(lambda number=intent.number: floor.order(number).state == "cancelled")  # type: ignore[misc]
            content = msgspec.msgpack.encode(intent)
            took_bare = _arrival(relay, lambda content=content: bare.send(content))  # type: ignore[misc]
            bare.answered()
            if number >= WARM_UP:
                ours.append(took)
                reference.append(took_bare)
        journal.close()
        return ours, reference
    finally:
        dealer.close()
        if bare is not None:
            bare.close()
        relay.close()
        floor.close()
        for process in runner.processes:
            process.kill()


def _arrival(relay: Relay, send: Callable[[], None]) -> float:
    began_ns = time.monotonic_ns()
    send()
    return (relay.arrived.get(timeout=10) - began_ns) / 1_000


def _place(journal: Journal, dealer: "zmq.Socket[bytes]", floor: Floor, intent: Intent) -> None:
    journal.write(Tick(intent.created_ms, intent.created_ms), [Place(intent)])
    journal.commit()
    ask = PlaceAsk(journal=floor.journal, intents=(intent,), source="live")
    dealer.send_multipart((b"", encode_map({**msgspec.to_builtins(ask), "id": intent.number})))


def _answered(dealer: "zmq.Socket[bytes]") -> None:
    assert dealer.poll(10_000), "the gateway answers"
    dealer.recv_multipart()


class _Bare:
    """Two files to sync, and a kept-alive connection for signed requests that the exchange refuses."""

    def __init__(self, path: Path, port: int, key: ApiKey) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._files = [os.open(path.with_name(f"{path.name}-{number}"), flags, 0o600) for number in (1, 2)]
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._key = key

    def send(self, content: bytes) -> None:
        for file in self._files:
            os.write(file, content)
            os.fdatasync(file)
        signed = self._key.headers("POST", PATH, time.time_ns() // 1_000_000)
        lines = [f"POST {PATH} HTTP/1.1", "Host: 127.0.0.1", "Content-Length: 2"]
        lines += [f"{name}: {value}" for name, value in signed.items()]
        self._socket.sendall("\r\n".join([*lines, "", "{}"]).encode())

    def close(self) -> None:
        self._socket.close()
        for file in self._files:
            os.close(file)

    def answered(self) -> None:
        self._socket.settimeout(10)
        assert self._socket.recv(65_536).startswith(b"HTTP/1.1 400")


def disk_of(folder: Path) -> str:
    """Return device and file system of a folder."""
    best = ("", "", "?")
    for line in Path("/proc/mounts").read_text().splitlines():
        device, place, kind = line.split()[:3]
        if folder.is_relative_to(place) and len(place) >= len(best[1]):
            best = device, place, kind
    return f"{best[0]}, {best[2]}"


def main() -> None:
    """Measure and print."""
    print(__doc__)
    folder = Path(tempfile.mkdtemp(prefix="kb-", dir=Path.cwd()))
    try:
        print(f"on {disk_of(folder)}\n")
        ours, reference = latencies_us(folder, ORDERS)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("| | p50 us | p99 us |\n|---|---|---|")
    for name, took in (("decision to the socket", ours), ("two bare syncs and a bare request", reference)):
        print(f"| {name} | {statistics.median(took):.0f} | {statistics.quantiles(took, n=100)[98]:.0f} |")
    ratio = statistics.median(ours) / statistics.median(reference)
    far = statistics.quantiles(ours, n=100)[98] / statistics.quantiles(reference, n=100)[98]
    print(f"| ratio (target: 2) | {ratio:.2f} | {far:.2f} |")
