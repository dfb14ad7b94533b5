"""How many connections an HTTP server accepts, and which give way when places get scarce.

Granian closes a connection whose request has not arrived in full in time. It does not make room earlier when
hardly any is left, nor drop a client that stops reading an answer already handed over in full.
"""

import asyncio
import fcntl
import os
import resource
import socket
import struct
import sys
import termios
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import structlog

log = structlog.get_logger()

MAX_CONNECTIONS: Final = 4_096
"""Open connections, idle ones too. At granian's default, 128 idle clients would shut out all others."""

RESERVED: Final = 256
"""Descriptors kept for everything else: libzmq ends the process when it cannot get another."""

LOOK_S: Final = 0.25
"""Time between two counts of the connections."""

SCARCE: Final = 0.75
"""Places are scarce once this share of them is taken."""

IDLE_S: Final = 30.0
"""How long a connection without a request under way may neither send nor take anything. Granian sooner closes
those that owe a request; what is left are readers that do not read."""

IDLE_SCARCE_S: Final = 2.0
"""The same while places are scarce. Its request may still be on its way through a busy server."""

SILENT_SCARCE_S: Final = 0.5
"""How long one may take for its first byte while places are scarce."""

_LOOK_THROUGH_S: Final = 5.0
_SLICE: Final = 100
_FOLDER: Final = Path("/proc/self/fd")
_TCP_INFO: Final = struct.Struct("=44xI4xI72xQ")
"""From the kernel's `tcp_info`: ms since data was last sent, and received (for a new connection, since it was
made), and how many bytes were received."""

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
AsgiApp = Callable[
    [Scope, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]


def places() -> int:
    """Return how many connections the descriptors suffice for; first raise the limit to what is allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + RESERVED
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
        wanted = soft
    return max(wanted - RESERVED, wanted // 4)


class Doorkeeper:
    """An ASGI application around another that knows which connections have a request under way.

    Args:
        port: that of the server, by which its connections are recognised.
    """

    def __init__(self, app: AsgiApp, port: int, places: int) -> None:
        self._app = app
        self._port = port
        self._places = places
        self._busy: set[tuple[str, str]] = set()
        self._scarce = False

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        client = scope["client"]
        self._busy.add(client)
        try:
            await self._app(scope, receive, send)
        finally:
            self._busy.discard(client)

    async def run(self) -> None:
        """Close connections that waste a place, for ever. Runs in the event loop of the application."""
        if not _FOLDER.is_dir() or not hasattr(socket, "TCP_INFO"):
            return
        loop = asyncio.get_running_loop()
        looked_s = loop.time()
        while True:
            await asyncio.sleep(LOOK_S)
            with os.scandir(_FOLDER) as entries:
                descriptors = [int(entry.name) for entry in entries]
            scarce = len(descriptors) >= self._places * SCARCE
            if scarce and not self._scarce:
                log.warning(
                    "http.crowded", port=self._port, descriptors=len(descriptors), places=self._places
                )
            self._scarce = scarce
            if scarce or loop.time() - looked_s >= _LOOK_THROUGH_S:
                looked_s = loop.time()
                for index, descriptor in enumerate(descriptors):
                    if index % _SLICE == _SLICE - 1:
                        await asyncio.sleep(0)
                    with suppress(OSError):  # it has just been closed, or is no socket
                        self._look_at(descriptor)

    def _look_at(self, descriptor: int) -> None:
        # A descriptor of our own: whatever becomes of the number meanwhile, this one stays the connection
        # examined.
        ours = os.dup(descriptor)
        try:
            connection = socket.socket(fileno=ours)
        except OSError:
            os.close(ours)
            raise
        with connection:
            if connection.family != socket.AF_INET or connection.getsockname()[1] != self._port:
                return
            host, port = connection.getpeername()
            info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
            sent_ms, received_ms, received = _TCP_INFO.unpack(info)
            if (host, str(port)) in self._busy:
                # An answer under way may pause as long as it likes, but what is sent of it must be read.
                if sent_ms >= 1000 * IDLE_S and _unread(connection):
                    connection.shutdown(socket.SHUT_RDWR)
                return
            limit_s = IDLE_S
            if self._scarce:
                limit_s = IDLE_SCARCE_S if received else SILENT_SCARCE_S
            if min(sent_ms, received_ms) >= 1000 * limit_s:
                connection.shutdown(socket.SHUT_RDWR)


def connection_from(client: tuple[str, int], port: int) -> socket.socket | None:
    """Return a descriptor of our own of the connection that a client has with our `port`; None if it is gone.

    For callers that need a connection which a server library keeps to itself.
    """
    with os.scandir(_FOLDER if _FOLDER.is_dir() else "/dev/fd") as entries:
        descriptors = [int(entry.name) for entry in entries]
    for descriptor in descriptors:
        with suppress(OSError):  # it has just been closed, or is not a socket, or has no peer
            ours = os.dup(descriptor)
            try:
                connection = socket.socket(fileno=ours)
            except OSError:
                os.close(ours)
                continue
            with suppress(OSError):
                if (
                    connection.family == socket.AF_INET
                    and connection.getpeername() == client
                    and connection.getsockname()[1] == port
                ):
                    return connection
            connection.close()
    return None


def _unread(connection: socket.socket) -> bool:
    """Whether the system still holds data that the peer has not taken yet."""
    waiting = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0" * 4)
    return int.from_bytes(waiting, sys.byteorder) > 0
