"""For which markets somebody wishes something, and until when."""

import threading
from collections.abc import Sequence


class Wished:
    """Wishes that end by themselves. Any thread.

    Args:
        most: wishes at once; the oldest give way.

    Attributes:
        fresh: how often something was wished for that was not before.
    """

    def __init__(self, most: int) -> None:
        self.fresh = 0
        self._most = most
        self._lock = threading.Lock()
        self._until_ms: dict[str, int] = {}

    def wish(self, tickers: Sequence[str], ttl_s: float, now_ms: int) -> None:
        """Wish for these for `ttl_s` seconds."""
        until_ms = now_ms + int(ttl_s * 1000)
        with self._lock:
            self.fresh += any(ticker not in self._until_ms for ticker in tickers)
            for ticker in tickers:
                self._until_ms[ticker] = max(until_ms, self._until_ms.pop(ticker, 0))
            while len(self._until_ms) > self._most:
                del self._until_ms[next(iter(self._until_ms))]

    def at(self, now_ms: int) -> frozenset[str]:
        """Return what is wished for now, and forget what was before."""
        with self._lock:
            self._until_ms = {t: until_ms for t, until_ms in self._until_ms.items() if until_ms > now_ms}
            return frozenset(self._until_ms)
