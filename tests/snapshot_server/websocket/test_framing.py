"""Framing against an independent implementation, the library `websockets`, and against what is none."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Close, Frame, Opcode
from websockets.streams import StreamReader

from snapshot_server.websocket.framing import (
    CLOSE,
    PROTOCOL_ERROR,
    TEXT,
    TOO_BIG,
    BadFrame,
    Inbound,
    close_answer,
    closing,
    framed,
)


def masked(opcode: Opcode, payload: bytes, fin: bool = True) -> bytes:
    return Frame(opcode, payload, fin).serialize(mask=True)


def parsed(data: bytes) -> Frame:
    reader = StreamReader()
    reader.feed_data(data)
    try:
        next(parsing := Frame.parse(reader.read_exact, mask=False, max_size=None))
        next(parsing)
    except StopIteration as done:
        frame: Frame = done.value
        return frame
    raise AssertionError("half a frame")


sizes = st.sampled_from((0, 1, 3, 125, 126, 127, 65_535, 65_536)) | st.integers(0, 300)
messages = st.lists(
    st.tuples(sizes, st.binary(min_size=1, max_size=8), st.integers(1, 3), st.booleans()), max_size=6
)


@given(messages, st.lists(st.integers(1, 70_000), min_size=1))
def test_messages_arrive_whole_however_they_are_cut(
    messages: list[tuple[int, bytes, int, bool]], cuts: list[int]
) -> None:
    data, expected = b"", []
    for size, seed, parts, pinged in messages:
        payload = (seed * (size // len(seed) + 1))[:size]
        step = max(1, -(-size // parts))
        pieces = [payload[at : at + step] for at in range(0, size, step)] or [b""]
        for index, piece in enumerate(pieces):
            opcode = Opcode.CONT if index else Opcode.TEXT
            data += masked(opcode, piece, index == len(pieces) - 1)
            if pinged and index == 0:
                data += masked(Opcode.PING, b"between")
                expected.append((int(Opcode.PING), b"between"))
        expected.append((TEXT, payload))
    inbound, found, at, turn = Inbound(1_000_000), [], 0, 0
    while at < len(data):
        step = cuts[turn % len(cuts)]
        found += inbound.take(data[at : at + step])
        at, turn = at + step, turn + 1
    assert sorted(found) == sorted(expected)
    assert [payload for opcode, payload in found if opcode == TEXT] == [p for o, p in expected if o == TEXT]
    assert inbound.held == 0


@given(st.sampled_from((0, 5, 125, 126, 65_535, 65_536, 70_000)))
def test_what_is_sent_is_read_by_others(size: int) -> None:
    frame = parsed(framed(TEXT, b"x" * size))
    assert (frame.opcode, len(frame.data), frame.fin) == (Opcode.TEXT, size, True)


def test_a_close_says_its_code_and_is_answered_by_its_own() -> None:
    frame = parsed(closing(1001, "the server stops"))
    assert frame.opcode == Opcode.CLOSE
    assert Close.parse(frame.data) == Close(1001, "the server stops")
    for payload, code in ((b"", 1000), (b"\x03\xe9bye", 1001), (b"\x00\x01", 1002), (b"\x0f\xa0", 4000)):
        assert Close.parse(parsed(close_answer(payload)).data).code == code


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x81\x02hi", PROTOCOL_ERROR),  # not masked
        (b"\xc1\x80\0\0\0\0", PROTOCOL_ERROR),  # compressed, though nobody agreed to it
        (b"\x83\x80\0\0\0\0", PROTOCOL_ERROR),  # an opcode of the future
        (b"\x80\x80\0\0\0\0", PROTOCOL_ERROR),  # the rest of nothing
        (b"\x09\x80\0\0\0\0", PROTOCOL_ERROR),  # half a ping
        (b"\x89\xfe\x00\x7e", PROTOCOL_ERROR),  # a long ping
        (b"\x01\x81\0\0\0\0a\x81\x81\0\0\0\0b", PROTOCOL_ERROR),  # a message inside another
        (b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff", TOO_BIG),
        (b"\x01\xbc\0\0\0\0" + b"a" * 60 + b"\x80\xbc\0\0\0\0" + b"b" * 60, TOO_BIG),
        (b"GET / HTTP/1.1\r\n", PROTOCOL_ERROR),
    ],
)
def test_what_is_no_frame_is_refused(data: bytes, code: int) -> None:
    with pytest.raises(BadFrame) as refused:
        Inbound(100).take(data)
    assert refused.value.code == code


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_any_bytes_are_frames_or_refused_and_never_held_beyond_the_limit(pieces: list[bytes]) -> None:
    inbound = Inbound(100)
    with suppress(BadFrame):
        for piece in pieces:
            inbound.take(piece)
            assert inbound.held <= 100 + 14 + 40


def test_a_control_frame_is_not_a_message() -> None:
    assert Inbound(10).take(masked(Opcode.CLOSE, b"\x03\xe8")) == [(CLOSE, b"\x03\xe8")]
