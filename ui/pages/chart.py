"""A market's price over time: from our own history, and before it from Kalshi's candlesticks.

A price holds until the next point; a side without orders is None. Columns are floats, for display only:
cents, seconds, contracts.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import msgspec

from bus.market_history import HistoryQuote, MarketHistory
from markets.errors import BadRecord
from markets.json.books import Candlestick, candlesticks
from markets.records import Candles
from markets.units import DAY_MS, HOUR_MS, MINUTE_MS, PRICE_ONE_E4

WIDTH: Final = 1_000
HEIGHT: Final = 200
"""Size of the picture in its own units; the page scales it."""

LEAST_E4: Final = 400
"""A picture spans at least 4 cents, so that a quiet market looks quiet."""

POINTS_MAX: Final = 900
"""More could not be told apart."""

VOLUME_BARS: Final = 60

ALL: Final = "all"
SPANS_MS: Final = {
    "15m": 15 * MINUTE_MS, "1h": HOUR_MS, "6h": 6 * HOUR_MS, "1d": DAY_MS, "1w": 7 * DAY_MS,
    ALL: 400 * DAY_MS,
}  # fmt: skip
SPAN: Final = "6h"
"""How far back a picture can go, and how far it goes by default."""

LENGTHS_MS: Final = (MINUTE_MS, HOUR_MS, DAY_MS)
"""Lengths of candlesticks, shortest first."""

OUTCOMES_MAX: Final = 12
"""Most lines in one picture."""


class Point(NamedTuple):
    """Best bid and ask of YES from a time on; None if there are no bids, or no offers."""

    time_ms: int
    bid_e4: int | None
    ask_e4: int | None

    @property
    def middle_e4(self) -> float | None:
        return None if self.bid_e4 is None or self.ask_e4 is None else (self.bid_e4 + self.ask_e4) / 2


class Line(msgspec.Struct, frozen=True):
    """A market's prices as columns, oldest first.

    Attributes:
        time: seconds. bid, ask, middle: cents.
        begins: when our own history begins (seconds), None if there is none. Points before it come from
            candlesticks.
        holes: (from, to) in seconds, in which changes may have been missed.
    """

    time: list[float]
    bid: list[float | None]
    ask: list[float | None]
    middle: list[float | None]
    begins: float | None
    holes: list[tuple[float, float]]


class Volume(msgspec.Struct, frozen=True):
    """Contracts traded in periods of `width` seconds, each with the time at which it begins."""

    width: float
    time: list[float]
    count: list[float]


class Picture(NamedTuple):
    """A drawing of a line in units of WIDTH and HEIGHT.

    Attributes:
        line: "x,y x,y" through the midpoints of bid and ask.
        band: outline of the area between bid and ask.
        bottom_e4, top_e4: prices at the lower and upper edges.
    """

    line: str
    band: str
    bottom_e4: int
    top_e4: int


def start_of(span: str, now_ms: int, opened_ms: int | None) -> int:
    """Return where a picture begins.

    Raises:
        BadRecord: there is no such span.
    """
    if span not in SPANS_MS:
        raise BadRecord("chart", span, "one of " + ", ".join(SPANS_MS))
    return max(now_ms - SPANS_MS[span], opened_ms or 0)


def points_of(candles: Candles | None, past: MarketHistory | None, now: Point, start_ms: int) -> list[Point]:
    """Return a market's prices from `start_ms` on.

    Args:
        candles: cover the time before `past`.
        now: the present prices, which make the last point; anything later than this moment is left out.
    """
    begin_ms = past.quotes_begin_ms if past is not None else None
    heard = [
        Point(max(point.time_ms, start_ms), point.bid_e4, point.ask_e4)
        for point in (map(_heard, past.quotes) if past is not None else ())
        if point.time_ms < now.time_ms
    ]
    first_ms = now.time_ms if not heard else max(begin_ms or 0, heard[0].time_ms)
    found: list[Point] = []
    for sent in _by_length(candles):  # the finest first, since it is exact as far back as it goes
        points = [point for point in map(_closed, sent) if point is not None]
        found = [point for point in points if start_ms <= point.time_ms < first_ms] + found
        first_ms = min([first_ms, *(point.time_ms for point in points)])
    return _thinned([*found, *_without_repeats(heard), now])


def line_of(points: Sequence[Point], past: MarketHistory | None, start_ms: int) -> Line:
    """Return points as columns, with a gap for each hole."""
    holes = [] if past is None else [hole for hole in past.quotes_holes if hole[1] > start_ms]
    rows = list(points)
    for from_ms, to_ms in holes:
        rows = _with_gap(rows, max(from_ms, start_ms), to_ms)
    begin_ms = past.quotes_begin_ms if past is not None else None
    return Line(
        time=[row.time_ms / 1000 for row in rows],
        bid=[_cents(row.bid_e4) for row in rows],
        ask=[_cents(row.ask_e4) for row in rows],
        middle=[_cents(row.middle_e4) for row in rows],
        begins=None if begin_ms is None else begin_ms / 1000,
        holes=[(max(from_ms, start_ms) / 1000, to_ms / 1000) for from_ms, to_ms in holes],
    )


def volume_of(
    candles: Candles | None, past: MarketHistory | None, volume_e2: int | None, start_ms: int, now_ms: int
) -> Volume:
    """Return the contracts traded in equal periods from `start_ms` on.

    Args:
        volume_e2: the total volume now, which adds what was traded since the last point.
    """
    width_ms = max(1, -(-(now_ms - start_ms) // VOLUME_BARS))
    counts: dict[int, int] = {}

    def add(time_ms: int, count_e2: int) -> None:
        if start_ms <= time_ms <= now_ms and count_e2 > 0:
            bar = min((time_ms - start_ms) // width_ms, VOLUME_BARS - 1)
            counts[bar] = counts.get(bar, 0) + count_e2

    known: list[tuple[int, int]] = []
    if past is not None:
        known += [(quote.time_ms, quote.volume_e2) for quote in past.quotes if quote.volume_e2 is not None]
    if volume_e2 is not None:
        known.append((now_ms, volume_e2))
    for (_, before_e2), (time_ms, after_e2) in pairwise(known):
        add(time_ms, after_e2 - before_e2)
    first_ms = known[0][0] if known else now_ms
    for length_ms, sent in zip(LENGTHS_MS, _by_length(candles), strict=False):
        ended = [(one.end_ms, one.volume_e2 or 0) for one in sent if one.end_ms is not None]
        for end_ms, count_e2 in ended:
            if end_ms <= first_ms:
                add(end_ms - 1, count_e2)
        first_ms = min([first_ms, *(end_ms - length_ms for end_ms, _ in ended)])
    return Volume(
        width=width_ms / 1000,
        time=[(start_ms + bar * width_ms) / 1000 for bar in range(VOLUME_BARS)],
        count=[counts.get(bar, 0) / 100 for bar in range(VOLUME_BARS)],
    )


def picture(points: Sequence[Point]) -> Picture | None:
    """Return a drawing of prices; None if fewer than two have a bid and an ask."""
    known = [
        (point.time_ms, point.bid_e4, point.ask_e4)
        for point in _in_steps(points)
        if point.bid_e4 is not None and point.ask_e4 is not None
    ]
    if len(known) < 2 or known[-1][0] <= known[0][0]:
        return None
    begin_ms, end_ms = known[0][0], known[-1][0]
    bottom, top = min(bid for _, bid, _ in known), max(ask for _, _, ask in known)
    if top - bottom < LEAST_E4:
        bottom = min(max(0, (bottom + top - LEAST_E4) // 2), PRICE_ONE_E4 - LEAST_E4)
        top = bottom + LEAST_E4

    def at(time_ms: int, price_e4: float) -> str:
        x = WIDTH * (time_ms - begin_ms) / (end_ms - begin_ms)
        return f"{round(x, 1)},{round(HEIGHT * (top - price_e4) / (top - bottom), 1)}"

    above = [at(time_ms, ask) for time_ms, _, ask in known]
    below = [at(time_ms, bid) for time_ms, bid, _ in reversed(known)]
    middles = [at(time_ms, (bid + ask) / 2) for time_ms, bid, ask in known]
    return Picture(" ".join(middles), " ".join(above + below), bottom, top)


def _cents(price_e4: float | None) -> float | None:
    return None if price_e4 is None else price_e4 / 100


def _with_gap(points: list[Point], begin_ms: int, end_ms: int) -> list[Point]:
    """Return points with a gap from `begin_ms` to `end_ms`."""
    before = [point for point in points if point.time_ms <= begin_ms]
    after = [point for point in points if point.time_ms >= end_ms]
    if not before or not after:
        return points
    found = [*before, Point(begin_ms + 1, None, None)]
    if after[0].time_ms > end_ms:  # unchanged: a change during the gap would show as a point at its end
        found.append(before[-1]._replace(time_ms=end_ms))
    return found + after


def _in_steps(points: Sequence[Point]) -> list[Point]:
    """Return points that make a line step, since a price holds until the next one."""
    steps = list(points[:1])
    for before, after in pairwise(points):
        if after.time_ms > before.time_ms + 1:
            steps.append(before._replace(time_ms=after.time_ms - 1))
        steps.append(after)
    return steps


def _without_repeats(points: Iterable[Point]) -> list[Point]:
    """Return the points that differ from the previous one in price; sizes are not drawn."""
    found: list[Point] = []
    for point in points:
        if not found or point[1:] != found[-1][1:]:
            found.append(point)
    return found


def _thinned(points: list[Point]) -> list[Point]:
    """Return as many points as a picture can show: the last, highest and lowest of each part of the time."""
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
    return -1 if point.bid_e4 is None else point.bid_e4


def _heard(quote: HistoryQuote) -> Point:
    return Point(
        quote.time_ms,
        quote.bid_e4 if quote.bid_size_e2 > 0 else None,
        quote.ask_e4 if quote.ask_size_e2 > 0 else None,
    )


def _by_length(candles: Candles | None) -> list[list[Candlestick]]:
    """Return lists of candlesticks, the shortest first."""
    found: list[list[Candlestick]] = []
    for raw in () if candles is None else (candles.minutes, candles.raw, candles.days):
        try:
            found.append(candlesticks(raw))
        except BadRecord:
            found.append([])
    return found


def _closed(candle: Candlestick) -> Point | None:
    """Return the prices at the end of a candlestick; None if it does not give them.

    A side without orders is given as 0 or 1, which is not a price.
    """
    bid, ask = candle.yes_bid_close_e4, candle.yes_ask_close_e4
    if candle.end_ms is None or bid is None or ask is None:
        return None
    return Point(candle.end_ms, bid if bid > 0 else None, ask if ask < PRICE_ONE_E4 else None)
