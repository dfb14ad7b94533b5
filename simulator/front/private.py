"""The WebSocket's private channels: what happens to accounts, told to their own connections.

`fill`, `user_orders` and `market_positions` have no sequence numbers: a client cannot see a gap in them.
"""

from typing import TYPE_CHECKING, Any, Final

from markets.units import format_count, format_money, format_price, format_time
from simulator.floor.exchange import Exchange
from simulator.matching.orders import BID, Fill, Instrument, Order, Party

from .portfolio import user_id

if TYPE_CHECKING:
    from .ws import Hub

FILLS: Final = "fill"
ORDERS: Final = "user_orders"
POSITIONS: Final = "market_positions"
GROUPS: Final = "order_group_updates"


class PrivateChannels:
    """Listens to the matching engine, and writes frames for the connections of each account."""

    def __init__(self, exchange: Exchange, hub: "Hub", exchange_id: str) -> None:
        self._exchange = exchange
        self._hub = hub
        self._exchange_id = exchange_id
        self._users: dict[int, str] = {}
        exchange.matching.listeners.append(self)

    def _user(self, account: int) -> str:
        if account not in self._users:
            self._users[account] = user_id(self._exchange_id, account)
        return self._users[account]

    def _send(
        self, account: int, channel: str, kind: str, ticker: str | None, message: dict[str, Any], time_ms: int
    ) -> None:
        for session in self._hub.sessions:
            if session.account == account:
                for sub in session.subscribed(channel, ticker):
                    session.data(sub, kind, message, time_ms)

    def _heard(self, account: int, channel: str) -> bool:
        return any(
            session.account == account and any(True for _ in session.subscribed(channel))
            for session in self._hub.sessions
        )

    def order_changed(self, order: Order, time_ms: int) -> None:
        """Send a `user_order`."""
        account = order.party[0]
        if self._heard(account, ORDERS):
            self._send(account, ORDERS, "user_order", order.ticker, self.order_message(order), time_ms)

    def filled(self, fill: Fill) -> None:
        """Send a `fill`."""
        account = fill.order.party[0]
        if self._heard(account, FILLS):
            self._send(account, FILLS, "fill", fill.order.ticker, _fill_message(fill), fill.time_ms)

    def position_changed(self, party: Party, instrument: Instrument, time_ms: int) -> None:
        """Send a `market_position`."""
        position = self._exchange.ledger.statements.position(party, instrument.ticker)
        if position is None or not self._heard(party[0], POSITIONS):
            return
        message = {
            "user_id": self._user(party[0]),
            "market_ticker": instrument.ticker,
            "position_fp": format_count(position.count_e2),
            "position_cost_dollars": format_money(position.cost_e6),
            "realized_pnl_dollars": format_money(position.realized_e6),
            "fees_paid_dollars": format_money(position.fees_e6),
            "position_fee_cost_dollars": format_money(position.fees_e6),
            "volume_fp": format_count(position.traded_e2),
            "subaccount": party[1],
        }
        self._send(party[0], POSITIONS, "market_position", instrument.ticker, message, time_ms)

    def group_changed(self, party: Party, group_id: str, what: str, time_ms: int) -> None:
        """Send an `order_group_updates`."""
        message: dict[str, Any] = {"event_type": what, "order_group_id": group_id, "ts_ms": time_ms}
        group = self._exchange.matching.groups.get(group_id)
        if group is not None and what in ("created", "limit_updated"):
            message["contracts_limit_fp"] = format_count(group.limit_e2)
        self._send(party[0], GROUPS, "order_group_updates", None, message, time_ms)

    def resting(self, account: int) -> list[dict[str, Any]]:
        """Return the bodies of an account's resting orders, for a first snapshot."""
        return [self.order_message(order) for order in self._exchange.matching.resting(account)]

    def order_message(self, order: Order) -> dict[str, Any]:
        """Return the body of a `user_order` frame."""
        bid = order.side == BID
        message: dict[str, Any] = {
            "order_id": order.order_id,
            "user_id": self._user(order.party[0]),
            "client_order_id": order.client_order_id,
            "ticker": order.ticker,
            "exchange_index": order.instrument.exchange_index,
            "status": str(order.status),
            "outcome_side": "yes" if bid else "no",
            "book_side": order.side,
            "side": "yes" if bid else "no",
            "is_yes": bid,
            "yes_price_dollars": format_price(order.price_e4),
            "initial_count_fp": format_count(order.initial_e2),
            "fill_count_fp": format_count(order.filled_e2),
            "remaining_count_fp": format_count(order.remaining_e2),
            "taker_fill_cost_dollars": format_money(order.taker_cost_e6),
            "maker_fill_cost_dollars": format_money(order.maker_cost_e6),
            "taker_fees_dollars": format_money(order.taker_fees_e6),
            "maker_fees_dollars": format_money(order.maker_fees_e6),
            "self_trade_prevention_type": order.self_trade,
            "created_time": format_time(order.created_ms),
            "created_ts_ms": order.created_ms,
            "last_update_time": format_time(order.updated_ms),
            "last_updated_ts_ms": order.updated_ms,
            "subaccount_number": order.party[1],
        }
        if order.reason:
            message["last_update_reason"] = str(order.reason)
        if order.group_id is not None:
            message["order_group_id"] = order.group_id
        if order.expires_ms is not None:
            message["expiration_time"] = format_time(order.expires_ms)
            message["expiration_ts_ms"] = order.expires_ms
        return message


def _fill_message(fill: Fill) -> dict[str, Any]:
    order, bid = fill.order, fill.side == BID
    return {
        "trade_id": fill.trade_id,
        "order_id": order.order_id,
        **({"client_order_id": order.client_order_id} if order.client_order_id else {}),
        "market_ticker": order.ticker,
        "exchange_index": order.instrument.exchange_index,
        "is_taker": fill.is_taker,
        "outcome_side": "yes" if bid else "no",
        "book_side": fill.side,
        "side": "yes" if bid else "no",
        "action": "buy",
        "purchased_side": "yes" if bid else "no",
        "yes_price_dollars": format_price(fill.price_e4),
        "count_fp": format_count(fill.count_e2),
        "fee_cost": format_money(fill.fee_e6),
        "post_position_fp": format_count(fill.position_e2),
        "ts": fill.time_ms // 1000,
        "ts_ms": fill.time_ms,
        "subaccount": order.party[1],
    }
