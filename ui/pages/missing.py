"""What a page shows for a ticker that is not listed: what became of it, and similar ones."""

from collections.abc import Collection, Iterable, Sequence
from difflib import SequenceMatcher, get_close_matches
from heapq import nlargest
from itertools import islice
from typing import Final, NamedTuple

import msgspec

from bus.market_history import HistoryQuote, MarketHistory
from bus.protocol.state import Records
from bus.trading.shapes import SettlementRow

NEAR_MAX: Final = 12
"""Most suggestions."""

LENGTH_MAX: Final = 60
"""How many characters of a ticker are compared; real ones are shorter."""

COMPARED_MAX: Final = 1_000
"""How many tickers of a kind are compared letter by letter, which takes a tenth of a second."""

ALIKE: Final = 0.7
"""Least similarity (0..1) of a series that may have been meant."""


class Near(NamedTuple):
    """An event or a market; `detail` is an event's subtitle or a market's outcome."""

    kind: str
    ticker: str
    title: str
    detail: str


class Missing(msgspec.Struct, frozen=True):
    """What is known of a ticker that is not listed. `last` is the last known quote of its market."""

    kind: str
    ticker: str
    last: HistoryQuote | None
    settled: tuple[SettlementRow, ...]
    near: tuple[Near, ...]

    @property
    def was(self) -> bool:
        """Whether there ever was such a market."""
        return self.last is not None or bool(self.settled)


def spelled(state: Records, text: str) -> tuple[str, str] | None:
    """Return the kind ("market", "event") and ticker that a text means, ignoring case; None if none.

    A market comes first, since the only market of some events has the event's ticker.
    """
    text = text.strip()
    records: tuple[tuple[str, Collection[str]], ...] = (("market", state.markets), ("event", state.events))
    for kind, known in records:
        for ticker in (text, text.upper()):
            if ticker in known:
                return kind, ticker
    folded = text.casefold()
    for kind, known in records:
        for ticker in known:  # a few tickers contain lower-case letters
            if ticker.casefold() == folded:
                return kind, ticker
    return None


def missing(
    state: Records,
    kind: str,
    ticker: str,
    past: MarketHistory | None,
    settlements: Iterable[SettlementRow],
) -> Missing:
    """Return what is known of a ticker that is not listed."""
    wanted = ticker.strip().upper()
    member = "ticker" if kind == "market" else "event_ticker"
    return Missing(
        kind,
        ticker,
        past.quotes[-1] if past is not None and past.quotes else None,
        tuple(row for row in settlements if getattr(row, member).upper() == wanted),
        near(state, wanted),
    )


def near(state: Records, ticker: str) -> tuple[Near, ...]:
    """Return the events and markets with the most similar tickers, in its series or similarly named ones."""
    ticker = ticker[:LENGTH_MAX]
    series = ticker.split("-", 1)[0]
    every = {event.split("-", 1)[0] for event in state.events}
    meant = [series] if series in every else get_close_matches(series, every, n=3, cutoff=ALIKE)
    if not meant:
        return ()
    begins = tuple(f"{name}-" for name in meant)
    events = [event for event in state.events if event in meant or event.startswith(begins)]
    events = _most_alike(ticker, events, NEAR_MAX // 2)
    best = set(events)
    markets = [one for one, market in state.markets.items() if market.event_ticker in best]
    markets = _most_alike(ticker, markets, NEAR_MAX - len(events))
    return (*(_event(state, event) for event in events), *(_market(state, market) for market in markets))


def _most_alike(ticker: str, others: Sequence[str], most: int) -> list[str]:
    matcher = SequenceMatcher(None, b=ticker, autojunk=False)

    def alike(other: str) -> tuple[float, str]:
        matcher.set_seq1(other[:LENGTH_MAX])
        return matcher.ratio(), other

    return nlargest(most, islice(others, COMPARED_MAX), key=alike)


def _event(state: Records, ticker: str) -> Near:
    event = state.events[ticker]
    return Near("event", ticker, event.title, event.sub_title)


def _market(state: Records, ticker: str) -> Near:
    market = state.markets[ticker]
    of = state.events.get(market.event_ticker)
    title = market.title or (of.title if of is not None else "")
    return Near("market", ticker, title, market.yes_sub_title)
