"""Opportunities: what prices offer, what it costs, and why it is not traded.

`candidates` runs every kind over one event. A kind (`kinds`) is a pure function of books, fees, fair values,
times and the present; candidates that fail keep their reasons (`REASONS`), so that a page can explain them.
"""

from .consensus import consensus_values, event_values
from .exhaustive import Verdict, exhaustiveness
from .floors import floor_e6, void_e6
from .kinds import KINDS, NEVER_E4, Headline, Kind
from .reasons import REASONS
from .scanner import (
    Failure,
    Found,
    by_prices,
    candidates,
    explain,
    lacks_e4,
    least_payout_e6,
    may_matter,
    may_pay,
    rank,
    worth_of_books_e4,
)
from .types import CONSENSUS, EventView, Leg, MarketView, Opportunity, ScanLimits, opportunity_json

__all__ = [
    "CONSENSUS",
    "KINDS",
    "NEVER_E4",
    "REASONS",
    "EventView",
    "Failure",
    "Found",
    "Headline",
    "Kind",
    "Leg",
    "MarketView",
    "Opportunity",
    "ScanLimits",
    "Verdict",
    "by_prices",
    "candidates",
    "consensus_values",
    "event_values",
    "exhaustiveness",
    "explain",
    "floor_e6",
    "lacks_e4",
    "least_payout_e6",
    "may_matter",
    "may_pay",
    "opportunity_json",
    "rank",
    "void_e6",
    "worth_of_books_e4",
]
