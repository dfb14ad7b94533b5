"""Order books and candlesticks as Kalshi's REST API sends them."""

import msgspec
from msgspec import Raw

from markets.errors import BadRecord
from markets.records import Book, Level
from markets.units import PRICE_ONE_E4, parse_count_e2, parse_price_e4

from .decoding import BadMember, checked_ticker, checked_utf8, decode
from .pages import split_list, ticker_or_none


class _BookWire(msgspec.Struct):
    """Both sides must be there: a wrong envelope must not read as an empty book. Null is an empty side."""

    yes_dollars: list[tuple[str, str]] | None
    no_dollars: list[tuple[str, str]] | None


class _TickerBookWire(msgspec.Struct):
    ticker: str
    orderbook_fp: _BookWire


class _SpreadWire(msgspec.Struct):
    open_dollars: str
    high_dollars: str
    low_dollars: str
    close_dollars: str


class _TradedWire(msgspec.Struct):
    """All null or absent in a period without a trade."""

    open_dollars: str | None = None
    high_dollars: str | None = None
    low_dollars: str | None = None
    close_dollars: str | None = None


class _CandleWire(msgspec.Struct):
    end_period_ts: int
    yes_bid: _SpreadWire
    yes_ask: _SpreadWire
    price: _TradedWire
    volume_fp: str
    open_interest_fp: str


class _CandlesWire(msgspec.Struct):
    market_ticker: str
    candlesticks: list[Raw]


_ticker_book = msgspec.json.Decoder(_TickerBookWire)
_candle = msgspec.json.Decoder(_CandleWire)
_candles = msgspec.json.Decoder(_CandlesWire)


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

    Of an array longer than `limit_bytes` the last candlesticks are kept.

    Raises:
        BadRecord: the reply as a whole is not such an object.
    """
    found: list[tuple[str, bytes]] = []
    bad: list[BadMember] = []
    for raw in split_list(body, "markets")[0]:
        ticker = None
        try:
            wire = decode(_candles, raw, "candlesticks")
            ticker = checked_ticker(wire.market_ticker, "market_ticker")
            sizes = 0
            kept: list[bytes] = []
            last_s: int | None = None
            for candle in reversed(wire.candlesticks):
                end_s = decode(_candle, candle, "candlestick").end_period_ts
                if last_s is not None and end_s >= last_s:
                    raise BadRecord("end_period_ts", end_s, "ascending times")
                last_s = end_s
                sizes += len(memoryview(candle)) + 1
                if sizes > limit_bytes:
                    break
                kept.append(bytes(candle))
            found.append((ticker, checked_utf8(b"[%b]" % b",".join(reversed(kept)), "candlesticks")))
        except BadRecord as error:
            bad.append(BadMember(ticker, error, bytes(raw)))
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
