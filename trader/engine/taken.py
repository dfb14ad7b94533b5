"""What our own orders took of the levels shown, and what those on their way may take. Pure.

Nobody else sees what a paper order took, so its levels go on being shown; what was taken is remembered until
its level shrinks or disappears. At an exchange a level shrinks by itself, and only orders on their way are
counted. Either way the same depth must not be bought twice: scanner, risk and evening out see what is left.

An exchange also shows what our resting orders bid. That is neither an offer to us nor a price at which we
could sell, so it is deducted too. A paper order that rests is not shown; offers at its price or below go on
being shown although they would fill it, so those are deducted.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from markets.book import NO, YES, asks, fills, top_of_quote
from markets.opportunities import EventView, MarketView, ScanLimits
from markets.opportunities.legs import Ladder, ladder
from markets.orders import Fill, Intent
from markets.records import Book, Level, Quote
from markets.units import opposite

MARKETS_MAX: Final = 5_000
"""How many markets are remembered; beyond that the oldest are forgotten, of which nothing more is heard."""

TakenLevel = tuple[str, str, int, int]
"""(ticker, side, price_e4, count_e2) of what was taken of a level of asks."""


class Taken:
    """Contracts taken of each level of asks, including those that orders on their way may take.

    Args:
        stays: whether a level goes on showing what an order took of it, as it does on paper.
        resting: returns what our own orders bid for in a market, if that is shown: (side, price_e4) of the
            asks that those bids make -> contracts.
        bids: returns what our own orders bid for in a market: (side, price_e4) -> contracts.

    Attributes:
        levels: ticker -> (side, price_e4) -> contracts.
    """

    def __init__(
        self,
        levels: Iterable[TakenLevel] = (),
        *,
        stays: bool = True,
        resting: Callable[[str], Mapping[tuple[str, int], int]] | None = None,
        bids: Callable[[str], Mapping[tuple[str, int], int]] = lambda _ticker: {},
    ) -> None:
        self._stays = stays
        self._resting = resting
        self._bids = bids
        self._rests: dict[str, set[int]] = {}
        self._met: dict[str, dict[tuple[str, int], int]] = {}
        self._known = set[str]()  # the markets in any of these three, so that one question is enough
        self.levels: dict[str, dict[tuple[str, int], int]] = {}
        self._plans: dict[int, dict[int, int]] = {}
        self._last: tuple[EventView, EventView] | None = None
        for ticker, side, price_e4, count_e2 in levels:
            self._add(ticker, side, price_e4, count_e2)

    def plan(self, intent: Intent, levels: Sequence[Level]) -> None:
        """Count what an order being sent may take of these asks."""
        self._last = None
        if intent.time_in_force == "gtc":
            if self._stays:
                self._rests.setdefault(intent.ticker, set()).add(intent.number)
                self._known.add(intent.ticker)
            return  # it waits for what comes to it
        within = [level for level in levels if level[0] <= intent.price_e4]
        self._plans[intent.number] = plan = dict(fills(within, intent.count_e2))
        for price_e4, count_e2 in plan.items():
            self._add(intent.ticker, intent.side, price_e4, count_e2)

    def fill(self, intent: Intent, fill: Fill) -> None:
        """Count what an order took, first against what it was planned to take."""
        if not self._stays:
            return
        self._last = None
        if fill.maker:
            met = self._met.setdefault(intent.ticker, {})
            self._known.add(intent.ticker)
            key = intent.side, fill.price_e4
            met[key] = met.get(key, 0) + fill.count_e2
            return
        plan = self._plans.get(intent.number, {})
        planned_e2 = min(plan.get(fill.price_e4, 0), fill.count_e2)
        if planned_e2:
            plan[fill.price_e4] -= planned_e2
        self._add(intent.ticker, intent.side, fill.price_e4, fill.count_e2 - planned_e2)

    def amend(self) -> None:
        """Note that an order rests otherwise than before."""
        self._last = None

    def end(self, intent: Intent) -> None:
        """Stop counting what an order was planned to take and did not."""
        self._last = None
        rests = self._rests.get(intent.ticker)
        if rests is not None:
            rests.discard(intent.number)
            if not rests:
                del self._rests[intent.ticker]
        levels = self.levels.get(intent.ticker, {})
        for price_e4, count_e2 in self._plans.pop(intent.number, {}).items():
            key = intent.side, price_e4
            left_e2 = levels.get(key, 0) - count_e2
            if left_e2 > 0:
                levels[key] = left_e2
            else:
                levels.pop(key, None)
        if not levels:
            self.levels.pop(intent.ticker, None)
        self._let_go(intent.ticker)

    def _let_go(self, ticker: str) -> None:
        """Note that something of a market was forgotten."""
        if ticker not in self.levels and ticker not in self._rests and ticker not in self._met:
            self._known.discard(ticker)

    def observe(self, view: EventView, scan: ScanLimits) -> None:
        """Look at an event as it is now: forget what was taken of levels that have gone or shrunk."""
        self._last = None
        levels, known = self.levels, self._known
        if not known:
            return
        whole = True
        for seen in view.markets:
            ticker = seen.market.ticker
            if ticker not in known:
                continue
            whole = False
            self._see_met(seen)
            if ticker in levels:
                observe(levels[ticker], seen, scan)
                if not levels[ticker]:
                    del levels[ticker]
            self._let_go(ticker)
        if whole:
            self._last = view, view

    def _see_met(self, seen: MarketView) -> None:
        """Count what met resting orders only as far as it is still offered at their prices."""
        met = self._met.pop(seen.market.ticker, None)
        if met is None:
            return
        left: dict[tuple[str, int], int] = {}
        for (side, price_e4), count_e2 in met.items():
            shown_e2 = sum(size for at_e4, size in _shown(seen, side).items() if at_e4 <= price_e4)
            if shown_e2:
                left[side, price_e4] = min(count_e2, shown_e2)
        if left:
            self._met[seen.market.ticker] = left

    def minds(self, view: EventView) -> bool:
        """Whether anything was taken of an event's levels, or an order rests in it."""
        known = self._known
        if known:
            for seen in view.markets:
                if seen.market.ticker in known:
                    return True
        return False

    def left(self, view: EventView) -> EventView:
        """Return the event with what is left of its levels; the same object if nothing was taken.

        Every look at an event calls this several times, so the last answer is kept while it is valid.
        """
        known = self._known
        if self._resting is not None:
            view = self.of_others(view)
        if not known:
            return view
        last = self._last
        if last is not None and last[0] is view:
            return last[1]
        markets: list[MarketView] | None = None
        for at, seen in enumerate(view.markets):
            if seen.market.ticker in known:
                now = _market_less(seen, self._gone(seen))
                if now is not seen:
                    markets = list(view.markets) if markets is None else markets
                    markets[at] = now
        left = view if markets is None else msgspec.structs.replace(view, markets=tuple(markets))
        self._last = view, left
        return left

    def _gone(self, seen: MarketView) -> Mapping[tuple[str, int], int]:
        """Return how much of the asks that a market shows cannot be had any more."""
        ticker = seen.market.ticker
        levels, met = self.levels.get(ticker, {}), self._met.get(ticker, {})
        bids = self._bids(ticker) if ticker in self._rests else {}
        if not met and not bids:
            return levels
        gone = dict(levels)
        for (side, price_e4), count_e2 in (*met.items(), *bids.items()):
            left_e2 = count_e2
            for at_e4, shown_e2 in sorted(_shown(seen, side).items()):
                if at_e4 > price_e4 or left_e2 <= 0:
                    break
                gone_e2 = min(left_e2, max(0, shown_e2 - gone.get((side, at_e4), 0)))
                if gone_e2:
                    gone[side, at_e4] = gone.get((side, at_e4), 0) + gone_e2
                left_e2 -= gone_e2
        return gone

    def of_others(self, view: EventView) -> EventView:
        """Return the event without what our own orders bid for there."""
        return view if self._resting is None else _less(view, self._resting)

    def _add(self, ticker: str, side: str, price_e4: int, count_e2: int) -> None:
        if count_e2 <= 0:
            return
        levels = self.levels.setdefault(ticker, {})
        levels[side, price_e4] = levels.get((side, price_e4), 0) + count_e2
        self._known.add(ticker)
        if len(self.levels) > MARKETS_MAX:
            oldest = next(iter(self.levels))
            del self.levels[oldest]
            self._let_go(oldest)


def _shown(seen: MarketView, side: str) -> dict[int, int]:
    """Return the asks that book or quote show: price -> contracts."""
    shown = {} if seen.book is None else dict(asks(seen.book, side))
    best = top_of_quote(seen.quote).ask(side)
    if best is not None:
        shown[best[0]] = max(best[1], shown.get(best[0], 0))
    return shown


def _less(view: EventView, of_market: Callable[[str], Mapping[tuple[str, int], int]]) -> EventView:
    """Return an event with its asks reduced; the same object if nothing is."""
    markets = tuple([_market_less(seen, of_market(seen.market.ticker)) for seen in view.markets])
    if all(now is before for now, before in zip(markets, view.markets, strict=True)):
        return view
    return msgspec.structs.replace(view, markets=markets)


def _market_less(seen: MarketView, less: Mapping[tuple[str, int], int]) -> MarketView:
    if not less:
        return seen
    book, quote = seen.book, seen.quote
    sides: dict[str, dict[int, int]] = {}
    for (side, price_e4), count_e2 in less.items():
        sides.setdefault(side, {})[price_e4] = count_e2
    for side in (YES, NO):
        of_side = sides.get(side)
        if of_side:
            whole = book
            book = None if book is None else _book_left(book, side, of_side)
            quote = _quote_left(quote, side, of_side, whole, book)
    return msgspec.structs.replace(seen, book=book, quote=quote)


def observe(levels: dict[tuple[str, int], int], seen: MarketView, scan: ScanLimits) -> None:
    """Look at a market as it is now: what was taken of a level counts only as far as the level shows it."""
    for (side, price_e4), taken_e2 in list(levels.items()):
        now = ladder(seen, side, scan)
        shown = dict(now.levels)
        if price_e4 in shown:
            levels[side, price_e4] = min(taken_e2, shown[price_e4])
        elif _shows(seen, side, now, price_e4):
            del levels[side, price_e4]


def _shows(seen: MarketView, side: str, now: Ladder, price_e4: int) -> bool:
    """Whether such a level would be seen: always in a book, in a quote only if it were the best."""
    if seen.book is not None and now.levels == asks(seen.book, side):
        return True
    return not now.levels or price_e4 < now.levels[0][0]


def _book_left(book: Book, side: str, taken: dict[int, int]) -> Book:
    gone = {opposite(price_e4): count_e2 for price_e4, count_e2 in taken.items()}
    left = tuple(
        [
            (price_e4, count_e2)
            for price_e4, shown_e2 in (book.no if side == YES else book.yes)
            if (count_e2 := shown_e2 - gone.get(price_e4, 0)) > 0
        ]
    )
    if side == YES:
        return Book(book.ticker, book.as_of_ms, book.yes, left)
    return Book(book.ticker, book.as_of_ms, left, book.no)


def _quote_left(
    quote: Quote, side: str, taken: dict[int, int], whole: Book | None, left: Book | None
) -> Quote:
    """Return a quote whose best ask is what is left of it, or the next in a book that had the same best."""
    best = top_of_quote(quote).ask(side)
    if best is None or not taken.get(best[0]):
        return quote
    price_e4, count_e2 = best[0], best[1] - taken[best[0]]
    if count_e2 <= 0:
        shown = () if whole is None else asks(whole, side)
        following = () if left is None or not shown or shown[0] != best else asks(left, side)
        price_e4, count_e2 = following[0] if following else (best[0], 0)
    other_e4 = opposite(price_e4)
    if side == YES:
        return msgspec.structs.replace(
            quote, yes_ask_e4=price_e4, yes_ask_size_e2=count_e2, no_bid_e4=other_e4
        )
    return msgspec.structs.replace(quote, no_ask_e4=price_e4, yes_bid_size_e2=count_e2, yes_bid_e4=other_e4)
