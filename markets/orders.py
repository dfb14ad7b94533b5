"""What the trader's parts say to each other: orders, fills, positions, and what a strategy wants."""

from functools import lru_cache
from typing import Final

import msgspec

from .fees import FeeSchedule, order_fee_bound_e6
from .units import opposite

ROUNDING_ROOM_E6: Final = 10_000
"""Held above the bound of an order's fees for the roundings of its single fills."""


class Wanted(msgspec.Struct, frozen=True, array_like=True):
    """One purchase that a strategy wants: `count_e2` of `side` at `price_e4` or better."""

    ticker: str
    side: str
    price_e4: int
    count_e2: int


class Proposal(msgspec.Struct, frozen=True, array_like=True):
    """One trade that a strategy wants, all legs together. `edge_e6` is its expected profit after fees.

    `evens` is the trade whose basket this evens out, None for a trade of its own.
    """

    strategy: str
    event_ticker: str
    legs: tuple[Wanted, ...]
    edge_e6: int
    probability: float | None
    evens: int | None = None


class Intent(msgspec.Struct, frozen=True, array_like=True):
    """An order in the journal for the broker to carry out: a limited purchase, immediate or cancel.

    Attributes:
        number: counts the orders of a journal, from 1.
        client_order_id: uuid5 of the journal's id and `number`: the same order has the same id for ever.
        trade: number shared by the orders of one decision.
        price_e4: limit, in prices of `side`.
        reserve_e6: the most it can cost, fees included; held until the order ends.
        fee_type, multiplier_e4: the fees it was decided on.
        valid_until_ms: it must not be carried out later.
        epoch, seq: position of the data it was decided on.
        edge_e6: expected profit of the whole trade after fees; of a follow-up what it adds to the worst case.
        attempt: 0 for the trade itself, 1 and up for the orders that even its basket out.
    """

    number: int
    client_order_id: str
    trade: int
    strategy: str
    ticker: str
    event_ticker: str
    series_ticker: str
    label: str
    side: str
    price_e4: int
    count_e2: int
    reserve_e6: int
    fee_type: str
    multiplier_e4: int
    created_ms: int
    valid_until_ms: int
    epoch: int
    seq: int
    edge_e6: int
    probability: float | None
    attempt: int = 0

    @property
    def fees(self) -> FeeSchedule:
        """The schedule it was decided on."""
        return FeeSchedule(self.fee_type, self.multiplier_e4)


class Fill(msgspec.Struct, frozen=True, array_like=True):
    """One level taken by an order. `shown_e2` is what the level showed, `fee_e6` the net fee."""

    price_e4: int
    count_e2: int
    fee_e6: int
    shown_e2: int
    time_ms: int

    @property
    def cost_e6(self) -> int:
        """Price times count."""
        return self.price_e4 * self.count_e2


class Position(msgspec.Struct, frozen=True, array_like=True):
    """Contracts held in one market. `cost_e6` is without fees; `trades` are those that built it."""

    ticker: str
    event_ticker: str
    series_ticker: str
    label: str
    strategy: str
    side: str
    count_e2: int
    cost_e6: int
    fees_e6: int
    opened_ms: int
    trades: tuple[int, ...]

    def value_e6(self, yes_price_e4: int) -> int:
        """Return what it is worth at a YES price."""
        return self.count_e2 * (yes_price_e4 if self.side == "yes" else opposite(yes_price_e4))


class Settlement(msgspec.Struct, frozen=True, array_like=True):
    """A position paid out: `value_e4` is what YES was worth."""

    ticker: str
    event_ticker: str
    side: str
    count_e2: int
    result: str
    value_e4: int
    cost_e6: int
    payout_e6: int
    time_ms: int


@lru_cache(maxsize=1024)  # a decision asks for the same orders when it cuts, checks and places them
def reserve_e6(fees: FeeSchedule, price_e4: int, count_e2: int, time_ms: int) -> int:
    """Return the most that buying `count_e2` at `price_e4` or better can cost, fees included."""
    bound_e6 = order_fee_bound_e6(fees, [(price_e4, count_e2)], time_ms=time_ms)
    return price_e4 * count_e2 + bound_e6 + ROUNDING_ROOM_E6
