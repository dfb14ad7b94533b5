"""A commit waits for its end and is swapped in at once."""

import random

import msgspec
import pytest

from bus.protocol.messages import Envelope, decode
from bus.protocol.stage import Stage
from bus.protocol.state import State
from markets.errors import DecodeError
from tests.bus.world import START_MS, Publisher


def a_commit() -> tuple[Publisher, list[tuple[str, Envelope]]]:
    """A publisher, and the messages of a commit of its that changes something."""
    publisher = Publisher(START_MS, random.Random(3), ("A-1-X", "B-1-X"))
    while len(frames := publisher.commit()) < 3:
        pass
    return publisher, [decode(frame) for frame in frames]


def test_nothing_is_seen_of_a_commit_until_its_end_and_all_of_it_then() -> None:
    publisher, (*run, (_, end)) = a_commit()
    stage, state = Stage(), State(START_MS)
    for topic, envelope in run:
        assert not stage.interrupted_by(envelope)
        stage.add(topic, envelope)
    assert (stage.closed, len(state.quotes)) == (False, 0)
    stage.close(end)
    assert (stage.closed, len(state.quotes)) == (True, 0)
    changed = stage.swap_into(state)
    assert (changed.seq, changed.cycle, state.seq) == (end.seq, end.cycle, end.seq)
    assert state.cycle == publisher.writer.state.cycle
    assert {key for kind, key in changed.records if kind == "quote"} >= set(state.quotes) != set()
    assert not stage.closed


def test_what_does_not_belong_to_the_run_shows_that_its_end_was_lost() -> None:
    publisher, (first, *_) = a_commit()
    stage = Stage()
    (_, streamed) = decode(publisher.stream()[0])
    assert not stage.interrupted_by(streamed), "nothing is staged"
    stage.add(*first)
    assert stage.interrupted_by(streamed)
    stage.drop()
    assert not stage.interrupted_by(streamed)


def test_malformed_messages_are_not_taken() -> None:
    _, ((topic, envelope), *_, (_, end)) = a_commit()
    stage = Stage()
    envelope.records = [msgspec.Raw(b"\x91\x01")]
    with pytest.raises(DecodeError):
        stage.add(topic, envelope)
    assert not stage.interrupted_by(msgspec.structs.replace(envelope, cycle=99)), "nothing is staged"
    for records in ([], [msgspec.Raw(b"\x91\x01")]):
        end.records = records
        with pytest.raises(DecodeError):
            stage.close(end)
    assert not stage.closed
