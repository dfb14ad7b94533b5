"""Load on an HTTP server over keep-alive connections: by wrk if installed, else by Python threads."""

import contextlib
import http.client
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

CONNECTIONS: Final = 8

_NICE: Final = -15
_UNIT_MS: Final = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


class Load(NamedTuple):
    """The result: requests per second, median and 99th percentile of the latency in ms."""

    rps: float
    p50_ms: float
    p99_ms: float


def generator() -> str:
    """Return the name of the load generator used."""
    return "wrk" if shutil.which("wrk") else "Python threads (wrk is not installed: they are the bottleneck)"


def measure(
    port: int, path: str, seconds: float, accept_encoding: str = "identity", connections: int = CONNECTIONS
) -> Load:
    """Request `path` over `connections` connections, each repeating as soon as it is answered.

    Raises:
        RuntimeError: an answer was not 200.
    """
    if shutil.which("wrk"):
        return _by_wrk(port, path, seconds, accept_encoding, connections)
    return _by_threads(port, path, seconds, accept_encoding, connections)


def paced(port: int, paths: str | Sequence[str], seconds: float, per_second: float) -> Load:
    """Make `per_second` requests a second on one connection; latencies count from when each was due.

    Args:
        paths: what is asked each time, or in turn.

    The time that a request waits behind the previous one counts, so slow answers do not reduce the load. Time
    during which this process is not scheduled counts as well, so it goes first where it may: what is measured
    is when an answer was there, not when its reader had a processor.

    Raises:
        RuntimeError: an answer was not 200.
    """
    latencies: list[float] = []
    buffer = bytearray(1 << 20)
    each = (paths,) if isinstance(paths, str) else paths
    with _first(), socket.create_connection(("127.0.0.1", port), 60) as connection:
        started = time.perf_counter()
        for number in range(round(seconds * per_second)):
            path = each[number % len(each)]
            request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
            due = started + number / per_second
            if (early := due - time.perf_counter()) > 0:
                time.sleep(early)
            connection.sendall(request)
            _read_answer(connection, buffer, path)
            latencies.append((time.perf_counter() - due) * 1000)
    latencies.sort()
    return Load(per_second, latencies[len(latencies) // 2], latencies[len(latencies) * 99 // 100])


@contextlib.contextmanager
def _first() -> Iterator[None]:
    """Have this process scheduled before others, if the user may (root, or a limit on `nice`)."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)


def _read_answer(connection: socket.socket, buffer: bytearray, path: str) -> None:
    head = b""
    while b"\r\n\r\n" not in head:
        if not (read := connection.recv_into(buffer)):
            raise RuntimeError(f"{path}: the connection was closed")
        head += buffer[:read]
    fields, rest = head.split(b"\r\n\r\n", 1)
    if not fields.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(f"{path}: {fields[:40]!r}")
    length = re.search(rb"(?i)content-length: *(\d+)", fields)
    assert length is not None, fields
    missing = int(length[1]) - len(rest)
    while missing > 0:
        if not (read := connection.recv_into(buffer)):
            raise RuntimeError(f"{path}: the connection was closed")
        missing -= read


def _by_wrk(port: int, path: str, seconds: float, accept_encoding: str, connections: int) -> Load:
    duration = max(1, round(seconds))  # wrk takes whole seconds only
    command = ["wrk", "-t1", f"-c{connections}", f"-d{duration}s", "--timeout", "60s", "--latency"]
    command += ["-H", f"Accept-Encoding: {accept_encoding}", f"http://127.0.0.1:{port}{path}"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in text or "Socket errors" in text:
        raise RuntimeError(f"{path}: {text}")
    found = {
        key: float(value) * _UNIT_MS[unit]
        for key, value, unit in re.findall(r"(50|99)%\s+([\d.]+)(us|ms|s|m)", text)
    }
    rps = re.search(r"Requests/sec:\s+([\d.]+)", text)
    assert rps is not None, text
    return Load(float(rps[1]), found.get("50", 0.0), found.get("99", 0.0))


def _by_threads(port: int, path: str, seconds: float, accept_encoding: str, connections: int) -> Load:
    end = time.perf_counter() + seconds
    latencies: list[float] = []
    failures: list[int] = []

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        now = time.perf_counter()
        while now < end:
            started = now
            connection.request("GET", path, headers={"Accept-Encoding": accept_encoding})
            response = connection.getresponse()
            response.read()
            if response.status != 200:
                failures.append(response.status)
            now = time.perf_counter()
            latencies.append((now - started) * 1000)
        connection.close()

    started = time.perf_counter()
    threads = [threading.Thread(target=ask) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise RuntimeError(f"{path}: answered {failures[0]}")
    latencies.sort()
    took = time.perf_counter() - started
    return Load(len(latencies) / took, latencies[len(latencies) // 2], latencies[len(latencies) * 99 // 100])
