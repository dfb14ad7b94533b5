"""The protocol's bytes: golden files that decode for ever, round trips, and any bytes at all."""

import contextlib
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import msgpack
import msgspec
import pytest
from hypothesis import given

from bus.protocol.messages import (
    MAX_MESSAGE_BYTES,
    RECORD_TYPES,
    VERSION,
    Chunk,
    CycleEnd,
    Envelope,
    Heartbeat,
    MessageTooLarge,
    Quotes,
    SnapshotHead,
    decode,
    decode_at_once,
    decode_chunk,
    decode_map,
    decode_record,
    encode,
    encode_chunk,
    encode_map,
    encode_record,
    quotes_decoder,
    schema,
)
from bus.protocol.state import decode_all
from bus.protocol.writer import Writer
from markets.errors import BadRecord, DecodeError, VersionError
from markets.records import Quote, Series
from markets.units import MAX_TIME_MS
from tests.bus.protocol.examples import CYCLE, EPOCH, HEARTBEAT, a_record, the_messages

GOLDEN = Path(__file__).parents[2] / "data" / "golden"


KINDS = sorted(the_messages())


@pytest.mark.parametrize("kind", KINDS)
def test_golden_bytes_decode_and_are_what_is_sent_today(kind: str) -> None:
    """To add a kind: write `the_messages()[kind]` to its file. Never change a file that is there."""
    golden = (GOLDEN / f"{kind}.bin").read_bytes()
    topic, envelope = decode(golden)
    assert (envelope.kind, envelope.epoch) == (kind, EPOCH)
    if kind in RECORD_TYPES:
        expected = a_record(RECORD_TYPES[kind])
        for got in decode_all(kind, envelope.records):
            # Fields appended since the file was written have their default.
            known = len(msgpack.unpackb(envelope.records[0]))
            assert msgspec.to_builtins(got)[:known] == msgspec.to_builtins(expected)[:known]
    elif kind == "cycle":
        assert decode_map(envelope.records[0], CycleEnd) == CYCLE
    else:
        assert decode_map(envelope.records[0], Heartbeat) == HEARTBEAT
    assert topic == decode(the_messages()[kind])[0]


@pytest.mark.parametrize("kind", KINDS)
def test_golden_bytes_are_readable_with_plain_msgpack_and_the_schema(kind: str) -> None:
    topic, _, body = (GOLDEN / f"{kind}.bin").read_bytes().partition(b"\0")
    names = schema()
    header = dict(zip(names["header"], msgpack.unpackb(body), strict=True))
    assert (header["version"], header["kind"]) == (1, kind)
    assert topic.endswith(b".")
    for record in header["records"]:
        if kind in names["kinds"]:
            assert 2 <= len(record) <= len(names["kinds"][kind])
        else:
            assert set(record) <= set(names[kind])


@pytest.mark.parametrize("kind", sorted(RECORD_TYPES))
def test_a_record_comes_back_as_the_same_bytes(kind: str) -> None:
    """Else a snapshot from a replica would have other digests than the publisher's."""
    raw = encode_record(a_record(RECORD_TYPES[kind]))
    assert encode_record(decode_record(kind, raw)) == raw


@given(
    st.builds(
        Envelope,
        st.just(VERSION),
        st.integers(1, MAX_TIME_MS),
        st.integers(10, 2**53),
        st.integers(0, 10),
        st.text(max_size=20),
        st.integers(0, 2**53),
        st.integers(0, 2**63 - 1),
        st.integers(0, 2**63 - 1),
        st.lists(
            st.integers().filter(lambda n: -(2**63) <= n < 2**64).map(lambda n: msgspec.Raw(msgpack.packb(n)))
        ),
    ),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=50),
)
def test_envelope_comes_back(envelope: Envelope, topic: str) -> None:
    got_topic, got = decode(encode(topic, envelope))
    assert got_topic == topic
    assert [bytes(raw) for raw in got.records] == [bytes(raw) for raw in envelope.records]
    assert msgspec.structs.replace(got, records=[]) == msgspec.structs.replace(envelope, records=[])


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_decode_error(data: bytes) -> None:
    read_everything(data)
    read_everything(b"md.A.\0" + data)


@given(st.sampled_from(KINDS), st.integers(0, 400), st.integers(1, 255), st.integers(0, 400))
def test_damaged_messages_are_messages_or_decode_errors(kind: str, at: int, flip: int, cut: int) -> None:
    data = bytearray((GOLDEN / f"{kind}.bin").read_bytes())
    data[at % len(data)] ^= flip
    read_everything(bytes(data))
    read_everything(bytes(data[: cut % len(data)]))


def read_everything(data: bytes) -> None:
    """What a replica does with a frame and with an answer's frames; DecodeError is the only way out."""
    try:
        _, envelope = decode(data)
        if envelope.kind in RECORD_TYPES:
            decode_all(envelope.kind, envelope.records)
        for raw in envelope.records:
            decode_map(raw, Heartbeat)
    except DecodeError:
        pass
    for type_ in (CycleEnd, SnapshotHead, dict[str, Any]):
        with contextlib.suppress(DecodeError):
            decode_map(data, type_)
    try:
        for kind, raws in decode_chunk(data).content:
            if kind in RECORD_TYPES:
                decode_all(kind, raws)
    except DecodeError:
        pass


@pytest.mark.parametrize(
    "body",
    [
        b"\xdd\xff\xff\xff\xff",
        b"\x91" * 2_000,
        b"\xc1",
        msgpack.packb(["a"] * 9) + b"extra",
        b"\x99" + b"\xa1\xff" * 9,
        msgpack.packb({1: 2}),
        b"\xcb\x7f\xf8\0\0\0\0\0\0",
        b"",
    ],
)
def test_hostile_msgpack_is_one_kind_of_error(body: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(b"md.A.\0" + body)
    with pytest.raises(DecodeError):
        decode_map(body, Heartbeat)
    with pytest.raises(DecodeError):
        decode_chunk(body)


def test_newer_major_version_is_refused_with_what_to_do() -> None:
    data = b"md.A.\0" + msgpack.packb([VERSION + 1, "epoch as text", {"seq": 5}])
    with pytest.raises(VersionError, match="upgrade"):
        decode(data)


def test_trailing_fields_of_a_newer_minor_are_ignored() -> None:
    header = [VERSION, EPOCH, 5, 4, "remove", 0, 1, 1, [["market", "A-1", "new field"]], "new", 7]
    _, envelope = decode(b"md.A.\0" + msgpack.packb(header))
    (record,) = decode_all("remove", envelope.records)
    assert msgspec.to_builtins(record) == ["market", "A-1"]


def test_no_message_is_larger_than_the_bound() -> None:
    writer = Writer(EPOCH)
    large = [Series(f"S{number}", "t" * 90_000, "", "", "", 0, b"") for number in range(7)]
    frames = writer.stream("ref.", "series", large, 1, 1)
    assert all(len(frame) <= MAX_MESSAGE_BYTES for frame in frames)
    records = [record for frame in frames for record in decode_all("series", decode(frame)[1].records)]
    assert records == large
    assert [decode(frame)[1].seq for frame in frames] == list(range(1, len(frames) + 1))
    with pytest.raises(MessageTooLarge, match="250000"):
        writer.stream("ref.", "series", [msgspec.structs.replace(large[0], title="t" * 250_000)], 1, 1)
    assert writer.state.seq == len(frames)


def test_quotes_decoded_at_once_are_those_of_the_envelope() -> None:
    quote = a_record(Quote)
    (frame,) = Writer(EPOCH).stream("md.KXAT.", "quote", [quote], 7, 9)
    topic, envelope = decode(frame)
    body = frame[len(topic) + 1 :]
    quotes = quotes_decoder.decode(body)
    assert decode_all("quote", envelope.records) == quotes.records == [quote]
    assert Quotes.__struct_fields__ == Envelope.__struct_fields__
    header = [name for name in Envelope.__struct_fields__ if name != "records"]
    assert [getattr(quotes, name) for name in header] == [getattr(envelope, name) for name in header]


@given(frame=st.binary(max_size=200), at=st.integers(0, 60), byte=st.integers(0, 255))
def test_decoding_at_once_takes_and_refuses_what_decoding_does(frame: bytes, at: int, byte: int) -> None:
    (good,) = Writer(EPOCH).stream("md.KXAT.", "quote", [a_record(Quote)], 7, 9)
    changed = good[:at] + bytes([byte]) + good[at + 1 :]
    for data in (good, changed, frame):
        try:
            topic, envelope = decode(data)
        except DecodeError:
            with pytest.raises(DecodeError):
                decode_at_once(data)
            continue
        topic_at_once, message = decode_at_once(data)
        assert (topic_at_once, message.kind, message.seq) == (topic, envelope.kind, envelope.seq)
        if isinstance(message, Quotes):
            assert message.records == decode_all("quote", envelope.records)
    assert isinstance(decode_at_once(good)[1], Quotes)


def test_chunk_comes_back() -> None:
    chunk = Chunk("md.A.", 7, [("remove", [msgspec.Raw(b"\x92\xa1a\xa1b")])])
    assert encode_chunk(decode_chunk(encode_chunk(chunk))) == encode_chunk(chunk)


def test_half_a_character_costs_a_map_no_more_than_itself() -> None:
    frame = encode_map({"op": "kill", "reason": "st\udcf6p", "more": [{"\ud800": "é"}]})
    assert decode_map(frame, dict[str, Any]) == {"op": "kill", "reason": "st?p", "more": [{"?": "é"}]}


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value", [2**64, -(2**63) - 1, 1 << 20_000, nested(5_000), {"deep": nested(5_000)}], ids=lambda _value: ""
)
def test_what_no_map_can_carry_is_named(value: object) -> None:
    with pytest.raises(BadRecord, match=r"^number: got .*, expected what a message can carry"):
        encode_map({"op": "cancel", "number": value, "id": 1})
    assert encode_map({"number": 2**64 - 1, "least": -(2**63)})
