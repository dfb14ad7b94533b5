"""Whether streams are what heartbeats say: repaired twice, then degraded, and healed whenever they agree."""

import random
from collections.abc import Mapping

import msgspec

from bus.protocol.agreement import MAX_REPAIRS, Agreement
from bus.protocol.messages import CycleEnd, Heartbeat
from bus.protocol.state import Position, State
from tests.bus.world import START_MS, Publisher

WANTED = ("md.A.", "ref.")


def said(state: State, streams: Mapping[str, Position]) -> Heartbeat:
    return Heartbeat(0, state.seq, dict(streams), START_MS, cycle=state.cycle)


def test_streams_that_agree_are_compared_and_nothing_comes_of_it() -> None:
    state = Publisher(START_MS, random.Random(1), ("A-1-X", "B-1-X")).writer.state
    positions = {topic: state.position(topic) for topic in state.streams}
    assert Agreement(("",)).compare(state, said(state, positions)) == (len(positions), 0, (), ())
    assert Agreement(WANTED).compare(state, said(state, positions)) == (2, 0, (), ())


def test_a_stream_that_differs_is_repaired_twice_then_given_up_once_and_healed_by_agreeing() -> None:
    state = Publisher(START_MS, random.Random(1), ("A-1-X", "B-1-X")).writer.state
    agreement, right = Agreement(WANTED), state.position("md.A.")
    wrong = {"md.A.": (*right[:4], right[4] ^ 1), "md.B.": (9, 9, 9, 9, 9)}
    for _ in range(MAX_REPAIRS):
        assert agreement.compare(state, said(state, wrong)) == (1, 1, ("md.A.",), ())
    assert agreement.compare(state, said(state, wrong)) == (1, 1, (), ("md.A.",))
    assert agreement.compare(state, said(state, wrong)) == (1, 1, (), ())
    assert agreement.degraded == {"md.A."}
    assert agreement.compare(state, said(state, {"md.A.": right})) == (1, 0, (), ())
    assert not agreement.degraded
    assert agreement.compare(state, said(state, wrong)).repairable == ("md.A.",)


def test_a_stream_that_is_not_held_differs_unless_it_is_empty() -> None:
    state = Publisher(START_MS, random.Random(1), ("A-1-X",)).writer.state
    agreement = Agreement(("",))
    assert agreement.compare(state, said(state, {"md.NEW.": (5, 0, 0, 0, 0)})) == (0, 0, (), ())
    assert agreement.compare(state, said(state, {"md.NEW.": (5, 0, 1, 0, 0)})) == (0, 1, ("md.NEW.",), ())


def test_the_end_of_a_commit_that_differs_is_repaired_like_a_stream() -> None:
    publisher = Publisher(START_MS, random.Random(1), ("A-1-X",))
    publisher.commit()
    state = publisher.writer.state
    cycle = state.cycle
    assert cycle is not None
    agreement, right = Agreement(("",)), {"cycle.": state.position("cycle.")}
    unsaid = msgspec.structs.replace(cycle, unconfirmed=("A-1-X",))
    with state.lock:
        state.set_cycle(unsaid, {})
    assert agreement.compare(state, said(state, right)).differing == 0
    wrong: CycleEnd = msgspec.structs.replace(cycle, complete_ms=START_MS + 7)
    with state.lock:
        state.set_cycle(wrong, {})
    heartbeat = Heartbeat(0, state.seq, right, START_MS, cycle=cycle)
    assert agreement.compare(state, heartbeat).repairable == ("cycle.",)
