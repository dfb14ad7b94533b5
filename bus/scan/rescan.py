"""What to look at again after a change, and what it offers: one rule for trader and dashboard. Pure.

A scan of everything after each change would be too much. An event is scanned when one of its records or fair
values changed, and when the time that has passed may change what it offers: if it had candidates or could not
be scanned, and after a commit also if it has an order book, since a commit confirms quotes and the newer of
book and quote counts. Events in which no kind of opportunity may see anything are left out, unless somebody
holds or wants them.

An error over one event costs that event and the kind that raised. It is returned, and counts while it lasts.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Final

import msgspec

from bus.protocol.join import Action, Tell
from bus.protocol.state import Changed, Records
from bus.threads import Owner
from markets.opportunities import (
    EventView,
    Failure,
    Opportunity,
    ScanLimits,
    candidates,
    may_matter,
    worth_of_books_e4,
)
from markets.records import Event, FairValue

from .failures import Failures
from .membership import Membership

MOVED: Final = frozenset({"live", "resynced", "epoch"})
"""What a replica tells when its state has moved by other ways than Changed."""

VIEW: Final = "view"
WANTS: Final = "wants"
"""Names, beside those of kinds, of parts that may fail over an event."""


class Batch(msgspec.Struct, frozen=True):
    """What has changed: records as (kind, key); `commit`: a sweep ended; `whole`: anything may have."""

    records: Sequence[tuple[str, str]] = ()
    commit: bool = False
    whole: bool = False


def batch_of(actions: Iterable[Action]) -> Batch:
    """Return what a replica's actions have changed, each record once."""
    records: dict[tuple[str, str], None] = {}
    commit = whole = False
    for action in actions:
        if isinstance(action, Changed):
            for kind, keys in action.groups:
                for key in keys:
                    records[kind, key] = None
            commit = commit or action.cycle != 0
        elif isinstance(action, Tell) and action.event in MOVED:
            whole = True
    return Batch(() if whole else tuple(records), commit, whole)


class Rescan:
    """Knows which events to scan again, and scans them. One thread uses it; any may read `membership`.

    Args:
        limits: bounds of what is tradable.
        wants: see there.
        related: whether a view has the other events of its match, too.

    Attributes:
        wants: whether an event is looked at, and is relevant, though no kind of opportunity sees anything in
            it and nothing of it is held; None: none is.
        membership: which market belongs to which event.
        scanned: how many scans there were.
    """

    def __init__(
        self,
        limits: ScanLimits,
        wants: Callable[[Event], bool] | None = None,
        *,
        related: bool = False,
    ) -> None:
        self.membership = Membership()
        self.scanned = 0
        self._limits = limits
        self.wants = wants
        self._related = related
        self._hot: set[str] = set()
        self._unasked, self._unscanned = Failures(), Failures()
        self._owner = Owner("the rescan")

    def events(
        self,
        state: Records,
        batch: Batch,
        fair_values: Mapping[str, FairValue],
        held: Collection[str] = (),
        *,
        recent: Collection[str] = (),
        aged: bool = False,
    ) -> list[str]:
        """Return the events to look at: what has changed, then what had candidates, then what is only held.

        Before them all those whose quotes promise something: likely tradable, and not for long. Where another
        thread changes the state, the caller holds its lock.

        Args:
            batch: all that has changed since the last call; kind "fair_value" is one of `fair_values`.
            fair_values: what is published, by ticker.
            held: events to look at after each commit in any case.
            recent: events to look at when something in them has changed.
            aged: look at what had candidates even without a commit.
        """
        self._owner.check()
        membership = self.membership
        touched: set[str] = set()
        if batch.whole:
            membership.rebuild(state)
            touched.update(membership.markets_of)
        for kind, key in batch.records:
            changed = membership.update(state, kind, key)
            touched.update(changed)
            if self._related:
                touched.update(sibling for event in changed for sibling in membership.siblings(event))
        ordered = sorted(touched)
        if aged or batch.commit or batch.whole:
            hot = self._hot.union(self._unasked.standing, self._unscanned.standing) - touched
            ordered += sorted(hot)
            touched |= hot
        if batch.commit or batch.whole:
            event_of = membership.event_of
            booked = {event_of[ticker] for ticker in state.books if ticker in event_of} - touched
            ordered += sorted(booked)
            ordered += sorted(set(held) - touched - booked)
        looked_at: list[tuple[bool, str]] = []
        several = len(ordered) > 1  # of one event nobody asks whether it comes first
        for event_ticker in ordered:
            matters, promising = self._ask(state, event_ticker, fair_values, several=several)
            if (
                matters
                or event_ticker in held
                or event_ticker in recent
                or event_ticker in self._hot
                or event_ticker in self._unscanned.standing
            ):
                looked_at.append((not promising, event_ticker))
        return [event_ticker for _, event_ticker in sorted(looked_at, key=itemgetter(0))]

    def views(self, state: Records, events: Iterable[str], now_ms: int) -> list[EventView]:
        """Return these events as they are now, as far as they or their markets are known.

        For the lock see `events`.
        """
        found = []
        for event_ticker in events:
            failures: list[Failure] = []
            view = None
            try:
                view = self.membership.view(state, event_ticker, now_ms)
                if view is not None and self._related:
                    view = self.membership.with_related(state, view, now_ms)
                view = view or self.membership.bare_view(state, event_ticker, now_ms)
            except Exception as error:  # noqa: BLE001, it is returned
                failures.append(Failure.of(event_ticker, VIEW, error))
            if view is None:
                self._hot.discard(event_ticker)
                self._unscanned.note(event_ticker, failures)
            else:
                found.append(view)
        return found

    def candidates(
        self, view: EventView, fair_values: Mapping[str, FairValue], now_ms: int
    ) -> list[Opportunity]:
        """Return the candidates of an event, best first; remember whether it has any, and what failed."""
        self._owner.check()
        self.scanned += 1
        event_ticker = view.event.event_ticker
        found = candidates(view, fair_values, now_ms, self._limits)
        if found.opportunities:
            self._hot.add(event_ticker)
        else:
            self._hot.discard(event_ticker)
        self._unscanned.note(event_ticker, found.failures)
        return found.opportunities

    def relevant(
        self,
        views: Iterable[EventView],
        fair_values: Mapping[str, FairValue],
        held: Collection[str],
        now_ms: int,
    ) -> tuple[tuple[EventView, Sequence[Opportunity]], ...]:
        """Return those with something tradable, best first, then those held or wanted, with candidates."""
        found: list[tuple[int, str, tuple[EventView, Sequence[Opportunity]]]] = []
        for view in views:
            event_ticker = view.event.event_ticker
            opportunities = self.candidates(view, fair_values, now_ms)
            if opportunities and opportunities[0].tradable:
                found.append((-(opportunities[0].net_edge_e6 or 0), event_ticker, (view, opportunities)))
            elif event_ticker in held or self._wanted(view.event, []):
                found.append((0, event_ticker, (view, opportunities)))
        return tuple(entry[2] for entry in sorted(found, key=lambda entry: entry[:2]))

    def take_failures(self) -> list[Failure]:
        """Return what has begun to fail since the last call, for a log: each once, a few at a time."""
        return self._unasked.take() + self._unscanned.take()

    @property
    def failed(self) -> dict[str, tuple[Failure, ...]]:
        """What could not be worked out when last tried, by event ticker; without tracebacks."""
        asked, scanned = self._unasked.standing, self._unscanned.standing
        return {key: asked.get(key, ()) + scanned.get(key, ()) for key in asked.keys() | scanned.keys()}

    def _ask(
        self, state: Records, event_ticker: str, fair_values: Mapping[str, FairValue], *, several: bool
    ) -> tuple[bool, bool]:
        """Return whether anything may come of scanning an event, and whether its quotes promise it."""
        event = state.events.get(event_ticker)
        failures: list[Failure] = []
        matters = promising = False
        if event is not None:
            tickers = self.membership.markets_of.get(event_ticker, ())
            valued = bool(fair_values) and any(ticker in fair_values for ticker in tickers)
            matters = may_matter(event, failures, valued=valued) or self._wanted(event, failures)
            if several:
                quotes = [quote for ticker in tickers if (quote := state.quotes.get(ticker)) is not None]
                promising = (worth_of_books_e4(event, quotes, failures) or 0) > 0
        self._unasked.note(event_ticker, failures)
        return matters, promising

    def _wanted(self, event: Event, failures: list[Failure]) -> bool:
        if self.wants is None:
            return False
        try:
            return self.wants(event)
        except Exception as error:  # noqa: BLE001, it is returned
            failures.append(Failure.of(event.event_ticker, WANTS, error))
            return False
