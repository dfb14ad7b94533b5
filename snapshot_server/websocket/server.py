"""The sockets of WebSocket clients: one thread, one poller, and the connections as they are handed in.

A connection comes from the process that serves HTTP, by a socket pair (doorway.py), once it has been answered
with 101. Whatever a client does affects only itself: what waits for it, and what is read from it, is bounded.
"""

import selectors
import socket
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import structlog

from bus.clock import Clock
from bus.process.lifecycle import Stop
from bus.protocol.join import Action
from bus.threads import Owner
from bus.wake import Wake

from .figures import Figures
from .framing import (
    CLOSE,
    GOING_AWAY,
    PING,
    PONG,
    TRY_LATER,
    BadFrame,
    Inbound,
    Received,
    close_answer,
    closing,
    framed,
)
from .hub import Hub
from .session import BUFFER_BYTES, Session

log = structlog.get_logger()

MAX_CLIENTS: Final = 1_000
"""The most clients; more are turned away."""

ALL_BUFFERS_BYTES: Final = 256 * 1_048_576
MIN_BUFFER_BYTES: Final = 256 * 1024
"""What may wait for all clients together, and the least for each."""

MAX_MESSAGE_BYTES: Final = 1_048_576
"""The largest message of a client: some 30,000 tickers."""

PING_MS: Final = 10_000
PING_PAYLOAD: Final = b"heartbeat"
"""Kalshi's interval between pings."""

SILENT_MS: Final = 60_000
"""A client counts as gone after sending nothing, not even a pong, or taking nothing of what waits, for this
long."""

CLOSING_MS: Final = 2_000
"""How long a client may take to read what is on its way when its connection is closed."""

READ_BYTES: Final = 16_384
SEND_BYTES: Final = 262_144
"""How much is read from one client per turn."""

WISH_TTL_S: Final = 60.0
WISH_EVERY_MS: Final = 20_000
WISH_FRESH_MS: Final = 500
"""How long books are wished for, how often that is renewed, and how soon new ones are wished for."""

MAX_ACTIONS: Final = 50_000
"""The most actions of the replica that may wait; beyond that everything is compared instead."""

JOINS_MS: Final = 20_000
"""How long commands wait for the replica's first data after the start; then they are refused."""

_JOIN_LOOK_MS: Final = 50
_LOOK_MS: Final = 500
_STOOD_STILL_MS: Final = 15_000

Wish = Callable[[Sequence[str], float], None]


class Arrivals:
    """What the replica reports, on its way to the sockets' thread. `put` is for the replica's thread."""

    def __init__(self) -> None:
        self.wake = Wake()
        self._actions: deque[Sequence[Action]] = deque()
        self._lost = False

    def put(self, actions: Sequence[Action]) -> None:
        """Take what the replica reports."""
        if len(self._actions) >= MAX_ACTIONS:
            self._lost = True
            self._actions.clear()
        self._actions.append(actions)
        self.wake.set()

    def take(self) -> tuple[list[Action], bool]:
        """Return what came since the last time, and whether some of it was lost before."""
        self.wake.clear()
        lost, self._lost = self._lost, False
        actions: list[Action] = []
        while self._actions:
            actions += self._actions.popleft()
        return actions, lost


class _Client:
    """A connection: `pending` has messages that have come and are still to be carried out."""

    __slots__ = (
        "closing_ms",
        "events",
        "heard_ms",
        "inbound",
        "pending",
        "pinged_ms",
        "resume_ms",
        "session",
        "sock",
        "taken_ms",
    )

    def __init__(self, sock: socket.socket, session: Session, steady_ms: int) -> None:
        self.sock = sock
        self.session = session
        self.inbound = Inbound(MAX_MESSAGE_BYTES)
        self.pending: deque[Received] = deque()
        self.events = 0
        self.heard_ms = self.taken_ms = self.pinged_ms = steady_ms
        self.resume_ms = 0
        self.closing_ms: int | None = None


class Server:
    """Serves clients that come through the `doorway`, until `stop` or until nobody holds its other end.

    Args:
        wish: passes on which books to wish for, and for how long.
        tell: takes what the server says about itself, twice a second.
    """

    def __init__(
        self,
        hub: Hub,
        doorway: socket.socket,
        arrivals: Arrivals,
        wish: Wish,
        clock: Clock,
        stop: Stop,
        tell: Callable[[Figures], None],
    ) -> None:
        self._past = Figures()  # from clients that are gone
        self._hub = hub
        self._doorway = doorway
        self._tell = tell
        self._arrivals = arrivals
        self._wish = wish
        self._clock = clock
        self._stop = stop
        self._clients: dict[Session, _Client] = {}
        self._dirty: dict[Session, None] = {}
        self._resting: dict[_Client, None] = {}
        self._selector = selectors.DefaultSelector()
        self._looked_ms = self._wished_ms = 0
        self._begun_ms = self._steady_ms()
        self._open = True
        self._owner = Owner("the sockets of WebSocket clients")

    def run(self) -> None:
        """Serve."""
        self._owner.check()
        selector = self._selector
        self._doorway.setblocking(False)
        selector.register(self._doorway, selectors.EVENT_READ)
        selector.register(self._arrivals.wake, selectors.EVENT_READ)
        selector.register(self._stop, selectors.EVENT_READ)
        try:
            while self._open and not self._stop.is_set():
                self._turn()
            self._part()
        finally:
            for client in self._clients.values():
                client.sock.close()
            selector.close()

    def _turn(self) -> None:
        for key, events in self._selector.select(0.01 if self._resting else _LOOK_MS / 1000):
            client = key.data
            if isinstance(client, _Client):
                if events & selectors.EVENT_READ:
                    self._read(client)
                if events & selectors.EVENT_WRITE:
                    self._dirty[client.session] = None
            elif key.fileobj is self._doorway:
                self._take_in()
        actions, lost = self._arrivals.take()
        if actions:
            self._hub.changed(actions)
        if lost:
            log.warning("websocket.behind", waiting=MAX_ACTIONS)
            self._hub.compare_all()
        now_ms = self._steady_ms()
        for client in list(self._resting):
            self._carry_out(client, now_ms)
        if now_ms - self._looked_ms >= _LOOK_MS:
            if now_ms - self._looked_ms >= _STOOD_STILL_MS:
                for client in self._clients.values():
                    client.heard_ms = client.taken_ms = now_ms  # who was not listened to was not silent
            self._looked_ms = now_ms
            self._look(now_ms)
        self._flush(now_ms)

    def _steady_ms(self) -> int:
        return self._clock.monotonic_ns() // 1_000_000

    # -- coming and going

    def _take_in(self) -> None:
        """Take connections that are handed in."""
        while True:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._doorway, 64, 4)
            except BlockingIOError:
                return
            except OSError:
                data, descriptors = b"", []
            if not data and not descriptors:
                self._open = False  # the other end is gone
                return
            for descriptor in descriptors:
                self._welcome(socket.socket(fileno=descriptor))

    def _welcome(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        with suppress(OSError):  # it may already be gone, which the first read will show
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
        if len(self._clients) >= MAX_CLIENTS:
            with suppress(OSError):
                sock.send(closing(TRY_LATER, f"{MAX_CLIENTS} clients are connected"))
            sock.close()
            return
        session = self._hub.connect(self._note)
        client = self._clients[session] = _Client(sock, session, self._steady_ms())
        self._past.connections += 1
        self._share_room()
        self._listen(client)

    def _note(self, session: Session) -> None:
        self._dirty[session] = None

    def _share_room(self) -> None:
        limit = max(MIN_BUFFER_BYTES, min(BUFFER_BYTES, ALL_BUFFERS_BYTES // max(1, len(self._clients))))
        for session in self._clients:
            session.limit = limit

    def _drop(self, client: _Client) -> None:
        session = client.session
        if self._clients.pop(session, None) is None:
            return
        if client.events:
            self._selector.unregister(client.sock)
        client.sock.close()
        self._hub.disconnect(session)
        self._dirty.pop(session, None)
        self._resting.pop(client, None)
        self._past.frames += session.frames
        self._past.overflows += session.overflows
        self._share_room()

    def _close(self, client: _Client, frame: bytes) -> None:
        """Say the last word; the connection ends when it is sent."""
        if client.closing_ms is None:
            client.session.close()
            client.session.raw(frame)
            client.closing_ms = self._steady_ms()
            client.pending.clear()
            self._resting.pop(client, None)
            self._listen(client)

    def _part(self) -> None:
        """Tell everybody that the server is going away."""
        for client in list(self._clients.values()):
            self._close(client, closing(GOING_AWAY, "the server stops"))
        self._flush(self._steady_ms())

    # -- one client

    def _listen(self, client: _Client) -> None:
        """Read from a client what may be read now: nothing while enough of it waits."""
        events = 0
        if client.closing_ms is None and not client.pending and client not in self._resting:
            events = selectors.EVENT_READ
        if client.session.out:
            events |= selectors.EVENT_WRITE
        if events == client.events:
            return
        if not events:
            self._selector.unregister(client.sock)
        elif client.events:
            self._selector.modify(client.sock, events, client)
        else:
            self._selector.register(client.sock, events, client)
        client.events = events

    def _read(self, client: _Client) -> None:
        if client.session not in self._clients or client.closing_ms is not None:
            return
        try:
            data = client.sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(client)
            return
        now_ms = client.heard_ms = self._steady_ms()
        try:
            client.pending.extend(client.inbound.take(data))
        except BadFrame as error:
            client.session.refuse(1, error.reason)
            self._close(client, closing(error.code, error.reason))
            return
        self._carry_out(client, now_ms)

    def _carry_out(self, client: _Client, now_ms: int) -> None:
        """Carry out a client's commands, as far as allowed now."""
        session, pending = client.session, client.pending
        if now_ms < client.resume_ms:
            return
        if pending and not self._hub.ready and now_ms - self._begun_ms < JOINS_MS:
            client.resume_ms = now_ms + _JOIN_LOOK_MS
        while pending and now_ms >= client.resume_ms and len(session.out) < session.limit // 2:
            opcode, payload = pending.popleft()
            if opcode == CLOSE:
                self._close(client, close_answer(payload))
                return
            if opcode == PING:
                session.raw(framed(PONG, payload))
            elif opcode != PONG:
                session.receive(payload, now_ms)
                client.resume_ms = now_ms + session.rests_ms(now_ms)
        if pending or now_ms < client.resume_ms:
            self._resting[client] = None
        else:
            self._resting.pop(client, None)
        self._listen(client)

    def _flush(self, now_ms: int) -> None:
        """Send what waits, as far as the client takes it."""
        dirty, self._dirty = self._dirty, {}
        for session in dirty:
            client = self._clients.get(session)
            if client is not None:
                self._send(client, now_ms)

    def _send(self, client: _Client, now_ms: int) -> None:
        session, out = client.session, client.session.out
        if not out:
            return
        try:
            sent = client.sock.send(memoryview(out)[:SEND_BYTES])
        except BlockingIOError:
            sent = 0
        except OSError:
            self._drop(client)
            return
        if sent:
            del out[:sent]
            client.taken_ms = now_ms
            if session.backlog:
                self._hub.refill(session)
        if not out and client.closing_ms is not None:
            self._drop(client)
            return
        self._listen(client)

    # -- now and then

    def _look(self, now_ms: int) -> None:
        figures = Figures(
            len(self._clients),
            frames=self._past.frames,
            overflows=self._past.overflows,
            connections=self._past.connections,
        )
        for client in list(self._clients.values()):
            session = client.session
            figures.subscriptions += len(session.subscriptions)
            figures.waiting_bytes += len(session.out)
            figures.frames += session.frames
            figures.overflows += session.overflows
            if not session.out:
                client.taken_ms = now_ms
            if client.closing_ms is not None:
                if now_ms - client.closing_ms >= CLOSING_MS:
                    self._drop(client)
            elif now_ms - min(client.heard_ms, client.taken_ms) >= SILENT_MS and not client.pending:
                self._drop(client)
            elif now_ms - client.pinged_ms >= PING_MS:
                client.pinged_ms = now_ms
                session.ping(PING_PAYLOAD)
            if session.backlog and session.has_room:
                self._hub.refill(session)
        self._tell(figures)
        since_ms = now_ms - self._wished_ms
        if since_ms >= (WISH_FRESH_MS if self._hub.fresh_wishes else WISH_EVERY_MS):
            self._wished_ms = now_ms
            tickers = self._hub.wishes()
            if tickers:
                self._wish(tickers, WISH_TTL_S)
