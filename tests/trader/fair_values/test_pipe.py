"""Messages through a pipe: whole however they are cut, and refused if they are none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from markets.errors import DecodeError
from trader.fair_values.pipe import (
    MAX_FRAME,
    AnySourceMessage,
    PipeMessages,
    SourceAnswer,
    SourceFailed,
    SourceHello,
    SourceRefused,
    SourceWaits,
    frame,
)

MESSAGES: list[AnySourceMessage] = [
    SourceHello("mine", 1.0),
    SourceWaits(),
    SourceAnswer((("A", 0.5, 0.0, 7),), 1, ("B: no",)),
    SourceFailed("ValueError: x", "Traceback"),
    SourceRefused("KALSHI_BUS_FAIR_VALUES: no"),
]


@given(st.lists(st.integers(1, 40), min_size=1))
def test_messages_come_out_whole_however_they_are_cut(cuts: list[int]) -> None:
    stream, frames, heard = b"".join(map(frame, MESSAGES)), PipeMessages(), list[AnySourceMessage]()
    while stream:
        for cut in cuts:
            heard += frames.feed(stream[:cut])
            stream = stream[cut:]

    assert heard == MESSAGES


def test_a_text_that_cannot_be_sent_is_sent_as_far_as_it_can() -> None:
    failed = SourceFailed("ValueError: \udcff", "Traceback \ud83d\ude00")
    assert list(PipeMessages().feed(frame(failed))) == [SourceFailed("ValueError: \ufffd", "Traceback 😀")]


@pytest.mark.parametrize(
    "data",
    [
        (MAX_FRAME + 1).to_bytes(4),
        b"\xff\xff\xff\xff",
        b"GET / HTTP/1.1\r\n",
        b"\0\0\0\1\xc0",
        b"\0\0\0\x05" + b"\x92\xa1x\xc0\xc0",
        b"\0\0\0\0",
        (100_000).to_bytes(4) + b"\x91" * 100_000,
    ],
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError, match="source's message"):
        list(PipeMessages().feed(data))


@given(st.binary(max_size=200))
def test_any_bytes_are_messages_or_refused(data: bytes) -> None:
    try:
        heard = list(PipeMessages().feed(data))
    except DecodeError:
        return
    assert all(frame(message) for message in heard)
