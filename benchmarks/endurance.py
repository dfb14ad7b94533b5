"""``python -m benchmarks.endurance``: runs the whole stack for minutes, and prints what it cost.

By default 1,500 markets for 30 minutes. ``--markets 130000 --minutes 10 --page-ms 140 210`` is the whole
exchange on a Basic account with Kalshi's page times and its 15 s cache. Prints the sweeps against the
budget's arithmetic, what the exchange refused, memory and descriptors after a minute and at the end, and the
trader's books, reconciled to the micro-dollar from its journal. ``--restart`` restarts the publisher half-way
and reports how long that took and what readers saw.

Not part of `make bench`, since it takes long.
"""

import argparse
import json
import statistics
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

from markets.json.words import COST
from publisher.kalshi.budget import BASIC, MARGIN, PUBLISHER_SHARE
from tests.support import Process, Runner, eventually

START_S: Final = 300.0
SAMPLE_S: Final = 1.0


class Sample:
    """Memory in MB and open descriptors of a process."""

    def __init__(self, pid: int) -> None:
        status = Path(f"/proc/{pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
        self.mb = int(line.split()[1]) / 1024
        self.descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.endurance", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--markets", type=int, default=1_500)
    parser.add_argument("--page-ms", type=int, nargs=2, default=None, metavar=("LEAST", "MOST"))
    parser.add_argument("--restart", action="store_true", help="restart the publisher half-way")
    parser.add_argument("--without", nargs="*", default=[], choices=["trader", "ui"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kb-endurance-") as name:
        run(Path(name), options)


def run(folder: Path, options: argparse.Namespace) -> None:
    """Start everything in `folder`, wait, stop, print."""
    runner = Runner(folder)
    runner.env["KALSHI_BUS_SIM_MARKETS"] = str(options.markets)
    simulator = ["--port", str(runner.sim_port), "--markets", str(options.markets), "--seed", "1"]
    simulator += ["--tier", "basic", "--keys", str(runner.run_dir)]
    if options.page_ms:
        least, most = options.page_ms
        faults = folder / "faults.json"
        rules = [
            {"fault": "latency", "route": "GET *", "ms": least},
            {"fault": "latency", "route": "GET *", "ms": most - least, "probability": 0.5},
        ]
        faults.write_text(json.dumps({"rules": rules, "settings": {"cache_s": 15}}))
        simulator += ["--faults", str(faults)]
    processes: dict[str, Process] = {}
    try:
        runner.run_dir.mkdir(0o700)
        processes["simulator"] = runner.start("simulator", *simulator)
        processes["simulator"].wait_event("simulator serves", START_S)
        for name in ("publisher", "snapshot_server", "trader", "ui"):
            if name not in options.without:
                processes[name] = runner.start(name)
        first = processes["publisher"].wait_event("sweep.done", START_S)
        print(
            f"first sweep: {first['outcome']}, {first['ms'] / 1000:.1f} s, {first['requests']} requests, "
            f"commit {first['commit_ms']} ms", flush=True,
        )  # fmt: skip
        eventually(lambda: health(runner) is not None, START_S, "the snapshot server is ready")
        watch(runner, processes, options)
        publishers = [processes[name] for name in ("publisher before", "publisher") if name in processes]
        print_sweeps([event for process in publishers for event in process.events("sweep.done")][1:])
        stats = fetch(f"http://127.0.0.1:{runner.sim_port}/sim/stats")
        print(
            f"the exchange answered {stats['responses_429']} of {stats['requests_total']} requests with 429"
        )
        for command in ("status", "reconcile", "verify") if "trader" in processes else ():
            print_trader(runner, command)
    finally:
        for process in reversed(processes.values()):
            if process.popen.poll() is None:
                process.stop(30)


def watch(runner: Runner, processes: dict[str, Process], options: argparse.Namespace) -> None:
    """Sample until the time is over; print any growth."""
    started = time.monotonic()
    early: dict[str, Sample] = {}
    late: dict[str, Sample] = {}
    ages: list[float] = []
    failures = 0
    restart_at = started + options.minutes * 30 if options.restart else None
    while (elapsed := time.monotonic() - started) < options.minutes * 60:
        time.sleep(SAMPLE_S)
        late = {
            name: Sample(process.pid) for name, process in processes.items() if process.popen.poll() is None
        }
        if not early and elapsed >= min(60, options.minutes * 15):
            early = late
        seen = health(runner)
        if seen is None:
            failures += 1
        else:
            ages.append(seen["age_seconds"])
        if restart_at is not None and time.monotonic() >= restart_at:
            restart_at = None
            restart(runner, processes)
    print(
        "\n| process | MB after a minute | MB at the end | descriptors | at the end |\n|---|---|---|---|---|"
    )
    for name, sample in late.items():
        before = early.get(name, sample)
        print(f"| {name} | {before.mb:.0f} | {sample.mb:.0f} | {before.descriptors} | {sample.descriptors} |")
    print(f"\n/health asked {len(ages) + failures} times, {failures} without an answer; age of the data "
          f"p50 {statistics.median(ages):.1f} s, largest {max(ages):.1f} s", flush=True)  # fmt: skip


def restart(runner: Runner, processes: dict[str, Process]) -> None:
    """Kill the publisher, restart it, and print when it and the readers were back."""
    before = health(runner)
    assert before is not None
    old = processes.pop("publisher")
    processes["publisher before"] = old
    old.kill()
    started = time.monotonic()
    processes["publisher"] = runner.start("publisher")
    opened = processes["publisher"].wait_event("epoch.opened", 60)
    ready_s = time.monotonic() - started
    answered, slowest = 0, 0.0
    while True:
        asked = time.monotonic()
        seen = health(runner)
        slowest = max(slowest, time.monotonic() - asked)
        assert seen is not None, "/health did not answer while the publisher restarted"
        answered += 1
        if seen["epoch"] == opened["epoch"] != before["epoch"]:
            break
        time.sleep(0.02)
    print(f"restart: epoch open after {ready_s:.1f} s, the snapshot server follows it after "
          f"{time.monotonic() - started:.1f} s; /health answered {answered} of {answered}, slowest "
          f"{slowest * 1e3:.0f} ms", flush=True)  # fmt: skip


def print_sweeps(sweeps: list[dict[str, Any]]) -> None:
    """Print the sweeps after the first against the earliest times that the budget allows."""
    if not sweeps:
        print("no sweep after the first")
        return
    per_s = BASIC.refill_per_s * PUBLISHER_SHARE * MARGIN / COST
    seconds = sorted(event["ms"] / 1000 for event in sweeps)
    requests = statistics.median(event["requests"] for event in sweeps)
    complete = sum(event["outcome"] == "complete" for event in sweeps)
    late = sum(event["ms"] > 12_000 for event in sweeps)
    print(f"\nsweeps after the first: {len(sweeps)}, {complete} complete, {late} above 12 s; "
          f"{seconds[0]:.1f} / {statistics.median(seconds):.1f} / {seconds[-1]:.1f} s (least, median, most)\n"
          f"commit: median {statistics.median(event['commit_ms'] for event in sweeps):.0f} ms, largest "
          f"{max(event['commit_ms'] for event in sweeps)} ms\n"
          f"{requests:.0f} requests a sweep; the budget alone: {requests / per_s:.1f} s at {per_s:.1f}/s, "
          f"{requests / per_s / 12:.0%} of the interval's tokens; N5, median sweep to that: "
          f"{statistics.median(seconds) * per_s / requests:.2f}", flush=True)  # fmt: skip
    print("refused for rate, as the publisher counts:", sweeps[-1]["refused_429"])


def print_trader(runner: Runner, command: str) -> None:
    """Print the output of a command of the trader."""
    process = runner.start("trader", command)
    code = process.wait(120)
    output = process.output().strip()
    if command == "status" and code == 0:
        status = json.loads(output)
        keys = ("orders", "fills", "settlements", "positions", "decisions", "latency_ms", "reconciled", "pnl")
        output = json.dumps({key: status.get(key) for key in keys})
    print(f"\ntrader {command} (exit {code}): {output[-2_000:]}", flush=True)


def health(runner: Runner) -> dict[str, Any] | None:
    """Return the content of `/health`, None if there is no valid answer."""
    try:
        return fetch(f"http://127.0.0.1:{runner.snapshot_port}/health")
    except (OSError, urllib.error.URLError):
        return None


def fetch(url: str) -> dict[str, Any]:
    """Return the JSON object at a URL."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


if __name__ == "__main__":
    main()
