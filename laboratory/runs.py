"""One run, and where results are kept."""

import gc
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from bus.files import write_whole
from markets.errors import KalshiBusError

from .inputs import digest_of, modules_of_own, state_of
from .outcome import Outcome, Plan
from .quiet import quiet
from .recorded import Recorded
from .simulated import Simulated
from .stand import Progress

SUFFIX: Final = ".run"


def run(plan: Plan, progress: Progress = lambda _done: None, within: Path | None = None) -> Outcome:
    """Do one run in this process. An error becomes part of the outcome, so that it spoils no other run.

    Args:
        within: where the run makes a folder for its files; None: where temporary files are.
    """
    began_s = time.process_time()
    try:
        with carrying_out(plan, within) as folder:
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
def carrying_out(plan: Plan, within: Path | None) -> Iterator[Path]:
    """Provide a folder for the files of a run; raise an error in the end if what it read is not its plan's.

    Args:
        within: where to make it; None: where temporary files are.

    Raises:
        KalshiBusError: something has changed, or was imported that the plan does not know of.
        OSError: a file of the plan is not there any more.
    """
    _require_same(plan)
    known = modules_of_own()
    with quiet(), tempfile.TemporaryDirectory(prefix="" if within else "kb-lab-", dir=within) as name:
        yield Path(name)
    unforeseen = modules_of_own() - known - {Path(path).resolve() for path in plan.files}
    if plan.files and unforeseen:
        raise KalshiBusError(f"{min(unforeseen)} was imported otherwise than by an import statement")
    for path, state in plan.files.items():
        if state_of(Path(path)) != state:
            raise KalshiBusError(f"{path} was changed while the run went on: run over a copy of it")
    _require_same(plan)  # it may still be recorded


def _require_same(plan: Plan) -> None:
    if plan.digest and digest_of(Path(plan.recording)) != plan.digest:
        raise KalshiBusError(f"{plan.recording} has changed since the run was planned: run over a copy of it")


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


def is_same(one: Outcome, other: Outcome) -> bool:
    """Return whether two results of one plan are equal, whatever time and place they took."""
    return _compared(one) == _compared(other)


def _compared(outcome: Outcome) -> bytes:
    # What a recording lacks is said with its path.
    return msgspec.msgpack.encode(msgspec.structs.replace(outcome, plan=Plan(), cpu_s=0.0, lacks=[]))


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
        if outcome.plan.name != plan.name or outcome.error:
            return None
        outcome.plan = plan  # a recording may be elsewhere now
        return outcome

    def put(self, outcome: Outcome) -> None:
        """Keep a result.

        Raises:
            OSError: it cannot be written; the error names the file.
        """
        write_whole(self.folder / f"{outcome.plan.name}{SUFFIX}", msgspec.msgpack.encode(outcome))

    def all(self, others: list[Path] | None = None) -> list[Outcome]:
        """Return all readable results of this version, in order of their names.

        Args:
            others: collects the files that are none.
        """
        found, others = list[Outcome](), [] if others is None else others
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            try:
                outcome = msgspec.msgpack.decode(path.read_bytes(), type=Outcome)
            except (OSError, msgspec.MsgspecError):
                others.append(path)
                continue
            if outcome.plan.name == path.stem:
                found.append(outcome)
            else:
                others.append(path)
        return found
