"""What the trader page and `/api/trader` show: tables in order, the curve, limits."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import accumulate
from typing import Any, Final, NamedTuple

import msgspec

from bus.trading.reasons import why_ended, why_refused
from bus.trading.shapes import (
    EquityPoint,
    FillRow,
    OrderRow,
    PositionRow,
    QueuedOrder,
    SettlementRow,
    TraderStatus,
    UnknownOrder,
)
from markets.errors import BadRecord
from markets.orders import OrderState
from markets.units import opposite
from ui.desk import Desk, Profit, Row


class DeskColumn(msgspec.Struct, frozen=True):
    """A sortable column: the row's member, heading, meaning, first direction, style."""

    key: str
    name: str
    hint: str = ""
    first: str = "-"
    css: str = "num"


TABLES: Final[Mapping[str, tuple[DeskColumn, ...]]] = {
    "positions": (
        DeskColumn("title", "Market", "What is held", "", "what"),
        DeskColumn("side", "Side", "YES or NO", "", ""),
        DeskColumn("count_fp", "Contracts"),
        DeskColumn("average_price_dollars", "Average", "Average price paid, without fees"),
        DeskColumn("bid_dollars", "Bid", "Best price it can be sold at now; the last one if there is no bid"),
        DeskColumn("value_dollars", "Value", "Contracts valued at the bid", "-", "num wide"),
        DeskColumn("unrealised_dollars", "At bid", "Value at the bid, less cost"),
        DeskColumn(
            "settlement_dollars",
            "At settlement",
            "Guaranteed payout if a basket locks it, else expected payout, less cost",
        ),
        DeskColumn("cost_dollars", "Cost", "Paid, without fees; and its share of the market's limit"),
        DeskColumn("fees_dollars", "Fees", "", "-", "num mid"),
        DeskColumn("start_time", "Starts", "Start of the match", "", "num mid"),
        DeskColumn("close_time", "Closes", "End of trading", "", "num wide"),
        DeskColumn("opened", "Held for", "Since the first fill", "-", "num mid"),
        DeskColumn("as_of", "Age", "Age of the price", "-", "num"),
    ),
    "orders": (
        DeskColumn("number", "No.", "Number of the order in the journal"),
        DeskColumn("created", "Time"),
        DeskColumn("ticker", "Market", "", "", "what"),
        DeskColumn("side", "Side", "", "", ""),
        DeskColumn("count_fp", "Contracts"),
        DeskColumn("filled_fp", "Filled"),
        DeskColumn("price_dollars", "Limit", "Highest price it may pay"),
        DeskColumn("cost_dollars", "Cost", "Paid, without fees", "-", "num mid"),
        DeskColumn("status", "State", "", "", ""),
        DeskColumn("reason", "Why", "Why no more was filled", "", ""),
    ),
    "fills": (
        DeskColumn("id", "No."),
        DeskColumn("time", "Time"),
        DeskColumn("ticker", "Market", "", "", "what"),
        DeskColumn("side", "Side", "", "", ""),
        DeskColumn("count_fp", "Contracts"),
        DeskColumn("price_dollars", "Price"),
        DeskColumn("cost_dollars", "Cost"),
        DeskColumn("fee_dollars", "Fee", "", "-", "num mid"),
        DeskColumn("order", "Order", "Number of the order", "-", "num mid"),
    ),
    "settlements": (
        DeskColumn("time", "Time"),
        DeskColumn("ticker", "Market", "", "", "what"),
        DeskColumn("side", "Side", "", "", ""),
        DeskColumn("count_fp", "Contracts"),
        DeskColumn("result", "Result", "", "", ""),
        DeskColumn("cost_dollars", "Cost", "", "-", "num mid"),
        DeskColumn("payout_dollars", "Payout", "", "-", "num mid"),
        DeskColumn("profit_dollars", "Realised", "Payout less cost, before fees"),
    ),
}

NOT_IN_FILES: Final = frozenset({"basis", "trades", "expected_from"})
"""Members that are lists, which do not fit in a cell."""

FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    name: tuple(field for field in row.__struct_fields__ if field not in NOT_IN_FILES)
    for name, row in (
        ("positions", PositionRow),
        ("orders", OrderRow),
        ("fills", FillRow),
        ("settlements", SettlementRow),
    )
}
"""Columns of the CSV files."""


class Table(msgspec.Struct, frozen=True):
    """A sorted table. `sort` is "" for the trader's own order."""

    name: str
    columns: tuple[DeskColumn, ...]
    rows: Sequence[Row]
    sort: str


class LimitRow(NamedTuple):
    """A limit: what it bounds, the share in use, and the limit itself (text if it is money)."""

    name: str
    share: float
    limit: str | int


class CurveInWords(msgspec.Struct, frozen=True):
    """The equity curve as text, in dollars; `drawdown` is the largest, 0 or negative."""

    first: float
    last: float
    low: float
    high: float
    drawdown: float
    since_ms: int
    points: int


class TraderPage(msgspec.Struct, frozen=True):
    """The tables, the limits, refusals by number, and the curve in words.

    `working` are the orders that have not ended, newest first. `fills_of` maps an order's number to its
    fills, oldest first; `pnl` and `left_out` come from Desk.pnl. `places` (in the queue) and `deadlines` (of
    orders whose fate is unknown) are by the order's number.
    """

    tables: Mapping[str, Table]
    limits: Sequence[LimitRow]
    refusals: Sequence[tuple[str, int]]
    curve: CurveInWords | None
    working: Sequence[OrderRow]
    fills_of: Mapping[int, Sequence[FillRow]]
    pnl: Profit
    left_out: int
    places: Mapping[int, QueuedOrder]
    deadlines: Mapping[int, UnknownOrder]


def parse_sorts(arguments: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the wanted order of each table; the last of a repeated parameter counts (it is the click).

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
    status = desk.status
    refusals = {} if status is None else status.refusals
    return TraderPage(
        tables={
            name: Table(name, columns, _sorted(_rows(desk, name), sorts.get(name, "")), sorts.get(name, ""))
            for name, columns in TABLES.items()
        },
        limits=() if status is None else _limits(status),
        refusals=sorted(refusals.items(), key=lambda pair: (-pair[1], pair[0])),
        curve=_curve(desk.curve),
        working=[order for order in desk.orders if not order.status.ended],
        fills_of=fills_of(desk.fills),
        pnl=pnl,
        left_out=left_out,
        places=_places(desk),
        deadlines={} if status is None else {one.number: one for one in status.unknown},
    )


def _places(desk: Desk) -> dict[int, QueuedOrder]:
    return {} if desk.status is None else {one.number: one for one in desk.status.queues}


def _limits(status: TraderStatus) -> Sequence[LimitRow]:
    use, limits = status.use, status.limits
    return (
        LimitRow("All positions and orders", use.total, limits.total_dollars),
        LimitRow("Daily loss", use.daily_loss, limits.daily_loss_dollars),
        LimitRow("Open orders", use.open_orders, limits.open_orders),
        LimitRow("Orders per minute", use.orders_per_minute, limits.orders_per_minute),
    )


def _rows(desk: Desk, name: str) -> Sequence[Row]:
    rows: Sequence[Row] = getattr(desk, name)
    return rows


def fills_of(fills: Sequence[FillRow]) -> dict[int, list[FillRow]]:
    """Return fills, which come newest first, by the number of their order, oldest first."""
    found: dict[int, list[FillRow]] = {}
    for fill in reversed(fills):
        found.setdefault(fill.order, []).append(fill)
    return found


_WORKS: Final = {
    OrderState.INTENDED: "in the journal, not sent yet",
    OrderState.SENT: "sent; waiting for the exchange's answer",
    OrderState.RESTING: "resting in the book, nothing filled",
    OrderState.PARTIAL: "partly filled, the rest is resting in the book",
    OrderState.UNKNOWN: "its fate is not known",
}
"""The state of an order that has not ended, in words."""


def fate(order: OrderRow) -> str:
    """Return the state of an order in words: why no more of it was filled, or that it is still open."""
    if order.status.ended:
        return why_ended(order.reason or "")
    if order.reason:
        return f"its fate is not known: {why_ended(order.reason)}"
    return _WORKS.get(order.status, "in progress")


class Own(msgspec.Struct, frozen=True):
    """What the trader has done in one market, as far as the dashboard keeps it; newest first.

    `levels`: for the order book, YES price (0.0001 dollar) -> that it bought or is bidding there.
    """

    positions: Sequence[PositionRow]
    orders: Sequence[OrderRow]
    fills_of: Mapping[int, Sequence[FillRow]]
    levels: Mapping[int, str]
    places: Mapping[int, QueuedOrder]


def own(desk: Desk, ticker: str) -> Own:
    """Return the trader's positions and orders of a market."""
    orders = [order for order in desk.orders if order.ticker == ticker]
    fills = [fill for fill in desk.fills if fill.ticker == ticker]
    levels = {_yes_e4(fill): f"bought {fill.side.upper()} here" for fill in fills}
    levels |= {
        _yes_e4(order): f"bids {order.side.upper()} here" for order in orders if not order.status.ended
    }
    positions = [row for row in desk.positions if row.ticker == ticker]
    return Own(positions, orders, fills_of(fills), levels, _places(desk))


class ChartMark(NamedTuple):
    """An order or a fill on a chart: `kind` "order" or "fill", YES price in cents; for display only."""

    kind: str
    time: float
    price: float
    side: str
    count_fp: str


def marks_drawn(own: Own) -> list[ChartMark]:
    """Return the trader's orders and fills as marks on a chart."""
    orders = [ChartMark("order", o.created, _yes_e4(o) / 100, o.side, o.count_fp) for o in own.orders]
    fills = [fill for some in own.fills_of.values() for fill in some]
    return orders + [ChartMark("fill", f.time, _yes_e4(f) / 100, f.side, f.count_fp) for f in fills]


def _yes_e4(row: OrderRow | FillRow) -> int:
    price_e4 = int(Decimal(row.price_dollars).scaleb(4))
    return price_e4 if row.side == "yes" else opposite(price_e4)


def desk_json(desk: Desk) -> dict[str, object]:
    """Return the trader's latest answers, as `/api/trader` gives them."""
    return {
        "status": desk.status,
        **{name: _rows(desk, name) for name in TABLES},
        "trades": desk.trades,
        "curve": curve_columns(desk.curve),
    }


def curve_columns(points: Sequence[EquityPoint]) -> dict[str, list[float | None]]:
    """Return the equity curve as columns for a chart: floats, for display only; null while unknown."""
    equity = [_float(point.equity_dollars) for point in points]
    settlement = [_float(point.settlement_equity_dollars) for point in points]
    known = _one_figure(equity, settlement)
    peaks = accumulate((float("-inf") if dollars is None else dollars for dollars in known), max)
    drawdown = [
        None if dollars is None else round(dollars - peak, 6)
        for dollars, peak in zip(known, peaks, strict=True)
    ]
    times: list[float | None] = [point.time for point in points]
    return {"time": times, "equity": equity, "settlement": settlement, "drawdown": drawdown}


def _one_figure(equity: Sequence[float | None], settlement: Sequence[float | None]) -> list[float | None]:
    """Return equity at settlement, in which the bids of a locked basket cause no drawdown; at first, at bid.

    Before the first known figure at settlement, equity at bid stands in. A later one that is not known, as
    just after the trader's start, stays unknown: equity at bid would show a fall and a rise that never were.
    """
    begins = next((at for at, dollars in enumerate(settlement) if dollars is not None), len(settlement))
    return [*equity[:begins], *settlement[begins:]]


def _float(dollars: str | None) -> float | None:
    return None if dollars is None else float(dollars)


def _curve(points: Sequence[EquityPoint]) -> CurveInWords | None:
    columns = curve_columns(points)
    figures = _one_figure(columns["equity"], columns["settlement"])
    known = [dollars for dollars in figures if dollars is not None]
    if len(known) < 2:
        return None
    return CurveInWords(
        first=known[0],
        last=known[-1],
        low=min(known),
        high=max(known),
        drawdown=min(dollars for dollars in columns["drawdown"] if dollars is not None),
        since_ms=round(points[0].time * 1000),
        points=len(known),
    )


def _sorted(rows: Sequence[Row], sort: str) -> Sequence[Row]:
    if not sort:
        return rows
    key, down = sort.removeprefix("-"), sort.startswith("-")
    known = [row for row in rows if getattr(row, key) is not None]
    unknown = [row for row in rows if getattr(row, key) is None]  # last in either direction
    return sorted(known, key=lambda row: _order(key, getattr(row, key)), reverse=down) + unknown


def _order(key: str, value: Any) -> Any:
    return Decimal(value) if isinstance(value, str) and key.endswith(("_dollars", "_fp")) else value


def _exact(places: int) -> Callable[[object], int | None]:
    def convert(value: object) -> int | None:
        return int(Decimal(value).scaleb(places)) if isinstance(value, str) and value else None

    return convert


def _ms(seconds: object) -> int | None:
    return round(seconds * 1000) if isinstance(seconds, (int, float)) else None


SOURCES: Final[Mapping[str, str]] = {
    "floor": "locked",
    "result": "by the result",
    "mid": "midpoint of bid and ask",
    "consensus": "from the prices of all outcomes",
    "last_mid": "last midpoint of bid and ask",
    "last_bid": "last bid",
    "cost": "at cost",
}
"""Where an expected value comes from, in words; any other word names a source of fair values."""


def source_in_words(sources: Sequence[str]) -> str:
    """Return where an expected value comes from, in words."""
    return ", ".join(SOURCES.get(source, f"fair value from {source}") for source in sources)


FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    "e2": _exact(2), "e4": _exact(4), "e6": _exact(6), "ms": _ms, "why": why_refused,
    "fate": fate, "sources": source_in_words, "sum_e6": lambda dollars: int(dollars.scaleb(6)),
}  # fmt: skip
"""Template filters from the trader's decimal strings and seconds to the integers that other filters show."""
