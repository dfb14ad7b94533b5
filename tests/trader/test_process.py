"""The trader as a person runs it: ``python -m trader`` and its commands, through SIGKILL and SIGTERM."""

import json
import signal
import subprocess
import sys

import pytest

from tests.support import Runner, eventually

pytestmark = pytest.mark.e2e


def command(runner: Runner, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trader", *words],
        env=runner.env,
        cwd=runner.folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_kill_holds_through_kill_9_and_needs_its_word(runner: Runner) -> None:
    process = runner.start("trader")
    process.wait_event("trader.ready")
    eventually(lambda: command(runner, "status").returncode == 0)
    status = json.loads(command(runner, "status").stdout)
    assert (status["state"], status["positions"]) == ("starting", 0)
    assert command(runner, "pause", "for", "lunch").stdout == "paused\n"
    assert command(runner, "kill", "enough").stdout == "killed\n"
    process.kill()

    again = runner.start("trader")
    again.wait_event("trader.ready")
    assert "UNLOCK" in command(runner, "resume").stderr
    status = json.loads(command(runner, "status").stdout)
    assert (status["state"], status["killed"]["reason"]) == ("killed", "enough")
    assert status["reasons"][:2] == ["killed", "paused"]
    assert command(runner, "resume", "UNLOCK").stdout == "starting\n"
    assert again.stop(5) == 0

    assert "reconciled to the micro-dollar" in command(runner, "reconcile").stdout
    verified = command(runner, "verify")
    assert verified.returncode == 0
    assert verified.stdout.count("identical") == 2


def test_kill_without_a_trader_holds_for_the_next_one(runner: Runner) -> None:
    out = command(runner, "kill", "before the start")

    assert out.returncode == 0
    assert "no trader runs here" in out.stdout
    runner.start("trader").wait_event("trader.ready")
    assert json.loads(command(runner, "status").stdout)["state"] == "killed"


def test_two_traders_never_share_a_journal(runner: Runner) -> None:
    runner.start("trader").wait_event("trader.ready")

    other = runner.start("trader", env={"KALSHI_BUS_RUN_DIR": str(runner.folder / "r2")})

    assert other.wait() == 2
    assert "already running" in other.output()


def test_standing_still_is_noticed(runner: Runner) -> None:
    process = runner.start("trader")
    process.wait_event("trader.ready")
    process.signal(signal.SIGSTOP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(3.5)
    process.signal(signal.SIGCONT)

    assert process.wait_event("time.gap")["ms"] > 3_000


@pytest.mark.parametrize(("mode", "env"), [("sim", "sim")])
def test_a_mode_that_needs_a_gateway_refuses_to_start(runner: Runner, mode: str, env: str) -> None:
    process = runner.start("trader", env={"KALSHI_BUS_MODE": mode, "KALSHI_BUS_ENV": env})

    assert process.wait() == 2
    assert "order gateway" in process.output()
