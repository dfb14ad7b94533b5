"""Repairs: how long a question holds the state's lock, and how long until a replica is proven after a loss.

A publisher under full load (benchmarks.feeder: 5,000 quotes a second, a commit of a twentieth every 2 s), a
snapshot server, and a replica here whose line loses messages. BENCH_MARKETS and BENCH_LOSSES set the sizes.
"""

import gc
import math
import os
import random
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog
import zmq

from bus.ask import ask
from bus.clock import SystemClock
from bus.protocol.answers import Answers
from bus.protocol.messages import encode_map
from bus.protocol.writer import Writer
from bus.replica import Replica
from bus.sockets import make_context
from markets.errors import KalshiBusError
from tests.support import Runner, eventually

from .bench_bus import a_quote, a_writer
from .line import LossyLine

MARKETS: Final = int(os.environ.get("BENCH_MARKETS", "130000"))
LOSSES: Final = int(os.environ.get("BENCH_LOSSES", "20"))
LOSING_S: Final = 4.0
"""The longest single loss: some 20,000 messages."""

START_S: Final = 300.0
PROVEN_S: Final = 120.0
REACH_LOCK_MS: Final = 5.0
QUOTES_PER_MS: Final = 5


class TimedLock:
    """A lock that records the longest time it was held, in ms."""

    def __init__(self) -> None:
        self.longest_ms = 0.0
        self._lock = threading.RLock()
        self._depth = 0
        self._since = 0.0

    def __enter__(self) -> None:
        self._lock.acquire()
        self._depth += 1
        if self._depth == 1:
            self._since = time.thread_time()

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth:
            self.longest_ms = max(self.longest_ms, (time.thread_time() - self._since) * 1e3)
        self._lock.release()

    def _is_owned(self) -> bool:
        owned: bool = self._lock._is_owned()  # type: ignore[attr-defined]  # noqa: SLF001
        return owned


def locks() -> None:
    """Print how long the two ops that read everything hold the lock and the answering thread."""
    writer = a_writer(MARKETS, static=True)
    lock = TimedLock()
    gc.collect()
    gc.freeze()
    writer.state.lock = lock  # type: ignore[assignment]
    answers = Answers(lambda: writer.state)
    print(
        f"\n| {MARKETS:,} markets, processor time, ms | the lock at most | a slice at most | all | target |"
    )
    print("|---|---|---|---|---|")
    for name, op in (("digest", "digest"), ("snapshot, first", "snapshot"), ("snapshot, again", "snapshot")):
        for loaded in (False, True):
            _fill(writer)
            lock.longest_ms = 0.0
            slice_ms, all_ms = _answered(
                answers, op, partial(_load, writer) if loaded else lambda _ms: None, lock
            )
            what = f"op {name}{', 5,000 quotes/s' if loaded else ''}"
            print(
                f"| {what} | {lock.longest_ms:.1f} | {slice_ms:.1f} | {all_ms:.0f} | {REACH_LOCK_MS:.0f} |",
                flush=True,
            )


def _fill(writer: Writer) -> None:
    """Change every market, as a commit would."""
    for number in range(0, MARKETS, 26):
        writer.stream(f"md.KXS{number // 26}.", "quote", [a_quote(number, time.time_ns() % 90)], 1, 1)


def _load(writer: Writer, ms: float) -> None:
    """Stream what arrives within `ms`."""
    for _ in range(math.ceil(ms * QUOTES_PER_MS)):
        number = random.randrange(MARKETS)
        writer.stream(f"md.KXS{number // 26}.", "quote", [a_quote(number, random.randrange(90))], 1, 1)


def _answered(
    answers: Answers, op: str, between: Callable[[float], None], lock: TimedLock
) -> tuple[float, float]:
    start, longest = time.thread_time(), 0.0
    done = answers.begin(encode_map({"op": op, "id": 1}), 0, (), 0)
    told = [done] if done else []
    while not told:
        before = time.thread_time()
        told = answers.due(0)
        slice_ms = (time.thread_time() - before) * 1e3
        longest = max(longest, slice_ms)
        held = lock.longest_ms
        between(slice_ms)
        lock.longest_ms = held
    return longest, (time.thread_time() - start) * 1e3


@contextmanager
def stack(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Run a feeder and a snapshot server; yield feed, state and query."""
    runner = Runner(folder)
    runner.run_dir.mkdir(0o700)
    feed, state, query = (f"ipc://{runner.run_dir}/{name}.sock" for name in ("feed", "state", "query"))
    try:
        feeder = runner.start("benchmarks.feeder", str(runner.run_dir), str(MARKETS))
        runner.start("snapshot_server")
        context = make_context()
        eventually(lambda: _answers(context, query), START_S, "the snapshot server answers")
        context.term()
        feeder.signal(signal.SIGUSR1)
        yield feed, state, query
    finally:
        for process in runner.processes:
            process.kill()


def _answers(context: zmq.Context[Any], query: str) -> bool:
    try:
        said = ask(context, query, {"op": "health"}, 5_000)
        return bool(said["ok"] and said["proven_seq"])
    except KalshiBusError:
        return False


def losses() -> None:
    """Print how long it takes from losses to proof."""
    rng = random.Random(1)
    with (
        tempfile.TemporaryDirectory(prefix="kb-repair-") as name,
        stack(Path(name)) as (feed, state, query),
    ):
        context = make_context()
        replica = Replica(context, feed, query, SystemClock(), rng, spare=state)
        lossy = partial(LossyLine, context, feed, query, replica.prefixes, state)
        lines: list[LossyLine] = []

        def make() -> LossyLine:
            lines.append(lossy())
            return lines[-1]

        replica._make_line = make  # noqa: SLF001
        replica.start()
        try:
            joined = replica.wait(lambda r: r.status().live and r.status().proven_seq > 0, PROVEN_S)
            assert joined, replica.status()
            taken = [planted(replica, lines[0], rng) for _ in range(LOSSES)]
        finally:
            replica.stop()
            context.term()
        report(f"losses at {MARKETS:,} markets, full load", taken)


def planted(replica: Replica, line: LossyLine, rng: random.Random) -> float:
    """Lose messages once; return the ms from the last of them to the proof."""
    time.sleep(rng.uniform(0, 1))
    line.lose(round(10 ** rng.uniform(0, 4.3)))
    replica.wait(lambda _: not line.losing, LOSING_S)
    line.lose(0)
    lost_ns, seq = line.lost_ns, replica.heartbeat.seq if replica.heartbeat else 0
    assert replica.wait(lambda r: r.status().proven_seq > seq and r.status().live, PROVEN_S), replica.status()
    return (time.monotonic_ns() - lost_ns) / 1e6


def report(what: str, taken: Sequence[float]) -> None:
    """Print a distribution in ms."""
    ordered = sorted(taken)
    p50, p90, p99 = (ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in (0.5, 0.9, 0.99))
    print(
        f"\n{what}: {len(ordered)}; from the last message lost to the proof p50 {p50:.0f} ms, p90 {p90:.0f},"
        f" p99 {p99:.0f}, longest {ordered[-1]:.0f}",
        flush=True,
    )


def main() -> None:
    """Measure and print."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    print(__doc__)
    locks()
    losses()


if __name__ == "__main__":
    main()
