"""A connection to a JetStream, and words for what can be wrong with it. It belongs to one event loop."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final

import structlog

from bus.clock import Clock
from bus.process.programs import to_install
from markets.errors import StartupError

from .stored import MIN_PAYLOAD, Address

try:
    import nats.errors
    import nats.js.errors
    from nats.aio.client import Client
    from nats.js.api import RawStreamMsg
    from nats.js.client import JetStreamContext
except ImportError:
    raise StartupError(f"nats-py is not installed: {to_install('nats')}") from None

log = structlog.get_logger()

CONNECT_S: Final = 2.0
RECONNECT_S: Final = 0.2
PING_S: Final = 1.0
"""A connection on which two of these go unanswered is made anew."""

API_S: Final = 2.0
END_S: Final = 0.2
SAY_EVERY_MS: Final = 10_000
OLDEST_SERVER: Final = (2, 10, 0)

FAULTS: Final = (
    nats.errors.Error,
    OSError,
    asyncio.TimeoutError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
)
"""What a call may raise while the server is gone, has no leader, or talks nonsense."""


class Connection:
    """Connects, and reconnects for ever; what cannot get better is a StartupError.

    Args:
        address: the stream to use.
        name: what the server's monitoring calls us.
        on_reconnected: called when a lost connection has been made again.

    Attributes:
        client, js: the connection, and the JetStream API over it.
    """

    def __init__(
        self, address: Address, name: str, clock: Clock, on_reconnected: Callable[[], None] = lambda: None
    ) -> None:
        self.address = address
        self.client = Client()
        self.js: JetStreamContext = self.client.jetstream(timeout=API_S)
        self._name = name
        self._clock = clock
        self._on_reconnected = on_reconnected
        self._denied = ""
        self._refused = asyncio.Event()
        self._said: dict[str, int] = {}

    async def open(self) -> None:
        """Connect, waiting for as long as nobody answers.

        Raises:
            StartupError: the server refuses us, or cannot be used.
        """
        connecting = asyncio.ensure_future(
            self.client.connect(
                servers=list(self.address.servers),
                name=self._name,
                error_cb=self._on_error,
                reconnected_cb=self._reconnected,
                max_reconnect_attempts=-1,
                reconnect_time_wait=RECONNECT_S,  # type: ignore[arg-type]  # seconds, also a part of one
                connect_timeout=CONNECT_S,  # type: ignore[arg-type]
                ping_interval=PING_S,  # type: ignore[arg-type]
                max_outstanding_pings=2,
            )
        )
        refused = asyncio.ensure_future(self._refused.wait())
        try:
            await asyncio.wait({connecting, refused}, return_when=asyncio.FIRST_COMPLETED)
            self.check_denied()
            await connecting
        except FAULTS as error:
            raise StartupError(f"{self.address.shown}: {said(error)}") from None
        finally:
            for task in (connecting, refused):
                task.cancel()
            await asyncio.gather(connecting, refused, return_exceptions=True)
        self._check_server()

    def _check_server(self) -> None:
        shown = self.address.shown
        version = self.client.connected_server_version
        found = (version.major, version.minor, version.patch)
        if found < OLDEST_SERVER:
            text, least = ".".join(map(str, found)), ".".join(map(str, OLDEST_SERVER))
            raise StartupError(f"{shown}: the server is nats-server {text}, expected {least} or later")
        if self.client.max_payload < MIN_PAYLOAD:
            raise StartupError(
                f"{shown}: max_payload of the server is {self.client.max_payload} bytes, "
                f"expected {MIN_PAYLOAD} or more"
            )

    async def close(self) -> None:
        """Disconnect."""
        with contextlib.suppress(*FAULTS):
            await self.client.close()

    async def message(self, seq: int, *, direct: bool = True) -> RawStreamMsg | None:
        """Return what is stored under a number, None if nothing is.

        Args:
            direct: any replica or mirror may answer; otherwise only the leader.
        """
        with contextlib.suppress(nats.js.errors.NotFoundError):
            return await self.js.get_msg(self.address.stream, seq=seq, direct=direct)
        return None

    async def last(self, what: str, *, direct: bool = True) -> RawStreamMsg | None:
        """Return the last message stored on a subject ("feed", "keyframe", "repair"), None without one."""
        subject = self.address.subject(what)
        with contextlib.suppress(nats.js.errors.NotFoundError):
            return await self.js.get_last_msg(self.address.stream, subject, direct=direct)
        return None

    def check_denied(self) -> None:
        """Raise StartupError if the server has refused us something for good."""
        if self._denied:
            raise StartupError(f"{self.address.shown}: the server forbids it: {self._denied}")

    def say(self, event: str, problem: str, **more: Any) -> None:
        """Log a problem, but not the same one again for a while."""
        now_ms = self._clock.monotonic_ns() // 1_000_000
        if now_ms - self._said.get(problem, -SAY_EVERY_MS) >= SAY_EVERY_MS:
            self._said[problem] = now_ms
            log.warning(event, problem=problem, stream=self.address.shown, **more)

    async def _reconnected(self) -> None:
        self._on_reconnected()

    async def _on_error(self, error: Exception) -> None:
        text = said(error)
        if any(word in text.lower() for word in ("permissions violation", "authorization", "authentication")):
            self._denied = self._denied or text
            self._refused.set()
        self.say("jetstream.trouble", text)


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait for them to end.

    Cancelled more than once: a task in `asyncio.wait_for`, which the client library uses, may swallow a
    cancellation if the answer comes at the same time (CPython before 3.12).
    """
    waiting = {task for task in tasks if not task.done()}
    while waiting:
        for task in waiting:
            task.cancel()
        _, waiting = await asyncio.wait(waiting, timeout=END_S)


async def end_all() -> None:
    """End every other task of this loop: the client library leaves some behind while it reconnects."""
    await end(*(asyncio.all_tasks() - {asyncio.current_task()}))


def said(error: BaseException) -> str:
    """Return what the client library says is wrong, in words."""
    if isinstance(error, nats.js.errors.APIError) and error.description:
        return error.description
    if isinstance(error, nats.errors.NoRespondersError | nats.js.errors.NoStreamResponseError):
        return "nobody answers for this stream"
    if isinstance(error, asyncio.TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError):
        return f"the server cannot be reached: {error.strerror or error}"
    return str(error).removeprefix("nats: ").strip("'")[:300] or type(error).__name__
