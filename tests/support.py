"""Helpers for tests: waiting for conditions, free ports, real processes."""

import atexit
import contextlib
import functools
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import psutil  # type: ignore[import-untyped]

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[1]

TIMEOUT_S = float(os.environ.get("TEST_TIMEOUT_S", "20"))
"""How long to wait for what must happen soon. Only failures wait this long; slow machines set more."""


def eventually(predicate: Callable[[], T], timeout_s: float = TIMEOUT_S, what: str = "") -> T:
    """Return the first true value of `predicate`, asked again and again; fail after `timeout_s`."""
    end = time.monotonic() + timeout_s
    while not (value := predicate()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout_s:g} s: {what or predicate}")
        time.sleep(0.01)
    return value


FIRST_PORT, BLOCK, BLOCKS = 20_000, 100, 100
"""The ports of tests, below those that the system gives to outgoing connections (ip_local_port_range)."""


@functools.cache
def _ports() -> Iterator[int]:
    """The ports of this process, round and round: a block that is no other test run's."""
    claim = socket.socket(socket.AF_UNIX)
    atexit.register(claim.close)
    for block in range(BLOCKS):
        with contextlib.suppress(OSError):
            claim.bind(f"\0kalshi-bus-test-ports-{block}")  # abstract: gone with the process, however it ends
            first = FIRST_PORT + block * BLOCK
            return itertools.cycle(range(first, first + BLOCK))
    raise AssertionError(f"{BLOCKS} runs of tests at once: no block of ports is left")


def free_ports(count: int) -> list[int]:
    """Return TCP ports of 127.0.0.1 that nobody uses now and no other test run is given, all different."""
    found: list[int] = []
    for _ in range(BLOCK):
        port = next(_ports())
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError(f"only {len(found)} of {BLOCK} ports are free")


class Process:
    """A real process in a process group of its own, its output (stdout and stderr) in a file."""

    def __init__(self, command: list[str], env: Mapping[str, str], cwd: Path, log_path: Path) -> None:
        self.name = " ".join(command[1:])
        self.log_path = log_path
        with log_path.open("ab") as output:
            self.popen = subprocess.Popen(
                command,
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.popen.pid

    def output(self) -> str:
        """Everything printed so far."""
        return self.log_path.read_text(errors="replace")

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """The JSON log events so far, only those called `name` if given; other lines are left out."""
        found = []
        for line in self.output().splitlines():
            if line.startswith("{") and line.endswith("}"):
                event = json.loads(line)
                if name is None or event["event"] == name:
                    found.append(event)
        return found

    def wait_event(self, name: str, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
        """Wait until the process logs `name`; return the first such event."""

        def found() -> list[dict[str, Any]]:
            events = self.events(name)
            assert events or self.popen.poll() is None, f"{self.name} ended:\n{self.output()[-4000:]}"
            return events

        return eventually(found, timeout_s, f"{self.name} logs {name}")[0]

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def wait(self, timeout_s: float = TIMEOUT_S) -> int:
        """Wait for the end; return the exit code (negative: the signal)."""
        return self.popen.wait(timeout_s)

    def stop(self, timeout_s: float = TIMEOUT_S) -> int:
        """SIGTERM, then `wait`."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout_s)

    def kill(self) -> None:
        """SIGKILL to the process and all it has started in its group; wait for it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.popen.wait(TIMEOUT_S)


@contextlib.contextmanager
def child(command: list[str], **options: Any) -> Iterator["subprocess.Popen[Any]"]:
    """Start a process for a block, in the project's folder if no other is named; kill it after.

    A block that fails ends at once so: leaving a Popen's own block waits for the process's end.
    """
    with subprocess.Popen(command, **{"cwd": ROOT} | options) as process:
        try:
            yield process
        finally:
            process.kill()


def is_over(pid: int) -> bool:
    """Whether a process has ended, whoever collects it."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


class Runner:
    """Starts the project's processes with a run directory, a data directory and ports of their own.

    `env` may be changed between starts. The environment of the test run is not passed on, so that a setting
    in a developer's shell changes no test.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run_dir = folder / "run"
        self.ui_port, self.snapshot_port, self.sim_port, self.past_port = free_ports(4)
        self.processes: list[Process] = []
        self.env: dict[str, str] = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(ROOT),
            "PYTHONFAULTHANDLER": "1",
            "KALSHI_BUS_RUN_DIR": str(self.run_dir),
            "KALSHI_BUS_DATA_DIR": str(folder / "data"),
            "KALSHI_BUS_UI_PORT": str(self.ui_port),
            "KALSHI_BUS_SNAPSHOT_PORT": str(self.snapshot_port),
            "KALSHI_BUS_SIM_PORT": str(self.sim_port),
            "KALSHI_BUS_PAST_PORT": str(self.past_port),
            "KALSHI_BUS_MODE": "paper",  # else a trader needs the order gateway, and waits for it
        }

    def start(self, module: str, *args: str, env: Mapping[str, str] | None = None) -> Process:
        """Start ``python -m module args`` in `folder`, with `env` added to this runner's."""
        return self.start_command([sys.executable, "-m", module, *args], env)

    def start_command(self, command: list[str], env: Mapping[str, str] | None = None) -> Process:
        """Start any command the same way."""
        log_path = self.folder / f"{len(self.processes)}.log"
        process = Process(command, self.env | dict(env or {}), self.folder, log_path)
        self.processes.append(process)
        return process

    def close(self) -> None:
        """Kill what still runs, and print the end of every log (pytest shows it for failed tests)."""
        for process in self.processes:
            process.kill()
            print(f"--- {process.name} (exit {process.popen.returncode})\n{process.output()[-3000:]}")
