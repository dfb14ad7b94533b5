"""What happens when: the exchange's time, which runs everything that is due, in order."""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any


class Agenda:
    """Time, and what is planned in it.

    Attributes:
        start_ms: when the exchange began.
        now_ms: the present; it never goes back.
    """

    def __init__(self, start_ms: int) -> None:
        self.start_ms = self.now_ms = start_ms
        self._heap: list[tuple[int, int, Callable[[Any, int], None], Any]] = []
        self._number = 0

    def number(self) -> int:
        """Return the next number: events at the same time happen in the order of their numbers."""
        self._number += 1
        return self._number

    def at(self, time_ms: int, action: Callable[[Any, int], None], subject: Any) -> None:
        """Plan `action(subject, time_ms)`."""
        self._number += 1
        heappush(self._heap, (time_ms, self._number, action, subject))

    def next_ms(self) -> int | None:
        """Return when something happens next."""
        return self._heap[0][0] if self._heap else None

    def advance(self, now_ms: int) -> None:
        """Run everything that is due up to `now_ms`."""
        heap, start_ms = self._heap, self.start_ms
        while heap and heap[0][0] <= now_ms:
            time_ms, _, action, subject = heappop(heap)
            if time_ms > self.now_ms:
                self.now_ms = time_ms
            elif time_ms > start_ms:
                time_ms = self.now_ms  # it came late
            action(subject, time_ms)
        self.now_ms = max(self.now_ms, now_ms)

    def move_to(self, time_ms: int) -> None:
        """Let it be at least `time_ms`, while something of that time is carried out."""
        self.now_ms = max(self.now_ms, time_ms)
