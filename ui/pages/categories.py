"""The category and the series of a market or an event, as pages and addresses name them."""

from typing import Final

from markets.records import Event, Market, Series

NONE: Final = "(none)"
"""Stands for a missing category or series."""

FACET_MAX: Final = 100
"""Most characters of a category."""


def category_of(event: Event | None, series: Series | None) -> str:
    """Return the category of an event: its own, or else that of its series."""
    of_event = "" if event is None else facet_text(event.category)
    return of_event or ("" if series is None else facet_text(series.category)) or NONE


def series_of(market: Market, event: Event | None) -> str:
    """Return the series of a market."""
    return market.series_ticker or ("" if event is None else event.series_ticker) or NONE


def facet_text(text: str) -> str:
    """Return a category as used here: printable, on one line, cut to length."""
    return " ".join("".join(char if char.isprintable() else " " for char in text[: 2 * FACET_MAX]).split())[
        :FACET_MAX
    ]
