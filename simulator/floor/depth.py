"""An order book: bids of YES and of NO, the best of each dictated by the market's quote.

The quote process knows best prices and sizes only. A book is made when somebody first looks deeper; from
then on it follows the quote level by level, so that what is served as a snapshot and what is sent as
differences are always the same thing.
"""

from collections.abc import Iterator
from random import Random
from typing import Final

from markets.units import PRICE_ONE_E4

from .grid import Grid

YES: Final = "yes"
NO: Final = "no"
_DEPTH: Final = 12
"""Levels a side aims to have behind its best."""

Change = tuple[str, int, int]
"""One difference: (side, price_e4 in that side's own prices, signed change of count_e2)."""


class Book:
    """Levels of both sides: price_e4 in the side's own prices -> count_e2, best the highest."""

    __slots__ = ("_rng", "no", "yes")

    def __init__(self, seed: str) -> None:
        self._rng = Random(seed)
        self.yes: dict[int, int] = {}
        self.no: dict[int, int] = {}

    def follow(self, grid: Grid, bid: tuple[int, int], ask: tuple[int, int], typical_e2: int) -> list[Change]:
        """Make the best levels what the quote says and return the differences, in a fixed order.

        Args:
            grid: the market's price grid.
            bid: best YES bid (price_e4, count_e2); count 0 empties the side.
            ask: best YES ask (price_e4, count_e2); count 0 empties the side.
            typical_e2: usual size of a level of this market.
        """
        no_best = (PRICE_ONE_E4 - ask[0], ask[1])
        changes = [(YES, price, delta) for price, delta in self._side(self.yes, grid, bid, typical_e2)]
        changes += [(NO, price, delta) for price, delta in self._side(self.no, grid, no_best, typical_e2)]
        return changes

    def flicker(self, grid: Grid, typical_e2: int) -> list[Change]:
        """Change one level behind a best one, as quoters do all the time."""
        rng = self._rng
        side, levels = (YES, self.yes) if rng.random() < 0.5 else (NO, self.no)
        if len(levels) < 2:
            return []
        prices = sorted(levels)[:-1]
        price = prices[rng.randrange(len(prices))]
        if rng.random() < 0.3 and len(prices) > 3:
            return [(side, price, -levels.pop(price))]
        deeper = grid.below(price)
        if rng.random() < 0.3 and deeper is not None and deeper not in levels and len(levels) < 3 * _DEPTH:
            price = deeper
        old = levels.get(price, 0)
        new = max(100, int(typical_e2 * rng.lognormvariate(-0.5, 1)) // 100 * 100)
        levels[price] = new
        return [(side, price, new - old)] if new != old else []

    def _side(
        self, levels: dict[int, int], grid: Grid, best: tuple[int, int], typical_e2: int
    ) -> Iterator[tuple[int, int]]:
        price, count = best
        for gone in sorted(level for level in levels if level > price or not count):
            yield gone, -levels.pop(gone)
        if not count:
            return
        if delta := count - levels.get(price, 0):
            levels[price] = count
            yield price, delta
        for _ in range(
            3 * _DEPTH if len(levels) < 2 else 1
        ):  # a new book gets its depth at once, an old one slowly
            if len(levels) > _DEPTH:
                break
            below = grid.below(
                min(levels) if self._rng.random() < 0.7 else price, 1 + int(self._rng.expovariate(1.2))
            )
            if below is None:
                below = grid.prices[0]
            if below >= price or below in levels:
                continue
            # At a cent or two stands size that waits for a miracle (seen: 966,425 at 0.01).
            scale = 8 if below <= 300 else 1
            levels[below] = size = max(
                100, int(typical_e2 * scale * self._rng.lognormvariate(0, 1)) // 100 * 100
            )
            yield below, size
        while len(levels) > 3 * _DEPTH:
            worst = min(levels)
            yield worst, -levels.pop(worst)
