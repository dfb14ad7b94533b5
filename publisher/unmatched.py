"""Names in the settings that match nothing at the exchange, each with the nearest one that would. Pure."""

from collections.abc import Callable, Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import Final

from bus.process.logs import redact
from bus.process.settings import variable_of
from bus.protocol.state import State
from markets.errors import BadRecord
from markets.json.pages import text_member

from .reading import Universe

SHOWN: Final = 10
"""How many names of one setting are listed; the others are only counted."""

Lookup = Callable[[str], Collection[str]]
"""Returns the tickers of a series' open markets; none if they cannot be fetched."""


def unmatched(
    universe: Universe, state: State, listed_series: Mapping[str, bytes], open_markets: Lookup
) -> list[str]:
    """Return a sentence for each name in the universe's settings that matches nothing held.

    Args:
        state: as after a complete sweep.
        listed_series: every series of the exchange, as sent; empty if they could not be fetched.
    """
    found: list[str] = []
    if universe.series:
        missing = universe.series - {event.series_ticker for event in state.events.values()}
        found += _sentences("series", missing, lambda name: _series_words(name, listed_series))
    if universe.categories:
        missing = universe.categories - _held_categories(state)
        if missing:
            known = _categories(listed_series)
            found += _sentences("categories", missing, lambda name: _words(name, known, "category"))
    if universe.tickers:
        missing = universe.tickers - state.markets.keys()
        found += _sentences("tickers", missing, lambda name: _ticker_words(name, listed_series, open_markets))
    return found


def nearest(name: str, known: Collection[str]) -> str | None:
    """Return what was probably meant by a name: another spelling before another name."""
    folded = {other.casefold(): other for other in known}
    same = folded.get(name.casefold())
    if same is not None:
        return same
    close = get_close_matches(name.casefold(), folded, 1, 0.6)
    return folded[close[0]] if close else None


def _sentences(key: str, missing: Iterable[str], words: Callable[[str], str]) -> list[str]:
    names = sorted(missing)
    said = [
        f"{variable_of(key)}: {redact(name)[:80]!r} matches nothing: {words(name)}" for name in names[:SHOWN]
    ]
    if len(names) > SHOWN:
        said.append(f"{variable_of(key)}: {len(names) - SHOWN} further names match nothing")
    return said


def _series_words(name: str, listed: Mapping[str, bytes]) -> str:
    if name in listed:
        return "the series exists, but no event of it is open now"
    return _words(name, listed.keys(), "series")


def _words(name: str, known: Collection[str], what: str) -> str:
    if not known:
        return f"the exchange has not said what {what} names there are"
    near = nearest(name, known)
    return f"did you mean {near!r}?" if near is not None else f"the exchange has no {what} of a similar name"


def _ticker_words(name: str, listed: Mapping[str, bytes], open_markets: Lookup) -> str:
    prefix = name.partition("-")[0]
    series = nearest(prefix, listed.keys())
    if series is None:
        return _words(prefix, listed.keys(), "series")
    near = nearest(name, open_markets(series))
    if near is not None:
        return f"did you mean {near!r}?"
    if series != prefix:
        return f"the exchange has no such market; there is a series {series!r}"
    return f"series {series!r} has no open market of a similar name"


def _held_categories(state: State) -> set[str]:
    found = set()
    for event in state.events.values():
        series = state.series.get(event.series_ticker)
        found.add(event.category)
        if series is not None:
            found.add(series.category)
    return found


def _categories(listed: Mapping[str, bytes]) -> set[str]:
    found = set()
    for raw in listed.values():
        try:
            found.add(text_member(raw, "category"))
        except BadRecord:
            continue
    return found
