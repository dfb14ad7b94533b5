"""One side of a book: the crowd's levels by price and in order, however they come and go."""

import hypothesis.strategies as st
from hypothesis import given

from simulator.matching.book import Half

PRICES = st.integers(1, 20)
STEPS = st.one_of(
    st.tuples(st.just("set"), PRICES, st.integers(0, 3)),
    st.tuples(st.just("lead"), PRICES, st.integers(0, 3)),
    st.tuples(st.sampled_from(("take", "withdraw")), PRICES, st.integers(1, 3)),
)


@given(st.lists(STEPS, max_size=60))
def test_levels_by_price_and_in_order_are_the_same(steps: list[tuple[str, int, int]]) -> None:
    half, levels = Half(), dict[int, int]()
    for what, price, count in steps:
        held = levels.get(price, 0)
        if what == "set":
            assert half.set_crowd(price, count) == count - held
            levels[price] = count
        elif what == "lead":
            gone = [(p, -c) for p, c in sorted(levels.items()) if p > price or not count]
            best = [(price, count - held)] if count and count != held else []
            assert half.lead_crowd((price, count)) == gone + best
            levels = {p: c for p, c in levels.items() if p < price and count} | {price: count}
        elif held:
            taken = min(count, held)
            (half.take_crowd if what == "take" else half.withdraw_crowd)(price, taken)
            levels[price] = held - taken
        levels = {p: c for p, c in levels.items() if c}
        assert half.crowd == levels
        assert half.ladder() == tuple(sorted(levels.items()))
        assert half.best() == max(levels, default=None)
