"""The ledger: no micro-dollar comes from nowhere, whatever is bought, netted and paid out."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.trading.gateway import ForeignFill
from markets.orders import Fill
from tests.trader.ledger.builders import fill, intent
from tests.trader.world import NOW_MS
from trader.ledger.ledger import Basket, BasketLeg, Ledger, LedgerError


def bought(ledger: Ledger, number: int, side: str, price_e4: int, count_e2: int, fee_e6: int = 0) -> None:
    ledger.place(intent(number, side=side, price_e4=price_e4, count_e2=count_e2))
    ledger.fill(number, fill(price_e4, count_e2, fee_e6))
    ledger.end(number)


def test_an_open_order_holds_its_reserve_until_it_ends() -> None:
    ledger = Ledger.new(100_000_000)
    order = intent(1, price_e4=5_000, count_e2=1_000)

    ledger.place(order)
    held = ledger.reserved_e6
    ledger.end(1)

    assert held == order.reserve_e6 > 5_000_000
    assert (ledger.reserved_e6, ledger.cash_e6, ledger.positions) == (0, 100_000_000, {})


def test_a_fill_moves_cash_and_position_and_its_fee() -> None:
    ledger = Ledger.new(100_000_000)

    bought(ledger, 1, "yes", 5_000, 1_000, fee_e6=175_000)

    assert ledger.cash_e6 == 100_000_000 - 5_000_000 - 175_000
    position = ledger.positions["A"]
    assert (position.count_e2, position.cost_e6, position.fees_e6, position.trades) == (
        1_000,
        5_000_000,
        175_000,
        (1,),
    )


def test_an_order_that_ends_twice_is_booked_once() -> None:
    ledger = Ledger.new(100_000_000)
    ledger.place(intent(1))
    ledger.fill(1, fill(5_000, 1_000))
    ledger.end(1)
    cash_e6 = ledger.cash_e6

    assert ledger.fill(1, fill(5_000, 1_000)) is None
    assert ledger.end(1) is None
    assert ledger.cash_e6 == cash_e6


def test_an_order_may_fill_in_parts_and_holds_less_with_each() -> None:
    ledger = Ledger.new(100_000_000)
    order = intent(1, price_e4=5_000, count_e2=1_000)
    ledger.place(order)

    ledger.fill(1, fill(5_000, 300, 10_000))
    ledger.check()
    assert ledger.reserved_e6 == ledger.stakes.reserved_e6 == order.reserve_e6 - 1_510_000
    assert ledger.at_stake_e6("E-A") == order.reserve_e6 - 10_000
    assert (ledger.filled(1).count_e2, ledger.ordered(1)) == (300, True)

    ledger.fill(1, fill(4_000, 200))
    assert ledger.end(1) == order
    ledger.check()
    assert (ledger.reserved_e6, ledger.open, ledger.progress) == (0, {}, {})
    assert (ledger.positions["A"].count_e2, ledger.positions["A"].cost_e6) == (500, 2_300_000)
    assert ledger.baskets[1].legs[0].got_e2 == 500


def test_parts_together_may_not_exceed_the_order() -> None:
    ledger = Ledger.new(100_000_000)
    ledger.place(intent(1, count_e2=1_000))
    ledger.fill(1, fill(5_000, 600))

    with pytest.raises(LedgerError, match="more than it allows"):
        ledger.fill(1, fill(5_000, 500))


@pytest.mark.parametrize(
    "wrong",
    [fill(5_000, 1_100), fill(5_100, 100), fill(5_000, 1_000, 10**9), fill(5_000, -1), fill(5_000, 0)],
    ids=["more than ordered", "beyond the limit", "dearer than held", "negative", "nothing on paper"],
)
def test_a_fill_that_contradicts_its_order_stops_everything(wrong: Fill) -> None:
    ledger = Ledger.new(100_000_000)
    ledger.place(intent(1))

    with pytest.raises(LedgerError):
        ledger.fill(1, wrong)


@pytest.mark.parametrize("held", ["", "yes", "no"])
@pytest.mark.parametrize("whose", ["ours", "late", "foreign"])
def test_a_listed_fill_of_nothing_costs_its_fee_and_changes_nothing_else(held: str, whose: str) -> None:
    ledger = Ledger.new(100_000_000)
    if held:
        bought(ledger, 7, held, 4_000, 1_000)
    before, order = ledger.copy(), msgspec.structs.replace(intent(8), trade=7, attempt=1)
    empty = msgspec.structs.replace(fill(5_000, 0, 30), id="listed")

    if whose == "foreign":
        assert ledger.fill_foreign(ForeignFill("o", "A", "E-A", 0, "yes", empty)) == ()
    elif whose == "late":
        ledger.fill_late(order, empty)
    else:
        ledger.place(order)
        assert ledger.beyond(8, empty) is None
        assert ledger.fill(8, empty) == order
        ledger.end(8)

    ledger.check_whole()
    assert (ledger.cash_e6, ledger.fees_e6) == (before.cash_e6 - 30, before.fees_e6 + 30)
    assert (ledger.positions, ledger.realised_e6) == (before.positions, before.realised_e6)
    lots = [msgspec.structs.replace(lot, fees_e6=0) for lot in ledger.lots.get("A", {}).values()]
    assert lots == list(before.lots.get("A", {}).values())


def test_yes_and_no_of_one_market_pay_a_dollar_as_a_pair() -> None:
    ledger = Ledger.new(100_000_000)
    bought(ledger, 1, "yes", 4_000, 1_000)
    bought(ledger, 2, "no", 5_000, 600)

    assert ledger.netted_e6 == 6_000_000
    assert ledger.cash_e6 == 100_000_000 - 4_000_000 - 3_000_000 + 6_000_000
    position = ledger.positions["A"]
    assert (position.side, position.count_e2, position.cost_e6) == ("yes", 400, 1_600_000)

    bought(ledger, 3, "no", 5_000, 1_000)
    position = ledger.positions["A"]
    assert (position.side, position.count_e2, position.cost_e6) == ("no", 600, 3_000_000)
    ledger.check()


@pytest.mark.parametrize(
    ("value_e4", "side", "payout"),
    [(10_000, "yes", 10), (10_000, "no", 0), (0, "no", 10), (2_500, "no", 7.5)],
)
def test_settlement_pays_the_value_to_yes_and_the_rest_to_no(value_e4: int, side: str, payout: float) -> None:
    ledger = Ledger.new(100_000_000)
    bought(ledger, 1, side, 4_000, 1_000)

    settlement = ledger.settle("A", "scalar", value_e4, NOW_MS)

    assert settlement is not None
    assert settlement.payout_e6 == payout * 1_000_000
    assert ledger.settle("A", "scalar", value_e4, NOW_MS) is None
    assert ledger.positions == {}
    ledger.check()


def spoil_position(ledger: Ledger) -> None:
    ledger.positions["A"] = msgspec.structs.replace(ledger.positions["A"], count_e2=900)


def spoil_basket(ledger: Ledger) -> None:
    ledger.baskets[1] = Basket("value", "E-A", (BasketLeg("A", "yes", 1_000, 900),))


def spoil_lot(ledger: Ledger) -> None:
    ledger.lots["A"][1] = msgspec.structs.replace(ledger.lots["A"][1], cost_e6=1)


def spoil_stake(ledger: Ledger) -> None:
    ledger.stakes.at_stake_e6 += 1


def forget_position(ledger: Ledger) -> None:
    del ledger.positions["A"]


@pytest.mark.parametrize("spoil", [spoil_position, spoil_basket, spoil_lot, spoil_stake, forget_position])
def test_lots_that_differ_from_what_is_made_of_them_are_found(spoil: Callable[[Ledger], None]) -> None:
    ledger = Ledger.new(100_000_000)
    bought(ledger, 1, "yes", 4_000, 1_000)
    ledger.check_whole()
    spoil(ledger)

    with pytest.raises(LedgerError, match="lots"):
        ledger.check_whole()


def test_each_step_is_held_against_the_market_it_changed() -> None:
    ledger = Ledger.new(100_000_000)
    bought(ledger, 1, "yes", 4_000, 1_000)
    spoil_position(ledger)

    with pytest.raises(LedgerError, match="the position is 900"):
        ledger.check()


def test_the_check_finds_a_single_micro_dollar() -> None:
    ledger = Ledger.new(100_000_000)
    bought(ledger, 1, "yes", 4_000, 1_000)
    ledger.cash_e6 += 1

    with pytest.raises(LedgerError, match="cash is"):
        ledger.check()
    ledger.spent_e6 -= 1
    with pytest.raises(LedgerError, match="cash and lots"):
        ledger.check()


steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("buy"), st.sampled_from("ABC"), st.sampled_from(["yes", "no"]),
            st.integers(1, 9_999), st.integers(1, 5_000), st.integers(0, 10_000),
        ),
        st.tuples(st.just("settle"), st.sampled_from("ABC"), st.integers(0, 10_000)),
    ),
    max_size=40,
)  # fmt: skip


@given(steps)
def test_money_is_conserved(steps: list[tuple[Any, ...]]) -> None:
    ledger = Ledger.new(10**12)
    paid = received = 0
    for number, step in enumerate(steps, 1):
        if step[0] == "buy":
            _, ticker, side, price_e4, count_e2, fee_e6 = step
            ledger.place(intent(number, ticker, side, price_e4, count_e2))
            netted = ledger.netted_e6
            ledger.fill(number, fill(price_e4, count_e2, fee_e6))
            ledger.end(number)
            paid += price_e4 * count_e2 + fee_e6
            received += ledger.netted_e6 - netted
        else:
            settlement = ledger.settle(step[1], "scalar", step[2], NOW_MS)
            received += settlement.payout_e6 if settlement else 0
        ledger.check()
        assert ledger.cash_e6 == 10**12 - paid + received
        assert all(one.count_e2 > 0 and one.cost_e6 >= 0 for one in ledger.positions.values())
    for ticker in "ABC":
        ledger.settle(ticker, "no", 0, NOW_MS)
    ledger.check()
    assert (ledger.lots, ledger.lots_cost_e6, ledger.clearing_e6) == ({}, 0, 0)
    # All is closed: profit is what came in less what went out.
    assert ledger.realised_e6 - ledger.fees_e6 == ledger.cash_e6 - 10**12


def test_the_copy_is_independent() -> None:
    ledger = Ledger.new(100_000_000)
    bought(ledger, 1, "yes", 4_000, 1_000)
    copy = ledger.copy()
    bought(ledger, 2, "yes", 4_000, 1_000)

    assert copy.positions["A"].count_e2 == 1_000
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(ledger), type=Ledger) == ledger


def test_sums_that_drift_from_what_is_held_are_found() -> None:
    ledger = Ledger.new(100_000_000)
    ledger.place(intent(1))
    ledger.check()
    ledger.stakes.reserved_e6 += 1

    with pytest.raises(LedgerError, match="is reserved"):
        ledger.check()


def test_a_trade_is_under_way_until_its_last_order_ends() -> None:
    ledger = Ledger.new(100_000_000)
    for number in (1, 2):
        ledger.place(msgspec.structs.replace(intent(number, ticker=str(number)), trade=7))
    ledger.end(1)
    assert ledger.ordered(7)
    assert ledger.copy().ordered(7)
    ledger.end(2)
    assert not ledger.ordered(7)
    assert ledger.baskets == {}


@pytest.mark.parametrize("order", ["fof", "off", "ffo", "foff", "oof"])
def test_a_fill_of_others_whose_event_was_guessed_and_ours_are_of_one_event(order: str) -> None:
    """`f`: others buy, their event a guess at the ticker; `o`: we do, and know it."""
    ledger, numbers = Ledger.new(1_000_000_000), iter(range(1, 9))
    for at, who in enumerate(order):
        side = "yes" if at % 2 else "no"
        if who == "o":
            bought(ledger, next(numbers), side, 4_000, 700)
            continue
        told = Fill(4_000, 500 + 100 * at, 0, 0, NOW_MS, f"f{at}")
        ledger.fill_foreign(ForeignFill("x", "A", "guessed", 0, side, told))
    ledger.check_whole()
    (event,) = ledger.events()
    assert {lot.event_ticker for lot in ledger.lots_in(event)} == {event}
    assert len(ledger.lots_in(event)) == len(ledger.lots["A"])
    ledger.settle("A", "yes", 10_000, NOW_MS)
    ledger.check_whole()
    assert not ledger.events()


def test_what_was_paid_in_a_guessed_event_moves_to_the_known_one_with_the_last_lot_of_the_guess() -> None:
    ledger = Ledger.new(1_000_000_000)
    for ticker, event_ticker in (("A", "guessed"), ("B", "guessed"), ("C", "other"), ("D", "other")):
        told = Fill(4_000, 500, 0, 0, NOW_MS, ticker)
        ledger.fill_foreign(ForeignFill("x", ticker, event_ticker, 0, "no", told))
    ledger.settle("A", "no", 0, NOW_MS)
    ledger.settle("C", "no", 0, NOW_MS)

    ledger.rehome("B", "known")

    assert [(leg.ticker, leg.event_ticker) for leg in ledger.paid[0]] == [("A", "known"), ("C", "other")]
    ledger.settle("B", "no", 0, NOW_MS)
    assert [leg.ticker for leg in ledger.paid[0]] == ["C"]
    ledger.settle("D", "no", 0, NOW_MS)
    assert not ledger.paid
