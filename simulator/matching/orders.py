"""Orders, fills and refusals as the exchange sees them. All prices are YES prices; money is micro-dollars.

Facts: Kalshi's order operations of autumn 2026 (V2). A bid buys YES; an ask sells YES, which means buying NO
at one dollar less the price.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal, Protocol

Side = Literal["bid", "ask"]
BID: Final = "bid"
ASK: Final = "ask"

TimeInForce = Literal["good_till_canceled", "immediate_or_cancel", "fill_or_kill"]
GTC: Final = "good_till_canceled"
IOC: Final = "immediate_or_cancel"
FOK: Final = "fill_or_kill"

SelfTradePrevention = Literal["taker_at_cross", "maker"]


class Status(StrEnum):
    """The state of an order."""

    RESTING = "resting"
    CANCELED = "canceled"
    EXECUTED = "executed"


class Reason(StrEnum):
    """Why an order last changed: `last_update_reason` of channel `user_orders`; "" while it just rests.

    Kalshi lists no reason for a cancel by its owner or by its group; here a cancel is a decrease to nothing.
    """

    NONE = ""
    DECREASE = "Decrease"
    AMEND = "Amend"
    MARGIN_CANCEL = "MarginCancel"
    SELF_TRADE_CANCEL = "SelfTradeCancel"
    EXPIRY_CANCEL = "ExpiryCancel"
    CLOSE_CANCEL = "CloseCancel"
    HALT_CANCEL = "HaltCancel"
    TRADE = "Trade"
    POST_ONLY_CROSS_CANCEL = "PostOnlyCrossCancel"
    REDUCE_ONLY_CANCEL = "ReduceOnlyCancel"


class Instrument(Protocol):
    """What matching and accounts must know about a market."""

    @property
    def ticker(self) -> str: ...
    @property
    def event_ticker(self) -> str: ...
    @property
    def exchange_index(self) -> int:
        """The shard it trades on."""
        ...

    @property
    def exclusive(self) -> bool:
        """Whether at most one market of its event resolves YES (collateral return type MECNET)."""
        ...

    @property
    def fee_type(self) -> str:
        """Effective fee type: "quadratic", "quadratic_with_maker_fees", ..."""
        ...

    @property
    def fee_multiplier_e4(self) -> int:
        """Effective fee multiplier in 1/10,000."""
        ...


Party = tuple[int, int]
"""(account, subaccount): whose money an order moves. Accounts count from 1, subaccounts from 0."""


@dataclass(slots=True, eq=False)
class Order:
    """An order that was accepted.

    Attributes:
        party: whose it is.
        initial_e2: the count it was created with, or amended to.
        remaining_e2: the count still resting; 0 once it has ended.
        filled_e2: the count filled.
        ahead_e2: for a resting order, the crowd's contracts at its price that were there before it.
        taker_cost_e6, maker_cost_e6: price times count of its fills, in YES prices for a bid, in NO prices
            for an ask.
        taker_fees_e6, maker_fees_e6: net fees of its fills.
        fee_accumulator_e6: rounding charged and not yet given back, over all its fills.
        expires_ms: when it ends by itself, None for never.
        number: counts all orders of the exchange; a later order has a higher one.
    """

    order_id: str
    client_order_id: str
    party: Party
    instrument: Instrument
    side: Side
    price_e4: int
    initial_e2: int
    remaining_e2: int
    time_in_force: TimeInForce
    self_trade: SelfTradePrevention
    created_ms: int
    updated_ms: int
    number: int
    expires_ms: int | None = None
    post_only: bool = False
    reduce_only: bool = False
    cancel_on_pause: bool = False
    group_id: str | None = None
    status: Status = Status.RESTING
    reason: Reason = Reason.NONE
    filled_e2: int = 0
    ahead_e2: int = 0
    taker_cost_e6: int = 0
    maker_cost_e6: int = 0
    taker_fees_e6: int = 0
    maker_fees_e6: int = 0
    fee_accumulator_e6: int = 0

    @property
    def ticker(self) -> str:
        """Ticker of its market."""
        return self.instrument.ticker

    @property
    def live(self) -> bool:
        """Whether it is resting."""
        return self.status is Status.RESTING


@dataclass(frozen=True, slots=True)
class Fill:
    """One fill of one order. `price_e4` is the YES price; `fee_e6` the net fee of this fill.

    Attributes:
        trade_id: also the fill's own id; both orders of a trade have the same.
        position_e2: the party's position in the market after it, signed: YES positive.
        number: counts all fills of the exchange.
    """

    trade_id: str
    order: Order
    side: Side
    price_e4: int
    count_e2: int
    is_taker: bool
    fee_e6: int
    position_e2: int
    time_ms: int
    number: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request was refused, in the exchange's answer; nothing has changed."""

    status: int
    code: str
    message: str
    details: str | None = None


class PrivateListener(Protocol):
    """Somebody who hears what happens to accounts: the WebSocket side. Called in order of events."""

    def order_changed(self, order: Order, time_ms: int) -> None:
        """An order started to rest, was filled, changed or ended; `order.reason` says why."""

    def filled(self, fill: Fill) -> None:
        """An order was filled."""

    def position_changed(self, party: Party, instrument: Instrument, time_ms: int) -> None:
        """A fill or settlement changed a position."""

    def group_changed(self, party: Party, group_id: str, what: str, time_ms: int) -> None:
        """An order group was "created", "triggered", "reset", "deleted" or had its limit changed."""


@dataclass(slots=True)
class OrderSwitches:
    """What is unknown about the real exchange, or varies: GET/POST /sim/switches sets these by name.

    A client that trades real money must be correct whichever way each of them is set.
    """

    ioc_remaining_full: bool = False
    """An answered IOC or FOK order shows its whole count as `remaining_count` instead of the final 0.00."""
    killed_fok_uses_id: bool = True
    """A killed FOK order uses up its client order id."""
    reduce_only_without_position_refused: bool = False
    """Refused with 400 instead of accepted and cancelled (201 with zeros)."""
    group_triggers_when_met: bool = False
    """An order group triggers when its limit is met, instead of when it is exceeded."""
    over_decrease_refused: bool = False
    """A decrease by more than rests is refused instead of clamped."""
    wrong_shard_cancel_404: bool = True
    """A cancel or decrease on a shard other than the order's answers 404, as for an order that is over."""
    balance_reduced_by_resting: bool = False
    """A resting order takes its cash immediately."""
    resting_value: Literal["sum", "max"] = "sum"
    """Value of resting orders at admission: sum over orders, or the larger side of each market."""
    collateral_return: bool = False
    """Whether new accounts have collateral return switched on."""
    amend_keeps_id: bool = True
    """An amended order keeps its order id."""
    code_after_close: str = "market_inactive"
    """The error code for orders after the close."""
    settle_whole_cents: bool = True
    """Payouts are rounded down to whole cents; the rest is booked as a fee."""
    client_order_id_scope: Literal["recent_30d", "open_only"] = "recent_30d"
    """Among which orders a client order id must be new."""
    user_orders_initial_snapshot: bool = False
    """Channel `user_orders` begins with the resting orders."""
    resting_before_immediate_fill: bool = False
    """An order that is filled at once is first reported as resting."""
    fill_before_trade: Literal["random", "first", "last"] = "random"
    """The order of the own fill and the public trade."""
    read_lag_ms: int = 400
    """Reads of orders, fills and positions lag by up to this much, depending on the seed."""
    maker_cancel_before_fill: bool = True
    """Self-trade prevention `maker`: the resting order's cancel is reported before the taker's fills."""
    member: Literal["direct", "intermediary"] = "direct"
    """Balances move in hundredths of a cent (direct members) or whole cents."""
    attestation_expires_s: int | None = None
    """When the accounts' attestation of place expires (Unix seconds): from then on Sports, Elections and
    Entertainment are closed to them. None: they never gave one."""
    cancel_all_catches_later: bool = False
    """Orders in the minute after a cancel of all are accepted and cancelled at once."""


@dataclass(frozen=True, slots=True)
class NewOrder:
    """An order as requested, parsed and within its bounds. `client_order_id` is "" for none."""

    party: Party
    instrument: Instrument
    side: Side
    price_e4: int
    count_e2: int
    time_in_force: TimeInForce
    self_trade: SelfTradePrevention
    client_order_id: str = ""
    expires_ms: int | None = None
    post_only: bool = False
    reduce_only: bool = False
    cancel_on_pause: bool = False
    group_id: str | None = None


@dataclass(frozen=True, slots=True)
class Amendment:
    """A change of a resting order. `count_e2` is what was filled plus what is to rest.

    Attributes:
        client_order_id: its present one, None to leave it unstated.
        new_client_order_id: its new one, None to keep it.
        expires_ms: when it is to end, 0 for never, None to keep it.
    """

    ticker: str
    side: Side
    price_e4: int
    count_e2: int
    client_order_id: str | None = None
    new_client_order_id: str | None = None
    expires_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one request did: its fills, and what rests afterwards.

    `cost_e6` is price times count in YES prices, `fees_e6` the net fees, both for the fills alone.
    """

    order: Order
    filled_e2: int
    remaining_e2: int
    cost_e6: int
    fees_e6: int
    time_ms: int
