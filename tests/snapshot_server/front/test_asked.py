"""What is remembered of requests stays bounded; what comes in pieces arrives whole or not at all."""

import random

from snapshot_server.front.asked import HOT_S, MAX_HOT, MAX_ONCE, MAX_REQUEST, Asked
from snapshot_server.front.messages import Passed, Pieces


def test_what_is_asked_twice_in_time_is_hot_until_it_is_asked_no_more() -> None:
    asked = Asked()
    assert not asked.ask(b"once", 0.0)
    assert not asked.ask(b"late", 0.0)
    assert not asked.ask(b"late", HOT_S + 1)
    assert not asked.ask(b"twice", 0.0)
    assert asked.new() is None
    assert asked.ask(b"twice", 1.0)
    assert not asked.ask(b"twice", 1.0)
    assert [request for request, _ in asked.hot(1.0)] == [b"twice"]
    new = asked.new()
    assert new is not None
    assert new[0] == b"twice"
    assert asked.new() is None
    asked.answered(b"twice", HOT_S)
    assert asked.hot(2 * HOT_S)
    assert not asked.hot(2 * HOT_S + 0.1)


def test_however_many_different_requests_come_few_are_remembered_and_the_last_ones_first() -> None:
    asked = Asked()
    for _ in range(2):
        for start in range(0, 4 * MAX_HOT, 100):
            for number in list(range(start, start + 100)) * 2:
                asked.ask(b"%d" % number, 1.0)
    asked.ask(b"x" * (MAX_REQUEST + 1), 1.0)
    asked.ask(b"x" * (MAX_REQUEST + 1), 1.0)
    hot = asked.hot(1.0)
    assert len(hot) == MAX_HOT
    assert hot[0][0] == b"%d" % (start + 99)
    taken = 0
    while (new := asked.new()) is not None:
        assert new in hot, "what is forgotten is not new either"
        taken += 1
    assert taken == MAX_HOT
    asked.forget(hot[0][0])
    asked.all_new()
    assert len(asked.hot(1.0)) == MAX_HOT - 1
    for number in range(2 * MAX_ONCE):
        asked.ask(b"once %d" % number, 2.0)
    assert len(asked._once) == MAX_ONCE


def test_a_piece_that_was_lost_never_joins_two_clients() -> None:
    choose = random.Random(5)
    pieces, arrived = Pieces(), 0
    for number in range(500):
        data = b"%03d" % number * choose.randrange(1, 5)
        size = choose.choice([3, 5, 100])
        offsets = range(0, len(data), size)
        for offset in offsets:
            more = offset != offsets[-1]
            if choose.random() < 0.2:
                continue  # lost
            came = pieces.add(Passed(data[offset : offset + size], number=number, offset=offset, more=more))
            if not more:
                assert came in (data, None)
                arrived += came == data
    assert arrived > 100
