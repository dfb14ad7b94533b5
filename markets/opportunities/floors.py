"""The least that legs pay: two figures for every trade, whatever its kind and whoever bought it.

The *floor* holds when the event is decided: one outcome of an exclusive event wins, or none where the list of
outcomes may be incomplete; a number comes out somewhere on its line. A dead heat, two winners worth a half
each, is the mean of two such outcomes, and what legs pay is linear in what the markets are worth, so the
floor holds there too.

The *floor if void* holds when the exchange calls it off and settles each leg independently, anywhere between
the bid and the ask that it had: every leg counts at the best bid of its side, and at nothing if nobody bids.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from itertools import pairwise

from markets.book import YES
from markets.units import PRICE_ONE_E4, opposite

from .exhaustive import Verdict, exhaustiveness
from .legs import yes_prices
from .strikes import Interval, interval, words_of
from .types import EventView, MarketView

Legs = Iterable[tuple[str, str, int]]
"""Legs as (ticker, side, count_e2). One market may have several."""


def verdict(view: EventView) -> Verdict:
    """Return whether the event's markets are known to be exhaustive, and why."""
    return _verdict(view.event, tuple([seen.market for seen in view.markets]))


_verdict = lru_cache(maxsize=1 << 10)(exhaustiveness)  # the same events are judged at every scan


def void_e6(markets: Iterable[MarketView], legs: Legs) -> int:
    """Return the least that these legs, all in `markets`, pay if the event is called off."""
    of_ticker = {seen.market.ticker: seen for seen in markets}
    return void_of_e6([(of_ticker[ticker], side, count_e2) for ticker, side, count_e2 in legs])


def void_of_e6(held: Iterable[tuple[MarketView, str, int]]) -> int:
    """Return the same of what is held in each market, as (market, side, count_e2)."""
    total_e6 = 0
    for seen, side, count_e2 in held:
        bid_e4, ask_e4 = yes_prices(seen)
        if side != YES:
            bid_e4 = None if ask_e4 is None else opposite(ask_e4)
        total_e6 += (bid_e4 or 0) * count_e2
    return total_e6


def floor_e6(view: EventView, legs: Legs, *, exhaustive: bool | None = None) -> int:
    """Return the least that these legs, all in `view`, pay when the event is decided in any possible way.

    Args:
        exhaustive: whether exactly one market resolves YES, if the caller already knows.
    """
    held: dict[str, list[int]] = {}
    for ticker, side, count_e2 in legs:
        held.setdefault(ticker, [0, 0])[side != YES] += count_e2
    if view.event.mutually_exclusive:
        if exhaustive is None:
            exhaustive = len(held) == len(view.markets) and verdict(view).known
        return _exclusive_e2(held, exhaustive=exhaustive and len(held) == len(view.markets)) * PRICE_ONE_E4
    return _on_lines_e2(held, view.markets) * PRICE_ONE_E4


def _exclusive_e2(held: Mapping[str, Sequence[int]], *, exhaustive: bool) -> int:
    """At most one wins: that one pays its YES, and all others pay their NO."""
    all_no_e2 = sum(no_e2 for _, no_e2 in held.values())
    ends = [all_no_e2 - no_e2 + yes_e2 for yes_e2, no_e2 in held.values()]
    return min(ends if exhaustive else [all_no_e2, *ends])


def _on_lines_e2(held: Mapping[str, Sequence[int]], markets: Sequence[MarketView]) -> int:
    """Markets on one number are evaluated together; of others it is known only that YES or NO pays."""
    least_e2 = 0
    lines: dict[tuple[str, str], list[tuple[Interval, Sequence[int]]]] = {}
    for seen in markets:
        counts_e2 = held.get(seen.market.ticker)
        if counts_e2 is None:
            continue
        covers, words = interval(seen.market), words_of(seen.market)
        if covers is None or words is None:
            least_e2 += min(counts_e2)
        else:
            lines.setdefault(words, []).append((covers, counts_e2))
    return least_e2 + sum(map(_line_e2, lines.values()))


def _line_e2(line: Sequence[tuple[Interval, Sequence[int]]]) -> int:
    """Try every end of the strikes, and a value on either side of it."""
    ends = sorted({end for covers, _ in line for end in (covers.low, covers.high) if end is not None})
    values = [ends[0] - 1, *ends, ends[-1] + 1]
    values += [(low + high) / 2 for low, high in pairwise(ends)]
    return min(_paid_e2(line, value) for value in values)


def _paid_e2(line: Sequence[tuple[Interval, Sequence[int]]], value: Decimal) -> int:
    return sum(counts_e2[not covers.covers(value)] for covers, counts_e2 in line)
