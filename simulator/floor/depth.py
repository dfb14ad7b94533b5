"""The crowd's part of an order book: bids for YES and NO, the best of each dictated by the market's quote.

The quote process knows only best prices and sizes. A book is made when somebody first looks deeper or places
an order; from then on it follows the quote level by level, so that snapshots and differences always agree.
"""

from math import exp, log
from random import Random
from typing import Final

from markets.units import PRICE_ONE_E4
from simulator.matching.book import NO, YES, Change, Half, OrderBook

from .draws import index, skip
from .grid import Grid

_DEPTH: Final = 12
"""How many levels a side aims to have behind its best."""

_MOST: Final = 3 * _DEPTH
"""How many levels a side has at most."""

_NOBODY: Final = (0, 0)
"""The best level of an empty side."""


class Depth:
    """Keeps the crowd's levels of a book behind the quote.

    Attributes:
        book: the whole book, users' orders included; its sides are `yes` and `no`.
    """

    __slots__ = ("_rng", "book", "no", "yes")

    def __init__(self, seed: str) -> None:
        self.book = OrderBook()
        self.yes, self.no = self.book.yes, self.book.no
        self._rng = Random(seed)

    def quote(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the crowd's own best YES bid and ask, each (price_e4, count_e2); a count of 0 is none."""
        yes, no = self.yes, self.no
        no_bid, no_bid_e2 = no.rungs[-1] if no.rungs else _NOBODY
        return yes.rungs[-1] if yes.rungs else _NOBODY, (PRICE_ONE_E4 - no_bid, no_bid_e2)

    def follow(
        self,
        grid: Grid,
        bid: tuple[int, int],
        ask: tuple[int, int],
        typical_e2: int,
        changes: list[Change] | None = None,
    ) -> bool:
        """Set the crowd's best levels to the quote; return whether anything has changed.

        Args:
            grid: the market's price grid.
            bid: best YES bid (price_e4, count_e2); count 0 empties the side.
            ask: best YES ask (price_e4, count_e2); count 0 empties the side.
            typical_e2: usual size of a level of this market.
            changes: the differences are added to it, in a fixed order.
        """
        moved = False
        price, count = ask
        for side, half, best in ((YES, self.yes, bid), (NO, self.no, (PRICE_ONE_E4 - price, count))):
            rungs = half.rungs
            if best != (rungs[-1] if rungs else _NOBODY):  # often only the other side has moved
                changed = half.lead_crowd(best)
                if changed:
                    moved = True
                    if changes is not None:
                        changes += [Change(side, level, delta) for level, delta in changed]
            price, count = best
            if count and not _DEPTH < len(rungs) <= _MOST:
                moved = self._deepen(side, half, grid, price, typical_e2, changes) or moved
        return moved

    def flicker(self, grid: Grid, typical_e2: int, changes: list[Change] | None) -> None:
        """Change one level behind a best one, as quoters do all the time; add the difference to `changes`."""
        rng = self._rng
        side, half = (YES, self.yes) if rng.random() < 0.5 else (NO, self.no)
        rungs = half.rungs
        behind = len(rungs) - 1
        if behind < 1:
            return
        price, _ = rungs[index(rng, behind)]
        if rng.random() < 0.3 and behind > 3:
            new = 0
        else:
            if rng.random() < 0.3 and behind < _MOST - 1:
                deeper = grid.below(price)
                if deeper is not None and not half.crowd_at(deeper):
                    price = deeper
            new = _whole(typical_e2 * exp(rng.normalvariate(-0.5, 1)))
        delta = half.set_crowd(price, new)
        if delta and changes is not None:
            changes.append(Change(side, price, delta))

    def _deepen(
        self,
        side: str,
        half: Half,
        grid: Grid,
        price: int,
        typical_e2: int,
        changes: list[Change] | None,
    ) -> bool:
        """Let a side whose best is at `price` have about as many levels as it should; see `follow`."""
        rungs, rng, lowest = half.rungs, self._rng, grid.prices[0]
        chance, moved = rng.random, False
        # A new book gets its depth at once, an old one gradually.
        rounds = _MOST if len(rungs) < 2 else 1
        if price == lowest:  # there is nothing deeper: all is drawn in vain
            skip(rng, 2 * rounds)
            return False
        for _ in range(rounds):
            if len(rungs) > _DEPTH:
                break
            deepest = rungs[0][0] if chance() < 0.7 else price
            draw = chance()
            if deepest == lowest:
                continue
            below = grid.below(deepest, 1 + int(-log(1.0 - draw) / 1.2))
            if below is None:
                below = lowest
            if below >= price or (below >= rungs[0][0] and half.crowd_at(below)):
                continue
            # At a cent or two there is size that waits for a miracle (seen: 966,425 at 0.01).
            scale = 8 if below <= 300 else 1
            size = _whole(typical_e2 * scale * exp(rng.normalvariate(0, 1)))
            moved = True
            half.add_crowd(below, size)
            if changes is not None:
                changes.append(Change(side, below, size))
        while len(rungs) > _MOST:
            moved = True
            worst, _ = rungs[0]
            delta = half.set_crowd(worst, 0)
            if changes is not None:
                changes.append(Change(side, worst, delta))
        return moved


def _whole(count_e2: float) -> int:
    """Return a size in whole contracts, at least one."""
    size = int(count_e2)
    return size - size % 100 if size >= 200 else 100
