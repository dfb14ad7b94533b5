"""One sweep: everything that is open at the exchange, read once. What it means is catalogue.py.

The crawl is ``GET /events?status=open`` with nested markets and milestones: 200 events (about 1,800 markets)
cost the same 10 tokens as 1,000 markets of ``GET /markets``, and bring along the join of market, event and
milestone, which a market object does not name. Only what was created while it ran, what is closed but kept,
and what vanished is read from ``/markets``.

Source: Kalshi API reference, notes of 6 October 2026: 56 pages for the whole catalogue.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final
from urllib.parse import quote

import msgspec
import structlog
from msgspec import Raw

from bus.clock import Clock
from markets.errors import BadRecord
from markets.kalshi_json import decode_exchange_status, market_ticker, member, split_list, text_member

from .catalogue import Catalogue, Reading
from .kalshi.client import Client, ExchangeError, NotFound, Reply

log = structlog.get_logger()

EVENTS_PER_PAGE: Final = 200
MARKETS_PER_PAGE: Final = 1_000
TICKERS_PER_REQUEST: Final = 100
EVENTS_PER_REQUEST: Final = 50
URL_BUDGET: Final = 4_000
"""Characters of tickers in one URL."""

CREATED_SLACK_S: Final = 60
"""The closing query reaches this far before the sweep's start: the exchange's clock is not ours."""

REFRESHES_PER_SWEEP: Final = 10
"""Requests for closed markets and, as many again, for events not known."""

LOOKUPS_PER_LIST: Final = 3
"""Single requests for what a list of named markets did not show, to see whether that list can be believed."""

SERIES_LOOKUPS: Final = 10
"""Single requests for series in one sweep."""

SERIES_EVERY_MS: Final = 600_000
RETRY_UNKNOWN_MS: Final = 600_000
"""A 404 is believed for this long."""


Query = list[tuple[str, str | int]]


class EventsPage(msgspec.Struct):
    """One page of the crawl, its members not decoded."""

    events: list[Raw]
    cursor: str | None = None
    milestones: list[Raw] | None = None


_events_page = msgspec.json.Decoder(EventsPage)


class Sweep:
    """Sweeps of one exchange into readings. One thread.

    Args:
        client: of this thread alone.

    Attributes:
        last_requests: how many requests the last sweep took.
    """

    def __init__(self, client: Client, catalogue: Catalogue, clock: Clock) -> None:
        self.last_requests = 0
        self._client = client
        self._catalogue = catalogue
        self._clock = clock
        self._series: dict[str, bytes] = {}
        self._series_due_ms = 0
        self._retry_ms: dict[tuple[str, str], int] = {}

    def run(self, reading: Reading) -> ExchangeError | None:
        """Read all there is into `reading`; return what ended it early, or None.

        After an error `reading` holds what was read until then, and is not complete.

        Raises:
            Stopped: the process is to stop.
        """
        before = self._client.requests
        error = None
        try:
            self._exchange_status(reading)
            self._all_series(reading)
            self._crawl(reading)
            self._created_meanwhile(reading)
            self._missing(reading)
            self._unjoined(reading)
            self._series_needed(reading)
        except ExchangeError as problem:
            reading.complete = False
            error = problem
        reading.ended_ms = self._clock.now_ms()
        self.last_requests = self._client.requests - before
        return error

    def _exchange_status(self, reading: Reading) -> None:
        def read(body: bytes) -> None:
            # Not `reading.reply`: the status says nothing about the age of markets.
            reading.exchange = decode_exchange_status(body, self._clock.now_ms())

        try:
            self._client.get("/exchange/status", read=read)
        except ExchangeError as error:
            # In an outage the status comes with a 5xx; it is as good.
            if error.outcome != "server_error":
                raise
            try:
                read(error.body)
            except BadRecord:
                raise error from None

    def _all_series(self, reading: Reading) -> None:
        if self._clock.now_ms() < self._series_due_ms:
            return
        raws, _ = self._client.get("/series", read=lambda body: split_list(body, "series")[0])
        found: dict[str, bytes] = {}
        for raw in raws:
            try:
                found[text_member(raw, "ticker")] = bytes(raw)
            except BadRecord:
                self._catalogue.read_series(raw, reading)  # quarantines it
        held = self._catalogue.state.series
        for ticker, series in held.items():
            if found.get(ticker, series.raw) != series.raw:
                self._catalogue.read_series(found[ticker], reading)
        self._series = found
        self._series_due_ms = self._clock.now_ms() + SERIES_EVERY_MS

    def _crawl(self, reading: Reading) -> None:
        wanted = sorted(self._catalogue.universe.series)
        for series in wanted or [""]:
            params: Query = [
                ("status", "open"),
                ("with_nested_markets", "true"),
                ("with_milestones", "true"),
                ("limit", EVENTS_PER_PAGE),
            ]
            if series:
                params.append(("series_ticker", series))
            for page, reply in self._client.pages("/events", params, read=_read_events):
                reading.reply(reply.as_of_ms)
                self._read_page(page, reply, reading)

    def _read_page(self, page: EventsPage, reply: Reply, reading: Reading) -> None:
        for raw in page.events:
            self._know_series(raw, reading)
            self._catalogue.read_event(raw, reply.as_of_ms, reading)
        for raw in page.milestones or ():
            self._catalogue.read_milestone(raw, reading)

    def _know_series(self, raw_event: Raw, reading: Reading) -> None:
        """Decode the event's series before its first event, which may be judged by its category."""
        try:
            ticker = text_member(raw_event, "series_ticker")
        except BadRecord:
            return
        raw = self._series.get(ticker)
        if raw is not None and ticker not in reading.series and ticker not in self._catalogue.state.series:
            self._catalogue.read_series(raw, reading)

    def _created_meanwhile(self, reading: Reading) -> None:
        """Read what was created while the crawl ran: it stands before the pages that were already read."""
        params: Query = [
            ("status", "open"),
            ("min_created_ts", reading.started_ms // 1000 - CREATED_SLACK_S),
            ("mve_filter", "exclude"),
            ("limit", MARKETS_PER_PAGE),
        ]
        for raws, reply in self._client.pages("/markets", params, read=_read_markets):
            for raw in raws:
                if not reading.saw(_ticker(raw)):
                    self._catalogue.read_loose_market(raw, reply.as_of_ms, reading)

    def _missing(self, reading: Reading) -> None:
        """Refresh held markets that are not open any more, and look up those that a list does not show."""
        missing = self._catalogue.missing(reading)
        for tickers in list(batches(missing, TICKERS_PER_REQUEST))[:REFRESHES_PER_SWEEP]:
            params: Query = [("tickers", ",".join(tickers)), ("limit", MARKETS_PER_PAGE)]
            listed: set[str] = set()
            for raws, reply in self._client.pages("/markets", params, read=_read_markets):
                for raw in raws:
                    listed.add(_ticker(raw))
                    self._catalogue.read_loose_market(raw, reply.as_of_ms, reading)
            absent = [ticker for ticker in tickers if ticker not in listed]
            sample = absent[:LOOKUPS_PER_LIST]
            gone = [ticker for ticker in sample if not self._market_exists(ticker, reading)]
            reading.gone.update(absent if gone == sample else gone)

    def _market_exists(self, ticker: str, reading: Reading) -> bool:
        try:
            raw, reply = self._client.get(
                f"/markets/{quote(ticker, safe='')}", read=lambda body: member(body, "market")
            )
        except NotFound:
            return False
        self._catalogue.read_loose_market(raw, reply.as_of_ms, reading)
        return True

    def _unjoined(self, reading: Reading) -> None:
        """Fetch the events that markets wait for. A market whose event is 404 is read without one."""
        waiting = sorted(reading.unjoined)
        asked = [ticker for ticker in waiting if self._due("event", ticker)]
        for tickers in list(batches(asked, EVENTS_PER_REQUEST))[:REFRESHES_PER_SWEEP]:
            params: Query = [
                ("tickers", ",".join(tickers)),
                ("with_milestones", "true"),
                ("limit", EVENTS_PER_PAGE),
            ]
            for page, reply in self._client.pages("/events", params, read=_read_events):
                self._read_page(page, reply, reading)
            for ticker in tickers:
                known = ticker in reading.events or ticker in reading.unwanted
                if not known and ("event", ticker) not in reading.bad:
                    self._look_up_event(ticker, reading)
        for ticker in waiting:
            if ticker in reading.unwanted:
                del reading.unjoined[ticker]
                continue
            event = reading.events.get(ticker)
            if event is None and self._due("event", ticker):
                continue  # not known yet, not known to be unknown: it waits
            series_ticker = event.series_ticker if event else None
            for raw, as_of_ms in reading.unjoined.pop(ticker):
                self._catalogue.read_market(raw, series_ticker, as_of_ms, reading, loose=True)

    def _look_up_event(self, ticker: str, reading: Reading) -> None:
        try:
            raw, reply = self._client.get(
                f"/events/{quote(ticker, safe='')}", read=lambda body: member(body, "event")
            )
        except NotFound:
            self._note_unknown("event", ticker)
            return
        self._know_series(raw, reading)
        self._catalogue.read_event(raw, reply.as_of_ms, reading)

    def _series_needed(self, reading: Reading) -> None:
        """Fetch the series that the list did not have: new ones, between two lists."""
        held = self._catalogue.state.series
        needed = {event.series_ticker for event in reading.events.values()}
        unknown = [
            ticker
            for ticker in sorted(needed)
            if ticker not in held and ticker not in reading.series and self._due("series", ticker)
        ]
        for ticker in unknown[:SERIES_LOOKUPS]:
            try:
                raw, _ = self._client.get(
                    f"/series/{quote(ticker, safe='')}", read=lambda body: member(body, "series")
                )
            except NotFound:
                self._note_unknown("series", ticker)
                continue
            self._series[ticker] = bytes(raw)
            self._catalogue.read_series(raw, reading)

    def _due(self, what: str, key: str) -> bool:
        return self._clock.now_ms() >= self._retry_ms.get((what, key), 0)

    def _note_unknown(self, what: str, key: str) -> None:
        now_ms = self._clock.now_ms()
        self._retry_ms = {key: at_ms for key, at_ms in self._retry_ms.items() if at_ms > now_ms}
        self._retry_ms[what, key] = now_ms + RETRY_UNKNOWN_MS
        log.warning("exchange.unknown", what=what, key=key)


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


def _read_events(body: bytes) -> tuple[EventsPage, str]:
    try:
        page = _events_page.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRecord("body", body[:200], f"a page of events ({error})") from None
    return page, page.cursor or ""


_read_markets: Callable[[bytes], tuple[list[Raw], str]] = lambda body: split_list(body, "markets")  # noqa: E731


def _ticker(raw: Raw) -> str:
    try:
        return market_ticker(raw)
    except BadRecord:
        return ""
