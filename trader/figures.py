"""How fast the trader is: rates and latencies of the recent past. Pure."""

from collections import deque
from collections.abc import Sequence
from typing import Final

RATE_MS: Final = 10_000
LATENCIES_KEPT: Final = 1_000


class Rate:
    """How often something happens per second, over the last ten seconds."""

    def __init__(self) -> None:
        self._counts: deque[tuple[int, int]] = deque()

    def note(self, steady_ms: int, count: int) -> None:
        """Note that it has happened `count` times up to now."""
        counts = self._counts
        counts.append((steady_ms, count))
        while counts[0][0] < steady_ms - RATE_MS:
            counts.popleft()

    @property
    def per_second(self) -> float:
        """The rate, 0 before it is known."""
        if len(self._counts) < 2:
            return 0.0
        (first_ms, first), (last_ms, last) = self._counts[0], self._counts[-1]
        return (last - first) * 1000 / max(1, last_ms - first_ms)


class Latencies:
    """How long the most recent ones took."""

    def __init__(self) -> None:
        self._taken_ns: deque[int] = deque(maxlen=LATENCIES_KEPT)

    def __len__(self) -> int:
        return len(self._taken_ns)

    def note(self, taken_ns: int) -> None:
        """Note how long one took."""
        self._taken_ns.append(taken_ns)

    def percentiles_ms(self, *percents: int) -> Sequence[float | None]:
        """Return these percentiles, each None before they are known."""
        ordered = sorted(self._taken_ns)
        if not ordered:
            return [None] * len(percents)
        last = len(ordered) - 1
        return [round(ordered[min(last, len(ordered) * percent // 100)] / 1e6, 3) for percent in percents]

    @property
    def last_ns(self) -> int:
        """How long the last one took."""
        return self._taken_ns[-1]
