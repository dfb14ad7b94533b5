"""Order books and candlesticks as Kalshi's REST API sends them."""

import msgspec
from msgspec import Raw

from markets.errors import BadRecord
from markets.records import Book, Level
from markets.units import PRICE_ONE_E4, parse_count_e2, parse_price_e4

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
    """A candlestick, of which all but its end is passed on as sent."""

    end_period_ts: Number


class _CandlesWire(msgspec.Struct):
    market_ticker: str
    candlesticks: Raw = Raw(b"null")


_ticker_book = msgspec.json.Decoder(_TickerBookWire)
_candle = Reader(_CandleWire, "candlestick")
_candles = Reader(_CandlesWire, "candlesticks")


def decode_books(body: bytes, as_of_ms: int) -> tuple[list[Book], list[BadMember]]:
    """Decode the reply of ``GET /markets/orderbooks``: the good books, and apart the refused ones.

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

    They are put in order; one without a time is left out. Of an array longer than `limit_bytes` the last are
    kept.

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
