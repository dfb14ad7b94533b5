"""What supervisord says about the processes: which run, which are restarted over and over, which it gave up.

supervisord reports states over its socket in the run directory, but neither how often a process ended nor how
many starts have failed in a row; its log does.
"""

import base64
import re
import socket
import threading
import xmlrpc.client
from collections import Counter
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from bus.threads import Owner

from .lifecycle import Stop
from .logs import redact

log = structlog.get_logger()

TIMEOUT_S: Final = 1.0
EVERY_S: Final = 1.0
UNSTABLE_S: Final = 60.0
UNSTABLE_RESTARTS: Final = 3
WORDS_READ: Final = 262_144
WORDS_MAX: Final = 300

_STARTED: Final = "supervisord started with pid "
_SPAWNED: Final = re.compile(r"spawned: '([^']+)' with pid ")
_RUNNING: Final = re.compile(r"success: (\S+) entered RUNNING state")
_EXITED: Final = re.compile(r"exited: (\S+) \((.*)\)")
_TOO_QUICKLY: Final = "Exited too quickly"
"""What supervisord says about a process that ended at once for an unknown reason."""

_CRASHED: Final = frozenset({"process.crashed", "thread.crashed", "recorder.stopped"})
"""Events that say why a process ends."""


class Supervised(msgspec.Struct, frozen=True):
    """One process under supervisord.

    Attributes:
        state: supervisord's word: "STOPPED", "STARTING", "RUNNING", "BACKOFF" (a start failed, the next
            one is waited for), "STOPPING", "EXITED", "FATAL" (given up), "UNKNOWN".
        pid: None while there is no process.
        uptime_seconds: since the last start; None while there is no process.
        restarts: how many times it ended by itself after staying up, since supervisord started.
        tries: starts since it last stayed up (3 s), 0 while it does.
        trouble: what is wrong with it, in words; None if nothing is.
    """

    state: str
    pid: int | None
    uptime_seconds: float | None
    restarts: int
    tries: int
    trouble: str | None


Processes = Mapping[str, Supervised]
"""The processes by name, as in supervisord.conf."""


class Supervisor:
    """Asks the supervisord of one run directory. It belongs to one thread."""

    def __init__(self, run_dir: Path) -> None:
        self.control = run_dir / "supervisor.sock"
        self._conf = run_dir / "supervisorctl.conf"
        self._logs = run_dir / "logs"
        self._history = _History(run_dir / "logs" / "supervisord.log")
        self._owner = Owner("the questions to supervisord")

    def ask(self) -> Processes | None:
        """Return the state of its processes, None if the processes here were not started by a supervisord.

        Waits at most a second for each step of the answer.

        Raises:
            OSError: it does not answer, or not in time.
            http.client.HTTPException: it answers something else.
            xmlrpc.client.Error: it refuses.
        """
        self._owner.check()
        token = _token(self._conf)
        if token is None or not self.control.exists():
            return None
        found = _call(self.control, token, "supervisor.getAllProcessInfo")
        self._history.read()
        return {info["name"]: self._process(info) for info in found}

    def _process(self, info: Mapping[str, Any]) -> Supervised:
        name, state, alive = info["name"], info["statename"], info["pid"] > 0
        restarts, tries = self._history.restarts[name], self._history.tries[name]
        uptime_s = float(max(0, info["now"] - info["start"])) if alive else None
        trouble = None
        if state == "BACKOFF" or (state == "STARTING" and tries > 1):
            trouble = f"does not stay up, {tries} tries so far: {self._why(info) or 'starting again'}"
        elif alive and restarts >= UNSTABLE_RESTARTS and (uptime_s or 0) < UNSTABLE_S:
            trouble = f"ended {restarts} times by itself, the last time {uptime_s:.0f} s ago"
            if why := self._why(info):
                trouble += f": {why}"
        elif state == "STOPPED" and info["start"]:  # 0: never meant to run, as the simulator off env sim
            trouble = "was stopped by hand"
        elif state not in {"RUNNING", "STARTING", "STOPPED"}:
            trouble = f"is {state.lower()}: {self._why(info) or info['description']}"
        return Supervised(state, info["pid"] or None, uptime_s, restarts, tries, trouble)

    def _why(self, info: Mapping[str, Any]) -> str:
        """Return what ended a process: what supervisord ran into, else its own last words, else its exit."""
        name, refused = info["name"], info["spawnerr"]
        if refused and not refused.startswith(_TOO_QUICKLY):
            return str(refused)
        return last_words(self._logs / f"{name}.jsonl") or self._history.exits.get(name, "")


class ProcessMonitor:
    """Keeps the latest answer of a supervisord. Its own thread asks, so that no reader waits."""

    def __init__(self, run_dir: Path) -> None:
        self._supervisor = Supervisor(run_dir)
        self._said: str | None = None
        self.processes: Processes | None = None
        """The latest answer, at most a few seconds old; None while nobody answers. Any thread may read it."""

    def thread(self, stop: Stop) -> threading.Thread:
        """Return the thread, not started yet. It ends within about a second of `stop`.

        It is a daemon: a supervisord that hangs may hold it up for longer.
        """
        return threading.Thread(target=self.run, args=(stop,), name="supervised", daemon=True)

    def run(self, stop: Stop) -> None:
        """Ask every second until `stop`."""
        while not stop.is_set():
            self.processes = self._ask()
            stop.wait(EVERY_S)

    def _ask(self) -> Processes | None:
        try:
            answer, said = self._supervisor.ask(), None
        except (OSError, HTTPException, xmlrpc.client.Error) as error:
            answer, said = None, f"{type(error).__name__}: {error}"
        if said != self._said:
            self._said = said
            if said is not None:
                log.warning("supervisord.unreachable", socket=str(self._supervisor.control), error=said)
        return answer


class _History:
    """Counts the starts and ends of processes in supervisord's log, reading only what was added."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = (0, 0)  # inode, bytes read
        self._rest = ""
        self.restarts: Counter[str] = Counter()
        self.tries: Counter[str] = Counter()
        self.exits: dict[str, str] = {}

    def read(self) -> None:
        try:
            inode = self._path.stat().st_ino
        except FileNotFoundError:
            return
        if inode != self._at[0]:  # the first time, or rotated: .1 is the previous one, .2 the one before that
            older = [self._path.with_name(f"{self._path.name}.{number}") for number in (2, 1)]
            inodes = [path.stat().st_ino if path.exists() else 0 for path in older]
            known = inodes.index(self._at[0]) if self._at[0] in inodes and self._at[0] else 0
            for path in older[known:]:
                self._read(path)
        self._read(self._path)

    def _read(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                inode = path.stat().st_ino
                file.seek(self._at[1] if inode == self._at[0] else 0)
                text = self._rest + file.read().decode("utf-8", "replace")
                self._at = inode, file.tell()
        except FileNotFoundError:
            return
        *lines, self._rest = text.split("\n")
        for line in lines:
            self._count(line)

    def _count(self, line: str) -> None:
        if _STARTED in line:
            self.restarts.clear()
            self.tries.clear()
            self.exits.clear()
        elif found := _SPAWNED.search(line):
            self.tries[found[1]] += 1
        elif found := _RUNNING.search(line):
            self.tries[found[1]] = 0
        elif found := _EXITED.search(line):
            self.exits[found[1]] = found[2].removesuffix("; not expected")
            if not self.tries[found[1]]:
                self.restarts[found[1]] += 1


class _UnixConnection(HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(str(self._path))


def _call(path: Path, token: str, method: str) -> Any:
    # supervisor's own transport has no timeout: it would wait for ever for a supervisord that hangs.
    connection = _UnixConnection(path)
    try:
        login = base64.b64encode(f"kalshi-bus:{token}".encode()).decode()
        headers = {"content-type": "text/xml", "authorization": f"Basic {login}"}
        connection.request("POST", "/RPC2", xmlrpc.client.dumps((), method), headers)
        reply = connection.getresponse()
        body = reply.read()
        if reply.status != 200:
            raise HTTPException(f"supervisord answers {reply.status}")
        return xmlrpc.client.loads(body.decode())[0][0]
    finally:
        connection.close()


def last_words(log: Path) -> str:
    """Return why a process ended, as far as its log says: a refusal, an error or a crash; else "".

    If it has been restarted since, what ended the previous life.
    """
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - WORDS_READ))
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
    except OSError:
        return ""
    life: list[str] = []
    for line in reversed(lines):
        life.append(line)
        if _event(line).get("event") == "process.started":
            break
    return _words(life) or _words(lines[-len(life) - 1 :: -1] if len(life) < len(lines) else [])


def _words(lines: Sequence[str]) -> str:
    """Return why the life ended that wrote these lines, the last line first."""
    if not lines:
        return ""
    last, event = lines[0], _event(lines[0])
    if not last.startswith("{"):
        # What the interpreter says about its own end precedes a page of stack frames.
        fatal = (line for line in lines[:200] if line.startswith("Fatal Python error"))
        return redact(next(fatal, last))[:WORDS_MAX]
    if event.get("event") == "process.stopped" and event.get("code"):
        crashes = (found for line in lines if (found := _event(line)).get("event") in _CRASHED)
        event = next(crashes, event)
    if event.get("level") not in ("error", "critical"):
        return ""
    error = event.get("exception") or event.get("error") or ""
    if isinstance(error, list) and error and isinstance(error[0], dict):  # structlog's traceback as data
        error = f"{error[0].get('exc_type')}: {error[0].get('exc_value')}"
    return redact(f"{event.get('event')} {error}".strip())[:WORDS_MAX]


def _event(line: str) -> dict[str, Any]:
    """Return a line of a log as an event; empty if it is not one."""
    if not line.startswith("{"):
        return {}
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return {}


def _token(path: Path) -> str | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next((line.removeprefix("password=") for line in lines if line.startswith("password=")), None)
