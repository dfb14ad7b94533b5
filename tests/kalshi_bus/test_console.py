"""The console command: each word runs what ``python -m`` runs."""

import argparse
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kalshi_bus import __version__
from kalshi_bus.__main__ import COMMANDS, main
from kalshi_bus.completion import SHELLS, script, tree
from tests.support import ROOT

NO_PARSER = {"kalshi-bus", "kalshi-bus run", "kalshi-bus completion"}
"""What the completion knows only by name."""


def console(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kalshi_bus", *arguments],
        check=False,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_every_word_leads_to_a_module() -> None:
    for command in COMMANDS.values():
        assert importlib.util.find_spec(f"{command.module}") is not None, command


def test_help_names_every_word_and_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    told = capsys.readouterr().out
    assert all(f"  {word} " in told for word in [*COMMANDS, "completion"])
    assert told.endswith(f"docs/ is the folder {ROOT / 'docs'}\n")
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"kalshi-bus {__version__}\n"


def test_nothing_and_nonsense_are_refused_with_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: kalshi-bus COMMAND" in capsys.readouterr().err
    assert main(["dokter"]) == 2
    assert "no command 'dokter': did you mean doctor?" in capsys.readouterr().err
    assert main(["completion", "tcsh"]) == 2


@pytest.mark.parametrize(
    ("typed", "usage"),
    [
        (["record", "--help"], "usage: kalshi-bus record"),
        (["trader", "explain", "--help"], "usage: kalshi-bus trader explain"),
        (["probe", "--help"], "usage: kalshi-bus probe"),
        (["backtest", "--help"], "usage: kalshi-bus backtest [-h]"),
        (["trader"], "usage: kalshi-bus trader"),  # it does not trade
    ],
)
def test_usage_lines_say_what_was_typed(typed: list[str], usage: str) -> None:
    done = console(*typed)
    assert done.stdout.startswith(usage), done
    assert done.returncode == 0


def test_help_explains_every_command_and_every_argument() -> None:
    def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
        yield parser
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for below in action.choices.values():
                    yield from parsers(below)

    found = [parser for parser in parsers(tree()) if parser.prog not in NO_PARSER]
    assert len(found) > 40
    assert [parser.prog for parser in found if not parser.description] == []
    unexplained = [
        f"{parser.prog} {action.dest}"
        for parser in found
        for action in parser._actions
        if not action.help and not isinstance(action, argparse._SubParsersAction)
    ]
    assert unexplained == []


def test_what_a_command_returns_is_the_exit_code(tmp_path: Path) -> None:
    done = console("info", str(tmp_path / "nothing.mcap"))
    assert done.returncode == 2
    assert "nothing.mcap" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_while_a_program_is_imported_ends_it_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_module: str, run_name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("runpy.run_module", interrupted)
    monkeypatch.setattr(sys, "argv", [])
    assert main(["backtest"]) == 130


def test_completion_knows_every_command_and_those_of_the_trader(capsys: pytest.CaptureFixture[str]) -> None:
    commands = next(action for action in tree()._actions if action.choices is not None)
    assert set(commands.choices or ()) == {*COMMANDS, "completion"}
    for shell in SHELLS:
        assert script([shell]) == 0
        told = capsys.readouterr().out
        assert "reconcile" in told
        assert "walk-forward" in told
