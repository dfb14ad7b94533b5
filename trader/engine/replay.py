"""Replay: feeds the inputs of a journal to a new engine. The same log must give the same decisions."""

from collections import Counter
from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec.structs import astuple

from trader.strategies import LoadStrategy

from .engine import Engine
from .inputs import AnyInput
from .outputs import Booked, Corrected, Place, Settled, agree
from .roster import BuiltIn

ROW_MEMBERS: Final = 7
"""How many members of a fill have columns in a journal's rows."""

BookedRow = tuple[int, int, tuple[object, ...]]
"""The number of a step and what it booked: an order's number and a fill of it, or 0 and a settlement."""


class Verified(msgspec.Struct, frozen=True):
    """The result of a replay: how many steps, and the number of the first that was decided differently.

    `booked` contains everything booked up to there.
    """

    steps: int
    orders: int
    differs_at: int | None
    booked: Counter[BookedRow]


def replay(steps: Iterable[tuple[int, AnyInput, bytes]], load: LoadStrategy = BuiltIn) -> Verified:
    """Decide every input of a session again and compare, stopping at the first difference.

    Args:
        load: finds the session's strategies; by default only the built-in ones.

    Raises:
        StartupError: one of them does not exist any more.
    """
    engine = Engine(load)
    count = orders = 0
    booked: Counter[BookedRow] = Counter()
    for number, taken, written in steps:
        count += 1
        outputs = engine.step(taken)
        orders += sum(isinstance(output, Place) for output in outputs)
        for output in outputs:
            if isinstance(output, Booked):
                booked.update((number, output.number, astuple(fill)[:ROW_MEMBERS]) for fill in output.fills)
            elif isinstance(output, Settled | Corrected):
                booked[number, 0, astuple(output.settlement)] += 1
        if not agree(outputs, written):
            return Verified(count, orders, number, booked)
    return Verified(count, orders, None, booked)
