"""What rests on a belief that has not stood its trial is traded at the smallest size."""

import msgspec
import pytest

from markets.orders import Proposal, Wanted
from markets.records import FairValue
from tests.trader import world
from trader.engine.trust import believed

LIMITS = msgspec.structs.replace(world.LIMITS, min_edge_e6=50_000)
VALUES = {"T": FairValue("T", 0.6, "mine", 0)}


def wants(count_e2: int, edge_e6: int, probability: float | None = 0.6, evens: int | None = None) -> Proposal:
    return Proposal("value", "E", (Wanted("T", "yes", 5_000, count_e2),), edge_e6, probability, evens)


@pytest.mark.parametrize(
    ("edge_e6", "count_e2"),
    [
        (1_000_000, 500),  # a cent a contract: five make the least edge of 5 cents
        (990_000, 600),
        (10_000_000, 100),
        (100_000_000, 100),
    ],
)
def test_the_fewest_contracts_that_earn_the_least_edge(edge_e6: int, count_e2: int) -> None:
    found = believed(wants(10_000, edge_e6), VALUES, (), LIMITS)

    assert found.legs[0].count_e2 == count_e2
    assert found.edge_e6 == edge_e6 * count_e2 // 10_000
    assert found.edge_e6 >= LIMITS.min_edge_e6


def test_what_is_believed_or_rests_on_no_belief_stays_as_it_is() -> None:
    whole = wants(10_000, 1_000_000)
    basket = wants(10_000, 1_000_000, probability=None)
    follow_up = wants(10_000, 1_000_000, evens=3)

    assert believed(whole, VALUES, {"mine"}, LIMITS) is whole
    assert believed(basket, VALUES, (), LIMITS) is basket
    assert believed(follow_up, VALUES, (), LIMITS) is follow_up
    assert believed(whole, {}, (), LIMITS) is whole


def test_too_little_is_left_for_risk_to_refuse() -> None:
    little = wants(10_000, 40_000)

    assert believed(little, VALUES, (), LIMITS) is little
