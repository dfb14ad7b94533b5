"""Price history: bars of what happened since the start, and a plausible past before it.

A bar covers one minute in which something changed. How many are kept follows from a budget for the whole
exchange, so that 130,000 markets cost no more than 1,500. Before the first kept bar a market's past is a
smooth function of its ticker: the same at every look, never stored.
"""

from collections import deque
from collections.abc import Iterator
from math import sin
from typing import Any, Final
from zlib import crc32

from markets.units import format_count, format_price

from .model import Bar, Market

BARS_IN_ALL: Final = 400_000
_MINUTE_MS: Final = 60_000


def bars_per_market(markets: int) -> int:
    """Return how many bars each market may keep."""
    return min(max(BARS_IN_ALL // max(markets, 1), 3), 1440)


def _bar(market: Market, time_ms: int, keep: int) -> Bar:
    minute = time_ms // _MINUTE_MS
    bars = market.bars
    if bars is None:
        bars = market.bars = deque(maxlen=keep)
    if not bars or bars[-1].minute != minute:
        last = bars[-1] if bars else None
        bid, ask = (last.bid[3], last.ask[3]) if last else (_shown(market)[0], _shown(market)[1])
        bars.append(Bar(minute, [bid] * 4, [ask] * 4, None, 0, 0, market.open_interest_e2))
    return bars[-1]


def _shown(market: Market) -> tuple[int, int]:
    """Return bid and ask as candles show them: 0 and 1 where a side is empty."""
    return market.bid_e4 if market.bid_e2 else 0, market.ask_e4 if market.ask_e2 else 10_000


def _extend(values: list[int], value: int) -> None:
    values[1], values[2], values[3] = max(values[1], value), min(values[2], value), value


def note_quote(market: Market, time_ms: int, keep: int) -> None:
    """Record a quote just set."""
    bar = _bar(market, time_ms, keep)
    bid, ask = _shown(market)
    _extend(bar.bid, bid)
    _extend(bar.ask, ask)


def note_trade(market: Market, price_e4: int, count_e2: int, time_ms: int, keep: int) -> None:
    """Record a trade just printed."""
    bar = _bar(market, time_ms, keep)
    if bar.price is None:
        bar.price = [price_e4] * 4
    else:
        _extend(bar.price, price_e4)
    bar.volume_e2 += count_e2
    bar.notional += count_e2 * price_e4
    bar.open_interest_e2 = market.open_interest_e2


def _past(market: Market, minute: int, anchor: tuple[int, int]) -> tuple[int, int]:
    """Return bid and ask of a minute before anything was recorded: the anchor, gently swaying."""
    phase = crc32(market.ticker.encode()) % 1000
    sway = sin(minute / 97 + phase) * 150 + sin(minute / 1571 + phase * 3) * 250
    shift = int(sway - sin(phase) * 150) // 100 * 100
    bid, ask = anchor
    low, high = market.grid.prices[0], market.grid.prices[-1]
    return (
        market.grid.at_or_below(min(max(bid + shift, low), high)) or 0 if bid else 0,
        market.grid.at_or_above(min(max(ask + shift, low), high)) or 10_000 if ask < 10_000 else 10_000,
    )


def _minutes(market: Market, first: int, last: int) -> Iterator[Bar]:
    """Yield a bar for every minute in [first, last], the recorded ones and what lies between."""
    bars = {bar.minute: bar for bar in market.bars or ()}
    earliest = min(bars) if bars else None
    anchor = (bars[earliest].bid[0], bars[earliest].ask[0]) if earliest is not None else _shown(market)
    known = [bar for minute, bar in sorted(bars.items()) if minute < first]
    bid, ask = (known[-1].bid[3], known[-1].ask[3]) if known else anchor
    for minute in range(first, last + 1):
        bar = bars.get(minute)
        if bar is None:
            if earliest is None or minute < earliest:
                bid, ask = _past(market, minute, anchor)
            bar = Bar(minute, [bid] * 4, [ask] * 4, None, 0, 0, market.open_interest_e2)
        yield bar
        bid, ask = bar.bid[3], bar.ask[3]


def candles(
    market: Market, start_s: int, end_s: int, period: int, now_ms: int, before: bool
) -> list[dict[str, Any]]:
    """Return candlesticks whose period ends in [start_s, end_s], as served; `before` adds the one ahead.

    `period` is 1, 60 or 1440 minutes. Periods before the opening or after the close do not exist.
    """
    width = period * 60
    opened, closed = market.event.open_ms // 1000, min(market.event.close_ms, now_ms + width * 1000) // 1000
    if market.event.open_ms > now_ms:
        return []
    first = -(-max(start_s - (width if before else 0), opened + 1) // width) * width
    last = min(end_s, -(-closed // width) * width) // width * width
    out: list[dict[str, Any]] = []
    previous: int | None = None
    for end in range(first, last + 1, width):
        # Long periods are sampled at a few minutes of the unrecorded past, at every recorded minute.
        begin_minute, end_minute = (end - width) // 60, end // 60 - 1
        recorded = [b for b in market.bars or () if begin_minute <= b.minute <= end_minute]
        step = max(period // 8, 1)
        bars = recorded or [
            bar for m in range(begin_minute, end_minute + 1, step) for bar in _minutes(market, m, m)
        ]
        out.append(_candle(end, bars, previous))
        closes = [bar.price[3] for bar in bars if bar.price is not None]
        previous = closes[-1] if closes else previous
    return out


def _merged(parts: list[list[int]]) -> dict[str, str]:
    values = (parts[0][0], max(p[1] for p in parts), min(p[2] for p in parts), parts[-1][3])
    names = ("open_dollars", "high_dollars", "low_dollars", "close_dollars")
    return {name: format_price(value) for name, value in sorted(zip(names, values, strict=True))}


def _candle(end_s: int, bars: list[Bar], previous: int | None) -> dict[str, Any]:
    prices = [bar.price for bar in bars if bar.price is not None]
    volume = sum(bar.volume_e2 for bar in bars)
    price: dict[str, str | None] = {}
    if prices:
        price.update(_merged(prices))
        price["mean_dollars"] = format_price(sum(bar.notional for bar in bars) // volume)
    if previous is not None:
        price["previous_dollars"] = format_price(previous)
    return {
        "end_period_ts": end_s,
        "open_interest_fp": format_count(bars[-1].open_interest_e2),
        "price": price,
        "volume_fp": format_count(volume),
        "yes_ask": _merged([bar.ask for bar in bars]),
        "yes_bid": _merged([bar.bid for bar in bars]),
    }
