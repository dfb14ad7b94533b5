"""How a market's price moved, as a drawing: of what was heard, and before it of Kalshi's hours."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import msgspec

from bus.market_history import HistoryQuote, MarketHistory
from markets.errors import BadRecord
from markets.json.decoding import JSON_FAULTS
from markets.records import Candles
from markets.units import DAY_MS, HOUR_MS, MINUTE_MS, PRICE_ONE_E4, parse_price_e4

WIDTH: Final = 1_000
HEIGHT: Final = 200
"""Size of the picture in its own units; the page stretches it."""

LEAST_E4: Final = 400
"""A picture spans at least 4 cents: a quiet market looks quiet."""


class _SideWire(msgspec.Struct):
    close_dollars: str


class _CandleWire(msgspec.Struct):
    end_period_ts: int
    yes_bid: _SideWire
    yes_ask: _SideWire


POINTS_MAX: Final = 900
"""More are not told apart."""

SPANS_MS: Final = {"15m": 15 * MINUTE_MS, "1h": HOUR_MS, "6h": 6 * HOUR_MS, "1d": DAY_MS, "1w": 7 * DAY_MS}
SPAN: Final = "6h"
"""How far back a picture may go, and does unless it is asked for another."""


class Point(NamedTuple):
    """Best bid and ask of YES from a time on."""

    time_ms: int
    bid_e4: int
    ask_e4: int


_split: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode: Final = msgspec.json.Decoder(_CandleWire).decode


class History(msgspec.Struct, frozen=True):
    """The picture and what is written beside it.

    Attributes:
        line: "x,y x,y" through the middles of bid and ask.
        band: outline of what lay between bid and ask.
        marks: x of each of the trader's fills.
        bottom_e4, top_e4: prices at the lower and upper edge.
        change_e4: last middle less the first.
    """

    line: str
    band: str
    marks: Sequence[float]
    bottom_e4: int
    top_e4: int
    begin_ms: int
    end_ms: int
    first_e4: int
    last_e4: int
    low_e4: int
    high_e4: int

    @property
    def change_e4(self) -> int:
        return self.last_e4 - self.first_e4


def points_of(
    candles: Candles | None, past: MarketHistory | None, now: Point | None, start_ms: int
) -> list[Point]:
    """Return how a market's prices stood from `start_ms` on.

    Args:
        candles: hours, which tell of what was before `past`. now: how they stand.
    """
    begin_ms = past.quotes_begin_ms if past is not None else None
    found = [
        Point(max(point.time_ms, start_ms), point.bid_e4, point.ask_e4)
        for point in (map(_heard, past.quotes) if past is not None else ())
        if point is not None
    ]
    first_ms = max(begin_ms or 0, found[0].time_ms if found else 0)
    earlier = (_point(candle) for candle in (_split(candles.raw) if candles is not None else ()))
    hours = [
        point
        for point in earlier
        if point is not None and point.time_ms >= start_ms and (begin_ms is None or point.time_ms < first_ms)
    ]
    if hours:
        found = [point for point in found if point.time_ms >= hours[-1].time_ms]
    if now is not None and (not found or now.time_ms > found[-1].time_ms):
        found.append(now)
    return hours + _thinned(_in_steps(found))


def history(points: Sequence[Point], fills_ms: Iterable[int]) -> History | None:
    """Return the picture of prices as they stood; None if fewer than two have a bid and an ask."""
    points = [point for point in points if point.bid_e4 > 0 and point.ask_e4 < PRICE_ONE_E4]
    if len(points) < 2:
        return None
    begin_ms, end_ms = points[0].time_ms, points[-1].time_ms
    if end_ms <= begin_ms:
        return None
    middles = [(point.bid_e4 + point.ask_e4) // 2 for point in points]
    low, high = min(middles), max(middles)
    bottom, top = min(point.bid_e4 for point in points), max(point.ask_e4 for point in points)
    if top - bottom < LEAST_E4:
        bottom = min(max(0, (bottom + top - LEAST_E4) // 2), PRICE_ONE_E4 - LEAST_E4)
        top = bottom + LEAST_E4

    def x(time_ms: int) -> float:
        return round(WIDTH * (time_ms - begin_ms) / (end_ms - begin_ms), 1)

    def y(price_e4: int) -> float:
        return round(HEIGHT * (top - price_e4) / (top - bottom), 1)

    above = [f"{x(point.time_ms)},{y(point.ask_e4)}" for point in points]
    below = [f"{x(point.time_ms)},{y(point.bid_e4)}" for point in reversed(points)]
    line = [f"{x(point.time_ms)},{y(middle)}" for point, middle in zip(points, middles, strict=True)]
    return History(
        line=" ".join(line),
        band=" ".join(above + below),
        marks=tuple(x(ms) for ms in fills_ms if begin_ms <= ms <= end_ms),
        bottom_e4=bottom,
        top_e4=top,
        begin_ms=begin_ms,
        end_ms=end_ms,
        first_e4=middles[0],
        last_e4=middles[-1],
        low_e4=low,
        high_e4=high,
    )


def _in_steps(points: Sequence[Point]) -> list[Point]:
    """Return points between which a line is straight: a price stands until the next one comes."""
    steps = list(points[:1])
    for before, after in pairwise(points):
        if after.time_ms > before.time_ms + 1:
            steps.append(before._replace(time_ms=after.time_ms - 1))
        steps.append(after)
    return steps


def _thinned(points: list[Point]) -> list[Point]:
    """Return what a picture can show: of each part of the time the last, the highest and the lowest."""
    if len(points) <= POINTS_MAX:
        return points
    begin_ms, span_ms = points[0].time_ms, points[-1].time_ms - points[0].time_ms + 1
    parts: dict[int, list[Point]] = {}
    for point in points:
        parts.setdefault((point.time_ms - begin_ms) * (POINTS_MAX // 3) // span_ms, []).append(point)
    kept: list[Point] = []
    for part in parts.values():
        ends = {min(part, key=_by_bid), max(part, key=_by_bid), part[-1]}
        kept += sorted(ends, key=lambda point: point.time_ms)
    return kept


def _by_bid(point: Point) -> int:
    return point.bid_e4


def _heard(quote: HistoryQuote) -> Point | None:
    """Return a quote as a point; None without both sides."""
    if quote.bid_size_e2 <= 0 or quote.ask_size_e2 <= 0:
        return None
    return Point(quote.time_ms, quote.bid_e4, quote.ask_e4)


def _point(raw: msgspec.Raw) -> Point | None:
    """Return what stood at the end of a candlestick; None without both sides.

    A side that nobody was on stands at 0 or 1: half way between those is no price.
    """
    try:
        candle = _decode(raw)
        bid, ask = (parse_price_e4(side.close_dollars) for side in (candle.yes_bid, candle.yes_ask))
    except (*JSON_FAULTS, BadRecord):
        return None
    return Point(candle.end_period_ts * 1000, bid, ask) if bid > 0 and ask < PRICE_ONE_E4 else None
