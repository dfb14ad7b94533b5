"""Store: the only writer of a stream, ended by any other writer. It belongs to one event loop.

Each message is stored under one number of the stream, with the previous number as a condition. If the answer
does not come, the stream itself says whether it was stored: what is found under its number says who stored
it. So nothing is stored twice, whatever comes twice or late, and however long nobody answers.
"""

import asyncio
from typing import Final

import nats.js.errors
from nats.js.api import DiscardPolicy, Header, RawStreamMsg, RetentionPolicy, StorageType, StreamConfig

from bus.jetstream.client import FAULTS, Connection, said
from bus.jetstream.stored import DESCRIPTION, WRITER
from markets.errors import StartupError

PUBLISH_S: Final = 1.0
AGAIN_S: Final = 0.2
WRONG_LAST: Final = (10071, 10164)
"""Error codes of a condition that does not hold."""

NOT_ENABLED: Final = (10039, 10076)
EXISTS: Final = (10058, 10065)
SEALED: Final = 10109
NO_ROOM: Final = (10023, 10047, 10028)
WATCH_S: Final = 1.5
"""How long a stream is watched: a bridge stores four heartbeats a second."""


class Limits:
    """The limits of a new stream, and how carefully it is taken over.

    Args:
        replicas: how many servers of a cluster hold it.
        max_bytes, max_age_s: beyond these the oldest is dropped.
        duplicate_window_s: that of the stream; nothing depends on it.
        watch_s: how long a stream is watched before it is written to.
    """

    def __init__(
        self,
        replicas: int = 1,
        max_bytes: int = 10_000_000_000,
        max_age_s: float = 86_400.0,
        duplicate_window_s: float = 120.0,
        watch_s: float = WATCH_S,
    ) -> None:
        self.replicas = replicas
        self.max_bytes = max_bytes
        self.max_age_s = max_age_s
        self.duplicate_window_s = duplicate_window_s
        self.watch_s = watch_s


class Fenced(StartupError):
    """Another bridge has written to the stream."""


class Rewound(Exception):
    """The stream holds less than was stored, or something else: its server has lost what it had."""


class Store:
    """Writes to a stream.

    Args:
        connection: open.
        writer: nobody else's.

    Attributes:
        last: the stream's number of the last message stored.
    """

    def __init__(self, connection: Connection, writer: str) -> None:
        self.last = 0
        self._connection = connection
        self._address = connection.address
        self._writer = writer
        self._count = 0
        self._lock = asyncio.Lock()

    async def make(self, limits: Limits) -> None:
        """Make the stream, or take over the existing one.

        Raises:
            StartupError: it cannot be made, is another's, or somebody writes to it.
        """
        connection, shown = self._connection, self._address.shown
        while True:
            try:
                info = await connection.js.stream_info(self._address.stream)
                break
            except nats.js.errors.NotFoundError as error:
                if error.err_code != 10059:
                    raise StartupError(f"{shown}: {_refusal(error)}") from None
            except nats.js.errors.APIError as error:
                if _has_none(error):
                    raise StartupError(f"{shown}: {_refusal(error)}") from None
                connection.say("bridge.trouble", said(error))
                await asyncio.sleep(AGAIN_S)
                continue
            except FAULTS as error:
                connection.check_denied()
                connection.say("bridge.trouble", f"the JetStream does not answer: {said(error)}")
                await asyncio.sleep(AGAIN_S)
                continue
            await self._create(limits)
        config = info.config
        if config.description != DESCRIPTION or sorted(config.subjects or []) != self._address.subjects:
            raise StartupError(
                f"{shown}: a stream of this name is there and is not a bridge's "
                f"({', '.join(config.subjects or ['a mirror'])}): name another one, as nats://HOST:PORT/NAME"
            )
        if config.sealed:
            raise StartupError(f"{shown}: the stream is sealed, so it is read-only: name another one")

    async def _create(self, limits: Limits) -> None:
        config = StreamConfig(
            name=self._address.stream,
            description=DESCRIPTION,
            subjects=self._address.subjects,
            retention=RetentionPolicy.LIMITS,
            discard=DiscardPolicy.OLD,
            storage=StorageType.FILE,
            num_replicas=limits.replicas,
            max_bytes=limits.max_bytes,
            max_age=limits.max_age_s,
            duplicate_window=limits.duplicate_window_s,
            allow_direct=True,
        )
        try:
            await self._connection.js.add_stream(config)
        except nats.js.errors.APIError as error:
            if error.code == 503 and error.err_code not in (*NO_ROOM, *NOT_ENABLED, 10005, 10074):
                self._connection.say("bridge.trouble", said(error))  # no leader yet
                await asyncio.sleep(AGAIN_S)
                return
            raise StartupError(f"{self._address.shown}: {_refusal(error)}") from None
        except FAULTS as error:
            self._connection.check_denied()
            self._connection.say("bridge.trouble", f"the stream cannot be made: {said(error)}")
            await asyncio.sleep(AGAIN_S)

    async def take(self, watch_s: float) -> None:
        """Make sure that nobody else writes, and begin where the stream ends.

        Raises:
            Fenced: another bridge writes.
        """
        before = await self._position()
        if before:
            await asyncio.sleep(watch_s)
        self.last = await self._position()
        if self.last != before:
            raise Fenced(f"{self._address.shown}: another bridge writes to this stream: only one may")

    async def _position(self) -> int:
        while True:
            try:
                return (await self._connection.js.stream_info(self._address.stream)).state.last_seq
            except nats.js.errors.NotFoundError:
                raise Rewound from None
            except FAULTS as error:
                self._connection.check_denied()
                self._connection.say("bridge.trouble", f"the JetStream does not answer: {said(error)}")
                await asyncio.sleep(AGAIN_S)

    async def put(self, what: str, payload: bytes) -> int:
        """Store something once, however long it takes; return its number in the stream.

        Raises:
            Fenced: another has written. StartupError: it is forbidden. Rewound.
        """
        async with self._lock:
            self._count += 1
            mine = f"{self._writer}:{self._count}"
            headers = {Header.EXPECTED_LAST_SEQUENCE.value: str(self.last), WRITER: mine}
            subject = self._address.subject(what)
            connection = self._connection
            while True:
                try:
                    ack = await connection.js.publish(
                        subject, payload, PUBLISH_S, self._address.stream, dict(headers)
                    )
                    if ack.seq != self.last + 1:
                        raise Rewound
                    break
                except nats.js.errors.APIError as error:
                    if error.err_code == SEALED:
                        raise StartupError(f"{self._address.shown}: {_refusal(error)}") from None
                    if error.err_code not in WRONG_LAST:
                        connection.say("bridge.trouble", f"the JetStream does not take it: {said(error)}")
                        await asyncio.sleep(AGAIN_S)
                except FAULTS as error:
                    connection.check_denied()
                    connection.say("bridge.trouble", f"the JetStream does not answer: {said(error)}")
                    await asyncio.sleep(AGAIN_S)
                if await self._is_there(mine):
                    break
            self.last += 1
            return self.last

    async def _is_there(self, mine: str) -> bool:
        """Tell whether what was sent, but not acknowledged, is stored."""
        while True:
            position = await self._position()
            if position == self.last:
                return False
            if position < self.last:
                raise Rewound
            try:
                message: RawStreamMsg | None = await self._connection.message(self.last + 1, direct=False)
            except FAULTS as error:
                self._connection.say("bridge.trouble", f"the JetStream does not answer: {said(error)}")
                await asyncio.sleep(AGAIN_S)
                continue
            headers = (message.headers if message is not None else None) or {}
            if position == self.last + 1 and headers.get(WRITER) == mine:
                return True
            raise Fenced(f"{self._address.shown}: another bridge has written to this stream: this one ends")


def _has_none(error: nats.js.errors.APIError) -> bool:
    """Tell whether the server answered in place of a JetStream."""
    no_answer = isinstance(error, nats.js.errors.ServiceUnavailableError) and error.err_code is None
    return no_answer or error.err_code in NOT_ENABLED


def _refusal(error: nats.js.errors.APIError) -> str:
    """Return in a sentence what a server refuses for good, and what to do."""
    text = said(error)
    if _has_none(error):
        return "the server has no JetStream: start it with -js"
    if error.err_code in NO_ROOM or "insufficient" in text or "maximum" in text:
        return f"the JetStream is full ({text}): give it room, or ask for less with --max-gb"
    if error.err_code in EXISTS:
        return f"another stream is in the way ({text}): name another one, as nats://HOST:PORT/NAME"
    if error.err_code == SEALED:
        return "the stream is sealed, so it is read-only: name another one"
    return f"the JetStream refuses it: {text}"
