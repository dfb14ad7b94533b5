"""What can come of what is held: no outcome is worse than the worst or better than the best."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from markets.opportunities import EventView
from tests.trader.world import NOW_MS, basket
from trader.engine.outcomes import outcomes_e6
from trader.engine.worth import LotWorth
from trader.ledger.lots import Lot
from trader.risks import risk_rows

VIEW = basket()
TICKERS = [seen.market.ticker for seen in VIEW.markets]
legs_of = st.lists(
    st.tuples(st.sampled_from(TICKERS), st.sampled_from(["yes", "no"]), st.integers(1, 900)), max_size=6
)


def pays_e6(legs: list[tuple[str, str, int]], winner: str | None) -> int:
    return sum(
        (count_e2 * 10_000 if (side == "yes") == (ticker == winner) else 0) for ticker, side, count_e2 in legs
    )


def decided(view: EventView, **results: int) -> EventView:
    """A view in which markets, by the ends of their tickers, are settled at these values."""
    markets = tuple(
        msgspec.structs.replace(
            seen,
            market=msgspec.structs.replace(
                seen.market,
                result="yes" if results[name] else "no",
                settlement_value_e4=results[name],
            ),
        )
        if (name := seen.market.ticker.rpartition("-")[2]) in results
        else seen
        for seen in view.markets
    )
    return msgspec.structs.replace(view, markets=markets)


@given(legs_of)
def test_every_outcome_of_an_exclusive_event_lies_between_worst_and_best(
    legs: list[tuple[str, str, int]],
) -> None:
    least_e6, most_e6 = outcomes_e6(VIEW, legs)
    ends = [pays_e6(legs, winner) for winner in (*TICKERS, None)]

    assert min(ends) == least_e6 or min(ends[:-1]) == least_e6  # none wins only where that can be
    assert max(ends) == most_e6 or max(ends[:-1]) == most_e6
    assert least_e6 <= min(ends[:-1]) <= max(ends[:-1]) <= most_e6


@given(legs_of)
def test_of_an_event_of_which_nothing_is_known_all_or_nothing_is_paid(
    legs: list[tuple[str, str, int]],
) -> None:
    assert outcomes_e6(None, legs) == (0, sum(count_e2 for _, _, count_e2 in legs) * 10_000)


def test_what_is_decided_is_no_risk_any_more() -> None:
    first = TICKERS[0].rpartition("-")[2]
    legs = [(TICKERS[0], "yes", 100), (TICKERS[1], "no", 300)]

    assert outcomes_e6(decided(VIEW, **{first: 0}), legs) == (0, 3_000_000)
    assert outcomes_e6(decided(VIEW, **{first: 10_000}), legs) == (4_000_000, 4_000_000)


def worth(ticker: str, trade: int, side: str = "no", **changes: Any) -> LotWorth:
    lot = Lot(trade, "baskets", ticker, VIEW.event.event_ticker, side, 1_000, 6_000_000, 50_000, NOW_MS)
    fields: dict[str, Any] = {"lot": lot, "bid_e6": 5_900_000, "settlement_e6": 6_700_000, "locked_e2": 0}
    return LotWorth(**(fields | {"floor_e6": 0, "sources": ("mid",)} | changes))


def test_an_event_says_worst_best_bid_settlement_and_when_it_pays() -> None:
    worths = {7: [worth(ticker, 7) for ticker in TICKERS]}

    (row,) = risk_rows(worths, {VIEW.event.event_ticker: VIEW}, NOW_MS)

    assert (row.lots, row.trades, row.strategies, row.title) == (3, (7,), ("baskets",), VIEW.event.title)
    assert (row.cost_dollars, row.worst_dollars, row.least_dollars) == ("18.150000", "1.850000", "20.000000")
    assert row.locked
    assert (row.bid_dollars, row.settlement_dollars, row.pays_dollars) == (
        "-0.450000",
        "1.950000",
        "20.100000",
    )
    assert row.payout is not None
    assert row.payout > NOW_MS / 1000
    assert row.void_dollars is not None


@pytest.mark.parametrize("view", [None, msgspec.structs.replace(VIEW, markets=VIEW.markets[:1])])
def test_of_an_event_that_is_not_seen_what_is_known_is_said(view: EventView | None) -> None:
    worths = {7: [worth(TICKERS[0], 7, bid_e6=None), worth(TICKERS[1], 0)]}

    (row,) = risk_rows(worths, {VIEW.event.event_ticker: view}, NOW_MS)

    assert (row.bid_dollars, row.void_dollars, row.trades) == (None, None, (7,))
    assert row.worst_dollars in ("-12.100000", "-2.100000")  # of two NO one pays where at most one wins
    assert row.best_dollars == "7.900000"


def test_a_floor_that_a_trade_has_locked_holds_whatever_else_is_held() -> None:
    worths = {7: [worth(TICKERS[0], 7, floor_e6=6_500_000, locked_e2=1_000)]}

    (row,) = risk_rows(worths, {VIEW.event.event_ticker: None}, NOW_MS)

    assert (row.worst_dollars, row.locked) == ("0.450000", True)


def test_what_is_paid_out_first_comes_first_and_what_nobody_knows_last() -> None:
    later = msgspec.structs.replace(
        VIEW,
        event=msgspec.structs.replace(VIEW.event, event_ticker="LATER"),
        timing=msgspec.structs.replace(VIEW.timing, expected_expiration_ms=NOW_MS + 10**9),
    )
    lots = [worth(TICKERS[0], 1)]
    for trade, event in enumerate(("LATER", "NEVER"), 2):
        moved = msgspec.structs.replace(lots[0].lot, event_ticker=event, trade=trade)
        lots.append(worth(TICKERS[0], trade, lot=moved))
    views = {VIEW.event.event_ticker: VIEW, "LATER": later}

    rows = risk_rows({one.lot.trade: [one] for one in lots}, views, NOW_MS)

    assert [row.event_ticker for row in rows] == [VIEW.event.event_ticker, "LATER", "NEVER"]
