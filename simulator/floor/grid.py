"""Price grids: which prices a market may trade at."""

from bisect import bisect_left
from itertools import pairwise
from math import ceil
from typing import Any, Final

from markets.units import PRICE_ONE_E4, format_price, parse_price_e4

_BANDS: Final[dict[str, tuple[tuple[int, int, int], ...]]] = {
    "linear_cent": ((0, 10_000, 100),),
    "deci_cent": ((0, 10_000, 10),),
    "tapered_deci_cent": ((0, 1_000, 10), (1_000, 9_000, 100), (9_000, 10_000, 10)),
    "center_deci_edge_centi_cent": ((0, 100, 1), (100, 9_900, 10), (9_900, 10_000, 1)),
}


class Grid:
    """One price level structure.

    Attributes:
        name: Kalshi's label, ``price_level_structure``.
        prices: every tradable price_e4, ascending, strictly between 0 and 1.
        ranges: the value of ``price_ranges``.
    """

    def __init__(self, name: str, bands: tuple[tuple[int, int, int], ...]) -> None:
        self.name = name
        self.ranges = [
            {"end": format_price(end), "start": format_price(start), "step": format_price(step)}
            for start, end, step in bands
        ]
        steps = (price for start, end, step in bands for price in range(start, end, step))
        self.prices = tuple(sorted(price for price in set(steps) if 0 < price < PRICE_ONE_E4))
        self._down: list[int | None] = []
        self._up: list[int | None] = []
        """For every whole price from 0 to a dollar, the next tradable one: looked up, it is found soonest."""
        for low, high in pairwise((0, *self.prices, PRICE_ONE_E4 + 1)):
            self._down += [low or None] * (high - low)
        for low, high in pairwise((-1, *self.prices, PRICE_ONE_E4)):
            self._up += [high if high < PRICE_ONE_E4 else None] * (high - low)

    def at_or_below(self, price_e4: float) -> int | None:
        """Return the highest tradable price that is not above `price_e4`; None if there is none."""
        if 0 <= price_e4 <= PRICE_ONE_E4:  # the usual case
            return self._down[int(price_e4)]
        return self.prices[-1] if price_e4 > 0 else None

    def at_or_above(self, price_e4: float) -> int | None:
        """Return the lowest tradable price that is not below `price_e4`; None if there is none."""
        if 0 <= price_e4 <= PRICE_ONE_E4:  # the usual case
            return self._up[ceil(price_e4)]
        return None if price_e4 > 0 else self.prices[0]

    def around(self, low_e4: float, high_e4: float) -> tuple[int | None, int | None]:
        """Return the highest tradable price up to `low_e4`, and the lowest from `high_e4` on."""
        if low_e4 >= 0 and high_e4 <= PRICE_ONE_E4:  # the usual case
            return self._down[int(low_e4)], self._up[ceil(high_e4)]
        return self.at_or_below(low_e4), self.at_or_above(high_e4)

    def below(self, price_e4: int, steps: int = 1) -> int | None:
        """Return the price `steps` ticks below the tradable `price_e4`; None beyond the grid."""
        index = bisect_left(self.prices, price_e4) - steps
        return self.prices[index] if index >= 0 else None

    def above(self, price_e4: int, steps: int = 1) -> int | None:
        """Return the price `steps` ticks above the tradable `price_e4`; None beyond the grid."""
        index = bisect_left(self.prices, price_e4) + steps
        return self.prices[index] if index < len(self.prices) else None


GRIDS: Final = {name: Grid(name, bands) for name, bands in _BANDS.items()}
"""The structures seen on open markets (contract section 4), by label."""


def grid_of(structure: str, price_ranges: list[dict[str, Any]]) -> Grid:
    """Return the grid of a recorded market; `price_ranges` is the authority, the label only a name."""
    known = GRIDS.get(structure)
    if known is not None and known.ranges == price_ranges:
        return known
    bands = tuple(
        (parse_price_e4(r["start"]), parse_price_e4(r["end"]), parse_price_e4(r["step"]))
        for r in price_ranges
    )
    return Grid(structure, bands)
