"""Order books and candlesticks as Kalshi's REST API sends them."""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from markets.errors import BadRecord
from markets.records import Book, Level
from markets.units import MAX_TIME_MS, PRICE_ONE_E4, parse_count_e2, parse_price_e4

from .decoding import (
    BadMember,
    Number,
    Reader,
    checked_ticker,
    decode,
    elements_of,
    legible,
)
from .pages import split_list, ticker_or_none


class _BookWire(msgspec.Struct):
    """Both sides must be there: a wrong envelope must not read as an empty book. Null is an empty side."""

    yes_dollars: list[tuple[str, str]] | None
    no_dollars: list[tuple[str, str]] | None


class _TickerBookWire(msgspec.Struct):
    ticker: str
    orderbook_fp: _BookWire


class _CandleWire(msgspec.Struct):
    """A candlestick; everything but its end is passed on as sent."""

    end_period_ts: Number


class _CandlesWire(msgspec.Struct):
    market_ticker: str
    candlesticks: Raw = Raw(b"null")


class Candlestick(msgspec.Struct, frozen=True):
    """A candlestick as a row of numbers: open, high, low and close of each price, None where unknown."""

    end_ms: int | None
    yes_bid_open_e4: int | None
    yes_bid_high_e4: int | None
    yes_bid_low_e4: int | None
    yes_bid_close_e4: int | None
    yes_ask_open_e4: int | None
    yes_ask_high_e4: int | None
    yes_ask_low_e4: int | None
    yes_ask_close_e4: int | None
    price_open_e4: int | None
    price_high_e4: int | None
    price_low_e4: int | None
    price_close_e4: int | None
    volume_e2: int | None
    open_interest_e2: int | None


_ticker_book = msgspec.json.Decoder(_TickerBookWire)
_candle = Reader(_CandleWire, "candlestick")
_candles = Reader(_CandlesWire, "candlesticks")
_any_candles = msgspec.json.Decoder(list[Any])


def decode_books(body: bytes, as_of_ms: int) -> tuple[list[Book], list[BadMember]]:
    """Decode the reply of ``GET /markets/orderbooks``: the good books and, separately, those refused.

    Raises:
        BadRecord: the reply as a whole is not such an object.
    """
    books: list[Book] = []
    bad: list[BadMember] = []
    for raw in split_list(body, "orderbooks")[0]:
        try:
            wire = decode(_ticker_book, raw, "orderbook")
            books.append(_book_of(checked_ticker(wire.ticker, "ticker"), wire.orderbook_fp, as_of_ms))
        except BadRecord as error:
            bad.append(BadMember(ticker_or_none(raw), error, bytes(raw)))
    return books, bad


def decode_candles(body: bytes, limit_bytes: int) -> tuple[list[tuple[str, bytes]], list[BadMember]]:
    """Decode the reply of ``GET /markets/candlesticks``: (ticker, JSON array) of each, and the bad ones.

    They are sorted by time; one without a time is left out. If an array is longer than `limit_bytes`, only
    its last elements are kept.

    Raises:
        BadRecord: the reply as a whole is not such an object.
    """
    found: list[tuple[str, bytes]] = []
    bad: list[BadMember] = []
    for raw in split_list(body, "markets")[0]:
        ticker = None
        try:
            wire = _candles.read(raw)
            ticker = checked_ticker(wire.market_ticker, "market_ticker")
        except BadRecord as error:
            bad.append(BadMember(ticker, error, bytes(raw)))
            continue
        candles: dict[int, bytes] = {}
        for candle in elements_of(wire.candlesticks):
            try:
                candles[_candle.read(candle).end_period_ts] = legible(bytes(candle))
            except BadRecord as error:
                bad.append(BadMember(ticker, error, bytes(candle)))
        sizes = 0
        kept: list[bytes] = []
        for end_s in sorted(candles, reverse=True):
            sizes += len(candles[end_s]) + 1
            if sizes > limit_bytes:
                break
            kept.append(candles[end_s])
        found.append((ticker, b"[%b]" % b",".join(reversed(kept))))
    return found, bad


def candlesticks(raw: bytes) -> list[Candlestick]:
    """Return the rows of an array of candlesticks, as `decode_candles` gives it; None for unreadable values.

    Raises:
        BadRecord: it is not an array.
    """
    return [_candlestick(candle) for candle in decode(_any_candles, raw, "candlesticks")]


def _candlestick(candle: Any) -> Candlestick:
    candle = candle if isinstance(candle, dict) else {}
    end_s = candle.get("end_period_ts")
    known = isinstance(end_s, int) and 0 <= end_s <= MAX_TIME_MS // 1_000
    prices = []
    for name in ("yes_bid", "yes_ask", "price"):
        side = candle.get(name)
        for part in ("open", "high", "low", "close"):
            text = side.get(f"{part}_dollars") if isinstance(side, dict) else None
            prices.append(_known(parse_price_e4, text))
    counts = (_known(parse_count_e2, candle.get(name)) for name in ("volume_fp", "open_interest_fp"))
    return Candlestick(end_s * 1_000 if known else None, *prices, *counts)


def _known(parse: Callable[[object], int], value: object) -> int | None:
    try:
        return parse(value)
    except BadRecord:
        return None


def _book_of(ticker: str, wire: _BookWire, as_of_ms: int) -> Book:
    return Book(
        ticker=ticker,
        as_of_ms=as_of_ms,
        yes=_levels(wire.yes_dollars or [], "yes_dollars"),
        no=_levels(wire.no_dollars or [], "no_dollars"),
    )


def _levels(side: list[tuple[str, str]], field: str) -> tuple[Level, ...]:
    levels = []
    last = 0
    for price, count in side:
        price_e4 = parse_price_e4(price, field)
        count_e2 = parse_count_e2(count, field)
        if not last < price_e4 < PRICE_ONE_E4:
            raise BadRecord(field, price, "strictly ascending prices inside 0.0000 and 1.0000")
        if count_e2 == 0:
            raise BadRecord(field, count, "a positive count")
        levels.append((price_e4, count_e2))
        last = price_e4
    return tuple(levels)
