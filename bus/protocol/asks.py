"""Asks: when a replica asks for a snapshot, and when it asks again. One question at a time.

An answer that does not come, refuses, or is of no use is asked for again, after a delay that grows up to a
bound, with jitter; repairs begin at least REPAIR_EVERY_MS apart; whole snapshots are limited by the time they
take. What was lost is asked for soon after somebody can provide it: within REFUSED_MAX_MS and half of it.
"""

import random
from typing import Final

import msgspec

ASK_TIMEOUT_MS: Final = 2_000
WHOLE_TIMEOUT_MS: Final = 15_000
"""A snapshot of 130,000 markets takes a busy server seconds, and a repeated question makes it do so twice. A
server that is gone, or hangs, is found out by its connection long before."""

ASK_TIMEOUT_MAX_MS: Final = 16_000
BEHIND_RETRY_MS: Final = 50
RETRY_MAX_MS: Final = 400
REFUSED_MAX_MS: Final = 100
"""The same after an error, which costs next to nothing: a server that is about to be ready."""

RARELY_MS: Final = 4_000
"""The same where asking sooner would not help: an epoch that is not open, answers that cannot be read."""

PAST: Final = 4
"""How many abandoned questions are remembered: a late answer is still an answer."""

WHOLES: Final = 3
WHOLES_WINDOW_MS: Final = 30_000
"""How many whole snapshots, in how long, may be fetched without delay."""

WHOLE_SHARE: Final = 8
"""The next one begins this many times later than the last one took: a publisher that keeps restarting is
followed as soon as its catalogue allows, without making every replica fetch everything all the time."""

REPAIR_EVERY_MS: Final = 100


class Ask(msgspec.Struct, frozen=True):
    """Send op `snapshot`. `since` None asks for everything; else for streams with a later number, and `also`.

    `spare`: nobody answered the last one in time, so ask another server that can answer, if there is one.
    """

    id: int
    epoch: int
    since: int | None
    also: tuple[str, ...]
    spare: bool = False


class Asks:
    """The question that is open, or when the next one is due.

    Args:
        rng: jitter.
        now_ms: any steady clock, the same one passed to the methods. The first question is due now.

    Attributes:
        open: the question whose answer is awaited.
        due_ms: when to ask; None while there is nothing to ask.
        also: topics that the next answer must bring even if their numbers have not changed.
        asked: how many were asked since the replica was last live.
    """

    def __init__(self, rng: random.Random, now_ms: int) -> None:
        self.open: Ask | None = None
        self.due_ms: int | None = now_ms
        self.also: tuple[str, ...] = ()
        self.asked = 0
        self._past: list[Ask] = []
        self._spare = False
        self._rng = rng
        self._deadline_ms = 0
        self._attempt = 0
        self._next_id = 1
        self._wholes_ms: list[int] = []
        self._asked_ms = now_ms
        self._whole_took_ms = 0
        self._repaired_ms = now_ms - REPAIR_EVERY_MS

    def due(self, now_ms: int) -> bool:
        """Tell whether to ask now."""
        return self.open is None and self.due_ms is not None and now_ms >= self.due_ms

    def ask(self, epoch: int, since: int | None, now_ms: int) -> Ask | None:
        """Return the question to send; None if it must wait after many whole snapshots."""
        if since is None:
            self._wholes_ms = [at for at in self._wholes_ms if at > now_ms - WHOLES_WINDOW_MS]
            if len(self._wholes_ms) >= WHOLES:
                pause_ms = min(max(BEHIND_RETRY_MS, self._whole_took_ms) * WHOLE_SHARE, WHOLES_WINDOW_MS)
                if now_ms < self._wholes_ms[-1] + pause_ms:
                    self.due_ms = self._wholes_ms[-1] + pause_ms + self._rng.randrange(pause_ms // 4)
                    return None
            self._wholes_ms.append(now_ms)
        base = WHOLE_TIMEOUT_MS if since is None else ASK_TIMEOUT_MS
        timeout = min(base * 2 ** min(self._attempt, 6), ASK_TIMEOUT_MAX_MS)
        self.open = Ask(self._next_id, epoch, since, self.also, self._spare)
        self._asked_ms = now_ms
        self.asked += 1
        self._next_id += 1
        self._deadline_ms = now_ms + timeout + self._rng.randrange(timeout // 4)
        self.due_ms = None
        return self.open

    def answered(self, id_: int, now_ms: int) -> Ask | None:
        """Return the question that an answer belongs to, no longer open; None if that is of no use any more.

        The answer to an older question is as good if the open one asks for the same.
        """
        ask = self.open
        if ask is None:
            return None
        wanted = ask.epoch, ask.since, ask.also
        if ask.id != id_ and not any(
            past.id == id_ and (past.epoch, past.since, past.also) == wanted for past in self._past
        ):
            return None
        if ask.since is None:
            self._whole_took_ms = now_ms - self._asked_ms
        self.open = None
        self._past = []
        self._spare = False
        return ask

    def refused(self, id_: int, retry_ms: int | None, now_ms: int, most_ms: int = REFUSED_MAX_MS) -> None:
        """Note an error as the answer: ask again later, in `retry_ms` if the server says so."""
        if self.open is not None and self.open.id == id_:
            self._forget()
            self.later(now_ms, retry_ms or BEHIND_RETRY_MS, most_ms)

    def expire(self, now_ms: int) -> None:
        """Give up the open question if its time is over: another is due."""
        if self.open is not None and now_ms >= self._deadline_ms:
            self._past = [*self._past[1 - PAST :], self.open]
            self._spare = not self._spare
            self._forget()
            self._attempt += 1
            self.due_ms = now_ms

    def later(self, now_ms: int, retry_ms: int = BEHIND_RETRY_MS, most_ms: int = RETRY_MAX_MS) -> None:
        """Ask again after a delay that grows with each attempt, up to `most_ms` or `retry_ms`."""
        wait: int = min(retry_ms * 2 ** min(self._attempt, 8), max(retry_ms, most_ms))
        self._attempt += 1
        self.due_ms = now_ms + wait + self._rng.randrange(wait // 2 + 1)

    def later_if_idle(self, now_ms: int) -> None:
        """Ask in a while, unless a question is open or due."""
        if self.open is None and self.due_ms is None:
            self.later(now_ms)

    def repair(self, now_ms: int) -> None:
        """Have a repair fetched, soon."""
        # A line that keeps losing messages must not make its server answer all the time.
        self.open = None
        self.due_ms = self._repaired_ms = max(now_ms, self._repaired_ms + REPAIR_EVERY_MS)
        self._attempt = 0
        self._past = []

    def hurry(self, now_ms: int) -> None:
        """Give up the open question: another is due now."""
        self.open = None
        self.due_ms = now_ms

    def rest(self) -> None:
        """Ask nothing more: the replica is live."""
        self.due_ms = None
        self._attempt = 0
        self.asked = 0
        self._past = []

    def begin(self) -> None:
        """Begin a new epoch: pending repairs are void, and the next question counts as a first one again."""
        self.also = ()
        self._attempt = 0

    def _forget(self) -> None:
        """Give up a question that brought nothing; a whole snapshot that never came does not count."""
        if self.open is not None and self.open.since is None:
            self._wholes_ms.pop()
        self.open = None
