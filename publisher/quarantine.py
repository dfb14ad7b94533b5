"""Records from the exchange that cannot be trusted: counted, logged once, their bytes kept for inspection."""

import threading
from pathlib import Path
from typing import Final

import structlog

from markets.errors import BadRecord

log = structlog.get_logger()

MAX_FILES: Final = 100
MAX_REMEMBERED: Final = 10_000


class Quarantine:
    """Keeps the newest refused records as files ``00.json`` ... ``99.json`` of `directory`. Any thread."""

    def __init__(self, directory: Path) -> None:
        self.refused = 0
        self._directory = directory
        self._files = 0
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], str] = {}

    def put(self, what: str, key: str, error: BadRecord, raw: bytes) -> None:
        """Note a refused record; `key` is "" if it could not be read.

        Logged and kept when it is new or refused for a new reason, not on every sweep.
        """
        reason = f"{error.field}: {error.expected}"
        with self._lock:
            self.refused += 1
            if self._known.get((what, key)) == reason:
                return
            if len(self._known) >= MAX_REMEMBERED:
                self._known.clear()
            self._known[what, key] = reason
            name = f"{self._files % MAX_FILES:02d}.json"
            self._files += 1
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self._directory / name).write_bytes(raw)
        except OSError as problem:
            name = f"not kept: {problem.strerror}"
        log.warning(
            "record.quarantined",
            what=what,
            key=key,
            field=error.field,
            value=error.value,
            expected=error.expected,
            file=name,
        )

    def good(self, what: str, key: str) -> None:
        """Note that a record came in good shape again."""
        if self._known and self._known.pop((what, key), ""):
            log.info("record.healed", what=what, key=key)
