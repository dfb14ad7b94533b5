"""The complement rule and walking depth."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from markets.book import (
    NO,
    YES,
    asks,
    bids,
    cost_e6,
    depth,
    fills,
    is_complementary,
    on_grid,
    top_of_book,
    top_of_quote,
    yes_scale,
)
from markets.records import Book, Level, Quote, Status

sides = st.dictionaries(st.integers(1, 9_999), st.integers(1, 10**9), max_size=12).map(
    lambda levels: tuple(sorted(levels.items()))
)
books = st.builds(lambda yes, no: Book("T", 0, yes, no), sides, sides)
ladders = st.lists(st.tuples(st.integers(1, 9_999), st.integers(1, 10**6)), max_size=8)


def quote(bid: Level, ask: Level, no_bid_e4: int | None = None, no_ask_e4: int | None = None) -> Quote:
    return Quote(
        "T", Status.ACTIVE, bid[0], ask[0],
        10_000 - ask[0] if no_bid_e4 is None else no_bid_e4,
        10_000 - bid[0] if no_ask_e4 is None else no_ask_e4,
        bid[1], ask[1], None, None, None, None, None, None, None, 0,
    )  # fmt: skip


@given(books)
def test_a_bid_of_one_outcome_is_an_ask_of_the_other(book: Book) -> None:
    for side, other in ((YES, NO), (NO, YES)):
        assert asks(book, side) == tuple((10_000 - price, count) for price, count in bids(book, other))
        assert list(asks(book, side)) == sorted(asks(book, side))
        assert list(bids(book, side)) == sorted(bids(book, side), reverse=True)
    assert yes_scale(book) == (bids(book, YES), asks(book, YES))


@given(books)
def test_top_is_the_best_of_each_ladder(book: Book) -> None:
    top = top_of_book(book)
    for side in (YES, NO):
        assert top.bid(side) == (bids(book, side)[0] if bids(book, side) else None)
        assert top.ask(side) == (asks(book, side)[0] if asks(book, side) else None)
    if top.yes_bid is not None and top.no_bid is not None:
        assert top.crossed == (top.yes_bid[0] + top.no_bid[0] >= 10_000)
    else:
        assert not top.crossed


def test_top_of_a_quote_is_that_of_its_book() -> None:
    book = Book("T", 0, ((5_300, 412_000),), ((4_600, 189_327),))
    top = top_of_quote(quote((5_300, 412_000), (5_400, 189_327)))
    assert top == top_of_book(book)
    assert (top.no_bid, top.no_ask) == ((4_600, 189_327), (4_700, 412_000))


@pytest.mark.parametrize("sentinel", [0, 10_000])
def test_a_side_without_size_does_not_exist_whatever_its_price(sentinel: int) -> None:
    top = top_of_quote(quote((5_300, 100), (sentinel, 0)))
    assert (top.yes_ask, top.no_bid, top.crossed) == (None, None, False)
    assert top_of_quote(quote((sentinel, 0), (5_300, 100))).yes_bid is None


def test_prices_of_both_outcomes_must_agree_where_a_side_exists() -> None:
    assert is_complementary(quote((5_300, 100), (5_400, 100)))
    assert not is_complementary(quote((5_300, 100), (5_400, 100), no_ask_e4=4_600))
    assert not is_complementary(quote((5_300, 100), (5_400, 100), no_bid_e4=4_700))
    assert is_complementary(quote((0, 0), (0, 0), no_bid_e4=10_000, no_ask_e4=0))


@given(ladders, st.integers(0, 10**7))
def test_taking_is_exact_and_never_more_than_is_there(ladder: list[Level], count_e2: int) -> None:
    head = fills(ladder, count_e2)
    assert depth(head) == min(count_e2, depth(ladder))
    assert [price for price, _ in head] == [price for price, _ in ladder[: len(head)]]
    assert all(count == ladder[i][1] for i, (_, count) in enumerate(head[:-1]))


@given(ladders, st.integers(0, 10**6), st.integers(0, 10**6))
def test_taking_twice_costs_as_much_as_taking_once(ladder: list[Level], first: int, second: int) -> None:
    taken = fills(ladder, first)
    rest = [
        (price, count - (taken[i][1] if i < len(taken) else 0))
        for i, (price, count) in enumerate(ladder)
        if i >= len(taken) or count > taken[i][1]
    ]
    assert cost_e6(taken) + cost_e6(fills(rest, second)) == (
        cost_e6(fills(ladder, min(first, depth(ladder)) + second))
    )


TAPERED = ((0, 1_000, 10), (1_000, 9_000, 100), (9_000, 10_000, 10))


@pytest.mark.parametrize(
    ("price_e4", "ranges", "valid"),
    [
        (5_600, ((0, 10_000, 100),), True),
        (5_610, ((0, 10_000, 100),), False),
        (0, ((0, 10_000, 100),), False),
        (10_000, ((0, 10_000, 100),), False),
        (990, TAPERED, True),
        (1_010, TAPERED, False),
        (9_010, TAPERED, True),
        (9_005, TAPERED, False),
        (5_600, (), False),
    ],
)
def test_grid(price_e4: int, ranges: tuple[tuple[int, int, int], ...], valid: bool) -> None:
    assert on_grid(price_e4, ranges) is valid
