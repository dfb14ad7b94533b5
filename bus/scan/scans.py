"""The scanner's cache: after a change only what can differ is scanned; the list is as if everything had been.

`bus.scan.rescan` decides what to scan, as it does for the trader.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Final

import msgspec
import structlog

from bus.protocol.state import Records
from bus.scan.membership import Membership
from bus.scan.rescan import Batch, Rescan
from markets.opportunities import Failure, Opportunity, ScanLimits, rank
from markets.records import FairValue

log = structlog.get_logger()

FAILURES_SHOWN: Final = 3


class Scan(msgspec.Struct, frozen=True):
    """The candidates at (`epoch`, `seq`), judged at `now_ms`, and the state they were found in.

    Attributes:
        state: it does not change; pages read markets and books from it, so that they show a single moment.
        opportunities: all candidates, best first.
        version: grows when a page would look different (values that change with time alone, such as an
            annualised return, do not count).
        reasons: how many candidates each reason speaks against.
        failed: how many events could not be scanned, at least for some kind of opportunity.
        failures: the first few of the errors; the rest is in the log.
    """

    state: Records
    now_ms: int
    opportunities: tuple[Opportunity, ...] = ()
    version: int = 0
    tradable: int = 0
    reasons: Mapping[str, int] = {}
    failed: int = 0
    failures: Sequence[Failure] = ()

    @property
    def epoch(self) -> int:
        return self.state.epoch

    @property
    def seq(self) -> int:
        return self.state.seq

    @property
    def as_of_ms(self) -> int | None:
        """End of the last complete sweep's fetch."""
        return self.state.cycle.complete_ms if self.state.cycle else None


NOTHING: Final = Scan(Records(), 0)
"""Before the first snapshot."""


class Scans:
    """The candidates of every event. One thread uses it; others read `membership`."""

    def __init__(self, limits: ScanLimits) -> None:
        self.latest = NOTHING
        self.rescan = Rescan(limits, related=True)
        self._found: dict[str, list[Opportunity]] = {}
        self._published: Mapping[str, FairValue] = {}
        self._revalued: set[str] = set()

    @property
    def membership(self) -> Membership:
        """Which markets belong to which event."""
        return self.rescan.membership

    def publish(self, published: Mapping[str, FairValue]) -> None:
        """Take the trader's fair values, by ticker; the next `advance` rescans what differs."""
        before, self._published = self._published, published
        self._revalued.update(
            ticker
            for ticker in before.keys() | published.keys()
            if before.get(ticker) != published.get(ticker)
        )

    def advance(self, state: Records, batch: Batch, now_ms: int) -> Scan:
        """Return the scan of an unchanging state, which is `batch` later than the last one."""
        revalued, self._revalued = sorted(self._revalued), set()
        batch, rescan = batch.also("fair_value", revalued), self.rescan
        for event_ticker in rescan.events(state, batch, self._published, aged=True):
            found: list[Opportunity] = []
            for view in rescan.views(state, (event_ticker,), now_ms, unknown=False):
                found = rescan.candidates(view, self._published, now_ms)
            if found:
                self._found[event_ticker] = found
            else:
                self._found.pop(event_ticker, None)
        # One odd event, or a mistake in one kind, affects nothing else on the page; it is logged once.
        for failure in rescan.take_failures():
            log.error("scan.failed", **msgspec.structs.asdict(failure))
        self.latest = self._collect(state, now_ms)
        return self.latest

    def _collect(self, state: Records, now_ms: int) -> Scan:
        before, failed = self.latest, self.rescan.failed
        opportunities = tuple(sorted((one for found in self._found.values() for one in found), key=rank))
        same = len(opportunities) == len(before.opportunities) and all(
            map(_looks_same, opportunities, before.opportunities)
        )
        return Scan(
            state=state,
            now_ms=now_ms,
            opportunities=opportunities,
            version=before.version + (not same),
            tradable=sum(one.tradable for one in opportunities),
            reasons=Counter(reason for one in opportunities for reason in one.reasons),
            failed=len(failed),
            failures=list(chain.from_iterable(failed.values()))[:FAILURES_SHOWN],
        )


def _looks_same(one: Opportunity, other: Opportunity) -> bool:
    return one == other or msgspec.structs.replace(one, annualised_return=other.annualised_return) == other
