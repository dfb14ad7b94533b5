"""Kalshi's candlesticks: its own if they are here, otherwise built from what happened here."""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import msgspec

from markets.errors import BadRecord
from markets.json.decoding import JSON_FAULTS, members_of
from markets.records import Candles, Market
from markets.units import PRICE_ONE_E4, format_count, format_price, parse_count_e2, parse_price_e4
from snapshot_server.history.bars import Bar, Prices, bars, joined
from snapshot_server.history.rows import key_of
from snapshot_server.history.store import MAX_POINTS, Store

MAX_CANDLES: Final = 5_000
MAX_IN_ALL: Final = 10_000
"""The most candlesticks of one market, and of all together, in an answer."""

_PARTS: Final = ("open_dollars", "high_dollars", "low_dollars", "close_dollars")
_NULL: Final = msgspec.Raw(b"null")
_raws: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode: Final = msgspec.json.Encoder().encode


class _CandleEnd(msgspec.Struct):
    end_period_ts: int


_candle_end: Final = msgspec.json.Decoder(_CandleEnd)


class Span(NamedTuple):
    """What is asked for: Unix seconds, seconds, and whether the last one before `start_s` is wanted too."""

    start_s: int
    end_s: int
    width_s: int
    before: bool = False


def known_from(market: Market, held: Candles | None, history: Store, span: Span) -> int | None:
    """Return the second from which everything in a span is known; None if nothing of it is."""
    begin_ms = history.quotes.begin_ms(key_of(market.ticker))
    sent = _sent_ends(held, span.width_s)
    if begin_ms is not None:
        holes = history.quotes.holes(max(begin_ms, span.start_s * 1000), span.end_s * 1000)
        begin_ms = max([begin_ms, *(end for _, end in holes)])
    if held is not None and sent and (begin_ms is None or held.as_of_ms >= begin_ms):
        begin_ms = (sent[0] - span.width_s) * 1000
    if begin_ms is None or begin_ms >= span.end_s * 1000:
        return None
    return begin_ms // 1000


def make(market: Market, held: Candles | None, history: Store, span: Span, now_ms: int) -> list[bytes]:
    """Return the candlesticks of a market that end within a span, as JSON.

    Kalshi's own, as sent, for periods that were over when fetched; for others, from what was heard here.
    Periods before the opening, after the close and after now do not exist.
    """
    width, opens_ms = span.width_s, opened_ms(market)
    closes_ms = now_ms if market.close_ms is None else min(now_ms, market.close_ms)
    first = -(-max(span.start_s, opens_ms // 1000 + 1) // width) * width
    last = min(span.end_s // width, -(-closes_ms // (1000 * width))) * width
    heard, whole_s = _heard(market.ticker, history, range(first - width, last + 1, width), opens_ms)
    found = _sent(held, width)
    over_s = held.as_of_ms // 1000 if held is not None else 0
    for end_s, bar in heard.items():
        # One of Kalshi's own that was not over when fetched is less than what was heard of its period.
        if end_s not in found or (end_s > over_s and end_s - width >= whole_s):
            found[end_s] = _json(bar)
    within = [found[end_s] for end_s in sorted(found) if span.start_s <= end_s <= span.end_s]
    earlier = max((end_s for end_s in found if end_s < span.start_s), default=None)
    if span.before and earlier is not None:
        within.insert(0, carried_on(found[earlier], span.start_s, width))
    return within


def opened_ms(market: Market) -> int:
    """Return when a market opened, if known."""
    return market.open_ms if market.open_ms is not None else market.created_ms or 0


def carried_on(raw: bytes, start_s: int, width_s: int) -> bytes:
    """Return a candle carried on to the first end of a period after `start_s`, as Kalshi documents it.

    Nothing was traded in it: the last close is the previous price, and what was bid and asked.
    """
    candle = members_of(msgspec.Raw(raw), "candlestick")
    price = _members_in(candle.get("price"))
    closed, earlier = price.get("close_dollars", _NULL), price.get("previous_dollars", _NULL)
    last = earlier if bytes(closed) == b"null" else closed
    carried: dict[str, object] = candle | {
        "end_period_ts": (start_s // width_s + 1) * width_s,
        "price": dict.fromkeys(_PARTS) | {"previous_dollars": last},
        "volume_fp": "0.00",
    }
    for side in ("yes_bid", "yes_ask"):
        if quoted := _members_in(candle.get(side)):
            carried[side] = dict.fromkeys(quoted, quoted.get("close_dollars"))
    return _encode(carried)


def _heard(ticker: str, history: Store, ends_s: range, opens_ms: int) -> tuple[dict[int, Bar], int]:
    """Return what was heard in periods, by their end, and the second from which it is complete."""
    if not ends_s:
        return {}, 0
    width, begin_ms = ends_s.step, (ends_s[0] - ends_s.step) * 1000
    known = history.history(ticker, begin_ms, ends_s[-1] * 1000, MAX_POINTS)
    from_ms = known.quotes_begin_ms
    if from_ms is None or not known.quotes:
        return {}, 0
    whole_ms = from_ms if from_ms > opens_ms else begin_ms
    if known.quotes_more:
        from_ms = whole_ms = max(whole_ms, known.quotes[0].time_ms)
    if known.quotes_holes:
        whole_ms = max(whole_ms, known.quotes_holes[-1][1])
    trades_ms = known.trades_begin_ms
    if trades_ms is not None:
        trades_ms = max([trades_ms, *(end for _, end in known.trades_holes)])
        if known.trades_more:
            trades_ms = max(trades_ms, known.trades[0].time_ms)
    heard_s = [end_s for end_s in ends_s if end_s * 1000 > from_ms]
    made = bars(known.quotes, known.trades, trades_ms, heard_s, width)
    return {bar.end_s: bar for bar in made}, -(-whole_ms // 1000)


def _sent_ends(held: Candles | None, width_s: int) -> list[int]:
    if held is None or width_s % held.period_s:
        return []
    return sorted(_sent(held, width_s))


def _sent(held: Candles | None, width_s: int) -> dict[int, bytes]:
    """Return Kalshi's own candlesticks by their end; of a longer period made of those of shorter ones."""
    if held is None or width_s % held.period_s:
        return {}
    sent = {_end_of(raw): bytes(raw) for raw in _raws(held.raw)}
    if held.period_s == width_s:
        return sent
    parts: dict[int, list[Bar]] = {}
    for end_s in sorted(sent):
        parts.setdefault(-(-end_s // width_s) * width_s, []).append(_bar(end_s, sent[end_s]))
    begin_s = min(sent, default=0) - held.period_s
    return {
        end_s: _json(joined(found, end_s)) for end_s, found in parts.items() if end_s - width_s >= begin_s
    }


def _bar(end_s: int, raw: bytes) -> Bar:
    """Return what a candlestick of Kalshi's says; None for odd values."""
    try:
        candle = members_of(msgspec.Raw(raw), "candlestick")
    except BadRecord:
        candle = {}
    sides = {name: _members_in(candle.get(name)) for name in ("yes_bid", "yes_ask", "price")}
    volume = _known(parse_count_e2, candle.get("volume_fp")) or 0
    price = _prices(sides["price"])
    mean = _known(parse_price_e4, sides["price"].get("mean_dollars"))
    return Bar(
        end_s,
        _prices(sides["yes_bid"]),
        _prices(sides["yes_ask"]),
        price,
        _known(parse_price_e4, sides["price"].get("previous_dollars")),
        volume,
        volume * (mean if mean is not None else price[3] if price is not None else 0),
        _known(parse_count_e2, candle.get("open_interest_fp")),
    )


def _prices(side: Mapping[str, msgspec.Raw]) -> Prices | None:
    opened, high, low, closed = (_known(parse_price_e4, side.get(name)) for name in _PARTS)
    if opened is None or high is None or low is None or closed is None:
        return None
    return opened, high, low, closed


def _known(parse: Callable[[object], int], raw: msgspec.Raw | None) -> int | None:
    try:
        return None if raw is None else parse(msgspec.json.decode(raw))
    except (BadRecord, *JSON_FAULTS):
        return None


def _json(bar: Bar) -> bytes:
    """Return a candlestick as Kalshi sends it."""
    price: dict[str, str] = {}
    if bar.price is not None:
        price = _dollars(bar.price)
        price["mean_dollars"] = format_price(bar.worth // bar.volume_e2 if bar.volume_e2 else bar.price[3])
    if bar.before_e4 is not None:
        price["previous_dollars"] = format_price(bar.before_e4)
    body = {
        "end_period_ts": bar.end_s,
        "open_interest_fp": format_count(bar.interest_e2 or 0),
        "price": price,
        "volume_fp": format_count(bar.volume_e2),
        "yes_ask": _dollars(bar.ask or (PRICE_ONE_E4,) * 4),
        "yes_bid": _dollars(bar.bid or (0, 0, 0, 0)),
    }
    return _encode(body)


def _dollars(prices: Prices) -> dict[str, str]:
    return {name: format_price(price) for name, price in sorted(zip(_PARTS, prices, strict=True))}


def _members_in(raw: msgspec.Raw | None) -> dict[str, msgspec.Raw]:
    try:
        return {} if raw is None else members_of(raw, "candlestick")
    except BadRecord:  # null, or not an object: there is nothing in it
        return {}


def _end_of(raw: msgspec.Raw) -> int:
    return _candle_end.decode(raw).end_period_ts
