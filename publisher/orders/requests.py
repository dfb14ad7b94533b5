"""Requests to Kalshi, in the form in which they are sent. Pure.

Kalshi's order operations of autumn 2026 (V2): one book, YES prices; buying NO at q is an `ask` at 1 - q.
Prices and counts are text. Without `exchange_index` a cancel looks on shard 0 and answers 404 for an order
elsewhere, so it is always sent.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple
from urllib.parse import quote

import msgspec

from markets.orders import Intent
from markets.units import format_count, format_price, opposite

ORDERS: Final = "/portfolio/events/orders"
COST: Final = 10
CHEAP: Final = 2
"""The tokens of a cancel, and of reading one order."""

PAGE: Final = 1000
QUEUES_MOST: Final = 50
"""Markets in one question for places in the queue: its length stays that of any address."""

ACROSS: Final = frozenset({"orders", "resting", "fills", "settlements"})
"""What lists all subaccounts unless one is named; all else is of the key's own, or else of the first."""

TIMES_IN_FORCE: Final = {
    "ioc": "immediate_or_cancel",
    "fok": "fill_or_kill",
    "gtc": "good_till_canceled",
}

_JSON: Final = msgspec.json.Encoder()

Query = tuple[tuple[str, str], ...]


class Asked(NamedTuple):
    """A request's parts."""

    what: str
    method: str
    path: str
    query: Query = ()
    body: bytes = b""
    cost: int = COST
    shard: int = 0


def yes_price_e4(side: str, price_e4: int) -> int:
    """Return the YES price for a price of one side, and vice versa."""
    return price_e4 if side == "yes" else opposite(price_e4)


def book_side(side: str) -> str:
    """Return the side of the book on which one buys an outcome."""
    return "bid" if side == "yes" else "ask"


def create(intent: Intent, lease_ms: int | None) -> Asked:
    """Ask for an order. `lease_ms`: when a "gtc" order ends by itself."""
    body: dict[str, object] = {
        "ticker": intent.ticker,
        "client_order_id": intent.client_order_id,
        "side": book_side(intent.side),
        "count": format_count(intent.count_e2),
        "price": format_price(yes_price_e4(intent.side, intent.price_e4)),
        "time_in_force": TIMES_IN_FORCE[intent.time_in_force],
        "self_trade_prevention_type": "taker_at_cross",
        "exchange_index": _shard(intent),
    }
    if lease_ms is not None:
        body["expiration_time"] = lease_ms // 1000
    if intent.post_only:
        body["post_only"] = True
    return Asked("create", "POST", ORDERS, (), _JSON.encode(body), COST, _shard(intent))


def cancel(order_id: str, intent: Intent) -> Asked:
    """Ask for an order's end, on its own shard."""
    shard = _shard(intent)
    query = (("exchange_index", str(shard)), ("market_ticker", intent.ticker))
    return Asked("cancel", "DELETE", f"{ORDERS}/{quote(order_id, safe='')}", query, b"", CHEAP, shard)


def cancel_listed(order_id: str, ticker: str, shard: int) -> Asked:
    """Ask for the end of a listed order that belongs to no intent."""
    query = (("exchange_index", str(shard)), ("market_ticker", ticker))
    return Asked("cancel", "DELETE", f"{ORDERS}/{quote(order_id, safe='')}", query, b"", CHEAP, shard)


def amend(
    order_id: str, intent: Intent, price_e4: int, count_e2: int, lease_ms: int | None, what: str
) -> Asked:
    """Ask for another price, count or end of an order; `count_e2`: what it has got plus what is to rest."""
    body: dict[str, object] = {
        "ticker": intent.ticker,
        "side": book_side(intent.side),
        "price": format_price(yes_price_e4(intent.side, price_e4)),
        "count": format_count(count_e2),
        "client_order_id": intent.client_order_id,
        "exchange_index": _shard(intent),
    }
    if lease_ms is not None:
        body["expiration_time"] = lease_ms // 1000
    path = f"{ORDERS}/{quote(order_id, safe='')}/amend"
    return Asked(what, "POST", path, (), _JSON.encode(body), COST, _shard(intent))


def decrease(order_id: str, intent: Intent, to_e2: int) -> Asked:
    """Reduce what rests of an order to this much."""
    body = {
        "reduce_to": format_count(to_e2),
        "exchange_index": _shard(intent),
        "market_ticker": intent.ticker,
    }
    path = f"{ORDERS}/{quote(order_id, safe='')}/decrease"
    return Asked("decrease", "POST", path, (), _JSON.encode(body), COST, _shard(intent))


def batch_create(intents: list[tuple[Intent, int | None]]) -> Asked:
    """Ask for several orders at once: answered one by one, in this order, paid from the unscoped bucket."""
    items = [msgspec.Raw(create(intent, lease_ms).body) for intent, lease_ms in intents]
    body = _JSON.encode({"orders": items})
    return Asked("batch_create", "POST", f"{ORDERS}/batched", (), body, COST * len(items), 0)


def batch_cancel(orders: list[tuple[str, Intent]]) -> Asked:
    """Ask for the end of several orders at once."""
    items = [
        {"order_id": order_id, "exchange_index": _shard(intent), "market_ticker": intent.ticker}
        for order_id, intent in orders
    ]
    body = _JSON.encode({"orders": items})
    return Asked("batch_cancel", "DELETE", f"{ORDERS}/batched", (), body, CHEAP * len(items), 0)


def cancel_all() -> Asked:
    """Ask for the end of all orders of the account, also of what arrives within a minute."""
    return Asked("cancel_all", "DELETE", ORDERS, (), b"", CHEAP, 0)


def transfer(client_transfer_id: str, from_shard: int, to_shard: int, amount_e6: int) -> Asked:
    """Move cash between shards, once per id; the amount is in hundredths of a cent."""
    body = {
        "source": "event_contract",
        "destination": "event_contract",
        "source_exchange_shard": from_shard,
        "destination_exchange_shard": to_shard,
        "amount": amount_e6 // 100,
        "client_transfer_id": client_transfer_id,
    }
    path = "/portfolio/intra_exchange_instance_transfer"
    return Asked("transfer", "POST", path, (), _JSON.encode(body), COST, 0)


# -- reads


def moment() -> Asked:
    """The time as of which the account's lists are."""
    return Asked("moment", "GET", "/exchange/user_data_timestamp")


def order(order_id: str) -> Asked:
    """One order."""
    return Asked("order", "GET", f"/portfolio/orders/{quote(order_id, safe='')}", (), b"", CHEAP)


def orders(since_ms: int, cursor: str = "") -> Asked:
    """All orders made since a moment."""
    return Asked("orders", "GET", "/portfolio/orders", _paged((("min_ts", _s(since_ms)),), cursor))


def resting(cursor: str = "") -> Asked:
    """All resting orders."""
    return Asked("resting", "GET", "/portfolio/orders", _paged((("status", "resting"),), cursor))


def queues(tickers: Sequence[str]) -> Asked:
    """The places in the queue of the orders that rest in these markets, QUEUES_MOST of them."""
    query = (("market_tickers", ",".join(tickers)),)
    return Asked("queues", "GET", "/portfolio/orders/queue_positions", query)


def fills(since_ms: int, cursor: str = "") -> Asked:
    """All fills since a moment."""
    return Asked("fills", "GET", "/portfolio/fills", _paged((("min_ts", _s(since_ms)),), cursor))


def order_fills(order_id: str, cursor: str = "") -> Asked:
    """All fills of an order."""
    return Asked("fills", "GET", "/portfolio/fills", _paged((("order_id", order_id),), cursor))


def balance() -> Asked:
    """Cash, by shard."""
    return Asked("balance", "GET", "/portfolio/balance")


def netting() -> Asked:
    """Whether collateral is returned."""
    return Asked("netting", "GET", "/portfolio/subaccounts/netting")


def positions(cursor: str = "") -> Asked:
    """Everything held."""
    return Asked("positions", "GET", "/portfolio/positions", _paged((("count_filter", "position"),), cursor))


def settlements(since_ms: int, cursor: str = "") -> Asked:
    """Everything paid out since a moment."""
    return Asked("settlements", "GET", "/portfolio/settlements", _paged((("min_ts", _s(since_ms)),), cursor))


def movements(kind: str, cursor: str = "") -> Asked:
    """Deposits, withdrawals, or transfers between shards; all of them: the caller skips known ones."""
    path = "/portfolio/intra_exchange_instance_transfers" if kind == "transfers" else f"/portfolio/{kind}"
    return Asked(kind, "GET", path, _paged((), cursor, 100))


def _paged(query: Query, cursor: str, size: int = PAGE) -> Query:
    return (*query, ("limit", str(size)), *((("cursor", cursor),) if cursor else ()))


def _s(ms: int) -> str:
    return str(max(0, ms // 1000))


def _shard(intent: Intent) -> int:
    return intent.exchange_index or 0
