"""The front's sockets: the clients, and the two that lead to the snapshot server. One thread."""

import asyncio
import errno
import os
import socket
from collections import Counter, deque
from contextlib import suppress
from typing import Any, Final, cast

import structlog

from bus.clock import Clock
from bus.process.connections import Doorkeeper, places
from bus.process.http_requests import MAX_HEAD_BYTES
from bus.process.http_server import date_line
from bus.process.lifecycle import Stop
from bus.process.web import DRAIN_S, HEADERS_MS
from bus.threads import Owner

from .messages import ACK, MAX_PACKET, MAX_PIECE, Inbox, Passed, packet, read_packet
from .table import Answer, Table

log = structlog.get_logger()

MAX_SENDING: Final = 32
"""The most answers under way that their readers have not taken. Further ones are left to the snapshot server,
which refuses them or lets a reader that stalls make room."""

REPORT_S: Final = 1.0
"""How often the snapshot server is told what was answered and asked."""

FULL_BYTES: Final = 262_144
"""How much of an answer may wait for its reader before it counts as under way, and further requests wait."""

_READ_BYTES: Final = 1_048_576
_TRY_AGAIN_S: Final = 0.05
_END: Final = b"\r\n\r\n"


class Server:
    """Clients come from `listener` and, once the snapshot server has answered them, back through `packets`.

    Args:
        stream, packets: our ends of the socket pairs (messages.py).
        port: that of `listener`.
    """

    def __init__(
        self,
        listener: socket.socket,
        stream: socket.socket,
        packets: socket.socket,
        port: int,
        clock: Clock,
        stop: Stop,
    ) -> None:
        self.table = Table()
        self.clients: set[Client] = set()
        self.sending: set[Client] = set()
        self._clock = clock
        self._listener = listener
        self._stream = stream
        self._packets = packets
        self._stop = stop
        self._inbox = Inbox()
        self._answered: Counter[str] = Counter()
        self._leaving: deque[tuple[bytes, int | None]] = deque()
        self._passed = 0
        self._lost = 0
        self._crashed = 0
        self._places = places()
        self._doorkeeper = Doorkeeper(_nobody, port, self._places)
        self._ended = asyncio.Event()
        self._left = asyncio.Event()
        self._coming: set[asyncio.Task[Any]] = set()
        self._owner = Owner("the HTTP front")

    async def run(self) -> None:
        """Serve until the stop, or until the snapshot server has gone."""
        self._owner.check()
        loop = asyncio.get_running_loop()
        for sock in (self._listener, self._stream, self._packets):
            sock.setblocking(False)
        loop.add_reader(self._stop.fileno(), self._ended.set)
        loop.add_reader(self._stream, self._hear)
        loop.add_reader(self._packets, self._take_back)
        tasks = [asyncio.ensure_future(work) for work in (self._doorkeeper.run(), self._look())]
        await self._ended.wait()
        for task in tasks:
            task.cancel()
        for sock in (self._listener, self._stream, self._packets):
            loop.remove_reader(sock)
        loop.remove_reader(self._stop.fileno())
        self._listener.close()
        for client in list(self.clients):
            client.finish()
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                while self.clients:
                    self._left.clear()
                    await self._left.wait()
        for client in list(self.clients):
            client.abort()

    def answer(self, request: bytes) -> Answer | None:
        """Return the answer to a request, if there is one here, and count it."""
        try:
            made = self.table.answer(request, self._clock.now_ms(), self._clock.monotonic_ns() / 1e9)
        except Exception:  # one question must not end the service for the others
            self._crashed += 1
            if self._crashed & (self._crashed - 1) == 0:
                log.exception("front.crashed", request=request[:200], times=self._crashed)
            return None
        if made is None or (made.size > FULL_BYTES and len(self.sending) >= MAX_SENDING):
            return None
        self._answered[made.route] += 1
        return made

    def date(self) -> bytes:
        """Return the header `date` and the empty line."""
        return date_line(self._clock.now_ms() // 1000)

    def pass_on(self, descriptor: int, data: bytes) -> None:
        """Send a connection and what came on it to the snapshot server, which owns the descriptor then.

        If too many wait for it already, it is closed: others could not be answered either.
        """
        if len(self._leaving) >= self._places // 2:
            os.close(descriptor)
            self.lost("too many wait for the snapshot server")
            return
        last = 0
        self._passed += 1
        while len(data) - last > MAX_PIECE:
            piece = data[last : last + MAX_PIECE]
            self._leave(packet(Passed(piece, number=self._passed, offset=last, more=True)), None)
            last += MAX_PIECE
        passed = Passed(data[last:], self.table.number, self._counted(), number=self._passed, offset=last)
        self._leave(packet(passed), descriptor)

    def left(self, client: "Client") -> None:
        """Forget a client."""
        self.clients.discard(client)
        self.sending.discard(client)
        self._left.set()

    def lost(self, error: str) -> None:
        """Say that a connection was lost, at the 1st, 2nd, 4th, ... time."""
        self._lost += 1
        if self._lost & (self._lost - 1) == 0:
            log.warning("front.not_passed_on", error=error, times=self._lost)

    # -- the snapshot server

    def _hear(self) -> None:
        """Take news."""
        try:
            data = self._stream.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._ended.set()
            asyncio.get_running_loop().remove_reader(self._stream)
            return
        first = not self.table.number
        try:
            for news in self._inbox.feed(data):
                if self.table.take(news, self._clock.monotonic_ns() / 1e9):
                    with suppress(OSError):  # it has gone, as the next recv will tell
                        self._stream.send(ACK)
        except Exception:  # without these news it would answer wrongly
            log.exception("front.bad_news")
            self._ended.set()
            asyncio.get_running_loop().remove_reader(self._stream)
            return
        if first and self.table.number:
            asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _take_back(self) -> None:
        """Take connections whose requests the snapshot server has answered."""
        loop = asyncio.get_running_loop()
        while True:
            if self._full:
                loop.remove_reader(self._packets)
                loop.call_later(_TRY_AGAIN_S, self._take_back_again)
                return
            try:
                body, descriptors, _, _ = socket.recv_fds(self._packets, MAX_PACKET, 1)
            except BlockingIOError:
                return
            except OSError:
                body = b""
            if not body:
                self._ended.set()
                loop.remove_reader(self._packets)
                return
            for descriptor in descriptors:
                self._welcome(socket.socket(fileno=descriptor), read_packet(body).data)

    def _take_back_again(self) -> None:
        if not self._ended.is_set():
            asyncio.get_running_loop().add_reader(self._packets, self._take_back)

    def _counted(self) -> dict[str, int]:
        answered = dict(self._answered)
        self._answered.clear()
        return answered

    def _leave(self, body: bytes, descriptor: int | None) -> None:
        self._leaving.append((body, descriptor))
        if len(self._leaving) == 1:
            self._send_leaving()

    def _send_leaving(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_writer(self._packets)
        while self._leaving:
            body, descriptor = self._leaving[0]
            try:
                socket.send_fds(self._packets, [body], [] if descriptor is None else [descriptor])
            except BlockingIOError:
                loop.add_writer(self._packets, self._send_leaving)
                return
            except OSError as error:
                self.lost(str(error))
            self._leaving.popleft()
            if descriptor is not None:
                os.close(descriptor)

    # -- clients

    @property
    def _full(self) -> bool:
        return len(self.clients) + len(self._coming) + len(self._leaving) >= self._places

    def _accept(self) -> None:
        """Accept the connections that wait, while there are places."""
        while not self._full:
            try:
                accepted, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    break
                continue  # the client is gone already
            self._welcome(accepted)
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._listener)  # it would be called again and again
        loop.call_later(_TRY_AGAIN_S, self._accept_again)

    def _accept_again(self) -> None:
        if not self._ended.is_set():
            asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _welcome(self, connection: socket.socket, data: bytes = b"") -> None:
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        task = loop.create_task(loop.connect_accepted_socket(lambda: Client(self, data), connection))
        self._coming.add(task)
        task.add_done_callback(self._came)

    def _came(self, task: asyncio.Task[Any]) -> None:
        self._coming.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.warning("front.not_taken", error=str(task.exception())[:200])

    async def _look(self) -> None:
        """Report, and close clients that do not finish their request."""
        looked_s = 0.0
        while True:
            await asyncio.sleep(min(REPORT_S, HEADERS_MS / 1000 / 10))
            now_s = asyncio.get_running_loop().time()
            for client in list(self.clients):
                client.look(now_s)
            if now_s - looked_s >= REPORT_S:
                looked_s = now_s
                self._tell_asked()

    def _tell_asked(self) -> None:
        while not self._leaving:  # else it does not listen, and would be told everything later
            report = Passed(b"", self.table.number, self._counted(), self.table.asked(MAX_PIECE))
            if not report.answered and not report.asked:
                break
            self._leave(packet(report), None)


class Client(asyncio.Protocol):
    """One connection, and what has come on it."""

    def __init__(self, server: Server, data: bytes = b"") -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._waiting = data
        self._full = False  # the reader has not taken what was written
        self._leaves = False
        self._last = False  # the client sends nothing more
        self._paused = False
        self._scheduled = False
        self._since_s = self._loop.time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one only by its methods
        self._transport.set_write_buffer_limits(FULL_BYTES)
        self._server.clients.add(self)
        if self._waiting:
            self._go_on()

    def connection_lost(self, _error: Exception | None) -> None:
        self._leaves = True
        self._server.left(self)

    def data_received(self, data: bytes) -> None:
        if self._leaves:
            return
        if not self._waiting and not self._full:
            answer = self._server.answer(data)
            if answer is not None:
                self._write(answer)
                return
        self._waiting += data
        if self._full or len(self._waiting) > MAX_HEAD_BYTES:
            self._pause()
        if not self._full and not self._scheduled:
            self._go_on()

    def eof_received(self) -> bool:
        # It may still be reading.
        self._last = bool(self._waiting or self._full)
        if self._last:
            self._soon()
        return self._last

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._server.sending.discard(self)
        self._full = False
        if not self._transport.is_closing():
            self._transport.set_write_buffer_limits(FULL_BYTES)
            self._soon()

    def look(self, now_s: float) -> None:
        """Close the connection if its next request should have come by now."""
        if not self._full and now_s - self._since_s > HEADERS_MS / 1000:
            self.abort()

    def finish(self) -> None:
        """Close the connection once what was written is on its way."""
        self._leaves = True
        self._transport.close()

    def abort(self) -> None:
        """Close the connection now."""
        self._transport.abort()

    def _go_on(self) -> None:
        """Answer the next request that waits, or pass the connection on with it.

        One per turn: two hundred clients asking for fifty answers at once would hold up all others.
        """
        self._scheduled = False
        if self._leaves or self._full or self._transport.is_closing():
            return
        if not self._waiting:
            if self._last:
                self.finish()
            else:
                self._resume()
            return
        end = self._waiting.find(_END)
        if end < 0 and len(self._waiting) <= MAX_HEAD_BYTES and not self._last:
            self._resume()
            return
        head = self._waiting[: end + len(_END)]
        answer = self._server.answer(head) if end >= 0 else None
        if answer is None:
            self._pass_on()
            return
        self._waiting = self._waiting[len(head) :]
        self._write(answer)
        if self._waiting or self._last or self._paused:
            self._soon()

    def _soon(self) -> None:
        """Go on once others have had their turn."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._go_on)

    def _pause(self) -> None:
        if not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self._transport.resume_reading()

    def _write(self, answer: Answer) -> None:
        self._since_s = self._loop.time()
        self._transport.writelines((answer.before, self._server.date(), *answer.after))
        if self._full:
            self._server.sending.add(self)

    def _pass_on(self) -> None:
        if self._transport.get_write_buffer_size():
            # What was written must be gone first: the descriptor would be closed before it.
            self._transport.set_write_buffer_limits(0)
            return
        self._leaves = True
        self._pause()
        try:
            descriptor = os.dup(self._transport.get_extra_info("socket").fileno())
        except OSError as error:
            self._server.lost(str(error))
            self.abort()
            return
        self._server.pass_on(descriptor, self._waiting)
        self._transport.close()


async def _nobody(_scope: Any, _receive: Any, _send: Any) -> None:
    """Answers nothing: the doorkeeper only looks after connections here."""
