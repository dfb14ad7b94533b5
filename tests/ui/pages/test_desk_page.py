"""How the trader's answers are shown on the pages."""

import pytest

from bus.trading.shapes import FillRow, OrderRow, PositionRow, SettlementRow
from markets.orders import OrderState
from tests.bus.trading.samples import MARKET, a_fill, a_point, a_position, a_status, an_order
from ui.desk import Desk, Profit
from ui.pages.desk_page import FIELDS, TABLES, curve_columns, fate, own, parse_sorts, trader_page


@pytest.mark.parametrize("ended", [state for state in OrderState if state.ended])
def test_only_an_open_order_is_marked_as_bidding_on_the_ladder(ended: OrderState) -> None:
    assert own(Desk(orders=[an_order()]), MARKET).levels == {4_100: "bids YES here"}
    assert own(Desk(orders=[an_order(side="no")]), MARKET).levels == {5_900: "bids NO here"}
    assert own(Desk(orders=[an_order(status=ended)]), MARKET).levels == {}


def test_a_partly_filled_order_that_ended_marks_where_it_bought() -> None:
    desk = Desk(orders=[an_order(status=OrderState.CANCELLED)], fills=[a_fill()])

    assert own(desk, MARKET).levels == {4_100: "bought YES here"}


def test_a_partly_filled_open_order_marks_its_fill_and_its_bid() -> None:
    desk = Desk(orders=[an_order(filled_fp="3.00")], fills=[a_fill(price_dollars="0.4000")])

    assert own(desk, MARKET).levels == {4_000: "bought YES here", 4_100: "bids YES here"}


def test_the_curve_has_gaps_where_a_bid_was_unknown_and_drawdown_from_the_peak() -> None:
    equity = ["10.000000", "12.000000", None, "9.000000"]
    points = [a_point(time=float(i), equity_dollars=dollars) for i, dollars in enumerate(equity)]

    assert curve_columns(points)["drawdown"] == [0.0, 0.0, None, -3.0]
    assert curve_columns([])["equity"] == []


def test_equity_at_bid_beside_an_unknown_settlement_makes_no_drawdown() -> None:
    pairs = [("10.000000", None), ("9.500000", "12.000000"), ("8.000000", None), ("9.000000", "13.000000")]
    points = [
        a_point(time=float(i), equity_dollars=at_bid, settlement_equity_dollars=at_end)
        for i, (at_bid, at_end) in enumerate(pairs)
    ]

    assert curve_columns(points)["drawdown"] == [0.0, 0.0, None, 0.0]


def test_unknown_values_sort_last_in_both_directions() -> None:
    desk = Desk(positions=[a_position(value_dollars=value) for value in ("9.000000", None, "10.000000")])

    for sort, expected in (("-", ["10.000000", "9.000000", None]), ("", ["9.000000", "10.000000", None])):
        page = trader_page(desk, parse_sorts([("positions", f"{sort}value_dollars")]), 0, 0)
        rows = page.tables["positions"].rows
        assert [row.value_dollars for row in rows if isinstance(row, PositionRow)] == expected


@pytest.mark.parametrize("name", TABLES)
def test_every_column_of_a_table_is_a_member_of_its_rows(name: str) -> None:
    assert {column.key for column in TABLES[name]} <= set(FIELDS[name])


def test_files_have_all_members_of_a_row_except_lists() -> None:
    rows = {"positions": PositionRow, "orders": OrderRow, "fills": FillRow, "settlements": SettlementRow}

    left_out = {name: set(row.__struct_fields__) - set(FIELDS[name]) for name, row in rows.items()}
    assert left_out == {
        "positions": {"trades", "expected_from"},
        "orders": {"basis"},
        "fills": set(),
        "settlements": set(),
    }


def test_positions_with_old_prices_count_at_cost_in_profit_and_loss() -> None:
    def row(unrealised: str | None, as_of: float | None, *, stale: bool) -> PositionRow:
        return a_position(unrealised_dollars=unrealised, as_of=as_of, stale=stale)

    status = a_status()
    desk = Desk(
        status=status,
        positions=[
            row("1.000000", 100.0, stale=False),
            row("2.500000", 9.0, stale=True),  # 91 s old
            row("-1.000001", 11.0, stale=True),  # old, but not too old
            row("4.000000", 1.0, stale=False),  # no longer trades
            row(None, None, stale=True),
        ],
    )

    assert desk.pnl(100_000, 90_000) == (
        Profit(
            realised_dollars="1.250000",
            unrealised_dollars="-2.620000",
            fees_dollars="0.413900",
            total_dollars="-1.783900",
            today_dollars="0.716100",
            equity_dollars="9998.216100",
        ),
        2,
    )
    assert desk.pnl(90_000, 90_000)[1] == 1
    assert desk.summary(100_000, 90_000).left_out == 2
    assert Desk().pnl(0, 0) == (Profit(), 0)


def test_the_fate_of_an_order_is_why_it_ended_or_that_it_is_open() -> None:
    assert fate(an_order()) == "sent; waiting for the exchange's answer"
    assert fate(an_order(status=OrderState.OPEN)) == "in progress"
    assert fate(an_order(reason="timeout")) == "its fate is not known: timeout"
    assert fate(an_order(status=OrderState.FILLED, reason="complete")) == "filled completely"
    for word in ("no_depth", "nothing_left"):
        assert (
            fate(an_order(status=OrderState.CANCELLED, reason=word))
            == "nothing was left at the price when it arrived"
        )
