"""Quick draws give the numbers that `Random` gives, and leave it as it would be."""

from random import Random

import pytest

from simulator.floor.draws import index, skip


@pytest.mark.parametrize("many", [1, 2, 3, 7, 8, 12, 1_000, 2**32, 2**40 + 1])
def test_an_index_is_the_same_as_of_random(many: int) -> None:
    mine, others = Random(f"draws:{many}"), Random(f"draws:{many}")
    assert [index(mine, many) for _ in range(200)] == [others.randrange(many) for _ in range(200)]
    assert mine.getstate() == others.getstate()


@pytest.mark.parametrize("many", [1, 2, 3, 72, 700])
def test_draws_in_vain_leave_what_follows_as_it_would_be(many: int) -> None:
    mine, others = Random(f"vain:{many}"), Random(f"vain:{many}")
    skip(mine, many)
    for _ in range(many):
        others.random()
    assert mine.getstate() == others.getstate()
