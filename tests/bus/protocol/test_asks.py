"""When to ask for a snapshot, and when again."""

import random

import hypothesis.strategies as st
from hypothesis import given

from bus.protocol.asks import (
    ASK_TIMEOUT_MAX_MS,
    BEHIND_RETRY_MS,
    REPAIR_EVERY_MS,
    RETRY_MAX_MS,
    WHOLE_SHARE,
    WHOLES,
    WHOLES_WINDOW_MS,
    Asks,
)


def asks(now_ms: int = 0) -> Asks:
    return Asks(random.Random(1), now_ms)


@given(
    st.integers(0, 2**32 - 1),
    st.lists(
        st.tuples(st.sampled_from(["ask", "answer", "refuse", "pass", "repair", "hurry"]), st.booleans())
    ),
)
def test_one_question_at_a_time_few_wholes_and_never_a_standstill(
    seed: int, acts: list[tuple[str, bool]]
) -> None:
    asking, now_ms, wholes, took_ms = Asks(random.Random(seed), 0), 0, list[int](), 0
    rng = random.Random(seed)
    for act, whole in acts:
        now_ms += rng.randrange(1, 5_000)
        open_ = asking.open
        if act == "ask" and asking.due(now_ms):
            assert open_ is None
            ask = asking.ask(1, None if whole else 7, now_ms)
            assert asking.open is ask
            if ask is not None and ask.since is None:
                lately = [at for at in wholes if at > now_ms - WHOLES_WINDOW_MS]
                assert len(lately) < WHOLES or now_ms >= lately[-1] + min(WHOLE_SHARE * took_ms, 30_000)
                wholes.append(now_ms)
        elif act == "answer" and open_ is not None:
            assert asking.answered(open_.id - 1, now_ms) is None
            assert asking.answered(open_.id, now_ms) is open_
            if open_.since is None:
                took_ms = now_ms - wholes[-1]
            asking.later(now_ms)
        elif act == "refuse" and open_ is not None:
            if open_.since is None:
                wholes.pop()
            asking.refused(open_.id, 250, now_ms)
        elif act == "pass":
            asking.expire(now_ms)
            if open_ is not None and asking.open is None and open_.since is None:
                wholes.pop()
        elif act == "repair":
            asking.repair(now_ms)
        elif act == "hurry":
            asking.hurry(now_ms)
            assert asking.due(now_ms)
        assert asking.open is not None or asking.due_ms is not None
        assert asking.due_ms is None or asking.due_ms <= now_ms + WHOLES_WINDOW_MS * 5 // 4


def test_waits_double_up_to_a_bound_and_begin_anew_once_live() -> None:
    asking, waits = asks(), []
    for _ in range(12):
        asking.later(0)
        assert asking.due_ms is not None
        waits.append(asking.due_ms)
    assert waits[0] < 100
    assert RETRY_MAX_MS <= waits[-1] <= max(waits) <= RETRY_MAX_MS * 3 // 2
    asking.rest()
    assert not asking.due(10**9)
    asking.later_if_idle(0)
    assert asking.due(100)


def test_an_answer_is_waited_for_ever_longer() -> None:
    asking, now_ms, waited = asks(), 0, []
    for _ in range(8):
        asking.hurry(now_ms)
        assert asking.ask(1, 7, now_ms) is not None
        start_ms = now_ms
        while asking.open is not None:
            now_ms += 100
            asking.expire(now_ms)
        waited.append(now_ms - start_ms)
    assert waited[0] < waited[1] < waited[2]
    assert ASK_TIMEOUT_MAX_MS <= waited[-1] < ASK_TIMEOUT_MAX_MS * 5 / 4 + 100


def test_repairs_keep_their_distance() -> None:
    asking = asks()
    due = []
    for now_ms in (0, 1, 2, 1_000):
        asking.repair(now_ms)
        due.append(asking.due_ms)
    assert due == [0, REPAIR_EVERY_MS, 2 * REPAIR_EVERY_MS, 1_000]


def test_a_fourth_whole_snapshot_waits_for_as_long_as_it_weighs() -> None:
    for took_ms, least_ms, most_ms in ((1, 400, 500), (1_000, 8_000, 10_000), (14_000, 30_000, 37_500)):
        asking, now_ms = asks(), 0
        for _ in range(WHOLES):
            asking.hurry(now_ms)
            ask = asking.ask(1, None, now_ms)
            assert ask is not None
            asking.answered(ask.id, now_ms + took_ms)
        asking.hurry(now_ms)
        assert asking.ask(2, None, now_ms) is None
        assert asking.due_ms is not None
        assert least_ms <= asking.due_ms <= most_ms
        assert asking.ask(2, None, asking.due_ms) is not None
    assert least_ms == WHOLES_WINDOW_MS
    assert BEHIND_RETRY_MS * WHOLE_SHARE == 400
