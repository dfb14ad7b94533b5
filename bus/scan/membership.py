"""Which markets and milestones belong to which event, and an event in the form the scanner wants.

Dashboard and trader both make their views here, so that the same state and time give the same view. The
snapshot server groups what it shows with the same functions.

One thread changes a Membership; any thread may read it, since its values are replaced and never changed.
"""

from collections.abc import Callable, Collection, Iterable, MutableMapping
from typing import Final

import msgspec

from bus.process.settings import Settings
from bus.protocol.state import Records
from bus.threads import Owner
from markets.opportunities import NEVER_E4, EventView, MarketView, ScanLimits
from markets.records import Book, Event, Market, Milestone, Quote, Status
from markets.timing import MatchTiming, Schedule, match_timing, schedule_of
from markets.units import PRICE_ONE_E4

SLICE: Final = 500
"""Groups between two pauses: less than a millisecond."""

Move = tuple[str, str | None, str | None]
"""A member, the group it leaves and the group it enters; None for none."""


class Membership:
    """Membership of events, kept up to date from the changes that a replica reports.

    Attributes:
        event_of: market ticker -> event ticker.
        markets_of: event ticker -> tickers of its markets, sorted: the same state, the same view.
    """

    def __init__(self) -> None:
        self.event_of: dict[str, str] = {}
        self.markets_of: dict[str, tuple[str, ...]] = {}
        self._milestones_of: dict[str, tuple[str, ...]] = {}
        self._named_by: dict[str, tuple[str, ...]] = {}
        self._schedules: dict[str, tuple[tuple[Event, list[Market], list[Milestone]], Schedule]] = {}
        self._owner = Owner("a membership")

    def rebuild(self, state: Records) -> None:
        """Start over from a whole state."""
        self._owner.check()
        event_of = {ticker: market.event_ticker for ticker, market in state.markets.items()}
        markets_of: dict[str, tuple[str, ...]] = {}
        regroup(markets_of, ((ticker, None, event) for ticker, event in event_of.items()))
        named_by = {id_: events_of(milestone) for id_, milestone in state.milestones.items()}
        milestones_of: dict[str, tuple[str, ...]] = {}
        regroup(milestones_of, ((id_, None, event) for id_, named in named_by.items() for event in named))
        self.event_of, self.markets_of = event_of, markets_of
        self._named_by, self._milestones_of = named_by, milestones_of
        self._schedules = {}

    def update(self, state: Records, kind: str, key: str) -> Iterable[str]:
        """Take one changed record; return the events it belongs to, before and after."""
        self._owner.check()
        if kind in ("quote", "book", "suspect", "fair_value"):
            event = self.event_of.get(key)
            return () if event is None else (event,)
        if kind == "market":
            return self._place_market(state, key)
        if kind == "milestone":
            return self._place_milestone(state, key)
        if kind == "event":
            if key not in state.events:
                self._schedules.pop(key, None)
            return (key,)
        if kind == "series":
            return [ticker for ticker, event in state.events.items() if event.series_ticker == key]
        return ()

    def siblings(self, event_ticker: str) -> list[str]:
        """Return the other events of the same milestones, sorted."""
        milestones = self._milestones_of.get(event_ticker, ())
        named = {event for id_ in milestones for event in self._named_by.get(id_, ())}
        return sorted(named - {event_ticker})

    def with_related(self, state: Records, view: EventView, now_ms: int) -> EventView:
        """Return the view of an event in which one market wins, with the other events of its match."""
        if not view.event.mutually_exclusive:
            return view
        others = [self.view(state, ticker, now_ms) for ticker in self.siblings(view.event.event_ticker)]
        related = tuple(other for other in others if other is not None and not other.event.mutually_exclusive)
        return msgspec.structs.replace(view, related=related) if related else view

    def view(self, state: Records, event_ticker: str, now_ms: int) -> EventView | None:
        """Return an event with all its known markets, or None if the event or its markets are unknown."""
        event = state.events.get(event_ticker)
        if event is None:
            return None
        markets = market_views(state, self.markets_of.get(event_ticker, ()))
        if not markets:
            return None
        schedule = self._schedule(state, event, [view.market for view in markets])
        timing = schedule.at(now_ms, [view.quote.status for view in markets])
        match, series = schedule.milestone, state.series.get(event.series_ticker)
        return EventView(event, series, markets, timing, match="" if match is None else match.id)

    def _schedule(self, state: Records, event: Event, markets: list[Market]) -> Schedule:
        """Return an event's schedule, as worked out before if that was from the same records."""
        milestones = self._milestones(state, event.event_ticker)
        known = self._schedules.get(event.event_ticker)
        if known is not None and (event, markets, milestones) == known[0]:
            return known[1]
        schedule = schedule_of(event, markets, milestones)
        self._schedules[event.event_ticker] = (event, markets, milestones), schedule
        return schedule

    def bare_view(self, state: Records, event_ticker: str, now_ms: int) -> EventView | None:
        """Return the markets of an unknown event: nothing is offered, but they may be paid out.

        None if the event is known, or none of its markets is.
        """
        markets = market_views(state, self.markets_of.get(event_ticker, ()))
        if event_ticker in state.events or not markets:
            return None
        first = markets[0].market
        event = Event(
            event_ticker=event_ticker,
            series_ticker=first.series_ticker or "",
            title="",
            sub_title="",
            category="",
            mutually_exclusive=False,
            strike_date_ms=None,
            fee_type_override=None,
            fee_multiplier_override_e4=None,
            exchange_index=first.exchange_index,
            raw=b"{}",
        )
        statuses = [view.quote.status for view in markets]
        seen = [view.market for view in markets]
        return EventView(
            event, None, markets, match_timing(event, seen, (), now_ms=now_ms, statuses=statuses)
        )

    def timing(self, state: Records, event_ticker: str, now_ms: int) -> MatchTiming | None:
        """Return the times of an event, None where `view` gives none."""
        view = self.view(state, event_ticker, now_ms)
        return None if view is None else view.timing

    def _milestones(self, state: Records, event_ticker: str) -> list[Milestone]:
        ids = self._milestones_of.get(event_ticker)
        if ids is None:
            return []
        known = state.milestones
        return [known[id_] for id_ in ids if id_ in known]

    def _place_market(self, state: Records, ticker: str) -> set[str]:
        market = state.markets.get(ticker)
        before, after = self.event_of.get(ticker), None if market is None else market.event_ticker
        if after is not None:
            self.event_of[ticker] = after
        else:
            self.event_of.pop(ticker, None)
        regroup(self.markets_of, [(ticker, before, after)])
        return {event for event in (before, after) if event is not None}

    def _place_milestone(self, state: Records, id_: str) -> set[str]:
        milestone = state.milestones.get(id_)
        before, after = self._named_by.pop(id_, ()), events_of(milestone)
        if after:
            self._named_by[id_] = after
        regroup(self._milestones_of, moves_of(id_, before, after))
        return {*before, *after}


def events_of(milestone: Milestone | None) -> tuple[str, ...]:
    """Return the tickers of the events that a milestone belongs to; for None, none."""
    if milestone is None:
        return ()
    return tuple({*milestone.primary_event_tickers, *milestone.related_event_tickers})


def moves_of(member: str, before: Collection[str], after: Collection[str]) -> list[Move]:
    """Return the moves of what belonged to the groups `before` and now belongs to `after`."""
    left: list[Move] = [(member, group, None) for group in before if group not in after]
    return left + [(member, None, group) for group in after if group not in before]


def regroup(
    groups: MutableMapping[str, tuple[str, ...]],
    moves: Iterable[Move],
    pause: Callable[[], None] = lambda: None,
) -> set[str]:
    """Let members move from group to group, in place; return the groups that differ.

    Groups have one member or more, ascending: the same members make the same group, whatever came first.
    Groups are replaced as a whole, so the holder of one may read it in any thread.

    Args:
        pause: called between slices of work.
    """
    gone: dict[str, set[str]] = {}
    come: dict[str, list[str]] = {}
    for member, before, after in moves:
        if before == after:
            continue
        if before is not None:
            gone.setdefault(before, set()).add(member)
        if after is not None:
            come.setdefault(after, []).append(member)
    touched = gone.keys() | come.keys()
    for index, group in enumerate(touched):
        if index % SLICE == SLICE - 1:
            pause()
        left = gone.get(group, ())
        members = [member for member in groups.get(group, ()) if member not in left]
        members += come.get(group, ())
        if members:
            groups[group] = tuple(sorted(members))
        else:
            groups.pop(group, None)
    return touched


def scan_limits(settings: Settings) -> ScanLimits:
    """Return the scanner's limits shared by dashboard and trader."""
    return ScanLimits(
        max_leg_age_ms=round(settings.limit_leg_age_s * 1000),
        in_play=settings.trade_in_play == "yes",
        min_before_start_ms=round(settings.limit_before_start_s * 1000),
        void_risk=settings.trade_void_risk == "yes",
    )


def market_view(state: Records, ticker: str) -> MarketView | None:
    """Return one market as the scanner sees it, or None before both of its parts are known."""
    return next(iter(market_views(state, (ticker,))), None)


def market_views(state: Records, tickers: Iterable[str]) -> tuple[MarketView, ...]:
    """Return those of these markets of which both parts are known; every scan makes its views here."""
    markets, quotes, books, ages, suspects = (
        state.markets,
        state.quotes,
        state.books,
        state.ages,
        state.suspects,
    )
    confirmed_ms, since_ms = state.confirmed_ms, state.stream_since_ms
    found = []
    for ticker in tickers:
        market, quote = markets.get(ticker), quotes.get(ticker)
        if market is None or quote is None:
            continue
        as_of_ms = ages.get(ticker, confirmed_ms) if ages else confirmed_ms
        if quote.as_of_ms > as_of_ms:
            as_of_ms = quote.as_of_ms
        book = books.get(ticker)
        found.append(
            MarketView(
                market,
                quote,
                book,
                as_of_ms,
                None if book is None else book.as_of_ms,
                ticker in suspects,
                since_ms is not None and as_of_ms >= since_ms,
            )
        )
    return tuple(found)


Prices = tuple[Status, int, int, int, int]
"""A market's status, and best YES bid and ask by the quote and by the newer of quote and book; -1: none."""


def prices_in(quote: Quote, quote_as_of_ms: int, book: Book | None, book_as_of_ms: int | None) -> Prices:
    """Return what decides whether a market offers an opportunity, if that depends on prices alone."""
    bid_e4 = quote.yes_bid_e4 if quote.yes_bid_size_e2 > 0 else -1
    ask_e4 = quote.yes_ask_e4 if quote.yes_ask_size_e2 > 0 else -1
    if book is None or (book_as_of_ms or 0) < quote_as_of_ms:
        return quote.status, bid_e4, ask_e4, bid_e4, ask_e4
    yes, no = book.yes, book.no
    return (
        quote.status,
        bid_e4,
        ask_e4,
        yes[-1][0] if yes else -1,
        PRICE_ONE_E4 - no[-1][0] if no else -1,
    )


def prices_of(state: Records) -> Callable[[str, Quote | None, Book | None], Prices | None]:
    """Return what says of a market, its quote and its book what `prices_seen` does of `market_view`.

    It holds until the state changes: after each commit and each sweep of the books most markets are asked.
    """
    markets, ages, confirmed_ms = state.markets, state.ages, state.confirmed_ms

    def prices(ticker: str, quote: Quote | None, book: Book | None) -> Prices | None:
        if quote is None or ticker not in markets:
            return None
        as_of_ms = quote.as_of_ms
        if book is None:
            return prices_in(quote, as_of_ms, None, None)
        sure_ms = ages.get(ticker, confirmed_ms) if ages else confirmed_ms
        if as_of_ms < sure_ms:
            as_of_ms = sure_ms
        return prices_in(quote, as_of_ms, book, book.as_of_ms)

    return prices


def prices_seen(seen: MarketView) -> Prices:
    """Return the prices of a market as it is seen; see `prices_in`."""
    return prices_in(seen.quote, seen.quote_as_of_ms, seen.book, seen.book_as_of_ms)


def cheaper_e4(now: Prices, before: Prices) -> int:
    """Return by how much what can be bought in a market costs less than before; NEVER_E4 after a new status.

    Everything is bought at an ask, which is YES's, or what a bid for YES leaves. Quote and book are compared
    with themselves, and the larger difference counts.
    """
    if now[0] is not before[0]:
        return NEVER_E4
    _, quoted_bid_e4, quoted_ask_e4, bid_e4, ask_e4 = now
    cheaper = max(0, quoted_bid_e4 - before[1], bid_e4 - before[3])
    if quoted_ask_e4 != before[2] or ask_e4 != before[4]:
        cheaper += max(0, _ask_e4(before[2]) - _ask_e4(quoted_ask_e4), _ask_e4(before[4]) - _ask_e4(ask_e4))
    return cheaper


def _ask_e4(known_e4: int) -> int:
    """Return a price of `Prices` that is asked; where nobody asks, $1."""
    return known_e4 if known_e4 >= 0 else PRICE_ONE_E4
