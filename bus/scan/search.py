"""Search over tickers, titles, outcomes and categories, from memory, with typing errors forgiven.

There is one line of folded text per series, event and market, in buckets by event. `str.find` runs over the
16 MB of 130,000 markets in a few milliseconds, where a loop over lines takes fifty times as long; and
whatever comes, goes or is renamed costs only the rebuilding of its bucket. Only if nothing contains all words
are they compared with the known words.
"""

import re
import unicodedata
import zlib
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from rapidfuzz import process
from rapidfuzz.distance import OSA

from bus.protocol.state import Records
from markets.errors import BadRecord

BUCKETS: Final = 1_024

HITS_MAX: Final = 2_000
LINES_MAX: Final = 5_000
"""The most hits ranked and lines looked at for one query: a word like "will" is in nearly all lines."""

WORDS_MAX: Final = 8
TEXT_MAX: Final = 200
LINE_MAX: Final = 600
"""How many characters of a title, outcome or category are searched: one of 10,000 must not slow a search."""

LIMIT_MAX: Final = 100
"""The most results in one answer."""

SEARCHED: Final = ("event", "market", "series")

TYPO_FROM: Final = 4
TWO_TYPOS_FROM: Final = 8
"""From this length on a word may have one or two errors: letters added, missing, replaced or swapped."""

NEAREST: Final = 6
"""How many known words an unknown one may stand for, at most."""

SAMPLE: Final = 64
"""One bucket in this many is counted to learn which of several words is rare."""

SERIES: Final = "series"
EVENT: Final = "event"
MARKET: Final = "market"
_KINDS: Final = (SERIES, EVENT, MARKET)

_WORD: Final = re.compile(rf"[^\W\d_]{{{TYPO_FROM},}}")


class SearchHit(NamedTuple):
    """One result: `kind` is "series", "event" or "market"."""

    kind: str
    ticker: str


class SearchAnswer(NamedTuple):
    """What a query finds, best first.

    Attributes:
        read_as: words that occur nowhere, and the words they were read as.
        more: whether there may be more than what was looked at.
    """

    hits: tuple[SearchHit, ...] = ()
    read_as: Mapping[str, tuple[str, ...]] = {}
    more: bool = False


Activity = Callable[[SearchHit], int]
"""How busy something is: among equally good hits the busiest comes first."""


class IndexPart:
    """The lines of some series, and of some events and their markets."""

    __slots__ = ("hits", "starts", "text")

    def __init__(self, lines: Sequence[tuple[SearchHit, str]]) -> None:
        folded = [fold(text).replace("\n", " ") for _, text in lines]
        self.hits = tuple([hit for hit, _ in lines])
        self.text = "\n".join(folded)
        starts = accumulate((len(line) + 1 for line in folded[:-1]), initial=0)
        self.starts = array("l", starts if folded else ())

    def line(self, number: int) -> str:
        """Return a line."""
        end = self.starts[number + 1] - 1 if number + 1 < len(self.starts) else len(self.text)
        return self.text[self.starts[number] : end]

    def words(self) -> set[str]:
        """Return the words that a typing error may be read as: those of titles, and tickers of series."""
        found: set[str] = set()
        for number, hit in enumerate(self.hits):
            line = self.line(number)
            ticker, _, text = line.partition(" ")
            found.update(_WORD.findall(text))
            if hit.kind == SERIES:
                found.add(ticker)
        return found


_EMPTY: Final = IndexPart(())


class SearchIndex:
    """All series, events and markets of a state, folded for search. Immutable: `moved` makes another."""

    def __init__(self, buckets: Sequence[IndexPart] = (), used: Mapping[str, int] | None = None) -> None:
        self._buckets = buckets or [_EMPTY] * BUCKETS
        self._used: Counter[str] = Counter(used or ())
        self._by_length: dict[int, list[str]] = {}
        for word in self._used:
            self._by_length.setdefault(len(word), []).append(word)

    @classmethod
    def of(cls, state: Records) -> "SearchIndex":
        """Return the index of a whole state."""
        groups: dict[int, set[str]] = {}
        markets_of: dict[str, list[str]] = {}
        for ticker, market in state.markets.items():
            markets_of.setdefault(market.event_ticker, []).append(ticker)
        for ticker in (*state.events, *markets_of):
            groups.setdefault(bucket_of(ticker), set()).add(ticker)
        for series in {event.series_ticker for event in state.events.values()}:
            groups.setdefault(bucket_of(series), set())
        series_in = series_by_bucket(event.series_ticker for event in state.events.values())
        return cls().moved(
            {
                number: IndexPart(lines_of(state, sorted(events), markets_of, series_in.get(number, ())))
                for number, events in groups.items()
            }
        )

    def __len__(self) -> int:
        return sum(len(bucket.hits) for bucket in self._buckets)

    def moved(self, made: Mapping[int, IndexPart]) -> "SearchIndex":
        """Return an index with these buckets in place of those with the same numbers."""
        buckets, used = list(self._buckets), self._used.copy()
        for number, bucket in made.items():
            used.subtract(buckets[number].words())
            used.update(bucket.words())
            buckets[number] = bucket
        return SearchIndex(buckets, +used)

    def find(self, query: str, limit: int, activity: Activity = lambda _hit: 0) -> SearchAnswer:
        """Return what contains every word of `query`, in any order.

        An exact ticker comes first, then what begins with the words, then the busiest.
        """
        words = tuple(dict.fromkeys(fold(query).split()[:WORDS_MAX]))
        if not words:
            return SearchAnswer()
        found, _ = self._search([(word,) for word in words], limit, activity)
        if found.hits:
            return found
        near = {word: self._nearest(word) for word in words}
        if not any(near.values()):
            return SearchAnswer()
        found, lines = self._search([near[word] or (word,) for word in words], limit, activity)
        held = "\n".join(lines)
        read_as = {word: tuple(other for other in others if other in held) for word, others in near.items()}
        return found._replace(read_as={word: others for word, others in read_as.items() if others})

    def _search(
        self, wanted: Sequence[tuple[str, ...]], limit: int, activity: Activity
    ) -> tuple[SearchAnswer, list[str]]:
        """Return what contains one word of each group of alternatives, and its lines."""
        rarest, *rest = sorted(wanted, key=self._commonness)
        every = tuple(word for others in wanted for word in others)
        begun = [[f" {word}" for word in others] for others in wanted]
        ranked: list[tuple[int, int, int, int, SearchHit, str]] = []
        looked = 0
        for bucket in self._buckets:
            text, starts = bucket.text, bucket.starts
            seen: set[int] = set()
            for word in rarest:
                position = text.find(word)
                while position >= 0 and looked < LINES_MAX:
                    number = bisect_right(starts, position) - 1
                    looked += 1
                    line = bucket.line(number)
                    position = text.find(word, starts[number] + len(line))
                    if number in seen or not _holds_each(line, rest):
                        continue
                    seen.add(number)
                    hit = bucket.hits[number]
                    # The ticker itself, its beginning, the beginnings of words, anything.
                    rank = 1
                    if not line.startswith(every):
                        rank = 2 if _holds_each(line, begun) else 3
                    elif len(wanted) == 1 and line.partition(" ")[0] in every:
                        rank = 0
                    kind = _KINDS.index(hit.kind)
                    ranked.append((rank, -activity(hit), kind, len(line), hit, line))
            if looked >= LINES_MAX or len(ranked) >= HITS_MAX:
                break
        ranked.sort()
        more = looked >= LINES_MAX or len(ranked) >= HITS_MAX
        best = ranked[:limit]
        return SearchAnswer(tuple([entry[4] for entry in best]), {}, more), [entry[5] for entry in best]

    def _commonness(self, others: tuple[str, ...]) -> int:
        sample = self._buckets[::SAMPLE]
        return sum(bucket.text.count(word) for word in others for bucket in sample)

    def _nearest(self, word: str) -> tuple[str, ...]:
        """Return the catalogue's words that may have been meant by a word, the likeliest first."""
        if len(word) < TYPO_FROM or word in self._used:
            return ()
        most = 2 if len(word) >= TWO_TYPOS_FROM else 1
        choices = [
            known
            for length in range(len(word) - most, len(word) + most + 1)
            for known in self._by_length.get(length, ())
        ]
        near = process.extract(word, choices, scorer=OSA.distance, score_cutoff=most, limit=None)
        if not near:
            return ()
        least = min(distance for _, distance, _ in near)
        alike = [known for known, distance, _ in near if distance == least]
        alike.sort(key=lambda known: (-self._used[known], known))
        return tuple(alike[:NEAREST])


def bucket_of(ticker: str) -> int:
    """Return the bucket of an event with its markets, or of a series: the same in every process."""
    return zlib.crc32(ticker.encode(errors="replace")) % BUCKETS


def series_by_bucket(series: Iterable[str]) -> dict[int, list[str]]:
    """Return series by the bucket that their lines are in."""
    found: dict[int, list[str]] = {}
    for ticker in sorted(set(series)):
        if ticker:
            found.setdefault(bucket_of(ticker), []).append(ticker)
    return found


def lines_of(
    state: Records,
    events: Iterable[str],
    markets_of: Mapping[str, Sequence[str]],
    series: Iterable[str] = (),
) -> list[tuple[SearchHit, str]]:
    """Return the lines to search for some events with their markets, and for some series."""
    found: list[tuple[SearchHit, str]] = []
    for ticker in series:
        of = state.series.get(ticker)
        text = "" if of is None else f"{of.title[:LINE_MAX]} {of.category[:LINE_MAX]}"
        found.append((SearchHit(SERIES, ticker), f"{ticker} {text}"))
    for event_ticker in events:
        event = state.events.get(event_ticker)
        title = ""
        if event is not None:
            title = event.title[:LINE_MAX]
            parts = (event_ticker, title, event.sub_title[:LINE_MAX], event.category[:LINE_MAX])
            found.append((SearchHit(EVENT, event_ticker), " ".join(parts)))
        for ticker in markets_of.get(event_ticker, ()):
            market = state.markets.get(ticker)
            if market is not None:
                own = market.title[:LINE_MAX].replace("**", "")
                parts = (ticker, own, market.yes_sub_title[:LINE_MAX], title if title != own else "")
                found.append((SearchHit(MARKET, ticker), " ".join(parts)))
    return found


def title_of(state: Records, hit: SearchHit) -> tuple[str, str]:
    """Return the title of a hit, and a market's outcome or an event's subtitle."""
    if hit.kind == SERIES:
        series = state.series.get(hit.ticker)
        return ("" if series is None else series.title) or hit.ticker, ""
    if hit.kind == EVENT:
        event = state.events.get(hit.ticker)
        return (hit.ticker, "") if event is None else (event.title, event.sub_title)
    market = state.markets.get(hit.ticker)
    if market is None:
        return hit.ticker, ""
    event = state.events.get(market.event_ticker)
    return market.title or ("" if event is None else event.title), market.yes_sub_title


def named(state: Records, kind: str, key: str) -> tuple[str, ...] | None:
    """Return what the index takes of one record; None if it is unknown or not searched."""
    if kind == "market":
        market = state.markets.get(key)
        return None if market is None else (market.event_ticker, market.title, market.yes_sub_title)
    if kind == "event":
        event = state.events.get(key)
        if event is None:
            return None
        return (event.series_ticker, event.title, event.sub_title, event.category)
    if kind == "series":
        series = state.series.get(key)
        return None if series is None else (series.title, series.category)
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
    # Without invisible characters: a mark that reverses the direction of writing would reverse the title too.
    text = "".join(filter(str.isprintable, found.get("q", ""))).strip()
    if len(text) > TEXT_MAX:
        raise BadRecord("q", text, f"at most {TEXT_MAX} characters")
    limit = found.get("limit", "") or str(limit_default)
    if not limit.isascii() or not limit.isdecimal() or not 1 <= int(limit[:9]) <= LIMIT_MAX:
        raise BadRecord("limit", limit, f"a whole number from 1 to {LIMIT_MAX}")
    return text, int(limit)


def fold(text: str) -> str:
    """Return `text` in the form that is compared: without case and accents."""
    if text.isascii():
        return text.lower()
    plain = "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
    return plain.casefold()


def _holds_each(line: str, wanted: Sequence[Sequence[str]]) -> bool:
    """Return whether a line contains one word of each group of alternatives."""
    for others in wanted:
        for word in others:
            if word in line:
                break
        else:
            return False
    return True
