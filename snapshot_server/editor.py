"""The thread that makes the next edition when the replica has moved, at a bounded share of a processor."""

import gc
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from bus.clock import Clock
from bus.process.lifecycle import Stop, release_memory
from bus.protocol.join import Action
from bus.protocol.state import Touched
from bus.replica import Replica
from bus.threads import Owner

from .edition import SCAN_SLICE, TIMING_MS, Edition, next_edition

log = structlog.get_logger()

MIN_INTERVAL_S: Final = 0.2
"""Time between two editions while changes stream in. After a quiet moment a change is shown at once."""

SHARE: Final = 10
"""An edition that took t seconds is followed by the next after SHARE x t at the soonest."""

MAX_INTERVAL_S: Final = 2.0

RELEASE_S: Final = 10.0
"""How often memory left behind by editions and answers is given back to the system."""


_OURS: Final = 2
"""References to an object held by a single variable: that, and the argument of the counting call."""


def pause() -> None:
    """Let another thread have the interpreter."""
    time.sleep(0.000_05)


class Editor:
    """Keeps `edition` up to date with a replica. `changed` is the replica's listener.

    Args:
        ahead: called with each edition before it is shown.
    """

    def __init__(self, clock: Clock, ahead: Callable[[Edition], None] = lambda _edition: None) -> None:
        self.edition: Edition | None = None
        self._ahead = ahead
        self._made: Edition | None = None
        """The last one made. `edition` may be an earlier one for a moment, if it was shown late."""
        self._former: list[Edition] = []
        self._clock = clock
        self._moved = threading.Event()
        self._owner = Owner("the making of editions")

    def show(self, edition: Edition) -> None:
        """Show an edition that is about to be shown anyway. Any thread."""
        self.edition = edition

    def changed(self, _actions: Sequence[Action]) -> None:
        """Note that the replica has moved. Any thread."""
        self._moved.set()

    def run(self, replica: Replica, stop: Stop) -> None:
        """Make editions until `stop`."""
        released_ns = self._clock.monotonic_ns()
        while not stop.is_set():
            self._moved.wait(TIMING_MS / 1000)
            self._moved.clear()
            started_ns = self._clock.monotonic_ns()
            self.update(replica)
            took_s = (self._clock.monotonic_ns() - started_ns) / 1e9
            if started_ns - released_ns >= RELEASE_S * 1e9:
                released_ns = started_ns
                release_memory()
            stop.wait(min(MAX_INTERVAL_S, max(MIN_INTERVAL_S, SHARE * took_s)))

    def update(self, replica: Replica) -> None:
        """Make the edition of the replica's state as it is now, if there is one. One thread only."""
        self._owner.check()
        state = replica.state
        if not state.epoch:
            return
        now_ms = replica.now_ms()
        with state.lock:
            touched = state.take_touched()
            frozen, digest = state.frozen(touched), state.digest()
        previous = self._made
        edition = next_edition(frozen, digest, previous, now_ms, pause, touched)
        self._ahead(edition)
        self.edition = self._made = edition
        if previous is not None:
            self._former.append(previous)
        if previous is None or previous.epoch != frozen.epoch:
            gc.freeze()  # what is there to stay need not be traced over and over
            log.info("edition.first", epoch=frozen.epoch, seq=frozen.seq, markets=len(edition.tickers))
        del previous
        self._release(touched or {})

    def _release(self, touched: Touched) -> None:
        """Release what is no longer needed, and former editions that no answer uses.

        Here, and bit by bit: otherwise the last holder would free all of it at once and hold up everybody.
        """
        for keys in touched.values():
            while keys:
                if len(keys) % SCAN_SLICE == 0:
                    pause()
                keys.pop()
        former, self._former = self._former, []
        while former:
            edition = former.pop()
            if sys.getrefcount(edition) > _OURS:
                self._former.append(edition)
            else:
                edition.release(pause)

    def wake(self) -> None:
        """End a wait at once, to stop."""
        self._moved.set()
