"""Order groups: a limit on contracts in a rolling 15 s, beyond which a group's orders are cancelled."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from .orders import Order, Party

WINDOW_MS: Final = 15_000


@dataclass(slots=True, eq=False)
class Group:
    """One order group.

    Attributes:
        limit_e2: contracts that may be filled within 15 s.
        triggered: the limit was exceeded: no new orders until a reset.
        orders: the resting ones, by order id.
        fills: (time_ms, count_e2) of its fills in the window, the earliest first.
    """

    group_id: str
    party: Party
    exchange_index: int
    limit_e2: int
    created_ms: int
    triggered: bool = False
    orders: dict[str, Order] = field(default_factory=dict)
    fills: deque[tuple[int, int]] = field(default_factory=deque)
    filled_e2: int = 0

    def note(self, count_e2: int, now_ms: int) -> int:
        """Count a fill and return the total of the last 15 s."""
        while self.fills and self.fills[0][0] <= now_ms - WINDOW_MS:
            self.filled_e2 -= self.fills.popleft()[1]
        self.fills.append((now_ms, count_e2))
        self.filled_e2 += count_e2
        return self.filled_e2

    def reset(self) -> None:
        """Accept orders again, and forget what was filled."""
        self.triggered = False
        self.fills.clear()
        self.filled_e2 = 0
