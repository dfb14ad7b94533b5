"""Refusals in Kalshi's words."""

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


def bad_request(details: str) -> CallRefused:
    """Return the refusal of parameters that are well formed."""
    return CallRefused(error(400, "bad_request", "bad request", details))


def invalid(message: str) -> CallRefused:
    """Return the refusal of a parameter that failed validation."""
    return CallRefused(Answer(400, _encode(invalid_body(message))))
