"""Editions: the state at one (epoch, seq), rendered for readers and never changed again.

Every answer is made from one edition, so no answer mixes two states and no reader takes the state's lock. The
next edition is made in the background from what was touched since the last one: it shares everything else
with it (`shared.py`), and only markets whose records are different objects are rendered again (records are
immutable, so identity is equality).

Long work is cut into slices with `pause()` between them: the interpreter is shared with the threads that
answer.
"""

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, Final

import msgspec

from bus.protocol.messages import CycleEnd
from bus.protocol.state import Records, Touched
from bus.scan.membership import Move, events_of, moves_of, regroup
from markets.json.write import book_json, quote_members
from markets.records import Book, Market, Quote, Status, Suspect
from markets.timing import MatchTiming, match_time_json, match_timing

from .shared import Pause, SharedDict, SharedOrder

SLICE: Final = 50
"""Markets rendered between two pauses: less than a millisecond."""

SCAN_SLICE: Final = 1_000
"""Markets compared between two pauses: less than a millisecond."""

TIMING_MS: Final = 5_000
"""How old `in_play` may be: it changes with time alone."""

Entry = tuple[int, str]
"""A time (ms) and a key: an element of an order."""

Order = Sequence[Entry]
_OF_MARKET: Final = ("market", "quote", "book", "suspect")
_BOOK: Final = b',"orderbook":'
_SUSPECT: Final = b',"suspect_since":%d.%03d'
_encode: Final = msgspec.json.Encoder().encode


class Edition(msgspec.Struct, frozen=True, eq=False):
    """The state at one (epoch, seq), ready to be served.

    Attributes:
        number: counts the editions of a process; a later one has a larger number.
        state: frozen; it has no streams.
        digest: that of the whole state at `seq`.
        tickers: all markets shown, ascending. A market is shown once both its parts are known.
        moving: by ticker, the part of the market's JSON object that changes: quote and book, without `as_of`.
        confirmed: the end of most markets' objects: `as_of` as the last sweep confirmed it, `confirmed_ms`.
        by_event, by_series: tickers of an event, of a series, ascending.
        created: (created_ms, ticker) of every market shown, ascending.
        event_created_ms: by event ticker, when its first market was created; 0 for one without markets here.
        events_created: (that, event ticker), ascending.
        timings: match timing by event ticker.
        match_times: the same as JSON members, ``"EVENT":{...}``.
        milestones_of: ids of the milestones of an event, ascending.
        enriched: how many markets shown have a book.
        timed_ms: when `in_play` was last computed; `changed_ms`: when the content last changed.
    """

    number: int
    state: Records
    digest: int
    tickers: SharedOrder[str]
    moving: SharedDict[bytes]
    confirmed: bytes
    confirmed_ms: int
    by_event: SharedDict[tuple[str, ...]]
    by_series: SharedDict[tuple[str, ...]]
    created: SharedOrder[Entry]
    event_created_ms: SharedDict[int]
    events_created: SharedOrder[Entry]
    timings: SharedDict[MatchTiming]
    match_times: SharedDict[bytes]
    milestones_of: SharedDict[tuple[str, ...]]
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
        """End of the last complete sweep's fetch, from which the age of the whole is counted."""
        return self.state.cycle.complete_ms if self.state.cycle else None

    def market(self, ticker: str) -> bytes:
        """Return the JSON object of a market shown.

        Raises:
            KeyError: no such market.
        """
        moving, market = self.moving[ticker], self.state.markets[ticker]
        as_of_ms = self.state.quote_as_of_ms(ticker) or 0
        end = self.confirmed if as_of_ms == self.confirmed_ms else _as_of(as_of_ms)
        return self.state.raw(market)[:-1] + _series(market.series_ticker) + moving + end

    def kalshi_market(self, ticker: str) -> bytes:
        """Return Kalshi's own object of a market shown, without our members.

        Raises:
            KeyError: no such market.
        """
        moving, market = self.moving[ticker], self.state.markets[ticker]
        end = moving.rindex(_BOOK) if ticker in self.state.books else len(moving)
        return b"%b%b}" % (self.state.raw(market)[:-1], moving[:end])

    def release(self, pause: Pause) -> None:
        """Release everything bit by bit, once nobody else holds this edition.

        Readers of a part of an edition hold the whole.
        """
        for held in self.state.records.values():
            if isinstance(held, SharedDict):
                held.release(pause)
        for name in _SHARED:
            getattr(self, name).release(pause)


_SHARED: Final = (
    "moving",
    "by_event",
    "by_series",
    "event_created_ms",
    "timings",
    "match_times",
    "milestones_of",
)


class Query(msgspec.Struct, frozen=True):
    """Which markets to answer with. None: no restriction; `after`: the last ticker of the previous page."""

    series_ticker: str | None = None
    event_ticker: str | None = None
    tickers: tuple[str, ...] | None = None
    status: tuple[Status, ...] | None = None
    limit: int | None = None
    after: str | None = None
    fields: tuple[str, ...] | None = None


class Page(msgspec.Struct, frozen=True):
    """The markets of one answer: `total` and `enriched` count all that match, `last` is where to continue."""

    tickers: Sequence[str]
    total: int
    enriched: int
    last: str | None


def next_edition(
    taken: Records,
    digest: int,
    previous: Edition | None,
    now_ms: int,
    pause: Pause,
    only: Touched | None = None,
) -> Edition:
    """Return the edition of a frozen state, made from the previous edition.

    Args:
        taken: a frozen copy of the state, which this uses up.
        digest: that of the state it was copied from.
        previous: the last edition, of any epoch, or None.
        now_ms: the present, for `in_play`.
        pause: called between slices of work.
        only: what was touched since the state of `previous`, which is all that `taken` contains; None: it
            contains everything.
    """
    old = previous or _EMPTY
    state = _advanced(old.state, taken, only, pause)
    dirty, moved, removed, enriched = _compare(state, old, only, pause)
    moving = old.moving.copy(pause, len(state.markets))
    touched: set[str] = set()
    for index, ticker in enumerate(dirty):
        if index % SLICE == SLICE - 1:
            pause()
        before_quote = old.state.quotes.get(ticker)
        if before_quote is not None and before_quote.status is not state.quotes[ticker].status:
            touched.add(state.markets[ticker].event_ticker)
        moving[ticker] = _moving(state.quotes[ticker], state.books.get(ticker), state.suspects.get(ticker))
    for ticker in removed:
        del moving[ticker]
    pause()

    tickers, created = old.tickers, old.created
    by_event = old.by_event.copy(pause, len(state.events))
    by_series = old.by_series.copy(pause)
    if moved or removed:
        known = old.state.markets
        before = {t: known[t].created_ms or 0 for t in (*moved, *removed) if t in old.moving}
        created = _reordered(created, before, {t: state.markets[t].created_ms or 0 for t in moved}, pause)
        pause()
        tickers = tickers.exchanged(removed, [t for t in moved if t not in old.moving], pause)
        pause()
        moves = _moves(old, state, (*moved, *removed), moving, lambda market: market.event_ticker)
        regroup(by_event, moves, pause)
        moves = _moves(old, state, (*moved, *removed), moving, lambda market: market.series_ticker)
        regroup(by_series, moves, pause)
        touched.update(state.markets[ticker].event_ticker for ticker in moved)
        touched.update(known[ticker].event_ticker for ticker in before)

    milestones_of = old.milestones_of.copy(pause, len(state.events))
    changed = _changed(state.milestones, old.state.milestones, only and only.get("milestone", ()))
    if changed:
        named = [
            (id_, events_of(old.state.milestones.get(id_)), events_of(state.milestones.get(id_)))
            for id_ in changed
        ]
        regroup(milestones_of, (move for entry in named for move in moves_of(*entry)), pause)
        touched.update(event for _, *both in named for events in both for event in events)
    touched.update(_changed(state.events, old.state.events, only and only.get("event", ())))
    event_created_ms, events_created = _events_created(state, old, touched, by_event, pause)
    timed_ms = old.timed_ms
    if now_ms - timed_ms >= TIMING_MS or now_ms < timed_ms:
        timed_ms = now_ms
        touched.update(_begun_or_over(old, now_ms, pause))
    timings, match_times, retimed = _retimed(state, old, touched, by_event, milestones_of, now_ms, pause)
    # The digest too: a repair may correct something at the same seq.
    same = (state.epoch, state.seq, digest) == (old.epoch, old.seq, old.digest) and not retimed
    confirmed_ms = (state.cycle.as_of_ms if state.cycle else None) or 0
    return Edition(
        number=old.number + 1,
        state=state,
        digest=digest,
        tickers=tickers,
        moving=moving,
        confirmed=_as_of(confirmed_ms),
        confirmed_ms=confirmed_ms,
        by_event=by_event,
        by_series=by_series,
        created=created,
        event_created_ms=event_created_ms,
        events_created=events_created,
        timings=timings,
        match_times=match_times,
        milestones_of=milestones_of,
        enriched=enriched,
        timed_ms=timed_ms,
        changed_ms=old.changed_ms if same else now_ms,
    )


def excerpt(state: Records, match_times: Mapping[str, bytes], changed_ms: int) -> Edition:
    """Return an edition of the few markets in `state` alone.

    Whoever asks for these by name gets the same answer as from the edition they were taken from.

    Args:
        state: position and cycle of that edition, and what it has of these markets.
        match_times: those of their events.
        changed_ms: that of the edition.
    """
    moving = SharedDict[bytes]()
    for ticker in state.markets:
        quote = state.quotes.get(ticker)
        if quote is not None:
            moving[ticker] = _moving(quote, state.books.get(ticker), state.suspects.get(ticker))
    return msgspec.structs.replace(
        _EMPTY,
        state=state,
        tickers=SharedOrder.of(moving),
        moving=moving,
        confirmed=_as_of(state.confirmed_ms),
        confirmed_ms=state.confirmed_ms,
        match_times=SharedDict.of(match_times, lambda: None),
        enriched=sum(ticker in state.books for ticker in moving),
        changed_ms=changed_ms,
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


def _advanced(old: Records, taken: Records, only: Touched | None, pause: Pause) -> Records:
    """Return what was taken in the form an edition holds, or `old` with only `only` replaced."""
    state = Records(taken.epoch, taken.keeping)
    state.seq, state.cycle, state.ages = taken.seq, taken.cycle, taken.ages
    state.stream_since_ms = taken.stream_since_ms
    held: dict[str, SharedDict[Any]] = {}
    for kind, records in taken.records.items():
        if only is None:
            held[kind] = SharedDict.of(records, pause)
            continue
        before = old.records[kind]
        assert isinstance(before, SharedDict)
        copy = held[kind] = before.copy(pause)
        for index, key in enumerate(only.get(kind, ())):
            if index % SCAN_SLICE == SCAN_SLICE - 1:
                pause()
            record = records.pop(key, None)  # so that what was taken is freed bit by bit
            if record is not None:
                copy[key] = record
            else:
                copy.pop(key, None)
    state.hold(held)
    return state


def _compare(
    state: Records, old: Edition, only: Touched | None, pause: Pause
) -> tuple[list[str], list[str], list[str], int]:
    """Return which markets to render again, which have a new static part, which are no longer shown.

    And how many of those shown have a book.
    """
    markets, quotes, books, suspects = state.markets, state.quotes, state.books, state.suspects
    known, before = old.moving, old.state
    dirty: list[str] = []
    moved: list[str] = []
    removed: list[str] = []
    enriched = old.enriched
    looked_at: Iterable[str] = chain(markets, (ticker for ticker in known if ticker not in markets))
    if only is not None:
        looked_at = _tickers(only)
    for index, ticker in enumerate(looked_at):
        if index % SCAN_SLICE == SCAN_SLICE - 1:
            pause()
        market, quote, book = markets.get(ticker), quotes.get(ticker), books.get(ticker)
        old_book = before.books.get(ticker)
        shown = ticker in known
        enriched -= shown and old_book is not None
        if market is None or quote is None:
            if shown:
                removed.append(ticker)
            continue
        enriched += book is not None
        new = not shown
        if new or market is not before.markets.get(ticker):
            moved.append(ticker)
        if (
            new
            or quote is not before.quotes.get(ticker)
            or book is not old_book
            or suspects.get(ticker) is not before.suspects.get(ticker)
        ):
            dirty.append(ticker)
    return dirty, moved, removed, enriched


def _tickers(only: Touched) -> Iterator[str]:
    """Yield the tickers of markets touched in any way, each once."""
    before: list[Collection[str]] = []
    for kind in _OF_MARKET:
        keys = only.get(kind, ())
        yield from (key for key in keys if not any(key in others for others in before))
        before.append(keys)


def _moving(quote: Quote, book: Book | None, suspect: Suspect | None) -> bytes:
    members = quote_members(quote)
    if book is None:
        return members
    # After the book, which it says may be wrong.
    doubt = _SUSPECT % divmod(suspect.since_ms or 0, 1000) if suspect is not None else b""
    return members + _BOOK + book_json(book) + doubt


@lru_cache(maxsize=4096)
def _series(series_ticker: str | None) -> bytes:
    """Return our member `series_ticker`."""
    return b',"series_ticker":' + _encode(series_ticker)


def _as_of(as_of_ms: int) -> bytes:
    return b',"as_of":%d.%03d}' % divmod(as_of_ms, 1000)


def _moves(
    old: Edition,
    state: Records,
    tickers: Iterable[str],
    shown: Collection[str],
    group: Callable[[Market], str | None],
) -> Iterator[Move]:
    """Yield from which group to which these markets move; those not shown, before or after, are in none."""
    before, after = old.state.markets, state.markets
    for ticker in tickers:
        was = group(before[ticker]) if ticker in old.moving else None
        yield ticker, was, group(after[ticker]) if ticker in shown else None


def _reordered(
    order: SharedOrder[Entry], before: Mapping[str, int], after: Mapping[str, int], pause: Pause
) -> SharedOrder[Entry]:
    """Return an ascending order in which the elements of `before` are replaced by those of `after`."""
    gone = [(time_ms, key) for key, time_ms in before.items() if after.get(key) != time_ms]
    come = [(time_ms, key) for key, time_ms in after.items() if before.get(key) != time_ms]
    return order.exchanged(gone, come, pause)


def _events_created(
    state: Records,
    old: Edition,
    touched: Iterable[str],
    by_event: Mapping[str, tuple[str, ...]],
    pause: Pause,
) -> tuple[SharedDict[int], SharedOrder[Entry]]:
    """Return when events were created, `touched` ones looked up again."""
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
    times = old.event_created_ms.copy(pause, len(after))
    for ticker in before.keys() - after.keys():
        del times[ticker]
    times.update(after)
    return times, _reordered(old.events_created, before, after, pause)


def _changed(
    new: Mapping[str, object], old: Mapping[str, object], only: Collection[str] | None
) -> Collection[str]:
    """Return the keys of records that changed or are gone; only among `only`, if not None."""
    keys: Iterable[str] = chain(new, (key for key in old if key not in new)) if only is None else only
    return [key for key in keys if new.get(key) is not old.get(key)]


def _begun_or_over(old: Edition, now_ms: int, pause: Pause) -> Iterator[str]:
    """Yield the events whose timing may have changed by the passing of time alone.

    Those of matches that have begun or whose planned end is past, or no longer is, if the clock was set back.
    """
    low, high = sorted((old.timed_ms, now_ms))
    for index, (event, timing) in enumerate(old.timings.items()):
        if index % SCAN_SLICE == SCAN_SLICE - 1:
            pause()
        if timing.start_ms is not None and low < timing.start_ms <= high:
            yield event
    for milestone in old.state.milestones.values():
        if milestone.end_ms is not None and low < milestone.end_ms <= high:
            yield from events_of(milestone)


def _retimed(
    state: Records,
    old: Edition,
    touched: set[str],
    by_event: Mapping[str, tuple[str, ...]],
    milestones_of: Mapping[str, tuple[str, ...]],
    now_ms: int,
    pause: Pause,
) -> tuple[SharedDict[MatchTiming], SharedDict[bytes], bool]:
    """Return the match timings, those of `touched` events computed again, and whether any differs."""
    timings, match_times = old.timings.copy(pause, len(touched)), old.match_times.copy(pause, len(touched))
    retimed = False
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
        if timing == old.timings.get(ticker):
            continue
        retimed = True
        if timing is None:
            del timings[ticker], match_times[ticker]
        else:
            timings[ticker] = timing
            match_times[ticker] = _encode(ticker) + b":" + _encode(match_time_json(timing))
    return timings, match_times, retimed


_EMPTY: Final = Edition(
    number=0,
    state=Records(),
    digest=0,
    tickers=SharedOrder(),
    moving=SharedDict(),
    confirmed=b"",
    confirmed_ms=0,
    by_event=SharedDict(),
    by_series=SharedDict(),
    created=SharedOrder(),
    event_created_ms=SharedDict(),
    events_created=SharedOrder(),
    timings=SharedDict(),
    match_times=SharedDict(),
    milestones_of=SharedDict(),
    enriched=0,
    timed_ms=0,
    changed_ms=0,
)
