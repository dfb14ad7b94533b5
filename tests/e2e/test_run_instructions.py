"""The commands in RUN_INSTRUCTIONS.md work: each starts, answers at the given place, and ends cleanly."""

import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.e2e.conftest import START_S, Stack, get
from tests.support import ROOT, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

TEXT = (ROOT / "RUN_INSTRUCTIONS.md").read_text()
ROWS = re.findall(r"^\| \d+ \| `([^`]+)` \| (.+) \|$", TEXT, re.MULTILINE)
BLOCKS = [line for block in re.findall(r"```\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]
PYTHON = ".venv/bin/python -m "
COMMAND = ".venv/bin/kalshi-bus "


@pytest.fixture(name="stack")
def _stack(stack: Stack) -> Stack:
    # As for a user: `.run` in the working directory, as named by the commands.
    stack.runner.run_dir = stack.runner.folder / ".run"
    stack.runner.env["KALSHI_BUS_RUN_DIR"] = str(stack.runner.run_dir)
    del stack.runner.env["KALSHI_BUS_MODE"]
    return stack


def words(command: str) -> list[str]:
    """Return a command's words, with this environment's programs in place of those in .venv."""
    bin_dir = Path(sys.executable).parent
    return [word.replace(".venv/bin", str(bin_dir), 1) for word in shlex.split(command)]


def run(stack: Stack, command: str) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end."""
    return subprocess.run(
        words(command),
        env=stack.runner.env,
        cwd=stack.runner.folder,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def assert_succeeds(stack: Stack, commands: Sequence[str]) -> None:
    for command in commands:
        done = run(stack, command)
        assert done.returncode == 0, (command, done.stdout, done.stderr)


def test_every_command_in_the_table_starts_and_answers_at_its_place(stack: Stack) -> None:
    modules = [command.removeprefix(PYTHON).split()[0] for command, _ in ROWS]
    orders = ["publisher.orders", "publisher.orders.watchdog"]
    assert sorted(modules) == ["publisher", *orders, "simulator", "snapshot_server", "trader", "ui"]
    for (command, _), module in reversed(list(zip(ROWS, modules, strict=True))):
        # The other processes take their port from the environment.
        port = ["--port", str(stack.runner.sim_port)] if module == "simulator" else []
        stack.processes[module] = stack.runner.start_command(words(command) + port)
    stack.wait_working()
    ports = {
        "5001": stack.runner.ui_port,
        "5002": stack.runner.snapshot_port,
        "5003": stack.runner.sim_port,
    }
    said = "\n".join(then for _, then in ROWS)
    urls = re.findall(r"<(http://127\.0\.0\.1):(\d+)([^>]*)>", said)
    assert {port for _, port, _ in urls} == set(ports)
    for base, port, path in urls:
        assert get(f"{base}:{ports[port]}{path}")[0] == 200, path
    for path in re.findall(r"`(/sim/\w+)`", said):
        assert get(f"http://127.0.0.1:{stack.runner.sim_port}{path}")[0] == 200, path
    for event in re.findall(r"logs `([A-Z ]+)`", said):
        stack.processes["publisher"].wait_event(event)
    asides = re.findall(rf"`({re.escape(COMMAND)}[^`]+)`", said + TEXT.split(ROWS[-1][0])[1])
    assert {f"{COMMAND}trader status", f"{COMMAND}doctor"} <= {*asides}
    probe = f"{COMMAND}probe"
    assert_succeeds(stack, [command for command in asides if command != probe])
    refused = run(stack, probe)  # it must not run while the gateway does
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr


def test_commands_under_supervisord_work(stack: Stack) -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert "\nrun: install\n\t@$(BIN)/kalshi-bus run\n" in makefile
    process = stack.runner.start("kalshi_bus", "run")
    stack.wait_working(2 * START_S)

    def running() -> bool:
        processes = stack.health().get("processes") or {}
        idle = {name for name, one in processes.items() if one["state"] != "RUNNING"}
        return idle == {"forwarder", "alerts"}

    eventually(running, START_S)
    commands = [line for line in BLOCKS if line.startswith(".venv/bin/supervisorctl ")]
    (status,) = [line for line in commands if line.endswith(" status")]
    told = run(stack, status)
    assert (told.returncode, told.stdout.count("RUNNING")) == (3, 9), (
        told
    )  # 3: one process is not wanted and is stopped
    assert_succeeds(stack, [line for line in commands if line != status])
    for line in BLOCKS:
        if line.startswith("tail -f "):
            assert (stack.runner.folder / line.removeprefix("tail -f ")).stat().st_size > 0
    stack.wait_working()
    assert process.stop(15) == 0
