"""Whether anything is found depends on prices alone, and what cannot pay at best prices is never tradable."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.scan.membership import cheaper_e4, prices_seen
from markets.fees import FeeSchedule, fill_fee, least_fee_e18
from markets.opportunities import EventView, MarketView, ScanLimits, by_prices, candidates, lacks_e4, may_pay
from markets.records import Book, FairValue, Level, Series, Status
from tests.markets.builders import NOW_MS, PLAIN, above, bucket, event, ladder, row

DEAR = msgspec.structs.replace(PLAIN, fee_multiplier_e4=150_000)
SIZES = st.sampled_from([1, 40, 100, 12_345, 900_000])
PRICES = st.tuples(st.integers(1, 98), st.integers(1, 30)).map(
    lambda p: (100 * p[0], 100 * min(99, p[0] + p[1]))
)


@st.composite
def views(draw: st.DrawFn) -> EventView:
    series = draw(st.sampled_from([PLAIN, DEAR, msgspec.structs.replace(PLAIN, fee_type="odd")]))
    if draw(st.booleans()):
        count = draw(st.integers(2, 4))
        top = draw(st.integers(9_000, 11_500)) // count
        legs = [
            row(f"T{n}", (bid, 100_00), (bid + draw(st.integers(1, 9)) * 100, 100_00))
            for n in range(count)
            for bid in [max(100, (top + draw(st.integers(-3, 3)) * 100) // 100 * 100)]
        ]
        return event(*legs, series=series)
    rungs = [above(strike, *draw(PRICES)) for strike in (50, 60, 70)] + [bucket(60, 65, *draw(PRICES))]
    return ladder(*rungs, series=series)


def with_depth(draw: st.DrawFn, seen: MarketView) -> MarketView:
    """The same best prices: of other sizes, with another depth, age, doubt, in the book or in the quote."""
    quote, behind = seen.quote, draw(st.integers(0, 3))
    yes: tuple[Level, ...] = ((quote.yes_bid_e4, draw(SIZES)),)
    no: tuple[Level, ...] = ((quote.no_bid_e4, draw(SIZES)),)
    for step in range(1, behind + 1):
        yes = ((quote.yes_bid_e4 - 100 * step, draw(SIZES)), *yes)
        no = ((quote.no_bid_e4 - 100 * step, draw(SIZES)), *no)
    yes, no = (tuple(level for level in side if level[0] > 0) for side in (yes, no))
    as_of_ms = NOW_MS - draw(st.integers(0, 60_000))
    book_ms = as_of_ms + draw(st.integers(-3_000, 3_000))
    booked = draw(st.booleans())
    return msgspec.structs.replace(
        seen,
        quote=msgspec.structs.replace(quote, yes_bid_size_e2=draw(SIZES), yes_ask_size_e2=draw(SIZES)),
        book=Book(quote.ticker, book_ms, yes, no) if booked else None,
        quote_as_of_ms=as_of_ms,
        book_as_of_ms=book_ms if booked else None,
        suspect=draw(st.booleans()),
        vouched=draw(st.booleans()),
    )


@given(views(), st.data(), st.integers(0, 40_000_000), st.dictionaries(st.integers(0, 3), st.floats(0, 1)))
@settings(max_examples=150)
def test_sizes_depth_ages_and_time_decide_how_much_and_never_whether(
    view: EventView, data: Any, later_ms: int, beliefs: dict[int, float]
) -> None:
    assert by_prices()
    tickers = [seen.market.ticker for seen in view.markets]
    values = {
        tickers[place]: FairValue(tickers[place], belief, "file", NOW_MS)
        for place, belief in beliefs.items()
        if place < len(tickers)
    }
    other = msgspec.structs.replace(
        view, markets=tuple(data.draw(st.composite(with_depth)(seen)) for seen in view.markets)
    )
    found = candidates(view, values, NOW_MS, ScanLimits())
    again = candidates(other, values, NOW_MS + later_ms, ScanLimits())

    assert not found.failures
    assert not again.failures
    assert {one.kind for one in found.opportunities} == {one.kind for one in again.opportunities}
    assert may_pay(view, values) == may_pay(other, values)
    if not may_pay(view, values):
        assert not any(one.tradable for one in (*found.opportunities, *again.opportunities))


def worsened(draw: st.DrawFn, seen: MarketView) -> MarketView:
    """A market of which a bid has fallen or gone, an ask has risen or gone."""
    quote = seen.quote
    bid_e4 = max(100, quote.yes_bid_e4 - 100 * draw(st.integers(0, 5)))
    ask_e4 = min(9_900, quote.yes_ask_e4 + 100 * draw(st.integers(0, 5)))
    worse = msgspec.structs.replace(
        quote,
        yes_bid_e4=bid_e4,
        no_ask_e4=10_000 - bid_e4,
        yes_ask_e4=ask_e4,
        no_bid_e4=10_000 - ask_e4,
        yes_bid_size_e2=draw(st.sampled_from([0, quote.yes_bid_size_e2])),
        yes_ask_size_e2=draw(st.sampled_from([0, quote.yes_ask_size_e2])),
    )
    assert cheaper_e4(prices_seen(msgspec.structs.replace(seen, quote=worse)), prices_seen(seen)) == 0
    return msgspec.structs.replace(seen, quote=worse)


@given(views(), st.data())
@settings(max_examples=40)
def test_what_cannot_pay_cannot_when_everything_costs_more(view: EventView, data: Any) -> None:
    markets = tuple(data.draw(st.composite(worsened)(seen)) for seen in view.markets)
    assert may_pay(view, {}) or not may_pay(msgspec.structs.replace(view, markets=markets), {})


@given(views(), st.data())
@settings(max_examples=200)
def test_what_cannot_pay_cannot_before_prices_have_moved_by_what_it_lacks(view: EventView, data: Any) -> None:
    lacked_e4 = lacks_e4(view, {})
    assert may_pay(view, {}) == (lacked_e4 == 0)
    for _ in range(8):
        place = data.draw(st.integers(0, len(view.markets) - 1))
        seen, (bid_e4, ask_e4) = view.markets[place], data.draw(PRICES)
        sizes = {
            "yes_bid_size_e2": data.draw(SIZES | st.just(0)),
            "yes_ask_size_e2": data.draw(SIZES | st.just(0)),
        }
        quote = msgspec.structs.replace(
            seen.quote,
            yes_bid_e4=bid_e4,
            no_ask_e4=10_000 - bid_e4,
            yes_ask_e4=ask_e4,
            no_bid_e4=10_000 - ask_e4,
            **sizes,
        )
        moved = msgspec.structs.replace(seen, quote=quote)
        lacked_e4 -= cheaper_e4(prices_seen(moved), prices_seen(seen))
        view = msgspec.structs.replace(
            view, markets=(*view.markets[:place], moved, *view.markets[place + 1 :])
        )
        assert lacked_e4 <= 0 or not may_pay(view, {})


@pytest.mark.parametrize(
    ("changes", "better"),
    [
        ({"yes_bid_e4": 4_100}, True),
        ({"yes_ask_e4": 4_100}, True),
        ({"yes_bid_size_e2": 0}, False),
        ({"yes_ask_size_e2": 0}, False),
        ({"yes_bid_e4": 3_900, "yes_ask_e4": 4_300}, False),
        ({"status": Status.INACTIVE}, True),
    ],
)
def test_a_price_is_better_when_something_costs_less(changes: dict[str, Any], better: bool) -> None:
    seen = row("T", (4_000, 100_00), (4_200, 100_00))
    moved = msgspec.structs.replace(seen, quote=msgspec.structs.replace(seen.quote, **changes))
    assert (cheaper_e4(prices_seen(moved), prices_seen(seen)) > 0) is better
    gone = msgspec.structs.replace(seen, quote=msgspec.structs.replace(seen.quote, yes_ask_size_e2=0))
    assert cheaper_e4(prices_seen(seen), prices_seen(gone)) == 5_800


def test_that_something_may_pay_is_said_of_what_pays_and_not_of_what_fees_eat() -> None:
    pays = event(*(row(f"T{n}", (4_000, 100_00), (4_200, 100_00)) for n in range(3)))
    eaten = event(*(row(f"T{n}", (3_400, 100_00), (3_600, 100_00)) for n in range(3)))
    assert may_pay(pays, {})
    assert candidates(eaten, {}, NOW_MS, ScanLimits()).opportunities
    assert not may_pay(eaten, {})


@given(st.integers(1, 9_999), SIZES, st.integers(0, 140_000), st.sampled_from([0, 1_800_000_000_000]))
def test_no_fee_is_less_than_the_least_fee(price_e4: int, count_e2: int, multiplier: int, at_ms: int) -> None:
    schedule = FeeSchedule("quadratic", multiplier)
    fee_e6 = fill_fee(schedule, price_e4, count_e2, time_ms=at_ms).total_e6
    assert fee_e6 * 10**12 * 100 >= least_fee_e18(schedule, price_e4) * count_e2


def test_a_status_is_a_price_too() -> None:
    legs = [row(f"T{n}", (4_000, 100_00), (4_200, 100_00)) for n in range(3)]
    paused = [
        msgspec.structs.replace(one, quote=msgspec.structs.replace(one.quote, status=Status.INACTIVE))
        for one in legs
    ]
    assert may_pay(event(*legs), {})
    assert not may_pay(event(*paused), {})


def test_an_unknown_fee_is_no_trade() -> None:
    series: Series = msgspec.structs.replace(PLAIN, fee_type="odd")
    legs = [row(f"T{n}", (4_000, 100_00), (4_200, 100_00)) for n in range(3)]
    assert not may_pay(event(*legs, series=series), {})
