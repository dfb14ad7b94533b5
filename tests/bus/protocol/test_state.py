"""The state alone: what it says has changed is what has."""

import random
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from bus.protocol.memory import Keeping, Packed, Slim
from bus.protocol.messages import (
    MAX_MESSAGE_BYTES,
    MAX_RECORDS,
    MessageTooLarge,
    decode,
    encode_record,
)
from bus.protocol.state import STATE_KINDS, State
from markets.records import Event, Record, Remove, Series
from tests.bus.protocol.lines import TICKERS, Line
from tests.bus.world import START_MS, Publisher, a_market, a_quote

KEEPINGS = [None, Keeping, Slim, lambda: Packed(sample_bytes=1)]


def an_event(title: str = "Who wins?", raw: bytes = b"{}") -> Event:
    return Event("E", "A", title, "", "", True, None, None, None, 0, raw)


def put(state: State, topic: str, kind: str, *records: Record) -> list[tuple[str, str]]:
    """Apply a message of these records as a replica does; return what it says has changed."""
    state.seq += 1
    with state.lock:
        groups = state.apply(topic, state.seq, kind, [encode_record(record) for record in records])
    return [(kind, key) for kind, keys in groups for key in keys]


@pytest.mark.parametrize("keeping", KEEPINGS)
def test_records_sent_again_as_they_are_held_change_nothing(keeping: Any) -> None:
    state = State(START_MS, keeping and keeping())
    market, event = a_market("A-1-X", "A"), an_event()
    series = Series("A", "A", "Sports", "daily", "quadratic", 10_000, b"{}")
    sent = {"market": ("md.A.", market), "event": ("ref.", event), "series": ("ref.", series)}
    for kind, (topic, record) in sent.items():
        assert len(put(state, topic, kind, record)) == 1
    held, digest = dict(state.markets), state.digest()
    for kind, (topic, record) in sent.items():
        assert put(state, topic, kind, record) == []
    assert state.markets["A-1-X"] is held["A-1-X"]
    assert state.digest() == digest
    assert {stream.last for stream in state.streams.values()} == {4, 6}, "its numbers go on"


@pytest.mark.parametrize("keeping", KEEPINGS)
def test_of_records_sent_together_those_that_differ_have_changed(keeping: Any) -> None:
    state = State(START_MS, keeping and keeping())
    markets = [a_market(ticker, "A") for ticker in ("A-1-X", "A-1-Y", "A-1-Z")]
    put(state, "md.A.", "market", *markets)
    markets[1] = a_market("A-1-Y", "A", "Will it, really?")
    assert put(state, "md.A.", "market", *markets) == [("market", "A-1-Y")]
    assert put(state, "md.A.", "market", *markets) == []
    fresh = State(START_MS, keeping and keeping())
    put(fresh, "md.A.", "market", *markets)
    assert state.digest() == fresh.digest()
    assert state.markets == fresh.markets


@pytest.mark.parametrize("keeping", KEEPINGS)
def test_a_record_twice_in_one_message_ends_as_the_last_says(keeping: Any) -> None:
    state = State(START_MS, keeping and keeping())
    held, other = a_market("A-1-X", "A"), a_market("A-1-X", "A", "Renamed")
    put(state, "md.A.", "market", held)
    put(state, "md.A.", "market", other, held)
    fresh = State(START_MS, keeping and keeping())
    put(fresh, "md.A.", "market", held)
    assert (state.markets, state.digest()) == (fresh.markets, fresh.digest())


def test_a_market_that_is_equal_but_of_another_stream_has_changed() -> None:
    state = State(START_MS)
    put(state, "md.A.", "market", a_market("A-1-X", "A"))
    assert put(state, "md._.", "market", a_market("A-1-X", "A")) == [("market", "A-1-X")]
    assert state.stream_of == {"A-1-X": "md._."}


def test_what_a_slim_replica_does_not_keep_counts_in_its_digest_all_the_same() -> None:
    whole, slim = State(START_MS), State(START_MS, Slim())
    for raw in (b'{"a":1}', b'{"a":2}'):
        for state in (whole, slim):
            put(state, "ref.", "event", an_event(raw=raw))
        assert whole.position("ref.") == slim.position("ref.")


def test_removing_what_is_not_there_changes_nothing() -> None:
    state = State(START_MS)
    put(state, "md.A.", "market", a_market("A-1-X", "A"))
    assert put(state, "md.B.", "remove", Remove("market", "A-1-X")) == [], "another stream's"
    assert put(state, "md.A.", "remove", Remove("market", "A-1-Y"), Remove("market", "A-1-X")) == [
        ("market", "A-1-X")
    ]
    assert put(state, "ref.", "remove", Remove("event", "E"), Remove("hologram", "E")) == []


@given(st.integers(0, 2**32 - 1), st.text("ccsssqqr", min_size=1, max_size=12))
def test_every_record_that_differs_is_said_to_have_changed(seed: int, kinds: str) -> None:
    line = Line()
    publisher = line.publisher
    publisher.rng.seed(seed)
    for kind in kinds:
        before = {kind: dict(line.node.state.records[kind]) for kind in STATE_KINDS}
        line.node.changed.clear()
        line.send(frames := MAKE[kind](publisher))
        line.node.take_feed(line.now_ms, len(frames))
        said = {record for changed in line.node.changed for record in changed.records}
        assert kind != "r" or not said
        for of, held in line.node.state.records.items():
            for key in before[of].keys() | held.keys():
                if before[of].get(key) != held.get(key):
                    # What hangs on a market goes with it, and a book clears the doubt.
                    assert {(of, key), ("market", key), ("book", key)} & said


def sent_again(publisher: Publisher) -> list[bytes]:
    """Every market, event and series once more, as they are."""
    frames = []
    for ticker, market in list(publisher.writer.state.markets.items()):
        frames += publisher._streamed(publisher.topic(ticker), "market", market)
    for kind in ("event", "series"):
        for record in list(publisher.writer.state.records[kind].values()):
            frames += publisher._streamed("ref.", kind, record)
    return frames


MAKE = {"c": Publisher.commit, "s": Publisher.stream, "q": Publisher.quotes, "r": sent_again}


def test_a_replica_tells_its_listener_nothing_of_what_is_sent_again() -> None:
    """Else a listener that counts changes, such as a search index, is never up to date."""
    line = Line()
    line.send(line.publisher._streamed("ref.", "event", an_event()))
    line.settle()
    line.node.changed.clear()
    frames = sent_again(line.publisher)
    assert len(frames) == len(TICKERS) + 1 + len(line.publisher.writer.state.series)
    line.send(frames)
    line.node.take_feed(line.now_ms, len(frames))
    assert [record for changed in line.node.changed for record in changed.records] == []
    assert line.node.changed[-1].seq == decode(frames[-1])[1].seq, "but where it stands"
    line.settle()
    assert line.agrees()
    assert line.node.sync.stats.digest_mismatches == 0


def test_what_is_sent_before_the_own_state_has_it_is_the_same_to_the_byte() -> None:
    plain, first = (
        Publisher(START_MS, random.Random(1), TICKERS),
        Publisher(START_MS, random.Random(1), TICKERS),
    )
    sent: list[bytes] = []
    seen: list[int] = []

    def send(frame: bytes) -> None:
        sent.append(frame)
        seen.append(first.writer.state.quotes[TICKERS[0]].yes_bid_e4)

    topic = plain.topic(TICKERS[0])
    for bid_e4 in (1_000, 2_000):
        quotes = [a_quote(TICKERS[0], bid_e4)]
        frames = plain.writer.stream(topic, "quote", quotes, 1, 2)
        assert first.writer.stream(topic, "quote", quotes, 1, 2, send) == frames == sent[-1:]
    assert seen == [4_500, 1_000], "sent before"
    assert first.writer.state.digest() == plain.writer.state.digest()
    assert first.writer.state.seq == 2


def test_what_is_sent_before_a_message_that_is_too_large_leaves_no_hole() -> None:
    publisher = Publisher(START_MS, random.Random(1), TICKERS)
    writer, ticker = publisher.writer, TICKERS[0]
    topic, series = publisher.topic(ticker), ticker.split("-", maxsplit=1)[0]
    quotes = [a_quote(ticker, bid_e4) for bid_e4 in range(100, 100 + 2 * MAX_RECORDS)]
    sent: list[bytes] = []
    assert writer.stream(topic, "quote", quotes, 1, 2, sent.append) == sent
    assert len(sent) == 2

    markets = [a_market(ticker, series, "small"), a_market(ticker, series, "x" * MAX_MESSAGE_BYTES)]
    with pytest.raises(MessageTooLarge):
        writer.stream(topic, "market", markets, 1, 2, sent.append)
    assert writer.state.markets[ticker].title == "small"
    numbers = [decode(frame)[1].seq for frame in sent]
    assert numbers == [1, 2, 3]
    assert (writer.state.seq, writer.state.streams[topic].last) == (3, 3)
