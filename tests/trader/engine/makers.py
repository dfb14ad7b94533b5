"""Strategies that make what they are told, and orders as the engine placed them."""

import msgspec

from markets.orders import Intent
from trader.engine.outputs import (
    AnyOutput,
    Place,
)
from trader.strategies import Strategy


class Maker(msgspec.Struct, frozen=True):
    """Makes what is there already."""

    strategy: Strategy

    @property
    def name(self) -> str:
        return self.strategy.name

    def make(self) -> Strategy:
        return self.strategy


def placed(outputs: list[AnyOutput]) -> list[Intent]:
    return [output.intent for output in outputs if isinstance(output, Place)]
