"""A client without a key, and a clock that notes what it was asked to wait."""

import pytest

from bus.clock import ManualClock
from publisher.kalshi.signing import KeySource

NO_KEY = KeySource(None, None, None)


class Waiting:
    """A stop signal whose waits take no time but move the clock; it stops after `stop_after` of them."""

    def __init__(self, clock: ManualClock) -> None:
        self.waits: list[float] = []
        self.stop_after: int | None = None
        self._clock = clock

    def is_set(self) -> bool:
        return self.stop_after is not None and len(self.waits) >= self.stop_after

    def wait(self, timeout_s: float | None = None) -> bool:
        assert timeout_s is not None
        self.waits.append(timeout_s)
        self._clock.advance(int(timeout_s * 1000) + 1)
        return self.is_set()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()
