"""Kinds ``ladder`` and ``range``: two strikes on one number, where YES of one includes YES of the other.

Above 50 includes above 60, and above 50 includes 60 to 65. So YES of the wider and NO of the narrower pay at
least a dollar, whatever the number is, and two if it lies between: a sure profit when the two asks add up to
less than 1, that is, when the wider's ask is below the narrower's bid.

Their wording proves that both are about the same number (`strikes.py`); their strikes prove that one includes
the other. Each market is in at most one pair, with the market from which it is furthest apart.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from markets.book import NO, YES
from markets.fees import fee_schedule
from markets.opportunities.legs import market_reasons, yes_prices
from markets.opportunities.strikes import BETWEEN, Interval, alike, interval, words_of
from markets.opportunities.types import EventView, MarketView, Opportunity, ScanLimits
from markets.records import Event, FairValue, Market
from markets.units import PRICE_ONE_E4, opposite

from .kind import NEVER_E4
from .locked import LockedKind, may_earn

SAYS: Final = "{} includes {}, so YES of the one or NO of the other pays in any case"


class Rung(NamedTuple):
    """One market with a strike, and its best prices; None where nobody bids or asks."""

    seen: MarketView
    covers: Interval | None
    bid_e4: int | None
    ask_e4: int | None


class Pair(NamedTuple):
    """Two markets, and by how much the wider costs less than the narrower brings."""

    apart_e4: int
    wider: MarketView
    narrower: MarketView


class NestedKind(LockedKind):
    """Two strikes on one number, priced the wrong way round; the kinds say which sorts of strikes."""

    tone = "fair"

    @abstractmethod
    def pairs(self, markets: Sequence[MarketView]) -> Iterator[Pair]:
        """Yield all pairs of a wider and a narrower market: the wider's ask is below the narrower's bid."""

    @abstractmethod
    def apart_e4(self, markets: Sequence[MarketView]) -> int:
        """Return by how much, at least, the ask of a wider market is above the bid of a narrower one.

        Below 0, there may be `pairs`.
        """

    @abstractmethod
    def alike(self, words: tuple[str, str], others: tuple[str, str]) -> bool:
        """Return whether markets so worded are about the same number."""

    def find(
        self, view: EventView, fair_values: Mapping[str, FairValue], now_ms: int, limits: ScanLimits
    ) -> list[Opportunity]:
        """Return the pairs that cost less than a dollar, made of sound markets if there are any."""
        del fair_values  # it needs no opinion
        if self.apart_e4(view.markets) >= 0:
            return []
        found = list(self.pairs(view.markets))
        doubtful = {
            seen.market.ticker
            for pair in found
            for seen in (pair.wider, pair.narrower)
            if market_reasons(seen, max(seen.quote_as_of_ms, seen.book_as_of_ms or 0), now_ms, limits)
        }
        sound = [
            pair
            for pair in found
            if pair.wider.market.ticker not in doubtful and pair.narrower.market.ticker not in doubtful
        ]
        offers = [
            self.sets(
                view,
                [(pair.wider, YES), (pair.narrower, NO)],
                now_ms,
                limits,
                notes=(SAYS.format(label(pair.wider), label(pair.narrower)),),
            )
            for pair in furthest(sound or found)
        ]
        return [offer for offer in offers if offer is not None]

    def lacks_e4(self, view: EventView, fair_values: Mapping[str, FairValue]) -> int:
        """Return by how much the ask of the wider is too high for the narrower's bid."""
        del fair_values
        apart_e4 = self.apart_e4(view.markets)
        if apart_e4 >= 0:
            return apart_e4 + 1
        fees = fee_schedule(view.event, view.series)
        for pair in self.pairs(view.markets):
            ask_e4 = yes_prices(pair.wider)[1] or 0
            if may_earn((ask_e4, opposite(ask_e4 + pair.apart_e4)), fees):
                return 0
        return 1

    def may_matter(self, event: Event, *, valued: bool) -> bool:
        """Return whether the event lists several markets."""
        return not event.market_tickers or " " in event.market_tickers

    def least_payout_e6(self, view: EventView, legs: Sequence[tuple[str, str, int]]) -> int | None:
        """Return what YES of a wider and NO of a narrower strike pay together: the count that both have."""
        if len(legs) != 2 or {side for _, side, _ in legs} != {YES, NO}:
            return None
        markets = {seen.market.ticker: seen.market for seen in view.markets}
        (wider, _, yes_e2), (narrower, _, no_e2) = sorted(legs, key=lambda leg: leg[1], reverse=True)
        wide, narrow = markets[wider], markets[narrower]
        covers, within = interval(wide), interval(narrow)
        words, others = words_of(wide), words_of(narrow)
        if covers is None or within is None or words is None or others is None:
            return None
        if not self.alike(words, others) or not within.within(covers):
            return None
        return min(yes_e2, no_e2) * PRICE_ONE_E4


class LadderKind(NestedKind):
    """Two thresholds on one number, priced the wrong way round."""

    name = "ladder"
    title = "Ladder"

    def alike(self, words: tuple[str, str], others: tuple[str, str]) -> bool:
        """Thresholds are worded alike but for their strikes."""
        return words == others

    def pairs(self, markets: Sequence[MarketView]) -> Iterator[Pair]:
        """Yield pairs of thresholds."""
        for ladder in _ladders(tuple([seen.market for seen in markets])):
            yield from crossed([_rung(markets[place]) for place in ladder])

    def apart_e4(self, markets: Sequence[MarketView]) -> int:
        """Compare each bid with the lowest ask of the markets before it, none of which is narrower."""
        least_e4 = NEVER_E4
        for ladder in _ladders(tuple([seen.market for seen in markets])):
            lowest_e4 = NEVER_E4
            for place in ladder:
                bid_e4, ask_e4 = yes_prices(markets[place])
                apart_e4 = lowest_e4 - (bid_e4 or 0)
                if apart_e4 < least_e4:
                    least_e4 = apart_e4
                if ask_e4 is None:
                    ask_e4 = PRICE_ONE_E4
                if ask_e4 < lowest_e4:
                    lowest_e4 = ask_e4
        return least_e4


class RangeKind(NestedKind):
    """A bucket that costs more than a threshold or bucket that includes it."""

    name = "range"
    title = "Range"

    def alike(self, words: tuple[str, str], others: tuple[str, str]) -> bool:
        """Thresholds and buckets are worded alike but for strikes and the words that compare with them."""
        return alike(words) == alike(others)

    def pairs(self, markets: Sequence[MarketView]) -> Iterator[Pair]:
        """Yield pairs whose narrower market is a bucket."""
        for wide, narrow in _buckets(tuple([seen.market for seen in markets])):
            yield from crossed([_rung(markets[wide]), _rung(markets[narrow])])

    def apart_e4(self, markets: Sequence[MarketView]) -> int:
        """Compare the prices of each pair; most events have none."""
        least_e4 = NEVER_E4
        for wide, narrow in _buckets(tuple([seen.market for seen in markets])):
            bid_e4, ask_e4 = yes_prices(markets[narrow])[0], yes_prices(markets[wide])[1]
            apart_e4 = (PRICE_ONE_E4 if ask_e4 is None else ask_e4) - (bid_e4 or 0)
            if apart_e4 < least_e4:
                least_e4 = apart_e4
        return least_e4


@lru_cache(maxsize=1 << 12)
def _ladders(markets: tuple[Market, ...]) -> tuple[tuple[int, ...], ...]:
    """Return where in an event the thresholds are that are about one number, none of them before a wider one.

    It depends on what the markets are about, and is asked again and again at other prices.
    """
    groups: dict[tuple[tuple[str, str], bool], list[int]] = {}
    for place, market in enumerate(markets):
        if (market.floor_strike is None) != (market.cap_strike is None):
            words = words_of(market)
            if words is not None:
                groups.setdefault((words, market.cap_strike is None), []).append(place)
    return tuple(
        tuple(sorted(group, key=lambda place: _widest_first(markets[place])))
        for group in groups.values()
        if len(group) > 1
    )


@lru_cache(maxsize=1 << 12)
def _buckets(markets: tuple[Market, ...]) -> tuple[tuple[int, int], ...]:
    """Return where in an event there is a bucket, each behind a market that includes it; see `_ladders`."""
    if not any(market.strike_type == BETWEEN for market in markets):
        return ()
    groups: dict[tuple[str, ...], list[tuple[int, Interval]]] = {}
    for place, market in enumerate(markets):
        words, covers = words_of(market), _covers(market)
        if words is not None and covers is not None:
            groups.setdefault(alike(words), []).append((place, covers))
    return tuple(
        (wide, narrow)
        for group in groups.values()
        for wide, outer in group
        for narrow, inner in group
        if markets[narrow].strike_type == BETWEEN and inner != outer and inner.within(outer)
    )


def crossed(rungs: Sequence[Rung]) -> Iterator[Pair]:
    """Yield the pairs priced the wrong way round among markets on one number."""
    for wide in rungs:
        if wide.ask_e4 is None:
            continue
        for narrow in rungs:
            if (
                narrow.bid_e4 is not None
                and narrow.bid_e4 > wide.ask_e4
                and narrow.covers is not None
                and wide.covers is not None
                and narrow.covers != wide.covers
                and narrow.covers.within(wide.covers)
            ):
                yield Pair(narrow.bid_e4 - wide.ask_e4, wide.seen, narrow.seen)


def furthest(pairs: Sequence[Pair]) -> list[Pair]:
    """Return the pairs that are furthest apart for both of their markets, so that no market is in two."""
    taken: set[str] = set()
    found = []
    for pair in sorted(pairs, key=lambda p: (-p.apart_e4, p.wider.market.ticker, p.narrower.market.ticker)):
        tickers = {pair.wider.market.ticker, pair.narrower.market.ticker}
        if taken.isdisjoint(tickers):
            found.append(pair)
            taken |= tickers
    return found


def label(seen: MarketView) -> str:
    """Return a market's outcome in quotes."""
    return f'"{seen.market.yes_sub_title or seen.market.ticker}"'


def _rung(seen: MarketView) -> Rung:
    return Rung(seen, _covers(seen.market), *yes_prices(seen))


def _covers(market: Market) -> Interval | None:
    return interval(market) if market.market_type == "binary" else None


def _widest_first(market: Market) -> tuple[float, bool]:
    if market.cap_strike is None:
        return market.floor_strike or 0.0, market.strike_type == "greater"
    return -market.cap_strike, market.strike_type == "less"
