"""N14 of docs/performance.md: from the command `make run` to the first live page, on a second start.

The whole stack as started by `make run`, with 1,500 markets of the simulated exchange. It is started once, so
that there are a checkpoint and a journal, and then repeatedly. A page is live if it analyses markets without
missing or old data. Also shown: the first answer of any kind, and the start of an interpreter with our
imports, which every process pays for.
"""

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

from tests.support import ROOT, Process, Runner, eventually

REPEATS: Final = int(os.environ.get("BENCH_REPEATS", "5"))
GIVE_UP_S: Final = 120.0


def main() -> None:
    """Measure and print."""
    print(__doc__)
    with tempfile.TemporaryDirectory(prefix="kb-") as name:
        runner = Runner(Path(name))
        runner.env.pop("KALSHI_BUS_MODE")
        try:
            with contextlib.redirect_stdout(None):
                first = _start(runner)
                again = [_start(runner) for _ in range(REPEATS)]
        finally:
            with contextlib.redirect_stdout(None):
                runner.close()
    bare = [_seconds_of([sys.executable, "-c", "import ui.run"]) for _ in range(REPEATS)]
    print("| from `make run` | first answer of the page, s | live, s | target |\n|---|---|---|---|")
    print(f"| the first start | {first[0]:.2f} | {first[1]:.2f} | - |")
    answered, live = (statistics.median(taken) for taken in zip(*again, strict=True))
    slowest = max(taken[1] for taken in again)
    print(
        f"| N14 a second start, median of {REPEATS} (slowest {slowest:.2f}) "
        f"| {answered:.2f} | {live:.2f} | <= 3 |"
    )
    print(f"| an interpreter with the dashboard's imports | {statistics.median(bare):.2f} | - | reference |")


def _start(runner: Runner) -> tuple[float, float]:
    """Start everything, and stop it; return the seconds to the first answer and to a live page."""
    begun = time.perf_counter()
    process = runner.start("bus.process.supervise")
    eventually(lambda: _status(runner), GIVE_UP_S, "the page answers")
    answered = time.perf_counter() - begun
    eventually(lambda: _live(runner), GIVE_UP_S, "the page is live")
    live = time.perf_counter() - begun
    _stop(process)
    return answered, live


def _stop(process: Process) -> None:
    process.signal(signal.SIGTERM)
    process.wait(30)


def _live(runner: Runner) -> bool:
    status = _status(runner)
    if (status.get("feed"), status.get("stale")) != ("live", False):
        return False
    found = _get(runner, "/api/opportunities?limit=1")
    return bool(found.get("total_analyzed"))


def _status(runner: Runner) -> dict[str, Any]:
    return _get(runner, "/api/status")


def _get(runner: Runner, path: str) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{runner.ui_port}{path}", timeout=2) as reply:
            answer: dict[str, Any] = json.load(reply)
            return answer
    except (OSError, urllib.error.URLError, ValueError):
        return {}


def _seconds_of(command: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
