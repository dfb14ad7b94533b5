"""How our programs are named to the person who starts them."""

import signal
import subprocess
import sys

import pytest

from bus.process import programs
from tests.support import child


@pytest.mark.parametrize("typed", [".venv/bin/kalshi-bus", "kalshi-bus"])
def test_a_checkout_has_make(typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "COMMAND", typed)

    assert programs.to_type("run") == "make run"
    assert programs.to_type("doctor") == f"{typed} doctor"
    assert programs.to_type("trader allow") == f"{typed} trader allow"
    assert programs.to_install("nats") == typed.replace("kalshi-bus", "pip install 'kalshi-bus[nats]'")


def test_installation_and_container_have_only_the_console_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "HAS_MAKE", False)
    monkeypatch.setattr(programs, "COMMAND", "kalshi-bus")

    assert programs.to_type("run") == "kalshi-bus run"
    assert programs.to_type("doctor") == "kalshi-bus doctor"


def test_a_process_that_ends_is_waited_for_and_one_that_does_not_is_killed() -> None:
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with child(command, stdin=subprocess.PIPE) as obedient:
        assert obedient.stdin is not None
        obedient.stdin.close()
        programs.wait_or_kill(obedient, 30)
        assert obedient.returncode == 0
    with child(command, stdin=subprocess.PIPE) as deaf:
        programs.wait_or_kill(deaf, 0.01)
        assert deaf.returncode == -signal.SIGKILL
