"""What requests cost, and which buckets pay."""

import json

import pytest

from simulator.front.billing import bill
from simulator.front.limits import RequestLimits
from simulator.front.wire import Request

SHARDS = (0, 1, 2, 3)
ORDERS = "/portfolio/events/orders"


@pytest.mark.parametrize(
    ("method", "path", "query", "body", "cost", "shards"),
    [
        ("GET", "/markets", {}, None, 10, (0,)),
        ("GET", "/portfolio/orders/x", {}, None, 2, (0,)),
        ("POST", ORDERS, {}, {"ticker": "A"}, 10, SHARDS),
        ("POST", ORDERS, {}, {"ticker": "A", "exchange_index": -1}, 10, SHARDS),
        ("POST", ORDERS, {}, {"ticker": "A", "exchange_index": 3}, 10, (3,)),
        ("POST", ORDERS, {}, {"ticker": "A", "exchange_index": 0}, 10, (0,)),
        ("POST", ORDERS, {}, {"ticker": "A", "exchange_index": 99}, 10, (0,)),
        ("POST", ORDERS, {}, {"exchange_index": [1]}, 10, (0,)),
        ("POST", f"{ORDERS}/x/amend", {}, {"ticker": "A", "exchange_index": 2}, 10, (2,)),
        ("POST", f"{ORDERS}/x/decrease", {}, {}, 10, (0,)),
        ("DELETE", f"{ORDERS}/x", {"exchange_index": "2"}, None, 2, (2,)),
        ("DELETE", f"{ORDERS}/x", {}, None, 2, (0,)),
        ("DELETE", f"{ORDERS}/x", {"market_ticker": "A"}, None, 2, SHARDS),
        ("DELETE", ORDERS, {}, None, 2, (0,)),
        ("POST", f"{ORDERS}/batched", {}, {"orders": [{}] * 7}, 70, (0,)),
        ("DELETE", f"{ORDERS}/batched", {}, {"orders": [{"exchange_index": 3}] * 7}, 14, (0,)),
        ("POST", f"{ORDERS}/batched", {}, {"orders": "x"}, 10, (0,)),
        ("POST", "/portfolio/order_groups/create", {}, {"exchange_index": 3}, 10, (0,)),
    ],
)
def test_each_operation_is_charged_where_the_documents_say(
    method: str,
    path: str,
    query: dict[str, str],
    body: object,
    cost: int,
    shards: tuple[int, ...],
) -> None:
    raw = b"" if body is None else json.dumps(body).encode()
    due = bill(Request(method, path, tuple(query.items()), {}, raw), path, SHARDS, per_book=False)
    assert (due.cost, due.shards) == (cost, shards)


@pytest.mark.parametrize("raw", [b"\xff", b"{", b"[" * 100_000, b"null"])
def test_what_cannot_be_read_costs_what_one_operation_costs(raw: bytes) -> None:
    request = Request("POST", f"{ORDERS}/batched", (), {}, raw)
    assert bill(request, f"{ORDERS}/batched", SHARDS, per_book=False).cost == 10


def test_what_is_charged_to_all_shards_is_paid_by_all_or_none() -> None:
    limits = RequestLimits("basic")
    for _ in range(10):
        assert limits.take("key", True, 10, 0, (3,))
    assert not limits.take("key", True, 10, 0, (3,))
    assert not limits.take("key", True, 10, 0, SHARDS)
    assert all(limits.take("key", True, 10, 0, (2,)) for _ in range(10))
