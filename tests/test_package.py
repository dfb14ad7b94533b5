"""Wheel and sdist: what is in them, and that the stack runs from a wheel in a folder that is no checkout."""

import os
import signal
import site
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path

import pytest
import requests

from tests.support import ROOT, Process, Runner, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(180)]


def built(checkout: Path, folder: Path, *targets: str) -> Path:
    """Build in `folder`, and return it."""
    command = [sys.executable, "-m", "hatchling", "build", *targets, "-d", str(folder)]
    subprocess.run(command, cwd=checkout, check=True, capture_output=True, timeout=120)
    return folder


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an sdist and a wheel."""
    return built(ROOT, tmp_path_factory.mktemp("release"), "-t", "sdist", "-t", "wheel")


@pytest.fixture(scope="module")
def wheel(release: Path) -> Path:
    (found,) = release.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that has the wheel; what it depends on it borrows from ours."""
    home = tmp_path_factory.mktemp("env")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True, timeout=60)
    packages = next(home.glob("lib/python3*/site-packages"))
    with zipfile.ZipFile(wheel) as file:
        file.extractall(packages)
    borrowed = [path for path in site.getsitepackages() if (Path(path) / "zmq").exists()]
    (packages / "borrowed.pth").write_text("\n".join(borrowed))
    script = home / "bin" / "kalshi-bus"
    code = "import sys\nfrom kalshi_bus.__main__ import main\nsys.exit(main())"
    script.write_text(f"#!{home}/bin/python\n{code}\n")
    script.chmod(0o700)
    return home / "bin"


@pytest.fixture
def elsewhere(short_dir: Path, installed: Path) -> Iterator[Runner]:
    """Starts processes in a folder of a user, who has files of our names in it."""
    folder = short_dir / "desk"
    folder.mkdir()
    for name in ("markets.py", "bus.py", "trader.py"):
        (folder / name).write_text("raise SystemExit('a file of the user was taken for one of ours')\n")
    (folder / "ui").mkdir()
    (folder / "ui" / "__init__.py").touch()
    runner = Runner(folder)
    for name in ("PYTHONPATH", "KALSHI_BUS_RUN_DIR", "KALSHI_BUS_DATA_DIR"):
        del runner.env[name]
    runner.env |= {"PATH": f"{installed}:{runner.env['PATH']}", "KALSHI_BUS_SIM_MARKETS": "100"}
    yield runner
    runner.close()


def kalshi_bus(runner: Runner, installed: Path, *arguments: str) -> Process:
    return runner.start_command([str(installed / "kalshi-bus"), *arguments])


def status_of(url: str) -> str | None:
    try:
        return str(requests.get(url, timeout=5).json()["status"])
    except requests.RequestException:
        return None


def files_of(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if "__pycache__" not in path.parts}


def test_the_wheel_holds_the_product_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
        (metadata,) = [name for name in names if name.endswith("METADATA")]
        needs = [
            line for line in file.read(metadata).decode().splitlines() if line.startswith("Requires-Dist")
        ]
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {
        *("agent_server", "alerts", "bridge", "bus", "kalshi_bus", "laboratory", "markets"),
        *("publisher", "simulator", "snapshot_server", "trader", "ui"),
    }
    assert "bus/process/supervisord.conf" in names
    assert "kalshi_bus/py.typed" in names
    assert {f"kalshi_bus/docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} <= set(names)
    documents = [Path(name).name for name in names if name.endswith(".md")]
    assert documents.count("glossary.md") == documents.count("agents.md") == 1
    assert "ui/templates/base.html" in names
    assert "simulator/universe/data/catalogue.json.gz" in names
    assert not [name for name in names if "test" in Path(name).parent.parts[-1:]]
    optional = ("pandas", "pytest", "playwright", "mypy", "nats-py", "polars", "duckdb", "mcp")
    assert not [need for need in needs if "extra ==" not in need and any(name in need for name in optional)]


def test_the_sdist_makes_the_same_wheel(wheel: Path, release: Path, tmp_path: Path) -> None:
    (sdist,) = release.glob("*.tar.gz")
    with tarfile.open(sdist) as file:
        file.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    assert {"README.md", "CHANGELOG.md", "LICENSE", "docs", "tests"} <= {
        path.name for path in source.iterdir()
    }
    assert not [path for path in source.iterdir() if path.name in (".git", ".venv", ".run", ".data")]

    (again,) = built(source, tmp_path / "again", "-t", "wheel").glob("*.whl")

    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        sums = [{item.filename: item.CRC for item in file.infolist()} for file in (one, other)]
    assert sums[0] == sums[1]


def test_what_an_index_shows_of_the_release_is_whole(wheel: Path) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    with zipfile.ZipFile(wheel) as file:
        shown = Parser().parsestr(file.read(f"kalshi_bus-{version}.dist-info/METADATA").decode())

    assert (shown["Name"], shown["Version"]) == ("kalshi-bus", version)
    assert (shown["Description-Content-Type"], shown["License-Expression"]) == ("text/markdown", "MIT")
    assert shown["Requires-Python"] == ">=3.11"
    assert shown["Summary"]
    assert shown.get_payload() == (ROOT / "README.md").read_text()
    assert f"## [{version}] - 20" in (ROOT / "CHANGELOG.md").read_text()


def test_the_stack_runs_from_a_wheel_in_a_folder_of_the_user_s(elsewhere: Runner, installed: Path) -> None:
    home = installed.parent
    asked = [str(installed / "kalshi-bus"), "--help"]
    told = subprocess.run(asked, check=True, capture_output=True, text=True, timeout=30).stdout
    assert told.startswith("usage: kalshi-bus")
    docs = Path(told.split()[-1])
    assert docs.is_relative_to(home)
    assert (docs / "settings.md").is_file()
    before = files_of(home)

    stack = kalshi_bus(elsewhere, installed, "run")
    eventually((elsewhere.folder / ".run" / "supervisord.pid").exists, 30)
    url = f"http://127.0.0.1:{elsewhere.snapshot_port}/health"
    eventually(lambda: status_of(url) == "ok", 40, "all is up")
    doctor = kalshi_bus(elsewhere, installed, "config")
    assert doctor.wait() == 0

    stack.signal(signal.SIGINT)
    assert stack.wait(30) == 0
    assert (elsewhere.folder / ".run" / "logs" / "publisher.jsonl").exists()
    assert (elsewhere.folder / ".data").is_dir()
    assert files_of(home) == before, "nothing is written where the packages are"
    assert "taken for one of ours" not in stack.output()


def test_one_can_import_it_without_the_checkout(installed: Path, tmp_path: Path) -> None:
    code = (
        "import kalshi_bus; kalshi_bus.connect; print(kalshi_bus.__version__, kalshi_bus.__file__)\n"
        "from bus.process.programs import DOCS, to_type; print(to_type('run'))\n"
        "from agent_server.serve import DOCUMENTS\n"
        "print(all((DOCS / one.file).is_file() for one in DOCUMENTS.values()))"
    )
    done = subprocess.run(
        [installed / "python", "-c", code],
        check=False,
        cwd=tmp_path,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stdout.split()[1].startswith(str(installed.parent)), done.stderr
    assert done.stdout.splitlines()[1:] == ["kalshi-bus run", "True"]  # what to type; what agents can read
