"""Who listens to server-sent events, and what each has not received yet.

An update only says that something changed; the page then fetches itself. So no more than one update ever
waits for a slow client.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Final

import msgspec

from bus.threads import Owner

MAX_STREAMS: Final = 64
RETRY_AFTER_S: Final = 5
KEEP_ALIVE_S: Final = 15.0
LEAST_INTERVAL_S: Final = 0.25
SEND_TIMEOUT_S: Final = 30.0


class PageUpdate(msgspec.Struct, frozen=True):
    """One server-sent event: the position of the data, what changed, and the status as JSON.

    `markets` and `events` are the tickers that changed; `trader` means that the trader page looks different,
    `everything` that any page may.
    """

    id: str
    data: str
    everything: bool = True
    overview: bool = True
    markets: frozenset[str] = frozenset()
    events: frozenset[str] = frozenset()
    trader: bool = False

    def encode(self) -> bytes:
        return f"id: {self.id}\nevent: update\ndata: {self.data}\n\n".encode()


class OpenStream:
    """One open stream, woken by changes of `ticker`, `event` or `page` ("trader"), else of the overview."""

    def __init__(self, ticker: str | None, event: str | None, page: str | None = None) -> None:
        self.ready = asyncio.Event()
        self.pending: PageUpdate | None = None
        self.gone = False
        self._ticker = ticker
        self._event = event
        self._page = page

    def offer(self, update: PageUpdate) -> None:
        """Keep `update` as the newest if it concerns this stream."""
        if self._ticker is not None:
            wanted = update.everything or self._ticker in update.markets
        elif self._event is not None:
            wanted = update.everything or self._event in update.events
        elif self._page == "trader":
            wanted = update.everything or update.trader
        elif self._page in ("system", "explore"):
            wanted = update.everything  # these pages poll for the rest at their own pace
        else:
            wanted = update.everything or update.overview
        if wanted:
            self.pending = update
            self.ready.set()

    def take(self) -> PageUpdate | None:
        """Return the waiting update, once."""
        update, self.pending = self.pending, None
        self.ready.clear()
        return update

    def end(self) -> None:
        """Close the stream at its next turn."""
        self.gone = True
        self.ready.set()


class UpdateHub:
    """All open streams. Any thread may `publish` and `close`; the event loop's thread does all else."""

    def __init__(self, max_streams: int = MAX_STREAMS) -> None:
        self._max = max_streams
        self._streams: set[OpenStream] = set()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._latest: PageUpdate | None = None
        self._closed = False
        self._owner = Owner("the open streams")

    def __len__(self) -> int:
        return len(self._streams)

    def join(
        self, ticker: str | None = None, event: str | None = None, page: str | None = None
    ) -> OpenStream | None:
        """Return a new stream, which gets the latest update at once, or None if there are too many."""
        self._owner.check()
        with self._lock:
            if self._closed or len(self._streams) >= self._max:
                return None
            self._loop = asyncio.get_running_loop()
            stream = OpenStream(ticker, event, page)
            self._streams.add(stream)
            latest = self._latest
        if latest is not None:
            stream.offer(msgspec.structs.replace(latest, everything=True))
        return stream

    def leave(self, stream: OpenStream) -> None:
        """Forget a stream that has ended."""
        self._owner.check()
        with self._lock:
            self._streams.discard(stream)

    def publish(self, update: PageUpdate) -> None:
        """Offer an update to all streams. Any thread."""
        with self._lock:
            self._latest = update
        self._each(lambda stream: stream.offer(update))

    def close(self) -> None:
        """End all streams and accept no more. Any thread."""
        with self._lock:
            self._closed = True
        self._each(OpenStream.end)

    def _each(self, do: Callable[[OpenStream], None]) -> None:
        with self._lock:
            loop, streams = self._loop, tuple(self._streams)
        if loop is None or not streams or loop.is_closed():
            return

        def deliver() -> None:
            self._owner.check()
            for stream in streams:
                do(stream)

        with contextlib.suppress(RuntimeError):  # the loop has just closed, with all its streams
            loop.call_soon_threadsafe(deliver)
