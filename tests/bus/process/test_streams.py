"""A process that is started with closed streams."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

OPENS = """
import os
from bus.process.streams import open_missing
open_missing()
nothing = os.stat("/dev/null")
os._exit(sum(not os.path.samestat(os.fstat(stream), nothing) for stream in (0, 1, 2)))
"""


def status(redirected: str, *arguments: str, folder: Path = ROOT) -> int:
    """The exit code of a Python that a shell starts so."""
    command = ["sh", "-c", f'exec "$0" "$@" {redirected}', sys.executable, *arguments]
    env = {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, timeout=50, check=False
    ).returncode


def test_what_is_missing_is_opened_on_nothing_and_keeps_its_number() -> None:
    assert status("0<&- 1>&- 2>&-", "-c", OPENS) == 0


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("bus config", 0),
        ("kalshi_bus config", 0),
        ("kalshi_bus nothing", 2),
        ("laboratory compare none --out here", 2),
        ("agent_server --folder none", 2),
        ("publisher word", 2),
    ],
)
def test_a_command_with_closed_streams_does_its_work(words: str, code: int, tmp_path: Path) -> None:
    assert status("0<&- 1>&- 2>&-", "-m", *words.split(), folder=tmp_path) == code
