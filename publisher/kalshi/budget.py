"""The publisher's share of the account's read tokens: a bucket of its own that stays inside Kalshi's.

Pure, with explicit time, so that a simulated day runs in a second.

Source: Kalshi API reference, rate limits, 1 October 2026: separate Read and Write buckets with continuous
refill; every market-data GET costs 10; Basic: 200 tokens/s, capacity 3 s. A 429 has no penalty: wait, retry.
"""

import threading
from random import Random
from typing import Final

from markets.json.pages import Tier
from markets.json.words import COST

PUBLISHER_SHARE: Final = 0.85
"""The publisher's share of the account's read budget; the order gateway has the rest."""

MARGIN: Final = 0.95
"""The part of a share that is used: the exchange's second and ours differ slightly."""

BACKOFF_FIRST_S: Final = 0.5
BACKOFF_MAX_S: Final = 8.0
RETRY_AFTER_MAX_S: Final = 60.0


BASIC: Final = Tier(200, 600)
"""Also what unsigned reads were found to get, per address (October 2026; undocumented)."""


class Budget:
    """A token bucket. Any thread; `now_s` is monotonic time in seconds.

    It starts empty: a process that restarts in a loop must not have a full bucket each time.

    Attributes:
        rate_per_s, capacity: those of this bucket, after share and margin.
        refusals: how many 429 answers there were.
    """

    def __init__(self, tier: Tier, rng: Random, now_s: float, share: float = PUBLISHER_SHARE) -> None:
        self._share = share * MARGIN
        self.rate_per_s = tier.refill_per_s * self._share
        self.capacity = tier.capacity * self._share
        self.refusals = 0
        self._rng = rng
        self._lock = threading.Lock()
        self._tokens = 0.0
        self._at_s = now_s
        self._streak = 0

    def resize(self, tier: Tier, now_s: float) -> None:
        """Adopt the account's real limits."""
        with self._lock:
            self._refill(now_s)
            self.rate_per_s = tier.refill_per_s * self._share
            self.capacity = tier.capacity * self._share

    def level(self, now_s: float) -> float:
        """Return how many tokens there are; below 0 while backing off."""
        with self._lock:
            return self._refill(now_s)

    def take(self, cost: int, now_s: float, reserve: float = 0) -> float:
        """Take `cost` tokens if `reserve` remain, and return 0; else return the seconds to wait."""
        wanted = min(cost + reserve, self.capacity)
        with self._lock:
            missing = wanted - self._refill(now_s)
            if missing > 1e-9:
                return missing / self.rate_per_s
            self._tokens -= cost
            return 0.0

    def refused(self, now_s: float, at_least_s: float = 0) -> None:
        """Note a 429: the exchange's bucket is empty, so ours is. Send nothing for a jittered, growing time.

        `at_least_s` is what the exchange asked for; Kalshi sends no Retry-After.
        """
        with self._lock:
            self.refusals += 1
            wait_s = max(backoff_s(self._streak, self._rng), min(at_least_s, RETRY_AFTER_MAX_S))
            self._streak += 1
            self._refill(now_s)
            self._tokens = min(self._tokens, COST - wait_s * self.rate_per_s)

    def accepted(self) -> None:
        """Note an answer that is not a 429."""
        with self._lock:
            self._streak = 0

    def _refill(self, now_s: float) -> float:
        self._tokens = min(self.capacity, self._tokens + max(0.0, now_s - self._at_s) * self.rate_per_s)
        self._at_s = now_s
        return self._tokens


def backoff_s(attempt: int, rng: Random, first_s: float = BACKOFF_FIRST_S) -> float:
    """Return the pause after failure number `attempt` (from 0): doubling, bounded, half of it random."""
    longest = min(BACKOFF_MAX_S, first_s * 2.0 ** min(attempt, 10))
    return longest * rng.uniform(0.5, 1.0)
