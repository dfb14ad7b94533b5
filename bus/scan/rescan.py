"""What to scan again after a change, and what it offers: one rule for trader and dashboard. Pure.

A scan of everything after each change would be too much. An event is scanned when one of its records or fair
values changed, and when the time that has passed may change what it offers: if it had candidates or could not
be scanned, and after a commit also if it has an order book, since a commit confirms quotes and the newer of
book and quote counts. Events in which no kind of opportunity can see anything are left out, unless something
of them is held or wanted, and so is an event that was scanned and had nothing, for as long as its prices
stand: most changes concern sizes, what lies behind the best price, and ages. When a price moves in an event
that was passed over because nothing in it could pay, that is asked again first, without a view of all of it.
What is held, and what risk refuses, has more to say or less (`Heed`): most of it only when a price moves.
Who chooses events may change his mind: that is asked when prices move, and of all events in turn.

An error costs one event, and only the kind that raised. It is returned, and counts while it lasts.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from enum import Enum
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
    MarketView,
    Opportunity,
    ScanLimits,
    by_prices,
    candidates,
    lacks_e4,
    may_matter,
    may_pay,
    worth_of_books_e4,
)
from markets.records import Book, Event, FairValue, Level, Quote
from markets.units import opposite

from .failures import Failures
from .membership import Membership, Prices, cheaper_e4, market_views, prices_in, prices_of

MOVED: Final = frozenset({"live", "resynced", "epoch"})
"""What a replica reports when its state has moved in other ways than by Changed."""

_OF_PRICES: Final = frozenset({"quote", "book"})

_BY_WORTH = itemgetter(0, 1)

CALM_COMMITS: Final = 5
"""What matters only when prices move is looked at with every so many-th commit, too: about once a minute."""

ASKED_AT_ONCE: Final = 5_000
"""Of so many events it is asked with each commit whether they are wanted by now: some 5 ms."""


class Heed(Enum):
    """When something that is held is to be looked at, apart from when its prices move."""

    PRICES = 1
    """Now and then (`CALM_COMMITS`)."""
    COMMITS = 2
    """With each commit."""
    CHANGES = 3
    """At each change, of sizes and ages, too."""


VIEW: Final = "view"
WANTS: Final = "wants"
"""Names of parts that may fail on an event, in addition to those of kinds."""


class Batch(msgspec.Struct, frozen=True):
    """What has changed: records by kind; `commit`: a sweep ended; `whole`: maybe everything."""

    keys: Mapping[str, Collection[str]] = {}
    commit: bool = False
    whole: bool = False

    def also(self, kind: str, keys: Collection[str]) -> "Batch":
        """Return it with more of a kind."""
        if not keys:
            return self
        return Batch({**self.keys, kind: (*self.keys.get(kind, ()), *keys)}, self.commit, self.whole)


def batch_of(actions: Iterable[Action]) -> Batch:
    """Return what a replica's actions have changed, naming each record once."""
    keys_of: dict[str, dict[str, None]] = {}
    commit = whole = False
    for action in actions:
        if isinstance(action, Changed):
            for kind, keys in action.groups:
                if keys:
                    keys_of.setdefault(kind, {}).update(dict.fromkeys(keys))
            commit = commit or action.cycle != 0
        elif isinstance(action, Tell) and action.event in MOVED:
            whole = True
    return Batch({} if whole else keys_of, commit, whole)


_Moved = Callable[[Collection[str], set[str]], None]
"""Adds to the events to look at those that may have something by now, as far as these markets' prices say."""


class _Barren(msgspec.Struct):
    """An event that had nothing.

    Attributes:
        prices: those of its markets when they last moved.
        view: how it was when it was passed over, since nothing of it could pay; None if it was not.
        lacks_e4: how far these prices are, at least, from what could pay; 0 if it was not passed over.
        minded: whether it was held or wanted then: once its prices move it is to be looked at, not passed.
        shown: quote and both sides of the book of markets in which both have these best prices: whichever is
            the newer, while both stand, or the quote alone, the prices do.
        apart: markets whose book has other best prices than their quote, which a commit may make the newer;
            not known if it was minded, when a commit asks about all of its markets.
    """

    prices: dict[str, Prices]
    view: EventView | None
    lacks_e4: int
    minded: bool
    shown: dict[str, tuple[Quote, Sequence[Level], Sequence[Level]]] = {}
    apart: set[str] = set()

    @classmethod
    def of(
        cls,
        view: EventView,
        prices: dict[str, Prices],
        *,
        passed: bool = False,
        lacks_e4: int = 0,
        minded: bool = False,
    ) -> "_Barren":
        """Return how an event is now that it had nothing; `passed`: it was passed over."""
        known = cls(prices, view if passed else None, lacks_e4, minded)
        if not minded:
            for seen in _markets_in(view):
                if seen.book is not None:  # of the others there is nothing to take
                    known.show(seen.market.ticker, seen.quote, seen.book)
        return known

    def show(self, ticker: str, quote: Quote, book: Book | None) -> None:
        """Take what says a market's prices, which are in `prices` already."""
        if book is not None and _agree(book, self.prices[ticker]):
            self.shown[ticker] = quote, book.yes, book.no
            self.apart.discard(ticker)
            return
        self.shown.pop(ticker, None)
        if book is None:
            self.apart.discard(ticker)
        else:
            self.apart.add(ticker)

    def lacks_now_e4(self, prices: Mapping[str, Prices]) -> int:
        """Return how far these prices are, at least, from what could pay; 0 or less if that is not known."""
        before = self.prices
        if prices == before:
            return self.lacks_e4
        if len(prices) != len(before):
            return 0
        left_e4 = self.lacks_e4
        for ticker, now in prices.items():
            was = before.get(ticker)
            if now != was:
                if was is None:
                    return 0
                left_e4 -= cheaper_e4(now, was)
        return left_e4


def _markets_in(view: EventView) -> Iterable[MarketView]:
    """Return all markets of an event, and of the events related to it."""
    return chain(view.markets, *[other.markets for other in view.related]) if view.related else view.markets


def _prices_in(view: EventView) -> dict[str, Prices]:
    """Return the prices of all these markets, by ticker."""
    return {
        seen.market.ticker: prices_in(seen.quote, seen.quote_as_of_ms, seen.book, seen.book_as_of_ms)
        for seen in _markets_in(view)
    }


def _agree(book: Book, prices: Prices) -> bool:
    """Whether a book has the best prices of a quote: then it does not matter which of them is the newer."""
    yes, no = book.yes, book.no
    return (yes[-1][0] if yes else -1) == prices[1] and (opposite(no[-1][0]) if no else -1) == prices[2]


def _commits(_event_ticker: str) -> Heed:
    return Heed.COMMITS


class Rescan:
    """Knows which events to scan again, and scans them. One thread uses it; any thread may read `membership`.

    Args:
        limits: the bounds of what is tradable.
        wants: see there.
        related: whether a view includes the other events of its match.

    Attributes:
        wants: whether an event is looked at, and is relevant, even if no kind of opportunity sees anything in
            it and nothing of it is held; None: no event is. It may change its mind: it is asked when a price
            moves, and with each commit of the next few events (`ASKED_AT_ONCE`).
        refuses: until when nothing can be bought in an event, whatever it offers, in epoch milliseconds; not
            later than now if something can. Until then, what such an event offers is relevant only when its
            prices move, and with the first commit after it. None: something always can.
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
        self.refuses: Callable[[EventView, int], int] | None = None
        self._related = related
        self._hot: set[str] = set()
        self._barren: dict[str, _Barren] = {}
        self._commits = 0
        self._refused: dict[str, int] = {}  # event ticker -> until when, by `refuses`
        self._later: dict[str, int] = {}  # event ticker -> the commit with which it is looked at again
        self._unsaid: list[str] = []  # of which it is still to be asked whether they are wanted
        self._unasked, self._unscanned = Failures(), Failures()
        self._owner = Owner("the rescan")

    def events(
        self,
        state: Records,
        batch: Batch,
        fair_values: Mapping[str, FairValue],
        held: Collection[str] = (),
        *,
        heed: Callable[[str], Heed] = _commits,
        recent: Collection[str] = (),
        aged: bool = False,
    ) -> list[str]:
        """Return the events to look at: those changed, then those with candidates, then those only held.

        Before them all come those whose quotes promise something: likely tradable, and not for long. If
        another thread changes the state, the caller holds its lock.

        Args:
            batch: everything that has changed since the last call; kind "fair_value" is one of `fair_values`.
            fair_values: those published, by ticker.
            held: events to look at although nothing can be gained in them.
            heed: when to look at one of these.
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
            self._refused.clear()
            self._later.clear()
        swept = batch.commit or batch.whole
        if swept:
            self._commits += 1
            for event_ticker in [one for one, at in self._later.items() if at <= self._commits]:
                del self._later[event_ticker]
            now_ms = state.confirmed_ms
            for event_ticker in [one for one, until_ms in self._refused.items() if until_ms <= now_ms]:
                del self._refused[event_ticker]
                self._barren.pop(event_ticker, None)
        heeds: dict[str, Heed] = {}

        def heeded(event_ticker: str) -> Heed:
            """Return when an event that had nothing is looked at."""
            known = heeds.get(event_ticker)
            if known is None:
                if event_ticker in recent:
                    known = Heed.CHANGES
                else:
                    known = heed(event_ticker) if event_ticker in held else Heed.PRICES
                heeds[event_ticker] = known  # one sweep confirms all markets of an event
            return known

        moved = self._moving(state, fair_values, held, recent, heeded)
        self._touch(state, batch, moved, touched)
        ordered = sorted(touched)
        if aged or swept:
            ordered += self._others(state, touched, held, recent, heeded, moved, swept=swept)
        first: list[str] = []
        others: list[str] = []
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
                (first if promising else others).append(event_ticker)
                if event_ticker in held and heeded(event_ticker) is Heed.PRICES:
                    self._later[event_ticker] = self._commits + CALM_COMMITS
        return first + others

    def _moving(
        self,
        state: Records,
        fair_values: Mapping[str, FairValue],
        held: Collection[str],
        recent: Collection[str],
        heeded: Callable[[str], Heed],
    ) -> _Moved:
        """Return what says which events no longer have nothing, as far as the prices of some markets say."""
        barren, prices_now, quotes, books = self._barren, prices_of(state), state.quotes, state.books
        event_of, related = self.membership.event_of, self._related

        def stands(known: _Barren, ticker: str, quote: Quote | None, book: Book | None, free: bool) -> bool:
            """Whether an event still has nothing, as far as a market says."""
            prices, before = prices_now(ticker, quote, book), known.prices.get(ticker)
            if prices != before:
                # What is held is looked at once its prices have moved.
                if prices is None or before is None or not free or known.minded or known.view is None:
                    return False
                known.prices[ticker] = prices
                known.lacks_e4 -= cheaper_e4(prices, before)
                if known.lacks_e4 <= 0 and not self._pays_nothing(state, known, known.view, fair_values):
                    return False
                if self.wants is not None and self._wanted(known.view.event, []):
                    return False
            if quote is None or prices is None:
                return True
            if book is not None or ticker in known.shown or ticker in known.apart:  # most have no book
                known.show(ticker, quote, book)
            return True

        def moved(tickers: Collection[str], touched: set[str]) -> None:
            pairs: Iterable[tuple[str | None, str]] = zip(map(event_of.get, tickers), tickers, strict=True)
            if related:
                pairs = [
                    (event_ticker, ticker) for ticker in tickers for event_ticker in self._seen_in(ticker)
                ]
            for event_ticker, ticker in pairs:
                if event_ticker is None or event_ticker in touched:
                    continue
                known = barren.get(event_ticker)
                if known is not None:
                    free = event_ticker not in held and event_ticker not in recent
                    if free or heeded(event_ticker) is not Heed.CHANGES:
                        # Here, since it is so with most that are swept: what was shown is there.
                        quote, book, shown = quotes.get(ticker), books.get(ticker), known.shown.get(ticker)
                        if (
                            shown is not None
                            and shown[0] is quote
                            and (book is None or (book.yes is shown[1] and book.no is shown[2]))
                        ):
                            continue
                        if stands(known, ticker, quote, book, free):
                            continue
                        if free:
                            del barren[event_ticker]
                touched.add(event_ticker)

        return moved

    def _touch(self, state: Records, batch: Batch, moved: _Moved, touched: set[str]) -> None:
        """Add the events that a batch gives a reason to look at."""
        membership = self.membership
        priced: dict[str, None] = {}  # once each: if quote and book have changed, the answer is that of both
        for kind, keys in batch.keys.items():
            if kind in _OF_PRICES:
                priced.update(dict.fromkeys(keys))
                continue
            for key in keys:
                changed: Iterable[str] = membership.update(state, kind, key)
                if self._related:
                    changed = {*changed, *(more for event in changed for more in membership.siblings(event))}
                for event_ticker in changed:
                    self._barren.pop(event_ticker, None)
                touched.update(changed)
        # What is looked at anyway need not be compared: what it has is noted again then.
        moved(priced, touched)

    def _others(
        self,
        state: Records,
        touched: Collection[str],
        held: Collection[str],
        recent: Collection[str],
        heeded: Callable[[str], Heed],
        moved: _Moved,
        *,
        swept: bool,
    ) -> list[str]:
        """Return what is looked at apart from what was touched: with candidates, books, held, wanted."""
        barren, later = self._barren, self._later

        def due(event_ticker: str) -> bool:
            """Whether an event is to be looked at: not if it had nothing, unless it is held or recent."""
            if event_ticker not in barren:
                return True
            if event_ticker not in held and event_ticker not in recent:
                return False
            when = heeded(event_ticker)
            if when is Heed.PRICES:
                return swept and event_ticker not in later
            return swept or when is Heed.CHANGES

        hot = self._hot.union(self._unasked.standing, self._unscanned.standing).difference(touched)
        groups = [hot]
        if swept:
            known = hot.union(touched)
            decided = known.union(held)
            asked: list[str] = []
            for event_ticker, one in barren.items():
                if (one.minded or one.apart) and event_ticker not in decided:
                    asked += one.prices if one.minded else one.apart
            moved(asked, decided)
            owners = set(map(self.membership.event_of.get, state.books))
            booked = {own for own in owners if own is not None and own not in known}
            # A commit may also move what an event without a book offers: by the books of others of its match.
            booked |= decided.difference(known, held, recent)
            groups += [booked, set(held) - known - booked]
            if self.wants is not None:  # ask of all but those that are looked at anyway
                looked_at = set(touched).union(*(filter(due, group) for group in groups))
                groups.append(self._wanted_by_now(state, looked_at).difference(*groups))

        return [one for group in groups for one in sorted(filter(due, group))]

    def _wanted_by_now(self, state: Records, looked_at: Collection[str]) -> set[str]:
        """Ask of the next few events whether they are wanted; return those that are, to be looked at."""
        unsaid = self._unsaid = self._unsaid or list(self.membership.markets_of)
        asked = unsaid[-ASKED_AT_ONCE:]
        del unsaid[-ASKED_AT_ONCE:]
        wanted = set()
        for event_ticker in asked:
            event = None if event_ticker in looked_at else state.events.get(event_ticker)
            if event is not None and self._wanted(event, []):
                self._barren.pop(event_ticker, None)
                wanted.add(event_ticker)
        return wanted

    def _seen_in(self, ticker: str) -> Collection[str]:
        """Return the events whose views have a market."""
        event_ticker = self.membership.event_of.get(ticker)
        if event_ticker is None:
            return ()
        return (event_ticker, *self.membership.siblings(event_ticker)) if self._related else (event_ticker,)

    def views(
        self, state: Records, events: Iterable[str], now_ms: int, *, unknown: bool = True
    ) -> list[EventView]:
        """Return these events as they are now, if they or their markets are known.

        For the lock see `events`.

        Args:
            unknown: return the markets of unknown events, too: nothing is offered there, but maybe paid out.
        """
        found = []
        for event_ticker in events:
            failures: list[Failure] = []
            view = None
            try:
                view = self.membership.view(state, event_ticker, now_ms)
                if view is not None and self._related:
                    view = self.membership.with_related(state, view, now_ms)
                if view is None and unknown:
                    view = self.membership.bare_view(state, event_ticker, now_ms)
            except Exception as error:  # noqa: BLE001, it is returned
                failures.append(Failure.of(event_ticker, VIEW, error))
            if view is None:
                self._hot.discard(event_ticker)
                self._barren.pop(event_ticker, None)
                self._refused.pop(event_ticker, None)
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

    def _note_barren(self, view: EventView) -> None:
        self._barren[view.event.event_ticker] = _Barren.of(view, _prices_in(view))

    def relevant(
        self,
        views: Iterable[EventView],
        fair_values: Mapping[str, FairValue],
        held: Collection[str],
        now_ms: int,
        *,
        curious: bool = True,
    ) -> tuple[tuple[EventView, Sequence[Opportunity]], ...]:
        """Return events with something tradable, best first, then those held or wanted, with candidates.

        Args:
            curious: whether of those that are held candidates are to be found that are not tradable, too.
        """
        found: list[tuple[int, str, tuple[EventView, Sequence[Opportunity]]]] = []
        priced = by_prices()
        passes = priced and not curious and self.wants is None
        for view in views:
            event_ticker = view.event.event_ticker
            minded = event_ticker in held or (self.wants is not None and self._wanted(view.event, []))
            asked = passes or not minded
            if asked and self._pass_over(view, fair_values, minded=minded, priced=priced):
                if minded:
                    found.append((0, event_ticker, (view, ())))
                continue
            opportunities = self.candidates(view, fair_values, now_ms)
            if not asked and event_ticker in self._hot and event_ticker in held:
                self._calm(view, fair_values)
            if opportunities and opportunities[0].tradable:
                if not minded and self.refuses is not None and priced:
                    until_ms = self.refuses(view, now_ms)
                    if until_ms > now_ms:
                        self._refused[event_ticker] = until_ms
                        self._note_barren(view)
                found.append((-(opportunities[0].net_edge_e6 or 0), event_ticker, (view, opportunities)))
            elif minded:
                found.append((0, event_ticker, (view, opportunities)))
        found.sort(key=_BY_WORTH)
        return tuple([entry[2] for entry in found])

    def _calm(self, view: EventView, fair_values: Mapping[str, FairValue]) -> None:
        """Leave what is held and has candidates, none of which can pay, until prices move or it is swept."""
        if by_prices() and not self._wanted(view.event, []) and not may_pay(view, fair_values):
            self._hot.discard(view.event.event_ticker)
            self._note_barren(view)

    def _pass_over(
        self, view: EventView, fair_values: Mapping[str, FairValue], *, minded: bool, priced: bool
    ) -> bool:
        """Skip an event in which nothing can be tradable, until its prices move; return whether it is one."""
        event_ticker = view.event.event_ticker
        known, prices = self._barren.get(event_ticker), _prices_in(view)
        left_e4 = 0 if known is None else known.lacks_now_e4(prices)
        if left_e4 <= 0:
            left_e4 = lacks_e4(view, fair_values)
            if left_e4 == 0:
                return False
            self._hot.discard(event_ticker)
            self._unscanned.note(event_ticker, ())
        self.scanned += 1
        if priced:
            self._barren[event_ticker] = _Barren.of(
                view, prices, passed=True, lacks_e4=left_e4, minded=minded
            )
        return True

    def forget_refusals(self) -> None:
        """Ask `refuses` anew with the next commit: until when may come from a clock that was wrong."""
        self._owner.check()
        for event_ticker in self._refused:
            self._barren.pop(event_ticker, None)
        self._refused.clear()

    def take_failures(self) -> list[Failure]:
        """Return what has begun to fail since the last call, for a log: each once, a few at a time."""
        return self._unasked.take() + self._unscanned.take()

    @property
    def failed(self) -> dict[str, tuple[Failure, ...]]:
        """What failed when last tried, by event ticker; without tracebacks."""
        asked, scanned = self._unasked.standing, self._unscanned.standing
        return {key: asked.get(key, ()) + scanned.get(key, ()) for key in asked.keys() | scanned.keys()}

    def _pays_nothing(
        self, state: Records, known: _Barren, was: EventView, fair_values: Mapping[str, FairValue]
    ) -> bool:
        """Return whether nothing can pay in an event that was passed over; note how far from that it is."""
        self.scanned += 1
        markets = market_views(state, [seen.market.ticker for seen in was.markets])
        view = EventView(was.event, was.series, markets, was.timing, was.related, was.match)
        known.lacks_e4 = lacks_e4(view, fair_values)
        return known.lacks_e4 > 0

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
