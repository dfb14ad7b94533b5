"""What a sweep found, against what is held: the changes of a commit, in a fixed order. No I/O.

Two steps. `read_*` runs in the sweep's thread while pages arrive: it hashes each market's bytes, and decodes
only those that changed since they were last taken over. `diff` runs in the bus thread at commit time and
compares with the state as it is then, so that whatever was streamed meanwhile counts. The two never run at
the same time: the sweep waits for its commit.
"""

from collections.abc import Collection, Container, Mapping
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Final, NamedTuple, TypeVar

import msgspec
from msgspec import Raw

from bus.protocol.digest import record_hash
from bus.protocol.messages import MAX_MESSAGE_BYTES, TOPIC_EX, TOPIC_REF, CycleEnd, market_topic
from bus.protocol.state import State
from bus.protocol.writer import Change
from markets.book import top_of_quote
from markets.errors import BadRecord
from markets.json.pages import market_ticker, text_member
from markets.json.read import decode_event, decode_market, decode_milestone, decode_series
from markets.records import (
    UNJOINED_SERIES,
    Event,
    ExchangeStatus,
    Market,
    Milestone,
    Quote,
    Record,
    Remove,
    Series,
    Status,
)
from markets.units import parse_time_ms

from .quarantine import Quarantine

KEEP_FINALIZED_MS: Final = 24 * 3_600_000
"""Settled markets stay this long, so that positions keep their row."""

ROTATION_MS: Final = 540_000
"""Everything is sent again within this time: the protocol promises 10 minutes."""

MAX_RECORD_BYTES: Final = MAX_MESSAGE_BYTES - 10_000
MAX_UNCONFIRMED_BYTES: Final = 200_000

R = TypeVar("R", bound=Record)


class Universe(NamedTuple):
    """Which markets are wanted: each list narrows, an empty one does not."""

    series: frozenset[str] = frozenset()
    categories: frozenset[str] = frozenset()
    tickers: frozenset[str] = frozenset()

    def wants_event(self, event: Event, series: Series | None) -> bool:
        """Tell whether markets of this event may be wanted."""
        if self.series and event.series_ticker not in self.series:
            return False
        return not self.categories or bool(
            self.categories & {event.category, series.category if series else event.category}
        )

    def wants_market(self, ticker: str) -> bool:
        """Tell whether this market of a wanted event is wanted."""
        return not self.tickers or ticker in self.tickers


class Candidate(NamedTuple):
    """A market whose bytes are not those last taken over."""

    market: Market
    quote: Quote
    digest: int


class Seen(NamedTuple):
    """What an event's bytes were decoded to: its markets, and those long settled with their hashes."""

    event_ticker: str
    markets: tuple[str, ...]
    settled: dict[str, int]


class Reading:
    """What one sweep has read so far.

    Attributes:
        as_of_ms: the age of the crawl's oldest reply, None before the first.
        complete: whether every request so far succeeded.
        confirmed: held markets whose bytes are unchanged.
        candidates: the others.
        loose: markets that came apart from the crawl, often from an older cache -> the age of that reply.
        settled: long settled markets that are not kept, with the hash of their bytes.
        unjoined: event ticker -> raw markets (and their age) whose event is not known yet.
        unwanted: events outside the universe.
        gone: held markets that the exchange does not know any more.
        bad: (what, key) of refused records.
        whole: decoded event of which nothing was refused -> the hash of its bytes, and of each market's.
    """

    def __init__(self, started_ms: int) -> None:
        self.started_ms = started_ms
        self.ended_ms = started_ms
        self.as_of_ms: int | None = None
        self.complete = True
        self.exchange: ExchangeStatus | None = None
        self.confirmed: set[str] = set()
        self.candidates: dict[str, Candidate] = {}
        self.loose: dict[str, int] = {}
        self.settled: dict[str, int] = {}
        self.unjoined: dict[str, list[tuple[bytes, int]]] = {}
        self.unwanted: set[str] = set()
        self.gone: set[str] = set()
        self.bad: set[tuple[str, str]] = set()
        self.events: dict[str, Event] = {}
        self.series: dict[str, Series] = {}
        self.milestones: dict[str, Milestone] = {}
        self.whole: dict[str, tuple[int, dict[str, int]]] = {}

    def reply(self, as_of_ms: int) -> None:
        """Note the age of one reply of the crawl."""
        self.as_of_ms = as_of_ms if self.as_of_ms is None else min(self.as_of_ms, as_of_ms)

    def saw(self, ticker: str) -> bool:
        """Tell whether this market was in a reply in good shape."""
        return ticker in self.confirmed or ticker in self.candidates or ticker in self.settled

    def unseen(self, tickers: AbstractSet[str]) -> set[str]:
        """Return those of `tickers` that were in no reply in good shape."""
        return set(tickers) - self.confirmed - self.candidates.keys() - self.settled.keys()

    def confirm(self, tickers: Collection[str]) -> None:
        """Note that these markets' bytes are those that are held."""
        self.confirmed.update(tickers)
        if not self.candidates.keys().isdisjoint(tickers):  # other bytes came before in this sweep
            for ticker in tickers:
                self.candidates.pop(ticker, None)

    def older_than_crawl(self, ticker: str) -> bool:
        """Tell whether a loose market is known as of an earlier time than the crawl's."""
        return self.as_of_ms is not None and self.loose[ticker] < self.as_of_ms


class Diff(NamedTuple):
    """Changes of a commit and its end (numbered by the writer)."""

    changes: list[Change]
    cycle: CycleEnd


class Catalogue:
    """What is held of the exchange's catalogue, beside the state: hashes, relations, what is due.

    Args:
        state: the publisher's; records in it (from a checkpoint) are taken as held.

    Attributes:
        older: how many quotes were refused because a newer one is held.
        disputed: markets whose refused quote showed other best prices than the held one; bus thread.
        listed_series: what the last list of series had, as sent; the sweep's thread sets it.
    """

    def __init__(self, state: State, universe: Universe, quarantine: Quarantine) -> None:
        self.state = state
        self.universe = universe
        self.older = 0
        self.disputed: set[str] = set()
        self.listed_series: Mapping[str, bytes] = {}
        self._quarantine = quarantine
        self._taken: dict[str, int] = {}
        self._seen: dict[int, Seen] = {}
        self._seen_of: dict[str, int] = {}
        self._seeds: dict[str, int] = {}
        self._settled: dict[str, int] = {}
        self._expires_ms: dict[str, int] = {}
        self._active: set[str] = set()
        self._markets_of: dict[str, set[str]] = {}
        self._members_changed = True
        self._rotation: dict[str, dict[str, None]] = {
            kind: dict.fromkeys(state.records[kind]) for kind in ("series", "event", "milestone", "market")
        }
        self._rotated_ms: int | None = None
        for ticker, market in state.markets.items():
            self._hold(ticker, market, state.quotes.get(ticker))

    # -- reading, in the sweep's thread

    def read_event(self, raw: Raw | bytes, as_of_ms: int, reading: Reading) -> None:
        """Read an event with its nested markets."""
        digest = record_hash(raw)
        seen = self._seen.get(digest)
        if seen is not None:  # the very bytes that are held: nothing of them is decoded
            reading.confirm(seen.markets)
            reading.settled.update(seen.settled)
            reading.events.pop(seen.event_ticker, None)
            return
        held = self.state.events
        try:
            event, markets = decode_event(raw, held)
            _check_size(event.raw, "event")
        except BadRecord as error:
            # Its markets are held and age, and are looked up singly when they are missed.
            self._refuse("event", _key_of(raw, "event_ticker"), error, raw, reading)
            return
        self._quarantine.good("event", event.event_ticker)
        series = self._series(event.series_ticker, reading)
        if not self.universe.wants_event(event, series):
            reading.unwanted.add(event.event_ticker)
            return
        reading.events[event.event_ticker] = event
        taken, seed = self._taken, self._seed(event.series_ticker)
        known = {taken.get(ticker): ticker for ticker in self._markets_of.get(event.event_ticker, ())}
        digests: dict[str, int] = {}
        changed: list[tuple[Raw, int]] = []
        for market in markets:
            market_digest = record_hash(market, seed=seed)
            ticker = known.get(market_digest)
            if ticker is not None:
                digests[ticker] = market_digest
            else:
                changed.append((market, market_digest))
        reading.confirm(digests)
        for market, market_digest in changed:
            ticker = self._read_market(market, market_digest, event.series_ticker, as_of_ms, reading)
            digests[ticker] = market_digest
        if "" in digests:
            reading.whole.pop(event.event_ticker, None)
        else:
            reading.whole[event.event_ticker] = digest, digests

    def _series(self, ticker: str, reading: Reading) -> Series | None:
        """Return a series by which an event is judged; one that is listed and not held is read first."""
        series = reading.series.get(ticker) or self.state.series.get(ticker)
        raw = self.listed_series.get(ticker) if series is None else None
        if raw is not None:
            self.read_series(raw, reading)
            series = reading.series.get(ticker)
        return series

    def read_market(
        self, raw: Raw | bytes, series_ticker: str | None, as_of_ms: int, reading: Reading
    ) -> None:
        """Read a market that came without the crawl (`Reading.loose`).

        Args:
            series_ticker: None where the exchange does not know its event.
        """
        digest = record_hash(raw, seed=self._seed(series_ticker or UNJOINED_SERIES))
        ticker = self._read_market(raw, digest, series_ticker, as_of_ms, reading)
        if ticker:
            reading.loose[ticker] = as_of_ms

    def _read_market(
        self, raw: Raw | bytes, digest: int, series_ticker: str | None, as_of_ms: int, reading: Reading
    ) -> str:
        """Read a market; return its ticker, "" if it is refused or not wanted.

        The series is part of `digest`, though it is not in the bytes.
        """
        ticker = ""
        try:
            ticker = market_ticker(raw)
            if self._taken.get(ticker) == digest:
                reading.confirm((ticker,))
                return ticker
            if not self.universe.wants_market(ticker):
                return ""
            if self._settled.get(ticker) == digest:
                reading.settled[ticker] = digest  # it must be seen again as settled
                return ticker
            _check_size(raw, "market")
            market, quote = decode_market(
                raw,
                series_ticker=series_ticker,
                as_of_ms=as_of_ms,
                previous=self.state.markets.get(ticker),
            )
        except BadRecord as error:
            self._refuse("market", ticker, error, raw, reading)
            return ""
        self._quarantine.good("market", ticker)
        reading.candidates[ticker] = Candidate(market, quote, digest)
        return ticker

    def _seed(self, series_ticker: str) -> int:
        seed = self._seeds.get(series_ticker)
        if seed is None:
            seed = self._seeds[series_ticker] = record_hash(series_ticker.encode())
        return seed

    def read_loose_market(self, raw: Raw | bytes, as_of_ms: int, reading: Reading) -> None:
        """Read a market that came without its event; it waits in `reading.unjoined` if that is not known."""
        try:
            ticker, event_ticker = market_ticker(raw), text_member(raw, "event_ticker")
        except BadRecord as error:
            self._refuse("market", _key_of(raw, "ticker"), error, raw, reading)
            return
        if event_ticker in reading.unwanted:
            return
        event = reading.events.get(event_ticker) or self.state.events.get(event_ticker)
        held = self.state.markets.get(ticker)
        if event is not None:
            if self.universe.wants_event(event, self._series(event.series_ticker, reading)):
                self.read_market(raw, event.series_ticker, as_of_ms, reading)
        elif held is not None and held.series_ticker is not None:
            self.read_market(raw, held.series_ticker, as_of_ms, reading)
        elif self.universe.wants_market(ticker):
            reading.unjoined.setdefault(event_ticker, []).append((bytes(raw), as_of_ms))

    def read_milestone(self, raw: Raw | bytes, reading: Reading) -> None:
        """Read a milestone."""
        try:
            held = self.state.milestones.get(text_member(raw, "id"))
            if held is not None and held.raw == bytes(raw):
                reading.milestones.pop(held.id, None)
                return
            _check_size(raw, "milestone")
            milestone = decode_milestone(raw)
        except BadRecord as error:
            self._refuse("milestone", _key_of(raw, "id"), error, raw, reading)
            return
        self._quarantine.good("milestone", milestone.id)
        reading.milestones[milestone.id] = milestone

    def read_series(self, raw: Raw | bytes, reading: Reading) -> None:
        """Read a series."""
        try:
            _check_size(raw, "series")
            series = decode_series(raw)
        except BadRecord as error:
            self._refuse("series", _key_of(raw, "ticker"), error, raw, reading)
            return
        self._quarantine.good("series", series.ticker)
        reading.series[series.ticker] = series

    def open_events(self) -> dict[str, int]:
        """Return the held events that have a market not finalized, with how many markets of them are held."""
        events, expires = self.state.events, self._expires_ms
        return {
            ticker: len(markets)
            for ticker, markets in self._markets_of.items()
            if ticker in events and not markets <= expires.keys()
        }

    def missing(self, reading: Reading) -> list[str]:
        """Return the held markets that a whole crawl did not show, longest unconfirmed first.

        Finalized ones change no more and are not asked for.
        """
        state = self.state
        missing = reading.unseen(state.markets.keys()) - self._expires_ms.keys() - reading.gone
        return sorted(missing, key=lambda ticker: (state.quote_as_of_ms(ticker) or 0, ticker))

    def _refuse(self, what: str, key: str, error: BadRecord, raw: Raw | bytes, reading: Reading) -> None:
        self._quarantine.put(what, key, error, bytes(raw))
        reading.bad.add((what, key))
        if what == "market":
            reading.confirmed.discard(key)
            reading.candidates.pop(key, None)

    # -- the commit, in the bus thread

    def diff(self, reading: Reading, now_ms: int) -> Diff:
        """Return the changes that make the state what was read, and take note of them as held.

        The caller holds the state's lock and applies them before the next call.
        """
        state = self.state
        markets: dict[str, dict[str, list[Record]]] = {}
        removed: set[str] = set()
        for ticker in sorted(reading.candidates):
            self._take(ticker, reading.candidates[ticker], now_ms, markets, removed, reading)
        self._refresh(reading, markets)
        expired = {ticker for ticker, at_ms in self._expires_ms.items() if at_ms <= now_ms}
        for ticker in sorted((expired | reading.gone) - removed):
            if ticker in state.markets:
                self._drop(ticker, markets, removed)

        exchange: list[Record] = [reading.exchange] if reading.exchange else []
        puts, drops = self._references(reading)
        changes: list[Change] = [(TOPIC_EX, "exchange", exchange)] if exchange else []
        changes += puts
        for topic in sorted(markets):
            changes += [
                (topic, kind, markets[topic][kind])
                for kind in ("remove", "market", "quote")
                if kind in markets[topic]
            ]
        changes += drops
        if reading.complete:
            self._settled = reading.settled
        self._note_whole(reading)
        return Diff(changes, self._cycle(reading, removed))

    def _take(
        self,
        ticker: str,
        candidate: Candidate,
        now_ms: int,
        markets: dict[str, dict[str, list[Record]]],
        removed: set[str],
        reading: Reading,
    ) -> None:
        state = self.state
        market, quote, digest = candidate
        held, held_quote = state.markets.get(ticker), state.quotes.get(ticker)
        if quote.status is Status.FINALIZED and _expires_ms(market, quote) <= now_ms:
            reading.settled[ticker] = digest
            if held is not None:
                self._drop(ticker, markets, removed)
            return
        topic = market_topic(market.series_ticker or UNJOINED_SERIES)
        if held is not None and state.stream_of[ticker] != topic:
            self._drop(ticker, markets, removed)
            removed.discard(ticker)  # it is held all the same, elsewhere
            held = held_quote = None
        held_as_of_ms = state.quote_as_of_ms(ticker) if held_quote is not None else None
        # A held time in the future is a clock that was set back, not a newer quote.
        if held_as_of_ms is not None and quote.as_of_ms < held_as_of_ms <= now_ms:
            self.older += 1  # not noted as taken, so it is looked at again
            if held_quote is not None and top_of_quote(quote) != top_of_quote(held_quote):
                self.disputed.add(ticker)
            return
        kinds = markets.setdefault(topic, {})
        if held is not market and held != market:
            kinds.setdefault("market", []).append(market)
        if held_quote is None or msgspec.structs.replace(quote, as_of_ms=held_quote.as_of_ms) != held_quote:
            kinds.setdefault("quote", []).append(quote)
            held_quote = quote
        if held is not None and held.event_ticker != market.event_ticker:
            self._leave_event(ticker, held.event_ticker)
        self._taken[ticker] = digest
        # Its event's bytes of before say something else of it now; `_note_whole` notes those that do not.
        self._forget_event(market.event_ticker)
        self.disputed.discard(ticker)
        self._hold(ticker, market, held_quote)

    def streamed(self, ticker: str, status: Status) -> None:
        """Note that this market's quote is not the one last swept: equal bytes confirm it no more."""
        if self._taken.pop(ticker, None) is not None:
            self._forget_event(self.state.markets[ticker].event_ticker)
        if status is Status.ACTIVE:
            self._active.add(ticker)
        else:
            self._active.discard(ticker)

    def _forget_event(self, event_ticker: str) -> None:
        """Forget an event's bytes: it is decoded when it comes next."""
        digest = self._seen_of.pop(event_ticker, None)
        if digest is not None:
            self._seen.pop(digest, None)

    def _note_whole(self, reading: Reading) -> None:
        """Remember the bytes of decoded events that are now held as they came, with all their markets."""
        for event_ticker in reading.events:
            self._forget_event(event_ticker)
        for event_ticker, (digest, markets) in reading.whole.items():
            if event_ticker not in self._markets_of or event_ticker not in reading.events:
                continue
            held = [ticker for ticker, taken in markets.items() if self._taken.get(ticker) == taken]
            settled = {}
            if len(held) != len(markets):
                settled = {t: d for t, d in markets.items() if reading.settled.get(t) == d}
            if len(held) + len(settled) == len(markets):
                self._seen[digest] = Seen(event_ticker, tuple(held), settled)
                self._seen_of[event_ticker] = digest

    def _refresh(self, reading: Reading, markets: dict[str, dict[str, list[Record]]]) -> None:
        """Send unchanged quotes that were read apart with the age of their own: the cycle's is too young."""
        for ticker in sorted(reading.loose.keys() & reading.confirmed):
            known_ms = self.state.quote_as_of_ms(ticker)
            if reading.older_than_crawl(ticker) and known_ms is not None:
                quote = self.state.quotes[ticker]
                if reading.loose[ticker] > known_ms:
                    quote = msgspec.structs.replace(quote, as_of_ms=reading.loose[ticker])
                    kinds = markets.setdefault(self.state.stream_of[ticker], {})
                    kinds.setdefault("quote", []).append(quote)

    def _hold(self, ticker: str, market: Market, quote: Quote | None) -> None:
        siblings = self._markets_of.get(market.event_ticker)
        if siblings is None:
            siblings = self._markets_of[market.event_ticker] = set()
            self._members_changed = True
        siblings.add(ticker)
        self._rotation["market"].setdefault(ticker)
        if quote is not None and quote.status is Status.ACTIVE:
            self._active.add(ticker)
        else:
            self._active.discard(ticker)
        if quote is not None and quote.status is Status.FINALIZED:
            self._expires_ms[ticker] = _expires_ms(market, quote)
        else:
            self._expires_ms.pop(ticker, None)

    def _drop(self, ticker: str, markets: dict[str, dict[str, list[Record]]], removed: set[str]) -> None:
        topic = self.state.stream_of[ticker]
        markets.setdefault(topic, {}).setdefault("remove", []).append(Remove("market", ticker))
        removed.add(ticker)
        self._taken.pop(ticker, None)
        self.disputed.discard(ticker)
        self._expires_ms.pop(ticker, None)
        self._active.discard(ticker)
        self._rotation["market"].pop(ticker, None)
        self._leave_event(ticker, self.state.markets[ticker].event_ticker)

    def _leave_event(self, ticker: str, event_ticker: str) -> None:
        self._forget_event(event_ticker)
        siblings = self._markets_of.get(event_ticker, set())
        siblings.discard(ticker)
        if not siblings and self._markets_of.pop(event_ticker, None) is not None:
            self._members_changed = True

    def _references(self, reading: Reading) -> tuple[list[Change], list[Change]]:
        """Return what reference data to put and what to remove: it is held while a market needs it."""
        state, markets_of = self.state, self._markets_of
        held = state.events
        changed = {key: event for key, event in reading.events.items() if held.get(key) is not event}
        if not (changed or reading.series or reading.milestones or self._members_changed):
            return [], []
        self._members_changed = False
        events = {**held, **changed}
        needed = {events[ticker].series_ticker for ticker in markets_of if ticker in events}
        linked = {key: m for key, m in reading.milestones.items() if self._links(m)}
        puts: list[Change] = []
        gone: list[Record] = []
        sources: tuple[tuple[str, Mapping[str, Record], Container[str], AbstractSet[str]], ...] = (
            ("series", reading.series, needed, state.series.keys() - needed),
            ("event", changed, markets_of, held.keys() - markets_of.keys()),
            (
                "milestone",
                linked,
                linked,
                {key for key, m in state.milestones.items() if not self._links(m)},
            ),
        )
        for kind, read, wanted, unwanted in sources:
            records, rotation = state.records[kind], self._rotation[kind]
            put = [read[key] for key in sorted(read) if key in wanted and records.get(key) != read[key]]
            if put:
                puts.append((TOPIC_REF, kind, put))
            for key in sorted(read):
                if key in wanted:
                    rotation.setdefault(key)
            for key in sorted(unwanted):
                rotation.pop(key, None)
                gone.append(Remove(kind, key))
        return puts, [(TOPIC_REF, "remove", gone)] if gone else []

    def _links(self, milestone: Milestone) -> bool:
        return any(ticker in self._markets_of for ticker in milestone.primary_event_tickers) or any(
            ticker in self._markets_of for ticker in milestone.related_event_tickers
        )

    def _cycle(self, reading: Reading, removed: set[str]) -> CycleEnd:
        state, last = self.state, self.state.cycle
        late = {
            ticker for ticker in reading.loose if reading.saw(ticker) and reading.older_than_crawl(ticker)
        }
        late -= removed | reading.settled.keys()
        unseen = reading.unseen(state.markets.keys()) - removed
        unconfirmed = sorted((unseen | late) - self._expires_ms.keys())
        as_of_ms = reading.as_of_ms
        if sum(map(len, unconfirmed)) + 3 * len(unconfirmed) > MAX_UNCONFIRMED_BYTES:
            # Too many to name: say nothing newer about the unchanged ones than was known before.
            as_of_ms = last.as_of_ms if last else None
            before = set(last.unconfirmed) if last else set()
            unconfirmed = [ticker for ticker in unconfirmed if ticker in before]
        return CycleEnd(
            cycle=0,
            first=0,
            last=0,
            count=0,
            complete=reading.complete,
            started_ms=reading.started_ms,
            ended_ms=reading.ended_ms,
            as_of_ms=as_of_ms,
            unconfirmed=tuple(unconfirmed),
            complete_ms=reading.ended_ms if reading.complete else (last.complete_ms if last else None),
            markets=len(self._active),
            quarantined=len(reading.bad),
            unjoined=sum(map(len, reading.unjoined.values())),
        )

    # -- rotation

    def rotate(self, now_ms: int) -> list[Change]:
        """Return what is due to be sent again as it is, so that everything is within ROTATION_MS.

        Call after the commit, in the bus thread.
        """
        state = self.state
        last_ms, self._rotated_ms = self._rotated_ms, now_ms
        if last_ms is None or last_ms > now_ms:
            return []
        passed_ms = min(now_ms - last_ms, ROTATION_MS)
        found: dict[tuple[str, str], list[Record]] = {}
        for kind, rotation in self._rotation.items():
            for key in list(islice(rotation, -(-len(rotation) * passed_ms // ROTATION_MS))):
                del rotation[key]
                record = state.records[kind].get(key)
                if record is None:
                    continue
                rotation[key] = None
                topic = state.stream_of[key] if kind == "market" else TOPIC_REF
                found.setdefault((topic, kind), []).append(record)
                if kind == "market":
                    found.setdefault((topic, "quote"), []).append(state.quotes[key])
        return [(topic, kind, records) for (topic, kind), records in sorted(found.items(), key=_by_key)]


def _by_key(item: tuple[tuple[str, str], list[Record]]) -> tuple[str, str]:
    return item[0]


def _expires_ms(market: Market, quote: Quote) -> int:
    """Return until when a finalized market is kept. `settlement_ts` is sent from settlement on."""
    try:
        settled_ms = parse_time_ms(text_member(market.raw, "settlement_ts"), "settlement_ts")
    except BadRecord:
        settled_ms = quote.as_of_ms
    return settled_ms + KEEP_FINALIZED_MS


def _check_size(raw: Raw | bytes, what: str) -> None:
    """Refuse what no message could carry."""
    size = len(memoryview(raw))
    if size > MAX_RECORD_BYTES:
        raise BadRecord(what, f"{size} bytes", f"at most {MAX_RECORD_BYTES} bytes")


def _key_of(raw: Raw | bytes, name: str) -> str:
    try:
        return text_member(raw, name)[:200]
    except BadRecord:
        return ""
