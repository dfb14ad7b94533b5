"""Requests and responses of the pure core, and every shape of error body that Kalshi sends (contract 8)."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from markets.json import words

from .render import dumps

JSON = {"content-type": "application/json"}


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. `path` is raw (as signed), header names are lower-case."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    address: str = ""

    def get(self, name: str) -> str | None:
        """Return the first value of a query parameter; None if it is absent or empty."""
        return next((value for key, value in self.query if key == name and value), None)

    def all(self, name: str) -> list[str]:
        """Return all values of a repeated query parameter."""
        return [value for key, value in self.query if key == name]


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP response. All but the first three members are faults.

    Attributes:
        delay_ms: it leaves this much later.
        cut: the connection ends instead.
        half: it ends, by a reset, in the middle of the body.
        doubled: its bytes are sent twice.
        later: called once `delay_ms` have passed; returns the answer to send instead of this one.
        copy: (ms, what is to be done that much later, whether anybody listens or not).
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: JSON)
    delay_ms: int = 0
    cut: bool = False
    half: bool = False
    doubled: bool = False
    later: "Callable[[int], Response] | None" = None
    copy: "tuple[int, Callable[[int], Response]] | None" = None


def error_body(response: Response) -> dict[str, str]:
    """Return code, message and details of a refusal, whatever its shape."""
    found = json.loads(response.body)
    return dict(found.get("error", found))


class ApiError(Exception):
    """A request that is answered with an error."""

    def __init__(self, response: Response) -> None:
        self.response = response
        super().__init__(response.status)


def ok(text: str, headers: Mapping[str, str] = JSON) -> Response:
    """Answer 200 with a JSON text."""
    return Response(200, text.encode(), headers)


def error(status: int, code: str, message: str, details: str | None = None) -> Response:
    """Answer with the usual shape: ``{"error":{"code","message","details"}}``."""
    return Response(status, dumps(words.error_body(code, message, details)).encode())


def unsigned() -> Response:
    """Answer 401 to a private request without a signature."""
    return error(401, "signature_is_missing_from_headers", "signature is missing from headers")


def internal_error() -> Response:
    """Answer 500 where the simulator itself failed."""
    return error(500, "internal_server_error", "internal server error")


def not_found() -> ApiError:
    """What was asked for does not exist."""
    return ApiError(error(404, "not_found", "not found"))


def bad_request(details: str) -> ApiError:
    """The parameters are well formed but refused."""
    return ApiError(error(400, "bad_request", "bad request", details))


def invalid(message: str) -> ApiError:
    """A parameter failed validation: ``{"msg": ...}``."""
    return ApiError(Response(400, dumps(words.invalid_body(message)).encode()))


def out_of_range(operation: str, name: str, tag: str) -> ApiError:
    """A parameter is beyond its bounds."""
    return invalid(words.out_of_range(operation, name, tag))
