"""What the gateway writes into its log. Types only ever grow, at the end and with a default.

A record says what happened and what followed: the changes of an order and the events told. Reading it decides
nothing again, so a later build derives the same state from an old log.
"""

from typing import Final

import msgspec

from bus.trading.gateway import GatewayEvent
from markets.errors import DecodeError
from markets.orders import Fill, Intent, OrderState

VERSION: Final = 1
BODY_MOST: Final = 65_536
"""How much of a reply is kept."""


class Doubt(msgspec.Struct, frozen=True, array_like=True):
    """An amend that was sent and may or may not have arrived.

    Attributes:
        what: "amend", or "renew" for the expiry alone.
        price_e4, count_e2, lease_ms: what the order has if it arrived.
        signed_ms: when the latest such request was signed.
        answered: False while an answer may still come.
    """

    what: str
    price_e4: int
    count_e2: int
    lease_ms: int | None
    signed_ms: int
    answered: bool = False


class Change(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is new about an order; None is unchanged.

    Attributes:
        created: whether the exchange has it: "waiting", "sent", "unknown", "known", "none".
        counted_e2: how many contracts the exchange says are filled.
        over: no more of it can be filled; `why` and `expired` say how that came about.
        cancel: why its end was requested. wanted: (price_e4, count_e2) requested, () for none.
        undoubted: the doubt has been resolved.
        amended_ms: when price or count last changed, by the exchange's clock.
    """

    state: OrderState | None = None
    reason: str | None = None
    created: str | None = None
    order_id: str | None = None
    signed_ms: int | None = None
    deadline_ms: int | None = None
    counted_e2: int | None = None
    over: bool | None = None
    expired: bool | None = None
    why: str | None = None
    price_e4: int | None = None
    count_e2: int | None = None
    lease_ms: int | None = None
    cancel: str | None = None
    wanted: tuple[int, ...] | None = None
    doubt: Doubt | None = None
    undoubted: bool | None = None
    fill: Fill | None = None
    amended_ms: int | None = None


class Record(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Base of all records."""


class Opened(Record, frozen=True):
    """A gateway begins."""

    version: int
    generation: int
    exchange: str
    account: str
    at_ms: int


class Joined(Record, frozen=True):
    """A journal is heard from for the first time: from now on it is told what happens."""

    journal: str
    at_ms: int


class Taken(Record, frozen=True):
    """An intent was accepted or refused."""

    journal: str
    intent: Intent
    at_ms: int
    changes: tuple[Change, ...] = ()
    events: tuple[GatewayEvent, ...] = ()


class Requested(Record, frozen=True):
    """A request about an order leaves."""

    journal: str
    number: int
    request_id: int
    what: str
    method: str
    path: str
    body: bytes
    at_ms: int
    changes: tuple[Change, ...] = ()


class Replied(Record, frozen=True):
    """The result of a request."""

    journal: str
    number: int
    request_id: int
    status: int | None
    body: bytes
    trouble: str
    left: bool
    signed_ms: int
    received_ms: int
    changes: tuple[Change, ...] = ()
    events: tuple[GatewayEvent, ...] = ()


class Learned(Record, frozen=True):
    """Something new about an order: from a listing, by the clock, or because somebody asked."""

    journal: str
    number: int
    at_ms: int
    how: str
    changes: tuple[Change, ...] = ()
    events: tuple[GatewayEvent, ...] = ()


class Foreign(Record, frozen=True):
    """A fill of an order that is not this journal's, as told to the journal."""

    journal: str
    fill_id: str
    at_ms: int
    event: GatewayEvent


class Swept(Record, frozen=True):
    """All fills up to here are in the log."""

    until_ms: int


class Moved(Record, frozen=True):
    """A transfer was requested, or is over."""

    id: str
    from_shard: int
    to_shard: int
    amount_e6: int
    at_ms: int
    state: str
    reason: str = ""


class JournalBase(msgspec.Struct, frozen=True, array_like=True):
    """A journal in a rewritten log.

    Attributes:
        last: number of its newest event. dropped: intents left out, from and to, both included.
        acked: the last event that it has, as far as it has said.
    """

    journal: str
    joined_ms: int
    last: int
    dropped: tuple[tuple[int, int], ...] = ()
    acked: int = 0


class Base(Record, frozen=True):
    """The beginning of a rewritten log: the state that the omitted records had led to."""

    version: int
    generation: int
    exchange: str
    account: str
    requests: int
    swept_ms: int
    journals: tuple[JournalBase, ...]
    fills: tuple[tuple[str, int], ...] = ()


AnyRecord = Opened | Joined | Taken | Requested | Replied | Learned | Foreign | Swept | Moved | Base

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(AnyRecord)


def encode(record: AnyRecord) -> bytes:
    """Encode a record."""
    return _ENCODER.encode(record)


def decode(record: bytes) -> AnyRecord:
    """Decode a record.

    Raises:
        DecodeError: it is not ours, or is of a later version.
    """
    try:
        found = _DECODER.decode(record)
    except (msgspec.MsgspecError, ValueError) as error:
        raise DecodeError(
            f"a record of the orders' log cannot be read ({error}): a later version wrote it"
        ) from None
    if isinstance(found, Opened | Base) and found.version > VERSION:
        raise DecodeError(f"the orders' log is of version {found.version}, this build reads {VERSION}")
    return found
