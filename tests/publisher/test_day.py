"""A simulated day of sweeps and books at 130,000 markets on a Basic account: in time, and never refused."""

import heapq
from random import Random

import pytest

from markets.json.words import COST
from publisher.books.billing import rounds_of
from publisher.fetchers import connections
from publisher.kalshi.budget import BASIC, PUBLISHER_SHARE, Budget
from publisher.sweep import DISCOVERY_PAGES
from publisher.urls import slices
from simulator.front.limits import RequestLimits

DAY_S = 86_400.0
INTERVAL_S = 12.0
OTHERS = 5
"""Status, created, missing, unjoined, a series: requests beside slices and discovery."""


class Day:
    """The planner's requests against the exchange's buckets, on one clock that events move."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.budget = Budget(BASIC, Random(seed), 0.0)
        self.gateway = Budget(BASIC, Random(seed), 0.0, share=1 - PUBLISHER_SHARE)
        self.exchange = RequestLimits("basic")
        self.gateway_s = 0.0
        self.refused = 0
        self.requests = 0

    def request(self, at_s: float, reserve: float = 0) -> float:
        """Send a request as soon as the budget allows; return when its answer is there."""
        while wait_s := self.budget.take(COST, at_s, reserve):
            at_s += wait_s
        self.orders_until(at_s)
        self.arrive(at_s)
        self.requests += 1
        return at_s + self.random.uniform(0.14, 0.21)

    def orders_until(self, end_s: float) -> None:
        """The order gateway takes its share, all of it."""
        while True:
            self.gateway_s += self.gateway.take(COST, self.gateway_s)
            if self.gateway_s > end_s:
                return
            if not self.gateway.take(COST, self.gateway_s):
                self.arrive(self.gateway_s)

    def arrive(self, at_s: float) -> None:
        # The exchange's clock may run slower than ours, by one in a hundred; one caller, one bucket.
        self.refused += not self.exchange.take("key", False, COST, round(at_s * 990))


def live_a_day(seed: int, seconds: float = DAY_S) -> int:
    """Sweep for a day; fail if it was ever late, refused or idle. Returns the requests."""
    events = {f"KXSERIES{n % 15_000:05d}-26NOV22EVENT{n:06d}": 8 for n in range(16_250)}
    parts = len(list(slices(events)))
    requests = parts + DISCOVERY_PAGES + OTHERS
    day, longest_s, began_s = Day(seed), 0.0, 0.0
    count = connections(day.budget.rate_per_s, 0.175, 8)
    rounds, calls = rounds_of(day.budget, INTERVAL_S, requests, 3)
    reserve = min(requests * COST, 0.8 * day.budget.capacity)

    while began_s < seconds:
        free = [began_s] * count
        for _ in range(parts):
            heapq.heapreplace(free, day.request(free[0]))
        now_s = max(free)
        for _ in range(DISCOVERY_PAGES + OTHERS):
            now_s = day.request(now_s)
        longest_s = max(longest_s, now_s - began_s)
        for _ in range(rounds * calls):
            if now_s > began_s + INTERVAL_S:
                break
            now_s = day.request(now_s, reserve)
        began_s = max(began_s + INTERVAL_S, now_s)

    assert sum(events.values()) == 130_000
    assert day.refused == 0
    assert requests * COST <= 0.55 * INTERVAL_S * day.budget.rate_per_s
    assert longest_s < INTERVAL_S
    assert day.requests > seconds / INTERVAL_S * requests * 0.99
    return day.requests


@pytest.mark.slow
def test_day_of_sweeps_stays_within_interval_and_budget() -> None:
    live_a_day(1)
