"""Replay: the inputs of a journal through a new engine. The same log must give the same decisions."""

from collections.abc import Iterable

import msgspec

from trader.strategies import LoadStrategy

from .engine import Engine
from .inputs import AnyInput
from .outputs import Place, agree
from .roster import BuiltIn


class Verified(msgspec.Struct, frozen=True):
    """What came of a replay: how many steps, and the number of the first that was decided otherwise."""

    steps: int
    orders: int
    differs_at: int | None


def replay(steps: Iterable[tuple[int, AnyInput, bytes]], load: LoadStrategy = BuiltIn) -> Verified:
    """Decide every input of a session again and compare, stopping at the first difference.

    Args:
        load: finds the strategies of its start; without it those of the project itself.

    Raises:
        StartupError: one of them is not there any more.
    """
    engine = Engine(load)
    count = orders = 0
    for number, taken, written in steps:
        count += 1
        outputs = engine.step(taken)
        orders += sum(isinstance(output, Place) for output in outputs)
        if not agree(outputs, written):
            return Verified(count, orders, number)
    return Verified(count, orders, None)
