"""The last line behind the minder: ends a process whose interpreter is held for ever, and remembers by whom.

Much of Python runs in C without releasing the interpreter's lock: ``sum(range(10**12))``, a regular
expression that backtracks, a loop in an extension. Then no Python thread runs, and none can end the process.
faulthandler's timer needs no lock: unless it is reset in time, it writes all stacks to a file and ends the
process. Another file, memory-mapped so that it outlives the process, says which strategy was being called.
"""

import contextlib
import faulthandler
import mmap
import os
import stat
from pathlib import Path
from typing import Final

import msgspec

from bus.process.locks import private_dir
from bus.threads import Owner
from bus.trading.ended import EndedStrategy

LOCKED_S: Final = 10
"""A process whose minder has not run for this long is ended."""

CALLING: Final = "STRATEGY_CALLING"
STACKS: Final = "STRATEGY_STACKS"
SIZE: Final = 16_384
MAX_STACKS: Final = 1_048_576
_END: Final = b"\n"


class Stuck(msgspec.Struct, frozen=True):
    """What is known of a process ended this way. `call` is None if no strategy was being called."""

    call: EndedStrategy | None
    stacks: str


class LastLine:
    """The two files of one data directory. One process at a time has them open.

    Raises:
        StartupError: the directory cannot be used.
        OSError: a file cannot be used.
    """

    def __init__(self, data_dir: Path) -> None:
        private_dir(data_dir)
        self._stacks = _opened(data_dir / STACKS)
        calling = _opened(data_dir / CALLING)
        try:
            os.truncate(calling, SIZE)
            self._calling = mmap.mmap(calling, SIZE)
        finally:
            os.close(calling)
        self._owner = Owner("the timer of the last line")
        self._texts: dict[tuple[str, str], bytes] = {}

    def take(self, now_ms: int) -> Stuck | None:
        """Return, and forget, what is known if the previous process was ended this way."""
        found = os.pread(self._stacks, MAX_STACKS, 0)
        text = self._calling[:].partition(_END)[0]
        os.truncate(self._stacks, 0)
        self.ends()
        if not found:
            return None
        call = None
        with contextlib.suppress(msgspec.MsgspecError, ValueError):
            label, strategy, what = msgspec.json.decode(text, type=tuple[str, str, str])
            call = EndedStrategy(label, strategy, what, now_ms)
        return Stuck(call, found.decode("utf-8", "replace"))

    def begins(self, label: str, strategy: str, call: str) -> None:
        """Note which strategy is called from now on."""
        text = self._texts.get((strategy, call))
        if text is None:
            text = msgspec.json.encode((label, strategy, call)) + _END
            self._texts[strategy, call] = text = text if len(text) <= SIZE else _END
        self._calling[: len(text)] = text

    def ends(self) -> None:
        """Note that no strategy is being called."""
        self._calling[:1] = _END

    def hold(self) -> None:
        """Let the process live for another LOCKED_S; to be called again and again, from one thread."""
        self._owner.check()
        faulthandler.dump_traceback_later(LOCKED_S, exit=True, file=self._stacks)

    def close(self) -> None:
        """Stop the timer and free the files; the process lives on without this."""
        faulthandler.cancel_dump_traceback_later()
        self._calling.close()
        os.close(self._stacks)


def _opened(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(f"{path}: not a regular file")
    return fd
