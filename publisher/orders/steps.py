"""What goes into the gateway's core and what comes out of it. The core has no clock, socket, file or thread.

`publisher/orders/core.py` takes inputs one at a time and returns actions in order; the process carries them
out in that order. An `Append` is on disk before anything behind it happens, so that a request that leaves is
in the log. Records that were appended, read again, make the same core.
"""

from typing import Literal

import msgspec

from bus.trading.gateway import GatewayEvent

Urgency = Literal["cancel", "renew", "create", "read"]
"""What a request is for: cancels overtake all else, creates wait for the reserve."""


class Request(msgspec.Struct, frozen=True):
    """A request to the exchange.

    Attributes:
        id: counts the requests of a log; an `Answered` names it.
        what: create, cancel, amend, decrease, batch_create, batch_cancel, list_orders, ...
        path: below the base URL. query: in order. body: JSON as it is sent, empty for none.
        cost: tokens; shard: whose write bucket pays (0: the unscoped one).
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
        status: None where there is no answer. trouble: why, one word of publisher.kalshi.faults' outcomes.
        left: whether it may have left this machine; False is certain.
        signed_ms, received_ms: by our clock.
    """

    status: int | None
    body: bytes = b""
    trouble: str = ""
    left: bool = True
    signed_ms: int = 0
    received_ms: int = 0


class Append(msgspec.Struct, frozen=True):
    """Write a record down and make it last, before whatever follows."""

    record: bytes


class Send(msgspec.Struct, frozen=True):
    """Let a request go; `Answered` says what came of it, or that it never left."""

    request: Request


class Tell(msgspec.Struct, frozen=True):
    """Hint at a new event of a journal."""

    journal: str
    event: GatewayEvent


AnyAction = Append | Send | Tell
