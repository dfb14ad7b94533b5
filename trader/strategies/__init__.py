"""Strategies: what to buy. Pure over what they are told; limits and doubts are the engine's business.

A new one is a module with a class like `value.Value` and a line in `ALL`. It may keep state of its own,
made of nothing but what it was told: the same calls give the same proposals.
"""

from collections.abc import Callable, Mapping
from typing import Final

from .base import Strategy, Update
from .no_basket import NoBasket
from .value import Value

ALL: Final[Mapping[str, Callable[[], Strategy]]] = {Value.name: Value, NoBasket.name: NoBasket}
"""Every strategy by its name, as the setting `strategies` lists them."""

__all__ = ["ALL", "NoBasket", "Strategy", "Update", "Value"]
