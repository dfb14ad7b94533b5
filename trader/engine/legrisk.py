"""The chance that a leg of a basket is gone when its order arrives, as own orders have found it. Pure.

A Beta estimate: misses and hits of all baskets, with a prior; that is the prior for baskets as young or as
old as this one, and theirs that for this series. What is long ago counts less. Only what the journal has goes
in: orders, their ends, and when the event was first seen to offer something.
"""

from collections.abc import Iterable
from typing import Final

PRIOR_MISSES: Final = 1.0
PRIOR_TRADES: Final = 5.0
"""Before anything is known one basket in five is thought to miss a leg."""

WEIGHT_TRADES: Final = 10.0
"""As much as so many baskets counts what is known of all, beside those of an age or a series."""

KEEPS: Final = 0.99
"""So much of what was known is kept with each further basket: the last hundred or so count."""

YOUNG_MS: Final = 2_000
GAP_MS: Final = 15_000
"""An event that offered nothing for so long offers something new when it does."""

BUCKETS_MAX: Final = 2_000
SEEN_MAX: Final = 5_000

ALL: Final = "all"


class LegRisk:
    """What became of own baskets, by what is known of each when it is sent."""

    def __init__(self, past: Iterable[tuple[str, bool]] = ()) -> None:
        self._trades: dict[str, tuple[float, float]] = {}
        self._pending: dict[int, str] = {}
        self._missed: set[int] = set()
        self._seen: dict[str, tuple[int, int]] = {}
        for bucket, missed in past:
            self._count(bucket, missed=missed)

    def see(self, event_ticker: str, now_ms: int) -> None:
        """Note that an event offers something now."""
        first_ms, last_ms = self._seen.pop(event_ticker, (now_ms, now_ms))
        if not 0 <= now_ms - last_ms <= GAP_MS:
            first_ms = now_ms
        self._seen[event_ticker] = first_ms, now_ms
        if len(self._seen) > SEEN_MAX:
            del self._seen[next(iter(self._seen))]

    def bucket(self, event_ticker: str, series_ticker: str, now_ms: int) -> str:
        """Return what names baskets like one that is sent now."""
        first_ms, _ = self._seen.get(event_ticker, (now_ms, now_ms))
        return f"{'young' if now_ms - first_ms < YOUNG_MS else 'old'}:{series_ticker}"

    def miss_ppm(self, bucket: str) -> int:
        """Return the chance in a million that a basket like this misses a leg."""
        age = bucket.partition(":")[0]
        missed, trades = self._trades.get(ALL, (0.0, 0.0))
        chance = (PRIOR_MISSES + missed) / (PRIOR_TRADES + trades)
        for key in (age, bucket):
            missed, trades = self._trades.get(key, (0.0, 0.0))
            chance = (WEIGHT_TRADES * chance + missed) / (WEIGHT_TRADES + trades)
        return round(chance * 1_000_000)

    def sent(self, trade: int, bucket: str) -> None:
        """Note that a basket is sent."""
        self._pending[trade] = bucket

    def ended(self, trade: int, *, missed: bool, over: bool) -> None:
        """Note that an order of a basket has ended: whether it missed something, and was the last."""
        if trade not in self._pending:
            return
        if missed:
            self._missed.add(trade)
        if over:
            self._count(self._pending.pop(trade), missed=trade in self._missed)
            self._missed.discard(trade)

    def _count(self, bucket: str, *, missed: bool) -> None:
        for key in (ALL, bucket.partition(":")[0], bucket):
            before, trades = self._trades.pop(key, (0.0, 0.0))
            self._trades[key] = before * KEEPS + missed, trades * KEEPS + 1
        if len(self._trades) > BUCKETS_MAX:
            del self._trades[next(key for key in self._trades if ":" in key)]
