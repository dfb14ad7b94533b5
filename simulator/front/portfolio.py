"""JSON of what belongs to accounts: orders, fills, positions, settlements, as REST shows them."""

from typing import Any
from uuid import UUID, uuid5

from markets.units import PRICE_ONE_E4, format_count, format_money, format_price, format_time
from simulator.matching.orders import BID, Fill, Order, Side
from simulator.matching.positions import EventPosition, Position
from simulator.matching.settlement import Settlement


def user_id(exchange_id: str, account: int) -> str:
    """Return an account's user id, which differs between exchanges."""
    return str(uuid5(UUID(exchange_id), f"user {account}"))


def direction(side: Side) -> dict[str, str]:
    """Return the members that say which outcome an order or fill is for."""
    outcome = "yes" if side == BID else "no"
    return {"action": "buy", "book_side": side, "outcome_side": outcome, "side": outcome}


def prices(price_e4: int) -> dict[str, str]:
    """Return a YES price on both scales."""
    return {
        "no_price_dollars": format_price(PRICE_ONE_E4 - price_e4),
        "yes_price_dollars": format_price(price_e4),
    }


def order_body(order: Order, user: str) -> dict[str, Any]:
    """Return an Order object."""
    body: dict[str, Any] = {
        "cancel_order_on_pause": order.cancel_on_pause,
        "client_order_id": order.client_order_id,
        "created_time": format_time(order.created_ms),
        "exchange_index": order.instrument.exchange_index,
        "fill_count_fp": format_count(order.filled_e2),
        "initial_count_fp": format_count(order.initial_e2),
        "last_update_time": format_time(order.updated_ms),
        "maker_fees_dollars": format_money(order.maker_fees_e6),
        "maker_fill_cost_dollars": format_money(order.maker_cost_e6),
        "order_id": order.order_id,
        "remaining_count_fp": format_count(order.remaining_e2),
        "self_trade_prevention_type": order.self_trade,
        "status": str(order.status),
        "subaccount_number": order.party[1],
        "taker_fees_dollars": format_money(order.taker_fees_e6),
        "taker_fill_cost_dollars": format_money(order.taker_cost_e6),
        "ticker": order.ticker,
        "type": "limit",
        "user_id": user,
        **direction(order.side),
        **prices(order.price_e4),
    }
    if order.expires_ms is not None:
        body["expiration_time"] = format_time(order.expires_ms)
    if order.group_id is not None:
        body["order_group_id"] = order.group_id
    return dict(sorted(body.items()))


def fill_body(fill: Fill) -> dict[str, Any]:
    """Return a Fill object."""
    order = fill.order
    return dict(
        sorted(
            {
                "count_fp": format_count(fill.count_e2),
                "created_time": format_time(fill.time_ms),
                "exchange_index": order.instrument.exchange_index,
                "fee_cost": format_money(fill.fee_e6),
                "fill_id": fill.trade_id,
                "is_taker": fill.is_taker,
                "market_ticker": order.ticker,
                "order_id": order.order_id,
                "subaccount_number": order.party[1],
                "ticker": order.ticker,
                "trade_id": fill.trade_id,
                "ts": fill.time_ms // 1000,
                **direction(fill.side),
                **prices(fill.price_e4),
            }.items()
        )
    )


def position_body(position: Position) -> dict[str, Any]:
    """Return a MarketPosition object."""
    return {
        "exchange_index": position.instrument.exchange_index,
        "fees_paid_dollars": format_money(position.fees_e6),
        "last_updated_ts": format_time(position.updated_ms),
        "market_exposure_dollars": format_money(position.cost_e6),
        "position_fp": format_count(position.count_e2),
        "realized_pnl_dollars": format_money(position.realized_e6),
        "ticker": position.instrument.ticker,
        "total_traded_dollars": format_money(position.traded_e6),
    }


def event_position_body(position: EventPosition) -> dict[str, Any]:
    """Return an EventPosition object."""
    return {
        "event_exposure_dollars": format_money(position.cost_e6),
        "event_ticker": position.event_ticker,
        "fees_paid_dollars": format_money(position.fees_e6),
        "realized_pnl_dollars": format_money(position.realized_e6),
        "total_cost_dollars": format_money(position.traded_e6),
        "total_cost_shares_fp": format_count(position.traded_e2),
    }


def settlement_body(settlement: Settlement) -> dict[str, Any]:
    """Return a Settlement object; revenue and value are whole cents."""
    return {
        "event_ticker": settlement.instrument.event_ticker,
        "exchange_index": settlement.instrument.exchange_index,
        "fee_cost": format_money(settlement.fee_e6),
        "market_result": settlement.result,
        "no_count_fp": format_count(settlement.no_e2),
        "no_total_cost_dollars": format_money(settlement.no_cost_e6),
        "revenue": settlement.revenue_e6 // 10_000,
        "settled_time": format_time(settlement.time_ms),
        "ticker": settlement.instrument.ticker,
        "value": settlement.value_e4 // 100,
        "yes_count_fp": format_count(settlement.yes_e2),
        "yes_total_cost_dollars": format_money(settlement.yes_cost_e6),
    }
