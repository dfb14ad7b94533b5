"""Prepared bodies, kept for whoever asks next. No I/O; any thread."""

import math
import threading
from typing import Final

import msgspec

from .body import Prepared
from .edition import Edition, Query
from .trade_api import Listing

SLOW_S: Final = 0.02
"""A body that took longer than this to prepare serves a while longer, until its successor is ready."""

SHARE: Final = 10
"""How much longer it serves, in multiples of the time it took to prepare."""

MAX_REUSE_S: Final = 2.0
"""The longest that it continues to serve."""

KEPT_S: Final = 10.0
"""How long a prepared body is kept."""

KEPT_BYTES: Final = 256 * 1_048_576
"""The most that prepared bodies may take; those that nobody has asked for here for longest give way."""

MAX_KNOWN: Final = 4_096
"""Of how many questions it is remembered how late an edition may have been given out."""

_LATEST: Final = 2
"""How many are kept of each question: until the next edition is shown, the one before answers."""

Key = tuple[Query | Listing, str]
"""A question, and an encoding."""


class Kept(msgspec.Struct):
    """A prepared body, its edition, when it was ready (by a steady clock) and how long it took.

    `asked_s`: when the snapshot server itself was last asked for it.
    """

    edition: Edition
    body: Prepared
    ready_s: float
    took_s: float
    asked_s: float = -math.inf

    @property
    def slow(self) -> bool:
        """Whether it took long to prepare."""
        return self.took_s > SLOW_S

    def serves(self, edition: Edition, now_s: float) -> bool:
        """Whether it may answer for `edition` without making a successor."""
        if self.edition is edition:
            return True
        return self.slow and now_s - self.ready_s < min(MAX_REUSE_S, SHARE * self.took_s)

    def lingers(self, now_s: float) -> bool:
        """Whether it may still answer for a later edition: until its successor is made, which takes long."""
        return self.slow and now_s - self.ready_s < KEPT_S


class Bodies:
    """The bodies kept, by question.

    Some are made in the event loop's time, others with an edition before it is shown, and they come in any
    order. None is given out for an edition earlier than its own, and none in place of a later one that may
    have been given out: no reader is taken back in time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[Key, tuple[Kept, ...]] = {}
        """Of later editions last; the questions whose bodies came last come last."""
        self._latest: dict[Key, int] = {}
        """The number of the latest edition that there was a body of, also if it is not kept any more."""

    def put(self, key: Key, kept: Kept, *, shown: bool = False) -> None:
        """Keep a body, in place of another of its edition.

        `shown`: that edition is shown already, so earlier ones are not needed any more.
        """
        number = kept.edition.number
        with self._lock:
            former = self._kept.pop(key, ())
            latest = self._latest.pop(key, 0)
            self._latest[key] = max(number, latest)
            if len(self._latest) > MAX_KNOWN:
                del self._latest[next(iter(self._latest))]
            if not former and number < latest:
                return
            kept.asked_s = max(each.asked_s for each in (kept, *former))
            others = [
                other
                for other in former
                if other.edition.number > number or (other.edition.number < number and not shown)
            ]
            self._kept[key] = tuple(sorted((*others, kept), key=_number))[-_LATEST:]
            total = sum(map(_size, self._kept.values()))
            while total > KEPT_BYTES and len(self._kept) > 1:
                unasked = min(self._kept, key=lambda key: self._kept[key][-1].asked_s)
                total -= _size(self._kept.pop(unasked))

    def get(self, key: Key, number: int) -> Kept | None:
        """Return the latest body of no later edition than that with a number."""
        with self._lock:
            kept = self._kept.get(key, ())
        return next((each for each in reversed(kept) if each.edition.number <= number), None)

    def hot(self, now_s: float) -> list[tuple[Key, Kept]]:
        """Return those that were asked for lately, the one asked for last first."""
        with self._lock:
            latest = [(key, kept[-1]) for key, kept in self._kept.items()]
        asked = [entry for entry in latest if now_s - entry[1].asked_s < KEPT_S]
        return sorted(asked, key=lambda entry: -entry[1].asked_s)

    def expire(self, now_s: float) -> None:
        """Release bodies and their editions: a catalogue that nobody asks for any more is not kept."""
        with self._lock:
            for key, kept in list(self._kept.items()):
                if now_s - kept[-1].ready_s >= KEPT_S:
                    del self._kept[key]


def _number(kept: Kept) -> int:
    return kept.edition.number


def _size(kept: tuple[Kept, ...]) -> int:
    return sum(each.body.length for each in kept)
