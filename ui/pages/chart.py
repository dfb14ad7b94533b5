"""A market's price history as a drawing: from Kalshi's candlesticks to points of a picture."""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from markets.errors import BadRecord
from markets.json.decoding import JSON_FAULTS
from markets.records import Candles
from markets.units import PRICE_ONE_E4, parse_price_e4

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


_split: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode: Final = msgspec.json.Decoder(_CandleWire).decode


class History(msgspec.Struct, frozen=True):
    """The picture and what is written beside it.

    Attributes:
        line: "x,y x,y" through the middles of bid and ask at the end of each candlestick.
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
    period_s: int
    as_of_ms: int

    @property
    def change_e4(self) -> int:
        return self.last_e4 - self.first_e4


def history(candles: Candles, fills_ms: Iterable[int]) -> History | None:
    """Return the picture of candlesticks; None if fewer than two have a bid and an ask."""
    points = [point for candle in _split(candles.raw) if (point := _point(candle)) is not None]
    if len(points) < 2:
        return None
    begin_s, end_s = points[0][0], points[-1][0]
    if end_s <= begin_s:
        return None
    middles = [(bid + ask) // 2 for _, bid, ask in points]
    low, high = min(middles), max(middles)
    bottom, top = min(bid for _, bid, _ in points), max(ask for _, _, ask in points)
    if top - bottom < LEAST_E4:
        bottom = min(max(0, (bottom + top - LEAST_E4) // 2), PRICE_ONE_E4 - LEAST_E4)
        top = bottom + LEAST_E4

    def x(time_s: float) -> float:
        return round(WIDTH * (time_s - begin_s) / (end_s - begin_s), 1)

    def y(price_e4: int) -> float:
        return round(HEIGHT * (top - price_e4) / (top - bottom), 1)

    above = [f"{x(time)},{y(ask)}" for time, _, ask in points]
    below = [f"{x(time)},{y(bid)}" for time, bid, _ in reversed(points)]
    return History(
        line=" ".join(f"{x(time)},{y(middle)}" for (time, _, _), middle in zip(points, middles, strict=True)),
        band=" ".join(above + below),
        marks=tuple(x(ms / 1000) for ms in fills_ms if begin_s <= ms / 1000 <= end_s),
        bottom_e4=bottom,
        top_e4=top,
        begin_ms=begin_s * 1000,
        end_ms=end_s * 1000,
        first_e4=middles[0],
        last_e4=middles[-1],
        low_e4=low,
        high_e4=high,
        period_s=candles.period_s,
        as_of_ms=candles.as_of_ms,
    )


def _point(raw: msgspec.Raw) -> tuple[int, int, int] | None:
    """Return (end, bid, ask) of a candlestick; None without both.

    A side that nobody was on stands at 0 or 1: half way between those is no price.
    """
    try:
        candle = _decode(raw)
        bid, ask = (parse_price_e4(side.close_dollars) for side in (candle.yes_bid, candle.yes_ask))
    except (*JSON_FAULTS, BadRecord):
        return None
    return (candle.end_period_ts, bid, ask) if bid > 0 and ask < PRICE_ONE_E4 else None
