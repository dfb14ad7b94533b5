"""The log: every input reads back as it was, and what rarely changes is written once."""

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from markets.errors import DecodeError
from markets.orders import Accepted, Ended, Fill, Filled, Unknown
from markets.records import FairValue
from tests.trader.world import NOW_MS, basket, data, leg, live, quiet, settled, start, tick, view_of
from trader.engine.inputs import (
    AnyInput,
    Command,
    Data,
    Decoder,
    Encoder,
    Orders,
    TimeGap,
    TradingStatus,
    Values,
)
from trader.ledger.ledger import Ledger

BOOKED = view_of(
    basket().event, leg(basket().event, "HOM", book=([(100, 5)], [(200, 7), (300, 9)]), suspect=True)
)
EXAMPLES: list[AnyInput] = [
    start(Ledger.new(5), killed="x"),
    live(),
    tick(),
    data(),
    data(basket(), quiet(2), settled(basket(3), "HOM"), BOOKED),
    data(msgspec.structs.replace(basket(), series=None)),
    TradingStatus(NOW_MS, 1, trading=False, idle_shards=(1, 2)),
    TimeGap(NOW_MS, 1, ms=5),
    Values(NOW_MS, 1, set=(FairValue("A", 0.25, "file", NOW_MS, 0.01),), removed=("B",)),
    Orders(
        NOW_MS,
        1,
        events=(Accepted(3, "x"), Filled(3, Fill(1, 2, 3, 4, 5)), Unknown(4, "lost"), Ended(3, "no_depth")),
    ),
    Command(NOW_MS, 1, op="kill", reason="x"),
]


class Statics(dict[int, tuple[str, bytes]]):
    def save(self, kind: str, body: bytes) -> int:
        self[len(self) + 1] = kind, body
        return len(self)


@pytest.mark.parametrize("one", EXAMPLES, ids=lambda one: type(one).__name__)
def test_an_input_reads_back_as_it_was(one: AnyInput) -> None:
    statics = Statics()
    body = Encoder(statics.save).encode(one)

    assert Decoder(statics).decode(body) == one
    assert body[:1] != b"\0"


def test_a_record_is_written_once_until_it_changes() -> None:
    statics = Statics()
    encoder = Encoder(statics.save)
    for seq in range(5):
        encoder.encode(data(basket(as_of_ms=NOW_MS + seq), seq=seq))
    assert sorted(kind for kind, _ in statics.values()) == ["event", "market", "market", "market", "series"]

    changed = settled(basket(), "HOM")
    body = encoder.encode(data(changed))
    assert len(statics) == 8
    read = Decoder(statics).decode(body)
    assert isinstance(read, Data)
    assert read.views == (changed,)


def test_the_end_of_an_order_as_old_journals_have_it_is_told_as_fills_and_an_end() -> None:
    fills = (Fill(1, 2, 3, 4, 5), Fill(6, 7, 8, 9, 10))
    body = msgspec.msgpack.encode(["Ended", NOW_MS, 1, 3, fills, "no_depth"])

    events = (Filled(3, fills[0]), Filled(3, fills[1]), Ended(3, "no_depth"))
    assert Decoder({}).decode(body) == Orders(NOW_MS, 1, events)


@given(st.binary(max_size=200))
def test_other_bytes_raise_one_error(body: bytes) -> None:
    with contextlib.suppress(DecodeError):
        Decoder({}).decode(body)


def test_a_missing_record_is_an_error_too() -> None:
    body = Encoder(Statics().save).encode(data(basket()))

    with pytest.raises(DecodeError):
        Decoder({}).decode(body)
