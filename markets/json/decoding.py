"""What a decoder complains of, made into `BadRecord`: the field, its value, and what was expected.

Every reader of Kalshi's JSON goes through `decode`, so that all complaints are worded alike and a caller has
one error to quarantine a record by.
"""

import re
from typing import Final, NoReturn, TypeVar

import msgspec
from msgspec import Raw

from markets.errors import BadRecord

JSON_FAULTS: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""All that a decoder of msgspec raises for bytes that it cannot read."""

_T = TypeVar("_T")

_TICKER: Final = re.compile(r"[!-~]{1,200}", re.ASCII)
_PATH: Final = re.compile(r" - at `\$(.*)`$")
_STEP: Final = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_MISSING: Final = re.compile(r"missing required field `([^`]+)`")
_EXPECTED: Final = re.compile(r"Expected (.+), got .+")


class BadMember(msgspec.Struct, frozen=True):
    """A member of a reply that was refused: its ticker if readable, why, and the bytes as sent."""

    ticker: str | None
    error: BadRecord
    raw: bytes


def decode(decoder: msgspec.json.Decoder[_T], raw: bytes | Raw, what: str) -> _T:
    """Return what `decoder` makes of `raw`, called `what` where no member of it is at fault.

    Raises:
        BadRecord: it cannot be decoded.
    """
    try:
        return decoder.decode(raw)
    except JSON_FAULTS as error:
        refuse(error, raw, what)


def refuse(error: Exception, raw: bytes | Raw, what: str) -> NoReturn:
    """Say what `decode` says of one of JSON_FAULTS: for where its call is too dear.

    Raises:
        BadRecord: always; it names the field and its value.
    """
    raw, text = bytes(raw), str(error)
    if not isinstance(error, msgspec.ValidationError):
        raise BadRecord(what, raw[:200], f"JSON ({text})") from None
    match = _PATH.search(text)
    path = match[1] if match else ""
    missing = _MISSING.search(text)
    if missing is not None:
        field = f"{path}.{missing[1]}".strip(".")
        raise BadRecord(field, None, f"a value; the {what} lacks it") from None
    reason = _PATH.sub("", text).replace("`", "")
    expected = _EXPECTED.sub(r"\1", reason)
    raise BadRecord(path.strip(".") or what, _value_at(raw, path), expected) from None


def _value_at(raw: bytes, path: str) -> object:
    try:
        value = msgspec.json.decode(raw)
        for name, index in _STEP.findall(path):
            value = value[name] if name else value[int(index)]
    except (msgspec.MsgspecError, ValueError, LookupError, TypeError, RecursionError):
        return raw[:200]
    return value


def checked_ticker(text: str, field: str) -> str:
    """Return a ticker. It becomes part of topics, URLs and keys: printable ASCII without spaces.

    Raises:
        BadRecord: it is not.
    """
    if _TICKER.fullmatch(text) is None:
        raise BadRecord(field, text, "1 to 200 printable ASCII characters without a space")
    return text


def checked_utf8(raw: bytes, what: str) -> bytes:
    """Return `raw`. msgspec checks the grammar of members it does not decode, but not their UTF-8.

    Raises:
        BadRecord: it is not UTF-8.
    """
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        raise BadRecord(what, raw[max(0, error.start - 40) : error.end + 40], "UTF-8") from None
    return raw
