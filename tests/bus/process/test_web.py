"""The HTTP server around any application: who is closed, and when."""

import contextlib
import socket
import sys
import time
from pathlib import Path

import pytest

from tests.support import Runner, eventually, free_ports

SERVER = """
import sys
from bus.process import connections, web
from bus.process.lifecycle import Stop

web.HEADERS_MS = 500
connections.IDLE_S = 1.0
connections._LOOK_THROUGH_S = 0.1

async def app(scope, receive, send):
    body = bytes(20_000_000 if scope["path"] == "/large" else 2)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})

web.serve(app, int(sys.argv[1]), "PORT", Stop())
"""


@pytest.fixture
def port(runner: Runner) -> int:
    (port,) = free_ports(1)
    runner.start_command([sys.executable, "-c", SERVER, str(port)])

    def up() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    eventually(up)
    return port


def closed_after_s(port: int, said: bytes) -> float:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(said)
        started_s = time.monotonic()
        while client.recv(65_536):
            pass
        return time.monotonic() - started_s


@pytest.mark.parametrize(
    "said",
    [b"", b"GET / HT", b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HT"],
)
def test_who_does_not_say_the_whole_of_a_request_is_closed(port: int, said: bytes) -> None:
    assert 0.3 < closed_after_s(port, said) < 3


def test_who_does_not_read_an_answer_is_closed(runner: Runner, port: int) -> None:
    def sockets() -> set[str]:
        names = []
        for entry in Path(f"/proc/{runner.processes[0].pid}/fd").iterdir():
            with contextlib.suppress(OSError):  # it was closed meanwhile
                names.append(str(entry.readlink()))
        return {name for name in names if name.startswith("socket:")}

    before = sockets()
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n")
        assert client.recv(1)
        mine = sockets() - before
        assert mine
        eventually(lambda: not mine & sockets(), 20, "it is closed")
        assert sum(map(len, iter(lambda: client.recv(1_000_000), b""))) < 20_000_000
