"""The newest lines of the logs, as the system page shows them."""

import os
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from bus.process.logs import redact
from markets.errors import BadRecord

from .system import LOGGING

LEVELS: Final = ("debug", "info", "warning", "error")
LINES: Final = 200
TAIL_BYTES: Final = 262_144
"""How much of the end of each log is read: about a thousand lines."""

TEXT_MAX: Final = 100
_HEAD: Final = frozenset({"timestamp", "level", "process", "event", "logger"})


class LogLine(msgspec.Struct, frozen=True):
    """One line of a log."""

    time_ms: int | None
    level: str
    process: str
    event: str
    detail: str


class LogFilter(msgspec.Struct, frozen=True):
    """Which log lines are wanted: least level, one process, words."""

    level: str = "info"
    process: str = ""
    q: str = ""


def log_lines(folder: Path, wanted: LogFilter) -> list[LogLine]:
    """Return the newest matching lines of all logs in a folder, newest first."""
    found: list[LogLine] = []
    for path in sorted(folder.glob("*.jsonl")):
        if not wanted.process or path.stem == wanted.process:
            found += _passing(path, wanted)
    # The sort is stable: a log keeps its order, and a line without a time has that of the line before it.
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
    """Return a parsed line; text that is not JSON (such as a traceback at the end) counts as an error."""
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
    """Return the filter in a query string.

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
        if name == "process" and text not in LOGGING:
            raise BadRecord(name, text, f"one of {', '.join(LOGGING)}")
        if name == "q" and len(text) > TEXT_MAX:
            raise BadRecord(name, text, f"at most {TEXT_MAX} characters")
        fields[name] = text
    return LogFilter(**fields)
