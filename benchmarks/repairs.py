"""``python -m benchmarks.repairs``: processes killed under supervisord, and messages lost beside it.

The whole stack as `make run` starts it, and a replica here that follows it as the dashboard does. Each kill
takes one process (publisher or snapshot server, in turn) with SIGKILL, while messages are lost on the
replica's line. Prints how long it took until that replica, and the snapshot server, were proven again: the
digest of the whole was the publisher's, in the newest epoch. ``--losses`` are planted without a kill.

Not part of `make bench`, since it takes its time.
"""

import argparse
import os
import random
import signal
import tempfile
import time
import urllib.error
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog

from bus.clock import SystemClock
from bus.replica import Replica
from bus.sockets import make_context
from tests.support import Runner, eventually

from .bench_repair import planted, report
from .endurance import fetch
from .line import LossyLine

START_S: Final = 600.0
PROVEN_S: Final = 300.0
BETWEEN_S: Final = (8.0, 12.0)
"""Between two kills: whole snapshots are bounded to three in 30 s."""

VICTIMS: Final = ("publisher", "snapshot_server")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.repairs", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--markets", type=int, default=1_500)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--losses", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    with tempfile.TemporaryDirectory(prefix="kb-repairs-") as name:
        runner = Runner(Path(name))
        runner.env["KALSHI_BUS_SIM_MARKETS"] = str(options.markets)
        try:
            runner.start("bus.process.supervise")
            eventually(lambda: health(runner).get("status") == "ok", START_S, "the stack works")
            measure(runner, options)
        finally:
            runner.processes[0].stop(30)


def measure(runner: Runner, options: argparse.Namespace) -> None:
    """Follow the stack, plant losses and kills, print what they took."""
    rng = random.Random(options.seed)
    feed, state, query = (f"ipc://{runner.run_dir}/{name}.sock" for name in ("feed", "state", "query"))
    context = make_context()
    replica = Replica(context, feed, query, SystemClock(), rng, spare=state)
    lines: list[LossyLine] = []
    make: Callable[[], LossyLine] = partial(LossyLine, context, feed, query, replica.prefixes, state)

    def made() -> LossyLine:
        lines.append(make())
        return lines[-1]

    replica._make_line = made  # noqa: SLF001
    replica.start()
    try:
        assert replica.wait(lambda r: r.status().proven_seq > 0, PROVEN_S)
        report(
            f"losses at {options.markets:,} markets",
            [planted(replica, lines[0], rng) for _ in range(options.losses)],
        )
        taken: dict[str, list[float]] = {f"{victim}, {who}": [] for victim in VICTIMS for who in WHO}
        for number in range(options.kills):
            victim = VICTIMS[number % len(VICTIMS)]
            time.sleep(rng.uniform(*BETWEEN_S))
            for who, ms in killed(runner, victim, replica, lines[0], rng).items():
                taken[f"{victim}, {who}"].append(ms)
        for what, times in taken.items():
            if times:
                report(f"{what}, at {options.markets:,} markets", times)
    finally:
        replica.stop()
        context.term()


WHO: Final = ("spawned again", "says its first word", "this replica proven", "the snapshot server proven")
"""What is timed from a kill: supervisord's turn; the interpreter, the imports, what was on disk; the rest."""


def killed(
    runner: Runner, victim: str, replica: Replica, line: LossyLine, rng: random.Random
) -> dict[str, float]:
    """Kill a process while messages are lost; return the ms until all was proven, by who."""
    before = health(runner)
    pid = before["processes"][victim]["pid"]
    line.lose(round(10 ** rng.uniform(0, 3)))
    time.sleep(rng.uniform(0, 0.3))
    os.kill(pid, signal.SIGKILL)
    line.lose(0)
    start, seq = time.monotonic(), replica.state.seq
    found: dict[str, float] = {}
    while len(found) < len(WHO):
        time.sleep(0.01)
        assert time.monotonic() - start < PROVEN_S, (victim, found, replica.status(), health(runner))
        status = replica.status()
        fresh = status.epoch > before["epoch"] or (victim == "snapshot_server" and status.proven_seq > seq)
        if status.live and status.proven_seq and fresh:
            found.setdefault("this replica proven", (time.monotonic() - start) * 1e3)
        said = health(runner)
        word = said if victim == "snapshot_server" else replica._sync.epoch > before["epoch"]  # noqa: SLF001
        process = (said.get("processes") or {}).get(victim) or {}
        if process.get("pid") not in (pid, None):
            found.setdefault("spawned again", (time.monotonic() - start - process["uptime_seconds"]) * 1e3)
            if word:
                found.setdefault("says its first word", (time.monotonic() - start) * 1e3)
        proven = said.get("feed") == "live" and said["proven_seq"] > 0
        if (
            proven
            and (said["epoch"] > before["epoch"] or victim == "snapshot_server")
            and process.get("pid") != pid
        ):
            found.setdefault("the snapshot server proven", (time.monotonic() - start) * 1e3)
    return found


def health(runner: Runner) -> dict[str, Any]:
    """Return what `/health` says, empty if there is no good answer."""
    try:
        return fetch(f"http://127.0.0.1:{runner.snapshot_port}/health")
    except (OSError, urllib.error.URLError):
        return {}


if __name__ == "__main__":
    main()
