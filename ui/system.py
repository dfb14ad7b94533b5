"""What the system page shows: processes, where each stands in the feed, how old messages arrive, the logs."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from bus.ask import ask
from bus.health import HealthAnswer
from bus.process.lifecycle import Stop
from bus.process.locks import holder
from bus.process.logs import redact
from bus.process.supervised import Processes
from markets.errors import BadRecord, KalshiBusError

ROLES: Final = ("simulator", "publisher", "snapshot_server", "trader", "ui")
LEVELS: Final = ("debug", "info", "warning", "error")
LINES: Final = 200
TAIL_BYTES: Final = 262_144
"""Read of the end of each log: about a thousand lines."""

TEXT_MAX: Final = 100
WINDOW_NS: Final = 60_000_000_000
SAMPLES: Final = 20_000
EVERY_S: Final = 1.0
WATCHED_NS: Final = 15_000_000_000
_TIMEOUT_MS: Final = 1_000
_HEAD: Final = frozenset({"timestamp", "level", "process", "event", "logger"})


class Ages(msgspec.Struct, frozen=True):
    """How old the last minute's messages were when they arrived here, in milliseconds; None without any."""

    count: int
    p50_ms: float | None
    p99_ms: float | None


class Arrivals:
    """Takes the age of what arrives, from one thread; tells the percentiles of a minute to any."""

    def __init__(self) -> None:
        self._samples: deque[tuple[int, int]] = deque(maxlen=SAMPLES)

    def add(self, now_ns: int, published_ns: int) -> None:
        """Note that something sent at `published_ns` has arrived."""
        self._samples.append((now_ns, now_ns - published_ns))

    def ages(self, now_ns: int) -> Ages:
        """Return the ages of the last minute."""
        last = sorted(age for at, age in list(self._samples) if now_ns - at <= WINDOW_NS)
        if not last:
            return Ages(0, None, None)
        p50, p99 = (last[min(len(last) - 1, len(last) * percent // 100)] / 1e6 for percent in (50, 99))
        return Ages(len(last), round(p50, 2), round(p99, 2))


class ProcessRow(msgspec.Struct, frozen=True):
    """One process; None is not known. `state` is supervisord's word, or "by hand" or "not running"."""

    name: str
    state: str
    sign: str
    pid: int | None
    uptime_seconds: float | None
    restarts: int | None
    memory_bytes: int | None
    descriptors: int | None
    threads: int | None
    trouble: str | None


class PlaceRow(msgspec.Struct, frozen=True):
    """Where a process stands in the feed; `behind` messages of the publisher's last heartbeat."""

    name: str
    epoch: int | None
    seq: int | None
    behind: int | None
    state: str
    gaps: int | None = None
    resyncs: int | None = None


class LogLine(msgspec.Struct, frozen=True):
    """One line of a log."""

    time_ms: int | None
    level: str
    process: str
    event: str
    detail: str


class LogFilter(msgspec.Struct, frozen=True):
    """What of the logs is wanted: least level, one process, words."""

    level: str = "info"
    process: str = ""
    q: str = ""


class Monitor:
    """Asks the snapshot server how it stands, while somebody looks, and a replay, while one plays.

    `run` in a thread of its own; everything else from any.
    """

    def __init__(self, context: Any, query: str, state: str) -> None:
        self._context = context
        self._query = query
        self._state = state
        self._looked_ns: int | None = None
        self.snapshot_server: HealthAnswer | None = None
        """Its last answer to `health`; None while it does not answer or nobody looks."""
        self.replay: Mapping[str, Any] | None = None
        """The replay's last account of itself; None while none plays."""

    def look(self, now_ns: int) -> None:
        """Note that somebody looks now."""
        self._looked_ns = now_ns

    def command_replay(self, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        """Tell the replay what to do; return its account of itself, or its refusal.

        Raises:
            NoAnswer: nothing answers.
        """
        answer = ask(self._context, self._state, {"op": "replay", "id": 1, **parameters}, _TIMEOUT_MS)
        if answer.get("ok"):
            self.replay = answer
        return answer

    def run(self, stop: Stop, steady_ns: Callable[[], int], replaying: Callable[[], bool]) -> None:
        """Ask until `stop`."""
        while not stop.wait(EVERY_S):
            looked_ns = self._looked_ns
            watched = looked_ns is not None and steady_ns() - looked_ns <= WATCHED_NS
            self.snapshot_server = self._health() if watched else None
            status = {"op": "replay", "id": 1, "action": "status"}
            self.replay = self._ask(self._state, status) if replaying() else None

    def _health(self) -> HealthAnswer | None:
        answer = self._ask(self._query, {"op": "health", "id": 1})
        try:
            return None if answer is None else msgspec.convert(answer, HealthAnswer)
        except msgspec.ValidationError:
            return None

    def _ask(self, endpoint: str, question: dict[str, Any]) -> Mapping[str, Any] | None:
        try:
            answer = ask(self._context, endpoint, question, _TIMEOUT_MS)
        except KalshiBusError:
            return None
        return answer if answer.get("ok") else None


def process_rows(run_dir: Path, supervised: Processes | None) -> list[ProcessRow]:
    """Return the processes of a run directory: supervisord's, or whoever holds a role there."""
    rows = []
    for name in supervised if supervised is not None else ROLES:
        known = supervised[name] if supervised is not None else None
        pid = known.pid if known is not None else holder(run_dir, name)
        memory, descriptors, threads, up_s = _proc(pid)
        if known is not None:
            state = known.state.lower()
            idle = state == "stopped" and known.trouble is None
            sign = "bad" if known.trouble else "idle" if idle else "good" if state == "running" else "fair"
            uptime_s = known.uptime_seconds
        else:
            state, sign = ("by hand", "good") if pid else ("not running", "idle")
            uptime_s = up_s
        restarts = known.restarts if known is not None else None
        trouble = known.trouble if known is not None else None
        rows.append(
            ProcessRow(
                name, state, sign, pid or None, uptime_s, restarts, memory, descriptors, threads, trouble
            )
        )
    return rows


def _proc(pid: int | None, proc: Path = Path("/proc")) -> tuple[Any, ...]:
    """Return memory (resident), open descriptors, threads and uptime (s) of a process; None where unknown."""
    try:
        folder = proc / str(pid or "none")
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        started = int((folder / "stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        up_s = float((proc / "uptime").read_text().split()[0]) - started
        descriptors = sum(1 for _ in (folder / "fd").iterdir())
        return int(status["VmRSS"].split()[0]) * 1024, descriptors, int(status["Threads"]), max(0.0, up_s)
    except (OSError, KeyError, ValueError, IndexError):
        return None, None, None, None


def log_lines(folder: Path, wanted: LogFilter) -> list[LogLine]:
    """Return the newest lines of all logs in a folder that pass, the newest first."""
    found: list[LogLine] = []
    for path in sorted(folder.glob("*.jsonl")):
        if not wanted.process or path.stem == wanted.process:
            found += _passing(path, wanted)
    # Stable: within a log the order is its own, a line without a time stands at the one before it.
    found.sort(key=lambda line: line.time_ms or 0, reverse=True)
    return found[:LINES]


def _passing(path: Path, wanted: LogFilter) -> Iterable[LogLine]:
    try:
        with path.open("rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES)
            file.seek(start)
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    texts = text.splitlines()[1 if start else 0 :]
    least, words = LEVELS.index(wanted.level), wanted.q.casefold().split()
    found: list[LogLine] = []
    time_ms: int | None = None
    for text in texts:
        line = _line(text, path.stem, time_ms)
        time_ms = line.time_ms
        if _rank(line.level) >= least and all(word in text.casefold() for word in words):
            found.append(line)
    return reversed(found[-LINES:])


def _line(text: str, process: str, before_ms: int | None) -> LogLine:
    """Return a line; what is no JSON (a refusal, the interpreter's last words) counts as an error."""
    try:
        event = msgspec.json.decode(text, type=dict[str, Any])
        time_ms = round(datetime.fromisoformat(str(event["timestamp"])).timestamp() * 1000)
    except (msgspec.DecodeError, KeyError, ValueError):
        return LogLine(before_ms, "error", process, redact(text)[:500], "")
    rest = " ".join(f"{key}={_short(value)}" for key, value in event.items() if key not in _HEAD)
    return LogLine(
        time_ms, str(event.get("level", "info")), process, str(event.get("event", "")), rest[:1_000]
    )


def _short(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict) and "exc_type" in value[0]:
        return f"{value[0].get('exc_type')}: {value[0].get('exc_value')}"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _rank(level: str) -> int:
    return LEVELS.index(level) if level in LEVELS else len(LEVELS)


def parse_log_filter(pairs: Sequence[tuple[str, str]]) -> LogFilter:
    """Return the filter of a query string.

    Raises:
        BadRecord: unknown parameter or wrong value.
    """
    fields: dict[str, str] = {}
    for name, text in pairs:
        if name not in ("level", "process", "q"):
            raise BadRecord(name, text, "one of the parameters level, process, q")
        if not text:
            continue
        if name == "level" and text not in LEVELS:
            raise BadRecord(name, text, f"one of {', '.join(LEVELS)}")
        if name == "process" and text not in ROLES:
            raise BadRecord(name, text, f"one of {', '.join(ROLES)}")
        if name == "q" and len(text) > TEXT_MAX:
            raise BadRecord(name, text, f"at most {TEXT_MAX} characters")
        fields[name] = text
    return LogFilter(**fields)
