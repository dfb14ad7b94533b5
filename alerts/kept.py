"""What alerts keep on disk: the rules, and the messages. Each file is whole or absent, and private.

A file that cannot be read is renamed and reported; the process continues without it.
"""

import os
import stat
from pathlib import Path
from typing import Final, Generic, TypeVar

import msgspec
import structlog

from bus.alerting import RULES_MOST, AnyRule, Quiet, check_quiet, check_rule
from bus.files import write_whole
from bus.process.echo import shown_path
from bus.process.locks import private_dir
from markets.errors import BadRecord, StartupError

from .judging import Memory
from .outbox import Kept

log = structlog.get_logger()

FOLDER: Final = "alerts"
RULES_FILE: Final = "rules.json"
TOLD_FILE: Final = "told.json"
MAX_BYTES: Final = 16 * 1_048_576

T = TypeVar("T")


class Rules(msgspec.Struct, forbid_unknown_fields=True):
    """The file of rules. `last`: the highest number that any rule has had."""

    rules: tuple[AnyRule, ...] = ()
    quiet: Quiet = Quiet()
    last: int = 0


class Told(msgspec.Struct):
    """The file of messages and of what has been alerted."""

    memory: Memory
    outbox: Kept


class KeptFile(Generic[T]):
    """One file. `problem`: why it cannot be written, None if it can."""

    def __init__(self, path: Path, type_: type[T], empty: T) -> None:
        self.path = path
        self.problem: str | None = None
        self.aside: str | None = None
        """Why the file found there was not used, None if it was."""
        self._type = type_
        self._empty = empty
        self._written = b""

    def read(self, now_ms: int) -> T:
        """Return its content; the empty value if there is no file, or none that can be read."""
        try:
            body = _read(self.path)
            value: T = msgspec.json.decode(body, type=self._type)
            _check(value)
        except FileNotFoundError:
            return self._empty
        except (OSError, msgspec.MsgspecError, ValueError, RecursionError, BadRecord) as error:
            self._put_aside(str(getattr(error, "strerror", None) or error)[:200], now_ms)
            return self._empty
        self._written = body
        return value

    def write(self, value: T) -> bool:
        """Write it; if this returns True, it survives a power cut. Otherwise `problem` says why not."""
        body = msgspec.json.encode(value)
        if body == self._written and self.problem is None:
            return True
        try:
            if len(body) > MAX_BYTES:
                raise StartupError(f"{len(body)} bytes, expected at most {MAX_BYTES}")
            private_dir(self.path.parent)
            write_whole(self.path, body)
        except (OSError, StartupError) as error:
            problem = f"{self.path}: cannot be written: {getattr(error, 'strerror', None) or error}"
            if problem != self.problem:
                log.warning("alerts.unwritten", error=problem)
            self.problem = problem
            return False
        self._written, self.problem = body, None
        return True

    def _put_aside(self, why: str, now_ms: int) -> None:
        kept = self.path.with_name(f"{self.path.name}.unreadable-{now_ms}")
        try:
            self.path.rename(kept)
            where = f"kept as {kept.name}"
        except OSError as error:
            where = f"and cannot be renamed: {error.strerror or error}"
        self.aside = f"{shown_path(self.path)}: cannot be read ({why}), {where}; starting without it"
        log.error("alerts.unreadable", error=self.aside)


def rules_file(data_dir: Path) -> KeptFile[Rules]:
    """Return the file of rules of a data directory."""
    return KeptFile(data_dir / FOLDER / RULES_FILE, Rules, Rules())


def told_file(data_dir: Path) -> KeptFile[Told]:
    """Return the file of messages of a data directory."""
    return KeptFile(data_dir / FOLDER / TOLD_FILE, Told, Told(Memory(), Kept()))


def _check(value: object) -> None:
    """Check that what was read would be accepted as input.

    Raises:
        BadRecord: it would not.
    """
    if isinstance(value, Rules):
        check_quiet(msgspec.to_builtins(value.quiet))
        numbers = [check_rule(msgspec.to_builtins(rule)).number for rule in value.rules]
        if len(set(numbers)) != len(numbers) or len(numbers) > RULES_MOST or min(numbers, default=1) < 1:
            raise BadRecord("number", "", f"at most {RULES_MOST} rules, each with its own number")
        value.last = max([value.last, *numbers])


def _read(path: Path) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ValueError("is not a regular file")
        body = file.read(MAX_BYTES + 1)
    if len(body) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES} bytes")
    return body
