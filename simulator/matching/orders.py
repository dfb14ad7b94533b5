"""What orders, fills and refusals are to the exchange. All prices are YES prices; money is micro-dollars.

Facts: Kalshi's order operations of autumn 2026 (V2). A bid buys YES; an ask sells YES, which is to buy NO at
one dollar less the price.
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
    """What an order is by now."""

    RESTING = "resting"
    CANCELED = "canceled"
    EXECUTED = "executed"


class Reason(StrEnum):
    """Why an order changed last: `last_update_reason` of channel `user_orders`; "" while it only rests.

    Kalshi lists no reason for a cancel by its owner or by its group; a cancel is a decrease to nothing here.
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
    """What matching and accounts must know of a market."""

    @property
    def ticker(self) -> str: ...
    @property
    def event_ticker(self) -> str: ...
    @property
    def exchange_index(self) -> int:
        """Shard that it trades on."""
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
        initial_e2: what was wanted when it was created, or amended to.
        remaining_e2: what still rests; 0 once it has ended.
        filled_e2: what was filled.
        ahead_e2: of a resting order the crowd's contracts at its price that were there before it.
        taker_cost_e6, maker_cost_e6: price times count of its fills; a bid's in YES prices, an ask's in NO.
        taker_fees_e6, maker_fees_e6: net fees of its fills.
        fee_accumulator_e6: roundings that were charged and not yet given back, over all its fills.
        expires_ms: when it ends by itself, None for never.
        number: counts all orders of the exchange; the later order has the higher one.
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
        """Whether it rests."""
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
    """Why a request was refused, as the exchange answers it; nothing has changed."""

    status: int
    code: str
    message: str
    details: str | None = None


class PrivateListener(Protocol):
    """Who hears what happens to accounts: the WebSocket side. Called in the order of events."""

    def order_changed(self, order: Order, time_ms: int) -> None:
        """An order rests, was filled, changed or ended; `order.reason` says why."""

    def filled(self, fill: Fill) -> None:
        """An order was filled."""

    def position_changed(self, party: Party, instrument: Instrument, time_ms: int) -> None:
        """A fill or settlement changed a position."""

    def group_changed(self, party: Party, group_id: str, what: str, time_ms: int) -> None:
        """An order group was "created", "triggered", "reset", "deleted" or had its "limit_updated"."""


@dataclass(slots=True)
class OrderSwitches:
    """What nobody knows of the real exchange, or what differs: GET/POST /sim/switches sets these by name.

    A client that trades real money must be right under each of them flipped.
    """

    ioc_remaining_full: bool = False
    """An answered IOC or FOK order shows its whole count as `remaining_count` instead of the final 0.00."""
    killed_fok_uses_id: bool = True
    """A killed FOK order uses up its client order id."""
    reduce_only_without_position_refused: bool = False
    """Refused with 400 instead of accepted and cancelled (201 with zeros)."""
    group_triggers_when_met: bool = False
    """An order group triggers when its limit is met, instead of exceeded."""
    over_decrease_refused: bool = False
    """A decrease by more than rests is refused, instead of clamped."""
    wrong_shard_cancel_404: bool = True
    """A cancel or decrease on another shard than the order's answers 404, as for an order that is over."""
    balance_reduced_by_resting: bool = False
    """A resting order takes its cash at once."""
    resting_value: Literal["sum", "max"] = "sum"
    """Value of resting orders at admission: sum over orders, or the larger side of each market."""
    collateral_return: bool = False
    """Whether new accounts have collateral return switched on."""
    amend_keeps_id: bool = True
    """An amended order keeps its order id."""
    code_after_close: str = "market_inactive"
    """Error code of orders after the close."""
    settle_whole_cents: bool = True
    """Payouts are rounded down to whole cents; the rest is booked as a fee."""
    client_order_id_scope: Literal["recent_30d", "open_only"] = "recent_30d"
    """Among which orders a client order id must be new."""
    user_orders_initial_snapshot: bool = False
    """Channel `user_orders` begins with the orders that rest."""
    resting_before_immediate_fill: bool = False
    """An order that is filled at once is told as resting first."""
    fill_before_trade: Literal["random", "first", "last"] = "random"
    """Order of the own fill and the public trade."""
    read_lag_ms: int = 400
    """Reads of orders, fills and positions lag by up to so much, by seed."""
    maker_cancel_before_fill: bool = True
    """Self-trade prevention `maker`: the resting order's cancel is told before the taker's fills."""
    member: Literal["direct", "intermediary"] = "direct"
    """Balances move in hundredths of a cent (direct members) or whole cents."""
    attestation_expires_s: int | None = None
    """When the accounts' word on where they are ends (Unix seconds): from then on Sports, Elections and
    Entertainment are closed to them. None: they never gave it."""
    cancel_all_catches_later: bool = False
    """Orders of the minute after a cancel of all are accepted and cancelled at once."""


@dataclass(frozen=True, slots=True)
class NewOrder:
    """An order as it is asked for, its members read and in their bounds. `client_order_id` is "" for none."""

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
    """A change of a resting order. `count_e2` is what was filled and what shall rest together.

    Attributes:
        client_order_id: the one it has, None to leave unsaid.
        new_client_order_id: the one it shall have, None to keep.
        expires_ms: when it shall end, 0 for never, None to keep.
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
    """What one request did: fills of this request, and what rests after it.

    `cost_e6` is price times count in YES prices, `fees_e6` the net fees, both of the fills alone.
    """

    order: Order
    filled_e2: int
    remaining_e2: int
    cost_e6: int
    fees_e6: int
    time_ms: int
