"""The parameters of `/markets` and of op `markets`: one table, for validation and for OpenAPI."""

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from markets.errors import BadRecord
from markets.records import Status

from .edition import Query

MAX_TICKERS: Final = 1_000
MAX_LIMIT: Final = 1_000
MAX_FIELDS: Final = 100
_MAX_PARAMETERS: Final = 50

STATUS_WORDS: Final = tuple(status.value for status in Status if status is not Status.UNKNOWN)
_TICKER: Final = re.compile(r"[!-+\--~]{1,200}", re.ASCII)  # printable ASCII without the comma
_FIELD: Final = re.compile(r"[a-z][a-z0-9_]{0,99}", re.ASCII)
_LIMIT: Final = re.compile(r"[0-9]{1,9}", re.ASCII)


class Parameter(msgspec.Struct, frozen=True):
    """One parameter: the attribute of `Query` it sets, how its text is read, its description for OpenAPI."""

    attribute: str
    parse: Callable[[str, str], Any]
    description: str
    schema: dict[str, Any]


def _ticker(name: str, text: str) -> str:
    if not _TICKER.fullmatch(text):
        raise BadRecord(name, text, "one ticker: 1 to 200 printable ASCII characters")
    return text


def _tickers(name: str, text: str) -> tuple[str, ...]:
    tickers = text.split(",")
    if len(tickers) > MAX_TICKERS:
        raise BadRecord(name, f"{len(tickers)} tickers", f"at most {MAX_TICKERS}")
    for ticker in tickers:
        if not _TICKER.fullmatch(ticker):
            raise BadRecord(name, ticker, "tickers separated by commas")
    return tuple(tickers)


def _status(name: str, text: str) -> tuple[Status, ...]:
    words = text.split(",")
    for word in words:
        if word not in STATUS_WORDS:
            raise BadRecord(name, word, "one or more, separated by commas, of " + ", ".join(STATUS_WORDS))
    return tuple(sorted({Status(word) for word in words}))


def _limit(name: str, text: str) -> int:
    if not _LIMIT.fullmatch(text) or not 1 <= int(text) <= MAX_LIMIT:
        raise BadRecord(name, text, f"a whole number from 1 to {MAX_LIMIT}")
    return int(text)


def _cursor(name: str, text: str) -> str | None:
    if not text:
        return None  # every walk that passes the cursor on starts this way
    try:
        ticker = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("ascii")
    except (binascii.Error, ValueError):
        ticker = ""
    if not _TICKER.fullmatch(ticker) or make_cursor(ticker) != text:
        raise BadRecord(name, text, "the cursor of an earlier answer, unchanged")
    return ticker


def _fields(name: str, text: str) -> tuple[str, ...]:
    fields = text.split(",")
    if len(fields) > MAX_FIELDS:
        raise BadRecord(name, f"{len(fields)} fields", f"at most {MAX_FIELDS}")
    for field in fields:
        if not _FIELD.fullmatch(field):
            raise BadRecord(name, field, "names of market fields, separated by commas")
    return tuple(fields)


def make_cursor(ticker: str) -> str:
    """Return the cursor that continues after `ticker`."""
    return base64.urlsafe_b64encode(ticker.encode()).decode().rstrip("=")


_ONE_TICKER: Final = {"type": "string", "pattern": r"^[!-+\--~]{1,200}$"}

MARKETS: Final[Mapping[str, Parameter]] = {
    "series_ticker": Parameter("series_ticker", _ticker, "Only markets of this series.", _ONE_TICKER),
    "event_ticker": Parameter("event_ticker", _ticker, "Only markets of this event.", _ONE_TICKER),
    "tickers": Parameter(
        "tickers",
        _tickers,
        f"Only these markets: up to {MAX_TICKERS} tickers, separated by commas. Unknown ones are left out.",
        {"type": "string", "pattern": r"^[!-+\--~]{1,200}(,[!-+\--~]{1,200})*$"},
    ),
    "status": Parameter(
        "status",
        _status,
        "Only markets with one of these statuses, separated by commas: those of the market object, not of "
        "Kalshi's filter.",
        {"type": "string", "pattern": "^({0})(,({0}))*$".format("|".join(STATUS_WORDS))},
    ),
    "limit": Parameter(
        "limit",
        _limit,
        "The most markets in one answer, whose `cursor` leads to the next; without it, all markets.",
        {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT},
    ),
    "cursor": Parameter(
        "after",
        _cursor,
        "Continue after the page whose answer had this cursor; the first page if it is empty.",
        {"type": "string", "pattern": "^[A-Za-z0-9_-]*$"},
    ),
    "fields": Parameter(
        "fields",
        _fields,
        "Only these members of each market, separated by commas; `ticker` is always included.",
        {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,99}(,[a-z][a-z0-9_]{0,99})*$"},
    ),
}


def pairs_of(query_string: str) -> list[tuple[str, str]]:
    """Return the names and values of a URL's query string.

    Raises:
        BadRecord: it is not a query string, or not UTF-8.
    """
    if not query_string:
        return []
    try:
        return parse_qsl(
            query_string,
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=_MAX_PARAMETERS,
        )
    except ValueError:
        raise BadRecord("query", query_string, "name=value pairs separated by &, in UTF-8") from None


def none_expected(pairs: Iterable[tuple[str, str]]) -> None:
    """Refuse any parameter.

    Raises:
        BadRecord: there is one.
    """
    for name, value in pairs:
        raise BadRecord(name, value, "no parameters here")


def parse_markets(pairs: Iterable[tuple[str, str]]) -> Query:
    """Return the query that parameters describe.

    Raises:
        BadRecord: an unknown parameter, one given twice, or a bad value; it names the parameter.
    """
    found: dict[str, Any] = {}
    for name, text in pairs:
        parameter = MARKETS.get(name)
        if parameter is None:
            raise BadRecord(name, text, "a known parameter: " + ", ".join(MARKETS))
        if parameter.attribute in found:
            raise BadRecord(name, text, "this parameter only once")
        found[parameter.attribute] = parameter.parse(name, text)
    return Query(**found)


def texts_of(question: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the parameters of a REQ question as they would appear in a URL.

    Whole numbers may be numbers, and lists of names may be lists.

    Raises:
        BadRecord: a value of another type.
    """
    pairs = []
    for name, value in question.items():
        if name in ("op", "id"):
            continue
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        elif isinstance(value, list) and all(isinstance(item, str) and "," not in item for item in value):
            value = ",".join(value)
        if not isinstance(value, str):
            raise BadRecord(name, value, "text, a whole number or a list of texts without commas")
        pairs.append((name, value))
    return pairs
