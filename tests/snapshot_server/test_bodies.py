"""Prepared bodies: how many are kept, for how long, and that they take nobody back in time."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapshot_server import bodies
from snapshot_server.bodies import KEPT_S, Bodies, Kept, Key
from snapshot_server.body import IDENTITY, Prepared
from snapshot_server.edition import Edition, Query
from tests.snapshot_server.views import VIEW

EDITION = VIEW.edition
assert EDITION is not None
EDITIONS = [msgspec.structs.replace(EDITION, number=number) for number in range(12)]
WHOLE: Key = (Query(), IDENTITY)


def kept(edition: Edition, ready_s: float = 0.0, size: int = 1) -> Kept:
    return Kept(edition, Prepared(IDENTITY, (b"x" * size,), 0, size), ready_s, 1.0)


def number_of(found: Kept | None) -> int | None:
    return None if found is None else found.edition.number


def test_a_body_made_ahead_is_given_out_once_its_edition_is_shown() -> None:
    held = Bodies()
    held.put(WHOLE, kept(EDITIONS[1]))
    held.put(WHOLE, kept(EDITIONS[2]))
    assert number_of(held.get(WHOLE, 1)) == 1
    assert number_of(held.get(WHOLE, 2)) == 2
    assert number_of(held.get(WHOLE, 5)) == 2
    assert held.get(WHOLE, 0) is None


def test_of_what_is_shown_no_earlier_one_is_kept() -> None:
    held = Bodies()
    held.put(WHOLE, kept(EDITIONS[1]), shown=True)
    held.put(WHOLE, kept(EDITIONS[3]))
    held.put(WHOLE, kept(EDITIONS[2]), shown=True)
    assert [number_of(held.get(WHOLE, number)) for number in (1, 2, 3)] == [None, 2, 3]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2))))
def test_whatever_is_ready_when_a_reader_gets_no_earlier_edition_than_before(
    steps: list[tuple[bool, int]],
) -> None:
    """An edition after the other is shown; bodies come of the next one, the one shown and the one before."""
    held, shown, seen = Bodies(), 1, 0
    for shows, behind in steps:
        if shows and shown < len(EDITIONS) - 2:
            shown += 1
        held.put(WHOLE, kept(EDITIONS[shown + 1 - behind]), shown=behind > 0)
        found = number_of(held.get(WHOLE, shown))
        assert found is None or seen <= found <= shown
        seen = found or seen


def test_the_oldest_give_way_when_they_take_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "KEPT_BYTES", 300)
    held = Bodies()
    keys: list[Key] = [(Query(limit=limit), IDENTITY) for limit in range(1, 20)]
    for key in keys:
        held.put(key, kept(EDITIONS[1], size=100))
    assert [key for key in keys if held.get(key, 1) is not None] == keys[-3:]


def test_those_asked_for_here_stay_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "KEPT_BYTES", 300)
    held = Bodies()
    whole = kept(EDITIONS[1], size=200)
    whole.asked_s = 1_000.0
    held.put(WHOLE, whole)
    for limit in range(1, 5):  # made for the front alone
        held.put((Query(limit=limit), IDENTITY), kept(EDITIONS[1], size=100))
    assert held.get(WHOLE, 1) is whole


@pytest.mark.parametrize("how", ["it is old", "it gives way"])
def test_what_is_gone_is_not_followed_by_what_was_begun_before_it(
    monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    held = Bodies()
    held.put(WHOLE, kept(EDITIONS[2]))
    if how == "it is old":
        held.expire(KEPT_S)
    else:
        monkeypatch.setattr(bodies, "KEPT_BYTES", 0)
        held.put((Query(), "gzip"), kept(EDITIONS[2]))
    assert held.get(WHOLE, 2) is None
    held.put(WHOLE, kept(EDITIONS[1]), shown=True)
    assert held.get(WHOLE, 2) is None
    held.put(WHOLE, kept(EDITIONS[2]), shown=True)
    assert number_of(held.get(WHOLE, 2)) == 2


def test_the_number_of_questions_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "MAX_KNOWN", 3)
    held = Bodies()
    for limit in range(1, 10):
        held.put((Query(limit=limit), IDENTITY), kept(EDITIONS[2]))
    assert len(held._latest) == 3


def test_only_what_was_asked_for_lately_is_hot_and_is_so_across_editions() -> None:
    held, now_s = Bodies(), 1_000.0
    asked = kept(EDITIONS[1], now_s)
    asked.asked_s = now_s
    held.put(WHOLE, asked)
    held.put((Query(), "gzip"), kept(EDITIONS[1], now_s))  # made for the front
    held.put(WHOLE, kept(EDITIONS[2], now_s + 1))
    assert [(key, number_of(found)) for key, found in held.hot(now_s + 2)] == [(WHOLE, 2)]
    assert held.hot(now_s + KEPT_S) == []


def test_what_is_old_is_let_go() -> None:
    held = Bodies()
    held.put(WHOLE, kept(EDITIONS[1], 1_000.0))
    held.expire(1_000.0 + KEPT_S / 2)
    assert held.get(WHOLE, 1) is not None
    held.expire(1_000.0 + KEPT_S)
    assert held.get(WHOLE, 1) is None
