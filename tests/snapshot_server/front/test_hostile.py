"""The front and clients that mean it ill, or send more than usual."""

import contextlib
import json
import os
import resource
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from snapshot_server.front.messages import MAX_PACKET
from tests.snapshot_server.front.fronts import HOT, front_of, halted, heat, read_answer
from tests.snapshot_server.stack import Served, Stack
from tests.support import Process, eventually

pytestmark = pytest.mark.slow

OK = b"HTTP/1.1 200 OK"
PADDING = "X-Padding: " + "x" * 1_500


def head(path: str, *headers: str, method: str = "GET") -> bytes:
    return "".join(
        f"{line}\r\n" for line in (f"{method} {path} HTTP/1.1", "Host: localhost", *headers, "")
    ).encode()


def connected(stack: Stack) -> socket.socket:
    return socket.create_connection(("127.0.0.1", stack.runner.snapshot_port), timeout=20)


def memory_of(pid: int) -> int:
    """Resident bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def heat_request(stack: Stack, process: Process) -> bytes:
    """A request whose answer is short, which the front answers."""
    heat(stack, process, "/health")
    request = head("/health", PADDING)

    def answered() -> bool:
        ask_once(stack, request)
        with halted(process), connected(stack) as client:
            client.settimeout(0.5)
            client.sendall(request)
            try:
                return read_answer(client.makefile("rb"))[0] == 200
            except TimeoutError:
                return False

    eventually(answered, what="the front answers")
    return request


def ask_once(stack: Stack, request: bytes) -> int:
    """The status of the answer."""
    with connected(stack) as client:
        client.sendall(request)
        return read_answer(client.makefile("rb"))[0]


def flood(client: socket.socket, request: bytes, times: int) -> None:
    """Ask as fast as the system takes it, and read all answers."""
    asking = threading.Thread(target=client.sendall, args=(request * times,))
    asking.start()
    answers, end = 0, b""
    while answers < times:
        data = client.recv(4_194_304)
        assert data, answers
        answers += (end + data).count(OK)
        end = data[1 - len(OK) :]
    asking.join()


def begun_again(process: Process, times: int) -> int:
    """Wait until a front has begun so many times; return the pid of the last one."""
    found = eventually(lambda: (e := process.events("front.begun"))[times - 1 :] and e, what="another front")
    return int(found[-1]["pid"])


def test_more_than_a_packet_holds_is_answered(served: Served) -> None:
    """Many requests at once, or a body: what came with a connection is passed on whole, in order."""
    stack, _, _, _, process = served
    front = front_of(process)
    hot = heat_request(stack, process)
    limits = [number % 40 + 1 for number in range(250)]
    cold = b"".join(head(f"/markets?limit={limit}&fields=status", PADDING) for limit in limits)
    with connected(stack) as client:
        stream = client.makefile("rb")
        # The system takes in more at a time once much has come.
        flood(client, hot, 3_000)
        os.kill(front, signal.SIGSTOP)
        client.setblocking(False)
        sent = 0

        def much_is_sent() -> bool:
            nonlocal sent
            with contextlib.suppress(BlockingIOError):
                sent += client.send(cold[sent:])
            return sent > MAX_PACKET

        eventually(much_is_sent)
        client.settimeout(20)
        os.kill(front, signal.SIGCONT)
        threading.Thread(target=client.sendall, args=(cold[sent:],)).start()
        got = [len(json.loads(read_answer(stream)[1])["markets"]["markets"]) for _ in limits]
        assert got == limits
    with connected(stack) as client:
        client.sendall(head("/markets", "Content-Length: 200000", method="POST") + b"x" * 200_000)
        assert read_answer(client.makefile("rb"))[0] == 405


def test_a_client_that_asks_faster_than_it_is_answered_waits(served: Served) -> None:
    stack, _, _, _, process = served
    front = front_of(process)
    hot = heat_request(stack, process)
    before = memory_of(front)
    with connected(stack) as client:
        flood(client, hot, 20_000)
        assert memory_of(front) - before < 15 * 1_048_576


def test_many_different_requests_asked_twice_hold_up_nobody(served: Served) -> None:
    stack, _, _, _, process = served
    front = front_of(process)
    before = memory_of(front)
    stack.get("/markets?limit=200")
    stack.get("/markets?limit=200")
    with connected(stack) as client:
        stream = client.makefile("rb")
        for _ in range(2):
            for number in range(400):
                client.sendall(head("/markets?limit=200", f"X-Number: {number}"))
                assert read_answer(stream)[0] == 200
        # Not even requests that are none.
    for _ in range(4):
        with connected(stack) as client:
            client.sendall(b"GET nothing\r\n\r\n")
            assert read_answer(client.makefile("rb"))[0] == 400
    heat(stack, process, HOT)
    eventually(lambda: stack.health()["status"] == "ok")
    print("front MB", (memory_of(front) - before) >> 20)
    assert memory_of(front) - before < 150 * 1_048_576
    assert not process.events("front.no_template")


def test_a_front_is_begun_again_however_many_clients_there_are(served: Served) -> None:
    stack, _, _, _, process = served
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4_096), hard))
    clients: list[Any] = []
    try:
        os.kill(front_of(process), signal.SIGKILL)
        clients += [connected(stack) for _ in range(1_100)]
        os.kill(begun_again(process, 2), signal.SIGKILL)
        begun_again(process, 3)
        heat(stack, process, HOT)
    finally:
        for client in clients:
            client.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_hundreds_of_readers_that_do_not_read_hold_up_nobody(served: Served) -> None:
    """Each of them wants megabytes: neither are these copied for each, nor does the front stop for them."""
    stack, _, _, _, process = served
    front = front_of(process)
    hot = heat_request(stack, process)
    large = head("/markets?limit=300")
    for _ in range(3):
        assert ask_once(stack, large) == 200
    before = memory_of(front)
    clients: list[socket.socket] = []
    try:
        for _ in range(400):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            client.connect(("127.0.0.1", stack.runner.snapshot_port))
            client.sendall(large * 10)
            clients.append(client)
        for _ in range(20):
            assert ask_once(stack, hot) == 200
        assert memory_of(front) - before < 150 * 1_048_576
    finally:
        for client in clients:
            client.close()
    assert not process.events("front.ended")
