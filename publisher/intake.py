"""Reads replies into a `Reading` while the pages arrive. No I/O; the sweep's thread.

Each market's bytes are hashed, and decoded only if they are not those last accepted.
"""

from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec import Raw

from bus.protocol.digest import record_hash
from bus.protocol.messages import MAX_MESSAGE_BYTES
from bus.threads import Owner
from markets.errors import BadRecord
from markets.json.pages import market_ticker, text_member
from markets.json.read import decode_event, decode_market, decode_milestone, decode_series
from markets.records import UNJOINED_SERIES, Event, Quote, Record, Series, Status

from .drift import DriftWatch
from .held import Held
from .quarantine import Quarantine
from .reading import Candidate, Reading, Universe

MAX_RECORD_BYTES: Final = MAX_MESSAGE_BYTES - 10_000
LISTED_MARKETS: Final = "GET /markets"
LISTED_EVENTS: Final = "GET /events"
LOOKED_AT: Final = ""
"""The route of what has been checked for drift together with its whole reply."""


class Intake:
    """Reads what the exchange sent, in the light of what is held. One thread, while no other commits.

    Args:
        held: it is only read.
        quarantine: takes the records that cannot be trusted.
        drift: checks what has changed.

    Attributes:
        listed_series: what the last list of series contained, as sent.
    """

    def __init__(self, held: Held, universe: Universe, quarantine: Quarantine, drift: DriftWatch) -> None:
        self.universe = universe
        self.drift = drift
        self.listed_series: dict[str, bytes] = {}
        self._held = held
        self._quarantine = quarantine
        self._seeds: dict[str, int] = {}
        # What a checkpoint brought was checked in an earlier life, perhaps by another build.
        state = held.state
        self._unlooked = {
            "markets": set(state.markets),
            "events": set(state.events),
            "milestones": set(state.milestones),
        }
        self._thread = Owner("what takes a sweep in")

    def read_event(
        self,
        raw: Raw | bytes,
        as_of_ms: int,
        reading: Reading,
        *,
        loose: bool = False,
        route: str = LISTED_EVENTS,
    ) -> None:
        """Read an event with its nested markets; `loose`: it came without the crawl (`Reading.loose`).

        Args:
            route: that of the list it was in, or LOOKED_AT.
        """
        self._thread.check()
        digest = record_hash(raw)
        seen = self._held.seen(digest)
        if seen is not None:  # exactly the bytes that are held, so nothing is decoded
            reading.confirm(seen.markets)
            if loose:
                reading.loose.update(dict.fromkeys(seen.markets, as_of_ms))
            reading.settled.update(seen.settled)
            reading.events.pop(seen.event_ticker, None)
            return
        held = self._held.state.events
        try:
            event, markets = decode_event(raw, held)
            _check_size(event.raw, "event")
        except BadRecord as error:
            # Its markets are held and age, and are looked up one by one when they are missing.
            self._look(route, "events", "", raw)
            self._refuse("event", _key_of(raw, "event_ticker"), error, raw, reading)
            return
        if _differ(event, held.get(event.event_ticker)) or event.event_ticker in self._unlooked["events"]:
            self._look(route, "events", event.event_ticker, raw)
        self._quarantine.good("event", event.event_ticker)
        series = self._series(event.series_ticker, reading)
        if not self.universe.wants_event(event, series):
            reading.unwanted.add(event.event_ticker)
            if event.event_ticker not in reading.kept_events:
                return
            markets = []  # only those in somebody's position are wanted, and they are read by name
        taken, seed = self._held.taken, self._seed(event.series_ticker)
        known = {taken.get(ticker): ticker for ticker in self._held.markets_of(event.event_ticker)}
        digests: dict[str, int] = {}
        changed: list[tuple[int, Raw, int]] = []
        order: list[str] = []
        for market in markets:
            market_digest = record_hash(market, seed=seed)
            ticker = known.get(market_digest, "")
            if ticker:
                digests[ticker] = market_digest
            else:
                changed.append((len(order), market, market_digest))
            order.append(ticker)
        reading.confirm(digests)
        for index, market, market_digest in changed:
            ticker = self._read_market(market, market_digest, event.series_ticker, as_of_ms, reading, route)
            digests[ticker] = market_digest
            order[index] = ticker or _ticker_of(market)  # a refused one keeps its place
        reading.events[event.event_ticker] = _ordered(event, order, held.get(event.event_ticker))
        if loose:
            reading.loose.update(dict.fromkeys(digests.keys() - {""}, as_of_ms))
        if "" in digests:
            reading.whole.pop(event.event_ticker, None)
        else:
            reading.whole[event.event_ticker] = digest, digests

    def _series(self, ticker: str, reading: Reading) -> Series | None:
        """Return the series by which an event is judged; one that is listed but not held is read first."""
        series = reading.series.get(ticker) or self._held.state.series.get(ticker)
        raw = self.listed_series.get(ticker) if series is None else None
        if raw is not None:
            self.read_series(raw, reading)
            series = reading.series.get(ticker)
        return series

    def read_market(
        self,
        raw: Raw | bytes,
        series_ticker: str | None,
        as_of_ms: int,
        reading: Reading,
        *,
        route: str = LISTED_MARKETS,
    ) -> None:
        """Read a market that came without the crawl (`Reading.loose`).

        Args:
            series_ticker: None if the exchange does not know its event.
            route: that of the list it was in, or LOOKED_AT.
        """
        digest = record_hash(raw, seed=self._seed(series_ticker or UNJOINED_SERIES))
        ticker = self._read_market(raw, digest, series_ticker, as_of_ms, reading, route)
        if ticker:
            reading.loose[ticker] = as_of_ms

    def _read_market(
        self,
        raw: Raw | bytes,
        digest: int,
        series_ticker: str | None,
        as_of_ms: int,
        reading: Reading,
        route: str,
    ) -> str:
        """Read a market; return its ticker, or "" if it is refused or unwanted.

        The series is part of `digest`, although it is not in the bytes.
        """
        ticker = ""
        try:
            ticker = market_ticker(raw)
            if self._held.taken.get(ticker) == digest:
                reading.confirm((ticker,))
                return ticker
            if not (self.universe.wants_market(ticker) or ticker in reading.kept):
                return ""
            if self._held.settled(ticker) == digest and ticker not in reading.kept:
                reading.settled[ticker] = digest  # it must be seen again once settled
                return ticker
            _check_size(raw, "market")
            previous = self._held.state.markets.get(ticker)
            market, quote = decode_market(
                raw, series_ticker=series_ticker, as_of_ms=as_of_ms, previous=previous
            )
            if _differ(market, previous) or not _as_documented(quote) or ticker in self._unlooked["markets"]:
                self._look(route, "markets", ticker, raw)
        except BadRecord as error:
            self._look(route, "markets", ticker, raw)
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

    def read_loose_market(
        self, raw: Raw | bytes, as_of_ms: int, reading: Reading, *, route: str = LISTED_MARKETS
    ) -> None:
        """Read a market that came without its event; it waits in `reading.unjoined` if that is not known."""
        try:
            ticker, event_ticker = market_ticker(raw), text_member(raw, "event_ticker")
        except BadRecord as error:
            self._look(route, "markets", "", raw)
            self._refuse("market", _key_of(raw, "ticker"), error, raw, reading)
            return
        kept = ticker in reading.kept
        if kept:
            reading.kept_events.add(event_ticker)
        elif event_ticker in reading.unwanted:
            return
        event = reading.events.get(event_ticker) or self._held.state.events.get(event_ticker)
        held = self._held.state.markets.get(ticker)
        if event is not None:
            if kept or self.universe.wants_event(event, self._series(event.series_ticker, reading)):
                self.read_market(raw, event.series_ticker, as_of_ms, reading, route=route)
        elif held is not None and held.series_ticker is not None:
            self.read_market(raw, held.series_ticker, as_of_ms, reading, route=route)
        elif kept or self.universe.wants_market(ticker):
            reading.unjoined.setdefault(event_ticker, []).append((bytes(raw), as_of_ms))

    def read_milestone(self, raw: Raw | bytes, reading: Reading, *, route: str = LISTED_EVENTS) -> None:
        """Read a milestone; `route` as in `read_event`."""
        try:
            held = self._held.state.milestones.get(text_member(raw, "id"))
            if held is None or held.raw != bytes(raw) or held.id in self._unlooked["milestones"]:
                self._look(route, "milestones", "" if held is None else held.id, raw)
            if held is not None and held.raw == bytes(raw):
                reading.milestones.pop(held.id, None)
                return
            _check_size(raw, "milestone")
            milestone = decode_milestone(raw)
        except BadRecord as error:
            key = _key_of(raw, "id")
            if not key:  # refused before it was checked
                self._look(route, "milestones", "", raw)
            self._refuse("milestone", key, error, raw, reading)
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

    def _look(self, route: str, name: str, key: str, raw: Raw | bytes) -> None:
        """Check an element of the list `name` of a route for drift."""
        self._unlooked[name].discard(key)
        if route != LOOKED_AT:
            self.drift.part(route, name, raw)

    def _refuse(self, what: str, key: str, error: BadRecord, raw: Raw | bytes, reading: Reading) -> None:
        self._quarantine.put(what, key, error, bytes(raw))
        reading.bad.add((what, key))
        if what == "market":
            reading.confirmed.discard(key)
            reading.candidates.pop(key, None)


def _differ(record: Record, held: Record | None) -> bool:
    return record is not held and record != held


def _as_documented(quote: Quote) -> bool:
    """Tell whether all members of a quote came in Kalshi's own form and need no second look."""
    return (
        quote.as_sent is None
        and quote.status is not Status.UNKNOWN
        and None not in (quote.last_price_e4, quote.volume_e2, quote.volume_24h_e2, quote.open_interest_e2)
        and None not in (quote.previous_price_e4, quote.previous_yes_bid_e4, quote.previous_yes_ask_e4)
    )


def _ordered(event: Event, order: Iterable[str], held: Event | None) -> Event:
    """Return an event that names its markets in this order, or as held if it came without them.

    In `order`, "" is a market without a ticker.
    """
    named = " ".join(filter(None, order)) or (held.market_tickers if held is not None else "")
    if named == event.market_tickers or len(event.raw) + len(named) > MAX_RECORD_BYTES:
        return event
    return msgspec.structs.replace(event, market_tickers=named)


def _check_size(raw: Raw | bytes, what: str) -> None:
    """Refuse what is too large for any message."""
    size = len(memoryview(raw))
    if size > MAX_RECORD_BYTES:
        raise BadRecord(what, f"{size} bytes", f"at most {MAX_RECORD_BYTES} bytes")


def _ticker_of(market: Raw) -> str:
    try:
        return market_ticker(market)
    except BadRecord:
        return ""


def _key_of(raw: Raw | bytes, name: str) -> str:
    try:
        return text_member(raw, name)[:200]
    except BadRecord:
        return ""
