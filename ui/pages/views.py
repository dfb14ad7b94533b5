"""What the market and event pages show, computed so that templates only lay it out."""

import heapq
from collections.abc import Sequence
from typing import Final

import msgspec

from bus.protocol.state import Records
from bus.scan.membership import market_view
from bus.scan.scans import Scan, Scans
from markets.book import Top, depth, top_of_book, yes_scale
from markets.json.decoding import Reader
from markets.json.write import market_json
from markets.opportunities import EventView, MarketView, Opportunity, exhaustiveness
from markets.opportunities.legs import top
from markets.records import Event, Level, Market, Status
from markets.timing import NO_TIMING, MatchTiming, is_over
from ui.pages.categories import category_of, series_of
from ui.pages.chart import OUTCOMES_MAX

LEVELS_SHOWN: Final = 25
BUSIEST_SHOWN: Final = 12
STARTING_SHOWN: Final = 12


class _RulesWire(msgspec.Struct):
    rules_primary: str | None = None
    rules_secondary: str | None = None
    early_close_condition: str | None = None


_rules_wire: Final = Reader(_RulesWire, "market")


class Names:
    """Names of markets, events and series by ticker; the ticker itself where no name is known."""

    def __init__(self, state: Records) -> None:
        self._state = state

    def event(self, event_ticker: str) -> str:
        """Return an event's title."""
        event = self._state.events.get(event_ticker)
        return event.title if event else event_ticker

    def series(self, series_ticker: str) -> str:
        """Return a series' title."""
        series = self._state.series.get(series_ticker)
        return (series.title if series else "") or series_ticker

    def market(self, ticker: str) -> str:
        """Return a market's outcome."""
        market = self._state.markets.get(ticker)
        return market.yes_sub_title or ticker if market else ticker


class Rung(msgspec.Struct, frozen=True):
    """One price level: its size, the total down to it, and that as a share (0..100) of the deeper side's."""

    price_e4: int
    count_e2: int
    total_e2: int
    share: int


class BookSide(msgspec.Struct, frozen=True):
    """One side of a book in YES prices, best first; `deeper` levels are not shown."""

    rungs: tuple[Rung, ...]
    deeper: int


class MarketPage(msgspec.Struct, frozen=True):
    """A market with its book, times, rules and the opportunities it is a leg of.

    `best` comes from the newer of book and quote. `book_is_old`: the quote is newer and differs from the
    ladders. `book_is_quote`: no order book is kept, and the ladders hold only the quote's best prices.
    """

    view: MarketView
    best: Top
    event: Event | None
    timing: MatchTiming
    bids: BookSide
    asks: BookSide
    book_is_quote: bool
    book_is_old: bool
    as_of_ms: int
    spread_e4: int | None
    mid_e4: float | None
    rules: tuple[str, ...]
    raw: str
    opportunities: tuple[Opportunity, ...]
    siblings: int
    category: str
    series_ticker: str


class MarketRow(msgspec.Struct, frozen=True):
    """One market in a list with its best prices; `change_e4` is over one day."""

    view: MarketView
    yes_bid: Level | None
    yes_ask: Level | None
    no_ask: Level | None
    change_e4: int | None
    as_of_ms: int


class Highlights(msgspec.Struct, frozen=True):
    """The most traded markets of a day, one per event, and the next matches as (event, start_ms)."""

    busiest: tuple[MarketRow, ...] = ()
    starting: tuple[tuple[Event, int], ...] = ()


class EventPage(msgspec.Struct, frozen=True):
    """An event with its markets. The sums are None unless every market has that price.

    `drawn` are the markets in the chart: the likeliest.
    """

    view: EventView
    rows: tuple[MarketRow, ...]
    drawn: tuple[MarketRow, ...]
    ask_sum_e4: int | None
    bid_sum_e4: int | None
    verdict: str
    exhaustive: bool
    opportunities: tuple[Opportunity, ...]
    category: str


def market_page(scans: Scans, scan: Scan, ticker: str, now_ms: int) -> MarketPage | None:
    """Return the page of a market, or None if it is unknown."""
    state = scan.state
    view = market_view(state, ticker)
    if view is None:
        return None
    market, quote, book = view.market, view.quote, view.book
    event = state.events.get(market.event_ticker)
    event_view = scans.membership.view(state, market.event_ticker, now_ms)
    best = top(view)
    newer = book is not None and (view.book_as_of_ms or 0) >= view.quote_as_of_ms
    if book is not None:
        bids, asks = yes_scale(book)
    else:
        bids = () if best.yes_bid is None else (best.yes_bid,)
        asks = () if best.yes_ask is None else (best.yes_ask,)
    deepest = max(depth(bids[:LEVELS_SHOWN]), depth(asks[:LEVELS_SHOWN]), 1)
    spread = mid = None
    if best.yes_bid is not None and best.yes_ask is not None:
        spread = best.yes_ask[0] - best.yes_bid[0]
        mid = (best.yes_ask[0] + best.yes_bid[0]) / 2
    raw = market_json(market, quote, as_of_ms=view.quote_as_of_ms, book=book)
    return MarketPage(
        view=view,
        best=best,
        event=event,
        timing=NO_TIMING if event_view is None else event_view.timing,
        bids=_book_side(bids, deepest),
        asks=_book_side(asks, deepest),
        book_is_quote=book is None,
        book_is_old=book is not None and best != top_of_book(book),
        as_of_ms=(view.book_as_of_ms if newer else None) or view.quote_as_of_ms,
        spread_e4=spread,
        mid_e4=mid,
        rules=_rules(market),
        raw=msgspec.json.format(raw, indent=2).decode(),
        opportunities=tuple(
            opportunity
            for opportunity in scan.opportunities
            if any(leg.ticker == ticker for leg in opportunity.legs)
        ),
        siblings=0 if event_view is None else len(event_view.markets) - 1,
        category=category_of(event, None if event is None else state.series.get(event.series_ticker)),
        series_ticker=series_of(market, event),
    )


def market_of(scan: Scan, ticker: str) -> MarketView | None:
    """Return a market, or None if it is unknown."""
    return market_view(scan.state, ticker)


def market_object(scan: Scan, ticker: str) -> bytes | None:
    """Return Kalshi's object of a market as JSON, or None if it is unknown."""
    view = market_view(scan.state, ticker)
    if view is None:
        return None
    return market_json(view.market, view.quote, as_of_ms=view.quote_as_of_ms, book=view.book)


def event_page(scans: Scans, scan: Scan, event_ticker: str, now_ms: int) -> EventPage | None:
    """Return the page of an event, or None if it or its markets are unknown."""
    view = scans.membership.view(scan.state, event_ticker, now_ms)
    if view is None:
        return None
    rows = sorted((market_row(member) for member in view.markets), key=_likeliest)
    verdict = exhaustiveness(view.event, [member.market for member in view.markets])
    return EventPage(
        view=view,
        rows=tuple(rows),
        drawn=tuple(heapq.nlargest(OUTCOMES_MAX, rows, key=_middle)),
        ask_sum_e4=_sum([row.yes_ask for row in rows]),
        bid_sum_e4=_sum([row.yes_bid for row in rows]),
        verdict=verdict.because,
        exhaustive=verdict.known,
        opportunities=tuple(
            opportunity for opportunity in scan.opportunities if opportunity.event_ticker == event_ticker
        ),
        category=category_of(view.event, view.series),
    )


def busiest(state: Records) -> tuple[str, ...]:
    """Return the most traded markets of a day, one per event, in one pass over all quotes."""
    best: dict[str, tuple[int, str]] = {}
    for ticker, quote in state.quotes.items():
        market = state.markets.get(ticker)
        if market is not None and quote.status is Status.ACTIVE and quote.volume_24h_e2:
            volume = (quote.volume_24h_e2, ticker)
            best[market.event_ticker] = max(volume, best.get(market.event_ticker, volume))
    return tuple(ticker for _, ticker in heapq.nlargest(BUSIEST_SHOWN, best.values()))


def highlights(state: Records, tickers: Sequence[str], now_ms: int) -> Highlights:
    """Return these markets, and the next matches, of a state."""
    rows = [market_row(view) for ticker in tickers if (view := market_view(state, ticker)) is not None]
    events: dict[str, int] = {}
    coming = [(m.start_ms, m.id, m) for m in state.milestones.values() if m.start_ms is not None]
    for start_ms, _, milestone in sorted(coming, key=lambda entry: entry[:2]):
        if now_ms <= start_ms and not is_over(milestone) and len(events) < STARTING_SHOWN:
            named = next(
                (ticker for ticker in milestone.primary_event_tickers if ticker in state.events), None
            )
            if named is not None:
                events.setdefault(named, start_ms)
    starting = tuple((state.events[ticker], start_ms) for ticker, start_ms in events.items())
    return Highlights(tuple(rows), starting)


def market_row(view: MarketView) -> MarketRow:
    """Return a market for a list."""
    best, quote = top(view), view.quote
    change = None
    if quote.last_price_e4 is not None and quote.previous_price_e4:
        change = quote.last_price_e4 - quote.previous_price_e4
    as_of_ms = max(view.quote_as_of_ms, view.book_as_of_ms or 0)
    return MarketRow(view, best.yes_bid, best.yes_ask, best.no_ask, change, as_of_ms)


def _book_side(levels: Sequence[Level], deepest_e2: int) -> BookSide:
    rungs = []
    total = 0
    for price_e4, count_e2 in levels[:LEVELS_SHOWN]:
        total += count_e2
        rungs.append(Rung(price_e4, count_e2, total, max(1, round(100 * total / deepest_e2))))
    return BookSide(tuple(rungs), max(0, len(levels) - LEVELS_SHOWN))


def _rules(market: Market) -> tuple[str, ...]:
    sent = _rules_wire.read(market.raw)
    texts = (sent.rules_primary, sent.rules_secondary, sent.early_close_condition)
    return tuple(text for text in texts if text is not None and text.strip())


def _likeliest(row: MarketRow) -> tuple[float, int, str]:
    """Sort strikes by number, other outcomes the likeliest first."""
    market = row.view.market
    if market.floor_strike is not None:
        return (market.floor_strike, 1, market.ticker)
    if market.cap_strike is not None:
        return (market.cap_strike, 0, market.ticker)
    return (float(-_middle(row)), 0, market.ticker)


def _middle(row: MarketRow) -> int:
    bid, ask = row.yes_bid, row.yes_ask
    return (bid[0] if bid else 0) + (ask[0] if ask else (bid[0] if bid else 0))


def _sum(levels: Sequence[Level | None]) -> int | None:
    prices = [level[0] for level in levels if level is not None]
    return sum(prices) if len(prices) == len(levels) and prices else None
