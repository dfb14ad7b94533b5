"""Who may send: one gateway at a time, and none once the watchdog has taken over.

Next to the log lies a number, the generation. Each gateway raises it by one when it begins, and so does the
watchdog when it takes over; a process that finds one higher than its own sends nothing any more.
"""

import fcntl
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bus.files import write_whole
from bus.process.locks import holder
from markets.errors import StartupError

ROLE: Final = "gateway"
"""Name of the lock beside the log: its holder writes the log."""

_NAME: Final = "generation"


class Fence:
    """The generation of one account's orders. Any process, any thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / _NAME

    def read(self) -> int:
        """Return the generation; 0 before the first gateway.

        Raises:
            StartupError: it cannot be read, so it is unknown who may send.
        """
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                text = os.read(fd, 64)
            finally:
                os.close(fd)
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise StartupError(f"{self._path}: cannot be read: {error.strerror}") from error
        if not re.fullmatch(rb"[0-9]{1,15}\n", text):
            raise StartupError(
                f"{self._path}: got {text[:20]!r}, expected the number of the last gateway: write there a "
                "higher one than any before"
            )
        return int(text)

    def raise_(self) -> int:
        """Raise the generation by one; return the new one, which survives a power cut.

        Raises:
            StartupError: it cannot be read or written.
        """
        try:
            lock = os.open(
                self.folder / f"{_NAME}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
            )
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)  # held only during a write
                raised = self.read() + 1
                write_whole(self._path, f"{raised}\n".encode())
            finally:
                os.close(lock)
        except OSError as error:
            raise StartupError(f"{self._path}: cannot be written: {error.strerror}") from error
        return raised

    def end_gateway(self, wait: Callable[[float], object], within_s: float = 1.0) -> int | None:
        """End the gateway that holds the lock at once; return its pid, None if there is none.

        A stopped one ends too, and never goes on. Args: wait: lets this many seconds pass.
        """
        pid = holder(self.folder, ROLE)
        if not pid or pid == os.getpid():
            return None
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            return None
        for _ in range(int(within_s * 100)):
            if holder(self.folder, ROLE) != pid:
                break
            wait(0.01)
        return pid
