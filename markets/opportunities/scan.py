"""The scanner: every kind of opportunity over one event, the same for dashboard, trader and backtest."""

from collections.abc import Callable, Mapping
from typing import Final

from markets.records import FairValue

from .consensus import consensus
from .kinds import no_basket, value
from .types import EventView, Opportunity, ScanLimits

Kind = Callable[[EventView, Mapping[str, FairValue], int, ScanLimits], list[Opportunity]]

KINDS: Final[dict[str, Kind]] = {no_basket.KIND: no_basket.find, value.KIND: value.find}
"""Every kind of opportunity by its name. A new kind is a module with `KIND` and `find`, and a line here."""

DEFAULT_LIMITS: Final = ScanLimits()


def scan(
    view: EventView,
    fair_values: Mapping[str, FairValue] | None,
    now_ms: int,
    limits: ScanLimits = DEFAULT_LIMITS,
) -> list[Opportunity]:
    """Return all candidates of one event with a positive gross edge, best first.

    Args:
        view: the event with all its known markets.
        fair_values: fair values by ticker; None for the leave-one-out consensus of the event itself.
        now_ms: the present.
        limits: bounds outside of which a candidate keeps its place in the list, with the reason.
    """
    if fair_values is None:
        fair_values = consensus(view)
    found = [candidate for find in KINDS.values() for candidate in find(view, fair_values, now_ms, limits)]
    return sorted(found, key=rank)


def candidates(
    view: EventView,
    published: Mapping[str, FairValue],
    now_ms: int,
    limits: ScanLimits = DEFAULT_LIMITS,
) -> list[Opportunity]:
    """Return an event's candidates by the rule that dashboard, trader and backtest share.

    A fair value that the trader has `published` (by ticker) counts before the consensus of the event's legs.
    """
    fair_values = consensus(view)
    for one in view.markets:
        known = published.get(one.market.ticker)
        if known is not None:
            fair_values[known.ticker] = known
    return scan(view, fair_values, now_ms, limits)


def rank(opportunity: Opportunity) -> tuple[bool, int, str]:
    """Order candidates: tradable before not, then by net edge, then by key so that the order is total."""
    return not opportunity.tradable, -(opportunity.net_edge_e6 or 0), opportunity.key
