"""Strategies that were ended with the trader because they did not return: a file in the data directory.

A strategy listed there is not loaded again, even after a restart, until its owner says so:
``kalshi-bus trader allow NAME``.
"""

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from bus.files import write_whole
from bus.process.locks import private_dir
from markets.errors import StartupError

NAME: Final = "STRATEGIES_ENDED"
MAX_BYTES: Final = 1_048_576


class EndedStrategy(msgspec.Struct, frozen=True):
    """One of them.

    Attributes:
        label: its name in the settings, without arguments.
        strategy: what it calls itself, or the label if it did not get that far.
        call: the call that did not return.
        at_ms: when it was ended.
    """

    label: str
    strategy: str
    call: str
    at_ms: int

    @property
    def reason(self) -> str:
        """Why it was ended, in words."""
        return f"{self.call} did not return"

    def is_called(self, name: str) -> bool:
        """Whether `name`, as a person says it, means this one."""
        return name in (self.strategy, self.label, self.label.rpartition(":")[2])


class EndedStrategies:
    """The file of one data directory. The trader adds to it; people take from it."""

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / NAME

    def read(self) -> tuple[EndedStrategy, ...]:
        """Return the strategies not to be loaded.

        Raises:
            StartupError: the file cannot be read, so nobody knows which.
        """
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise self._unreadable(error.strerror or str(error)) from None
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise self._unreadable("not a regular file")
            try:
                body = file.read(MAX_BYTES + 1)
                if len(body) > MAX_BYTES:
                    raise self._unreadable(f"more than {MAX_BYTES} bytes")
                return msgspec.json.decode(body, type=tuple[EndedStrategy, ...])
            except OSError as error:
                raise self._unreadable(error.strerror or str(error)) from None
            except (msgspec.MsgspecError, ValueError, RecursionError) as error:
                raise self._unreadable(str(error)) from None

    def add(self, ended: EndedStrategy) -> None:
        """Add one; when this returns, it survives a power cut.

        Raises:
            OSError: it could not be written.
            StartupError: the directory, or what the file holds, cannot be used.
        """
        self._write([*(other for other in self.read() if other.label != ended.label), ended])

    def allow(self, name: str) -> list[EndedStrategy]:
        """Allow those of this name to be loaded again; return them.

        Raises:
            OSError: the file could not be written.
            StartupError: the directory, or what the file holds, cannot be used.
        """
        held = self.read()
        allowed = [ended for ended in held if ended.is_called(name)]
        if allowed:
            self._write([ended for ended in held if ended not in allowed])
        return allowed

    def _write(self, held: Sequence[EndedStrategy]) -> None:
        private_dir(self.path.parent)
        write_whole(self.path, msgspec.json.encode(held))

    def _unreadable(self, reason: str) -> StartupError:
        return StartupError(
            f"{self.path}: {reason}: it says which strategies must not be loaded: restore it, or remove it to"
            " let all be loaded"
        )
