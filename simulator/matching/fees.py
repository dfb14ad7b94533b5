"""Fees of fills, as the exchange charges them.

The model fee of C contracts at YES price P is ``rate x m x C x P x (1 - P)`` with m the multiplier. Per fill:

1. trade fee: the model fee, rounded up to $0.000001 (before 26 August 2026: to $0.0001);
2. the balance moves in steps of the grid g, $0.0001 for direct members and $0.01 for those who clear through
   an intermediary: revenue less trade fee is rounded down to g, and the difference is the rounding fee;
3. the rounding fee is added to the order's accumulator, and whole multiples of g are rebated from it, as long
   as the fill's net fee does not fall below zero.

Revenue is what the fill brings, negative for a buyer. Whether a sale closes a position or opens one on the
other side changes it by whole cents per contract of 0.01, hence by multiples of g: the rounding is the same.

Source: Kalshi API documentation, fee rounding (October 2026), with its worked examples; 13 recorded fills of
August 2026 agree, by the rule of their time.
"""

from typing import Final

from .orders import BID, Instrument, Side

TAKER_RATE_E4: Final = 700
MAKER_RATE_E4: Final = {
    "quadratic": 0,
    "quadratic_with_maker_fees": 175,
    "quadratic_with_combo_maker_fees": 350,
}
"""The maker's rate by fee type. `flat` has its own table, which is not public."""

MAX_MULTIPLIER_E4: Final = 100_000
"""Ten times the plain fee. Above 14 times a sale could cost more than it brings."""

DIRECT_GRID_E6: Final = 100
INTERMEDIARY_GRID_E6: Final = 10_000
STEP_E6: Final = 1
STEP_BEFORE_26_AUGUST_2026_E6: Final = 100

_ONE_E4: Final = 10_000
_E18_PER_E6: Final = 10**12


def priced(instrument: Instrument) -> bool:
    """Tell whether the fees of a market are known; if not, no orders are accepted."""
    return instrument.fee_type in MAKER_RATE_E4 and 0 <= instrument.fee_multiplier_e4 <= MAX_MULTIPLIER_E4


def trade_fee_e6(
    instrument: Instrument, price_e4: int, count_e2: int, is_taker: bool, step_e6: int = STEP_E6
) -> int:
    """Return the model fee rounded up to `step_e6`.

    A market whose fee type became unknown while orders rested there charges as a `quadratic` one.
    """
    rate_e4 = TAKER_RATE_E4 if is_taker else MAKER_RATE_E4.get(instrument.fee_type, 0)
    if not rate_e4:
        return 0
    model_e18 = rate_e4 * instrument.fee_multiplier_e4 * count_e2 * price_e4 * (_ONE_E4 - price_e4)
    return -(-model_e18 // (_E18_PER_E6 * step_e6)) * step_e6


def net_fee_e6(
    trade_fee_e6: int, side: Side, price_e4: int, count_e2: int, accumulator_e6: int, grid_e6: int
) -> tuple[int, int]:
    """Return the net fee of a fill, and its order's accumulator after it."""
    money_e6 = price_e4 * count_e2
    revenue_e6 = -money_e6 if side == BID else money_e6
    rounding_e6 = (revenue_e6 - trade_fee_e6) % grid_e6
    fee_e6 = trade_fee_e6 + rounding_e6
    accumulator_e6 += rounding_e6
    rebate_e6 = min(accumulator_e6, fee_e6)
    rebate_e6 -= rebate_e6 % grid_e6
    return fee_e6 - rebate_e6, accumulator_e6 - rebate_e6


def worst_cost_e6(
    instrument: Instrument, side: Side, price_e4: int, count_e2: int, is_taker: bool, grid_e6: int
) -> int:
    """Return the most that opening `count_e2` in one fill can cost, fee and rounding included.

    This also holds for a smaller fill, or a better price: cost and fee together fall with both.
    """
    unit_e4 = price_e4 if side == BID else _ONE_E4 - price_e4
    cost_e6 = unit_e4 * count_e2 + trade_fee_e6(instrument, price_e4, count_e2, is_taker)
    return -(-cost_e6 // grid_e6) * grid_e6
