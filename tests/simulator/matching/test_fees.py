"""Fees of the exchange against fills that were really charged, and the documentation's worked examples."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from markets.units import format_money, parse_count_e2, parse_decimal, parse_price_e4
from simulator.matching.fees import (
    DIRECT_GRID_E6,
    INTERMEDIARY_GRID_E6,
    MAKER_RATE_E4,
    STEP_BEFORE_26_AUGUST_2026_E6,
    net_fee_e6,
    priced,
    trade_fee_e6,
    worst_cost_e6,
)
from simulator.matching.orders import Side
from tests.simulator.matching.trades import Market

DATA = Path(__file__).parents[2] / "data/kalshi"
RECORDED = json.loads((DATA / "fee_observations.json").read_text())["fills"]
PLAIN = Market("M")

# Kalshi API documentation, fee rounding: fills of one order at (price, count), then trade fee, rounding fee,
# accumulator after the rounding, rebate and net fee of each. Members through an intermediary, first rule.
WORKED_EXAMPLES = {
    "three times one contract at 0.055": (
        ("0.0550", "1"),
        [
            ("0.008500", "0.006500", "0.006500", "0.000000", "0.015000"),
            ("0.008500", "0.006500", "0.013000", "0.010000", "0.005000"),
            ("0.008500", "0.006500", "0.009500", "0.000000", "0.015000"),
        ],
    ),
    "three times 0.30 contracts at 0.50": (
        ("0.5000", "0.30"),
        [
            ("0.004100", "0.005900", "0.005900", "0.000000", "0.010000"),
            ("0.004100", "0.005900", "0.011800", "0.010000", "0.000000"),
            ("0.004100", "0.005900", "0.007700", "0.000000", "0.010000"),
        ],
    ),
    "three times 0.03 contracts at 0.3301": (
        ("0.3301", "0.03"),
        [
            ("0.000500", "0.009597", "0.009597", "0.000000", "0.010097"),
            ("0.000500", "0.009597", "0.019194", "0.010000", "0.000097"),
            ("0.000500", "0.009597", "0.018791", "0.010000", "0.000097"),
        ],
    ),
}
# The published examples print 0.0085 as trade fee of 0.055, of which the fee model makes 0.0037: they were
# computed at another rate. So the trade fee is given to the rounding here, and checked apart from it.

prices = st.integers(1, 9_999)
counts = st.integers(1, 10**7)
grids = st.sampled_from([DIRECT_GRID_E6, INTERMEDIARY_GRID_E6])
sides = st.sampled_from(["bid", "ask"])
markets = st.builds(
    lambda fee_type, multiplier: replace(PLAIN, fee_type=fee_type, fee_multiplier_e4=multiplier),
    st.sampled_from(sorted(MAKER_RATE_E4)),
    st.integers(0, 100_000),
)


@pytest.mark.parametrize(
    "fill", RECORDED, ids=lambda f: f"{f['series']}-{f['count']}@{f['yes_price_dollars']}"
)
def test_recorded_fill_is_charged_to_the_digit_by_the_rule_of_its_time(fill: dict[str, str]) -> None:
    market = replace(PLAIN, fee_multiplier_e4=parse_decimal(fill["fee_multiplier"], 4, "m"))
    price_e4, count_e2 = parse_price_e4(fill["yes_price_dollars"]), parse_count_e2(fill["count"])
    trade_e6 = trade_fee_e6(market, price_e4, count_e2, True, STEP_BEFORE_26_AUGUST_2026_E6)
    fee_e6, _ = net_fee_e6(trade_e6, "bid", price_e4, count_e2, 0, DIRECT_GRID_E6)
    assert format_money(fee_e6) == fill["fee_cost"]


@pytest.mark.parametrize("example", WORKED_EXAMPLES.values(), ids=list(WORKED_EXAMPLES))
def test_worked_example_of_rounding_and_rebates(
    example: tuple[tuple[str, str], list[tuple[str, ...]]],
) -> None:
    (price, count), fills = example
    price_e4, count_e2, accumulator_e6 = parse_price_e4(price), parse_count_e2(count), 0
    for trade, rounding, accumulated, rebate, net in fills:
        before_e6 = accumulator_e6
        trade_e6 = parse_decimal(trade, 6, "trade fee")
        fee_e6, accumulator_e6 = net_fee_e6(
            trade_e6, "bid", price_e4, count_e2, before_e6, INTERMEDIARY_GRID_E6
        )
        rebate_e6 = parse_decimal(rebate, 6, "rebate")
        assert format_money(fee_e6) == net
        assert format_money(accumulator_e6 + rebate_e6) == accumulated
        assert format_money(accumulator_e6 + rebate_e6 - before_e6) == rounding


def test_one_contract_at_five_and_a_half_cents_by_both_rules() -> None:
    assert trade_fee_e6(PLAIN, 550, 100, True) == 3_639  # the model fee is 0.00363825
    assert trade_fee_e6(PLAIN, 550, 100, True, STEP_BEFORE_26_AUGUST_2026_E6) == 3_700


def test_maker_pays_by_fee_type_and_nothing_of_the_plain_one() -> None:
    fees = {
        fee_type: trade_fee_e6(replace(PLAIN, fee_type=fee_type), 5_000, 10_000, False)
        for fee_type in MAKER_RATE_E4
    }
    assert fees == {
        "quadratic": 0,
        "quadratic_with_maker_fees": 437_500,
        "quadratic_with_combo_maker_fees": 875_000,
    }


def test_maker_without_a_fee_still_pays_what_aligns_its_balance() -> None:
    fee_e6, accumulator_e6 = net_fee_e6(0, "bid", 3_301, 3, 0, DIRECT_GRID_E6)
    assert (fee_e6, accumulator_e6) == (97, 97)  # 0.009903 becomes 0.0100


@pytest.mark.parametrize(
    ("fee_type", "multiplier_e4", "known"),
    [
        ("quadratic", 10_000, True),
        ("quadratic", 0, True),
        ("quadratic_with_combo_maker_fees", 5_000, True),
        ("flat", 10_000, False),
        ("", 10_000, False),
        ("quadratic", -1, False),
        ("quadratic", 10**9, False),
    ],
)
def test_a_market_whose_fees_are_unknown_or_absurd_has_no_price(
    fee_type: str, multiplier_e4: int, known: bool
) -> None:
    assert priced(Market("M", fee_type=fee_type, fee_multiplier_e4=multiplier_e4)) is known


@given(markets, sides, prices, counts, prices, counts, st.booleans(), grids)
def test_no_fill_of_less_or_at_a_better_price_costs_more_than_the_worst(
    market: Market,
    side: Side,
    price_e4: int,
    count_e2: int,
    other_e4: int,
    part_e2: int,
    taker: bool,
    grid_e6: int,
) -> None:
    part_e2 = min(part_e2, count_e2)
    better_e4 = min(price_e4, other_e4) if side == "bid" else max(price_e4, other_e4)
    trade_e6 = trade_fee_e6(market, better_e4, part_e2, taker)
    fee_e6, _ = net_fee_e6(trade_e6, side, better_e4, part_e2, 0, grid_e6)
    unit_e4 = better_e4 if side == "bid" else 10_000 - better_e4
    assert unit_e4 * part_e2 + fee_e6 <= worst_cost_e6(market, side, price_e4, count_e2, taker, grid_e6)


@given(markets, sides, prices, st.lists(st.tuples(counts, st.booleans()), max_size=20), grids)
def test_balance_moves_in_steps_of_the_grid_and_no_fee_is_negative(
    market: Market, side: Side, price_e4: int, fills: list[tuple[int, bool]], grid_e6: int
) -> None:
    accumulator_e6 = 0
    for count_e2, taker in fills:
        trade_e6 = trade_fee_e6(market, price_e4, count_e2, taker)
        fee_e6, accumulator_e6 = net_fee_e6(trade_e6, side, price_e4, count_e2, accumulator_e6, grid_e6)
        money_e6 = price_e4 * count_e2
        assert fee_e6 >= 0
        assert accumulator_e6 >= 0
        assert ((-money_e6 if side == "bid" else money_e6) - fee_e6) % grid_e6 == 0
