"""Fees against fills that were really charged, and the published example."""

import json
from decimal import ROUND_CEILING, Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from markets.fees import (
    INTERMEDIARY_GRID_E6,
    MAKER_RATE_E4,
    MICRODOLLAR_RULE_SINCE_MS,
    FeeSchedule,
    FillFee,
    OrderFees,
    fee_schedule,
    fill_fee,
    order_fee_bound_e6,
    taker_fees_e6,
)
from markets.records import Event, Series
from markets.units import format_money, parse_count_e2, parse_decimal, parse_price_e4

OLD_RULE_MS = MICRODOLLAR_RULE_SINCE_MS - 1
NEW_RULE_MS = MICRODOLLAR_RULE_SINCE_MS
PLAIN = FeeSchedule("quadratic", 10_000)

FILLS = json.loads((Path(__file__).parents[1] / "data/kalshi/fee_observations.json").read_text())["fills"]

prices = st.integers(1, 9_999)
counts = st.integers(1, 10**9)
schedules = st.builds(FeeSchedule, st.sampled_from(sorted(MAKER_RATE_E4)), st.integers(0, 20_000))


@pytest.mark.parametrize("fill", FILLS, ids=lambda f: f"{f['series']}-{f['count']}@{f['yes_price_dollars']}")
def test_recorded_fill_is_reproduced_to_the_digit(fill: dict[str, str]) -> None:
    schedule = FeeSchedule("quadratic_with_maker_fees", parse_decimal(fill["fee_multiplier"], 4, "m"))
    price_e4 = parse_price_e4(fill["yes_price_dollars"])
    fee = fill_fee(schedule, price_e4, parse_count_e2(fill["count"]), time_ms=OLD_RULE_MS)
    assert format_money(fee.total_e6) == fill["fee_cost"]


def test_documented_example_of_one_contract_at_five_and_a_half_cents() -> None:
    # Kalshi's documentation: 0.0550, one contract, model fee 0.00363825.
    assert fill_fee(PLAIN, 550, 100, time_ms=OLD_RULE_MS).trade_fee_e6 == 3_700
    assert fill_fee(PLAIN, 550, 100, time_ms=NEW_RULE_MS).trade_fee_e6 == 3_639


def test_hundred_contracts_at_43_cents() -> None:
    assert fill_fee(PLAIN, 4_300, 10_000, time_ms=NEW_RULE_MS).total_e6 == 1_715_700


def test_balance_moves_in_whole_steps_and_the_buyer_pays_the_difference() -> None:
    fee = fill_fee(PLAIN, 550, 100, time_ms=NEW_RULE_MS)
    assert (fee.trade_fee_e6, fee.rounding_fee_e6, fee.total_e6) == (3_639, 61, 3_700)
    assert fill_fee(PLAIN, 550, 100, time_ms=NEW_RULE_MS, grid_e6=INTERMEDIARY_GRID_E6).total_e6 == 5_000


@pytest.mark.parametrize(
    ("fee_type", "rate"),
    [
        ("quadratic", "0"),
        ("quadratic_with_maker_fees", "0.0175"),
        ("quadratic_with_combo_maker_fees", "0.035"),
    ],
)
def test_maker_rate_follows_the_fee_type(fee_type: str, rate: str) -> None:
    fee = fill_fee(FeeSchedule(fee_type, 10_000), 5_000, 100_00, time_ms=NEW_RULE_MS, maker=True)
    assert fee.total_e6 == int(Decimal(rate) * 100 * Decimal("0.25") * 1_000_000)


@given(schedules, prices, counts, st.booleans())
def test_trade_fee_is_the_model_fee_rounded_up(
    schedule: FeeSchedule, price_e4: int, count_e2: int, maker: bool
) -> None:
    rate = Decimal(MAKER_RATE_E4[schedule.fee_type] if maker else 700) / 10_000
    price = Decimal(price_e4) / 10_000
    model = rate * schedule.multiplier_e4 / 10_000 * count_e2 / 100 * price * (1 - price)
    for time_ms, step in ((OLD_RULE_MS, Decimal("0.0001")), (NEW_RULE_MS, Decimal("0.000001"))):
        fee = fill_fee(schedule, price_e4, count_e2, time_ms=time_ms, maker=maker)
        assert Decimal(fee.trade_fee_e6) / 1_000_000 == model.quantize(step, ROUND_CEILING)


@given(schedules, prices, counts, st.booleans(), st.sampled_from([100, 10_000]))
def test_balance_change_lies_on_the_members_grid(
    schedule: FeeSchedule, price_e4: int, count_e2: int, selling: bool, grid_e6: int
) -> None:
    fee = fill_fee(schedule, price_e4, count_e2, time_ms=NEW_RULE_MS, selling=selling, grid_e6=grid_e6)
    revenue_e6 = price_e4 * count_e2 * (1 if selling else -1)
    assert (revenue_e6 - fee.total_e6) % grid_e6 == 0
    assert 0 <= fee.rounding_fee_e6 < grid_e6


@given(schedules, prices, counts)
def test_both_outcomes_pay_the_same_model_fee(schedule: FeeSchedule, price_e4: int, count_e2: int) -> None:
    yes = fill_fee(schedule, price_e4, count_e2, time_ms=NEW_RULE_MS)
    no = fill_fee(schedule, 10_000 - price_e4, count_e2, time_ms=NEW_RULE_MS)
    assert yes.trade_fee_e6 == no.trade_fee_e6


@given(schedules, st.lists(st.tuples(prices, counts), min_size=1, max_size=6))
def test_order_bound_is_never_below_the_fees(schedule: FeeSchedule, fills: list[tuple[int, int]]) -> None:
    fees_e6 = taker_fees_e6(schedule, fills, time_ms=NEW_RULE_MS)
    assert fees_e6 <= order_fee_bound_e6(schedule, fills, time_ms=NEW_RULE_MS) <= fees_e6 + 10_000


def _series(fee_type: str = "quadratic", multiplier_e4: int = 5_000) -> Series:
    return Series("S", "t", "Sports", "custom", fee_type, multiplier_e4, b"{}")


def _event(fee_type: str | None = None, multiplier_e4: int | None = None) -> Event:
    return Event("S-1", "S", "t", "", "Sports", True, None, fee_type, multiplier_e4, 0, b"{}")


def test_event_overrides_type_and_multiplier_each_on_its_own() -> None:
    assert fee_schedule(_event(), _series()) == FeeSchedule("quadratic", 5_000)
    assert fee_schedule(_event("quadratic_with_maker_fees"), _series()) == FeeSchedule(
        "quadratic_with_maker_fees", 5_000
    )
    assert fee_schedule(_event(multiplier_e4=0), _series()) == FeeSchedule("quadratic", 0)


def test_fee_is_unknown_without_a_series_or_with_an_unknown_type() -> None:
    assert fee_schedule(_event(), None) is None
    assert fee_schedule(None, _series("flat")) is None
    assert fee_schedule(_event("cubic"), _series()) is None
    assert fee_schedule(_event("quadratic", 10_000), None) == PLAIN


def test_rounding_fees_of_an_orders_fills_come_back_in_whole_steps() -> None:
    order = OrderFees()

    # Trade fee 3639, rounded to 3700 by 61: the second fill's 61 makes 122, of which one step of 100 returns.
    fees = [order.add(fill_fee(PLAIN, 550, 100, time_ms=NEW_RULE_MS)) for _ in range(3)]

    assert [(fee.total_e6, fee.rebate_e6) for fee in fees] == [(3_700, 0), (3_600, 100), (3_700, 0)]
    assert order.accumulated_e6 == 83


def test_a_rebate_never_makes_a_fee_negative() -> None:
    order = OrderFees(accumulated_e6=950)

    assert order.add(FillFee(trade_fee_e6=0, rounding_fee_e6=70)).total_e6 == 70
    assert order.add(FillFee(trade_fee_e6=130, rounding_fee_e6=70)).total_e6 == 0
    assert order.accumulated_e6 == 890


@given(
    schedules,
    st.lists(st.tuples(prices, st.integers(1, 10**6), st.booleans()), max_size=20),
    st.sampled_from([100, INTERMEDIARY_GRID_E6]),
)
def test_an_order_pays_its_trade_fees_and_less_than_a_step_more(
    schedule: FeeSchedule, fills: list[tuple[int, int, bool]], grid_e6: int
) -> None:
    order = OrderFees(grid_e6=grid_e6)
    paid = trade = plain = 0
    for price_e4, count_e2, selling in fills:
        fee = fill_fee(schedule, price_e4, count_e2, time_ms=NEW_RULE_MS, selling=selling, grid_e6=grid_e6)
        net = order.add(fee)
        revenue_e6 = (1 if selling else -1) * price_e4 * count_e2
        assert net.total_e6 >= 0
        assert (revenue_e6 - net.total_e6) % grid_e6 == 0  # the balance moves in whole steps
        paid, trade, plain = paid + net.total_e6, trade + fee.trade_fee_e6, plain + fee.total_e6
        assert paid == trade + order.accumulated_e6  # what is paid and not owed is in the accumulator
    assert trade <= paid <= plain
