"""A publisher under full load, for benchmarks: ``python -m benchmarks.feeder RUN_DIR MARKETS [universe]``.

It opens an epoch with recorded markets, cloned to the wanted number, or with the simulator's universe. Until
SIGUSR1 it is idle, except for a commit of all markets at each SIGUSR2. From then on it streams RATE quotes a
second, one per message, and commits a twentieth of all markets every COMMIT_S, or all of them at a SIGUSR2.
"""

import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bus.process.lifecycle import Stop
from bus.protocol.messages import market_topic
from bus.server import FeedServer
from bus.sockets import make_context
from publisher.run import SWITCH_S
from tests.snapshot_server.venue import Catalogue, Venue, a_catalogue, a_cycle, a_writer, grouped, requoted

from .universe import universe

RATE: Final = 5_000
COMMIT_S: Final = 2.0
_TICK_S: Final = 0.01


def main(run_dir: Path, count: int, make: Callable[[int, int], Catalogue] = a_catalogue) -> int:
    """Feed until SIGTERM."""
    sys.setswitchinterval(SWITCH_S)
    stop, loaded, whole = Stop(), threading.Event(), threading.Event()
    signal.signal(signal.SIGUSR1, lambda *_: loaded.set())
    signal.signal(signal.SIGUSR2, lambda *_: whole.set())
    context = make_context()
    with (
        stop.on_signals(),
        Venue(context, f"ipc://{run_dir}/feed.sock", f"ipc://{run_dir}/state.sock") as venue,
    ):
        clock = venue.clock
        catalogue = make(count, clock.now_ms())
        count = len(catalogue.markets)
        writer = a_writer(catalogue, clock.now_ms(), clock.now_ms())
        series = {market.ticker: market.series_ticker or "_" for market in catalogue.markets}
        venue.open(writer)
        sent = 0

        def stream(server: FeedServer) -> None:
            nonlocal sent
            for _ in range(int(RATE * _TICK_S)):
                quote = catalogue.quotes[sent * 7919 % count]
                sent += 1
                now_ns = clock.now_ns()
                records = requoted([quote], sent, now_ns // 1_000_000)
                server.send(
                    writer.stream(market_topic(series[quote.ticker]), "quote", records, now_ns, now_ns)
                )

        def commit(server: FeedServer, part: int = 20) -> None:
            now_ms = clock.now_ms()
            quotes = requoted(catalogue.quotes[sent % part :: part], now_ms % 1_000_000, now_ms)
            changes = grouped("quote", quotes, series)
            server.send(writer.commit(changes, a_cycle(now_ms, count), 0, now_ms * 1_000_000))

        while not stop.is_set() and not loaded.is_set():
            if whole.is_set():
                whole.clear()
                venue.do(lambda server: commit(server, 1))
            stop.wait(0.05)
        next_ns = commit_ns = clock.monotonic_ns()
        while not stop.is_set():
            venue.do(stream)
            if clock.monotonic_ns() >= commit_ns:
                commit_ns += int(COMMIT_S * 1e9)
                venue.do(commit)
            if whole.is_set():
                whole.clear()
                venue.do(lambda server: commit(server, 1))
                next_ns = clock.monotonic_ns()  # the time that this takes is not made up for
            next_ns += int(_TICK_S * 1e9)
            stop.wait(max(0.0, (next_ns - clock.monotonic_ns()) / 1e9))
    context.term()
    return 0


if __name__ == "__main__":
    sys.exit(
        main(Path(sys.argv[1]), int(sys.argv[2]), universe if "universe" in sys.argv[3:] else a_catalogue)
    )
