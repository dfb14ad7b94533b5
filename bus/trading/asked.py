"""Reads what people and programs ask for, and names the member that is wrong, as they spell it. Pure."""

import re
from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from bus.protocol.messages import DECODE_FAULTS
from markets.errors import BadRecord
from markets.texts import carried

T = TypeVar("T", bound=msgspec.Struct)

_MEMBER: Final = re.compile(r".* - at `\$\.(\w+).*`|Object .* field `(.*)`", re.DOTALL)
_TYPES: Final = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def asked(given: Mapping[str, object], type_: type[T]) -> T:
    """Return a structure made of the members given.

    Raises:
        BadRecord: one is wrong, missing or not expected; it is named, with what it must be: the description
            that its type has.
    """
    try:
        return msgspec.convert(given, type_)
    except DECODE_FAULTS as error:
        found = _MEMBER.fullmatch(str(error))
        name = (found[1] or found[2]) if found else None
        if name is None and (name := next(filter(lambda one: _is_cut(given[one]), given), None)) is not None:
            raise BadRecord(name, given[name], "text in UTF-8") from None
        if name is None:
            raise BadRecord("request", dict(given), f"other members ({error})") from None
        hint = get_type_hints(type_, include_extras=True).get(name)
        expected = f"only {', '.join(type_.__struct_fields__)}" if hint is None else _described(hint)
        said = expected or str(error).removeprefix("Expected ").partition(" - at")[0].partition(", got")[0]
        raise BadRecord(name, given.get(name), said) from None


def _is_cut(value: object) -> bool:
    """Return whether there are texts in a value that UTF-8 cannot carry."""
    return carried(value) is not value


def _described(hint: object) -> str:
    """Return in words what a member must be; empty if there are none for it."""
    if isinstance(hint, type) and hint in _TYPES:
        return _TYPES[hint]
    if get_origin(hint) is Literal:
        return " or ".join(map(str, get_args(hint)))
    if get_origin(hint) is Annotated:
        base, *metas = get_args(hint)
        if base is bool or get_origin(base) is Literal:
            return _described(base)
        found = (meta.description for meta in metas if isinstance(meta, msgspec.Meta))
        description = next(filter(None, found), "").removesuffix(".")
        return description[:1].lower() + description[1:]
    choices = get_args(hint) if get_origin(hint) in (Union, UnionType) else ()
    return next(filter(None, map(_described, choices)), "")
