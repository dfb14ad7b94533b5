"""Print branch coverage by package, and compare it with the floors in pyproject.toml: ``make coverage``."""

import argparse
import json
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]


class Tally(NamedTuple):
    """Statements and branches of a package: how many there are, and how many ran."""

    all: int
    ran: int

    @property
    def percent(self) -> float:
        """The share that ran; 100 if there is nothing to run."""
        return 100 * self.ran / self.all if self.all else 100.0


def tallies(files: Mapping[str, Tally], packages: Iterable[str]) -> dict[str, Tally]:
    """Add up files by package.

    Args:
        files: by path, relative to the checkout.
        packages: their dotted names. A file counts only for the longest name that contains it.
    """
    sums = dict.fromkeys(packages, Tally(0, 0))
    for path, tally in files.items():
        module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        inside = [name for name in sums if f"{module}.".startswith(f"{name}.")]
        if inside:
            name = max(inside, key=len)
            sums[name] = Tally(sums[name].all + tally.all, sums[name].ran + tally.ran)
    return sums


def read(report: Path) -> dict[str, Tally]:
    """Return the files in a JSON report of coverage.py."""
    files = json.loads(report.read_text())["files"]
    return {
        path: Tally(
            found["summary"]["num_statements"] + found["summary"]["num_branches"],
            found["summary"]["covered_lines"] + found["summary"]["covered_branches"],
        )
        for path, found in files.items()
    }


def main(arguments: list[str] | None = None) -> int:
    """Print the table; return 1 if a package is below its floor."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path, help="the output of `coverage json`")
    parser.add_argument(
        "--all", action="store_true", help="list every package, including those without a floor"
    )
    parser.add_argument("--config", type=Path, default=ROOT / "pyproject.toml")
    given = parser.parse_args(arguments)
    floors = tomllib.loads(given.config.read_text())["tool"]["kalshi-bus"]["coverage-floors"]
    files = read(given.report)
    names = {*floors, *(path.split("/")[0] for path in files)} if given.all else floors
    below = []
    print(f"{'package':<28} {'statements and branches':>24} {'ran':>8} {'floor':>6}")
    for name, tally in sorted(tallies(files, names).items()):
        floor = floors.get(name, 0)
        print(f"{name:<28} {tally.all:>24,} {tally.percent:>6.1f} % {floor or '-':>6}")
        if tally.percent < floor:
            below.append(f"{name}: {tally.percent:.1f} % ran, expected {floor} % or more\n")
    sys.stderr.writelines(below)
    return 1 if below else 0


if __name__ == "__main__":
    sys.exit(main())
