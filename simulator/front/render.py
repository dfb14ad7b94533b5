"""JSON of the exchange's objects, in Kalshi's field order (alphabetical) and number formats."""

import json
import re
from collections.abc import Callable, Iterable
from typing import Any, Final

from markets.units import PRICE_ONE_E4, format_count, format_price, format_time
from simulator.floor.happenings import Trade
from simulator.floor.history import day_ago
from simulator.floor.model import Event, Market
from simulator.matching.book import OrderBook

_RANGES: Final[dict[int, str]] = {}
_SURROGATES: Final = re.compile("[\ud800-\udfff]")


def dumps(value: Any) -> str:
    """Return compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def sendable(text: str) -> str:
    """Return a text without lone surrogates, which JSON can spell and UTF-8 cannot, as Go's decoder does."""
    return _SURROGATES.sub("\ufffd", text)


def _ranges(market: Market) -> str:
    grid = market.grid
    text = _RANGES.get(id(grid))
    if text is None:
        text = _RANGES[id(grid)] = dumps(grid.ranges)
    return text


def _settled(market: Market) -> str:
    event = market.event
    text = f',"settlement_ts":"{format_time(event.settled_ms)}"' if event.settled_ms is not None else ""
    if market.value_e4 is not None:
        text += f',"settlement_value_dollars":"{format_price(market.value_e4)}"'
    return text


def quote_values(market: Market) -> dict[str, str]:
    """Return best prices and sizes as text: keys yb, ybs, ya, yas, nb, na.

    An empty ask side is mostly sent as yes_ask 1, no_bid 0, sometimes the other way round (contract 5.1).
    """
    bid = market.bid_e4 if market.bid_e2 else 0
    ask = market.ask_e4 if market.ask_e2 else 0 if market.odd_sentinel else PRICE_ONE_E4
    return {
        "yb": format_price(bid),
        "ybs": format_count(market.bid_e2),
        "ya": format_price(ask),
        "yas": format_count(market.ask_e2),
        "nb": format_price(PRICE_ONE_E4 - ask),
        "na": format_price(PRICE_ONE_E4 - bid),
    }


def market_json(market: Market, now_ms: int) -> str:
    """Return a Market object as of `now_ms`."""
    event = market.event
    _, volume_then_e2, previous, previous_bid, previous_ask = day_ago(market, now_ms)
    return market.template.body % {
        **event.values,
        **market.extra,
        **quote_values(market),
        "ticker": market.ticker,
        "status": market.status,
        "result": market.result,
        "value": event.expiration_value,
        "settled": _settled(market) if market.value_e4 is not None else "",
        "last": format_price(market.last_e4),
        "vol": format_count(market.volume_e2),
        "vol24": format_count(market.volume_e2 - volume_then_e2),
        "oi": format_count(market.open_interest_e2),
        "pp": format_price(previous),
        "pyb": format_price(previous_bid),
        "pya": format_price(previous_ask),
        "grid": market.grid.name,
        "ranges": _ranges(market),
    }


def event_json(event: Event, now_ms: int, markets: Iterable[Market] | None = None) -> str:
    """Return an EventData object, with `markets` nested unless None."""
    nested = ""
    if markets is not None:
        nested = '"markets":[' + ",".join([market_json(market, now_ms) for market in markets]) + "],"
    fees = ""
    if event.fee_override is not None:
        kind, multiplier = event.fee_override
        fees = f'"fee_multiplier_override":{multiplier},"fee_type_override":"{kind}",'
    return event.template.body % {**event.values, "markets": nested, "fees": fees}


def levels_json(levels: dict[int, int], depth: int = 0, price: Callable[[int], int] | None = None) -> str:
    """Return one side of a book, ascending; `depth` > 0 keeps its best. `price` maps prices (YES scale)."""
    prices = sorted(levels)
    if depth:
        prices = prices[-depth:]
    pairs = [(p if price is None else price(p), levels[p]) for p in prices]
    if price is not None:
        pairs.sort()
    return "[" + ",".join(f'["{format_price(p)}","{format_count(c)}"]' for p, c in pairs) + "]"


def book_json(book: OrderBook | None, depth: int = 0) -> str:
    """Return the value of ``orderbook_fp``; both keys are present, also when empty (contract 7.5)."""
    if book is None:
        return '{"no_dollars":[],"yes_dollars":[]}'
    no, yes = levels_json(book.no.levels(), depth), levels_json(book.yes.levels(), depth)
    return f'{{"no_dollars":{no},"yes_dollars":{yes}}}'


def trade_json(trade: Trade) -> str:
    """Return a public trade as REST shows it."""
    return dumps(
        {
            "count_fp": format_count(trade.count_e2),
            "created_time": format_time(trade.time_ms),
            "is_block_trade": False,
            "no_price_dollars": format_price(PRICE_ONE_E4 - trade.yes_price_e4),
            "taker_book_side": "bid" if trade.taker == "yes" else "ask",
            "taker_outcome_side": trade.taker,
            "taker_side": trade.taker,
            "ticker": trade.market.ticker,
            "trade_id": trade.trade_id,
            "yes_price_dollars": format_price(trade.yes_price_e4),
        }
    )
