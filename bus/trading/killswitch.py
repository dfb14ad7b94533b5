"""The kill switch: a file in the data directory. While it is there nothing is traded, restarts or not.

It may be made by hand (``touch``); its text, if any, is the reason.
"""

import contextlib
import json
import os
from pathlib import Path
from typing import Final

import msgspec

from bus.process.locks import private_dir

NAME: Final = "KILLED"
WORD: Final = "UNLOCK"
"""What must be typed to trade again after a kill."""


class Killed(msgspec.Struct, frozen=True):
    """When trading was killed, and why."""

    at_ms: int
    reason: str


class KillSwitch:
    """The switch of one data directory. Any process may set it; only the trader clears it."""

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / NAME

    def read(self) -> Killed | None:
        """Return the kill that holds, None if trading is allowed. What cannot be read counts as killed."""
        try:
            at_ms = int(self.path.stat().st_mtime * 1000)
            text = self.path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return None
        except OSError as error:
            return Killed(0, f"{self.path}: {error.strerror}")
        try:
            reason = json.loads(text)["reason"]
        except (ValueError, KeyError, TypeError):
            reason = text.strip()
        return Killed(at_ms, str(reason)[:500] or "the kill file is there")

    def set(self, reason: str) -> None:
        """Kill: when this returns, the switch holds and survives a power cut.

        Raises:
            OSError: the file cannot be made.
            StartupError: its directory cannot be made.
        """
        private_dir(self.path.parent)
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            # That the file is there is what kills; a full disk may only cost the reason.
            with contextlib.suppress(OSError):
                os.truncate(fd, 0)
                os.write(fd, json.dumps({"reason": reason}).encode())
            os.fsync(fd)
        finally:
            os.close(fd)

    def clear(self) -> None:
        """Allow trading again.

        Raises:
            OSError: the file cannot be removed.
        """
        self.path.unlink(missing_ok=True)
