"""Facts about Kalshi's API that several packages must state alike. Facts only: each keeps its own logic.

Source: Kalshi API reference, spec 3.34.0 (October 2026), and recorded replies.
"""

from typing import Final, Literal

from markets.records import Status

BASE: Final = "/trade-api/v2"
"""Path of the API below its host."""

COST: Final = 10
"""Tokens of a request without a price of its own, such as every GET of market data."""

STATUS_WORDS: Final[dict[str, frozenset[Status]]] = {
    "unopened": frozenset({Status.INITIALIZED}),
    "open": frozenset({Status.ACTIVE}),
    "paused": frozenset({Status.INACTIVE}),
    "closed": frozenset({Status.CLOSED, Status.DETERMINED, Status.DISPUTED, Status.AMENDED}),
    "settled": frozenset({Status.FINALIZED}),
}
"""Filter word of `GET /markets` -> the words of `status` that it selects."""

EVENT_STATUS_WORDS: Final = ("unopened", "open", "closed", "settled")
"""Filter words of `GET /events`."""

TIME_FAMILIES: Final = {"created": ("unopened", "open"), "close": ("closed", "open"), "settled": ("settled",)}
"""Family of the filters `min_<family>_ts` and `max_<family>_ts` -> the status filters they go with."""

PERIODS_MINUTES: Final = (1, 60, 1440)
"""Lengths of candlesticks."""

TRUE_WORDS: Final = frozenset(("1", "t", "T", "TRUE", "true", "True"))
FALSE_WORDS: Final = frozenset(("0", "f", "F", "FALSE", "false", "False"))
"""What Go's ParseBool accepts."""


def error_body(code: str, message: str, details: str | None = None) -> dict[str, dict[str, str]]:
    """Return the usual body of an error."""
    body = {"code": code, "message": message} | ({} if details is None else {"details": details})
    return {"error": body}


def invalid_body(message: str) -> dict[str, str]:
    """Return the body of a 400 for a parameter that failed validation."""
    return {"msg": message}


def unparsable(name: str, parser: Literal["ParseInt", "ParseBool"], text: str) -> str:
    """Return the message about a parameter that is not an integer, or not a boolean."""
    return (
        f"Invalid format for parameter {name}: error binding string parameter: "
        f'strconv.{parser}: parsing "{text:.50}": invalid syntax'
    )


def out_of_range(operation: str, name: str, tag: str) -> str:
    """Return the message about a parameter beyond its bounds, in the Go validator's words, as recorded."""
    title = "".join(part[:1].upper() + part[1:] for part in name.split("_"))
    return (
        f"Parameter validation failed for {operation}: Key: '{operation}Params.{title}' "
        f"Error:Field validation for '{title}' failed on the '{tag}' tag"
    )
