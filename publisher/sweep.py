"""One sweep: everything open at the exchange, read once. intake.py interprets it.

A small catalogue is crawled with ``GET /events?status=open`` with nested markets and milestones. 200 events
(about 1,800 markets) cost the same 10 tokens as 1,000 markets of ``GET /markets``, and bring the relation of
market, event and milestone, which a market object does not state.

A large one is read in slices: ``GET /events?tickers=`` lists of the events that are held, again with nested
markets. Unlike the pages of a cursor, slices do not depend on one another, so they are fetched on several
connections at once, and one that fails takes no other with it. The first time, when nothing is held, they
come from the bare list of events, which is walked at the same time. Events not held are found by the creation
of their markets and, a few pages per sweep, by a crawl of the bare list.

Arithmetic for Basic: 200 tokens/s x 0.85 (the publisher's share) x 0.95 (margin) = 16.1 requests/s, or 193 in
12 s. 130,000 markets in 16,000 events are 80 slices; with 4 pages of discovery and 5 others a sweep takes 89,
so about 285,000 markets would fit.

Source: Kalshi API reference, notes of 6 October 2026: 56 pages for the whole catalogue.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final
from urllib.parse import quote

import structlog
from msgspec import Raw

from bus.clock import Clock
from bus.protocol.messages import RouteHealth
from bus.threads import Owner
from markets.errors import BadRecord
from markets.json.pages import EventsPage, market_ticker, member, split_events, split_list, text_member
from markets.json.read import decode_exchange_status

from .fetchers import connections, fetch_all
from .held import Held
from .intake import LOOKED_AT, Intake
from .kalshi.budget import BASIC
from .kalshi.client import Client, ExchangeError, KeyRefused, NotFound, Reply
from .reading import Reading
from .unmatched import unmatched
from .urls import (
    EVENTS_PER_PAGE,
    EVENTS_PER_REQUEST,
    MARKETS_PER_PAGE,
    TICKERS_PER_REQUEST,
    Query,
    batches,
    created_markets,
    longest,
    milestones_of,
    named_events,
    named_markets,
    open_events,
    open_markets,
    slices,
)

log = structlog.get_logger()

GUESSES: Final = 5
"""How many series are searched for the markets that a setting may have meant."""

CREATED_SLACK_S: Final = 60
"""How far before the sweep's start the query for closed markets reaches: the exchange's clock is not ours."""

REFRESHES_PER_SWEEP: Final = 10
"""Requests for closed markets and, as many again, for unknown events."""

REFRESHES_URGENT: Final = 8
"""How many of them at most are for what is waited for (`Missing.first`), so that the others get their
turn."""

MILESTONES_PER_SWEEP: Final = 2
"""Requests for milestones of events that lists no longer show."""

MILESTONE_EVERY_MS: Final = 60_000
MILESTONE_EVERY_MOST_MS: Final = 3_600_000
"""How long after one look a milestone is looked up again: at first, and at last, doubling in between."""

LOOKUPS_PER_LIST: Final = 3
"""Single requests for what a list of named markets did not show, to see whether the list can be believed."""

SERIES_LOOKUPS: Final = 10
"""Single requests for series in one sweep."""

STATUS_WITHIN_S: Final = 3.0
SERIES_WITHIN_S: Final = 8.0
"""The longest that prices wait for what has nothing to do with them."""

SERIES_EVERY_MS: Final = 600_000
SERIES_RETRY_MS: Final = 60_000
RETRY_UNKNOWN_MS: Final = 600_000
"""How long a 404 is believed."""

SLICE_FROM_EVENTS: Final = 2_000
"""A catalogue with fewer held events is crawled: ten pages take little longer one after another."""

CRAWL_PAGES_FIRST: Final = 3
"""A first crawl longer than this goes on in slices."""

FAILED_SLICES: Final = 3
"""This many failures are an outage, not an accident: the sweep ends."""

DISCOVERY_PAGES: Final = 4

LOOKUPS: Final = ("GET /markets/{ticker}", "GET /events/{ticker}", "GET /historical/markets/{ticker}")
"""Routes that ask for one object at a time; a failure concerns that object alone."""

ODD_ANSWERS: Final = frozenset({"bad_reply", "refused", "not_found", "cursor_loop"})
"""Outcomes that say nothing about other requests."""


class Sweep:
    """Sweeps one exchange into readings. One thread.

    Args:
        client: nobody else's.
        helpers: more clients, for slices fetched at the same time.
        rate_per_s: tokens per second to spend.
        slice_from: the number of held events from which they are read in slices; SLICE_FROM_EVENTS if None.
        kept: markets in somebody's position (`Reading.kept`).

    Attributes:
        last_requests: how many requests the last sweep took. last_connections: the most connections it used
            at once.
        failing: routes that bring no prices and failed when last asked.
    """

    def __init__(
        self,
        client: Client,
        intake: Intake,
        held: Held,
        clock: Clock,
        helpers: Sequence[Client] = (),
        rate_per_s: Callable[[], float] = lambda: float(BASIC.refill_per_s),
        slice_from: int | None = None,
        kept: Callable[[], frozenset[str]] = frozenset,
    ) -> None:
        self.last_requests = 0
        self.last_connections = 1
        self._client = client
        self._clients = [client, *helpers]
        self._rate_per_s = rate_per_s
        self._slice_from = slice_from
        self._discovery_cursor = ""
        self._discovery_pages = 0
        self._unwanted: set[str] = set()
        self._intake = intake
        self._held = held
        self._clock = clock
        self._kept = kept
        # By the steady clock: setting back the wall clock would postpone all of it.
        self._series_due_ms = 0
        self.failing: dict[str, RouteHealth] = {}
        self._read_ms: dict[str, int] = {}
        self._odd_series: set[str] = set()
        self._retry_ms: dict[tuple[str, str], int] = {}
        self._milestone_turns: dict[str, tuple[int, int]] = {}
        self._unheard: list[str] = []
        self._guesses: dict[str, Collection[str]] = {}
        self._thread = Owner("the sweep")

    def run(self, reading: Reading) -> ExchangeError | None:
        """Read everything into `reading`; return the failure that concerns prices, or None.

        After an error `reading` holds what could be read, and is marked incomplete. A failing route that
        brings no prices costs only what it brings (`failing`).

        Raises:
            Stopped: the process is to stop.
        """
        self._thread.check()
        before = self.requests
        for route in LOOKUPS:
            self.failing.pop(route, None)
        error: ExchangeError | None = None
        reading.kept = self._kept()
        self._aside("GET /exchange/status", lambda: self._exchange_status(reading))
        if self._steady_ms() >= self._series_due_ms:
            self._series_due_ms = self._steady_ms() + SERIES_RETRY_MS
            self._aside("GET /series", lambda: self._all_series(reading))
        steps = (
            self._open_markets,
            self._created_meanwhile,
            self._note_unheard,
            self._missing,
            self._unjoined,
        )
        for step in steps:
            try:
                step(reading)
            except ExchangeError as problem:
                reading.complete = False
                error = error or problem
                if problem.outcome not in ODD_ANSWERS:
                    break  # the exchange does not answer, so it will not answer anything else
        else:
            self._aside("GET /milestones", lambda: self._milestones(reading))
            self._aside("GET /series/{ticker}", lambda: self._series_needed(reading))
        reading.ended_ms = self._clock.now_ms()
        self.last_requests = self.requests - before
        return error

    def unmatched(self) -> list[str]:
        """Return which settings match nothing, a sentence each (unmatched.py). For after a complete sweep."""
        self._thread.check()
        intake = self._intake
        return unmatched(intake.universe, self._held.state, intake.listed_series, self._open_tickers)

    def _open_tickers(self, series: str) -> Collection[str]:
        """Return the open markets of a series that a setting may have meant; asked for once."""
        if series not in self._guesses and len(self._guesses) < GUESSES:
            try:
                query = open_markets(series)
                (raws, _), _ = self._client.get("/markets", query, read=_read_markets, attempts=1)
            except ExchangeError:
                return ()
            self._guesses[series] = frozenset(map(_ticker, raws)) - {""}
        return self._guesses.get(series, ())

    @property
    def requests(self) -> int:
        """Requests so far, of all clients."""
        return sum(client.requests for client in self._clients)

    def _aside(self, route: str, ask: Callable[[], None]) -> None:
        """Ask a route that brings no prices, and note it if it fails."""
        client = self._client
        before = client.trouble, client.reachable
        client.beside = True
        try:
            ask()
        except ExchangeError as error:
            self._note_failing(route, error)
            client.trouble, client.reachable = before  # it does not concern prices
            return
        finally:
            client.beside = False
        self._read_ms[route] = self._clock.now_ms()
        if self.failing.pop(route, None) is not None:
            log.info("route.healed", route=route)

    def _note_failing(self, route: str, error: ExchangeError) -> None:
        if route not in self.failing:
            log.warning("route.failed", route=route, outcome=error.outcome, error=str(error))
        self.failing[route] = RouteHealth(route, str(error)[:300], self._read_ms.get(route))

    def _exchange_status(self, reading: Reading) -> None:
        asked_ms = self._clock.now_ms()

        def read(body: bytes) -> None:
            # Not `reading.reply`: the status says nothing about the age of markets.
            reading.exchange = decode_exchange_status(body, asked_ms)

        try:
            self._client.get("/exchange/status", read=read, within_s=STATUS_WITHIN_S)
        except ExchangeError as error:
            # In an outage the status comes with a 5xx; it is just as good.
            if error.outcome != "server_error":
                raise
            try:
                read(error.body)
            except BadRecord:
                raise error from None

    def _all_series(self, reading: Reading) -> None:
        query = [("include_product_metadata", "true")]  # like a series that is asked for by itself
        raws, _ = self._client.get(
            "/series", query, read=lambda body: split_list(body, "series")[0], within_s=SERIES_WITHIN_S
        )
        found: dict[str, bytes] = {}
        before = self._intake.listed_series
        for raw in raws:
            ticker = ""
            try:
                ticker = text_member(raw, "ticker")
                found[ticker] = bytes(raw)
            except BadRecord:
                self._intake.read_series(raw, reading)  # quarantines it
            if not ticker or found[ticker] != before.get(ticker):
                self._intake.drift.part("GET /series", "series", raw)
        held = self._held.state.series
        for ticker, series in held.items():
            if found.get(ticker, series.raw) != series.raw:
                self._intake.read_series(found[ticker], reading)
        self._intake.listed_series = found
        self._unwanted.clear()
        self._series_due_ms = self._steady_ms() + SERIES_EVERY_MS

    def _open_markets(self, reading: Reading) -> None:
        universe, events = self._intake.universe, self._held.open_events()
        if universe.tickers:
            self._named(reading)
        elif universe.series or len(events) < (
            SLICE_FROM_EVENTS if self._slice_from is None else self._slice_from
        ):
            if not self._crawl(reading, None if events or universe.series else CRAWL_PAGES_FIRST):
                self._read_slices(self._listed(reading), reading)
        else:
            self._slices(events, reading)
            self._discover(reading)

    def _named(self, reading: Reading) -> None:
        """Read the markets of a universe given by tickers."""
        for tickers in batches(sorted(self._intake.universe.tickers), TICKERS_PER_REQUEST):
            query = named_markets(tickers)
            most = longest(len(tickers), MARKETS_PER_PAGE)
            for raws, reply in self._client.pages("/markets", query, read=_read_markets, longest=most):
                reading.reply(reply.as_of_ms)
                for raw in raws:
                    self._intake.read_loose_market(raw, reply.as_of_ms, reading)

    def _slices(self, events: Mapping[str, int], reading: Reading) -> None:
        self._read_slices(map(named_events, slices(events)), reading)

    def _listed(self, reading: Reading) -> Iterable[Query]:
        """Walk the bare list of open events, and yield slices of those not yet read."""
        for page, reply in self._client.pages("/events", open_events(), read=_read_events):
            self._intake.drift.page(reply.body, page.events, page.milestones)
            listed: dict[str, int] = {}
            for raw in page.events:
                try:
                    ticker = text_member(raw, "event_ticker")
                except BadRecord:
                    continue  # discovery will meet it again, with its markets
                if ticker not in reading.events:
                    listed[ticker] = 0
            yield from map(named_events, slices(listed))

    def _read_slices(self, queries: Iterable[Query], reading: Reading) -> None:
        requests = self.requests
        page_s = sum(client.busy_ns for client in self._clients) / max(1, requests) / 1e9
        # The first client may be busy with the queries themselves.
        clients = self._clients[1:] or self._clients
        count = connections(self._rate_per_s(), page_s, len(clients))
        self.last_connections = count
        errors: list[ExchangeError] = []
        for found in fetch_all(clients[:count], "/events", queries, _read_events):
            if not isinstance(found, ExchangeError):
                (page, _), reply = found
                reading.reply(reply.as_of_ms)
                self._read_page(page, reply, reading)
                continue
            errors.append(found)
            if len(errors) >= FAILED_SLICES or isinstance(found, KeyRefused):
                break
        if errors:
            raise errors[0]

    def _discover(self, reading: Reading) -> None:
        """Continue the crawl of the bare list, for events that no slice reads.

        These are events not held, created long ago and opened only now, and those whose held markets are all
        finalized while another of their markets was refused when it came, or opened only now.
        """
        sliced, most = self._held.open_events(), 2 * len(self._held.state.events) // EVENTS_PER_PAGE + 10
        for _ in range(DISCOVERY_PAGES):
            query = open_events(cursor=self._discovery_cursor)
            (page, cursor), reply = self._client.get("/events", query, read=_read_events)
            self._intake.drift.page(reply.body, page.events, page.milestones)
            for raw in page.events:
                try:
                    ticker = text_member(raw, "event_ticker")
                except BadRecord:
                    continue  # it will be quarantined with its markets
                if not (ticker in sliced or ticker in reading.events or ticker in self._unwanted):
                    reading.unjoined.setdefault(ticker, [])
            self._discovery_cursor = cursor or ""
            self._discovery_pages += 1
            # A cursor that runs in a circle ends here, too.
            if not cursor or self._discovery_pages > most:
                self._discovery_cursor, self._discovery_pages = "", 0
                return

    def _crawl(self, reading: Reading, pages: int | None = None) -> bool:
        """Read the list of open events with their markets; return False if it continues after `pages`."""
        wanted = sorted(self._intake.universe.series)
        for series in wanted or [""]:
            query = open_events(nested=True, series=series)
            most = longest(len(self._held.state.events), EVENTS_PER_PAGE)
            walk = self._client.pages("/events", query, read=_read_events, longest=most)
            for number, (page, reply) in enumerate(walk, 1):
                reading.reply(reply.as_of_ms)
                self._read_page(page, reply, reading)
                if number == pages and page.cursor:
                    return False
        return True

    def _read_page(self, page: EventsPage, reply: Reply, reading: Reading, *, loose: bool = False) -> None:
        self._intake.drift.page(reply.body, page.events, page.milestones)
        for raw in page.events:
            self._intake.read_event(raw, reply.as_of_ms, reading, loose=loose)
        for raw in page.milestones:
            self._intake.read_milestone(raw, reading)

    def _created_meanwhile(self, reading: Reading) -> None:
        """Read what was created while the crawl ran: it precedes the pages already read."""
        if self._intake.universe.tickers:
            return
        for series in sorted(self._intake.universe.series) or [""]:
            query = created_markets(reading.started_ms // 1000 - CREATED_SLACK_S, series)
            most = longest(0, MARKETS_PER_PAGE)  # what was created in a minute or two
            for raws, reply in self._client.pages("/markets", query, read=_read_markets, longest=most):
                for raw in raws:
                    if not reading.saw(_ticker(raw)):
                        self._intake.read_loose_market(raw, reply.as_of_ms, reading)

    def _note_unheard(self, reading: Reading) -> None:
        """Note which milestones came with no list: later requests by name bring none."""
        listed = not self._intake.universe.tickers  # lists of named markets bring no milestones
        self._unheard = self._held.unheard_milestones(reading, self._clock.now_ms(), listed=listed)

    def _milestones(self, reading: Reading) -> None:
        """Reread the milestones of held events that no list shows: a finished match is closed, too.

        Until one says that it is over, at growing intervals.
        """
        waiting, steady_ms, turns = self._unheard, self._steady_ms(), self._milestone_turns
        self._milestone_turns = turns = {event: turns[event] for event in waiting if event in turns}
        due = [event for event in waiting if steady_ms >= turns.get(event, (0, 0))[0]]
        due.sort(key=lambda event: turns.get(event, (0, 0))[0])
        for tickers in list(batches(due, EVENTS_PER_REQUEST))[:MILESTONES_PER_SWEEP]:
            query = milestones_of(tickers)
            page, reply = self._client.get("/events", query, read=split_events)
            self._intake.drift.page(reply.body, page.events, page.milestones)
            for raw in page.milestones:
                self._intake.read_milestone(raw, reading)
            for ticker in tickers:
                wait_ms = turns.get(ticker, (0, MILESTONE_EVERY_MS))[1]
                turns[ticker] = steady_ms + wait_ms, min(2 * wait_ms, MILESTONE_EVERY_MOST_MS)

    def _missing(self, reading: Reading) -> None:
        """Refresh held markets that are no longer open, and look up those that a list does not show.

        Also markets that are not held but that somebody asks to be kept: by name, whatever the universe.
        """
        missing = self._held.missing(reading, self._clock.now_ms())
        unknown = sorted(reading.kept - self._held.state.markets.keys())
        sought = [ticker for ticker in unknown if not reading.saw(ticker) and self._due("market", ticker)]
        most = REFRESHES_URGENT * TICKERS_PER_REQUEST
        asked = [*missing.first[:most], *missing.rest, *missing.first[most:]]
        # Separately: that one of those is missing says nothing about the list.
        named = [*batches(sought, TICKERS_PER_REQUEST), *batches(asked, TICKERS_PER_REQUEST)]
        for tickers in named[:REFRESHES_PER_SWEEP]:
            query = named_markets(tickers)
            listed: set[str] = set()
            longest_list = longest(len(tickers), MARKETS_PER_PAGE)
            for raws, reply in self._client.pages(
                "/markets", query, read=_read_markets, longest=longest_list
            ):
                for raw in raws:
                    listed.add(_ticker(raw))
                    self._intake.read_loose_market(raw, reply.as_of_ms, reading)
            absent = [ticker for ticker in tickers if ticker not in listed]
            sample = absent[:LOOKUPS_PER_LIST]
            gone = [ticker for ticker in sample if not self._market_exists(ticker, reading)]
            reading.gone.update(absent if gone == sample else gone)
        for ticker in reading.gone & reading.kept:
            if not self._archived(ticker, reading) and ticker in sought:
                self._note_unknown("market", ticker)

    def _archived(self, ticker: str, reading: Reading) -> bool:
        """Read a market in somebody's position from where the exchange moves what was settled months ago."""
        found = self._look_up("/historical/markets", ticker, "market")
        if isinstance(found, ExchangeError):
            return False
        raw, reply = found
        reading.gone.discard(ticker)
        self._intake.read_loose_market(raw, reply.as_of_ms, reading, route=LOOKED_AT)
        return True

    def _market_exists(self, ticker: str, reading: Reading) -> bool:
        found = self._look_up("/markets", ticker, "market")
        if isinstance(found, ExchangeError):
            return not isinstance(found, NotFound)  # as far as we know; it ages
        raw, reply = found
        self._intake.read_loose_market(raw, reply.as_of_ms, reading, route=LOOKED_AT)
        return True

    def _unjoined(self, reading: Reading) -> None:
        """Fetch the events that markets wait for. A market whose event is a 404 is read without it."""
        waiting, held = sorted(reading.unjoined), self._held.state.events
        if not waiting:
            return
        asked = [ticker for ticker in waiting if self._due("event", ticker)]
        for tickers in list(batches(asked, EVENTS_PER_REQUEST))[:REFRESHES_PER_SWEEP]:
            query, most = named_events(tickers), longest(len(tickers), EVENTS_PER_PAGE)
            for page, reply in self._client.pages("/events", query, read=_read_events, longest=most):
                self._read_page(page, reply, reading, loose=True)
            for ticker in tickers:
                known = ticker in reading.events or ticker in reading.unwanted or ticker in held
                if not known and ("event", ticker) not in reading.bad:
                    self._look_up_event(ticker, reading)
        for ticker in waiting:
            if ticker in reading.unwanted and ticker not in reading.kept_events:
                self._unwanted.add(ticker)
                del reading.unjoined[ticker]
                continue
            event = reading.events.get(ticker) or held.get(ticker)
            if event is None and self._due("event", ticker):
                continue  # neither known nor known to be unknown: it waits
            series_ticker = event.series_ticker if event else None
            for raw, as_of_ms in reading.unjoined.pop(ticker):
                self._intake.read_market(raw, series_ticker, as_of_ms, reading)

    def _look_up_event(self, ticker: str, reading: Reading) -> None:
        found = self._look_up("/events", ticker, "event")
        if isinstance(found, ExchangeError):
            if isinstance(found, NotFound):
                self._note_unknown("event", ticker)
            return
        raw, reply = found
        self._intake.read_event(raw, reply.as_of_ms, reading, loose=True, route=LOOKED_AT)

    def _series_needed(self, reading: Reading) -> None:
        """Read the series that events need and that are not held; fetch those missing from the list.

        For held events too: what failed, or was over the limit, is tried again even if the event is
        unchanged.
        """
        state = self._held.state
        events = (*state.events.values(), *reading.events.values())
        unknown = {event.series_ticker for event in events} - {""}
        unknown -= state.series.keys() | reading.series.keys()
        listed = self._intake.listed_series
        for ticker in sorted(unknown & listed.keys()):
            self._intake.read_series(listed[ticker], reading)
        unlisted = [ticker for ticker in unknown - listed.keys() if self._due("series", ticker)]
        unlisted.sort(key=lambda ticker: (ticker in self._odd_series, ticker))
        failure: ExchangeError | None = None
        for ticker in unlisted[:SERIES_LOOKUPS]:
            found = self._look_up("/series", ticker, "series")
            if isinstance(found, NotFound):
                self._note_unknown("series", ticker)
            elif isinstance(found, ExchangeError):
                failure = found
                self._odd_series.add(ticker)
            else:
                self._odd_series.discard(ticker)
                listed[ticker] = bytes(found[0])
                self._intake.read_series(found[0], reading)
        if failure is not None:
            raise failure

    def _look_up(self, path: str, ticker: str, key: str) -> tuple[Raw, Reply] | ExchangeError:
        """Ask for one object; return it, or the failure that concerns it alone.

        Raises:
            ExchangeError: the failure does not concern this object alone.
        """
        try:
            return self._client.get(
                f"{path}/{quote(ticker, safe='')}", read=lambda body: member(body, key), attempts=2
            )
        except ExchangeError as error:
            if error.outcome not in ODD_ANSWERS and error.outcome != "server_error":
                raise
            if not isinstance(error, NotFound):
                self._note_failing(f"GET {path}/{{ticker}}", error)
            return error

    def _due(self, what: str, key: str) -> bool:
        return self._steady_ms() >= self._retry_ms.get((what, key), 0)

    def _note_unknown(self, what: str, key: str) -> None:
        steady_ms = self._steady_ms()
        self._retry_ms = {key: at_ms for key, at_ms in self._retry_ms.items() if at_ms > steady_ms}
        self._retry_ms[what, key] = steady_ms + RETRY_UNKNOWN_MS
        log.warning("exchange.unknown", what=what, key=key)

    def _steady_ms(self) -> int:
        return self._clock.monotonic_ns() // 1_000_000


def _read_events(body: bytes) -> tuple[EventsPage, str | None]:
    page = split_events(body)
    return page, page.cursor


def _read_markets(body: bytes) -> tuple[list[Raw], str | None]:
    return split_list(body, "markets")


def _ticker(raw: Raw) -> str:
    try:
        return market_ticker(raw)
    except BadRecord:
        return ""
