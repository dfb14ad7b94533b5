"""What of a trade is locked, whatever happens next, and that it is never more than the trade then pays."""

from collections.abc import Sequence
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from markets.opportunities.kinds.no_basket import guaranteed_payout_e6
from trader.engine.locks import Leg, split

ONE = 10_000


def of_no(legs: Sequence[tuple[str, str, int]]) -> int | None:
    """What NO legs pay of an event in which at most one market resolves YES."""
    return guaranteed_payout_e6([count_e2 for *_, count_e2 in legs])


def no(
    name: str, count_e2: int = 100, price_e4: int = 6_000, value_e4: int | None = None, paid: bool = False
) -> Leg:
    return Leg(name, "no", count_e2, price_e4 * count_e2, value_e4, paid)


def floor_e6(*legs: Leg) -> int:
    return split(legs, of_no).floor_e6


def test_a_whole_basket_is_locked_at_what_all_but_one_leg_pay() -> None:
    parted = split([no("A"), no("B"), no("C")], of_no)

    assert parted.floor_e6 == 2_000_000
    assert not parted.free
    assert [part.value_e6 for part in parted.locked] == [666_666, 666_667, 666_667]


def test_a_leg_alone_and_legs_that_cost_more_than_they_surely_pay_are_free() -> None:
    assert split([no("A")], of_no).floor_e6 == 0
    assert split([no("A"), no("B")], of_no).floor_e6 == 0  # 1.20 for a dollar
    assert split([no("A"), no("B", price_e4=4_000)], of_no).floor_e6 == 1_000_000  # exactly what it cost


def test_what_nobody_promises_anything_of_is_free() -> None:
    parted = split([no("A"), no("B"), no("C")], lambda _legs: None)

    assert not parted.locked
    assert [part.ticker for part in parted.free] == ["A", "B", "C"]


def test_of_uneven_legs_as_much_is_locked_as_all_have() -> None:
    parted = split([no("A", 100), no("B", 100), no("C", 40)], of_no)

    assert parted.floor_e6 == 40 * 2 * ONE
    assert [(part.ticker, part.count_e2, part.cost_e6) for part in parted.free] == [
        ("A", 60, 360_000),
        ("B", 60, 360_000),
    ]


def test_layers_that_only_earn_together_are_locked_together() -> None:
    # The upper layer cost less than the average says: two legs at 0.55 would not be worth it by themselves.
    parted = split([no("A", 200, 5_100), no("B", 200, 5_100), no("C", 100, 6_000)], of_no)

    assert not parted.free
    assert parted.floor_e6 == 3_000_000


def test_a_result_moves_the_floor_by_what_it_pays_and_never_the_sum() -> None:
    before = floor_e6(no("A"), no("B"), no("C"))

    assert floor_e6(no("A", value_e4=ONE), no("B"), no("C")) == before  # one has paid, one of two will
    assert floor_e6(no("A", value_e4=0), no("B"), no("C")) == before  # one paid nothing: both others will
    assert floor_e6(no("A", value_e4=0, paid=True), no("B"), no("C")) == before
    assert floor_e6(no("A", value_e4=ONE, paid=True), no("B"), no("C")) == before - 1_000_000
    assert floor_e6(*(no(name, value_e4=ONE) for name in "ABC")) == 3_000_000  # more than was promised


def test_of_a_void_nothing_is_promised() -> None:
    parted = split([no("A", value_e4=4_000, paid=True), no("B"), no("C")], of_no)

    assert not parted.locked
    assert [part.ticker for part in parted.free] == ["B", "C"]


@given(
    st.lists(st.tuples(st.integers(1, 300), st.integers(1, 9_999)), min_size=1, max_size=4),
    st.data(),
)
def test_the_floor_is_what_the_worst_outcome_pays_of_what_is_locked(
    made: list[tuple[int, int]], data: st.DataObject
) -> None:
    legs = [no(str(at), count_e2, price_e4) for at, (count_e2, price_e4) in enumerate(made)]
    winner = data.draw(st.integers(-1, len(legs) - 1))  # -1: none of them
    known = data.draw(st.lists(st.booleans(), min_size=len(legs), max_size=len(legs)))
    seen = [
        no(leg.ticker, leg.count_e2, made[at][1], (0 if at == winner else ONE) if known[at] else None)
        for at, leg in enumerate(legs)
    ]
    parted = split(seen, of_no)

    held = {leg.ticker: 0 for leg in legs}
    for part in (*parted.locked, *parted.free):
        held[part.ticker] += part.count_e2
    assert held == {leg.ticker: leg.count_e2 for leg in legs}
    costs = [part.cost_e6 for part in (*parted.locked, *parted.free)]
    assert sum(costs) == sum(leg.cost_e6 for leg in legs)

    possible = [
        last
        for last in range(-1, len(legs))
        if all(not is_known or (at == last) == (at == winner) for at, is_known in enumerate(known))
    ]
    worst = min(
        sum(part.count_e2 * ONE for part in parted.locked if int(part.ticker) != last) for last in possible
    )
    assert parted.floor_e6 <= worst


def test_paid_legs_are_told_once_each_way() -> None:
    for first, second in product((0, ONE), repeat=2):
        if first == second == 0:
            continue  # at most one of them
        whole = floor_e6(no("A", value_e4=first), no("B", value_e4=second), no("C"))
        rest = floor_e6(no("A", value_e4=first, paid=True), no("B", value_e4=second, paid=True), no("C"))
        assert whole == rest + (first + second) * 100
