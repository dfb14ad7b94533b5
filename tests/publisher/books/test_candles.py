"""Price history on demand: whatever is wished for, one request of a bounded size a cycle."""

import json
from typing import Any

import pytest

from markets.errors import BadRecord
from markets.json.books import decode_candles
from publisher.books.candles import MARKETS_PER_CALL, PERIOD_MINUTES, REFRESH_MS, SPAN_S, CandlePlanner
from tests.publisher.exchange import candle

NOW_MS = 1_790_000_000_000
KNOWN = {f"E-{n}" for n in range(200)}


def test_wished_history_is_fetched_once_a_minute_until_the_wish_ends() -> None:
    planner = CandlePlanner()
    planner.wish(["E-1", "NOT-HELD"], 90, NOW_MS)
    assert planner.plan(KNOWN, NOW_MS) == ["E-1"]

    planner.fetched(["E-1"], NOW_MS)
    assert planner.plan(KNOWN, NOW_MS + REFRESH_MS - 1) == []
    assert planner.wished(KNOWN, NOW_MS + REFRESH_MS - 1) == {"E-1"}
    assert planner.plan(KNOWN, NOW_MS + REFRESH_MS) == ["E-1"]
    assert planner.plan(KNOWN, NOW_MS - 5_000) == ["E-1"]  # the clock was set back
    assert planner.plan(KNOWN, NOW_MS + 90_000) == []


def test_many_wishes_take_turns_in_requests_that_the_exchange_answers() -> None:
    planner = CandlePlanner()
    for n in range(200):
        planner.wish([f"E-{n}"], 60, NOW_MS)

    found: set[str] = set()
    for turn in range(4):
        planned = planner.plan(KNOWN, NOW_MS + turn * 12_000)
        assert len(planned) == MARKETS_PER_CALL
        planner.fetched(planned, NOW_MS + turn * 12_000)
        found |= set(planned)
    assert found == {f"E-{n}" for n in range(200)}
    assert len(planned) * (SPAN_S // (PERIOD_MINUTES * 60) + 1) <= 10_000


def test_ticker_with_a_comma_is_not_asked_for() -> None:
    planner = CandlePlanner()
    planner.wish(["A,B"], 60, NOW_MS)
    assert planner.plan({"A,B"}, NOW_MS) == []


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
