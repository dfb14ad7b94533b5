"""What is stored, by numbers alone; and which keyframe answers which question."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.storing import KEYFRAME_MAX_MS, KEYFRAME_MS, WANTED_MS, Storing
from bus.jetstream.stored import (
    PART_BYTES,
    Batch,
    Mark,
    chosen,
    cut,
    decode_batch,
    decode_mark,
    encode_batch,
    encode_mark,
    joined,
)
from bus.protocol.asks import Ask
from markets.errors import DecodeError

E = 1_790_000_000_000


def heard(storing: Storing, *seqs: int, epoch: int = E, followed: int = E) -> list[int]:
    return [seq for seq in seqs if storing.hear(epoch, seq, followed, numbered=True)]


@given(
    st.lists(st.tuples(st.sampled_from([E, E + 1]), st.integers(1, 40), st.booleans()), max_size=60),
    st.integers(0, 30),
)
def test_any_order_is_stored_once_and_in_order_and_every_hole_is_known(
    messages: list[tuple[int, int, bool]], last: int
) -> None:
    storing = Storing(E, last, None, E)
    stored = [(E, last)]
    for epoch, seq, numbered in messages:
        if storing.hear(epoch, seq, 0, numbered=numbered) and numbered:
            stored.append((epoch, seq))
    assert stored == sorted(set(stored))
    if stored[-1][0] == storing.epoch == E:
        missing = set(range(last, storing.seq + 1)) - {seq for _, seq in stored}
        assert storing.since == (min(missing) - 1 if missing else None)
        # No keyframe closes the hole that does not have all of what is missing.
        if missing:
            assert storing.due(0, E, max(missing) - 1) is None
            assert storing.due(0, E, max(missing)) == "repair"


def test_a_hole_stays_open_until_a_repair_has_it_and_one_that_came_meanwhile_too() -> None:
    storing = Storing(E, 10, None, E)
    assert heard(storing, 11, 15) == [11, 15]
    assert heard(storing, 20) == [20]
    since = [storing.since]
    for as_of in (15, 20):
        storing.made("repair", E, as_of, 1, 0)
        since.append(storing.since)
    assert since == [11, 11, None]
    assert storing.due(KEYFRAME_MS - 1, E, 20) is None
    assert storing.due(2 * KEYFRAME_MS, E, 20) == "keyframe"


def test_who_begins_again_knows_of_the_hole_that_the_one_before_left() -> None:
    storing = Storing(E, 20, 11, E)
    assert storing.due(0, E, 19) is None
    assert storing.due(0, E, 20) == "repair"
    assert storing.due(0, E - 1, 20) is None


def test_an_older_history_is_stored_once_the_replica_has_gone_over_to_it() -> None:
    storing = Storing(E, 20, None, E)
    assert heard(storing, 5, 6, epoch=E - 1) == []
    assert heard(storing, 7, 8, epoch=E - 1, followed=E - 1) == [7, 8]
    assert storing.due(0, E - 1, 8) == "keyframe"


def test_numbers_that_never_were_are_forgotten_when_the_replica_joins_anew() -> None:
    storing = Storing(E, 20, None, E)
    assert heard(storing, 2**40, 21, 22) == [2**40]
    storing.joined(E, 22)
    assert heard(storing, 22, 23) == [23]
    assert storing.due(0, E, 22) == "keyframe"


def test_keyframes_cost_no_more_than_what_lies_between_unless_one_is_wanted() -> None:
    storing = Storing(E, 0, None, 0)
    assert storing.due(0, E, 0) == "keyframe"
    storing.made("keyframe", E, 0, 1_000, 0)
    assert storing.due(KEYFRAME_MS, E, 0) is None
    assert storing.due(KEYFRAME_MAX_MS, E, 0) == "keyframe"
    storing.stored(1, 1_000)
    assert storing.due(KEYFRAME_MS, E, 0) == "keyframe"
    storing.want()
    assert storing.due(WANTED_MS - 1, E, 0) is None
    assert storing.due(WANTED_MS, E, 0) == "keyframe"


def test_reading_begins_with_the_first_batch_that_is_not_in_the_state() -> None:
    storing = Storing(E, 0, None, E)
    for number, seq in ((7, 3), (8, 5), (9, 9)):
        heard(storing, *range(storing.seq + 1, seq + 1))
        storing.stored(number, 1)
    assert storing.begin(E, 3, 10) == 8
    assert storing.begin(E, 4, 10) == 8
    assert storing.begin(E, 9, 10) == 10


WHOLE = Mark(1, E, 50, 1, (1,))
REPAIR = Mark(1, E, 70, 1, (1,), since=60)


@pytest.mark.parametrize(
    ("ask", "expected"),
    [
        (Ask(1, 0, None, ()), WHOLE),
        (Ask(1, E, None, ()), WHOLE),
        (Ask(1, E, 40, ()), WHOLE),
        (Ask(1, E, 50, ()), None),  # it has nothing new
        (Ask(1, E, 50, ("md.A.",)), WHOLE),  # but for who doubts what it has
        (Ask(1, E, 60, ()), REPAIR),
        (Ask(1, E, 65, ()), REPAIR),
        (Ask(1, E, 70, ()), None),
        (Ask(1, E, 65, ("md.A.",)), None),
        (Ask(1, E - 1, 65, ()), WHOLE),
        (Ask(1, E + 1, 0, ()), None),
    ],
)
def test_a_question_is_answered_by_a_mark_that_goes_on_from_where_the_asker_stands(
    ask: Ask, expected: Mark | None
) -> None:
    assert chosen(ask, REPAIR, WHOLE) == expected
    assert chosen(ask, None, None) is None


def test_what_is_stored_is_read_as_it_was_and_any_bytes_are_refused_or_read() -> None:
    batch = Batch(1, E, 7, None, [b"hb.\x00", b""])
    assert decode_batch(encode_batch(batch)) == batch
    assert decode_mark(encode_mark(REPAIR)) == REPAIR
    answer = [b"head", b"x" * (3 * PART_BYTES), b""]
    assert joined(cut(answer)) == answer
    assert len(cut(answer)) == 4


@given(st.binary(max_size=80))
def test_bytes_that_are_nothing_of_ours_are_said_to_be_none(payload: bytes) -> None:
    for read in (decode_batch, decode_mark, lambda data: joined([data])):
        try:
            read(payload)
        except DecodeError:
            continue
