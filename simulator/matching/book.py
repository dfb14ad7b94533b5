"""A market's order book: the crowd's contracts and the users' orders at each price, by price and time.

Both sides are bids: for YES, and for NO at one dollar less an ask's price. In its own prices, the best of a
side is its highest, and two orders meet when their prices add up to a dollar or more.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Final, NamedTuple

from markets.units import PRICE_ONE_E4

from .orders import ASK, BID, Order, Side

YES: Final = "yes"
NO: Final = "no"

_NO_RUNG: Final = (-1, 0)
"""In place of the best level of an empty side: below any price."""


class Change(NamedTuple):
    """One difference of a book: `delta_e2` at `price_e4`, in that side's own prices.

    `order` is the user's order that caused it by being placed, changed or cancelled; otherwise None.
    """

    side: str
    price_e4: int
    delta_e2: int
    order: Order | None = None


def side_of(side: Side) -> str:
    """Return the side of the book that an order of `side` rests on."""
    return YES if side == BID else NO


def own_price(side: Side, price_e4: int) -> int:
    """Return a YES price in the prices of the side that an order of `side` rests on, and vice versa."""
    return price_e4 if side == BID else PRICE_ONE_E4 - price_e4


def opposite(side: Side) -> Side:
    """Return the side that an order of `side` meets."""
    return ASK if side == BID else BID


class Half:
    """One side of a book.

    Attributes:
        rungs: (price_e4, count_e2) of the crowd's contracts at each price, ascending; never 0. Others only
            read it.
        orders: price_e4 -> the users' orders there, earliest first; never empty.

    `Order.ahead_e2` of the crowd's contracts at a price came before an order. Within a price the crowd's are
    before, between and behind the orders, so `ahead_e2` never decreases along the queue.
    """

    __slots__ = ("orders", "rungs")

    def __init__(self) -> None:
        self.rungs: list[tuple[int, int]] = []
        self.orders: dict[int, list[Order]] = {}

    @property
    def crowd(self) -> dict[int, int]:
        """The crowd's contracts by price, a new dict."""
        return dict(self.rungs)

    def crowd_at(self, price_e4: int) -> int:
        """Return the crowd's contracts at a price."""
        rungs = self.rungs
        index = bisect_left(rungs, (price_e4,))
        return rungs[index][1] if index < len(rungs) and rungs[index][0] == price_e4 else 0

    def count_at(self, price_e4: int) -> int:
        """Return all contracts at a price."""
        orders = self.orders.get(price_e4)
        own = sum(order.remaining_e2 for order in orders) if orders else 0
        return self.crowd_at(price_e4) + own

    def best(self) -> int | None:
        """Return the best price, None if the side is empty."""
        best = self.rungs[-1][0] if self.rungs else -1
        if self.orders:
            best = max(best, *self.orders)
        return best if best >= 0 else None

    def levels(self) -> dict[int, int]:
        """Return price_e4 -> all contracts there, unordered. Not to be changed."""
        if not self.orders:
            return self.crowd
        return {price: self.count_at(price) for price in {*self.crowd, *self.orders}}

    def ladder(self) -> tuple[tuple[int, int], ...]:
        """Return (price_e4, all contracts there), ascending."""
        if self.orders:
            return tuple(sorted(self.levels().items()))
        return tuple(self.rungs)

    def set_crowd(self, price_e4: int, count_e2: int) -> int:
        """Set how much the crowd has at a price, and return the difference.

        What is added goes behind all orders. What is removed may have been anywhere: orders advance in
        proportion.
        """
        before = self._set(price_e4, count_e2)
        if count_e2 < before and self.orders:
            self._bring_forward(price_e4, count_e2, before)
        return count_e2 - before

    def add_crowd(self, price_e4: int, count_e2: int) -> None:
        """Let the crowd have contracts at a price where it has none: the same, sooner."""
        insort(self.rungs, (price_e4, count_e2))

    def lead_crowd(self, best: tuple[int, int]) -> list[tuple[int, int]]:
        """Make this (price_e4, count_e2) the crowd's best; with a count of 0 nothing of the crowd is left.

        Return (price_e4, difference) of each level that has changed: those removed, ascending, then the best.
        """
        price, count = best
        rungs, least = self.rungs, price if count else 0
        level, before = rungs[-1] if rungs else _NO_RUNG
        changed: list[tuple[int, int]] = []
        while level > least:
            del rungs[-1]
            changed.append((level, -before))
            if self.orders:
                for order in self.orders.get(level, ()):
                    order.ahead_e2 = 0
            level, before = rungs[-1] if rungs else _NO_RUNG
        if changed:
            changed.reverse()
        # What remains is at this price or worse: no place need be looked for.
        if level != price:
            if count:
                rungs.append(best)
                changed.append(best)
        elif count != before:
            rungs[-1] = best
            if count < before and self.orders:
                self._bring_forward(price, count, before)
            changed.append((price, count - before))
        return changed

    def _bring_forward(self, price_e4: int, count_e2: int, before_e2: int) -> None:
        """Let the orders at a price advance: the crowd's contracts there have become fewer."""
        for order in self.orders.get(price_e4, ()):
            order.ahead_e2 = order.ahead_e2 * count_e2 // before_e2

    def _set(self, price_e4: int, count_e2: int) -> int:
        """Set how much the crowd has at a price; return how much it had."""
        rungs = self.rungs
        index = bisect_left(rungs, (price_e4,))
        if index < len(rungs):
            level, before = rungs[index]
            if level == price_e4:
                if count_e2:
                    rungs[index] = price_e4, count_e2
                else:
                    del rungs[index]
                return before
        if count_e2:
            rungs.insert(index, (price_e4, count_e2))
        return 0

    def take_crowd(self, price_e4: int, count_e2: int) -> None:
        """Take the crowd's first contracts at a price, those before every order."""
        self._set(price_e4, self.crowd_at(price_e4) - count_e2)
        for order in self.orders.get(price_e4, ()):
            order.ahead_e2 -= count_e2

    def withdraw_crowd(self, price_e4: int, count_e2: int) -> int:
        """Take the crowd's last contracts at a price, those behind the orders, and return the difference."""
        left = self.crowd_at(price_e4) - count_e2
        self._set(price_e4, left)
        for order in self.orders.get(price_e4, ()):
            order.ahead_e2 = min(order.ahead_e2, left)
        return -count_e2

    def join(self, price_e4: int, order: Order) -> None:
        """Put an order at the end of the queue of a price."""
        order.ahead_e2 = self.crowd_at(price_e4)
        self.orders.setdefault(price_e4, []).append(order)

    def leave(self, price_e4: int, order: Order) -> None:
        """Remove an order."""
        queue = self.orders[price_e4]
        queue.remove(order)
        if not queue:
            del self.orders[price_e4]


class OrderBook:
    """Both sides of a market's book."""

    __slots__ = ("no", "yes")

    def __init__(self) -> None:
        self.yes = Half()
        self.no = Half()

    @property
    def has_orders(self) -> bool:
        """Whether a user's order rests here."""
        return bool(self.yes.orders or self.no.orders)

    def half(self, side: Side) -> Half:
        """Return the side that an order of `side` rests on."""
        return self.yes if side == BID else self.no

    def quote(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return best YES bid and YES ask, each (price_e4, count_e2); (0, 0) and (10000, 0) if empty."""
        bid, no_bid = self.yes.best(), self.no.best()
        return (
            (0, 0) if bid is None else (bid, self.yes.count_at(bid)),
            (PRICE_ONE_E4, 0) if no_bid is None else (PRICE_ONE_E4 - no_bid, self.no.count_at(no_bid)),
        )

    def resting(self) -> Iterator[Order]:
        """Yield the orders that rest here, in no particular order."""
        for half in (self.yes, self.no):
            for queue in half.orders.values():
                yield from queue

    def before(self, order: Order) -> int:
        """Return how many contracts must be matched before a resting order: its queue position, count_e2.

        All those at better prices and, at its own, the earlier ones of the crowd and of orders.
        """
        half = self.half(order.side)
        price = own_price(order.side, order.price_e4)
        prices = {p for p in (*half.crowd, *half.orders) if p > price}
        ahead = sum(half.count_at(p) for p in prices) + order.ahead_e2
        for other in half.orders[price]:
            if other is order:
                break
            ahead += other.remaining_e2
        return ahead


def combined(changes: list[Change]) -> list[Change]:
    """Return changes merged by price, omitting those that cancel out, in order of first appearance."""
    if len(changes) < 2:
        return changes
    sums: dict[tuple[str, int], Change] = {}
    for change in changes:
        key = (change.side, change.price_e4)
        before = sums.get(key)
        if before is None:
            sums[key] = change
        else:
            sums[key] = Change(*key, before.delta_e2 + change.delta_e2, before.order or change.order)
    return [change for change in sums.values() if change.delta_e2]
