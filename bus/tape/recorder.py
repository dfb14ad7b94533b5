"""Recorder: follows the feed like anybody else and writes what it hears to a file. docs/recording.md.

Two threads. The replica's hands over each frame and never waits for the disk: above MAX_QUEUED_BYTES it
drops, and says so. The writer's takes them, and adds a keyframe at the start, every KEYFRAME_MS, and after
every hole. A keyframe is the state at some position S; the frames through S stand before it, those above S
that were written before it are written again behind it, so that reading can begin at any keyframe, and who
plays on through it misses nothing.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import structlog
import zmq

from bus.clock import Clock, Rng
from bus.process.lifecycle import Stop
from bus.protocol.answers import Answers
from bus.protocol.join import Action, Tell
from bus.protocol.messages import Header, Quotes, decode_map, encode_map
from bus.replica import Replica
from bus.threads import Owner
from markets.errors import StartupError

from .file import CHUNK_MS, RecordingWriter

log = structlog.get_logger()

KEYFRAME_MS: Final = 60_000
MAX_QUEUED_BYTES: Final = 64 * 1_048_576
MAX_TAIL_BYTES: Final = 64 * 1_048_576
"""So much of what was written is kept for behind the next keyframe, while the state stands still."""

LAG_WARN_BYTES: Final = 8 * 1_048_576
SAY_EVERY_MS: Final = 10_000

_Heard = tuple[bytes, int, int, int]
"""(frame, epoch, seq, published_ns)."""


class Recorder:
    """Records a feed into `path`, which must not exist, until `stop`.

    Attributes:
        frames, keyframes, dropped: counts of what was written, and of frames lost to a slow disk.

    Raises:
        StartupError: the file cannot be made, or exists: a recording is never overwritten.
    """

    def __init__(
        self, context: zmq.Context[Any], feed: str, snapshots: str, path: Path, clock: Clock, rng: Rng
    ) -> None:
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StartupError(f"{path}: cannot record into it: {error.strerror}") from error
        self._file = os.fdopen(fd, "wb")
        self._clock = clock
        self._replica = Replica(context, feed, snapshots, clock, rng, listener=self._listen, tap=self._hear)
        self._answers = Answers(lambda: self._replica.state)
        self._replica_thread = Owner("what a recorder hears")
        self._writer_thread = Owner("what a recorder writes")
        self._ready = threading.Condition()
        self._queue: deque[_Heard] = deque()
        self._queued_bytes = 0
        self._hole = True
        self._dropped_at = (0, 0)
        self._tail: deque[_Heard] = deque()
        self._tail_bytes = 0
        self._said_ms = 0
        self._path = path
        self.frames = 0
        self.keyframes = 0
        self.dropped = 0

    @property
    def size(self) -> int:
        """Bytes in the file so far."""
        return self._file.tell()

    # -- the replica's thread

    def _hear(self, frame: bytes, header: Header | Quotes) -> None:
        self._replica_thread.check()
        with self._ready:
            if self._queued_bytes > MAX_QUEUED_BYTES:
                self.dropped += 1
                self._hole = True
                self._dropped_at = (header.epoch, header.seq)
                return
            self._queue.append((frame, header.epoch, header.seq, header.published_ns))
            self._queued_bytes += len(frame)

    def _listen(self, actions: Sequence[Action]) -> None:
        self._replica_thread.check()
        if any(isinstance(action, Tell) and action.event in ("live", "resynced") for action in actions):
            with self._ready:
                self._hole = True
                self._ready.notify()

    # -- the writer's thread

    def run(self, stop: Stop, progress: Callable[[], None] = lambda: None) -> None:
        """Record until `stop`; ends with an index, or without a file if nothing was heard. Call once.

        Args:
            progress: called twice a second.

        Raises:
            OSError: the disk is full or broken; what was written before stays readable.
        """
        self._writer_thread.take()
        self._replica.start()
        try:
            with self._file:
                writer = RecordingWriter(self._file)
                keyframe_ms = 0
                while not stop.wait(CHUNK_MS / 2_000):
                    now_ms = self._clock.monotonic_ns() // 1_000_000
                    self._take(writer)
                    if self._needs_keyframe(now_ms - keyframe_ms >= KEYFRAME_MS) and self._keyframe(writer):
                        keyframe_ms = now_ms
                    writer.flush()
                    self._warn(now_ms)
                    progress()
                self._take(writer)
                writer.finish()
        finally:
            self._replica.stop()
            if not self.keyframes:
                # Nothing in it can be played, and it would be in the way of the next try.
                self._path.unlink(missing_ok=True)

    def _take(self, writer: RecordingWriter, keyframe: tuple[int, int] | None = None) -> None:
        """Write what is queued; keep what no keyframe at this position, or no state now, has."""
        self._writer_thread.check()
        while True:
            with self._ready:
                batch = [self._queue.popleft() for _ in range(min(1_000, len(self._queue)))]
                self._queued_bytes -= sum(len(heard[0]) for heard in batch)
            if not batch:
                return
            for heard in batch:
                frame, _, seq, published_ns = heard
                if self.keyframes:
                    writer.frame(frame, published_ns, seq)
                    self.frames += 1
                self._tail.append(heard)
                self._tail_bytes += len(frame)
            held = keyframe or self._position()
            while self._tail and (self._tail[0][1:3] <= held or self._tail_bytes > MAX_TAIL_BYTES):
                frame, epoch, seq, _ = self._tail.popleft()
                self._tail_bytes -= len(frame)
                if (epoch, seq) > held:
                    # The state has long stood still. No keyframe may be of before what is forgotten here.
                    with self._ready:
                        self._hole, self._dropped_at = True, max(self._dropped_at, (epoch, seq))

    def _position(self) -> tuple[int, int]:
        state = self._replica.state
        return state.epoch, state.seq

    def _needs_keyframe(self, due: bool) -> bool:
        with self._ready:
            # What was dropped in the middle of a commit is in no state before its end.
            needed = (
                (self._hole or due) and self._replica.status().live and self._position() >= self._dropped_at
            )
            if needed:
                self._hole = False
            return needed

    def _keyframe(self, writer: RecordingWriter) -> bool:
        answer = self._answers.answer(encode_map({"op": "snapshot", "id": 0}), self._clock.now_ms())
        head = decode_map(answer[0], dict[str, Any])
        if not head["ok"]:
            return False
        # All that is in it was heard before: written in front of it, so that who plays on misses nothing.
        self._take(writer, (head["epoch"], head["as_of"]))
        writer.keyframe(answer, self._replica.published_ns)
        for frame, _, seq, published_ns in self._tail:
            writer.frame(frame, published_ns, seq)
        self.keyframes += 1
        return True

    def _warn(self, now_ms: int) -> None:
        with self._ready:
            queued, dropped = self._queued_bytes, self.dropped
        if (queued > LAG_WARN_BYTES or dropped) and now_ms - self._said_ms >= SAY_EVERY_MS:
            self._said_ms = now_ms
            log.warning("recorder.behind", queued_bytes=queued, dropped=dropped)
