"""Order faults: what is late, twice, lost or said wrongly, and what the exchange's own books say then."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from simulator.front.ws import Hub, WsConnection
from simulator.matching.orders import Order

from .trader import ORDERS, Trader, a_market
from .venue import Client

Make = Callable[..., Client]


def hurt(trader: Trader, fault: str, **members: Any) -> None:
    trader.local("POST", "/sim/faults", {"orders": [{"fault": fault, **members}]})


def placed(trader: Trader) -> list[Order]:
    return list(trader.api.exchange.matching.orders[1].values())


def test_a_late_request_is_carried_out_late_and_answered_then(trader: Trader) -> None:
    market = a_market(trader)
    hurt(trader, "request_late", ms=29_000)
    answer = trader.send("POST", ORDERS, trader.order(market))
    assert (answer.delay_ms, placed(trader)) == (29_000, [])
    trader.client.now_ms += 29_000
    assert answer.later is not None
    answer = answer.later(trader.client.now_ms)
    assert answer.status == 201
    assert [order.created_ms for order in placed(trader)] == [trader.client.now_ms]
    assert json.loads(answer.body)["order_id"] == placed(trader)[0].order_id


@pytest.mark.parametrize(
    ("fault", "orders", "status"),
    [
        ("request_lost", 0, None),
        ("reply_lost", 1, None),
        ("error_without_effect", 0, 503),
        ("error_with_effect", 1, 503),
        ("reply_without_id", 1, 201),
        ("reply_cut", 1, 201),
        ("reply_doubled", 1, 201),
    ],
)
def test_what_is_said_and_what_was_done_differ(
    trader: Trader, fault: str, orders: int, status: int | None
) -> None:
    market = a_market(trader)
    hurt(trader, fault)
    answer = trader.send("POST", ORDERS, trader.order(market))
    assert (len(placed(trader)), None if answer.cut else answer.status) == (orders, status)
    assert (answer.half, answer.doubled) == (fault == "reply_cut", fault == "reply_doubled")
    said = "order_id" in json.loads(answer.body or b"{}")
    assert said == (fault in ("reply_cut", "reply_doubled", "reply_lost"))
    trader.place(market)  # it was so once
    assert trader.local("GET", "/sim/faults")["orders"][0]["hits"] == 1


def test_a_request_comes_twice_and_an_order_without_an_id_is_there_twice(trader: Trader) -> None:
    market = a_market(trader)
    hurt(trader, "request_twice", times=2)
    trader.place(market)
    assert len(placed(trader)) == 1
    trader.place(market, client_order_id="")
    assert len(placed(trader)) == 3
    trader.api.exchange.ledger.check()


def test_a_pool_that_sends_again_hides_that_the_first_one_arrived(trader: Trader) -> None:
    market = a_market(trader)
    hurt(trader, "request_resent", ms=500)
    answer = trader.send("POST", ORDERS, trader.order(market))
    trader.client.now_ms += answer.delay_ms
    assert answer.later is not None
    again = answer.later(trader.client.now_ms)
    assert (again.status, json.loads(again.body)["error"]["code"]) == (409, "order_already_exists")
    assert len(placed(trader)) == 1


def test_a_copy_comes_after_the_answer(trader: Trader) -> None:
    market = a_market(trader)
    trader.api.exchange.switches.client_order_id_scope = "open_only"
    hurt(trader, "request_copied", ms=2_000)
    order = trader.order(market, price="0.9900", count="1.00", time_in_force="immediate_or_cancel")
    answer = trader.send("POST", ORDERS, order)
    assert (answer.status, answer.delay_ms) == (201, 0)
    assert answer.copy is not None
    late_ms, copied = answer.copy
    trader.client.now_ms += late_ms
    assert copied(trader.client.now_ms).status == 201  # an id of a filled order is free again: filled twice
    assert [order.filled_e2 for order in placed(trader)] == [100, 100]
    trader.api.exchange.ledger.check()


def test_reads_stand_still_and_go_on(trader: Trader) -> None:
    market = a_market(trader)
    before = trader.place(market)
    hurt(trader, "reads_stale", ms=5_000)
    trader.client.advance(1)
    trader.place(market)
    trader.place(market, price="0.9900", count="1.00", time_in_force="immediate_or_cancel")
    for seconds, orders, fills in ((0, 1, 0), (4.9, 1, 0), (0.1, 3, 1)):
        trader.client.advance(seconds)
        shown = trader.call("GET", "/portfolio/orders")["orders"]
        assert len(shown) == orders
        assert shown[-1]["order_id"] == before["order_id"]
        assert len(trader.call("GET", "/portfolio/fills")["fills"]) == fills
        assert len(trader.call("GET", "/portfolio/positions")["market_positions"]) == fills


def test_one_shard_lags_alone(trader: Trader) -> None:
    lagging, other = a_market(trader, shard=3), a_market(trader, shard=0)
    hurt(trader, "shard_lagging", match={"exchange_index": 3}, ms=5_000)
    trader.client.advance(1)
    trader.place(lagging)
    trader.place(other)
    trader.client.advance(1)

    def shown() -> set[str]:
        return {order["ticker"] for order in trader.call("GET", "/portfolio/orders")["orders"]}

    assert shown() == {other.ticker}
    trader.client.advance(5)
    assert shown() == {other.ticker, lagging.ticker}


def test_one_shard_pauses_and_trades_again(trader: Trader) -> None:
    paused, other = a_market(trader, shard=3), a_market(trader, shard=0)
    hurt(trader, "shard_paused", match={"exchange_index": 3}, ms=2_000)
    assert trader.place(paused, 409)["error"]["code"] == "trading_is_paused"
    trader.place(other)
    trader.client.advance(1.9)
    trader.place(paused, 409)
    trader.client.advance(0.1)
    trader.place(paused)


def test_one_shard_is_slow(trader: Trader) -> None:
    hurt(trader, "shard_slow", match={"exchange_index": 3}, ms=700, times=None)
    assert trader.send("POST", ORDERS, trader.order(a_market(trader, shard=3))).delay_ms == 700
    assert trader.send("POST", ORDERS, trader.order(a_market(trader, shard=0))).delay_ms == 0


def test_a_clock_that_is_off_refuses_signatures(trader: Trader) -> None:
    hurt(trader, "clock_skew", match={"operation": "create_order"}, ms=60_000)
    assert trader.place(a_market(trader), 401)["error"]["code"] == "header_timestamp_expired"
    trader.place(a_market(trader))


def connected(trader: Trader) -> WsConnection:
    hub = Hub(trader.api.exchange)
    hub.mangle = trader.api.mangle
    session = hub.connect(1)
    channels = ["fill", "user_orders", "market_positions"]
    session.receive(json.dumps({"id": 1, "cmd": "subscribe", "params": {"channels": channels}}), 0)
    session.outgoing.clear()
    return session


def kinds(session: WsConnection) -> list[str]:
    found = [json.loads(frame)["type"] for frame in session.outgoing]
    session.outgoing.clear()
    return found


def test_fills_are_told_twice_never_or_long_before_the_answer(trader: Trader) -> None:
    market, session = a_market(trader), connected(trader)
    wish: dict[str, Any] = {"price": "0.9900", "count": "1.00", "time_in_force": "immediate_or_cancel"}
    told = ["fill", "market_position", "user_order"]
    hurt(trader, "fills_twice")
    trader.place(market, **wish)
    assert kinds(session) == ["fill", *told]
    hurt(trader, "fills_never", match={"ticker": market.ticker})
    trader.place(market, **wish)
    assert kinds(session) == told[1:]
    hurt(trader, "fills_first", ms=300)
    assert trader.send("POST", ORDERS, trader.order(market, **wish)).delay_ms == 300
    assert kinds(session) == told


def test_a_channel_has_a_gap(trader: Trader) -> None:
    market, session = a_market(trader), connected(trader)
    hurt(trader, "channel_gap", match={"channel": "user_orders"}, ms=1_000)
    for seconds, expected in ((0.5, []), (0.49, []), (0.01, []), (0, ["user_order"])):
        trader.place(market)
        trader.client.advance(seconds)
        assert kinds(session) == expected


@pytest.mark.parametrize(
    ("match", "hit"),
    [
        ({}, True),
        ({"ticker": "MINE"}, True),
        ({"ticker": "KX*"}, True),
        ({"ticker": "KXNONE*"}, False),
        ({"client_order_id": "mine-"}, True),
        ({"client_order_id": "yours-"}, False),
        ({"exchange_index": 3, "account": 1, "operation": "cancel_order"}, True),
        ({"exchange_index": 0}, False),
        ({"operation": "DELETE /portfolio/events/orders/*"}, True),
        ({"operation": "create_*"}, False),
        ({"account": 2}, False),
    ],
)
def test_faults_hit_what_they_are_meant_for(trader: Trader, match: dict[str, Any], hit: bool) -> None:
    market = a_market(trader, shard=3)
    order = trader.place(market, client_order_id="mine-1")
    if match.get("ticker") == "MINE":
        match = {"ticker": market.ticker}
    hurt(trader, "request_lost", match=match)
    assert not trader.send("GET", f"/portfolio/orders/{order['order_id']}").cut
    path = f"{ORDERS}/{order['order_id']}"
    assert trader.send("DELETE", path, market_ticker=market.ticker).cut == hit


def test_the_same_seed_draws_the_same(make_client: Make, signed: Callable[..., dict[str, str]]) -> None:
    def delays(seed: int) -> list[int]:
        trader = Trader(make_client(), signed)
        market = a_market(trader)
        hurt(trader, "request_late", times=None, probability=0.5, seed=seed)
        return [trader.send("POST", ORDERS, trader.order(market)).delay_ms for _ in range(20)]

    assert delays(1) == delays(1) != delays(2)
    assert 0 < sum(map(bool, delays(1))) < 20


@pytest.mark.parametrize(
    "bad",
    [
        {"fault": "nonsense"},
        {"fault": "request_late", "ms": -1},
        {"fault": "request_late", "ms": 10**9},
        {"fault": "request_late", "times": 0},
        {"fault": "request_late", "probability": 2},
        {"fault": "error_with_effect", "status": 404},
        {"fault": "request_lost", "match": {"colour": 1}},
        {"fault": "request_lost", "match": {"channel": "fill"}},
        {"fault": "fills_never", "match": {"operation": "*"}},
        {"match": {}},
    ],
)
def test_a_bad_order_fault_is_named_and_nothing_changes(trader: Trader, bad: dict[str, Any]) -> None:
    hurt(trader, "request_lost")
    problem = trader.local("POST", "/sim/faults", {"orders": [bad]}, 400)["error"]["message"]
    assert "orders[" in problem
    assert [fault["fault"] for fault in trader.local("GET", "/sim/faults")["orders"]] == ["request_lost"]
    assert trader.local("DELETE", "/sim/faults")["orders"] == []


def test_what_is_late_twice_or_paused_is_written_down_as_it_is_carried_out(
    trader: Trader, make_client: Make
) -> None:
    market = a_market(trader, shard=3)
    asked: list[dict[str, Any]] = []
    trader.api.remember(asked.append)
    hurt(trader, "request_late", ms=1_500)
    answer = trader.send("POST", ORDERS, trader.order(market))
    hurt(trader, "request_twice")
    trader.place(market, client_order_id="")
    trader.client.now_ms += 1_500
    assert answer.later is not None
    answer.later(trader.client.now_ms)
    hurt(trader, "shard_paused", ms=700)
    trader.place(market, 409)
    trader.client.advance(1)
    trader.place(market)
    again = make_client().api
    for what in json.loads(json.dumps(asked)):
        again.again(what)
    again.exchange.advance(trader.client.now_ms)
    books = trader.api.exchange.ledger.statements.books()
    assert again.exchange.ledger.statements.books() == books
    assert [(o.order_id, o.created_ms) for o in again.exchange.matching.orders[1].values()] == [
        (o.order_id, o.created_ms) for o in placed(trader)
    ]
    assert len(placed(trader)) == 4
