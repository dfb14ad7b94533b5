"""What is asked for is read, and what is wrong with it is said in the words of whoever asks."""

from typing import Any

import pytest

from bus.trading.asked import asked
from bus.trading.shapes import PrepareCommand
from markets.errors import BadRecord

BUY: dict[str, Any] = {
    "op": "prepare",
    "ticker": "M",
    "side": "no",
    "count_fp": "10",
    "price_dollars": "0.43",
}


def test_what_is_right_is_read() -> None:
    assert asked({**BUY, "rest_seconds": 60}, PrepareCommand).rest_seconds == 60


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"price_dollars": "43"}, "price_dollars: got '43', expected dollars below 1 as text, such as 0.43"),
        ({"count_fp": 10}, "count_fp: got 10, expected whole contracts as text, such as 10"),
        ({"rest_seconds": 0}, "rest_seconds: got 0, expected whole seconds, 1 to 86400"),
        ({"rest_seconds": 10**23}, f"rest_seconds: got {10**23}, expected whole seconds, 1 to 86400"),
        ({"side": "both"}, "side: got 'both', expected yes or no"),
        ({"side": None}, "side: got None, expected yes or no"),
        ({"ticker": b"\xff"}, r"ticker: got b'\xff', expected a ticker, 1 to 200 characters"),
        ({"ticker": ""}, "ticker: got '', expected a ticker, 1 to 200 characters"),
        ({"side": "\ud800"}, r"side: got '\ud800', expected text in UTF-8"),
    ],
)
def test_a_wrong_member_is_named_with_what_it_must_be(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadRecord) as refused:
        asked(BUY | changes, PrepareCommand)
    assert str(refused.value) == said


def test_a_missing_member_is_named_too() -> None:
    with pytest.raises(BadRecord, match="side: got None, expected yes or no"):
        asked({name: value for name, value in BUY.items() if name != "side"}, PrepareCommand)


def test_an_error_names_a_value_that_cannot_be_shown() -> None:
    deep: object = 1
    for _ in range(100_000):
        deep = [deep]
    for value in (deep, 1 << 20_000):
        assert str(BadRecord("x", value, "less")).endswith(" too large to show, expected less")
