"""The last line: who was called when a process was ended stands in a file."""

import os
from pathlib import Path

import pytest

from bus.trading.ended import EndedStrategy
from trader.last_line import CALLING, SIZE, STACKS, LastLine


def reopened(line: LastLine, folder: Path) -> LastLine:
    """What the next process sees after one that did not close its files."""
    return LastLine(folder)


def test_after_an_end_it_says_who_was_called_and_where_once(tmp_path: Path) -> None:
    line = LastLine(tmp_path)
    line.begins("value", "value", "on_timer")
    line.ends()
    line.begins("/home/me/mine.py:Mine", "mine", "on_update")
    (tmp_path / STACKS).write_text("Timeout (0:00:10)!")  # as faulthandler does

    again = reopened(line, tmp_path)
    stuck = again.take(7)

    assert stuck is not None
    assert stuck.call == EndedStrategy("/home/me/mine.py:Mine", "mine", "on_update", 7)
    assert stuck.stacks == "Timeout (0:00:10)!"
    assert again.take(8) is None
    line.close()
    again.close()


def test_nobody_is_blamed_for_a_kill_or_for_what_is_no_strategys(tmp_path: Path) -> None:
    line = LastLine(tmp_path)
    line.begins("value", "value", "on_timer")
    assert reopened(line, tmp_path).take(7) is None  # killed in a call: no stacks

    line.begins("value", "value", "on_timer")
    line.ends()
    (tmp_path / STACKS).write_text("Timeout")
    stuck = reopened(line, tmp_path).take(7)
    assert stuck is not None
    assert stuck.call is None


@pytest.mark.parametrize("text", [b"", b"{}", b"[1, 2]\n", b"\xff" * 100, b"[" * SIZE])
def test_nonsense_in_its_file_blames_nobody(tmp_path: Path, text: bytes) -> None:
    (tmp_path / CALLING).write_bytes(text)
    (tmp_path / STACKS).write_text("Timeout")

    stuck = LastLine(tmp_path).take(7)

    assert stuck is not None
    assert stuck.call is None


def test_a_name_that_is_too_long_is_not_written_down(tmp_path: Path) -> None:
    line = LastLine(tmp_path)
    line.begins("x" * SIZE, "mine", "on_update")
    (tmp_path / STACKS).write_text("Timeout")

    stuck = reopened(line, tmp_path).take(7)

    assert stuck is not None
    assert stuck.call is None


def test_no_link_is_followed_and_no_pipe_waited_for(tmp_path: Path) -> None:
    (tmp_path / STACKS).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=STACKS):
        LastLine(tmp_path)
    (tmp_path / STACKS).unlink()
    os.mkfifo(tmp_path / STACKS)
    with pytest.raises(OSError, match="not a regular file"):
        LastLine(tmp_path)
