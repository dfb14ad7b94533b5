"""Any bit of any message may come otherwise than it was sent: it is refused or repaired, and nobody ends."""

import msgspec
import pytest

from bus.protocol.messages import VERSION, Envelope, encode, encode_map, encode_record, unpack_chunk
from markets.errors import DecodeError
from markets.records import Book, BookDelta, Quote, Record
from tests.bus.protocol.damage import HUGE, PREFIXES, check_flips
from tests.bus.protocol.examples import a_record
from tests.bus.protocol.lines import Line
from tests.bus.world import START_MS


def test_any_bit_of_any_message_is_refused_or_repaired() -> None:
    check_flips(1, 300)


@pytest.mark.parametrize("prefixes", PREFIXES)
def test_a_number_far_ahead_is_found_to_be_none_within_seconds(prefixes: tuple[str, ...]) -> None:
    line = Line(prefixes)
    publisher = line.publisher
    (frame,) = publisher._streamed("md.A.", "quote", a_record(Quote))
    at = frame.index(b"\0") + 12
    ahead = frame[:at] + b"\xcd\x7f\xff" + frame[at + 1 :]  # seq, which took one byte, says 32767
    line.node.feed.append(ahead)
    line.node.take_feed(line.now_ms)
    for _ in range(14):
        line.now_ms += 150
        line.settle(1)
    assert line.node.live
    assert line.agrees()


@pytest.mark.parametrize(
    ("kind", "record"),
    [
        ("book", Book("A-1-X", START_MS, ((70_000, 100),), ())),
        ("book", Book("A-1-X", START_MS, (), ((-1, 100),))),
        ("book", Book("A-1-X", START_MS, ((100, 2**63),), ())),
        ("book", Book("A-1-X", 2**62, (), ())),
        ("book_delta", BookDelta("A-1-X", START_MS, "yes", 70_000, 100)),
        ("book_delta", BookDelta("A-1-X", START_MS, "no", 100, -1)),
        ("quote", msgspec.structs.replace(a_record(Quote), yes_bid_e4=10_001)),
        ("quote", msgspec.structs.replace(a_record(Quote), as_of_ms=2**63)),
        ("market", msgspec.structs.replace(a_record(Quote), as_of_ms=0)),
    ],
)
def test_a_record_out_of_range_is_refused_and_what_it_should_have_said_is_fetched(
    kind: str, record: Record
) -> None:
    line = Line()
    state = line.publisher.writer.state
    line.send(line.publisher._streamed("md.A.", "book", Book("A-1-X", START_MS, ((100, 500),), ())))
    envelope = Envelope(
        VERSION, START_MS, state.seq + 1, state.streams["md.A."].last, kind, 0, 1, 1,
        [msgspec.Raw(encode_record(record))],
    )  # fmt: skip
    line.send([encode("md.A.", envelope)])
    line.publisher.quotes()  # what was sent by that number
    line.settle()
    assert line.node.sync.stats.undecodable == 1
    assert line.node.live
    assert line.agrees()


@pytest.mark.parametrize("frame", [HUGE, b"", b"\x28\xb5\x2f\xfd", encode_map({"a": 1})])
def test_a_chunk_that_declares_a_huge_size_or_is_none_is_refused_before_room_is_made(frame: bytes) -> None:
    with pytest.raises(DecodeError):
        unpack_chunk(frame)
