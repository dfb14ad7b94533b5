"""A desk with something of everything."""

from typing import Any

import msgspec
from jinja2 import Undefined

from bus.trading.shapes import (
    FairValuesFileStatus,
    FairValuesSourceStatus,
    FairValuesStatus,
    RefusedLeg,
    RefusedTrade,
    ScanFailure,
    StrategyStatus,
    UnevenBasket,
    UnevenLeg,
)
from markets.orders import OrderState
from tests.bus.trading.samples import (
    EVENT,
    MARKET,
    a_fill,
    a_point,
    a_position,
    a_settlement,
    a_status,
    a_trade,
    an_order,
)
from ui.desk import Desk


def a_strategy(name: str, **changes: Any) -> StrategyStatus:
    fields: dict[str, Any] = {
        "text": name,
        "state": "trades",
        "call": None,
        "error": None,
        "slow_calls": 0,
        "slowest_ms": None,
    }
    return StrategyStatus(name=name, **(fields | changes))


def a_source(name: str, **changes: Any) -> FairValuesSourceStatus:
    fields: dict[str, Any] = {
        "text": name,
        "state": "answers",
        "values": 0,
        "answered": 1_790_000_000.0,
        "failures": 0,
        "restarts": 0,
        "errors": (),
    }
    return FairValuesSourceStatus(name=name, **(fields | changes))


STATUS = a_status(
    positions=1,
    orders=6,
    fills=2,
    settlements=1,
    clearing_dollars="4.000000",
    unknown_orders=1,
    failed=1,
    failures=(ScanFailure(event_ticker=EVENT, part="view", error="ValueError: <no>"),),
    refusals={"cash": 2, "no_depth": 1},
    refused=(
        RefusedTrade(
            strategy="mine",
            event_ticker=EVENT,
            reason="cash",
            legs=tuple(RefusedLeg(ticker=f"{EVENT}-{name}", side="no") for name in ("VAN", "HOU", "TIE")),
        ),
    ),
    strategy_states=(
        a_strategy("value"),
        a_strategy("crawls", slow_calls=2, slowest_ms=70),
        a_strategy("raises", state="dropped", call="on_update", error="ValueError: <odd>"),
        a_strategy("hangs", state="ended", call="on_timer", error="on_timer did not return"),
    ),
    fair_values=FairValuesStatus(
        file=FairValuesFileStatus(
            path="/home/me/fair.csv", values=3, loaded=None, errors=("fair.csv line 3 (<X>): probability",)
        ),
        sources=(
            a_source("polls", values=7),
            a_source("news", state="fails", errors=("ValueError: <odd>",), failures=2, values=1),
        ),
    ),
    uneven=(
        UnevenBasket(
            trade=3,
            strategy="no_basket",
            event_ticker=EVENT,
            tries=1,
            refused=("order_limit", "no_depth"),
            legs=(UnevenLeg(ticker=MARKET, side="no", planned_fp="5.00", got_fp="0.00"),),
        ),
    ),
)

ENDS = {
    OrderState.FILLED: "complete",
    OrderState.EXPIRED: "nothing_left",
    OrderState.CANCELLED: "no_depth",
    OrderState.REJECTED: "restarted",
}

ORDERS = [
    an_order(number=9),
    an_order(number=8, reason="timeout", filled_fp="3.00", price_dollars="0.4200", attempt=1),
    *(
        an_order(number=number, status=state, reason=ENDS[state], ended=1_790_000_000.0, latency_ms=90)
        for number, state in enumerate(ENDS, 4)
    ),
]

FULL = Desk(
    answers=True,
    heard_ms=1_790_000_000_000,
    status=STATUS,
    positions=[
        a_position(
            trades=(3, 5), mark_age_seconds=61.0, settlement_dollars="40.000000", expected_from=("floor",)
        ),
        a_position(title=None, bid_dollars=None, as_of=None),
        a_position(determined=True, settlement_dollars="9.000000", expected_from=("result", "polls")),
    ],
    orders=ORDERS,
    fills=[a_fill(id=2, order=8), a_fill()],
    settlements=[a_settlement(id=2, corrected=1_790_000_000.0), a_settlement()],
    held=[
        a_trade(),
        a_trade(
            trade=2,
            strategy="value",
            kind="tidy",
            source="polls",
            locked_dollars=None,
            settlement_dollars="-0.300000",
            floor_dollars="0.000000",
        ),
    ],
    points=[a_point(), a_point(equity_dollars=None), a_point(equity_dollars="9000.000000")],
)


class NoSuchMember(Undefined):
    """Fails on members that a record lacks; names that a template is not given stay empty."""

    def __init__(
        self, hint: str | None = None, obj: object = None, name: str | None = None, **rest: Any
    ) -> None:
        assert not isinstance(obj, msgspec.Struct), f"{type(obj).__name__} has no {name}"
        super().__init__(hint, obj, name, **rest)
