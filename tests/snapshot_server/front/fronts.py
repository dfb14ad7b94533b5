"""A front that runs: which process it is, and what it answers by itself."""

import http.client
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.snapshot_server.stack import Stack
from tests.support import Process, eventually

HOT = "/markets?limit=5"


def front_of(process: Process) -> int:
    """The pid of the front that runs."""
    return int(eventually(lambda: process.events("front.begun"), what="a front")[-1]["pid"])


@contextmanager
def halted(process: Process) -> Iterator[None]:
    """The snapshot server does not answer meanwhile; its front does."""
    process.signal(signal.SIGSTOP)
    stat = Path(f"/proc/{process.pid}/stat")
    eventually(lambda: stat.read_text().rsplit(")", 1)[1].split()[0] == "T", what="halted")
    try:
        yield
    finally:
        process.signal(signal.SIGCONT)


def answers_alone(stack: Stack, process: Process, path: str) -> dict[str, Any] | None:
    """What the front answers to a path while the snapshot server stands still; None if nothing."""
    with halted(process):
        connection = http.client.HTTPConnection("127.0.0.1", stack.runner.snapshot_port, timeout=0.5)
        try:
            connection.request("GET", path)
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
        except TimeoutError:
            return None
        finally:
            connection.close()
        return answer


def heat(stack: Stack, process: Process, path: str) -> dict[str, Any]:
    """Ask until the front answers."""

    def hot() -> dict[str, Any] | None:
        stack.get(path)
        return answers_alone(stack, process, path)

    return eventually(hot, what=f"the front answers {path}") or {}


def colder(stack: Stack, process: Process, paths: Iterator[str]) -> dict[str, Any]:
    """What the front answers to the first of some paths that it answers, each asked once."""
    return (
        eventually(lambda: answers_alone(stack, process, next(paths)), what="the front has all parts") or {}
    )


def read_answer(stream: Any) -> tuple[int, bytes]:
    """One answer from a connection."""
    status = int(stream.readline().split()[1])
    length = 0
    while line := stream.readline().strip():
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return status, stream.read(length)
