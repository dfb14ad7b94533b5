"""The kill switch: a file in the data directory. While it exists nothing is traded, even after a restart.

It may be made by hand (``touch``); its text, if any, is the reason.
"""

import json
import os
from pathlib import Path
from typing import Final

import msgspec

from bus.files import open_regular
from bus.process.locks import private_dir
from markets.errors import StartupError
from markets.texts import utf8

NAME: Final = "KILLED"
WORD: Final = "UNLOCK"
"""What must be typed to trade again after a kill, or after the daily loss was reached."""

BY_HAND: Final = "by hand"
"""The reason of a kill without one."""

MAX_REASON: Final = 300
"""How many characters of a reason are kept, of a kill or a pause."""

MAX_FILE_BYTES: Final = 100_000
"""How much of the file is read at most."""


class Killed(msgspec.Struct, frozen=True):
    """When trading was killed (None if that cannot be read), and why."""

    at_ms: int | None
    reason: str


class KillOutcome(msgspec.Struct, frozen=True):
    """The result of setting the switch.

    Attributes:
        holds: whether it is set now, for every trader here and through restarts.
        trouble: what went wrong nevertheless, None if nothing did.
    """

    holds: bool
    trouble: str | None


def cut_reason(reason: str) -> tuple[str, str | None]:
    """Return a reason as it is kept, and what to say to whoever gave it if that is not the whole of it.

    Nothing is refused because it says too much.
    """
    said = f"only the first {MAX_REASON} characters of the reason count"
    return utf8(reason[:MAX_REASON]), said if len(reason) > MAX_REASON else None


class KillSwitch:
    """The kill switch of one data directory. Any process may set it; only the trader clears it."""

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / NAME

    def read(self) -> Killed | None:
        """Return the kill in effect, None if trading is allowed. An unreadable file counts as a kill."""
        try:
            at_ms = int(self.path.stat().st_mtime * 1000)
            with open_regular(self.path) as file:
                text = file.read(MAX_FILE_BYTES).decode(errors="replace")
        except FileNotFoundError:
            return None
        except OSError as error:
            return Killed(None, utf8(f"{self.path}: {error.strerror}"))
        try:
            reason = json.loads(text)["reason"]
        except (ValueError, KeyError, TypeError, RecursionError):
            reason = text.strip()
        return Killed(at_ms, cut_reason(str(reason))[0] or "the kill file is there")

    def set(self, reason: str) -> KillOutcome:
        """Kill: if `holds` is set when this returns, the kill survives a power cut.

        The existence of the file is what kills: a full disk may only cost the reason.
        """
        reason, said = cut_reason(reason)
        try:
            self._write(reason)
        except OSError as error:
            trouble = f"{self.path}: {error.strerror or error}"
        except StartupError as error:
            trouble = str(error)
        else:
            return KillOutcome(holds=True, trouble=said)
        if self.read() is None:
            return KillOutcome(holds=False, trouble=f"the kill switch cannot be set: {trouble}")
        return KillOutcome(holds=True, trouble=f"its reason may be lost: {trouble}")

    def _write(self, reason: str) -> None:
        private_dir(self.path.parent)
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        fd = os.open(self.path, flags, 0o600)
        try:
            os.truncate(fd, 0)
            os.write(fd, json.dumps({"reason": reason}).encode())
        finally:
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def clear(self) -> None:
        """Allow trading again.

        Raises:
            OSError: the file cannot be removed.
        """
        self.path.unlink(missing_ok=True)
