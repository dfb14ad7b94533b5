"""The age of messages on arrival."""

from collections import deque
from typing import Final

import msgspec

from bus.threads import Owner

WINDOW_NS: Final = 60_000_000_000
SAMPLES: Final = 20_000


class Ages(msgspec.Struct, frozen=True):
    """The ages on arrival of the last minute's messages, in milliseconds; None if there were none."""

    count: int
    p50_ms: float | None
    p99_ms: float | None


class Arrivals:
    """Takes the age of each arrival, from one thread; gives the percentiles of a minute to any thread."""

    def __init__(self) -> None:
        self._samples: deque[tuple[int, int]] = deque(maxlen=SAMPLES)
        self._owner = Owner("the ages of arrivals")

    def add(self, now_ns: int, published_ns: int) -> None:
        """Note that something sent at `published_ns` has arrived."""
        self._owner.check()
        self._samples.append((now_ns, now_ns - published_ns))

    def ages(self, now_ns: int) -> Ages:
        """Return the ages of the last minute."""
        last = sorted(age for at, age in list(self._samples) if now_ns - at <= WINDOW_NS)
        if not last:
            return Ages(0, None, None)
        p50, p99 = (last[min(len(last) - 1, len(last) * percent // 100)] / 1e6 for percent in (50, 99))
        return Ages(len(last), round(p50, 2), round(p99, 2))
