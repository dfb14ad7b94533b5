"""Orders that rest in a market, and what of them public trades fill: the model of the queue. Pure.

Nobody else sees these orders, so their place is worked out from public data; where two readings are possible,
the one that fills less is taken:

* An order that arrives has everything shown at its price ahead of it, and our own earlier orders. What is
  added later is behind it. While nothing shows the level (a quote has a better best price), its place is
  unknown; it becomes the end of what the level first shows.
* A trade at the price takes from the front: first what is ahead, then the order.
* What disappears without a trade was cancelled by somebody: the order gains from it in proportion to what was
  ahead. A trade and the shrinking of its level are reported separately, in either order: within MATCH_MS they
  count as one, and what was gained too early is given back.
* A trade beyond the price (whoever sold for less would have sold here first) fills without regard to what is
  ahead, since the level must be gone: never more than was traded.
* Another price or a larger count is a new place at the end; a smaller count keeps its place.

Data of a market in doubt (suspect, crossed) is ignored. Trades that were not heard, as in a gap of the feed,
fill nothing. Counts are in hundredths of contracts, prices those of the side that the order buys.
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import msgspec

from markets.book import NO, YES, bids, top_of_quote
from markets.opportunities import MarketView
from markets.opportunities.legs import top
from markets.records import Trade
from markets.units import opposite

MATCH_MS: Final = 2_000
"""How far apart a trade and the shrinking of its level may be to count as one."""


class Hit(NamedTuple):
    """A part of an order that is filled, at its own price."""

    number: int
    count_e2: int


class Resting(msgspec.Struct):
    """An order in a queue. `ahead_e2` is what others have ahead of it, None while nothing shows the level."""

    number: int
    side: str
    price_e4: int
    left_e2: int
    ahead_e2: int | None = None


class _Shrunk(NamedTuple):
    """What disappeared from a level without a trade, and what each order gained from it."""

    at_ms: int
    count_e2: int
    gained_e2: dict[int, int]


class _Level(msgspec.Struct):
    """What is known of one price: `traded` are trades whose shrinking was not seen yet, (time, count)."""

    shown_e2: int | None = None
    traded: list[tuple[int, int]] = []
    shrunk: list[_Shrunk] = []

    def forget(self, now_ms: int) -> None:
        self.traded = [one for one in self.traded if now_ms - one[0] <= MATCH_MS]
        self.shrunk = [one for one in self.shrunk if now_ms - one.at_ms <= MATCH_MS]


class MarketQueue:
    """The orders that rest in one market, in the order in which they came."""

    def __init__(self) -> None:
        self.orders: dict[int, Resting] = {}
        self._levels: dict[tuple[str, int], _Level] = {}

    def join(self, order: Resting, seen: MarketView | None) -> None:
        """Put an order at the end of the queue of its price.

        One that already has a place, from a previous process, keeps it as far as the level shows that much.
        """
        level = self._levels.setdefault((order.side, order.price_e4), _Level())
        if seen is not None and not _in_doubt(seen):
            level.shown_e2 = shown_at(seen, order.side, order.price_e4)
        if level.shown_e2 is not None:
            order.ahead_e2 = _least(order.ahead_e2, level.shown_e2)
        self.orders[order.number] = order

    def leave(self, number: int) -> Resting | None:
        """Take an order out and return it; None if it does not rest here."""
        order = self.orders.pop(number, None)
        if order is not None and not any(self._at(order.side, order.price_e4)):
            del self._levels[order.side, order.price_e4]
        return order

    def change(self, number: int, price_e4: int, left_e2: int, seen: MarketView | None) -> None:
        """Let an order rest at another price or with another count."""
        order = self.orders[number]
        if price_e4 == order.price_e4 and left_e2 <= order.left_e2:
            order.left_e2 = left_e2
            return
        self.leave(number)
        self.join(Resting(number, order.side, price_e4, left_e2), seen)

    def observe(self, seen: MarketView, now_ms: int) -> None:
        """Look at the market as it now is. `now_ms` is by a clock that never jumps."""
        if _in_doubt(seen):
            return
        for (side, price_e4), level in self._levels.items():
            level.forget(now_ms)
            shown_e2, before_e2 = shown_at(seen, side, price_e4), level.shown_e2
            level.shown_e2 = shown_e2
            if shown_e2 is None:
                continue
            orders = list(self._at(side, price_e4))
            if before_e2 is not None and shown_e2 < before_e2:
                self._shrink(level, orders, before_e2, before_e2 - shown_e2, now_ms)
            for order in orders:
                order.ahead_e2 = _least(order.ahead_e2, shown_e2)

    def trade(self, trade: Trade, now_ms: int) -> list[Hit]:
        """Take a public trade; return what it fills, the best price first."""
        side = NO if trade.taker_side == YES else YES
        price_e4 = trade.yes_price_e4 if side == YES else opposite(trade.yes_price_e4)
        left_e2 = trade.count_e2
        hits: list[Hit] = []
        better = sorted(
            (order for order in self.orders.values() if order.side == side and order.price_e4 > price_e4),
            key=lambda order: -order.price_e4,
        )
        for order in better:
            order.ahead_e2 = 0
            count_e2 = min(order.left_e2, left_e2)
            left_e2 -= count_e2
            hits += self._hit(order, count_e2)
        level = self._levels.get((side, price_e4))
        if level is not None:
            orders = list(self._at(side, price_e4))
            self._explain(level, orders, trade.count_e2, now_ms)
            for order in orders:
                if order.ahead_e2 is None:
                    continue
                passed_e2 = min(order.ahead_e2, left_e2)
                order.ahead_e2 -= passed_e2
                count_e2 = min(order.left_e2, left_e2 - passed_e2)
                left_e2 -= count_e2
                hits += self._hit(order, count_e2)
        return hits

    def hit(self, number: int, count_e2: int) -> None:
        """Note that a part of an order was filled otherwise than by a public trade."""
        self.orders[number].left_e2 -= count_e2

    @staticmethod
    def _hit(order: Resting, count_e2: int) -> Iterator[Hit]:
        if count_e2:
            order.left_e2 -= count_e2
            yield Hit(order.number, count_e2)

    def _at(self, side: str, price_e4: int) -> Iterator[Resting]:
        return (order for order in self.orders.values() if order.side == side and order.price_e4 == price_e4)

    @staticmethod
    def _shrink(level: _Level, orders: Iterable[Resting], before_e2: int, less_e2: int, now_ms: int) -> None:
        """Take note that a level shrank: what trades do not account for was cancelled by somebody."""
        traded, level.traded = level.traded, []
        for at_ms, count_e2 in traded:
            seen_e2 = min(count_e2, less_e2)
            less_e2, before_e2 = less_e2 - seen_e2, before_e2 - seen_e2
            if count_e2 > seen_e2:
                level.traded.append((at_ms, count_e2 - seen_e2))
        if not less_e2:
            return
        gained_e2 = {}
        for order in orders:
            if order.ahead_e2:
                gained_e2[order.number] = min(order.ahead_e2, order.ahead_e2 * less_e2 // before_e2)
                order.ahead_e2 -= gained_e2[order.number]
        level.shrunk.append(_Shrunk(now_ms, less_e2, gained_e2))

    @staticmethod
    def _explain(level: _Level, orders: Iterable[Resting], count_e2: int, now_ms: int) -> None:
        """Take note of a trade at a level: it accounts for what just disappeared from it."""
        level.forget(now_ms)
        by_number = {order.number: order for order in orders}
        shrunk, level.shrunk = level.shrunk, []
        for one in shrunk:
            meant_e2 = min(one.count_e2, count_e2)
            count_e2 -= meant_e2
            rest_e2 = dict(one.gained_e2)
            for number, gained_e2 in one.gained_e2.items():
                back_e2 = -(-gained_e2 * meant_e2 // one.count_e2)
                rest_e2[number] -= back_e2
                order = by_number.get(number)
                if order is not None and order.ahead_e2 is not None:
                    order.ahead_e2 += back_e2
            if meant_e2 < one.count_e2:
                level.shrunk.append(_Shrunk(one.at_ms, one.count_e2 - meant_e2, rest_e2))
        if count_e2:
            level.traded.append((now_ms, count_e2))


def shown_at(seen: MarketView, side: str, price_e4: int) -> int | None:
    """Return how much others bid for a side at a price; None if nothing shows that level.

    The newer of book and quote decides; beyond a quote's best price there is only the book.
    """
    levels = None if seen.book is None else dict(bids(seen.book, side))
    if levels is not None and (seen.book_as_of_ms or 0) >= seen.quote_as_of_ms:
        return levels.get(price_e4, 0)
    best = top_of_quote(seen.quote).bid(side)
    if best is None or price_e4 > best[0]:
        return 0
    if price_e4 == best[0]:
        return best[1]
    return None if levels is None else levels.get(price_e4, 0)


def _in_doubt(seen: MarketView) -> bool:
    return seen.suspect or top(seen).crossed


def _least(before_e2: int | None, shown_e2: int) -> int:
    return shown_e2 if before_e2 is None else min(before_e2, shown_e2)
