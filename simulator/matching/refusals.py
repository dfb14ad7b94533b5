"""Refusals of order operations, in Kalshi's words: status, code and text as recorded or documented."""

from typing import Final

from .orders import Refusal

ALREADY_EXISTS: Final = Refusal(409, "order_already_exists", "order already exists")
NOT_FOUND: Final = Refusal(404, "not_found", "not found")
MARKET_NOT_FOUND: Final = Refusal(404, "market_not_found", "market not found")
INSUFFICIENT: Final = Refusal(400, "insufficient_balance", "Insufficient balance")
TRADING_PAUSED: Final = Refusal(409, "trading_is_paused", "trading is paused")
EXCHANGE_PAUSED: Final = Refusal(409, "exchange_is_paused", "exchange is paused")
INVALID_PRICE: Final = Refusal(400, "invalid_price", "invalid price")
INVALID_SIZE: Final = Refusal(400, "invalid_order_size", "invalid order size")
POST_ONLY_CROSS: Final = Refusal(400, "invalid_order", "invalid order", "post only cross")
FOK_VOLUME: Final = Refusal(
    409, "fill_or_kill_insufficient_resting_volume", "fill or kill insufficient resting volume"
)
TICKER_MISMATCH: Final = Refusal(400, "order_ticker_mismatch", "order ticker mismatch")
SIDE_MISMATCH: Final = Refusal(400, "order_side_mismatch", "order side mismatch")
ID_MISMATCH: Final = Refusal(
    400, "order_id_and_client_order_id_mismatch", "order id and client order id mismatch"
)


def invalid_order(details: str) -> Refusal:
    """The members of an order contradict one another."""
    return Refusal(400, "invalid_order", "invalid order", details)


def invalid_parameters(details: str | None = None) -> Refusal:
    """A member cannot be read, or is out of its bounds."""
    return Refusal(400, "invalid_parameters", "invalid parameters", details)
