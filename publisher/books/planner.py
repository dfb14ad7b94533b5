"""Which order books are read: those of the markets in which they are worth most. Pure.

After each commit a plan is made: whole events if a kind of opportunity compares their markets with one
another, and single markets, by value. The number of requests per cycle depends on settings and budget alone;
a wish for a market moves it to the front and adds none.

Source: Kalshi API reference, ``GET /markets/orderbooks``: up to 100 repeated `tickers`, not cached.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from math import log1p
from typing import Final, NamedTuple

from bus.protocol.state import State
from bus.threads import Owner
from markets.opportunities import Failure, worth_of_books_e4
from markets.records import Event, Market, Quote, Status
from markets.timing import is_over
from markets.units import HOUR_MS

from .billing import BOOKS_PER_REQUEST
from .wished import Wished

URL_BUDGET: Final = 6_000
"""Characters of tickers in one URL."""

FAIR_SHARE: Final = 0.1
"""Share of the books that goes to markets of lower value, longest unfetched first."""

REPLAN_FROM_MARKETS: Final = 20_000
"""A plan over this many markets takes tenths of a second, so it is kept for a while."""

REPLAN_MS: Final = 45_000
MAX_WISHED: Final = 10_000

_WISHED: Final = 1_000.0
"""What is wished for is worth this much more: more than anything else."""

_Unit = tuple[float, tuple[str, ...]]

_Times = tuple[int | None, int | None]
"""When a market closes, and when it is expected to expire."""

_Known = tuple[Quote, Market, float, str, _Times]
"""A quote and its market, and what a plan needs of them: `worth_of` the quote, the event's ticker, and times.

Markets of one event share the last two, if they are equal: they are found to be those of the market before
without a look at what is in them.
"""

_Tradable = tuple[Market, Quote, Event | None, int | None]
"""A `Tradable`, or its members alone: with thousands at a time, names for them would take a third longer."""


class Tradable(NamedTuple):
    """One active market as the planner sees it; `start_ms` is the start of its match, if known."""

    market: Market
    quote: Quote
    event: Event | None
    start_ms: int | None


def value_of(tradable: Tradable, now_ms: int) -> float:
    """Return what a market's book is worth: more if the market is liquid, tight, or near its start or end."""
    market, _, _, start_ms = tradable
    return worth_of(tradable.quote) + _nearness(
        market.close_ms, market.expected_expiration_ms, start_ms, now_ms
    )


def worth_of(quote: Quote) -> float:
    """Return the part of a value that is the quote's alone."""
    worth = log1p((quote.volume_24h_e2 or 0) / 100) + 0.5 * log1p((quote.open_interest_e2 or 0) / 100)
    if quote.yes_bid_size_e2 and quote.yes_ask_size_e2:
        spread_e4 = quote.yes_ask_e4 - quote.yes_bid_e4
        worth += 4.0 / (1.0 + max(0, spread_e4) / 100)
    return worth


def _nearness(close_ms: int | None, expected_ms: int | None, start_ms: int | None, now_ms: int) -> float:
    nearest_ms = None if close_ms is None else abs(close_ms - now_ms)
    if expected_ms is not None and (nearest_ms is None or abs(expected_ms - now_ms) < nearest_ms):
        nearest_ms = abs(expected_ms - now_ms)
    if start_ms is not None and (nearest_ms is None or abs(start_ms - now_ms) < nearest_ms):
        nearest_ms = abs(start_ms - now_ms)
    return 0.0 if nearest_ms is None else 6.0 / (1.0 + nearest_ms / HOUR_MS)


class Planner:
    """Chooses which books to fetch. Pure, with explicit time; one thread, except for `wish`.

    Args:
        limit: the most books of a plan.

    Attributes:
        wished: what somebody is looking at; it comes first.
        failures: those of kinds of opportunity that raised when the last plan asked them.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.wished = Wished(MAX_WISHED)
        self.failures: list[Failure] = []
        self._fetched_ms: dict[str, int] = {}
        self._known: dict[str, _Known] = {}
        self._planned: list[list[str]] = []
        self._planned_for: tuple[int, int] | None = None
        self._planned_ms = 0
        self._owner = Owner("the planner of books")

    @property
    def calls(self) -> int:
        """Requests that a full plan takes."""
        return -(-self.limit // BOOKS_PER_REQUEST)

    def wish(self, tickers: Sequence[str], ttl_s: float, now_ms: int) -> None:
        """Wish for these books for `ttl_s` seconds. Any thread."""
        self.wished.wish(tickers, ttl_s, now_ms)

    def plan_of(self, state: State, now_ms: int, calls: int) -> list[list[str]]:
        """Make a new plan; with many markets, keep the old one for some cycles: values change over hours."""
        self._owner.check()
        key = calls, self.wished.fresh
        many = len(state.markets) > REPLAN_FROM_MARKETS
        self.failures = []
        if many and key == self._planned_for and 0 <= now_ms - self._planned_ms < REPLAN_MS:
            return self._planned
        self._planned = self.plan(tradables(state), now_ms, calls)
        self._planned_for, self._planned_ms = key, now_ms
        return self._planned

    def plan(self, tradables: Iterable[_Tradable], now_ms: int, calls: int | None = None) -> list[list[str]]:
        """Return the tickers of each request, at most `calls` of them and `limit` tickers in all.

        An event that is fetched as a whole is not split between two requests.
        """
        self._owner.check()
        wished = self.wished.at(now_ms)
        self.failures = []
        units = self._units(tradables, wished, now_ms)
        units.sort()
        fetched_ms = self._fetched_ms
        for ticker in fetched_ms.keys() - chain.from_iterable([tickers for _, tickers in units]):
            del fetched_ms[ticker]
        bins = _Bins(self.limit, self.calls if calls is None else min(calls, self.calls))
        fair = int(self.limit * FAIR_SHARE)
        rest: list[tuple[str, ...]] = []
        for place, (_, tickers) in enumerate(units):
            if bins.left <= fair:
                rest += [tickers for _, tickers in units[place:]]
                break
            if not bins.add(tickers, leave=fair):
                rest.append(tickers)
        rest.sort(key=self._last_fetched)
        for tickers in rest:
            if not bins.left:
                break
            bins.add(tickers)
        return bins.batches()

    def fetched(self, tickers: Iterable[str], now_ms: int) -> None:
        """Note that these books came."""
        self._fetched_ms.update(dict.fromkeys(tickers, now_ms))

    def _units(self, tradables: Iterable[_Tradable], wished: frozenset[str], now_ms: int) -> list[_Unit]:
        """Group what must be seen together, as far as it fits into a request; the rest go one by one.

        Returns (the negative of its value, its tickers) of each.
        """
        groups: dict[str, tuple[Event | None, list[str], list[Quote], list[float]]] = {}
        known_of = self._known
        known: _Known | None = None
        times: _Times | None = None
        from_ms: int | None = None
        near = 0.0
        event_ticker = None
        # All that is needed of a market at once: to come back to each takes longer than to group values.
        for market, quote, event, start_ms in tradables:
            ticker, before = market.ticker, known
            known = known_of.get(ticker)
            if known is None or known[0] is not quote or known[1] is not market:
                known = known_of[ticker] = _known_of(market, quote, known, before)
            _, _, worth, own_event, own_times = known
            if own_times is not times or start_ms != from_ms:  # mostly those of the whole event
                times, from_ms = own_times, start_ms
                near = _nearness(*times, start_ms, now_ms)
            if own_event is not event_ticker:  # mostly they come event by event
                event_ticker = own_event
                if event_ticker not in groups:
                    groups[event_ticker] = event, [], [], []
                _, tickers, quotes, values = groups[event_ticker]
            tickers.append(ticker)
            quotes.append(quote)
            values.append(worth + near)
        units: list[_Unit] = []
        for event, tickers, quotes, values in groups.values():
            together_e4 = None
            if event is not None and 1 < len(quotes) <= BOOKS_PER_REQUEST:
                together_e4 = worth_of_books_e4(event, quotes, self.failures)
            if together_e4 is None:
                for ticker, value in zip(tickers, values, strict=True):
                    units.append((-(value + _WISHED) if ticker in wished else -value, (ticker,)))
            else:
                value = max(values) + together_e4 / 25
                whole = tuple(sorted(tickers))
                units.append((-value if wished.isdisjoint(whole) else -(value + _WISHED), whole))
        if len(known_of) > REPLAN_FROM_MARKETS:
            known_of.clear()  # too many to keep, or most are of markets that are gone
        return units

    def _last_fetched(self, tickers: tuple[str, ...]) -> int:
        fetched_ms = self._fetched_ms
        if len(tickers) == 1:
            return fetched_ms.get(tickers[0], 0)
        return min([fetched_ms.get(ticker, 0) for ticker in tickers])


def _known_of(market: Market, quote: Quote, old: _Known | None, before: _Known | None) -> _Known:
    """Return what a plan needs of a market; `old` was known of it, `before` is of the market before it."""
    if old is not None and old[1] is market:
        return quote, market, worth_of(quote), old[3], old[4]
    event_ticker, times = market.event_ticker, (market.close_ms, market.expected_expiration_ms)
    if before is not None and before[3] == event_ticker:
        event_ticker = before[3]
        if before[4] == times:
            times = before[4]
    return quote, market, worth_of(quote), event_ticker, times


class _Bins:
    """Requests being filled, first fit.

    Attributes:
        left: how many tickers the limit still allows.
    """

    def __init__(self, limit: int, calls: int) -> None:
        self.left = limit
        self._bins: list[list[str]] = [[] for _ in range(calls)]
        self._characters = [0] * calls

    def add(self, tickers: Sequence[str], leave: int = 0) -> bool:
        if len(tickers) > self.left - leave:
            return False
        size = sum(map(len, tickers)) + len("&tickers=") * len(tickers)
        for index, batch in enumerate(self._bins):
            fits = len(batch) + len(tickers) <= BOOKS_PER_REQUEST
            if fits and self._characters[index] + size <= URL_BUDGET:
                batch += tickers
                self._characters[index] += size
                self.left -= len(tickers)
                return True
        return False

    def batches(self) -> list[list[str]]:
        return [batch for batch in self._bins if batch]


def tradables(state: State) -> Iterator[_Tradable]:
    """Return the active markets of a state, as the planner takes them; the lock is held only to copy."""
    with state.lock:
        quotes = list(state.quotes.values())
        markets: Mapping[str, Market] = dict(state.markets)
        events: Mapping[str, Event] = dict(state.events)
        milestones = list(state.milestones.values())
    # What is over, postponed or cancelled will not start.
    starts = {t: m.start_ms for m in milestones if not is_over(m) for t in m.primary_event_tickers}
    active = Status.ACTIVE
    event_ticker = event = start_ms = None
    for quote in quotes:
        if quote.status is active and (market := markets.get(quote.ticker)) is not None:
            if market.event_ticker != event_ticker:  # mostly they come event by event
                event_ticker = market.event_ticker
                event, start_ms = events.get(event_ticker), starts.get(event_ticker)
            yield market, quote, event, start_ms
