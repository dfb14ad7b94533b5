"""Lists that an account may read: the last 90 days, and then history, both bounded."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

from markets.units import DAY_MS

LIVE_MS: Final = 90 * DAY_MS
"""How long fills, settlements and settled positions stay in the live lists."""

LIVE_BOUND: Final = 100_000
HISTORY_BOUND: Final = 50_000


class Timed(Protocol):
    """Something that happened."""

    @property
    def time_ms(self) -> int: ...


T = TypeVar("T", bound=Timed)


@dataclass(slots=True, eq=False)
class Kept(Generic[T]):
    """What happened, oldest first. What is older than 90 days, or too much, goes into history.

    Attributes:
        forgotten: how many have been dropped from history.
    """

    live: deque[T] = field(default_factory=deque)
    history: deque[T] = field(default_factory=deque)
    forgotten: int = 0

    def add(self, what: T) -> None:
        """Add what happened last."""
        self.live.append(what)
        if len(self.live) > LIVE_BOUND or self.live[0].time_ms < what.time_ms - LIVE_MS:
            self.age(what.time_ms)

    def age(self, now_ms: int) -> None:
        """Move what is too old for the live list into history."""
        live, history = self.live, self.history
        while live and (len(live) > LIVE_BOUND or live[0].time_ms < now_ms - LIVE_MS):
            history.append(live.popleft())
            if len(history) > HISTORY_BOUND:
                history.popleft()
                self.forgotten += 1

    def newest(self) -> Iterator[T]:
        """Return the live list, newest first."""
        return reversed(self.live)

    def historical(self) -> Iterator[T]:
        """Return the historical list, newest first."""
        return reversed(self.history)
