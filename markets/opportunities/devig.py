"""What the prices of an event say, if they are made to add up to one: four ways to take the margin out.

The mids of the outcomes of which exactly one wins add up to more (or less) than 1; to get probabilities one
must decide whose price is too high, and by how much.

* additive: lower all by the same amount; what would fall below 0 is 0, and the others share the rest.
* multiplicative: lower all by the same proportion.
* power: p = price ^ k. Long shots are lowered by more, as the favourite-longshot bias suggests.
* Shin: a share z of the money comes from people who know the winner (H. S. Shin, Economic Journal 1993, in
  the closed form of Jullien and Salanie, 1994): p = (sqrt(z^2 + 4 (1 - z) price^2 / total) - z) / (2 (1 -
  z)).

Pure, on floats: these are beliefs, not money.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

STEPS: Final = 60
"""Halvings in a search for a root: as exact as a float is."""

Devig = Callable[[Sequence[float]], list[float] | None]
"""From prices, each within 0..1, to probabilities that add up to 1; None if these prices imply none."""


def additive(prices: Sequence[float]) -> list[float] | None:
    """Take the same amount off all; none falls below 0."""
    if not _sound(prices):
        return None
    left = list(prices)
    while True:
        above = [index for index, price in enumerate(left) if price > 0]
        if not above:
            return None
        off = (sum(left) - 1.0) / len(above)
        for index in above:
            left[index] -= off
        below = [index for index in above if left[index] < 0]
        if not below:
            return left
        for index in below:
            left[index] = 0.0


def multiplicative(prices: Sequence[float]) -> list[float] | None:
    """Take the same proportion off all."""
    if not _sound(prices):
        return None
    total = sum(prices)
    return [price / total for price in prices]


def power(prices: Sequence[float]) -> list[float] | None:
    """Raise all to the same power."""
    if not _sound(prices) or sum(price > 0 for price in prices) < 2:
        return None
    if any(price >= 1 for price in prices):
        return None

    def total(exponent: float) -> float:
        return sum(math.pow(price, exponent) for price in prices if price > 0)

    low, high = 1e-3, 1e3
    if not total(high) < 1 < total(low):
        return None
    for _ in range(STEPS):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if total(middle) > 1 else (low, middle)
    return _scaled([price**low if price > 0 else 0.0 for price in prices])


def shin(prices: Sequence[float]) -> list[float] | None:
    """Assume that the margin protects against insiders; below a total of 1 this is `multiplicative`."""
    if not _sound(prices):
        return None
    total = sum(prices)
    if total <= 1:
        return multiplicative(prices)

    def probabilities(z: float) -> list[float]:
        return [
            (math.sqrt(z * z + 4 * (1 - z) * price * price / total) - z) / (2 * (1 - z)) for price in prices
        ]

    low, high = 0.0, 1.0 - 1e-9
    if sum(probabilities(high)) > 1:
        return None
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(probabilities(middle)) > 1 else (low, middle)
    return _scaled(probabilities(low))


METHODS: Final[Mapping[str, Devig]] = {
    "additive": additive,
    "multiplicative": multiplicative,
    "shin": shin,
    "power": power,
}


def _sound(prices: Sequence[float]) -> bool:
    return all(0.0 <= price <= 1.0 for price in prices) and sum(prices) > 0  # NaN is not a price either


def _scaled(probabilities: list[float]) -> list[float]:
    """Remove the last rounding error of a search."""
    total = sum(probabilities)
    return [probability / total for probability in probabilities]
