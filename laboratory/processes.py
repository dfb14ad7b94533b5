"""Processes that carry out plans, each one plan after another.

If one ends, whatever ended it, that costs the plan under way. A plan with code of a person's own has a
process to itself: what such code leaves behind, or imports under a name that others use too, is in no other.
"""

import os
import signal
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Final, NamedTuple

from bus.clock import Clock, SystemClock
from bus.process.child import die_with_parent
from bus.process.lifecycle import Stop
from markets.errors import KalshiBusError

from .inputs import code_id
from .outcome import Plan
from .stand import Progress

STUCK_S: Final = 300.0
"""A plan that makes no progress for so long is ended."""

LONGEST_LOOK_S: Final = STUCK_S / 3
"""Longer than that we were stopped or asleep ourselves between two looks, and so were the others."""

LOOK_S: Final = 0.5
TELL_NS: Final = 250_000_000
"""How often a plan tells of its progress, at most."""

Task = Callable[[Plan, Progress, Path], Any]
"""Carries out a plan in a process of its own: a function of a module, with a folder for files."""


class Failed(NamedTuple):
    """Why a plan was not carried out."""

    error: str


def carried_out(
    plans: Sequence[Plan], task: Task, processes: int, clock: Clock | None = None
) -> Generator[tuple[int, Any]]:
    """Carry out plans; yield the number of one, counted from 0, and how far it is, then its result or Failed.

    All processes end when this is closed. Main thread only.

    Args:
        clock: by which a plan that makes no progress is stuck; the system's if None.

    Raises:
        KeyboardInterrupt: a signal told to stop, Ctrl-C or another; a second one ends the process at once.
    """
    if not plans:
        return
    clock, stop = clock or SystemClock(), Stop()
    waiting, working = deque(enumerate(plans)), list[_Process]()
    with (
        closing(stop),
        # What an ended process leaves in here goes with it.
        tempfile.TemporaryDirectory(prefix="kb-lab-") as folder,
        # An error raised wherever a signal arrives could leave a child, or a result half kept.
        stop.on_signals(),
    ):
        try:
            looked_ns = clock.monotonic_ns()
            while (waiting or working) and not stop.is_set():
                while waiting and len(working) < processes:
                    working.append(_Process(task, Path(folder)))
                    working[-1].begin(*waiting.popleft())
                ready = wait([stop.fileno(), *(one.connection for one in working)], LOOK_S)
                before_ns, looked_ns = looked_ns, clock.monotonic_ns()
                for one in tuple(working):
                    if one.connection in ready:
                        said = one.hear()
                    elif one.is_stuck_after(min((looked_ns - before_ns) / 1e9, LONGEST_LOOK_S)):
                        said = one.ended(f"no progress for {STUCK_S:g} s: does a strategy never return?")
                    else:
                        continue
                    if stop.wait(0.1 if isinstance(said, Failed) else 0):
                        break  # whatever tells us to stop may have told the children first
                    yield one.number, said
                    if isinstance(said, float):
                        continue
                    if waiting and one.is_fit:
                        one.begin(*waiting.popleft())
                    else:
                        working.remove(one)
                        one.kill()
        finally:
            for one in working:
                one.kill()
        if stop.is_set():
            raise KeyboardInterrupt


class _Process:
    """A process for plans.

    Attributes:
        number: of the plan that it carries out.
        is_fit: whether it can carry out another one.
        connection: ready when it has said something, or has ended.
    """

    number: int

    def __init__(self, task: Task, folder: Path) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.is_fit = True
        self._silent_s = 0.0
        self._process = context.Process(target=_work, args=(theirs, os.getpid(), task, folder), daemon=True)
        with _deaf():
            self._process.start()
        theirs.close()  # or its end would not be noticed

    def begin(self, number: int, plan: Plan) -> None:
        """Have it carry out a plan."""
        self.number, self._silent_s = number, 0.0
        self.is_fit = not plan.runs_own_code
        with suppress(OSError):  # it has ended, which it says by itself
            self.connection.send(plan)

    def hear(self) -> Any:
        """Return how far it is, or its result."""
        try:
            said = self.connection.recv()
        except (EOFError, OSError):
            self._process.join(LOOK_S)  # the connection is closed a moment before
            code = self._process.exitcode
            how = f"code {code}" if code is None or code >= 0 else signal.Signals(-code).name
            return self.ended(f"its process ended with {how}")
        self._silent_s = 0.0
        return said

    def is_stuck_after(self, seconds: float) -> bool:
        """Take note that it said nothing for so long; return whether that is too long by now."""
        self._silent_s += seconds
        return self._silent_s > STUCK_S

    def ended(self, error: str) -> Failed:
        """Carry out no more with it; return what has become of its plan."""
        self.is_fit = False
        return Failed(error)

    def kill(self) -> None:
        """End it, if it has not ended by itself."""
        self._process.kill()
        self._process.join()
        self.connection.close()


def _work(connection: Connection, parent_pid: int, task: Task, folder: Path) -> None:
    """Carry out one plan after another, until it is killed."""
    die_with_parent(parent_pid)
    stdout_to_stderr()

    clock, told_ns, code = SystemClock(), 0, code_id()

    def progress(part: float) -> None:
        nonlocal told_ns
        now_ns = clock.monotonic_ns()
        if now_ns - told_ns >= TELL_NS:
            told_ns = now_ns
            connection.send(part)

    while True:
        plan = connection.recv()
        if plan.code not in ("", code):  # this process began after an edit
            connection.send(Failed("the project's code has changed since the run was planned"))
            continue
        try:
            said = task(plan, progress, folder)
        except KalshiBusError as error:
            said = Failed(str(error))
        except Exception as error:  # noqa: BLE001, whoever asked for it is told, and the others go on
            said = Failed(f"{type(error).__name__}: {error}")
        connection.send(said)


def stdout_to_stderr() -> None:
    """Have this process write to its error output only: what a strategy prints is not among the results."""
    sys.stdout = sys.stderr
    os.dup2(2, 1)


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
