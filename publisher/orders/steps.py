"""What goes into the gateway's core and what comes out of it. The core has no clock, socket, file or thread.

`publisher/orders/core.py` is told what has happened, one thing at a time, and returns actions when asked for
them. The process carries these out: first all `Append`, in order, and one sync, then everything else in
order. So a request that leaves is in the log. Reading the appended records again gives the same core.
"""

from typing import Final, Literal, NamedTuple

import msgspec

from bus.trading.gateway import GatewayEvent, Source

AHEAD_MS: Final = 1_500
"""How old a signature made ahead may be when it leaves. The exchange accepts up to some 5 s."""

Urgency = Literal["cancel", "renew", "create", "read"]
"""The purpose of a request: cancels overtake everything else, creates leave the reserve alone."""


class Now(NamedTuple):
    """The time, by both clocks, in ms: Kalshi reads `wall_ms`; `steady_ms` never jumps."""

    wall_ms: int
    steady_ms: int


# -- actions


class Request(msgspec.Struct, frozen=True):
    """A request to the exchange.

    Attributes:
        id: counts the requests of a log; an `Answered` names it.
        what: create, cancel, amend, decrease, batch_create, batch_cancel, list_orders, ...
        path: below the base URL. query: in order. body: JSON as sent, empty for none.
        cost: tokens, which the core has already paid; shard: whose write bucket paid (0: the unscoped one).
        not_after_ms: it must not leave later than this by our clock, None for whenever.
    """

    id: int
    what: str
    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    urgency: Urgency = "read"
    cost: int = 10
    shard: int = 0
    not_after_ms: int | None = None


class Reply(msgspec.Struct, frozen=True):
    """What came of a request.

    Attributes:
        status: None without an answer. trouble: why, one of the outcomes in publisher.kalshi.faults.
        left: whether it may have left this machine; False is certain.
        signed_ms, received_ms: by our clock.
        date_ms: the exchange's time by the header Date: its clock showed that, or up to a second more.
    """

    status: int | None
    body: bytes = b""
    trouble: str = ""
    left: bool = True
    signed_ms: int = 0
    received_ms: int = 0
    date_ms: int | None = None


class Append(msgspec.Struct, frozen=True):
    """Append a record durably, before whatever follows."""

    record: bytes


class Send(msgspec.Struct, frozen=True):
    """Send a request now; `Answered` gives its result, or says that it never left."""

    request: Request


class Tell(msgspec.Struct, frozen=True):
    """Hint at a new event of a journal."""

    journal: str
    event: GatewayEvent


AnyAction = Append | Send | Tell


# -- inputs


class Answered(msgspec.Struct, frozen=True):
    """The result of the request in a `Send`. Exactly one for each, unless the process dies."""

    request_id: int
    reply: Reply


class FeedHeard(msgspec.Struct, frozen=True):
    """The feed's position, just heard. Told whenever it changes, and with every heartbeat.

    `complete_ms` is when its last complete sweep began, None before the first.
    """

    epoch: int
    seq: int
    complete_ms: int | None
    source: Source


class KillSwitch(msgspec.Struct, frozen=True):
    """Whether the kill file exists, as of just now. To be checked before `actions` is called."""

    killed: bool


class TradingStatus(msgspec.Struct, frozen=True):
    """Whether the exchange trades, and each shard that anything is known about; None: unknown."""

    active: bool | None
    shards: dict[int, bool] = {}


class Fenced(msgspec.Struct, frozen=True):
    """The watchdog or another gateway has taken over: from now on only reads leave."""

    generation: int


class Limits(msgspec.Struct, frozen=True):
    """The account's buckets: tokens per second and capacity; for reads, the gateway's share.

    `subaccount` is the one that the key's orders, cash and positions are of; None: not known.
    """

    write_per_s: float
    write_capacity: float
    read_per_s: float
    read_capacity: float
    subaccount: int | None = None


class ExchangeTime(msgspec.Struct, frozen=True):
    """The exchange's time, from the header Date of an answer that refuses a signature.

    In whole seconds, truncated: its clock shows this or up to a second more.
    """

    exchange_ms: int


class PrivateHint(msgspec.Struct, frozen=True):
    """A private channel sent something: a reason to look, but nothing to rely on."""

    ticker: str = ""


AnyInput = Answered | FeedHeard | KillSwitch | TradingStatus | Fenced | Limits | ExchangeTime | PrivateHint


class CoreSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway's settings.

    Attributes:
        env: "sim", "demo" or "prod". confirmation: what an ask must carry there, empty for nothing.
        order_e6, market_e6, total_e6, orders_per_minute: KALSHI_BUS_GATEWAY_LIMIT_*.
        lease_ms: KALSHI_BUS_ORDER_LEASE_S. stale_after_ms: KALSHI_BUS_STALE_AFTER_S.
        resend: KALSHI_BUS_GATEWAY_RESEND.
        feed_silent_ms: a feed that says nothing for this long is stale.
    """

    env: str = "sim"
    confirmation: str = ""
    order_e6: int
    market_e6: int
    total_e6: int
    orders_per_minute: int
    lease_ms: int = 60_000
    stale_after_ms: int = 60_000
    feed_silent_ms: int = 10_000
    resend: bool = False
