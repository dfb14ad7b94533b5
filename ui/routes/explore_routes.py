"""The routes by which markets are found: lists, series, search, the watchlist."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from flask import Response, request, url_for

from bus.market_history import Movers
from bus.scan.search import EVENT, LIMIT_MAX, MARKET, SearchAnswer, parse_search
from markets.units import format_count
from ui.catalogue import Shelf
from ui.moment import Moment
from ui.pages import display, for_programs
from ui.pages import explore as listing
from ui.pages.explore import ListedMarket, ListQuery, SearchRow
from ui.pages.series import series_page
from ui.service import Service

from .replies import json_reply, this_moment, unknown

POLL_MS: Final = 3_000
"""How often a page of markets polls: among 130,000, some have always changed."""

WORDS_MAX: Final = 5_000
"""How many markets the words of a filter may match."""

STRIP_MAX: Final = 12
"""How many starred markets every page shows; the rest are on the watchlist's own page."""

HIT_COLUMNS: Final = (
    "kind", "ticker", "title", "detail", "event_ticker", "events", "markets", "volume_24h_fp",
    "yes_bid_dollars", "yes_ask_dollars", "last_price_dollars", "change_dollars",
)  # fmt: skip

SEARCH_LIMIT: Final = 20
"""How many results the API returns without a `limit`."""

Render = Callable[..., Response]
"""Renders a template into a page."""


class ExploreRoutes:
    """Pages, files and answers about many markets."""

    def __init__(self, service: Service, show: Render) -> None:
        self._service = service
        self._show = show

    def explore(self) -> Response:
        """Categories, series and events with counts, and markets in any order."""
        wanted = listing.parse_wanted(request.args.items(multi=True))
        moment, shelf = this_moment(self._service), self._shelf
        moves = self._moves(wanted)
        page, found = self._page_of(moment, wanted, moves)
        query = {name: text for name in request.args if (text := request.args.get(name))}
        file_query = {name: text for name, text in query.items() if name != "limit"}
        events: list[listing.EventRow] = []
        if wanted.series:
            tickers = shelf.tree.events.get(wanted.series, ())
            events = listing.event_rows(moment.scan.state, shelf.columns, self._service.markets_of, tickers)
        return self._show(
            "explore.html",
            wanted=wanted,
            shows=listing.SHOWS.values(),
            tree=shelf.tree,
            ready=shelf.ready,
            page=page,
            events=events,
            found=found,
            moves=moves,
            silent="" if wanted.list.window_s is None else moment.finds.silent,
            query=query,
            file_query=file_query,
            trouble=moment.finds.trouble,
            listen="page=explore",
            poll_ms=POLL_MS,
        )

    def explore_csv(self) -> Response:
        """The markets of the page as CSV, up to the limit of a file."""
        wanted = listing.parse_wanted(request.args.items(multi=True))
        wanted = msgspec.structs.replace(wanted, limit=listing.FILE_MAX)
        moment = this_moment(self._service)
        page, _ = self._page_of(moment, wanted, self._moves(wanted))
        return _csv("markets", listing.FILE_COLUMNS, map(listing.file_row, page.rows))

    def series(self, ticker: str) -> Response:
        """A series with its events and its most active markets."""
        moment, shelf, markets_of = this_moment(self._service), self._shelf, self._service.markets_of
        found = None
        if shelf.ready:
            state = moment.scan.state
            found = series_page(state, shelf.columns, shelf.tree, markets_of, ticker, moment.now_ms)
        if found is None and shelf.ready:
            meant = ticker.strip().upper()
            if meant != ticker and meant in shelf.tree.whole:
                return Response(status=302, headers={"Location": url_for("series", ticker=meant)})
            raise unknown("series", ticker)
        return self._show("series.html", page=found, ticker=ticker, listen="page=explore", poll_ms=POLL_MS)

    def series_csv(self, ticker: str) -> Response:
        """The events of a series as CSV."""
        moment, shelf, markets_of = this_moment(self._service), self._shelf, self._service.markets_of
        events = shelf.tree.events.get(ticker)
        if events is None:
            raise unknown("series", ticker)
        rows = listing.event_rows(moment.scan.state, shelf.columns, markets_of, events)
        return _csv("events", listing.EVENT_COLUMNS, map(listing.event_file_row, rows))

    def search(self) -> Response:
        """Markets, events and series by words."""
        text, limit = parse_search(request.args.items(multi=True), LIMIT_MAX)
        found, rows = self._search(text, limit)
        return self._show(
            "search.html", q=text, found=found, hits=rows, limit=limit, ready=self._shelf.ready,
            listen="page=explore", poll_ms=POLL_MS,
        )  # fmt: skip

    def search_csv(self) -> Response:
        """The results of a search as CSV."""
        text, limit = parse_search(request.args.items(multi=True), LIMIT_MAX)
        _, rows = self._search(text, limit)
        return _csv("search", HIT_COLUMNS, (list(_hit(row).values()) for row in rows))

    def api_search(self) -> Response:
        """Markets, events and series by words, as JSON."""
        text, limit = parse_search(request.args.items(multi=True), SEARCH_LIMIT)
        found, rows = self._search(text, limit)
        return json_reply(
            {
                "query": text,
                "results": [_hit(row) | {"url": _url(row), "display": _display(row)} for row in rows],
                "read_as": found.read_as,
                "more": found.more,
                "ready": self._shelf.ready,
            }
        )

    def watched(self, moment: Moment) -> dict[str, Any]:
        """Return the watchlist's part of every page."""
        tickers = moment.finds.starred
        rows = [one for ticker in tickers if (one := listing.listed(moment.scan.state, ticker)) is not None]
        return {
            "starred": frozenset(tickers),
            "watched": rows[-STRIP_MAX:][::-1],
            "starred_count": len(tickers),
        }

    def _search(self, text: str, limit: int) -> tuple[SearchAnswer, list[SearchRow]]:
        shelf, state = self._shelf, this_moment(self._service).scan.state
        found = shelf.find(text, limit)
        rows = listing.search_rows(state, shelf.columns, shelf.tree, self._service.markets_of, found.hits)
        return found, rows

    def _page_of(
        self, moment: Moment, wanted: ListQuery, moves: Movers | None
    ) -> tuple[listing.ListPage, SearchAnswer]:
        shelf, found = self._shelf, SearchAnswer()
        among: Sequence[str] | None = None
        if wanted.list.window_s is not None:
            among = [] if moves is None else [mover.ticker for mover in moves.movers]
        elif wanted.show == listing.WATCHLIST:
            among = moment.finds.starred
        if wanted.q:
            found = shelf.find(wanted.q, WORDS_MAX)
            hits = dict.fromkeys(hit.ticker for hit in found.hits if hit.kind == MARKET)
            among = list(hits) if among is None else [ticker for ticker in among if ticker in hits]
        page = listing.page_of(moment.scan.state, shelf.columns, wanted, moment.now_ms, among, moves)
        return page, found

    def _moves(self, wanted: ListQuery) -> Movers | None:
        """Return the movers of the wanted list, and note that somebody is looking at them."""
        window_s = wanted.list.window_s
        if window_s is None:
            return None
        if self._service.movers is not None:
            self._service.movers.look(window_s)
        return this_moment(self._service).finds.movers.get(window_s)

    @property
    def _shelf(self) -> Shelf:
        return this_moment(self._service).finds.shelf


def _hit(row: SearchRow) -> dict[str, object]:
    """Return a result for programs, with exact strings."""
    found: dict[str, object] = {
        "kind": row.kind,
        "ticker": row.ticker,
        "title": row.title,
        "detail": row.detail,
        "event_ticker": row.event_ticker,
        "events": row.events,
        "markets": row.markets,
        "volume_24h_fp": None if row.volume_24h_e2 is None else format_count(row.volume_24h_e2),
    }
    one = row.market
    prices = (
        {"yes_bid": None, "yes_ask": None, "last_price": None, "change": None}
        if one is None
        else _prices(one)
    )
    return found | {f"{name}_dollars": listing.dollars(price) for name, price in prices.items()}


def _url(row: SearchRow) -> str:
    """Return the page of a result."""
    if row.kind == MARKET:
        return url_for("market", ticker=row.ticker)
    return (
        url_for("event", event_ticker=row.ticker)
        if row.kind == EVENT
        else url_for("series", ticker=row.ticker)
    )


_PRICES: Final = ("yes_bid", "yes_ask", "last_price", "change")


def _prices(one: ListedMarket) -> Mapping[str, int | None]:
    row = one.row
    return {
        "yes_bid": None if row.yes_bid is None else row.yes_bid[0],
        "yes_ask": None if row.yes_ask is None else row.yes_ask[0],
        "last_price": row.view.quote.last_price_e4,
        "change": row.change_e4,
    }


def _display(row: SearchRow) -> dict[str, str]:
    """Return the texts of a result for people."""
    if row.market is None:
        return {"amount": f"{row.markets:,} {'market' if row.markets == 1 else 'markets'}"}
    prices = _prices(row.market)
    found = {name: display.price(prices[name]) for name in ("yes_bid", "yes_ask", "last_price")}
    return found | {"change": display.change(prices["change"])}


def _csv(name: str, columns: Sequence[str], rows: Any) -> Response:
    headers = {"Content-Disposition": f"attachment; filename={name}.csv"}
    return Response(for_programs.table_to_csv(columns, rows), mimetype="text/csv", headers=headers)
