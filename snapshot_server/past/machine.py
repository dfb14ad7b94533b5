"""Editions of past moments, of the recording that `make run` keeps: docs/recording.md."""

import gc
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from bus.process.lifecycle import release_memory
from bus.protocol.join import ReplicaStatus, Stats
from bus.protocol.state import State
from bus.tape.file import Recording, RecordingError
from bus.tape.moments import At, Moments, NotRecorded
from snapshot_server.edition import Edition, next_edition
from snapshot_server.view import View

KEPT: Final = 8
"""How many answers are kept, for further questions about a moment; of whole catalogues only the last."""


class Shown(msgspec.Struct, frozen=True):
    """A moment, ready to be served: `now_ms` is what ages count from."""

    state: State
    edition: Edition
    now_ms: int


class Machine:
    """Shows moments of a recording. Any thread may ask; one question is answered at a time.

    Args:
        folder: that of the recording, which may not exist yet, grow, lose its beginning and start over.
        stale_after_ms: data older than this was stale.
    """

    def __init__(self, folder: Path, stale_after_ms: int) -> None:
        self._folder = folder
        self._stale_after_ms = stale_after_ms
        self._past: Moments | None = None
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[At, frozenset[str] | None], Shown] = OrderedDict()

    def span(self) -> tuple[int, int]:
        """Return the time of the first and of the last moment, ns since 1970; (0, 0) if there are none.

        Raises:
            OSError: the recording cannot be read.
        """
        with self._lock:
            try:
                return self._open().span()
            except NotRecorded:
                return 0, 0

    def show(self, at: At, named: frozenset[str] | None) -> Shown:
        """Return a moment.

        Args:
            named: as for `Moments.at`; None: everything.

        Raises:
            NotRecorded: it is not in the recording.
            OSError: the recording cannot be read.
        """
        with self._lock:
            shown = self._kept.get((at, named)) or self._made(at, named)
            self._kept[at, named] = shown
            self._kept.move_to_end((at, named))
            return shown

    def view(self, shown: Shown | None) -> View:
        """Return what answers are made from."""
        edition = shown.edition if shown is not None else None
        epoch, seq = (edition.epoch, edition.seq) if edition is not None else (0, 0)
        status = ReplicaStatus(
            epoch, seq, live=True, phase="live", lost=False, age_ms=None, degraded=(), source="replay",
            stats=Stats(),
        )  # fmt: skip
        return View(edition, status, None, self._stale_after_ms)

    def _open(self) -> Moments:
        if self._past is None:
            try:
                self._past = Moments(Recording(self._folder))
            except (FileNotFoundError, RecordingError):
                raise NotRecorded("before_begin", "at: nothing has been recorded yet") from None
        return self._past

    def _made(self, at: At, named: frozenset[str] | None) -> Shown:
        self._make_room(named)
        with _uncollected():
            then = self._open().at(at, named)
            now_ms = (at if isinstance(at, int) else then.published_ns) // 1_000_000
            with then.state.lock:
                digest = then.state.digest() if named is None else 0
                frozen = then.state.frozen()
            edition = next_edition(frozen, digest, None, now_ms, lambda: None)
        if named is None:
            release_memory()
        return Shown(then.state, edition, now_ms)

    def _make_room(self, named: frozenset[str] | None) -> None:
        if named is None:
            for kept in [kept for kept in self._kept if kept[1] is None]:
                del self._kept[kept]
        while len(self._kept) >= KEPT:
            self._kept.popitem(last=False)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Suspend garbage collection while making a state that is to stay."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
