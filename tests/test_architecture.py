"""The rules of the tree: who imports whom, who knows Kalshi, where clock and randomness come in."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))

# Hosts of Kalshi's API; its documentation (docs.kalshi.com) is cited as a source everywhere.
KALSHI_HOSTS = re.compile(r"(?:api[\w.-]*|elections|demo)\.kalshi\.com?\b", re.ASCII)


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Top-level names of the modules that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


def ruff(code: str, path: str) -> str:
    """Return what ruff says of `code` if it stood at `path`."""
    options = ["--no-cache", "--output-format=concise", f"--stdin-filename={path}"]
    command = [str(BIN / "ruff"), "check", *options, "-"]
    result = subprocess.run(command, input=code, capture_output=True, text=True, cwd=ROOT, check=False)
    return result.stdout


def test_import_contracts_hold() -> None:
    command = [str(BIN / "lint-imports"), "--no-cache"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)

    assert result.returncode == 0, result.stdout + result.stderr


def test_every_package_is_under_contract_and_typed() -> None:
    tools = PROJECT["tool"]

    assert set(PACKAGES) - {"benchmarks", "tests"} == set(tools["importlinter"]["root_packages"])
    assert set(PACKAGES) <= set(tools["mypy"]["files"])


def test_markets_is_pure() -> None:
    impure = "asyncio concurrent http logging multiprocessing os secrets select socket sqlite3 subprocess"
    impure += " threading time urllib uuid"
    allowed = (sys.stdlib_module_names | {"markets", "msgspec", "xxhash"}) - set(impure.split())

    assert {str(path): names for path in sources("markets") if (names := imported(path) - allowed)} == {}


@pytest.mark.parametrize("package", [name for name in PACKAGES if name != "publisher"])
def test_only_the_publisher_knows_kalshis_hosts(package: str) -> None:
    found = [str(path) for path in sources(package) if KALSHI_HOSTS.search(path.read_text())]

    assert found == []


@pytest.mark.parametrize(
    "package", [name for name in PACKAGES if name not in ("publisher", "simulator", "tests")]
)
def test_only_the_publisher_reads_a_private_key(package: str) -> None:
    """Others open its file, if at all, to look at owner and mode. The simulator makes a key of its own."""
    reads = re.compile(r"PRIVATE KEY|load_pem|private_key_path\.(read|open)|fdopen\(open_private_file")

    assert [str(path) for path in sources(package) if reads.search(path.read_text())] == []


def test_nobody_unpickles() -> None:
    assert [
        str(path) for name in PACKAGES for path in sources(name) if "recv_pyobj" in path.read_text()
    ] == []


@pytest.mark.parametrize(
    "call",
    [
        "import time\ntime.time()",
        "import time\ntime.monotonic()",
        "from time import monotonic_ns\nmonotonic_ns()",
        "import datetime as dt\ndt.datetime.now(dt.UTC)",
        "from datetime import UTC, datetime\ndatetime.now(UTC)",
        "import random\nrandom.random()",
        "import uuid\nuuid.uuid4()",
        "import os\nos.urandom(8)",
        "import pickle\npickle.loads(b'')",
    ],
)
@pytest.mark.parametrize(
    "path", ["markets/x.py", "bus/protocol/join.py", "publisher/sweep.py", "simulator/flow.py"]
)
def test_clock_and_randomness_are_refused_in_pure_code(call: str, path: str) -> None:
    assert "TID251" in ruff(call + "\n", path)


def test_randomness_of_ones_own_is_fine() -> None:
    assert "TID251" not in ruff(
        "import random\n\nrng = random.Random(1)\nrng.random()\n", "simulator/flow.py"
    )


def test_no_test_module_imports_another() -> None:
    """What two of them need stands in a module of its own beside them, which holds no tests."""
    imports = re.compile(r"^(?:from|import) tests[\w.]*\.test_", re.MULTILINE)

    assert [
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("test_*.py")
        if imports.search(path.read_text())
    ] == []


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_holds_every_dependency_in_its_range_and_names_no_registry(name: str) -> None:
    lock = (ROOT / name).read_text()
    pinned = re.findall(r"^([\w.-]+)==([^\s;]+)", lock, re.MULTILINE)
    project = PROJECT["project"]
    optional = project["optional-dependencies"]["dev"] if "dev" in name else []

    for text in [*project["dependencies"], *optional]:
        wanted = Requirement(text)
        # Some are pinned twice, for earlier and for later Pythons.
        versions = [version for name, version in pinned if name == canonicalize_name(wanted.name)]
        assert versions, text
        assert all(wanted.specifier.contains(version) for version in versions), text
    assert lock.count("--hash=sha256:") >= len(pinned)
    assert "://" not in lock
    assert "index" not in lock.split()


def test_the_glossary_has_each_word_once_and_names_files_that_are_there() -> None:
    text = (ROOT / "docs/glossary.md").read_text()
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    words = [row[0].removeprefix("| ") for row in rows if row[0] != "| word"]
    owners = {name for row in rows for name in re.findall(r"`([\w/]+(?:/|\.py))`", row[-1])}

    assert len(words) == len(set(words)) > 30
    assert all(len(row) == 3 and re.search("`.+`", row[-1]) for row in rows if row[0] != "| word")
    assert {name for name in owners if not (ROOT / name).exists()} == set()
