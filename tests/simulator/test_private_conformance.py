"""Every operation of an account against the specification: its answers, and whatever else one sends to it."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.floor.model import Market
from simulator.front.operations import ROUTES
from simulator.front.ws import Hub
from tests.simulator.schemas import (
    PRIVATE_FRAMES,
    fill,
    frame_errors,
    load,
    private_operations,
    unknown_members,
)
from tests.simulator.trader import ORDERS, Trader, a_market, problems, quoted
from tests.simulator.venue import Client

OPERATIONS = {(method, path): (query, body) for method, path, query, body in private_operations()}
UUID = "11111111-1111-4111-8111-111111111111"


def test_every_operation_of_an_account_is_served() -> None:
    missing = set(OPERATIONS) - {(route.method, route.template) for route in ROUTES}
    assert not missing


def test_every_operation_answers_as_specified(trader: Trader) -> None:
    called: set[tuple[str, str]] = set()

    def call(method: str, path: str, body: Any = None, expected: int = 200, **query: Any) -> Any:
        found = trader.call(method, path, body, expected, **query)  # which checks it
        route = next(r for r in ROUTES if r.method == method and r.pattern.match(path))
        called.add((method, route.template))
        return found

    market = a_market(trader, shard=0)
    ticker, event = market.ticker, market.event.ticker
    call("POST", "/account/api_usage_level/upgrade", expected=403)
    group = call("POST", "/portfolio/order_groups/create", {"contracts_limit": 100}, 201)["order_group_id"]
    one = call("POST", ORDERS, trader.order(market, order_group_id=group, expiration_time=2**32), 201)
    call("POST", "/account/api_usage_level/upgrade", expected=201)
    call("POST", ORDERS, trader.order(market, price="0.9900", count="2.00"), 201)
    call("POST", ORDERS, trader.order(market, side="ask", count="1.00"), 201)
    batch = call("POST", f"{ORDERS}/batched", {"orders": [trader.order(market), {"ticker": "NO"}]}, 201)
    order = f"{ORDERS}/{one['order_id']}"
    call("POST", f"{order}/amend", {"ticker": ticker, "side": "bid", "price": "0.0200", "count": "10.00"})
    call("POST", f"{order}/decrease", {"reduce_to": "3.00"})
    call("GET", "/portfolio/orders", status="resting")
    call("GET", f"/portfolio/orders/{one['order_id']}")
    call("GET", f"/portfolio/orders/{one['order_id']}/queue_position")
    call("GET", "/portfolio/orders/queue_positions", event_ticker=event)
    call("GET", "/portfolio/summary/total_resting_order_value")
    for path in ("", f"/{group}"):
        call("GET", f"/portfolio/order_groups{path}")
    call("PUT", f"/portfolio/order_groups/{group}/limit", {"contracts_limit_fp": "7.00"})
    call("PUT", f"/portfolio/order_groups/{group}/trigger", {})
    call("PUT", f"/portfolio/order_groups/{group}/reset", {})
    call("DELETE", f"/portfolio/order_groups/{group}")
    wish = [{"order_id": batch["orders"][0]["order_id"]}, {"order_id": "none"}]
    call("DELETE", f"{ORDERS}/batched", {"orders": wish})
    last = call("POST", ORDERS, trader.order(market), 201)["order_id"]
    call("DELETE", f"{ORDERS}/{last}")
    call("DELETE", ORDERS, expected=204)
    call("POST", "/portfolio/subaccounts", {}, 201)
    moved = {"client_transfer_id": UUID, "from_subaccount": 0, "to_subaccount": 1, "amount_cents": 500}
    call("POST", "/portfolio/subaccounts/transfer", moved)
    call("PUT", "/portfolio/subaccounts/netting", {"subaccount_number": 1, "enabled": True})
    shards = {"source": "event_contract", "destination": "event_contract", "amount": 500}
    path = "/portfolio/intra_exchange_instance_transfer"
    transfer = call("POST", path, {**shards, "destination_exchange_shard": 2})["transfer_id"]
    call("GET", "/portfolio/intra_exchange_instance_transfers")
    found = call("GET", f"/portfolio/intra_exchange_instance_transfers/{transfer}")["transfer"]
    assert (found["amount"], found["status"]) == ("0.050000", "complete")
    wanted = {"allocations": [{"exchange_index": 0, "percent": 60}, {"exchange_index": 3, "percent": 40}]}
    call("POST", "/portfolio/target_balance_allocation", wanted)
    assert call("GET", "/portfolio/target_balance_allocation") == wanted
    for name in ("balances", "netting", "transfers"):
        assert any(call("GET", f"/portfolio/subaccounts/{name}").values())
    trader.api.exchange.bring(market.event, "settled")
    for name in ("balance", "deposits", "withdrawals", "fills", "positions", "settlements"):
        call("GET", f"/portfolio/{name}")
    assert call("GET", "/portfolio/positions", settlement_status="all")["market_positions"]
    assert call("GET", "/portfolio/settlements")["settlements"]
    trader.client.api.exchange.matching.forget(trader.client.now_ms + 15 * 86_400_000)
    trader.client.api.exchange.ledger.age(trader.client.now_ms + 91 * 86_400_000)
    for name in ("orders", "fills", "positions"):
        assert any(call("GET", f"/historical/{name}").values()), name
    assert call("GET", "/account/limits")["grants"][0]["level"] == "advanced"
    call("GET", "/account/api_usage_level/volume_progress")
    key = call("GET", "/api_keys")["api_keys"][0]["api_key_id"]
    call("POST", "/api_keys", {"name": "n", "public_key": "p"}, 403)
    call("POST", "/api_keys/generate", {"name": "n"}, 403)
    call("DELETE", f"/api_keys/{key}", expected=400)
    call("DELETE", "/api_keys/other", expected=404)
    assert called == set(OPERATIONS)


def test_private_frames_are_as_specified(trader: Trader) -> None:
    session = Hub(trader.api.exchange).connect(1)
    channels = ["fill", "user_orders", "market_positions", "order_group_updates"]
    session.receive(json.dumps({"id": 1, "cmd": "subscribe", "params": {"channels": channels}}), 0)
    market = a_market(trader, shard=0)
    group = trader.call("POST", "/portfolio/order_groups/create", {"contracts_limit": 1}, 201)[
        "order_group_id"
    ]
    order = trader.place(market, order_group_id=group, expiration_time=2**32)["order_id"]
    wish = {"ticker": market.ticker, "side": "bid", "price": "0.0200", "count": "12.00"}
    trader.call("POST", f"{ORDERS}/{order}/amend", wish)
    trader.call("POST", f"{ORDERS}/{order}/decrease", {"reduce_by": "1.00"})
    trader.place(market, price="0.9900", count="2.00", order_group_id=group)  # triggers the group
    trader.call("PUT", f"/portfolio/order_groups/{group}/limit", {"contracts_limit_fp": "7.00"})
    trader.call("PUT", f"/portfolio/order_groups/{group}/reset", {})
    trader.call("DELETE", f"/portfolio/order_groups/{group}")
    trader.place(market, side="ask", count="1.00", time_in_force="immediate_or_cancel")
    trader.place(market)
    trader.api.exchange.bring(market.event, "settled")
    frames = [json.loads(text) for text in session.outgoing]
    assert [problem for frame in frames for problem in frame_errors(frame)] == []
    assert [name for frame in frames[4:] for name in unknown_members(frame)] == []
    assert {frame["type"] for frame in frames} == {*PRIVATE_FRAMES, "subscribed"}
    told = [f["msg"]["event_type"] for f in frames if f["type"] == "order_group_updates"]
    assert told == ["created", "triggered", "limit_updated", "reset", "deleted"]
    reasons = {f["msg"].get("last_update_reason") for f in frames if f["type"] == "user_order"}
    assert reasons == {None, "Amend", "Decrease", "Trade", "CloseCancel"}


# Recorded at the demo exchange -----------------------------------------------------------------------


def test_requests_of_a_recorded_session_are_answered_as_recorded(trader: Trader) -> None:
    """Same status, same members, same refusals; the `service` of refusals disappeared since."""
    markets = trader.api.exchange.markets.values()
    market = next(m for m in markets if quoted(m) and m.ask_e4 - m.bid_e4 >= 200 and not m.exchange_index)
    ids: dict[str, str] = {}

    def asked(entry: dict[str, Any]) -> tuple[str, Any]:
        path = entry["path"].removeprefix("/trade-api/v2")
        for was, now in ids.items():
            path = path.replace(was, now)
        body = entry["request_body"]
        if body is not None:
            body = {**body, "ticker": market.ticker}
            if entry["name"] in ("orders__stp_setup", "orders__stp_self_cross"):
                body["price"] = f"{(market.ask_e4 - 100) / 1e4:.4f}"
        return path, body

    for entry in load("recorded_orders"):
        path, body = asked(entry)
        query = dict(pair.split("=") for pair in path.partition("?")[2].split("&") if pair)
        found = trader.call(entry["method"], path.partition("?")[0], body, entry["status"], **query)
        recorded = entry["answer"]
        if entry["status"] >= 400:
            recorded["error"].pop("service")
            assert found == recorded
        else:
            assert members(found) >= members(recorded)
            assert members(found) - members(recorded) <= SINCE, entry["name"]
        if "order_id" in recorded:
            ids[recorded["order_id"]] = found["order_id"]
    trader.api.exchange.ledger.check()


SINCE = {"exchange_index", "cancel_order_on_pause"}
"""Members that are younger than the recording, or not in an order that never asked for it."""


def members(value: Any) -> set[str]:
    """Return the names of all members in a JSON value, less what depends on the account's past."""
    if isinstance(value, list):
        return set().union(*map(members, value))
    if isinstance(value, dict):
        return set(value).union(*map(members, value.values())) - {"resting_orders_count"}
    return set()


# Whatever one sends ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fuzzed(make_client: Callable[..., Client], signed: Callable[..., dict[str, str]]) -> Trader:
    """An account with orders, a position, a group and a subaccount, on an exchange that stands still."""
    trader = Trader(make_client(), signed)
    market = a_market(trader, shard=0)
    trader.call("POST", "/portfolio/order_groups/create", {"contracts_limit": 100}, 201)
    trader.call("POST", "/portfolio/subaccounts", {}, 201)
    trader.place(market)
    trader.place(market, price="0.9900", count="2.00")
    return trader


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.sampled_from(
        [0, 1, -1, 63, 64, 0.5, 1e308, "", "0", "1", "-1", "0.001", "1e3", "NaN", "9" * 40, "\u0661"]
    ),
    st.text(max_size=6),
    st.lists(st.integers(0, 1), max_size=2),
    st.dictionaries(st.text(max_size=3), st.none(), max_size=1),
)


def sensible(trader: Trader, market: Market) -> dict[str, list[Any]]:
    """Return values of members with which an operation can succeed."""
    exchange = trader.api.exchange
    orders = list(exchange.matching.orders[1])[-3:] or ["none"]
    return {
        "ticker": [market.ticker],
        "market_ticker": [market.ticker],
        "side": ["bid", "ask"],
        "count": ["1.00", "2.50"],
        "price": ["0.0100", "0.9900", f"{market.ask_e4 / 1e4:.4f}"],
        "time_in_force": ["good_till_canceled", "immediate_or_cancel", "fill_or_kill"],
        "self_trade_prevention_type": ["taker_at_cross", "maker"],
        "client_order_id": [f"f{len(exchange.matching.orders[1])}"],
        "order_id": orders,
        "order_group_id": list(exchange.matching.groups)[:2] or ["none"],
        "reduce_by": ["0.50"],
        "contracts_limit": [5],
        "subaccount": [0, 1],
        "exchange_index": [0, -1],
        "source": ["event_contract"],
        "destination": ["event_contract"],
        "amount": [100],
        "amount_cents": [1],
        "destination_exchange_shard": [0, 3],
        "from_subaccount": [0, 1],
        "to_subaccount": [0, 1],
        "client_transfer_id": [UUID],
        "subaccount_number": [0, 1],
        "enabled": [True, False],
        "limit": [1, 100],
    }


ORDER = ("ticker", "side", "count", "price", "time_in_force", "self_trade_prevention_type", "order_id")
PICK = st.integers(0, 5)


def one(data: st.DataObject, values: list[Any]) -> Any:
    """Draw one of values that depend on what the account has by now."""
    return values[data.draw(PICK) % len(values)]


def drawn(data: st.DataObject, properties: dict[str, Any], values: dict[str, list[Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name in properties:
        if name in ("orders", "allocations"):
            count = data.draw(st.integers(0, 2))
            members[name] = [drawn(data, dict.fromkeys(ORDER), values) for _ in range(count)]
        elif name in values and data.draw(st.integers(0, 6)):
            members[name] = one(data, values[name])
        elif data.draw(st.booleans()):
            members[name] = data.draw(JUNK)
    return members


@given(data=st.data())
@settings(max_examples=300)
def test_no_request_of_an_account_breaks_the_books(fuzzed: Trader, data: st.DataObject) -> None:
    method, path = data.draw(st.sampled_from(sorted(OPERATIONS)))
    query, properties = OPERATIONS[method, path]
    market = a_market(fuzzed, shard=0)
    values = sensible(fuzzed, market)
    segments = {
        name: one(data, values.get(name, ["x"]))
        for name in ("order_id", "order_group_id", "api_key", "transfer_id")
    }
    asked = {
        p["name"]: one(data, [*values.get(p["name"], ["0"]), data.draw(JUNK)])
        for p in query
        if p["in"] == "query" and data.draw(st.booleans())
    }
    body: Any = None if properties is None else drawn(data, properties, values)
    if body is not None and data.draw(st.integers(0, 9)) == 0:
        body = data.draw(st.one_of(JUNK, st.binary(max_size=20)))
    exchange = fuzzed.api.exchange
    before = state(fuzzed)
    target = fill(path, {name: quote(str(value), safe="") for name, value in segments.items()})
    answer = fuzzed.send(method, target, body, **asked)
    assert answer.status in (200, 201, 204, 400, 401, 403, 404, 409), answer.body
    found = json.loads(answer.body) if answer.body else None
    assert problems(method, target, answer.status, found) == []
    if answer.status >= 400:
        assert state(fuzzed) == before
    exchange.ledger.check()


def state(trader: Trader) -> Any:
    exchange = trader.api.exchange
    orders = [
        (order.order_id, order.status, order.remaining_e2, order.price_e4)
        for order in exchange.matching.orders[1].values()
    ]
    groups = [
        (group.group_id, group.limit_e2, group.triggered) for group in exchange.matching.groups.values()
    ]
    return exchange.ledger.statements.books(), orders, groups, dict(exchange.allocations)
