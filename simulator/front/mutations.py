"""Makes members of JSON depart from their documentation, in various ways: what the fault `mutate` does."""

from collections.abc import Iterator
from typing import Any, Final, Literal, get_args

Mutation = Literal[
    "null", "absent", "empty", "type", "negative", "huge", "unknown", "renamed", "bytes"
]  # fmt: skip
MUTATIONS: Final[tuple[Mutation, ...]] = get_args(Mutation)

HUGE_TEXT: Final = "x" * 30_000
HUGE_NUMBER: Final = 10**40
NOT_UTF8: Final = "\udcff"
"""Leaves as the byte 0xff, which never occurs in UTF-8: encode with `surrogateescape`."""

Object = dict[str, Any]


def owners(value: Any, path: str) -> Iterator[Object]:
    """Yield the objects in a JSON value that have the member at the end of a dotted path.

    If the path does not begin at the top, it may begin anywhere, as ``markets.yes_bid_dollars`` does within
    events.
    """
    found = list(_at(value, path))
    yield from found
    if not found and isinstance(value, (list, dict)):
        for inner in value if isinstance(value, list) else value.values():
            yield from owners(inner, path)


def _at(value: Any, path: str) -> Iterator[Object]:
    name, _, rest = path.partition(".")
    if isinstance(value, list):
        for element in value:
            yield from _at(element, path)
    elif isinstance(value, dict) and name in value:
        if rest:
            yield from _at(value[name], rest)
        else:
            yield value


def mutate(owner: Object, name: str, how: Mutation) -> bool:
    """Change a member in place; return False if that is impossible: there is no negative text."""
    value = owner[name]
    match how:
        case "null":
            owner[name] = None
        case "absent":
            del owner[name]
        case "renamed":
            owner[f"{name}_renamed"] = owner.pop(name)
        case "empty":
            owner[name] = type(value)() if isinstance(value, (list, dict)) else ""
        case "bytes":
            owner[name] = value[:1] + NOT_UTF8 + value[1:] if isinstance(value, str) else NOT_UTF8
        case "type":
            owner[name] = _other_type(value)
        case "unknown":
            owner[name] = "a_new_word"
            return isinstance(value, str)
        case _:
            return _extreme(owner, name, value, how)
    return True


def _other_type(value: Any) -> Any:
    if isinstance(value, str):
        return 12_345
    if isinstance(value, (list, dict)):
        return "neither list nor object"
    return {"another": "type"}


def _extreme(owner: Object, name: str, value: Any, how: Mutation) -> bool:
    """Make a number, or a decimal in a text, negative or huge; for a side of a book, its first size."""
    huge = how == "huge"
    if isinstance(value, list) and value and isinstance(value[0], list):
        owner[name] = [[value[0][0], "9" * 30 if huge else "-1.00"], *value[1:]]
    elif isinstance(value, str) and _is_decimal(value):
        owner[name] = "9" * 30 + ".00" if huge else "-1.00"
    elif isinstance(value, str) and huge:
        owner[name] = HUGE_TEXT
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        owner[name] = HUGE_NUMBER if huge else -12
    else:
        return False
    return True


def _is_decimal(text: str) -> bool:
    return text.removeprefix("-").replace(".", "", 1).isdigit()
