"""A simulated day of the laboratory: 1,500 markets with rivals, seed 1, in one process and one thread.

Each row is six hours of it, then the same six hours of an exchange alone, with crowd and rivals but nobody
who looks or trades: the reference, since what a machine does in a second varies. Wanted: a day in less than
120 s of a core, then 60, with constant memory.
"""

import tempfile
import time
from pathlib import Path
from typing import Final

from laboratory.outcome import Plan
from laboratory.quiet import quiet
from laboratory.runs import seldom_collected
from laboratory.simulated import OF_A_DAY, START_MS, Simulated
from laboratory.stand import STEP_MS
from markets.units import HOUR_MS
from simulator.floor.exchange import Exchange
from simulator.floor.halts import Activity
from simulator.universe.templates import load
from tests.simulator.life import resident_mb

ROWS: Final = 4
HOURS: Final = 6


def main() -> None:
    """Measure and print."""
    print(__doc__)
    plan = Plan(seed=1, hours=ROWS * HOURS, rivals=True)
    with quiet(), tempfile.TemporaryDirectory(prefix="kb-bench-") as name:
        began = time.thread_time()
        run = Simulated(plan, Path(name))
        start_s = time.thread_time() - began
        activity = Activity(rivals=True, bursts=False)
        alone = Exchange(load(None), plan.markets, plan.seed, START_MS, activity, memory=OF_A_DAY)
        alone.herald.detailed = False
        with seldom_collected():
            _rows(run, alone, start_s)


def _rows(run: Simulated, alone: Exchange, start_s: float) -> None:
    print("| hours | s of a core | s a day | exchange alone, s a day | ratio | MB | trades |")
    print("|---|---|---|---|---|---|---|")
    took_s, alone_s, now_ms = start_s, 0.0, START_MS
    print(f"| start | {start_s:.1f} | | | | {resident_mb()} | |", flush=True)
    for row in range(1, ROWS + 1):
        before_s, before_alone_s = took_s, alone_s
        for _ in range(HOURS * 4):
            began = time.thread_time()
            for _ in range(HOUR_MS // 4 // STEP_MS):
                run.step()
            run.stand.point()
            run.forget()
            between = time.thread_time()
            for _ in range(HOUR_MS // 4 // STEP_MS):
                now_ms += STEP_MS
                alone.advance(now_ms)
            took_s += between - began
            alone_s += time.thread_time() - between
        in_day = 24 / HOURS
        mine_s, other_s = took_s - before_s, alone_s - before_alone_s
        print(
            f"| {row * HOURS} | {mine_s:.1f} | {mine_s * in_day:.0f} | {other_s * in_day:.0f} "
            f"| {mine_s / other_s:.2f} | {resident_mb()} | {len(run.stand.outcome.trades)} |",
            flush=True,
        )
    print(f"| all | {took_s:.1f} | {took_s:.0f} | {alone_s:.0f} | {took_s / alone_s:.2f} | | |")
