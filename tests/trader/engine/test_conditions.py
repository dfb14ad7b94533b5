"""What must be right before anything is traded."""

from collections.abc import Callable

import pytest

from tests.trader.world import NOW_MS
from trader.engine.conditions import Conditions

STALE_MS = 30_000


def right() -> Conditions:
    """Conditions under which anything may be traded."""
    conditions = Conditions()
    conditions.feed, conditions.epoch, conditions.complete_ms = "live", 1, NOW_MS
    return conditions


def halts(conditions: Conditions, now_ms: int = NOW_MS) -> tuple[str, ...]:
    return conditions.halts(now_ms, STALE_MS)


def test_at_first_nothing_is_known_and_nothing_traded() -> None:
    assert halts(Conditions()) == ("starting", "stale")
    assert halts(right()) == ()


def test_age_counts_from_the_last_complete_sweep_and_a_clock_set_back_does_not_make_it_young() -> None:
    assert halts(right(), NOW_MS + STALE_MS) == ()
    assert halts(right(), NOW_MS + STALE_MS + 1) == ("stale",)
    assert halts(right(), NOW_MS - 5_001) == ("stale",)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda conditions: conditions.command("kill", "x"), "killed"),
        (lambda conditions: conditions.command("pause", "x"), "paused"),
        (lambda conditions: setattr(conditions, "feed", "gap"), "gap"),
        (lambda conditions: setattr(conditions, "feed", "lost"), "gap"),
        (lambda conditions: setattr(conditions, "trading", False), "closed"),
        (lambda conditions: setattr(conditions, "floor_ms", NOW_MS + 1), "stale"),
    ],
)
def test_each_of_them_halts(change: Callable[[Conditions], None], word: str) -> None:
    conditions = right()
    change(conditions)

    assert halts(conditions) == (word,)


def test_resume_lifts_kill_and_pause_alike() -> None:
    conditions = right()
    conditions.command("kill", "x")
    conditions.command("pause", "y")
    assert halts(conditions) == ("killed", "paused")
    conditions.command("resume", "")
    assert halts(conditions) == ()
