"""The measures of the code's structure, on trees small enough to count by hand."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.measure import Figure, measure

ROOT = Path(__file__).resolve().parents[2]


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def figures(root: Path, files: dict[str, str]) -> dict[str, Figure]:
    return {row.label: row for row in measure(tree(root, {"a/__init__.py": "", **files}))}


def assigned(count: int) -> str:
    lines = "".join(f"        self.x{i} = {i}\n" for i in range(count))
    return f"class Wide:\n    def __init__(self):\n{lines}        self.x0 = self.x1\n"


def test_only_files_and_lines_of_packages_are_counted(tmp_path: Path) -> None:
    files = {
        "a/first.py": "x = 1\n" * 3,
        "a/deep/second.py": "x = 1\n" * 7,
        "setup.py": "x = 1\n",
        "tests/__init__.py": "",
        "tests/a/test_first.py": "x = 1\n" * 5,
        "benchmarks/__init__.py": "x = 1\n",
    }

    found = figures(tmp_path, files)

    assert (found["source files"].value, found["source lines"].value) == (3, 10)
    assert found["lines of the longest file"] == Figure("lines of the longest file", 7, ["a/deep/second.py"])
    assert found["files of the fullest folder"] == Figure("files of the fullest folder", 2, ["a"])
    assert found["test lines per source line"].value == 0.5


def test_wide_classes_and_wide_records_are_told_apart(tmp_path: Path) -> None:
    record = "class Row:\n" + "".join(f"    x{i}: int\n" for i in range(16))

    found = figures(tmp_path, {"a/m.py": assigned(16) + record, "a/n.py": assigned(15)})

    assert found["classes with more than 15 own fields"].names == ["a.m.Wide 16"]
    assert found["records with more than 15 fields"].names == ["a.m.Row 16"]


def test_names_with_two_meanings(tmp_path: Path) -> None:
    files = {
        "a/m.py": "class Book: ...\nclass Ask: ...\n",
        "b/__init__.py": "",
        "b/m.py": "class Book: ...\n",
    }

    found = figures(tmp_path, files)

    assert found["class names that mean two things"].names == ["Book (a/m.py, b/m.py)"]
    assert found["file names used twice"].names == ["m (a, b)"]


def test_a_test_belongs_to_the_module_of_its_package(tmp_path: Path) -> None:
    files = {"a/m.py": "", "a/n.py": "x = 1\n", "tests/a/deep/test_m.py": "", "tests/b/test_n.py": ""}

    found = figures(tmp_path, files)["modules with a test of their own, %"]

    assert (found.value, found.names) == (50, ["a/n.py"])


@pytest.mark.parametrize(
    ("said", "does", "rules", "asserted"),
    [
        ("Bus thread only.", "pass", 1, 0),
        ("Bus thread only.", "self._owner.check()", 1, 1),
        ("Read it; the caller\n        holds the lock.", "self.lock.assert_held()", 1, 1),
        ("The replica's thread calls this.", "self.books.check()", 1, 0),
        ("Run a job in the bus thread. May be called from any thread.", "pass", 0, 0),
        ("Wake the waiting thread.", "pass", 0, 0),
    ],
)
def test_thread_rules_of_functions(tmp_path: Path, said: str, does: str, rules: int, asserted: int) -> None:
    code = f'class C:\n    def f(self):\n        """{said}"""\n        {does}\n'

    found = figures(tmp_path, {"a/m.py": code})

    assert (found["thread rules"].value, found["thread rules asserted"].value) == (rules, asserted)


def test_thread_rules_of_classes_and_sections(tmp_path: Path) -> None:
    code = (
        'class C:\n    """Counts. One thread uses it."""\n    def f(self): self.owner.check()\n'
        "class D:\n    # -- any thread\n    def f(self): self.owner.check()\n"
        "    # -- the bus thread\n    def g(self): ...\n"
        "class E:\n    def f(self): self.owner.check()\n"
    )

    found = figures(tmp_path, {"a/m.py": code})

    assert (found["thread rules"].value, found["thread rules asserted"].value) == (2, 1)
    assert found["thread rules asserted"].names == ["not a/m.py:7 # -- the bus thread"]


def test_cycles_of_imports_outside_functions(tmp_path: Path) -> None:
    files = {
        "a/m.py": "from a import n\n",
        "a/n.py": "if True:\n    from .o import x\n",
        "a/o.py": "import a.m\nx = 1\n",
        "a/p.py": "import a.q\n",
        "a/q.py": "def f():\n    import a.p\n",
    }

    assert figures(tmp_path, files)["import cycles"].names == ["a.m a.n a.o"]


def test_uses_of_any_comments_and_docstrings_are_counted(tmp_path: Path) -> None:
    code = (
        "from typing import Any\n"
        "def f(x: Any) -> None:  # why\n"
        '    """Any\n    more."""\n'
        "    return None\n"
        "def _g(): ...\n"
        "class C:\n    def h(self): ...\n"
    )

    found = figures(tmp_path, {"a/m.py": code})

    assert found["the word Any per 1,000 lines"].value == 3000 / 8
    assert found["the type Any per 1,000 lines"].value == 1000 / 8
    assert found["comments, % of lines"].value == 100 / 8
    assert found["public docstrings, %"].value == pytest.approx(100 / 3)
    assert found["lines of a function, p99"].value == 2


def test_json_is_printed_with_coverage(tmp_path: Path) -> None:
    tree(tmp_path, {"a/__init__.py": "", "cov.json": '{"totals": {"percent_covered": 87.5}}'})
    command = [sys.executable, "-m", "benchmarks.measure", str(tmp_path), "--json"]
    command += ["--coverage", str(tmp_path / "cov.json")]

    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)

    assert json.loads(result.stdout)["lines that tests run, %"] == {"value": 87.5, "names": []}


def test_a_folder_without_a_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no package in it, expected the root of a checkout"):
        measure(tmp_path)
