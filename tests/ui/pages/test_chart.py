"""Lines and a picture, made from our own history and from candlesticks."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bus.market_history import HistoryQuote, MarketHistory
from markets.records import Candles
from ui.pages.chart import (
    HEIGHT,
    LEAST_E4,
    POINTS_MAX,
    VOLUME_BARS,
    WIDTH,
    Picture,
    Point,
    line_of,
    picture,
    points_of,
    start_of,
    volume_of,
)

MINUTE_S, HOUR_S, DAY_S = 60, 3_600, 86_400
NOW = Point(10**9, 4_000, 5_000)


def past(begin_ms: int | None, *points: tuple[int, int, int], **changes: Any) -> MarketHistory:
    quotes = [
        HistoryQuote(at, bid, ask, 100 * (bid > 0), 100 * (ask < 10_000), None, 10 * n, None, "active")
        for n, (at, bid, ask) in enumerate(points)
    ]
    fields: dict[str, Any] = {"quotes_holes": [], "quotes_begin_ms": begin_ms} | changes
    return MarketHistory(
        ticker="T",
        quotes=quotes,
        trades=[],
        trades_begin_ms=None,
        quotes_more=False,
        trades_more=False,
        trades_holes=[],
        **fields,
    )


def sent(*points: tuple[Any, str | None, str | None], volume: str = "1.00") -> bytes:
    def side(price: str | None) -> dict[str, Any]:
        return {} if price is None else {"close_dollars": price}

    return json.dumps(
        [
            {"end_period_ts": at, "yes_bid": side(bid), "yes_ask": side(ask), "volume_fp": volume}
            for at, bid, ask in points
        ]
    ).encode()


def candles(hours: bytes = b"[]", minutes: bytes = b"[]", days: bytes = b"[]") -> Candles:
    return Candles("T", 5, HOUR_S, hours, minutes, days)


def drawn(*points: tuple[int, int | None, int | None]) -> Picture | None:
    return picture([Point(*point) for point in points])


def test_the_picture_steps_through_the_midpoints_with_a_band_from_bid_to_ask() -> None:
    found = drawn((0, 4_000, 5_000), (5_000, None, 6_000), (10_000, 5_000, 6_000))

    assert found is not None
    assert (found.bottom_e4, found.top_e4) == (4_000, 6_000)
    assert found.line == f"0.0,{HEIGHT * 0.75} 499.9,{HEIGHT * 0.75} {WIDTH}.0,{HEIGHT * 0.25}"


def test_a_quiet_market_looks_quiet_and_stays_within_a_dollar() -> None:
    low, high = drawn((0, 10, 20), (60, 10, 20)), drawn((0, 9_800, 9_900), (60, 9_800, 9_900))

    assert low is not None
    assert high is not None
    assert (low.bottom_e4, low.top_e4) == (0, LEAST_E4)
    assert (high.bottom_e4, high.top_e4) == (10_000 - LEAST_E4, 10_000)


def test_too_few_points_make_no_picture() -> None:
    assert drawn() is None
    assert drawn((0, 4_000, 5_000)) is None
    assert drawn((0, 4_000, 5_000), (1, None, 5_000)) is None
    assert drawn((60, 4_000, 5_000), (60, 4_000, 5_000)) is None


def test_the_last_point_is_the_present_price_whatever_the_history() -> None:
    heard = past(0, (0, 4_000, 4_200), (100, 5_000, 5_200), (300, 1, 2))

    found = points_of(None, heard, Point(200, 5_100, None), 0)

    assert found == [(0, 4_000, 4_200), (100, 5_000, 5_200), (200, 5_100, None)]
    assert line_of(found, heard, 0).middle == [41.0, 51.0, None]


def test_the_price_before_the_wanted_time_holds_at_its_beginning() -> None:
    found = points_of(None, past(0, (10, 4_000, 4_200)), Point(9_000, 4_000, 4_200), 5_000)

    assert found == [(5_000, 4_000, 4_200), (9_000, 4_000, 4_200)]


def test_a_market_listed_for_a_minute_has_a_line() -> None:
    listed_ms = 60_000
    now = Point(120_000, 4_000, 4_200)

    found = points_of(None, past(10_000, (listed_ms, 4_000, 4_200)), now, start_of("6h", 120_000, listed_ms))

    assert [point.time_ms for point in found] == [60_000, 120_000]


def test_before_our_own_history_come_minutes_then_hours_then_days() -> None:
    days = sent((0, "0.10", "0.20"), (DAY_S, "0.11", "0.21"), (2 * DAY_S, "0.98", "0.99"))
    hours = sent((DAY_S + HOUR_S, "0.30", "0.40"), (DAY_S + 2 * HOUR_S, "0.98", "0.99"))
    minutes = sent(
        (DAY_S + HOUR_S + MINUTE_S, "0.50", "0.60"), (DAY_S + HOUR_S + 2 * MINUTE_S, "0.98", "0.99")
    )
    heard_ms = (DAY_S + HOUR_S + MINUTE_S + 30) * 1000

    heard = past(heard_ms, (heard_ms, 7_000, 8_000))
    found = points_of(candles(hours, minutes, days), heard, NOW._replace(time_ms=heard_ms + 9), 0)

    assert [(point.time_ms // 1000, point.bid_e4) for point in found] == [
        (0, 1_000),
        (DAY_S, 1_100),
        (DAY_S + HOUR_S, 3_000),
        (DAY_S + HOUR_S + MINUTE_S, 5_000),
        (heard_ms // 1000, 7_000),
        (heard_ms // 1000, 4_000),
    ]


def test_a_side_without_orders_is_not_a_price() -> None:
    hours = sent((60, "0.00", "1.00"), (120, "0.20", "1.00"), (180, "0.00", "0.30"), (240, None, "0.30"))

    found = points_of(candles(hours), None, NOW, 0)

    assert found == [(60_000, None, None), (120_000, 2_000, None), (180_000, None, 3_000), NOW]


def test_a_hole_in_the_history_is_a_gap_in_the_line() -> None:
    heard = past(0, (0, 4_000, 4_200), (900, 5_000, 5_200), quotes_holes=[(300, 600)])

    line = line_of(points_of(None, heard, Point(1_000, 5_000, 5_200), 0), heard, 0)

    assert line.time == [0.0, 0.301, 0.6, 0.9, 1.0]
    assert line.middle == [41.0, None, 41.0, 51.0, 51.0]
    assert line.holes == [(0.3, 0.6)]


def test_volume_is_counted_once_from_candles_and_then_from_quotes() -> None:
    start_ms, now_ms = 0, 60 * 60_000
    heard = past(30 * 60_000, (30 * 60_000, 1, 2), (40 * 60_000, 1, 2))  # 0.1 contract more
    minutes = sent(*((minute * 60, "0.1", "0.2") for minute in (1, 29, 30, 50)))
    hours = sent((60, "0.1", "0.2"), (3_600, "0.1", "0.2"), volume="70.00")

    volume = volume_of(candles(hours, minutes), heard, 30, start_ms, now_ms)

    assert (volume.width, len(volume.time)) == (60.0, VOLUME_BARS)
    assert {at: n for at, n in zip(volume.time, volume.count, strict=True) if n} == {
        0.0: 1.0,
        28 * 60.0: 1.0,
        29 * 60.0: 1.0,
        40 * 60.0: 0.1,
        59 * 60.0: 0.2,
    }


def test_thinning_keeps_the_extremes() -> None:
    changes = [(at, 4_000 + at % 7, 4_200) for at in range(20_000)]
    changes[7_777] = (7_777, 100, 4_200)

    found = points_of(None, past(0, *changes), NOW, 0)

    assert len(found) <= 1.5 * POINTS_MAX
    assert min(point.bid_e4 or 0 for point in found) == 100
    assert found == sorted(found, key=lambda point: point.time_ms)
    assert found[-1] == NOW


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.just("0.40"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["end_period_ts", "yes_bid", "yes_ask", "close_dollars", "volume_fp"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(json_values, json_values, st.lists(st.tuples(st.integers(-9, 2_000), st.integers(0, 9_999))))
def test_whatever_was_sent_the_line_is_in_order_and_ends_now(
    hours: Any, minutes: Any, heard: list[tuple[int, int]]
) -> None:
    quotes = past(0, *((at, bid, bid + 1) for at, bid in sorted(heard)), quotes_holes=[(5, 90)])
    odd = candles(json.dumps(hours).encode(), json.dumps(minutes).encode(), b"nonsense")
    now = Point(1_000, 1, None)

    line = line_of(points_of(odd, quotes, now, 0), quotes, 0)

    assert line.time == sorted(line.time)
    assert (line.time[-1], line.bid[-1], line.ask[-1], line.middle[-1]) == (1.0, 0.01, None, None)
    assert len(line.time) == len(line.bid) == len(line.ask) == len(line.middle)
    assert sum(volume_of(odd, quotes, None, 0, 1_000).count) >= 0
