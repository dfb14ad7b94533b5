"""Refusals in Kalshi's words."""

import re
from typing import Final

import msgspec

from markets.errors import KalshiBusError
from markets.json.words import error_body, invalid_body

from .listings import Answer

_encode: Final = msgspec.json.Encoder().encode


class CallRefused(KalshiBusError):
    """A request that gets `answer` instead of what it asks for."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        super().__init__(f"refused with {answer.status}")


def error(status: int, code: str, message: str, details: str | None = None) -> Answer:
    """Return an answer with the usual body of an error."""
    return Answer(status, _encode(error_body(code, message, details)))


def not_found(message: str) -> Answer:
    """Return a 404."""
    return error(404, "not_found", message)


def absent(what: str, key: str) -> Answer:
    """Return a 404 for something that may be at Kalshi, but is not here."""
    return not_found(f"not found: no {what} {key!r:.210} here")


RESERVED: Final = frozenset(("/events/multivariate",))
"""Paths that are not served but look as if they named an event or a series."""

_NOT_HERE: Final = (
    (r"/exchange/user_data_timestamp", "it tells how fresh an account's data is"),
    (
        r"/(portfolio|account|api_keys|communications|fcm|historical/(fills|orders|positions))\b.*",
        "an account's data",
    ),
    (r"/historical/.*", "markets long settled, and their past, are not kept"),
    (r"/live_data/.*", "live data is public and not on the bus: the milestone has the start"),
    (r"/(multivariate_event_collections|events/multivariate)\b.*", "combos are public and not swept"),
    (r"/.+", "this is public at Kalshi and not on the bus"),
)
"""What is not served, by path below the base, and why."""

_patterns: Final = tuple((re.compile(pattern), why) for pattern, why in _NOT_HERE)


def why_not(path: str) -> str:
    """Return the message for a path that is not served."""
    why = next(
        (why for pattern, why in _patterns if pattern.fullmatch(path)), "there is nothing at this path"
    )
    return f"not found: {why}. Served from memory is what docs/http-api.md lists"


def bad_request(details: str) -> CallRefused:
    """Return the refusal of well-formed parameters."""
    return CallRefused(error(400, "bad_request", "bad request", details))


def invalid(message: str) -> CallRefused:
    """Return the refusal of a parameter that failed validation."""
    return CallRefused(Answer(400, _encode(invalid_body(message))))
