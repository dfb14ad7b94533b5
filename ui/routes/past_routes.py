"""The page of past moments: a market, an event or the first markets, from the time machine."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from flask import Response, render_template, request
from werkzeug.exceptions import BadGateway, BadRequest, NotFound

from bus.ask import NoAnswer
from markets.errors import BadRecord
from ui.pages import views
from ui.pages.board import NO_BOUND
from ui.pages.preferences import zone_named
from ui.service import Service

from .replies import this_moment

SHOWN: Final = 50
"""How many markets of a list are shown."""

NAMES: Final = frozenset({"at", "ticker", "event", "zone"})
_FIELDS: Final = "event_ticker,title,yes_sub_title,status,yes_bid_dollars,yes_ask_dollars,last_price_dollars"

AskPast = Callable[[Mapping[str, Any]], dict[str, Any]]
"""Asks the time machine. Raises NoAnswer if none is running."""


def nobody(_question: Mapping[str, Any]) -> dict[str, Any]:
    """Stand in for the time machine where there is none."""
    raise NoAnswer("no time machine is running")


class Span(msgspec.Struct, frozen=True):
    """The recorded period, in ms since 1970, and the page's place in it."""

    begin_ms: int
    end_ms: int
    at_ms: int


class PastRoutes:
    """The page: its frame from the service, its content from the time machine."""

    def __init__(self, service: Service, ask: AskPast) -> None:
        self._service = service
        self._ask = ask

    def past(self) -> Response:
        """The markets as they were at a moment."""
        for name in request.args:
            if name not in NAMES:
                raise BadRecord(name, request.args[name], "at, zone, ticker or event")
        ticker, event = (request.args.get(name, "")[:200] for name in ("ticker", "event"))
        try:
            span = self._ask({"op": "span"})
        except NoAnswer:
            raise NotFound(
                "Nothing is being recorded: KALSHI_BUS_RECORD is no, or its process is down."
            ) from None
        end_ms = span.get("end_ms", 0)
        at = _in_utc(request.args.get("at") or str(end_ms), request.args.get("zone", ""))
        said = self._markets(at, ticker, event)
        upper = (ticker.upper(), event.upper())
        if said.get("ok") is True and not said["markets"]["markets"] and upper != (ticker, event):
            ticker, event = upper
            said = self._markets(at, ticker, event)
        if said.get("ok") is not True:
            error = said.get("error", {})
            kind = {"bad_request": BadRequest, "internal": BadGateway, "busy": BadGateway}
            raise kind.get(error.get("code", ""), NotFound)(str(error.get("message"))[:500])
        moment = this_moment(self._service)
        made, age = said.get("generated_at"), said.get("age_seconds")
        at_ms = round((made + age) * 1000) if made is not None and age is not None else end_ms
        return Response(
            render_template(
                "past.html", status=moment.status, now_ms=moment.now_ms, desk=moment.desk,
                marks=moment.desk.marks(), room=NO_BOUND, names=views.Names(moment.scan.state), still=True,
                span=Span(span.get("begin_ms", 0), end_ms, at_ms), said=said, ticker=ticker, event=event,
            )
        )  # fmt: skip

    def _markets(self, at: str, ticker: str, event: str) -> dict[str, Any]:
        wanted = {"tickers": ticker} if ticker else {"event_ticker": event} if event else {}
        fields = f"{_FIELDS},as_of"
        return self._ask({"op": "markets", "at": at, "limit": SHOWN, "fields": fields, **wanted})


def _in_utc(at: str, name: str) -> str:
    """Return a moment in the time machine's terms; a time without a zone is taken to be in the zone `name`.

    Raises:
        BadRecord: there is no such zone.
    """
    if not name:
        return at
    zone = zone_named(name)
    if zone is None:
        raise BadRecord("zone", name, "a zone of the IANA database that this machine knows")
    if at.isdecimal():
        return at
    try:
        said = datetime.fromisoformat(at)
        return at if said.tzinfo else said.replace(tzinfo=zone).astimezone(UTC).isoformat()
    except (ValueError, OverflowError):  # a position, ms, or not a time, which the time machine will say
        return at
