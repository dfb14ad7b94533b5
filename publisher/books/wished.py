"""Which markets are wished for, and until when."""

import threading
from collections.abc import Sequence
from typing import Final

AHEAD_MS: Final = 5_000
"""A wish that begins more than this after the present is from before the clock was set back. It is dropped,
since it would last too long; those who still have it will wish again."""


class Wished:
    """Wishes that end by themselves. Any thread.

    Args:
        most: the most wishes at once; the oldest give way.

    Attributes:
        fresh: how often something was newly wished for.
    """

    def __init__(self, most: int) -> None:
        self.fresh = 0
        self._most = most
        self._lock = threading.Lock()
        self._spans_ms: dict[str, tuple[int, int]] = {}

    def wish(self, tickers: Sequence[str], ttl_s: float, now_ms: int) -> None:
        """Wish for these for `ttl_s` seconds."""
        until_ms = now_ms + int(ttl_s * 1000)
        with self._lock:
            self.fresh += any(ticker not in self._spans_ms for ticker in tickers)
            for ticker in tickers:
                began_ms, before_ms = self._spans_ms.pop(ticker, (now_ms, 0))
                if began_ms > now_ms + AHEAD_MS:
                    before_ms = 0
                self._spans_ms[ticker] = now_ms, max(until_ms, before_ms)
            while len(self._spans_ms) > self._most:
                del self._spans_ms[next(iter(self._spans_ms))]

    def at(self, now_ms: int) -> frozenset[str]:
        """Return what is wished for now, and forget expired wishes."""
        with self._lock:
            self._spans_ms = {
                ticker: (began_ms, until_ms)
                for ticker, (began_ms, until_ms) in self._spans_ms.items()
                if began_ms - AHEAD_MS <= now_ms < until_ms
            }
            return frozenset(self._spans_ms)
