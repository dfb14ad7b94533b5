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
        span_ms = now_ms, until_ms
        with self._lock:
            spans_ms, fresh = self._spans_ms, False
            for ticker in tickers:
                before = spans_ms.pop(ticker, None)
                if before is None:
                    fresh = True
                elif before[1] > until_ms and before[0] <= now_ms + AHEAD_MS:
                    spans_ms[ticker] = now_ms, before[1]
                    continue
                spans_ms[ticker] = span_ms
            self.fresh += fresh
            while len(spans_ms) > self._most:
                del spans_ms[next(iter(spans_ms))]

    def at(self, now_ms: int) -> frozenset[str]:
        """Return what is wished for now, and forget expired wishes."""
        with self._lock:
            self._spans_ms = {
                ticker: (began_ms, until_ms)
                for ticker, (began_ms, until_ms) in self._spans_ms.items()
                if began_ms - AHEAD_MS <= now_ms < until_ms
            }
            return frozenset(self._spans_ms)
