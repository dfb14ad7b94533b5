"""Storing: what of the feed is stored, and which keyframe is due. Pure arithmetic on numbers.

Everything is stored at most once and in order. What a bridge missed shows as a hole in the numbers: from then
on every batch names it, until a repair or a whole keyframe contains what was missed. So a bridge that
continues after another was killed knows about it.
"""

from collections import deque
from typing import Final

KEYFRAME_MS: Final = 60_000
"""The least time between two whole keyframes, unless one is needed."""

KEYFRAME_MAX_MS: Final = 600_000
"""The most time between them: a joining replica has to go through up to this much again."""

WANTED_MS: Final = 10_000
"""The least time between keyframes that readers ask for, however many do."""

MAX_TAIL: Final = 200_000


class Storing:
    """What is stored of the feed, by the numbers.

    Args:
        epoch, seq, since: as in the last batch of the stream; 0, 0, None for an empty stream.
        keyframe: epoch of the last whole keyframe in the stream, 0 without one.

    Attributes:
        epoch, seq: all that was published up to here is stored, or was missed.
        since: of what was missed and is in no keyframe yet, the number before the first; None: nothing is.
    """

    def __init__(self, epoch: int, seq: int, since: int | None, keyframe: int) -> None:
        self.epoch = epoch
        self.seq = seq
        self.since = since
        self._missed_to = seq if since is not None else 0
        self._whole = keyframe != epoch or not epoch
        self._wanted = False
        self._keyframe_ms: int | None = None
        self._began_ms: int | None = None
        self._repaired = False
        self._keyframe_bytes = 0
        self._stored_bytes = 0
        self._tail: deque[tuple[int, int, int]] = deque()

    def hear(self, epoch: int, seq: int, followed: int, *, numbered: bool) -> bool:
        """Note a message; return whether it is to be stored.

        Args:
            followed: epoch that the bridge's own replica shows: an older one than ours is another history,
                and holds once the replica has gone over to it.
            numbered: whether it is one of the numbers, not a heartbeat that repeats the last.
        """
        if epoch < self.epoch and followed != epoch:
            return False
        if epoch != self.epoch:
            self.epoch, self.since, self._missed_to, self._whole = epoch, None, 0, True
            self.seq = seq - numbered  # nothing is missed that its first keyframe does not contain
            self._missed_to = self.seq
        if numbered and seq <= self.seq:
            return False
        if seq > self.seq + numbered:
            self.since = self.seq if self.since is None else self.since
            self._missed_to = seq - numbered
        self.seq = max(self.seq, seq)
        return True

    def joined(self, epoch: int, seq: int) -> None:
        """Note that the replica has rejoined, at this position.

        A position below ours means that our number never existed: one was damaged on its way, and all real
        ones since looked as if they had been stored.
        """
        if epoch == self.epoch and seq < self.seq:
            self.seq = self._missed_to = seq
            self.since, self._whole = None, True

    def doubt(self) -> None:
        """Note that a digest differed: everybody who heard what we did needs a keyframe."""
        self._whole = True

    def want(self) -> None:
        """Note that a reader wants a keyframe."""
        self._wanted = True

    def stored(self, number: int, size: int) -> None:
        """Note that a batch up to here is stored under this number of the stream."""
        self._stored_bytes += size
        self._tail.append((self.epoch, self.seq, number))
        if len(self._tail) > MAX_TAIL:
            self._tail.popleft()

    def begin(self, epoch: int, as_of: int, next_: int) -> int:
        """Return the number of the stream from which on what follows a state is stored.

        Args:
            next_: the number that is stored next.
        """
        tail = self._tail
        while tail and (tail[0][0] != epoch or tail[0][1] <= as_of):
            tail.popleft()
        return tail[0][2] if tail else next_

    def due(self, now_ms: int, epoch: int, as_of: int) -> str | None:
        """Return what is due of a state at this position: "keyframe", "repair", or None."""
        if not epoch or epoch != self.epoch or as_of < self._missed_to:
            return None
        if self._whole:
            return "keyframe"
        if self._began_ms is None:
            self._began_ms = now_ms  # the previous bridge's keyframe is good for a while
        if self._wanted and (self._keyframe_ms is None or now_ms - self._keyframe_ms >= WANTED_MS):
            return "keyframe"
        if self.since is not None:
            return "repair"
        since_ms = now_ms - (self._began_ms if self._keyframe_ms is None else self._keyframe_ms)
        paid = self._repaired or self._stored_bytes >= self._keyframe_bytes
        return "keyframe" if since_ms >= (KEYFRAME_MS if paid else KEYFRAME_MAX_MS) else None

    def made(self, what: str, epoch: int, as_of: int, size: int, now_ms: int) -> None:
        """Note that a keyframe or repair is stored."""
        if epoch != self.epoch:
            return
        if as_of >= self._missed_to:
            self.since = None
        if what == "keyframe":
            self._whole = self._wanted = self._repaired = False
            self._keyframe_ms, self._keyframe_bytes, self._stored_bytes = now_ms, size, 0
        else:
            self._repaired = True  # who joins would have to pass the hole: soon there is a keyframe after it
