"""Who is listening to server-sent events, and what each has not yet heard.

An event only says that something changed; the page then fetches itself. So what waits for a slow client is
never more than one event, whatever happens meanwhile. All but `publish` and `close` runs in the event loop.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import Final

import msgspec

MAX_CLIENTS: Final = 64
RETRY_AFTER_S: Final = 5
KEEP_ALIVE_S: Final = 15.0
LEAST_INTERVAL_S: Final = 0.25
SEND_TIMEOUT_S: Final = 30.0


class Event(msgspec.Struct, frozen=True):
    """One event: where the data stands, what changed, and the status as JSON.

    `markets` and `events` are the tickers changed; `trader` means that its page looks different,
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


class Client:
    """One open stream: `ticker`, `event` or `page` ("trader", "system") wakes it, else the overview."""

    def __init__(self, ticker: str | None, event: str | None, page: str | None = None) -> None:
        self.ready = asyncio.Event()
        self.pending: Event | None = None
        self.gone = False
        self._ticker = ticker
        self._event = event
        self._page = page

    def offer(self, event: Event) -> None:
        """Keep `event` as the newest if it concerns this client."""
        if self._ticker is not None:
            wanted = event.everything or self._ticker in event.markets
        elif self._event is not None:
            wanted = event.everything or self._event in event.events
        elif self._page == "trader":
            wanted = event.everything or event.trader
        elif self._page == "system":
            wanted = event.everything  # the rest it asks for at its own pace
        else:
            wanted = event.everything or event.overview
        if wanted:
            self.pending = event
            self.ready.set()

    def take(self) -> Event | None:
        """Return what waits, once."""
        event, self.pending = self.pending, None
        self.ready.clear()
        return event

    def end(self) -> None:
        """Close the stream at its next turn."""
        self.gone = True
        self.ready.set()


class Hub:
    """All open streams."""

    def __init__(self, max_clients: int = MAX_CLIENTS) -> None:
        self._max = max_clients
        self._clients: set[Client] = set()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._latest: Event | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._clients)

    def join(
        self, ticker: str | None = None, event: str | None = None, page: str | None = None
    ) -> Client | None:
        """Return a new client that is offered the latest event at once, or None when there are too many."""
        with self._lock:
            if self._closed or len(self._clients) >= self._max:
                return None
            self._loop = asyncio.get_running_loop()
            client = Client(ticker, event, page)
            self._clients.add(client)
            latest = self._latest
        if latest is not None:
            client.offer(msgspec.structs.replace(latest, everything=True))
        return client

    def leave(self, client: Client) -> None:
        """Forget a client."""
        with self._lock:
            self._clients.discard(client)

    def publish(self, event: Event) -> None:
        """Offer an event to all. Any thread."""
        with self._lock:
            self._latest = event
        self._each(lambda client: client.offer(event))

    def close(self) -> None:
        """End all streams and take no more. Any thread."""
        with self._lock:
            self._closed = True
        self._each(Client.end)

    def _each(self, do: Callable[[Client], None]) -> None:
        with self._lock:
            loop, clients = self._loop, tuple(self._clients)
        if loop is None or not clients or loop.is_closed():
            return

        def deliver() -> None:
            for client in clients:
                do(client)

        loop.call_soon_threadsafe(deliver)
