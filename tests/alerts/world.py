"""Moments to judge rules by, and servers to send alerts to."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec

from alerts.seen import Alert, Seen, TraderSeen, Up
from bus.health import Health
from markets.records import Quote
from tests.bus.trading.samples import a_status
from tests.ui.stage import quote

NOW_MS = 1_790_000_000_000
TICKER = "KXMLSGAME-26AUG19VANHOU-VAN"


def a_health(**changes: Any) -> Health:
    fields: dict[str, Any] = {
        "epoch": NOW_MS, "seq": 9, "complete_ms": NOW_MS, "age_ms": 3_000, "stale_after_ms": 30_000,
        "stale": False, "complete": True, "cycle": 4, "quarantined": 0, "unjoined": 0, "feed": "live",
        "source": "live", "gaps": 0, "resyncs": 0, "degraded": (), "publisher": None, "exchange": None,
        "processes": None, "drifts": {},
    }  # fmt: skip
    return Health(**(fields | changes))


def at_bid(bid_e4: int, **changes: Any) -> dict[str, Quote]:
    return {TICKER: quote(TICKER, (bid_e4, 500), (bid_e4 + 200, 500), NOW_MS, **changes)}


def a_moment(now_ms: int = NOW_MS, **changes: Any) -> Seen:
    fields: dict[str, Any] = {
        "now_ms": now_ms, "up_ms": 600_000, "health": a_health(), "whole": True, "quotes": at_bid(5_000),
        "titles": {TICKER: "Will Vancouver win?"}, "edges": (),
        "trader": TraderSeen(answers=True, status=a_status()), "processes": {"trader": Up(None)},
        "drift": {},
    }  # fmt: skip
    return Seen(**(fields | changes))


def an_alert(number: int = 1, **changes: Any) -> Alert:
    return msgspec.structs.replace(
        Alert(1, "Order filled", f"fill:{number}", f"fill {number}", False), **changes
    )


class Server:
    """A real HTTP server on loopback that gives a set answer.

    Attributes:
        bodies: path and body of each request.
    """

    def __init__(self, status: int = 200, location: str | None = None) -> None:
        self.status = status
        self.bodies: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers.get("Content-Length", 0))
                outer.bodies.append(f"{self.path} {self.rfile.read(size).decode()}")
                self.send_response(outer.status)
                if location is not None:
                    self.send_header("Location", location)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST  # noqa: N815

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def a_server(status: int = 200, location: str | None = None) -> Iterator[Server]:
    server = Server(status, location)
    try:
        yield server
    finally:
        server.close()


@contextmanager
def a_listener(*, resets: bool) -> Iterator[int]:
    """Yield a port that accepts connections and resets them, or never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        held: list[socket.socket] = []

        def run() -> None:
            while True:
                try:
                    connection = listener.accept()[0]
                except OSError:
                    return
                if resets:
                    connection.recv(10)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    connection.close()
                else:
                    held.append(connection)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in held:
                connection.close()
