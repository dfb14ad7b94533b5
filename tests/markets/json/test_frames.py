"""Frames of the WebSocket, read and written."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from markets.errors import BadRecord
from markets.json import frames
from markets.json.frames import StreamFrame, decode_frame
from markets.records import Status

HEARD_MS = 1_790_000_000_000


def frame(type_: str, **message: Any) -> StreamFrame:
    return decode_frame(json.dumps({"type": type_, "sid": 1, "seq": 1, "msg": message}))


@pytest.mark.parametrize(("yes_price", "no"), [(False, ((3_000, 200),)), (True, ((7_000, 200),))])
def test_levels_of_no_are_returned_on_its_own_scale(yes_price: bool, no: tuple[tuple[int, int], ...]) -> None:
    sent = frame(
        "orderbook_snapshot",
        market_ticker="T",
        yes_dollars_fp=[["0.4000", "1.00"], ["0.1000", "3.00"]],
        no_dollars_fp=[["0.3000", "2.00"]],
    )
    assert frames.decode_snapshot(sent).sides(yes_price=yes_price) == (((1_000, 300), (4_000, 100)), no)
    delta = frame(
        "orderbook_delta", market_ticker="T", side="no", price_dollars="0.3000", delta_fp="-2.00", ts_ms=1
    )
    assert frames.decode_delta(delta).change(yes_price=yes_price) == (no[0][0], -200)


@pytest.mark.parametrize(
    "pairs",
    [
        [["0.4000", "1.00"], ["0.4000", "1.00"]],
        [["0.4000", "0.00"]],
        [["0.0000", "1.00"]],
        [["1.0000", "1.00"]],
        [["0.4000", "-1.00"]],
    ],
)
def test_levels_that_are_none_are_refused(pairs: list[list[str]]) -> None:
    sent = frames.decode_snapshot(frame("orderbook_snapshot", market_ticker="T", yes_dollars_fp=pairs))
    with pytest.raises(BadRecord):
        sent.sides(yes_price=True)


@pytest.mark.parametrize(
    ("sent_ms", "believed_ms"),
    [
        (None, HEARD_MS),
        (HEARD_MS - 5, HEARD_MS - 5),
        (HEARD_MS + 5, HEARD_MS),
        (HEARD_MS - frames.SKEW_MS - 1, HEARD_MS),
    ],
)
def test_a_time_ahead_of_ours_or_long_past_is_not_believed(sent_ms: int | None, believed_ms: int) -> None:
    assert frames.believed_ms(sent_ms, HEARD_MS) == believed_ms


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ({"event_type": "activated"}, Status.ACTIVE),
        ({"event_type": "deactivated", "is_deactivated": True}, Status.INACTIVE),
        ({"event_type": "deactivated", "is_deactivated": False}, Status.ACTIVE),
        ({"event_type": "deactivated"}, None),
        ({"event_type": "determined"}, Status.DETERMINED),
        ({"event_type": "settled"}, Status.FINALIZED),
        ({"event_type": "created"}, None),
    ],
)
def test_a_market_changes_its_status_as_announced(message: dict[str, Any], status: Status | None) -> None:
    change = frames.decode_lifecycle(frame("market_lifecycle_v2", market_ticker="T", **message), HEARD_MS)
    assert (change.status if change else None) is status


@pytest.mark.parametrize(
    ("members", "result", "value_e4"),
    [
        ({"result": "yes", "settlement_value": "1.0000"}, "yes", 10_000),
        ({"result": "scalar", "settlement_value": "0.37"}, "scalar", 3_700),
        ({"result": "no", "settlement_value": None}, "no", None),
        ({"result": "no", "settlement_value": 7}, "no", None),
        ({"result": "no", "settlement_value": "-1"}, "no", None),
        ({"result": None, "settlement_value": "1.0000"}, "", None),
        ({"result": ["yes"]}, "", None),
        ({}, "", None),
    ],
)
def test_a_result_comes_with_the_status_as_far_as_it_can_be_read(
    members: dict[str, Any], result: str, value_e4: int | None
) -> None:
    message = {"event_type": "determined", "market_ticker": "T"} | members
    change = frames.decode_lifecycle(frame("market_lifecycle_v2", **message), HEARD_MS)
    assert change == frames.StatusChange("T", Status.DETERMINED, HEARD_MS, result, value_e4)


def test_a_result_that_is_not_utf_8_costs_itself() -> None:
    raw = msgspec.Raw(b'{"event_type":"settled","market_ticker":"T","result":"\xff"}')
    change = frames.decode_lifecycle(StreamFrame("market_lifecycle_v2", msg=raw), HEARD_MS)
    assert change == frames.StatusChange("T", Status.FINALIZED, HEARD_MS)


@given(st.binary(max_size=100), st.sampled_from(["orderbook_delta", "ticker", "trade"]))
def test_any_bytes_are_a_frame_or_are_refused(damage: bytes, type_: str) -> None:
    for read in (
        lambda: decode_frame(damage),
        lambda: frames.decode_snapshot(StreamFrame(type_, msg=msgspec.Raw(damage))),
        lambda: frames.decode_delta(StreamFrame(type_, msg=msgspec.Raw(damage))),
        lambda: frames.decode_ticker(StreamFrame(type_, msg=msgspec.Raw(damage)), HEARD_MS),
        lambda: frames.decode_trade(StreamFrame(type_, msg=msgspec.Raw(damage)), HEARD_MS),
        lambda: frames.decode_lifecycle(StreamFrame(type_, msg=msgspec.Raw(damage)), HEARD_MS),
        lambda: frames.ticker_of(StreamFrame(type_, msg=msgspec.Raw(damage))),
    ):
        with pytest.raises(BadRecord):
            read()


def test_what_cannot_be_decoded_is_named() -> None:
    with pytest.raises(BadRecord) as refused:
        frames.decode_delta(
            frame("orderbook_delta", market_ticker="T", side="up", price_dollars="0.1", delta_fp="1")
        )
    assert (refused.value.field, refused.value.value) == ("side", "'up'")


def test_commands_are_as_kalshi_takes_them() -> None:
    assert json.loads(frames.subscribe(1, "ticker")) == {
        "id": 1,
        "cmd": "subscribe",
        "params": {"channels": ["ticker"]},
    }
    assert json.loads(frames.subscribe_books(2, ("A", "B"), yes_price=True)) == {
        "id": 2,
        "cmd": "subscribe",
        "params": {
            "channels": ["orderbook_delta"],
            "market_tickers": ["A", "B"],
            "use_yes_price": True,
            "skip_ticker_ack": True,
        },
    }
    assert json.loads(frames.update_subscription(3, 7, "get_snapshot", ["A"])) == {
        "id": 3,
        "cmd": "update_subscription",
        "params": {"sids": [7], "action": "get_snapshot", "market_tickers": ["A"]},
    }
    assert json.loads(frames.list_subscriptions(4)) == {"id": 4, "cmd": "list_subscriptions"}
