"""Price history on demand: whatever is wished for, one request of a bounded size a cycle."""

import json
from typing import Any

import pytest

from markets.errors import BadRecord
from markets.json.books import decode_candles
from publisher.books.candles import DAYS, HOURS, MINUTES, PERIODS, CandlePlanner, Turn
from tests.publisher.exchange import candle

NOW_MS = 1_790_000_000_000
KNOWN = {f"E-{n}" for n in range(200)}


def fetch(planner: CandlePlanner, now_ms: int, opened_ms: int = 0) -> Turn | None:
    """The next request, made at once."""
    turn = planner.plan(KNOWN, now_ms, lambda _ticker: opened_ms)
    if turn is not None:
        planner.fetched(turn, now_ms)
    return turn


def test_wished_history_is_fetched_in_three_lengths_each_at_its_own_pace_until_the_wish_ends() -> None:
    planner = CandlePlanner()
    planner.wish(["E-1", "NOT-HELD"], 400, NOW_MS)
    assert [fetch(planner, NOW_MS) for _ in range(4)] == [*(Turn(one, ["E-1"]) for one in PERIODS), None]

    assert planner.wished(KNOWN, NOW_MS + 1) == {"E-1"}
    for minute in (1, 2, 3, 4):
        assert fetch(planner, NOW_MS + minute * 60_000 - 1) is None
        assert fetch(planner, NOW_MS + minute * 60_000) == Turn(HOURS, ["E-1"])
    at_ms = NOW_MS + MINUTES.refresh_ms
    assert [fetch(planner, at_ms) for _ in range(3)] == [Turn(HOURS, ["E-1"]), Turn(MINUTES, ["E-1"]), None]
    assert fetch(planner, NOW_MS - 5_000) == Turn(HOURS, ["E-1"])  # the clock was set back
    assert fetch(planner, NOW_MS + 400_000) is None


def test_of_a_market_that_opened_within_its_hours_no_days_are_asked_for() -> None:
    planner = CandlePlanner()
    planner.wish(["E-1"], 400, NOW_MS)
    turns = [fetch(planner, NOW_MS, NOW_MS - HOURS.span_s * 1000) for _ in range(3)]
    assert [turn and turn.period for turn in turns] == [HOURS, MINUTES, None]


def test_many_wishes_take_turns_in_requests_that_the_exchange_answers() -> None:
    planner = CandlePlanner()
    for n in range(200):
        planner.wish([f"E-{n}"], 600, NOW_MS)

    found: dict[Any, set[str]] = {period: set() for period in PERIODS}
    for number in range(21):
        turn = fetch(planner, NOW_MS + number * 12_000)
        assert turn is not None
        assert len(turn.tickers) <= turn.period.markets
        assert len(turn.tickers) * (turn.period.span_s // (turn.period.minutes * 60) + 1) <= 10_000
        found[turn.period] |= set(turn.tickers)
    everything = {f"E-{n}" for n in range(200)}
    assert found == {HOURS: everything, MINUTES: everything, DAYS: everything}


def test_ticker_with_a_comma_is_not_asked_for() -> None:
    planner = CandlePlanner()
    planner.wish(["A,B"], 60, NOW_MS)
    assert planner.plan({"A,B"}, NOW_MS) is None


def body(*candles: Any) -> bytes:
    return json.dumps({"markets": [{"market_ticker": "E-1", "candlesticks": candles}]}).encode()


def test_candlesticks_stay_as_sent_and_a_long_history_loses_its_beginning() -> None:
    sent = [candle(3_600), candle(7_200, "0.5000") | {"price": {}, "new": 1}]
    ((ticker, raw),), bad = decode_candles(body(*sent), 10_000)
    assert (ticker, json.loads(raw), bad) == ("E-1", sent, [])

    ((_, raw),), _ = decode_candles(body(*sent), len(json.dumps(sent[1])) + 1)
    assert json.loads(raw) == sent[1:]


@pytest.mark.parametrize("bad", [None, 5, {}, {"end_period_ts": "x"}, {"end_period_ts": 10**30}])
def test_a_candlestick_without_a_time_costs_itself(bad: object) -> None:
    found, refused = decode_candles(body(candle(3_600), bad, candle(7_200)), 10_000)
    assert [(ticker, json.loads(raw)) for ticker, raw in found] == [("E-1", [candle(3_600), candle(7_200)])]
    assert [member.ticker for member in refused] == ["E-1"]


@pytest.mark.parametrize(
    "odd", [{"yes_bid": None}, {"volume_fp": 10}, {"price": {"close_dollars": 0.4}}, {"new": 10**30}]
)
def test_any_other_member_of_a_candlestick_leaves_as_it_came(odd: dict[str, Any]) -> None:
    found, refused = decode_candles(body(candle(7_200) | odd, candle(3_600)), 10_000)
    assert json.loads(found[0][1]) == [candle(3_600), candle(7_200) | odd]
    assert refused == []


def test_no_candlesticks_may_be_null() -> None:
    assert decode_candles(b'{"markets":[{"market_ticker":"E-1","candlesticks":null}]}', 10) == (
        [("E-1", b"[]")],
        [],
    )
    assert decode_candles(b'{"markets":null}', 10) == ([], [])


def test_reply_of_another_shape_is_refused() -> None:
    with pytest.raises(BadRecord):
        decode_candles(b'{"candlesticks":[]}', 10_000)
