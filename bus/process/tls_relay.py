"""``python -m bus.process.tls_relay PARENT LISTENER DOORWAY PORT``: begun by a server (tls.py), not by hand.

Accepts what comes to the LISTENER, ends its TLS, and passes it on to 127.0.0.1:PORT, byte for byte; what it
knows of a connection goes through the DOORWAY before. The first byte tells TLS from plain HTTP, which is
passed on, too, from this machine, and refused with one sentence from any other.
"""

import asyncio
import errno
import json
import socket
import sys
from contextlib import suppress
from functools import partial
from typing import Final, cast

import msgspec
import structlog
import uvloop

from bus.clock import SystemClock
from bus.threads import Owner, main_thread
from markets.errors import StartupError

from .certificate import Renewed, files_of
from .child import die_with_parent
from .connections import places
from .lifecycle import Stop, main
from .settings import Settings
from .settings_table import is_loopback
from .tls import HOST, Relayed

log = structlog.get_logger()

HELLO_S: Final = 10.0
"""How long a client may take to its first byte, and from there through the handshake to the first of its
request."""

HELLO_SCARCE_S: Final = 0.5
"""The same while places are scarce."""

SCARCE: Final = 0.75
"""Places are scarce once this share of them is taken."""

DRAIN_S: Final = 1.8
"""How long clients may take to read the rest of their answers once we stop; a little longer than the servers
give them."""

GOODBYE_S: Final = 30.0
"""How long one end may take to read what is on its way, and to close, once the other is closed."""

GOODBYE_SCARCE_S: Final = 2.0
"""The same while places are scarce, whenever they become so."""

WAITING_BYTES: Final = 262_144
"""How much may wait for one side of a connection before no more is read from the other."""

RENEW_S: Final = 2.0
"""How often to look for a renewed certificate."""

LINGER_S: Final = 2.0
LINGER_BYTES: Final = 1_048_576
"""For how long, and how much, a client that is refused is still listened to: otherwise the system would throw
the answer away."""

_HANDSHAKE: Final = b"\x16"
"""The first byte of TLS (RFC 8446, 5.1: content type `handshake`)."""

_TRY_AGAIN_S: Final = 0.05
_OUT_OF_ROOM: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

_encode: Final = msgspec.msgpack.Encoder().encode


class Relay:
    """The listening socket and its connections. Belongs to the event loop's thread."""

    def __init__(
        self, listener: socket.socket, doorway: socket.socket, port: int, renewed: Renewed, stop: Stop
    ) -> None:
        self._listener = listener
        self._doorway = doorway
        self._port = port
        self._renewed = renewed
        self._stop = stop
        self._places = places() // 2  # a connection has two ends
        self._carrying: set[asyncio.Task[None]] = set()
        self._failed = 0
        self._owner = Owner("the TLS relay")

    async def run(self) -> None:
        """Relay until the stop."""
        self._owner.check()
        loop = asyncio.get_running_loop()
        stopped = asyncio.Event()
        loop.add_reader(self._stop.fileno(), stopped.set)
        tasks = [asyncio.ensure_future(work) for work in (self._accept(), self._renew())]
        await stopped.wait()
        for task in tasks:
            task.cancel()
        loop.remove_reader(self._stop.fileno())
        self._listener.close()
        if self._carrying:
            await asyncio.wait(self._carrying, timeout=DRAIN_S)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            if self._renewed.look():
                tell(self._renewed, "tls.renewed")

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if len(self._carrying) >= self._places:
                await asyncio.sleep(_TRY_AGAIN_S)
                continue
            try:
                sock, address = await loop.sock_accept(self._listener)
            except OSError as error:
                if error.errno in _OUT_OF_ROOM:
                    await asyncio.sleep(_TRY_AGAIN_S)
                continue  # else the client is gone already
            task = loop.create_task(self._carry(sock, address[0]))
            self._carrying.add(task)
            task.add_done_callback(self._carried)

    def _carried(self, task: asyncio.Task[None]) -> None:
        self._carrying.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("tls.crashed", exc_info=error)

    async def _carry(self, sock: socket.socket, host: str) -> None:
        """Serve a connection from its first byte to its end; whatever fails is its own business."""
        encrypted = False
        client, server = _End(), _End()
        try:
            async with asyncio.timeout(HELLO_SCARCE_S if self._scarce else HELLO_S):
                first = await _first_byte(sock)
                if not first:
                    return
                encrypted = first == _HANDSHAKE
                if not encrypted and not _is_here(host, sock):
                    await _refuse(sock)
                    return
                await self._take(sock, client, encrypted=encrypted)
                await client.spoke.wait()
                if client.lost.done():
                    return
                await self._pass_on(server, Relayed(0, host, encrypted))
            client.join(server)
            ends = client.lost, server.lost
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            await self._goodbye(ends)
        except (OSError, TimeoutError) as error:
            if encrypted and client.transport is None:
                self._tell_failure(host, error)
        finally:
            client.abort()
            server.abort()
            sock.close()

    @property
    def _scarce(self) -> bool:
        return len(self._carrying) >= self._places * SCARCE

    async def _goodbye(self, ends: tuple[asyncio.Future[None], asyncio.Future[None]]) -> None:
        """Wait until both ends are closed, or one has taken too long."""
        waited_s = 0.0
        while waited_s < (GOODBYE_SCARCE_S if self._scarce else GOODBYE_S):
            _, open_ends = await asyncio.wait(ends, timeout=GOODBYE_SCARCE_S)
            if not open_ends:
                return
            waited_s += GOODBYE_SCARCE_S

    async def _take(self, sock: socket.socket, client: "_End", *, encrypted: bool) -> None:
        loop = asyncio.get_running_loop()
        if not encrypted:
            await loop.connect_accepted_socket(lambda: client, sock)
            return
        await loop.connect_accepted_socket(
            lambda: client,
            sock,
            ssl=self._renewed.now.context,
            ssl_handshake_timeout=HELLO_S,
            ssl_shutdown_timeout=GOODBYE_S,
        )

    async def _pass_on(self, server: "_End", said: Relayed) -> None:
        """Connect to the server, and say there on whose behalf."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(lambda: server, HOST, self._port)
        ours = transport.get_extra_info("sockname")[1]
        while True:
            try:
                self._doorway.send(_encode(Relayed(ours, said.host, said.encrypted)))
                return
            except BlockingIOError:
                await asyncio.sleep(_TRY_AGAIN_S)

    def _tell_failure(self, host: str, error: Exception) -> None:
        """Say that a handshake came to nothing, at the 1st, 2nd, 4th, ... time."""
        self._failed += 1
        if self._failed & (self._failed - 1) == 0:
            why = str(error)[:200] or type(error).__name__
            log.info("tls.no_handshake", address=host, error=why, times=self._failed)


class _End(asyncio.Protocol):
    """One end of a connection: what comes here goes out at the other.

    Attributes:
        spoke: something has come. held: that. ended: no more will come. lost: the end is closed.
        other: where it goes, once that is known.
    """

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.spoke = asyncio.Event()
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.other: _End | None = None
        self.held = b""
        self.ended = False

    def join(self, other: "_End") -> None:
        """Pass on what has come, and what comes from now on, both ways."""
        self.other, other.other = other, self
        for one, two in ((self, other), (other, self)):
            two.write(one.held)
            one.held = b""
            one.resume()
            if one.lost.done():
                two.close()

    def abort(self) -> None:
        """Close this end now."""
        if self.transport is not None:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one only by its methods
        self.transport.set_write_buffer_limits(WAITING_BYTES)

    def connection_lost(self, _error: Exception | None) -> None:
        self.spoke.set()
        if not self.lost.done():  # whoever waited for it may have been cancelled
            self.lost.set_result(None)
        if self.other is not None:
            self.other.close()

    def data_received(self, data: bytes) -> None:
        if self.other is not None:
            self.other.write(data)
            return
        self.held += data
        self.spoke.set()
        self.pause()

    def eof_received(self) -> bool:
        self.spoke.set()
        self.ended = True
        if self.other is None or self.other.ended:
            return False  # both ways are at their end
        # In TLS there is no half-way: the end of one direction is that of the connection.
        return self.transport is not None and self.transport.can_write_eof() and self.other.end()

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.pause()

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other.resume()

    def write(self, data: bytes) -> None:
        if data and self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def end(self) -> bool:
        """Say that no more comes; return whether the other way stays open."""
        if self.transport is None or self.transport.is_closing() or not self.transport.can_write_eof():
            return False
        self.transport.write_eof()
        return True

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def pause(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()


async def _first_byte(sock: socket.socket) -> bytes:
    """Return the first byte that comes, which stays where it is; nothing if none will come."""
    loop = asyncio.get_running_loop()
    came = asyncio.Event()
    sock.setblocking(False)
    loop.add_reader(sock, came.set)
    try:
        await came.wait()
    finally:
        loop.remove_reader(sock)
    return sock.recv(1, socket.MSG_PEEK)


def _is_here(host: str, sock: socket.socket) -> bool:
    """Tell whether a connection comes from this machine."""
    return is_loopback(host) or host == sock.getsockname()[0]


async def _refuse(sock: socket.socket) -> None:
    """Answer plain HTTP from another machine."""
    message = "this port is for https:// only; plain HTTP is answered on the machine itself"
    body = json.dumps({"error": {"code": "tls_required", "message": message}}).encode()
    head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, head.encode() + b"connection: close\r\n\r\n" + body)
    sock.shutdown(socket.SHUT_WR)
    left = LINGER_BYTES
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S):
            while left > 0 and (data := await loop.sock_recv(sock, 65_536)):
                left -= len(data)


def tell(renewed: Renewed, event: str) -> None:
    """Log what certificate is shown, and whether it should be another one by now."""
    now = renewed.now
    warning = now.warning(SystemClock())
    said = {"names": list(now.names), "until_s": now.until_s}
    if warning is None:
        log.info(event, **said)
    else:
        log.warning(event, **said, warning=warning)


def run(descriptors: tuple[int, int], port: int, settings: Settings, stop: Stop) -> int:
    """Relay until `stop`; return the exit code.

    Raises:
        StartupError: certificate or key cannot be used.
    """
    main_thread.check()
    files = files_of(settings)
    if files is None:
        raise StartupError("no certificate is set")
    renewed = Renewed(files)
    tell(renewed, "tls.begun")
    listener, doorway = (socket.socket(fileno=descriptor) for descriptor in descriptors)
    with listener, doorway, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        listener.setblocking(False)
        doorway.setblocking(False)
        runner.run(Relay(listener, doorway, port, renewed, stop).run())
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 5 or not all(argument.isdecimal() for argument in sys.argv[1:]):
        sys.stderr.write(
            "usage: python -m bus.process.tls_relay PARENT LISTENER DOORWAY PORT, as a server begins it\n"
        )
        sys.exit(2)
    parent, listening, door, inner = map(int, sys.argv[1:])
    die_with_parent(parent)
    sys.exit(main("tls", partial(run, (listening, door), inner), exclusive=False))
