"""A soak: one check with as many seeds as there is time for, counted in a file over all its runs."""

import fcntl
import json
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

SAY_EVERY_S: Final = 5.0


@dataclass(frozen=True)
class Target:
    """What can be soaked: `check(seed)` says how many `unit` held, and raises when one did not.

    Attributes:
        long: a seed takes minutes; tests check less of it.
    """

    about: str
    unit: str
    check: Callable[[int], int]
    long: bool = False


@dataclass
class Run:
    """What one run did, by whose code."""

    began: str
    revision: str
    seeds: int = 0
    checked: int = 0
    seconds: float = 0.0


@dataclass
class Account:
    """Everything ever done for one target."""

    next_seed: int = 1
    failed: list[int] = field(default_factory=list)
    """Seeds that failed and have not passed since."""
    runs: list[Run] = field(default_factory=list)

    @classmethod
    def load(cls, path: Path) -> "Account":
        """Read the account of `path`; an empty one where there is none."""
        if not path.exists():
            return cls()
        said = json.loads(path.read_text())
        return cls(said["next_seed"], said["failed"], [Run(**run) for run in said["runs"]])

    def save(self, path: Path) -> None:
        """Replace the account of `path`, whole or not at all."""
        new = path.with_suffix(".new")
        new.write_text(json.dumps(asdict(self), indent=1) + "\n")
        new.replace(path)

    def total(self) -> Run:
        """Return the sum of all runs."""
        return Run(
            self.runs[0].began if self.runs else "",
            "",
            sum(run.seeds for run in self.runs),
            sum(run.checked for run in self.runs),
            sum(run.seconds for run in self.runs),
        )


class AlreadyRunning(Exception):
    """Another run has this target's account."""


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Keep an account for this run alone.

    Raises:
        AlreadyRunning: if another run has it.
    """
    path.parent.mkdir(exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(f"{path} is in use by another run") from None
        yield


def soak(
    name: str,
    target: Target,
    path: Path,
    seconds: float,
    run: Run,
    clock_s: Callable[[], float],
    say: Callable[[str], None],
) -> bool:
    """Check seed after seed until `seconds` are over or one fails; return whether all held.

    Seeds that failed in earlier runs come first, then those that no run has tried. The account in `path` is
    written after every seed: an interrupted run loses at most the seed it was at.

    Args:
        name: the target's, for what is said.
        target: what to check.
        path: the account; see `hold`.
        seconds: for how long to begin with new seeds.
        run: this run's entry in the account, to be filled in.
        clock_s: any clock that only goes forward.
        say: takes a line for the terminal.
    """
    account = Account.load(path)
    account.runs.append(run)
    began_s, said_s = clock_s(), float("-inf")
    again = list(account.failed)
    while clock_s() - began_s < seconds:
        seed = again.pop(0) if again else account.next_seed
        held = one(name, target, seed, say)
        if seed == account.next_seed:
            account.next_seed += 1
        if seed in account.failed:
            account.failed.remove(seed)
        if held is None:
            account.failed.insert(0, seed)
        else:
            run.seeds += 1
            run.checked += held
        run.seconds = round(clock_s() - began_s, 1)
        account.save(path)
        if held is None:
            break
        if clock_s() - said_s >= SAY_EVERY_S:
            said_s = clock_s()
            say(f"{name}: seed {seed} held; {run.checked:,} {target.unit} in {run.seconds:.0f} s")
    total = account.total()
    say(
        f"{name}: {run.checked:,} {target.unit} of {run.seeds:,} seeds held in {run.seconds:.0f} s; in all "
        f"{total.checked:,} of {total.seeds:,} seeds in {len(account.runs)} runs and {total.seconds:.0f} s "
        f"since {total.began}"
    )
    for seed in account.failed:
        say(f"{name}: seed {seed} FAILED; again with: make soak {name} SEED={seed}")
    return not account.failed


def one(name: str, target: Target, seed: int, say: Callable[[str], None]) -> int | None:
    """Check one seed; return how many held, None if one did not, which has been said."""
    try:
        return target.check(seed)
    except Exception:  # noqa: BLE001 -- whatever it is, it is the seed's finding
        say(f"{traceback.format_exc()}{name}: seed {seed} FAILED")
        return None
