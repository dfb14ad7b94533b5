"""Browsing all markets: category > series > event with counts, and lists of markets, filtered and sorted.

Columns of plain numbers, with one place per market, find in milliseconds which of 130,000 markets come first
in any order; everything that a page then shows of them comes from its own moment. Pure.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from bus.market_history import Movers
from bus.protocol.state import Records
from bus.scan.membership import market_view
from bus.scan.search import EVENT, MARKET, SearchHit, title_of
from markets.book import standing_price_e4
from markets.errors import BadRecord
from markets.records import Event, Market, Quote, Series, Status
from markets.units import HOUR_MS, format_count, format_price, format_time, parse_count_e2, parse_decimal
from ui.pages.categories import NONE, category_of, facet_text, series_of
from ui.pages.views import MarketRow, market_row

LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 200
FILE_MAX: Final = 10_000
"""Most rows of a file."""

SPARE: Final = 30
"""How many rows are looked at beyond those shown, since prices have moved since the columns were written."""

SAMPLE: Final = 64
"""One in SAMPLE markets is sampled to learn which numbers come first."""

UNKNOWN: Final = -(2**62)
"""Stands for a number that is not known; it comes last in every order."""

_TEXT_MAX: Final = 200
_MAX_HOURS: Final = 1_000_000

HOUR_S: Final = 3_600
DAY_S: Final = 86_400
WATCHLIST: Final = "watchlist"


class MarketList(msgspec.Struct, frozen=True):
    """A list of markets: its name in the address, title, usual order, and description.

    `window_s`: the time over which movers are measured; None for other lists.
    """

    key: str
    title: str
    sort: str
    says: str
    window_s: int | None = None


SHOWS: Final = {
    show.key: show
    for show in (
        MarketList("active", "Most active", "-day_volume", "most contracts traded in 24 hours first"),
        MarketList("movers-1h", "Movers 1 h", "-move", "largest moves of YES in an hour first", HOUR_S),
        MarketList("movers-24h", "Movers 24 h", "-move", "largest moves of YES in a day first", DAY_S),
        MarketList("new", "New", "-listed", "newest listings first"),
        MarketList("closing", "Closing soon", "closes", "next to close first"),
        MarketList("spreads", "Widest spreads", "-spread", "traded in 24 hours, widest spread first"),
        MarketList(WATCHLIST, "Watchlist", "", "in the order you starred them"),
    )
}

Key = Callable[["ListedMarket"], int | None]

SORTS: Final[dict[str, Key]] = {
    "move": lambda one: None if one.move_e4 is None else abs(one.move_e4),
    "bid": lambda one: None if one.row.yes_bid is None else one.row.yes_bid[0],
    "ask": lambda one: None if one.row.yes_ask is None else one.row.yes_ask[0],
    "spread": lambda one: one.spread_e4,
    "last": lambda one: one.row.view.quote.last_price_e4,
    "day": lambda one: one.row.change_e4,
    "day_volume": lambda one: one.row.view.quote.volume_24h_e2,
    "volume": lambda one: one.row.view.quote.volume_e2,
    "interest": lambda one: one.row.view.quote.open_interest_e2,
    "closes": lambda one: one.row.view.market.close_ms,
    "listed": lambda one: listed_ms(one.row.view.market),
}
"""Orders by name: ascending, or descending with a leading minus. Moves are sorted by size, not direction."""


class ListColumn(msgspec.Struct, frozen=True):
    """A column: key, heading, meaning, direction of the first click, style."""

    key: str
    name: str
    hint: str
    first: str = "-"
    css: str = "num"


COLUMNS: Final = (
    ListColumn("bid", "YES bid", "Best bid for YES"),
    ListColumn("ask", "YES ask", "Best offer of YES"),
    ListColumn("spread", "Spread", "Ask minus bid", css="num mid"),
    ListColumn("last", "Last", "Price of the last trade", css="num mid"),
    ListColumn("move", "Moved", "Change of the YES price since then; sorted by size in either direction"),
    ListColumn("day", "1 day", "Last price minus that of a day ago, from the exchange", css="num small"),
    ListColumn("day_volume", "24 h volume", "Contracts traded in 24 hours", css="num day-volume"),
    ListColumn("volume", "Volume", "Contracts ever traded", css="num wide"),
    ListColumn("interest", "Open interest", "Contracts held", css="num wide"),
    ListColumn("closes", "Closes", "End of trading", "", "num when"),
    ListColumn("listed", "Listed", "When the exchange created it", css="num wide"),
)

assert {column.key for column in COLUMNS} == set(SORTS), "every column sorts"

FILE_COLUMNS: Final = (
    "ticker", "event_ticker", "series_ticker", "category", "title", "outcome", "status", "yes_bid_dollars",
    "yes_ask_dollars", "last_price_dollars", "then_dollars", "change_24h_dollars", "volume_24h_fp",
    "volume_fp", "open_interest_fp", "close_time", "listed_time", "as_of",
)  # fmt: skip
"""Columns of a file of markets; `then_dollars` is the YES price at the start of the movers' window."""

EVENT_COLUMNS: Final = (
    "event_ticker", "series_ticker", "category", "title", "sub_title", "markets", "volume_24h_fp",
    "close_time",
)  # fmt: skip

PARAMETERS: Final = (
    "show",
    "category",
    "series",
    "q",
    "min_volume",
    "max_spread",
    "max_hours",
    "sort",
    "limit",
)


class ListQuery(msgspec.Struct, frozen=True):
    """Which markets are wanted; "" and None select all.

    Attributes:
        show: a key of SHOWS.
        q: words, as in the search.
        min_volume_e2: least contracts traded in 24 hours. max_spread_e4: widest spread.
        max_ms: longest time to the end of trading.
        sort: a key of SORTS, with a leading "-" for descending; "" for the list's own order.
    """

    show: str = "active"
    category: str = ""
    series: str = ""
    q: str = ""
    min_volume_e2: int | None = None
    max_spread_e4: int | None = None
    max_ms: int | None = None
    sort: str = ""
    limit: int = LIMIT_DEFAULT

    @property
    def list(self) -> MarketList:
        """The wanted list."""
        return SHOWS[self.show]

    @property
    def order(self) -> str:
        """The wanted order."""
        return self.sort or self.list.sort

    @property
    def narrowed(self) -> bool:
        """Whether anything but list, order and limit is asked for."""
        return self != ListQuery(show=self.show, sort=self.sort, limit=self.limit)

    @property
    def columns(self) -> tuple[ListColumn, ...]:
        """The columns in order; "move" only in lists of movers."""
        moves = self.list.window_s is not None
        return tuple(column for column in COLUMNS if (column.key != "move") or moves)


class ListedMarket(msgspec.Struct, frozen=True):
    """One market in a list, from one moment. `then_e4`: the YES price at the start of the window."""

    row: MarketRow
    event: Event | None
    category: str
    series: str
    then_e4: int | None = None

    @property
    def ticker(self) -> str:
        return self.row.view.market.ticker

    @property
    def spread_e4(self) -> int | None:
        bid, ask = self.row.yes_bid, self.row.yes_ask
        return None if bid is None or ask is None else ask[0] - bid[0]

    @property
    def stands_e4(self) -> int | None:
        """The present YES price."""
        bid, ask = (None if side is None else side[0] for side in (self.row.yes_bid, self.row.yes_ask))
        return standing_price_e4(bid, ask, self.row.view.quote.last_price_e4)

    @property
    def move_e4(self) -> int | None:
        now_e4 = self.stands_e4
        return None if now_e4 is None or self.then_e4 is None else now_e4 - self.then_e4


class ListPage(msgspec.Struct, frozen=True):
    """Sorted rows, and how many markets pass in all. `gone`: starred tickers that are not in the data."""

    rows: tuple[ListedMarket, ...]
    total: int
    gone: tuple[str, ...] = ()


class SearchRow(msgspec.Struct, frozen=True):
    """One result of a search: a market with its prices, or an event or a series with its counts.

    `detail`: a market's outcome, an event's subtitle.
    """

    kind: str
    ticker: str
    title: str
    detail: str
    event_ticker: str = ""
    market: ListedMarket | None = None
    events: int = 0
    markets: int = 0
    volume_24h_e2: int | None = None


class EventRow(msgspec.Struct, frozen=True):
    """An event of a series. `closes_ms`: when the first of its markets closes."""

    event: Event
    markets: int
    volume_24h_e2: int
    closes_ms: int | None


class Facet(msgspec.Struct, frozen=True):
    """Counts for a category, a series or an event. `volume_24h_e2`: contracts traded in 24 hours."""

    name: str
    events: int
    markets: int
    volume_24h_e2: int = 0


class MarketTree(msgspec.Struct, frozen=True):
    """Categories, series and events, with counts.

    Attributes:
        categories: most markets first. series: by category, most traded first.
        events: tickers by series. whole: each series, over all categories of its events.
    """

    categories: tuple[Facet, ...] = ()
    series: Mapping[str, tuple[Facet, ...]] = {}
    events: Mapping[str, tuple[str, ...]] = {}
    whole: Mapping[str, Facet] = {}


class Columns:
    """The numbers of every market that orders and filters need, in arrays by place.

    One thread writes, any may read. A reader may see old numbers of one market beside new ones of another;
    what it shows comes from its own moment, against which it checks the filters again.
    """

    def __init__(self) -> None:
        self.tickers: list[str] = []
        self.place_of: dict[str, int] = {}
        self.event_of: list[str] = []
        self.event_volume_e2: dict[str, int] = {}
        self.series_volume_e2: dict[str, int] = {}
        self._free: list[int] = []
        self._numbered: dict[str, int] = {}
        self._names: list[str] = []
        self._category = array("l")
        self._series = array("l")
        self._active = array("b")
        self._places: Sequence[int] | None = None
        self._numbers = {key: array("q") for key in SORTS if key != "move"}

    def __len__(self) -> int:
        return len(self.place_of)

    def put(self, market: Market, event: Event | None, series: Series | None) -> None:
        """Store a market's static part."""
        ticker = market.ticker
        place = self.place_of.get(ticker)
        if place is None:
            place = self._free.pop() if self._free else self._grow()
            self.place_of[ticker] = place
        else:
            self._count(place, -self._day_volume(place))
        self.tickers[place] = ticker
        self.event_of[place] = market.event_ticker
        self._series[place] = self._number(series_of(market, event))
        self._category[place] = self._number(category_of(event, series))
        self._numbers["closes"][place] = _known(market.close_ms)
        self._numbers["listed"][place] = _known(listed_ms(market))
        self._count(place, self._day_volume(place))

    def put_quote(self, quote: Quote) -> None:
        """Store a market's quote; it is ignored until the market's static part is known."""
        place = self.place_of.get(quote.ticker)
        if place is None:
            return
        numbers = self._numbers
        bid_e4 = quote.yes_bid_e4 if quote.yes_bid_size_e2 > 0 else None
        ask_e4 = quote.yes_ask_e4 if quote.yes_ask_size_e2 > 0 else None
        last_e4, before_e4 = quote.last_price_e4, quote.previous_price_e4
        numbers["bid"][place] = _known(bid_e4)
        numbers["ask"][place] = _known(ask_e4)
        numbers["spread"][place] = UNKNOWN if bid_e4 is None or ask_e4 is None else ask_e4 - bid_e4
        numbers["last"][place] = _known(last_e4)
        numbers["day"][place] = UNKNOWN if last_e4 is None or not before_e4 else last_e4 - before_e4
        numbers["volume"][place] = _known(quote.volume_e2)
        numbers["interest"][place] = _known(quote.open_interest_e2)
        self._set_active(place, active=quote.status is Status.ACTIVE)
        before = self._day_volume(place)
        numbers["day_volume"][place] = _known(quote.volume_24h_e2)
        if (difference := self._day_volume(place) - before) != 0:
            self._count(place, difference)

    def drop(self, ticker: str) -> None:
        """Forget a market."""
        place = self.place_of.pop(ticker, None)
        if place is None:
            return
        self._count(place, -self._day_volume(place))
        self._clear(place)
        self._free.append(place)

    def activity(self, hit: SearchHit) -> int:
        """Return how many contracts of a series, an event or a market were traded in 24 hours."""
        if hit.kind == MARKET:
            place = self.place_of.get(hit.ticker)
            return 0 if place is None else self._day_volume(place)
        return (self.event_volume_e2 if hit.kind == EVENT else self.series_volume_e2).get(hit.ticker, 0)

    def first(
        self, wanted: ListQuery, now_ms: int, among: Iterable[str] | None, most: int
    ) -> tuple[list[str], int]:
        """Return the first `most` markets that pass, in the wanted order, and how many pass in all.

        Args:
            among: tickers to choose from, whose order is kept if no other is wanted; None for all.
        """
        active, places = self._active, self._trading()
        if among is not None:
            every = wanted.show == WATCHLIST
            found = [place for ticker in among if (place := self.place_of.get(ticker)) is not None]
            places = [place for place in found if every or active[place]]
        for name, column in ((wanted.category, self._category), (wanted.series, self._series)):
            if name:
                number = self._numbered.get(name, -2)
                places = [place for place in places if column[place] == number]
        for key, low, high in _bounds(wanted, now_ms):
            numbers = self._numbers[key]
            places = [place for place in places if low <= numbers[place] <= high]
        total, name = len(places), wanted.order.removeprefix("-")
        descending = wanted.order.startswith("-")
        if name in self._numbers:
            places = _first(places, self._numbers[name], most, descending=descending)
        elif name and not descending:  # movers come with the largest moves first
            places = places[::-1]
        return [self.tickers[place] for place in places[:most]], total

    def tree(self, events: Iterable[Event], series: Mapping[str, Series]) -> MarketTree:
        """Return categories, series and events, with counts."""
        categories: dict[str, set[str]] = {}
        count_events: Counter[tuple[str, str]] = Counter()
        by_series: dict[str, list[str]] = {}
        for event in events:
            name = event.series_ticker or NONE
            category = category_of(event, series.get(event.series_ticker))
            count_events[category, name] += 1
            categories.setdefault(category, set()).add(name)
            by_series.setdefault(name, []).append(event.event_ticker)
        markets: Counter[tuple[str, str]] = Counter()
        both = Counter(zip(self._category, self._series, strict=True))
        for (category_number, series_number), number in both.items():
            if category_number >= 0:
                pair = self._names[category_number], self._names[series_number]
                markets[pair] = number
                categories.setdefault(pair[0], set()).add(pair[1])
        facets = {
            category: tuple(
                sorted(
                    (
                        Facet(
                            name,
                            count_events[category, name],
                            markets[category, name],
                            self.series_volume_e2.get(name, 0),
                        )
                        for name in within
                    ),
                    key=lambda facet: (-facet.volume_24h_e2, -facet.markets, facet.name),
                )
            )
            for category, within in categories.items()
        }
        whole = (
            Facet(
                category,
                sum(one.events for one in within),
                sum(one.markets for one in within),
                sum(one.volume_24h_e2 for one in within),
            )
            for category, within in facets.items()
        )
        each: dict[str, Facet] = {}
        for one in chain.from_iterable(facets.values()):
            other = each.get(one.name, Facet(one.name, 0, 0))
            each[one.name] = Facet(
                one.name, one.events + other.events, one.markets + other.markets, one.volume_24h_e2
            )
        return MarketTree(
            tuple(sorted(whole, key=lambda facet: (-facet.markets, facet.name))),
            facets,
            {name: tuple(sorted(of)) for name, of in by_series.items()},
            each,
        )

    def _trading(self) -> Sequence[int]:
        """Return the places of all active markets."""
        trading = self._places
        if trading is None:
            self._places = trading = [place for place, active in enumerate(self._active) if active]
        return trading

    def _number(self, name: str) -> int:
        number = self._numbered.get(name)
        if number is None:
            number = len(self._names)
            self._names.append(name)  # first, since readers look names up by number
            self._numbered[name] = number
        return number

    def _grow(self) -> int:
        place = len(self.tickers)
        self.event_of.append("")
        self._category.append(-1)
        self._series.append(-1)
        self._active.append(0)
        for numbers in self._numbers.values():
            numbers.append(UNKNOWN)
        self.tickers.append("")  # last, since readers go by its length
        return place

    def _clear(self, place: int) -> None:
        self._set_active(place, active=False)
        self._category[place] = self._series[place] = -1
        for numbers in self._numbers.values():
            numbers[place] = UNKNOWN
        self.tickers[place] = self.event_of[place] = ""

    def _set_active(self, place: int, *, active: bool) -> None:
        if self._active[place] != active:
            self._active[place] = active
            self._places = None

    def _day_volume(self, place: int) -> int:
        return max(0, self._numbers["day_volume"][place])

    def _count(self, place: int, difference: int) -> None:
        """Add to the volumes of a market's event and series."""
        if difference == 0:
            return
        names = self.event_of[place], self._names[self._series[place]]
        for volumes, name in zip((self.event_volume_e2, self.series_volume_e2), names, strict=True):
            volume = volumes.get(name, 0) + difference
            if volume:
                volumes[name] = volume
            else:
                volumes.pop(name, None)


def listed(state: Records, ticker: str, then_e4: int | None = None) -> ListedMarket | None:
    """Return a market for a list, or None until both its parts are known."""
    view = market_view(state, ticker)
    if view is None:
        return None
    event = state.events.get(view.market.event_ticker)
    series = None if event is None else state.series.get(event.series_ticker)
    return ListedMarket(
        market_row(view), event, category_of(event, series), series_of(view.market, event), then_e4
    )


def page_of(
    state: Records,
    columns: Columns,
    wanted: ListQuery,
    now_ms: int,
    among: Sequence[str] | None,
    moves: Movers | None,
) -> ListPage:
    """Return the markets of a state that pass, in order; the columns only say where to look.

    Args:
        among: tickers to choose from; None for all. moves: the YES prices at the start of the window.
    """
    tickers, total = columns.first(wanted, now_ms, among, wanted.limit + SPARE)
    then_e4 = {} if moves is None else {mover.ticker: mover.then_e4 for mover in moves.movers}
    found = [one for ticker in tickers if (one := listed(state, ticker, then_e4.get(ticker))) is not None]
    rows = [one for one in found if _passes(one, wanted, now_ms)]
    gone = () if wanted.show != WATCHLIST or among is None else [t for t in among if t not in state.markets]
    return ListPage(tuple(ordered(rows, wanted.order)[: wanted.limit]), max(total, len(rows)), tuple(gone))


def search_rows(
    state: Records,
    columns: Columns,
    tree: MarketTree,
    markets_of: Mapping[str, Sequence[str]],
    hits: Iterable[SearchHit],
) -> list[SearchRow]:
    """Return the results of a search as they are in a state; those no longer in it are left out."""
    rows: list[SearchRow] = []
    for hit in hits:
        title, detail = title_of(state, hit)
        row = SearchRow(hit.kind, hit.ticker, title, detail, volume_24h_e2=columns.activity(hit))
        if hit.kind == MARKET:
            one = listed(state, hit.ticker)
            if one is not None:
                rows.append(
                    replace(row, event_ticker=one.row.view.market.event_ticker, market=one, markets=1)
                )
        elif hit.kind == EVENT:
            if hit.ticker in state.events:
                markets = len(markets_of.get(hit.ticker, ()))
                rows.append(replace(row, event_ticker=hit.ticker, markets=markets))
        elif (whole := tree.whole.get(hit.ticker)) is not None:
            rows.append(replace(row, events=whole.events, markets=whole.markets))
    return rows


def event_rows(
    state: Records, columns: Columns, markets_of: Mapping[str, Sequence[str]], events: Iterable[str]
) -> list[EventRow]:
    """Return events as they are in a state, most active first."""
    rows = []
    for event_ticker in events:
        event = state.events.get(event_ticker)
        if event is not None:
            markets = [state.markets.get(ticker) for ticker in markets_of.get(event_ticker, ())]
            closes = [one.close_ms for one in markets if one is not None and one.close_ms is not None]
            volume_e2 = columns.event_volume_e2.get(event_ticker, 0)
            rows.append(EventRow(event, len(markets), volume_e2, min(closes, default=None)))
    return sorted(rows, key=lambda row: (-row.volume_24h_e2, row.event.event_ticker))


def ordered(rows: Sequence[ListedMarket], order: str) -> list[ListedMarket]:
    """Return sorted rows; unknown values come last, and equal ones keep their order."""
    name = order.removeprefix("-")
    if not name:
        return list(rows)
    key = SORTS[name]
    known = [one for one in rows if key(one) is not None]
    known.sort(key=lambda one: key(one) or 0, reverse=order.startswith("-"))
    return known + [one for one in rows if key(one) is None]


def listed_ms(market: Market) -> int | None:
    """Return when a market was listed: created, or opened if its creation is not given."""
    return market.created_ms if market.created_ms is not None else market.open_ms


def parse_wanted(pairs: Iterable[tuple[str, str]]) -> ListQuery:
    """Return the query in a query string; an empty value counts as not given.

    Raises:
        BadRecord: naming the first parameter that is unknown, repeated or wrong.
    """
    given: dict[str, Any] = {}
    for name, text in pairs:
        if name not in PARAMETERS:
            raise BadRecord(name, text[:50], f"one of the parameters {', '.join(PARAMETERS)}")
        if not text:
            continue
        field, read = _PARSERS[name]
        if field in given:
            raise BadRecord(name, text[:50], "one value")
        given[field] = read(text)
    wanted = ListQuery(**given)
    if wanted.sort.removeprefix("-") == "move" and wanted.list.window_s is None:
        raise BadRecord("sort", wanted.sort, "another order (only lists of movers have this one)")
    return wanted


def _show(text: str) -> str:
    if text not in SHOWS:
        raise BadRecord("show", text[:50], f"one of {', '.join(SHOWS)}")
    return text


def _text(name: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if len(text) > _TEXT_MAX:
            raise BadRecord(name, text[:50], f"at most {_TEXT_MAX} characters")
        return "".join(filter(str.isprintable, text)).strip()

    return read


def _sort(text: str) -> str:
    if text.removeprefix("-") not in SORTS:
        raise BadRecord("sort", text[:50], f"one of {', '.join(SORTS)}, with a leading minus for descending")
    return text


def _min_volume(text: str) -> int:
    return parse_count_e2(text[:50], "min_volume")


def _max_spread(text: str) -> int:
    try:
        cents = parse_decimal(text[:50], 2, "max_spread")
    except BadRecord:
        cents = -1
    if not 0 <= cents <= 10_000:
        raise BadRecord("max_spread", text[:50], "cents from 0 to 100, such as 2.5")
    return cents


def _max_hours(text: str) -> int:
    try:
        hours_e3 = parse_decimal(text[:50], 3, "max_hours")
    except BadRecord:
        hours_e3 = -1
    if not 0 <= hours_e3 <= 1_000 * _MAX_HOURS:
        raise BadRecord("max_hours", text[:50], f"hours from 0 to {_MAX_HOURS}, such as 1.5")
    return hours_e3 * HOUR_MS // 1_000


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:9]) <= LIMIT_MAX:
        raise BadRecord("limit", text[:50], f"a whole number from 1 to {LIMIT_MAX}")
    return int(text)


_PARSERS: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "show": ("show", _show),
    "category": ("category", _text("category")),
    "series": ("series", _text("series")),
    "q": ("q", _text("q")),
    "min_volume": ("min_volume_e2", _min_volume),
    "max_spread": ("max_spread_e4", _max_spread),
    "max_hours": ("max_ms", _max_hours),
    "sort": ("sort", _sort),
    "limit": ("limit", _limit),
}


def _bounds(wanted: ListQuery, now_ms: int) -> list[tuple[str, int, int]]:
    """Return the bounds on numbers of a market, as (column, low, high), both inclusive."""
    found: list[tuple[str, int, int]] = []
    if wanted.min_volume_e2 is not None:
        found.append(("day_volume", wanted.min_volume_e2, -UNKNOWN))
    if wanted.max_spread_e4 is not None:
        found.append(("spread", UNKNOWN + 1, wanted.max_spread_e4))
    if wanted.max_ms is not None:
        found.append(("closes", now_ms, now_ms + wanted.max_ms))
    if wanted.show == "closing":
        found.append(("closes", now_ms, -UNKNOWN))
    elif wanted.show == "new":
        found.append(("listed", UNKNOWN + 1, now_ms))
    elif wanted.show == "spreads":
        found += [("spread", UNKNOWN + 1, -UNKNOWN), ("day_volume", 1, -UNKNOWN)]
    return found


def _passes(one: ListedMarket, wanted: ListQuery, now_ms: int) -> bool:
    if wanted.show != WATCHLIST and one.row.view.quote.status is not Status.ACTIVE:
        return False
    if (wanted.category and one.category != wanted.category) or (
        wanted.series and one.series != wanted.series
    ):
        return False
    for key, low, high in _bounds(wanted, now_ms):
        number = SORTS[key](one)
        if number is None or not low <= number <= high:
            return False
    return wanted.list.window_s is None or bool(one.move_e4)


def _first(places: Sequence[int], numbers: Sequence[int], most: int, *, descending: bool) -> list[int]:
    """Return the places of the first numbers, with unknown ones last."""
    low, high = UNKNOWN + 1, -UNKNOWN
    # From a sample follows a bound beyond which lie a few times as many as wanted; only those are sorted.
    sample = sorted(number for place in places[::SAMPLE] if (number := numbers[place]) != UNKNOWN)
    share = min(len(sample), 2 + 4 * most // SAMPLE)
    if share < len(sample) and descending:
        low = sample[-share]
    elif share < len(sample):
        high = sample[share - 1]
    found = [place for place in places if low <= numbers[place] <= high]
    if len(found) < most:
        found = [place for place in places if numbers[place] != UNKNOWN]
    found.sort(key=numbers.__getitem__, reverse=descending)
    if len(found) < most:
        found += [place for place in places if numbers[place] == UNKNOWN]
    return found[:most]


def _known(number: int | None) -> int:
    return UNKNOWN if number is None else number


def file_row(one: ListedMarket) -> list[object]:
    """Return the cells of a market, in the order of FILE_COLUMNS."""
    row, market, quote = one.row, one.row.view.market, one.row.view.quote
    bid, ask = (None if side is None else side[0] for side in (row.yes_bid, row.yes_ask))
    title = market.title or ("" if one.event is None else one.event.title)
    prices = (dollars(price) for price in (bid, ask, quote.last_price_e4, one.then_e4, row.change_e4))
    counts = (quote.volume_24h_e2, quote.volume_e2, quote.open_interest_e2)
    times = (market.close_ms, listed_ms(market), row.as_of_ms)
    return [
        one.ticker, market.event_ticker, one.series, one.category, title, market.yes_sub_title,
        quote.status.value, *prices,
        *(None if count is None else format_count(count) for count in counts),
        *(None if time is None else format_time(time) for time in times),
    ]  # fmt: skip


def event_file_row(row: EventRow) -> list[object]:
    """Return the cells of an event, in the order of EVENT_COLUMNS."""
    event, closes_ms = row.event, row.closes_ms
    return [
        event.event_ticker, event.series_ticker, facet_text(event.category), event.title, event.sub_title,
        row.markets, format_count(row.volume_24h_e2), None if closes_ms is None else format_time(closes_ms),
    ]  # fmt: skip


def dollars(price_e4: int | None) -> str | None:
    """Return a price, or a change of price, in dollars; None if unknown."""
    if price_e4 is None:
        return None
    return f"-{format_price(-price_e4)}" if price_e4 < 0 else format_price(price_e4)
