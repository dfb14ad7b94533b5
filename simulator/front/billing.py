"""What a request costs, and which token buckets pay for it (contract 9).

Reads have one bucket. Writes have one for each shard and an unscoped one: a single order operation that names
a shard from 1 up draws on that shard's, shard 0 and batches on the unscoped one, and what leaves the shard to
the exchange, by naming a ticker, is charged to all of them.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

from .limits import COSTS, DEFAULT_COST
from .wire import Request

UNSCOPED: Final = 0
_ORDERS: Final = "/portfolio/events/orders"
_BATCH: Final = f"{_ORDERS}/batched"


@dataclass(frozen=True, slots=True)
class Bill:
    """Tokens, and the shards whose buckets each pay all of them; reads are paid from `UNSCOPED` alone."""

    cost: int
    shards: tuple[int, ...] = (UNSCOPED,)


def bill(request: Request, path: str, shards: tuple[int, ...], per_book: bool) -> Bill:
    """Return what a request costs.

    Args:
        request: its body may be anything; an unreadable one costs as much as a single operation.
        path: below /trade-api/v2.
        shards: all existing shards.
        per_book: a batch of order books is billed per ticker.
    """
    cost = next((c for m, p, c in COSTS if m == request.method and _costs(p, path)), DEFAULT_COST)
    if path == "/markets/orderbooks" and per_book:
        cost *= max(1, len(request.all("tickers")))
    if path == _BATCH:
        orders = _members(request.body).get("orders")
        return Bill(cost * max(1, len(orders)) if isinstance(orders, list) else cost)
    if (
        request.method == "GET"
        or not path.startswith(_ORDERS)
        or (request.method, path) == ("DELETE", _ORDERS)
    ):
        return Bill(cost)
    return Bill(cost, _shards(request, shards))


def _shards(request: Request, shards: tuple[int, ...]) -> tuple[int, ...]:
    """Return whose buckets pay for a single order operation."""
    members: dict[str, Any] = dict(request.query)
    members |= _members(request.body)
    index = members.get("exchange_index")
    try:
        named = int(index) if index is not None else None
    except (TypeError, ValueError, OverflowError):
        return (UNSCOPED,)
    if named is not None and named >= 0:
        return (named,) if named in shards else (UNSCOPED,)
    routed = named == -1 or bool(members.get("ticker") or members.get("market_ticker"))
    return shards if routed else (UNSCOPED,)


def _members(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _costs(pattern: str, path: str) -> bool:
    """Whether a path of COSTS, with ``:name`` and ``*glob`` segments, is this one."""
    mine, theirs = pattern.split("/"), path.split("/")
    if mine[-1].startswith("*"):
        return theirs[: len(mine) - 1] == mine[:-1] and len(theirs) >= len(mine)
    return len(mine) == len(theirs) and all(
        a == b or a.startswith(":") for a, b in zip(mine, theirs, strict=True)
    )
