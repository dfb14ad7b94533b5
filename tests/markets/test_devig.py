"""Probabilities out of prices that do not add up to one."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from markets.opportunities.devig import METHODS, Devig, additive, multiplicative, power, shin

prices = st.lists(st.floats(0.001, 0.999), min_size=2, max_size=8)


@given(prices)
def test_what_comes_out_adds_up_to_one_in_the_order_of_the_prices(
    found: list[float],
) -> None:
    for name, devig in METHODS.items():
        said = devig(found)
        if said is None:
            continue
        assert math.isclose(sum(said), 1.0, abs_tol=1e-9), name
        assert all(0.0 <= p <= 1.0 + 1e-9 for p in said), name
        by_price = sorted(zip(found, said, strict=True))
        assert all(a[1] <= b[1] + 1e-9 for a, b in pairwise(by_price)), name


@pytest.mark.parametrize("devig", METHODS.values(), ids=METHODS)
def test_fair_prices_are_left_as_they_are(devig: Devig) -> None:
    assert devig([0.5, 0.3, 0.2]) == pytest.approx([0.5, 0.3, 0.2], abs=1e-9)


def test_the_ways_differ_in_what_they_take_off_a_long_shot() -> None:
    offered = [0.62, 0.42, 0.06]  # 1.10 in all
    long_shots = {name: (devig(offered) or [1.0])[-1] for name, devig in METHODS.items()}

    assert long_shots["additive"] < long_shots["shin"] < long_shots["power"] < long_shots["multiplicative"]


def test_shin_of_two_outcomes_is_additive() -> None:
    # Known of Shin's model: with two outcomes it takes the same off both.
    assert shin([0.7, 0.4]) == pytest.approx(additive([0.7, 0.4]), abs=1e-9)


@pytest.mark.parametrize("odd", [[], [0.0, 0.0], [math.nan, 0.5], [-0.1, 1.1], [2.0, 0.1]])
def test_prices_that_are_none_mean_nothing(odd: list[float]) -> None:
    assert [devig(odd) for devig in METHODS.values()] == [None] * len(METHODS)


def test_an_amount_that_would_take_a_price_below_nothing_is_shared_by_the_others() -> None:
    assert additive([0.7, 0.45, 0.01]) == pytest.approx([0.625, 0.375, 0.0])
    assert power([1.0, 0.2]) is None
    assert multiplicative([0.6, 0.6]) == [0.5, 0.5]
