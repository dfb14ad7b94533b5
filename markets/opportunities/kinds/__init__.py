"""The kinds of opportunity, one module each. No other part of the project knows any of them by name."""

from collections.abc import Mapping
from typing import Final

from .implication import ImplicationKind
from .kind import NEVER_E4, Headline, Kind
from .nested import LadderKind, RangeKind
from .no_basket import NoBasketKind
from .value import ValueKind
from .yes_basket import YesBasketKind

KINDS: Final[Mapping[str, Kind]] = {
    NoBasketKind.name: NoBasketKind(),
    YesBasketKind.name: YesBasketKind(),
    LadderKind.name: LadderKind(),
    RangeKind.name: RangeKind(),
    ImplicationKind.name: ImplicationKind(),
    ValueKind.name: ValueKind(),
}
"""Every kind by its name. A new one is a module with a `Kind`, and a line here (docs/extending.md)."""

__all__ = ["KINDS", "NEVER_E4", "Headline", "Kind"]
