"""What changes, for a user's program at its own pace: an iterator, an async iterator or a callback.

Nobody waits for a slow reader, and nothing is lost silently. If a record changes again before it is read,
only the last version is delivered, together with how many were passed over. If more records wait than are
kept, a special update says how many were forgotten.
"""

import asyncio
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from typing import Final, Self

import msgspec
import structlog

from bus.protocol.join import Action, Tell
from bus.protocol.state import STATE_KINDS, Changed, State
from bus.scan.rescan import MOVED
from markets.records import Record, Trade

from .nearest import or_nearest

log = structlog.get_logger()

ANY: Final = "any"
"""Kind of an update that means: anything may have changed, look at everything again."""

LIMIT: Final = 100_000
"""How many changed records wait for their reader, at most."""

KINDS: Final = (*STATE_KINDS, "trade")

LOOK_S: Final = 1.0
"""How often a waiting reader checks whether anything is still being followed."""


class Update(msgspec.Struct, frozen=True):
    """A record that changed, as it is when this is delivered.

    Attributes:
        kind: of the record: "quote", "book", "market", "trade" and so on (docs/protocol.md). "any": anything
            may have changed, as after a repair, in a new epoch, or when more waited than is kept.
        key: its ticker, or whatever else identifies it; "" for kind "any".
        record: the record, None if it is gone, and for kind "any".
        seq: number of the last message that changed it.
        conflated: how many earlier changes were not delivered.
        dropped: for kind "any", how many changed records were forgotten; otherwise 0.
    """

    kind: str
    key: str
    record: Record | None
    seq: int
    conflated: int = 0
    dropped: int = 0


class Updates:
    """Changes that wait for one reader: ``for update in ...`` or ``async for update in ...``.

    Also a context manager. It ends when it, or the connection that it belongs to, is closed.

    Args:
        state: returns the state to read from.
        ended: whether nothing is followed any more.
        kinds: the kinds of records; if empty, all. keys: only these tickers or other keys.
        limit: how many records may wait.

    Raises:
        ValueError: there is no such kind.

    Attributes:
        conflated, dropped: the totals so far.
        error: the error with which a callback ended.
    """

    def __init__(
        self,
        state: Callable[[], State],
        ended: Callable[[], bool],
        kinds: Iterable[str] = (),
        keys: Collection[str] | None = None,
        limit: int = LIMIT,
    ) -> None:
        self.conflated = 0
        self.dropped = 0
        self.error: BaseException | None = None
        self._state = state
        self._ended = ended
        self._kinds = frozenset(kinds)
        if unknown := sorted(self._kinds - set(KINDS)):
            raise ValueError(f"kinds: got {unknown[0]!r}, expected {or_nearest(unknown[0], KINDS)}")
        self._keys = None if keys is None else frozenset(keys)
        self._limit = max(1, limit)
        self._ready = threading.Condition()
        self._waiting: dict[tuple[str, str], tuple[int, int, Trade | None]] = {}
        self._any: tuple[int, int] | None = None
        self._closed = False
        self._awaiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._thread: threading.Thread | None = None

    # -- for the reader

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return self._closed

    @property
    def waiting(self) -> int:
        """How many updates wait."""
        with self._ready:
            return len(self._waiting) + (self._any is not None)

    def get(self, timeout_s: float | None = None) -> Update | None:
        """Return the next update, waiting for it; None if there is none in time, or it has ended."""
        with self._ready:
            self._ready.wait_for(self._due, timeout_s)
            return self._take()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Update:
        while True:
            update = self.get(LOOK_S)
            if update is not None:
                return update
            if self._closed or self._ended():
                raise StopIteration

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Update:
        loop = asyncio.get_running_loop()
        while True:
            come: asyncio.Future[None] = loop.create_future()
            with self._ready:
                update = self._take()
                if update is not None:
                    return update
                if self._closed or self._ended():
                    raise StopAsyncIteration
                self._awaiting.append((loop, come))
            try:
                with suppress(TimeoutError):
                    await asyncio.wait_for(come, LOOK_S)
            finally:
                with self._ready:
                    self._awaiting = [entry for entry in self._awaiting if entry[1] is not come]

    def close(self) -> None:
        """End it, and wait for a callback that is running, unless the callback itself calls this."""
        with self._ready:
            self._closed = True
            self._waiting.clear()
            self._any = None
            self._wake()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        kinds = ", ".join(sorted(self._kinds)) or "all kinds"
        said = f"{self.waiting} waiting, {self.conflated} conflated, {self.dropped} dropped"
        state = "closed" if self._closed else "open"
        return f"<updates of {kinds}: {state}, {said}>"

    def call(self, function: Callable[[Update], object]) -> None:
        """Call `function` with each update, in a separate thread. If it raises an error, this ends.

        Until then, or until it is closed, it keeps the process from ending.
        """

        def run() -> None:
            try:
                for update in self:
                    function(update)
            except BaseException as error:
                self.error = error
                log.exception("callback.failed")
                self.close()

        self._thread = threading.Thread(target=run, name="updates")
        self._thread.start()

    # -- for whoever follows the feed: from any thread, and quick

    def listen(self, actions: Sequence[Action]) -> None:
        """Take what a replica did."""
        with self._ready:
            if self._closed:
                return
            before = len(self._waiting), self._any
            for action in actions:
                if isinstance(action, Changed):
                    self._add(action)
                elif isinstance(action, Tell) and action.event in MOVED:
                    self._forget(action.detail.get("seq", 0), dropped=0)
            if (len(self._waiting), self._any) != before:
                self._wake()

    def _add(self, changed: Changed) -> None:
        kinds, wanted, waiting = self._kinds, self._keys, self._waiting
        for kind, keys in changed.groups:
            if kind != "trade" and (not kinds or kind in kinds):
                for key in keys if wanted is None else wanted.intersection(keys):
                    known = waiting.get((kind, key))
                    if known is None:
                        waiting[kind, key] = (changed.seq, 0, None)
                    else:
                        waiting[kind, key] = (changed.seq, known[1] + 1, None)
                        self.conflated += 1
        if not kinds or "trade" in kinds:
            for trade in changed.trades:
                if wanted is None or trade.ticker in wanted:
                    waiting["trade", trade.trade_id] = (changed.seq, 0, trade)
        if len(waiting) > self._limit:
            self._forget(changed.seq, dropped=len(waiting))

    def _forget(self, seq: int, dropped: int) -> None:
        """Replace everything that waits by one update of kind "any"."""
        lost = self._any[1] if self._any is not None else 0
        self._any = (seq, lost + dropped)
        self._waiting.clear()
        self.dropped += dropped

    def _due(self) -> bool:
        return bool(self._waiting) or self._any is not None or self._closed

    def _take(self) -> Update | None:
        if self._any is not None:
            (seq, dropped), self._any = self._any, None
            return Update(ANY, "", None, seq, 0, dropped)
        if not self._waiting:
            return None
        kind, key = next(iter(self._waiting))
        seq, conflated, trade = self._waiting.pop((kind, key))
        if trade is not None:
            return Update(kind, trade.ticker, trade, seq)
        record: Record | None = self._state().records.get(kind, {}).get(key)
        return Update(kind, key, record, seq, conflated)

    def _wake(self) -> None:
        self._ready.notify_all()
        for loop, come in self._awaiting:
            with suppress(RuntimeError):  # a loop closed meanwhile waits for nothing
                loop.call_soon_threadsafe(_end_wait, come)
        self._awaiting = []


def _end_wait(come: "asyncio.Future[None]") -> None:
    if not come.done():
        come.set_result(None)
