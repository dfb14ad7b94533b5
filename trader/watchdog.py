"""Notices that the engine's thread or the whole machine stood still, or that the wall clock was set."""

from collections.abc import Callable
from typing import Final

from bus.clock import Clock

GAP_MS: Final = 3_000
"""Standing still for longer than this is a gap in time: nothing heard before it is acted on."""

SET_BACK_MS: Final = 1_000
"""If the wall clock falls behind the steady clock by more than this at once, it was set back."""

LOOK_MS: Final = 50
"""How often, at most, the processor time is read: that asks the kernel, and every message would."""


class Watchdog:
    """Notices that this thread or the whole machine stood still, or that the wall clock was set.

    Args:
        cpu_ns: returns this thread's processor time: being busy is not standing still.
    """

    def __init__(self, clock: Clock, cpu_ns: Callable[[], int]) -> None:
        self._clock = clock
        self._cpu_ns = cpu_ns
        self._last = self._read()

    def _read(self) -> tuple[int, int, int]:
        clock = self._clock
        return clock.monotonic_ns() // 1_000_000, clock.now_ms(), self._cpu_ns() // 1_000_000

    def gap_ms(self) -> int:
        """Return how long it stood still since the last call, to LOOK_MS; 0 if it did not.

        A suspended machine stops the steady clock too (CLOCK_MONOTONIC): only the wall clock moves on, as if
        it had been set ahead. A negative result is how far the wall clock was set back.
        """
        now_steady_ms, now_wall_ms = self._clock.monotonic_ns() // 1_000_000, self._clock.now_ms()
        steady_ms, wall_ms, cpu_ms = self._last
        steady_ms, wall_ms = now_steady_ms - steady_ms, now_wall_ms - wall_ms
        if steady_ms < LOOK_MS and -SET_BACK_MS <= wall_ms < LOOK_MS:
            return 0
        now_cpu_ms = self._cpu_ns() // 1_000_000
        self._last = now_steady_ms, now_wall_ms, now_cpu_ms
        if wall_ms - steady_ms < -SET_BACK_MS:
            return wall_ms - steady_ms
        idle_ms = max(steady_ms, wall_ms) - (now_cpu_ms - cpu_ms)
        return idle_ms if idle_ms > GAP_MS else 0
