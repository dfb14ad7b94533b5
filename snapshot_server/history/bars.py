"""Candlesticks from changes: what a market did in a period, and several periods merged."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from bus.market_history import HistoryQuote, HistoryTrade

Prices = tuple[int, int, int, int]
"""Open, high, low, close."""


class Bar(NamedTuple):
    """What a market did in one period. None means unknown, or, for a price, that nothing was traded.

    Attributes:
        end_s: its end, inclusive, Unix seconds.
        worth: price x count of all trades, in 0.0001 dollars x 0.01 contracts.
        before_e4: the last trade's price before it.
    """

    end_s: int
    bid: Prices | None
    ask: Prices | None
    price: Prices | None
    before_e4: int | None
    volume_e2: int
    worth: int
    interest_e2: int | None


def joined(bars: Sequence[Bar], end_s: int) -> Bar:
    """Merge consecutive periods."""
    return Bar(
        end_s,
        _over(bar.bid for bar in bars),
        _over(bar.ask for bar in bars),
        _over(bar.price for bar in bars),
        next((bar.before_e4 for bar in bars if bar.before_e4 is not None), None),
        sum(bar.volume_e2 for bar in bars),
        sum(bar.worth for bar in bars),
        next((bar.interest_e2 for bar in reversed(bars) if bar.interest_e2 is not None), None),
    )


def bars(
    quotes: Sequence[HistoryQuote],
    trades: Sequence[HistoryTrade],
    trades_from_ms: int | None,
    ends_s: Sequence[int],
    width_s: int,
) -> Iterator[Bar]:
    """Yield what happened in periods that end at `ends_s`, ascending, `width_s` apart.

    Quotes before the first say what stood when it began. Where not all trades were heard (`trades_from_ms`),
    prices are those in the quotes whenever the volume had grown.
    """
    quote, trade = 0, 0
    stands: HistoryQuote | None = None
    traded_e4: int | None = None
    for end_s in ends_s:
        begin_ms, end_ms = (end_s - width_s) * 1000, end_s * 1000
        while quote < len(quotes) and quotes[quote].time_ms <= begin_ms:
            stands = quotes[quote]
            quote += 1
        while trade < len(trades) and trades[trade].time_ms <= begin_ms:
            traded_e4 = trades[trade].price_e4
            trade += 1
        first, last = quote, trade
        while quote < len(quotes) and quotes[quote].time_ms <= end_ms:
            quote += 1
        while trade < len(trades) and trades[trade].time_ms <= end_ms:
            trade += 1
        before = stands.last_price_e4 if stands is not None else None
        points = [*([stands] if stands is not None else []), *quotes[first:quote]]
        if not points:
            continue
        grown = _grown(points)
        if trades_from_ms is not None and trades_from_ms <= begin_ms:
            dealt = [(deal.price_e4, deal.count_e2) for deal in trades[last:trade]]
        else:
            dealt = [(price, count) for price, count in grown if price is not None]
        volume = sum(count for _, count in grown) or sum(count for _, count in dealt)
        yield Bar(
            end_s,
            _of([point.bid_e4 for point in points]),
            _of([point.ask_e4 for point in points]),
            _of([price for price, _ in dealt]) if dealt else None,
            (before or None) if before is not None else traded_e4,
            volume,
            sum(price * count for price, count in dealt) * volume // (sum(count for _, count in dealt) or 1),
            points[-1].open_interest_e2,
        )
        stands = points[-1]
        traded_e4 = trades[trade - 1].price_e4 if trade > last else traded_e4


def _grown(points: Sequence[HistoryQuote]) -> list[tuple[int | None, int]]:
    """Yield (last price, growth of the volume) wherever the volume grew."""
    found = []
    for before, after in pairwise(points):
        if (
            before.volume_e2 is not None
            and after.volume_e2 is not None
            and after.volume_e2 > before.volume_e2
        ):
            found.append((after.last_price_e4, after.volume_e2 - before.volume_e2))
    return found


def _of(values: Sequence[int]) -> Prices:
    return values[0], max(values), min(values), values[-1]


def _over(parts: Iterable[Prices | None]) -> Prices | None:
    known = [part for part in parts if part is not None]
    if not known:
        return None
    return known[0][0], max(part[1] for part in known), min(part[2] for part in known), known[-1][3]
