"""Memory per market in the processes that hold a replica: snapshot server, trader and dashboard.

N10 of docs/performance.md. Real processes follow a feed with the simulator's universe in several sizes, with
streamed quotes and commits. The memory per market is the growth of memory over the smallest size, divided by
the growth in markets (PSS: private memory plus a share of shared memory). Reference: the 2,140 bytes of a
market's JSON. ``BENCH_MARKETS=20000`` measures only that size.
"""

import contextlib
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.support import Process, Runner, eventually

from .endurance import health

FEW: Final = 2_000
SIZES: Final = tuple(map(int, os.environ.get("BENCH_MARKETS", "20000,130000").split(",")))
JSON_BYTES: Final = 2_140
"""Bytes of a market as sent by Kalshi, measured in recorded payloads."""

REACH: Final = {"snapshot_server": 3_200, "trader": 1_500}
LOADED_S: Final = 12.0
"""Time under load before the second reading: enough for several commits and readers' requests."""

NAMES: Final = ("snapshot_server", "trader", "ui")

Reading = tuple[int, dict[str, int], dict[str, int]]
"""Markets served, and bytes by process: after joining, and under load."""


def main() -> None:
    """Measure and print."""
    print(__doc__)
    smallest = _measured(FEW)
    for size in SIZES:
        _show(smallest, _measured(size))


def _measured(size: int) -> Reading:
    with tempfile.TemporaryDirectory(prefix="kb-memory-") as name:
        return _measure(size, Path(name))


def _show(smallest: Reading, largest: Reading) -> None:
    (few, idle_few, loaded_few), (many, idle_many, loaded_many) = smallest, largest
    print(f"{few:,} and {many:,} markets; bytes a market, JSON {JSON_BYTES:,}")
    print(f"{'':16}{'MB, few':>10}{'many':>8}{'joined':>10}{'loaded':>10}{'target':>10}")
    for name in NAMES:
        joined = (idle_many[name] - idle_few[name]) / (many - few)
        loaded = (loaded_many[name] - loaded_few[name]) / (many - few)
        print(
            f"{name:16}{loaded_few[name] / 2**20:>10.0f}{loaded_many[name] / 2**20:>8.0f}{joined:>10,.0f}"
            f"{loaded:>10,.0f}{REACH.get(name, '-'):>10}",
            flush=True,
        )


def _measure(size: int, folder: Path) -> Reading:
    """Return the markets served, and bytes by process: joined, and after commits and streamed quotes."""
    runner = Runner(folder)
    runner.run_dir.mkdir(mode=0o700)
    try:
        with contextlib.redirect_stdout(None):
            feeder = runner.start("benchmarks.feeder", str(runner.run_dir), str(size), "universe")
            processes = {name: runner.start(name) for name in NAMES}
            known = eventually(lambda: health(runner), 120, "the snapshot server answers")
            eventually(lambda: _still(processes), 60, "all have joined")
            joined = _sizes(processes)
            feeder.signal(signal.SIGUSR1)
            time.sleep(LOADED_S)
            loaded = _sizes(processes)
        assert known is not None
        return known["market_count"], joined, loaded
    finally:
        with contextlib.redirect_stdout(None):
            runner.close()


def _still(processes: dict[str, Process]) -> bool:
    """Return whether all processes have stopped growing and shrinking."""
    before = _sizes(processes)
    time.sleep(2)
    return all(abs(size - before[name]) < 2**20 for name, size in _sizes(processes).items())


def _sizes(processes: dict[str, Process]) -> dict[str, int]:
    return {name: pss(process.pid) for name, process in processes.items()}


def pss(pid: int, which: str = "Pss") -> int:
    """Return a process's proportional set size in bytes, or one part of it (smaps_rollup in proc(5))."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{which}:"))
    return int(line.split()[1]) * 1024
