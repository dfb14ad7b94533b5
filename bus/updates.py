"""What changes, for a user's program at its own pace: an iterator, an async iterator or a callback.

Nobody waits for a slow reader, and nothing is lost unsaid. Of a record that changes again before it is read
only the last is given out, and how many were passed over stands in it; what was forgotten because more waited
than is kept is said in an update of its own.
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
"""Kind of an update that says: anything may have changed, look at all of it again."""

LIMIT: Final = 100_000
"""So many records that changed wait for their reader at most."""

KINDS: Final = (*STATE_KINDS, "trade")

LOOK_S: Final = 1.0
"""So often who waits looks whether anything is followed any more."""


class Update(msgspec.Struct, frozen=True):
    """A record that changed, as it is when this is given out.

    Attributes:
        kind: of the record: "quote", "book", "market", "trade" and so on (docs/protocol.md). "any": anything
            may have changed, as after a repair, a new epoch, or when more waited than is kept.
        key: its ticker, or what else names it; "" of kind "any".
        record: the record, None if it is gone, and of kind "any".
        seq: number of the last message that changed it.
        conflated: how often it changed before without being given out.
        dropped: of kind "any", how many records that had changed were forgotten; else 0.
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
        state: gives the state to read from.
        ended: whether nothing is followed any more.
        kinds: of records; all without any. keys: only of these tickers or other keys.
        limit: so many records may wait.

    Raises:
        ValueError: there is no such kind.

    Attributes:
        conflated, dropped: in all, since it began.
        error: what a callback has raised, which ended it.
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
        """End it; a callback that is under way is waited for, unless it calls this itself."""
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
        """Call `function` with each update, in a thread of its own. One that raises ends it."""

        def run() -> None:
            try:
                for update in self:
                    function(update)
            except BaseException as error:
                self.error = error
                log.exception("callback.failed")
                self.close()

        self._thread = threading.Thread(target=run, name="updates", daemon=True)
        self._thread.start()

    # -- for who follows the feed: any thread, and quick

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
        """Put one word in the place of all that waits."""
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
            with suppress(RuntimeError):  # a loop that was closed meanwhile waits for nothing
                loop.call_soon_threadsafe(_end_wait, come)
        self._awaiting = []


def _end_wait(come: "asyncio.Future[None]") -> None:
    if not come.done():
        come.set_result(None)
