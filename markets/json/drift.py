"""Where Kalshi's JSON differs from its documents: members unknown, missing, retyped, out of range; new words.

There are two ways through, and they agree. Nearly everything passes the strict decoder of its object, which
is as fast as a reader and whose result is thrown away; what it refuses is walked member by member, and every
member that is not as it should be becomes a `Finding`.

What should be there is in `spec.json`, generated from Kalshi's documents by `tools/kalshi_spec.py`, with
`known.json` on top: what recordings, and the change notes since then, show to be different.

Markets, events, milestones and series that come in lists are judged one by one (`Sentinel.part`), so that a
caller looks only at those whose bytes changed. A member is named by its dotted path from its record: a
market's bid is `markets.yes_bid_dollars` in ``GET /markets`` and in ``GET /events`` alike.
"""

import json
import re
from collections.abc import Mapping, Sequence
from types import GenericAlias
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta, Raw

from markets.units import PRICE_OF_TEXT

from .decoding import JSON_FAULTS

What = Literal["unknown", "missing", "type", "range", "enum"]

EXAMPLE_MOST: Final = 80
NAME_MOST: Final = 100
FINDINGS_MOST: Final = 200
"""The most findings kept for one object: a hostile one could have any number."""

APART: Final = frozenset({"EventData", "Market", "Milestone", "Series"})
"""Objects that are judged one by one where they come in lists."""

TEXT_MOST: Final = 20_000
TICKER_MOST: Final = 200
UUID_LENGTH: Final = 36
INTEGER_MOST: Final = 2**53
NUMBER_MOST: Final = 1e15
COUNT_MOST: Final = 10**13

ROOT: Final = "ws root"
"""Route of frames that belong to no channel."""

_LISTED: Final = "list_subscriptions"
_list: Final = re.compile(rb'"msg"\s*:\s*\[')
_NOT_UTF8: Final = re.compile("[\udc80-\udcff]")
_UNPRINTABLE: Final = re.compile(r"[^!-~]")
_DAY: Final = "-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
_CLOCK: Final = r"T[0-2][0-9]:[0-5][0-9]:[0-6][0-9](?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:[0-9]{2})\Z"
_TIME: Final = rf"\A[0-9]{{4}}{_DAY}{_CLOCK}"
_UNSET: Final = "0001-01-01T00:00:00Z"
_TIME_IN_RANGE: Final = rf"\A(?:199|2[0-2][0-9])[0-9]{_DAY}{_CLOCK}"
_COUNT: Final = r"\A[0-9]{1,13}\.[0-9]{2}\Z"
_CHANGE: Final = r"\A-?[0-9]{1,13}\.[0-9]{2}\Z"
_DECIMAL: Final = re.compile(r"\A(-?)(\d+)(\.\d{1,6})?\Z", re.ASCII)
_NULL: Final = type(None)
_time: Final = re.compile(_TIME)
_time_in_range: Final = re.compile(_TIME_IN_RANGE)


class Member(msgspec.Struct, frozen=True):
    """What a member of an object should be.

    Attributes:
        type: text, word, code, ticker, uuid, time, since (a time that may be unset: year 1), price, count,
            change (of a count), level, integer, number, boolean, object (of any members), any; the name of
            an object; or "list" or "map" and one of these.
        null: it may be null.
        required: it is always there.
        words: the values of a word or code.
        least, most: bounds of a number, instead of those of its type.
        private: it is an account's own, and never an example.
        negative_when: member of the same object -> the words of it with which this count may be negative.
    """

    type: str
    null: bool = False
    required: bool = False
    words: tuple[str | int, ...] = ()
    least: float | None = None
    most: float | None = None
    private: bool = False
    negative_when: dict[str, tuple[str, ...]] | None = None


class Route(msgspec.Struct, frozen=True):
    """A route, or a type of frame: the object that it brings, and whether that is an account's own."""

    object: str
    private: bool = False
    route: str = ""


class Spec(msgspec.Struct, frozen=True):
    """`spec.json`."""

    routes: dict[str, Route]
    frames: dict[str, Route]
    objects: dict[str, dict[str, Member]]


class Known(msgspec.Struct, frozen=True):
    """`known.json`: what is known to differ from the documents, member by member."""

    objects: dict[str, dict[str, dict[str, Any]]]
    error_codes: tuple[str, ...]


class Finding(NamedTuple):
    """One member that is not as the documents say; `example` is JSON, cut."""

    route: str
    member: str
    what: What
    example: str


class Sentinel:
    """Judges replies and frames. Pure; any thread.

    Args:
        spec, known: the two files.

    Attributes:
        spec: routes and frames. objects: what their members should be, including what is known to differ.
    """

    def __init__(self, spec: bytes, known: bytes) -> None:
        self.spec = msgspec.json.decode(spec, type=Spec)
        self._known = msgspec.json.decode(known, type=Known)
        self.objects = _patched(self.spec.objects, self._known.objects)
        self._structs: dict[tuple[str, bool], type[msgspec.Struct]] = {}
        self._decoders: dict[tuple[str, bool], msgspec.json.Decoder[Any]] = {}
        self._parts = {
            (route, name): element
            for route, its in self.spec.routes.items()
            for name, member in self.objects[its.object].items()
            if (element := _element(member.type)) in APART
        } | {
            (route, "markets"): "Market"
            for route, its in self.spec.routes.items()
            if its.object == "GetEventsResponse"
        }
        self._templates = [(route, _template(route)) for route in self.spec.routes]

    def route_of(self, path: str) -> str:
        """Return the route of a path below the API's base, such as ``/markets/ABC``; else the path as one."""
        named = f"GET {path}"
        if named in self.spec.routes:
            return named
        return next((route for route, template in self._templates if template.fullmatch(path)), named)

    def reply(self, route: str, body: bytes | Raw, *, whole: bool = True) -> Sequence[Finding]:
        """Judge the body of a 200; unless `whole`, what `part` judges is left out."""
        its = self.spec.routes.get(route)
        return () if its is None else self._judge(route, "", its.object, body, its.private, apart=not whole)

    def part(self, route: str, name: str, raw: bytes | Raw) -> Sequence[Finding]:
        """Judge an element of the list `name` of a route's reply; those of its events are "markets" too."""
        return self._judge(route, name, self._parts[route, name], raw, False, apart=True)

    def frame(self, kind: str, raw: bytes) -> Sequence[Finding]:
        """Judge a frame of a type ("": it could not be read); a type of no channel is a finding."""
        if not kind:
            return self._unreadable(raw)
        its = self.spec.frames.get(_LISTED if kind == "ok" and _list.search(raw) else kind)
        if its is None:
            return (Finding(ROOT, "type", "enum", _example(kind)),)
        return self._judge(its.route, "", its.object, raw, its.private, apart=True)

    def refusal(self, route: str, status: int, body: bytes) -> Sequence[Finding]:
        """Judge the body of an answer other than 200: its shape, and its error code.

        Four shapes are known: ``{"error": {"code":, ...}}``, the inner object alone, ``{"msg":}``, and
        ``{"error": "too many requests"}``. What is not a JSON object comes not from the API but from
        something in front of it; in an outage any object may come, for example the exchange's status.
        """
        try:
            said = _loads(body)
        except (ValueError, RecursionError):
            return ()
        if not isinstance(said, dict) or isinstance(said.get("msg"), str):
            return ()
        error = said.get("error", said)
        code = error.get("code") if isinstance(error, dict) else error if status == 429 else None
        if not isinstance(code, str):
            return () if status >= 500 else (Finding(route, "error", "type", self._shown(route, said)),)
        if code in self._known.error_codes:
            return ()
        return (Finding(route, "error.code", "enum", self._shown(route, code)),)

    def _shown(self, route: str, value: object) -> str:
        its = self.spec.routes.get(route)
        return _example(value) if its is not None and not its.private else ""

    def _unreadable(self, raw: bytes) -> Sequence[Finding]:
        """Judge a frame whose very type and number could not be decoded."""
        try:
            said = _loads(raw)
        except (ValueError, RecursionError):
            said = None
        kind = said.get("type") if isinstance(said, dict) else None
        if isinstance(kind, str) and kind in self.spec.frames:
            return self.frame(kind, raw)
        return (Finding(ROOT, "type", "type", _example(raw if kind is None else kind)),)

    def _judge(
        self, route: str, path: str, name: str, raw: bytes | Raw, private: bool, *, apart: bool
    ) -> Sequence[Finding]:
        decoder = self._decoders.get((name, apart))
        if decoder is None:
            decoder = self._decoders[name, apart] = msgspec.json.Decoder(self._struct(name, apart))
        try:
            decoder.decode(raw)
        except JSON_FAULTS:
            pass
        else:
            return ()
        return self._walked(route, path, name, raw, private, apart=apart)

    def _walked(
        self, route: str, path: str, name: str, raw: bytes | Raw, private: bool, *, apart: bool
    ) -> Sequence[Finding]:
        """Judge an object member by member."""
        try:
            value = _loads(bytes(raw))
        except (ValueError, RecursionError):
            return (Finding(route, path or "body", "type", "" if private else _example(bytes(raw))),)
        walk = _Walk(self.objects, apart)
        walk.record(name, value, path)
        return [
            Finding(route, member, what, "" if private else example)
            for (member, what), example in walk.found.items()
        ]

    # -- the strict decoders

    def _struct(self, name: str, apart: bool) -> type[msgspec.Struct]:
        found = self._structs.get((name, apart))
        if found is None:
            fields = []
            for number, (member, its) in enumerate(self.objects[name].items()):
                kind = self._strict(its, apart)
                default: dict[str, Any] = {} if its.required else {"default": None}
                if its.null:
                    kind |= None
                fields.append((f"m{number}", kind, msgspec.field(name=member, **default)))
            found = self._structs[name, apart] = msgspec.defstruct(
                re.sub(r"\W", "_", name), fields, kw_only=True, forbid_unknown_fields=True, gc=False
            )
        return found

    def _strict(self, its: Member, apart: bool) -> Any:
        """Return the type with which msgspec accepts exactly what `_Walk` finds nothing wrong with."""
        shape, _, element = its.type.partition(" ")
        if shape in ("list", "map"):
            inner: Any = self._strict(Member(element), apart)
            return list[inner] if shape == "list" else dict[str, inner]
        if its.type in self.objects:
            return Raw if apart and its.type in APART else self._struct(its.type, apart)
        if its.words:
            return Literal[its.words]
        if its.type in ("integer", "number"):
            least, most = _bounds(its)
            kind = int if its.type == "integer" else float
            return Annotated[kind, Meta(ge=kind(least), le=kind(most))]
        return _STRICT[its.type]


class _Walk:
    """One object, walked member by member.

    Attributes:
        found: (member, what) -> example of the first occurrence.
    """

    def __init__(self, objects: Mapping[str, Mapping[str, Member]], apart: bool) -> None:
        self.found: dict[tuple[str, What], str] = {}
        self._objects = objects
        self._apart = apart

    def record(self, name: str, value: object, path: str) -> None:
        """Judge an object called `path`, and everything in it."""
        if not isinstance(value, dict):
            self._find(path or "body", "type", value)
            return
        members = self._objects[name]
        for key, inner in value.items():
            its = members.get(key)
            here = f"{path}.{key}" if path else key
            if its is None:
                shown = _UNPRINTABLE.sub("?", key)[:NAME_MOST]
                self._find(f"{path}.{shown}" if path else shown, "unknown", inner)
            elif its.negative_when is not None and _may_be_negative(its.negative_when, value):
                self._value(its, inner.removeprefix("-") if isinstance(inner, str) else inner, here)
            else:
                self._value(its, inner, here)
        for key, its in members.items():
            if its.required and key not in value:
                self._find(f"{path}.{key}" if path else key, "missing", None)

    def _value(self, its: Member, value: object, path: str) -> None:
        if value is None:
            if not its.null:
                self._find(path, "type", value)
            return
        shape, _, element = its.type.partition(" ")
        if shape == "list":
            if not isinstance(value, list):
                self._find(path, "type", value)
                return
            inner = Member(element)
            for item in value:
                self._value(inner, item, path)
        elif shape == "map":
            if not isinstance(value, dict):
                self._find(path, "type", value)
                return
            for item in value.values():
                self._value(Member(element), item, path)
        elif its.type in self._objects:
            if its.type in APART:
                if self._apart:
                    return  # judged one by one
                path = path.rpartition(".")[2]
            self.record(its.type, value, path)
        else:
            what = _scalar(its, value)
            if what is not None:
                self._find(path, what, value, private=its.private)

    def _find(self, path: str, what: What, value: object, *, private: bool = False) -> None:
        if len(self.found) < FINDINGS_MOST and (path, what) not in self.found:
            self.found[path, what] = "" if private or what == "missing" else _example(value)


def _scalar(its: Member, value: object) -> What | None:
    """Return what is wrong with a value that is neither a list nor a known object; None if nothing is."""
    match its.type:
        case "boolean":
            return None if isinstance(value, bool) else "type"
        case "integer" | "number" | "code":
            if isinstance(value, bool) or not isinstance(
                value, int if its.type != "number" else (int, float)
            ):
                # An integer so long that it was read as a float is still an integer.
                return "range" if isinstance(value, _Huge) else "type"
            if its.words:
                return None if value in its.words else "enum"
            least, most = _bounds(its)
            return None if least <= value <= most else "range"
        case "object":
            return "type" if not isinstance(value, dict) or _has_bad_text(value) else None
        case "any":
            return "type" if _has_bad_text(value) else None
        case "level":
            if not (isinstance(value, list) and len(value) == 2):
                return "type"
            return _scalar(Member("price"), value[0]) or _scalar(Member("count"), value[1])
    if not isinstance(value, str) or _NOT_UTF8.search(value):
        return "type"
    return _text(its, value)


def _text(its: Member, text: str) -> What | None:
    match its.type:
        case "word":
            return None if text in its.words else "enum"
        case "text":
            return None if len(text) <= TEXT_MOST else "range"
        case "ticker":
            return None if 1 <= len(text) <= TICKER_MOST else "range"
        case "uuid":
            return None if len(text) == UUID_LENGTH else "type"
        case "time" | "since":
            if _time_in_range.search(text) or (its.type == "since" and text == _UNSET):
                return None
            return "range" if _time.search(text) else "type"
    found = _DECIMAL.match(text)
    if found is None:
        return "type"
    negative = bool(found[1]) and text.strip("-0.") != ""
    if its.type == "price":
        return "range" if negative or len(found[2]) > 1 or float(text) > 1 else None
    return "range" if (negative and its.type == "count") or len(found[2]) > 13 else None


class _Huge(float):
    """An integer with more digits than any real value has.

    Attributes:
        digits: as it was sent.
    """

    digits: str


def _integer(text: str) -> int | float:
    if len(text) <= 40:
        return int(text)
    huge = _Huge("-inf" if text[0] == "-" else "inf")
    huge.digits = text
    return huge


def _loads(raw: bytes) -> Any:
    """Decode JSON; bytes that are not UTF-8 become lone surrogates."""
    return json.loads(raw.decode("utf-8", "surrogateescape"), parse_int=_integer)


def _has_bad_text(value: object) -> bool:
    if isinstance(value, str):
        return _NOT_UTF8.search(value) is not None
    if isinstance(value, dict):
        return any(_has_bad_text(key) or _has_bad_text(inner) for key, inner in value.items())
    return isinstance(value, list) and any(map(_has_bad_text, value))


def _example(value: object) -> str:
    """Return a value as JSON of printable ASCII, at most EXAMPLE_MOST characters."""
    if isinstance(value, bytes):
        return _UNPRINTABLE.sub(
            lambda found: " " if found[0] == " " else "?", value[:EXAMPLE_MOST].decode("latin-1")
        )
    if isinstance(value, str):
        value = value[:EXAMPLE_MOST]
    elif isinstance(value, (dict, list)):
        value = _cut(value, 2)
    text = value.digits if isinstance(value, _Huge) else json.dumps(value)
    return text if len(text) <= EXAMPLE_MOST else text[: EXAMPLE_MOST - 3] + "..."


def _cut(value: Any, depth: int) -> Any:
    """Return enough of a value to serve as an example."""
    if isinstance(value, str):
        return value[:EXAMPLE_MOST]
    if isinstance(value, dict):
        return (
            {key[:EXAMPLE_MOST]: _cut(its, depth - 1) for key, its in list(value.items())[:9]}
            if depth
            else {}
        )
    if isinstance(value, list):
        return [_cut(its, depth - 1) for its in value[:9]] if depth else []
    return value


def _may_be_negative(conditions: Mapping[str, Sequence[str]], value: Mapping[str, object]) -> bool:
    return any(value.get(member) in words for member, words in conditions.items())


def _bounds(its: Member) -> tuple[float, float]:
    integer = its.type == "integer"
    least = (0 if integer else -NUMBER_MOST) if its.least is None else its.least
    most = (INTEGER_MOST if integer else NUMBER_MOST) if its.most is None else its.most
    return least, most


def _element(type_: str) -> str:
    return type_.rpartition(" ")[2]


def _template(route: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(route.removeprefix("GET "))))


def _patched(
    objects: Mapping[str, Mapping[str, Member]], known: Mapping[str, Mapping[str, Mapping[str, Any]]]
) -> dict[str, dict[str, Member]]:
    """Return the objects with the known differences applied; a member that the documents lack is added."""
    unknown = known.keys() - objects.keys()
    if unknown:
        raise ValueError(f"known.json: no object {', '.join(sorted(unknown))} in spec.json")
    whole = {name: dict(members) for name, members in objects.items()}
    for name, members in known.items():
        for member, change in members.items():
            held = whole[name].get(member)
            before = {} if held is None else msgspec.structs.asdict(held)
            whole[name][member] = msgspec.convert({**before, **change}, Member)
    return whole


_PRICE: Final[Any] = Literal.__getitem__(tuple(PRICE_OF_TEXT))
"""A hash table, because a pattern costs a quarter of a microsecond per member."""

_STRICT: Final[Mapping[str, Any]] = {
    "text": Annotated[str, Meta(max_length=TEXT_MOST)],
    "ticker": Annotated[str, Meta(min_length=1, max_length=TICKER_MOST)],
    "uuid": Annotated[str, Meta(min_length=UUID_LENGTH, max_length=UUID_LENGTH)],
    "time": Annotated[str, Meta(pattern=_TIME_IN_RANGE)],
    "since": Annotated[str, Meta(pattern=_TIME_IN_RANGE)],
    "price": _PRICE,
    "count": Annotated[str, Meta(pattern=_COUNT)],
    "change": Annotated[str, Meta(pattern=_CHANGE)],
    "level": GenericAlias(tuple, (_PRICE, Annotated[str, Meta(pattern=_COUNT)])),
    "boolean": bool,
    "object": dict[str, Any],
    "any": Any,
}
"""A strict form that accepts less than `_Walk` is still right: what it refuses is walked."""
