"""The comparison of branch coverage with its floors, by package."""

import json
from pathlib import Path

import pytest

from tools.coverage_floors import Tally, main, tallies


def report(path: Path, **files: tuple[int, int]) -> Path:
    """Write a report as coverage.py does, from (all, run) statements by module."""
    path.write_text(
        json.dumps(
            {
                "files": {
                    name.replace(".", "/") + ".py": {
                        "summary": {
                            "num_statements": count,
                            "num_branches": 0,
                            "covered_lines": ran,
                            "covered_branches": 0,
                        }
                    }
                    for name, (count, ran) in files.items()
                }
            }
        )
    )
    return path


def config(path: Path, floors: str) -> Path:
    path.write_text(f"[tool.kalshi-bus.coverage-floors]\n{floors}\n")
    return path


def test_a_file_counts_for_the_longest_matching_name_only() -> None:
    files = {
        "bus/line.py": Tally(10, 5),
        "bus/protocol/__init__.py": Tally(2, 2),
        "bus/protocol/join.py": Tally(8, 7),
        "bus/protocols.py": Tally(1, 0),
        "ui/hub.py": Tally(100, 0),
    }
    assert tallies(files, ["bus", "bus.protocol"]) == {"bus": Tally(11, 5), "bus.protocol": Tally(10, 9)}


def test_a_name_may_be_a_module() -> None:
    files = {"trader/session.py": Tally(10, 9), "trader/worker.py": Tally(10, 0)}
    assert tallies(files, ["trader.session"])["trader.session"].percent == 90


@pytest.mark.parametrize(("floor", "code"), [("89.9", 0), ("90", 0), ("90.1", 1)])
def test_packages_below_their_floor_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], floor: str, code: int
) -> None:
    found = report(tmp_path / "report.json", **{"markets.book": (10, 9)})
    toml = config(tmp_path / "floors.toml", f"markets = {floor}")
    assert main([str(found), "--config", str(toml)]) == code
    printed = capsys.readouterr()
    assert "markets" in printed.out
    assert printed.err == ("" if code == 0 else "markets: 90.0 % ran, expected 90.1 % or more\n")


def test_all_also_shows_packages_without_a_floor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = report(tmp_path / "report.json", **{"markets.book": (10, 9), "ui.hub": (4, 1)})
    toml = config(tmp_path / "floors.toml", "markets = 50")
    assert main([str(found), "--config", str(toml), "--all"]) == 0
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines()[1:]] == ["markets", "ui"]
