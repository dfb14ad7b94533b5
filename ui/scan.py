"""The scanner's cache: after each change only what can differ is scanned, and the list is as if all had been.

`Scans` is pure; `Inbox` hands what a replica says from its thread to the scanner's, exactly up to a position.
"""

import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import structlog

from bus.protocol.join import Action, Tell
from bus.protocol.state import Changed, State
from bus.scan.membership import Membership
from markets.opportunities import Failure, Opportunity, ScanLimits, candidates, rank
from markets.records import FairValue

log = structlog.get_logger()

_WHOLE: Final = ("live", "resynced", "epoch")
"""What a replica tells when its state has moved by other ways than Changed."""


class Batch(msgspec.Struct, frozen=True):
    """What has changed since the last pass. `whole`: anything may have."""

    records: tuple[tuple[str, str], ...] = ()
    commit: bool = False
    whole: bool = False


class Scan(msgspec.Struct, frozen=True):
    """The candidates at (`epoch`, `seq`), judged at `now_ms`, and the state they were found in.

    Attributes:
        state: stands still; pages read markets and books from it, so that all they show is of one moment.
        opportunities: all candidates, best first.
        version: grows when a page would look different (what only time moves, such as an annualised
            return, does not count).
        reasons: how many candidates each reason speaks against.
        failed: events whose scan raised an error; it is in the log.
    """

    state: State
    now_ms: int
    opportunities: tuple[Opportunity, ...] = ()
    version: int = 0
    tradable: int = 0
    reasons: Mapping[str, int] = {}
    failed: int = 0

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


NOTHING: Final = Scan(State(), 0)
"""Before the first snapshot."""


class Inbox:
    """What the replica told and the scanner has not yet taken."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._pending: list[Changed] = []
        self._whole = False
        self._heard = (0, 0)

    def __len__(self) -> int:
        return len(self._pending)

    def listen(self, actions: Sequence[Action]) -> None:
        """Take what the replica did. The replica's thread calls this."""
        with self._condition:
            for action in actions:
                if isinstance(action, Changed):
                    self._pending.append(action)
                    self._heard = (self._heard[0], action.seq)
                elif isinstance(action, Tell) and action.event in _WHOLE:
                    self._pending, self._whole = [], True
                    # Without a position (a snapshot shown unconfirmed) it is as far as the state is.
                    self._heard = (action.detail["epoch"], action.detail.get("seq", sys.maxsize))
            self._condition.notify_all()

    def wait(self, timeout_s: float) -> bool:
        """Wait for something to take; return whether there is."""
        with self._condition:
            return self._condition.wait_for(lambda: bool(self._pending or self._whole), timeout_s)

    def take(self, epoch: int, seq: int, timeout_s: float) -> Batch | None:
        """Return all that led to (epoch, seq) since the last call; None if that is not heard of in time.

        A replica changes its state a moment before it says so, so a position may be ahead of its changes.
        """
        with self._condition:
            if not self._condition.wait_for(
                lambda: self._heard[0] == epoch and self._heard[1] >= seq, timeout_s
            ):
                return None
            taken = [changed for changed in self._pending if changed.seq <= seq]
            self._pending = self._pending[len(taken) :]
            whole, self._whole = self._whole, False
        return Batch(
            records=() if whole else tuple(record for changed in taken for record in changed.records),
            commit=any(changed.cycle for changed in taken),
            whole=whole,
        )


class Scans:
    """The candidates of every event. One thread uses it; others read `membership`."""

    def __init__(self, limits: ScanLimits) -> None:
        self.membership = Membership()
        self.latest = NOTHING
        self._limits = limits
        self._found: dict[str, list[Opportunity]] = {}
        self._failed: set[str] = set()
        self._published: Mapping[str, FairValue] = {}
        self._valued: set[str] = set()

    def publish(self, published: Mapping[str, FairValue]) -> None:
        """Take the trader's fair values, by ticker; what differs is scanned anew by the next `advance`."""
        before, self._published = self._published, published
        changed = (one for one in before.keys() | published.keys() if before.get(one) != published.get(one))
        event_of = self.membership.event_of
        self._valued |= {event_of[ticker] for ticker in changed if ticker in event_of}

    def advance(self, state: State, batch: Batch, now_ms: int) -> Scan:
        """Return the scan of a state that stands still, `batch` later than the last one.

        Scanned anew is what changed and what has candidates, whose ages have moved. An event without
        candidates gets one only by other prices. With a commit every age moves, and with it, where there is
        a book, which of book and quote is the newer and so counts.
        """
        membership = self.membership
        events: set[str] = set(self._found) | self._failed | self._valued
        self._valued = set()
        if batch.whole:
            membership.rebuild(state)
            events |= set(membership.markets_of)
        for kind, key in batch.records:
            events.update(membership.update(state, kind, key))
        if batch.commit:
            events.update(
                membership.event_of[ticker] for ticker in state.books if ticker in membership.event_of
            )
        for event_ticker in events:
            self._scan_event(state, event_ticker, now_ms)
        self.latest = self._collect(state, now_ms)
        return self.latest

    def _scan_event(self, state: State, event_ticker: str, now_ms: int) -> None:
        found: list[Opportunity] = []
        failures: list[Failure] = []
        try:
            view = self.membership.view(state, event_ticker, now_ms)
            if view is not None:
                all_ = candidates(view, self._published, now_ms, self._limits)
                found, failures = all_.opportunities, all_.failures
            if not failures:
                self._failed.discard(event_ticker)
            elif event_ticker not in self._failed:
                log.error("scan.failed", event_ticker=event_ticker, trace=failures[0].trace)
                self._failed.add(event_ticker)
        except Exception:
            # One odd event must not take the page from all others; it is counted, shown and logged once.
            if event_ticker not in self._failed:
                log.exception("scan.failed", event_ticker=event_ticker)
            self._failed.add(event_ticker)
        if found:
            self._found[event_ticker] = found
        else:
            self._found.pop(event_ticker, None)

    def _collect(self, state: State, now_ms: int) -> Scan:
        before = self.latest
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
            failed=len(self._failed),
        )


def _looks_same(one: Opportunity, other: Opportunity) -> bool:
    return one == other or msgspec.structs.replace(one, annualised_return=other.annualised_return) == other
