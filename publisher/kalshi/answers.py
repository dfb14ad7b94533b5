"""An answer over HTTP is that of its own request, and takes no longer than it may, however it comes.

`http.client` gives each read of a socket a time of its own, so an answer that comes a byte at a time could
take for ever. And it takes a 103 (Early Hints) for the answer: the real one, which comes after it, would be
read as that of the next request on the connection, and so on with every one after that.
"""

import io
import socket
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, Final

import urllib3.connection
from requests.adapters import HTTPAdapter
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.poolmanager import pool_classes_by_scheme

from bus.clock import SystemClock

BODY_TIMES: Final = 2.5
"""How many times the time of the headers, that of a single read of the socket, the body has after them:
so what is asked with little patience is given up soon, too."""

LONGEST_S: Final = 20.0
"""The time of a socket that sets none."""

SWITCHING: Final = 101

_clock: Final = SystemClock()  # that of the sockets


class _Timed(io.RawIOBase):
    """What a socket brings until a moment, and after it TimeoutError."""

    def __init__(self, sock: socket.socket, raw: io.RawIOBase) -> None:
        self._sock = sock
        self._raw = raw
        self._each_s = sock.gettimeout() or LONGEST_S
        self.begin(1.0)

    def begin(self, times: float) -> None:
        self._end_ns = _clock.monotonic_ns() + int(times * self._each_s * 1e9)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left_s = (self._end_ns - _clock.monotonic_ns()) / 1e9
        if left_s <= 0:
            raise TimeoutError("not complete in time")
        self._sock.settimeout(min(self._each_s, left_s))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        if not self.closed:
            with suppress(OSError):  # what comes next on the socket has all of its time again
                self._sock.settimeout(self._each_s)
        self._raw.close()
        super().close()


class Answer(HTTPResponse):
    """The answer to one request. Reading it raises TimeoutError once it takes longer than it may."""

    def __init__(self, sock: socket.socket, *arguments: Any, **named: Any) -> None:
        super().__init__(sock, *arguments, **named)
        self._timed = _Timed(sock, self.fp.detach())
        self.fp = io.BufferedReader(self._timed)

    def begin(self) -> None:
        """Read the headers, passing over what comes before the answer itself.

        Raises:
            HTTPException, OSError: there are none that can be read.
        """
        super().begin()
        while 100 < self.status < 200:
            if self.status == SWITCHING:
                raise HTTPException("another protocol, which nobody asked for")
            self.headers = None  # type: ignore[assignment]  # by which it knows whether it has begun
            super().begin()
        self._timed.begin(BODY_TIMES)


class Plain(HTTPConnection):
    """A connection to this machine."""

    response_class = Answer


class Secure(HTTPSConnection):
    """A connection to anywhere else, or through a proxy."""

    response_class = Answer


class _PlainConnection(urllib3.connection.HTTPConnection):
    response_class = Answer


class _SecureConnection(urllib3.connection.HTTPSConnection):
    response_class = Answer


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class Adapter(HTTPAdapter):
    """The same for a `requests.Session`."""

    def init_poolmanager(self, *arguments: Any, **named: Any) -> None:
        """Make the connections' pools."""
        super().init_poolmanager(*arguments, **named)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *arguments: Any, **named: Any) -> Any:
        """Return the pools of a proxy's connections; those of SOCKS stay what they are."""
        manager = super().proxy_manager_for(*arguments, **named)
        if manager.pool_classes_by_scheme is pool_classes_by_scheme:
            manager.pool_classes_by_scheme = _POOLS
        return manager


_POOLS: Final = {"http": _PlainPool, "https": _SecurePool}
