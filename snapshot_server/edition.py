"""Editions: the state at one (epoch, seq), rendered for readers and never changed again.

Every answer is made from one edition, so no answer mixes two states and no reader takes the state's lock. The
next edition is made beside the readers, from a frozen copy of the state: only markets whose records are other
objects than before are rendered again (records are immutable, so identity is equality).

Long work is cut into slices with `pause()` between them: the interpreter is shared with whoever answers.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final

import msgspec

from bus.protocol.messages import CycleEnd
from bus.protocol.state import Records
from bus.scan.membership import Move, events_of, moves_of, regroup
from markets.json.write import book_json, quote_members
from markets.records import Book, Market, Quote, Status, Suspect
from markets.timing import MatchTiming, match_time_json, match_timing

SLICE: Final = 50
"""Markets rendered between two pauses: less than a millisecond."""

SCAN_SLICE: Final = 1_000
"""Markets compared between two pauses: less than a millisecond."""

TIMING_MS: Final = 5_000
"""How old `in_play` may be: it changes with time alone."""

FEW: Final = 100
"""Up to so many elements of an order are exchanged one by one: more cost less in one sort."""

Pause = Callable[[], None]
Entry = tuple[int, str]
"""A time (ms) and a key: an element of an order."""

Order = list[Entry]
_BOOK: Final = b',"orderbook":'
_SUSPECT: Final = b',"suspect_since":%d.%03d'
_encode: Final = msgspec.json.Encoder().encode


class Edition(msgspec.Struct, frozen=True, eq=False):
    """The state at one (epoch, seq), ready to be served.

    Attributes:
        state: frozen; it has no streams.
        digest: of the whole state at `seq`.
        tickers: every market shown, ascending. A market is shown once both its parts are known.
        moving: by ticker, the part of the market's JSON object that moves: quote and book, without `as_of`.
        confirmed: the end of most markets' objects: `as_of` as the last sweep confirmed it.
        ends: the end of the other markets' objects, by ticker.
        by_event, by_series: tickers of an event, of a series, ascending.
        created: (created_ms, ticker) of every market shown, ascending.
        event_created_ms: by event ticker, when its first market was created; 0 of one without markets here.
        events_created: (that, event ticker), ascending.
        timings: match timing by event ticker.
        match_times: the same as JSON members, ``"EVENT":{...}``.
        milestones_of: ids of the milestones of an event, ascending.
        enriched: how many markets shown have a book.
        timed_ms: when `in_play` was last computed; `changed_ms`: when the content last changed.
    """

    state: Records
    digest: int
    tickers: list[str]
    moving: dict[str, bytes]
    confirmed: bytes
    ends: dict[str, bytes]
    by_event: dict[str, tuple[str, ...]]
    by_series: dict[str, tuple[str, ...]]
    created: Order
    event_created_ms: dict[str, int]
    events_created: Order
    timings: dict[str, MatchTiming]
    match_times: dict[str, bytes]
    milestones_of: dict[str, tuple[str, ...]]
    enriched: int
    timed_ms: int
    changed_ms: int

    @property
    def epoch(self) -> int:
        return self.state.epoch

    @property
    def seq(self) -> int:
        return self.state.seq

    @property
    def cycle(self) -> CycleEnd | None:
        return self.state.cycle

    @property
    def complete_ms(self) -> int | None:
        """End of the last complete sweep's fetch: the age of the whole counts from here."""
        return self.state.cycle.complete_ms if self.state.cycle else None

    def market(self, ticker: str) -> bytes:
        """Return the JSON object of a market shown.

        Raises:
            KeyError: no such market.
        """
        moving, market = self.moving[ticker], self.state.markets[ticker]
        still, series = self.state.raw(market)[:-1], _series(market.series_ticker)
        return still + series + moving + self.ends.get(ticker, self.confirmed)

    def kalshi_market(self, ticker: str) -> bytes:
        """Return Kalshi's own object of a market shown, without members of ours.

        Raises:
            KeyError: no such market.
        """
        moving, market = self.moving[ticker], self.state.markets[ticker]
        end = moving.rindex(_BOOK) if ticker in self.state.books else len(moving)
        return b"%b%b}" % (self.state.raw(market)[:-1], moving[:end])


class Query(msgspec.Struct, frozen=True):
    """Which markets to answer with. None is no restriction; `after` is the last ticker of the page before."""

    series_ticker: str | None = None
    event_ticker: str | None = None
    tickers: tuple[str, ...] | None = None
    status: tuple[Status, ...] | None = None
    limit: int | None = None
    after: str | None = None
    fields: tuple[str, ...] | None = None


class Page(msgspec.Struct, frozen=True):
    """The markets of one answer: `total` and `enriched` count all that match, `last` is where to go on."""

    tickers: Sequence[str]
    total: int
    enriched: int
    last: str | None


def next_edition(state: Records, digest: int, previous: Edition | None, now_ms: int, pause: Pause) -> Edition:
    """Return the edition of a frozen state, made from the one before it.

    Args:
        state: a frozen copy.
        digest: of the state it was copied from.
        previous: the last edition, of any epoch, or None.
        now_ms: the present, for `in_play`.
        pause: called between slices of work.
    """
    old = previous or _EMPTY
    dirty, moved, ends, shown = _compare(state, old, pause)
    dirty += _doubted(state, old)
    moving = old.moving.copy()
    touched: set[str] = set()
    for index, ticker in enumerate(dirty):
        if index % SLICE == SLICE - 1:
            pause()
        before_quote = old.state.quotes.get(ticker)
        if before_quote is not None and before_quote.status is not state.quotes[ticker].status:
            touched.add(state.markets[ticker].event_ticker)
        moving[ticker] = _moving(state.quotes[ticker], state.books.get(ticker), state.suspects.get(ticker))
    removed: list[str] = []
    if len(moving) != shown:
        removed = [t for t in old.moving if t not in state.markets or t not in state.quotes]
        for ticker in removed:
            del moving[ticker]
    pause()

    tickers, by_event, by_series = old.tickers, old.by_event, old.by_series
    created = old.created
    if moved or removed:
        known = old.state.markets
        before = {t: known[t].created_ms or 0 for t in (*moved, *removed) if t in old.moving}
        created = _reordered(created, before, {t: state.markets[t].created_ms or 0 for t in moved})
        pause()
        tickers = _merged(old.tickers, moving)
        pause()
        by_event, by_series = old.by_event.copy(), old.by_series.copy()
        moves = _moves(old, state, (*moved, *removed), moving, lambda market: market.event_ticker)
        regroup(by_event, moves, pause)
        moves = _moves(old, state, (*moved, *removed), moving, lambda market: market.series_ticker)
        regroup(by_series, moves, pause)
        touched.update(state.markets[ticker].event_ticker for ticker in moved)
        touched.update(known[ticker].event_ticker for ticker in before)

    milestones_of = old.milestones_of
    changed = _changed(state.milestones, old.state.milestones)
    if changed:
        named = [
            (id_, events_of(old.state.milestones.get(id_)), events_of(state.milestones.get(id_)))
            for id_ in changed
        ]
        milestones_of = milestones_of.copy()
        regroup(milestones_of, (move for entry in named for move in moves_of(*entry)), pause)
        touched.update(event for _, *both in named for events in both for event in events)
    touched.update(_changed(state.events, old.state.events))
    event_created_ms, events_created = _events_created(state, old, touched, by_event, pause)
    timed_ms = old.timed_ms
    if now_ms - timed_ms >= TIMING_MS or now_ms < timed_ms:
        timed_ms = now_ms
        touched.update(event for event, timing in old.timings.items() if timing.in_play is not None)
    timings, match_times = _retimed(state, old, touched, by_event, milestones_of, now_ms, pause)
    # The digest too: a repair may put right what was wrong at the same seq.
    same = (state.epoch, state.seq, digest) == (old.epoch, old.seq, old.digest)
    same = same and match_times is old.match_times
    return Edition(
        state=state,
        digest=digest,
        tickers=tickers,
        moving=moving,
        confirmed=_as_of((state.cycle.as_of_ms if state.cycle else None) or 0),
        ends=ends,
        by_event=by_event,
        by_series=by_series,
        created=created,
        event_created_ms=event_created_ms,
        events_created=events_created,
        timings=timings,
        match_times=match_times,
        milestones_of=milestones_of,
        enriched=len(state.books.keys() & moving.keys()),
        timed_ms=timed_ms,
        changed_ms=old.changed_ms if same else now_ms,
    )


def select(edition: Edition, query: Query) -> Page:
    """Return the page of markets that a query asks for, in ascending order of ticker."""
    tickers = candidates(edition, query)
    if query.status is not None:
        quotes, wanted = edition.state.quotes, frozenset(query.status)
        tickers = [ticker for ticker in tickers if quotes[ticker].status in wanted]
    total = len(tickers)
    books = edition.state.books
    enriched = edition.enriched if tickers is edition.tickers else sum(ticker in books for ticker in tickers)
    start = bisect_right(tickers, query.after) if query.after is not None else 0
    end = total if query.limit is None else min(total, start + query.limit)
    page = tickers if (start, end) == (0, total) else tickers[start:end]
    return Page(page, total, enriched, page[-1] if page and end < total else None)


def candidates(edition: Edition, query: Query) -> Sequence[str]:
    """Return the tickers of the markets that match all of a query but its status, ascending."""
    markets = edition.state.markets
    tickers: Sequence[str]
    if query.tickers is not None:
        tickers = sorted({ticker for ticker in query.tickers if ticker in edition.moving})
    elif query.event_ticker is not None:
        tickers = edition.by_event.get(query.event_ticker, ())
    elif query.series_ticker is not None:
        return edition.by_series.get(query.series_ticker, ())
    else:
        return edition.tickers
    if query.event_ticker is not None and query.tickers is not None:
        tickers = [ticker for ticker in tickers if markets[ticker].event_ticker == query.event_ticker]
    if query.series_ticker is not None:
        tickers = [ticker for ticker in tickers if markets[ticker].series_ticker == query.series_ticker]
    return tickers


# --- inside --------------------------------------------------------------------------------------


def _compare(
    state: Records, old: Edition, pause: Pause
) -> tuple[list[str], list[str], dict[str, bytes], int]:
    """Return tickers to render again, those with a new static part, objects' own ends, how many are shown."""
    quotes, books = state.quotes, state.books
    old_markets, old_quotes, old_books = old.state.markets, old.state.quotes, old.state.books
    known = old.moving
    confirmed_ms = (state.cycle.as_of_ms if state.cycle else None) or 0
    unconfirmed = frozenset(state.cycle.unconfirmed) if state.cycle else frozenset()
    dirty: list[str] = []
    moved: list[str] = []
    ends: dict[str, bytes] = {}
    shown = 0
    for index, (ticker, market) in enumerate(state.markets.items()):
        if index % SCAN_SLICE == SCAN_SLICE - 1:
            pause()
        quote = quotes.get(ticker)
        if quote is None:
            continue
        shown += 1
        if quote.as_of_ms > confirmed_ms or ticker in unconfirmed:
            ends[ticker] = _as_of(state.quote_as_of_ms(ticker) or 0)
        new = ticker not in known
        if new or market is not old_markets.get(ticker):
            moved.append(ticker)
        if new or quote is not old_quotes.get(ticker) or books.get(ticker) is not old_books.get(ticker):
            dirty.append(ticker)
    return dirty, moved, ends, shown


def _doubted(state: Records, old: Edition) -> list[str]:
    """Return markets shown whose book has come into doubt or out of it."""
    now, before = state.suspects, old.state.suspects
    changed = [ticker for ticker in now.keys() | before.keys() if now.get(ticker) is not before.get(ticker)]
    return [ticker for ticker in changed if ticker in state.markets and ticker in state.quotes]


def _moving(quote: Quote, book: Book | None, suspect: Suspect | None) -> bytes:
    members = quote_members(quote)
    if book is None:
        return members
    # Behind the book, of which it says that it may be wrong.
    doubt = _SUSPECT % divmod(suspect.since_ms or 0, 1000) if suspect is not None else b""
    return members + _BOOK + book_json(book) + doubt


@lru_cache(maxsize=4096)
def _series(series_ticker: str | None) -> bytes:
    """Return our member `series_ticker`."""
    return b',"series_ticker":' + _encode(series_ticker)


def _as_of(as_of_ms: int) -> bytes:
    return b',"as_of":%d.%03d}' % divmod(as_of_ms, 1000)


def _merged(tickers: list[str], shown: Collection[str]) -> list[str]:
    """Return all tickers ascending; the sort of two ascending runs costs one merge."""
    kept = [ticker for ticker in tickers if ticker in shown]
    known = set(kept)
    merged = kept + sorted(ticker for ticker in shown if ticker not in known)
    merged.sort()
    return merged


def _moves(
    old: Edition,
    state: Records,
    tickers: Iterable[str],
    shown: Collection[str],
    group: Callable[[Market], str | None],
) -> Iterator[Move]:
    """Yield from which group to which these markets move; those not shown, before or now, are in none."""
    before, after = old.state.markets, state.markets
    for ticker in tickers:
        was = group(before[ticker]) if ticker in old.moving else None
        yield ticker, was, group(after[ticker]) if ticker in shown else None


def _reordered(order: Order, before: Mapping[str, int], after: Mapping[str, int]) -> Order:
    """Return an ascending order in which the elements of `before` have given way to those of `after`."""
    gone = {(time_ms, key) for key, time_ms in before.items() if after.get(key) != time_ms}
    come = [(time_ms, key) for key, time_ms in after.items() if before.get(key) != time_ms]
    if not gone and not come:
        return order
    if len(gone) + len(come) > FEW:
        kept = [entry for entry in order if entry not in gone] + sorted(come)
        kept.sort()
        return kept
    kept = order.copy()
    for entry in gone:
        del kept[bisect_left(kept, entry)]
    for entry in come:
        insort(kept, entry)
    return kept


def _events_created(
    state: Records, old: Edition, touched: Iterable[str], by_event: dict[str, tuple[str, ...]], pause: Pause
) -> tuple[dict[str, int], Order]:
    """Return when events were created, `touched` ones looked up again; the old objects if none differs."""
    before: dict[str, int] = {}
    after: dict[str, int] = {}
    for index, ticker in enumerate(touched):
        if index % SLICE == SLICE - 1:
            pause()
        if ticker in old.event_created_ms:
            before[ticker] = old.event_created_ms[ticker]
        if ticker in state.events:
            times_ms = [state.markets[market].created_ms or 0 for market in by_event.get(ticker, ())]
            after[ticker] = min(times_ms, default=0)
    if before == after:
        return old.event_created_ms, old.events_created
    times = {ticker: ms for ticker, ms in old.event_created_ms.items() if ticker not in before}
    return times | after, _reordered(old.events_created, before, after)


def _changed(new: Mapping[str, object], old: Mapping[str, object]) -> list[str]:
    """Return the keys of records that are others than before, or gone."""
    changed = [key for key, record in new.items() if record is not old.get(key)]
    return changed if len(new) - len(changed) == len(old) else changed + [k for k in old if k not in new]


def _retimed(
    state: Records,
    old: Edition,
    touched: set[str],
    by_event: dict[str, tuple[str, ...]],
    milestones_of: dict[str, tuple[str, ...]],
    now_ms: int,
    pause: Pause,
) -> tuple[dict[str, MatchTiming], dict[str, bytes]]:
    """Return the match timings, those of `touched` events computed again; the same dicts if none differs."""
    changes: dict[str, MatchTiming | None] = {}
    for index, ticker in enumerate(touched):
        if index % SLICE == SLICE - 1:
            pause()
        event = state.events.get(ticker)
        timing = None
        if event is not None and ticker in by_event:
            markets = [state.markets[market] for market in by_event[ticker]]
            milestones = [state.milestones[id_] for id_ in milestones_of.get(ticker, ())]
            statuses = [state.quotes[market].status for market in by_event[ticker]]
            timing = match_timing(event, markets, milestones, now_ms=now_ms, statuses=statuses)
        if timing != old.timings.get(ticker):
            changes[ticker] = timing
    if not changes:
        return old.timings, old.match_times
    timings, match_times = old.timings.copy(), old.match_times.copy()
    for ticker, timing in changes.items():
        if timing is None:
            del timings[ticker], match_times[ticker]
        else:
            timings[ticker] = timing
            match_times[ticker] = _encode(ticker) + b":" + _encode(match_time_json(timing))
    return timings, match_times


_EMPTY: Final = Edition(
    state=Records(),
    digest=0,
    tickers=[],
    moving={},
    confirmed=b"",
    ends={},
    by_event={},
    by_series={},
    created=[],
    event_created_ms={},
    events_created=[],
    timings={},
    match_times={},
    milestones_of={},
    enriched=0,
    timed_ms=0,
    changed_ms=0,
)
