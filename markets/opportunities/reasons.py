"""Why a candidate is not tradable: one constant for each reason, with the sentence that explains it."""

from collections.abc import Collection
from typing import Final

NOT_ACTIVE: Final = "not_active"
SUSPECT: Final = "suspect"
STALE_LEG: Final = "stale_leg"
LEGS_NOT_SIMULTANEOUS: Final = "legs_not_simultaneous"
CROSSED_BOOK: Final = "crossed_book"
PRICES_DISAGREE: Final = "prices_disagree"
OFF_GRID: Final = "off_grid"
SCALAR_MARKET: Final = "scalar_market"
NO_DEPTH: Final = "no_depth"
FEE_UNKNOWN: Final = "fee_unknown"
FEES_EXCEED_EDGE: Final = "fees_exceed_edge"
EDGE_WITHIN_SPREAD: Final = "edge_within_spread"
TWO_EVENTS: Final = "two_events"
SETTLED_APART: Final = "settled_apart"
VOID_RISK: Final = "void_risk"
FAIR_VALUE_STALE: Final = "fair_value_stale"
MATCH_STARTED: Final = "match_started"
TOO_CLOSE_TO_START: Final = "too_close_to_start"
TOO_CLOSE_TO_CLOSE: Final = "too_close_to_close"

REASONS: Final = {
    NOT_ACTIVE: "a market does not trade now",
    SUSPECT: "the data of a leg is in doubt until a new book arrives",
    STALE_LEG: "the data of a leg is too old",
    LEGS_NOT_SIMULTANEOUS: "the prices of the legs were not seen at the same time",
    CROSSED_BOOK: "a book is crossed: its data cannot be right",
    PRICES_DISAGREE: "YES and NO prices of a market contradict each other",
    OFF_GRID: "a price cannot be ordered on the market's grid",
    SCALAR_MARKET: "a market settles at a value between 0 and 1, not at yes or no",
    NO_DEPTH: "less than the smallest size can be had at these prices",
    FEE_UNKNOWN: "the fees of this event are not known",
    FEES_EXCEED_EDGE: "fees take the whole edge",
    EDGE_WITHIN_SPREAD: "the edge is within the uncertainty of the fair value",
    TWO_EVENTS: "its legs lie in two events, which are not traded together",
    SETTLED_APART: "its legs are settled by different sources, or differently when the match is not played",
    VOID_RISK: "if it is called off it may pay back less than it costs, which the settings do not allow",
    FAIR_VALUE_STALE: "the fair value is too old",
    MATCH_STARTED: "the match has started",
    TOO_CLOSE_TO_START: "the match is about to start",
    TOO_CLOSE_TO_CLOSE: "trading is about to close",
}
"""Every reason and its explanation, in the order in which reasons are listed."""

_RANK: Final = {reason: rank for rank, reason in enumerate(REASONS)}


def ordered(reasons: Collection[str]) -> tuple[str, ...]:
    """Return each reason once, in the order of `REASONS`."""
    return tuple(sorted(set(reasons), key=_RANK.__getitem__)) if reasons else ()
