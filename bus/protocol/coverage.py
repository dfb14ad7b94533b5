"""Coverage: what was heard of a feed without a hole. Pure arithmetic on message numbers.

One number says it all: from `covered_from` on, everything published that is wanted here has been heard. A
state that stands at `seq` misses nothing if ``covered_from <= seq + 1``: the comparison on which a join and a
repair rest (docs/protocol.md section 9).
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import msgspec

from .messages import Heartbeat, matches


class Coverage:
    """What a subscriber of everything has heard: a hole shows in `seq` alone.

    Attributes:
        covered_from: the smallest number from which on nothing is missing; None before anything was heard.
        heard: the largest number that is known to have been given out.
    """

    full: ClassVar[bool] = True
    """Whether it hears every number, so that the last one heard is a position of its own."""

    def __init__(self) -> None:
        self.covered_from: int | None = None
        self.heard = 0

    @property
    def only_announced(self) -> bool:
        """Whether nothing was heard but heartbeats of an epoch that was not open yet."""
        return self.covered_from is not None and not self.heard

    def joins(self, seq: int) -> bool:
        """Tell whether nothing is missing between a state that stands at `seq` and what was heard."""
        return self.covered_from is not None and self.covered_from <= seq + 1

    def hear(self, topic: str, seq: int, prev: int) -> bool:  # FilteredCoverage reads them
        """Note a message; return False if it was heard before, or comes too late to be of use."""
        if self.covered_from is None:
            self.covered_from = seq
        elif seq <= self.heard:
            return False
        elif seq != self.heard + 1:
            self.covered_from = seq
        self.heard = seq
        return True

    def beat(self, heartbeat: Heartbeat) -> bool:
        """Note a complete heartbeat; return False if its position has been passed already."""
        if self.covered_from is not None and heartbeat.seq < self.heard:
            return False
        if self.covered_from is None or heartbeat.seq > self.heard:
            self.covered_from = heartbeat.seq + 1
            self.heard = heartbeat.seq
        return True

    def lose(self, before: int) -> None:
        """Treat everything published before this number as not heard."""
        self.covered_from = max(self.covered_from or 0, before)

    def installed(self, streams: Mapping[str, int], as_of: int) -> None:
        """Note that the state holds these streams (topic -> last number) as they were at `as_of`."""


class FilteredCoverage(Coverage):
    """What a subscriber of some topics has heard.

    It detects a hole by the `prev` of each topic's messages, by their order, and by heartbeats; one at the
    end only by heartbeats.

    Args:
        prefixes: the topics wanted.
    """

    full = False

    def __init__(self, prefixes: Sequence[str]) -> None:
        super().__init__()
        self._prefixes = tuple(prefixes)
        self._confirmed = 0
        self._heard_on: dict[str, int] = {}

    def hear(self, topic: str, seq: int, prev: int) -> bool:
        last = self._heard_on.get(topic, 0)
        if seq <= last:
            return False
        if self.covered_from is None:
            self.covered_from = seq
        elif seq < self.heard:
            # Out of order: the run it belongs to may be closed already.
            self.covered_from = self.heard + 1
        elif prev > last and prev >= self.covered_from:
            self.covered_from = prev + 1
        self._heard_on[topic] = seq
        self.heard = max(self.heard, seq)
        return True

    def beat(self, heartbeat: Heartbeat) -> bool:
        seq = heartbeat.seq
        if self.covered_from is None:
            self.covered_from = seq + 1
        elif seq < self.heard:
            return False
        else:
            self._compare(heartbeat, self.covered_from)
        self.heard = max(self.heard, seq)
        self._confirmed = max(self._confirmed, seq)
        return True

    def installed(self, streams: Mapping[str, int], as_of: int) -> None:
        for topic, last in streams.items():
            if last > self._heard_on.get(topic, 0):
                self._heard_on[topic] = last
        self._confirmed = max(self._confirmed, as_of)

    def _compare(self, heartbeat: Heartbeat, covered: int) -> None:
        """Compare what was heard with what, according to a heartbeat, was sent."""
        if heartbeat.since > self._confirmed:
            covered = max(covered, heartbeat.since + 1)
        for topic, (last, *_) in heartbeat.streams.items():
            if last > self._heard_on.get(topic, 0) and last >= covered and matches(topic, self._prefixes):
                covered = last + 1
        self.covered_from = covered


class Parts:
    """Puts a heartbeat together from the parts it came in."""

    def __init__(self) -> None:
        self._held: dict[int, Heartbeat] = {}

    def add(self, part: Heartbeat) -> Heartbeat | None:
        """Return the heartbeat that this part completes, None if others are missing."""
        held = self._held
        if part.parts == 1:
            held.clear()
            return part
        if any(other.seq != part.seq or other.parts != part.parts for other in held.values()):
            held.clear()
        held[part.part] = part
        if len(held) < part.parts:
            return None
        streams: dict[str, tuple[int, int, int, int, int]] = {}
        since = 0
        for other in held.values():
            since = max(since, other.since)  # parts of two beats at one position: the narrower window counts
            streams.update(other.streams)
        held.clear()
        return msgspec.structs.replace(part, since=since, streams=streams, part=0, parts=1)
