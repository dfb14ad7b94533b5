"""Settlement: what the contracts of a market pay once its value is known.

"yes" pays 1 dollar to YES, "no" to NO, and a value in between pays itself to YES and the rest to NO. A payout
is rounded down to whole cents, and the rest is booked as a fee. Source: Kalshi API documentation, fee
rounding: 10.60 YES settled at 0.5970 are worth 6.3282, pay 6.32 and incur a fee of 0.0082.
"""

from dataclasses import dataclass
from typing import Final, Literal

from .orders import Instrument, Party

ONE_E4: Final = 10_000
HALF_E4: Final = 5_000
_CENT_E6: Final = 10_000

Result = Literal["yes", "no", "scalar"]


@dataclass(frozen=True, slots=True)
class Settlement:
    """The settlement of one party's position in one market.

    Attributes:
        value_e4: what a YES contract paid.
        yes_e2, no_e2: contracts held; one of them is 0.
        yes_cost_e6, no_cost_e6: what they cost, without fees.
        revenue_e6: what was paid out.
        fee_e6: all fees of the position: those of its fills, and what this settlement rounded off.
        number: counts all settlements of the exchange.
    """

    party: Party
    instrument: Instrument
    result: Result
    value_e4: int
    yes_e2: int
    yes_cost_e6: int
    no_e2: int
    no_cost_e6: int
    revenue_e6: int
    fee_e6: int
    time_ms: int
    number: int


def result_of(value_e4: int) -> Result:
    """Return the word for a value of YES."""
    return "yes" if value_e4 == ONE_E4 else "no" if value_e4 == 0 else "scalar"


def worth_e6(position_e2: int, value_e4: int) -> int:
    """Return what a position is worth if YES is worth `value_e4`."""
    return position_e2 * value_e4 if position_e2 >= 0 else -position_e2 * (ONE_E4 - value_e4)


def payout_e6(position_e2: int, value_e4: int, whole_cents: bool) -> int:
    """Return what a position is paid."""
    gross_e6 = worth_e6(position_e2, value_e4)
    return gross_e6 - gross_e6 % _CENT_E6 if whole_cents else gross_e6
