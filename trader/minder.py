"""Minds the strategies: counts slow calls, and ends the process when a call does not return.

The engine's thread notes which call it is in; a separate thread checks ten times a second whether that is
still the same call. It counts its own checks, not time: a suspended machine or a stopped process is not a
strategy's fault. Python cannot end a call in another thread, so this ends the process, after noting which
strategy it was, so that the next start does not load it.

Code that keeps the interpreter's lock for ever blocks this thread too. Then trader/last_line.py ends the
process, and the next start notes and reports what this one could not.
"""

import sys
import threading
import traceback
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec
import structlog

from bus.clock import Clock
from bus.process.programs import to_type
from bus.threads import Owner
from bus.trading.ended import EndedStrategies, EndedStrategy
from markets.errors import StartupError

from .last_line import LOCKED_S, LastLine, Stuck

log = structlog.get_logger()

SLOW_MS: Final = 50
LIMIT_MS: Final = 2_000
IMPORT_LIMIT_MS: Final = 30_000
"""Importing large libraries takes time."""

LOOK_MS: Final = 100
HOLD_LOOKS: Final = 10


class SlowCalls(msgspec.Struct):
    """Calls of a strategy that took more than SLOW_MS: how many, and the longest."""

    count: int = 0
    longest_ms: int = 0


class Running(NamedTuple):
    """A call under way: its number, its strategy, and how long it may take."""

    number: int
    strategy: str
    call: str
    limit_ms: int


class Minder:
    """Is told of calls in the engine's thread. Any thread may read `running`.

    Attributes:
        labels: a strategy's label in the settings, by its own name.
        slow: slow calls, by strategy.
        last_line: is told of the calls too.
    """

    def __init__(self, clock: Clock) -> None:
        self.running: Running | None = None
        self.thread_id = threading.get_ident()
        self.labels: dict[str, str] = {}
        self.slow: dict[str, SlowCalls] = {}
        self.last_line: LastLine | None = None
        self._clock = clock
        self._owner = Owner("the minder of strategies")
        self._number = 0
        self._began_ns = 0

    def begins(self, strategy: str, call: str, limit_ms: int = LIMIT_MS) -> None:
        """Note that a call begins."""
        self._owner.check()
        self._number += 1
        self._began_ns = self._clock.monotonic_ns()
        if self.last_line is not None:
            self.last_line.begins(self.labels.get(strategy, strategy), strategy, call)
        self.running = Running(self._number, strategy, call, limit_ms)

    def ends(self) -> None:
        """Note that the call has ended."""
        self._owner.check()
        running, self.running = self.running, None
        if self.last_line is not None:
            self.last_line.ends()
        took_ms = (self._clock.monotonic_ns() - self._began_ns) // 1_000_000
        if running is not None and took_ms > SLOW_MS and running.limit_ms == LIMIT_MS:
            slow = self.slow.setdefault(running.strategy, SlowCalls())
            slow.count += 1
            slow.longest_ms = max(slow.longest_ms, took_ms)


class Watch:
    """Checks whether a call goes on for ever, in its thread `thread`, which `stop` ends.

    Args:
        end: called with the call that did not return, in the thread of this; it ends the process.
    """

    def __init__(self, minder: Minder, end: Callable[[Running], None]) -> None:
        self._minder = minder
        self._end = end
        self._owner = Owner("the watch over strategies")
        self._seen = 0
        self._looks = 0
        self._stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, name="minder", daemon=True)

    def look(self) -> None:
        """Check once; to be called every LOOK_MS."""
        self._owner.check()
        running = self._minder.running
        number = 0 if running is None else running.number
        if number != self._seen:
            self._seen, self._looks = number, 0
        if running is not None:
            self._looks += 1
            if self._looks * LOOK_MS > running.limit_ms:
                self._looks = 0
                self._end(running)

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        if self.thread.ident is not None:
            self.thread.join()

    def _run(self) -> None:
        looks = 0
        while not self._stopping.wait(LOOK_MS / 1000):
            if self._minder.last_line is not None and looks % HOLD_LOOKS == 0:
                self._minder.last_line.hold()
            looks += 1
            self.look()


def remember(stuck: Stuck, ended: EndedStrategies) -> None:
    """Note and log that the last line ended the previous process."""
    call, trouble = stuck.call, None
    if call is not None:
        try:
            ended.add(call)
        except (OSError, StartupError) as error:
            trouble = f"it is loaded again, because this cannot be stored: {error}"
    log.critical(
        "strategy.ended" if call is not None else "interpreter.stuck",
        strategy=None if call is None else call.strategy,
        call=None if call is None else call.call,
        label=None if call is None else call.label,
        error=f"the interpreter was held for {LOCKED_S} s, and the process ended",
        remedy=None if call is None else f"{to_type('trader allow')} {call.strategy}",
        trouble=trouble,
        stack=stuck.stacks,
    )


def ender(
    minder: Minder, ended: EndedStrategies, clock: Clock, exit_: Callable[[], None]
) -> Callable[[Running], None]:
    """Return a function that notes and logs a call, with the engine's stack, and ends the process.

    Args:
        exit_: ends the process at once.
    """

    def end(running: Running) -> None:
        label = minder.labels.get(running.strategy, running.strategy)
        trouble = None
        try:
            ended.add(EndedStrategy(label, running.strategy, running.call, clock.now_ms()))
        except (OSError, StartupError) as error:
            trouble = f"it will be loaded again, because this cannot be stored: {error}"
        frame = sys._current_frames().get(minder.thread_id)  # noqa: SLF001, there is no other way
        log.critical(
            "strategy.ended",
            strategy=running.strategy,
            call=running.call,
            label=label,
            limit_ms=running.limit_ms,
            error=f"{running.strategy}: {running.call} did not return within {running.limit_ms / 1000:g} s",
            remedy=f"{to_type('trader allow')} {running.strategy}",
            trouble=trouble,
            stack="".join(traceback.format_stack(frame)) if frame is not None else None,
        )
        sys.stdout.flush()
        exit_()

    return end
