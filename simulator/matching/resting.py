"""What a party's resting orders may cost it: the value that admission compares with its balance.

Orders on one side of a market are filled in order of price, so the best of them close what is held on the
other side, and the rest open. Each order is valued at the most cash that one fill of it could take: price
times what it opens, fee and rounding, less collateral that would be returned, plus collateral that would be
taken back. The exchange books one fill at a time and asks again (`Ledger.unpayable`), so cash never falls
below zero.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final

from .fees import trade_fee_e6, worst_cost_e6
from .orders import BID, Instrument, Order, Side
from .returns import Returned

_ONE_E4: Final = 10_000
_rank = attrgetter("rank")


@dataclass(slots=True, eq=False)
class Resting:
    """An order as its party's books know it; `opening_e6` is its worst cost if all of it opens.

    Attributes:
        rank: place among the orders of its side, best price first.
    """

    order: Order
    price_e4: int
    count_e2: int
    is_taker: bool
    opening_e6: int
    rank: tuple[int, int]


def resting(order: Order, count_e2: int, is_taker: bool, grid_e6: int) -> Resting:
    """Return the entry for an order with `count_e2` left to fill."""
    price_e4 = order.price_e4
    return Resting(
        order=order,
        price_e4=price_e4,
        count_e2=count_e2,
        is_taker=is_taker,
        opening_e6=worst_cost_e6(order.instrument, order.side, price_e4, count_e2, is_taker, grid_e6),
        rank=(-price_e4 if order.side == BID else price_e4, order.number),
    )


@dataclass(slots=True, eq=False)
class SideOfMarket:
    """A party's resting orders on one side of one market, best price first."""

    side: Side
    orders: list[Resting] = field(default_factory=list)
    opening_e6: int = 0
    value_e6: int = 0

    def put(self, entry: Resting) -> None:
        """Add an order."""
        insort(self.orders, entry, key=_rank)
        self.opening_e6 += entry.opening_e6

    def take(self, entry: Resting) -> None:
        """Remove an order that was added."""
        index = bisect_left(self.orders, entry.rank, key=_rank)
        assert self.orders[index] is entry
        del self.orders[index]
        self.opening_e6 -= entry.opening_e6


@dataclass(slots=True, eq=False)
class MarketOrders:
    """A party's resting orders in one market."""

    instrument: Instrument
    bids: SideOfMarket = field(default_factory=lambda: SideOfMarket("bid"))
    asks: SideOfMarket = field(default_factory=lambda: SideOfMarket("ask"))

    def of(self, side: Side) -> SideOfMarket:
        """Return one side."""
        return self.bids if side == BID else self.asks


def closing_e2(side: Side, position_e2: int) -> int:
    """Return how many contracts of a side would only close the position."""
    return max(0, -position_e2 if side == BID else position_e2)


def value_e6(side: Side, orders: Iterable[Resting], position_e2: int, grid_e6: int) -> int:
    """Return what the orders of one side may cost beside a position, without collateral return."""
    closing, total_e6 = closing_e2(side, position_e2), 0
    for entry in orders:
        if not closing:
            total_e6 += entry.opening_e6
        elif entry.count_e2 <= closing:
            closing -= entry.count_e2
        else:
            total_e6 += worst_cost_e6(
                entry.order.instrument,
                side,
                entry.price_e4,
                entry.count_e2 - closing,
                entry.is_taker,
                grid_e6,
            )
            closing = 0
    return total_e6


def price_value_e6(side: Side, orders: Iterable[Resting], position_e2: int) -> int:
    """Return price times count of what the orders of one side would open beside a position."""
    closing, total_e6 = closing_e2(side, position_e2), 0
    for entry in orders:
        closed_e2 = min(entry.count_e2, closing)
        closing -= closed_e2
        unit_e4 = entry.price_e4 if side == BID else _ONE_E4 - entry.price_e4
        total_e6 += unit_e4 * (entry.count_e2 - closed_e2)
    return total_e6


def value_with_return_e6(
    side: Side,
    orders: Sequence[Resting],
    position_e2: int,
    returned: Returned,
    ticker: str,
    grid_e6: int,
) -> int:
    """Return what the orders of one side may cost beside a position, if collateral is returned.

    For an ask that opens NO, what would be returned is deducted. A bid that closes NO has to pay back, and
    its proceeds may not cover that.
    """
    others, closing, total_e6 = returned.others(ticker), closing_e2(side, position_e2), 0
    no_e2 = max(0, -position_e2)
    # Settlement values in hundredths of a cent lead to returns that are not multiples of the grid.
    slack_e6 = grid_e6 if returned.settled_e4 else 0
    for entry in orders:
        instrument, price_e4 = entry.order.instrument, entry.price_e4
        closed_e2 = min(entry.count_e2, closing)
        opened_e2 = entry.count_e2 - closed_e2
        closing -= closed_e2
        cost_e6 = slack_e6
        if opened_e2:
            cost_e6 += worst_cost_e6(instrument, side, price_e4, opened_e2, entry.is_taker, grid_e6)
        if side != BID and opened_e2:
            before_e6 = returned.returned_if_e6(others, no_e2)
            no_e2 += opened_e2
            cost_e6 -= returned.returned_if_e6(others, no_e2) - before_e6
        elif side == BID and closed_e2:
            before_e6 = returned.returned_if_e6(others, no_e2)
            no_e2 -= closed_e2
            back_e6 = before_e6 - returned.returned_if_e6(others, no_e2)
            proceeds_e6 = (_ONE_E4 - price_e4) * closed_e2
            proceeds_e6 -= trade_fee_e6(instrument, price_e4, closed_e2, entry.is_taker)
            cost_e6 += max(0, back_e6 - proceeds_e6 // grid_e6 * grid_e6)
        total_e6 += max(0, cost_e6)
    return total_e6
