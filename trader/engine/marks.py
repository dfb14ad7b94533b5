"""Marks: the last bid for each side of a held market, and since when nobody bids. Pure.

An empty book is not a price. While nobody bids, or nobody can sell because the market does not trade, the
last good bid stands and is marked as old. It counts no more than others ask: whoever bids 95 cents for YES
offers NO at 5, so nobody will pay more for NO. Only the result ends this; it counts as soon as it is
determined.
"""

from collections.abc import Collection, Container, Iterable
from typing import Final

import msgspec

from markets.book import NO, YES
from markets.opportunities import MarketView
from markets.opportunities.legs import yes_prices
from markets.records import Market, Status
from markets.units import PRICE_ONE_E4, opposite

HALF_AFTER_MS: Final = 120_000
NOTHING_AFTER_MS: Final = 600_000
"""For the daily loss, a mark without a bid counts half after the first time, and nothing after the second."""


_DECIDED_E4: Final = {"yes": PRICE_ONE_E4, "no": 0}


class Mark(msgspec.Struct):
    """One side of a market.

    Attributes:
        price_e4: the last good bid, or what was asked since if that is less; None before there was one.
        seen_ms: when that was seen, in the data's time.
        bid_e4: the best bid now, whether in doubt or not; None while nobody bids or the market is not active.
        gone_ms: since when there has been no bid, by the steady clock; None while there is one.
    """

    price_e4: int | None
    seen_ms: int
    bid_e4: int | None
    gone_ms: int | None


_Shown = tuple[Market, Status, bool, tuple[int | None, int | None]]
"""What a market shows, from which its marks follow but for times: status, whether it is suspect, prices."""


class _Looked(msgspec.Struct, frozen=True):
    """What a market showed when it was last looked at, and those of its marks whose bids were good."""

    shown: _Shown
    good: list[Mark]


class KeptMark(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A mark in the form that outlives its process: `gone_ms` by the wall clock, `result_e4` that of YES."""

    ticker: str
    side: str
    price_e4: int | None
    seen_ms: int
    gone_ms: int | None
    result_e4: int | None


class Marks:
    """The marks of markets. A market never seen counts as without a bid since it was first asked about.

    Attributes:
        changes: how often a bid or a result came or went.
    """

    def __init__(self) -> None:
        self.changes = 0
        self._marks: dict[str, dict[str, Mark]] = {}
        self._looked: dict[str, _Looked] = {}
        self._results: dict[str, int] = {}

    def kept(self, tickers: Collection[str], now_ms: int, paced_ms: int) -> tuple[KeptMark, ...]:
        """Return the marks of markets, for storing.

        Args:
            now_ms, paced_ms: the present by the wall clock, and by the steady one.
        """
        marks, results = self._marks, self._results
        kept: list[KeptMark] = []
        for ticker in sorted(tickers):
            sides, result_e4 = marks.get(ticker), results.get(ticker)
            if sides is None:
                continue
            for side in (NO, YES):
                mark = sides.get(side)
                if mark is None:
                    continue
                gone_ms = mark.gone_ms
                if gone_ms is not None:
                    gone_ms = now_ms - max(0, paced_ms - gone_ms)
                kept.append(KeptMark(ticker, side, mark.price_e4, mark.seen_ms, gone_ms, result_e4))
        return tuple(kept)

    def restore(self, kept: Iterable[KeptMark], now_ms: int, paced_ms: int) -> None:
        """Restore what was stored. No bid is known yet, and a side without one then has had none since."""
        for one in kept:
            gone_ms = paced_ms if one.gone_ms is None else paced_ms - max(0, now_ms - one.gone_ms)
            sides = self._marks.setdefault(one.ticker, {})
            sides[one.side] = Mark(one.price_e4, one.seen_ms, None, gone_ms)
            if one.result_e4 is not None:
                self._results[one.ticker] = one.result_e4

    def look(
        self, markets: Iterable[MarketView], held: Container[str], paced_ms: int
    ) -> tuple[set[str], bool]:
        """Note the bids and the results of the markets held of an event.

        Return which those are, and whether a mark or a result may have changed.
        """
        looked, found, moved = self._looked, set(), False
        for seen in markets:
            market = seen.market
            ticker = market.ticker
            if ticker not in held:
                continue
            found.add(ticker)
            quote_ms, book_ms = seen.quote_as_of_ms, seen.book_as_of_ms
            seen_ms = quote_ms if book_ms is None or book_ms < quote_ms else book_ms
            before, shown = looked.get(ticker), (market, seen.quote.status, seen.suspect, yes_prices(seen))
            if before is not None and before.shown == shown:
                for mark in before.good:
                    mark.seen_ms = seen_ms
                continue
            moved = True
            self._note(shown, seen_ms, paced_ms)
        return found, moved

    def _note(self, shown: _Shown, seen_ms: int, paced_ms: int) -> None:
        market, status, suspect, (yes_e4, ask_e4) = shown
        ticker = market.ticker
        result_e4 = settlement_e4(market)
        if result_e4 != self._results.get(ticker):
            self.changes += 1
            if result_e4 is None:
                del self._results[ticker]
            else:
                self._results[ticker] = result_e4
        active = status is Status.ACTIVE
        no_e4 = None if ask_e4 is None else PRICE_ONE_E4 - ask_e4
        crossed = yes_e4 is not None and ask_e4 is not None and yes_e4 >= ask_e4
        good = active and not suspect and not crossed
        seen_good: list[Mark] = []
        for side, bid_e4, other_e4 in ((YES, yes_e4, no_e4), (NO, no_e4, yes_e4)):
            mark = self.of(ticker, side, paced_ms)
            if bid_e4 is None or not active:
                self.vanish(ticker, side, paced_ms)
                if good and other_e4 is not None and mark.price_e4 is not None:
                    mark.price_e4 = min(mark.price_e4, opposite(other_e4))
                continue
            if mark.gone_ms is not None:
                mark.gone_ms = None
                self.changes += 1
            mark.bid_e4 = bid_e4
            if good:
                mark.price_e4, mark.seen_ms = bid_e4, seen_ms
                seen_good.append(mark)
        self._looked[ticker] = _Looked(shown, seen_good)

    def vanish(self, ticker: str, side: str, paced_ms: int) -> None:
        """Note that nobody bids."""
        mark = self.of(ticker, side, paced_ms)
        mark.bid_e4 = None
        self._looked.pop(ticker, None)
        if mark.gone_ms is None:
            mark.gone_ms = paced_ms
            self.changes += 1

    def of(self, ticker: str, side: str, paced_ms: int) -> Mark:
        """Return the mark of a side."""
        sides = self._marks.get(ticker)
        if sides is None:
            sides = self._marks[ticker] = {}
        mark = sides.get(side)
        if mark is None:
            mark = sides[side] = Mark(None, 0, None, paced_ms)
        return mark

    def _known(self, ticker: str, side: str) -> Mark | None:
        sides = self._marks.get(ticker)
        return None if sides is None else sides.get(side)

    def result_e4(self, ticker: str, side: str) -> int | None:
        """Return what a side of a determined market pays, None while that is unknown."""
        value_e4 = self._results.get(ticker)
        return value_e4 if value_e4 is None or side == YES else opposite(value_e4)

    def price_e4(self, ticker: str, side: str) -> int | None:
        """Return a side's result, else its last good bid; None before there was one."""
        if ticker in self._results:
            return self.result_e4(ticker, side)
        mark = self._known(ticker, side)
        return None if mark is None else mark.price_e4

    def age_ms(self, ticker: str, side: str, paced_ms: int) -> int | None:
        """Return how long there has been no bid; None while there is one, or once the result is known."""
        mark = self._known(ticker, side)
        if mark is None or mark.gone_ms is None or ticker in self._results:
            return None
        return max(0, paced_ms - mark.gone_ms)

    def least_e6(self, ticker: str, side: str, count_e2: int, cost_e6: int, paced_ms: int) -> int:
        """Return how much contracts are worth for the daily loss.

        That is their result, or else the last good bid or the current bid, whichever is lower. Without a bid
        it is half of that after HALF_AFTER_MS, nothing after NOTHING_AFTER_MS. Before any bid was seen, their
        cost stands in for it.
        """
        value_e4 = self.result_e4(ticker, side)
        if value_e4 is not None:
            return value_e4 * count_e2
        mark = self.of(ticker, side, paced_ms)
        value_e6 = cost_e6 if mark.price_e4 is None else mark.price_e4 * count_e2
        if mark.bid_e4 is not None:
            return min(value_e6, mark.bid_e4 * count_e2)
        gone_ms = 0 if mark.gone_ms is None else paced_ms - mark.gone_ms
        if gone_ms >= NOTHING_AFTER_MS:
            return 0
        return value_e6 // 2 if gone_ms >= HALF_AFTER_MS else value_e6

    def next_ms(self, ticker: str, side: str, paced_ms: int) -> int | None:
        """Return when `least_e6` next changes through time alone; None: never."""
        mark = self.of(ticker, side, paced_ms)
        if mark.gone_ms is None or ticker in self._results:
            return None
        due_ms = (mark.gone_ms + HALF_AFTER_MS, mark.gone_ms + NOTHING_AFTER_MS)
        return next((at_ms for at_ms in due_ms if at_ms > paced_ms), None)

    def middle_e6(self, ticker: str) -> tuple[int, bool] | None:
        """Return the middle of the last good bid and ask, in micro-dollars of YES, and whether both stand.

        None before both were seen.
        """
        marks = [self._known(ticker, side) for side in (YES, NO)]
        yes, no = (None if mark is None else mark.price_e4 for mark in marks)
        if yes is None or no is None:
            return None
        stands = all(mark is not None and mark.bid_e4 is not None for mark in marks)
        return (yes + opposite(no)) * 50, stands

    def keep(self, tickers: Collection[str]) -> None:
        """Forget all markets but these."""
        for ticker in [ticker for ticker in self._marks if ticker not in tickers]:
            del self._marks[ticker]
            self._looked.pop(ticker, None)
        _drop(self._results, [ticker for ticker in self._results if ticker not in tickers])


def _drop(marks: dict[str, int], tickers: Iterable[str]) -> None:
    for ticker in tickers:
        del marks[ticker]


def settlement_e4(market: Market) -> int | None:
    """Return what YES of a determined market pays, None while that is unknown."""
    if market.settlement_value_e4 is not None:
        return market.settlement_value_e4 if market.result else None
    return _DECIDED_E4.get(market.result)
