"""``import kalshi_bus`` where a user's own files have the names of our packages."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import kalshi_bus
from tests.support import ROOT


def python(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in `folder`, which comes before our packages, as in a script or notebook there."""
    return subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_every_name_that_is_promised_is_there() -> None:
    assert all(getattr(kalshi_bus, name) is not None for name in kalshi_bus.__all__)
    assert set(kalshi_bus.__all__) < set(dir(kalshi_bus))
    with pytest.raises(AttributeError, match="no attribute 'publisher'"):
        _ = kalshi_bus.publisher


@pytest.mark.parametrize("name", ["markets", "bus"])
@pytest.mark.parametrize("kind", ["module", "package"])
def test_a_file_in_the_way_is_named_in_one_sentence(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / (f"{name}.py" if kind == "module" else f"{name}/__init__.py")
    path.parent.mkdir(exist_ok=True)
    path.touch()

    done = python(tmp_path, "import kalshi_bus")

    assert done.returncode == 1
    said = done.stderr.splitlines()[-1]
    assert f"{path} is found first: rename it" in said
    assert f"own package {name!r}" in said


def test_a_module_of_that_name_that_is_loaded_already_is_named_too(tmp_path: Path) -> None:
    (tmp_path / "markets.py").touch()
    code = "import sys, markets; sys.path.remove(''); import kalshi_bus"
    assert "markets.py is found first" in python(tmp_path, code).stderr


def test_other_names_of_a_user_s_folder_are_not_in_the_way(tmp_path: Path) -> None:
    for name in ("ui", "tests", "trader", "publisher", "simulator"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    (tmp_path / "markets").mkdir()  # a folder of data
    (tmp_path / "markets" / "prices.csv").touch()

    code = "import kalshi_bus; kalshi_bus.connect, kalshi_bus.Replica, kalshi_bus.replay_of; print('fine')"
    done = python(tmp_path, code)

    assert done.stdout == "fine\n", done.stderr
