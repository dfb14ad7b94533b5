"""Makes bytes that are nearly right: from good ones, by damage to the bytes or to what they say.

All of it follows from a `Random`: the same seed gives the same bytes, on any machine.
"""

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final

import msgpack

INTEGERS: Final = (
    *(0, 1, -1, 2, 127, 128, 255, 256, 9_999, 10_000, 10_001, 32_767, 65_535, 65_536, 70_000),
    *(2**31 - 1, 2**31, 2**32, 2**53, 2**53 + 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1, -(2**31), -(2**63)),
    *(2**64, 10**30, -(2**63) - 1, -(10**30)),  # JSON has numbers that no 64 bits hold
)
TEXTS: Final = (
    *("", " ", "\0", "a" * 300, "x" * 70_000, "\u202e", "é", "../..", "=1+1", "NaN", "Infinity", "-1", "1e9"),
    *(
        "0.0000",
        "1.0001",
        "-0.5000",
        "9" * 40,
        "9999999999999.99",
        "999999999999999999.99",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "null",
        "KX\ud800",
    ),
)
OTHERS: Final[tuple[Any, ...]] = (
    None,
    True,
    False,
    0.0,
    -0.5,
    float("nan"),
    float("inf"),
    1e308,
    [],
    {},
    [[]],
    {"": None},
    b"\xff",
)
BAD_BYTES: Final = (
    b"\xff",
    b"\xc1",
    b"\0",
    b"\xdd\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\x80",
    b"\xed\xa0\x80",
)
DEPTH: Final = 3_000

Mutation = Callable[[bytes, Random, Sequence[bytes]], bytes]


def damaged(data: bytes, rng: Random, others: Sequence[bytes] = ()) -> bytes:
    """Return bytes with one to four places flipped, cut, doubled, put in, or lied about in length."""
    body = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(body) + 1)
        size = rng.choice((1, 1, 2, 4, 8, 64, 1_000))
        match rng.randrange(8):
            case 0 if body:
                body[at % len(body)] ^= 1 << rng.randrange(8)
            case 1 if body:
                body[at % len(body)] = rng.randrange(256)
            case 2:
                del body[at : at + size]
            case 3:
                body[at:at] = body[at : at + size]
            case 4:
                body[at:at] = rng.choice(BAD_BYTES)
            case 5:  # a length or a number: bytes in the order of msgpack, or of zstd and SQLite
                number = rng.choice(INTEGERS) & (2**64 - 1)
                width = rng.choice((1, 2, 4, 8))
                low = (number & (1 << 8 * width) - 1).to_bytes(width, rng.choice(("big", "little")))
                body[at : at + width] = low
            case 6 if others:
                other = rng.choice(others)
                begin = rng.randrange(len(other) + 1)
                body[at : at + size] = other[begin : begin + size]
            case _:
                del body[at:]
    return bytes(body)


def changed(value: Any, rng: Random) -> Any:
    """Return a value of plain types with one place of it changed: other type, out of range, gone, twice."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        match rng.randrange(8):
            case 0:
                return {name: part for name, part in value.items() if name != key}
            case 1:
                return {**value, rng.choice(TEXTS): odd(rng)}
            case 2:
                return {(rng.choice(TEXTS) if name == key else name): part for name, part in value.items()}
            case _:
                return {**value, key: changed(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.9:
        at = rng.randrange(len(value))
        match rng.randrange(8):
            case 0:
                return value[:at] + value[at + 1 :]
            case 1:
                return [*value[:at], value[at], *value[at:]]
            case 2:
                return value[::-1]
            case _:
                return [*value[:at], changed(value[at], rng), *value[at + 1 :]]
    if isinstance(value, bool):
        return odd(rng)
    if isinstance(value, int) and rng.random() < 0.7:
        return rng.choice(
            (value + 1, -value, value * 1_000, value ^ 1 << rng.randrange(62), rng.choice(INTEGERS))
        )
    if isinstance(value, str) and rng.random() < 0.7:
        at = rng.randrange(len(value) + 1)
        return rng.choice(
            (value[:at], value[:at] + rng.choice(TEXTS) + value[at:], value * 2, rng.choice(TEXTS))
        )
    return odd(rng)


def odd(rng: Random) -> Any:
    """Return a value that is rarely expected."""
    return rng.choice((rng.choice(INTEGERS), rng.choice(TEXTS), rng.choice(OTHERS), ["a", 1], {"a": 1}))


def msgpack_damaged(data: bytes, rng: Random, others: Sequence[bytes] = ()) -> bytes:
    """Return a msgpack value that says something else, or damaged bytes."""
    if rng.random() < 0.35:
        return damaged(data, rng, others)
    if rng.random() < 0.01:
        return rng.choice((b"\x91", b"\x81\xa1a")) * DEPTH + b"\xc0"
    try:
        value = msgpack.unpackb(data, raw=False, strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException):
        return damaged(data, rng, others)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        value = changed(value, rng)
    try:
        body: bytes = msgpack.packb(value)
    except (ValueError, TypeError, OverflowError, UnicodeEncodeError):
        return damaged(data, rng, others)
    if isinstance(value, dict) and 0 < len(value) < 15 and rng.random() < 0.1:  # a key that is there twice
        pair = rng.choice(list(value.items()))
        body = bytes([0x81 + len(value)]) + body[1:] + msgpack.packb(pair[0]) + msgpack.packb(pair[1])
    return body


def json_damaged(data: bytes, rng: Random, others: Sequence[bytes] = ()) -> bytes:
    """Return JSON that says something else, or damaged bytes."""
    if rng.random() < 0.3:
        return damaged(data, rng, others)
    if rng.random() < 0.01:
        return rng.choice((b"[", b'{"a":')) * DEPTH
    try:
        value = json.loads(data)
    except ValueError:
        return damaged(data, rng, others)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        value = changed(value, rng)
    escaped = rng.random() < 0.3  # half a character is then spelled as such, otherwise it is no UTF-8
    body = json.dumps(value, default=lambda part: part.decode("latin-1"), ensure_ascii=escaped)
    whole = body.encode("utf-8", "surrogatepass")
    if rng.random() < 0.15:  # a byte that is not UTF-8, inside a text
        texts = [at for at in range(len(whole)) if whole[at : at + 1].isalpha()]
        if texts:
            at = rng.choice(texts)
            whole = whole[:at] + b"\xff" + whole[at + 1 :]
    if rng.random() < 0.1:  # a number that no 64 bits hold, or none at all
        whole = whole.replace(b"0", rng.choice((b"1" + b"0" * 40, b"-0", b"1e400", b"00", b"0.5")), 1)
    return whole
