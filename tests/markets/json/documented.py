"""What Kalshi documents, as payloads that have every member, and which changes of a member it allows."""

import copy
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from markets.json.drift import APART, Member
from publisher.drift import shipped
from simulator.front.mutations import MUTATIONS, Mutation, mutate, owners

SENTINEL = shipped()
_SCALARS: dict[str, Any] = {
    "text": "Will it rain?", "ticker": "KXRAIN-26OCT19-NYC", "uuid": "9b0f6b43-5b68-4f9f-9f02-9a2d1b8ac1a1",
    "time": "2026-10-19T18:00:00Z", "since": "2026-10-19T18:00:00.5Z", "price": "0.5600", "count": "12.50",
    "change": "-3.00", "level": ["0.4500", "12.00"], "number": 1.5, "boolean": True, "object": {"free": 1},
}  # fmt: skip


def payload(name: str) -> dict[str, Any]:
    """An object with every member that it may have."""
    return {member: _value(its) for member, its in SENTINEL.objects[name].items()}


def _value(its: Member) -> Any:
    shape, _, element = its.type.partition(" ")
    if shape == "list":
        return [_value(Member(element))]
    if shape == "map":
        return {"key": _value(Member(element))}
    if its.type in SENTINEL.objects:
        return payload(its.type)
    if its.words:
        return next(word for word in its.words if word)
    if its.type == "integer":
        return max(1, int(its.least or 0))
    return copy.deepcopy(_SCALARS[its.type])


class Place(NamedTuple):
    """A member of a route's or frame's object.

    Attributes:
        path: dotted, from the top. named: as the sentinel names it.
    """

    path: str
    named: str
    its: Member


def places(name: str, path: str = "", named: str = "") -> Iterator[Place]:
    """All members of an object, and of the objects in it."""
    for member, its in SENTINEL.objects[name].items():
        here, called = f"{path}.{member}".strip("."), f"{named}.{member}".strip(".")
        yield Place(here, called, its)
        element = its.type.rpartition(" ")[2]
        if element in SENTINEL.objects:
            yield from places(element, here, member if element in APART else called)


def allows(its: Member, how: Mutation) -> bool:
    """Whether the documents leave room for a changed member, so that it must not be noticed."""
    element = its.type.rpartition(" ")[2]
    match how:
        case "null":
            return its.null
        case "absent":
            return not its.required
        case "empty":
            if its.type in SENTINEL.objects:
                return not any(inner.required for inner in SENTINEL.objects[element].values())
            return its.type in ("text", "object") or " " in its.type or "" in its.words
        case "negative":
            if its.type in ("integer", "number"):
                return (its.type == "number" and its.least is None) or (its.least or 0) < 0
            return its.type == "change"
        case "unknown":
            return its.type in ("text", "ticker")
        case _:
            return False


class Cell(NamedTuple):
    """One change of one member of one route or frame."""

    route: str
    place: Place
    how: Mutation
    body: bytes


def encoded(value: Any) -> bytes:
    """JSON, in which a mutation may have put a byte that is not UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogateescape")


def cells() -> Iterator[Cell]:
    """Every change that can be made of every member of every route and frame."""
    tops = [(route, its.object) for route, its in SENTINEL.spec.routes.items()]
    tops += [(f"frame {kind}", its.object) for kind, its in SENTINEL.spec.frames.items()]
    for route, name in tops:
        for place in places(name):
            for how in MUTATIONS:
                whole = payload(name)
                owner = next(owners(whole, place.path))
                if mutate(owner, place.path.rpartition(".")[2], how):
                    yield Cell(route, place, how, encoded(whole))
