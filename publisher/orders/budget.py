"""The account's write budget, and the gateway's share of its reads. Pure over steady time in ms.

Writes have a bucket for each shard: requests that name a shard from 1 up pay from that shard's bucket, shard
0 and batches from the unscoped one. In each, creates leave a reserve for cancels and for renewing the leases
of resting orders. Source: Kalshi API reference, rate limits, September 2026.
"""

from typing import Final

from bus.trading.gateway import GatewayBudget

from .steps import Limits, Urgency

MARGIN: Final = 0.95
"""The part of a bucket that is used: the exchange's second and ours differ slightly."""

RESERVE_CANCELS: Final = 20.0
"""Tokens that creates leave: ten cancels."""

RESERVE_READS: Final = 20.0
"""Tokens that the account's lists leave for orders of unknown fate: two lists."""

RESERVE_MOST: Final = 0.5
"""The part of a bucket's capacity that is used."""

RENEWAL: Final = 10
BACKOFF_MS: Final = 500
BACKOFF_MOST_MS: Final = 8_000


class Bucket:
    """A token bucket. It starts half full, so that a gateway restarting in a loop gets no full ones."""

    def __init__(self, per_s: float, capacity: float, steady_ms: int) -> None:
        self.per_s, self.capacity = per_s * MARGIN, capacity * MARGIN
        self._tokens = min(self.capacity, self.capacity / 2)
        self._at_ms = steady_ms
        self._streak = 0

    def resize(self, per_s: float, capacity: float, steady_ms: int) -> None:
        """Adopt new limits."""
        self.level(steady_ms)
        self.per_s, self.capacity = per_s * MARGIN, capacity * MARGIN

    def level(self, steady_ms: int) -> float:
        """Return how many tokens there are."""
        passed_ms = max(0, steady_ms - self._at_ms)
        self._tokens = min(self.capacity, self._tokens + passed_ms * self.per_s / 1000)
        self._at_ms = steady_ms
        return self._tokens

    def wait_ms(self, cost: float, reserve: float, steady_ms: int) -> int:
        """Return how long until `cost` can be paid with `reserve` left; 0: now."""
        missing = min(cost + reserve, self.capacity) - self.level(steady_ms)
        return 0 if missing <= 1e-9 else max(1, int(missing * 1000 / self.per_s) + 1)

    def pay(self, cost: float) -> None:
        """Take tokens."""
        self._tokens -= cost

    def refused(self, steady_ms: int) -> None:
        """Note a 429: the exchange's bucket is empty, so ours is too, for a growing time."""
        wait_ms = min(BACKOFF_MOST_MS, BACKOFF_MS << min(self._streak, 5))
        self._streak += 1
        self.level(steady_ms)
        self._tokens = min(self._tokens, -wait_ms * self.per_s / 1000)

    def accepted(self) -> None:
        """Note an answer other than 429."""
        self._streak = 0


class Budget:
    """All buckets of the gateway."""

    def __init__(self, limits: Limits, steady_ms: int) -> None:
        self._limits = limits
        self._writes: dict[int, Bucket] = {}
        self.reads = Bucket(limits.read_per_s, limits.read_capacity, steady_ms)

    def resize(self, limits: Limits, steady_ms: int) -> None:
        """Adopt the account's real limits."""
        self._limits = limits
        for bucket in self._writes.values():
            bucket.resize(limits.write_per_s, limits.write_capacity, steady_ms)
        self.reads.resize(limits.read_per_s, limits.read_capacity, steady_ms)

    def writes(self, shard: int, steady_ms: int) -> Bucket:
        """Return the bucket of a shard."""
        bucket = self._writes.get(shard)
        if bucket is None:
            limits = self._limits
            bucket = self._writes[shard] = Bucket(limits.write_per_s, limits.write_capacity, steady_ms)
        return bucket

    def wait_ms(self, urgency: Urgency, cost: int, shard: int, steady_ms: int, leases: int = 0) -> int:
        """Return how long a write must wait; `leases`: orders of the shard to be renewed."""
        bucket = self.writes(shard, steady_ms)
        reserve = 0.0
        if urgency == "create":
            reserve = min(RESERVE_CANCELS + leases, RESERVE_MOST * bucket.capacity)
        elif urgency == "renew":
            reserve = min(RESERVE_CANCELS / 2, RESERVE_MOST * bucket.capacity)
        return bucket.wait_ms(cost, reserve, steady_ms)

    def read_wait_ms(self, cost: int, steady_ms: int, *, presses: bool) -> int:
        """Return how long a read must wait; what is not urgent leaves a reserve for what is."""
        reserve = 0.0 if presses else min(RESERVE_READS, RESERVE_MOST * self.reads.capacity)
        return self.reads.wait_ms(cost, reserve, steady_ms)

    def pay(self, urgency: Urgency, cost: int, shard: int, steady_ms: int) -> None:
        """Take the tokens of a request that leaves."""
        bucket = self.reads if urgency == "read" else self.writes(shard, steady_ms)
        bucket.pay(cost)

    def renewable(self, lease_ms: int) -> int:
        """Return how many orders of a shard the reserve can renew: 10 tokens each every half lease."""
        share = RESERVE_MOST * self._limits.write_per_s * MARGIN
        return max(1, int(share * lease_ms / 2 / 1000 / RENEWAL))

    def shown(self, steady_ms: int) -> tuple[GatewayBudget, GatewayBudget]:
        """Return the state of writes (the emptiest bucket) and of reads."""
        buckets = list(self._writes.values()) or [self.writes(0, steady_ms)]
        least = min(buckets, key=lambda bucket: bucket.level(steady_ms))
        reserved = min(RESERVE_CANCELS, RESERVE_MOST * least.capacity)
        reads = GatewayBudget(refill=self.reads.per_s, left=self.reads.level(steady_ms), reserved=0.0)
        return GatewayBudget(refill=least.per_s, left=least.level(steady_ms), reserved=reserved), reads
