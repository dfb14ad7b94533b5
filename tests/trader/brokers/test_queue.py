"""The queue of resting orders: what is ahead, what trades fill, and that doubt never fills more."""

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from markets.opportunities import MarketView
from markets.records import Trade
from tests.trader.world import NOW_MS, event_of, leg
from trader.brokers.queue import Hit, MarketQueue, Resting, shown_at

EVENT = event_of()
TICKER = f"{EVENT.event_ticker}-HOM"
PRICE_E4 = 4_000


def at(count_e2: int, price_e4: int = PRICE_E4, **changes: object) -> MarketView:
    """A book with so much bid for YES at a price, some below, and an ask far above."""
    bids = [(1_000, 50_000), *([(price_e4, count_e2)] if count_e2 else [])]
    return leg(EVENT, "HOM", book=(bids, [(3_000, 10_000)]), **changes)  # type: ignore[arg-type]


def sold(count_e2: int, yes_price_e4: int = PRICE_E4) -> Trade:
    """Somebody sells YES, which is buying NO."""
    return Trade("t", TICKER, yes_price_e4, count_e2, "no", NOW_MS)


def ahead(line: MarketQueue, number: int = 1) -> int | None:
    return line.orders[number].ahead_e2


def queue(*orders: tuple[int, int], seen: MarketView | None = None) -> MarketQueue:
    """A queue in which YES is bid for, (number, count) each, at one price."""
    made = MarketQueue()
    for number, count_e2 in orders:
        made.join(Resting(number, "yes", PRICE_E4, count_e2), at(1_000) if seen is None else seen)
    return made


def test_trades_at_the_price_eat_what_is_ahead_first_and_then_the_order() -> None:
    line = queue((1, 500))

    assert line.trade(sold(700), 0) == []
    assert ahead(line) == 300
    assert line.trade(sold(400), 0) == [Hit(1, 100)]
    assert line.trade(sold(1_000), 0) == [Hit(1, 400)]
    assert line.orders[1].left_e2 == 0


def test_own_orders_stand_behind_each_other_and_share_what_a_trade_brings() -> None:
    line = queue((1, 500), (2, 500))

    assert line.trade(sold(1_700), 0) == [Hit(1, 500), Hit(2, 200)]


def test_what_joins_later_is_behind_and_what_is_taken_back_is_shared() -> None:
    line = queue((1, 500))
    line.observe(at(3_000), 0)
    assert ahead(line) == 1_000

    line.observe(at(1_500), 0)  # half of the level went, by no trade
    assert ahead(line) == 500
    line.observe(at(200), 0)
    assert (ahead(line) or 0) <= 200
    line.observe(at(0), 0)
    assert ahead(line) == 0


@pytest.mark.parametrize("trade_first", [True, False])
def test_a_trade_and_the_shrinking_it_makes_count_once_whichever_is_told_first(trade_first: bool) -> None:
    line = queue((1, 500))
    line.observe(at(2_000), 0)  # a thousand ahead, a thousand behind

    if trade_first:
        line.trade(sold(600), 0)
    line.observe(at(1_400), 100)
    if not trade_first:
        line.trade(sold(600), 200)

    assert ahead(line) == 400


def test_a_trade_long_after_a_shrinking_is_another_one() -> None:
    line = queue((1, 500))
    line.observe(at(500), 0)
    line.trade(sold(100), 2_001)

    assert ahead(line) == 400


def test_a_trade_beyond_the_price_fills_whatever_is_ahead_and_no_more_than_was_traded() -> None:
    line = queue((1, 500), (2, 500))

    assert line.trade(sold(700, PRICE_E4 - 100), 0) == [Hit(1, 500), Hit(2, 200)]
    assert ahead(line, 2) == 0


def test_of_two_prices_the_better_is_filled_first() -> None:
    line = queue((1, 500))
    line.join(Resting(2, "yes", PRICE_E4 + 100, 300), at(1_000))

    assert ahead(line, 2) == 0
    assert line.trade(sold(1_400), 0) == [Hit(2, 300), Hit(1, 100)]


def test_what_buys_the_side_of_the_order_fills_nothing() -> None:
    line = queue((1, 500))

    assert line.trade(msgspec.structs.replace(sold(5_000), taker_side="yes"), 0) == []


def test_an_order_for_no_is_filled_by_who_buys_yes() -> None:
    line = MarketQueue()
    line.join(Resting(1, "no", 3_000, 500), at(1_000))  # where 100 contracts are bid for NO
    bought = Trade("t", TICKER, 7_000, 10_200, "yes", NOW_MS)

    assert ahead(line) == 10_000
    assert line.trade(bought, 0) == [Hit(1, 200)]


def test_another_price_or_more_contracts_lose_the_place_and_fewer_keep_it() -> None:
    line = queue((1, 500))
    line.trade(sold(900), 0)
    line.observe(at(3_000), 100)

    line.change(1, PRICE_E4, 300, at(3_000))
    assert (ahead(line), line.orders[1].left_e2) == (100, 300)
    line.change(1, PRICE_E4, 301, at(3_000))
    assert ahead(line) == 3_000
    line.change(1, 1_000, 301, at(3_000))
    assert (line.orders[1].price_e4, ahead(line)) == (1_000, 50_000)


def test_a_level_that_a_quote_hides_has_no_place_until_it_is_shown() -> None:
    hidden = leg(EVENT, "HOM", (4_100, 900), (7_000, 100))
    line = queue((1, 500), seen=hidden)
    assert ahead(line) is None
    assert line.trade(sold(5_000), 0) == []

    line.observe(leg(EVENT, "HOM", (PRICE_E4, 700), (7_000, 100)), 0)
    assert ahead(line) == 700
    line.observe(leg(EVENT, "HOM", (3_900, 700), (7_000, 100)), 5_000)
    assert ahead(line) == 0


@pytest.mark.parametrize("doubt", ["suspect", "crossed"])
def test_a_market_in_doubt_says_nothing(doubt: str) -> None:
    line = queue((1, 500))
    odd = at(0, suspect=True) if doubt == "suspect" else leg(EVENT, "HOM", (3_900, 1), (3_800, 1))

    line.observe(odd, 0)
    assert ahead(line) == 1_000


def test_a_place_of_before_is_kept_as_far_as_the_level_shows_so_much() -> None:
    for kept_e2, ahead_e2 in ((300, 300), (1_500, 1_000), (None, 1_000)):
        line = MarketQueue()
        line.join(Resting(1, "yes", PRICE_E4, 500, kept_e2), None)
        line.observe(at(1_000), 0)
        assert ahead(line) == ahead_e2


def test_the_newer_of_book_and_quote_shows_a_level() -> None:
    both = at(1_000)
    newer = msgspec.structs.replace(
        both,
        quote=leg(EVENT, "HOM", (PRICE_E4, 600), (7_000, 100)).quote,
        quote_as_of_ms=NOW_MS + 1,
    )

    assert shown_at(both, "yes", PRICE_E4) == 1_000
    assert shown_at(newer, "yes", PRICE_E4) == 600
    assert shown_at(newer, "yes", 1_000) == 50_000  # behind the best the book is all there is
    assert shown_at(newer, "yes", PRICE_E4 + 100) == 0
    assert shown_at(newer, "no", 3_000) == 100


happenings = st.lists(
    st.one_of(
        st.tuples(st.just("shows"), st.integers(0, 3_000)),
        st.tuples(st.just("trade"), st.integers(1, 2_000)),
        st.tuples(st.just("through"), st.integers(1, 300)),
        st.tuples(st.just("time"), st.integers(1, 3_000)),
    ),
    max_size=25,
)


@given(st.lists(st.integers(1, 900), min_size=1, max_size=4), happenings)
def test_nothing_is_filled_but_by_trades_and_none_before_one_that_came_earlier(
    counts: Sequence[int], happened: Sequence[tuple[str, int]]
) -> None:
    line = queue(*enumerate(counts, 1))
    left, now_ms, traded_e2 = dict(enumerate(counts, 1)), 0, 0
    for what, amount in happened:
        hits: list[Hit] = []
        if what == "time":
            now_ms += amount
        elif what == "shows":
            before = {number: order.ahead_e2 for number, order in line.orders.items()}
            line.observe(at(amount), now_ms)
            assert all((order.ahead_e2 or 0) <= (before[n] or 0) for n, order in line.orders.items())
        else:
            hits = line.trade(sold(amount, PRICE_E4 - 100 * (what == "through")), now_ms)
            traded_e2 += amount
            assert sum(hit.count_e2 for hit in hits) <= amount
        for hit in hits:
            assert 0 < hit.count_e2 <= left[hit.number]
            left[hit.number] -= hit.count_e2
            assert not any(left[number] for number in left if number < hit.number)
        assert {number: order.left_e2 for number, order in line.orders.items()} == left
        assert all((order.ahead_e2 or 0) >= 0 for order in line.orders.values())
    assert sum(counts) - sum(left.values()) <= traded_e2


@given(st.integers(0, 2_000), st.integers(0, 2_000), st.integers(1, 1_500), st.booleans())
def test_the_order_in_which_a_trade_and_its_shrinking_are_told_makes_no_difference(
    ahead_e2: int, behind_e2: int, count_e2: int, told_late: bool
) -> None:
    count_e2 = min(count_e2, ahead_e2 + behind_e2)
    if not count_e2:
        return
    shown_e2 = ahead_e2 + behind_e2
    got = []
    for trade_first in (True, False):
        line = queue((1, 500), seen=at(ahead_e2))
        line.observe(at(shown_e2), 0)
        hits = line.trade(sold(count_e2), 1) if trade_first else []
        line.observe(at(shown_e2 - count_e2), 2)
        hits += [] if trade_first else line.trade(sold(count_e2), 2_000 if told_late else 3)
        got.append((hits, line.orders[1].left_e2))
    assert got[0] == got[1]
