"""Texts that everything can carry: journals, messages and files are UTF-8, without halves of surrogate pairs.

JSON can spell such a half, and what Python makes of an argument, a variable or a file name that is not UTF-8
has some. Messages of the bus and from the exchange never do, since msgspec refuses them. What comes from
people, from their files and programs, goes through here. Pure.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_encode = msgspec.msgpack.Encoder().encode


def utf8(text: str) -> str:
    """Return a text as UTF-8 can carry it: with U+FFFD in place of each half of a surrogate pair."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def one_line(text: str) -> str:
    """Return a text as a terminal shows it on one line, with what cannot be printed spelt out."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def carried(value: T) -> T:
    """Return a value that msgpack and JSON can encode, with each text in it as `utf8` has it.

    Structs, lists, tuples and dicts are looked through. A value without such a text is returned itself.
    """
    try:
        _encode(value)
    except (UnicodeEncodeError, OverflowError):  # a number too large says nothing of the texts behind it
        found: T = _throughout(value)
        return found
    return value


def _throughout(value: Any) -> Any:
    if isinstance(value, str):
        return utf8(value)
    if isinstance(value, msgspec.Struct):
        before = {name: getattr(value, name) for name in value.__struct_fields__}
        after = {name: _throughout(member) for name, member in before.items()}
        new = {name: member for name, member in after.items() if member is not before[name]}
        return msgspec.structs.replace(value, **new) if new else value
    if isinstance(value, Mapping):
        return {_throughout(key): _throughout(member) for key, member in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_throughout, value))
    return value
