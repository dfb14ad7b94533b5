"""What the trader page and `/api/trader` show: tables in order, the curve, limits."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import accumulate
from typing import Any, Final

import msgspec

from bus.trading.reasons import why_ended, why_refused
from markets.errors import BadRecord
from markets.orders import OrderState

from .desk import Desk, Row

LIMITS: Final = (
    ("total", "All positions and orders", "total_dollars"),
    ("daily_loss", "Loss of the day", "daily_loss_dollars"),
    ("open_orders", "Open orders", "open_orders"),
    ("orders_per_minute", "Orders in a minute", "orders_per_minute"),
)


class Column(msgspec.Struct, frozen=True):
    """A sortable column: the row's member, heading, what it means, first direction, style."""

    key: str
    name: str
    hint: str = ""
    first: str = "-"
    css: str = "num"


TABLES: Final[Mapping[str, tuple[Column, ...]]] = {
    "positions": (
        Column("title", "Market", "What is held", "", "what"),
        Column("side", "Side", "YES or NO", "", ""),
        Column("count_fp", "Contracts"),
        Column("average_price_dollars", "Average", "Average price paid, without fees"),
        Column("bid_dollars", "Bid", "Best price it can be sold at now"),
        Column("value_dollars", "Value", "Contracts at the bid"),
        Column("unrealised_dollars", "Unrealised", "Value less cost"),
        Column("cost_dollars", "Cost", "What was paid, without fees; and its share of the market's limit"),
        Column("fees_dollars", "Fees", "", "-", "num mid"),
        Column("start_time", "Starts", "Start of the match", "", "num mid"),
        Column("close_time", "Closes", "End of trading", "", "num wide"),
        Column("opened", "Held for", "Since the first fill", "-", "num mid"),
        Column("as_of", "Age", "Age of the price", "-", "num"),
    ),
    "orders": (
        Column("number", "No.", "Number of the order in the journal"),
        Column("created", "Time"),
        Column("ticker", "Market", "", "", "what"),
        Column("side", "Side", "", "", ""),
        Column("count_fp", "Contracts"),
        Column("filled_fp", "Filled"),
        Column("price_dollars", "Limit", "Highest price it may pay"),
        Column("cost_dollars", "Cost", "Paid, without fees", "-", "num mid"),
        Column("status", "State", "", "", ""),
        Column("reason", "Why", "Why it got no more, or the timeline", "", ""),
    ),
    "fills": (
        Column("id", "No."),
        Column("time", "Time"),
        Column("ticker", "Market", "", "", "what"),
        Column("side", "Side", "", "", ""),
        Column("count_fp", "Contracts"),
        Column("price_dollars", "Price"),
        Column("cost_dollars", "Cost"),
        Column("fee_dollars", "Fee", "", "-", "num mid"),
        Column("order", "Order", "Number of the order", "-", "num mid"),
    ),
    "settlements": (
        Column("time", "Time"),
        Column("ticker", "Market", "", "", "what"),
        Column("side", "Side", "", "", ""),
        Column("count_fp", "Contracts"),
        Column("result", "Result", "", "", ""),
        Column("cost_dollars", "Cost", "", "-", "num mid"),
        Column("payout_dollars", "Payout", "", "-", "num mid"),
        Column("profit_dollars", "Realised", "Payout less cost, before fees"),
    ),
}

FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "positions": (
        "ticker", "event_ticker", "series_ticker", "title", "label", "side", "count_fp", "cost_dollars",
        "average_price_dollars", "fees_dollars", "bid_dollars", "value_dollars", "unrealised_dollars",
        "as_of", "stale", "strategy", "opened", "status", "close_time", "start_time",
    ),
    "orders": (
        "number", "client_order_id", "trade", "strategy", "ticker", "event_ticker", "label", "side",
        "price_dollars", "count_fp", "filled_fp", "cost_dollars", "fees_dollars", "status", "reason",
        "created", "ended", "latency_ms", "edge_dollars", "probability", "attempt",
    ),
    "fills": (
        "id", "order", "ticker", "event_ticker", "side", "price_dollars", "count_fp", "cost_dollars",
        "fee_dollars", "time",
    ),
    "settlements": (
        "id", "ticker", "event_ticker", "side", "count_fp", "result", "value_dollars", "cost_dollars",
        "payout_dollars", "profit_dollars", "time",
    ),
}  # fmt: skip
"""Columns of the CSV files: docs/trader.md's members in its order."""


class Table(msgspec.Struct, frozen=True):
    """A table in its order. `sort` is "" for the trader's own."""

    name: str
    columns: tuple[Column, ...]
    rows: Sequence[Row]
    sort: str


class TraderPage(msgspec.Struct, frozen=True):
    """The tables, the limits as (name, share in use, limit), refusals by number, and the curve in words.

    `fills_of` are the fills of an order by its number, the oldest first; `pnl` and `left_out` are Desk.pnl's.
    """

    tables: Mapping[str, Table]
    limits: Sequence[tuple[str, float, Any]]
    refusals: Sequence[tuple[str, int]]
    curve: Mapping[str, Any] | None
    fills_of: Mapping[int, Sequence[Row]]
    pnl: Mapping[str, Any]
    left_out: int


def parse_sorts(arguments: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the wanted order of each table; of a repeated parameter the last counts (it is the click).

    Raises:
        BadRecord: unknown table or column.
    """
    sorts: dict[str, str] = {}
    for name, text in arguments:
        if name not in TABLES:
            raise BadRecord(name, text, f"one of the parameters {', '.join(TABLES)}")
        keys = [column.key for column in TABLES[name]]
        if text and text.removeprefix("-") not in keys:
            raise BadRecord(name, text, f"one of {', '.join(keys)}, with a minus before it for descending")
        sorts[name] = text
    return sorts


def trader_page(desk: Desk, sorts: Mapping[str, str], now_ms: int, oldest_ms: int) -> TraderPage:
    """Return what the page shows; for `oldest_ms` see Desk.pnl."""
    pnl, left_out = desk.pnl(now_ms, oldest_ms)
    status = desk.status or {}
    limits, use = status.get("limits", {}), status.get("use", {})
    refusals = sorted(status.get("refusals", {}).items(), key=lambda pair: (-pair[1], pair[0]))
    return TraderPage(
        tables={
            name: Table(name, columns, _sorted(getattr(desk, name), sorts.get(name, "")), sorts.get(name, ""))
            for name, columns in TABLES.items()
        },
        limits=[
            (text, float(use[key]), limits[of]) for key, text, of in LIMITS if key in use and of in limits
        ],
        refusals=refusals,
        curve=_curve(desk.points),
        fills_of=fills_of(desk.fills),
        pnl=pnl,
        left_out=left_out,
    )


def fills_of(fills: Sequence[Row]) -> dict[int, list[Row]]:
    """Return fills, which come newest first, by the number of their order, the oldest first."""
    found: dict[int, list[Row]] = {}
    for fill in reversed(fills):
        found.setdefault(fill["order"], []).append(fill)
    return found


class Own(msgspec.Struct, frozen=True):
    """What the trader has done in one market, of what the dashboard keeps: the newest first.

    `levels` are prices on the YES scale (0.0001 dollar) at which it bought or bids, for the order book.
    """

    positions: Sequence[Row]
    orders: Sequence[Row]
    fills_of: Mapping[int, Sequence[Row]]
    levels: Mapping[int, str]


def own(desk: Desk, ticker: str) -> Own:
    """Return the trader's positions and orders of a market."""
    positions, orders, fills = (
        [row for row in rows if row["ticker"] == ticker] for rows in (desk.positions, desk.orders, desk.fills)
    )
    levels: dict[int, str] = {}
    for row, word in (*((one, "bought") for one in fills), *((one, "bids") for one in orders)):
        if word == "bids" and row["status"] != OrderState.OPEN:
            continue
        price_e4 = int(Decimal(row["price_dollars"]).scaleb(4))
        levels[price_e4 if row["side"] == "yes" else 10_000 - price_e4] = f"{word} {row['side'].upper()} here"
    return Own(positions, orders, fills_of(fills), levels)


def desk_json(desk: Desk) -> dict[str, Any]:
    """Return all the trader said, as `/api/trader` gives it."""
    return {
        "status": desk.status,
        **{name: list(getattr(desk, name)) for name in TABLES},
        "curve": curve_columns(desk.points),
    }


def curve_columns(points: Sequence[Row]) -> dict[str, list[float | None]]:
    """Return the equity curve as columns for a chart: floats, for display only; null while unknown."""
    equity = [None if one["equity_dollars"] is None else float(one["equity_dollars"]) for one in points]
    peaks = accumulate((float("-inf") if one is None else one for one in equity), max)
    drawdown = [
        None if one is None else round(one - peak, 6) for one, peak in zip(equity, peaks, strict=True)
    ]
    return {
        "time": [float(one["time"]) for one in points],
        "equity": list(equity),
        "drawdown": list(drawdown),
    }


def _curve(points: Sequence[Row]) -> dict[str, Any] | None:
    columns = curve_columns(points)
    known = [one for one in columns["equity"] if one is not None]
    if len(known) < 2:
        return None
    return {
        "first": known[0], "last": known[-1], "low": min(known), "high": max(known),
        "drawdown": min(one for one in columns["drawdown"] if one is not None),
        "since_ms": round(float(points[0]["time"]) * 1000), "points": len(known),
    }  # fmt: skip


def _sorted(rows: Sequence[Row], sort: str) -> Sequence[Row]:
    if not sort:
        return rows
    key, down = sort.removeprefix("-"), sort.startswith("-")
    known = [row for row in rows if row.get(key) is not None]
    unknown = [row for row in rows if row.get(key) is None]  # last, whatever the direction
    return sorted(known, key=lambda row: _order(key, row[key]), reverse=down) + unknown


def _order(key: str, value: Any) -> Any:
    return Decimal(value) if isinstance(value, str) and key.endswith(("_dollars", "_fp")) else value


def _exact(places: int) -> Callable[[object], int | None]:
    def convert(value: object) -> int | None:
        return int(Decimal(value).scaleb(places)) if isinstance(value, str) and value else None

    return convert


def _ms(seconds: object) -> int | None:
    return round(seconds * 1000) if isinstance(seconds, (int, float)) else None


FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    "e2": _exact(2), "e4": _exact(4), "e6": _exact(6), "ms": _ms, "why": why_refused,
    "ended": why_ended,
}  # fmt: skip
"""From the trader's decimal strings and seconds to the integers that the other filters show."""
