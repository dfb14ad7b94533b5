"""Recorder: follows the feed like any other replica and writes what it hears to segments. docs/recording.md.

There are two threads. The replica's hands over each frame and never waits for the disk: above
MAX_QUEUED_BYTES it drops frames, and says so. The writer's takes them, and adds a keyframe at the start,
after every hole, and otherwise as its cost allows. A keyframe is the state at some position S; the frames
through S precede it, and those after S that were written before it are written again after it. So reading can
begin at any keyframe, and a reader that plays on through it misses nothing, even where a new segment begins
with it.
"""

import contextlib
import fcntl
import hashlib
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, Final

import structlog
import zmq

from bus.clock import Clock, Rng
from bus.process.lifecycle import Stop
from bus.protocol.answers import Answers
from bus.protocol.join import Action, Tell
from bus.protocol.memory import Packed
from bus.protocol.messages import Header, Quotes, decode_map, encode_map
from bus.replica import Replica
from bus.threads import Owner
from markets.errors import StartupError

from .certificate import SegmentHead
from .file import CHUNK_MS, RecordingWriter, head_of, segment_path, segments_of

log = structlog.get_logger()

KEYFRAME_MS: Final = 60_000
"""The least time between two keyframes, unless there is a hole."""

KEYFRAME_MAX_MS: Final = 600_000
"""The most time between two: to reach a moment in between, up to this much has to be applied."""

KEYFRAME_MESSAGES: Final = 100_000
"""After this many messages another is due, too."""

SEGMENT_MS: Final = 3_600_000
SEGMENT_BYTES: Final = 256 * 1_048_576
"""A segment ends at the next keyframe after this long, or after this many bytes."""

BUDGET_SHARE: Final = 8
"""A segment is at most this share of the budget, so that dropping one does not empty the recording."""

MAX_QUEUED_BYTES: Final = 64 * 1_048_576
MAX_TAIL_BYTES: Final = 64 * 1_048_576
"""How much of what was written is kept, to be repeated after the next keyframe, while the state stands
still."""

LAG_WARN_BYTES: Final = 8 * 1_048_576
SAY_EVERY_MS: Final = 10_000

_Heard = tuple[bytes, int, int, int]
"""(frame, epoch, seq, published_ns)."""


class Folder:
    """The folder of a recording: makes the segments, one at a time, and drops the oldest.

    Args:
        budget: most bytes of all segments together, None for no limit.

    Attributes:
        writer: that of the segment being written; None before the first and after the last.
        dropped: segments dropped to stay within the budget.

    Raises:
        StartupError: it cannot be made or written to, is not the folder of a recording, or another recorder
            uses it.
    """

    def __init__(self, path: Path, rng: Rng, budget: int | None = None) -> None:
        self.path = path
        self.writer: RecordingWriter | None = None
        self.dropped = 0
        self.segment_bytes = SEGMENT_BYTES if budget is None else min(SEGMENT_BYTES, budget // BUDGET_SHARE)
        self._rng = rng
        self._budget = budget
        self._file: IO[bytes] | None = None
        self._said_small = False
        self._made = False
        self._lock = -1
        self._take()

    def _take(self) -> None:
        """Make the folder if it does not exist, and claim it."""
        path = self.path
        try:
            if not path.is_dir():
                path.mkdir(mode=0o700)
                self._made = True
            self._lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileExistsError:
            raise StartupError(f"{path}: exists, and is no folder: a recording is a folder") from None
        except OSError as error:
            raise StartupError(f"{path}: cannot record into it: {error.strerror}") from error
        try:
            self._check()
        except StartupError:
            os.close(self._lock)
            self._lock = -1
            raise

    def _check(self) -> None:
        path = self.path
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartupError(f"{path}: another recorder records into it") from None
        if not os.access(path, os.W_OK | os.X_OK) or os.statvfs(path).f_flag & os.ST_RDONLY:
            raise StartupError(f"{path}: cannot record into it: it is read-only")
        self._numbers = segments_of(path)
        if not self._numbers and any(path.iterdir()):
            raise StartupError(f"{path}: exists, and has other things than a recording in it")
        self._sizes = {number: segment_path(path, number).stat().st_size for number in self._numbers}
        self._head: SegmentHead | None = None

    @property
    def size(self) -> int:
        """Bytes of the segment being written."""
        return self._file.tell() if self._file is not None else 0

    def begin(self) -> RecordingWriter:
        """Begin the next segment.

        Raises:
            OSError: it cannot be made.
        """
        continues, before = self.writer is not None, self._head
        previous = self.end() if continues else self._hash_of_last()
        for number in reversed(self._numbers):
            # One that a recorder had just begun when it was killed may be empty.
            before = before or head_of(segment_path(self.path, number))
        number = self._numbers[-1] + 1 if self._numbers else 1
        recording = before.recording if before is not None else f"{self._rng.getrandbits(128):032x}"
        self._head = SegmentHead(recording, number, previous, continues)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = os.fdopen(os.open(segment_path(self.path, number), flags, 0o600), "wb")
        self._numbers.append(number)
        self.writer = RecordingWriter(self._file, self._head)
        return self.writer

    def end(self) -> str:
        """End the segment being written; return its hash."""
        assert self.writer is not None
        assert self._file is not None
        self.writer.finish()
        hash_ = self.writer.sha256
        self._sizes[self._numbers[-1]] = self.size
        self._file.close()
        self.writer = self._file = None
        return hash_

    def drop(self) -> None:
        """Drop the oldest segments until all fit the budget; the one being written stays."""
        if self._budget is None or self.writer is None:
            return
        while (total := sum(self._sizes.values()) + self.size) > self._budget and len(self._numbers) > 1:
            oldest = self._numbers.pop(0)
            self._sizes.pop(oldest, None)
            segment_path(self.path, oldest).unlink(missing_ok=True)
            self.dropped += 1
        if total > self._budget and not self._said_small:
            self._said_small = True
            text = "the budget is smaller than one segment: no other than the one being written is kept"
            log.warning("recorder.budget_too_small", problem=text, budget=self._budget, needed=total)

    def gone(self) -> bool:
        """Tell whether the segment being written, or its folder, has been deleted."""
        if self._file is None:
            return False
        try:
            found = segment_path(self.path, self._numbers[-1]).stat()
        except OSError:
            return True
        return found.st_ino != os.fstat(self._file.fileno()).st_ino

    def again(self) -> None:
        """Start over after what was written is gone: another recording, in the same place.

        Raises:
            StartupError: as for the class.
        """
        self.close(finish=False)
        self._take()

    def close(self, *, finish: bool = True, keep: bool = True) -> None:
        """Release the folder.

        Args:
            finish: whether the segment being written can be ended.
            keep: whether anything in the last segment is of use; if not, it is removed.
        """
        if self.writer is not None and finish:
            self.end()
        if self._file is not None:
            with contextlib.suppress(OSError):  # a full disk refuses what was not flushed, too
                self._file.close()
            if not keep:
                segment_path(self.path, self._numbers[-1]).unlink(missing_ok=True)
        if not keep and self._made:
            with contextlib.suppress(OSError):
                self.path.rmdir()
        self.writer = self._file = None
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1

    def _hash_of_last(self) -> str:
        if not self._numbers:
            return ""
        with segment_path(self.path, self._numbers[-1]).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


class Recorder:
    """Records a feed into a folder until `stop`: a new one, or one with a recording to be continued.

    Args:
        budget: most bytes of all segments together, None for no limit.

    Attributes:
        frames, keyframes, dropped: how much was written, and how many frames were lost to a slow disk.

    Raises:
        StartupError: as for Folder: a recording is never overwritten.
    """

    def __init__(
        self,
        context: zmq.Context[Any],
        feed: str,
        snapshots: str,
        path: Path,
        clock: Clock,
        rng: Rng,
        budget: int | None = None,
    ) -> None:
        self._folder = Folder(path, rng, budget)
        self._clock = clock
        self._replica = Replica(
            context,
            feed,
            snapshots,
            clock,
            rng,
            listener=self._listen,
            tap=self._hear,
            keeping=Packed(),  # its keyframes pass everything on
        )
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
        self._keyframe_ms = self._segment_ms = 0
        self._keyframe_end = self._keyframe_bytes = self._keyframe_frames = 0
        self._written = self._heard_ns = 0
        self.frames = 0
        self.keyframes = 0
        self.dropped = 0

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._written + self._folder.size

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
        """Record until `stop`; if nothing was heard, nothing is left behind. Call once.

        Args:
            progress: called four times a second.

        Raises:
            OSError: the disk is full or broken; what was written before stays readable.
            StartupError: the folder is gone and cannot be made again.
        """
        self._writer_thread.take()
        self._replica.start()
        finish = False
        try:
            while not stop.wait(CHUNK_MS / 2_000):
                self._turn(self._clock.monotonic_ns() // 1_000_000)
                progress()
            # What was heard since the last turn belongs to it, even if it is the first keyframe.
            self._turn(self._clock.monotonic_ns() // 1_000_000)
            finish = True
        finally:
            self._replica.stop()
            self._folder.close(finish=finish, keep=self.keyframes > 0)

    def _turn(self, now_ms: int) -> None:
        folder = self._folder
        if folder.gone():
            text = "what was recorded has been deleted: a new recording begins in its place"
            log.error("recorder.deleted", problem=text, folder=str(folder.path))
            folder.again()
            with self._ready:
                self._hole = True
        self._take()
        if self._needs_keyframe(now_ms):
            self._keyframe(now_ms)
        if folder.writer is not None:
            folder.writer.flush()
            folder.drop()
        self._warn(now_ms)

    def _take(self, keyframe: tuple[int, int] | None = None) -> None:
        """Write what is queued; keep what a keyframe at this position, or the present state, lacks."""
        self._writer_thread.check()
        writer = self._folder.writer
        while True:
            with self._ready:
                batch = [self._queue.popleft() for _ in range(min(1_000, len(self._queue)))]
                self._queued_bytes -= sum(len(heard[0]) for heard in batch)
            if not batch:
                return
            for heard in batch:
                frame, epoch, seq, published_ns = heard
                self._heard_ns = max(self._heard_ns, published_ns)
                if writer is not None:
                    writer.frame(frame, published_ns, seq, epoch)
                    self.frames += 1
                self._tail.append(heard)
                self._tail_bytes += len(frame)
            held = keyframe or self._position()
            while self._tail and (self._tail[0][1:3] <= held or self._tail_bytes > MAX_TAIL_BYTES):
                frame, epoch, seq, _ = self._tail.popleft()
                self._tail_bytes -= len(frame)
                if (epoch, seq) > held:
                    # The state has long stood still. No keyframe may be older than what is forgotten here.
                    with self._ready:
                        self._hole, self._dropped_at = True, max(self._dropped_at, (epoch, seq))

    def _position(self) -> tuple[int, int]:
        state = self._replica.state
        return state.epoch, state.seq

    def _is_due(self, now_ms: int) -> bool:
        """Tell whether a keyframe is due: they should cost no more than what lies between them."""
        since_ms = now_ms - self._keyframe_ms
        if since_ms < KEYFRAME_MS:
            return False
        said = self._folder.size - self._keyframe_end
        return (
            since_ms >= KEYFRAME_MAX_MS
            or said >= self._keyframe_bytes
            or self.frames - self._keyframe_frames >= KEYFRAME_MESSAGES
            or self._is_full(now_ms)
        )

    def _is_full(self, now_ms: int) -> bool:
        return now_ms - self._segment_ms >= SEGMENT_MS or self._folder.size >= self._folder.segment_bytes

    def _needs_keyframe(self, now_ms: int) -> bool:
        due = self._is_due(now_ms)
        with self._ready:
            # What was dropped in the middle of a commit is in no state until the commit ends.
            needed = (
                (self._hole or due) and self._replica.status().live and self._position() >= self._dropped_at
            )
            if needed:
                self._hole = False
            return needed

    def _keyframe(self, now_ms: int) -> None:
        """Write the state, if it is due, at the beginning of a new segment."""
        answer = self._answers.answer(encode_map({"op": "snapshot", "id": 0}), self._clock.now_ms())
        head = decode_map(answer[0], dict[str, Any])
        if not head["ok"]:
            with self._ready:
                self._hole = True
            return
        # Everything in it was heard before: written ahead of it, so that a reader that plays on misses
        # nothing.
        self._take((head["epoch"], head["as_of"]))
        writer = self._folder.writer
        if writer is None or (self._is_full(now_ms) and now_ms - self._segment_ms >= KEYFRAME_MS):
            self._written += self._folder.size
            writer = self._folder.begin()
            self._segment_ms = now_ms
        before = self._folder.size
        writer.keyframe(answer, self._heard_ns)
        self._keyframe_ms, self._keyframe_end = now_ms, self._folder.size
        self._keyframe_bytes, self._keyframe_frames = self._keyframe_end - before, self.frames
        for frame, epoch, seq, published_ns in self._tail:
            writer.frame(frame, published_ns, seq, epoch)
        self.keyframes += 1

    def _warn(self, now_ms: int) -> None:
        with self._ready:
            queued, dropped = self._queued_bytes, self.dropped
        if (queued > LAG_WARN_BYTES or dropped) and now_ms - self._said_ms >= SAY_EVERY_MS:
            self._said_ms = now_ms
            log.warning("recorder.behind", queued_bytes=queued, dropped=dropped)
