"""The scanner: every kind of opportunity over one event, the same for dashboard, trader and backtest.

A kind that raises finds nothing in that one event: what the other kinds find stands, and the failure is
returned.
"""

import traceback
from collections.abc import Mapping, Sequence
from operator import attrgetter, itemgetter

import msgspec

from markets.records import Event, FairValue, Quote

from .kinds import KINDS, NEVER_E4
from .types import EventView, Opportunity, ScanLimits

Rank = tuple[bool, int, str]

_BY_PRICES = attrgetter("by_prices")


class Failure(msgspec.Struct, frozen=True):
    """What raised an error while scanning an event.

    Attributes:
        part: name of the kind, or of what is worked out for all of them.
        error: the error in one line.
        trace: its traceback, for a log.
    """

    event_ticker: str
    part: str
    error: str
    trace: str

    @classmethod
    def of(cls, event_ticker: str, part: str, error: Exception) -> "Failure":
        """Return the failure for `error`, which was just caught."""
        line = "".join(traceback.format_exception_only(error)).strip()
        return cls(event_ticker, part, line[:200], "".join(traceback.format_exception(error)))


class Found(msgspec.Struct, frozen=True):
    """The candidates of an event, best first, and the kinds that failed on it."""

    opportunities: list[Opportunity]
    failures: list[Failure]


def candidates(view: EventView, published: Mapping[str, FairValue], now_ms: int, limits: ScanLimits) -> Found:
    """Return an event's candidates by the rule that dashboard, trader and backtest share.

    Args:
        view: the event with all its known markets.
        published: the trader's fair values by ticker. What an event's own legs leave over for one of them
            (`consensus.py`) does not count as one: it can only differ from a price where a basket is locked,
            and then does not say which leg is wrong.
        now_ms: the present.
        limits: bounds; a candidate outside them keeps its place in the list, with the reason.
    """
    failures: list[Failure] = []
    found: list[tuple[Rank, Opportunity]] = []
    for kind in KINDS.values():
        try:
            offers = kind.find(view, published, now_ms, limits)
            if offers:
                # A list, ranked here, so that what cannot be ranked fails within its kind.
                found += [(rank(offered), offered) for offered in offers]
        except Exception as error:  # noqa: BLE001, it is returned
            failures.append(Failure.of(view.event.event_ticker, kind.name, error))
    found.sort(key=itemgetter(0))
    return Found([offered for _, offered in found], failures)


def may_matter(event: Event, failures: list[Failure], *, valued: bool) -> bool:
    """Return whether a kind may find something in an event; failures of kinds that raise go into `failures`.

    Args:
        valued: whether a fair value of one of its markets is published.
    """
    for kind in KINDS.values():
        try:
            if kind.may_matter(event, valued=valued):
                return True
        except Exception as error:  # noqa: BLE001, it is returned
            failures.append(Failure.of(event.event_ticker, kind.name, error))
    return False


def by_prices() -> bool:
    """Return whether an event without candidates has none while its prices stay; see `Kind.by_prices`."""
    return all(map(_BY_PRICES, KINDS.values()))


def may_pay(view: EventView, published: Mapping[str, FairValue]) -> bool:
    """Return whether one of an event's candidates may be tradable; True if a kind cannot say."""
    return lacks_e4(view, published) == 0


def lacks_e4(view: EventView, published: Mapping[str, FairValue]) -> int:
    """Return how far prices are from what may be tradable, 0 if something may be; see `Kind.lacks_e4`."""
    least_e4 = NEVER_E4
    for kind in KINDS.values():
        try:
            lacked_e4 = kind.lacks_e4(view, published)
        except Exception:  # noqa: BLE001, the scan that follows says what is wrong
            return 0
        if lacked_e4 < least_e4:
            if lacked_e4 <= 0:
                return 0
            least_e4 = lacked_e4
    return least_e4


def worth_of_books_e4(event: Event, quotes: Sequence[Quote], failures: list[Failure]) -> int | None:
    """Return the most that an event's quotes promise to a kind; see `Kind.worth_of_books_e4`."""
    most: int | None = None
    for kind in KINDS.values():
        try:
            answer = kind.worth_of_books_e4(event, quotes)
            if answer is not None and (most is None or answer > most):
                most = answer
        except Exception as error:  # noqa: BLE001, it is returned
            failures.append(Failure.of(event.event_ticker, kind.name, error))
    return most


def least_payout_e6(
    view: EventView, legs: Sequence[tuple[str, str, int]], failures: list[Failure]
) -> int | None:
    """Return the most that a kind promises of these legs; see `Kind.least_payout_e6`."""
    most: int | None = None
    for kind in KINDS.values():
        try:
            answer = kind.least_payout_e6(view, legs)
            if answer is not None and (most is None or answer > most):
                most = answer
        except Exception as error:  # noqa: BLE001, it is returned
            failures.append(Failure.of(view.event.event_ticker, kind.name, error))
    return most


def explain(opportunity: Opportunity) -> str:
    """Return why a candidate earns money, in a sentence or two; empty where its kind cannot say."""
    try:
        return KINDS[opportunity.kind].explain(opportunity)
    except Exception:  # noqa: BLE001, a kind that cannot explain takes nothing from the list
        return ""


def rank(opportunity: Opportunity) -> Rank:
    """Order candidates: tradable ones first, then by net edge, then by key so that the order is total."""
    return not opportunity.tradable, -(opportunity.net_edge_e6 or 0), opportunity.key
