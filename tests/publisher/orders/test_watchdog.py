"""Nothing of ours rests for long after trader, gateway or feed have died or stand still."""

import pytest

from publisher.orders.watchdog import SILENT_MS, Silence
from tests.publisher.orders.drills import QUICK, drill, mountable
from tests.support import Runner


def test_each_is_given_its_time_and_told_of_once() -> None:
    silence = Silence(0)
    everybody = set(SILENT_MS)
    for now_ms in range(100, 20_000, 100):
        assert silence.look(everybody, now_ms) == ()
    said: dict[int, tuple[str, ...]] = {}
    for now_ms in range(20_000, 60_000, 100):
        if new := silence.look({"feed"} if now_ms < 40_000 else (), now_ms):
            said[now_ms] = new
    # A gateway that stays away is told of again: it may have come and gone unheard.
    assert said.pop(22_900) == ("gateway", "trader")
    assert said.pop(49_900) == ("feed", "gateway")
    assert said == dict.fromkeys((ms for ms in range(25_900, 60_000, 3_000) if ms != 49_900), ("gateway",))
    assert silence.look({"trader", "gateway"}, 60_000) == ()
    for now_ms in range(60_100, 63_000, 100):
        assert silence.look((), now_ms) == ()
    assert silence.look((), 63_000) == ("gateway", "trader")


def test_who_was_never_heard_is_silent_too() -> None:
    silence = Silence(0)
    for now_ms in range(0, 3_000, 500):
        assert silence.look({"feed", "gateway"}, now_ms) == ()
    assert silence.look({"feed", "gateway"}, 3_000) == ("trader",)


def test_where_this_process_stood_still_the_others_get_their_time_again() -> None:
    silence = Silence(0)
    assert silence.look((), 60_000) == ()
    for now_ms in range(60_500, 63_000, 500):
        assert silence.look((), now_ms) == ()
    assert silence.look((), 63_000) == ("gateway", "trader")


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(150)
def test_whoever_is_killed_or_stopped_nothing_of_ours_rests_after_five_seconds(runner: Runner) -> None:
    """More drills, and those that wait for a lease: make soak order_drills."""
    drill(runner, [*QUICK, *(["disk full"] if mountable() else [])])
