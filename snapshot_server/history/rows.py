"""One change as a row of bytes of fixed width: the top of a book, or a trade.

A row begins with the market and the time, so that rows sort by both.
"""

import struct
from collections.abc import Iterable
from typing import Final
from uuid import UUID

from bus.market_history import HistoryQuote, HistoryTrade
from bus.protocol.digest import ticker_key
from markets.book import standing_price_e4
from markets.records import Quote, Status, Trade
from markets.units import MIN_TIME_MS

KEY_BYTES: Final = 8
"""A row begins with the hash of its market's ticker."""

_QUOTE: Final = struct.Struct(">QQHHqqHqqB")
_TRADE: Final = struct.Struct(">QQHqBB40s")
QUOTE_WIDTH: Final = _QUOTE.size
TRADE_WIDTH: Final = _TRADE.size

_PRICES: Final = slice(16, 20)
_BID_SIZE: Final = slice(20, 28)
_ASK_SIZE: Final = slice(28, 36)
_LAST: Final = slice(36, 38)
_NOTHING: Final = bytes(8)
"""Parts of the row of a quote, and what they are compared with."""

_NO_PRICE: Final = 0xFFFF
_NO_COUNT: Final = -(2**63)
_STATUSES: Final = tuple(Status)
_NUMBER_OF: Final = {status: number for number, status in enumerate(_STATUSES)}
_SIDES: Final = ("", "yes", "no")

_UUID: Final = 0
_TEXT: Final = 1
_UUID_CHARS: Final = 36
MAX_ID: Final = 40
"""Bytes of an id that is not a UUID in its usual form: only the first ones of a longer id are kept."""


def key_of(ticker: str) -> int:
    """Return what represents a market in rows: 64 bits, the same in every process."""
    return ticker_key(ticker)


def key_bytes(key: int) -> bytes:
    """Return the prefix of a market's rows."""
    return key.to_bytes(KEY_BYTES, "big")


def key_in(row: bytes) -> int:
    """Return what stands for the market of a row."""
    return int.from_bytes(row[:KEY_BYTES], "big")


def time_of(row: bytes) -> int:
    """Return the time of a row, ms since 1970."""
    return int.from_bytes(row[8:16], "big") + MIN_TIME_MS


def quote_row(key: int, quote: Quote) -> bytes:
    """Return the row of a quote."""
    last, volume, interest = quote.last_price_e4, quote.volume_e2, quote.open_interest_e2
    return _QUOTE.pack(
        key,
        quote.as_of_ms - MIN_TIME_MS,
        quote.yes_bid_e4,
        quote.yes_ask_e4,
        quote.yes_bid_size_e2,
        quote.yes_ask_size_e2,
        _NO_PRICE if last is None else last,
        _NO_COUNT if volume is None else volume,
        _NO_COUNT if interest is None else interest,
        _NUMBER_OF[quote.status],
    )


def stands_e4(row: bytes) -> int | None:
    """Return what YES stands at by the row of a quote."""
    _, _, bid, ask, bid_size, ask_size, last, *_ = _QUOTE.unpack(row)
    return standing_price_e4(
        bid if bid_size > 0 else None, ask if ask_size > 0 else None, None if last == _NO_PRICE else last
    )


def stands_alike(row: bytes, other: bytes) -> bool:
    """Whether two rows of quotes have the same prices on the same sides: most changes are of sizes."""
    return (
        row[_PRICES] == other[_PRICES]
        and row[_LAST] == other[_LAST]
        and (row[_BID_SIZE] == _NOTHING) == (other[_BID_SIZE] == _NOTHING)
        and (row[_ASK_SIZE] == _NOTHING) == (other[_ASK_SIZE] == _NOTHING)
    )


def quote_points(rows: Iterable[bytes]) -> list[HistoryQuote]:
    """Decode rows of quotes."""
    points = []
    for row in rows:
        _, time, bid, ask, bid_size, ask_size, last, volume, interest, status = _QUOTE.unpack(row)
        points.append(
            HistoryQuote(
                time + MIN_TIME_MS,
                bid,
                ask,
                bid_size,
                ask_size,
                None if last == _NO_PRICE else last,
                None if volume == _NO_COUNT else volume,
                None if interest == _NO_COUNT else interest,
                _STATUSES[status].value if status < len(_STATUSES) else Status.UNKNOWN.value,
            )
        )
    return points


def trade_row(key: int, trade: Trade) -> bytes:
    """Return the row of a trade."""
    text, kind = trade.trade_id, _TEXT
    id_ = text.encode(errors="replace")[:MAX_ID]
    if len(text) == _UUID_CHARS:
        try:
            number = UUID(text)
        except ValueError:
            pass
        else:
            if str(number) == text:
                id_, kind = number.bytes, _UUID
    side = _SIDES.index(trade.taker_side) if trade.taker_side in _SIDES else 0
    return _TRADE.pack(key, trade.time_ms - MIN_TIME_MS, trade.yes_price_e4, trade.count_e2, side, kind, id_)


def trade_points(rows: Iterable[bytes]) -> list[tuple[int, HistoryTrade]]:
    """Decode rows of trades, each with the key of its market."""
    points = []
    for row in rows:
        key, time, price, count, side, kind, id_ = _TRADE.unpack(row)
        text = str(UUID(bytes=id_[:16])) if kind == _UUID else id_.rstrip(b"\0").decode(errors="replace")
        points.append((key, HistoryTrade(time + MIN_TIME_MS, price, count, _SIDES[side % len(_SIDES)], text)))
    return points
