"""How our programs are named to the person who starts them."""

import pytest

from bus.process import programs


def test_a_checkout_has_make_and_a_python() -> None:
    assert programs.to_type("run") == "make run"
    assert programs.to_type("bus doctor") == "python -m bus doctor"
    assert programs.to_type("trader allow") == "python -m trader allow"


def test_an_installation_has_only_the_console_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "IS_CHECKOUT", False)

    assert programs.to_type("run") == "kalshi-bus run"
    assert programs.to_type("bus doctor") == "kalshi-bus doctor"
    assert programs.to_type("trader allow") == "kalshi-bus trader allow"
