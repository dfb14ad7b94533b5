"""What order books cost, and how many of them the budget has room for beside the sweep. Pure.

Times are those of a steady clock.

Source: Kalshi API reference, ``GET /markets/orderbooks``: 10 tokens a call as far as is known.
"""

from typing import Final

import structlog

from markets.json.words import COST
from publisher.kalshi.budget import Budget

log = structlog.get_logger()

BOOKS_PER_REQUEST: Final = 100
MAX_ROUNDS: Final = 3
"""How often a cycle's books are fetched, evenly spread, if the budget allows."""

BUDGET_USE: Final = 0.8
"""Share of what the sweep leaves that is spent."""

RESERVE_MAX: Final = 0.8
"""Largest share of the bucket that is kept for the next sweep."""

REFUSALS_BELIEVED: Final = 2
BILLING_EVERY_MS: Final = 600_000


def rounds_of(budget: Budget, interval_s: float, sweep_requests: int, calls: int) -> tuple[int, int]:
    """Return how many rounds, of how many requests, a cycle has room for beside the sweep."""
    left = BUDGET_USE * (budget.rate_per_s * interval_s / COST - sweep_requests)
    if left < 1 or calls < 1:
        return 0, 0
    if left < calls:
        return 1, int(left)
    return min(MAX_ROUNDS, int(left // calls)), calls


def reserve_of(budget: Budget, sweep_requests: int) -> float:
    """Return the tokens to leave for a sweep, which must not wait for tokens spent on books."""
    return min(sweep_requests * COST, RESERVE_MAX * budget.capacity)


class Billing:
    """What a batch of books costs: 10 per call, as documented, until refusals show that each ticker counts.

    Not established for the real exchange, so one whole batch is tried again every 10 minutes.

    Attributes:
        per_ticker: what is currently believed.
    """

    def __init__(self) -> None:
        self.per_ticker = False
        self._refusals = 0
        self._again_ms = 0

    def batch(self, capacity: float, now_ms: int) -> int:
        """Return how many tickers to ask for at once, given a bucket that holds `capacity` tokens."""
        if self.per_ticker and now_ms >= self._again_ms:
            self.per_ticker, self._refusals = False, REFUSALS_BELIEVED - 1
        if not self.per_ticker:
            return BOOKS_PER_REQUEST
        return max(1, min(BOOKS_PER_REQUEST, int(capacity / 4 / COST)))

    def price(self, tickers: int) -> int:
        """Return the tokens of a call for that many."""
        return COST * tickers if self.per_ticker else COST

    def refused(self, tickers: int, now_ms: int) -> None:
        """Note a 429 for a batch that the budget had tokens for."""
        if tickers == 1 or self.per_ticker:
            return
        self._refusals += 1
        if self._refusals >= REFUSALS_BELIEVED:
            log.warning("books.billed_per_ticker", again_in_s=BILLING_EVERY_MS // 1000)
            self.per_ticker, self._again_ms = True, now_ms + BILLING_EVERY_MS

    def accepted(self, tickers: int) -> None:
        """Note a batch that was answered."""
        if tickers > 1 and not self.per_ticker:
            self._refusals = 0
