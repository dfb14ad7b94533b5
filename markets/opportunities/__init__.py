"""Opportunities: what a book full of prices offers, what it costs, and why not.

`scan` runs every kind over one event. A kind is a small pure function of books, fees, fair values, times and
the present; candidates that fail keep their reasons (`REASONS`), so that a page can say why not.
"""

from .consensus import consensus
from .exhaustive import Verdict, exhaustive
from .reasons import REASONS
from .scan import KINDS, candidates, rank, scan
from .types import (
    CONSENSUS,
    EventView,
    Leg,
    MarketView,
    Opportunity,
    ScanLimits,
    opportunity_json,
)

__all__ = [
    "CONSENSUS",
    "KINDS",
    "REASONS",
    "EventView",
    "Leg",
    "MarketView",
    "Opportunity",
    "ScanLimits",
    "Verdict",
    "candidates",
    "consensus",
    "exhaustive",
    "opportunity_json",
    "rank",
    "scan",
]
