"""Objects of Kalshi's with one member spoilt, as bytes: JSON of our own making says what no encoder would."""

import json
from collections.abc import Iterator
from typing import Any

SPOILT: dict[str, bytes | None] = {
    "null": b"null",
    "absent": None,
    "empty": b'""',
    "list": b"[]",
    "object": b'{"a":[1,{"b":null}]}',
    "other type": b"7",
    "boolean": b"true",
    "text": b'"nonsense"',
    "negative": b'"-3.00"',
    "negative number": b"-3",
    "huge integer": b"1" + b"0" * 40,
    "huge float": b"1e400",
    "year 0": b'"0001-01-01T00:00:00+23:59"',
    "not UTF-8": b'"a\xffb"',
    "half a character": rb'"a\ud83d"',
}


def spoilt(sent: dict[str, Any], name: str, how: str) -> bytes:
    """Return an object with one member spoilt."""
    value = SPOILT[how]
    if how == "not UTF-8" and isinstance(sent.get(name), str):
        text = json.dumps(sent[name])
        value = f"{text[: len(text) // 2]}\N{BELL}{text[len(text) // 2 :]}".encode().replace(b"\x07", b"\xff")
    members = {key: json.dumps(other).encode() for key, other in sent.items() if key != name}
    if value is not None:
        members[name] = value
    return b"{" + b",".join(b'"%b":%b' % (key.encode(), other) for key, other in members.items()) + b"}"


def mutations(sent: dict[str, Any], *others: str) -> Iterator[tuple[str, str, bytes]]:
    """Yield every member, and those named beside them, spoilt in every way."""
    for name in dict.fromkeys((*sent, *others, "x_new")):
        for how in SPOILT:
            yield name, how, spoilt(sent, name, how)


def with_bytes_in_strings(raw: bytes) -> Iterator[bytes]:
    """Yield JSON with a byte that is not UTF-8 put into each of its strings in turn, keys too."""
    inside = False
    at = 0
    while at < len(raw):
        if raw[at : at + 1] == b'"':
            inside = not inside
            if inside:
                yield raw[: at + 1] + b"\xff" + raw[at + 1 :]
        elif raw[at : at + 1] == b"\\" and inside:
            at += 1
        at += 1
