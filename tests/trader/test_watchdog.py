"""Standing still, as the clocks show it."""

import pytest

from bus.clock import ManualClock
from trader.watchdog import GAP_MS, Watchdog


@pytest.mark.parametrize(
    ("steady_ms", "wall_ms", "cpu_ms", "gap_ms"),
    [
        (GAP_MS, GAP_MS, 0, 0),
        (GAP_MS + 1, GAP_MS + 1, 0, GAP_MS + 1),
        (0, 3_600_000, 0, 3_600_000),
        (60_000, 60_000, 59_000, 0),
        (60_000, 60_000, 30_000, 30_000),
        (100, -3_600_000, 0, -3_600_100),
        (0, -1_001, 0, -1_001),
        (60_000, -60_000, 59_000, -120_000),
        (100, -900, 0, 0),
    ],
    ids=[
        "short",
        "stopped",
        "suspended",
        "busy",
        "half busy",
        "set back",
        "set back at once",
        "busy and set back",
        "set back a little",
    ],
)
def test_idle_time_is_what_no_work_explains(steady_ms: int, wall_ms: int, cpu_ms: int, gap_ms: int) -> None:
    clock, used_ns = ManualClock(), 0
    watchdog = Watchdog(clock, lambda: used_ns)
    before_ms = clock.now_ms()
    clock.advance(steady_ms)
    clock.set_wall(before_ms + wall_ms)
    used_ns = cpu_ms * 1_000_000

    assert watchdog.gap_ms() == gap_ms
    assert watchdog.gap_ms() == 0
