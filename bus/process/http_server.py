"""An HTTP server in the event loop itself, for answers from memory beside threads that compute.

With a server library each request passes the interpreter from one of the library's threads to the loop's and
back, and each time waits until a computing thread gives it up. Here the loop reads, answers and writes, and
takes the interpreter once for everything that has come. Applications speak ASGI; before that they are asked
for an answer they have ready, by the bytes of the request.
"""

import asyncio
import errno
import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from email.utils import formatdate
from functools import lru_cache, partial
from typing import Any, Final, cast

import msgspec
import structlog
import uvloop

from bus.clock import SystemClock
from bus.threads import Owner, main_thread

from .connections import Doorkeeper, places
from .http_requests import MAX_HEAD_BYTES, BadRequest, Head, next_head, read_head, write_head
from .lifecycle import Stop
from .locks import check_port
from .settings import Settings
from .settings_table import is_loopback
from .tls import Place, behind_tls
from .web import DRAIN_S, HEADERS_MS

log = structlog.get_logger()

HOST: Final = "127.0.0.1"
"""Loopback only: what comes from other machines is for `web.serve`, which checks each request."""

BACKLOG: Final = 4_096
"""A client that finds no room in it tries again only after a second."""

WAITING_BYTES: Final = 1_048_576
"""How much of an answer may wait for its reader before the next piece is asked for."""

UNSENT_BYTES: Final = 262_144
"""How much of that may wait in the system, which would take megabytes for each reader that does not read;
here the same bytes wait for all of them."""

UNPACED: Final = b"reno"
"""How congestion is controlled on loopback, where there is none. Linux always has it. Where the system's is
BBR, a large answer is sent at the pace that earlier ones seemed to need: one of 3 MB in 200 took 27 ms."""

LINGER_BYTES: Final = 16 * 1_048_576
LINGER_S: Final = 2.0
"""How much of an unread body is taken in after its answer, and for how long: otherwise the system would throw
the answer away too, as soon as data comes for a closed socket."""

_TRY_AGAIN_S: Final = 0.05

Ready = Callable[[bytes], bytes | None]
"""Gives the whole answer to the bytes of a request if it has one ready."""

Field = tuple[bytes, bytes]

_CLOSES: Final = (b"connection", b"close")
_clock: Final = SystemClock()
_encode: Final = msgspec.json.Encoder().encode


def serve(
    app: Callable[..., Any],
    ready: Ready,
    port: int,
    setting: str,
    stop: Stop,
    settings: Settings | None = None,
    begun: Callable[["Server", socket.socket], None] | None = None,
) -> None:
    """Serve an ASGI application on loopback until `stop`. Main thread only.

    The application gets the bytes of each request as ``scope["head"]``, and can ask `ready` with them.

    Args:
        setting: the variable that sets the port, named if the port is taken.
        begun: called in the event loop with the server and its listening socket, before the first client.

    Raises:
        StartupError: the port is in use, or the certificate is unusable.
    """
    main_thread.check()
    check_port(port, setting, HOST)
    with (
        behind_tls(app, HOST, port, settings) as place,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(Server(place, ready, stop).run(begun))


def write_answer(status: int, headers: Iterable[Field], body: bytes) -> bytes:
    """Return the bytes of an answer that keeps the connection open: its headers say how long it is."""
    return write_head(status, headers, _date(_clock.now_ms() // 1000)) + body


@lru_cache(maxsize=1)
def date_line(now_s: int) -> bytes:
    """Return the header `date` and the empty line that ends a head."""
    return b"%b: %b\r\n\r\n" % _date(now_s)


class Server:
    """The listening socket and its connections. Belongs to the event loop's thread.

    Another process may have the clients and pass on those that only this one can answer:
    `accept(wanted=False)` leaves the listening socket to it, `adopt` takes a connection from it, and
    `give_back`, if set, is offered the descriptor of each connection that has been answered.
    """

    def __init__(self, place: Place, ready: Ready, stop: Stop) -> None:
        self.ready = ready
        self.connections: set[_Connection] = set()
        self._places = places()
        doorkeeper = Doorkeeper(place.app, place.port, self._places)
        self.app = doorkeeper
        self._doorkeeper = doorkeeper
        self._place = place
        self.address = place.host, place.port
        self._stop = stop
        self._left = asyncio.Event()
        self._coming: set[asyncio.Task[Any]] = set()
        self._listener: socket.socket
        self._knock = asyncio.Event()
        self.give_back: Callable[[int], bool] | None = None
        self._owner = Owner("the HTTP server")

    async def run(self, begun: Callable[["Server", socket.socket], None] | None = None) -> None:
        """Serve until the stop."""
        self._owner.check()
        loop = asyncio.get_running_loop()
        stopped = asyncio.Event()
        loop.add_reader(self._stop.fileno(), stopped.set)
        place = self._place
        shared = bool(place.beside)  # its number is kept for us by a socket that does not listen
        with socket.create_server((place.host, place.port), backlog=BACKLOG, reuse_port=shared) as listener:
            listener.setblocking(False)
            if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # its connections inherit it
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
            if hasattr(socket, "TCP_CONGESTION") and is_loopback(place.host):
                with suppress(OSError):  # there is another without it
                    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, UNPACED)
            self._listener = listener
            self.accept(wanted=True)
            if begun is not None:
                begun(self, listener)
            tasks = [
                asyncio.ensure_future(work)
                for work in (
                    self._accept(listener),
                    self._doorkeeper.run(),
                    self._look(),
                    *(run() for run in place.beside),
                )
            ]
            await stopped.wait()
            for task in tasks:
                task.cancel()
            self.accept(wanted=False)
            self.give_back = None
        loop.remove_reader(self._stop.fileno())
        for connection in list(self.connections):
            connection.finish()
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                while self.connections:
                    self._left.clear()
                    await self._left.wait()
        if self.connections:
            log.warning("http.cut_off", port=place.port)
            for connection in list(self.connections):
                connection.abort()

    def accept(self, *, wanted: bool) -> None:
        """Accept connections from now on, or no longer."""
        self._owner.check()
        loop = asyncio.get_running_loop()
        if self._listener.fileno() < 0:
            return  # we have stopped
        if wanted:
            loop.add_reader(self._listener.fileno(), self._knock.set)
        else:
            loop.remove_reader(self._listener.fileno())
            self._knock.clear()

    @property
    def full(self) -> bool:
        """Whether there is no place for a further connection."""
        return len(self.connections) + len(self._coming) >= self._places

    def adopt(self, connection: socket.socket, data: bytes) -> None:
        """Take a connection, on which `data` has come, from another process."""
        self._owner.check()
        try:
            client = connection.getpeername()
        except OSError:
            connection.close()  # it is gone already
            return
        self._take(connection, client, data)

    def left(self, connection: "_Connection") -> None:
        """Forget a connection."""
        self.connections.discard(connection)
        self._left.set()

    async def _accept(self, listener: socket.socket) -> None:
        """Accept connections while there are places; others wait in the system's queue.

        All that wait, at once: at one per turn of the loop the queue would fill up.
        """
        while True:
            await self._knock.wait()
            self._knock.clear()
            if not self._take_all(listener):
                self._left.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_TRY_AGAIN_S):
                        await self._left.wait()
                self._knock.set()

    def _take_all(self, listener: socket.socket) -> bool:
        """Accept the connections that wait; return whether there was a place for all of them."""
        while not self.full:
            try:
                accepted, client = listener.accept()
            except BlockingIOError:
                return True
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    return False
                continue  # the client is gone already
            self._take(accepted, client)
        return False

    def _take(self, connection: socket.socket, client: tuple[str, int], data: bytes = b"") -> None:
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        making = loop.connect_accepted_socket(partial(_Connection, self, client, data), connection)
        task = loop.create_task(making)
        self._coming.add(task)
        task.add_done_callback(self._came)

    def _came(self, task: asyncio.Task[Any]) -> None:
        self._coming.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.warning("http.not_taken", error=str(task.exception())[:200])

    async def _look(self) -> None:
        """Close clients that do not finish their request."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(HEADERS_MS / 1000 / 10)
            now_s = loop.time()
            for connection in list(self.connections):
                connection.look(now_s)


class _Connection(asyncio.Protocol):
    """One connection: what has come and is not yet answered, and the request under way."""

    def __init__(self, server: Server, client: tuple[str, int], data: bytes = b"") -> None:
        self._server = server
        self._client = client[0], str(client[1])
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._waiting = data
        self._busy: asyncio.Task[None] | None = None
        self._open = True  # for further requests
        self._last = False  # the client sends nothing more
        self._lingers = 0
        self._since_s = self._loop.time()
        self._writable: asyncio.Future[None] | None = None
        self._paused = False
        self._scheduled = False

    # -- the transport's

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one only by its methods
        self._transport.set_write_buffer_limits(WAITING_BYTES)
        self._server.connections.add(self)
        if self._waiting:
            self._go_on()

    def connection_lost(self, _error: Exception | None) -> None:
        self._open = False
        self._server.left(self)
        self.resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._open and not self._waiting and self._busy is None and self._writable is None:
            answer = self._server.ready(data)
            if answer is not None:
                self._since_s = self._loop.time()
                self._transport.write(answer)
                self._answered()
                return
        if not self._open:
            self._lingers += len(data)
            if self._lingers > LINGER_BYTES:
                self.abort()
            return
        self._waiting += data
        if self._busy is None and not self._scheduled:
            self._go_on()
        elif len(self._waiting) > MAX_HEAD_BYTES:
            self._pause()

    def eof_received(self) -> bool:
        # A peer that sends no more may still be reading; if it has gone, writing to it will show that.
        self._last = self._busy is not None or bool(self._waiting)
        if self._busy is None and self._waiting and self._writable is None:
            self._soon()
        return self._last

    def pause_writing(self) -> None:
        if self._writable is None:
            self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)
        if self._open and self._busy is None and self._waiting:
            self._soon()

    # -- the server's

    def look(self, now_s: float) -> None:
        """Close the connection if its next request should have come by now."""
        if self._busy is None and self._writable is None:
            limit_s = HEADERS_MS / 1000 if self._open else LINGER_S
            if now_s - self._since_s > limit_s:
                self.abort()

    def finish(self) -> None:
        """Close the connection once it has been answered."""
        self._open = False
        if self._busy is None:
            self._transport.close()

    def abort(self) -> None:
        """Close the connection now."""
        self._transport.abort()

    # -- inside

    def _soon(self) -> None:
        """Go on once others have had their turn."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """Answer the next request that has come.

        One per turn: two hundred clients asking for fifty answers at once would hold up all others.
        """
        self._scheduled = False
        if self._open and self._busy is None and self._writable is None and self._waiting:
            try:
                found = next_head(self._waiting)
                if found is None:
                    self._resume()
                    if self._last:
                        self.finish()
                    return
                head, self._waiting = found
                answer = self._server.ready(head)
                if answer is not None:
                    self._since_s = self._loop.time()
                    self._transport.write(answer)
                    if self._waiting:
                        self._soon()
                    else:
                        self._resume()
                        self._answered()
                    return
                request = read_head(head)
            except BadRequest as error:
                self._refuse(error)
                return
            self._resume()
            if request.upgrade:
                self._pause()  # what it sends then is for the one the connection is handed to
            self._busy = self._loop.create_task(self._answer(head, request))
        if self._writable is not None and self._waiting:
            self._pause()

    async def _answer(self, head: bytes, request: Head) -> None:
        answer = _Answer(self._transport, self, request)
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": request.version,
            "method": request.method,
            "scheme": "http",
            "path": request.path,
            "query_string": request.query,
            "headers": request.headers,
            "client": self._client,
            "server": self._server.address,
        }
        if request.plain:
            scope["head"] = head
        try:
            await self._server.app(scope, _no_body, answer.send)
        finally:
            self._busy = None
            self._since_s = self._loop.time()
            if not answer.done:
                self.abort()  # it was cut off
        if answer.switched:
            self._open = False
            self._transport.close()
            return
        if request.body:
            self._close()
        elif not request.keeps or not answer.delimited or not self._open:
            self._open = False
            self._transport.close()
            return
        elif self._waiting:
            self._go_on()
        else:
            self._answered()
        self._resume()

    def _answered(self) -> None:
        """Let the connection go back to where it came from, once what was written has left."""
        if self._last:
            self.finish()
        elif self._server.give_back is not None:
            self._loop.call_soon(self._leave)

    def _leave(self) -> None:
        if (
            self._server.give_back is None
            or not self._open
            or self._busy is not None
            or self._waiting
            or self._transport.is_closing()
            or self._transport.get_write_buffer_size()
        ):
            return
        self._pause()  # what comes from now on is read there
        if self._server.give_back(self._transport.get_extra_info("socket").fileno()):
            self._open = False
            self._transport.close()
        else:
            self._resume()

    async def writable(self) -> None:
        """Wait until the reader has taken most of what was written, at least until others have had a turn."""
        if self._writable is not None:
            await self._writable
        else:
            await asyncio.sleep(0)

    def _refuse(self, error: BadRequest) -> None:
        body = _encode({"error": {"code": "bad_request", "message": str(error)[:500]}})
        length = str(len(body)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", length), _CLOSES]
        self._transport.write(write_answer(error.status, headers, body))
        self._close()

    def _close(self) -> None:
        """Close the connection after what was written; until that has arrived, discard what comes."""
        self._open = False
        self._waiting = b""
        self._resume()
        with suppress(OSError, RuntimeError):  # it has just been closed
            self._transport.write_eof()

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()


class _Answer:
    """What an application sends, on its way.

    Attributes:
        done: it is complete. delimited: its reader knows where it ends. switched: it was a 101.
    """

    def __init__(self, transport: asyncio.Transport, connection: _Connection, request: Head) -> None:
        self.done = False
        self.delimited = True
        self.switched = False
        self._transport = transport
        self._connection = connection
        self._request = request
        self._head = b""
        self._written = 0  # since others have had their turn

    async def send(self, message: Mapping[str, Any]) -> None:
        """Take an ASGI message."""
        if message["type"] == "http.response.start":
            self._head = self._begin(message["status"], message["headers"])
            return
        body = message.get("body", b"")
        more = message.get("more_body", False)
        if self._request.method == "HEAD":
            body = b""
        if self._head:
            body, self._head = self._head + body, b""
        if body and not self._transport.is_closing():
            self._transport.write(body)
        self._written += len(body)
        if more:
            if self._written >= WAITING_BYTES:
                self._written = 0
                await self._connection.writable()
        else:
            self.done = True

    def _begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
        self.switched = status == 101
        bare = status < 200 or status in (204, 304) or self._request.method == "HEAD"
        self.delimited = bare or any(name == b"content-length" for name, _ in headers)
        if self.switched:
            return write_head(status, headers)
        if not self.delimited or not self._request.keeps:
            headers = [*headers, _CLOSES]
        elif self._request.version == "1.0":
            headers = [*headers, (b"connection", b"keep-alive")]
        return write_answer(status, headers, b"")


@lru_cache(maxsize=1)
def _date(now_s: int) -> Field:
    return b"date", formatdate(now_s, usegmt=True).encode()


async def _no_body() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}
