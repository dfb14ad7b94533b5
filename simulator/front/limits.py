"""Token buckets of an account's tier (contract section 9): continuous refill, separate reads and writes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

DEFAULT_COST: Final = 10

TIERS: Final = {
    "basic": (200, 600, 100, 100),
    "advanced": (300, 900, 300, 900),
    "expert": (600, 600, 600, 1800),
    "premier": (1200, 1200, 1200, 3600),
    "paragon": (2400, 2400, 2400, 7200),
    "prime": (4800, 4800, 4800, 14400),
    "prestige": (12000, 12000, 9600, 28800),
}
"""Tier -> (read refill per second, read capacity, write refill, write capacity), autumn 2026."""

COSTS: Final = (
    ("POST", "/account/api_usage_level/upgrade", 30),
    ("GET", "/cfbenchmarks", 50),
    ("GET", "/cfbenchmarks/*endpoint", 50),
    ("POST", "/communications/quotes", 2),
    ("DELETE", "/communications/quotes/:quote_id", 2),
    ("DELETE", "/portfolio/events/orders", 2),
    ("DELETE", "/portfolio/events/orders/:order_id", 2),
    ("DELETE", "/portfolio/events/orders/batched", 2),
    ("GET", "/portfolio/orders/:order_id", 2),
)
"""(method, path below /trade-api/v2, cost) of requests that do not cost the default."""


@dataclass(slots=True)
class Bucket:
    """A token bucket; levels are in thousandths of a token so that refills are exact integers."""

    refill: int
    capacity: int
    level_e3: int
    at_ms: int

    @classmethod
    def full(cls, refill: int, capacity: int, now_ms: int) -> "Bucket":
        """Return a full bucket."""
        return cls(refill, capacity, capacity * 1000, now_ms)

    def holds(self, cost: int, now_ms: int) -> bool:
        """Tell whether there are `cost` tokens."""
        if now_ms > self.at_ms:
            self.level_e3 = min(self.level_e3 + (now_ms - self.at_ms) * self.refill, self.capacity * 1000)
            self.at_ms = now_ms
        return self.level_e3 >= cost * 1000

    def take(self, cost: int, now_ms: int) -> bool:
        """Pay `cost` tokens if there are enough; a refused request costs nothing (no penalty box)."""
        if not self.holds(cost, now_ms):
            return False
        self.level_e3 -= cost * 1000
        return True


class RequestLimits:
    """Buckets of every caller: the account's, and one pair per address for callers without a key.

    Args:
        steady_ms: a steady clock by which they refill; without it, by the `now_ms` of each request.
    """

    def __init__(self, tier: str, steady_ms: Callable[[], int] | None = None) -> None:
        self.tier = tier
        self._steady_ms = steady_ms
        self._buckets: dict[tuple[str, str, bool, int], Bucket] = {}

    def tier_of(self, advanced: bool) -> str:
        """Return the tier of an account: a grant turns Basic into Advanced; higher tiers stay."""
        return "advanced" if advanced and self.tier == "basic" else self.tier

    def take(
        self,
        caller: str,
        write: bool,
        cost: int,
        now_ms: int,
        shards: tuple[int, ...] = (0,),
        *,
        advanced: bool = False,
    ) -> bool:
        """Charge one request to the bucket of each of `shards`: all of it to all of them, or nothing.

        `caller` is the key id, or the address of a caller without a key (as Basic); `advanced` says whether
        its account has the grant.
        """
        tier = "basic" if caller.startswith("address ") else self.tier_of(advanced)
        if self._steady_ms is not None:
            now_ms = self._steady_ms()
        buckets = [self._bucket(caller, tier, write, shard, now_ms) for shard in shards]
        if not all(bucket.holds(cost, now_ms) for bucket in buckets):
            return False
        return all(bucket.take(cost, now_ms) for bucket in buckets)

    def _bucket(self, caller: str, tier: str, write: bool, shard: int, now_ms: int) -> Bucket:
        bucket = self._buckets.get((caller, tier, write, shard))
        if bucket is None:
            read_refill, read_capacity, write_refill, write_capacity = TIERS[tier]
            refill, capacity = (write_refill, write_capacity) if write else (read_refill, read_capacity)
            bucket = self._buckets[caller, tier, write, shard] = Bucket.full(refill, capacity, now_ms)
        return bucket
