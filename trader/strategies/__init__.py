"""Strategies: what to buy. They are pure functions of what they are told; limits and doubts are the engine's.

A new one is a module with a class like `value.Value` and a line in `BUILT_IN`, or a user's own file, of which
nothing here knows: docs/extending.md.
"""

from collections.abc import Mapping
from typing import Final

from trader.extensions.params import Parameters

from .baskets import Baskets
from .maker import Maker
from .no_basket import NoBasket
from .strategy import LoadStrategy, Quiet, Strategy, StrategyMaker, Update, exit_of, proposal
from .value import Value

BUILT_IN: Final[Mapping[str, type[Quiet]]] = {
    Baskets.name: Baskets,
    NoBasket.name: NoBasket,
    Value.name: Value,
    Maker.name: Maker,
}
"""The built-in strategies, by name."""

__all__ = [
    "BUILT_IN",
    "Baskets",
    "LoadStrategy",
    "Maker",
    "NoBasket",
    "Parameters",
    "Quiet",
    "Strategy",
    "StrategyMaker",
    "Update",
    "Value",
    "exit_of",
    "proposal",
]
