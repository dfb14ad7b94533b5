"""The join and the repair, against every interleaving Hypothesis finds."""

import random

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import Phase as HypothesisPhase

from bus.protocol.agreement import MAX_REPAIRS
from bus.protocol.answers import Answers
from bus.protocol.asks import REPAIR_EVERY_MS
from bus.protocol.messages import VERSION, CycleEnd, Envelope, decode, encode, encode_record
from bus.protocol.state import State
from markets.records import Trade, TraderEvent
from tests.bus.protocol.lines import FILTER, TICKERS, Line, SyncMachine, a_suspect
from tests.bus.world import START_MS, Publisher

TestSync = SyncMachine.TestCase
TestSync.settings = settings(
    max_examples=100,
    stateful_step_count=50,
    deadline=None,
    phases=(HypothesisPhase.explicit, HypothesisPhase.generate),  # to shrink a failure takes minutes
    suppress_health_check=[HealthCheck.too_slow],
)


# -- the cases with a name


def test_join_takes_one_snapshot_and_one_confirmation() -> None:
    line = Line()
    assert line.node.asked == 1
    assert line.events() == ["live"]
    assert line.agrees()


def test_snapshot_older_than_the_first_buffered_message_is_fetched_again() -> None:
    line = Line(joined=False)
    line.node.tick(1)
    early = line.server.answer(line.node.questions.popleft(), 1)
    line.publisher.stream()  # sent before the subscription took effect: nobody heard it
    line.send(line.publisher.stream())
    line.node.take_feed(2)
    line.node.answers.append(early)
    line.node.take_answer(3)
    assert "live" not in line.events()
    line.settle()
    assert line.node.live
    assert line.agrees()


def test_lost_message_is_noticed_at_the_next_one_and_only_its_streams_are_fetched() -> None:
    line = Line()
    line.publisher.commit()
    line.settle(1)
    line.now_ms += REPAIR_EVERY_MS
    lost = line.publisher._streamed("md.B.", "suspect", a_suspect("B-1-X"))
    assert lost
    line.send(line.publisher._streamed("md.A.", "suspect", a_suspect("A-1-X")))
    line.node.take_feed(line.now_ms)
    assert line.events()[-1] == "gap"
    line.node.answers.append(line.server.answer(line.node.questions.popleft(), line.now_ms))
    head = line.node.answers[0][0]
    line.node.take_answer(line.now_ms)
    assert line.events()[-1] == "resynced"
    assert b"md.B." in head
    assert b"md.C." not in head
    assert line.agrees()


@pytest.mark.parametrize("prefixes", [("",), FILTER])
def test_lost_last_message_before_silence_is_found_by_the_heartbeat(prefixes: tuple[str, ...]) -> None:
    line = Line(prefixes)
    line.publisher._streamed("md.A.", "suspect", a_suspect("A-1-X"))
    line.settle()
    assert "gap" in line.events()
    assert line.node.sync.stats.digest_mismatches == 0
    assert line.node.live
    assert line.agrees()


@pytest.mark.parametrize("prefixes", [("",), FILTER])
def test_lost_end_of_commit_is_found_by_the_heartbeat(prefixes: tuple[str, ...]) -> None:
    line = Line(prefixes)
    frames = line.publisher.commit()
    line.send(frames[:-1])
    line.node.take_feed(line.now_ms, 100)
    line.settle()
    assert line.node.live
    assert line.agrees()


def test_filtered_replica_is_not_disturbed_by_losses_elsewhere() -> None:
    line = Line(FILTER)
    line.publisher._streamed("md.B.", "suspect", a_suspect("B-1-X"))
    line.settle()
    assert "gap" not in line.events()
    assert line.agrees()


def test_state_stands_still_while_a_gap_is_open() -> None:
    line = Line()
    before = line.node.state.seq
    line.publisher.stream()
    for _ in range(5):
        line.send(line.publisher.stream())
    line.node.take_feed(line.now_ms, 5)
    assert line.node.state.seq == before
    line.answer()
    assert line.node.state.seq == line.publisher.writer.state.seq
    assert line.agrees()


def test_digest_that_differs_is_healed() -> None:
    line = Line()
    line.send(line.publisher.stream())
    line.settle()
    topic = next(t for t, s in line.publisher.writer.state.streams.items() if s.last)
    line.node.state.streams[topic].digests[1] ^= 1
    line.settle()
    assert line.node.sync.stats.digest_mismatches == 1
    assert line.events()[-1] == "resynced"
    assert line.agrees()


def test_digest_that_cannot_be_healed_ends_degraded_and_not_in_a_loop() -> None:
    line = Line()
    line.publisher._streamed("md.A.", "suspect", a_suspect("A-1-X"))
    line.publisher.writer.state.streams["md.A."].digests[1] ^= 1  # the publisher itself is wrong
    for _ in range(5):
        line.send(line.publisher._streamed("md.A.", "suspect", a_suspect("A-1-X")))
        line.settle(rounds=1)
    asked = line.node.asked
    line.settle(rounds=1)
    assert "md.A." in line.node.sync.degraded
    assert line.events().count("degraded") == 1
    assert asked <= 3 + MAX_REPAIRS
    assert line.node.live


def test_new_epoch_is_swapped_in_whole_while_the_old_is_shown() -> None:
    line = Line()
    old = line.node.state
    line.publisher = Publisher(START_MS + 5, random.Random(2), TICKERS)
    line.send(line.publisher.heartbeat())
    line.node.take_feed(line.now_ms)
    assert line.node.state is old
    line.answer()
    line.settle()
    assert line.node.state.epoch == START_MS + 5
    assert line.agrees()


@pytest.mark.parametrize("prefixes", [("",), ("md.A.", "cycle.", "hb.")])
def test_an_epoch_that_is_only_announced_is_joined_as_soon_as_it_opens(prefixes: tuple[str, ...]) -> None:
    line = Line(prefixes, joined=False)
    opened: list[State] = []
    line.server = Answers(lambda: opened[0] if opened else None)
    writer = line.publisher.writer
    assert writer.state.seq == 0
    for _ in range(600):  # a minute: by then it asks rarely
        line.settle(1)
    assert line.node.sync.heartbeat is not None
    assert (line.node.state.epoch, line.node.sync.phase.value) == (0, "joining")
    asked = line.node.sync.stats.asks
    assert asked <= 30

    opened.append(writer.state)
    cycle = CycleEnd(0, 0, 0, 0, True, 1, 2)
    line.send(writer.commit((), cycle, 1, 1))
    line.settle(10)

    assert line.node.live
    assert line.node.state.epoch == START_MS
    assert line.agrees()
    assert line.node.sync.stats.gaps == 0
    assert line.node.sync.stats.asks <= asked + 2


def test_older_epoch_is_ignored_unless_nothing_else_comes() -> None:
    line = Line()
    old = Publisher(START_MS - 5, random.Random(2), TICKERS)
    line.send(old.heartbeat())
    line.node.take_feed(line.now_ms)
    assert line.node.sync.stats.old_epoch == 1
    assert line.node.live
    line.publisher = old
    line.now_ms += 3_000
    line.send(old.heartbeat())
    line.node.take_feed(line.now_ms)
    line.now_ms += 3_000
    line.send(old.heartbeat())
    line.node.take_feed(line.now_ms)
    line.answer()
    line.settle()
    assert line.node.state.epoch == START_MS - 5


def test_without_a_feed_the_snapshot_is_shown_all_the_same() -> None:
    line = Line(joined=False)
    line.node.tick(1)
    line.answer()
    line.node.tick(2_000)
    assert line.node.state.epoch == START_MS
    assert not line.node.live


def test_silence_is_told_once_and_the_socket_rebuilt_with_backoff() -> None:
    line = Line()
    for ms in range(0, 60_000, 100):
        line.node.tick(line.now_ms + ms)
    assert line.events().count("lost") == 1
    assert 3 <= line.node.rebuilt <= 6
    line.now_ms += 60_000
    line.settle()
    assert line.events()[-1] in ("found", "live")


def test_unknown_kind_moves_the_position_and_is_counted() -> None:
    line = Line()
    state = line.publisher.writer.state
    state.seq += 1
    state.stream("new.").last = state.seq
    envelope = Envelope(VERSION, state.epoch, state.seq, 0, "hologram", 0, 1, 1, [])
    line.send([encode("new.", envelope)])
    line.node.take_feed(line.now_ms)
    assert line.node.sync.stats.unknown_kinds == 1
    line.send(line.publisher.stream())
    line.settle()
    assert line.agrees()
    assert "gap" not in line.events()


def test_traders_event_is_of_a_known_kind_and_told_by_what_happened() -> None:
    line = Line()
    line.send(line.publisher.writer.stream("trader.", "trader", [TraderEvent("fill", number=7)], 1, 1))
    line.node.take_feed(line.now_ms)
    assert line.node.sync.stats.unknown_kinds == 0
    assert list(line.node.changed[-1].records) == [("trader", "fill")]
    line.publisher.remember()
    line.settle()
    assert line.agrees()


def test_trades_are_told_whole_since_no_state_keeps_them() -> None:
    line = Line()
    trade = Trade("t1", "A-1-X", 4_000, 1_250, "no", 1)
    line.send(line.publisher.writer.stream("md.A.", "trade", [trade], 1, 1))
    line.node.take_feed(line.now_ms)
    assert list(line.node.changed[-1].trades) == [trade]
    assert list(line.node.changed[-1].records) == [("trade", "A-1-X")]
    line.publisher.remember()
    line.send(line.publisher.stream())
    line.settle()
    assert not line.node.changed[-1].trades
    assert line.agrees()


def test_malformed_record_is_a_hole_that_the_snapshot_fills() -> None:
    line = Line()
    frame = line.publisher._streamed("md.A.", "suspect", a_suspect("A-1-X"))[0]
    topic, envelope = decode(frame)
    envelope.records = [type(envelope.records[0])(encode_record(a_suspect("A-1-X"))[:-1])]
    line.node._do(line.node.sync.feed(topic, envelope, line.now_ms))
    assert line.node.sync.stats.undecodable == 1
    line.settle()
    assert line.node.live
    assert line.agrees()


@given(
    seed=st.integers(0, 2**32 - 1),
    kinds=st.lists(st.sampled_from("qqqqqsch"), min_size=12, max_size=40),
    lost=st.sets(st.integers(0, 39), max_size=2),
    doubled=st.sets(st.integers(0, 15), max_size=6),
    at_once=st.sampled_from([1, 2, 5, 40]),
    prefixes=st.sampled_from([("",), FILTER]),
)
def test_messages_heard_together_do_what_each_alone_does(
    seed: int, kinds: list[str], lost: set[int], doubled: set[int], at_once: int, prefixes: tuple[str, ...]
) -> None:
    line, alone = Line(prefixes), Line(prefixes).node
    publisher = line.publisher
    publisher.rng.seed(seed)
    make = {"q": publisher.quotes, "s": publisher.stream, "c": publisher.commit, "h": publisher.heartbeat}
    sent = [make[kind]() for kind in kinds]
    together = line.node
    frames = [
        frame
        for index, part in enumerate(sent)
        if index not in lost
        for frame in part * (1 + (index in doubled))
        if together.hears(frame.split(b"\0", 1)[0].decode())
    ]
    before = together.sync.state.seq
    for node in (together, alone):
        node.told, node.changed = [], []
    together.feed.extend(frames)
    while together.feed:
        together.take_feed(line.now_ms, at_once)
    for frame in frames:
        alone._do(alone.sync.feed(*decode(frame), line.now_ms))
    assert [told.event for told in together.told] == [told.event for told in alone.told]
    assert [one for changed in together.changed for one in changed.records] == [
        one for changed in alone.changed for one in changed.records
    ]
    assert {changed.seq for changed in together.changed} <= {changed.seq for changed in alone.changed}
    ours, theirs = together.sync, alone.sync
    assert (ours.phase, ours.state.seq, ours.published_ns) == (
        theirs.phase,
        theirs.state.seq,
        theirs.published_ns,
    )
    assert ours.stats == theirs.stats
    assert ours.state.seq >= before
    assert ours.state.digest() == theirs.state.digest()
