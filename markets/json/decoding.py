"""Kalshi's objects, read one by one, and what to say about those that cannot be read.

A `Reader` distinguishes the members that identify an object from all the rest, which at worst are lost alone.
What a decoder complains about becomes a `BadRecord` with the field, its value and what was expected, so that
all complaints are worded alike and a caller handles one error to quarantine a record.
"""

import re
from collections.abc import Callable
from typing import Annotated, Final, Generic, NoReturn, TypeVar

import msgspec
from msgspec import Raw

from markets.errors import BadRecord

JSON_FAULTS: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""Everything that a msgspec decoder raises for bytes it cannot read."""

LARGEST: Final = 2**53
"""No larger number is accepted: every encoder, and every reader of JSON, holds this one exactly."""

Number = Annotated[int, msgspec.Meta(ge=0, le=LARGEST)]
"""An integer that everything on the bus, on disk and in answers can carry."""

NOT_TEXT: Final = "\0"
"""Begins what `Quote.as_sent` has of a member that was no string: the JSON follows, nothing if not sent."""

_T = TypeVar("_T")

_TICKER: Final = re.compile(r"[!-~]{1,200}", re.ASCII)
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)
"""An escape: a pair of surrogates, half of one, or any other."""

_PATH: Final = re.compile(r" - at `\$(.*)`$")
_STEP: Final = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_MISSING: Final = re.compile(r"missing required field `([^`]+)`")
_EXPECTED: Final = re.compile(r"Expected (.+), got .+")


_members: Final = msgspec.json.Decoder(dict[str, Raw])
_list: Final = msgspec.json.Decoder(list[Raw] | None)
_text: Final = msgspec.json.Decoder(str)
_text_or_null: Final = msgspec.json.Decoder(str | None)


class BadMember(msgspec.Struct, frozen=True):
    """A member of a reply that was refused: its ticker if readable, why, and the bytes as sent."""

    ticker: str | None
    error: BadRecord
    raw: bytes


class Reader(Generic[_T]):
    """Reads one kind of object, and of each member as much as can be read.

    Members without a default are those that identify it. Any other that is null, of the wrong type, out of
    range or not UTF-8 is treated as if it had not been sent. An object without faults is decoded in one go
    and costs nothing more.

    Args:
        type_: what to make of it. what: what it is called where no member is at fault.
    """

    def __init__(self, type_: type[_T], what: str) -> None:
        self.strictly = msgspec.json.Decoder(type_).decode
        self._type = type_
        self._what = what
        self._fields = [
            (field.encode_name, field.name, msgspec.json.Decoder(field.type), field.required)
            for field in msgspec.structs.fields(type_)  # type: ignore[arg-type]  # structs alone are read
        ]

    def read(self, raw: bytes | Raw) -> _T:
        """Return what can be read.

        Raises:
            BadRecord: it is not an object, or lacks what identifies it.
        """
        try:
            return self.strictly(raw)
        except JSON_FAULTS:
            return self.of(members_of(raw, self._what))

    def of(self, members: dict[str, Raw]) -> _T:
        """Return what can be read of an object's members.

        Raises:
            BadRecord: it lacks what identifies it.
        """
        found = {}
        for key, name, decoder, required in self._fields:
            raw = members.get(key)
            if required:
                if raw is None:
                    raise BadRecord(key, None, f"a value; the {self._what} lacks it")
                found[name] = decode(decoder, raw, key)
            elif raw is not None:
                try:
                    found[name] = decoder.decode(raw)
                except JSON_FAULTS:
                    continue
        return self._type(**found)


def members_of(raw: bytes | Raw, what: str) -> dict[str, Raw]:
    """Return the members of an object called `what`, not decoded, but known to be decodable.

    Raises:
        BadRecord: it is not an object.
    """
    return decode(_members, legible(bytes(raw)), what)


def readable(parse: Callable[[str], int], text: str | None) -> int | None:
    """Return a text as it was read; None if it cannot be read."""
    try:
        return None if text is None else parse(text)
    except BadRecord:
        return None


def sent_as(raw: Raw | None) -> str | None:
    """Return how a member of a quote was sent, in the form of `Quote.as_sent`; None is null."""
    try:
        return NOT_TEXT if raw is None else _text_or_null.decode(raw)
    except JSON_FAULTS:
        return NOT_TEXT + bytes(raw or b"").decode()


def texts_of(raw: Raw | None) -> tuple[str, ...]:
    """Return the strings in a list, without what cannot be read."""
    found = []
    for element in elements_of(raw):
        try:
            found.append(_text.decode(element))
        except JSON_FAULTS:
            continue
    return tuple(found)


def elements_of(raw: Raw | None) -> list[Raw]:
    """Return the elements of a list; there are none in null, in nothing, or in what is not a list."""
    try:
        return [] if raw is None else _list.decode(raw) or []
    except JSON_FAULTS:
        return []


def legible(raw: bytes) -> bytes:
    """Return JSON that everybody can read: `raw`, with U+FFFD where it is not UTF-8 or only half a character.

    msgspec checks the grammar of members that it does not decode, but not their UTF-8.
    """
    try:
        raw.decode()
    except UnicodeDecodeError:
        raw = raw.decode(errors="replace").encode()
    return _ESCAPE.sub(_whole, raw) if _SURROGATE.search(raw) else raw


def _whole(escape: re.Match[bytes]) -> bytes:
    return escape[0] if escape[1] is None else rb"\ufffd"


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
    """Raise what `decode` would for one of JSON_FAULTS, for callers where calling it costs too much.

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
