"""Time and randomness as parameters.

Pure code never reads a clock: it takes ``now_ms`` (or a Clock) from its caller, so that a test, a replay and
a backtest decide what *now* is. The same holds for randomness: code that needs it takes an `Rng`, seeded by
its caller. Only this module reads the system's clock; ruff (TID251) refuses it elsewhere.
"""

import random
import time
from typing import Protocol

Rng = random.Random
"""A source of randomness of one's own: ``Rng(seed)`` to repeat a run, ``Rng()`` at the edge."""


class Clock(Protocol):
    """Where *now* comes from. Wall time may jump; `monotonic_ns` never goes back: use it for timeouts."""

    def now_ms(self) -> int:
        """Wall time, milliseconds since the Unix epoch, UTC."""
        ...

    def now_ns(self) -> int:
        """Wall time, nanoseconds since the Unix epoch, UTC."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds since an arbitrary moment, never going back."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def now_ns(self) -> int:
        return time.time_ns()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()


class ManualClock:
    """A clock that moves only when told to, for tests and replays."""

    def __init__(self, now_ms: int = 1_790_000_000_000) -> None:
        self._now_ns = now_ms * 1_000_000
        self._monotonic_ns = 0

    def now_ms(self) -> int:
        return self._now_ns // 1_000_000

    def now_ns(self) -> int:
        return self._now_ns

    def monotonic_ns(self) -> int:
        return self._monotonic_ns

    def advance(self, ms: int) -> None:
        """Let `ms` milliseconds (0 or more) pass."""
        assert ms >= 0, f"time passes forward, not by {ms} ms: to jump the wall clock use set_wall"
        self._now_ns += ms * 1_000_000
        self._monotonic_ns += ms * 1_000_000

    def set_wall(self, now_ms: int) -> None:
        """Set the wall clock, as NTP or an operator would; monotonic time does not move."""
        self._now_ns = now_ms * 1_000_000
