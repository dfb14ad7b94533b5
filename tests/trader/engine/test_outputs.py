"""What an earlier version wrote still counts as decided once members are added; no other difference does."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tests.trader.world import basket, data, filled, live, start
from trader.engine.engine import Engine
from trader.engine.outputs import AnyOutput, Booked, Place, agree, encode_outputs

MEMBERS_OF_V1 = 21
"""So many members had the order of a `Place` in the first journals: up to `attempt`."""

Rows = list[Any]


def decided() -> tuple[list[AnyOutput], list[AnyOutput]]:
    """The outputs of a step that places a basket, and of one that books a fill."""
    engine = Engine()
    for one in (start(), live()):
        engine.step(one)
    orders = engine.step(data(basket()))
    assert isinstance(orders[0], Place)
    return list(orders), engine.step(filled(orders[0].intent))


def rows(outputs: list[AnyOutput]) -> Rows:
    decoded: Rows = msgspec.msgpack.decode(encode_outputs(outputs))
    return decoded


def cut(written: Rows, members: int = MEMBERS_OF_V1) -> Rows:
    """The rows of placed orders as a version with fewer members wrote them."""
    return [[tag, rest[0][:members]] if tag == "Place" else [tag, *rest] for tag, *rest in written]


def test_outputs_agree_with_themselves_and_with_those_of_fewer_members() -> None:
    for outputs in (*decided(), []):
        assert agree(outputs, encode_outputs(outputs))
    orders, _ = decided()
    assert cut(rows(orders)) != rows(orders)
    assert agree(orders, msgspec.msgpack.encode(cut(rows(orders))))


def with_price(written: Rows) -> Rows:
    written[1][1][9] += 100
    return written


@pytest.mark.parametrize(
    "change",
    [
        with_price,
        lambda written: written[:-1],
        lambda written: [*written, written[-1]],
        lambda written: written[::-1],
        lambda written: cut(written, MEMBERS_OF_V1 - 2),
        lambda written: [[*row[:1], [*row[1], "of a later version"]] for row in written],
        lambda written: [["Refused", *row[1:]] for row in written],
        lambda written: [],
        lambda written: {},
    ],
)
def test_any_other_difference_is_one(change: Callable[[Rows], Any]) -> None:
    orders, _ = decided()
    places: list[AnyOutput] = [output for output in orders if isinstance(output, Place)]

    for written in (rows(places), cut(rows(places))):
        assert not agree(places, msgspec.msgpack.encode(change(written)))


@pytest.mark.parametrize("body", [b"", b"\x90", b"\xc1", b"no msgpack"])
def test_other_bytes_are_a_difference(body: bytes) -> None:
    for outputs in decided():
        assert not agree(outputs, body)


def test_a_fill_less_is_a_difference() -> None:
    _, booked = decided()
    written = rows(booked)
    assert isinstance(booked[0], Booked)
    written[0][4] = []

    assert not agree(booked, msgspec.msgpack.encode(written))
