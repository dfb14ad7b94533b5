"""The routes that browsers show: pages, CSV, and error pages."""

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import partial, wraps
from typing import Any, Final

import msgspec
from flask import Response, current_app, render_template, request, url_for
from werkzeug.exceptions import HTTPException, NotFound

from bus.ask import NoAnswer
from bus.protocol.answers import Refusal
from bus.trading.shapes import ReportAnswer
from markets.errors import BadRecord
from ui.desk import Absent
from ui.hub import RETRY_AFTER_S
from ui.moment import Moment
from ui.pages import desk_page as desk_views
from ui.pages import for_programs, views
from ui.pages import results as results_views
from ui.pages.board import NO_BOUND, Room, board
from ui.pages.chart import SPAN, SPANS_MS, start_of
from ui.pages.columns import parse_view, without_view
from ui.pages.filters import parse
from ui.pages.log_view import log_lines, parse_log_filter
from ui.pages.missing import missing, spelled
from ui.service import Service

from .chart_routes import CANDLES, Past
from .explore_routes import ExploreRoutes
from .renderings import Renderings
from .replies import json_reply, this_moment

PATH_MAX: Final = 60
TICKER_MAX: Final = 200
"""Longer tickers are cut: real ones are less than half as long."""

BUSIEST_NS: Final = 10_000_000_000
"""How long the choice of the most traded markets is kept; their prices are those of the page's moment."""


class PageRoutes:
    """The pages and their files."""

    def __init__(self, service: Service, wish: Callable[[Sequence[str], str], None], past: Past) -> None:
        self._service = service
        self._wish = wish
        self._past = past
        self._busiest: tuple[int, tuple[str, ...]] | None = None
        self._renderings = Renderings(service.now_ms)
        self.found = ExploreRoutes(service, self._page)

    def current(self, view: Callable[..., Response], *, shared: bool = True) -> Callable[..., Response]:
        """Return the route of a page that browsers keep current.

        Args:
            shared: whether its content depends on nothing but the moment.
        """

        @wraps(view)
        def route(**parts: str) -> Response:
            moment = this_moment(self._service) if shared else object()
            return self._renderings.answer(moment, partial(view, **parts))

        return route

    def overview(self) -> Response:
        """The opportunities."""
        view = parse_view(request.args.items(multi=True))
        moment = this_moment(self._service)
        filters, scan = view.filters, moment.scan
        everything = msgspec.structs.replace(filters, limit=None)
        matching = everything.select(scan.opportunities, moment.now_ms)
        query = {
            name: text
            for name in request.args
            if (text := ",".join(filter(None, request.args.getlist(name))))
        }
        known = {opportunity.key for opportunity in scan.opportunities}
        desk = moment.desk
        room = Room.of(desk.status)
        found = board(matching, desk.marks(), room, filters.sort, view.pins, scan.opportunities)
        return self._page(
            "overview.html",
            scan=scan,
            view=view,
            filters=filters,
            board=found,
            room=room,
            rows=found.rows[: found.pinned + (filters.limit or 0)],
            lost=[key for key in view.pins if key not in known],
            highlights=self._highlights(moment),
            query=query,
            file_query=without_view(query),
        )

    def _highlights(self, moment: Moment) -> views.Highlights:
        state, now_ns, known = moment.scan.state, moment.taken_ns, self._busiest
        if known is None or not known[1] or now_ns - known[0] > BUSIEST_NS:
            known = self._busiest = (now_ns, views.busiest(state))  # a pass over all quotes
        return views.highlights(state, known[1], moment.now_ms)

    def market(self, ticker: str) -> Response:
        """A market; its book and price history, which are kept only while wanted, are wished for."""
        moment = this_moment(self._service)
        found = views.market_page(self._service.scans, moment.scan, ticker, moment.now_ms)
        if found is None:
            return self._not_here("market", ticker)
        for what in ("book", CANDLES):
            self._wish([ticker], what)
        own = desk_views.own(moment.desk, ticker)
        span = request.args.get("chart", SPAN)
        start_of(span, moment.now_ms, None)
        return self._page(
            "market.html",
            page=found,
            own=own,
            marks_drawn=desk_views.marks_drawn(own),
            span=span,
            spans=tuple(SPANS_MS),
            listen=f"ticker={ticker}",
        )

    def event(self, event_ticker: str) -> Response:
        """An event with its markets."""
        moment = this_moment(self._service)
        found = views.event_page(self._service.scans, moment.scan, event_ticker, moment.now_ms)
        if found is None:
            return self._not_here("event", event_ticker)
        span = request.args.get("chart", SPAN)
        start_of(span, moment.now_ms, None)
        return self._page(
            "event.html", page=found, span=span, spans=tuple(SPANS_MS), listen=f"event={event_ticker}"
        )

    def _not_here(self, kind: str, ticker: str) -> Response:
        """Redirect to what was meant, in another case or of another kind; else say what became of it."""
        moment = this_moment(self._service)
        state = moment.scan.state
        meant = spelled(state, ticker)
        if meant not in (None, (kind, ticker)):
            to, name = meant
            at = url_for(to, ticker=name) if to == "market" else url_for(to, event_ticker=name)
            query = request.query_string.decode("latin-1")
            return Response(status=302, headers={"Location": f"{at}?{query}" if query else at})
        past = self._past(ticker.strip().upper()[:TICKER_MAX], 0) if kind == "market" else None
        found = missing(state, kind, ticker[:TICKER_MAX], past, moment.desk.settlements)
        return self._page("missing.html", 404, found=found, still=True)

    def opportunities_csv(self) -> Response:
        """The opportunities that pass the filters, as CSV."""
        filters = parse(request.args.items(multi=True), limit_default=None)
        moment = this_moment(self._service)
        wanted = filters.select(moment.scan.opportunities, moment.now_ms)
        headers = {"Content-Disposition": "attachment; filename=opportunities.csv"}
        return Response(for_programs.to_csv(wanted), mimetype="text/csv", headers=headers)

    def trader(self) -> Response:
        """The trader: positions, orders, fills, limits."""
        sorts = desk_views.parse_sorts(request.args.items(multi=True))
        desk = this_moment(self._service).desk
        page = desk_views.trader_page(
            desk, sorts, self._service.now_ns() // 1_000_000, self._service.oldest_ms
        )
        return self._page("trader.html", desk=desk, page=page, listen="page=trader")

    def system(self) -> Response:
        """Processes, places in the feed, logs."""
        wanted = parse_log_filter(list(request.args.items(multi=True)))
        service = self._service
        return self._page(
            "system.html",
            wanted=wanted,
            lines=log_lines(service.settings.run_dir / "logs", wanted),
            listen="page=system",
            poll_ms=2_000,
            **msgspec.structs.asdict(service.system(this_moment(service))),
        )

    def alerts(self) -> Response:
        """The alert rules with their states, and the latest messages."""
        link = self._service.alerts
        return self._page(
            "alerts.html",
            told=link.answer,
            answers=link.answers,
            wanted_ticker=request.args.get("ticker", "")[:200],
            poll_ms=2_000,
        )

    def results(self) -> Response:
        """What was earned, and by what; and the possible outcomes of open positions."""
        wanted = results_views.parse_choice(request.args.items(multi=True))
        service = self._service
        now_ms = service.now_ns() // 1_000_000
        page, silent = None, ""
        try:
            report, than = self._report(wanted.period), None
            if wanted.than is not None:
                than = self._report(wanted.than)
            risks = service.link().risks().risks
            page = results_views.results_page(report, than, risks, service.desk.trades)
        except (Absent, Refusal) as error:
            silent = str(error)
        return self._page(
            "results.html",
            page=page,
            silent=silent,
            wanted=wanted,
            presets=results_views.presets(now_ms),
            earlier=results_views.before(wanted.period),
            listen="page=trader",
            poll_ms=5_000,
        )

    def _report(self, period: results_views.Period) -> ReportAnswer:
        since, until = (None if day is None else day.isoformat() for day in period)
        return self._service.link().report(since, until)

    def results_csv(self, name: str) -> Response:
        """A table of the results as CSV."""
        if name not in results_views.FILES:
            raise NotFound("No such file.")
        wanted = results_views.parse_choice(request.args.items(multi=True))
        link = self._service.link()
        rows: Sequence[msgspec.Struct]
        if name == "risks":
            rows = link.risks().risks
        elif name == "trades":
            rows = link.rows(name)
        else:
            rows = results_views.rows_of(self._report(wanted.period), name)
        headers = {"Content-Disposition": f"attachment; filename=results-{name}.csv"}
        text = for_programs.rows_to_csv(results_views.FILES[name], rows)
        return Response(text, mimetype="text/csv", headers=headers)

    def refused(self, error: Refusal) -> Response:
        """The trader refuses."""
        return self._problem(409, error.code, str(error))

    def trader_csv(self, name: str) -> Response:
        """A table of the trader as CSV."""
        if name not in desk_views.FIELDS:
            raise NotFound("No such file.")
        headers = {"Content-Disposition": f"attachment; filename={name}.csv"}
        text = for_programs.rows_to_csv(desk_views.FIELDS[name], self._service.link().rows(name))
        return Response(text, mimetype="text/csv", headers=headers)

    def absent(self, error: Absent) -> Response:
        """There is no trader to ask."""
        return self._problem(503, "trader_absent", str(error))

    def silent(self, error: NoAnswer) -> Response:
        """Another process does not answer."""
        return self._problem(503, "no_answer", str(error))

    def bad_parameter(self, error: BadRecord) -> Response:
        """A parameter is wrong; the answer names it."""
        return self._problem(400, "bad_request", str(error), error.field)

    def http_error(self, error: HTTPException) -> Response:
        """Any other error."""
        code = error.code or 500
        response = self._problem(code, error.name.lower().replace(" ", "_"), error.description or error.name)
        if allowed := error.get_response().headers.get("Allow"):
            response.headers["Allow"] = allowed
        return response

    def _problem(self, code: int, name: str, message: str, parameter: str | None = None) -> Response:
        if not request.path.startswith("/api/") and not request.path.endswith(".csv"):
            paths = [rule.rule for rule in current_app.url_map.iter_rules() if "<" not in rule.rule]
            pages = [path for path in paths if "." not in path and not path.startswith("/api/")]
            meant = get_close_matches(request.path.lower()[:PATH_MAX], pages, n=2) if code == 404 else ()
            return self._page("error.html", code, code=code, message=message, meant=meant, still=True)
        error = {"code": name, "message": message}
        if parameter is not None:
            error["parameter"] = parameter
        response = json_reply({"error": error}, code)
        if code in (429, 503):
            response.headers["Retry-After"] = str(RETRY_AFTER_S)
        return response

    def _page(self, template: str, status_code: int = 200, **context: Any) -> Response:
        moment = this_moment(self._service)
        desk = moment.desk
        shared = {"status": moment.status, "now_ms": moment.now_ms, "desk": desk, "marks": desk.marks()}
        shared |= {"room": NO_BOUND}
        shared |= self.found.watched(moment)
        context = shared | {"names": views.Names(moment.scan.state)} | context
        return Response(render_template(template, **context), status_code)
