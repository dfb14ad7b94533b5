"""What was heard without a hole: however a wire loses, doubles and swaps, and no less than that."""

import random
from dataclasses import dataclass, field

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from bus.protocol.coverage import Coverage, FilteredCoverage, Parts
from bus.protocol.messages import Heartbeat

TOPICS = ("md.A.", "md.A.", "md.B.", "cycle.")
WANTED = ("md.A.", "cycle.", "hb.")


@dataclass(frozen=True)
class Message:
    topic: str
    seq: int
    prev: int


@dataclass
class Sender:
    """Numbers messages as a publisher does, and remembers them."""

    sent: list[Message] = field(default_factory=list)
    beats: list[int] = field(default_factory=lambda: [0])

    def message(self, topic: str) -> Message:
        prev = max((message.seq for message in self.sent if message.topic == topic), default=0)
        self.sent.append(Message(topic, len(self.sent) + 1, prev))
        return self.sent[-1]

    def beat(self, window: int) -> Heartbeat:
        """A heartbeat whose window spans the last `window` heartbeats."""
        since, seq = self.beats[-min(window, len(self.beats))], len(self.sent)
        self.beats.append(seq)
        lasts = {message.topic: message.seq for message in self.sent if message.seq > since}
        return Heartbeat(since, seq, {topic: (last, 0, 0, 0, 0) for topic, last in lasts.items()}, 0)


Wire = list[Message | Heartbeat]


@st.composite
def wires(draw: st.DrawFn) -> tuple[Sender, Wire]:
    """What a publisher sent, and what came of it: some of it lost, doubled, or out of order."""
    sender = Sender()
    acts = st.one_of(st.sampled_from(TOPICS), st.integers(1, 4))
    sent: Wire = [
        sender.message(act) if isinstance(act, str) else sender.beat(act)
        for act in draw(st.lists(acts, max_size=30))
    ]
    wire = [item for item in sent for _ in range(draw(st.sampled_from([1, 1, 1, 1, 0, 2])))]
    for at in draw(st.lists(st.integers(0, 60), max_size=3)):
        if at + 1 < len(wire):
            wire[at], wire[at + 1] = wire[at + 1], wire[at]
    return sender, wire


@given(wires())
def test_full_nothing_is_missing_from_covered_from_to_what_was_heard(
    case: tuple[Sender, Wire],
) -> None:
    _, wire = case
    coverage, heard = Coverage(), set()
    for item in wire:
        before = coverage.covered_from or 0
        if isinstance(item, Heartbeat):
            coverage.beat(item)
        elif coverage.hear(item.topic, item.seq, item.prev):
            assert item.seq not in heard
            heard.add(item.seq)
        assert coverage.heard >= item.seq
        assert coverage.covered_from is not None
        assert coverage.covered_from >= before
        assert set(range(coverage.covered_from, coverage.heard + 1)) <= heard
        assert coverage.joins(coverage.covered_from - 1)
        assert not coverage.joins(coverage.covered_from - 2)


@settings(max_examples=500)
@given(wires(), st.lists(st.integers(0, 30), max_size=2))
def test_filtered_nothing_is_missing_from_covered_from_to_a_heartbeat(
    case: tuple[Sender, Wire], installs: list[int]
) -> None:
    sender, wire = case
    coverage, heard = FilteredCoverage(WANTED), set()
    wanted = [message for message in sender.sent if message.topic in WANTED]
    for number, item in enumerate(wire):
        before = coverage.covered_from or 0
        if number in installs and coverage.heard:
            # An answer of where the publisher stood: it has all of these streams, so they count as heard.
            as_of = coverage.heard
            lasts = {message.topic: message.seq for message in wanted if message.seq <= as_of}
            coverage.installed(lasts, as_of)
            heard |= {message.seq for message in wanted if message.seq <= as_of}
        if isinstance(item, Heartbeat):
            if coverage.beat(item):
                assert coverage.covered_from is not None
                missed = {message.seq for message in wanted if message.seq <= item.seq} - heard
                assert not {seq for seq in missed if seq >= coverage.covered_from}
        elif item.topic in WANTED and coverage.hear(item.topic, item.seq, item.prev):
            heard.add(item.seq)
        assert (coverage.covered_from or 0) >= before


@pytest.mark.parametrize("install", [False, True])
@pytest.mark.parametrize("late", [0, 1])
def test_filtered_heartbeat_says_nothing_of_what_lies_before_its_window(install: bool, late: int) -> None:
    coverage, confirmed = FilteredCoverage(WANTED), 5
    coverage.beat(Heartbeat(0, confirmed, {}, 0))
    if install:
        confirmed = 8
        coverage.installed({"md.A.": 4}, confirmed)
    coverage.beat(Heartbeat(confirmed + late, 12, {}, 0))
    assert coverage.joins(confirmed) == (not late)
    assert coverage.joins(confirmed + late)


def test_filtered_what_comes_out_of_order_is_a_hole_whatever_its_topic() -> None:
    """The run it belongs to may be closed already."""
    coverage = FilteredCoverage(WANTED)
    for topic, seq in (("md.A.", 5), ("cycle.", 7), ("md.A.", 6)):
        assert coverage.hear(topic, seq, 5 if seq == 6 else 0)
    assert not coverage.joins(6)
    assert coverage.joins(7)


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_on_a_good_wire_all_is_covered_from_what_was_heard_first(seed: int, full: bool) -> None:
    rng, sender = random.Random(seed), Sender()
    coverage = Coverage() if full else FilteredCoverage(WANTED)
    for _ in range(rng.randrange(10)):
        sender.message(rng.choice(TOPICS))
    first = sender.beat(2)
    assert coverage.beat(first)
    for _ in range(40):
        if rng.random() < 0.3:
            assert coverage.beat(sender.beat(rng.randrange(2, 4)))
        else:
            message = sender.message(rng.choice(TOPICS))
            if full or message.topic in WANTED:
                assert coverage.hear(message.topic, message.seq, message.prev)
        assert coverage.joins(first.seq)


@given(wires(), st.booleans(), st.integers(0, 30), st.integers(0, 3))
def test_what_is_taken_as_lost_is_never_covered_again(
    case: tuple[Sender, Wire], full: bool, at: int, back: int
) -> None:
    coverage, lost = Coverage() if full else FilteredCoverage(WANTED), 0
    for number, item in enumerate(case[1]):
        if isinstance(item, Heartbeat):
            coverage.beat(item)
        elif full or item.topic in WANTED:
            coverage.hear(item.topic, item.seq, item.prev)
        if number == at and coverage.heard:
            lost = coverage.heard + 1 - min(back, coverage.heard)
            coverage.lose(lost)
        assert not coverage.joins(lost - 2)


# -- heartbeats in parts


def test_parts_make_a_heartbeat_only_with_those_of_the_same() -> None:
    parts = Parts()

    def part(number: int, of: int, seq: int = 5, since: int = 1) -> Heartbeat | None:
        position = (seq, number, 0, 0, 0)
        return parts.add(Heartbeat(since, seq, {f"md.{number}.": position}, 0, part=number, parts=of))

    assert part(0, 2) is None
    assert part(1, 2, seq=6) is None, "of the next one"
    assert part(0, 2) is None, "late, of the one before"
    assert part(2, 3) is None
    assert part(0, 2) is None, "the same position, in fewer parts"
    whole = part(1, 2, since=3)
    assert whole is not None
    assert (whole.since, set(whole.streams), whole.parts) == (3, {"md.0.", "md.1."}, 1)
    assert part(1, 2) is None, "the parts before are used up"
    assert part(0, 2, since=2) is not None
