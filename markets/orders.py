"""Orders: what a strategy wants, what is sent, what becomes of it, and what is held.

Trader, order gateway and dashboard all speak of orders in these types. Journals keep them for ever: members
are only ever added, at the end and with a default, so that old bytes read as before.
"""

from enum import StrEnum
from functools import lru_cache
from typing import Final, Literal

import msgspec

from .fees import FeeSchedule, order_fee_bound_e6
from .units import opposite

TimeInForce = Literal["ioc", "fok", "gtc"]
"""How long an order stands: immediate or cancel, fill or kill, good till cancelled or until `expires_ms`."""


class OrderState(StrEnum):
    """The state of an order: docs/orders.md has the table.

    `RESTING` and `PARTIAL` are in the exchange's book, the latter with a part filled. `UNKNOWN`: nobody can
    say what became of it, and what it may cost stays reserved. The last five are final: nothing more can be
    filled, and what a cancelled or expired order got is in its fills.

    Journals under rules before 2 call everything that has not ended `OPEN`, and there `PARTIAL` is final.
    """

    INTENDED = "intended"
    SENT = "sent"
    RESTING = "resting"
    PARTIAL = "partial"
    UNKNOWN = "unknown"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    EXPIRED = "expired"
    OPEN = "open"

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self in _ENDS


_ENDS: Final = frozenset({OrderState.FILLED, OrderState.CANCELLED, OrderState.REJECTED, OrderState.EXPIRED})

ROUNDING_ROOM_E6: Final = 10_000
"""Reserved on top of the bound of an order's fees, for the rounding of its single fills."""


class Wanted(msgspec.Struct, frozen=True, array_like=True):
    """One purchase that a strategy wants: `count_e2` of `side` at `price_e4` or better."""

    ticker: str
    side: str
    price_e4: int
    count_e2: int


class Proposal(msgspec.Struct, frozen=True, array_like=True):
    """One trade that a strategy wants, all legs together. `edge_e6` is its expected profit after fees.

    `evens` is the trade whose basket this evens out, None for a trade of its own. `time_in_force` and
    `expires_ms` are those of its orders. `by_hand`: a person wants it; `evens` is then the trade that it
    sells from. `exits`: a strategy gives up what its own trade `evens` holds. `kind` is that of the
    opportunity it takes, empty if there is none. `post_only`: for orders that rest, to take nothing when they
    arrive. `joins`: the trade of the same strategy in this event that it belongs to, None for a new one.
    """

    strategy: str
    event_ticker: str
    legs: tuple[Wanted, ...]
    edge_e6: int
    probability: float | None
    evens: int | None = None
    time_in_force: TimeInForce = "ioc"
    expires_ms: int | None = None
    by_hand: bool = False
    exits: bool = False
    kind: str = ""
    post_only: bool = False
    joins: int | None = None


class CancelWanted(msgspec.Struct, frozen=True, array_like=True):
    """A strategy wants one of its resting orders ended."""

    strategy: str
    event_ticker: str
    number: int


class AmendWanted(msgspec.Struct, frozen=True, array_like=True):
    """A strategy wants one of its resting orders moved to another price or count.

    `price_e4` is that of the side the order buys; `count_e2` is what it has got plus what is to rest.
    """

    strategy: str
    event_ticker: str
    number: int
    price_e4: int
    count_e2: int


AnyWanted = Proposal | CancelWanted | AmendWanted
"""What a strategy may want."""


class Intent(msgspec.Struct, frozen=True, array_like=True):
    """An order in the journal for a broker to carry out: a purchase with a limit.

    Attributes:
        number: counts the orders in a journal, from 1.
        client_order_id: uuid5 of the journal's id and `number`: the same order has the same id for ever.
        trade: number shared by the orders of one decision.
        price_e4: limit, in prices of `side`.
        reserve_e6: the most it can cost, fees included; reserved until the order ends.
        fee_type, multiplier_e4: the fee schedule it was decided on.
        valid_until_ms: it must not be sent after this.
        epoch, seq: position of the data it was decided on.
        edge_e6: expected profit of the whole trade after fees; for a follow-up, what it adds to the worst
            case.
        attempt: 0 for the trade itself, 1 and up for the orders that even out its basket.
        exchange_index: shard of the exchange that its market trades on; X: how long it stands.
        expires_ms: when the exchange ends it, of a "gtc" order; None for never.
        trader, account: who sends it, and on which account; empty in journals older than these fields.
        kind: that of the opportunity its trade takes, or the strategy's name if there is none; empty for
            orders that even out or sell, and in journals older than this field.
        source: that of the fair value its trade rests on, empty if it rests on none.
        shown_e6: what it would have cost, without fees, at what was offered when it was decided; X: it may
            only rest: refused if it would take anything when it arrives.
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
    exchange_index: int | None = None
    time_in_force: TimeInForce = "ioc"
    expires_ms: int | None = None
    trader: str = ""
    account: str = ""
    kind: str = ""
    source: str = ""
    shown_e6: int | None = None
    post_only: bool = False

    @property
    def fees(self) -> FeeSchedule:
        """The schedule it was decided on."""
        return FeeSchedule(self.fee_type, self.multiplier_e4)


class Fill(msgspec.Struct, frozen=True, array_like=True):
    """One level taken by an order. `shown_e2` is what the level showed, `fee_e6` the net fee.

    `id` is the exchange's name for it, empty if there is none; `maker`: the order rested.
    """

    price_e4: int
    count_e2: int
    fee_e6: int
    shown_e2: int
    time_ms: int
    id: str = ""
    maker: bool = False

    @property
    def cost_e6(self) -> int:
        """Price times count."""
        return self.price_e4 * self.count_e2


class OrderEvent(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Base of what a broker reports of an order; `number`: its intent's. Events of an order come in order."""

    number: int


class Sent(OrderEvent, frozen=True):
    """Whoever carries it out has it, and keeps it."""


class Accepted(OrderEvent, frozen=True):
    """The exchange has it. `order_id` is the exchange's name for it, empty if there is none."""

    order_id: str = ""


class Filled(OrderEvent, frozen=True):
    """Part of it was filled, or the rest."""

    fill: Fill


class Ended(OrderEvent, frozen=True):
    """It is over: no more of it can be filled. `reason` says why it got no more.

    `state` is its final state, None if the broker leaves that to the fills.
    """

    reason: str
    state: OrderState | None = None


class Unknown(OrderEvent, frozen=True):
    """Nobody can say what became of it: what it may cost stays reserved until another event says more.

    `until_ms`: if it has not been found by then, it counts as not placed, provided that the exchange answers.
    """

    reason: str
    until_ms: int | None = None


class Amended(OrderEvent, frozen=True):
    """It rests at another price or count. `count_e2` is what it has got plus what rests."""

    price_e4: int
    count_e2: int
    order_id: str = ""


class AmendRefused(OrderEvent, frozen=True):
    """It rests as before."""

    reason: str


AnyOrderEvent = Sent | Accepted | Filled | Ended | Unknown | Amended | AmendRefused


class Position(msgspec.Struct, frozen=True, array_like=True):
    """The net position in one market, as the exchange shows it: of YES or of NO, never of both.

    `cost_e6` excludes fees; `trades` are those that built it.
    """

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

    @property
    def signed_e2(self) -> int:
        """Contracts of YES; those of NO are negative."""
        return self.count_e2 if self.side == "yes" else -self.count_e2

    def value_e6(self, yes_price_e4: int) -> int:
        """Return what it is worth at a YES price."""
        return self.count_e2 * (yes_price_e4 if self.side == "yes" else opposite(yes_price_e4))


class Settlement(msgspec.Struct, frozen=True, array_like=True):
    """A market in which something was held is settled: `value_e4` is what YES was worth.

    `side`, `count_e2` and `payout_e6` are those of the net position, which is what the exchange pays; the
    count is 0 if trades held as much of one side as of the other. `cost_e6` is what all lots in the market
    had cost less what pairs of them were paid before, so payout less cost is what the settlement earned; it
    is below 0 where pairs had paid more than all lots cost.

    The exchange pays whole cents, rounded down; the remainder is a fee, `fee_e6`, which is 0 in journals
    older than this field.
    """

    ticker: str
    event_ticker: str
    side: str
    count_e2: int
    result: str
    value_e4: int
    cost_e6: int
    payout_e6: int
    time_ms: int
    fee_e6: int = 0


@lru_cache(maxsize=1024)  # a decision asks about the same orders when it cuts, checks and places them
def reserve_e6(fees: FeeSchedule, price_e4: int, count_e2: int, time_ms: int) -> int:
    """Return the most that buying `count_e2` at `price_e4` or better can cost, fees included."""
    bound_e6 = order_fee_bound_e6(fees, [(price_e4, count_e2)], time_ms=time_ms)
    return price_e4 * count_e2 + bound_e6 + ROUNDING_ROOM_E6
