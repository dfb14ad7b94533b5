"""Orders and accounts over the API: what a client sends, and what it is answered."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from simulator.front.wire import Request, Response
from simulator.front.ws import Hub

from .schemas import frame_errors
from .trader import ORDERS, Trader, a_market, text
from .venue import Client

TRANSFER = "11111111-1111-4111-8111-111111111111"


def test_an_order_rests_is_read_and_is_cancelled(trader: Trader) -> None:
    market = a_market(trader)
    placed = trader.place(market)
    assert (placed["fill_count"], placed["remaining_count"]) == ("0.00", "10.00")
    read = trader.call("GET", f"/portfolio/orders/{placed['order_id']}")["order"]
    assert (read["status"], read["yes_price_dollars"]) == ("resting", "0.0100")
    assert trader.call("GET", "/portfolio/orders", status="resting")["orders"] == [read]
    index = market.exchange_index
    gone = trader.call("DELETE", f"{ORDERS}/{placed['order_id']}", exchange_index=index)
    assert gone["reduced_by"] == "10.00"
    trader.call("DELETE", f"{ORDERS}/{placed['order_id']}", expected=404, exchange_index=index)


def test_a_fill_is_in_fills_positions_and_balance_to_the_micro_dollar(trader: Trader) -> None:
    market = a_market(trader)
    before = trader.call("GET", "/portfolio/balance")
    assert before["balance_dollars"] == "40000.0000", "4 decimals, as recorded"
    ask = market.ask_e4
    placed = trader.place(market, price="0.9900", time_in_force="immediate_or_cancel", count="1.00")
    assert (placed["fill_count"], placed["average_fill_price"]) == ("1.00", text(ask))
    fill = trader.call("GET", "/portfolio/fills")["fills"][0]
    assert (fill["order_id"], fill["yes_price_dollars"]) == (placed["order_id"], text(ask))
    position = trader.call("GET", "/portfolio/positions")["market_positions"][0]
    assert position["position_fp"] == "1.00"
    after = trader.call("GET", "/portfolio/balance")
    paid = float(before["balance_dollars"]) - float(after["balance_dollars"])
    assert paid == pytest.approx(ask / 1e4 + float(fill["fee_cost"]), abs=1e-9)
    trader.api.exchange.ledger.check()


def test_a_cancel_that_names_no_shard_looks_on_shard_zero(trader: Trader) -> None:
    market = a_market(trader, shard=3)
    placed = trader.place(market)
    path = f"{ORDERS}/{placed['order_id']}"
    assert trader.call("DELETE", path, expected=404)["error"]["code"] == "not_found"
    trader.call("POST", f"{path}/decrease", {"reduce_by": "1.00"}, 404)
    batch = {"orders": [{"order_id": placed["order_id"]}]}
    items = trader.call("DELETE", f"{ORDERS}/batched", batch)["orders"]
    assert items[0]["error"]["code"] == "not_found"
    assert trader.call("POST", f"{path}/decrease", {"reduce_by": "1.00", "market_ticker": market.ticker})
    assert trader.call("DELETE", path, market_ticker=market.ticker)["reduced_by"] == "9.00"


def test_every_item_of_a_batch_is_answered_in_its_place(trader: Trader) -> None:
    market = a_market(trader)
    good, bad = trader.order(market), trader.order(market, price="0.0150")
    answers = trader.call("POST", f"{ORDERS}/batched", {"orders": [good, bad, good]}, 201)["orders"]
    assert answers[0]["remaining_count"] == "10.00"
    assert answers[1] == {
        "client_order_id": bad["client_order_id"],
        "error": {"code": "invalid_price", "message": "invalid price"},
    }
    assert answers[2]["error"]["code"] == "order_already_exists"


def test_a_batch_with_a_number_where_a_string_belongs_is_refused_whole(trader: Trader) -> None:
    market = a_market(trader)
    before = books(trader)
    many = {"orders": [trader.order(market), trader.order(market, count=10)]}
    refusal = trader.call("POST", f"{ORDERS}/batched", many, 400)
    assert refusal["details"] == (
        "json: cannot unmarshal number into Go struct field CreateOrderV2Request.count of type string"
    )
    trader.call("DELETE", f"{ORDERS}/batched", {"orders": [{"order_id": 1}]}, 400)
    assert books(trader) == before


def test_an_account_that_trades_may_become_advanced(
    make_client: Callable[..., Client], signed: Callable[..., dict[str, str]]
) -> None:
    trader = Trader(make_client(tier="basic"), signed)
    assert trader.call("GET", "/account/limits")["usage_tier"] == "basic"
    trader.call("POST", "/account/api_usage_level/upgrade", expected=403)
    trader.client.advance(2)
    trader.place(a_market(trader))
    trader.call("POST", "/account/api_usage_level/upgrade", expected=201)
    limits = trader.call("GET", "/account/limits")
    assert limits["write"] == {"bucket_capacity": 900, "refill_rate": 300}
    for _ in range(20):  # an order that names no shard pays 10 tokens of each shard's bucket
        trader.place(a_market(trader))


def test_cancel_all_answers_without_a_body(trader: Trader) -> None:
    market = a_market(trader)
    trader.place(market)
    assert trader.call("DELETE", ORDERS, expected=204) is None
    assert trader.call("GET", "/portfolio/orders", status="resting")["orders"] == []


@pytest.mark.parametrize(
    ("members", "status", "code"),
    [
        ({"count": 10}, 400, "bad_request"),
        ({"price": 0.01}, 400, "bad_request"),
        ({"price": "0.0150"}, 400, "invalid_price"),
        ({"price": "0.00001"}, 400, "invalid_price"),
        ({"price": "1.5"}, 400, "invalid_price"),
        ({"price": "-0.01"}, 400, "invalid_price"),
        ({"count": "0.001"}, 400, "invalid_order_size"),
        ({"count": "-1"}, 400, "invalid_order_size"),
        ({"count": "0.00"}, 400, "invalid_order_size"),
        ({"count": "1e3"}, 400, "invalid_order_size"),
        ({"side": "yes"}, 400, "invalid_parameters"),
        ({"ticker": "NOSUCH"}, 404, "market_not_found"),
        ({"ticker": None}, 400, "invalid_parameters"),
        ({"client_order_id": "a.b"}, 400, "invalid_parameters"),
        ({"client_order_id": "x" * 65}, 400, "invalid_parameters"),
        ({"exchange_index": 7}, 404, "market_not_found"),
        ({"subaccount": 5}, 400, "invalid_parameters"),
        ({"subaccount": "0"}, 400, "bad_request"),
        ({"post_only": "yes"}, 400, "bad_request"),
        ({"expiration_time": 1}, 400, "invalid_order"),
        ({"count": "99999999.00"}, 400, "insufficient_balance"),
        ({"order_group_id": "none"}, 400, "invalid_order"),
    ],
)
def test_bad_orders_are_refused_in_words_and_change_nothing(
    trader: Trader, members: dict[str, Any], status: int, code: str
) -> None:
    market = a_market(trader)
    before = trader.api.exchange.ledger.statements.books()
    refusal = trader.place(market, status, **members)
    assert refusal.get("error", refusal)["code"] == code
    assert trader.api.exchange.ledger.statements.books() == before
    assert trader.call("GET", "/portfolio/orders")["orders"] == []


def test_a_market_that_is_closed_paused_or_of_another_shard_takes_no_orders(trader: Trader) -> None:
    market, exchange = a_market(trader), trader.api.exchange
    before = books(trader)
    other = (market.exchange_index + 1) % 4
    assert trader.place(market, 404, exchange_index=other)["error"]["code"] == "market_not_found"
    trader.local("POST", "/sim/faults", {"settings": {"paused_markets": [market.ticker]}})
    assert trader.place(market, 409)["error"]["code"] == "trading_is_paused"
    trader.local("POST", "/sim/faults", {"settings": {"paused_markets": [], "exchange_active": False}})
    assert trader.place(market, 409)["error"]["code"] == "exchange_is_paused"
    trader.call("DELETE", ORDERS, expected=409)
    trader.local("POST", "/sim/faults", {"settings": {"exchange_active": True}})
    for stage in ("closed", "settled"):
        exchange.bring(market.event, stage)
        assert trader.place(market, 400)["error"]["code"] == "market_inactive"
    exchange.bring(market.event, "gone")
    assert trader.place(market, 404)["error"]["code"] == "market_not_found"
    assert books(trader) == before


def test_a_client_order_id_is_taken_once(trader: Trader) -> None:
    market = a_market(trader)
    first = trader.place(market, client_order_id="once")
    before = books(trader)
    for _ in range(2):
        assert trader.place(market, 409, client_order_id="once")["error"]["code"] == "order_already_exists"
    assert books(trader) == before
    trader.call("DELETE", f"{ORDERS}/{first['order_id']}", market_ticker=market.ticker)
    assert trader.place(market, 409, client_order_id="once")["error"]["code"] == "order_already_exists"


def test_a_body_of_a_megabyte_is_refused_like_a_short_one(trader: Trader) -> None:
    market = a_market(trader)
    before = books(trader)
    refusal = trader.place(market, 400, client_order_id="x" * 1_000_000)
    assert refusal["error"] == {
        "code": "invalid_parameters",
        "message": "invalid parameters",
        "details": "client_order_id",
    }
    trader.place(market, 400, count="1" * 1_000_000)
    trader.call("POST", ORDERS, b"[" * 1_000_000, 400)
    assert books(trader) == before


def test_a_thousand_orders_in_a_batch_do_not_fit_the_bucket(
    make_client: Callable[..., Client], signed: Callable[..., dict[str, str]]
) -> None:
    trader = Trader(make_client(tier="basic"), signed)
    market = a_market(trader)
    before = books(trader)
    many = {"orders": [trader.order(market) for _ in range(1_000)]}
    assert trader.call("POST", f"{ORDERS}/batched", many, 429)["error"]["code"] == "too_many_requests"
    assert books(trader) == before
    trader.place(market)  # a refusal has cost nothing
    trader = Trader(make_client(), signed)
    many["orders"].append(trader.order(market))
    refusal = trader.call("POST", f"{ORDERS}/batched", many, 400)
    assert refusal["error"]["details"] == "at most 1000 orders"


@pytest.mark.parametrize("raw", [b"", b"null", b"[]", b"{", b"\xff", b'"x"', b"[" * 5_000, b'{"orders":{}}'])
def test_bodies_that_are_no_order_are_refused(trader: Trader, raw: bytes) -> None:
    trader.call("POST", ORDERS, raw, 400)
    trader.call("POST", f"{ORDERS}/batched", raw, 400)


def test_the_retired_operations_are_gone(trader: Trader) -> None:
    for method, path in (("POST", "/portfolio/orders"), ("DELETE", "/portfolio/orders/x")):
        assert trader.call(method, path, {}, 410)["error"]["code"] == "deprecated_v1_order_endpoint"


def test_without_a_word_on_where_one_is_some_categories_are_closed(trader: Trader) -> None:
    market = next(m for m in trader.api.exchange.markets.values() if m.event.series.category == "Sports")
    assert "api_key_region_expiration_ts" not in trader.call("GET", "/api_keys")
    trader.api.exchange.switches.attestation_expires_s = trader.client.now_ms // 1000
    assert trader.call("GET", "/api_keys")["api_key_region_expiration_ts"] == trader.client.now_ms // 1000
    assert trader.place(market, 403)["error"]["details"] == "location attestation expired"


def test_of_another_account_nothing_is_seen_or_touched(
    trader: Trader, signed: Callable[..., dict[str, str]]
) -> None:
    market, other = a_market(trader), Trader(trader.client, signed, account=2)
    group = other.call("POST", "/portfolio/order_groups/create", {"contracts_limit": 5}, 201)
    number = other.call("POST", "/portfolio/subaccounts", {}, 201)["subaccount_number"]
    moved = {"from_subaccount": 0, "to_subaccount": number, "amount_cents": 5_000}
    moved |= {"client_transfer_id": TRANSFER, "exchange_index": market.exchange_index}
    other.call("POST", "/portfolio/subaccounts/transfer", moved)
    order = f"{ORDERS}/{other.place(market, subaccount=number)['order_id']}"
    before = books(trader)
    path = f"/portfolio/order_groups/{group['order_group_id']}"
    named = {"market_ticker": market.ticker}
    wish = {"ticker": market.ticker, "side": "bid", "price": "0.0200", "count": "10.00"}
    for refusal in (
        trader.call("DELETE", order, expected=404, **named),
        trader.call("POST", f"{order}/amend", wish, 404),
        trader.call("POST", f"{order}/decrease", {"reduce_by": "1.00", **named}, 404),
        trader.call("GET", order.replace("/events", ""), expected=404),
        trader.call("GET", path, expected=404),
        trader.call("PUT", f"{path}/trigger", {}, 404),
        trader.call("DELETE", path, expected=404),
    ):
        assert refusal["error"]["code"] == "not_found"
    for refusal in (
        trader.place(market, 400, subaccount=number),
        trader.call("DELETE", order, expected=400, subaccount=number, **named),
    ):
        assert refusal["error"]["details"] == "subaccount does not exist"
    group_id = group["order_group_id"]
    assert trader.place(market, 400, order_group_id=group_id)["error"]["details"] == "order group not found"
    trader.call("DELETE", ORDERS, expected=204)
    assert books(trader) == before
    for name in ("orders", "fills"):
        assert trader.call("GET", f"/portfolio/{name}")[name] == []


def books(trader: Trader) -> Any:
    """Return the exchange's own books and what rests."""
    return trader.local("GET", "/sim/accounts")


def test_reads_lag_and_never_go_back(trader: Trader) -> None:
    exchange = trader.api.exchange
    exchange.switches.read_lag_ms = 400
    market = a_market(trader)
    placed = trader.place(market)
    seen: list[int] = []
    for _ in range(60):
        trader.client.advance(0.01)
        orders = trader.call("GET", "/portfolio/orders")["orders"]
        seen.append(len(orders))
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (0, 1)
    trader.call("DELETE", f"{ORDERS}/{placed['order_id']}", exchange_index=market.exchange_index)
    assert trader.call("GET", f"/portfolio/orders/{placed['order_id']}")["order"]["status"] == "resting"
    trader.client.advance(0.5)
    assert trader.call("GET", f"/portfolio/orders/{placed['order_id']}")["order"]["status"] == "canceled"


def test_a_market_that_closes_cancels_and_settles_what_was_held(trader: Trader) -> None:
    market = a_market(trader)
    exchange = trader.api.exchange
    trader.place(market)
    trader.place(market, price="0.9900", time_in_force="immediate_or_cancel", count="2.00")
    exchange.bring(market.event, "closed")
    trader.client.advance(1)
    states = {order["status"] for order in trader.call("GET", "/portfolio/orders")["orders"]}
    assert "resting" not in states
    exchange.bring(market.event, "settled")
    settlement = trader.call("GET", "/portfolio/settlements")["settlements"][0]
    assert settlement["revenue"] == (200 if settlement["market_result"] == "yes" else 0)
    assert trader.call("GET", "/portfolio/positions")["market_positions"] == []
    exchange.ledger.check()


def test_cash_moves_between_shards_once_for_one_transfer_id(trader: Trader) -> None:
    body = {
        "source": "event_contract",
        "destination": "event_contract",
        "amount": 10_000,
        "source_exchange_shard": 0,
        "destination_exchange_shard": 3,
        "client_transfer_id": TRANSFER,
    }
    first = trader.call("POST", "/portfolio/intra_exchange_instance_transfer", body)
    assert trader.call("POST", "/portfolio/intra_exchange_instance_transfer", body) == first
    rows = trader.call("GET", "/portfolio/balance")["balance_breakdown"]
    assert [row["balance"] for row in rows] == ["9999.0000", "10000.0000", "10000.0000", "10001.0000"]


def test_private_channels_tell_an_order_its_fills_and_the_position(trader: Trader) -> None:
    hub = Hub(trader.api.exchange)
    mine, other = hub.connect(1), hub.connect(2)
    market = a_market(trader)
    channels = ["fill", "user_orders", "market_positions", "order_group_updates", "orderbook_delta"]
    for session in (mine, other):
        params = {"channels": channels, "market_tickers": [market.ticker]}
        session.receive(json.dumps({"id": 1, "cmd": "subscribe", "params": params}), trader.client.now_ms)
        session.outgoing.clear()
    placed = trader.place(market, price=text(market.bid_e4))
    sent = [json.loads(frame) for frame in mine.outgoing]
    assert [frame["type"] for frame in sent] == ["user_order", "orderbook_delta"]
    assert sent[0]["msg"]["status"] == "resting"
    assert sent[1]["msg"]["client_order_id"] == placed["client_order_id"]
    assert ["client_order_id" in json.loads(frame)["msg"] for frame in other.outgoing] == [False]
    mine.outgoing.clear()
    trader.place(market, price="0.9900", time_in_force="immediate_or_cancel", count="1.00")
    trader.call(
        "POST",
        "/portfolio/order_groups/create",
        {"contracts_limit_fp": "2.00", "exchange_index": market.exchange_index},
        201,
    )
    sent = [json.loads(frame) for frame in mine.outgoing if "orderbook" not in frame]
    kinds = [frame["type"] for frame in sent]
    assert kinds == ["fill", "market_position", "user_order", "order_group_updates"]
    assert sent[0]["msg"]["post_position_fp"] == sent[1]["msg"]["position_fp"] == "1.00"
    assert sent[2]["msg"]["last_update_reason"] == "Trade"
    assert ["seq" in frame for frame in sent] == [False, False, False, True]
    assert [problem for frame in sent for problem in frame_errors(frame)] == []


def test_switches_are_read_and_set_by_name_all_or_none(trader: Trader) -> None:
    def send(method: str, body: bytes = b"") -> Response:
        return trader.api.handle(Request(method, "/sim/switches", body=body), trader.client.now_ms)

    before = json.loads(send("GET").body)
    assert before["client_order_id_scope"] == "recent_30d"
    changed = json.loads(send("POST", b'{"client_order_id_scope":"open_only","read_lag_ms":7}').body)
    assert changed == {**before, "client_order_id_scope": "open_only", "read_lag_ms": 7}
    for bad in (
        b'{"nonsense":1}',
        b'{"read_lag_ms":8,"amend_keeps_id":3}',
        b'{"read_lag_ms":-1}',
        b"[]",
        b"\xff",
    ):
        assert send("POST", bad).status == 400
    assert json.loads(send("GET").body) == changed


def test_the_exchange_tells_its_own_books(trader: Trader) -> None:
    market = a_market(trader)
    placed = trader.place(market)
    answer = trader.api.handle(Request("GET", "/sim/accounts"), trader.client.now_ms)
    books = json.loads(answer.body)
    assert books["resting_orders"][0]["order_id"] == placed["order_id"]
    assert books["accounts"][0]["cash_e6"]["0"] == 10_000_000_000


def test_an_order_group_ends_its_orders(trader: Trader) -> None:
    market = a_market(trader)
    shard = market.exchange_index
    group = trader.call(
        "POST", "/portfolio/order_groups/create", {"contracts_limit": 5, "exchange_index": shard}, 201
    )["order_group_id"]
    placed = trader.place(market, order_group_id=group)
    assert trader.call("GET", f"/portfolio/order_groups/{group}")["orders"] == [placed["order_id"]]
    trader.call("PUT", f"/portfolio/order_groups/{group}/trigger", {}, 200, exchange_index=shard)
    assert trader.place(market, 400, order_group_id=group)["error"]["details"] == "order group triggered"
    trader.call("PUT", f"/portfolio/order_groups/{group}/reset", {}, 200, exchange_index=shard)
    trader.place(market, order_group_id=group)
    trader.call("DELETE", f"/portfolio/order_groups/{group}", exchange_index=shard)
    assert trader.call("GET", "/portfolio/orders", status="resting")["orders"] == []
