"""What own orders took of the levels that are shown is not ordered again."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from markets.book import YES, depth
from markets.opportunities.legs import ladder, top
from markets.orders import Fill, Intent
from tests.trader.world import (
    LIMITS,
    NOW_MS,
    SCAN,
    basket,
    data,
    event_of,
    filled,
    leg,
    live,
    start,
    unfilled,
    view_of,
)
from trader.engine.engine import Engine
from trader.engine.outputs import Place
from trader.engine.taken import MARKETS_MAX, Taken

EVENT = event_of()
TICKER = f"{EVENT.event_ticker}-HOM"
TEN = msgspec.structs.replace(LIMITS, positions_per_event=10)


def placed(outputs: list[Any]) -> list[Intent]:
    return [output.intent for output in outputs if isinstance(output, Place)]


def running(**changes: Any) -> Engine:
    engine = Engine()
    engine.step(start(limits=TEN, **changes))
    engine.step(live())
    return engine


def counts(intents: list[Intent]) -> list[int]:
    return [one.count_e2 // 100 for one in intents]


def test_the_same_depth_is_not_ordered_twice_though_it_goes_on_being_shown() -> None:
    engine = running()
    first = placed(engine.step(data(basket(size_e2=20_000))))
    second = placed(engine.step(data(basket(size_e2=20_000), seq=2)))  # the first are on their way

    assert (counts(first), counts(second)) == ([162] * 3, [])  # 300 dollars an event
    for one in first:
        engine.step(filled(one))
    engine.limits = msgspec.structs.replace(TEN, event_e6=10**9)
    third = placed(engine.step(data(basket(size_e2=20_000), seq=3)))

    assert counts(third) == [38] * 3
    for one in third:
        engine.step(filled(one))
    assert placed(engine.step(data(basket(size_e2=20_000), seq=4))) == []
    assert counts(placed(engine.step(data(basket(size_e2=20_000, bid_e4=4_100), seq=5)))) != []


def test_what_was_not_had_is_free_again() -> None:
    engine = running()
    for one in placed(engine.step(data(basket(size_e2=5_000)))):
        engine.step(unfilled(one))

    assert engine.taken.levels == {}


def test_a_level_that_shrank_or_went_is_taken_no_more() -> None:
    engine = running(taken=((TICKER, "yes", 4_200, 1_000),))

    def left(*asks: tuple[int, int]) -> int:
        engine.step(data(view_of(EVENT, leg(EVENT, "HOM", book=([], list(asks))))))
        seen = engine.taken.left(view_of(EVENT, leg(EVENT, "HOM", book=([], list(asks))))).markets[0]
        return depth(ladder(seen, YES, SCAN).levels)

    assert left((5_800, 3_000)) == 2_000
    assert left((5_800, 400)) == 0
    assert left((5_800, 1_000)) == 600  # what came back since was not taken
    assert left((5_700, 1_000)) == 1_000
    assert left((5_800, 1_000)) == 1_000


def test_without_a_book_the_best_of_a_quote_is_gone_or_less() -> None:
    seen = leg(EVENT, "HOM", (4_000, 1_000), (4_200, 1_000))
    for count_e2, ask in ((400, (4_200, 600)), (1_000, None)):
        left = Taken([(TICKER, "yes", 4_200, count_e2)]).left(view_of(EVENT, seen)).markets[0]
        assert (top(left).yes_ask, top(left).yes_bid) == (ask, (4_000, 1_000))


def test_a_quote_younger_than_its_book_shows_the_books_next_level_once_the_best_is_taken() -> None:
    booked = leg(EVENT, "HOM", book=([(4_000, 500)], [(5_000, 700), (5_800, 300)]))
    seen = msgspec.structs.replace(booked, quote_as_of_ms=NOW_MS + 500)

    left = Taken([(TICKER, "yes", 4_200, 300)]).left(view_of(EVENT, seen)).markets[0]

    assert ladder(left, YES, SCAN).levels == ((5_000, 700),)
    assert left.quote.no_bid_e4 == 5_000


def test_at_an_exchange_only_orders_on_their_way_count() -> None:
    taken = Taken(stays=False)
    (intent, *_) = placed(running().step(data(basket(size_e2=5_000))))
    taken.plan(intent, ((6_000, 5_000),))
    assert taken.levels == {intent.ticker: {("no", 6_000): 5_000}}

    taken.end(intent)

    assert taken.levels == {}


def test_a_session_of_old_knows_nothing_of_it() -> None:
    engine = running(rules=1)
    for one in placed(engine.step(data(basket(size_e2=5_000)))):
        engine.step(filled(one))

    assert engine.taken.levels == {}


def test_of_markets_that_nobody_tells_of_the_oldest_are_forgotten() -> None:
    taken = Taken((f"M{number}", "yes", 4_000, 100) for number in range(MARKETS_MAX + 3))

    assert (len(taken.levels), "M2" in taken.levels, "M3" in taken.levels) == (MARKETS_MAX, False, True)


sizes = st.integers(0, 5_000)


@given(
    st.dictionaries(st.sampled_from(range(100, 4_900, 100)), sizes.filter(bool), max_size=5),
    st.dictionaries(st.sampled_from(range(100, 4_900, 100)), sizes.filter(bool), max_size=5),
    st.lists(st.tuples(st.sampled_from(["yes", "no"]), st.integers(0, 4), sizes), max_size=6),
)
def test_what_is_left_is_what_is_shown_less_what_was_taken(
    yes: dict[int, int], no: dict[int, int], takings: list[tuple[str, int, int]]
) -> None:
    seen = leg(EVENT, "HOM", book=(sorted(yes.items()), sorted(no.items())))
    view = view_of(EVENT, seen)
    taken: dict[tuple[str, int], int] = {}
    for side, at, count_e2 in takings:
        levels = ladder(seen, side, SCAN).levels
        if at < len(levels):
            key = side, levels[at][0]
            taken[key] = taken.get(key, 0) + count_e2

    left = Taken((TICKER, side, price, count) for (side, price), count in taken.items()).left(view).markets[0]

    for side in ("yes", "no"):
        expected = [
            (price, shown - taken.get((side, price), 0))
            for price, shown in ladder(seen, side, SCAN).levels
            if shown > taken.get((side, price), 0)
        ]
        assert list(ladder(left, side, SCAN).levels) == expected
        # The quote says no better than the book: whoever looks at it alone sees the same best.
        assert left.quote.yes_ask_size_e2 >= 0
        assert left.quote.yes_bid_size_e2 >= 0


def bid(number: int, price_e4: int, count_e2: int) -> Intent:
    """An order that rests, for NO of HOM."""
    (first, *_) = placed(running().step(data(basket(size_e2=20_000))))
    return msgspec.structs.replace(
        first, number=number, ticker=TICKER, price_e4=price_e4, count_e2=count_e2, time_in_force="gtc"
    )


def offered_e2(taken: Taken, size_e2: int = 20_000) -> int:
    view = basket(size_e2=size_e2)
    taken.observe(view, SCAN)
    (seen,) = (one for one in taken.left(view).markets if one.market.ticker == TICKER)
    return depth(ladder(seen, "no", SCAN).levels)


def test_what_is_offered_at_the_price_of_a_paper_order_that_rests_is_what_that_gets() -> None:
    resting = {("no", 6_000): 5_000}
    taken = Taken(bids=lambda _ticker: resting)
    order = bid(9, 6_000, 5_000)
    taken.plan(order, ())
    whole = depth(ladder(basket(size_e2=20_000).markets[0], "no", SCAN).levels)

    assert offered_e2(taken) == whole - 5_000
    resting.clear()
    taken.fill(order, Fill(6_000, 5_000, 0, 5_000, NOW_MS, maker=True))
    taken.end(order)
    assert offered_e2(taken) == whole - 5_000  # it goes on being shown
    other = basket(2)
    assert taken.left(other) is other  # other markets

    gone = view_of(EVENT, leg(EVENT, "HOM", (3_900, 20_000), (4_200, 20_000)))
    taken.observe(gone, SCAN)
    assert taken.left(gone) is gone
    assert offered_e2(taken) == whole  # somebody else offers


def test_who_offers_above_the_price_of_an_order_that_rests_offers_all() -> None:
    taken = Taken(bids=lambda _ticker: {("no", 5_900): 5_000})
    taken.plan(bid(9, 5_900, 5_000), ())

    assert taken.left(basket()) == basket()


def test_at_an_exchange_what_meets_an_order_that_rests_is_shown_no_more() -> None:
    taken = Taken(stays=False, bids=lambda _ticker: {("no", 6_000): 5_000})
    order = bid(9, 6_000, 5_000)
    taken.plan(order, ())
    taken.fill(order, Fill(6_000, 5_000, 0, 5_000, NOW_MS, maker=True))

    seen = basket()
    assert taken.left(seen) is seen
