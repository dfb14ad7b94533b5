"""Each switch flipped once, over the API: what differs. docs/simulator.md has the same table in words."""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from markets.units import format_count
from simulator.front.ws import Hub
from simulator.matching.orders import OrderSwitches

from .trader import ORDERS, Trader, a_market, text

Scenario = Callable[[Trader], Any]
IOC: dict[str, Any] = {"time_in_force": "immediate_or_cancel", "price": "0.9900", "count": "1.00"}


def taken(trader: Trader, **members: Any) -> dict[str, Any]:
    return dict(trader.place(a_market(trader), **{**IOC, **members}))


def more_than_there_is(trader: Trader) -> str:
    """The answer to an IOC order of more than is offered."""
    market = a_market(trader)
    price, count = text(market.ask_e4), format_count(market.ask_e2 + 500)
    found = trader.place(market, **{**IOC, "price": price, "count": count})
    return "all of it" if found["remaining_count"] == count else str(found["remaining_count"])


def status_of(trader: Trader, **members: Any) -> int:
    return trader.send("POST", ORDERS, trader.order(a_market(trader), **members)).status


def killed_id(trader: Trader) -> int:
    killed = {"time_in_force": "fill_or_kill", "price": "0.0100", "client_order_id": "k"}
    assert status_of(trader, **killed) == 409
    return status_of(trader, client_order_id="k")


def reduce_only(trader: Trader) -> int:
    return status_of(trader, **IOC, reduce_only=True)


def group_at_its_limit(trader: Trader) -> bool:
    market = a_market(trader)
    wish = {"contracts_limit": 2, "exchange_index": market.exchange_index}
    group = trader.call("POST", "/portfolio/order_groups/create", wish, 201)["order_group_id"]
    trader.place(market, **{**IOC, "count": "2.00"}, order_group_id=group)
    return not trader.call("GET", f"/portfolio/order_groups/{group}")["is_auto_cancel_enabled"]


def over_decrease(trader: Trader) -> int:
    market = a_market(trader)
    path = f"{ORDERS}/{trader.place(market)['order_id']}/decrease"
    return trader.send("POST", path, {"reduce_by": "99.00", "market_ticker": market.ticker}).status


def cancel_on_another_shard(trader: Trader) -> int:
    return trader.send("DELETE", f"{ORDERS}/{trader.place(a_market(trader, shard=3))['order_id']}").status


def balance(trader: Trader) -> Decimal:
    return Decimal(trader.call("GET", "/portfolio/balance")["balance_dollars"])


def balance_after_resting(trader: Trader) -> bool:
    before = balance(trader)
    trader.place(a_market(trader))
    return balance(trader) < before


def both_sides(trader: Trader) -> int:
    assert status_of(trader, price="0.0500", count="120000.00") == 201
    return status_of(trader, side="ask", price="0.9500", count="120000.00")


def new_subaccount(trader: Trader) -> bool:
    number = trader.call("POST", "/portfolio/subaccounts", {}, 201)["subaccount_number"]
    rows = trader.call("GET", "/portfolio/subaccounts/netting")["netting_configs"]
    return any(row["enabled"] for row in rows if row["subaccount_number"] == number)


def amended_id(trader: Trader) -> bool:
    market = a_market(trader)
    first = trader.place(market)["order_id"]
    wish = {"ticker": market.ticker, "side": "bid", "price": "0.0200", "count": "10.00"}
    return bool(trader.call("POST", f"{ORDERS}/{first}/amend", wish)["order_id"] == first)


def after_close(trader: Trader) -> str:
    market = a_market(trader)
    trader.api.exchange.bring(market.event, "closed")
    return str(trader.place(market, 400)["error"]["code"])


def scalar_payout(trader: Trader) -> str:
    market = a_market(trader)
    trader.place(market, **{**IOC, "count": "10.60"})
    before = balance(trader)
    trader.api.exchange.matching.settle(market, 5_970, trader.client.now_ms)
    return f"{balance(trader) - before:.4f}"


def id_of_a_cancelled_order(trader: Trader) -> int:
    market = a_market(trader)
    order = trader.place(market, client_order_id="again")["order_id"]
    trader.call("DELETE", f"{ORDERS}/{order}", market_ticker=market.ticker)
    return status_of(trader, client_order_id="again")


def frames(trader: Trader, act: Callable[[], Any], *channels: str) -> list[dict[str, Any]]:
    session = Hub(trader.api.exchange).connect(1)
    session.receive(json.dumps({"id": 1, "cmd": "subscribe", "params": {"channels": channels}}), 0)
    act()
    return [json.loads(frame) for frame in session.outgoing][len(channels) :]


def first_frames(trader: Trader) -> int:
    trader.place(a_market(trader))
    return len(frames(trader, lambda: None, "user_orders"))


def told_of_a_fill(trader: Trader) -> list[str]:
    told = frames(trader, lambda: taken(trader), "user_orders")
    return [frame["msg"]["status"] for frame in told]


def own_fill_and_trade(trader: Trader) -> set[str]:
    return {
        frames(trader, lambda: taken(trader, count="0.01"), "fill", "trade")[0]["type"] for _ in range(12)
    }


def seen_at_once(trader: Trader) -> bool:
    trader.client.advance(1)
    trader.place(a_market(trader))
    return bool(trader.call("GET", "/portfolio/orders")["orders"])


def own_order_in_the_way(trader: Trader) -> list[str]:
    market = a_market(trader)
    price = text(market.ask_e4)
    trader.place(market, side="ask", price=price)
    crossing = {**IOC, "price": price, "count": format_count(market.ask_e2 + 500)}
    told = frames(
        trader,
        lambda: trader.place(market, **crossing, self_trade_prevention_type="maker"),
        "user_orders",
        "fill",
    )
    return [
        "cancel" if frame["msg"].get("last_update_reason") == "SelfTradeCancel" else frame["type"]
        for frame in told
    ]


def balance_in_cents(trader: Trader) -> bool:
    taken(trader, count="0.37")
    return balance(trader) % Decimal("0.01") == 0


def sports(trader: Trader) -> int:
    markets = trader.api.exchange.markets.values()
    market = next(m for m in markets if m.event.series.category == "Sports" and m.status == "active")
    return trader.send("POST", ORDERS, trader.order(market)).status


def after_cancel_all(trader: Trader) -> str:
    trader.call("DELETE", ORDERS, expected=204)
    return str(trader.place(a_market(trader))["remaining_count"])


SCENARIOS: dict[str, tuple[Any, Scenario, Any, Any]] = {
    "ioc_remaining_full": (True, more_than_there_is, "0.00", "all of it"),
    "killed_fok_uses_id": (False, killed_id, 409, 201),
    "reduce_only_without_position_refused": (True, reduce_only, 201, 400),
    "group_triggers_when_met": (True, group_at_its_limit, False, True),
    "over_decrease_refused": (True, over_decrease, 200, 400),
    "wrong_shard_cancel_404": (False, cancel_on_another_shard, 404, 200),
    "balance_reduced_by_resting": (True, balance_after_resting, False, True),
    "resting_value": ("max", both_sides, 400, 201),
    "collateral_return": (True, new_subaccount, False, True),
    "amend_keeps_id": (False, amended_id, True, False),
    "code_after_close": ("market_closed", after_close, "market_inactive", "market_closed"),
    "settle_whole_cents": (False, scalar_payout, "6.3200", "6.3282"),
    "client_order_id_scope": ("open_only", id_of_a_cancelled_order, 409, 201),
    "user_orders_initial_snapshot": (True, first_frames, 0, 1),
    "resting_before_immediate_fill": (True, told_of_a_fill, ["executed"], ["resting", "executed"]),
    "fill_before_trade": ("first", own_fill_and_trade, {"fill", "trade"}, {"fill"}),
    "read_lag_ms": (0, seen_at_once, False, True),
    "maker_cancel_before_fill": (
        False,
        own_order_in_the_way,
        ["cancel", "fill", "user_order"],
        ["fill", "cancel", "user_order"],
    ),
    "member": ("intermediary", balance_in_cents, False, True),
    "attestation_expires_s": (1, sports, 201, 403),
    "cancel_all_catches_later": (True, after_cancel_all, "10.00", "0.00"),
}
"""Switch -> (flipped to, what is done, its result by default, its result flipped)."""


def test_every_switch_has_its_scenario() -> None:
    assert set(SCENARIOS) == set(OrderSwitches.__slots__)


@pytest.mark.parametrize("flipped", [False, True], ids=["default", "flipped"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_switch_makes_its_difference(trader: Trader, name: str, flipped: bool) -> None:
    value, scenario, default, other = SCENARIOS[name]
    trader.local("POST", "/sim/switches", {"read_lag_ms": 400 if name == "read_lag_ms" else 0})
    if flipped:
        trader.local("POST", "/sim/switches", {name: value})
    assert scenario(trader) == (other if flipped else default)
    trader.api.exchange.ledger.check()
