"""Records, written as the JSON that Kalshi sent them as."""

from typing import Final

import msgspec
from msgspec import Raw

from markets.records import Book, Level, Market, Quote, Status
from markets.units import format_count, format_price

from .decoding import NOT_TEXT

_encode: Final = msgspec.json.Encoder().encode


def market_prefix(market: Market, series_ticker: str | None = None) -> bytes:
    """Return the part of a market object that depends on its static part alone, so that it can be cached.

    It is an open JSON object, to be followed by `quote_members` and the rest of `market_json`.
    """
    series = series_ticker if series_ticker is not None else market.series_ticker
    return market.raw[:-1] + b',"series_ticker":' + _encode(series)


def quote_members(quote: Quote) -> bytes:
    """Return the quote's members in Kalshi's form, each preceded by a comma."""
    if quote.as_sent is not None:
        return _quote_members_as_sent(quote)
    text = (
        f',"status":"{quote.status.value}"'
        f',"yes_bid_dollars":"{format_price(quote.yes_bid_e4)}"'
        f',"yes_ask_dollars":"{format_price(quote.yes_ask_e4)}"'
        f',"no_bid_dollars":"{format_price(quote.no_bid_e4)}"'
        f',"no_ask_dollars":"{format_price(quote.no_ask_e4)}"'
        f',"yes_bid_size_fp":"{format_count(quote.yes_bid_size_e2)}"'
        f',"yes_ask_size_fp":"{format_count(quote.yes_ask_size_e2)}"'
    )
    for name, value in _optional_prices(quote):
        if value is not None:
            text += f',"{name}":"{format_price(value)}"'
    for name, value in _optional_counts(quote):
        if value is not None:
            text += f',"{name}":"{format_count(value)}"'
    return text.encode()


def book_json(book: Book) -> bytes:
    """Return a book as Kalshi sends it: ``{"yes_dollars":[["0.0100","1200.00"],...],"no_dollars":...}``."""
    return b'{"yes_dollars":[%b],"no_dollars":[%b]}' % (_levels_json(book.yes), _levels_json(book.no))


def market_json(
    market: Market,
    quote: Quote,
    *,
    series_ticker: str | None = None,
    as_of_ms: int,
    book: Book | None = None,
    prefix: bytes | None = None,
) -> bytes:
    """Return Kalshi's market object: as sent, plus `series_ticker`, `as_of` and, with a book, `orderbook`.

    Args:
        market: the static part.
        quote: the quote part.
        series_ticker: overrides the market's own, which may not have been known when it was decoded.
        as_of_ms: written as `as_of`, Unix seconds.
        book: written as `orderbook`, levels as Kalshi sends them.
        prefix: a cached ``market_prefix(market, series_ticker)``.
    """
    if prefix is None:
        prefix = market_prefix(market, series_ticker)
    tail = f',"as_of":{as_of_ms // 1000}.{as_of_ms % 1000:03d}'.encode()
    if book is None:
        return b"".join((prefix, quote_members(quote), tail, b"}"))
    return b"".join((prefix, quote_members(quote), tail, b',"orderbook":', book_json(book), b"}"))


def _optional_prices(quote: Quote) -> tuple[tuple[str, int | None], ...]:
    return (
        ("last_price_dollars", quote.last_price_e4),
        ("previous_price_dollars", quote.previous_price_e4),
        ("previous_yes_bid_dollars", quote.previous_yes_bid_e4),
        ("previous_yes_ask_dollars", quote.previous_yes_ask_e4),
    )


def _optional_counts(quote: Quote) -> tuple[tuple[str, int | None], ...]:
    return (
        ("volume_fp", quote.volume_e2),
        ("volume_24h_fp", quote.volume_24h_e2),
        ("open_interest_fp", quote.open_interest_e2),
    )


def _quote_members_as_sent(quote: Quote) -> bytes:
    canonical = msgspec.structs.replace(quote, as_sent=None)
    members: dict[str, str | Raw | None] = msgspec.json.decode(b"{" + quote_members(canonical)[1:] + b"}")
    for name, sent in (quote.as_sent or {}).items():
        if name == "status" and quote.status is not Status.UNKNOWN:
            continue  # a known one has been announced since
        if sent is None or not sent.startswith(NOT_TEXT):
            members[name] = sent
        elif len(sent) > len(NOT_TEXT):
            members[name] = Raw(sent[len(NOT_TEXT) :].encode())
        else:
            members.pop(name, None)
    return b"," + _encode(members)[1:-1] if members else b""


def _levels_json(levels: tuple[Level, ...]) -> bytes:
    return ",".join([f'["{format_price(p)}","{format_count(c)}"]' for p, c in levels]).encode()
