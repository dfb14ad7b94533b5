"""Lost messages and killed processes on virtual time, and how long it takes until every copy is proven again.

A publisher under load, a snapshot server that follows it, and two readers that ask that server: one of
everything, one of some series. Losses are planted on the wire of one of them, from one message to a million,
at any moment; in a part of them a process is killed beside. A copy is proven when, at a heartbeat of the
publisher's, it is live and its digests of all it follows are the publisher's at that number.

Time is counted from the last message that was lost, or the kill, whichever is later. What real processes
need that have no place here is given: RESTART_MS, OPEN_MS and the time of an answer.
"""

import random
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from bus.protocol.answers import Answers
from bus.protocol.asks import WHOLES_WINDOW_MS
from bus.protocol.messages import PublisherHealth, decode
from bus.protocol.writer import Writer
from bus.replica import RETRY_UNCONNECTED_MS
from bus.sockets import RECONNECT_MAX_MS
from tests.bus.world import START_MS, Node, Publisher

MARKETS: Final = 200
SERIES: Final = 20
TICK_MS: Final = 10
BEAT_MS: Final = 250
COMMIT_MS: Final = 2_000
PER_TICK: Final = 5
"""Messages streamed in a tick: 500 a second."""

RESTART_MS: Final = (800, 1_600)
"""From a kill until the process has begun anew: supervisord's turn, the interpreter, the imports."""

OPEN_MS: Final = (50, 400)
"""From its first heartbeat until a publisher has its epoch open."""

ANSWER_MS: Final = (10, 60)
"""From a question until its answer is there."""

MOST: Final = 1_000_000
JUMP: Final = 2_000
"""Of more messages than these only the last is really made: the others' numbers are given out."""

LIMIT_MS: Final = {"lost": 2_000, "server killed": 5_000, "publisher killed": 5_000}
"""By kind of loss, the longest time until every copy is proven."""

GIVE_UP_MS: Final = 60_000

TICKERS: Final = tuple(f"S{number % SERIES}-1-M{number // SERIES}" for number in range(MARKETS))
SOME: Final = (*(f"md.S{number}." for number in range(5)), "ref.", "ex.", "cycle.", "hb.")


@dataclass
class Wire:
    """A node's way from the publisher, and what is lost on it."""

    node: Node
    lose: int = 0
    connected_ms: int = 0
    questions: deque[tuple[int, str, bytes]] = field(default_factory=deque)
    answers: deque[tuple[int, list[bytes]]] = field(default_factory=deque)
    proven: bool = False


@dataclass(frozen=True)
class Repair:
    """One loss: what was planted, its kind, and how long it took, ms, until each copy was proven."""

    what: str
    kind: str
    ms: int


class RepairWorld:
    """The processes, and virtual time."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now_ms = 1_000
        self.publisher = self._made(Publisher(START_MS, self.rng, TICKERS))
        self.publisher_up = True
        self.open_ms = 0
        self.publisher_back_ms: int | None = None
        self.server_back_ms: int | None = None
        self.state = Answers(lambda: self.publisher.writer.state if self.now_ms >= self.open_ms else None)
        self.wires = {
            "server": Wire(Node(("",), seed)),
            "full": Wire(Node(("",), seed + 1)),
            "some": Wire(Node(SOME, seed + 2)),
        }
        self.quiet_until_ms = 0
        self.killed_ms = -WHOLES_WINDOW_MS
        self.lost_ms = 0
        self.beats: dict[tuple[int, int], dict[str, tuple[int, ...]]] = {}
        self.settle()

    @staticmethod
    def _made(publisher: Publisher) -> Publisher:
        publisher.remember = lambda: None  # type: ignore[method-assign]  # nobody asks for the past here
        return publisher

    # -- time

    def tick(self) -> None:
        """Let one tick pass for everybody."""
        self.now_ms += TICK_MS
        self._come_back()
        if self.publisher_up:
            self._publish()
        for name, wire in self.wires.items():
            if name == "server" and self.server_back_ms is not None:
                continue
            self._deliver(wire)
            self._ask_and_answer(name, wire)
            wire.node.tick(self.now_ms)

    def _come_back(self) -> None:
        if self.publisher_back_ms is not None and self.now_ms >= self.publisher_back_ms:
            self.publisher_back_ms = None
            self.publisher = self._made(self.publisher.succeed(self.publisher.writer.state.epoch + 10_000))
            self.publisher_up = True
            self.open_ms = self.now_ms + self.rng.randint(*OPEN_MS)
            for wire in self.wires.values():
                wire.connected_ms = self.now_ms + self.rng.randrange(RECONNECT_MAX_MS)
        if self.server_back_ms is not None and self.now_ms >= self.server_back_ms:
            self.server_back_ms = None
            node = Node(("",), self.rng.randrange(2**32))
            node.sync = type(node.sync)(("",), random.Random(self.rng.randrange(2**32)), self.now_ms)
            self.wires["server"] = Wire(node)

    def _publish(self) -> None:
        opened = self.now_ms >= self.open_ms
        frames: list[bytes] = []
        commit = opened and self.now_ms % COMMIT_MS < TICK_MS
        if opened and self.now_ms >= self.quiet_until_ms:
            for _ in range(PER_TICK):
                frames += self.publisher.stream()
        if commit:
            frames += self.publisher.commit()
        self._send(frames)
        if commit or self.now_ms % BEAT_MS < TICK_MS:
            self._send(self._beat(opened))

    def _beat(self, opened: bool) -> list[bytes]:
        writer = self.publisher.writer
        if not opened:  # it is announced
            return Writer(writer.state.epoch).heartbeat(PublisherHealth(), self.now_ms * 1_000_000)
        frames = writer.heartbeat(PublisherHealth(), (START_MS + self.now_ms) * 1_000_000, self.now_ms)
        state = writer.state
        self.beats[state.epoch, state.seq] = {topic: state.position(topic) for topic in state.streams}
        while len(self.beats) > 20:
            del self.beats[next(iter(self.beats))]
        return frames

    def _send(self, frames: Sequence[bytes]) -> None:
        for name, wire in self.wires.items():
            if (name == "server" and self.server_back_ms is not None) or self.now_ms < wire.connected_ms:
                continue
            for frame in frames:
                if wire.lose and wire.node.hears(frame.split(b"\x00", 1)[0].decode()):
                    wire.lose -= 1
                    self.lost_ms = self.now_ms
                else:
                    wire.node.hear([frame])

    def _deliver(self, wire: Wire) -> None:
        """Take what has come, and look at each heartbeat whether the copy is the publisher's."""
        node = wire.node
        while node.feed:
            first = node.feed[0]
            beats = (at for at, frame in enumerate(node.feed) if frame.startswith(b"hb."))
            node.take_feed(self.now_ms, max(1, next(beats, len(node.feed))))
            if first.startswith(b"hb."):
                agrees = self._agrees(node, decode(first)[1].seq)
                said = node.sync.proven == (node.state.epoch, node.state.seq) and node.live
                assert agrees or not said, "a proof is never false"
                assert said or not agrees or node is self.wires["some"].node, "and it is said"
                wire.proven = wire.proven or agrees

    def _agrees(self, node: Node, seq: int) -> bool:
        state = node.state
        if state.seq != seq:
            return False
        truth = self.beats.get((state.epoch, state.seq))
        if not node.live or truth is None or state.epoch != self.publisher.writer.state.epoch:
            return False
        return all(
            topic in state.streams and state.position(topic) == position
            for topic, position in truth.items()
            if node.hears(topic) and position[0]
        )

    def _ask_and_answer(self, name: str, wire: Wire) -> None:
        node = wire.node
        while node.questions:
            question = node.questions.popleft()
            to = self._to(name, wire)
            if to is None:
                assert node.sync._asks.open is not None
                node.sync.refused(node.sync._asks.open.id, RETRY_UNCONNECTED_MS, self.now_ms)
            else:
                wire.questions.append((self.now_ms + self.rng.randint(*ANSWER_MS), to, question))
        while wire.questions and wire.questions[0][0] <= self.now_ms:
            _, to, question = wire.questions.popleft()
            server = self.state if to == "publisher" else self.wires["server"].node.server
            wire.node.answers.append(server.answer(question, self.now_ms))
        while node.answers:
            node.take_answer(self.now_ms)

    def _to(self, name: str, wire: Wire) -> str | None:
        """Return who is asked now, None if nobody is there."""
        publisher = self.publisher_up and self.now_ms >= wire.connected_ms
        if name != "server" and self.server_back_ms is None:
            return "server"
        asked = wire.node.sync._asks.open
        return (
            "publisher" if publisher and (name == "server" or (asked and asked.since is not None)) else None
        )

    # -- what is planted

    def settle(self) -> None:
        """Let time pass until every copy is proven."""
        self.prove()

    def prove(self) -> int:
        """Let time pass until every copy is proven; return how long that took from the last loss, ms."""
        self.lost_ms = self.now_ms
        for wire in self.wires.values():
            wire.proven = False
        until_ms = self.now_ms + GIVE_UP_MS
        while not all(wire.proven and not wire.lose for wire in self.wires.values()):
            self.tick()
            assert self.now_ms < until_ms, {
                name: wire.node.sync.status(0) for name, wire in self.wires.items()
            }
            for wire in self.wires.values():
                wire.proven = wire.proven and not wire.lose
        return self.now_ms - self.lost_ms

    def kill(self, name: str) -> None:
        """Kill a process; it comes back after a while, with what it had on disk."""
        back_ms = self.now_ms + self.rng.randint(*RESTART_MS)
        if name == "publisher":
            self.publisher_up, self.publisher_back_ms = False, back_ms
            self.killed_ms = self.now_ms
        else:
            self.server_back_ms = back_ms
        for wire in self.wires.values():
            if any(to == name for _, to, _ in wire.questions):
                # The line sees that whoever was asked is gone.
                asked = wire.node.sync._asks.open
                assert asked is not None
                wire.node.sync.refused(asked.id, RETRY_UNCONNECTED_MS, self.now_ms)
                wire.questions.clear()

    def plant(self) -> Repair:
        """Plant one loss, wait until all is proven again, and say how long that took."""
        rng = self.rng
        for _ in range(rng.randrange(60)):
            self.tick()
        count = round(10 ** rng.uniform(0, 6))
        victim = rng.choice(list(self.wires))
        if rng.random() < 0.3:
            self.quiet_until_ms = self.now_ms + 20 + 3_000
        if count > JUMP:
            victim = "all"
            self._jump(count)
        else:
            self.wires[victim].lose = count
        what, kind = f"{count} messages to {victim}", "lost"
        if rng.random() < 0.3:
            for _ in range(rng.randrange(30)):
                self.tick()
            # Whoever asks for the whole again and again is made to wait: one epoch after the other.
            soon = self.now_ms - self.killed_ms < WHOLES_WINDOW_MS
            killed = "server" if soon else rng.choice(("publisher", "server"))
            for wire in self.wires.values():
                wire.lose = 0
            self.kill(killed)
            kind = f"{killed} killed"
        return Repair(f"{what}, {kind}", kind, self.prove())

    def _jump(self, count: int) -> None:
        """Lose many messages on every wire: numbers are given out to some streams, and the last are made."""
        state = self.publisher.writer.state
        topics = [topic for topic in state.streams if topic.startswith("md.")]
        for topic in self.rng.sample(topics, self.rng.randint(1, len(topics))):
            state.seq += max(1, count // len(topics))
            state.streams[topic].last = state.seq
            self.publisher.writer._recent[topic] = None
        for _ in range(20):
            self.publisher.stream()


def check_repairs(seed: int, count: int) -> list[Repair]:
    """Plant `count` losses in one life; return what each took, which was no longer than it may."""
    world = RepairWorld(seed)
    taken = [world.plant() for _ in range(count)]
    late = [repair for repair in taken if repair.ms > LIMIT_MS[repair.kind]]
    assert not late, late
    return taken


def distribution(taken: Iterable[Repair]) -> str:
    """Say how long repairs took, by kind."""
    by_kind: dict[str, list[int]] = {}
    for repair in taken:
        by_kind.setdefault(repair.kind, []).append(repair.ms)
    said = []
    for kind, times in sorted((kind, sorted(times)) for kind, times in by_kind.items()):
        p50, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
        said.append(f"{kind} {len(times)}: p50 {p50} ms, p99 {p99}, longest {times[-1]}")
    return "; ".join(said)
