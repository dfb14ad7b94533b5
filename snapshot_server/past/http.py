"""HTTP of the time machine: the snapshot server's answers as they were at `at`. Pure but for the machine."""

import re
from typing import Final

import msgspec

from bus.process.http_headers import names_this_machine
from bus.tape.moments import NotRecorded, moment, parse_at
from markets.errors import BadRecord
from snapshot_server import trade_api
from snapshot_server.http import HttpRequest, HttpResponse, respond, said
from snapshot_server.parameters import pairs_of, parse_markets

from .machine import Machine

_ONE: Final = re.compile(r"/trade-api/v2/(?:markets|events)/([^/]{1,200})(?:/orderbook)?")
"""Routes about one market or event."""

_NOT_KEPT: Final = re.compile(
    r"/trade-api/v2/(?:markets/trades|.*candlesticks|exchange/schedule|historical/cutoff|account/endpoint_costs"
    r"|(?:series|events)/fee_changes|search/.*)"
)
NOT_KEPT: Final = "no moment of the recording holds this: ask without at"


def respond_past(request: HttpRequest, machine: Machine) -> HttpResponse:
    """Return the answer to a request, its body complete. Never raises, whatever the request contains."""
    response = _respond(request, machine)
    return msgspec.structs.replace(response, body=response.content())


def _respond(request: HttpRequest, machine: Machine) -> HttpResponse:
    nothing = machine.view(None)
    if not names_this_machine(request.headers.get("host", ""), request.version):
        return respond(request, nothing, 0)
    try:
        if request.path == "/health":
            begin_ns, end_ns = machine.span()
            times = [moment(time_ns) if time_ns else None for time_ns in (begin_ns, end_ns)]
            body = msgspec.json.encode({"status": "ok", "begin": times[0], "end": times[1]})
            return HttpResponse(200, said(404, "", "").headers, body, "/health")
        if request.path != "/markets" and not request.path.startswith(trade_api.ROOT + "/"):
            expected = f"/markets, /health or what is below {trade_api.ROOT}/"
            return said(404, "not_found", f"path: got {request.path!r:.200}, expected {expected}")
        if _NOT_KEPT.fullmatch(request.path):
            return said(404, "not_found", NOT_KEPT)
        given = [text for name, text in pairs_of(request.query) if name == "at"]
        at = parse_at(given[0] if len(given) == 1 else ", ".join(given))
        rest = "&".join(part for part in request.query.split("&") if part.partition("=")[0] != "at")
        request = msgspec.structs.replace(request, query=rest)
        shown = machine.show(at, _named(request))
    except BadRecord as error:
        return said(400, "bad_request", str(error)[:500])
    except NotRecorded as error:
        return said(404, error.code, str(error))
    except OSError as error:
        return said(503, "not_ready", f"the recording cannot be read: {error.strerror}")
    return respond(request, machine.view(shown), shown.now_ms)


def _named(request: HttpRequest) -> frozenset[str] | None:
    """Return which markets, events or series the answer is about; None: everything.

    Raises:
        BadRecord: there is a parameter that the answer would refuse.
    """
    if request.path != "/markets":
        one = _ONE.fullmatch(request.path)
        return frozenset((one[1],)) if one is not None else None
    query = parse_markets(pairs_of(request.query))
    if query.tickers is not None:
        return frozenset(query.tickers)
    if query.event_ticker is not None:
        return frozenset((query.event_ticker,))
    return frozenset((f"md.{query.series_ticker}.",)) if query.series_ticker is not None else None
