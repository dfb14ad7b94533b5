"""From candlesticks to a picture."""

import json
from typing import Any

from markets.records import Candles
from ui.pages.chart import HEIGHT, LEAST_E4, WIDTH, history


def candles(*points: tuple[int, str | None, str | None]) -> Candles:
    def side(price: str | None) -> dict[str, Any]:
        return {} if price is None else {"close_dollars": price}

    sent = [{"end_period_ts": at, "yes_bid": side(bid), "yes_ask": side(ask)} for at, bid, ask in points]
    return Candles("T", 5, 3_600, json.dumps(sent).encode())


def test_the_line_goes_through_the_middles_and_the_band_between_bid_and_ask() -> None:
    drawn = history(candles((0, "0.40", "0.50"), (3_600, None, "0.60"), (7_200, "0.50", "0.60")), [3_600_000])
    assert drawn is not None
    assert (drawn.bottom_e4, drawn.top_e4) == (4_000, 6_000)
    assert drawn.line == f"0.0,{HEIGHT * 0.75} {WIDTH}.0,{HEIGHT * 0.25}"
    assert drawn.band == f"0.0,100.0 {WIDTH}.0,0.0 {WIDTH}.0,100.0 0.0,{HEIGHT}.0"
    assert drawn.marks == (WIDTH / 2,)
    assert (drawn.first_e4, drawn.last_e4, drawn.change_e4) == (4_500, 5_500, 1_000)


def test_what_is_bought_before_or_after_is_not_marked() -> None:
    drawn = history(candles((10, "0.40", "0.50"), (20, "0.40", "0.50")), [9_999, 20_001])
    assert drawn is not None
    assert drawn.marks == ()


def test_a_quiet_market_looks_quiet_and_stays_within_a_dollar() -> None:
    drawn = history(candles((0, "0.001", "0.002"), (60, "0.001", "0.002")), [])
    assert drawn is not None
    assert (drawn.bottom_e4, drawn.top_e4) == (0, LEAST_E4)


def test_too_little_is_no_picture() -> None:
    assert history(candles(), []) is None
    assert history(candles((0, "0.4", "0.5"), (60, "nonsense", "0.5"), (120, None, None)), []) is None


def test_half_way_between_nobody_and_nobody_is_no_price() -> None:
    empty = [
        (60 * n, bid, ask)
        for n, (bid, ask) in enumerate([("0.00", "1.00"), ("0.20", "1.00"), ("0.00", "0.30")])
    ]
    drawn = history(candles(*empty, (180, "0.20", "0.22"), (240, "0.20", "0.24")), [])
    assert drawn is not None
    assert (drawn.first_e4, drawn.last_e4, drawn.begin_ms) == (2_100, 2_200, 180_000)
    assert history(candles(*empty), []) is None


def test_no_edge_is_beyond_a_dollar_and_no_time_stands_still() -> None:
    drawn = history(candles((0, "0.98", "0.99"), (60, "0.98", "0.99")), [])
    assert drawn is not None
    assert (drawn.bottom_e4, drawn.top_e4) == (10_000 - LEAST_E4, 10_000)
    assert history(candles((60, "0.40", "0.50"), (60, "0.40", "0.50")), []) is None
