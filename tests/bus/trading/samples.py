"""What a trader might say, member by member; each takes changes."""

from typing import Any

from bus.trading.shapes import (
    EquityPoint,
    ExposureStatus,
    FairValuesStatus,
    FillRow,
    LatencyStatus,
    LimitsStatus,
    LimitsUse,
    OrderRow,
    PositionRow,
    ProfitStatus,
    SettlementRow,
    TradeLeg,
    TradeRow,
    TraderStatus,
)
from markets.orders import OrderState

EVENT = "KXMLSGAME-26AUG19VANHOU"
MARKET = f"{EVENT}-VAN"


def a_status(**changes: Any) -> TraderStatus:
    fields: dict[str, Any] = {
        "state": "running",
        "reasons": (),
        "mode": "paper",
        "env": "sim",
        "account": "paper",
        "now": 1_790_000_000.5,
        "started": 1_790_000_000.0,
        "uptime_seconds": 0.5,
        "epoch": 1_790_000_000_000,
        "seq": 4_711,
        "data_age_seconds": 3.2,
        "feed": "live",
        "strategies": ("value", "no_basket"),
        "fair_values": FairValuesStatus(file=None),
        "pnl": ProfitStatus(
            realised_dollars="1.250000",
            unrealised_dollars="-0.120000",
            fees_dollars="0.413900",
            total_dollars="0.716100",
            today_dollars="0.716100",
        ),
        "cash_dollars": "9876.543210",
        "starting_cash_dollars": "10000.000000",
        "equity_dollars": "10000.716100",
        "clearing_dollars": "0.000000",
        "exposure": ExposureStatus(
            positions_dollars="120.000000", orders_dollars="3.100000", total_dollars="123.100000"
        ),
        "limits": LimitsStatus(
            order_dollars="50.000000",
            market_dollars="100.000000",
            event_dollars="200.000000",
            total_dollars="1000.000000",
            daily_loss_dollars="100.000000",
            min_edge_dollars="0.050000",
            open_orders=20,
            orders_per_minute=60,
            price_collar_dollars="0.1000",
            leg_age_seconds=30.0,
            positions_per_event=1,
            payout_hours=24.0,
            match_dollars="600.000000",
            series_dollars="5000.000000",
            day_dollars="5000.000000",
            shard_dollars="5000.000000",
            strategy_dollars="5000.000000",
            daily_return_percent=0.01,
            in_play=False,
        ),
        "use": LimitsUse(total=0.12, daily_loss=0.0, open_orders=0.05, orders_per_minute=0.02),
        "positions": 0,
        "open_orders": 0,
        "uneven": (),
        "orders": 0,
        "fills": 0,
        "settlements": 0,
        "decisions": 1_234,
        "decisions_per_second": 4.2,
        "backlog": 0,
        "latency_ms": LatencyStatus(p50=1.1, p99=3.9, count=40),
        "failed": 0,
        "failures": (),
        "refusals": {},
        "refused": (),
        "reconciled": True,
        "journal": "/data/trader-paper-sim-paper.sqlite",
        "killed": None,
        "error": None,
    }
    return TraderStatus(**(fields | changes))


def a_position(**changes: Any) -> PositionRow:
    fields: dict[str, Any] = {
        "ticker": MARKET,
        "event_ticker": EVENT,
        "series_ticker": "KXMLSGAME",
        "title": "Vancouver vs Houston",
        "label": "Vancouver",
        "side": "yes",
        "count_fp": "12.00",
        "cost_dollars": "4.920000",
        "average_price_dollars": "0.4100",
        "fees_dollars": "0.210000",
        "bid_dollars": "0.4000",
        "value_dollars": "4.800000",
        "unrealised_dollars": "-0.120000",
        "as_of": 1_790_000_000.0,
        "stale": False,
        "strategy": "value",
        "opened": 1_789_999_000.0,
        "status": "active",
        "close_time": 1_790_100_000.0,
        "start_time": None,
        "trades": (3,),
    }
    return PositionRow(**(fields | changes))


def an_order(**changes: Any) -> OrderRow:
    fields: dict[str, Any] = {
        "number": 7,
        "client_order_id": "5a7f0e1c-7b1e-5f7e-9a53-3f2f1d0c4b6a",
        "trade": 3,
        "strategy": "value",
        "ticker": MARKET,
        "event_ticker": EVENT,
        "label": "Vancouver",
        "side": "yes",
        "price_dollars": "0.4100",
        "count_fp": "12.00",
        "filled_fp": "0.00",
        "cost_dollars": "0.000000",
        "fees_dollars": "0.000000",
        "status": OrderState.SENT,
        "reason": None,
        "created": 1_789_999_000.0,
        "ended": None,
        "latency_ms": None,
        "basis": (1_790_000_000_000, 4_700),
        "edge_dollars": "0.310000",
        "probability": 0.47,
        "attempt": 0,
    }
    return OrderRow(**(fields | changes))


def a_fill(**changes: Any) -> FillRow:
    fields: dict[str, Any] = {
        "id": 1,
        "order": 7,
        "ticker": MARKET,
        "event_ticker": EVENT,
        "side": "yes",
        "price_dollars": "0.4100",
        "count_fp": "12.00",
        "cost_dollars": "4.920000",
        "fee_dollars": "0.210000",
        "time": 1_789_999_000.1,
    }
    return FillRow(**(fields | changes))


def a_settlement(**changes: Any) -> SettlementRow:
    fields: dict[str, Any] = {
        "id": 1,
        "ticker": MARKET,
        "event_ticker": EVENT,
        "side": "yes",
        "count_fp": "12.00",
        "result": "yes",
        "value_dollars": "1.0000",
        "cost_dollars": "4.920000",
        "payout_dollars": "12.000000",
        "profit_dollars": "7.080000",
        "time": 1_790_000_000.0,
    }
    return SettlementRow(**(fields | changes))


def a_point(**changes: Any) -> EquityPoint:
    fields: dict[str, Any] = {
        "time": 1_790_000_000.0,
        "cash_dollars": "9876.543210",
        "positions_dollars": "124.172890",
        "equity_dollars": "10000.716100",
        "realised_dollars": "1.250000",
        "fees_dollars": "0.413900",
    }
    return EquityPoint(**(fields | changes))


def a_trade(**changes: Any) -> TradeRow:
    """A locked basket."""
    legs = tuple(
        TradeLeg(
            ticker=f"{EVENT}-{name}",
            label=name,
            side="no",
            bought_fp="10.00",
            count_fp="10.00",
            cost_dollars="6.000000",
            locked_fp="10.00",
            bid_dollars="5.800000",
            settlement_dollars="6.666666",
            expected_from=("floor",),
        )
        for name in ("VAN", "HOU", "TIE")
    )
    fields: dict[str, Any] = {
        "trade": 1,
        "strategy": "no_basket",
        "kind": "",
        "event_ticker": EVENT,
        "opened": 1_790_000_000.0,
        "ended": None,
        "legs": legs,
        "cost_dollars": "18.000000",
        "fees_dollars": "0.500000",
        "got_dollars": "0.000000",
        "promised_dollars": "1.490000",
        "floor_dollars": "20.000000",
        "locked_dollars": "1.500000",
        "bid_dollars": "-1.100000",
        "settlement_dollars": "1.500000",
        "settled_dollars": None,
    }
    return TradeRow(**(fields | changes))
