"""What happens to cash and positions, case by case."""

from simulator.matching.orders import OrderSwitches
from simulator.matching.positions import by_event
from simulator.matching.returns import Returned
from simulator.matching.settlement import Settlement
from tests.simulator.matching.trades import NOW_MS, OPENING_E6, Desk, Market

A = Market("A", event_ticker="X", exclusive=True, fee_multiplier_e4=0)
B = Market("B", event_ticker="X", exclusive=True, fee_multiplier_e4=0)
C = Market("C", event_ticker="X", exclusive=True, fee_multiplier_e4=0)
FREE = Market("F", fee_multiplier_e4=0)
FEED = Market("M")
DOLLAR = 1_000_000


def test_buying_costs_price_times_count_and_the_fee() -> None:
    desk = Desk()
    fill = desk.trade(FEED, "bid", 5_200, 100)
    assert (fill.fee_e6, fill.position_e2) == (17_500, 100)
    assert desk.cash() == OPENING_E6 - 520_000 - 17_500


def test_recorded_account_after_three_purchases_shows_the_recorded_figures() -> None:
    # A demo account of June 2026: single contracts at 0.99, 0.99 and 0.52. (The fees of that time agree.)
    desk = Desk(cash_e6=100 * DOLLAR)
    for price_e4 in (9_900, 9_900):
        desk.trade(FEED, "bid", price_e4, 100)
    assert desk.cash() == 98_018_600
    assert desk.ledger.statements.portfolio_value_e6((1, 0), lambda _: 9_900) == 1_980_000
    desk.trade(FEED, "bid", 5_200, 100)
    position = desk.ledger.statements.position((1, 0), "M")
    assert position is not None
    assert (position.count_e2, position.traded_e6, position.cost_e6) == (300, 2_500_000, 2_500_000)
    assert (position.realized_e6, position.fees_e6) == (0, 18_900)
    [event] = by_event([position])
    assert (event.traded_e6, event.traded_e2, event.cost_e6, event.fees_e6) == (
        2_500_000,
        300,
        2_500_000,
        18_900,
    )


def test_no_bought_beside_yes_closes_it_and_brings_the_price() -> None:
    desk = Desk()
    desk.trade(FREE, "bid", 4_000, 1_000)
    desk.trade(FREE, "ask", 5_500, 1_500)  # closes ten at 0.55, opens five NO at 0.45
    position = desk.ledger.statements.position((1, 0), "F")
    assert position is not None
    assert (position.count_e2, position.cost_e6, position.realized_e6) == (-500, 2_250_000, 1_500_000)
    assert desk.cash() == OPENING_E6 - 4_000_000 + 5_500_000 - 2_250_000


def test_two_users_that_trade_with_each_other_need_no_crowd() -> None:
    desk = Desk()
    bid, ask = desk.order(FREE, "bid", 3_000, 100), desk.order(FREE, "ask", 3_000, 100, (2, 0))
    desk.ledger.book(ask, "t", 3_000, 100, False, NOW_MS)
    desk.ledger.book(bid, "t", 3_000, 100, True, NOW_MS)
    desk.ledger.audit()
    assert (desk.cash(), desk.cash((2, 0))) == (OPENING_E6 - 300_000, OPENING_E6 - 700_000)


def test_order_is_refused_where_its_shard_has_no_cash_though_another_has() -> None:
    desk = Desk(cash_e6=10 * DOLLAR)
    there = Market("M1", exchange_index=1, fee_multiplier_e4=0)
    desk.ledger.deposit(1, 0, 1_000 * DOLLAR)
    assert not desk.ledger.admit(desk.order(there, "bid", 5_000, 2_001))
    assert desk.ledger.admit(desk.order(there, "bid", 5_000, 2_000))


def test_fee_is_part_of_what_an_order_needs() -> None:
    desk = Desk(cash_e6=537_500)
    assert desk.ledger.admit(desk.order(FEED, "bid", 5_200, 100))
    desk = Desk(cash_e6=537_400)
    assert not desk.ledger.admit(desk.order(FEED, "bid", 5_200, 100))


def test_resting_orders_count_against_the_balance_without_lowering_it() -> None:
    desk = Desk(cash_e6=10 * DOLLAR)
    desk.rest(FREE, "bid", 6_000, 1_000)
    assert desk.ledger.statements.balance_e6((1, 0), 0) == 10 * DOLLAR
    assert desk.ledger.statements.resting_value_e6((1, 0)) == {0: 6 * DOLLAR, 1: 0}
    assert not desk.ledger.admit(desk.order(FREE, "ask", 5_900, 1_000))
    desk.switches.balance_reduced_by_resting = True
    assert desk.ledger.statements.balance_e6((1, 0), 0) == 4 * DOLLAR


def test_value_of_resting_orders_is_shown_without_fees_and_without_what_closes() -> None:
    desk = Desk()
    maker_fees = Market("N", exchange_index=1, fee_type="quadratic_with_maker_fees")
    desk.trade(FREE, "bid", 5_000, 400)
    desk.rest(FREE, "ask", 6_000, 1_000)
    desk.rest(maker_fees, "bid", 4_300, 1_000)
    assert desk.ledger.statements.resting_value_e6((1, 0)) == {0: 600 * 4_000, 1: 4_300_000}
    purses = desk.ledger.holdings.holders[1, 0].purses
    assert purses[0].value_sum_e6 == 2_400_000
    assert purses[1].value_sum_e6 == 4_300_000 + 42_900  # admission counts the fee


def test_larger_side_of_a_market_counts_alone_under_the_other_rule() -> None:
    desk = Desk(OrderSwitches(resting_value="max"), cash_e6=10 * DOLLAR)
    desk.rest(FREE, "bid", 6_000, 1_000)
    assert desk.ledger.admit(desk.order(FREE, "ask", 6_100, 1_000))
    assert not desk.ledger.admit(desk.order(FREE, "bid", 4_100, 1_000))


def test_closing_needs_no_cash_and_the_worse_priced_of_two_orders_opens() -> None:
    desk = Desk(cash_e6=5 * DOLLAR)
    desk.trade(FREE, "bid", 5_000, 1_000)
    assert desk.cash() == 0
    desk.rest(FREE, "ask", 6_000, 1_000)
    assert not desk.ledger.admit(desk.order(FREE, "ask", 7_000, 100))
    assert not desk.ledger.admit(desk.order(FREE, "ask", 5_500, 100))
    desk.ledger.deposit(1, 0, 400_000)
    assert desk.ledger.admit(desk.order(FREE, "ask", 7_000, 100))
    assert desk.ledger.admit(desk.order(FREE, "ask", 5_500, 100))


def test_amended_order_counts_once() -> None:
    desk = Desk(cash_e6=6 * DOLLAR)
    order = desk.rest(FREE, "bid", 5_000, 1_000)
    order.price_e4 = 6_000
    assert desk.ledger.admit(order)
    assert not desk.ledger.admit(order, 1_001)
    desk.ledger.touch(order)
    assert desk.ledger.statements.resting_value_e6((1, 0))[0] == 6 * DOLLAR
    desk.ledger.audit()


def test_newest_orders_are_named_when_cash_has_gone() -> None:
    desk = Desk(cash_e6=10 * DOLLAR)
    orders = [desk.rest(FREE, "bid", 1_000 * price, 100 * price) for price in (3, 3, 3)]
    assert desk.ledger.unpayable((1, 0), 0) == []
    desk.move(8 * DOLLAR)
    assert desk.ledger.unpayable((1, 0), 0) == [orders[2]]
    desk.ledger.audit()
    desk.ledger.drop(orders[2])
    assert desk.ledger.unpayable((1, 0), 0) == []


def test_order_that_only_closes_is_not_named() -> None:
    desk = Desk(cash_e6=10 * DOLLAR)
    desk.trade(FREE, "bid", 5_000, 1_000)
    opening = desk.rest(A, "bid", 5_000, 1_000)
    desk.rest(FREE, "ask", 6_000, 1_000)
    desk.move(DOLLAR)
    assert desk.ledger.unpayable((1, 0), 0) == [opening]


def test_reduce_only_is_capped_by_the_position() -> None:
    desk = Desk()
    desk.trade(FREE, "bid", 5_000, 700)
    assert desk.ledger.reducible_e2(desk.order(FREE, "ask", 5_000, 1_000)) == 700
    assert desk.ledger.reducible_e2(desk.order(FREE, "bid", 5_000, 1_000)) == 0


# -- settlement


def test_settlement_pays_a_dollar_to_the_side_that_was_right() -> None:
    for value_e4, cash_e6, result in ((10_000, 6 * DOLLAR, "yes"), (0, -4 * DOLLAR, "no")):
        desk = Desk()
        desk.trade(FREE, "bid", 4_000, 1_000)
        [settled] = desk.ledger.settle(FREE, value_e4, NOW_MS)
        desk.ledger.audit()
        assert desk.cash() == OPENING_E6 + cash_e6
        assert (settled.result, settled.yes_e2, settled.yes_cost_e6) == (result, 1_000, 4 * DOLLAR)
        [position] = desk.ledger.statements.positions((1, 0), "settled")
        assert (position.realized_e6, position.count_e2, position.settled_ms) == (cash_e6, 0, NOW_MS)
        assert desk.ledger.statements.positions((1, 0)) == []


def test_payout_of_a_value_between_is_cut_to_whole_cents_and_the_rest_is_a_fee() -> None:
    # The documentation's example: 10.60 YES at 0.5970 pay 6.32 and leave 0.0082.
    desk = Desk()
    desk.trade(FREE, "bid", 4_000, 1_060)
    [settled] = desk.ledger.settle(FREE, 5_970, NOW_MS)
    desk.ledger.audit()
    assert (settled.revenue_e6, settled.fee_e6, settled.result) == (6_320_000, 8_200, "scalar")


def test_payout_is_exact_where_that_is_switched_off() -> None:
    desk = Desk(OrderSwitches(settle_whole_cents=False))
    desk.trade(FREE, "ask", 4_000, 1_060)
    [settled] = desk.ledger.settle(FREE, 5_970, NOW_MS)
    desk.ledger.audit()
    assert (settled.revenue_e6, settled.fee_e6) == (1_060 * 4_030, 0)


def test_market_that_nobody_holds_settles_to_nothing_and_is_forgotten() -> None:
    desk = Desk()
    desk.trade(FREE, "bid", 4_000, 100)
    desk.trade(FREE, "ask", 4_000, 100)
    settled: list[Settlement] = desk.ledger.settle(FREE, 0, NOW_MS)
    assert settled == []
    assert desk.ledger.settle(FREE, 0, NOW_MS) == []
    desk.ledger.audit()


# -- collateral return


def test_two_no_of_one_exclusive_event_cost_thirty_cents() -> None:
    desk = Desk(OrderSwitches(collateral_return=True))
    desk.trade(A, "ask", 4_000, 100)
    assert desk.cash() == OPENING_E6 - 600_000
    desk.trade(B, "ask", 3_000, 100)
    assert desk.cash() == OPENING_E6 - 300_000


def test_without_the_switch_they_cost_the_sum() -> None:
    desk = Desk()
    desk.trade(A, "ask", 4_000, 100)
    desk.trade(B, "ask", 3_000, 100)
    assert desk.cash() == OPENING_E6 - 1_300_000


def test_return_is_the_sum_less_the_largest_count() -> None:
    returned = Returned(0)
    assert [returned.hold(ticker, n) for ticker, n in (("A", 500), ("B", 300), ("C", 900))] == [
        0,
        3 * DOLLAR,
        5 * DOLLAR,
    ]
    assert returned.hold("C", 0) == -5 * DOLLAR


def test_second_ask_in_a_market_returns_only_what_the_first_has_left() -> None:
    desk = Desk(OrderSwitches(collateral_return=True), cash_e6=6 * DOLLAR)
    desk.trade(A, "ask", 4_000, 1_000)
    assert desk.cash() == 0
    desk.rest(B, "ask", 3_000, 600)  # each NO costs 0.70 and returns a dollar, as long as A has as many
    assert desk.ledger.admit(desk.order(B, "ask", 3_000, 400))
    assert not desk.ledger.admit(desk.order(B, "ask", 3_000, 1_400))
    desk.rest(C, "ask", 3_000, 1_000)
    assert desk.ledger.unpayable((1, 0), 0) == []


def test_values_of_more_than_a_dollar_in_an_event_leave_no_more_returned_than_is_sure() -> None:
    returned = Returned(0)
    for ticker in ("A", "B", "C"):
        returned.hold(ticker, 1_000)
    assert returned.settle("A", 10_000) == 0  # B and C pay 20 now
    assert returned.settle("B", 10_000) == -10 * DOLLAR
    assert returned.hold("C", 500) == -5 * DOLLAR


def test_selling_pays_back_and_is_refused_where_it_cannot() -> None:
    desk = Desk(OrderSwitches(collateral_return=True), cash_e6=600_000)
    desk.trade(A, "ask", 4_000, 100)
    desk.trade(B, "ask", 3_000, 100)  # 0.30 left
    desk.move(300_000)
    back = desk.order(B, "bid", 3_000, 100)  # brings 0.70, takes a dollar back
    assert not desk.ledger.admit(back)
    assert not desk.ledger.pays(back, 3_000, 100)
    desk.ledger.deposit(1, 0, 300_000)
    assert desk.ledger.admit(back)
    desk.fill(back, 100)
    assert desk.cash() == 0


def test_event_nets_out_exactly_when_its_markets_settle_the_winner_first() -> None:
    desk = Desk(OrderSwitches(collateral_return=True), cash_e6=600_000)
    desk.trade(A, "ask", 4_000, 100)
    desk.trade(B, "ask", 3_000, 100)
    desk.move(300_000)
    desk.ledger.settle(A, 10_000, NOW_MS)
    desk.ledger.audit()
    assert desk.cash() == 0  # B will pay what was returned
    desk.ledger.settle(B, 0, NOW_MS)
    desk.ledger.audit()
    assert desk.cash() == 0
    assert desk.ledger.statements.books()["shortfall_e6"] == 0


def test_dead_heat_nets_out_as_well() -> None:
    desk = Desk(OrderSwitches(collateral_return=True))
    for market in (A, B, C):
        desk.trade(market, "ask", 3_000, 100)
    for market, value_e4 in ((A, 5_000), (B, 5_000), (C, 0)):
        desk.ledger.settle(market, value_e4, NOW_MS)
        desk.ledger.audit()
    assert desk.cash() == OPENING_E6 - 3 * 700_000 + 2 * DOLLAR


def test_event_settled_at_more_than_a_dollar_is_the_exchange_s_loss() -> None:
    desk = Desk(OrderSwitches(collateral_return=True), cash_e6=600_000)
    desk.trade(A, "ask", 4_000, 100)
    desk.trade(B, "ask", 3_000, 100)
    desk.move(300_000)
    for market in (A, B):
        desk.ledger.settle(market, 10_000, NOW_MS)
        desk.ledger.audit()
    assert desk.cash() == 0
    assert desk.ledger.statements.books()["shortfall_e6"] == DOLLAR


def test_switching_return_on_pays_at_once_and_off_takes_it_back() -> None:
    desk = Desk()
    desk.trade(A, "ask", 4_000, 100)
    desk.trade(B, "ask", 3_000, 100)
    before_e6 = desk.cash()
    assert desk.ledger.set_netting((1, 0), True, NOW_MS)
    desk.ledger.audit()
    assert desk.cash() == before_e6 + DOLLAR
    desk.move(desk.cash())
    assert not desk.ledger.set_netting((1, 0), False, NOW_MS)
    desk.ledger.deposit(1, 0, DOLLAR)
    assert desk.ledger.set_netting((1, 0), False, NOW_MS)
    desk.ledger.audit()
    assert desk.cash() == 0


def test_yes_contracts_and_events_that_are_not_exclusive_return_nothing() -> None:
    desk = Desk(OrderSwitches(collateral_return=True))
    desk.trade(A, "bid", 4_000, 100)
    desk.trade(B, "bid", 3_000, 100)
    desk.trade(FREE, "ask", 3_000, 100)
    desk.trade(Market("G", fee_multiplier_e4=0), "ask", 3_000, 100)
    assert desk.cash() == OPENING_E6 - 2_100_000
