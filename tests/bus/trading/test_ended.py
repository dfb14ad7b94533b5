"""Strategies that are not loaded again until their owner says so."""

import os
from pathlib import Path

import pytest

from bus.trading.ended import NAME, EndedStrategies, EndedStrategy
from markets.errors import StartupError

MINE = EndedStrategy("/home/me/mine.py:Mine", "spread", "on_update", 7)
VALUE = EndedStrategy("value", "value", "on_timer", 8)


def test_what_is_added_is_read_until_it_is_allowed(tmp_path: Path) -> None:
    held = EndedStrategies(tmp_path / "data")
    assert held.read() == ()

    held.add(MINE)
    held.add(VALUE)
    held.add(EndedStrategy(MINE.label, "spread", "on_fill", 9))

    assert [(ended.strategy, ended.call) for ended in EndedStrategies(tmp_path / "data").read()] == [
        ("value", "on_timer"),
        ("spread", "on_fill"),
    ]
    assert held.path.stat().st_mode & 0o777 == 0o600
    assert held.allow("nobody") == []
    assert [ended.strategy for ended in held.allow("spread")] == ["spread"]
    assert held.read() == (VALUE,)


@pytest.mark.parametrize("name", ["spread", "Mine", "/home/me/mine.py:Mine"])
def test_it_is_allowed_by_any_of_its_names(tmp_path: Path, name: str) -> None:
    held = EndedStrategies(tmp_path / "data")
    held.add(MINE)

    assert held.allow(name) == [MINE]
    assert held.read() == ()


@pytest.mark.parametrize("body", [b"", b"{}", b'[{"label": 7}]', b"\xff", b"[" * 100_000, b" " * 2_000_000])
def test_a_file_that_says_nothing_of_the_kind_refuses_the_start(tmp_path: Path, body: bytes) -> None:
    (tmp_path / NAME).write_bytes(body)

    with pytest.raises(StartupError, match=NAME):
        EndedStrategies(tmp_path).read()


def test_no_link_is_followed_and_no_pipe_waited_for(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"[]")
    (tmp_path / NAME).symlink_to(elsewhere)
    with pytest.raises(StartupError, match=NAME):
        EndedStrategies(tmp_path).read()
    (tmp_path / NAME).unlink()
    os.mkfifo(tmp_path / NAME)
    with pytest.raises(StartupError, match="not a regular file"):
        EndedStrategies(tmp_path).read()
