"""The publisher's bucket never asks more of the exchange's than it refills; virtual time."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from markets.json.words import COST
from publisher.kalshi.budget import BACKOFF_MAX_S, BASIC, Budget, backoff_s


def test_bucket_starts_empty_and_refills_at_its_share() -> None:
    budget = Budget(BASIC, Random(1), now_s=100.0)

    wait_s = budget.take(COST, 100.0)

    assert wait_s == COST / (200 * 0.85 * 0.95)
    assert budget.take(COST, 100.0 + wait_s) == 0
    assert budget.take(COST, 100.0 + wait_s) > 0


def test_bucket_saves_up_no_more_than_its_share_of_the_capacity() -> None:
    budget = Budget(BASIC, Random(1), now_s=0.0)

    assert budget.level(1e6) == budget.capacity == 600 * 0.85 * 0.95


def test_reserve_stays_for_others() -> None:
    budget = Budget(BASIC, Random(1), now_s=0.0)
    budget.level(1.0)

    assert budget.take(COST, 1.0, reserve=160) > 0
    assert budget.take(COST, 1.0, reserve=100) == 0


def test_reserve_above_the_capacity_cannot_wait_for_ever() -> None:
    budget = Budget(BASIC, Random(1), now_s=0.0)

    assert budget.take(COST, 1e6, reserve=10_000) == 0


def test_a_429_empties_the_bucket_and_pauses_growing_until_an_answer_comes() -> None:
    budget = Budget(BASIC, Random(1), now_s=0.0)
    pauses = []
    for _ in range(8):
        budget.refused(1_000.0)
        pauses.append(budget.take(COST, 1_000.0))
    assert 0.25 <= pauses[0] <= 0.5
    assert BACKOFF_MAX_S / 2 <= pauses[-1] <= BACKOFF_MAX_S
    assert pauses == sorted(pauses)

    budget.accepted()
    budget.level(2_000.0)
    budget.refused(2_000.0)

    assert budget.take(COST, 2_000.0) <= 0.5


def test_a_429_that_names_a_time_is_obeyed() -> None:
    budget = Budget(BASIC, Random(1), now_s=0.0)

    budget.refused(10.0, at_least_s=30)

    assert budget.take(COST, 39.9) > 0
    assert budget.take(COST, 40.1) == 0


@given(
    st.lists(st.tuples(st.floats(0, 5), st.integers(1, 40)), max_size=60),
    st.integers(0, 2**32),
)
def test_exchange_with_the_whole_tier_never_runs_dry(steps: list[tuple[float, int]], seed: int) -> None:
    """Publisher and order gateway at their shares, against one bucket of the tier."""
    parties = [Budget(BASIC, Random(seed), 0.0), Budget(BASIC, Random(seed), 0.0, share=0.15)]
    now_s, exchange = 0.0, 0.0
    for pause_s, wishes in steps:
        now_s += pause_s
        exchange = min(BASIC.capacity, exchange + pause_s * BASIC.refill_per_s)
        for budget in parties:
            for _ in range(wishes):
                if budget.take(COST, now_s) == 0:
                    exchange -= COST
        assert exchange >= -1e-6


@given(st.integers(0, 50), st.integers(0, 2**32))
def test_backoff_is_bounded_and_never_nothing(attempt: int, seed: int) -> None:
    assert 0.25 <= backoff_s(attempt, Random(seed)) <= BACKOFF_MAX_S
