"""Replay: plays the publisher's part from a recording, on the publisher's own sockets. docs/recording.md.

The messages are those that were recorded, numbers, chains, records and times included; only the epoch is new,
since it is a new life of the state, and the heartbeats are made afresh (`source: replay`). Consumers take as
now the time of the last message. A reading thread keeps the pace; the bus thread applies and sends, a
commit as one.
"""

import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
import structlog
import zmq

from bus.clock import Clock
from bus.process.lifecycle import Stop
from bus.protocol.answers import Question, Refusal
from bus.protocol.messages import (
    VERSION,
    Envelope,
    Heartbeat,
    PublisherHealth,
    Quotes,
    decode,
    decode_at_once,
    decode_map,
    encode,
)
from bus.protocol.writer import Writer
from bus.server import FeedServer
from markets.errors import DecodeError

from .file import Frame, Keyframe, Recording

log = structlog.get_logger()

MAX_SPEED: Final = 0.0
"""As fast as the slowest subscriber takes it."""

BATCH: Final = 128
EARLY_NS: Final = 2_000_000
_EPOCH_AT: Final = 3
"""Where the epoch's eight bytes begin in a frame, after the topic and its zero: array, version, uint64
mark."""


_Entry = tuple[str, Envelope | Quotes, bytes]


class VirtualClock:
    """The recording's clock, moved by the player; monotonic time is the machine's."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ns = 0

    def now_ns(self) -> int:
        return self._ns

    def now_ms(self) -> int:
        return self._ns // 1_000_000

    def monotonic_ns(self) -> int:
        return self._clock.monotonic_ns()

    def set(self, now_ns: int) -> None:
        """Move it to `now_ns`."""
        self._ns = now_ns


class Player:
    """Plays a recording into a FeedServer.

    Args:
        speed: 1.0 is the recorded pace, MAX_SPEED no waiting.
        from_ms, to_ms: what part of the recording; None: all of it.

    Attributes:
        epoch: the epoch that the next state gets, larger than any before.
        mismatches: recorded digests that this replay did not reproduce; 0 in a good recording.
        holes: places where frames are missing in the recording, or cannot be read.
    """

    def __init__(
        self,
        recording: Recording,
        clock: Clock,
        epoch: int,
        speed: float = 1.0,
        from_ms: int | None = None,
        to_ms: int | None = None,
        paused: bool = False,
    ) -> None:
        self.recording = recording
        self.clock = VirtualClock(clock)
        self.epoch = epoch
        self.mismatches = 0
        self.checked = 0
        self.holes = 0
        self.messages = 0
        self.records = 0
        self.ended = False
        self.keyframes = recording.keyframes()
        self.begin_ns = self.keyframes[0][0] if self.keyframes else 0
        self._health = PublisherHealth(sweep="replay")
        self._to_ns = None if to_ms is None else to_ms * 1_000_000
        self._changed = threading.Condition()
        self._speed = speed
        self._paused = paused
        self._seek_ns: int | None = self.begin_ns if from_ms is None else from_ms * 1_000_000
        self._anchor: tuple[int, int] | None = None
        self._stopping = False
        self._writer: Writer | None = None
        self._recorded_epoch = 0
        self._state_recorded_epoch = 0

    def health(self) -> PublisherHealth:
        """Return the publisher's account of itself as it was at this point of the recording."""
        return self._health

    # -- control, any thread

    def control(self, question: Question, _now_ms: int) -> dict[str, Any]:
        """Answer op `replay`: pause, resume, seek, speed, status."""
        action = question.get("action", "status")
        with self._changed:
            if action == "pause":
                self._paused = True
            elif action == "resume":
                self._paused = False
            elif action == "speed":
                self._speed = _speed(question.get("speed"))
            elif action == "seek":
                to_ms = question.get("to_ms")
                if isinstance(to_ms, bool) or not isinstance(to_ms, int):
                    raise Refusal("bad_request", f"to_ms: got {to_ms!r:.50}, expected ms since 1970")
                self._seek_ns = to_ms * 1_000_000
                self.ended = False
            elif action != "status":
                raise Refusal(
                    "bad_request", f"action: got {action!r:.50}, expected pause, resume, seek, speed, status"
                )
            self._anchor = None
            self._changed.notify_all()
            return self.status()

    def status(self) -> dict[str, Any]:
        """Return where the replay stands; times in ms since 1970."""
        return {
            "position_ms": self.clock.now_ms(),
            "begin_ms": self.begin_ns // 1_000_000,
            "end_ms": self.recording.end_ns // 1_000_000,
            "speed": self._speed or "max",
            "paused": self._paused,
            "ended": self.ended,
            "messages": self.messages,
            "holes": self.holes,
            "digests_checked": self.checked,
            "digest_mismatches": self.mismatches,
            "problem": self.recording.problem,
        }

    @property
    def position(self) -> tuple[int, int]:
        """(epoch, seq) of the state that is played now; (0, 0) before the first."""
        writer = self._writer
        return (writer.state.epoch, writer.state.seq) if writer is not None else (0, 0)

    def wait_end(self, timeout_s: float) -> bool:
        """Wait until the recording has ended; return whether it has."""
        with self._changed:
            return self._changed.wait_for(lambda: self.ended, timeout_s)

    def stop(self) -> None:
        """End `run`."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    # -- the reading thread

    def run(self, server: FeedServer) -> None:
        """Play until `stop`; at the end of the recording wait for a seek."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._seek_ns is not None)
                if self._stopping:
                    return
                target_ns, self._seek_ns = self._seek_ns, None
            assert target_ns is not None
            self._play(server, target_ns)

    def _play(self, server: FeedServer, target_ns: int) -> None:
        """Play from `target_ns` to the end, or until there is something else to do."""
        offset = max((place for time_ns, place in self.keyframes if time_ns <= target_ns), default=0)
        writer: Writer | None = None
        opened = False
        expected = 0
        time_ns = 0
        run: list[_Entry] = []  # a commit of which the end has not come yet
        batch: list[_Entry] = []  # what is due now
        for item in self.recording.play(offset):
            if self._to_ns is not None and item.time_ns > self._to_ns:
                break
            if isinstance(item, Keyframe):
                expected, batch = self._submit(server, batch, expected), []
                if writer is not None and self._is_played(item, expected):
                    continue
                run = []
                writer, expected = self._load(item), item.head.as_of + 1
                time_ns = max(time_ns, item.time_ns)
                if opened:
                    self._open(server, writer)
                continue
            topic, envelope = _decoded(item)
            if writer is None or envelope is None or envelope.epoch != self._recorded_epoch:
                continue
            if envelope.kind == "heartbeat":
                if envelope.seq < expected - 1:
                    continue  # of before a keyframe, written again behind it
            else:
                if envelope.seq != expected:
                    if envelope.seq > expected >= 0:  # the next keyframe ends the hole
                        self.holes += 1
                        expected, run = -1, []
                    continue
                expected += 1
            if not opened and item.time_ns >= target_ns and not run:
                opened = True
                self.clock.set(time_ns)
                self._open(server, writer)
            if opened and not run and self._is_later(item.time_ns, time_ns, len(batch)):
                expected, batch = self._submit(server, batch, expected), []
                if not self._wait(item.time_ns):
                    return
                if expected < 0 and envelope.kind != "heartbeat":
                    continue
            time_ns = item.time_ns
            run.append((topic, envelope, item.data))
            if envelope.cycle and envelope.kind != "cycle":
                continue
            if opened:
                batch += run
            else:
                expected = expected if self._take(writer, run) == len(run) else -1
            run = []
        if writer is not None and not opened:
            self.clock.set(time_ns)
            self._open(server, writer)
        self._submit(server, batch, expected)
        with self._changed:
            self.ended = True
            self._changed.notify_all()
        log.info("replay.ended", **self.status())

    def _is_played(self, keyframe: Keyframe, expected: int) -> bool:
        """Whether the play is past this keyframe anyway; count the hole that it closes if not."""
        if keyframe.head.epoch != self._recorded_epoch or expected < 0:
            return False
        if keyframe.head.as_of < expected:
            return True
        self.holes += 1
        return False

    def _is_later(self, time_ns: int, before_ns: int, waiting: int) -> bool:
        return (
            not waiting or waiting >= BATCH or (self._speed != MAX_SPEED and time_ns > before_ns + EARLY_NS)
        )

    def _take(self, writer: Writer, batch: list[_Entry]) -> int:
        """Apply messages; return how many: all, or those before one (or its commit) that cannot be read."""
        keep_bytes, taken = writer.state.keep_bytes, 0
        run: list[tuple[str, Envelope | Quotes]] = []
        for count, (topic, message, data) in enumerate(batch, 1):
            if isinstance(message, Envelope) and message.kind == "heartbeat":
                self._heartbeat(writer, message)
            else:
                run.append((topic, decode(data)[1] if keep_bytes else message))
                if message.cycle and message.kind != "cycle":
                    continue
                try:
                    writer.relay(run)
                except DecodeError as error:
                    self.holes += 1
                    log.warning("replay.undecodable", seq=message.seq, error=str(error))
                    return taken
                self.records += sum([len(message.records) for _, message in run])
                run = []
            taken = count
        return taken

    def _load(self, keyframe: Keyframe) -> Writer:
        """Return a writer that stands where the keyframe does; `_open` gives it its epoch."""
        head = keyframe.head
        writer = Writer(self.epoch, "replay")
        writer.state.expect_fields(head.fields)
        for topic, last in head.streams.items():
            writer.state.stream(topic).last = last
        for chunk in keyframe.decoded():
            writer.state.put_chunk(chunk)
        writer.state.seq = head.as_of
        writer.state.set_cycle(head.cycle, head.ages)
        self._recorded_epoch = head.epoch
        return writer

    def _open(self, server: FeedServer, writer: Writer) -> None:
        """Make this the state that is played: a new epoch, unless it goes on from the one before."""
        before = self._writer
        if (
            before is None
            or self._recorded_epoch != self._state_recorded_epoch
            or writer.state.seq < before.state.seq
        ):
            self.epoch += 1
        writer.state.epoch = self.epoch
        self._writer = writer
        self._state_recorded_epoch = self._recorded_epoch
        self._run_there(server, lambda bus: bus.open(writer))

    def _submit(self, server: FeedServer, batch: list[_Entry], expected: int) -> int:
        """Have the bus thread apply and send these, and wait until it has.

        Return the number `expected` next, -1 if one could not be read: then only a keyframe goes on.
        """
        writer, taken = self._writer, 0
        if not batch or writer is None:
            return expected

        def send(bus: FeedServer) -> None:
            nonlocal taken
            with writer.state.lock:
                taken = self._take(writer, batch)
                self.clock.set(batch[-1][1].published_ns)
            frames = [
                renumbered(data, writer.state.epoch)
                for _, message, data in batch[:taken]
                if message.kind != "heartbeat"
            ]
            self.messages += len(frames)
            bus.send(frames)

        self._run_there(server, send)
        return expected if taken == len(batch) else -1

    def _run_there(self, server: FeedServer, job: Callable[[FeedServer], None]) -> None:
        done = threading.Event()

        def run(bus: FeedServer) -> None:
            job(bus)
            done.set()

        server.submit(run)
        while not done.wait(0.1):
            if self._stopping:
                return

    def _heartbeat(self, writer: Writer, envelope: Envelope) -> None:
        """Take over the publisher's account of itself, and compare its digests with ours."""
        try:
            heartbeat = decode_map(envelope.records[0], Heartbeat)
        except (DecodeError, IndexError):
            return
        self._health = heartbeat.publisher
        if heartbeat.seq != writer.state.seq:
            return
        for topic, position in heartbeat.streams.items():
            self.checked += 1
            if topic not in writer.state.streams or writer.state.position(topic) != position:
                self.mismatches += 1
                log.error("replay.digest_differs", topic=topic, seq=heartbeat.seq)

    def _wait(self, time_ns: int) -> bool:
        """Wait until `time_ns` of the recording is due; return False if there is something else to do."""
        with self._changed:
            while not self._stopping and self._seek_ns is None:
                if not self._paused:
                    if self._speed == MAX_SPEED:
                        return True
                    wall_ns = self.clock.monotonic_ns()
                    if self._anchor is None:
                        self._anchor = (wall_ns, max(self.clock.now_ns(), 0))
                    wall0, virtual0 = self._anchor
                    now_ns = virtual0 + int((wall_ns - wall0) * self._speed)
                    left_s = (time_ns - now_ns) / self._speed / 1e9
                    self.clock.set(max(self.clock.now_ns(), min(now_ns, time_ns)))
                    if left_s <= 0:
                        return True
                    self._changed.wait(min(left_s, 0.1))
                else:
                    self._changed.wait()
            return False


def renumbered(data: bytes, epoch: int) -> bytes:
    """Return a recorded frame with another epoch."""
    at = data.index(b"\x00") + 1 + _EPOCH_AT
    if data[at - 3 : at] == b"\x99\x01\xcf":
        return b"".join((data[:at], epoch.to_bytes(8, "big"), data[at + 8 :]))
    topic, envelope = decode(data)
    return encode(topic, msgspec.structs.replace(envelope, version=VERSION, epoch=epoch))


def _decoded(frame: Frame) -> tuple[str, Envelope | Quotes | None]:
    try:
        return decode_at_once(frame.data)
    except DecodeError:
        return "", None


def _speed(value: object) -> float:
    if value == "max":
        return MAX_SPEED
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 10_000:
        raise Refusal("bad_request", f"speed: got {value!r:.50}, expected a number up to 10000, or max")
    return float(value)


def serve(context: zmq.Context[Any], feed: str, state: str, player: Player, stop: Stop) -> None:
    """Play on these endpoints until `stop`.

    Raises:
        StartupError: an endpoint is taken.
    """
    server = FeedServer(context, feed, state, player.clock, player.health, lossless=True)
    server.answers.add("replay", player.control, "action", "to_ms", "speed")
    thread = threading.Thread(target=player.run, args=(server,), name="player")
    thread.start()
    try:
        server.serve(stop)
    finally:
        player.stop()
        thread.join()


def messages(recording: Recording) -> Iterator[tuple[str, Envelope]]:
    """Yield (topic, envelope) of every message in the recording, once, in order."""
    seen = (0, 0)
    for item in recording.play():
        if not isinstance(item, Frame):
            continue
        try:
            topic, envelope = decode(item.data)
        except DecodeError:
            continue
        if envelope.kind != "heartbeat" and (envelope.epoch, envelope.seq) > seen:
            seen = (envelope.epoch, envelope.seq)
            yield topic, envelope
