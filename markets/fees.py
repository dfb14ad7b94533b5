"""Kalshi's trading fees, exactly.

The model fee of C contracts at YES price P is ``rate x m x C x P x (1 - P)`` with m the effective fee
multiplier; the rate of a taker is 0.07, that of a maker depends on the fee type. It is the same for YES and
NO. Then two roundings, per fill:

1. the trade fee is the model fee, rounded up to $0.000001 (before 26 August 2026: to $0.0001);
2. the balance moves in steps of g, $0.0001 for direct members: ``floor(revenue - trade fee, g)``, revenue
   being negative for a buyer. What that takes beyond the trade fee is the rounding fee.

An order's rounding fees collect in an accumulator, `OrderFees`, that rebates whole multiples of g. `fill_fee`
is one fill without a rebate: its sum over an order's fills is never too low, as a planner needs it.

Source: Kalshi API documentation, fee rounding (October 2026); 13 fills recorded in June and August 2026 are
reproduced exactly by the tests. A fee waiver, where one is running, is left out: it only makes fees smaller.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from .records import Event, Level, Series
from .units import COUNT_ONE_E2, PRICE_ONE_E4

TAKER_RATE_E4: Final = 700
"""The taker's rate, 0.07, for every known fee type."""

MAKER_RATE_E4: Final = {
    "quadratic": 0,
    "quadratic_with_maker_fees": 175,
    "quadratic_with_combo_maker_fees": 350,
}
"""The maker's rate by fee type. The tables of other types ("flat" among them) are not public: no price."""

MICRODOLLAR_RULE_SINCE_MS: Final = 1_787_702_400_000
"""26 August 2026, 00:00 UTC: since then the trade fee rounds up to $0.000001. (The hour is not known.)"""

DIRECT_MEMBER_GRID_E6: Final = 100
"""Balance step of a direct member, $0.0001."""

INTERMEDIARY_GRID_E6: Final = 10_000
"""Balance step of a member that clears through an intermediary, $0.01."""

_CENT_E6: Final = 10_000
_MODEL_SCALE: Final = 10**12
"""Model fees are exact integers of $1e-18: rate_e4 x multiplier_e4 x count_e2 x price_e4 x price_e4."""


class FeeSchedule(msgspec.Struct, frozen=True, gc=False):
    """Effective fee type and multiplier of an event; `multiplier_e4` 10000 is x1."""

    fee_type: str
    multiplier_e4: int


class FillFee(msgspec.Struct, frozen=True, gc=False):
    """The fee of one fill, before any rebate of its order's accumulator."""

    trade_fee_e6: int
    rounding_fee_e6: int

    @property
    def total_e6(self) -> int:
        """What the fill costs in fees."""
        return self.trade_fee_e6 + self.rounding_fee_e6


class NetFee(msgspec.Struct, frozen=True, gc=False):
    """What one fill costs in fees, `total_e6`, after the `rebate_e6` of its order's accumulator."""

    total_e6: int
    rebate_e6: int


class OrderFees(msgspec.Struct):
    """The accumulator of one order, over all its fills, as taker and as maker.

    Each fill's rounding fee is added; whole multiples of the member's balance step are rebated from it, never
    so much that the fill's fee becomes negative. Source: Kalshi API documentation, fee rounding (October
    2026), steps 4 and 5. No recorded order has fills that show a rebate; this is the documented arithmetic.
    """

    accumulated_e6: int = 0
    grid_e6: int = DIRECT_MEMBER_GRID_E6

    def add(self, fee: FillFee) -> NetFee:
        """Take the order's next fill; return what it costs."""
        self.accumulated_e6 += fee.rounding_fee_e6
        whole_e6 = min(self.accumulated_e6, fee.total_e6)
        rebate_e6 = whole_e6 - whole_e6 % self.grid_e6
        self.accumulated_e6 -= rebate_e6
        return NetFee(total_e6=fee.total_e6 - rebate_e6, rebate_e6=rebate_e6)


def fee_schedule(event: Event | None, series: Series | None) -> FeeSchedule | None:
    """Return the effective schedule: the event's overrides if present, else the series'; None if unknown.

    Type and multiplier are overridden independently. An unknown fee type gives None: refuse to price.
    """
    fee_type = (event.fee_type_override if event else None) or (series.fee_type if series else None)
    multiplier_e4 = event.fee_multiplier_override_e4 if event else None
    if multiplier_e4 is None:
        multiplier_e4 = series.fee_multiplier_e4 if series else None
    if fee_type not in MAKER_RATE_E4 or multiplier_e4 is None:
        return None
    return FeeSchedule(fee_type=fee_type, multiplier_e4=multiplier_e4)


def fill_fee(
    schedule: FeeSchedule,
    price_e4: int,
    count_e2: int,
    *,
    time_ms: int,
    maker: bool = False,
    selling: bool = False,
    grid_e6: int = DIRECT_MEMBER_GRID_E6,
) -> FillFee:
    """Return the fee of one fill, without the rebate of its order's accumulator.

    Args:
        schedule: the event's effective schedule.
        price_e4: price of the outcome traded; YES and NO pay the same fee.
        count_e2: contracts filled.
        time_ms: time of the fill, which decides the rounding rule.
        maker: the fill's role.
        selling: the fill brings money in (closes a position) rather than costing it.
        grid_e6: the member's balance step.
    """
    trade_e6 = trade_fee_e6(schedule, price_e4, count_e2, time_ms=time_ms, maker=maker)
    revenue_e6 = price_e4 * count_e2 if selling else -price_e4 * count_e2
    return FillFee(trade_e6, (revenue_e6 - trade_e6) % grid_e6)


def trade_fee_e6(
    schedule: FeeSchedule, price_e4: int, count_e2: int, *, time_ms: int, maker: bool = False
) -> int:
    """Return the trade fee of one fill: the model fee, rounded up by the rule of its time."""
    model_e18 = _model_fee_e18(schedule, price_e4, count_e2, maker)
    if time_ms < MICRODOLLAR_RULE_SINCE_MS:
        return _ceil_to(model_e18, 100)
    return -(-model_e18 // _MODEL_SCALE)  # as `_ceil_to` does, without a call: it is asked at every level


def taker_fees_e6(schedule: FeeSchedule, fills: Iterable[Level], *, time_ms: int) -> int:
    """Return the fees of taking `fills`, (price_e4, count_e2) each, every level as one fill."""
    total_e6 = 0
    for price_e4, count_e2 in fills:
        fee = fill_fee(schedule, price_e4, count_e2, time_ms=time_ms)
        total_e6 += fee.trade_fee_e6 + fee.rounding_fee_e6
    return total_e6


def order_fee_bound_e6(schedule: FeeSchedule, fills: Iterable[Level], *, time_ms: int) -> int:
    """Return what an order's taker fees will not exceed: the model fee rounded up to a whole cent.

    Where the roundings of the levels themselves sum to more (tiny fractional fills), that sum.
    """
    fills, model_e18 = tuple(fills), 0
    for price_e4, count_e2 in fills:
        model_e18 += _model_fee_e18(schedule, price_e4, count_e2, maker=False)
    return max(_ceil_to(model_e18, _CENT_E6), taker_fees_e6(schedule, fills, time_ms=time_ms))


def least_fee_e18(schedule: FeeSchedule, price_e4: int) -> int:
    """Return the least a taker pays for a contract, in $1e-18: the model fee, before it is rounded up."""
    return _model_fee_e18(schedule, price_e4, COUNT_ONE_E2, maker=False)


def grows_with_price(schedule: FeeSchedule) -> bool:
    """Whether a higher price stays higher with the least fee added, as with any sensible multiplier."""
    return abs(TAKER_RATE_E4 * schedule.multiplier_e4) <= 10**8


def _model_fee_e18(schedule: FeeSchedule, price_e4: int, count_e2: int, maker: bool) -> int:
    rate_e4 = MAKER_RATE_E4[schedule.fee_type] if maker else TAKER_RATE_E4
    return rate_e4 * schedule.multiplier_e4 * count_e2 * price_e4 * (PRICE_ONE_E4 - price_e4)


def _ceil_to(model_fee_e18: int, step_e6: int) -> int:
    return -(-model_fee_e18 // (_MODEL_SCALE * step_e6)) * step_e6
