"""A server's public port where TLS is on: a process of its own that ends TLS and passes on what was said.

Both HTTP servers, and WebSockets, which are handed to other processes as descriptors, so know nothing of TLS:
they listen on a port of their own on loopback. What the process (tls_relay.py) knows of a connection, where
it is from and whether it was encrypted, it says here before it passes on the first byte. Without a
certificate there is none of all this.
"""

import asyncio
import os
import re
import socket
import subprocess
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, Final, NamedTuple

import msgspec
import structlog

from markets.errors import StartupError

from .certificate import files_of, read_certificate
from .connections import AsgiApp, Scope
from .http_headers import joined
from .programs import command_of, environment_of, wait_or_kill
from .settings import Settings

log = structlog.get_logger()

HOST: Final = "127.0.0.1"
BACKLOG: Final = 4_096
LOOK_S: Final = 0.5
"""How often to look whether the process still runs: a new one is begun in the place of one that has ended."""

PAUSE_MOST_S: Final = 10.0
"""The most time until a new one is begun; longer each time, as long as none lives for this long."""

STOPS_S: Final = 2.5
"""How long it may take to end."""

RELAYED: Final = "relayed_from"
"""In a scope: the address that a request is from, where its client is the process."""

_OURS: Final = re.compile(rb"^http://[^/:]+:", re.IGNORECASE)


class Relayed(msgspec.Struct, array_like=True, frozen=True):
    """A connection that is passed on.

    Attributes:
        port: of its end at the process. host: where it is from. encrypted: whether by TLS.
    """

    port: int
    host: str
    encrypted: bool


_relayed: Final = msgspec.msgpack.Decoder(Relayed)


class Place(NamedTuple):
    """What to serve, and where.

    Attributes:
        beside: what is to run in the server's event loop until it stops.
    """

    app: AsgiApp
    host: str
    port: int
    beside: Sequence[Callable[[], Coroutine[Any, Any, None]]]


@contextmanager
def behind_tls(app: AsgiApp, host: str, port: int, settings: Settings | None) -> Iterator[Place]:
    """Return where an application is to be served that the world finds at this address.

    Raises:
        StartupError: certificate or key cannot be used, or the port is taken.
    """
    files = None if settings is None else files_of(settings)
    if files is None:
        yield Place(app, host, port, ())
        return
    read_certificate(files)
    with closing(PublicPort(app, host, port)) as public:
        yield Place(public, HOST, public.port, (public.run,))


class PublicPort:
    """The public port, the process that serves it, and the application as it is served there.

    Belongs to the event loop's thread.

    Attributes:
        port: that of the server itself, on loopback; nobody listens there yet.
    """

    def __init__(self, app: AsgiApp, host: str, port: int) -> None:
        self._app = app
        self._public = port
        self._peers: dict[int, Relayed] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setblocking(False)
        # Not listening, it only keeps the number: who sets these options, too, may listen there.
        self._kept = socket.socket()
        self._kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._kept.bind((HOST, 0))
        self.port: int = self._kept.getsockname()[1]
        try:
            self._listener = socket.create_server((host, port), backlog=BACKLOG)
        except OSError as error:
            raise StartupError(f"{host}:{port}: cannot be listened on: {error.strerror}") from error

    def close(self) -> None:
        """End the process."""
        for ours in (self._listener, self._ours, self._theirs, self._kept):
            ours.close()
        if self._process is not None:
            self._process.terminate()
            wait_or_kill(self._process, STOPS_S)

    async def run(self) -> None:
        """Keep the process running, and hear what it says."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._ours, self._hear)
        begun_s, pause_s = -PAUSE_MOST_S, LOOK_S
        try:
            while True:
                if self._process is not None and self._process.poll() is not None:
                    log.warning("tls.ended", port=self._public, code=self._process.returncode)
                    self._process = None
                    soon = loop.time() - begun_s < PAUSE_MOST_S
                    pause_s = min(2 * pause_s, PAUSE_MOST_S) if soon else LOOK_S
                    await asyncio.sleep(pause_s)
                if self._process is None:
                    begun_s = loop.time()
                    self._begin()
                await asyncio.sleep(LOOK_S)
        finally:
            loop.remove_reader(self._ours)

    def _begin(self) -> None:
        passed = [self._listener.fileno(), self._theirs.fileno()]
        arguments = map(str, (os.getpid(), *passed, self.port))
        command = command_of("bus.process.tls_relay", *arguments)
        try:
            self._process = subprocess.Popen(command, pass_fds=passed, env=environment_of(os.environ))
        except OSError as error:  # it is tried again
            log.warning("tls.not_begun", port=self._public, error=str(error))

    def _hear(self) -> None:
        while True:
            try:
                said = self._ours.recv(1_024)
            except OSError:
                return
            try:
                peer = _relayed.decode(said)
            except msgspec.MsgspecError:
                return
            self._peers[peer.port] = peer

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Have a request answered, as what it is to the world."""
        self._hear()
        client = scope.get("client")
        peer = self._peers.get(int(client[1])) if client else None
        if peer is not None:
            scope[RELAYED] = peer.host
            if peer.encrypted:
                host = joined(scope["headers"]).get("host", HOST)
                name = re.sub(r":[0-9]{1,5}$", "", host).encode("latin-1")
                scope["scheme"] = "https"
                scope["headers"] = [
                    (field, _inside(value) if field.lower() == b"origin" else value)
                    for field, value in scope["headers"]
                ]
                send = _outside(name, send)
        await self._app(scope, receive, send)


def _inside(origin: bytes) -> bytes:
    """Return an Origin as applications compare it, who know no TLS; a page without it is foreign."""
    scheme, _, host = origin.partition(b"://")
    return b"http://" + host if scheme.lower() == b"https" else b"null"


def _outside(name: bytes, send: Any) -> Any:
    """Return a `send` by which other servers of this machine are found as this one was."""
    outside = b"https://%b:" % name

    async def sending(message: Any) -> None:
        if message["type"] == "http.response.start":
            headers = [
                # A function, since a name that a client made up might read as a template.
                (field, _OURS.sub(lambda _: outside, value) if field.lower() == b"location" else value)
                for field, value in message.get("headers", ())
            ]
            message = {**message, "headers": headers}
        await send(message)

    return sending
