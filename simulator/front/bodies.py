"""Bodies of requests: JSON objects, read strictly, refused in the words of Kalshi's decoder."""

import json
from collections.abc import Mapping
from typing import Any, Final

from markets.errors import BadRecord
from markets.units import parse_count_e2, parse_price_e4

from .render import dumps, sendable
from .wire import ApiError, Response, error

MAX_TEXT: Final = 64
"""Longest client order id and the like."""

_KINDS: Final = {bool: "bool", int: "number", float: "number", str: "string", list: "array", dict: "object"}

_WORDS: Final = {bool: "bool", int: "int64", str: "string"}


def undecodable(details: str) -> ApiError:
    """A body that is not the expected JSON: the flat shape of such refusals."""
    text = dumps({"code": "bad_request", "message": "bad request", "details": details})
    return ApiError(Response(400, text.encode()))


def invalid_parameters(details: str) -> ApiError:
    """A member that is missing or out of its bounds."""
    return ApiError(error(400, "invalid_parameters", "invalid parameters", details))


class Body:
    """One JSON object of a body.

    Args:
        members: what was sent.
        name: that of the schema, for the wording of refusals.
    """

    def __init__(self, members: dict[str, Any], name: str) -> None:
        self._members = members
        self._name = name

    @classmethod
    def of(cls, raw: bytes, name: str) -> "Body":
        """Read a body.

        Raises:
            ApiError: 400: it is not a JSON object.
        """
        try:
            members = json.loads(raw.decode() if raw else "{}")
        except (ValueError, RecursionError) as problem:
            if not isinstance(problem, json.JSONDecodeError):
                raise undecodable("invalid character in body") from None
            raise undecodable(f"json: {problem.msg} at offset {problem.pos}") from None
        return cls.made(members, name)

    @classmethod
    def made(cls, members: object, name: str) -> "Body":
        """Take a value already read; 400 unless it is an object."""
        if not isinstance(members, dict):
            kind = _KINDS.get(type(members), "null")
            raise undecodable(f"json: cannot unmarshal {kind} into Go value of type {name}")
        return cls(members, name)

    def text(self, name: str) -> str | None:
        """Return a text member, None if it is absent or null."""
        value: str | None = self._typed(name, str, "string")
        return None if value is None else sendable(value)

    def required(self, name: str) -> str:
        """Return a required text member."""
        value = self.text(name)
        if not value:
            raise invalid_parameters(f"{name} is required")
        return value

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        """Return a required text member, one of `choices`."""
        value = self.required(name)
        if value not in choices:
            raise invalid_parameters(f"{name} must be one of {' '.join(choices)}")
        return value

    def boolean(self, name: str) -> bool:
        """Return a boolean member, False if it is absent or null."""
        return bool(self._typed(name, bool, "bool"))

    def integer(self, name: str, lowest: int, highest: int) -> int | None:
        """Return an integer member within its bounds, None if it is absent or null."""
        value: int | None = self._typed(name, int, "int64")
        if value is not None and not lowest <= value <= highest:
            raise invalid_parameters(f"{name} must be between {lowest} and {highest}")
        return value

    def price_e4(self, name: str) -> int:
        """Return a price given in dollars as text; one finer than $0.0001 or out of range is refused."""
        text = self.required(name)
        try:
            return parse_price_e4(text, name)
        except BadRecord:
            raise ApiError(error(400, "invalid_price", "invalid price")) from None

    def count_e2(self, name: str) -> int:
        """Return a number of contracts given as text; one finer than 0.01 or negative is refused."""
        text = self.required(name)
        try:
            return parse_count_e2(text, name)
        except BadRecord:
            raise ApiError(error(400, "invalid_order_size", "invalid order size")) from None

    def echo(self, name: str) -> dict[str, str]:
        """Return a text member as it was sent, for an answer; empty if it is not text."""
        value = self._members.get(name)
        return {name: sendable(value)} if isinstance(value, str) else {}

    def has(self, name: str) -> bool:
        """Whether a member is present and not null."""
        return self._members.get(name) is not None

    def check(self, kinds: Mapping[str, type]) -> None:
        """Refuse the body if any of these members has the wrong type, before anything is done with it."""
        for name, kind in kinds.items():
            self._typed(name, kind, _WORDS[kind])

    def objects(self, name: str, of: str) -> list["Body"]:
        """Return the objects in a required list member, which must not be empty."""
        value = self._typed(name, list, f"[]{of}")
        if not value:
            raise invalid_parameters(f"{name} is required")
        return [Body.made(item, of) for item in value]

    def _typed(self, name: str, kind: type, words: str) -> Any:
        value = self._members.get(name)
        if value is None:
            return None
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            seen = _KINDS.get(type(value), "value")
            raise undecodable(
                f"json: cannot unmarshal {seen} into Go struct field {self._name}.{name} of type {words}"
            )
        return value
