"""Search over tickers, titles and events, from memory.

One line of folded text per market and event, all in one string: `str.find` runs over the 16 MB of 130,000
markets in a few milliseconds, where a loop over lines takes fifty times as long.
"""

import unicodedata
from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate
from typing import Final

import msgspec

from bus.protocol.state import Records
from markets.errors import BadRecord

HITS_MAX: Final = 2_000
LINES_MAX: Final = 20_000
"""Hits ranked and lines looked at for one query: a word like "will" is in nearly all of them."""

WORDS_MAX: Final = 8
TEXT_MAX: Final = 200

LIMIT_MAX: Final = 100
"""Results of one answer."""
SEARCHED: Final = ("event", "market")


class Hit(msgspec.Struct, frozen=True):
    """One result. `kind` is "event" or "market"; `detail` a market's outcome, an event's subtitle."""

    kind: str
    ticker: str
    title: str
    detail: str
    event_ticker: str


class SearchIndex:
    """All markets and events of one state, folded for search."""

    def __init__(self, state: Records) -> None:
        hits: list[Hit] = []
        lines: list[str] = []
        for ticker, event in state.events.items():
            hits.append(Hit("event", ticker, event.title, event.sub_title, ticker))
            lines.append(f"{ticker} {event.title} {event.sub_title} {event.category}")
        for ticker, market in state.markets.items():
            of = state.events.get(market.event_ticker)
            title = (market.title or (of.title if of is not None else "")).replace("**", "")
            hits.append(Hit("market", ticker, title, market.yes_sub_title, market.event_ticker))
            lines.append(f"{ticker} {title} {market.yes_sub_title} {of.title if of is not None else ''}")
        folded = [fold(line).replace("\n", " ") for line in lines]
        self._hits = hits
        self._lines = folded
        self._text = "\n".join(folded)
        self._starts = list(accumulate((len(line) + 1 for line in folded[:-1]), initial=0)) if folded else []

    def __len__(self) -> int:
        return len(self._hits)

    def find(self, query: str, limit: int) -> list[Hit]:
        """Return the best hits that contain every word of `query`; an exact ticker comes first."""
        words = fold(query).split()[:WORDS_MAX]
        if not words:
            return []
        rarest = min(words, key=self._text.count)
        ranked: list[tuple[int, int, int]] = []
        position = self._text.find(rarest)
        for _ in range(LINES_MAX):
            if position < 0 or len(ranked) >= HITS_MAX:
                break
            number = bisect_right(self._starts, position) - 1
            line = self._lines[number]
            if all(word in line for word in words):
                ranked.append((_rank(line, words), len(line), number))
            position = self._text.find(rarest, self._starts[number] + len(line))
        ranked.sort()
        return [self._hits[number] for _, _, number in ranked[:limit]]


def named(state: Records, kind: str, key: str) -> tuple[str, ...] | None:
    """Return all that the index takes of one record; None of what is unknown or not searched."""
    if kind == "market":
        market = state.markets.get(key)
        return None if market is None else (market.event_ticker, market.title, market.yes_sub_title)
    if kind == "event":
        event = state.events.get(key)
        return None if event is None else (event.title, event.sub_title, event.category)
    return None


def parse_search(pairs: Iterable[tuple[str, str]], limit_default: int) -> tuple[str, int]:
    """Return the text and the limit of a query string.

    Raises:
        BadRecord: unknown parameter or wrong value.
    """
    known = ("q", "limit")
    found: dict[str, str] = {}
    for name, text in pairs:
        if name not in known:
            raise BadRecord(name, text, f"one of the parameters {', '.join(known)}")
        found.setdefault(name, text)
    # Without what nobody sees: a mark that turns the direction of writing would turn the page's title too.
    text = "".join(filter(str.isprintable, found.get("q", ""))).strip()
    if len(text) > TEXT_MAX:
        raise BadRecord("q", text, f"at most {TEXT_MAX} characters")
    limit = found.get("limit", "") or str(limit_default)
    if not limit.isascii() or not limit.isdecimal() or not 1 <= int(limit[:9]) <= LIMIT_MAX:
        raise BadRecord("limit", limit, f"a whole number from 1 to {LIMIT_MAX}")
    return text, int(limit)


def fold(text: str) -> str:
    """Return `text` as compared: without case and without accents."""
    if text.isascii():
        return text.lower()
    plain = "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
    return plain.casefold()


def _rank(line: str, words: list[str]) -> int:
    """Smaller is better: the ticker itself, its beginning, the beginnings of words, anything."""
    ticker = line.split(" ", 1)[0]
    if len(words) == 1 and ticker == words[0]:
        return 0
    if ticker.startswith(words[0]):
        return 1
    if all(f" {word}" in line for word in words):
        return 2
    return 3
