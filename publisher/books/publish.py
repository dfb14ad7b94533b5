"""Publishes order books and price history that were read by REST. Bus thread only, since it alone may send.

A book that the stream follows is only compared with the stream's (`Live`).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from bus.server import FeedServer
from markets.records import Book, Candles, Remove
from publisher.live import Live

from .candles import DAYS, HOURS, MINUTES, Period

BOOKS_PER_MESSAGE: Final = 64


def publish_books(
    server: FeedServer, live: Live | None, books: Sequence[Book], as_of_ms: int, asked_ms: int, now_ns: int
) -> None:
    """Publish books, putting those of one event into one message.

    Args:
        live: what the stream follows, if there is a stream.
        as_of_ms: the age of the reply.
        asked_ms: when it was asked for.
    """
    writer = server.writer
    assert writer is not None, "books are planned from a state that is served"
    if live is not None:
        for book in books:
            live.judge(server, book, asked_ms, now_ns)
        books = [book for book in books if not live.compare(server, book, asked_ms)]
    state = writer.state
    events: dict[tuple[str, str], list[Book]] = {}
    for book in books:
        topic = state.stream_of.get(book.ticker)
        market = state.markets.get(book.ticker)
        held = state.books.get(book.ticker)
        if topic is None or market is None:
            continue  # it was removed meanwhile
        if held is not None and book.as_of_ms < held.as_of_ms <= now_ns // 1_000_000:
            continue
        events.setdefault((topic, market.event_ticker), []).append(book)
    for topic, message in _messages(events):
        server.send(writer.stream(topic, "book", message, as_of_ms * 1_000_000, now_ns))


def keep_books(server: FeedServer, live: Live | None, planned: frozenset[str], now_ns: int) -> None:
    """Remove the books no longer kept fresh; let the stream follow the others."""
    if live is not None:
        live.follow(planned)
    writer = server.writer
    if writer is None:
        return
    state = writer.state
    topics: dict[str, list[Remove]] = {}
    for ticker in sorted(state.books.keys() - planned):
        topics.setdefault(state.stream_of[ticker], []).append(Remove("book", ticker))
    for topic, removals in topics.items():
        server.send(writer.stream(topic, "remove", removals, now_ns, now_ns))


class Candlesticks(NamedTuple):
    """A market's candlesticks of one period, as fetched; `raw` is their JSON array."""

    ticker: str
    as_of_ms: int
    period: Period
    raw: bytes


def publish_candles(
    server: FeedServer, found: Sequence[Candlesticks], wished: frozenset[str], now_ns: int
) -> None:
    """Publish price history, with other periods as they were, and the removal of what nobody wishes for."""
    writer = server.writer
    if writer is None:
        return
    state = writer.state
    for fetched in found:
        topic = state.stream_of.get(fetched.ticker)
        if topic is not None:
            candles = _with(state.candles.get(fetched.ticker), fetched)
            server.send(writer.stream(topic, "candles", [candles], fetched.as_of_ms * 1_000_000, now_ns))
    for ticker in sorted(state.candles.keys() - wished):
        removal = [Remove("candles", ticker)]
        server.send(writer.stream(state.stream_of[ticker], "remove", removal, now_ns, now_ns))


def _with(had: Candles | None, fetched: Candlesticks) -> Candles:
    """Return a market's price history, including what was just fetched."""
    ticker, as_of_ms, period, raw = fetched
    known = had if had is not None else Candles(ticker, as_of_ms, HOURS.minutes * 60, b"[]")
    if period is MINUTES:
        return msgspec.structs.replace(known, minutes=raw)
    if period is DAYS:
        return msgspec.structs.replace(known, days=raw)
    return msgspec.structs.replace(known, as_of_ms=as_of_ms, raw=raw)


def _messages(events: Mapping[tuple[str, str], list[Book]]) -> Iterable[tuple[str, list[Book]]]:
    """Put events of one topic together while they fit into a message; never split one that fits."""
    topic, message = "", list[Book]()
    for (next_topic, _), books in sorted(events.items(), key=lambda item: item[0]):
        if message and (next_topic != topic or len(message) + len(books) > BOOKS_PER_MESSAGE):
            yield topic, message
            message = []
        topic = next_topic
        message = message + books
    if message:
        yield topic, message
