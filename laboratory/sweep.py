"""Many runs, in processes of their own; each result is kept as soon as it is available.

A process carries out one run after another. If one ends, whatever ended it, that costs the run under way.
"""

import os
import signal
import sys
import tempfile
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Final, NamedTuple

from bus.clock import Clock, SystemClock
from bus.process.child import die_with_parent
from bus.process.lifecycle import Stop

from .inputs import code_id
from .outcome import Outcome, Plan
from .runs import Store, run

STUCK_S: Final = 300.0
"""A run that makes no progress for so long is ended."""

LOOK_S: Final = 0.5
TELL_NS: Final = 250_000_000
"""How often a run tells of its progress, at most."""


class Done(NamedTuple):
    """Progress over all runs: the share of the work done, finished runs, and all runs."""

    part: float
    runs: int
    of: int


def sweep(
    plans: Sequence[Plan], store: Store, processes: int, clock: Clock | None = None
) -> Iterator[tuple[Done, Outcome | None]]:
    """Do all runs without a kept result; yield the progress, and each result once it is kept.

    The caller may stop at any time; finished runs are kept. Main thread only.

    Args:
        clock: by which a run that makes no progress is stuck; the system's if None.

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
        # What an ended process leaves in here goes with it.
        tempfile.TemporaryDirectory(prefix="kb-lab-") as folder,
        # An error raised wherever a signal arrives could leave a child, or a result half kept.
        stop.on_signals(),
        closing(_carried_out(missing, processes, Path(folder), stop, clock or SystemClock())) as told,
    ):
        for plan, said in told:
            if isinstance(said, Outcome):
                store.put(said)
                finished += 1
            parts[plan.name] = 1.0 if isinstance(said, Outcome) else said
            yield done(), said if isinstance(said, Outcome) else None
        if stop.is_set():
            raise KeyboardInterrupt


def _carried_out(
    plans: Sequence[Plan], processes: int, folder: Path, stop: Stop, clock: Clock
) -> Generator[tuple[Plan, Outcome | float]]:
    """Carry out plans until all are, or it is to stop; yield how far each is, then its outcome.

    All processes end when this is closed.

    Args:
        folder: for the runs' own files.
    """
    waiting, working = deque(plans), list[_Process]()
    try:
        while (waiting or working) and not stop.is_set():
            while waiting and len(working) < processes:
                working.append(_Process(folder, clock))
                working[-1].begin(waiting.popleft())
            ready = wait([stop.fileno(), *(one.connection for one in working)], LOOK_S)
            for one in tuple(working):
                if one.connection in ready:
                    said = one.hear()
                elif one.silent_s > STUCK_S:
                    said = one.ended(f"no progress for {STUCK_S:g} s: does a strategy never return?")
                else:
                    continue
                if stop.wait(0.1 if isinstance(said, Outcome) and said.error else 0):
                    return  # whatever tells us to stop may have told the children first
                yield one.plan, said
                if not isinstance(said, Outcome):
                    continue
                if waiting and one.lives:
                    one.begin(waiting.popleft())
                else:
                    working.remove(one)
                    one.kill()
    finally:
        for one in working:
            one.kill()


class _Process:
    """A process for runs.

    Attributes:
        plan: what it carries out.
        lives: whether it can carry out another one.
        connection: ready when it has said something, or has ended.
    """

    plan: Plan

    def __init__(self, folder: Path, clock: Clock) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.lives = True
        self._clock, self._heard_ns = clock, 0
        self._process = context.Process(target=_work, args=(theirs, os.getpid(), folder), daemon=True)
        with _deaf():
            self._process.start()
        theirs.close()  # or its end would not be noticed

    def begin(self, plan: Plan) -> None:
        """Have it carry out a plan."""
        self.plan, self._heard_ns = plan, self._clock.monotonic_ns()
        with suppress(OSError):  # it has ended, which it says by itself
            self.connection.send(plan)

    def hear(self) -> Outcome | float:
        """Return how far it is, or its outcome."""
        try:
            said: Outcome | float = self.connection.recv()
        except (EOFError, OSError):
            self._process.join(LOOK_S)  # the connection is closed a moment before
            code = self._process.exitcode
            how = f"code {code}" if code is None or code >= 0 else signal.Signals(-code).name
            return self.ended(f"its process ended with {how}")
        self._heard_ns = self._clock.monotonic_ns()
        return said

    @property
    def silent_s(self) -> float:
        """For how long it has said nothing."""
        return (self._clock.monotonic_ns() - self._heard_ns) / 1e9

    def ended(self, error: str) -> Outcome:
        """Carry out no more with it; return what has become of its plan."""
        self.lives = False
        return Outcome(plan=self.plan, error=error)

    def kill(self) -> None:
        """End it, if it has not ended by itself."""
        self._process.kill()
        self._process.join()
        self.connection.close()


def _work(connection: Connection, parent_pid: int, folder: Path) -> None:
    """Carry out one plan after another, until it is killed."""
    die_with_parent(parent_pid)
    sys.stdout = sys.stderr  # what a strategy prints is not among the results

    clock, told_ns, code = SystemClock(), 0, code_id()

    def progress(part: float) -> None:
        nonlocal told_ns
        now_ns = clock.monotonic_ns()
        if now_ns - told_ns >= TELL_NS:
            told_ns = now_ns
            connection.send(part)

    while True:
        plan = connection.recv()
        if plan.code in ("", code):
            connection.send(run(plan, progress, folder))
        else:  # this process began after an edit
            connection.send(
                Outcome(plan=plan, error="the project's code has changed since the run was planned")
            )


@contextmanager
def _deaf() -> Iterator[None]:
    """Have processes that start here never hear of Ctrl-C, not even while they begin: the parent ends them.

    They inherit that it is blocked. The parent hears of it afterwards.
    """
    resource_tracker.ensure_running()  # whoever starts it later unblocks the signal again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
