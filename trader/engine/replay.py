"""Replay: the inputs of a journal through a new engine. The same log must give the same decisions."""

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
"""So many members of a fill have columns in a journal's rows."""

BookedRow = tuple[int, int, tuple[object, ...]]
"""Number of a step, and what it booked: number of an order and a fill of it, or 0 and a settlement."""


class Verified(msgspec.Struct, frozen=True):
    """What came of a replay: how many steps, and the number of the first that was decided otherwise.

    `booked` has all that was booked up to there.
    """

    steps: int
    orders: int
    differs_at: int | None
    booked: Counter[BookedRow]


def replay(steps: Iterable[tuple[int, AnyInput, bytes]], load: LoadStrategy = BuiltIn) -> Verified:
    """Decide every input of a session again and compare, stopping at the first difference.

    Args:
        load: finds the strategies of its start; without it those of the project itself.

    Raises:
        StartupError: one of them is not there any more.
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
