"""A publisher and a replica with a line between them that loses, repeats and delays what it is told to."""

import random

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import bus.protocol.writer
from bus.protocol.answers import Answers
from bus.protocol.asks import REPAIR_EVERY_MS, WHOLES
from bus.protocol.join import Phase
from bus.protocol.memory import Packed, Slim
from markets.records import Suspect
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


def a_suspect(ticker: str, since_ms: int = START_MS) -> Suspect:
    return Suspect(ticker, since_ms, "test")
