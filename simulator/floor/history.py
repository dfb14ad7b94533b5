"""A market's whole past: what was before the exchange began, and what happened since, in the same form.

Candlesticks, lists of trades and the figures of a day ago are computed from the same moments.
"""

from collections.abc import Iterable, Iterator
from heapq import merge
from itertools import chain
from typing import Any, Final
from uuid import UUID

from markets.units import format_count, format_price

from .happenings import Trade
from .model import Market
from .past import Moment, Past
from .record import MINUTE_MS, Record, Span

DAY_MS: Final = 86_400_000


# What was a day ago ------------------------------------------------------------------------------------


def day_ago(market: Market, now_ms: int) -> tuple[int, int, int, int, int]:
    """Return (until when this holds, volume_e2, last price, bid, ask) as of 24 hours before `now_ms`.

    For a time whose minutes are no longer kept: as of the end of the last complete hour, or day, before it.
    """
    then_ms = now_ms - DAY_MS
    known = market.day_ago
    if known is not None and then_ms < known[0]:
        return known
    found = market.day_ago = _at(market, then_ms)
    return found


def _at(market: Market, then_ms: int) -> tuple[int, int, int, int, int]:
    past = market.past
    if past is not None and then_ms < past.until_ms:
        number = past.at(then_ms)
        if number == past.trades:
            return (past.until_ms, past.volume_e2, past.price_e4, *_first_quote(market))
        until_ms = past.time_ms(number + 1)
        if not number:
            return (until_ms, 0, 0, 0, 0)
        return (until_ms, past.total_e2(number), past.price(number), *past.quote(number))
    minute, record = then_ms // MINUTE_MS, market.record
    until_ms = (minute + 1) * MINUTE_MS
    before = record.before(minute) if record is not None else None
    if record is not None and before is None:  # so it stays until what is recorded begins
        until_ms = max(until_ms, record.first().minute * MINUTE_MS)
    if before is not None:
        return (until_ms, before.total_e2, before.last_e4, before.bid[3], before.ask[3])
    if past is not None:
        return (until_ms, past.volume_e2, past.price_e4, *_first_quote(market))
    return (until_ms, 0, 0, 0, 0)


def _first_quote(market: Market) -> tuple[int, int]:
    """Return the bid and ask when the exchange began, or the market if it is younger."""
    if market.record is not None:
        first = market.record.first()
        return first.bid[0], first.ask[0]
    return market.shown


# Candlesticks -----------------------------------------------------------------------------------------


def _piece(moment: Moment, before: tuple[int, int], after: tuple[int, int], total_e2: int) -> Span:
    price, count = moment.price_e4, moment.count_e2
    bid, ask = ([old, max(old, new), min(old, new), new] for old, new in zip(before, after, strict=True))
    minute = moment.time_ms // MINUTE_MS
    interest = moment.open_interest_e2
    return Span(minute, 1, bid, ask, [price] * 4, price, count, count * price, interest, total_e2)


def _past_spans(market: Market, past: Past, from_ms: int, to_ms: int) -> Iterator[Span]:
    """Yield a span for each trade of the past in [from_ms, to_ms), and one for what preceded them."""
    first, end = past.at(from_ms - 1), past.at(to_ms - 1)
    quote = past.quote(first) if first < past.trades else _first_quote(market)
    price = past.price(first) if first else 0
    total = past.total_e2(first)
    ahead = (from_ms - 1) // MINUTE_MS
    bid, ask = ([value] * 4 for value in quote)
    yield Span(ahead, 1, bid, ask, None, price, 0, 0, past.interest_e2(first), total)
    for number in range(first + 1, end + 1):
        after = past.quote(number) if number < past.trades else _first_quote(market)
        moment = past.moment(number)
        total += moment.count_e2
        yield _piece(moment, quote, after, total)
        quote = after


def _spans(market: Market, from_ms: int, to_ms: int) -> Iterable[Span]:
    """Return what happened in [from_ms, to_ms), in order, preceded by what stood before."""
    past, record = market.past, market.record
    begins_ms = past.until_ms if past is not None else market.event.open_ms
    before: Iterable[Span] = ()
    if past is not None and from_ms < past.until_ms:
        before = _past_spans(market, past, max(from_ms, past.open_ms), min(to_ms, past.until_ms))
    elif past is not None:
        before = _past_spans(market, past, begins_ms, begins_ms)
    else:
        bid, ask = ([value] * 4 for value in _first_quote(market))
        before = (Span(begins_ms // MINUTE_MS - 1, 1, bid, ask, None, 0, 0, 0, 0, 0),)
    since = record.spans(from_ms // MINUTE_MS) if record is not None and to_ms > begins_ms else ()
    return chain(before, since)


def candles(
    market: Market, start_s: int, end_s: int, period: int, now_ms: int, before: bool
) -> list[dict[str, Any]]:
    """Return candlesticks whose period ends in [start_s, end_s], as served; `before` adds the previous one.

    `period` is 1, 60 or 1440 minutes. Periods before the opening or after the close do not exist. What is
    remembered only for an hour or a day as a whole is attributed to the last of its minutes that saw a
    change.
    """
    width = period * 60
    opened, closed = market.event.open_ms // 1000, min(market.event.close_ms, now_ms + width * 1000) // 1000
    if market.event.open_ms > now_ms:
        return []
    first = -(-max(start_s - (width if before else 0), opened + 1) // width) * width
    last = min(end_s, -(-closed // width) * width) // width * width
    if last < first:
        return []
    begin = (first - width) // 60
    waiting = iter(_spans(market, (first - width) * 1000, last * 1000))
    stands = next(waiting)
    span = next(waiting, None)
    while span is not None and span.end < begin:
        stands, span = span, next(waiting, None)
    out: list[dict[str, Any]] = []
    for end in range(first, last + 1, width):
        spans: list[Span] = []
        while span is not None and span.end < end // 60:
            spans.append(span)
            span = next(waiting, None)
        out.append(_candle(end, spans, stands))
        stands = spans[-1] if spans else stands
    return out


_NAMES: Final = ("open_dollars", "high_dollars", "low_dollars", "close_dollars")


def _merged(parts: list[list[int]]) -> dict[str, str]:
    values = (parts[0][0], max(p[1] for p in parts), min(p[2] for p in parts), parts[-1][3])
    return {name: format_price(value) for name, value in sorted(zip(_NAMES, values, strict=True))}


def _candle(end_s: int, spans: list[Span], stands: Span) -> dict[str, Any]:
    prices = [span.price for span in spans if span.price is not None]
    volume = sum(span.volume_e2 for span in spans)
    price: dict[str, str | None] = {}
    if prices:
        price.update(_merged(prices))
        price["mean_dollars"] = format_price(sum(span.notional for span in spans) // volume)
    if stands.last_e4:
        price["previous_dollars"] = format_price(stands.last_e4)
    bids, asks = ([[quote[3]] * 4] for quote in (stands.bid, stands.ask))
    return {
        "end_period_ts": end_s,
        "open_interest_fp": format_count((spans[-1] if spans else stands).open_interest_e2),
        "price": price,
        "volume_fp": format_count(volume),
        "yes_ask": _merged(asks + [span.ask for span in spans]),
        "yes_bid": _merged(bids + [span.bid for span in spans]),
    }


# Trades -----------------------------------------------------------------------------------------------

Place = tuple[int, str]
"""A trade's place among all trades: (time_ms, a text that orders those of one time)."""


def place_of(trade: Trade) -> Place:
    """Return a trade's place."""
    number = f"~{trade.number:015d}" if trade.number > 0 else f"{trade.market.ticker}.{-trade.number:06d}"
    return trade.time_ms, number


def newest(market: Market, before: Place | None, low_ms: int, high_ms: int) -> Iterator[Trade]:
    """Yield a market's trades in [low_ms, high_ms], the latest first, from `before` (exclusive) on."""
    if before is not None:
        high_ms = min(high_ms, before[0])
    for trade in chain(_recorded(market, low_ms), _of_the_past(market, high_ms)):
        if trade.time_ms < low_ms:
            return
        if trade.time_ms <= high_ms and (before is None or place_of(trade) < before):
            yield trade


def _recorded(market: Market, low_ms: int) -> Iterator[Trade]:
    record: Record | None = market.record
    for deal in record.newest() if record is not None else ():
        if deal.time_ms < low_ms:
            return
        taker, trade_id = "yes" if deal.bought_yes else "no", str(UUID(bytes=deal.trade_id))
        yield Trade(trade_id, market, deal.price_e4, deal.count_e2, taker, deal.time_ms, deal.number)


def _of_the_past(market: Market, high_ms: int) -> Iterator[Trade]:
    past = market.past
    if past is None:
        return
    for number in range(past.at(high_ms), 0, -1):
        moment, trade_id = past.moment(number), past.trade_id(number)
        yield Trade(trade_id, market, moment.price_e4, moment.count_e2, moment.taker, moment.time_ms, -number)


def newest_of_all(
    markets: Iterable[Market], before: Place | None, low_ms: int, high_ms: int
) -> Iterator[Trade]:
    """Yield the trades of many markets, the latest first."""
    return merge(*(newest(market, before, low_ms, high_ms) for market in markets), key=place_of, reverse=True)
