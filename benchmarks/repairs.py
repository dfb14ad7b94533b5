"""``python -m benchmarks.repairs``: processes killed under supervisord, with messages lost meanwhile.

The whole stack as started by `make run`, and a replica here that follows it like the dashboard. Each kill
ends one process with SIGKILL, publisher and snapshot server in turn, while messages are lost on the replica's
line. Prints how long it took until that replica, and the snapshot server, were proven again (the digest of
everything equalled the publisher's, in the newest epoch), and how the time divides by step, from the logs.
``--losses`` are planted without a kill. At the end, each other process is killed once.

Not part of `make bench`, since it takes long.
"""

import argparse
import json
import os
import random
import signal
import tempfile
import time
import urllib.error
from collections.abc import Callable
from datetime import UTC, datetime
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
BETWEEN_S: Final = (3.5, 6.0)
"""Time between two kills: supervisord considers a process that lived for 3 s to have started."""

LOSING_S: Final = 0.3
POLL_S: Final = 0.02

VICTIMS: Final = ("publisher", "snapshot_server")

OTHERS: Final = {
    "trader": "feed.live",
    "ui": "feed.live",
    "recorder": "feed.live",
    "past": "process.started",
    "simulator": "simulator serves",
}
"""The other processes, and the event that each logs when it is back."""


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.repairs", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--markets", type=int, default=1_500)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--losses", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1e9, help="no kill after this time")
    options = parser.parse_args()
    options.end = time.monotonic() + options.seconds
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
    """Follow the stack, cause losses and kills, print how long recovery took."""
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
        taken: dict[str, dict[str, list[float]]] = {victim: {} for victim in VICTIMS}
        for number in range(options.kills):
            if time.monotonic() > options.end:
                break
            victim = VICTIMS[number % len(VICTIMS)]
            time.sleep(rng.uniform(*BETWEEN_S))
            found = killed(runner, victim, replica, lines[0], rng)
            print(f"{victim}: " + ", ".join(f"{what} {ms:.0f}" for what, ms in found.items()), flush=True)
            for what, ms in found.items():
                taken[victim].setdefault(what, []).append(ms)
        for victim, parts in taken.items():
            for what, times in parts.items():
                report(f"{victim} killed at {options.markets:,} markets, {what}", times)
        for victim, word in OTHERS.items():
            if time.monotonic() < options.end:
                time.sleep(BETWEEN_S[0])
                print(f"{victim} killed: {alone(runner, victim, word)}", flush=True)
    finally:
        replica.stop()
        context.term()


WHO: Final = ("this replica proven", "the snapshot server proven")


def killed(
    runner: Runner, victim: str, replica: Replica, line: LossyLine, rng: random.Random
) -> dict[str, float]:
    """Kill a process while messages are lost; return the ms until each step and until proven."""
    before = health(runner)
    line.lose(round(10 ** rng.uniform(0, 3)))
    time.sleep(rng.uniform(0, LOSING_S))
    seq = replica.state.seq
    wall, start = kill(before, victim), time.monotonic()
    line.lose(0)
    found: dict[str, float] = {}
    while len(found) < len(WHO):
        time.sleep(POLL_S)
        assert time.monotonic() - start < PROVEN_S, (victim, found, replica.status(), health(runner))
        status, said = replica.status(), health(runner)
        fresh = status.epoch > before["epoch"] or (victim == "snapshot_server" and status.proven_seq > seq)
        if status.live and status.proven_seq and fresh:
            found.setdefault(WHO[0], (time.monotonic() - start) * 1e3)
        pid = ((said.get("processes") or {}).get(victim) or {}).get("pid")
        renewed = said.get("epoch", 0) > before["epoch"]
        if victim == "snapshot_server":  # it reports its own pid once it has asked supervisord
            renewed = said.get("proven_seq", 0) > 0 and pid != before["processes"][victim]["pid"]
        if renewed and said.get("feed") == "live" and said["proven_seq"] > 0:
            found.setdefault(WHO[1], (time.monotonic() - start) * 1e3)
    return steps(runner, victim, wall) | found


def kill(before: dict[str, Any], victim: str) -> datetime:
    """Kill a process; return the time."""
    os.kill(before["processes"][victim]["pid"], signal.SIGKILL)
    return datetime.now(UTC)


def alone(runner: Runner, victim: str, word: str) -> str:
    """Kill a process on whose data no other depends; return how long each step took."""
    before = health(runner)
    if victim not in (before.get("processes") or {}):
        return "does not run"
    wall = kill(before, victim)
    eventually(lambda: word in said_since(runner, victim, wall), PROVEN_S, f"{victim} is back")
    return ", ".join(f"{what} {ms:.0f} ms" for what, ms in steps(runner, victim, wall).items())


def steps(runner: Runner, victim: str, wall: datetime) -> dict[str, float]:
    """Return, in ms after the kill, when a process was restarted and logged that it was back."""
    found: dict[str, float] = {}
    for text in (runner.run_dir / "logs" / "supervisord.log").read_text().splitlines():
        at = datetime.fromisoformat(text[:23].replace(",", ".")).astimezone(UTC)
        if at >= wall and f"spawned: '{victim}'" in text:
            found.setdefault("spawned", (at - wall).total_seconds() * 1e3)
    return found | said_since(runner, victim, wall)


def said_since(runner: Runner, victim: str, wall: datetime) -> dict[str, float]:
    """Return the ms from `wall` until a process first logged each event in WORDS."""
    found: dict[str, float] = {}
    for text in (runner.run_dir / "logs" / f"{victim}.jsonl").read_text().splitlines():
        if text.startswith("{"):
            event = json.loads(text)
            at = datetime.fromisoformat(event["timestamp"])
            if at >= wall and event["event"] in WORDS:
                found.setdefault(event["event"], (at - wall).total_seconds() * 1e3)
    return found


WORDS: Final = frozenset({"process.started", "epoch.opened", *OTHERS.values()})
"""Imports and settings done; checkpoint loaded and served; replica following."""


def health(runner: Runner) -> dict[str, Any]:
    """Return the content of `/health`, empty if there is no valid answer."""
    try:
        return fetch(f"http://127.0.0.1:{runner.snapshot_port}/health")
    except (OSError, urllib.error.URLError):
        return {}


if __name__ == "__main__":
    main()
