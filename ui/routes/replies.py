"""Answers that several kinds of route give."""

import msgspec
from flask import Response, g, request
from werkzeug.exceptions import NotFound

from ui.moment import Moment
from ui.pages.preferences import COOKIE, Preferences, parse_preferences
from ui.service import Service


def json_reply(value: object, status_code: int = 200) -> Response:
    """Return `value` as JSON."""
    return Response(msgspec.json.encode(value), status_code, mimetype="application/json")


def this_moment(service: Service) -> Moment:
    """Return the moment from which the whole answer to this request is made."""
    if "moment" not in g:
        g.moment = service.moment()
    moment: Moment = g.moment
    return moment


def preferences() -> Preferences:
    """Return the display settings of whoever made this request."""
    if "preferences" not in g:
        g.preferences = parse_preferences(request.cookies.get(COOKIE))
    found: Preferences = g.preferences
    return found


def unknown(what: str, ticker: str) -> NotFound:
    """Return the error of a market or an event that is not in the state shown."""
    return NotFound(f"There is no {what} {ticker[:200]} in the data.")
