"""The join and the repair, against every interleaving Hypothesis finds."""

import random

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import Phase as HypothesisPhase
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import bus.protocol.writer
from bus.protocol.agreement import MAX_REPAIRS
from bus.protocol.answers import Answers
from bus.protocol.asks import REPAIR_EVERY_MS, WHOLES
from bus.protocol.join import Phase
from bus.protocol.memory import Packed, Slim
from bus.protocol.messages import VERSION, CycleEnd, Envelope, decode, encode, encode_record
from bus.protocol.state import State
from markets.records import Suspect, Trade, TraderEvent
from tests.bus.world import START_MS, Node, Publisher, as_old

TICKERS = ("A-1-X", "A-1-Y", "B-1-X", "C-1-X")
FILTER = ("md.A.", "ref.", "ex.", "cycle.", "hb.")


class SyncMachine(RuleBasedStateMachine):
    """Publisher -> snapshot server -> a full and a filtered replica, over wires that lose, double and
    swap."""

    @initialize(
        seed=st.integers(0, 2**32 - 1),
        joined=st.sampled_from([True, True, True, False]),
        streams_per_part=st.sampled_from([1, 2, 2_500]),
    )
    def start(self, seed: int, joined: bool, streams_per_part: int) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(bus.protocol.writer, "_STREAMS_PER_PART", streams_per_part)
        self.rng = random.Random(seed)
        self.now_ms = 1_000
        self.publisher = Publisher(START_MS, self.rng, TICKERS)
        self.state_server = Answers(lambda: self.publisher.writer.state)
        self.server = Node(("",), seed, Packed(sample_bytes=1))
        self.full = Node(("",), seed + 1)
        self.filtered = Node(FILTER, seed + 2, Slim())
        self.nodes = (self.server, self.full, self.filtered)
        self.late = False
        self.seen: dict[Node, tuple[int, int, dict[str, int]]] = {}
        if joined:
            self.quiesce(rounds=3)

    def send(self, frames: list[bytes]) -> None:
        for node in self.nodes:
            if node is not self.filtered or self.late:
                node.hear(frames)
        self.now_ms += 1

    # -- the publisher

    @rule()
    def commit(self) -> None:
        self.send(self.publisher.commit())

    @rule(count=st.integers(1, 5))
    def stream(self, count: int) -> None:
        for _ in range(count):
            self.send(self.publisher.stream())

    @rule()
    def heartbeat(self) -> None:
        self.send(self.publisher.heartbeat())

    @rule()
    def join_late(self) -> None:
        self.late = True

    @rule()
    def restart(self) -> None:
        self.publisher = self.publisher.succeed(self.publisher.writer.state.epoch + 1)

    def publish(self, kinds: str, node: Node, lost: int | None = None) -> None:
        """Publish messages of these kinds; all arrive here and at the server, but for one."""
        for kind in kinds:
            make = {"c": "commit", "s": "stream", "q": "quotes", "h": "heartbeat"}[kind]
            self.send(getattr(self.publisher, make)())
        if lost is not None and node.feed:
            del node.feed[lost % len(node.feed)]
        for one in (self.server, node):
            one.take_feed(self.now_ms, len(one.feed))
        self.nobody_sees_a_state_the_publisher_never_had()
        self.nobody_sees_half_a_commit()

    # -- the wires

    @rule(
        which=st.integers(0, 2),
        before=st.text("cccsssqqh", min_size=1, max_size=4),
        during=st.text("cccsssqqh", max_size=4),
        after=st.text("cccsssqqh", max_size=3),
        lost=st.integers(0, 20),
        fresh=st.sampled_from([False, False, False, True]),
    )
    def answer_that_is_overtaken(
        self, which: int, before: str, during: str, after: str, lost: int, fresh: bool
    ) -> None:
        """What an answer on its way meets: messages after it, a hole of their own, a new epoch before."""
        node = self.nodes[which]
        for one in (self.server, node):
            one.take_feed(self.now_ms, len(one.feed))
        if fresh:
            self.restart()
        self.publish(before, node, lost)
        self.now_ms += REPAIR_EVERY_MS
        node.tick(self.now_ms)
        self.answer(which)
        self.publish(during, node, lost if fresh else None)
        node.take_answer(self.now_ms)
        self.publish(after, node)

    @rule(
        which=st.integers(1, 2),
        kinds=st.lists(st.sampled_from("cs"), min_size=1, max_size=4),
        at=st.integers(0, 20),
    )
    def lose_one_of_a_burst(self, which: int, kinds: list[str], at: int) -> None:
        """What a full queue does: one message of a burst is lost, and the server may be behind."""
        node = self.nodes[which]
        node.take_feed(self.now_ms, len(node.feed))
        for kind in kinds:
            self.send(self.publisher.commit() if kind == "c" else self.publisher.stream())
        if node.feed:
            del node.feed[at % len(node.feed)]
        node.take_feed(self.now_ms, len(node.feed))

    @rule(which=st.integers(0, 2))
    def lose_all(self, which: int) -> None:
        self.nodes[which].feed.clear()

    @rule(which=st.integers(0, 2), count=st.integers(1, 30))
    def deliver(self, which: int, count: int) -> None:
        self.nodes[which].take_feed(self.now_ms, count)

    @rule(which=st.integers(0, 2), at=st.integers(0, 10))
    def lose(self, which: int, at: int) -> None:
        feed = self.nodes[which].feed
        if feed:
            del feed[at % len(feed)]

    @rule(which=st.integers(0, 2), at=st.integers(0, 10))
    def double(self, which: int, at: int) -> None:
        feed = self.nodes[which].feed
        if feed:
            at %= len(feed)
            feed.insert(at, feed[at])

    @rule(which=st.integers(0, 2), at=st.integers(0, 10))
    def swap(self, which: int, at: int) -> None:
        feed = self.nodes[which].feed
        if len(feed) > 1:
            at %= len(feed) - 1
            feed[at], feed[at + 1] = feed[at + 1], feed[at]

    @rule(which=st.integers(0, 2))
    def answer(self, which: int) -> None:
        node = self.nodes[which]
        if node.questions:
            server = self.state_server if node is self.server else self.server.server
            node.answers.append(server.answer(node.questions.popleft(), self.now_ms))

    @rule(which=st.integers(0, 2))
    def question_and_answer(self, which: int) -> None:
        self.answer(which)
        self.nodes[which].take_answer(self.now_ms)

    @rule(which=st.integers(0, 2), keep=st.booleans())
    def take_answer(self, which: int, keep: bool) -> None:
        self.nodes[which].take_answer(self.now_ms, keep)

    @rule(which=st.integers(0, 2))
    def lose_answer(self, which: int) -> None:
        if self.nodes[which].answers:
            self.nodes[which].answers.popleft()

    @rule(which=st.integers(0, 2))
    def lose_question(self, which: int) -> None:
        if self.nodes[which].questions:
            self.nodes[which].questions.popleft()

    @rule(which=st.integers(0, 2))
    def nothing_comes(self, which: int) -> None:
        self.nodes[which].sync.idle()

    @rule(ms=st.sampled_from([1, 50, 1_100, 3_100, 20_000]))
    def time_passes(self, ms: int) -> None:
        self.now_ms += ms
        for node in self.nodes:
            node.tick(self.now_ms)

    # -- what must hold

    @invariant()
    def nobody_sees_a_state_the_publisher_never_had(self) -> None:
        if not hasattr(self, "publisher"):
            return
        publisher = self.publisher
        for node in self.nodes:
            state = node.state
            if not state.epoch:
                continue
            if node is not self.filtered:
                assert state.digest() == publisher.history[state.epoch, state.seq]
            truth = publisher.lasts[state.epoch, state.seq]
            lasts = {}
            for topic in filter(node.hears, state.streams):
                lasts[topic], *digests = state.position(topic)
                assert tuple(digests) in publisher.positions[state.epoch, topic, lasts[topic]]
                assert lasts[topic] >= truth.get(topic, 0), "the position shown claims more than is there"
            epoch, seq, before = self.seen.get(node, (0, 0, {}))
            if epoch == state.epoch:
                assert state.seq >= seq
                assert all(lasts.get(topic, 0) >= last for topic, last in before.items())
            self.seen[node] = (state.epoch, state.seq, lasts)

    @invariant()
    def nobody_sees_half_a_commit(self) -> None:
        if not hasattr(self, "publisher"):
            return
        for node in self.nodes:
            for group in (("A-1-X", "A-1-Y"),) if node is self.filtered else (TICKERS,):
                volumes = {
                    node.state.quotes[ticker].volume_e2 for ticker in group if ticker in node.state.quotes
                }
                assert len(volumes) <= 1

    def quiesce(self, rounds: int = 60) -> None:
        self.late = True
        for _ in range(rounds):
            self.send(self.publisher.heartbeat())
            self.now_ms += 700
            for node in self.nodes:
                node.take_feed(self.now_ms, len(node.feed))
                node.tick(self.now_ms)
                server = self.state_server if node is self.server else self.server.server
                while node.questions:
                    node.answers.append(server.answer(node.questions.popleft(), self.now_ms))
                while node.answers:
                    node.take_answer(self.now_ms)
                node.take_feed(self.now_ms, len(node.feed))

    def teardown(self) -> None:
        if not hasattr(self, "publisher"):
            return
        try:
            self.end()
        finally:
            self.patch.undo()

    def end(self) -> None:
        for node in self.nodes:
            node.questions.clear()
            node.answers.clear()
        before = [(node.asked, node.wholes) for node in self.nodes]
        self.quiesce()
        truth = self.publisher.writer.state
        for node, (asked, wholes) in zip(self.nodes, before, strict=True):
            assert node.sync.phase is Phase.LIVE, node.told[-5:]
            assert node.state.epoch == truth.epoch
            assert not node.sync.degraded
            assert node.wholes - wholes <= 2 * WHOLES, "a repair must not become a storm"
            assert node.asked - asked <= 60, "nor asking for one: at most twice a second of 42"
            for topic in truth.streams:
                if node.hears(topic):
                    assert node.state.position(topic) == truth.position(topic), topic
            assert as_old(node.state, truth, node.hears)
        assert self.full.state.seq == truth.seq
        assert self.full.state.digest() == truth.digest()
        assert self.full.state.records == truth.records


TestSync = SyncMachine.TestCase
TestSync.settings = settings(
    max_examples=100,
    stateful_step_count=50,
    deadline=None,
    phases=(HypothesisPhase.explicit, HypothesisPhase.generate),  # to shrink a failure takes minutes
    suppress_health_check=[HealthCheck.too_slow],
)


# -- the cases with a name


class Line:
    """A publisher and one replica on a good wire, joined."""

    def __init__(self, prefixes: tuple[str, ...] = ("",), joined: bool = True) -> None:
        self.publisher = Publisher(START_MS, random.Random(1), TICKERS)
        self.server = Answers(lambda: self.publisher.writer.state)
        self.node = Node(prefixes, 1)
        self.now_ms = 0
        if joined:
            self.settle()
            assert self.node.live

    def send(self, frames: list[bytes]) -> None:
        self.node.hear(frames)

    def settle(self, rounds: int = 3) -> None:
        for _ in range(rounds):
            self.now_ms += 100
            self.send(self.publisher.heartbeat())
            self.node.tick(self.now_ms)
            self.node.take_feed(self.now_ms, len(self.node.feed))
            self.answer()

    def answer(self) -> None:
        while self.node.questions:
            self.node.answers.append(self.server.answer(self.node.questions.popleft(), self.now_ms))
        while self.node.answers:
            self.node.take_answer(self.now_ms)
            self.node.take_feed(self.now_ms, len(self.node.feed))

    def events(self) -> list[str]:
        return [told.event for told in self.node.told]

    def agrees(self) -> bool:
        truth = self.publisher.writer.state
        return as_old(self.node.state, truth, self.node.hears) and all(
            self.node.state.position(topic) == truth.position(topic)
            for topic in truth.streams
            if self.node.hears(topic)
        )


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


def a_suspect(ticker: str, since_ms: int = START_MS) -> Suspect:
    return Suspect(ticker, since_ms, "test")


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
