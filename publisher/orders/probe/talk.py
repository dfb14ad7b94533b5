"""How a question of the probe speaks to the exchange: it yields what to do, and is sent the answer.

So the questions, and the conclusions from the answers, are pure; `run.py` has clock, sockets and keys.
"""

from collections.abc import Generator
from typing import Any, NamedTuple, TypeVar

from markets.errors import BadRecord, KalshiBusError
from publisher.orders import replies
from publisher.orders.requests import Asked
from publisher.orders.steps import Reply, Urgency

T = TypeVar("T")


class Ask(NamedTuple):
    """Send a request, signed `aged_ms` ago."""

    asked: Asked
    urgency: Urgency = "read"
    aged_ms: int = 0


class Pause(NamedTuple):
    """Let time pass."""

    ms: int


class Listen(NamedTuple):
    """Subscribe to channels of the WebSocket, for one market; gives the frames that came meanwhile."""

    channels: tuple[str, ...]
    ticker: str
    ms: int = 0
    """How long to wait for frames that nobody caused."""


class Hear(NamedTuple):
    """Return the frames that have come: as soon as one of each of `kinds` is there, or after `ms`."""

    kinds: frozenset[str]
    ms: int


class Hush(NamedTuple):
    """Close the WebSocket."""


Step = Ask | Pause | Listen | Hear | Hush

Frame = dict[str, Any]


class Told(NamedTuple):
    """The result of a step. `now_ms` is the exchange's time; `reply` is that of an `Ask`, else empty."""

    now_ms: int
    reply: Reply = Reply(None)
    frames: tuple[Frame, ...] = ()


Talk = Generator[Step, Told, T]


class Unanswered(KalshiBusError):
    """A question cannot be answered now; the message says why."""


class Halted(KalshiBusError):
    """Nothing more may be asked: the kill file, or the stop. What was placed is still cancelled."""


def read(asked: Asked) -> Talk[dict[str, Any]]:
    """Return the members of a 200.

    Raises:
        Unanswered: it is not one.
    """
    told = yield Ask(asked)
    return good(asked, told.reply)


def good(asked: Asked, reply: Reply) -> dict[str, Any]:
    """Return the members of a reply that must be a 2xx.

    Raises:
        Unanswered: it is not one.
    """
    if reply.status not in (200, 201):
        raise Unanswered(f"{asked.method} {asked.path} was answered {said(reply)}")
    try:
        return replies.members(reply.body)
    except BadRecord as error:
        raise Unanswered(f"{asked.method} {asked.path}: {error}") from None


def said(reply: Reply) -> str:
    """Return an answer in short: its status and, for a refusal, its code."""
    if reply.status is None:
        return f"not at all ({reply.trouble})"
    code = replies.error_code(reply.body) if reply.status >= 400 else None
    return f"{reply.status} {code}" if code else str(reply.status)


def rows(found: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """Return the objects in a list, leaving out other elements; none if the list is missing."""
    listed = found.get(key)
    return [row for row in listed if isinstance(row, dict)] if isinstance(listed, list) else []
