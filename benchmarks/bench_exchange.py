"""The simulated exchange: cost of one order in the ledger, in the engine and over HTTP, at 1,500 markets.

Each row is one path of an order through the ledger, for an account with positions in all markets and some
resting orders in each. Target: below 60 us, so that an exchange with 5,000 orders a second (200 us each) has
the rest for matching, books and announcements. Times are processor time. The reference is the tests' own
accounting of a fill, in plain Decimal.
"""

import statistics
import time
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from itertools import count
from random import Random
from typing import Final

from benchmarks import order_load
from simulator.matching.ledger import Ledger
from simulator.matching.orders import ASK, BID, Order, OrderSwitches, Side
from tests.simulator.matching.accounts_by_hand import Account, Terms, Traded
from tests.simulator.matching.trades import NOW_MS, Market

MARKETS: Final = 1_500
ROUNDS: Final = 60
PER_ROUND: Final = 500
ACCOUNTS: Final = 4


def main() -> None:
    """Measure and print."""
    print(__doc__)
    print("| one order | p10 us | p50 us | reference us | target |\n|---|---|---|---|---|")
    reference = median(reference_fill)
    for name, netting, way in (
        ("admitted, rests, is cancelled", False, rest_and_cancel),
        ("admitted, filled at once by the crowd", False, take),
        ("admitted, rests, is filled in two parts by the crowd", False, make),
        ("admitted, filled at once, collateral returned", True, take),
        ("admitted, rests, is filled in two parts, collateral returned", True, make),
    ):
        desk = Desk(netting)
        ordered = sorted(microseconds(partial(way, desk)) for _ in range(ROUNDS))
        desk.ledger.audit()
        p10 = ordered[len(ordered) // 10]
        print(
            f"| {name} | {p10:.1f} | {statistics.median(ordered):.1f} | {reference:.0f} | < 60 |", flush=True
        )
    order_load.in_process()
    order_load.over_http()


class Desk:
    """Accounts with positions and resting orders in all markets."""

    def __init__(self, netting: bool) -> None:
        self.rng = Random(1)
        self.numbers = count(1)
        self.ledger = Ledger(OrderSwitches(collateral_return=netting), (0, 1, 2, 3))
        self.markets = [
            Market(f"KXM-{number}", f"KXE-{number // 3}", number % 4, exclusive=True)
            for number in range(MARKETS)
        ]
        for account in range(1, ACCOUNTS + 1):
            self.ledger.open(account, 10**13)
            for market in self.markets:
                self.fill(self.order(account, market, self.rng.choice([BID, ASK])), 1_000, True)
                for side in (BID, ASK):
                    self.ledger.add(self.order(account, market, side))

    def order(self, account: int, market: Market, side: Side) -> Order:
        number = next(self.numbers)
        price_e4 = self.rng.randint(1, 49) * 100
        return Order(
            order_id=str(number),
            client_order_id=str(number),
            party=(account, 0),
            instrument=market,
            side=side,
            price_e4=price_e4 if side == BID else 10_000 - price_e4,
            initial_e2=1_000,
            remaining_e2=1_000,
            time_in_force="good_till_canceled",
            self_trade="taker_at_cross",
            created_ms=NOW_MS,
            updated_ms=NOW_MS,
            number=number,
        )

    def any_order(self) -> Order:
        return self.order(
            self.rng.randint(1, ACCOUNTS), self.rng.choice(self.markets), self.rng.choice([BID, ASK])
        )

    def fill(self, order: Order, count_e2: int, taker: bool) -> None:
        self.ledger.book(order, "t", order.price_e4, count_e2, taker, NOW_MS)
        self.ledger.crowd(order.instrument, ASK if order.side == BID else BID, order.price_e4, count_e2)


def rest_and_cancel(desk: Desk) -> list[Callable[[], None]]:
    """Return what is timed, one call an order."""

    def way(order: Order) -> Callable[[], None]:
        def run() -> None:
            assert desk.ledger.admit(order)
            desk.ledger.add(order)
            desk.ledger.drop(order)

        return run

    return [way(desk.any_order()) for _ in range(PER_ROUND)]


def take(desk: Desk) -> list[Callable[[], None]]:
    """Return what is timed, one call an order."""

    def way(order: Order) -> Callable[[], None]:
        def run() -> None:
            assert desk.ledger.admit(order)
            assert desk.ledger.pays(order, order.price_e4, 1_000)
            desk.fill(order, 1_000, True)
            assert not desk.ledger.unpayable(order.party, order.instrument.exchange_index)

        return run

    return [way(desk.any_order()) for _ in range(PER_ROUND)]


def make(desk: Desk) -> list[Callable[[], None]]:
    """Return what is timed, one call an order."""

    def way(order: Order) -> Callable[[], None]:
        def run() -> None:
            assert desk.ledger.admit(order)
            desk.ledger.add(order)
            order.remaining_e2 -= 400
            desk.ledger.touch(order)
            desk.fill(order, 400, False)
            order.remaining_e2 -= 600
            desk.ledger.drop(order)
            desk.fill(order, 600, False)
            assert not desk.ledger.unpayable(order.party, order.instrument.exchange_index)

        return run

    return [way(desk.any_order()) for _ in range(PER_ROUND)]


def microseconds(way: Callable[[], list[Callable[[], None]]]) -> float:
    """Return the time of one order in a round of them."""
    calls = way()
    start = time.thread_time_ns()
    for call in calls:
        call()
    return (time.thread_time_ns() - start) / len(calls) / 1000


def median(way: Callable[[], list[Callable[[], None]]]) -> float:
    return statistics.median(microseconds(way) for _ in range(5))


def reference_fill() -> list[Callable[[], None]]:
    """Return one taker's fill and the crowd's side of it, in Decimal."""
    account = Account(Decimal("0.0001"), whole_cents=True)
    terms = Terms("M", "E", 0, exclusive=False, fee_type="quadratic", multiplier=Decimal(1))

    def run() -> None:
        for holder in ((1, 0), None):
            account.take(Traded(holder, 1, terms, holder is None, Decimal("0.43"), Decimal(10), taker=True))

    return [run] * PER_ROUND
