"""What trader and order gateway say to each other: docs/orders.md as types.

The trader asks, the gateway answers; what becomes of orders is told in numbered events, and the trader names
the last one in its journal. Members are only ever added, at the end or with a default.
"""

from typing import Final, Literal

import msgspec

from markets.orders import AnyOrderEvent, Fill, Intent

from .shapes import Shape

STANDS_STILL: Final = "stands still"
"""The answer of a watchdog that is there and does nothing: only leases end what rests."""

Source = Literal["live", "replay"]


class GatewayEvent(msgspec.Struct, frozen=True, array_like=True):
    """Something that happened to an order or to the account. `number` counts a journal's events, from 1."""

    number: int
    at_ms: int
    event: "AnyOrderEvent | ForeignFill"


class ForeignFill(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A fill of an order that is not ours: by hand, by another program, or from before our journal."""

    order_id: str
    ticker: str
    event_ticker: str
    exchange_index: int
    side: str
    fill: Fill


# -- questions


class PlaceAsk(Shape, frozen=True, kw_only=True, tag_field="op", tag="place"):
    """Carry out intents. `source` is that of the trader's feed, `confirmation` the one in the settings."""

    journal: str
    intents: tuple[Intent, ...]
    source: Source
    confirmation: str = ""


class CancelAsk(Shape, frozen=True, kw_only=True, tag_field="op", tag="cancel"):
    """End an order as soon as possible."""

    journal: str
    number: int
    reason: str = ""


class AmendAsk(Shape, frozen=True, kw_only=True, tag_field="op", tag="amend"):
    """Give a resting order another price or count; `count_e2` is what it has got plus what is to rest."""

    journal: str
    number: int
    price_e4: int
    count_e2: int


class OrderEventsAsk(Shape, frozen=True, kw_only=True, tag_field="op", tag="order_events"):
    """Ask for a journal's events after one, at most `limit`. It is also the trader's sign of life.

    `queues_ms`: as of when it has the places in the queue.
    """

    journal: str
    after: int
    limit: int = 1000
    queues_ms: int = 0


class OrderAsk(Shape, frozen=True, kw_only=True, tag_field="op", tag="order"):
    """What is known of an order."""

    journal: str
    number: int


class AccountAsk(Shape, frozen=True, kw_only=True, tag_field="op", tag="account"):
    """Ask what the exchange lists of the account. `since_ms`: settlements and movements from then on."""

    journal: str
    since_ms: int = 0


class TransferAsk(Shape, frozen=True, kw_only=True, tag_field="op", tag="transfer"):
    """Move cash from shard to shard; a transfer of the same id is carried out once."""

    transfer_id: str
    from_shard: int
    to_shard: int
    amount_e6: int


AnyAsk = PlaceAsk | CancelAsk | AmendAsk | OrderEventsAsk | OrderAsk | AccountAsk | TransferAsk


# -- answers


class PlaceAnswer(Shape, frozen=True, kw_only=True):
    """The numbers of the intents in the gateway's log, accepted or refused."""

    logged: tuple[int, ...]


class AskedAnswer(Shape, frozen=True, kw_only=True):
    """Whether the order is known and has not ended: if so, the request is in the log."""

    asked: bool


class OrderEventsAnswer(Shape, frozen=True, kw_only=True):
    """Events in order. `last` is the number of the newest one that the gateway has for this journal.

    `generation` rises with each gateway; `exchange` and `account` name whose orders these are. `queues` are
    (number, contracts before it) of the orders that rest, as the exchange said at `queues_ms`: all of them
    where that is another time than was asked, else none. Nothing is decided by them. `trouble` says why the
    account could not be listed whole when last tried; it is empty if it could.
    """

    events: tuple[GatewayEvent, ...]
    last: int
    generation: int
    exchange: str
    account: str
    queues: tuple[tuple[int, int], ...] = ()
    queues_ms: int = 0
    trouble: str = ""


class Exchanged(Shape, frozen=True, kw_only=True):
    """A request and its answer, as they were sent. `status` is None if there is no answer, or not yet.

    `signed_ms` may lie before the request was wanted: a signature is made ahead. `sent_ms`: when it was
    wanted, or signed if that was later; 0 from a gateway that does not say.
    """

    what: str
    path: str
    body: str
    signed_ms: int
    replied_ms: int | None = None
    status: int | None = None
    reply: str = ""
    trouble: str = ""
    sent_ms: int = 0


class OrderAnswer(Shape, frozen=True, kw_only=True):
    """An order as the gateway knows it; `found` is False if it is not in the log.

    Attributes:
        state: a markets.orders.OrderState.
        order_id: the exchange's, empty while unknown.
        deadline_ms: for an unknown order, when it counts as not placed unless it is found.
        lease_ms: when the exchange ends it unless renewed.
    """

    found: bool
    state: str = ""
    reason: str = ""
    order_id: str = ""
    deadline_ms: int | None = None
    lease_ms: int | None = None
    exchanged: tuple[Exchanged, ...] = ()
    events: tuple[GatewayEvent, ...] = ()


class ShardCash(Shape, frozen=True, kw_only=True):
    """Cash on a shard, and how much of it resting orders need; `free` under the stricter admission rule."""

    exchange_index: int
    cash_e6: int
    held_e6: int
    free_e6: int


class ListedPosition(Shape, frozen=True, kw_only=True):
    """The net position of a market, as listed: contracts of YES, those of NO negative.

    Attributes:
        fees_e6, realised_e6: 0 if the exchange says nothing legible of that; None in journals of some builds.
        unknown: which of the two those are.
    """

    ticker: str
    event_ticker: str
    exchange_index: int
    signed_e2: int
    exposure_e6: int
    fees_e6: int | None
    realised_e6: int | None
    unknown: tuple[str, ...] = ()


class ListedOrder(Shape, frozen=True, kw_only=True):
    """A resting order, as listed. `number` is that of our intent, None if it is not ours."""

    order_id: str
    client_order_id: str
    ticker: str
    exchange_index: int
    side: str
    price_e4: int
    left_e2: int
    expires_ms: int | None = None
    number: int | None = None


class ListedSettlement(Shape, frozen=True, kw_only=True):
    """A market that was paid out, as listed."""

    ticker: str
    event_ticker: str
    exchange_index: int
    result: str
    yes_e2: int
    no_e2: int
    revenue_e6: int
    fee_e6: int
    time_ms: int
    value_e4: int | None = None


class Movement(Shape, frozen=True, kw_only=True):
    """Cash that came, went or moved between shards: kind `deposit`, `withdrawal` or `transfer`.

    What comes from Kalshi's exchange of margined contracts is a deposit, what goes there a withdrawal.
    """

    id: str
    kind: str
    exchange_index: int
    amount_e6: int
    time_ms: int


class AccountAnswer(Shape, frozen=True, kw_only=True):
    """What the exchange lists of the account.

    Attributes:
        exchange, account: whose it is. A new simulated exchange counts as another one.
        as_of_ms: according to the exchange, all of it is at least as new as this.
        asked_ms: when the last list of it was asked for, by the gateway's clock.
        in_flight: requests without an answer during the asking; 0, with as_of_ms later than the last request,
            is a quiet moment.
        last_event: number of the journal's newest event when all this was put together.
        netting: whether the account has collateral return; None if the exchange does not say.
        missing: lists that could not be fetched; fields left empty by that mean nothing.
    """

    exchange: str
    account: str
    as_of_ms: int
    asked_ms: int
    in_flight: int
    last_event: int
    shards: tuple[ShardCash, ...] = ()
    positions: tuple[ListedPosition, ...] = ()
    orders: tuple[ListedOrder, ...] = ()
    settlements: tuple[ListedSettlement, ...] = ()
    movements: tuple[Movement, ...] = ()
    netting: bool | None = None
    missing: tuple[str, ...] = ()


class TransferAnswer(Shape, frozen=True, kw_only=True):
    """What came of a transfer: `done`, `refused` or `unknown`, and why."""

    state: Literal["done", "refused", "unknown"]
    reason: str = ""


class GatewayBudget(Shape, frozen=True, kw_only=True):
    """A token bucket: its refill per second, its content, and the part that new orders cannot touch."""

    refill: float
    left: float
    reserved: float


class GatewayStatus(Shape, frozen=True, kw_only=True):
    """The gateway's status.

    Attributes:
        state: `ready`, or the first of the `reasons` why it sends no orders.
        open_orders, in_flight, unknown: those of all journals.
        exposure_e6: what orders that have not ended may cost plus what the account holds.
        resolved: how many unknown orders were resolved, and the longest time that took.
    """

    state: str
    reasons: tuple[str, ...]
    generation: int
    exchange: str
    account: str
    env: str
    open_orders: int
    in_flight: int
    unknown: int
    exposure_e6: int
    writes: GatewayBudget
    reads: GatewayBudget
    resolved: int = 0
    longest_unknown_ms: int = 0
    sent: int = 0
    refused: dict[str, int] = {}  # noqa: RUF012, msgspec copies it
    error: str | None = None
    watchdog: str | None = None
