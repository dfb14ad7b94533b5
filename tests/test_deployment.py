"""Image, compose file, units and the upgrade: read as their programs do, and what they would run is run."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bus.process.container import Mount, lasts, mounts, prepare
from bus.process.locks import STACK, hold_role, private_dir
from bus.process.settings import Settings, variable_of
from bus.process.supervised import Supervisor
from kalshi_bus.__main__ import COMMANDS
from tests.support import ROOT, Runner, eventually

UNITS = sorted((ROOT / "ops" / "systemd").iterdir())


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(word, rest.strip()) for word, _, rest in (line.strip().partition(" ") for line in lines)]


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return found


def environment_of_image() -> dict[str, str]:
    text = " ".join(rest for word, rest in instructions() if word == "ENV")
    return dict(pair.split("=", 1) for pair in text.split())


def test_the_image_runs_as_nobody_in_particular_and_asks_whether_it_is_ready() -> None:
    found = instructions()
    words = [word for word, _ in found]
    assert set(words) <= {"FROM", "ENV", "COPY", "RUN", "WORKDIR", "USER", "EXPOSE", "STOPSIGNAL",
                          "HEALTHCHECK", "ENTRYPOINT", "CMD"}  # fmt: skip
    assert dict(found)["USER"] == "10001:10001"
    assert words.index("USER") < words.index("ENTRYPOINT")
    assert json.loads(dict(found)["ENTRYPOINT"]) + json.loads(dict(found)["CMD"]) == [
        "python", "-m", "bus.process.container", "run"
    ]  # fmt: skip
    assert json.loads(dict(found)["HEALTHCHECK"].split("CMD ")[1]) == [
        "python",
        "-m",
        "bus.process.container",
        "ready",
    ]
    assert "VOLUME" not in words, "an anonymous volume would look like a place that lasts"


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*"
    for word, rest in instructions():
        if word == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert f"!{source}" in ignored, source
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {
        "benchmarks",
        "examples",
        "tools",
        "tests",
    }
    copied = {rest.split()[0] for word, rest in instructions() if word == "COPY"}
    assert packages <= copied


def test_every_setting_in_the_files_is_one(tmp_path: Path) -> None:
    known = {variable_of(key) for key in Settings.model_fields}
    texts = [environment_of_image(), *(one.get("environment", {}) for one in compose()["services"].values())]
    named = {name for text in texts for name in text if name.startswith("KALSHI")}
    for unit in UNITS:
        named |= set(re.findall(r"(KALSHI_\w+)=", unit.read_text()))
    assert named <= known
    image = {name: text for name, text in environment_of_image().items() if name.startswith("KALSHI_BUS")}
    assert Settings.load(image, tmp_path).bind == "0.0.0.0"


def test_compose_has_a_profile_each_with_volumes_and_ports_on_loopback() -> None:
    found = compose()
    profiles = {profile for one in found["services"].values() for profile in one["profiles"]}
    assert profiles == {"sim", "demo", "prod", "monitoring"}
    for name in ("sim", "demo", "prod"):
        service = found["services"][name]
        assert service["environment"]["KALSHI_BUS_ENV"] == name
        places = [volume.split(":")[1] for volume in service["volumes"]]
        assert places[:2] == ["/data", "/data/recording"]
        assert {volume.split(":")[0] for volume in service["volumes"][:2]} <= set(found["volumes"])
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert any(place.startswith("/run/kalshi-bus:") for place in service["tmpfs"])
    for one in found["services"].values():
        for volume in one["volumes"]:
            source = volume.split(":")[0]
            assert not source.startswith("./ops") or (ROOT / source).is_file(), source
    container = yaml.safe_load((ROOT / "ops" / "prometheus-container.yml").read_text())
    assert container["rule_files"] == ["alerts.yml"]


def test_what_compose_reads_of_the_environment_refuses_no_process_that_has_it_too(tmp_path: Path) -> None:
    read = set(re.findall(r"\$\{(KALSHI_\w+)", (ROOT / "compose.yaml").read_text()))
    assert read
    assert Settings.load(dict.fromkeys(read, "prod"), tmp_path) == Settings.load({}, tmp_path)


OVERLAY = "1 0 0:1 / / rw - overlay overlay rw\n2 1 0:2 / /run/kalshi-bus rw - tmpfs tmpfs rw\n"


@pytest.mark.parametrize(
    ("mountinfo", "expected"),
    [
        (OVERLAY, False),
        (OVERLAY + "3 1 8:1 /v /data rw,relatime shared:1 - ext4 /dev/sda1 rw", True),
        (OVERLAY + "3 1 8:1 /v /database rw - ext4 /dev/sda1 rw", False),
        (OVERLAY + "3 1 0:3 / /data rw - tmpfs tmpfs rw", False),
        (OVERLAY + "3 1 8:1 /v /data/recording rw - ext4 /dev/sda1 rw", False),
        (OVERLAY + "3 1 8:1 /v /data rw - ext4 /dev/sda1 rw\n4 3 0:3 / /data rw - tmpfs tmpfs rw", False),
        ("", False),
        ("nonsense\n1 2 - \n - - -\n", False),
    ],
)
def test_a_data_directory_lasts_if_it_is_in_a_volume(mountinfo: str, expected: bool) -> None:
    assert lasts(Path("/data"), mounts(mountinfo)) == expected


def test_a_container_without_a_volume_is_told_that_the_journal_will_be_lost(tmp_path: Path) -> None:
    environ = {"KALSHI_BUS_BIND": "0.0.0.0", "KALSHI_BUS_TOKEN_FILE": str(tmp_path / "data" / "token"),
               "KALSHI_BUS_DATA_DIR": str(tmp_path / "data")}  # fmt: skip
    settings = Settings.load(environ, tmp_path)
    said = prepare(settings, mounts(OVERLAY))
    assert "a token for the pages was made" in said[0]
    assert "journal, token and recordings are lost" in said[1]
    token = (tmp_path / "data" / "token").read_text()
    assert prepare(settings, [Mount("/", "overlay"), Mount(str(tmp_path), "ext4")]) == []
    assert (tmp_path / "data" / "token").read_text() == token
    assert token.strip() not in " ".join(said)


@pytest.mark.e2e
@pytest.mark.timeout(180)
def test_what_the_container_runs_starts_in_a_clean_folder_and_stops(runner: Runner) -> None:
    """As the image does it: the same command, settings of the image but for places and ports."""
    image = {name: text for name, text in environment_of_image().items() if name.startswith("KALSHI_BUS")}
    runner.env |= {name: image[name] for name in ("KALSHI_BUS_BIND",)} | {
        "KALSHI_BUS_TOKEN_FILE": str(runner.folder / "data" / "token"),
        "KALSHI_BUS_SIM_MARKETS": "60",
    }
    unready = runner.start("bus.process.container", "ready")
    assert unready.wait(60) == 1
    container = runner.start("bus.process.container", "run")
    supervisor = Supervisor(runner.run_dir)
    eventually(supervisor.control.exists, 60)

    def ready() -> bool:
        assert container.popen.poll() is None, container.output()
        return runner.start("bus.process.container", "ready").wait(60) == 0

    eventually(ready, 90, "its health check passes")
    assert "a token for the pages was made" in container.output()
    assert (runner.folder / "data" / "token").read_text().strip() not in container.output()
    assert container.stop(30) == 0


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_units_are_read_by_systemd_without_a_word(unit: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    for path in UNITS:  # where no stack is installed its command is missing, and that alone would be said
        text = path.read_text().replace("/opt/kalshi-bus/.venv/bin/kalshi-bus", sys.executable)
        (tmp_path / path.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / unit.name)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    ours = [line for line in done.stderr.splitlines() if "kalshi-bus" in line]
    assert ours == []


def test_the_commands_of_the_units_exist() -> None:
    for unit in UNITS:
        for word in re.findall(r"^ExecStart=\S+/kalshi-bus (\S+)", unit.read_text(), re.MULTILINE):
            assert word in COMMANDS, word


@pytest.mark.slow
def test_an_upgrade_and_the_way_back_are_one_command_each(tmp_path: Path) -> None:
    project, data = tmp_path / "project", tmp_path / "data"
    (project / "ops").mkdir(parents=True)
    shutil.copy(ROOT / "ops" / "upgrade.sh", project / "ops" / "upgrade.sh")
    (project / "Makefile").write_text("install:\n\t@cat version > installed\n")
    data.mkdir(mode=0o700)
    (data / "journal").write_text("of the old version")
    env = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT),
        "PYTHON": sys.executable, "KALSHI_BUS_DATA_DIR": str(data),
        "KALSHI_BUS_RUN_DIR": str(tmp_path / "run"),
        "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b",
        "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b",
    }  # fmt: skip

    def run(*command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command, cwd=project, env=env, capture_output=True, text=True, timeout=60, check=False
        )

    run("git", "init", "--quiet", "-b", "main")
    for version in ("v1", "v2"):
        (project / "version").write_text(version)
        run("git", "add", "ops", "Makefile", "version")
        run("git", "commit", "--quiet", "-m", version)
        run("git", "tag", version)
    run("git", "checkout", "--quiet", "v1")

    assert run("ops/upgrade.sh", "v9").returncode == 2
    assert "no upgrade was made here" in run("ops/upgrade.sh", "--back").stderr
    with hold_role(private_dir(tmp_path / "run"), STACK):
        assert f"kalshi-bus runs, pid {os.getpid()}: stop it first" in run("ops/upgrade.sh", "v2").stderr
    assert not (project / ".backups").exists()
    done = run("ops/upgrade.sh", "v2")
    assert done.returncode == 0, done.stderr
    assert (project / "installed").read_text() == "v2"
    (data / "journal").write_text("migrated: the old version does not read it")
    back = run("ops/upgrade.sh", "--back")
    assert back.returncode == 0, back.stderr
    assert (project / "installed").read_text() == "v1"
    assert (data / "journal").read_text() == "of the old version"
    assert (tmp_path / "data.before-restore" / "journal").read_text().startswith("migrated")
    (project / "version").write_text("changed by hand")
    assert "files of the project are changed here" in run("ops/upgrade.sh", "v2").stderr
