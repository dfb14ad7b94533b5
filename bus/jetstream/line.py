"""JetStreamLine: what a replica hears and asks through when its feed is in a JetStream. docs/bridge.md.

It does what bus/line.py does. Its event loop runs only while one of its methods does, so that one thread owns
the connection. Neither a publisher nor a snapshot server is asked anything: questions are answered from the
last keyframe or the last repair that the bridge has stored.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any, Final, TypeVar

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from bus.clock import Clock
from bus.line import DRAIN, DRAIN_BYTES, POLL_MS
from bus.protocol.asks import Ask
from bus.protocol.messages import encode_map
from bus.threads import Owner
from bus.wake import Wake
from markets.errors import DecodeError, StartupError

from .client import FAULTS, Connection, end, end_all, said
from .stored import Address, Mark, answer_to, chosen, decode_batch, decode_mark, joined

T = TypeVar("T")

AGAIN_S: Final = 0.5
"""How long to wait before trying again what failed."""

RETRY_MS: Final = 100
"""How long a replica waits for a keyframe that answers it."""

WANTED_NS: Final = 1_000_000_000
"""How long a bridge has to store a repair by itself before it is told that a keyframe is wanted."""

INACTIVE_S: Final = 30.0
IDLE_S: Final = 1.0
AT_ONCE: Final = 8
"""Parts of a keyframe fetched at the same time."""


class JetStreamLine:
    """Hears batches of the feed from a stream, and answers questions from its keyframes.

    It belongs to the thread that makes it.

    Args:
        prefixes: topics wanted; all topics come over the network anyway.
    """

    def __init__(self, address: Address, prefixes: Sequence[str], clock: Clock) -> None:
        self._owner = Owner("the JetStream of a replica")
        self._owner.take()
        self._address = address
        self._prefixes = tuple(prefixes)
        self._wanted = tuple(prefix.encode() for prefix in self._prefixes)
        self._clock = clock
        self._loop = asyncio.new_event_loop()
        self._heard: deque[bytes] = deque()
        self._answers: deque[list[bytes]] = deque()
        self._ask: Ask | None = None
        self._asked = asyncio.Event()
        self._news = asyncio.Event()
        self._anew = asyncio.Event()
        self._open = asyncio.Event()
        self._answered = asyncio.Event()
        self._last = 0
        self._delivered = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._connection: Connection | None = None
        for work in (self._follow(), self._answer()):
            self._tasks.append(self._loop.create_task(work))

    # -- what a line does

    def heard(self) -> list[bytes]:
        """Return the feed messages that have arrived, at most DRAIN and not much more than DRAIN_BYTES."""
        self._owner.check()
        if not self._heard:
            self._run(_turns())
        frames: list[bytes] = []
        size = 0
        while self._heard and len(frames) < DRAIN and size < DRAIN_BYTES:
            frames.append(self._heard.popleft())
            size += len(frames[-1])
        return frames

    def hear(self) -> list[bytes]:
        """Wait for the next feed messages; return none if none come within POLL_MS."""
        self._owner.check()
        if not self._heard:
            self._run(self._wait(None))
        return self.heard() if self._heard else []

    def wait(self, wake: Wake | None = None, *, feed: bool = True) -> None:
        """Wait until an answer, `wake` or (with `feed`) a feed message is there, at most POLL_MS."""
        self._owner.check()
        if not (self._answers or (feed and self._heard)):
            self._run(self._wait(wake))

    def answers(self) -> Iterator[list[bytes]]:
        """Yield the answers that have arrived, as frames."""
        self._owner.check()
        while self._answers:
            yield self._answers.popleft()

    def ask(self, ask: Ask) -> bool:
        """Have a question answered; it replaces an unanswered one."""
        self._owner.check()
        self._ask = ask
        self._asked.set()
        return True

    def deserted(self) -> int | None:
        """Return None: the bridge may be away, but no question is lost with it."""
        self._owner.check()
        return None

    def rebuild(self) -> None:
        """Go on from the last message heard."""
        self._owner.check()
        self._anew.set()

    def close(self) -> None:
        """Disconnect."""
        self._owner.check()
        self._run(self._close())
        self._loop.close()

    # -- within the loop

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)

    async def _wait(self, wake: Wake | None) -> None:
        self._news.clear()
        if wake is not None:
            self._loop.add_reader(wake.fileno(), self._news.set)
        try:
            async with asyncio.timeout(POLL_MS / 1_000):
                await self._news.wait()
        except TimeoutError:
            pass
        finally:
            if wake is not None:
                self._loop.remove_reader(wake.fileno())
        for task in self._tasks:
            if task.done():
                task.result()  # our own mistake ends the replica, as in any thread

    async def _close(self) -> None:
        await end(*self._tasks)
        if self._connection is not None:
            await self._connection.close()
        await end_all()

    async def _connect(self) -> Connection:
        """Connect; a failure is logged, and retried for ever: it may be repaired at the other end."""
        while True:
            # A server that was gone may have forgotten who was hearing.
            connection = Connection(self._address, "kalshi-bus replica", self._clock, self._anew.set)
            self._connection = connection
            try:
                await connection.open()
                return connection
            except StartupError as error:
                connection.say("jetstream.refused", str(error))
            await connection.close()
            await asyncio.sleep(AGAIN_S)

    async def _follow(self) -> None:
        """Follow the feed, from where it is or where we left it, for ever."""
        connection = await self._connect()
        self._open.set()
        subscription: Subscription | None = None
        while True:
            try:
                subscription = await self._subscribe(connection)
                self._anew.clear()
                await self._anew.wait()
            except FAULTS as error:
                connection.say("jetstream.trouble", f"the feed cannot be followed: {said(error)}")
                await asyncio.sleep(AGAIN_S)
            finally:
                if subscription is not None:
                    with contextlib.suppress(*FAULTS):
                        await subscription.unsubscribe()

    async def _subscribe(self, connection: Connection) -> Subscription:
        begin = await self._begin(connection)
        self._delivered = 0
        inbox = connection.client.new_inbox()
        subscription = await connection.client.subscribe(
            inbox, cb=self._take, pending_msgs_limit=0, pending_bytes_limit=0
        )
        await connection.js.add_consumer(
            self._address.stream,
            ConsumerConfig(
                deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=begin,
                deliver_subject=inbox,
                filter_subject=self._address.subject("feed"),
                ack_policy=AckPolicy.NONE,
                flow_control=True,
                idle_heartbeat=IDLE_S,
                inactive_threshold=INACTIVE_S,
                mem_storage=True,
                num_replicas=1,
            ),
        )
        return subscription

    async def _begin(self, connection: Connection) -> int:
        """Return the number in the stream to start from."""
        last = await connection.last("feed")
        stored = last.seq if last is not None and last.seq else 0
        if self._last and self._last <= stored:
            return self._last + 1
        # We are new here; or the stream is not the one it was, which will show as a gap.
        mark = await _mark(connection, "keyframe")
        # First the state, then what follows it, which must not wait long in a buffer.
        await self._answered.wait()
        self._last = mark.begin - 1 if mark is not None and mark.begin <= stored else max(0, stored - 1)
        return self._last + 1

    async def _take(self, message: Msg) -> None:
        reply = message.reply
        if message.headers is not None and message.headers.get("Status") == "100":
            # Flow control wants a sign of life; a consumer that it has stalled names where to send one.
            stalled = message.headers.get("Nats-Consumer-Stalled")
            for subject in (reply, stalled):
                if subject and self._connection is not None:
                    with contextlib.suppress(*FAULTS):
                        await self._connection.client.publish(subject)
            return
        tokens = reply.split(".")
        try:
            seq, delivered = int(tokens[-4]), int(tokens[-3])
        except (IndexError, ValueError):
            return  # sent by somebody else
        if delivered != self._delivered + 1 or seq <= self._last:
            if delivered > self._delivered:
                self._anew.set()  # lost on the way
            return
        self._delivered, self._last = delivered, seq
        try:
            frames = decode_batch(message.data).frames
        except DecodeError as error:
            if self._connection is not None:
                self._connection.say("jetstream.undecodable", str(error))
            return  # what it should have been shows as a gap
        self._heard.extend(frame for frame in frames if frame.startswith(self._wanted))
        self._news.set()

    # -- questions

    async def _answer(self) -> None:
        await self._open.wait()
        vain_ns: int | None = None
        connection = self._connection
        assert connection is not None
        while True:
            await self._asked.wait()
            ask = self._ask
            if ask is None:
                self._asked.clear()
                continue
            answer: list[bytes] | None = None
            try:
                repair, keyframe = [await _mark(connection, what) for what in ("repair", "keyframe")]
                mark = chosen(ask, repair, keyframe)
                if mark is None:
                    now_ns = self._clock.monotonic_ns()
                    vain_ns = now_ns if vain_ns is None else vain_ns
                    if now_ns - vain_ns >= WANTED_NS:
                        await connection.client.publish(self._address.subject("wanted"))
                else:
                    vain_ns = None
                    frames = await self._fetch(connection, mark)
                    if self._ask is not None and chosen(self._ask, repair, keyframe) == mark:
                        ask = self._ask  # it was asked again meanwhile: this is the answer
                    answer = answer_to(ask, frames, self._prefixes)
            except (DecodeError, *FAULTS) as error:
                connection.say("jetstream.trouble", f"no keyframe can be had: {said(error)}")
            if self._ask is ask:
                self._ask = None
                self._asked.clear()
            self._answers.append(answer or _refusal(ask))
            self._answered.set()
            self._news.set()

    async def _fetch(self, connection: Connection, mark: Mark) -> list[bytes]:
        """Return the frames of a keyframe.

        Raises:
            DecodeError: it no longer exists, or is not one.
        """
        parts: list[bytes] = []
        for at in range(0, len(mark.parts), AT_ONCE):
            found = await asyncio.gather(*map(connection.message, mark.parts[at : at + AT_ONCE]))
            for part in found:
                if part is None or part.subject != self._address.subject("part"):
                    raise DecodeError("keyframe: a part is not there, expected it where the mark says")
                parts.append(part.data or b"")
        return joined(parts)


async def _mark(connection: Connection, what: str) -> Mark | None:
    """Return the last mark on a subject; None if there is none, or it is malformed."""
    message = await connection.last(what)
    if message is None:
        return None
    try:
        return decode_mark(message.data or b"")
    except DecodeError as error:
        connection.say("jetstream.undecodable", f"{what}: {error}")
        return None


def _refusal(ask: Ask) -> list[bytes]:
    error = {"code": "not_ready", "message": "no keyframe answers this yet", "retry_ms": RETRY_MS}
    return [b"", encode_map({"ok": False, "id": ask.id, "error": error})]


async def _turns() -> None:
    """Give way so that what has arrived is taken in."""
    for _ in range(3):
        await asyncio.sleep(0)
