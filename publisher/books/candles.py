"""Price history on demand: whose candlesticks are fetched with the fixed share of the budget. Pure.

One request a cycle at most, however much is wished for: wishes only choose whose turn it is.

Source: Kalshi API reference, ``GET /markets/candlesticks``: up to 100 comma-separated `market_tickers` and
10,000 candlesticks in all, 10 tokens a call, periods of 1, 60 or 1440 minutes.
"""

from collections.abc import Container, Sequence
from typing import Final

from bus.threads import Owner
from markets.units import MINUTE_MS

from .wished import Wished

CALLS_PER_CYCLE: Final = 1
"""The share: kept free of other requests whether it is used or not."""

PERIOD_MINUTES: Final = 60
SPAN_S: Final = 7 * 86_400
MARKETS_PER_CALL: Final = 50
"""That many with a week of hours each make 8,450 candlesticks: one request."""

MARKETS_MAX: Final = 250
"""So many are each asked for once a minute by one request a cycle."""

REFRESH_MS: Final = MINUTE_MS
"""How old price history may become while it is wished for."""


class CandlePlanner:
    """Chooses the markets of the next request, over explicit time. One thread, but for `wish`."""

    def __init__(self) -> None:
        self._wished = Wished(MARKETS_MAX)
        self._fetched_ms: dict[str, int] = {}
        self._thread = Owner("the planner of price history")

    def wish(self, tickers: Sequence[str], ttl_s: float, now_ms: int) -> None:
        """Wish for the price history of these markets for `ttl_s` seconds. Any thread."""
        self._wished.wish(tickers, ttl_s, now_ms)

    def wished(self, known: Container[str], now_ms: int) -> frozenset[str]:
        """Return the `known` markets whose price history is wished for now."""
        self._thread.check()
        wished = frozenset(ticker for ticker in self._wished.at(now_ms) if ticker in known)
        self._fetched_ms = {t: at_ms for t, at_ms in self._fetched_ms.items() if t in wished}
        return wished

    def plan(self, known: Container[str], now_ms: int) -> list[str]:
        """Return the markets of the next request: those that waited longest, in order."""
        due = [
            ticker
            for ticker in self.wished(known, now_ms)
            # A comma would make two tickers of one. A time ahead is a clock that was set back.
            if "," not in ticker and not 0 <= now_ms - self._fetched_ms.get(ticker, -REFRESH_MS) < REFRESH_MS
        ]
        due.sort(key=lambda ticker: (self._fetched_ms.get(ticker, -REFRESH_MS), ticker))
        return sorted(due[:MARKETS_PER_CALL])

    def fetched(self, tickers: Sequence[str], now_ms: int) -> None:
        """Note that the history of these was asked for: of those without an answer there is none."""
        for ticker in tickers:
            self._fetched_ms[ticker] = now_ms
