"""The minder: slow calls are counted, one that does not return ends the process, and is remembered."""

import json
import threading
from pathlib import Path

import pytest

from bus.clock import ManualClock
from bus.trading.ended import NAME, EndedStrategies
from tests.support import eventually
from trader.minder import LIMIT_MS, LOOK_MS, Minder, Running, Watch, ender

LOOKS = LIMIT_MS // LOOK_MS


def test_calls_that_need_more_than_50_ms_are_counted() -> None:
    clock = ManualClock()
    minder = Minder(clock)
    for ms in (50, 51, 400, 70):
        minder.begins("mine", "on_update")
        clock.advance(ms)
        minder.ends()
    minder.begins("mine", "its import", 30_000)
    clock.advance(9_000)
    minder.ends()

    assert (minder.slow["mine"].count, minder.slow["mine"].longest_ms) == (3, 400)
    assert minder.running is None


def test_a_call_that_does_not_return_is_ended_after_two_seconds_of_looks() -> None:
    clock = ManualClock()
    minder, ended = Minder(clock), list[Running]()
    watch = Watch(minder, ended.append)
    minder.begins("mine", "on_update")
    clock.advance(3_600_000)  # the machine was suspended: that is nobody's fault
    for _ in range(LOOKS):
        watch.look()
    assert ended == []

    watch.look()

    (running,) = ended
    assert (running.strategy, running.call) == ("mine", "on_update")


def test_calls_that_return_may_be_as_many_as_they_are() -> None:
    minder, ended = Minder(ManualClock()), list[Running]()
    watch = Watch(minder, ended.append)
    for _ in range(LOOKS):
        minder.begins("mine", "on_update")
        watch.look()
        watch.look()
        minder.ends()
        watch.look()

    assert ended == []


def test_an_import_may_take_longer() -> None:
    minder, ended = Minder(ManualClock()), list[Running]()
    watch = Watch(minder, ended.append)
    minder.begins("/home/me/mine.py:Mine", "its import", 30_000)
    for _ in range(300):
        watch.look()
    assert ended == []
    watch.look()
    assert len(ended) == 1


def test_who_is_ended_is_remembered_and_said_with_the_stack(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clock, held, exits = ManualClock(), EndedStrategies(tmp_path / "data"), list[int]()
    minder = Minder(clock)
    minder.labels["mine"] = "/home/me/mine.py:Mine"

    ender(minder, held, clock, lambda: exits.append(3))(Running(1, "mine", "on_update", LIMIT_MS))

    assert exits == [3]
    (ended,) = held.read()
    assert (ended.label, ended.strategy, ended.call, ended.at_ms) == (
        "/home/me/mine.py:Mine", "mine", "on_update", clock.now_ms()
    )  # fmt: skip
    said = capsys.readouterr().out
    assert "did not return within 2 s" in said
    assert "test_who_is_ended_is_remembered" in said
    assert "kalshi-bus trader allow mine" in said


def test_the_process_is_ended_though_that_cannot_be_remembered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / NAME).write_text("half of it")
    clock, exits = ManualClock(), list[int]()

    ender(Minder(clock), EndedStrategies(tmp_path), clock, lambda: exits.append(3))(
        Running(1, "value", "on_timer", LIMIT_MS)
    )

    assert exits == [3]
    assert "it will be loaded again" in capsys.readouterr().out


def test_the_thread_looks_until_it_is_stopped() -> None:
    minder, ended = Minder(ManualClock()), threading.Event()
    watch = Watch(minder, lambda _running: ended.set())
    minder.begins("mine", "on_update", 200)
    watch.thread.start()

    eventually(ended.is_set)

    watch.stop()
    assert not watch.thread.is_alive()
    assert json.dumps(minder.running) == json.dumps([1, "mine", "on_update", 200])
