"""``python -m benchmarks.past``: the time machine against live answers, both as started by `make run`.

While live, moments are recorded: the digest of everything (op `digest`), and the bytes of `/markets` and of a
page of Kalshi's `/markets`, each at its position. Then the time machine is asked for each of them
(``--moments``), and the answers are compared. Finally, `/health` and one market are measured second by
second, alternately alone and with ``--askers`` clients asking for past moments (``--questions`` in all),
compared with nginx serving the same bytes.

Not part of `make bench`, since it takes long.
"""

import argparse
import contextlib
import http.client
import json
import os
import random
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

from bus.ask import ask
from bus.sockets import make_context
from tests.support import Runner, eventually, free_ports

from .bench_http import _nginx
from .endurance import fetch
from .http_load import Load, measure

START_S: Final = 600.0
FLUSHED_S: Final = 3.0
TIMEOUT_S: Final = 600.0
PATHS: Final = ("/markets", "/trade-api/v2/markets?limit=1000&status=open")
"""Only open markets of Kalshi's list, since its other markets are on no feed and thus in no recording."""


class Noted(NamedTuple):
    """A live answer: its position, its subject (a path, or "digest"), and its hash."""

    at: str
    what: str
    said: str


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.past", description=(__doc__ or "").split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--markets", type=int, default=1_500)
    parser.add_argument("--moments", type=int, default=1_000)
    parser.add_argument("--every-s", type=float, default=0.05)
    parser.add_argument("--questions", type=int, default=1_000)
    parser.add_argument("--askers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="kb-past-") as name:
        folder = Path(name)
        runner = Runner(folder)
        runner.env["KALSHI_BUS_SIM_MARKETS"] = str(options.markets)
        try:
            runner.start("bus.process.supervise")
            eventually(lambda: _health(runner).get("status") == "ok", START_S, "the stack works")
            eventually(lambda: fetch(_past(runner, "/health"))["end"], START_S, "something is recorded")
            time.sleep(FLUSHED_S)  # moments before the start of the recording are not in it
            noted = note(runner, options, rng)
            time.sleep(FLUSHED_S)
            if options.moments:
                compare(runner, noted)
            if options.questions:
                beside(runner, folder, noted, options)
        finally:
            runner.processes[0].stop(30)


def note(runner: Runner, options: argparse.Namespace, rng: random.Random) -> list[Noted]:
    """Record moments while they are live."""
    context = make_context()
    query = f"ipc://{runner.run_dir}/query.sock"
    noted: list[Noted] = []
    try:
        for _ in range(options.moments or 100):
            time.sleep(rng.uniform(0, 2 * options.every_s))
            said = ask(context, query, {"op": "digest", "id": 1}, round(TIMEOUT_S * 1e3))
            noted.append(Noted(f"{said['epoch']}:{said['seq']}", "digest", said["digest"]))
            path = rng.choice(PATHS)
            status, headers, body = get(runner.snapshot_port, path)
            assert status == 200, body[:200]
            at = headers.get("x-kalshi-bus-seq")
            if at is None:
                named = json.loads(body)
                at = f"{named['epoch']}:{named['seq']}"
            noted.append(Noted(at, path, _hash(path, body)))
    finally:
        context.term()
    return noted


def compare(runner: Runner, noted: list[Noted]) -> None:
    """Ask the time machine for the recorded moments; print how many were equal, and the times."""
    context = make_context()
    past = f"ipc://{runner.run_dir}/past.sock"
    equal, different, taken = 0, [], {"digest": list[float](), "bytes": list[float]()}
    try:
        for one in random.Random(0).sample(noted, len(noted)):
            at, start = one.at, time.monotonic()
            if one.what == "digest":
                answer = ask(context, past, {"op": "digest", "id": 1, "at": at}, round(TIMEOUT_S * 1e3))
                said = answer.get("digest", str(answer))
            else:
                path = one.what + ("&" if "?" in one.what else "?") + f"at={at}"
                status, _, body = get(runner.past_port, path)
                said = _hash(one.what, body) if status == 200 else body[:200].decode()
            taken["digest" if one.what == "digest" else "bytes"].append(time.monotonic() - start)
            if said == one.said:
                equal += 1
            else:
                different.append((one, said))
    finally:
        context.term()
    print(
        f"\n{len(noted):,} moments, {sum(one.what == 'digest' for one in noted):,} by digest: {equal:,} equal"
    )
    for one, said in different[:5]:
        print(f"DIFFERENT: {one}: {said}")
    for what, times in taken.items():
        print(f"{what}: p50 {statistics.median(times):.2f} s, longest {max(times):.2f} s", flush=True)


def beside(runner: Runner, folder: Path, noted: list[Noted], options: argparse.Namespace) -> None:
    """Measure live answers alternately without and with questions about the past; print both."""
    www = folder / "www"
    www.mkdir()
    (www / "health").write_bytes(get(runner.snapshot_port, "/health")[2])
    for directory in (folder, www):
        directory.chmod(0o755)
    ticker = json.loads(get(runner.snapshot_port, "/trade-api/v2/markets?limit=1")[2])["markets"][0]["ticker"]
    one = f"/markets?tickers={ticker}"
    binary = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    (nginx_port,) = free_ports(1)
    found: dict[tuple[str, bool], list[Load]] = {}
    asked = 0
    with contextlib.ExitStack() as stack:
        if binary:
            stack.enter_context(_nginx(binary, nginx_port, folder))
        time.sleep(0.5)
        while asked < options.questions:
            for busy in (False, True):
                with asking(runner, noted, options.askers if busy else 0) as answered:
                    for what, port, path in (
                        ("nginx", nginx_port, "/health"),
                        ("/health", runner.snapshot_port, "/health"),
                        ("one market", runner.snapshot_port, one),
                    ):
                        if what != "nginx" or binary:
                            found.setdefault((what, busy), []).append(measure(port, path, 2))
                asked += len(answered)
                if busy and not answered:
                    raise RuntimeError("no question about the past was answered")
    print(f"\n{options.markets:,} markets, {asked:,} questions about the past, {options.askers} at once")
    print("| | alone: answers/s | p50 ms | p99 ms | meanwhile | p50 ms | p99 ms | p99 |")
    print("|---|---|---|---|---|---|---|---|")
    for what in dict.fromkeys(what for what, _ in found):
        cells, p99 = [], []
        for busy in (False, True):
            loads = found[what, busy]
            rps, p50 = (
                statistics.median(load.rps for load in loads),
                statistics.median(load.p50_ms for load in loads),
            )
            p99.append(statistics.median(load.p99_ms for load in loads))
            cells.append(f"{rps:,.0f} | {p50:.2f} | {p99[-1]:.1f}")
        print(f"| {what} | {' | '.join(cells)} | {p99[1] / p99[0]:.1f} x |", flush=True)


@contextlib.contextmanager
def asking(runner: Runner, noted: list[Noted], askers: int) -> Iterator[list[int]]:
    """Ask for past moments in the background, each client without a pause; yield the sizes of answers."""
    stop = threading.Event()
    answered: list[int] = []

    def run(seed: int) -> None:
        rng = random.Random(seed)
        while not stop.is_set():
            one = rng.choice(noted)
            _, _, body = get(runner.past_port, f"/markets?limit=100&at={one.at}")
            answered.append(len(body))

    threads = [threading.Thread(target=run, args=(time.time_ns() + number,)) for number in range(askers)]
    for thread in threads:
        thread.start()
    try:
        yield answered
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def get(port: int, path: str) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return response.status, headers, response.read()
    finally:
        connection.close()


def _hash(path: str, body: bytes) -> str:
    """Return the hash of the part that belongs to the moment: for `/markets`, the markets in any order."""
    if path == "/markets":
        markets = json.loads(body)["markets"]
        body = json.dumps(markets | {"match_times": sorted(markets["match_times"].items())}).encode()
    return sha256(body).hexdigest()


def _health(runner: Runner) -> dict[str, Any]:
    with contextlib.suppress(OSError):
        return fetch(f"http://127.0.0.1:{runner.snapshot_port}/health")
    return {}


def _past(runner: Runner, path: str) -> str:
    return f"http://127.0.0.1:{runner.past_port}{path}"


if __name__ == "__main__":
    main()
