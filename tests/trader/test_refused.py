"""What stands refused, and what of it is news."""

import pytest

import trader.refused
from trader.refused import Refusals


def test_a_refusal_is_news_once_until_another_reason_or_a_trade() -> None:
    refusals = Refusals()

    assert refusals.note("value", "E", "cash")
    assert not refusals.note("value", "E", "cash")
    assert refusals.note("no_basket", "E", "cash")
    assert refusals.note("value", "E", "no_room")
    assert not refusals.note("value", "E", None)
    assert refusals.stand == {("no_basket", "E"): "cash"}
    assert refusals.note("value", "E", "no_room")


def test_so_many_are_kept_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trader.refused, "MAX_KEPT", 3)
    refusals = Refusals()
    for number in range(10):
        refusals.note("value", f"E{number}", "cash")

    assert len(refusals.stand) <= 3
    assert ("value", "E9") in refusals.stand


def test_baskets_that_are_gone_are_forgotten() -> None:
    refusals = Refusals()
    assert refusals.note_follow_ups(1, ["cash", "no_depth"])
    assert not refusals.note_follow_ups(1, ["cash", "no_depth"])
    assert refusals.note_follow_ups(2, ["cash"])
    refusals.keep_follow_ups({2: None})
    assert refusals.not_evened == {2: ("cash",)}
    assert not refusals.note_follow_ups(2, [])
    assert refusals.not_evened == {}
