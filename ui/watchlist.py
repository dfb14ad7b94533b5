"""The watchlist: the starred markets, in a file that outlives the process.

Starred markets are wished for all the time, so that they have a book and a history; the snapshot server's
history keeps theirs longest.
"""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import structlog

from bus.files import open_regular, write_whole
from bus.process.lifecycle import Stop
from bus.process.locks import private_dir
from markets.errors import BadRecord, StartupError

log = structlog.get_logger()

NAME: Final = "watchlist.json"
MOST: Final = 200
"""Most starred markets: each is wished for, and all wishes share the publisher's budget."""

TICKER_MAX: Final = 200
FILE_MAX: Final = 1_000_000

WISH_S: Final = 20.0
"""How often they are wished for: three times within the life of a wish."""

WISHED: Final = ("book", "candles")


class _File(msgspec.Struct):
    tickers: list[str]
    version: int = 1


class Watchlist:
    """The starred markets, the latest last. Any thread.

    Args:
        data_dir: the folder of its file.

    Attributes:
        trouble: what is wrong with its file, for the page; "" if nothing is.
    """

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / NAME
        self.trouble = ""
        self.version = 0
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._tickers = self._read()

    @property
    def tickers(self) -> tuple[str, ...]:
        """The starred markets, the latest last."""
        return self._tickers

    def star(self, ticker: str, *, starred: bool) -> tuple[str, ...]:
        """Star or unstar a market; return all starred ones. The change is on disk when this returns.

        Raises:
            BadRecord: there are MOST already.
            OSError: the file cannot be written; nothing has changed then.
        """
        with self._lock:
            left = tuple(one for one in self._tickers if one != ticker)
            if starred and len(left) >= MOST:
                raise BadRecord("ticker", ticker[:50], f"at most {MOST} markets on the watchlist")
            after = (
                (*left, ticker)
                if starred and ticker not in self._tickers
                else self._tickers
                if starred
                else left
            )
            if after != self._tickers:
                self._write(after)
                self._tickers = after
                self.version += 1
        self._changed.set()
        return after

    def run(self, stop: Stop, wish: Callable[[Sequence[str], str], None]) -> None:
        """Wish for the starred markets until `stop`; call `wake` after setting that."""
        while not stop.is_set():
            if self._tickers:
                for what in WISHED:
                    wish(self._tickers, what)
            self._changed.wait(WISH_S)
            self._changed.clear()

    def wake(self) -> None:
        """End a wait at once, for the stop."""
        self._changed.set()

    def _read(self) -> tuple[str, ...]:
        try:
            with open_regular(self.path) as file:
                text = file.read(FILE_MAX + 1)
            read = msgspec.json.decode(text, type=_File)
        except FileNotFoundError:
            return ()
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            said = error.strerror if isinstance(error, OSError) else error
            self.trouble = f"{self.path} cannot be read ({said}): the watchlist starts empty"
            log.warning("watchlist.damaged", file=str(self.path), error=str(error)[:200])
            return ()
        kept = [ticker for ticker in dict.fromkeys(read.tickers) if 0 < len(ticker) <= TICKER_MAX]
        return tuple(kept[-MOST:])

    def _write(self, tickers: Sequence[str]) -> None:
        """Rewrite the file; one that could not be read is renamed first.

        Raises:
            OSError: it cannot be written.
        """
        try:
            private_dir(self.path.parent)
        except StartupError as error:
            raise OSError(str(error)) from None
        if self.trouble and self.path.exists():
            self.path.rename(self.path.with_name(f"{NAME}.unreadable"))
        write_whole(self.path, msgspec.json.encode(_File(list(tickers))))
        self.trouble = ""
