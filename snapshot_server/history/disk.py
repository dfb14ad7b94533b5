"""How the history outlives the process: one file per segment, and one for what is not packed yet.

A damaged file is logged and left where it is: what it held becomes a hole.
"""

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

from bus.files import open_regular
from bus.process.locks import private_dir
from markets.errors import DecodeError, StartupError

from .log import Log
from .segment import Segment, decode_segment, encode_segment
from .store import Store

log = structlog.get_logger()

MAX_FILE: Final = 256 * 1_048_576
_NAME: Final = re.compile(r"(?:kept-)?(quotes|trades)-([0-9]{10}|open)", re.ASCII)


class Disk:
    """The files of a history. One thread uses it.

    Args:
        data_dir: that of the installation. name: what the history is about.
    """

    def __init__(self, data_dir: Path, name: str) -> None:
        self._directories = data_dir, data_dir / "history", data_dir / "history" / name
        self._directory = self._directories[-1]
        self._failing = False

    def load(self, store: Store) -> None:
        """Load the files into the store, and keep the files up to date from now on."""
        names: list[str] = []
        try:
            for directory in self._directories:
                private_dir(directory)
            names = sorted(entry.name for entry in self._directory.iterdir() if _NAME.fullmatch(entry.name))
        except (OSError, StartupError) as error:
            self._failed(error)
        for of in (store.quotes, store.trades):
            for name in names:
                match = _NAME.fullmatch(name)
                if match is not None and match[1] == of.name:
                    self._load(of, name)
            of.sealed, of.evicted = self.write, self.remove

    def _load(self, of: Log, name: str) -> None:
        path = self._directory / name
        try:
            with open_regular(path) as file:
                data = file.read(MAX_FILE + 1)
            if len(data) > MAX_FILE:
                raise DecodeError(f"segment: more than {MAX_FILE} bytes")
            segment = decode_segment(data, of.width)
        except (OSError, DecodeError) as error:
            log.warning("history.damaged", file=str(path), error=str(error)[:200])
            return
        of.take(name, segment)

    def write(self, name: str, segment: Segment) -> None:
        """Write a segment; what cannot be written is logged once, and kept in memory."""
        path = self._directory / name
        temporary = path.with_name(f"{name}.new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
                file.write(encode_segment(segment))
            temporary.rename(path)
        except OSError as error:
            with suppress(OSError):  # what is of no use must not keep a disk full
                temporary.unlink(missing_ok=True)
            self._failed(error)
        else:
            self._failing = False

    def save(self, store: Store) -> None:
        """Write what is not packed yet."""
        for of in (store.quotes, store.trades):
            for name, segment in of.waiting():
                self.write(name, segment)

    def remove(self, name: str) -> None:
        """Remove the file of a segment that was dropped."""
        try:
            (self._directory / name).unlink(missing_ok=True)
        except OSError as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        if not self._failing:
            self._failing = True
            log.warning("history.not_written", directory=str(self._directory), error=str(error))
