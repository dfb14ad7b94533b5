"""From what was heard, and from candlesticks, to a picture."""

import json
from collections.abc import Iterable
from typing import Any

from bus.market_history import HistoryQuote, MarketHistory
from markets.records import Candles
from ui.pages.chart import HEIGHT, LEAST_E4, POINTS_MAX, WIDTH, History, Point, history, points_of


def drawn_of(candles: Candles, fills_ms: Iterable[int] = ()) -> History | None:
    return history(points_of(candles, None, None, 0), fills_ms)


def past(begin_ms: int, *points: tuple[int, int, int]) -> MarketHistory:
    quotes = [HistoryQuote(at, bid, ask, 100, 100, None, None, None, "active") for at, bid, ask in points]
    return MarketHistory("T", quotes, [], begin_ms, None, False, False, [], [])


def candles(*points: tuple[int, str | None, str | None]) -> Candles:
    def side(price: str | None) -> dict[str, Any]:
        return {} if price is None else {"close_dollars": price}

    sent = [{"end_period_ts": at, "yes_bid": side(bid), "yes_ask": side(ask)} for at, bid, ask in points]
    return Candles("T", 5, 3_600, json.dumps(sent).encode())


def test_the_line_goes_through_the_middles_and_the_band_between_bid_and_ask() -> None:
    drawn = drawn_of(
        candles((0, "0.40", "0.50"), (3_600, None, "0.60"), (7_200, "0.50", "0.60")), [3_600_000]
    )
    assert drawn is not None
    assert (drawn.bottom_e4, drawn.top_e4) == (4_000, 6_000)
    assert drawn.line == f"0.0,{HEIGHT * 0.75} {WIDTH}.0,{HEIGHT * 0.25}"
    assert drawn.band == f"0.0,100.0 {WIDTH}.0,0.0 {WIDTH}.0,100.0 0.0,{HEIGHT}.0"
    assert drawn.marks == (WIDTH / 2,)
    assert (drawn.first_e4, drawn.last_e4, drawn.change_e4) == (4_500, 5_500, 1_000)


def test_what_is_bought_before_or_after_is_not_marked() -> None:
    drawn = drawn_of(candles((10, "0.40", "0.50"), (20, "0.40", "0.50")), [9_999, 20_001])
    assert drawn is not None
    assert drawn.marks == ()


def test_a_quiet_market_looks_quiet_and_stays_within_a_dollar() -> None:
    drawn = drawn_of(candles((0, "0.001", "0.002"), (60, "0.001", "0.002")))
    assert drawn is not None
    assert (drawn.bottom_e4, drawn.top_e4) == (0, LEAST_E4)


def test_too_little_is_no_picture() -> None:
    assert drawn_of(candles()) is None
    assert drawn_of(candles((0, "0.4", "0.5"), (60, "nonsense", "0.5"), (120, None, None))) is None


def test_half_way_between_nobody_and_nobody_is_no_price() -> None:
    empty = [
        (60 * n, bid, ask)
        for n, (bid, ask) in enumerate([("0.00", "1.00"), ("0.20", "1.00"), ("0.00", "0.30")])
    ]
    drawn = drawn_of(candles(*empty, (180, "0.20", "0.22"), (240, "0.20", "0.24")))
    assert drawn is not None
    assert (drawn.first_e4, drawn.last_e4, drawn.begin_ms) == (2_100, 2_200, 180_000)
    assert drawn_of(candles(*empty)) is None


def test_no_edge_is_beyond_a_dollar_and_no_time_stands_still() -> None:
    drawn = drawn_of(candles((0, "0.98", "0.99"), (60, "0.98", "0.99")))
    assert drawn is not None
    assert (drawn.bottom_e4, drawn.top_e4) == (10_000 - LEAST_E4, 10_000)
    assert drawn_of(candles((60, "0.40", "0.50"), (60, "0.40", "0.50"))) is None


def test_what_was_heard_is_drawn_in_steps_and_ends_with_how_it_stands() -> None:
    points = points_of(None, past(0, (0, 4_000, 4_200), (100, 5_000, 5_200)), Point(200, 5_100, 5_300), 0)
    assert points == [
        (0, 4_000, 4_200),
        (99, 4_000, 4_200),
        (100, 5_000, 5_200),
        (199, 5_000, 5_200),
        (200, 5_100, 5_300),
    ]
    drawn = history(points, [])
    assert drawn is not None
    assert (drawn.first_e4, drawn.last_e4, drawn.begin_ms, drawn.end_ms) == (4_100, 5_200, 0, 200)


def test_what_stood_before_the_time_asked_for_stands_at_its_beginning() -> None:
    points = points_of(None, past(0, (10, 4_000, 4_200)), Point(9_000, 4_000, 4_200), 5_000)
    assert (points[0], points[-1]) == ((5_000, 4_000, 4_200), (9_000, 4_000, 4_200))


def test_before_what_was_heard_there_are_hours() -> None:
    hours = candles((3_600, "0.40", "0.50"), (7_200, "0.41", "0.51"), (10_800, "0.99", "0.99"))
    points = points_of(hours, past(8_000_000, (8_000_000, 4_500, 4_700)), None, 0)
    assert points == [(3_600_000, 4_000, 5_000), (7_200_000, 4_100, 5_100), (8_000_000, 4_500, 4_700)]


def test_a_picture_of_many_changes_keeps_their_extremes() -> None:
    changes = [(at, 4_000 + at % 7, 4_200) for at in range(20_000)]
    changes[7_777] = (7_777, 100, 4_200)
    points = points_of(None, past(0, *changes), None, 0)
    assert len(points) <= 1.5 * POINTS_MAX
    assert min(point.bid_e4 for point in points) == 100
    assert points == sorted(points, key=lambda point: point.time_ms)
