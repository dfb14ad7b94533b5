"""The Flask application: pages, JSON API, CSV and static files, all from memory."""

import hashlib
import mimetypes
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from typing import Any, Final

import msgspec
import structlog
from flask import Flask, Response, render_template, request, url_for
from werkzeug.exceptions import (
    Conflict,
    Forbidden,
    HTTPException,
    NotFound,
    RequestEntityTooLarge,
    TooManyRequests,
    UnsupportedMediaType,
)

from bus.ask import NoAnswer
from bus.protocol.state import State
from markets.errors import BadRecord
from markets.opportunities import KINDS, REASONS

from . import commands, display, export, system, views
from . import desk_page as desk_views
from .chart import history
from .columns import CHOICES, COLUMNS, TableView, parse_view, without_view
from .desk import Absent, TraderLink
from .filters import Filters, parse
from .hub import RETRY_AFTER_S
from .search import Hit
from .service import Service

log = structlog.get_logger()

SEARCH_LIMIT: Final = 20
SEARCH_LIMIT_MAX: Final = 100
SEARCH_TEXT_MAX: Final = 200

SOURCES: Final = {
    "milestone": "from the match schedule",
    "occurrence": "worked out from the occurrence time",
    "unknown": "",
}
_DISPLAY: Final = (
    "cents", "change", "clock", "count", "countdown", "duration", "megabytes", "moment", "money",
    "plain", "points", "price", "rate", "stamp", "whole",
)  # fmt: skip


def make_app(service: Service, wish: Callable[[str], None]) -> Flask:
    """Return the application, which answers from `service` alone.

    Args:
        wish: wishes for the book and the price history of a market that is looked at.
    """
    app = Flask(__name__, static_folder=None)
    app.config.update(MAX_CONTENT_LENGTH=65_536, MAX_FORM_PARTS=20)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters.update({name: getattr(display, name) for name in _DISPLAY})
    assets, pages, api = _Assets(), _Pages(service, wish), _Api(service)
    app.jinja_env.filters.update(desk_views.FILTERS)
    app.jinja_env.globals.update(
        KINDS=KINDS,
        REASONS=REASONS,
        SOURCES=SOURCES,
        CHOICES=[column for column in COLUMNS if column.key in CHOICES],
        USUAL=TableView(Filters()),
        LOG_LEVELS=system.LEVELS,
        ROLES=system.ROLES,
        asset=assets.url,
    )
    rules: dict[str, Callable[..., Response]] = {
        "/": pages.overview,
        "/m/<path:ticker>": pages.market,
        "/e/<path:event_ticker>": pages.event,
        "/search": pages.search,
        "/opportunities.csv": pages.opportunities_csv,
        "/trader": pages.trader,
        "/trader/<name>.csv": pages.trader_csv,
        "/system": pages.system,
        "/api/system": api.system,
        "/api/trader": api.trader,
        "/api/opportunities": api.opportunities,
        "/api/status": api.status,
        "/api/search": api.search,
        "/api/market/<path:ticker>": api.market,
        "/static/<path:name>": assets.static,
        "/favicon.ico": assets.favicon,
    }
    for rule, view in rules.items():
        name = "api_" + view.__name__ if rule.startswith("/api/") else view.__name__
        app.add_url_rule(rule, name, view, methods=["GET"])
    control = _Control(service)
    for op in commands.BODIES:
        app.add_url_rule(f"/api/trader/{op}", f"command_{op}", partial(control.command, op), methods=["POST"])
    app.add_url_rule("/api/replay", "command_replay", control.replay, methods=["POST"])
    app.register_error_handler(NoAnswer, pages.silent)
    app.register_error_handler(Absent, pages.absent)
    app.register_error_handler(BadRecord, pages.bad_parameter)
    app.register_error_handler(HTTPException, pages.http_error)
    return app


class _Pages:
    """What browsers show."""

    def __init__(self, service: Service, wish: Callable[[str], None]) -> None:
        self._service = service
        self._wish = wish
        self._glance = (State(), views.Highlights())

    def overview(self) -> Response:
        view = parse_view(request.args.items(multi=True))
        filters, scan = view.filters, self._service.scan
        everything = msgspec.structs.replace(filters, limit=None)
        matching = everything.select(scan.opportunities, self._service.now_ms())
        query = {
            name: text
            for name in request.args
            if (text := ",".join(filter(None, request.args.getlist(name))))
        }
        known = {one.key for one in scan.opportunities}
        return self._page(
            "overview.html",
            scan=scan,
            view=view,
            filters=filters,
            rows=view.place(matching[: filters.limit], scan.opportunities),
            lost=[key for key in view.pins if key not in known],
            matching=len(matching),
            highlights=self._highlights(),
            query=query,
            file_query=without_view(query),
        )

    def _highlights(self) -> views.Highlights:
        state = self._service.scan.state
        known, found = self._glance
        if known is not state:
            found = views.highlights(state, self._service.now_ms())
            self._glance = (state, found)
        return found

    def market(self, ticker: str) -> Response:
        found = views.market_page(self._service.scans, self._service.scan, ticker, self._service.now_ms())
        if found is None:
            raise _unknown("market", ticker)
        self._wish(ticker)
        own = desk_views.own(self._service.desk, ticker)
        candles = self._service.scan.state.candles.get(ticker)
        bought_ms = [round(fill["time"] * 1000) for fills in own.fills_of.values() for fill in fills]
        drawn = None if candles is None else history(candles, bought_ms)
        return self._page("market.html", page=found, own=own, drawn=drawn, listen=f"ticker={ticker}")

    def event(self, event_ticker: str) -> Response:
        service = self._service
        found = views.event_page(service.scans, service.scan, event_ticker, service.now_ms())
        if found is None:
            raise _unknown("event", event_ticker)
        return self._page("event.html", page=found, listen=f"event={event_ticker}")

    def search(self) -> Response:
        text, limit = _search_query(SEARCH_LIMIT_MAX)
        hits = self._service.search_index().find(text, limit)
        return self._page("search.html", q=text, hits=hits, still=True)

    def opportunities_csv(self) -> Response:
        filters = parse(request.args.items(multi=True), limit_default=None)
        wanted = filters.select(self._service.scan.opportunities, self._service.now_ms())
        headers = {"Content-Disposition": "attachment; filename=opportunities.csv"}
        return Response(export.to_csv(wanted), mimetype="text/csv", headers=headers)

    def trader(self) -> Response:
        sorts = desk_views.parse_sorts(request.args.items(multi=True))
        desk = self._service.desk
        page = desk_views.trader_page(
            desk, sorts, self._service.now_ns() // 1_000_000, self._service.oldest_ms
        )
        return self._page("trader.html", desk=desk, page=page, listen="page=trader")

    def system(self) -> Response:
        wanted = system.parse_log_filter(list(request.args.items(multi=True)))
        service = self._service
        return self._page(
            "system.html",
            wanted=wanted,
            lines=system.log_lines(service.settings.run_dir / "logs", wanted),
            listen="page=system",
            poll_ms=2_000,
            **_system(service),
        )

    def trader_csv(self, name: str) -> Response:
        if name not in desk_views.FIELDS:
            raise NotFound("No such file.")
        headers = {"Content-Disposition": f"attachment; filename={name}.csv"}
        text = export.rows_to_csv(desk_views.FIELDS[name], _link(self._service).rows(name))
        return Response(text, mimetype="text/csv", headers=headers)

    def absent(self, error: Absent) -> Response:
        return self._problem(503, "trader_absent", str(error))

    def silent(self, error: NoAnswer) -> Response:
        return self._problem(503, "no_answer", str(error))

    def bad_parameter(self, error: BadRecord) -> Response:
        return self._problem(400, "bad_request", str(error), error.field)

    def http_error(self, error: HTTPException) -> Response:
        code = error.code or 500
        response = self._problem(code, error.name.lower().replace(" ", "_"), error.description or error.name)
        if allowed := error.get_response().headers.get("Allow"):
            response.headers["Allow"] = allowed
        return response

    def _problem(self, code: int, name: str, message: str, parameter: str | None = None) -> Response:
        if not request.path.startswith("/api/") and not request.path.endswith(".csv"):
            return self._page("error.html", code, code=code, message=message, still=True)
        error = {"code": name, "message": message}
        if parameter is not None:
            error["parameter"] = parameter
        response = _json({"error": error}, code)
        if code in (429, 503):
            response.headers["Retry-After"] = str(RETRY_AFTER_S)
        return response

    def _page(self, template: str, status_code: int = 200, **context: Any) -> Response:
        status = self._service.status()
        desk = self._service.desk
        shared = {"status": status, "now_ms": round(status.now * 1000), "desk": desk, "marks": desk.marks()}
        context = shared | {"names": views.Names(self._service.scan.state)} | context
        return Response(render_template(template, **context), status_code)


class _Api:
    """What programs read: the same as the pages, as JSON."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def opportunities(self) -> Response:
        filters = parse(request.args.items(multi=True))
        scan, status = self._service.scan, self._service.status()
        now_ms = round(status.now * 1000)
        wanted = filters.select(scan.opportunities, now_ms)
        marks = self._service.desk.marks()
        return _json(
            {
                "opportunities": [export.to_json(one, now_ms) | {"trader": marks.of(one)} for one in wanted],
                "total_analyzed": len(scan.state.markets),
                "total_tradable": scan.tradable,
                "as_of": status.as_of,
                "age_seconds": status.age_seconds,
                "stale": status.stale,
                "epoch": scan.epoch,
                "seq": scan.seq,
            }
        )

    def status(self) -> Response:
        return _json(self._service.status())

    def trader(self) -> Response:
        status, desk = self._service.status(), self._service.desk
        return _json({"now": status.now, "summary": status.trader, **desk_views.desk_json(desk)})

    def system(self) -> Response:
        return _json(_system(self._service))

    def search(self) -> Response:
        text, limit = _search_query(SEARCH_LIMIT)
        hits = self._service.search_index().find(text, limit)
        return _json({"query": text, "results": [_hit(hit) for hit in hits]})

    def market(self, ticker: str) -> Response:
        found = views.market_object(self._service.scan, ticker)
        if found is None:
            raise _unknown("market", ticker)
        return Response(found, mimetype="application/json")


class _Control:
    """Commands to the trader. Everything that could come from another page is refused before it is read."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._rates = {op: commands.CommandRate() for op in (*commands.BODIES, "replay")}

    def command(self, op: str) -> Response:
        parameters = commands.read_body(op, self._body(op))
        self._pay(op)
        link = _link(self._service)
        answer = link.kill(parameters["reason"]) if op == "kill" else link.ask(op, **parameters)
        log.info("command.sent", op=op, ok=answer.get("ok"), state=answer.get("state"))
        if not answer.get("ok"):
            return _json({"error": answer["error"]}, 409)
        counts = self._service.desk.status or {}
        return _json(
            {
                "state": answer["state"],
                "answered": answer.get("answered", True),
                "positions": counts.get("positions"),
                "open_orders": counts.get("open_orders"),
            }
        )

    def replay(self) -> Response:
        parameters = commands.read_replay(self._body("replay"))
        self._pay("replay")
        monitor = self._service.monitor
        if monitor is None or not self._service.replaying():
            raise Conflict("no recording is played back")
        answer = monitor.command_replay(parameters)
        return _json(answer, 200 if answer.get("ok") else 409)

    def _body(self, op: str) -> bytes:
        """Return the body of a request that may command; everything else is refused."""
        because = commands.foreign(dict(request.headers), request.host)
        if because is not None:
            log.warning("command.refused", op=op, because=because)
            raise Forbidden(because)
        if request.mimetype != "application/json":
            raise UnsupportedMediaType("Content-Type: expected application/json")
        if (request.content_length or 0) > commands.BODY_MAX:
            raise RequestEntityTooLarge(f"expected at most {commands.BODY_MAX} bytes")
        request.max_content_length = commands.BODY_MAX  # also of a body that does not say its length
        return request.get_data(cache=False)

    def _pay(self, op: str) -> None:
        if not self._rates[op].take(self._service.steady_ns()):
            raise TooManyRequests("too many commands; try again in a moment")


class _Assets:
    """The static files, read once. Their URLs carry a hash, so a browser may keep them for ever."""

    def __init__(self) -> None:
        root = files("ui") / "static"
        self._files = {entry.name: entry.read_bytes() for entry in root.iterdir() if entry.is_file()}
        vendored = root / "vendor"
        self._files |= {f"vendor/{one.name}": one.read_bytes() for one in vendored.iterdir() if one.is_file()}
        whole = hashlib.sha256(b"".join(self._files[name] for name in sorted(self._files)))
        self._version = whole.hexdigest()[:12]

    def url(self, name: str) -> str:
        # The version is a folder, so that a module imports its neighbours of the same version.
        return url_for("static", name=f"{self._version}/{name}")

    def static(self, name: str) -> Response:
        version, _, rest = name.partition("/")
        if version == self._version:
            name = rest
        else:
            version = ""
        body = self._files.get(name)
        if body is None:
            raise NotFound("No such file.")
        kind = "text/javascript" if name.endswith(".js") else mimetypes.guess_type(name)[0]
        response = Response(body, mimetype=kind)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if version else "no-cache"
        return response

    def favicon(self) -> Response:
        return self.static("favicon.svg")


def _system(service: Service) -> dict[str, Any]:
    if service.monitor is not None:
        service.monitor.look(service.steady_ns())
    processes = service.supervised.processes
    return {
        "supervised": processes is not None,
        "processes": system.process_rows(service.settings.run_dir, processes),
        "places": service.places(),
        "message_age": service.arrivals.ages(service.now_ns()),
        "decision_latency_ms": (service.desk.status or {}).get("latency_ms"),
        "feed": service.feed_counts(),
    }


def _link(service: Service) -> TraderLink:
    if service.trader is None:
        raise Absent("this dashboard follows no trader")
    return service.trader


def _json(value: Any, status_code: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status_code, mimetype="application/json")


def _unknown(what: str, ticker: str) -> NotFound:
    return NotFound(f"No {what} {ticker[:200]} in the data this page has.")


def _hit(hit: Hit) -> dict[str, str]:
    if hit.kind == "event":
        url = url_for("event", event_ticker=hit.ticker)
    else:
        url = url_for("market", ticker=hit.ticker)
    return {**msgspec.structs.asdict(hit), "url": url}


def _search_query(limit_default: int) -> tuple[str, int]:
    known = ("q", "limit")
    for name, text in request.args.items(multi=True):
        if name not in known:
            raise BadRecord(name, text, f"one of the parameters {', '.join(known)}")
    # Without what nobody sees: a mark that turns the direction of writing would turn the page's title too.
    text = "".join(filter(str.isprintable, request.args.get("q", ""))).strip()
    if len(text) > SEARCH_TEXT_MAX:
        raise BadRecord("q", text, f"at most {SEARCH_TEXT_MAX} characters")
    limit = request.args.get("limit", "") or str(limit_default)
    if not limit.isascii() or not limit.isdecimal() or not 1 <= int(limit[:9]) <= SEARCH_LIMIT_MAX:
        raise BadRecord("limit", limit, f"a whole number from 1 to {SEARCH_LIMIT_MAX}")
    return text, int(limit)
