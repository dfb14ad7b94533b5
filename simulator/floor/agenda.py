"""What happens when: the exchange's time, which runs everything that is due, in order."""

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Any, Final

_SLICE_MS: Final = 1_000
"""What is planned is sorted only when its slice of time begins: short heaps are quick."""

_Plan = tuple[int, int, Callable[[Any, int], None], Any]
"""When, its number, the action and the subject."""


class Agenda:
    """Time, and what is planned in it.

    Attributes:
        start_ms: when the exchange began.
        now_ms: the present; it never goes back.
    """

    def __init__(self, start_ms: int) -> None:
        self.start_ms = self.now_ms = start_ms
        self._heap: list[_Plan] = []
        """What is planned before the slice `_next`."""
        self._next = start_ms // _SLICE_MS
        self._later: dict[int, list[_Plan]] = {}
        """What is planned from then on, by slices, in no order."""
        self._slices: list[int] = []
        """The keys of `_later`, a heap."""
        self._number = 0

    def __len__(self) -> int:
        return len(self._heap) + sum(map(len, self._later.values()))

    def number(self) -> int:
        """Return the next number: events at the same time happen in the order of their numbers."""
        self._number += 1
        return self._number

    def at(self, time_ms: int, action: Callable[[Any, int], None], subject: Any) -> None:
        """Plan `action(subject, time_ms)`."""
        self._number += 1
        plan = (time_ms, self._number, action, subject)
        piece = time_ms // _SLICE_MS
        if piece < self._next:
            heappush(self._heap, plan)
            return
        plans = self._later.get(piece)
        if plans is None:
            self._later[piece] = [plan]
            heappush(self._slices, piece)
        else:
            plans.append(plan)

    def next_ms(self) -> int | None:
        """Return when something happens next."""
        if self._heap:
            return self._heap[0][0]
        return min(self._later[self._slices[0]])[0] if self._slices else None

    def advance(self, now_ms: int) -> None:
        """Run everything that is due up to `now_ms`."""
        heap, slices, start_ms = self._heap, self._slices, self.start_ms
        while True:
            while heap and heap[0][0] <= now_ms:
                time_ms, _, action, subject = heappop(heap)
                if time_ms > self.now_ms:
                    self.now_ms = time_ms
                elif time_ms > start_ms:
                    time_ms = self.now_ms  # it came late
                action(subject, time_ms)
            if heap or not slices or slices[0] * _SLICE_MS > now_ms:
                break
            piece = heappop(slices)
            self._next = piece + 1
            heap += self._later.pop(piece)
            heapify(heap)
        self.now_ms = max(self.now_ms, now_ms)

    def move_to(self, time_ms: int) -> None:
        """Let it be at least `time_ms`, while something of that time is carried out."""
        self.now_ms = max(self.now_ms, time_ms)
