"""Order operations (V2), and order groups: create, amend, decrease, cancel, single and in batches."""

from typing import Any, Final, cast

from markets.units import COUNT_ONE_E2, format_count, format_price
from simulator.floor.model import Market
from simulator.front.api import Call, Routes, integer
from simulator.front.bodies import MAX_TEXT, Body, invalid_parameters
from simulator.front.render import dumps
from simulator.front.wire import ApiError, Response, error, error_body, ok
from simulator.matching import refusals
from simulator.matching.groups import Group
from simulator.matching.orders import (
    ASK,
    BID,
    FOK,
    GTC,
    IOC,
    Amendment,
    NewOrder,
    Order,
    Outcome,
    Party,
    Refusal,
    SelfTradePrevention,
    Side,
    TimeInForce,
)

routes = Routes()

BATCH_MAX: Final = 1_000
"""A batch with more orders is refused before any is read; the write bucket runs out far earlier."""

GROUP_LIMIT_MAX_E2: Final = 1_000_000 * COUNT_ONE_E2
ATTESTED: Final = frozenset({"Sports", "Elections", "Entertainment"})
"""Categories for which an account must have attested where it is."""

_KINDS: Final[dict[str, type]] = {
    **dict.fromkeys(("ticker", "market_ticker", "order_id", "client_order_id", "order_group_id"), str),
    **dict.fromkeys(("side", "count", "price", "time_in_force", "self_trade_prevention_type"), str),
    **dict.fromkeys(("post_only", "reduce_only", "cancel_order_on_pause"), bool),
    **dict.fromkeys(("subaccount", "exchange_index", "expiration_time"), int),
}
"""The types of the members of an order in a batch."""

_SHARD_MAX: Final = 2**31 - 1
_SECONDS_MAX: Final = 2**33


def refused(refusal: Refusal) -> ApiError:
    """Answer a request with its refusal."""
    return ApiError(error(refusal.status, refusal.code, refusal.message, refusal.details))


def _party(call: Call, subaccount: int | None) -> Party:
    """Return whose money is meant; 0 is the primary subaccount.

    Raises:
        ApiError: 400: there is no such subaccount.
    """
    party = (call.account, subaccount or 0)
    if not call.api.exchange.ledger.knows(party):
        raise invalid_parameters("subaccount does not exist")
    return party


def _market(call: Call, ticker: str, exchange_index: int | None) -> Market:
    """Return the market that an order is for. An index, if given, must be the market's own.

    Raises:
        ApiError: 404: that shard has no such market.
    """
    market = call.api.exchange.markets.get(ticker)
    if market is None or exchange_index not in (None, -1, market.exchange_index):
        raise refused(refusals.MARKET_NOT_FOUND)
    return market


def _query_shard(call: Call) -> int | None:
    index = integer(call.request, "exchange_index")
    if index is not None and not -1 <= index <= _SHARD_MAX:
        raise invalid_parameters("exchange_index")
    return index


# The retired operations ------------------------------------------------------------------------------


def _retired(_call: Call) -> Response:
    return error(410, "deprecated_v1_order_endpoint", "Please switch to the V2 endpoints")


for _register, _template in (
    (routes.post, "/portfolio/orders"),
    (routes.delete, "/portfolio/orders/{order_id}"),
    (routes.post, "/portfolio/orders/batched"),
    (routes.delete, "/portfolio/orders/batched"),
    (routes.post, "/portfolio/orders/{order_id}/amend"),
    (routes.post, "/portfolio/orders/{order_id}/decrease"),
):
    _register(_template, private=True)(_retired)

# Create ----------------------------------------------------------------------------------------------


def _new_order(call: Call, body: Body) -> NewOrder:
    market = _market(call, body.required("ticker"), body.integer("exchange_index", -1, _SHARD_MAX))
    client_order_id = body.text("client_order_id") or ""
    if len(client_order_id) > MAX_TEXT or "." in client_order_id:
        raise invalid_parameters("client_order_id")
    expires_s = body.integer("expiration_time", 0, _SECONDS_MAX)
    return NewOrder(
        party=_party(call, body.integer("subaccount", 0, 63)),
        instrument=market,
        side=cast(Side, body.choice("side", (BID, ASK))),
        price_e4=body.price_e4("price"),
        count_e2=body.count_e2("count"),
        time_in_force=cast(TimeInForce, body.choice("time_in_force", (GTC, IOC, FOK))),
        self_trade=cast(
            SelfTradePrevention, body.choice("self_trade_prevention_type", ("taker_at_cross", "maker"))
        ),
        client_order_id=client_order_id,
        expires_ms=None if expires_s is None else expires_s * 1000,
        post_only=body.boolean("post_only"),
        reduce_only=body.boolean("reduce_only"),
        cancel_on_pause=body.boolean("cancel_order_on_pause"),
        group_id=body.text("order_group_id"),
    )


def _attested(call: Call, order: NewOrder) -> bool:
    """Whether an account may trade a market's category: its attestation of place may have expired."""
    exchange = call.api.exchange
    expires_s = exchange.switches.attestation_expires_s
    category = exchange.markets[order.instrument.ticker].event.series.category
    return expires_s is None or exchange.now_ms < expires_s * 1000 or category not in ATTESTED


def _create(call: Call, body: Body) -> dict[str, Any]:
    exchange = call.api.exchange
    order = _new_order(call, body)
    if not _attested(call, order):
        raise ApiError(error(403, "forbidden", "forbidden", "location attestation expired"))
    outcome = exchange.matching.place(order, exchange.now_ms)
    if isinstance(outcome, Refusal):
        raise refused(outcome)
    return _with_fills(outcome)


def _averages(outcome: Outcome) -> dict[str, Any]:
    """Return average price and fee per contract, rounded to $0.0001; empty if nothing was filled."""
    if not outcome.filled_e2:
        return {}
    return {
        "average_fee_paid": format_price(_per_contract(outcome.fees_e6, outcome.filled_e2)),
        "average_fill_price": format_price(_per_contract(outcome.cost_e6, outcome.filled_e2)),
    }


def _per_contract(money_e6: int, count_e2: int) -> int:
    """Return money per contract in $0.0001, halves rounded up."""
    return (2 * money_e6 + count_e2) // (2 * count_e2)


def _with_fills(outcome: Outcome) -> dict[str, Any]:
    return {
        **_averages(outcome),
        **_client_id(outcome.order),
        "fill_count": format_count(outcome.filled_e2),
        "order_id": outcome.order.order_id,
        "remaining_count": format_count(outcome.remaining_e2),
        "ts_ms": outcome.time_ms,
    }


def _client_id(order: Order) -> dict[str, Any]:
    return {"client_order_id": order.client_order_id} if order.client_order_id else {}


def _created(value: dict[str, Any]) -> Response:
    return Response(201, dumps(value).encode())


@routes.post("/portfolio/events/orders", private=True)
def create_order(call: Call) -> Response:
    return _created(_create(call, Body.of(call.request.body, "CreateOrderV2Request")))


@routes.post("/portfolio/events/orders/batched", private=True)
def batch_create_orders(call: Call) -> Response:
    items = _batch(call, "BatchCreateOrdersV2Request", "CreateOrderV2Request")
    return _created({"orders": [_item(call, item, _create) for item in items]})


def _batch(call: Call, name: str, of: str) -> list[Body]:
    items = Body.of(call.request.body, name).objects("orders", of)
    if len(items) > BATCH_MAX:
        raise invalid_parameters(f"at most {BATCH_MAX} orders")
    for item in items:
        item.check(_KINDS)  # a body is decoded completely, or not at all
    return items


def _item(call: Call, body: Body, work: Any) -> dict[str, Any]:
    """Return the answer to one order of a batch: its own refusal if it is refused."""
    try:
        return cast(dict[str, Any], work(call, body))
    except ApiError as problem:
        found = error_body(problem.response)
        return {**body.echo("client_order_id"), "error": found}


# Change ----------------------------------------------------------------------------------------------


def _order(call: Call, order_id: str, party: Party, index: int | None, ticker: str | None) -> Order:
    """Return the order that a cancel or decrease means.

    It is looked for on the shard named, else on that of `ticker`, else on shard 0: for an order elsewhere the
    answer is 404, as for one that is over.

    Raises:
        ApiError: 404.
    """
    exchange = call.api.exchange
    order = exchange.matching.find(party[0], order_id)
    if index in (None, -1):
        market = exchange.markets.get(ticker) if ticker is not None else None
        index = market.exchange_index if market is not None else 0
    if order is None or order.party != party:
        raise refused(refusals.NOT_FOUND)
    if index != order.instrument.exchange_index and exchange.switches.wrong_shard_cancel_404:
        raise refused(refusals.NOT_FOUND)
    return order


def _cancel(call: Call, order: Order) -> dict[str, Any]:
    exchange = call.api.exchange
    ended = exchange.matching.cancel(order.party[0], order.order_id, exchange.now_ms)
    if isinstance(ended, Refusal):
        raise refused(ended)
    return {  # without the client's id, which is documented but was missing when recorded
        "order_id": order.order_id,
        "reduced_by": format_count(ended[1]),
        "ts_ms": exchange.now_ms,
    }


@routes.delete("/portfolio/events/orders/batched", private=True)
def batch_cancel_orders(call: Call) -> Response:
    items = _batch(call, "BatchCancelOrdersV2Request", "CancelOrderV2Request")

    def cancel(call: Call, body: Body) -> dict[str, Any]:
        try:
            order_id = body.required("order_id")
            party = _party(call, body.integer("subaccount", 0, 63))
            index = body.integer("exchange_index", -1, _SHARD_MAX)
            return _cancel(call, _order(call, order_id, party, index, body.text("market_ticker")))
        except ApiError as problem:
            named = {"order_id": "", **body.echo("order_id")}
            return {**named, "reduced_by": "0.00", "error": error_body(problem.response)}

    return ok(dumps({"orders": [_item(call, item, cancel) for item in items]}))


@routes.delete("/portfolio/events/orders/{order_id}", private=True)
def cancel_order(call: Call) -> Response:
    party = _party(call, integer(call.request, "subaccount"))
    ticker = call.request.get("market_ticker")
    order = _order(call, call.args["order_id"], party, _query_shard(call), ticker)
    return ok(dumps(_cancel(call, order)))


@routes.delete("/portfolio/events/orders", private=True)
def cancel_all_orders(call: Call) -> Response:
    subaccount = integer(call.request, "subaccount")
    exchange = call.api.exchange
    if not exchange.halts.exchange_active:
        raise refused(refusals.EXCHANGE_PAUSED)
    exchange.matching.cancel_all(call.account, subaccount, exchange.now_ms)
    return Response(204, b"")


@routes.post("/portfolio/events/orders/{order_id}/amend", private=True)
def amend_order(call: Call) -> Response:
    body = Body.of(call.request.body, "AmendOrderV2Request")
    party = _party(call, integer(call.request, "subaccount"))
    _market(call, body.required("ticker"), body.integer("exchange_index", -1, _SHARD_MAX))
    expires_s = body.integer("expiration_time", 0, _SECONDS_MAX)
    new_id = body.text("updated_client_order_id")
    if new_id is not None and (not 0 < len(new_id) <= MAX_TEXT or "." in new_id):
        raise invalid_parameters("updated_client_order_id")
    wish = Amendment(
        ticker=body.required("ticker"),
        side=cast(Side, body.choice("side", (BID, ASK))),
        price_e4=body.price_e4("price"),
        count_e2=body.count_e2("count"),
        client_order_id=body.text("client_order_id"),
        new_client_order_id=new_id,
        expires_ms=None if expires_s is None else expires_s * 1000,
    )
    exchange = call.api.exchange
    order = exchange.matching.find(call.account, call.args["order_id"])
    if order is None or order.party != party:
        raise refused(refusals.NOT_FOUND)
    outcome = exchange.matching.amend(call.account, order.order_id, wish, exchange.now_ms)
    if isinstance(outcome, Refusal):
        raise refused(outcome)
    return ok(dumps(_with_fills(outcome)))


@routes.post("/portfolio/events/orders/{order_id}/decrease", private=True)
def decrease_order(call: Call) -> Response:
    body = Body.of(call.request.body, "DecreaseOrderV2Request")
    party = _party(call, integer(call.request, "subaccount"))
    if body.has("reduce_by") == body.has("reduce_to"):
        raise invalid_parameters("exactly one of reduce_by and reduce_to is required")
    by_e2 = body.count_e2("reduce_by") if body.has("reduce_by") else None
    to_e2 = body.count_e2("reduce_to") if body.has("reduce_to") else None
    index = body.integer("exchange_index", -1, _SHARD_MAX)
    order = _order(call, call.args["order_id"], party, index, body.text("market_ticker"))
    exchange = call.api.exchange
    outcome = exchange.matching.decrease(call.account, order.order_id, by_e2, to_e2, exchange.now_ms)
    if isinstance(outcome, Refusal):
        raise refused(outcome)
    return ok(
        dumps(
            {
                **_client_id(order),
                "order_id": order.order_id,
                "remaining_count": format_count(outcome.remaining_e2),
                "ts_ms": outcome.time_ms,
            }
        )
    )


# Order groups ----------------------------------------------------------------------------------------


def _limit_e2(body: Body) -> int:
    whole = body.integer("contracts_limit", 1, GROUP_LIMIT_MAX_E2 // COUNT_ONE_E2)
    given_e2 = body.count_e2("contracts_limit_fp") if body.has("contracts_limit_fp") else None
    if whole is None and given_e2 is None:
        raise invalid_parameters("contracts_limit or contracts_limit_fp is required")
    limit_e2 = given_e2 if given_e2 is not None else (whole or 0) * COUNT_ONE_E2
    if whole is not None and whole * COUNT_ONE_E2 != limit_e2:
        raise invalid_parameters("contracts_limit and contracts_limit_fp must match")
    if not 0 < limit_e2 <= GROUP_LIMIT_MAX_E2:
        raise invalid_parameters("contracts_limit")
    return limit_e2


def _group(call: Call) -> Group:
    """Return the group meant: on the shard named, by default 0; never routed by ticker."""
    party = _party(call, integer(call.request, "subaccount"))
    index = _query_shard(call) or 0
    group = call.api.exchange.matching.group(call.account, call.args["order_group_id"], index)
    if group is None or group.party != party:
        raise refused(refusals.NOT_FOUND)
    return group


@routes.post("/portfolio/order_groups/create", private=True)
def create_order_group(call: Call) -> Response:
    body = Body.of(call.request.body, "CreateOrderGroupRequest")
    exchange = call.api.exchange
    index = body.integer("exchange_index", 0, _SHARD_MAX) or 0
    if index not in exchange.halts.shards:
        raise invalid_parameters("exchange_index")
    party = _party(call, body.integer("subaccount", 0, 63))
    group = exchange.matching.create_group(party, index, _limit_e2(body), exchange.now_ms)
    if isinstance(group, Refusal):
        raise refused(group)
    return _created({"exchange_index": index, "order_group_id": group.group_id, "subaccount": party[1]})


def _group_body(group: Group) -> dict[str, Any]:
    return {
        "contracts_limit_fp": format_count(group.limit_e2),
        "exchange_index": group.exchange_index,
        "is_auto_cancel_enabled": not group.triggered,
    }


@routes.get("/portfolio/order_groups", private=True)
def get_order_groups(call: Call) -> Response:
    subaccount = integer(call.request, "subaccount")
    groups = [
        {**_group_body(group), "id": group.group_id}
        for group in call.api.exchange.matching.groups.values()
        if group.party[0] == call.account and subaccount in (None, group.party[1])
    ]
    return ok(dumps({"order_groups": groups}))


@routes.get("/portfolio/order_groups/{order_group_id}", private=True)
def get_order_group(call: Call) -> Response:
    group = call.api.exchange.matching.groups.get(call.args["order_group_id"])
    subaccount = integer(call.request, "subaccount")
    if group is None or group.party[0] != call.account or subaccount not in (None, group.party[1]):
        raise refused(refusals.NOT_FOUND)
    return ok(dumps({**_group_body(group), "orders": list(group.orders)}))


@routes.delete("/portfolio/order_groups/{order_group_id}", private=True)
def delete_order_group(call: Call) -> Response:
    exchange = call.api.exchange
    exchange.matching.delete_group(_group(call), exchange.now_ms)
    return ok("{}")


@routes.put("/portfolio/order_groups/{order_group_id}/reset", private=True)
def reset_order_group(call: Call) -> Response:
    exchange = call.api.exchange
    exchange.matching.reset_group(_group(call), exchange.now_ms)
    return ok("{}")


@routes.put("/portfolio/order_groups/{order_group_id}/trigger", private=True)
def trigger_order_group(call: Call) -> Response:
    exchange = call.api.exchange
    exchange.matching.trigger_group(_group(call), exchange.now_ms)
    return ok("{}")


@routes.put("/portfolio/order_groups/{order_group_id}/limit", private=True)
def update_order_group_limit(call: Call) -> Response:
    exchange = call.api.exchange
    limit_e2 = _limit_e2(Body.of(call.request.body, "UpdateOrderGroupLimitRequest"))
    exchange.matching.limit_group(_group(call), limit_e2, exchange.now_ms)
    return ok("{}")
