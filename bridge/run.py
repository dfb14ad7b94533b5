"""The process: follows the feed like any other replica, and stores it in a JetStream.

Threads: the replica's hears and queues, and drops above MAX_QUEUED_BYTES; main has the event loop that
stores; `keyframe` makes keyframes, which takes seconds if the whole exchange is in them.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import structlog
import zmq

from bus.clock import Clock, Rng
from bus.jetstream.client import FAULTS, Connection, end, end_all, said
from bus.jetstream.stored import (
    PART_BYTES,
    Address,
    Batch,
    Mark,
    cut,
    decode_batch,
    decode_mark,
    encode_batch,
    encode_mark,
)
from bus.metrics import Figure
from bus.process.lifecycle import Stop
from bus.protocol.answers import Answers
from bus.protocol.join import Action, Tell
from bus.protocol.memory import Packed
from bus.protocol.messages import Header, Quotes, SnapshotHead, convert_map, encode_map, unpack_map
from bus.replica import Replica
from bus.threads import Owner
from markets.errors import DecodeError

from .store import AGAIN_S, Limits, Rewound, Store
from .storing import Storing

log = structlog.get_logger()

MAX_QUEUED_BYTES: Final = 64 * 1_048_576
CANCEL_S: Final = 1.0
LOOK_S: Final = 0.1
"""How often to check whether a keyframe is due."""


class Heard:
    """What the replica has heard and is not yet stored. Both threads use it; see `Bridge`."""

    def __init__(self) -> None:
        self.dropped = 0
        self._bytes = 0
        self._queue: deque[tuple[bytes, int, int, bool]] = deque()

    def put(self, frame: bytes, epoch: int, seq: int, *, numbered: bool) -> None:
        """Add a message; if there is no room it is lost, which shows as a hole in the numbers."""
        if self._bytes > MAX_QUEUED_BYTES:
            self.dropped += 1
            return
        self._bytes += len(frame)
        self._queue.append((frame, epoch, seq, numbered))

    def take(self) -> tuple[bytes, int, int, bool] | None:
        """Return the next message, None if there is none."""
        if not self._queue:
            return None
        item = self._queue.popleft()
        self._bytes -= len(item[0])
        return item

    def back(self, item: tuple[bytes, int, int, bool]) -> None:
        """Put a message back in front."""
        self._bytes += len(item[0])
        self._queue.appendleft(item)


class Bridge:
    """Stores a feed in a stream until told to stop.

    Args:
        feed, snapshots: endpoints, as for a Replica. The publisher is never asked if `snapshots` is `query`.
        rng: names this writer of the stream.

    Attributes:
        stored, keyframes, repairs: counts of what was stored: messages, whole keyframes, repairs of a gap.
    """

    def __init__(
        self,
        context: zmq.Context[Any],
        feed: str,
        snapshots: str,
        address: Address,
        clock: Clock,
        rng: Rng,
        limits: Limits,
    ) -> None:
        self._address = address
        self._clock = clock
        self._rng = rng
        self._limits = limits
        self._replica = Replica(
            context, feed, snapshots, clock, rng, listener=self._listen, tap=self._hear, keeping=Packed()
        )
        self._answers = Answers(lambda: self._replica.state)
        self._replica_thread = Owner("what a bridge hears")
        self._heard = Heard()
        self._told: deque[Tell] = deque()
        self._loop = asyncio.new_event_loop()
        self._news = asyncio.Event()
        self._woken = False
        self.stored = 0
        self.keyframes = 0
        self.repairs = 0

    # -- the replica's thread

    def _hear(self, frame: bytes, header: Header | Quotes) -> None:
        self._replica_thread.check()
        self._heard.put(frame, header.epoch, header.seq, numbered=header.kind != "heartbeat")
        self._wake()

    def _listen(self, actions: Sequence[Action]) -> None:
        self._replica_thread.check()
        self._told.extend(action for action in actions if isinstance(action, Tell))
        self._wake()

    def _wake(self) -> None:
        if not self._woken:
            self._woken = True
            self._loop.call_soon_threadsafe(self._news.set)

    # -- any thread

    def figures(self) -> Iterable[Figure]:
        """Yield what has been stored so far."""
        yield Figure("bridge_messages", (), self.stored)
        yield Figure("bridge_keyframes", ("keyframe",), self.keyframes)
        yield Figure("bridge_keyframes", ("repair",), self.repairs)
        yield Figure("bridge_dropped", (), self._heard.dropped)

    # -- the main thread

    def run(self, stop: Stop) -> None:
        """Store until `stop`. Call once.

        Raises:
            StartupError: the JetStream cannot be used. Fenced: another bridge writes.
        """
        loop = self._loop
        with ThreadPoolExecutor(1, "keyframe") as worker:
            work = loop.create_task(self._work(worker))
            loop.add_reader(stop.fileno(), self._cancel, work, stop)
            self._replica.start()
            try:
                with contextlib.suppress(asyncio.CancelledError):
                    loop.run_until_complete(work)
            finally:
                self._replica.stop()
                loop.remove_reader(stop.fileno())
                loop.run_until_complete(end_all())
                loop.close()
        log.info("bridge.done", stored=self.stored, keyframes=self.keyframes, repairs=self.repairs)

    def _cancel(self, work: asyncio.Task[None], stop: Stop) -> None:
        self._loop.remove_reader(stop.fileno())  # it stays readable
        if not work.done():
            work.cancel()
            self._loop.call_later(CANCEL_S, self._cancel, work, stop)  # see `end`

    async def _work(self, worker: ThreadPoolExecutor) -> None:
        connection = Connection(self._address, "kalshi-bus bridge", self._clock)
        try:
            await connection.open()
            writer = f"{self._rng.getrandbits(128):032x}"
            while True:
                store = Store(connection, writer)
                await store.make(self._limits)
                try:
                    await store.take(self._limits.watch_s)
                    storing = await self._found(connection)
                    log.info(
                        "bridge.begins", stream=self._address.shown, epoch=storing.epoch, seq=storing.seq
                    )
                    await self._serve(connection, store, storing, worker)
                except Rewound:
                    problem = "the stream holds less than was stored: its server has lost it"
                    log.warning("bridge.rewound", problem=problem, stream=self._address.shown)
                    await asyncio.sleep(AGAIN_S)
        finally:
            await connection.close()

    async def _found(self, connection: Connection) -> Storing:
        """Return what the stream contains, from its last batch and last keyframe."""
        while True:
            try:
                last = await connection.last("feed", direct=False)
                keyframe = await connection.last("keyframe", direct=False)
                break
            except FAULTS as error:
                connection.check_denied()
                connection.say("bridge.trouble", f"the JetStream does not answer: {said(error)}")
                await asyncio.sleep(AGAIN_S)
        try:
            batch = Batch(1, 0, 0, None, []) if last is None else decode_batch(last.data or b"")
            whole = 0 if keyframe is None else decode_mark(keyframe.data or b"").epoch
        except DecodeError as error:
            # Somebody else's bytes. What was stored is unknown, so everything that comes is new, starting
            # with a keyframe.
            log.warning("bridge.undecodable", problem=str(error), stream=self._address.shown)
            return Storing(0, 0, None, 0)
        return Storing(batch.epoch, batch.seq, batch.since, whole)

    async def _serve(
        self, connection: Connection, store: Store, storing: Storing, worker: ThreadPoolExecutor
    ) -> None:
        async def wanted(_message: object) -> None:
            storing.want()

        subscription = await connection.client.subscribe(self._address.subject("wanted"), cb=wanted)
        try:
            await _first_to_end(
                self._store_feed(store, storing), self._store_keyframes(store, storing, worker)
            )
        finally:
            with contextlib.suppress(*FAULTS):
                await subscription.unsubscribe()

    async def _store_feed(self, store: Store, storing: Storing) -> None:
        while True:
            self._woken = False
            self._news.clear()
            while frames := self._batch(storing):
                batch = encode_batch(Batch(1, storing.epoch, storing.seq, storing.since, frames))
                storing.stored(await store.put("feed", batch), len(batch))
                self.stored += len(frames)
            await self._news.wait()

    def _batch(self, storing: Storing) -> list[bytes]:
        """Return what has been heard and is to be stored, of one epoch and not much more than PART_BYTES."""
        frames: list[bytes] = []
        size = 0
        followed = self._replica.state.epoch
        while size < PART_BYTES:
            item = self._heard.take()
            if item is None:
                break
            frame, epoch, seq, numbered = item
            if frames and epoch != storing.epoch:
                self._heard.back(item)
                break
            if storing.hear(epoch, seq, followed, numbered=numbered):
                frames.append(frame)
                size += len(frame)
        return frames

    async def _store_keyframes(self, store: Store, storing: Storing, worker: ThreadPoolExecutor) -> None:
        while True:
            while self._told:
                tell = self._told.popleft()
                if tell.event == "live":
                    storing.joined(tell.detail["epoch"], tell.detail["seq"])
                elif tell.event == "gap" and tell.detail["why"] == "digest":
                    storing.doubt()
            now_ms = self._clock.monotonic_ns() // 1_000_000
            state = self._replica.state
            what = storing.due(now_ms, state.epoch, state.seq)
            if what is not None:
                await self._store_keyframe(what, store, storing, worker)
            await asyncio.sleep(LOOK_S)

    async def _store_keyframe(
        self, what: str, store: Store, storing: Storing, worker: ThreadPoolExecutor
    ) -> None:
        state = self._replica.state
        begin = storing.begin(state.epoch, state.seq, store.last + 1)
        since = storing.since if what == "repair" else None
        question: dict[str, Any] = {"op": "snapshot", "id": 0}
        if since is not None:
            question["since"] = since
        answer = await self._loop.run_in_executor(
            worker, lambda: self._answers.answer(encode_map(question), self._clock.now_ms())
        )
        found = unpack_map(answer[0])
        if found["ok"] is not True:
            return
        head = convert_map(found, SnapshotHead)
        if head.epoch != state.epoch:
            return
        pieces = await self._loop.run_in_executor(worker, cut, answer)
        parts = [await store.put("part", piece) for piece in pieces]
        mark = Mark(1, head.epoch, head.as_of, begin, tuple(parts), since)
        await store.put(what, encode_mark(mark))
        now_ms = self._clock.monotonic_ns() // 1_000_000
        size = sum(map(len, pieces))
        storing.made(what, head.epoch, head.as_of, size, now_ms)
        if what == "keyframe":
            self.keyframes += 1
        else:
            self.repairs += 1
        log.info("bridge.keyframe", what=what, epoch=head.epoch, as_of=head.as_of, since=since, bytes=size)


async def _first_to_end(*works: Coroutine[Any, Any, None]) -> None:
    """Run all until the first one ends, with its error; then the others end too."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await end(*tasks)
