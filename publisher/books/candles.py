"""Price history on demand: whose candlesticks are fetched with the fixed share of the budget. Pure.

At most one request per cycle, however much is wished for: wishes only decide whose turn it is.

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
"""The share, kept free of other requests whether it is used or not."""

MARKETS_MAX: Final = 250
"""The most wishes at once; each gets its turn as often as one request per cycle allows."""


class Period(NamedTuple):
    """Candlesticks of one period.

    Attributes:
        minutes: their period. span_s: how far back they are fetched.
        markets: how many in one request: with `span_s` each, they have fewer than 10,000 candlesticks.
        refresh_ms: how old they may become while wished for.
    """

    minutes: int
    span_s: int
    markets: int
    refresh_ms: int


HOURS: Final = Period(60, 7 * 86_400, 50, MINUTE_MS)
MINUTES: Final = Period(1, 6 * 3_600, 25, 5 * MINUTE_MS)
DAYS: Final = Period(1_440, 400 * 86_400, 24, HOUR_MS)
PERIODS: Final = (HOURS, MINUTES, DAYS)
"""The order in which a market's candlesticks are first fetched."""


class Turn(NamedTuple):
    """The next request: candlesticks of one period for these markets."""

    period: Period
    tickers: list[str]


class CandlePlanner:
    """Chooses the markets of the next request. Time is explicit. One thread, except for `wish`."""

    def __init__(self) -> None:
        self._wished = Wished(MARKETS_MAX)
        self._fetched_ms: dict[tuple[str, Period], int] = {}
        self._owner = Owner("the planner of price history")

    def wish(self, tickers: Sequence[str], ttl_s: float, now_ms: int) -> None:
        """Wish for the price history of these markets for `ttl_s` seconds. Any thread."""
        self._wished.wish(tickers, ttl_s, now_ms)

    def wished(self, known: Container[str], now_ms: int) -> frozenset[str]:
        """Return those `known` markets whose price history is wished for now."""
        self._owner.check()
        wished = frozenset(ticker for ticker in self._wished.at(now_ms) if ticker in known)
        self._fetched_ms = {of: at_ms for of, at_ms in self._fetched_ms.items() if of[0] in wished}
        return wished

    def plan(
        self,
        known: Container[str],
        now_ms: int,
        opened_ms: Callable[[str], int | None] = lambda _: None,
    ) -> Turn | None:
        """Return the next request: the one most overdue; None if nothing is due.

        Args:
            opened_ms: returns when a market opened, None if unknown. No daily candlesticks are fetched for
                one whose life fits into its hourly ones.
        """
        due: list[tuple[float, int, str]] = []
        for ticker in sorted(self.wished(known, now_ms)):
            if "," in ticker:  # it would turn one ticker into two
                continue
            for number, period in enumerate(PERIODS):
                if period is DAYS and (opened_ms(ticker) or 0) >= now_ms - HOURS.span_s * 1000:
                    continue
                fetched_ms = self._fetched_ms.get((ticker, period))
                late = inf
                if fetched_ms is not None and fetched_ms <= now_ms:  # otherwise the clock was set back
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
        """Note that a request was made: markets that it did not answer have nothing."""
        for ticker in turn.tickers:
            self._fetched_ms[ticker, turn.period] = now_ms
