"""Both HTTP servers around any application: who is closed, and when, and what one of them says."""

import contextlib
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import uvloop

from bus.process import http_server
from bus.process.lifecycle import Stop
from bus.process.tls import Place
from tests.crowd import assert_within
from tests.support import Runner, eventually, free_ports

SERVER = """
import sys
from bus.process import connections, http_server, web
from bus.process.lifecycle import Stop

web.HEADERS_MS = http_server.HEADERS_MS = 500
connections.IDLE_S = 1.0
connections._LOOK_THROUGH_S = 0.1

async def app(scope, receive, send):
    body = bytes(20_000_000 if scope["path"] == "/large" else 2)
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})

port = int(sys.argv[2])
if sys.argv[1] == "direct":
    http_server.serve(app, lambda _head: None, port, "PORT", Stop())
else:
    web.serve(app, port, "PORT", Stop())
"""


@pytest.fixture(params=["granian", "direct"])
def port(runner: Runner, request: pytest.FixtureRequest) -> int:
    return started(runner, request.param)


def started(runner: Runner, server: str) -> int:
    (port,) = free_ports(1)
    runner.start_command([sys.executable, "-c", SERVER, server, str(port)])

    eventually(lambda: answers(port))
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
    took_s = closed_after_s(port, said)
    assert took_s > 0.3
    assert_within(3, took_s)


def test_who_does_not_read_an_answer_is_closed(runner: Runner, port: int) -> None:
    def sockets() -> set[str]:
        names = []
        for entry in Path(f"/proc/{runner.processes[0].pid}/fd").iterdir():
            with contextlib.suppress(OSError):  # it was closed meanwhile
                names.append(str(entry.readlink()))
        return {name for name in names if name.startswith("socket:")}

    closed_after_s(port, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")  # it has all it needs
    before = sockets()
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n")
        assert client.recv(1)
        mine = sockets() - before
        assert mine
        eventually(lambda: not mine & sockets(), 20, "it is closed")
        assert sum(map(len, iter(lambda: client.recv(1_000_000), b""))) < 20_000_000


async def app(scope: Mapping[str, Any], _receive: object, send: Callable[..., Awaitable[None]]) -> None:
    path = scope["path"]
    body = repr((scope["method"], path, scope["query_string"], scope["http_version"])).encode()
    if path == "/raises":
        raise ValueError("on purpose")
    length = [] if path == "/open" else [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    if path != "/cut":
        await send({"type": "http.response.body", "body": body[:1], "more_body": True})
        await send({"type": "http.response.body", "body": body[1:]})


def ready(head: bytes) -> bytes | None:
    if head.startswith(b"GET /ready "):
        return http_server.write_answer(200, [(b"content-length", b"5")], b"ready")
    return None


@pytest.fixture(scope="module")
def direct() -> Iterator[int]:
    (port,) = free_ports(1)
    stop = Stop()
    thread = threading.Thread(
        target=lambda: uvloop.run(http_server.Server(Place(app, "127.0.0.1", port, ()), ready, stop).run())
    )
    thread.start()
    eventually(lambda: answers(port))
    yield port
    stop.set()
    thread.join()
    stop.close()


@pytest.mark.skipif(not hasattr(socket, "TCP_CONGESTION"), reason="Linux only")
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_on_loopback_large_answers_are_not_sent_at_a_pace(host: str) -> None:
    (port,) = free_ports(1)
    stop = Stop()
    found: list[bytes] = []

    def begun(_server: http_server.Server, listener: socket.socket) -> None:
        found.append(listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0"))
        stop.set()

    uvloop.run(http_server.Server(Place(app, host, port, ()), ready, stop).run(begun))
    stop.close()
    with socket.socket() as other:
        systems = other.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0")
    assert found == [http_server.UNPACED if host == "127.0.0.1" else systems]


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def said_to(port: int, *parts: bytes, end: bool = True) -> bytes:
    """Say something part by part; return all that is answered until the connection is closed."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        for part in parts:
            client.sendall(part)
            time.sleep(0.02)  # so that it comes apart
        if end:
            client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(1_000_000), b""))


ANSWER = b"HTTP/1.1 200 OK\r\n"
GET = b"GET %b HTTP/1.1\r\nhost: a\r\n\r\n"


def test_requests_behind_one_another_are_answered_in_order(direct: int) -> None:
    answer = said_to(direct, GET % b"/said?1" + GET % b"/ready" + GET % b"/said?2" + GET % b"/ready")
    bodies = [part.split(b"\r\n\r\n")[1] for part in answer.split(ANSWER)[1:]]
    assert [body[-12:] for body in bodies] == [b"b'1', '1.1')", b"ready", b"b'2', '1.1')", b"ready"]


def test_a_request_may_come_in_any_parts(direct: int) -> None:
    whole = GET % b"/said" + GET % b"/ready"
    for cut in range(1, len(whole), 7):
        assert said_to(direct, whole[:cut], whole[cut:]).count(ANSWER) == 2


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"GET / HTTP/2.0\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\na : b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\na: b\r\n c: d\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\na: b\nc: d\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\na: \0\r\n\r\n", 400),
        (b"GET ftp://a/b HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20_000, 431),
    ],
)
def test_what_is_no_request_is_refused_and_nothing_behind_it_is_read(
    direct: int, said: bytes, status: int
) -> None:
    answer = said_to(direct, said + GET % b"/ready")
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b'{"error":{"code":"bad_request","message":"' in answer
    assert answer.count(b"date: ") == 1


@pytest.mark.parametrize(
    "field", [b"content-length: 30", b"transfer-encoding: chunked", b"content-length: 0\r\ncontent-length: 5"]
)
def test_a_body_is_not_taken_for_a_request(direct: int, field: bytes) -> None:
    answer = said_to(direct, b"POST /said HTTP/1.1\r\n%b\r\n\r\n" % field, GET % b"/ready" * 9, end=False)
    assert answer.count(b"date: ") == 1
    assert b"\r\nconnection: close\r\n" in answer


def test_what_the_request_wishes_of_the_connection_is_done(direct: int) -> None:
    for version, field, keeps in (
        (b"1.1", b"x: y", True),
        (b"1.1", b"connection: Close", False),
        (b"1.0", b"x: y", False),
        (b"1.0", b"Connection: keep-alive", True),
    ):
        request = b"GET /said HTTP/%b\r\n%b\r\n\r\n" % (version, field)
        assert said_to(direct, request * 2).count(ANSWER) == 1 + keeps


def test_an_answer_without_a_length_ends_with_the_connection(direct: int) -> None:
    answer = said_to(direct, GET % b"/open" * 2, end=False)
    assert answer.endswith(b"\r\n\r\n('GET', '/open', b'', '1.1')")
    assert b"\r\nconnection: close\r\n" in answer
    assert answer.count(b"date: ") == 1


def test_head_and_the_absolute_form_and_escapes(direct: int) -> None:
    assert said_to(direct, b"HEAD /said HTTP/1.1\r\n\r\n").endswith(b"\r\n\r\n")
    answer = said_to(direct, b"GET http://host/%C3%A9%ff?a=%20 HTTP/1.1\r\n\r\n")
    assert answer.endswith("('GET', '/é\ufffd', b'a=%20', '1.1')".encode())
    assert said_to(direct, b"GET /sai%64?a=%20 HTTP/1.1\r\n\r\n").endswith(
        b"('GET', '/said', b'a=%20', '1.1')"
    )


@pytest.mark.parametrize("path", [b"/cut", b"/raises"])
def test_an_answer_that_is_not_whole_closes_its_connection_and_no_other(direct: int, path: bytes) -> None:
    with socket.create_connection(("127.0.0.1", direct), timeout=5) as client:
        client.sendall(GET % path)
        with contextlib.suppress(ConnectionResetError):
            assert b"GET" not in client.recv(1_000)
    assert b"ready" in said_to(direct, GET % b"/ready")


def test_a_client_of_https_is_told_at_once_that_there_is_none(direct: int) -> None:
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    started_s = time.monotonic()
    answer = said_to(direct, hello, end=False)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"TLS: this port speaks plain HTTP" in answer
    assert_within(9, time.monotonic() - started_s)  # not as long as a request may take
