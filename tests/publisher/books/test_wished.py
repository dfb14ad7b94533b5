"""Wishes end by themselves, and the oldest give way."""

from publisher.books.wished import Wished

NOW_MS = 1_790_000_000_000


def test_a_wish_ends_at_the_latest_time_that_was_wished_for() -> None:
    wished = Wished(10)
    wished.wish(["A"], 60, NOW_MS)
    wished.wish(["A"], 5, NOW_MS)
    assert wished.at(NOW_MS + 59_999) == {"A"}
    assert wished.at(NOW_MS + 60_000) == frozenset()


def test_a_wish_from_before_the_clock_was_set_back_ends_with_that_and_not_in_a_year() -> None:
    wished = Wished(10)
    wished.wish(["A", "B"], 60, NOW_MS + 31_536_000_000)
    wished.wish(["B"], 60, NOW_MS)
    assert wished.at(NOW_MS) == {"B"}
    assert wished.at(NOW_MS + 60_000) == frozenset()


def test_the_oldest_wishes_give_way_to_the_newest() -> None:
    wished = Wished(2)
    wished.wish(["A", "B"], 60, NOW_MS)
    wished.wish(["A", "C"], 60, NOW_MS)
    assert wished.at(NOW_MS) == {"A", "C"}


def test_only_a_wish_for_something_new_is_fresh() -> None:
    wished = Wished(10)
    wished.wish(["A"], 60, NOW_MS)
    wished.wish(["A"], 60, NOW_MS)
    assert wished.fresh == 1
    wished.wish(["A", "B"], 60, NOW_MS)
    assert wished.fresh == 2
