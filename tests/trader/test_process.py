"""The trader and the commands of ``kalshi-bus trader``, through SIGKILL and SIGTERM."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bus.trading.killswitch import KillSwitch
from tests.support import Runner, eventually
from trader.command import command as in_process

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


def test_a_person_s_commands_say_in_a_sentence_why_nothing_is_done(
    runner: Runner, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in runner.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(runner.folder)
    assert in_process(["confirm", "7"]) == 1  # nobody answers
    runner.start("trader").wait_event("trader.ready")
    eventually(lambda: in_process(["status"]) == 0)
    capsys.readouterr()
    for words, code, said in (
        (["prepare", "buy", "NONE", "yes", "10", "0.43"], 2, "NONE: the market is not known"),
        (["prepare", "buy", "NONE", "yes", "10", "1.43"], 2, "limit"),
        (["prepare", "buy", "NONE", "yes", "1.5", "0.43"], 2, "count"),
        (["prepare", "sell", "NONE", "1.5"], 2, "count"),
        (["prepare", "sell", "NONE"], 2, "nothing is held there"),
        (["prepare", "cancel", "7"], 2, "there is no order with that number"),
        (["confirm", "7"], 2, "ticket_unknown"),
        (["adopt"], 1, "nothing to adopt"),
        (["prepare", "flatten"], 0, "pause, cancel 0 orders, sell 0 positions"),
        (["cash"], 2, "mode paper"),
        (["explain", "1"], 2, "order 1: there is none"),
        (["explain", "NONE"], 0, "nothing_held"),
        (["tax", "2026"], 0, "ticker,side,contracts"),
        (["tax", "2026", "--csv", "lots.csv"], 0, "lots.csv: 0 lots closed in 2026"),
    ):
        code_of = in_process(words)
        told = capsys.readouterr()
        assert (code_of, said in told.out + told.err) == (code, True), (words, told)
        if words[-1] == "flatten":
            number = told.out.split()[1]
            for _ in range(2):  # said again it is the same one
                assert in_process(["confirm", number]) == 0
                assert "flat: nothing is held or ordered" in capsys.readouterr().out


def test_kill_without_a_trader_holds_for_the_next_one(runner: Runner) -> None:
    out = command(runner, "kill", "before the start")

    assert out.returncode == 0
    assert "no trader runs here" in out.stdout
    runner.start("trader").wait_event("trader.ready")
    assert json.loads(command(runner, "status").stdout)["state"] == "killed"


def test_resume_without_a_trader_takes_the_word_and_lets_the_next_one_trade(runner: Runner) -> None:
    nothing = command(runner, "resume")
    assert (nothing.returncode, "nothing to resume" in nothing.stdout) == (1, True)
    KillSwitch(runner.folder / "data").set("before the start")
    refused = command(runner, "resume", "unlock")
    assert refused.returncode == 2
    assert "resume with the word UNLOCK" in refused.stderr
    assert KillSwitch(runner.folder / "data").read()

    resumed = command(runner, "resume", "UNLOCK")

    assert resumed.returncode == 0
    assert "the next one will trade" in resumed.stdout
    assert KillSwitch(runner.folder / "data").read() is None


def test_a_trader_that_stands_still_is_not_resumed_behind_its_back(runner: Runner) -> None:
    process = runner.start("trader")
    process.wait_event("trader.ready")
    command(runner, "kill")
    process.signal(signal.SIGSTOP)

    told = command(runner, "resume", "UNLOCK")

    process.signal(signal.SIGCONT)
    assert told.returncode == 2
    assert f"trader already running, pid {process.pid}" in told.stderr
    assert KillSwitch(runner.folder / "data").read()


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


def test_a_mode_that_needs_a_gateway_says_that_it_waits_for_one(runner: Runner) -> None:
    process = runner.start("trader", env={"KALSHI_BUS_MODE": "sim"})

    assert process.wait_event("gateway.waited_for")["op"] == "gateway"


HANGS = """
import time
from trader.strategies import Quiet


class Hangs(Quiet):
    name = "hangs"
    ticks = 0

    def on_timer(self, now_ms):
        self.ticks += 1
        if self.ticks == 2:
            time.sleep(600)


class Raises(Quiet):
    name = "raises"

    def on_timer(self, now_ms):
        raise ValueError("no more time")
"""


def test_a_strategy_that_does_not_return_is_ended_and_not_loaded_until_it_is_allowed(runner: Runner) -> None:
    path = runner.folder / "mine.py"
    path.write_text(HANGS)
    env = {"KALSHI_BUS_STRATEGIES": f"no_basket,{path}:Hangs,{path}:Raises"}
    runner.env |= env
    trader = runner.start("trader")
    assert trader.wait(20) == 3
    (ended,) = trader.events("strategy.ended")
    assert (ended["strategy"], ended["call"], ended["label"]) == ("hangs", "on_timer", f"{path}:Hangs")
    assert "time.sleep(600)" in ended["stack"]
    (dropped,) = trader.events("strategy.dropped")
    assert (dropped["strategy"], dropped["call"]) == ("raises", "on_timer")
    assert "no more time" in dropped["trace"]

    again = runner.start("trader")
    assert again.wait_event("strategy.left_out")["strategy"] == "hangs"
    states = eventually(lambda: json.loads(command(runner, "status").stdout or "{}").get("strategy_states"))
    assert {state["name"]: state["state"] for state in states}["hangs"] == "ended"
    assert "hangs: not loaded" in command(runner, "check").stdout
    assert command(runner, "allow", "nobody").returncode == 2
    assert "when the trader next starts" in command(runner, "allow", "hangs").stdout
    again.wait_event("strategy.dropped")
    assert again.stop(5) == 0
    assert "strategy hangs:" in command(runner, "check").stdout
    verified = command(runner, "verify")
    assert verified.returncode == 0
    assert (verified.stdout.count("identical"), verified.stdout.count("another build")) == (2, 0)

    path.write_text(HANGS + "# edited\n")
    assert command(runner, "verify").stdout.count("decided by another build") == 2
    path.unlink()
    verified = command(runner, "verify")
    assert verified.returncode == 1
    assert f"CANNOT BE DECIDED AGAIN (KALSHI_BUS_STRATEGIES: {path}: cannot be read" in verified.stdout


LOCKS = """
from trader.strategies import Quiet


class Locks(Quiet):
    name = "locks"

    def on_timer(self, now_ms):
        sum(range(10**12))
"""


def test_a_strategy_that_keeps_the_interpreter_for_itself_is_ended_too(runner: Runner) -> None:
    path = runner.folder / "mine.py"
    path.write_text(LOCKS)
    runner.env |= {"KALSHI_BUS_STRATEGIES": f"{path}:Locks"}
    trader = runner.start("trader")
    assert trader.wait(30) == 1
    assert trader.events("strategy.ended") == []  # nothing of Python ran any more

    again = runner.start("trader")
    ended = again.wait_event("strategy.ended")
    assert (ended["strategy"], ended["call"], ended["label"]) == ("locks", "on_timer", f"{path}:Locks")
    assert "mine.py" in ended["stack"]
    again.wait_event("trader.ready")
    assert again.stop(5) == 0
    last = runner.start("trader")
    last.wait_event("trader.ready")
    assert last.events("strategy.ended") == []  # told once
    assert [event["strategy"] for event in last.events("strategy.left_out")] == ["locks"]


SOURCE = """
import os
from pathlib import Path
from trader.fair_values import Estimator


class Mine(Estimator):
    name = "mine"

    def __init__(self, params):
        super().__init__(params)
        Path("source.pid").write_text(str(os.getpid()))

    def values(self, bus):
        return {}
"""


def test_a_source_dies_with_a_killed_trader(runner: Runner) -> None:
    path = runner.folder / "mine.py"
    path.write_text(SOURCE)
    trader = runner.start("trader", env={"KALSHI_BUS_FAIR_VALUES": f"{path}:Mine"})
    trader.wait_event("trader.ready", 20)
    pid = int((runner.folder / "source.pid").read_text())
    os.kill(pid, 0)

    trader.kill()

    eventually(lambda: not running(pid))


def running(pid: int) -> bool:
    """Whether a process is there, and more than the remains of one."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_strategy_that_cannot_be_loaded_refuses_the_start(runner: Runner) -> None:
    path = runner.folder / "mine.py"
    path.write_text("x = 1\nclass Mine(:\n")

    trader = runner.start("trader", env={"KALSHI_BUS_STRATEGIES": f"{path}:Mine,value"})

    assert trader.wait() == 2
    (line,) = trader.output().strip().splitlines()[-1:]
    assert line.startswith(f"trader: KALSHI_BUS_STRATEGIES: {path}:2: invalid syntax: 'class Mine(:'")


def test_check_says_what_is_in_the_file_of_fair_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KALSHI_BUS_FAIR_VALUES_FILE", "values.csv")

    def says(content: str | None) -> str:
        if content is not None:
            (tmp_path / "values.csv").write_text(content)
        assert in_process(["check"]) == 0, "the trader starts without it"
        return capsys.readouterr().out

    assert "values.csv: cannot be read: No such file" in says(None)
    assert "got columns ['price'], expected ticker" in says("price\n1\n")
    told = says("ticker,probability\nA,0.5\nB,2\n")
    assert "source file: " in told
    assert "values.csv: 1 fair values, 1 rows refused" in told
    assert "values.csv line 3 (B): probability: got '2'" in told
