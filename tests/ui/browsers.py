"""A minimal HTTP client that stands in for a browser."""

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

FAST = {
    "KALSHI_BUS_POLL_INTERVAL_S": "0.5",
    "KALSHI_BUS_STALE_AFTER_S": "1.5",
    "KALSHI_BUS_LIMIT_LEG_AGE_S": "1.5",
}


class Browser:
    """The little of a browser that these tests need."""

    def __init__(self, port: int) -> None:
        self.port = port

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(
                method, path, headers={name.replace("_", "-"): text for name, text in headers.items()}
            )
            answer = connection.getresponse()
            body = answer.read().decode()
            return answer.status, {name.lower(): text for name, text in answer.getheaders()}, body
        finally:
            connection.close()

    def json(self, path: str) -> Any:
        status, _, body = self.get(path)
        assert status == 200, body
        return json.loads(body)

    def answers(self) -> bool:
        try:
            return self.get("/api/status")[0] == 200
        except OSError:
            return False

    @contextmanager
    def events(self, path: str = "/events") -> Iterator["Events"]:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        try:
            yield Events(connection)
        finally:
            connection.close()


class Events:
    """An open event stream."""

    def __init__(self, connection: socket.socket) -> None:
        self._file = connection.makefile("rb")
        self.status = int(self._file.readline().split()[1])
        self.headers: dict[str, str] = {}
        while line := self._file.readline().decode().strip():
            name, _, text = line.partition(": ")
            self.headers[name.lower()] = text

    def next(self) -> dict[str, str]:
        """Return the next event's fields; comments and blocks without data are skipped."""
        fields: dict[str, str] = {}
        while True:
            line = self._file.readline()
            assert line, "the stream ended"
            text = line.decode().rstrip("\r\n")
            name, colon, value = text.partition(": ")
            if colon and name in ("id", "event", "data"):
                fields[name] = value
            elif not text and "data" in fields:
                return fields

    def ended(self) -> bool:
        """Read to the end of the stream."""
        while self._file.readline():
            pass
        return True
