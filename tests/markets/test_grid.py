"""Prices on a market's grid: the next one down or up, whatever its bands."""

from hypothesis import given
from hypothesis import strategies as st

from markets.book import above, at_or_below, on_grid

GRIDS = (
    ((0, 10_000, 100),),
    ((0, 10_000, 10),),
    ((0, 1_000, 10), (1_000, 9_000, 100), (9_000, 10_000, 10)),
    ((500, 600, 50),),
    (),
)


@given(st.integers(-100, 10_100), st.sampled_from(GRIDS))
def test_the_nearest_prices_are_those_that_a_search_finds(
    price_e4: int, grid: tuple[tuple[int, int, int], ...]
) -> None:
    prices = [price for price in range(1, 10_000) if on_grid(price, grid)]

    assert at_or_below(price_e4, grid) == max((one for one in prices if one <= price_e4), default=None)
    assert above(price_e4, grid) == min((one for one in prices if one > price_e4), default=None)
