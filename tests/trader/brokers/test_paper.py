"""The paper broker: fills at arrival, exact fees, and liquidity that is taken once."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from markets.fees import OrderFees, fill_fee
from markets.opportunities import MarketView
from markets.orders import AnyOrderEvent, Ended, Fill, Filled, Intent
from markets.records import Status
from tests.trader.brokers.orders import EVENT, TICKER, order
from tests.trader.ledger.builders import FEES
from tests.trader.world import CLOSE_MS, NOW_MS, SCAN, leg
from trader.brokers.base import OpenOrder
from trader.brokers.paper import PaperBroker
from trader.engine.inputs import Present
from trader.ledger.ledger import Progress

NOW = Present(NOW_MS, 0)


def book(*asks: tuple[int, int], as_of_ms: int = NOW_MS) -> MarketView:
    """A market whose YES asks are these levels, best first."""
    no_bids = sorted((10_000 - price_e4, count_e2) for price_e4, count_e2 in asks)
    return leg(EVENT, "HOM", book=([(1_000, 10_000)], no_bids), as_of_ms=as_of_ms)


def broker(latency_ms: int = 0, **taken: Any) -> PaperBroker:
    return PaperBroker(latency_ms, 30_000, SCAN, **taken)


class Outcome(msgspec.Struct, frozen=True):
    """How an order ended, put together from its events."""

    number: int
    fills: tuple[Fill, ...]
    reason: str


def outcome_of(events: list[AnyOrderEvent]) -> Outcome:
    *filled, ended = events
    assert isinstance(ended, Ended)
    assert all(event.number == ended.number for event in filled)
    return Outcome(
        ended.number, tuple(part.fill for part in filled if isinstance(part, Filled)), ended.reason
    )


def carried_out(
    paper: PaperBroker,
    one: Intent,
    market: MarketView | None,
    now_ms: int = NOW_MS,
    refuse: str | None = None,
    floor_ms: int = 0,
) -> Outcome:
    paper.place(one, Present(now_ms, 0))
    return outcome_of(paper.due(Present(now_ms, 0), lambda _ticker: market, refuse, floor_ms))


def test_it_takes_every_level_up_to_the_limit_and_no_further() -> None:
    outcome = carried_out(broker(), order(count_e2=1_000), book((4_800, 300), (5_000, 400), (5_100, 900)))

    assert [(fill.price_e4, fill.count_e2) for fill in outcome.fills] == [(4_800, 300), (5_000, 400)]
    assert outcome.reason == "nothing_left"


def test_fees_are_those_of_one_order() -> None:
    outcome = carried_out(broker(), order(count_e2=107), book((4_800, 33), (4_900, 37), (5_000, 37)))

    fees = OrderFees()
    expected = [
        fees.add(fill_fee(FEES, p, c, time_ms=NOW_MS)).total_e6
        for p, c in ((4_800, 33), (4_900, 37), (5_000, 37))
    ]
    assert [fill.fee_e6 for fill in outcome.fills] == expected
    assert outcome.reason == "complete"


def test_an_order_fills_against_the_book_at_its_arrival_not_at_its_decision() -> None:
    paper = broker(latency_ms=250)
    paper.place(order(), Present(NOW_MS, 0))

    early = paper.due(Present(NOW_MS, 249), lambda _ticker: book((4_800, 5_000)), None, 0)
    late = outcome_of(paper.due(Present(NOW_MS, 250), lambda _ticker: book((4_900, 5_000)), None, 0))

    assert early == []
    assert late.fills[0].price_e4 == 4_900
    assert paper.next_ms is None


def test_what_it_took_stays_taken_until_the_level_shrinks_or_goes() -> None:
    paper = broker()
    carried_out(paper, order(1, count_e2=600), book((5_000, 1_000)))

    assert carried_out(paper, order(2), book((5_000, 1_000))).fills[0].count_e2 == 400
    assert carried_out(paper, order(3), book((5_000, 1_000))).fills == ()

    paper.observe(book((5_000, 300)), NOW)  # of what is left nothing is ours to take again
    assert carried_out(paper, order(4), book((5_000, 300))).fills == ()
    assert carried_out(paper, order(5), book((5_000, 500))).fills[0].count_e2 == 200

    paper.observe(book((5_100, 700)), NOW)  # the level is gone: whatever comes back is new
    assert carried_out(paper, order(6), book((5_000, 1_000))).fills[0].count_e2 == 1_000


def test_a_worse_price_in_a_quote_says_that_the_better_level_is_gone_a_better_one_hides_it() -> None:
    paper = broker()
    quote = {price: leg(EVENT, "HOM", (1_000, 100), (price, 1_000)) for price in (4_900, 5_000, 5_100)}
    carried_out(paper, order(1), quote[5_000])

    paper.observe(quote[4_900], NOW)
    assert set(paper.watched) == {TICKER}
    paper.observe(quote[5_100], NOW)
    assert not paper.watched


def test_an_order_cancelled_on_its_way_ends_at_its_arrival_and_takes_nothing() -> None:
    paper = broker(latency_ms=250)
    paper.place(order(), Present(NOW_MS, 0))
    paper.cancel(1, Present(NOW_MS, 10))
    paper.cancel(2, Present(NOW_MS, 10))  # of which it knows nothing

    assert paper.due(Present(NOW_MS, 249), lambda _ticker: book((4_800, 5_000)), None, 0) == []
    ended = paper.due(Present(NOW_MS, 250), lambda _ticker: book((4_800, 5_000)), None, 0)
    assert ended == [Ended(1, "cancelled")]


def test_after_a_restart_what_was_open_has_not_arrived() -> None:
    assert broker().recover([OpenOrder(order(7), Progress())]) == [Ended(7, "restarted")]


def test_what_was_taken_survives_a_restart() -> None:
    paper = broker(taken=[((TICKER, "yes", 5_000), 900)])

    assert carried_out(paper, order(), book((5_000, 1_000))).fills[0].count_e2 == 100


@pytest.mark.parametrize(
    ("market", "reason"),
    [
        (None, "market_unknown"),
        (book((5_000, 1_000), as_of_ms=NOW_MS - 30_001), "stale"),
        (book((5_000, 1_000), as_of_ms=NOW_MS + 5_001), "stale"),
        (leg(EVENT, "HOM", (1_000, 100), (5_000, 1_000), suspect=True), "suspect"),
        (leg(EVENT, "HOM", (6_000, 100), (5_000, 1_000)), "suspect"),
        (leg(EVENT, "HOM", (1_000, 100), (5_000, 1_000), status=Status.INACTIVE), "not_active"),
        (leg(EVENT, "HOM", (1_000, 100), (5_000, 1_000), close_ms=NOW_MS), "not_active"),
    ],
    ids=["unknown", "old", "from the future", "suspect", "crossed", "paused", "closed"],
)
def test_nothing_is_filled_against_data_in_doubt(market: MarketView | None, reason: str) -> None:
    outcome = carried_out(broker(), order(), market)

    assert (outcome.fills, outcome.reason) == ((), reason)


def test_nothing_is_filled_after_a_gap_an_expiry_or_a_halt() -> None:
    market = book((5_000, 1_000))

    assert carried_out(broker(), order(), market, refuse="killed").reason == "killed"
    assert carried_out(broker(), order(), market, floor_ms=NOW_MS + 1).reason == "stale"
    assert carried_out(broker(), order(), market, now_ms=NOW_MS + 5_001).reason == "expired"
    assert market.market.close_ms == CLOSE_MS


levels = st.lists(
    st.tuples(st.integers(1, 99), st.integers(1, 3_000)), min_size=1, max_size=8, unique_by=lambda x: x[0]
)


@given(levels, st.lists(st.tuples(st.integers(1, 99), st.integers(1, 50)), min_size=1, max_size=6))
def test_no_level_gives_more_than_it_shows_and_no_order_costs_more_than_was_held(
    shown: list[tuple[int, int]], orders: list[tuple[int, int]]
) -> None:
    asks = sorted((cents * 100, count_e2) for cents, count_e2 in shown)
    market = leg(EVENT, "HOM", book=([], sorted((10_000 - p, c) for p, c in asks)))
    paper, taken = broker(), dict.fromkeys((price for price, _ in asks), 0)
    for number, (cents, contracts) in enumerate(orders, 1):
        one = order(number, cents * 100, contracts * 100)
        outcome = carried_out(paper, one, market)
        assert sum(fill.count_e2 for fill in outcome.fills) <= one.count_e2
        assert sum(fill.cost_e6 + fill.fee_e6 for fill in outcome.fills) <= one.reserve_e6
        for fill in outcome.fills:
            assert fill.price_e4 <= one.price_e4
            taken[fill.price_e4] += fill.count_e2
        assert all(taken[price_e4] <= count_e2 for price_e4, count_e2 in asks)
