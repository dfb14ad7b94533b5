"""Processes that freeze, die or stop: everyone sees the age, and nothing is traded on old data or twice."""

import http.client
import os
import signal
from collections.abc import Mapping
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from bus.process.locks import hold_role
from bus.process.supervised import UNSTABLE_S
from markets.errors import StartupError
from tests.e2e.conftest import START_S, Hammer, Stack, get
from tests.support import Process, eventually, is_over

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

ALL = ("simulator", "publisher", "snapshot_server", "ui", "trader")
BESIDE = ("past", "recorder")
"""The other processes that supervisord runs."""


def urls(stack: Stack) -> list[str]:
    return [
        f"{stack.snapshot_url}/health",
        f"{stack.snapshot_url}/markets?limit=100",
        f"{stack.ui_url}/",
        f"{stack.ui_url}/api/opportunities",
    ]


def test_a_frozen_publisher_is_noticed_and_nothing_is_traded(stack: Stack) -> None:
    stack.start(*ALL)
    stack.wait_working()
    publisher = stack.processes["publisher"]
    epoch = stack.health()["epoch"]

    publisher.signal(signal.SIGSTOP)
    stack.wait_health("stale", 20)
    eventually(lambda: stack.health()["feed"] == "lost", what="the silence is noticed")
    health = stack.health()
    eventually(lambda: stack.health()["age_seconds"] > health["age_seconds"] + 1)
    assert stack.health()["status"] == "stale"
    assert stack.health()["market_count"] == health["market_count"] > 100
    assert get(f"{stack.snapshot_url}/ready")[0] == 503
    eventually(lambda: stack.trader().get("state") in ("stale", "gap"), what="the trader stops")
    eventually(lambda: not stack.trader()["open_orders"], what="orders on their way have ended")
    orders = stack.trader()["orders"]
    eventually(lambda: {"feed_lost", "stale"} <= {one["code"] for one in stack.ui_status()["problems"]})
    eventually(lambda: stack.health()["age_seconds"] > health["age_seconds"] + 3)
    assert stack.trader()["orders"] == orders

    publisher.signal(signal.SIGCONT)
    stack.wait_working()
    assert stack.health()["epoch"] == epoch
    assert get(f"{stack.snapshot_url}/ready")[0] == 200
    stack.wait_digests_agree()


@pytest.mark.alone
def test_a_rolling_restart_under_load_is_quick_and_loses_and_repeats_nothing(stack: Stack) -> None:
    stack.start(*ALL)
    stack.wait_working()
    stack.send_rivals_away()
    eventually(lambda: stack.journal().fills, 3 * START_S, "the trader has traded")
    epoch = stack.health()["epoch"]
    stream = http.client.HTTPConnection("127.0.0.1", stack.runner.ui_port, timeout=10)
    stream.request("GET", "/api/events")
    with Hammer(urls(stack)) as hammer:
        eventually(lambda: hammer.statuses[200] > 20, START_S)
        for name in ("ui", "publisher", "trader", "snapshot_server", "simulator"):
            before = stack.journal()
            assert stack.processes[name].stop(5) == 0, name
            stack.start(name)
            stack.wait_working(START_S, f"all works after the restart of {name}")
            stack.journal().assert_continues(before)
        stack.wait_digests_agree()
    stream.close()
    assert set(hammer.statuses) <= {200, 503, 0}
    assert stack.health()["epoch"] > epoch
    for name in ("ui", "publisher", "trader", "snapshot_server", "simulator"):
        assert stack.processes[name].stop(5) == 0, name


@pytest.mark.alone
def test_every_process_stops_in_time_while_waiting_for_others(stack: Stack) -> None:
    stack.start("publisher", "snapshot_server", "ui", "trader")
    for process in stack.processes.values():
        process.wait_event("process.started", START_S)
    for name, process in stack.processes.items():
        assert process.stop(5) == 0, name


# --- under supervisord ---------------------------------------------------------------------------


def supervised(stack: Stack) -> Process:
    """Start everything as ``make run`` does."""
    process = stack.runner.start("bus.process.supervise")
    stack.wait_working(2 * START_S, "the supervised stack works")
    return process


def processes(stack: Stack) -> Mapping[str, dict[str, Any]]:
    """The processes in /health; empty while it does not answer."""
    return stack.health().get("processes") or {}


def all_running(stack: Stack) -> Mapping[str, dict[str, Any]]:
    def answer() -> Mapping[str, dict[str, Any]] | None:
        found = processes(stack)
        # In mode paper no gateway is meant to run; processes stopped by hand count as in trouble.
        meant = {
            name: one
            for name, one in found.items()
            if one["state"] != "STOPPED" or one["trouble"] is not None
        }
        return meant if meant and all(one["state"] == "RUNNING" for one in meant.values()) else None

    found = eventually(answer, START_S, "all are RUNNING")
    assert found is not None
    return found


def positions(stack: Stack) -> dict[tuple[str, str], int]:
    """The trader's positions in hundredths of a contract, by (ticker, side)."""
    return {
        (one["ticker"], one["side"]): round(float(one["count_fp"]) * 100)
        for one in stack.ask("trader_control", "positions")["positions"]
    }


def test_killed_processes_come_back_by_themselves_and_trade_nothing_twice(stack: Stack) -> None:
    supervised(stack)
    known = all_running(stack)
    assert set(known) == {*ALL, *BESIDE}
    stack.send_rivals_away()
    eventually(lambda: stack.journal().fills, 3 * START_S, "the trader has traded")

    with Hammer(urls(stack)) as hammer:
        for name in ("publisher", "snapshot_server", "trader", "ui"):
            before, answers = stack.journal(), hammer.statuses[200]
            pid = known[name]["pid"]
            os.kill(pid, signal.SIGKILL)
            eventually(lambda: not psutil.pid_exists(pid))  # noqa: B023 -- called at once
            stack.wait_working(START_S, f"all works after kill -9 of {name}")
            stack.journal().assert_continues(before)
            assert hammer.statuses[200] > answers
    assert set(hammer.statuses) <= {200, 503, 0}, hammer.statuses

    found = all_running(stack)
    for name, one in found.items():
        killed = name not in ("simulator", *BESIDE)
        assert one["restarts"] == killed, name
        assert (one["pid"] != known[name]["pid"]) == killed, name
        assert one["tries"] == 0
    stack.wait_digests_agree()
    assert stack.trader_command("pause").returncode == 0
    eventually(lambda: not stack.trader()["open_orders"])
    eventually(
        lambda: positions(stack) == stack.journal().held() != {}, what="positions equal what was bought"
    )
    assert stack.trader_command("reconcile").returncode == 0
    verified = stack.trader_command("verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_a_crash_loop_is_shown_and_recovers(stack: Stack) -> None:
    supervised(stack)
    trader = all_running(stack)["trader"]
    os.kill(trader["pid"], signal.SIGKILL)

    def place_taken() -> Any:
        place = hold_role(stack.runner.run_dir, "trader")
        try:
            place.__enter__()
        except StartupError:
            return None
        return place

    # A process that starts now finds its place taken and refuses to start.
    place = eventually(place_taken)
    try:
        # On a busy machine it takes over 3 s to refuse; supervisord then calls it RUNNING in between.
        looping: Any = eventually(
            lambda: next((one for one in processes(stack).values() if one["trouble"]), None), 2 * START_S
        )
        assert looping["tries"] >= 1 or looping["restarts"] >= 3
        problem = eventually(
            lambda: next(
                (
                    problem["text"]
                    for problem in stack.ui_status()["problems"]
                    if problem["code"].startswith("process_trader")
                ),
                None,
            )
        )
        assert problem is not None
        assert "trader" in problem
        assert "The trader process" in get(f"{stack.ui_url}/")[1]
        doctor = stack.runner.start("bus", "doctor")
        assert doctor.wait(30) == 1
        assert "WRONG  supervised trader: " in doctor.output()
        assert stack.health()["status"] == "ok"
    finally:
        place.__exit__(None, None, None)
    eventually(lambda: all_running(stack)["trader"]["trouble"] is None, UNSTABLE_S + START_S)
    healed = all_running(stack)["trader"]
    assert healed["tries"] == 0
    assert healed["restarts"] >= 1
    stack.wait_working()
    eventually(lambda: stack.ui_status()["problems"] == [])


def alive(family: list[psutil.Process]) -> list[psutil.Process]:
    return [one for one in family if one.is_running() and not is_over(one.pid)]


def family_of(process: Process) -> list[psutil.Process]:
    parent = psutil.Process(process.pid)
    return [parent, *parent.children(recursive=True)]


def test_the_kill_switch_survives_every_restart_and_nothing_is_left_behind(stack: Stack) -> None:
    first = supervised(stack)
    for url in (f"{stack.ui_url}/", f"{stack.snapshot_url}/markets", f"{stack.snapshot_url}/health"):
        assert url in first.output()
    pid = all_running(stack)["trader"]["pid"]
    killed = stack.trader_command("kill", "enough")
    assert (killed.returncode, killed.stdout) == (0, "killed\n")
    eventually(lambda: not stack.trader()["open_orders"])
    before = stack.journal()

    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not psutil.pid_exists(pid))
    trader = eventually(lambda: (t := stack.trader()) and t["feed"] == "live" and t, START_S)
    assert (trader["state"], trader["killed"]["reason"]) == ("killed", "enough")

    # supervisord itself dies: everything dies with it, and the next start is safe.
    whole = 1 + len(ALL) + len(BESIDE) + 1  # the snapshot server's front
    eventually(lambda: len(family_of(first)) == whole, what="all processes")
    family = family_of(first)
    first.signal(signal.SIGKILL)
    eventually(lambda: not alive(family), what="no process outlives supervisord")
    second = stack.runner.start("bus.process.supervise")
    trader = eventually(lambda: (t := stack.trader()) and t["feed"] == "live" and t, 2 * START_S)
    assert trader["state"] == "killed"
    after = stack.journal()
    assert (after.orders, after.fills) == (before.orders, before.fills)
    assert stack.trader_command("resume").returncode != 0
    assert stack.trader_command("resume", "UNLOCK").returncode == 0
    stack.wait_working()
    stack.journal().assert_continues(before)

    # Ctrl-C: the terminal sends SIGINT to the whole foreground group.
    family = family_of(second)
    os.killpg(second.pid, signal.SIGINT)
    assert second.wait(15) == 0
    assert alive(family) == []
    assert get(f"{stack.ui_url}/")[0] == 0
