"""The kinds of opportunity, one module each. No other part of the project knows one by its name."""

from collections.abc import Mapping
from typing import Final

from .base import Headline, Kind
from .no_basket import NoBasket
from .value import Value

KINDS: Final[Mapping[str, Kind]] = {
    NoBasket.name: NoBasket(),
    Value.name: Value(),
}
"""Every kind by its name. A new one is a module with a `Kind`, and a line here (docs/extending.md)."""

__all__ = ["KINDS", "Headline", "Kind"]
