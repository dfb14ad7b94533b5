"""Any moment of a recording comes back as it was, or the answer is what it lacks."""

import random
import shutil
from pathlib import Path

import pytest

from bus.notebook import connect
from bus.protocol.messages import PublisherHealth
from bus.tape.file import Recording, segment_path
from bus.tape.moments import At, Moments, NotRecorded, Position, parse_at
from bus.tape.recorder import Folder
from bus.tape.tape import Opening, Tally, TapeReader
from bus.tools.commands import begin_of
from markets.errors import BadRecord
from tests.bus.tape.remembered import Remembered, check_moments
from tests.bus.world import START_MS
from tests.support import ROOT

MOMENTS = 100
"""`make soak moments` compares many more, of real processes."""


def test_random_moments_are_as_they_were_while_the_recording_grows(short_dir: Path) -> None:
    recorded, past = check_moments(short_dir / "day", 1, MOMENTS)
    recorded.folder.close()
    assert past.span()[1] == recorded.heard[-1][0]
    shutil.rmtree(short_dir / "day")
    again = Remembered(short_dir / "day", 8)
    again.segment()
    again.folder.close()
    at_ns = again.heard[-1][0]
    then = past.at(at_ns)
    assert (then.state.seq, then.state.digest()) == again.digest(at_ns), "another one in the same place"


def test_in_the_middle_of_a_commit_the_state_is_the_one_before_it(short_dir: Path) -> None:
    recorded = Remembered(short_dir / "day")
    recorded.segment(2)
    before = recorded.publisher.writer.state.seq
    recorded.publisher.now_ms += 1
    frames = recorded.publisher.commit()
    while len(frames) < 3:
        recorded.hear(frames)
        before = recorded.publisher.writer.state.seq
        frames = recorded.publisher.commit()
    recorded.hear(frames)
    recorded.folder.close()
    past = Moments(Recording(short_dir / "day"))
    for seq in range(before, before + len(frames)):
        assert past.at(Position(START_MS, seq)).state.seq == before
    assert past.at(Position(START_MS, before + len(frames))).state.seq == before + len(frames)


def refused(past: Moments, at: At) -> tuple[str, str]:
    with pytest.raises(NotRecorded) as refusal:
        past.at(at)
    return refusal.value.code, str(refusal.value)


def test_a_moment_before_after_or_in_a_gap_is_answered_with_what_is_missing(short_dir: Path) -> None:
    path = short_dir / "day"
    recorded = Remembered(path)
    recorded.segment(6)
    recorded.folder.close()
    first = recorded.heard[-1]
    for _ in range(3):
        recorded.publisher.now_ms += 1_000
        recorded.publisher.stream()
    recorded.folder = Folder(path, random.Random(2))
    recorded.segment(6)
    publisher, second = recorded.publisher, recorded.heard[-1]
    recorded.publisher = publisher.succeed(publisher.now_ms + 5_000)
    recorded.publisher.now_ms = publisher.now_ms + 5_000
    recorded.health = PublisherHealth()
    recorded.keyframe()
    recorded.hear(recorded.publisher.stream())
    recorded.folder.close()
    past = Moments(Recording(path))

    code, message = refused(past, START_MS * 1_000_000 - 1)
    assert code == "before_begin"
    assert "the recording begins at 2026-09-21T14:13:20.000+00:00" in message
    assert refused(past, Position(START_MS - 1, 1))[0] == "before_begin"
    code, message = refused(past, recorded.heard[-1][0] + 1)
    assert code == "after_end"
    assert "the last moment recorded is 2026-09-21T14:13:" in message
    assert refused(past, Position(recorded.publisher.writer.state.epoch, 99))[0] == "after_end"
    assert refused(past, Position(recorded.publisher.writer.state.epoch + 1, 1))[0] == "after_end"

    for at in (first[0] + 1_500_000_000, Position(START_MS, first[2] + 1)):
        code, message = refused(past, at)
        assert code == "in_gap"
        numbers = f"{first[2] + 1} to {first[2] + 3} of epoch {START_MS}"
        assert f"a gap of the recorder's: numbers are missing, {numbers}" in message
    assert past.at(first[0]).state.seq == first[2]

    then = past.at(second[0] + 2_000_000_000)
    assert (then.state.epoch, then.state.seq) == second[1:], "while nothing was published"
    code, message = refused(past, Position(START_MS, second[2] + 1))
    assert code == "in_gap"
    assert "a gap of the publisher's: it began anew" in message


def test_streams_that_name_a_market_are_as_in_the_whole(short_dir: Path) -> None:
    recorded = Remembered(short_dir / "day")
    recorded.segment(60)
    recorded.folder.close()
    past = Moments(Recording(short_dir / "day"))
    rng = random.Random(3)
    for time_ns, *_ in rng.sample(recorded.heard, 20):
        whole = past.at(time_ns).state
        for ticker in ("A-1-X", "C-1-X"):
            part = past.at(time_ns, {ticker}).state
            assert part.seq == whole.seq
            for kind in ("markets", "quotes", "books", "suspects"):
                assert getattr(part, kind).get(ticker) == getattr(whole, kind).get(ticker)
            assert part.quote_as_of_ms(ticker) == whole.quote_as_of_ms(ticker)
            assert part.series == whole.series
    assert len(past.at(recorded.heard[0][0], {"A-1-X"}).state.markets) < 4, "not of everything"


def test_a_replay_stands_still_at_a_moment(short_dir: Path) -> None:
    recorded = Remembered(short_dir / "day")
    recorded.segment()
    recorded.folder.close()
    recording = Recording(short_dir / "day")
    for time_ns, epoch, seq in recorded.heard[3::5]:
        for at in (time_ns, Position(epoch, seq)):
            begin_ns = begin_of(recording, at) * 1_000_000
            opening = next(iter(TapeReader(recording, recording.keyframes(), Tally(), begin_ns)))
            assert isinstance(opening, Opening)
            assert opening.writer.state.seq == seq


def test_a_recording_of_an_earlier_build_has_moments_too() -> None:
    path = ROOT / "tests/data/formats/v1/stack/recording.mcap"
    past = Moments(Recording(path))
    begin_ns, end_ns = past.span()
    assert f"{past.at(end_ns).state.digest():016x}" == "209c5629b93060fe"
    assert past.at(begin_ns).state.seq == 165
    assert past.at(Position(1795902793634, 300)).state.seq <= 300
    with connect(at="1795902858543:52", recording=path) as then:
        assert then.status().seq == 52
        assert then.quotes()
        assert repr(then).startswith("<kalshi_bus connection: as it was at 2026-11-28T"), "it follows no feed"


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("1790000000000", 1_790_000_000_000_000_000),
        (1_790_000_000_000, 1_790_000_000_000_000_000),
        ("2026-09-21T14:13:20", 1_790_000_000_000_000_000),
        ("2026-09-21T14:13:20.000001Z", 1_790_000_000_000_001_000),
        ("2026-09-21T16:13:20 02:00", 1_790_000_000_000_000_000),  # a plus sign in a URL
        ("1790000000000:17", Position(1_790_000_000_000, 17)),
    ],
)
def test_moments_are_read(text: object, at: At) -> None:
    assert parse_at(text) == at


@pytest.mark.parametrize(
    "text", ["", "noon", None, True, 1.5, -1, "1:", ":1", "1:2:3", "9" * 16, "٣", "2026-13-01", ["1"], "1e5"]
)
def test_what_is_no_moment_is_refused_by_name(text: object) -> None:
    with pytest.raises(BadRecord, match="at"):
        parse_at(text)


def test_a_segment_that_is_dropped_is_before_the_beginning(short_dir: Path) -> None:
    recorded = Remembered(short_dir / "day")
    recorded.segment(8)
    first_ns = recorded.heard[-1][0]
    recorded.segment(8)
    recorded.folder.close()
    past = Moments(Recording(short_dir / "day"))
    assert past.at(first_ns).published_ns == first_ns
    segment_path(short_dir / "day", 1).unlink()
    assert refused(past, first_ns - 1)[0] == "before_begin"
    assert past.at(recorded.heard[-1][0]).published_ns == recorded.heard[-1][0]
