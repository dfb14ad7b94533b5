"""Price history on demand: whose candlesticks are fetched with the fixed share of the budget. Pure.

One request a cycle at most, however much is wished for: wishes only choose whose turn it is.

Source: Kalshi API reference, ``GET /markets/candlesticks``: up to 100 comma-separated `market_tickers` and
10,000 candlesticks in all, 10 tokens a call, periods of 1, 60 or 1440 minutes.
"""

from collections.abc import Callable, Container, Sequence
from math import inf
from typing import Final, NamedTuple

from bus.threads import Owner
from markets.units import HOUR_MS, MINUTE_MS

from .wished import Wished

CALLS_PER_CYCLE: Final = 1
"""The share: kept free of other requests whether it is used or not."""

MARKETS_MAX: Final = 250
"""So many are wished for at most; each has its turn as often as one request a cycle allows."""


class Period(NamedTuple):
    """Candlesticks of one length.

    Attributes:
        minutes: their length. span_s: how far back they are asked for.
        markets: of so many in one request: with `span_s` of each that is less than 10,000 candlesticks.
        refresh_ms: how old they may become while they are wished for.
    """

    minutes: int
    span_s: int
    markets: int
    refresh_ms: int


HOURS: Final = Period(60, 7 * 86_400, 50, MINUTE_MS)
MINUTES: Final = Period(1, 6 * 3_600, 25, 5 * MINUTE_MS)
DAYS: Final = Period(1_440, 400 * 86_400, 24, HOUR_MS)
PERIODS: Final = (HOURS, MINUTES, DAYS)
"""What of a market was not yet fetched at all comes in this order."""


class Turn(NamedTuple):
    """The next request: candlesticks of one length of these markets."""

    period: Period
    tickers: list[str]


class CandlePlanner:
    """Chooses the markets of the next request, over explicit time. One thread, but for `wish`."""

    def __init__(self) -> None:
        self._wished = Wished(MARKETS_MAX)
        self._fetched_ms: dict[tuple[str, Period], int] = {}
        self._thread = Owner("the planner of price history")

    def wish(self, tickers: Sequence[str], ttl_s: float, now_ms: int) -> None:
        """Wish for the price history of these markets for `ttl_s` seconds. Any thread."""
        self._wished.wish(tickers, ttl_s, now_ms)

    def wished(self, known: Container[str], now_ms: int) -> frozenset[str]:
        """Return the `known` markets whose price history is wished for now."""
        self._thread.check()
        wished = frozenset(ticker for ticker in self._wished.at(now_ms) if ticker in known)
        self._fetched_ms = {of: at_ms for of, at_ms in self._fetched_ms.items() if of[0] in wished}
        return wished

    def plan(
        self,
        known: Container[str],
        now_ms: int,
        opened_ms: Callable[[str], int | None] = lambda _: None,
    ) -> Turn | None:
        """Return the next request: what waited longest, as it may wait; None: nothing is due.

        Args:
            opened_ms: when a market opened, None is not known. Of one whose life fits into its hours no days
                are asked for.
        """
        due: list[tuple[float, int, str]] = []
        for ticker in sorted(self.wished(known, now_ms)):
            if "," in ticker:  # it would make two tickers of one
                continue
            for number, period in enumerate(PERIODS):
                if period is DAYS and (opened_ms(ticker) or 0) >= now_ms - HOURS.span_s * 1000:
                    continue
                fetched_ms = self._fetched_ms.get((ticker, period))
                late = inf
                if fetched_ms is not None and fetched_ms <= now_ms:  # else the clock was set back
                    late = (now_ms - fetched_ms) / period.refresh_ms
                if late >= 1:
                    due.append((-late, number, ticker))
        if not due:
            return None
        due.sort()
        period = PERIODS[due[0][1]]
        turn = [ticker for _, number, ticker in due if PERIODS[number] is period]
        return Turn(period, sorted(turn[: period.markets]))

    def fetched(self, turn: Turn, now_ms: int) -> None:
        """Note that a request was made: of markets without an answer there is nothing."""
        for ticker in turn.tickers:
            self._fetched_ms[ticker, turn.period] = now_ms
