"""The connection to Kalshi's WebSocket, in a thread of its own: opened, signed, kept up, and reopened.

What the frames mean is stream_session.py. Facts go to `sink` as they come, by the hundred when they come
fast.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec
import structlog
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.http11 import Response
from websockets.sync.client import ClientConnection, connect
from websockets.sync.connection import Connection

from bus.clock import Clock
from markets.errors import StartupError
from markets.records import Book, BookDelta, Suspect, Trade
from publisher.drift import DriftWatch

from . import faults
from .budget import backoff_s
from .client import StopSignal
from .signing import KeySource
from .stream_session import Fact, StreamSession
from .subscriptions import CODES_MAX, Broken, Counters

log = structlog.get_logger()

MAX_FRAME_BYTES: Final = 64 * 1_048_576
OPEN_TIMEOUT_S: Final = 10.0
CLOSE_TIMEOUT_S: Final = 1.0
POLL_S: Final = 0.25
FRAMES_AT_ONCE: Final = 500
SAY_EVERY_S: Final = 10
PROVEN_MS: Final = 30_000
"""After a connection that lived this long, the next pause is a short one again."""


class KalshiStream:
    """The live stream of one exchange.

    Args:
        url: of the WebSocket.
        keys: signs the upgrade; its key must be configured.
        ahead_ms: how far our clock is ahead of the exchange's. What the stream says bears the exchange's
            time; facts bear ours, like everything that is read, so that it is clear which of two is newer.

    Attributes:
        counters: those of all connections so far. state: as in PublisherHealth. reconnects: connections after
            the first.
        error: why there is no connection, in words, unless one has merely broken; else None.
        since_ms: as in PublisherHealth `stream_since_ms`.
    """

    def __init__(
        self,
        url: str,
        keys: KeySource,
        clock: Clock,
        rng: Random,
        stop: StopSignal,
        drift: DriftWatch | None = None,
        ahead_ms: Callable[[], int] = lambda: 0,
    ) -> None:
        self.counters = Counters()
        self.state = "connecting"
        self.error: str | None = None
        self.reconnects = 0
        self.books = 0
        self.unsure = 0
        self.since_ms: int | None = None
        self._url = url
        self._keys = keys
        self._clock = clock
        self._rng = rng
        self._stop = stop
        self._drift = drift
        self._ahead_ms = ahead_ms
        self._sink: Callable[[Sequence[Fact]], None] = lambda _facts: None
        self._lock = threading.Lock()
        self._wanted: tuple[str, ...] = ()
        self._wishes_changed = False
        self._verify: set[str] = set()
        self._said_ns: dict[int, int] = {}

    def want(self, tickers: Iterable[str]) -> None:
        """Set the books to follow. Any thread."""
        with self._lock:
            self._wanted = tuple(tickers)
            self._wishes_changed = True

    def verify(self, tickers: Iterable[str]) -> None:
        """Fetch these followed books again. Any thread."""
        with self._lock:
            self._verify.update(tickers)

    def run(self, sink: Callable[[Sequence[Fact]], None]) -> None:
        """Work until the stop; `sink` takes the facts, in order."""
        self._sink = sink
        failures = 0
        while not self._stop.is_set():
            began_ns = self._clock.monotonic_ns()
            try:
                self._connection()
                return
            except InvalidStatus as error:
                response = error.response
                self.state, reason = _refused(response)
                if response.status_code == 401:
                    self._keys.refused()
            except StartupError as error:
                self.state, reason = "key_refused", str(error)
            except (OSError, WebSocketException, Broken) as error:
                self.state, reason = "down", faults.printable(f"{type(error).__name__}: {error}")
            if self._clock.monotonic_ns() - began_ns > PROVEN_MS * 1_000_000:
                failures = 0
            self.error = reason if failures or self.state != "down" else None
            self.reconnects += 1
            pause_s = backoff_s(failures, self._rng)
            failures += 1
            log.warning("stream.down", reason=reason, again_in_s=round(pause_s, 1))
            self._stop.wait(pause_s)

    def _connection(self) -> None:
        """Serve one connection; return only at the stop."""
        session = StreamSession(self.counters, drift=self._drift, steady_ms=self._steady_ms)
        key = self._keys.current()
        assert key is not None, "without a key there is no stream"
        headers = key.headers("GET", urlsplit(self._url).path, self._clock.now_ms())
        with self._opened(headers) as connection:
            log.info("stream.open")
            self.state = "live"
            session.open(self._there_ms())
            with self._lock:
                self._wishes_changed = True
            try:
                self._serve(connection, session)
            except (OSError, WebSocketException, Broken) as error:
                session.closed(f"stream down: {type(error).__name__}", self._there_ms())
                raise
            finally:
                self.books = self.unsure = 0
                self.since_ms = None
                self._hand_over(session)
                self._say_refusals(session)

    def _opened(self, headers: dict[str, str]) -> ClientConnection:
        # No proxy for our own machine.
        proxy: Literal[True] | None = True if self._url.startswith("wss:") else None
        try:
            return connect(
                self._url,
                additional_headers=headers,
                max_size=MAX_FRAME_BYTES,
                open_timeout=OPEN_TIMEOUT_S,
                close_timeout=CLOSE_TIMEOUT_S,
                user_agent_header="kalshi-bus",
                proxy=proxy,
            )
        except (ImportError, ValueError) as error:  # a kind of proxy, or a host's name, that cannot be used
            raise ConnectionError(str(error)) from None

    def _serve(self, connection: Connection, session: StreamSession) -> None:
        ticked_ns, heard = 0, session.counters.frames
        while not self._stop.is_set():
            self._take_wishes(session)
            for command in session.commands():
                connection.send(command, text=True)
            self._receive(connection, session)
            now_ns = self._clock.monotonic_ns()
            if now_ns - ticked_ns >= 1_000_000_000:
                ticked_ns = now_ns
                session.tick(self._there_ms())
            self._hand_over(session)
            self._say_refusals(session)
            self.books, self.unsure = len(session.live), session.unsure
            since_ms = session.since_ms
            self.since_ms = None if since_ms is None else since_ms + self._ahead_ms()
            if self.error is not None and session.counters.frames > heard:
                self.error = None  # it proved useful

    def _receive(self, connection: Connection, session: StreamSession) -> None:
        """Take the frames that have arrived, waiting for one if there is none."""
        wait_s = POLL_S
        for _ in range(FRAMES_AT_ONCE):
            try:
                text = connection.recv(timeout=wait_s, decode=False)
            except TimeoutError:
                return
            session.receive(text, self._there_ms())
            wait_s = 0

    def _say_refusals(self, session: StreamSession) -> None:
        """Log errors, each code at most every SAY_EVERY_S; all of them are counted."""
        now_ns = self._clock.monotonic_ns()
        for refusal in session.refusals():
            said_ns = self._said_ns.get(refusal.code)
            if said_ns is not None and now_ns - said_ns < SAY_EVERY_S * 1e9:
                continue
            if len(self._said_ns) > CODES_MAX:
                self._said_ns.clear()
            self._said_ns[refusal.code] = now_ns
            log.warning("stream.refused", code=refusal.code, text=refusal.text, what=str(refusal))

    def _steady_ms(self) -> int:
        return self._clock.monotonic_ns() // 1_000_000

    def _take_wishes(self, session: StreamSession) -> None:
        with self._lock:
            wanted = self._wanted if self._wishes_changed else None
            self._wishes_changed = False
            verify, self._verify = self._verify, set()
        now_ms = self._there_ms()
        if wanted is not None:
            session.want(wanted, now_ms)
        if verify:
            session.verify(sorted(verify), now_ms)

    def _hand_over(self, session: StreamSession) -> None:
        facts, ahead_ms = session.facts(), self._ahead_ms()
        if facts:
            self._sink([_later(fact, ahead_ms) for fact in facts] if ahead_ms else facts)

    def _there_ms(self) -> int:
        """Return the exchange's time."""
        return self._clock.now_ms() - self._ahead_ms()


def _later(fact: Fact, ms: int) -> Fact:
    """Return a fact by a clock that is ahead; a trade keeps the exchange's own time."""
    if isinstance(fact, Trade):
        return fact
    if isinstance(fact, Suspect):
        since_ms = None if fact.since_ms is None else fact.since_ms + ms
        return msgspec.structs.replace(fact, since_ms=since_ms)
    if isinstance(fact, Book | BookDelta):
        return msgspec.structs.replace(fact, as_of_ms=fact.as_of_ms + ms)
    return fact._replace(as_of_ms=fact.as_of_ms + ms)


def _refused(response: Response) -> tuple[str, str]:
    """Return state and reason for an upgrade that was answered with a status other than 101."""
    status, body = response.status_code, bytes(response.body or b"")
    told = faults.said(body)
    location = response.headers.get("Location") if 300 <= status < 400 else None
    if location is not None:
        told = f"moved to {faults.moved_to(location)}"
    reason = f"upgrade refused with {status} {told}".rstrip()
    return "key_refused" if status == 401 else "refused" if status < 500 else "down", reason
