"""Many runs, in processes of their own; each result is kept as soon as it is available."""

import gc
import os
import signal
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import closing, contextmanager
from itertools import product
from multiprocessing import active_children, get_context, resource_tracker
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import xxhash

from bus.process.child import die_with_parent
from bus.process.lifecycle import Stop
from markets.errors import KalshiBusError

from .outcome import Outcome, Plan
from .quiet import quiet
from .recorded import Recorded
from .simulated import Simulated
from .stand import Progress

LOOK_S: Final = 0.5
SUFFIX: Final = ".run"
CODE: Final = ("markets", "bus", "trader", "simulator", "laboratory", "publisher")


class Done(NamedTuple):
    """Progress over all runs: the share of the work done, finished runs, and all runs."""

    part: float
    runs: int
    of: int


def code_id() -> str:
    """Return an id of the code that decides results: a hash of its sources."""
    root = Path(__file__).resolve().parents[1]
    sources = sorted(path for name in CODE for path in (root / name).rglob("*.py"))
    return xxhash.xxh3_64_hexdigest(b"".join(path.read_bytes() for path in sources))


def digest_of(path: Path) -> str:
    """Return a digest of a recording's bytes; it is a file or a folder of segments.

    Raises:
        OSError: it cannot be read.
    """
    digest = xxhash.xxh3_128()
    for part in sorted(path.glob("*.mcap")) if path.is_dir() else [path]:
        with part.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def variants(settings: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """Return every combination of values, one for each setting."""
    return [dict(zip(settings, values, strict=True)) for values in product(*settings.values())]


def run(plan: Plan, progress: Progress = lambda _done: None) -> Outcome:
    """Do one run in this process. An error becomes part of the outcome, so that it spoils no other run."""
    began_s = time.process_time()
    try:
        with quiet(), tempfile.TemporaryDirectory(prefix="kb-lab-") as name:
            folder = Path(name)
            bench = Recorded(plan, folder) if plan.recording else Simulated(plan, folder)
            with seldom_collected():
                outcome = bench.run(progress)
    except KalshiBusError as error:
        outcome = Outcome(plan=plan, error=str(error))
    except Exception as error:  # noqa: BLE001, the report shows it, and the other runs continue
        outcome = Outcome(plan=plan, error=f"{type(error).__name__}: {error}")
    outcome.cpu_s = time.process_time() - began_s
    return outcome


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Make garbage collection rare, and skip existing objects: little of the garbage is cyclic."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def make_dir(path: Path) -> None:
    """Make a directory and what is missing above it, each for its owner alone (mode 0700).

    It may be the first to make the data directory, which no process uses if others can enter it.

    Raises:
        OSError: it cannot be made.
    """
    for each in reversed([path, *path.parents]):
        each.mkdir(mode=0o700, exist_ok=True)


class Store:
    """Results in a folder, one file each, named after everything that decides them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "runs"
        make_dir(self.folder)

    def get(self, plan: Plan) -> Outcome | None:
        """Return a kept result; None if there is none, it cannot be read, or the run failed."""
        try:
            body = (self.folder / f"{plan.name}{SUFFIX}").read_bytes()
            outcome = msgspec.msgpack.decode(body, type=Outcome)
        except (OSError, msgspec.MsgspecError):
            return None
        return outcome if outcome.plan == plan and not outcome.error else None

    def put(self, outcome: Outcome) -> None:
        """Keep a result.

        Raises:
            OSError: it cannot be written.
        """
        path = self.folder / f"{outcome.plan.name}{SUFFIX}"
        beside = path.with_suffix(".new")
        beside.write_bytes(msgspec.msgpack.encode(outcome))
        beside.replace(path)

    def all(self) -> list[Outcome]:
        """Return all readable results, in order of their names."""
        found = []
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            try:
                found.append(msgspec.msgpack.decode(path.read_bytes(), type=Outcome))
            except (OSError, msgspec.MsgspecError):
                continue
        return found


def sweep(plans: Sequence[Plan], store: Store, processes: int) -> Iterator[tuple[Done, Outcome | None]]:
    """Do all runs without a kept result; yield the progress, and each result once it is kept.

    The caller may stop at any time; finished runs are kept. Main thread only.

    Raises:
        OSError: a result cannot be kept.
        KeyboardInterrupt: a signal told to stop, Ctrl-C or another; a second one ends the process at once.
    """
    kept = [(plan, store.get(plan)) for plan in plans]
    weights = {plan.name: max(plan.hours, 0.1) for plan in plans}
    whole = sum(weights.values()) or 1.0
    parts = {plan.name: 1.0 for plan, outcome in kept if outcome is not None}
    finished = 0

    def done() -> Done:
        return Done(sum(weights[name] * part for name, part in parts.items()) / whole, finished, len(plans))

    for _, outcome in kept:
        if outcome is not None:
            finished += 1
            yield done(), outcome
    missing = [plan for plan, outcome in kept if outcome is None]
    if not missing:
        return
    stop = Stop()
    with (
        closing(stop),
        # An error raised wherever a signal arrives could leave a future locked, and the pool would never end.
        stop.on_signals(),
        tempfile.TemporaryDirectory(prefix="kb-lab-") as name,
    ):
        folder = Path(name)
        context = get_context("spawn")
        pool = ProcessPoolExecutor(
            min(processes, len(missing)), context, initializer=die_with_parent, initargs=(os.getpid(),)
        )
        try:
            with _deaf_children():
                running = {pool.submit(_run_in_child, plan, folder): plan for plan in missing}
            while running:
                ended, _ = wait(running, LOOK_S, FIRST_COMPLETED)
                parts.update(_parts(folder, running.values()))
                if not ended:
                    yield done(), None
                for future in ended:
                    plan = running.pop(future)
                    outcome = _result(future, plan)
                    store.put(outcome)
                    parts[plan.name] = 1.0
                    finished += 1
                    yield done(), outcome
                if stop.is_set():
                    raise KeyboardInterrupt
        finally:
            _kill(pool)


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Have the processes started here never hear of Ctrl-C, not even while they begin: the parent ends them.

    They inherit that it is blocked. The parent hears of it afterwards.
    """
    resource_tracker.ensure_running()  # whoever starts it later unblocks the signal again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run_in_child(plan: Plan, folder: Path) -> Outcome:
    path = folder / plan.name

    def progress(part: float) -> None:
        path.write_text(f"{part:.4f}")

    return run(plan, progress)


def _parts(folder: Path, plans: Iterable[Plan]) -> dict[str, float]:
    found = {}
    for plan in plans:
        try:
            found[plan.name] = float((folder / plan.name).read_text() or 0)
        except (OSError, ValueError):
            continue
    return found


def _result(future: "Future[Outcome]", plan: Plan) -> Outcome:
    try:
        return future.result()
    except Exception as error:  # noqa: BLE001, such as a child killed for using too much memory
        return Outcome(plan=plan, error=f"its process ended: {type(error).__name__}: {error}")


def _kill(pool: ProcessPoolExecutor) -> None:
    pool.shutdown(wait=False, cancel_futures=True)
    for child in active_children():
        child.kill()
