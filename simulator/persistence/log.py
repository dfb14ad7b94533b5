"""What was asked of an exchange, written to disk before it is answered, and the exchange's saved state.

Files beside the keys, readable by the owner alone:

* `sim_origin.json`: which exchange this is, with which options, since when;
* `sim_saved.<n>`: all of it at one moment, compressed, for one build of the simulator;
* `sim_inputs.<n>.jsonl`: what was asked since `sim_saved.<n>`, or since the beginning for n = 0.

A line is a single `write`: it survives the process, however that ends. If the last line is cut off, that
request was never answered.
"""

import errno
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from markets.errors import DecodeError

INPUTS: Final = "sim_inputs"
SAVED: Final = "sim_saved"
LOOK: Final = "look"
"""The member for a book that somebody looked at for the first time, which then gets its depth."""
_HEAD: Final = b"kalshi-bus exchange "


class InputLog:
    """The files of one exchange. One thread uses it.

    Args:
        directory: the directory with the keys.
        exchange_id: files of another exchange are ignored.
        build: fingerprint of the simulator's code: a saved state is good for one build only.

    Attributes:
        requests: the number of requests since the last saved state; a first look at a book does not count.
        damaged: what could not be read.
    """

    def __init__(self, directory: Path, exchange_id: str, build: str) -> None:
        self._directory = directory
        self._head = _HEAD + f"{exchange_id} {build}\n".encode()
        self._exchange_id = exchange_id
        self._file: int | None = None
        self._number = 0
        self.requests = 0
        self.damaged: list[str] = []

    def forget(self) -> None:
        """Remove all files: another exchange begins."""
        self._close()
        for pattern in (f"{INPUTS}.*", f"{SAVED}.*", f".{SAVED}.*"):
            for path in self._directory.glob(pattern):
                path.unlink(missing_ok=True)
        self._number = self.requests = 0

    # -- reading

    def saved(self) -> Iterator[tuple[int, bytes]]:
        """Yield the saved states of this exchange and build with their numbers, latest first."""
        for number in sorted(self._numbers(SAVED), reverse=True):
            try:
                yield number, self._state(self._path(SAVED, number).read_bytes())
            except DecodeError:
                continue  # another build's, which is not unusual
            except (OSError, zlib.error) as problem:
                self.damaged.append(f"{SAVED}.{number}: {problem}")

    def inputs(self, since: int) -> Iterator[dict[str, Any]]:
        """Yield what was asked since a saved state, or the beginning (0), and continue after it."""
        self._number = since
        for number in sorted(n for n in self._numbers(INPUTS) if n >= since):
            self._number = number
            path = self._path(INPUTS, number, ".jsonl")
            try:
                lines = path.read_bytes().split(b"\n")
            except OSError as problem:
                self.damaged.append(f"{path.name}: {problem.strerror}")
                continue
            for count, line in enumerate(lines, 1):
                try:
                    found = json.loads(line) if line else {}
                except (ValueError, RecursionError):
                    found = None
                if isinstance(found, dict) and found:
                    self.requests += LOOK not in found
                    yield found
                elif line and count < len(lines):  # the last may be cut off: it was never answered
                    self.damaged.append(f"{path.name}:{count}: expected a JSON object, found {line[:40]!r}")

    def from_the_beginning(self) -> bool:
        """Whether everything ever asked is still there, so that no saved state is needed."""
        numbers = self._numbers(INPUTS)
        return not numbers or min(numbers) == 0

    # -- writing

    def append(self, what: dict[str, Any]) -> None:
        """Record what is asked.

        Raises:
            OSError: it cannot be written; then nothing must be done, and none of it is in the file.
        """
        line = json.dumps(what, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        file = self._open()
        end = os.lseek(file, 0, os.SEEK_END)
        written = 0
        try:
            written = os.write(file, line)
        finally:
            if written != len(line):
                try:
                    os.ftruncate(file, end)
                finally:
                    self._close()  # a part that cannot be cut off is at least terminated
        if written != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), INPUTS)
        self.requests += LOOK not in what

    def next(self) -> int:
        """Begin the log of what is asked after the state being saved; return that state's number."""
        self._close()
        self._number = max([self._number, *self._numbers(SAVED), *self._numbers(INPUTS)]) + 1
        self.requests = 0
        return self._number

    def save(self, number: int, state: bytes) -> None:
        """Write a state atomically."""
        path = self._path(SAVED, number)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(self._head + zlib.compress(state, 1))
            file.flush()
            os.fsync(descriptor)  # what it makes obsolete is removed afterwards
        temporary.replace(path)

    def drop_before(self, number: int) -> None:
        """Remove what a saved state has made obsolete, and unfinished states."""
        for unfinished in self._directory.glob(f".{SAVED}.*"):
            unfinished.unlink(missing_ok=True)
        for name, suffix in ((INPUTS, ".jsonl"), (SAVED, "")):
            for old in self._numbers(name):
                if old < number:
                    self._path(name, old, suffix).unlink(missing_ok=True)

    def _open(self) -> int:
        if self._file is None:
            path = self._path(INPUTS, self._number, ".jsonl")
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
            file = os.open(path, flags, 0o600)
            try:
                if os.fstat(file).st_size:
                    os.write(file, b"\n")  # the last line may be cut off
            except OSError:
                os.close(file)
                raise
            self._file = file
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _path(self, name: str, number: int, suffix: str = "") -> Path:
        return self._directory / f"{name}.{number}{suffix}"

    def _numbers(self, name: str) -> list[int]:
        parts = [path.name.split(".")[1] for path in self._directory.glob(f"{name}.*")]
        return [int(part) for part in parts if part.isdecimal()]

    def _state(self, raw: bytes) -> bytes:
        if not raw.startswith(self._head):
            raise DecodeError("saved by another build, or of another exchange")
        return zlib.decompress(raw[len(self._head) :])
