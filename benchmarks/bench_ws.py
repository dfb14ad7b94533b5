"""Kalshi's WebSocket on our port: from the feed to the client, and when error 25 occurs.

The whole stack against the simulator at 1,500 markets, with clients that each follow tickers, books and
trades of 50 random markets; then the same with a feed at full load (5,000 quotes a second and a commit of 5 %
every 2 s). A frame's time is from the publisher's time stamp of the message with that record to its receipt.
Target: 200 clients, p99 <= 250 ms.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

import zmq

from benchmarks.http_load import measure
from benchmarks.ws_load import opened, say
from bus.protocol.messages import decode, decode_records
from markets.errors import DecodeError
from tests.support import ROOT, Process, Runner, eventually

MARKETS: Final = int(os.environ.get("BENCH_MARKETS", "1500"))
CLIENTS: Final = tuple(map(int, os.environ.get("BENCH_CLIENTS", "50,200,500").split(",")))
TICKERS: Final = 50
SECONDS: Final = float(os.environ.get("BENCH_SECONDS", "8"))
_CHANNELS: Final = ("ticker", "orderbook_delta", "trade")
_STAMPED: Final = ("quote", "book", "book_delta", "trade")


class Feed:
    """When each record was published, from the feed itself: (ticker, its time) -> ns since 1970."""

    def __init__(self, run_dir: Path) -> None:
        self.published_ns: dict[tuple[str, int], int] = {}
        self.messages = 0
        self._older: dict[tuple[str, int], int] = {}
        self._endpoint = f"ipc://{run_dir}/feed.sock"
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def forget(self) -> None:
        """Forget what was published before the previous call."""
        self._older, self.published_ns = self.published_ns, {}

    def late_ms(self, samples: list[tuple[str, int, int]]) -> list[float]:
        """Return how long each of these frames took, in ascending order, without unknown ones."""
        known = self._older | self.published_ns
        return sorted(
            (received_ns - published_ns) / 1e6
            for ticker, time_ms, received_ns in samples
            if (published_ns := known.get((ticker, time_ms))) is not None
        )

    def _run(self) -> None:
        context = zmq.Context[Any]()
        socket = context.socket(zmq.SUB)
        socket.setsockopt(zmq.RCVHWM, 0)
        socket.setsockopt(zmq.RCVTIMEO, 200)
        socket.subscribe(b"")
        socket.connect(self._endpoint)
        while not self._stopping.is_set():
            try:
                _, envelope = decode(socket.recv())
                records: list[Any] = (
                    decode_records(envelope.kind, envelope.records) if envelope.kind in _STAMPED else []
                )
            except (zmq.Again, DecodeError):
                continue
            self.messages += 1
            for record in records:
                time_ms = record.time_ms if envelope.kind == "trade" else record.as_of_ms
                self.published_ns.setdefault((record.ticker, time_ms), envelope.published_ns)
        socket.close(0)
        context.term()


def main() -> None:
    """Measure and print."""
    print(__doc__)
    with tempfile.TemporaryDirectory(prefix="kb-") as folder:
        runner = Runner(Path(folder))
        runner.run_dir.mkdir(mode=0o700)
        runner.env |= {"KALSHI_BUS_SIM_MARKETS": str(MARKETS), "KALSHI_BUS_LOG_LEVEL": "warning"}
        try:
            _at_the_simulators_pace(runner)
        finally:
            _close(runner)
    with tempfile.TemporaryDirectory(prefix="kb-") as folder:
        runner = Runner(Path(folder))
        runner.run_dir.mkdir(mode=0o700)
        runner.env |= {"KALSHI_BUS_LOG_LEVEL": "warning"}
        try:
            _at_full_load(runner)
        finally:
            _close(runner)


def _close(runner: Runner) -> None:
    for process in runner.processes:
        process.kill()


def _at_the_simulators_pace(runner: Runner) -> None:
    arguments = ("--port", str(runner.sim_port), "--markets", str(MARKETS), "--seed", "1")
    runner.start("simulator", *arguments, "--keys", str(runner.run_dir))
    runner.start("publisher")
    server = runner.start("snapshot_server")
    tickers = tickers_of(runner.snapshot_port, MARKETS // 2)
    _header("the simulator's pace")
    with Feed(runner.run_dir) as feed:
        for clients in CLIENTS:
            _row(runner, server, feed, tickers, clients)
        _stalled(runner.snapshot_port)


def _at_full_load(runner: Runner) -> None:
    feeder = runner.start("benchmarks.feeder", str(runner.run_dir), str(MARKETS), "universe")
    server = runner.start("snapshot_server")
    tickers = tickers_of(runner.snapshot_port, MARKETS // 2)
    feeder.popen.send_signal(signal.SIGUSR1)
    alone = measure(runner.snapshot_port, "/health", 3)
    _header("a feed at full load")
    with Feed(runner.run_dir) as feed:
        _row(runner, server, feed, tickers, 200, http=alone.p99_ms)
        _stalled(runner.snapshot_port)


def _header(what: str) -> None:
    print(
        f"\n| {what}: clients | feed messages/s | frames/s | MB/s | p50 ms | p99 ms | max ms | errors"
        " | processors | memory MB |\n|---|---|---|---|---|---|---|---|---|---|",
        flush=True,
    )


def _row(
    runner: Runner, server: Process, feed: Feed, tickers: list[str], clients: int, http: float | None = None
) -> None:
    rng = random.Random(clients)
    plan = {
        "port": runner.snapshot_port,
        "channels": _CHANNELS,
        "clients": [rng.sample(tickers, min(TICKERS, len(tickers))) for _ in range(clients)],
        "settle_s": 4,
        "seconds": SECONDS,
    }
    with clients_of(plan) as load:
        assert load.stdout is not None
        load.stdout.readline()
        pid = child(server.popen.pid)
        time.sleep(4)
        messages, used_s = feed.messages, _used_s(pid)
        if http is not None:
            beside = measure(runner.snapshot_port, "/health", 3)
            print(f"(/health, 8 connections: p99 {http:.2f} ms alone, {beside.p99_ms:.2f} ms beside)")
        answer = json.loads(load.stdout.readline())
        messages, used_s = feed.messages - messages, _used_s(pid) - used_s
    late = feed.late_ms(answer["samples"])
    counts: dict[str, int] = answer["counts"]
    errors = sum(count for kind, count in counts.items() if kind.startswith("{"))
    p50, p99, most = [late[int(len(late) * part)] for part in (0.5, 0.99)] + [late[-1]] if late else [0.0] * 3
    print(
        f"| {clients} | {messages / SECONDS:,.0f} | {sum(counts.values()) / SECONDS:,.0f} "
        f"| {answer['bytes'] / SECONDS / 1e6:.1f} | {p50:.1f} | {p99:.1f} | {most:.1f} "
        f"| {errors} | {used_s / SECONDS:.2f} | {_memory_mb(pid):.0f} |",
        flush=True,
    )


def _stalled(port: int) -> None:
    """Print how long a client of everything may stop reading."""
    sock = opened(port)
    say(sock, {"id": 1, "cmd": "subscribe", "params": {"channels": ["ticker"]}})
    say(sock, {"id": 1, "cmd": "subscribe", "params": {"channels": ["trade"]}})
    began = time.monotonic()
    before = _metric(port, "overflows_total")
    while (waited_s := time.monotonic() - began) < 20:
        time.sleep(0.25)
        if _metric(port, "overflows_total") > before:
            print(f"(a client of all tickers and trades that stops reading: error 25 after {waited_s:.1f} s)")
            break
    else:
        waiting = _metric(port, "waiting_bytes")
        print(
            f"(a client of all tickers and trades that stops reading: {waiting:,.0f} bytes wait after 20 s)"
        )
    sock.close()


@contextmanager
def clients_of(plan: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """Run clients as planned (ws_load.py); they report on stdout."""
    command = [sys.executable, "-m", "benchmarks.ws_load"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as load:
        assert load.stdin is not None
        load.stdin.write(json.dumps(plan))
        load.stdin.close()
        yield load


def tickers_of(port: int, at_least: int) -> list[str]:
    """Return open markets, once there are enough."""
    url = f"http://127.0.0.1:{port}/trade-api/v2/markets?limit=1000&status=open"

    def listed() -> list[str]:
        try:
            with urllib.request.urlopen(url) as answer:
                return [market["ticker"] for market in json.load(answer)["markets"]]
        except OSError:
            return []

    return eventually(lambda: len(found := listed()) >= min(at_least, 900) and found, 60, "markets") or []


def _metric(port: int, name: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(f"kalshi_bus_websocket_{name} "):
                return float(line.split()[1])
    return 0.0


def child(pid: int) -> int:
    """Return the process that a process has started."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def _used_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024
