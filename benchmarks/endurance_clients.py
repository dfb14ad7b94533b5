"""``python -m benchmarks.endurance_clients``: 300 clients connect and leave for a minute: what remains?

Each client subscribes to the feed, requests a snapshot of everything, and leaves: after the answer or, every
third one, abruptly in the middle of it. Every tenth also requests over HTTP. Prints memory and descriptors of
publisher and snapshot server before, every ten seconds, and after all have left; exits with 1 if descriptors
have grown.

Not part of `make bench`, since it takes long. The test suite has a fast version that counts
(tests/bus/test_sockets.py).
"""

import argparse
import random
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any, Final

import msgpack
import zmq

from tests.support import Process, Runner

from .endurance import START_S, Sample

THREADS: Final = 6
LIFE_S: Final = 2.0
QUESTION: Final = msgpack.packb({"op": "snapshot", "id": 1})


class Client:
    """A subscriber that has requested a snapshot."""

    def __init__(self, context: zmq.Context[Any], run_dir: Path, rude: bool) -> None:
        self.feed, self.query = context.socket(zmq.SUB), context.socket(zmq.DEALER)
        self.feed.subscribe(b"")
        self.feed.connect(f"ipc://{run_dir}/feed.sock")
        self.query.connect(f"ipc://{run_dir}/query.sock")
        self.query.send_multipart([b"", QUESTION])
        self.rude = rude
        self.heard = self.answered = False
        self.until = time.monotonic() + LIFE_S

    def look(self) -> str | None:
        """Read what is there; once it is time to leave, return how it ended."""
        try:
            while True:
                self.feed.recv(zmq.NOBLOCK)
                self.heard = True
        except zmq.Again:
            pass
        if self.rude and self.heard:
            return "left in the middle"
        try:
            self.query.recv_multipart(zmq.NOBLOCK)
            self.answered = True
        except zmq.Again:
            pass
        if self.answered and self.heard:
            return "answered"
        return "gave up" if time.monotonic() > self.until else None

    def close(self) -> None:
        self.feed.close(0)
        self.query.close(0)


def churn(runner: Runner, slots: int, stop: threading.Event, ends: Counter[str], rng: random.Random) -> None:
    """Keep `slots` clients coming and going until `stop`."""
    context: zmq.Context[Any] = zmq.Context()
    clients: list[Client | None] = [None] * slots
    while not stop.is_set():
        for place, client in enumerate(clients):
            if client is None:
                clients[place] = Client(context, runner.run_dir, rng.random() < 1 / 3)
            elif (end := client.look()) is not None:
                ends[end] += 1
                client.close()
                clients[place] = None
                if rng.random() < 0.1:
                    ends[f"HTTP {get(runner)}"] += 1
        time.sleep(0.001)
    for client in clients:
        if client is not None:
            client.close()
    context.term()


def get(runner: Runner) -> int:
    """Request from the snapshot server over HTTP; return the status, 0 without one."""
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{runner.snapshot_port}/markets?limit=50", timeout=10
        ) as answer:
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def main() -> int:
    """Run and print; return 1 if descriptors were left behind."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.endurance_clients", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--clients", type=int, default=300)
    parser.add_argument("--markets", type=int, default=1_500)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kb-endurance-") as name:
        runner = Runner(Path(name))
        runner.env["KALSHI_BUS_SIM_MARKETS"] = str(options.markets)
        simulator = ["--port", str(runner.sim_port), "--markets", str(options.markets)]
        simulator += ["--seed", "1", "--keys", str(runner.run_dir)]
        processes = {"simulator": runner.start("simulator", *simulator)}
        processes |= {name: runner.start(name) for name in ("publisher", "snapshot_server")}
        try:
            processes["snapshot_server"].wait_event("edition.first", START_S)
            time.sleep(5)
            return run(runner, processes, options)
        finally:
            for process in reversed(processes.values()):
                process.stop(30)


def run(runner: Runner, processes: dict[str, Process], options: argparse.Namespace) -> int:
    """Let clients come and go; print what they left behind."""
    watched = ("publisher", "snapshot_server")
    print("| | clients so far | " + " | ".join(f"{name}, MB | descriptors" for name in watched) + " |")
    print("|---|---|" + "---|---|" * len(watched))
    ends: Counter[str] = Counter()

    def row(when: str) -> dict[str, Sample]:
        samples = {name: Sample(processes[name].pid) for name in watched}
        cells = " | ".join(f"{one.mb:.0f} | {one.descriptors}" for one in samples.values())
        print(f"| {when} | {sum(ends.values())} | {cells} |", flush=True)
        return samples

    before = row("before")
    stop = threading.Event()
    threads = [
        threading.Thread(
            target=churn, args=(runner, options.clients // THREADS, stop, ends, random.Random(number))
        )
        for number in range(THREADS)
    ]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    while (elapsed := time.monotonic() - started) < options.minutes * 60:
        time.sleep(min(10, options.minutes * 60 - elapsed + 0.01))
        row(f"{time.monotonic() - started:.0f} s")
    stop.set()
    for thread in threads:
        thread.join()
    time.sleep(5)
    after = row("all gone")
    print("\n" + ", ".join(f"{count} {end}" for end, count in sorted(ends.items())))
    left = [name for name in watched if after[name].descriptors > before[name].descriptors + 2]
    for name in left:
        print(f"{name}: descriptors have grown from {before[name].descriptors} to {after[name].descriptors}")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
