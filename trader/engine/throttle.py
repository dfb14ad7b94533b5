"""How often orders are sent, and which events are left alone for a while. Pure.

Times are by the steady clock: setting the wall clock neither forgets orders nor makes an event wait.
"""

from collections import deque
from typing import Final

MINUTE_MS: Final = 60_000


class Throttle:
    """Remembers the orders of the last minute, and events where one got nothing.

    Attributes:
        sent_ms: when each order was sent, oldest first; some may be more than a minute old.
        retry_at_ms: event -> when it may be traded again.
    """

    def __init__(self) -> None:
        self.sent_ms: deque[int] = deque()
        self.retry_at_ms: dict[str, int] = {}

    def sent(self, orders: int, steady_ms: int) -> None:
        """Note that this many orders are sent now."""
        self.sent_ms.extend([steady_ms] * orders)
        while self.sent_ms and self.sent_ms[0] <= steady_ms - MINUTE_MS:
            self.sent_ms.popleft()

    def last_minute(self, steady_ms: int) -> int:
        """Return how many orders were sent within the last minute."""
        return sum(sent_ms > steady_ms - MINUTE_MS for sent_ms in self.sent_ms)

    def rest(self, event_ticker: str, steady_ms: int, until_ms: int) -> None:
        """Leave an event alone until then."""
        self.retry_at_ms = {ticker: at_ms for ticker, at_ms in self.retry_at_ms.items() if at_ms > steady_ms}
        self.retry_at_ms[event_ticker] = until_ms
