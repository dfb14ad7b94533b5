"""What stands refused, and what of it is news."""

import pytest

import trader.engine.refused
from markets.orders import Proposal, Wanted
from tests.trader.world import NOW_MS
from trader.engine.refused import Refusals, StandingRefusal


def wanted(strategy: str, event_ticker: str = "E", ticker: str = "E-A") -> Proposal:
    return Proposal(strategy, event_ticker, (Wanted(ticker, "yes", 4_000, 100),), 10_000, 0.5)


def test_a_refusal_is_news_once_until_another_reason_or_a_trade() -> None:
    refusals = Refusals()

    assert refusals.note(wanted("value"), "cash")
    assert not refusals.note(wanted("value"), "cash")
    assert refusals.note(wanted("no_basket"), "cash")
    assert refusals.note(wanted("value"), "no_room")
    assert not refusals.note(wanted("value"), None)
    assert refusals.told == {("no_basket", "E"): "cash"}
    assert refusals.note(wanted("value"), "no_room")


def test_what_stands_is_what_was_refused_at_the_last_look() -> None:
    refusals = Refusals()
    for trade, reason in ((wanted("value"), "cash"), (wanted("value", ticker="E-B"), "no_room")):
        refusals.note(trade, reason)
    refusals.note(wanted("value", "F"), "cash")
    assert [[stands.reason for stands in event] for event in refusals.stand.values()] == [
        ["cash", "no_room"], ["cash"]
    ]  # fmt: skip

    refusals.look_at("E")
    refusals.note(wanted("value"), None)
    refusals.note(wanted("mine", ticker="E-B"), "no_room")

    assert list(refusals.stand) == ["F", "E"]
    assert refusals.stand["E"] == [StandingRefusal(wanted("mine", ticker="E-B"), "no_room")]


def test_what_was_not_looked_at_between_two_commits_stands_no_more() -> None:
    refusals = Refusals()
    refusals.note(wanted("value"), "cash")
    refusals.commit(NOW_MS)  # it is looked at after this one at the latest
    refusals.note(wanted("value", "F"), "cash")
    assert list(refusals.stand) == ["E", "F"]

    refusals.look_at("F")
    refusals.note(wanted("value", "F"), "cash")
    refusals.commit(NOW_MS)
    assert list(refusals.stand) == ["F"]
    refusals.commit(NOW_MS)
    assert not refusals.stand


def test_what_holds_at_any_price_stands_until_it_is_over_or_looked_at_again() -> None:
    refusals = Refusals()
    for event_ticker, until_ms in (("E", NOW_MS + 10), ("F", NOW_MS + 20)):
        refusals.note(wanted("value", event_ticker), "payout_too_late", until_ms)
    for now_ms in (NOW_MS, NOW_MS + 5, NOW_MS + 10):
        refusals.commit(now_ms)
        assert list(refusals.stand) == ["E", "F"]

    refusals.look_at("F")
    assert list(refusals.stand) == ["E"]
    refusals.commit(NOW_MS + 15)  # it is looked at after this one at the latest
    assert list(refusals.stand) == ["E"]
    refusals.commit(NOW_MS + 16)
    assert not refusals.stand
    assert not refusals.lasting


def test_so_many_are_kept_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trader.engine.refused, "MAX_KEPT", 3)
    refusals = Refusals()
    for number in range(10):
        refusals.note(wanted("value", f"E{number}"), "payout_too_late", NOW_MS + 1)

    assert len(refusals.lasting) <= 3
    assert len(refusals.told) <= 3
    assert ("value", "E9") in refusals.told
    assert len(refusals.stand) <= 3
    assert "E9" in refusals.stand


def test_baskets_that_are_gone_are_forgotten() -> None:
    refusals = Refusals()
    assert refusals.note_follow_ups(1, ["cash", "no_depth"])
    assert not refusals.note_follow_ups(1, ["cash", "no_depth"])
    assert refusals.note_follow_ups(2, ["cash"])
    refusals.keep_follow_ups({2: None})
    assert refusals.not_evened == {2: ("cash",)}
    assert not refusals.note_follow_ups(2, [])
    assert refusals.not_evened == {}
