"""Nothing of ours rests for long after trader, gateway or feed have died or stand still."""

import signal
import time
from collections.abc import Iterator

import pytest

from publisher.orders.watchdog import SILENT_MS, Silence
from tests.publisher.orders.floor import Floor
from tests.support import Process, Runner, eventually

WITHIN_S = 5.0


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


@pytest.fixture
def floor(runner: Runner) -> Iterator[Floor]:
    floor = Floor(runner, "--tier", "prime")
    yield floor
    floor.close()


class Drill:
    """Everything up, and an order that rests; with it one that is not ours."""

    def __init__(self, floor: Floor) -> None:
        self.floor = floor
        self.gateway = floor.gateway()
        self.watchdog = floor.watchdog()
        self.trader = floor.trader()
        floor.wait_ready()
        self.foreign = floor.place_by_hand()

    def rest(self) -> None:
        """Let an order of ours rest."""
        intents = [self.floor.intent(), self.floor.intent()]
        self.floor.place(*intents)
        names = {intent.client_order_id for intent in intents}
        eventually(lambda: names <= {*self.floor.resting()}, what="they rest")

    def only_the_foreign_rests(self) -> bool:
        return self.floor.resting() == [self.foreign]

    def strike(self, number: signal.Signals, *processes: Process) -> float:
        """Send a signal to all of these; return how long it takes until nothing of ours rests."""
        began = time.monotonic()
        for process in processes:
            process.signal(number)
        eventually(self.only_the_foreign_rests, 30, "nothing of ours rests")
        return time.monotonic() - began


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(150)
def test_whoever_is_killed_or_stopped_nothing_of_ours_rests_after_five_seconds(floor: Floor) -> None:
    drill = Drill(floor)
    took: dict[str, float] = {}

    drill.rest()
    took["trader stopped"] = drill.strike(signal.SIGSTOP, drill.trader)
    assert drill.gateway.wait() == -signal.SIGKILL, "it was fenced, and ended"
    drill.trader.signal(signal.SIGCONT)
    drill.gateway = floor.gateway()
    floor.wait_ready()

    drill.rest()
    took["gateway stopped"] = drill.strike(signal.SIGSTOP, drill.gateway)
    assert drill.gateway.wait() == -signal.SIGKILL, "who stands still must never go on"
    drill.gateway = floor.gateway()
    floor.wait_ready()

    drill.rest()
    took["both killed"] = drill.strike(signal.SIGKILL, drill.trader, drill.gateway)
    # One that comes while the watchdog is still at work: it knows what became of all, and may place again.
    drill.gateway, drill.trader = floor.gateway(), floor.trader()
    floor.wait_ready()
    eventually(lambda: all(floor.ended(number) for number in range(1, floor.number + 1)), 30, "all ended")
    status = floor.status()
    assert status is not None
    assert status.watchdog is not None
    assert "cancelled" in status.watchdog
    drill.rest()
    assert len(floor.resting()) == 3
    assert max(took.values()) < WITHIN_S, took
