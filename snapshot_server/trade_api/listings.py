"""The lists of Kalshi's read API: what one may ask for, and the bodies that an edition gives."""

import base64
import binascii
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from heapq import merge
from typing import ClassVar, Final, Literal, NamedTuple

import msgspec

from bus.market_history import HistoryTrade
from bus.protocol.state import Records
from markets.errors import BadRecord
from markets.json.decoding import Reader, texts_of
from markets.json.pages import text_member
from markets.json.words import STATUS_WORDS
from markets.records import Event, Market, Milestone, Quote
from markets.units import (
    MAX_TIME_MS,
    MIN_TIME_MS,
    format_count,
    format_price,
    format_time,
    opposite,
    parse_time_ms,
)
from snapshot_server.edition import SCAN_SLICE, Edition, Entry, Order
from snapshot_server.elsewhere import NOWHERE, Elsewhere
from snapshot_server.history.store import Place, Store
from snapshot_server.shared import Pause

from .candlesticks import Span, make

SMALL: Final = 50
"""Lists that examine at most this many candidates are made at once; others where they hold up nobody."""

_COMBOS: Final = "KXMVE"
_JOIN: Final = 60
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)

Bound = tuple[str, int | None, int | None]

_encode: Final = msgspec.json.Encoder().encode
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _SeriesWire(msgspec.Struct):
    category: str | None = None
    categories: msgspec.Raw = msgspec.Raw(b"null")
    tags: msgspec.Raw = msgspec.Raw(b"null")


class _DetailsWire(msgspec.Struct, frozen=True):
    league: str | None = None


class _MilestoneWire(msgspec.Struct):
    details: _DetailsWire = _DetailsWire()
    source_id: str | None = None


_series: Final = Reader(_SeriesWire, "series")
_milestone: Final = Reader(_MilestoneWire, "milestone")


class Listing(msgspec.Struct, frozen=True):
    """Everything that a list is asked for: a key to the body that an edition gives.

    `lasts`: the same edition always gives the same body.
    """

    lasts: ClassVar[bool] = True

    def render(self, edition: Edition, pause: Pause) -> Iterator[bytes]:
        """Yield the body without its last byte, in chunks, with `pause()` between them."""
        raise NotImplementedError

    def is_small(self, _edition: Edition) -> bool:
        """Whether rendering takes negligible time."""
        return False

    def as_of_ms(self, edition: Edition) -> int | None:
        """Return when what is listed was last known to be true: as the last sweep confirmed it."""
        return confirmed_ms(edition)


class Wish(NamedTuple):
    """What an answer could have said more about: `what`, as in op `watch`, for these markets."""

    what: str
    tickers: tuple[str, ...]


class Answer(msgspec.Struct, frozen=True):
    """An answer.

    Attributes:
        route: its name in the metrics.
        as_of_ms: when its data was last known to be true.
        lasts: the body stays the same until the next edition.
    """

    status: int
    body: bytes | Listing
    route: str = "other"
    as_of_ms: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    wishes: tuple[Wish, ...] = ()
    lasts: bool = False


def make_cursor(entry: Entry) -> str:
    """Return the cursor that continues after the element at (time, key)."""
    return base64.urlsafe_b64encode(b"%d/%b" % (entry[0], entry[1].encode())).decode().rstrip("=")


def read_cursor(cursor: str | None) -> Entry | None:
    """Return what a cursor stands for; None, the first page, for one that is not ours, as Kalshi does."""
    try:
        text = base64.urlsafe_b64decode((cursor or "") + "=" * (-len(cursor or "") % 4)).decode()
    except (binascii.Error, ValueError):
        return None
    time, _, key = text.partition("/")
    return (int(time), key) if _INTEGER.fullmatch(time) and key else None


def confirmed_ms(edition: Edition) -> int | None:
    """Return the time as of which the last sweep confirmed what it saw; None before the first."""
    cycle = edition.cycle
    if cycle is None:
        return None
    return cycle.complete_ms if cycle.as_of_ms is None else cycle.as_of_ms


def market_of(edition: Edition, elsewhere: Elsewhere, ticker: str) -> tuple[Market, Quote] | None:
    """Return a market, on the feed or not; None if unknown."""
    if ticker in edition.moving:
        return edition.state.markets[ticker], edition.state.quotes[ticker]
    other = elsewhere.markets.get(ticker)
    return None if other is None else (other.market, other.quote)


def market_json(edition: Edition, elsewhere: Elsewhere, ticker: str) -> bytes:
    """Return Kalshi's object of a known market."""
    return edition.kalshi_market(ticker) if ticker in edition.moving else elsewhere.markets[ticker].raw


def event_tickers(edition: Edition, elsewhere: Elsewhere, event_ticker: str) -> Sequence[str]:
    """Return the known markets of an event; for an event on the feed, those that are on it too."""
    held = edition.by_event.get(event_ticker, ())
    others = [t for t in elsewhere.markets_of.get(event_ticker, ()) if t not in edition.moving]
    return (*held, *others) if others else held


def _event_of(edition: Edition, elsewhere: Elsewhere, ticker: str) -> Event:
    event = edition.state.events.get(ticker)
    return elsewhere.events[ticker] if event is None else event


def event_json(edition: Edition, elsewhere: Elsewhere, event: Event, nested: bool) -> bytes:
    """Return Kalshi's object of an event, with its markets in it if `nested`."""
    if not nested:
        return event.raw
    return b'%b,"markets":[%b]}' % (event.raw[:-1], markets_json(edition, elsewhere, event))


def markets_json(edition: Edition, elsewhere: Elsewhere, event: Event) -> bytes:
    """Return the markets of an event, without the brackets, in the order of `event_markets`."""
    tickers = event_markets(edition, elsewhere, event)
    return b",".join([market_json(edition, elsewhere, ticker) for ticker in tickers])


def event_markets(edition: Edition, elsewhere: Elsewhere, event: Event) -> Iterable[str]:
    """Return the markets of an event in the order sent; those that it does not name come last."""
    rest = dict.fromkeys(event_tickers(edition, elsewhere, event.event_ticker))
    sent = [ticker for ticker in event.market_tickers.split() if ticker in rest]
    return dict.fromkeys(sent) | rest


def series_json(raw: bytes, metadata: bool, volume: bool) -> bytes:
    """Return Kalshi's object of a series, with or without the members sent only on demand."""
    dropped = {"product_metadata": metadata, "volume_fp": volume}
    if not any(not wanted and name.encode() in raw for name, wanted in dropped.items()):
        return raw
    return _encode({name: value for name, value in _members.decode(raw).items() if dropped.get(name, True)})


class MarketList(Listing, frozen=True):
    """`GET /markets`. `bounds`: (family of times, from, to) in Unix seconds."""

    size: int
    after: Entry | None = None
    status: str | None = None
    event: str | None = None
    series: str | None = None
    tickers: tuple[str, ...] | None = None
    bounds: Bound | None = None
    combos: bool | None = None
    elsewhere: Elsewhere = NOWHERE

    def render(self, edition: Edition, pause: Pause) -> Iterator[bytes]:
        few = self._few(edition)
        if few is None:
            order = _newest_first(self._created(edition.created), self.after)
            others = _newest_first(self._created(self.elsewhere.market_order), self.after)
            order = merge(order, (e for e in others if e[1] not in edition.moving), reverse=True)
        else:
            order = _newest_first(self._sorted(edition, few), self.after)
        page, cursor = _page(order, self._filter(edition), self.size, pause)
        yield b'{"cursor":%b,"markets":[' % _encode(cursor)
        json = partial(market_json, edition, self.elsewhere)
        for start in range(0, len(page), _JOIN):
            chunk = b",".join(map(json, page[start : start + _JOIN]))
            yield b"," + chunk if start else chunk
            pause()
        yield b"]"

    def is_small(self, edition: Edition) -> bool:
        few = self._few(edition)
        if few is not None:
            return len(few) <= SMALL
        return self.size <= SMALL and self == MarketList(self.size, self.after)

    def as_of_ms(self, edition: Edition) -> int | None:
        few = self._few(edition)
        if few is None or not 0 < len(few) <= SMALL:
            return confirmed_ms(edition)
        other = self.elsewhere.markets
        return min(
            (edition.state.quote_as_of_ms(ticker) or 0)
            if ticker in edition.moving
            else other[ticker].quote.as_of_ms
            for ticker in few
        )

    def _sorted(self, edition: Edition, tickers: Iterable[str]) -> Order:
        found = (market_of(edition, self.elsewhere, ticker) for ticker in tickers)
        return sorted((market.created_ms or 0, market.ticker) for market, _ in filter(None, found))

    def _few(self, edition: Edition) -> Sequence[str] | None:
        """Return a part of the markets that holds all that match, if a filter names one."""
        if self.tickers is not None:
            others = self.elsewhere.markets
            return [t for t in dict.fromkeys(self.tickers) if t in edition.moving or t in others]
        if self.event is not None:
            return event_tickers(edition, self.elsewhere, self.event)
        if self.series is None:
            return None
        held = edition.by_series.get(self.series, ())
        others = self.elsewhere.markets
        rest = [t for t, o in others.items() if o.market.series_ticker == self.series]
        return (*held, *(ticker for ticker in rest if ticker not in edition.moving)) if rest else held

    def _created(self, order: Order) -> Order:
        if self.bounds is None or self.bounds[0] != "created":
            return order
        _, low, high = self.bounds
        first = 0 if low is None else bisect_left(order, (low * 1000, ""))
        last = len(order) if high is None else bisect_left(order, ((high + 1) * 1000, ""))
        return order[first:last]

    def _filter(self, edition: Edition) -> Callable[[str], bool]:
        words = STATUS_WORDS[self.status] if self.status is not None else None
        in_time = _within(edition.state, *self.bounds) if self.bounds is not None else None

        def keep(ticker: str) -> bool:
            found = market_of(edition, self.elsewhere, ticker)
            if found is None:
                return False
            market, quote = found
            return (
                (words is None or quote.status in words)
                and (self.event is None or market.event_ticker == self.event)
                and (self.series is None or market.series_ticker == self.series)
                and (self.combos is None or market.event_ticker.startswith(_COMBOS) == self.combos)
                and (in_time is None or in_time(market))
            )

        return keep


class EventList(Listing, frozen=True):
    """`GET /events`. Times in Unix seconds."""

    size: int
    after: Entry | None = None
    status: str | None = None
    series: str | None = None
    tickers: tuple[str, ...] | None = None
    nested: bool = False
    milestones: bool = False
    min_close: int | None = None
    min_updated: int | None = None
    elsewhere: Elsewhere = NOWHERE

    def render(self, edition: Edition, pause: Pause) -> Iterator[bytes]:
        created_ms = edition.event_created_ms
        order = _newest_first(edition.events_created, self.after)
        others = _newest_first(self.elsewhere.event_order, self.after)
        order = merge(order, (e for e in others if e[1] not in created_ms), reverse=True)
        if self.tickers is not None:
            wanted = frozenset(self.tickers)
            few = [(created_ms[t], t) for t in wanted if t in created_ms]
            few += [entry for entry in self.elsewhere.event_order if entry[1] in wanted - created_ms.keys()]
            order = _newest_first(sorted(few), self.after)
        page, cursor = _page(order, self._filter(edition), self.size, pause)
        yield b'{"cursor":%b,"events":[' % _encode(cursor)
        for index, ticker in enumerate(page):
            event = _event_of(edition, self.elsewhere, ticker)
            json = event_json(edition, self.elsewhere, event, self.nested)
            yield b"," + json if index else json
            pause()
        yield b"]"
        if self.milestones:
            held = edition.state.milestones
            ids = dict.fromkeys(id_ for ticker in page for id_ in edition.milestones_of.get(ticker, ()))
            yield b',"milestones":[%b]' % b",".join(held[id_].raw for id_ in ids)

    def is_small(self, edition: Edition) -> bool:
        if self.tickers is None:
            return False
        return sum(1 + len(edition.by_event.get(ticker, ())) for ticker in self.tickers) <= SMALL

    def _filter(self, edition: Edition) -> Callable[[str], bool]:
        words = STATUS_WORDS[self.status] if self.status is not None else None

        def keep(ticker: str) -> bool:
            event = _event_of(edition, self.elsewhere, ticker)
            tickers = event_tickers(edition, self.elsewhere, ticker)
            members = list(filter(None, (market_of(edition, self.elsewhere, t) for t in tickers)))
            return (
                not ticker.startswith(_COMBOS)
                and (self.series is None or event.series_ticker == self.series)
                and (words is None or any(quote.status in words for _, quote in members))
                and (
                    self.min_close is None
                    or any((market.close_ms or 0) >= self.min_close * 1000 for market, _ in members)
                )
                and (
                    self.min_updated is None
                    or (_time_ms(event.raw, "last_updated_ts") or 0) > self.min_updated * 1000
                )
            )

        return keep


class SeriesList(Listing, frozen=True):
    """`GET /series`: all that match, on one page, ascending."""

    category: str | None = None
    tags: frozenset[str] | None = None
    metadata: bool = False
    volume: bool = False
    min_updated: int | None = None
    elsewhere: Elsewhere = NOWHERE

    def render(self, edition: Edition, pause: Pause) -> Iterator[bytes]:
        yield b'{"series":['
        comma = b""
        all_series = {**self.elsewhere.series, **{t: s.raw for t, s in edition.state.series.items()}}
        for index, (_, series) in enumerate(sorted(all_series.items())):
            if index % _JOIN == _JOIN - 1:
                pause()
            if self._matches(series):
                yield comma + series_json(series, self.metadata, self.volume)
                comma = b","
        yield b"]"

    def _matches(self, raw: bytes) -> bool:
        if self.category is None and self.tags is None and self.min_updated is None:
            return True
        body = _series.read(raw)
        categories = (body.category, *texts_of(body.categories))
        return (
            (self.category is None or self.category in categories)
            and (self.tags is None or not self.tags.isdisjoint(texts_of(body.tags)))
            and (
                self.min_updated is None or (_time_ms(raw, "last_updated_ts") or 0) >= self.min_updated * 1000
            )
        )


class MilestoneList(Listing, frozen=True):
    """`GET /milestones`, ascending by start."""

    size: int
    after: Entry | None = None
    start_ms: int | None = None
    category: str | None = None
    type: str | None = None
    competition: str | None = None
    source_id: str | None = None
    related: str | None = None
    min_updated: int | None = None
    elsewhere: Elsewhere = NOWHERE

    def render(self, edition: Edition, pause: Pause) -> Iterator[bytes]:
        milestones = {**self.elsewhere.milestones, **edition.state.milestones}
        found: Iterable[Milestone] = milestones.values()
        if self.related is not None:
            found = [
                milestone
                for milestone in found
                if self.related in milestone.related_event_tickers
                or self.related in milestone.primary_event_tickers
            ]
        order = sorted((milestone.start_ms or 0, milestone.id) for milestone in found)
        after = self.after
        rest = (entry for entry in order if after is None or entry > after)
        page, cursor = _page(rest, lambda key: self._matches(milestones[key]), self.size, pause)
        yield b'{"cursor":%b,"milestones":[' % _encode(cursor)
        yield b",".join([milestones[key].raw for key in page]) + b"]"

    def _matches(self, milestone: Milestone) -> bool:
        if self.start_ms is not None and (milestone.start_ms or 0) < self.start_ms:
            return False
        if self.category not in (None, milestone.category) or self.type not in (None, milestone.type):
            return False
        if self.competition is None and self.source_id is None and self.min_updated is None:
            return True
        body = _milestone.read(milestone.raw)
        return (
            (self.competition is None or body.details.league == self.competition)
            and (self.source_id is None or body.source_id == self.source_id)
            and (
                self.min_updated is None
                or (_time_ms(milestone.raw, "last_updated_ts") or 0) > self.min_updated * 1000
            )
        )


class TradeList(Listing, frozen=True):
    """`GET /markets/trades`, latest first. Times in ms since 1970, both included."""

    lasts: ClassVar[bool] = False

    history: Store
    size: int
    after: Place | None = None
    ticker: str | None = None
    low_ms: int = MIN_TIME_MS
    high_ms: int = MAX_TIME_MS

    def render(self, _edition: Edition, pause: Pause) -> Iterator[bytes]:
        page = self.history.newest_trades(self.low_ms, self.high_ms, self.size + 1, self.after, self.ticker)
        last = page[self.size - 1][1] if len(page) > self.size else None
        cursor = "" if last is None else make_cursor((last.time_ms, last.trade_id))
        yield b'{"cursor":%b,"trades":[' % _encode(cursor)
        for start in range(0, min(len(page), self.size), _JOIN):
            chunk = b",".join([trade_json(*pair) for pair in page[start : min(start + _JOIN, self.size)]])
            yield b"," + chunk if start else chunk
            pause()
        yield b"]"

    def as_of_ms(self, _edition: Edition) -> int | None:
        return self.history.trades.until_ms


class CandleList(Listing, frozen=True):
    """The candlesticks of markets, in Kalshi's three shapes.

    `shape`: "one" market by itself, a "batch", or those of an "event". `now_s`: they go no further.
    """

    lasts: ClassVar[bool] = False

    history: Store
    shape: Literal["one", "batch", "event"]
    tickers: tuple[str, ...]
    span: Span
    now_s: int

    def render(self, edition: Edition, pause: Pause) -> Iterator[bytes]:
        names = _encode(self.tickers)
        comma = b""
        if self.shape == "batch":
            yield b'{"markets":['
        elif self.shape == "event":
            yield b'{"adjusted_end_ts":%d,"market_tickers":%b,"market_candlesticks":[' % (
                self.span.end_s,
                names,
            )
        for ticker in self.tickers:
            pause()
            market, candles = edition.state.markets[ticker], edition.state.candles.get(ticker)
            found = b",".join(make(market, candles, self.history, self.span, self.now_s * 1000))
            if self.shape == "one":
                yield b'{"ticker":%b,"candlesticks":[%b]' % (_encode(ticker), found)
                return
            if self.shape == "batch":
                yield comma + b'{"market_ticker":%b,"candlesticks":[%b]}' % (_encode(ticker), found)
            else:
                yield comma + b"[%b]" % found
            comma = b","
        yield b"]"

    def as_of_ms(self, edition: Edition) -> int | None:
        """Return when the data was known: if nothing is heard, when Kalshi's own were fetched."""
        until_ms = self.history.quotes.until_ms
        ages = [
            until_ms if until_ms is not None else candles.as_of_ms if candles is not None else 0
            for candles in map(edition.state.candles.get, self.tickers)
        ]
        return min(ages, default=None)


def trade_json(ticker: str, trade: HistoryTrade) -> bytes:
    """Return Kalshi's object of a public trade."""
    side = trade.taker_side
    taker = {
        "taker_book_side": "bid" if side == "yes" else "ask",
        "taker_outcome_side": side,
        "taker_side": side,
    }
    return _encode(
        {
            "count_fp": format_count(trade.count_e2),
            "created_time": format_time(trade.time_ms),
            "is_block_trade": False,
            "no_price_dollars": format_price(opposite(trade.price_e4)),
            **(taker if side else {}),
            "ticker": ticker,
            "trade_id": trade.trade_id,
            "yes_price_dollars": format_price(trade.price_e4),
        }
    )


# --- inside --------------------------------------------------------------------------------------


def _newest_first(order: Order, after: Entry | None) -> Iterator[Entry]:
    index = len(order) if after is None else bisect_left(order, after)
    for at in range(index - 1, -1, -1):
        yield order[at]


def _page(
    order: Iterable[Entry], keep: Callable[[str], bool], size: int, pause: Pause
) -> tuple[list[str], str]:
    """Return the keys of one page, and the cursor of the next: "" at the end of the list."""
    keys: list[str] = []
    last: Entry | None = None
    for index, entry in enumerate(order):
        if index % SCAN_SLICE == SCAN_SLICE - 1:
            pause()
        if keep(entry[1]):
            if len(keys) == size:
                return keys, make_cursor(last) if last is not None else ""
            keys.append(entry[1])
            last = entry
    return keys, ""


def _within(state: Records, family: str, low: int | None, high: int | None) -> Callable[[Market], bool]:
    """Return the test for a market's time. "Later than" excludes the bound for `updated` alone."""
    low_ms = None if low is None else low * 1000 + (1 if family == "updated" else 0)
    high_ms = None if high is None else high * 1000 + (0 if family == "updated" else 999)

    time_of = _TIMES[family]

    def in_time(market: Market) -> bool:
        time_ms = time_of(state, market)
        if time_ms is None:
            return False
        return (low_ms is None or time_ms >= low_ms) and (high_ms is None or time_ms <= high_ms)

    return in_time


_TIMES: Final[dict[str, Callable[[Records, Market], int | None]]] = {
    "created": lambda _state, market: market.created_ms,
    "close": lambda _state, market: market.close_ms,
    "settled": lambda state, market: _time_ms(state.raw(market), "settlement_ts"),
    "updated": lambda state, market: _time_ms(state.raw(market), "updated_time"),
}


def _time_ms(raw: bytes, name: str) -> int | None:
    """Return a time that only the raw bytes contain; None if there is no readable one."""
    try:
        return parse_time_ms(text_member(raw, name), name)
    except BadRecord:
        return None
