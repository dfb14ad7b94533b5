"""Requests to the exchange: lists of tickers cut to fit into a URL, and the parameters of lists.

Source: Kalshi API reference, limits of pages (spec 3.34.0).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

EVENTS_PER_PAGE: Final = 200
MARKETS_PER_PAGE: Final = 1_000
TICKERS_PER_REQUEST: Final = 100
EVENTS_PER_REQUEST: Final = 50
URL_BUDGET: Final = 4_000
"""Characters of tickers in one URL."""

MARKETS_PER_SLICE: Final = 2_000
SLICE_URL_BUDGET: Final = 6_000
FEWEST_PAGES: Final = 100
"""A list is given up after this many pages, or ten times as many as the held members would fill."""

Query = list[tuple[str, str | int]]


def open_events(*, nested: bool = False, series: str = "", cursor: str = "") -> Query:
    """Ask for the open events, of one series if named; `nested`: with their markets and milestones."""
    query: Query = [("status", "open"), *(_NESTED if nested else ()), ("limit", EVENTS_PER_PAGE)]
    if series:
        query.append(("series_ticker", series))
    if cursor:
        query.append(("cursor", cursor))
    return query


def named_events(tickers: Sequence[str]) -> Query:
    """Ask for these events, with their markets and milestones."""
    return [("tickers", ",".join(tickers)), *_NESTED, ("limit", EVENTS_PER_PAGE)]


def milestones_of(tickers: Sequence[str]) -> Query:
    """Ask for the milestones of these events."""
    return [("tickers", ",".join(tickers)), ("with_milestones", "true"), ("limit", EVENTS_PER_PAGE)]


def named_markets(tickers: Sequence[str]) -> Query:
    """Ask for these markets."""
    return [("tickers", ",".join(tickers)), ("limit", MARKETS_PER_PAGE)]


def open_markets(series: str) -> Query:
    """Ask for the open markets of a series."""
    return [("series_ticker", series), ("status", "open"), ("limit", MARKETS_PER_PAGE)]


def created_markets(since_s: int, series: str = "") -> Query:
    """Ask for the open markets created since then, of one series if named, without combinations."""
    query: Query = [
        ("status", "open"),
        ("min_created_ts", since_s),
        ("mve_filter", "exclude"),
        ("limit", MARKETS_PER_PAGE),
    ]
    if series:
        query.append(("series_ticker", series))
    return query


def longest(held: int, per_page: int) -> int:
    """Return how many pages a list may have, given how many of its members are held."""
    return FEWEST_PAGES + 10 * held // per_page


def batches(tickers: Sequence[str], limit: int) -> Iterable[list[str]]:
    """Cut tickers into lists of at most `limit` that fit into a URL."""
    batch: list[str] = []
    size = 0
    for ticker in tickers:
        if batch and (len(batch) >= limit or size + len(ticker) > URL_BUDGET):
            yield batch
            batch, size = [], 0
        batch.append(ticker)
        size += len(ticker) + 1
    if batch:
        yield batch


def slices(events: Mapping[str, int]) -> Iterable[list[str]]:
    """Cut events (ticker -> number of markets) into lists for one request each, in a fixed order."""
    part: list[str] = []
    size = markets = 0
    for ticker, count in sorted(events.items()):
        full = len(part) >= EVENTS_PER_PAGE or size + len(ticker) > SLICE_URL_BUDGET
        if part and (full or markets + count > MARKETS_PER_SLICE):
            yield part
            part, size, markets = [], 0, 0
        part.append(ticker)
        size += len(ticker) + 1
        markets += count
    if part:
        yield part


_NESTED: Final[Query] = [("with_nested_markets", "true"), ("with_milestones", "true")]
