"""Locks: the part of a trade that pays the same whatever happens. Pure.

The legs of a trade are seen as layers of equal count; the lowest layer has all legs. A kind of opportunity
knows the least that the legs of a layer pay together (`Kind.least_payout_e6`). A layer whose least payout is
at least its cost is *locked*: it is worth that floor, whatever anybody bids. The legs of other layers are
free: each stands for itself.

Legs that are paid, or whose result is known, count as what they pay, and the others must pay the rest of the
floor. If two of three NO certainly pay and one has paid nothing, the other two must pay. This does not hold
if a leg has settled between 0 and 1: nothing is promised about a void, so its layer is free.
"""

from collections.abc import Callable, Sequence

import msgspec

from markets.units import PRICE_ONE_E4

Legs = Sequence[tuple[str, str, int]]
"""(ticker, side, count_e2) of each."""

Promise = Callable[[Legs], int | None]
"""Returns the least that legs pay together, None if nobody promises anything."""


class Leg(msgspec.Struct, frozen=True):
    """A trade's holding in a market, present or already paid. `value_e4` is what its side pays, if known."""

    ticker: str
    side: str
    count_e2: int
    cost_e6: int
    value_e4: int | None
    paid: bool = False


class Part(msgspec.Struct, frozen=True):
    """Contracts of a leg: locked ones have a share of the floor, by cost; free ones have no value here."""

    ticker: str
    side: str
    count_e2: int
    cost_e6: int
    value_e6: int = 0


class Split(msgspec.Struct, frozen=True):
    """A trade's lots, divided into locked and free ones."""

    locked: tuple[Part, ...]
    free: tuple[Part, ...]

    @property
    def floor_e6(self) -> int:
        """The least that the locked lots pay."""
        return sum(part.value_e6 for part in self.locked)


class _Layer(msgspec.Struct, frozen=True):
    """Legs that each have `thick_e2` contracts above the first `below_e2`, and the least that they pay."""

    legs: Sequence[Leg]
    below_e2: int
    thick_e2: int
    total_e6: int

    def cost_e6(self, leg: Leg) -> int:
        """Return the cost of this layer of a leg; the costs of all layers add up to the leg's."""
        top_e2 = self.below_e2 + self.thick_e2
        return leg.cost_e6 * top_e2 // leg.count_e2 - leg.cost_e6 * self.below_e2 // leg.count_e2

    def part(self, leg: Leg, value_e6: int = 0) -> Part:
        """Return the contracts of a leg that are in this layer."""
        return Part(leg.ticker, leg.side, self.thick_e2, self.cost_e6(leg), value_e6)


def split(legs: Sequence[Leg], promise: Promise) -> Split:
    """Return which contracts of these legs are locked, and at what value."""
    layers: list[_Layer] = []
    below_e2 = 0
    for level_e2 in sorted({leg.count_e2 for leg in legs if leg.count_e2 > 0}):
        within, thick_e2 = [leg for leg in legs if leg.count_e2 >= level_e2], level_e2 - below_e2
        layers.append(_Layer(within, below_e2, thick_e2, _total_e6(within, thick_e2, promise)))
        below_e2 = level_e2
    # A leg's price is an average over its layers: if they make a profit together, they are locked together.
    earns = sum(layer.total_e6 for layer in layers) >= sum(leg.cost_e6 for leg in legs)
    locked: list[Part] = []
    free: list[Part] = []
    for layer in layers:
        if layer.total_e6 and (earns or layer.total_e6 >= sum(map(layer.cost_e6, layer.legs))):
            locked += _locked(layer, promise)
        else:
            free += [layer.part(leg) for leg in layer.legs if not leg.paid]
    return Split(tuple(locked), tuple(free))


def _total_e6(legs: Sequence[Leg], count_e2: int, promise: Promise) -> int:
    """Return the least that this many contracts of each leg pay, including paid ones; 0: nobody knows."""
    if len(legs) < 2 or any(leg.value_e4 not in (None, 0, PRICE_ONE_E4) for leg in legs):
        return 0
    return max(0, promise([(leg.ticker, leg.side, count_e2) for leg in legs]) or 0)


def _locked(layer: _Layer, promise: Promise) -> list[Part]:
    """Return the parts of a layer that are still held, each with its share of the floor."""
    known = [(leg, leg.value_e4 * layer.thick_e2) for leg in layer.legs if leg.value_e4 is not None]
    unknown = [leg for leg in layer.legs if leg.value_e4 is None]
    parts = [layer.part(leg, value_e6) for leg, value_e6 in known if not leg.paid]
    left_e6 = max(0, layer.total_e6 - sum(value_e6 for _, value_e6 in known))
    if known and len(unknown) > 1:
        left_e6 = max(left_e6, _total_e6(unknown, layer.thick_e2, promise))
    left_e6 = min(left_e6, len(unknown) * layer.thick_e2 * PRICE_ONE_E4)
    costs_e6 = sum(map(layer.cost_e6, unknown))
    for leg in unknown:
        cost_e6 = layer.cost_e6(leg)
        share_e6 = left_e6 if cost_e6 >= costs_e6 else left_e6 * cost_e6 // costs_e6
        parts.append(layer.part(leg, share_e6))
        left_e6, costs_e6 = left_e6 - share_e6, costs_e6 - cost_e6
    return parts
