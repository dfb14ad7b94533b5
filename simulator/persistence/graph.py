"""All objects of an exchange as bytes, and back. Pure.

An exchange is a graph of small objects that refer to one another. It is written as a list: each object once,
its members as plain values or as references by number. Only classes of the simulator are ever instantiated
from it, empty, and then given their members: reading runs no code of the file's choosing.

What both sides have anyway (the recorded payloads that all texts are made from) is not written, but found
again by walking it in the same order.
"""

import importlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from random import Random
from types import MethodType
from typing import Any, Final

import msgspec

from markets.errors import DecodeError

REF, TUPLE, METHOD, ENUM, GIVEN, FROZENSET = range(6)
"""First element of a list that represents something other than plain text or a number."""

_PLAIN: Final = (type(None), bool, int, float, str, bytes)
_PACKAGE: Final = "simulator."


class Unsaveable(TypeError):
    """Something in the exchange cannot be written."""


def _members(value: object) -> Iterator[tuple[str, Any]]:
    """Yield the members of an object: its slots, or its dictionary."""
    for name in _names(type(value)):
        if hasattr(value, name):
            yield name, getattr(value, name)
    yield from getattr(value, "__dict__", {}).items()


def _names(kind: type) -> list[str]:
    found: list[str] = []
    for base in reversed(kind.__mro__):
        slots = base.__dict__.get("__slots__", ())
        found += [name for name in ((slots,) if isinstance(slots, str) else slots) if name[:2] != "__"]
    return found


def given(roots: Iterable[object]) -> list[object]:
    """Return every non-plain object below `roots`, in an order that depends on them alone."""
    found: dict[int, object] = {}
    waiting = deque(roots)
    while waiting:
        value = waiting.popleft()
        if isinstance(value, _PLAIN) or id(value) in found or isinstance(value, type):
            continue
        if isinstance(value, tuple | frozenset) and not value:
            continue  # there is only one of each
        found[id(value)] = value
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list | tuple | deque):
            waiting.extend(value)
        elif type(value).__module__.startswith(_PACKAGE):
            waiting.extend(member for _, member in _members(value))
    return list(found.values())


class _Writer:
    def __init__(self, roots: Iterable[object], left_out: Callable[[object, str], bool]) -> None:
        self._known = given(roots)
        self._given = {id(value): number for number, value in enumerate(self._known)}
        self._left_out = left_out
        self._numbers: dict[int, int] = {}
        self._objects: list[object] = []
        self._classes: dict[type, int] = {}

    def write(self, root: object) -> bytes:
        top = self._value(root)
        written = []
        position = 0
        while position < len(self._objects):
            written.append(self._content(self._objects[position]))
            position += 1
        names = [f"{kind.__module__}:{kind.__qualname__}" for kind in self._classes]
        return msgspec.msgpack.encode([names, top, written])

    def _value(self, value: Any) -> Any:
        if isinstance(value, Enum):
            return [ENUM, self._class(type(value)), value.value]
        if isinstance(value, _PLAIN):
            return value
        if id(value) in self._given:
            return [GIVEN, self._given[id(value)]]
        if isinstance(value, tuple):
            return [TUPLE, *map(self._value, value)]
        if isinstance(value, MethodType):
            return [METHOD, self._value(value.__self__), value.__func__.__name__]
        if isinstance(value, frozenset):
            return [FROZENSET, *map(self._value, sorted(value))]
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = len(self._objects)
            self._objects.append(value)
        return [REF, number]

    def _class(self, kind: type) -> int:
        return self._classes.setdefault(kind, len(self._classes))

    def _content(self, value: Any) -> list[Any]:
        if isinstance(value, list):
            return ["list", *map(self._value, value)]
        if isinstance(value, dict):
            return ["dict", *((self._value(key), self._value(entry)) for key, entry in value.items())]
        if isinstance(value, deque):
            return ["deque", value.maxlen, *map(self._value, value)]
        if isinstance(value, set):
            return ["set", *map(self._value, sorted(value))]
        if isinstance(value, Random):
            return ["random", self._value(value.getstate())]
        kind = type(value)
        if not kind.__module__.startswith(_PACKAGE):
            raise Unsaveable(f"{kind.__module__}.{kind.__qualname__}")
        members = {
            name: self._value([] if self._left_out(value, name) else member)
            for name, member in _members(value)
        }
        return ["object", self._class(kind), members]


def save(root: object, roots: Iterable[object], left_out: Callable[[object, str], bool]) -> bytes:
    """Return `root` and everything it refers to as bytes.

    Args:
        root: what to save.
        roots: what the reader also has.
        left_out: says whether a member (object, name), a list, is to be empty afterwards.

    Raises:
        Unsaveable: it contains something that can exist only within a process.
    """
    return _Writer(roots, left_out).write(root)


def load(data: bytes, roots: Iterable[object]) -> Any:
    """Return what was saved.

    Args:
        roots: what the writer had, made again.

    Raises:
        DecodeError: the bytes were not written by this build.
    """
    try:
        names, top, written = msgspec.msgpack.decode(data)
        return _Reader(given(roots), [_found(name) for name in names], written).read(top)
    except (msgspec.DecodeError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise DecodeError(f"not a saved exchange of this build: {error}") from error


def _found(name: str) -> type:
    """Return a class of the simulator by its name."""
    module, _, path = name.partition(":")
    if not module.startswith(_PACKAGE):
        raise ValueError(f"class {name}")
    found: Any = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    if not isinstance(found, type) or found.__module__ != module:
        raise ValueError(f"class {name}")
    return found


class _Reader:
    def __init__(self, known: list[object], classes: list[type], written: list[list[Any]]) -> None:
        self._known = known
        self._classes = classes
        self._written = written
        self._objects = [self._empty(content) for content in written]

    def read(self, top: Any) -> Any:
        for value, content in zip(self._objects, self._written, strict=True):
            self._fill(value, content)
        # Keys may be objects: dictionaries are filled once all have their members.
        for value, content in zip(self._objects, self._written, strict=True):
            if content[0] == "dict":
                value.update((self._value(key), self._value(entry)) for key, entry in content[1:])
        return self._value(top)

    def _empty(self, content: list[Any]) -> Any:
        match content[0]:
            case "list":
                return []
            case "dict":
                return {}
            case "deque":
                return deque(maxlen=content[1])
            case "set":
                return set()
            case "random":
                return Random(0)
            case "object":
                kind = self._classes[content[1]]
                return object.__new__(kind)
        raise ValueError(f"content {content[0]!r}")

    def _fill(self, value: Any, content: list[Any]) -> None:
        match content[0]:
            case "list":
                value.extend(map(self._value, content[1:]))
            case "deque":
                value.extend(map(self._value, content[2:]))
            case "set":
                value.update(map(self._value, content[1:]))
            case "random":
                value.setstate(self._value(content[1]))
            case "object":
                for name, member in content[2].items():
                    object.__setattr__(value, name, self._value(member))

    def _value(self, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        match value[0]:
            case 0:
                return self._objects[value[1]]
            case 1:
                return tuple(map(self._value, value[1:]))
            case 2:
                return self._method(self._value(value[1]), value[2])
            case 3:
                return self._classes[value[1]](value[2])
            case 4:
                return self._known[value[1]]
            case 5:
                return frozenset(map(self._value, value[1:]))
        raise ValueError(f"value {value[0]!r}")

    @staticmethod
    def _method(owner: object, name: str) -> Any:
        found = getattr(type(owner), name)
        if not type(owner).__module__.startswith(_PACKAGE) or not callable(found):
            raise ValueError(f"method {name}")
        return MethodType(found, owner)
