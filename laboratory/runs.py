"""One run, and where results are kept."""

import gc
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Final

import msgspec
import xxhash

from markets.errors import KalshiBusError

from .outcome import Outcome, Plan
from .quiet import quiet
from .recorded import Recorded
from .simulated import Simulated
from .stand import Progress

LOOK_S: Final = 0.5
SUFFIX: Final = ".run"
CODE: Final = ("markets", "bus", "trader", "simulator", "laboratory", "publisher")


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


def run(plan: Plan, progress: Progress = lambda _done: None, within: Path | None = None) -> Outcome:
    """Do one run in this process. An error becomes part of the outcome, so that it spoils no other run.

    Args:
        within: where the run makes a folder for its files; None: where temporary files are.
    """
    began_s = time.process_time()
    try:
        with quiet(), tempfile.TemporaryDirectory(prefix="" if within else "kb-lab-", dir=within) as name:
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
