"""``python -m benchmarks.ws_hour``: 200 WebSocket clients for an hour: what they cost, and what remains.

The stack runs against the simulator at its normal pace, with 1,500 markets. Each client follows tickers,
books and trades of 50 random markets; every minute, ten of them leave and connect again. Memory (PSS, and the
part of it that no file backs, which alone can grow) and open descriptors of snapshot server and WebSocket
server are sampled every minute: the table shows some samples, and the slope from minute 10 on by least
squares. The time of one frame in ten is measured as in `make bench ws`.

Not part of `make bench`, since it takes long.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

from tests.support import Process, Runner

from .bench_memory import pss
from .bench_ws import MARKETS, TICKERS, Feed, child, clients_of, tickers_of

CHANNELS: Final = ("ticker", "orderbook_delta", "trade")
MINUTE_S: Final = 60
WARM_MINUTES: Final = 10
SETTLE_S: Final = 4
REPLACED: Final = 10


class Sample(NamedTuple):
    """A process at a moment: its memory in MB, how much of it no file backs, and its open descriptors."""

    mb: float
    own_mb: float
    descriptors: int


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ws_hour", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--clients", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kb-ws-hour-") as name:
        runner = Runner(Path(name))
        runner.run_dir.mkdir(mode=0o700)
        runner.env |= {"KALSHI_BUS_SIM_MARKETS": str(MARKETS), "KALSHI_BUS_LOG_LEVEL": "warning"}
        try:
            run(runner, options.minutes, options.clients)
        finally:
            for process in runner.processes:
                process.kill()


def run(runner: Runner, minutes: int, clients: int) -> None:
    """Start the stack, let the clients read, and print a line each minute and the tables."""
    arguments = ("--port", str(runner.sim_port), "--markets", str(MARKETS), "--seed", "1")
    runner.start("simulator", *arguments, "--keys", str(runner.run_dir))
    runner.start("publisher")
    server = runner.start("snapshot_server")
    tickers = tickers_of(runner.snapshot_port, MARKETS // 2)
    rng = random.Random(clients)
    plan = {
        "port": runner.snapshot_port,
        "channels": CHANNELS,
        "clients": [rng.sample(tickers, min(TICKERS, len(tickers))) for _ in range(clients)],
        "settle_s": SETTLE_S,
        "seconds": MINUTE_S,
        "reports": minutes,
        "replaced": REPLACED,
    }
    with Feed(runner.run_dir) as feed, clients_of(plan) as load:
        assert load.stdout is not None
        load.stdout.readline()
        websocket = child(server.pid)
        time.sleep(SETTLE_S)
        samples = [look(server, websocket)]
        late: list[list[float]] = []
        frames = errors = 0
        for minute in range(1, minutes + 1):
            answer = json.loads(load.stdout.readline())
            counts: dict[str, int] = answer["counts"]
            late.append(feed.late_ms(answer["samples"]))
            feed.forget()
            samples.append(look(server, websocket))
            frames += sum(counts.values())
            errors += sum(count for kind, count in counts.items() if kind.startswith("{"))
            said = " ".join(
                f"{name} {one.mb:.1f} {one.own_mb:.2f} MB {one.descriptors}"
                for name, one in samples[-1].items()
            )
            print(f"{minute}: {said} frames {sum(counts.values())} errors {errors}", flush=True)
        assert child(server.pid) == websocket, "the WebSocket server was restarted"
    print(f"\n{clients} clients: {frames / minutes / MINUTE_S:,.0f} frames/s, {errors} errors")
    print_growth(samples)
    print_times(late)


def look(server: Process, websocket: int) -> dict[str, Sample]:
    """Sample both processes."""
    pids = {"snapshot server": server.pid, "WebSocket server": websocket}
    return {
        name: Sample(
            pss(pid) / 2**20, pss(pid, "Pss_Anon") / 2**20, len(list(Path(f"/proc/{pid}/fd").iterdir()))
        )
        for name, pid in pids.items()
    }


def print_growth(samples: list[dict[str, Sample]]) -> None:
    """Print memory and descriptors at some minutes, and the slope after the warm-up."""
    last = len(samples) - 1
    shown = sorted({0, min(WARM_MINUTES, last), last // 2, last})
    print("\n| | " + " | ".join(f"minute {minute}" for minute in shown) + " | growth per hour |")
    print("|---|" + "---|" * (len(shown) + 1))
    begun = min(WARM_MINUTES, max(0, last - 1))
    for name in samples[0]:
        for index, unit in enumerate(("PSS, MB", "without file, MB", "descriptors")):
            values = [float(sample[name][index]) for sample in samples]
            slope = statistics.linear_regression(range(begun, last + 1), values[begun:]).slope
            cells = " | ".join(f"{values[minute]:.{0 if index == 2 else 1}f}" for minute in shown)
            print(f"| {name}, {unit} | {cells} | {slope * 60:+.2f} |")


def print_times(late: list[list[float]]) -> None:
    """Print the times from feed to client by quarters of the hour; the last may be shorter."""
    print("\n| minutes | frames measured | p50 ms | p99 ms | max ms |\n|---|---|---|---|---|")
    for first in range(0, len(late), 15):
        part = sorted(value for minute in late[first : first + 15] for value in minute)
        if part:
            p50, p99 = (part[int(len(part) * share)] for share in (0.5, 0.99))
            last = min(first + 15, len(late))
            print(f"| {first} to {last} | {len(part):,} | {p50:.1f} | {p99:.1f} | {part[-1]:.1f} |")


if __name__ == "__main__":
    main()
