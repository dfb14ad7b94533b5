"""What to scan again after a change, and what it offers: one rule for trader and dashboard. Pure.

A scan of everything after each change would be too much. An event is scanned when one of its records or fair
values changed, and when the time that has passed may change what it offers: if it had candidates or could not
be scanned, and after a commit also if it has an order book, since a commit confirms quotes and the newer of
book and quote counts. Events in which no kind of opportunity can see anything are left out, unless something
of them is held or wanted, and so is an event that was scanned and had nothing, for as long as its prices
stand: most changes concern sizes, what lies behind the best price, and ages. When a price moves in an event
that was passed over because nothing in it could pay, that is asked again first, without a view of all of it.

An error costs one event, and only the kind that raised. It is returned, and counts while it lasts.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import chain
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
    by_prices,
    candidates,
    may_matter,
    may_pay,
    worth_of_books_e4,
)
from markets.records import Event, FairValue

from .failures import Failures
from .membership import Membership, Prices, market_view, prices_of, prices_seen

MOVED: Final = frozenset({"live", "resynced", "epoch"})
"""What a replica reports when its state has moved in other ways than by Changed."""

_OF_PRICES: Final = frozenset({"quote", "book"})

VIEW: Final = "view"
WANTS: Final = "wants"
"""Names of parts that may fail on an event, in addition to those of kinds."""


class Batch(msgspec.Struct, frozen=True):
    """What has changed: records as (kind, key); `commit`: a sweep ended; `whole`: maybe everything."""

    records: Sequence[tuple[str, str]] = ()
    commit: bool = False
    whole: bool = False


def batch_of(actions: Iterable[Action]) -> Batch:
    """Return what a replica's actions have changed, naming each record once."""
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


class _Barren(msgspec.Struct):
    """An event that had nothing: its prices then; `view` shows them where nothing of it could pay."""

    prices: dict[str, Prices]
    view: EventView | None


def _nobody(_event_ticker: str) -> bool:
    return False


class Rescan:
    """Knows which events to scan again, and scans them. One thread uses it; any thread may read `membership`.

    Args:
        limits: the bounds of what is tradable.
        wants: see there.
        related: whether a view includes the other events of its match.

    Attributes:
        wants: whether an event is looked at, and is relevant, even if no kind of opportunity sees anything in
            it and nothing of it is held; None: no event is.
        refuses: whether nothing can be bought in an event now, whatever it offers; None: something always
            can. What such an event offers is relevant after each commit and when prices move, not at every
            change.
        membership: which market belongs to which event.
        scanned: how many scans there have been.
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
        self.refuses: Callable[[EventView, int], bool] | None = None
        self._related = related
        self._hot: set[str] = set()
        self._barren: dict[str, _Barren] = {}
        self._refused: set[str] = set()
        self._unasked, self._unscanned = Failures(), Failures()
        self._owner = Owner("the rescan")

    def events(
        self,
        state: Records,
        batch: Batch,
        fair_values: Mapping[str, FairValue],
        held: Collection[str] = (),
        *,
        restless: Callable[[str], bool] = _nobody,
        recent: Collection[str] = (),
        aged: bool = False,
    ) -> list[str]:
        """Return the events to look at: those changed, then those with candidates, then those only held.

        Before them all come those whose quotes promise something: likely tradable, and not for long. If
        another thread changes the state, the caller holds its lock.

        Args:
            batch: everything that has changed since the last call; kind "fair_value" is one of `fair_values`.
            fair_values: those published, by ticker.
            held: events to look at after each commit in any case, and when prices move.
            restless: whether one of these is to be looked at whenever something in it has changed.
            recent: events to look at whenever something in them has changed.
            aged: look at events that had candidates even without a commit.
        """
        self._owner.check()
        membership = self.membership
        touched: set[str] = set()
        if batch.whole:
            membership.rebuild(state)
            touched.update(membership.markets_of)
            self._barren.clear()
        if batch.commit:
            for event_ticker in self._refused:
                self._barren.pop(event_ticker, None)
            self._refused.clear()
        swept = batch.commit or batch.whole

        def heard(event_ticker: str) -> bool:
            return event_ticker in recent or (event_ticker in held and restless(event_ticker))

        def stands(event_ticker: str, ticker: str) -> bool:
            if event_ticker not in held and event_ticker not in recent:
                return self._stands(state, event_ticker, ticker, fair_values)
            return not heard(event_ticker) and self._stands(state, event_ticker, ticker, None)

        self._touch(state, batch, stands, touched)
        ordered = sorted(touched)
        if aged or swept:
            hot = self._hot.union(self._unasked.standing, self._unscanned.standing) - touched
            ordered += sorted(hot)
            touched |= hot
        if swept:
            booked = set()
            for ticker in state.books:  # the quote may be the newer by now
                for event_ticker in self._seen_in(ticker):
                    if event_ticker not in touched and event_ticker not in held:
                        stands(event_ticker, ticker)
                booked.add(membership.event_of.get(ticker, ""))
            booked -= {*touched, ""}
            ordered += sorted(booked)
            ordered += sorted(set(held) - touched - booked)
        if self._barren:
            ordered = [
                one for one in ordered if one not in self._barren or (swept and one in held) or heard(one)
            ]
        looked_at: list[tuple[bool, str]] = []
        several = len(ordered) > 1  # with one event, the order does not matter
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

    def _touch(
        self, state: Records, batch: Batch, stands: Callable[[str, str], bool], touched: set[str]
    ) -> None:
        """Add the events that a batch gives a reason to look at."""
        membership = self.membership
        for kind, key in batch.records:
            if kind in _OF_PRICES:
                for event_ticker in self._seen_in(key):
                    # What is looked at anyway need not be compared: what it has is noted again then.
                    if event_ticker not in touched and not stands(event_ticker, key):
                        touched.add(event_ticker)
                continue
            changed: Iterable[str] = membership.update(state, kind, key)
            if self._related:
                changed = {*changed, *(more for event in changed for more in membership.siblings(event))}
            for event_ticker in changed:
                self._barren.pop(event_ticker, None)
            touched.update(changed)

    def _seen_in(self, ticker: str) -> Collection[str]:
        """Return the events whose views have a market."""
        event_ticker = self.membership.event_of.get(ticker)
        if event_ticker is None:
            return ()
        return (event_ticker, *self.membership.siblings(event_ticker)) if self._related else (event_ticker,)

    def views(self, state: Records, events: Iterable[str], now_ms: int) -> list[EventView]:
        """Return these events as they are now, if they or their markets are known.

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
                self._barren.pop(event_ticker, None)
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
        if found.opportunities or found.failures or not by_prices() or self._wanted(view.event, []):
            self._barren.pop(event_ticker, None)
        else:
            self._note_barren(view)
        return found.opportunities

    def _note_barren(self, view: EventView, *, pays: bool = True) -> None:
        markets = view.markets
        if view.related:
            markets = tuple(chain(markets, *(other.markets for other in view.related)))
        prices = {seen.market.ticker: prices_seen(seen) for seen in markets}
        self._barren[view.event.event_ticker] = _Barren(prices, None if pays else view)

    def relevant(
        self,
        views: Iterable[EventView],
        fair_values: Mapping[str, FairValue],
        held: Collection[str],
        now_ms: int,
    ) -> tuple[tuple[EventView, Sequence[Opportunity]], ...]:
        """Return events with something tradable, best first, then those held or wanted, with candidates."""
        found: list[tuple[int, str, tuple[EventView, Sequence[Opportunity]]]] = []
        for view in views:
            event_ticker = view.event.event_ticker
            minded = event_ticker in held or self._wanted(view.event, [])
            if not minded and not may_pay(view, fair_values):
                self._pass_over(view)
                continue
            opportunities = self.candidates(view, fair_values, now_ms)
            if event_ticker in self._hot and event_ticker in held and not self._wanted(view.event, []):
                self._calm(view, fair_values)
            if opportunities and opportunities[0].tradable:
                if not minded and self.refuses is not None and self.refuses(view, now_ms) and by_prices():
                    self._refused.add(event_ticker)
                    self._note_barren(view)
                found.append((-(opportunities[0].net_edge_e6 or 0), event_ticker, (view, opportunities)))
            elif minded:
                found.append((0, event_ticker, (view, opportunities)))
        return tuple(entry[2] for entry in sorted(found, key=lambda entry: entry[:2]))

    def _calm(self, view: EventView, fair_values: Mapping[str, FairValue]) -> None:
        """Leave what is held and has candidates, none of which can pay, until prices move or it is swept."""
        if by_prices() and not may_pay(view, fair_values):
            self._hot.discard(view.event.event_ticker)
            self._note_barren(view)

    def _pass_over(self, view: EventView) -> None:
        """Skip an event in which nothing can be tradable, until its prices move."""
        self.scanned += 1
        event_ticker = view.event.event_ticker
        self._hot.discard(event_ticker)
        self._unscanned.note(event_ticker, ())
        if by_prices():
            self._note_barren(view, pays=False)

    def take_failures(self) -> list[Failure]:
        """Return what has begun to fail since the last call, for a log: each once, a few at a time."""
        return self._unasked.take() + self._unscanned.take()

    @property
    def failed(self) -> dict[str, tuple[Failure, ...]]:
        """What failed when last tried, by event ticker; without tracebacks."""
        asked, scanned = self._unasked.standing, self._unscanned.standing
        return {key: asked.get(key, ()) + scanned.get(key, ()) for key in asked.keys() | scanned.keys()}

    def _stands(
        self, state: Records, event_ticker: str, ticker: str, fair_values: Mapping[str, FairValue] | None
    ) -> bool:
        """Return whether an event had nothing and this market is as it was then; if not, have it scanned.

        Args:
            fair_values: if it is enough that after a move of prices nothing can pay either; else None.
        """
        known = self._barren.get(event_ticker)
        if known is None:
            return False
        prices = prices_of(state, ticker)
        if known.prices.get(ticker) == prices:
            return True
        if known.view is not None and fair_values is not None and prices is not None:
            now = market_view(state, ticker)
            moved = tuple(
                [now if now and seen.market.ticker == ticker else seen for seen in known.view.markets]
            )
            view = known.view
            view = EventView(view.event, view.series, moved, view.timing, view.related, view.match)
            if now is not None and ticker in known.prices and not may_pay(view, fair_values):
                self.scanned += 1
                known.prices[ticker], known.view = prices, view
                return True
        del self._barren[event_ticker]
        return False

    def _ask(
        self, state: Records, event_ticker: str, fair_values: Mapping[str, FairValue], *, several: bool
    ) -> tuple[bool, bool]:
        """Return whether scanning an event may find anything, and whether its quotes promise it."""
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
