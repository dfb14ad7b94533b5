"""A replica's line: local, through a forwarder, and through a bridge (one nats-server, a cluster of three).

Measures the latency from the publisher's clock to the replica's tap at a steady rate, and how many messages a
second of a burst are applied, with the whole path on this machine. Read the ratios.
"""

import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import structlog
import zmq

from bridge.store import Limits
from bus.clock import SystemClock
from bus.protocol.messages import Header, Quotes, market_topic
from bus.replica import Replica
from bus.sockets import make_context
from tests.bridge.clusters import cluster
from tests.bridge.world import NatsServer, Running
from tests.bus.doors import Door
from tests.bus.live import Live
from tests.bus.world import a_quote

RATE: Final = 500
MESSAGES: Final = int(os.environ.get("BENCH_MESSAGES", "2000"))
BURST: Final = int(os.environ.get("BENCH_BURST", "50000"))
READY_S: Final = 30.0
FORWARDER: Final = -1
"""Used in place of a number of servers."""


def main() -> None:
    """Print the table."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    print("| line | p50 ms | p99 ms | burst, messages/s |\n|---|---|---|---|")
    for name, servers in (
        ("local (ZeroMQ)", 0),
        ("forwarder (TCP, CURVE)", FORWARDER),
        ("bridge, one server", 1),
        ("bridge, cluster of three", 3),
    ):
        latencies, rate = measured(servers)
        cuts = statistics.quantiles(latencies, n=100)
        print(f"| {name} | {cuts[49] / 1e6:.2f} | {cuts[98] / 1e6:.2f} | {rate:,.0f} |", flush=True)


def measured(servers: int) -> tuple[Sequence[int], float]:
    """Return latencies in ns, and a burst's messages per second, through `servers` servers."""
    heard: list[int] = []

    def tap(_frame: bytes, message: Header | Quotes) -> None:
        if message.kind == "quote":
            heard.append(time.time_ns() - message.published_ns)

    with _line(servers) as (context, live, url, snapshots):
        replica = Replica(context, url, snapshots, SystemClock(), random.Random(1), tap=tap)
        replica.start()
        try:
            assert replica.wait(lambda one: one.status().live, READY_S)
            for number in range(MESSAGES):
                live.do(_quote(live, number))
                time.sleep(1 / RATE)
            _whole(replica, live)
            latencies = heard[:]
            began = time.perf_counter()
            for number in range(0, BURST, 200):
                live.do(*[_quote(live, number + step) for step in range(200)])
            _whole(replica, live)
            return latencies, BURST / (time.perf_counter() - began)
        finally:
            replica.stop()


def _quote(live: Live, number: int) -> Callable[[], list[bytes]]:
    def act() -> list[bytes]:
        now_ns = time.time_ns()
        quote = a_quote("A-1-X", 100 + number % 9_000)
        return live.publisher.writer.stream(market_topic("A"), "quote", [quote], now_ns, now_ns)

    return act


def _whole(replica: Replica, live: Live) -> None:
    assert replica.wait(
        lambda one: one.status().live and one.state.seq == live.publisher.writer.state.seq, READY_S
    )


@contextmanager
def _line(servers: int) -> Iterator[tuple[zmq.Context[zmq.Socket[bytes]], Live, str, str]]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        context = zmq.Context[zmq.Socket[bytes]]()
        stack.callback(context.term)
        live = Live(context)
        stack.callback(live.close)
        url, snapshots, reading = live.feed, live.state, context
        if servers == FORWARDER:
            door = Door(folder / "forwarder", live.feed, live.state)
            stack.callback(door.close)
            url, snapshots, reading = door.feed, door.query, make_context(door.key("reader"))
            stack.callback(reading.term)
        elif servers:
            running = cluster(folder) if servers > 1 else [NatsServer(folder / "nats")]
            for server in running:
                stack.callback(server.kill)
            url = "nats://" + ",".join(server.url.removeprefix("nats://") for server in running)
            bridge = Running(context, live, url, Limits(servers, max_bytes=1_000_000_000))
            stack.callback(bridge.close)
        yield reading, live, url, snapshots
