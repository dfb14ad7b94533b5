"""A recording in segments: what is planted in it is found, what is good is proven, and the folder is kept."""

import os
import random
import shutil
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from bus.protocol.messages import PublisherHealth, decode
from bus.tape.file import Recording, RecordingError, certificate_of, head_of, segment_path, segments_of
from bus.tape.recorder import Folder
from bus.tape.tape import Tape
from bus.tape.verify import verify
from markets.errors import StartupError
from tests.bus.tape.planted import INSIDE, Chunks, Recorded, a_recording, check_planted, found_in
from tests.bus.world import START_MS


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Path, Path]]:
    """Two recordings of three segments."""
    with tempfile.TemporaryDirectory(prefix="kb-") as folder:
        first, second = Path(folder) / "first", Path(folder) / "second"
        a_recording(first, 7)
        a_recording(second, 8)
        yield first, second


@pytest.mark.slow
@given(
    fault=st.sampled_from(INSIDE),
    segment=st.integers(1, 3),
    at=st.integers(0, 1 << 30),
)
def test_what_is_dropped_doubled_swapped_or_edited_in_a_segment_is_found_where_it_is(
    pair: tuple[Path, Path], fault: Callable[[Chunks, int], None], segment: int, at: int
) -> None:
    check_planted(pair[0], fault, segment, at)


@pytest.mark.slow
@given(segment=st.integers(1, 3), at=st.integers(0, 1 << 30), bits=st.integers(1, 255))
def test_one_byte_that_is_not_as_it_was_written_is_found(
    pair: tuple[Path, Path], segment: int, at: int, bits: int
) -> None:
    with tempfile.TemporaryDirectory(prefix="kb-") as folder:
        path = Path(shutil.copytree(pair[0], Path(folder) / "day"))
        file = segment_path(path, segment)
        data = bytearray(file.read_bytes())
        data[at % len(data)] ^= bits
        file.write_bytes(data)
        wrong = found_in(path)
        assert wrong is not None
        assert wrong.segment == segment


@pytest.mark.slow
@given(segment=st.integers(1, 3), at=st.integers(0, 1 << 30))
def test_what_is_cut_off_is_found_and_of_the_last_segment_it_is_a_crash(
    pair: tuple[Path, Path], segment: int, at: int
) -> None:
    with tempfile.TemporaryDirectory(prefix="kb-") as folder:
        path = Path(shutil.copytree(pair[0], Path(folder) / "day"))
        file = segment_path(path, segment)
        data = file.read_bytes()
        file.write_bytes(data[: at % len(data)])
        verdict = verify(Recording(path))
        if segment < 3:
            assert verdict.verdict == "wrong"
            assert verdict.wrong is not None
            assert verdict.wrong.segment == segment
        else:
            assert verdict.verdict == "incomplete"
            assert "proven up to number" in verdict.said


def test_good_recordings_are_proven_and_what_they_cover_is_said(pair: tuple[Path, Path]) -> None:
    for path in pair:
        verdict = verify(Recording(path))
        assert (verdict.verdict, verdict.wrong, verdict.gaps) == ("proven", None, ())
        (covered,) = verdict.covers
        assert (covered.epoch, covered.first) == (START_MS, 1)
        assert verdict.segments == (1, 2, 3)
        assert verdict.keyframes == 3
        assert verdict.digests_checked > 20
        tape = Tape(Recording(path), 1)
        for _ in tape:
            pass
        assert (tape.tally.holes, tape.tally.mismatches, tape.state.seq) == (0, 0, covered.last)


def test_segments_of_another_recording_missing_or_in_another_order_are_found(
    pair: tuple[Path, Path], short_dir: Path
) -> None:
    first, second = pair

    def of(name: str, *files: tuple[int, Path]) -> Path:
        folder = short_dir / name
        folder.mkdir()
        for number, file in files:
            shutil.copy(file, segment_path(folder, number))
        return folder

    own = {number: segment_path(first, number) for number in (1, 2, 3)}
    foreign = segment_path(second, 2)
    for name, files, segment, why in (
        ("spliced", ((1, own[1]), (2, foreign), (3, own[3])), 2, "another recording"),
        ("joined", ((1, own[1]), (2, own[2]), (3, segment_path(second, 3))), 3, "another recording"),
        ("missing", ((1, own[1]), (3, own[3])), 2, "segment 2 is missing"),
        ("swapped", ((1, own[1]), (2, own[3]), (3, own[2])), 2, "says that it is segment 3"),
        ("first swapped", ((1, own[2]), (2, own[1]), (3, own[3])), 1, "says that it is segment 2"),
        ("twice", ((1, own[1]), (2, own[1]), (3, own[3])), 2, "says that it is segment 1"),
    ):
        wrong = found_in(of(name, *files))
        assert wrong is not None, name
        assert wrong.segment == segment, name
        assert why in wrong.why

    both = of("both", (1, own[1]))
    segment_path(both, 1).write_bytes(own[1].read_bytes() + own[2].read_bytes())
    wrong = found_in(both)
    assert wrong is not None
    assert "behind its end" in wrong.why

    later = verify(Recording(of("later", (2, own[2]), (3, own[3]))))
    assert later.verdict == "proven"
    assert "from segment 2 on: the oldest were dropped" in later.said
    assert later.covers[0].first > 1


def test_a_killed_recorder_goes_on_in_a_new_segment_and_the_gap_is_its_own(short_dir: Path) -> None:
    path = short_dir / "day"
    recorded = Recorded(path)
    recorded.segment()
    recorded.flush()
    at = recorded.publisher.writer.state.seq
    recorded.folder.close(finish=False)
    assert verify(Recording(path)).verdict == "incomplete"
    assert certificate_of(segment_path(path, 1)) is None

    for _ in range(5):
        recorded.publisher.stream()
    recorded.folder = Folder(path, random.Random(1))
    recorded.segment()
    recorded.folder.close()
    first, second = (head_of(segment_path(path, number)) for number in (1, 2))
    assert first is not None
    assert second is not None
    assert (second.recording, second.continues) == (first.recording, False)
    verdict = verify(Recording(path))
    assert verdict.verdict == "proven"
    (gap,) = verdict.gaps
    assert (gap.whose, gap.epoch, gap.first, gap.last) == ("recorder", START_MS, at + 1, at + 5)
    tape = Tape(Recording(path), 1)
    for _ in tape:
        pass
    assert tape.tally.holes == 1
    assert tape.state.digest() == recorded.publisher.writer.state.digest()


def test_gaps_are_named_with_whose_they_are(short_dir: Path) -> None:
    recorded = Recorded(short_dir / "day")
    publisher = recorded.publisher
    recorded.segment(4)
    recorded.health = PublisherHealth(stream="down", stream_gaps=1)
    recorded.beat()
    recorded.health = PublisherHealth(stream="live", stream_gaps=1, stream_since_ms=1)
    recorded.beat()
    recorded.health = PublisherHealth(stream="live", stream_gaps=3, stream_since_ms=2)
    recorded.beat()
    publisher.now_ms += 10_000
    recorded.hear(publisher.stream())
    before = publisher.writer.state.seq
    publisher.stream()
    recorded.hear(publisher.stream())
    recorded.keyframe()
    recorded.hear(publisher.stream())
    recorded.publisher = publisher.succeed(publisher.now_ms + 1_000)
    recorded.keyframe()
    recorded.hear(recorded.publisher.stream())
    recorded.folder.close()

    verdict = verify(Recording(short_dir / "day"))
    assert verdict.verdict == "proven", verdict.said
    assert [(gap.whose, gap.why) for gap in verdict.gaps] == [
        ("exchange", "stream down"),
        ("exchange", "the stream had 2 gaps"),
        ("publisher", "nothing was published, no heartbeat either"),
        ("recorder", "numbers are missing"),
        ("publisher", f"it began anew, with epoch {publisher.now_ms + 1_000}"),
    ]
    assert (verdict.gaps[3].first, verdict.gaps[3].last) == (before + 1, before + 2)


def test_the_oldest_segments_give_way_to_the_budget_and_a_small_budget_is_said_once(
    short_dir: Path,
) -> None:
    path = short_dir / "day"
    recorded = Recorded(path)
    recorded.segment()
    recorded.folder.close()
    size = segment_path(path, 1).stat().st_size

    recorded.folder = Folder(path, random.Random(1), int(3.5 * size))
    with capture_logs() as logs:
        for _ in range(6):
            recorded.segment()
            recorded.flush()
            recorded.folder.drop()
            sizes = [segment_path(path, number).stat().st_size for number in segments_of(path)]
            assert sum(sizes) <= 3.5 * size
    assert recorded.folder.dropped >= 3
    assert not logs
    recorded.folder.close()
    verdict = verify(Recording(path))
    assert verdict.verdict == "proven"
    assert verdict.segments[-1] == 7

    recorded.folder = Folder(path, random.Random(1), 100)
    with capture_logs() as logs:
        for _ in range(2):
            recorded.segment()
            recorded.flush()
            recorded.folder.drop()
            assert segments_of(path) == recorded.folder._numbers[-1:]
    assert [log["event"] for log in logs] == ["recorder.budget_too_small"]
    recorded.folder.close()
    assert verify(Recording(path)).verdict == "proven"


def test_a_read_only_folder_is_refused_in_a_sentence(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(StartupError, match="cannot record into it: it is read-only"):
        Folder(short_dir / "day", random.Random(1))


def test_a_folder_is_one_recorders_and_holds_nothing_else(short_dir: Path) -> None:
    path = short_dir / "day"
    folder = Folder(path, random.Random(1))
    with pytest.raises(StartupError, match="another recorder"):
        Folder(path, random.Random(1))
    folder.close(keep=False)
    assert not path.exists(), "nothing was recorded"

    path.mkdir()
    (path / "precious").touch()
    with pytest.raises(StartupError, match="has other things"):
        Folder(path, random.Random(1))
    with pytest.raises(RecordingError, match="no segment"):
        Recording(path)
    with pytest.raises(StartupError, match="exists, and is no folder"):
        Folder(path / "precious", random.Random(1))


def test_what_is_deleted_under_a_recorder_is_begun_anew(short_dir: Path) -> None:
    path = short_dir / "day"
    recorded = Recorded(path)
    recorded.segment()
    recorded.flush()
    assert not recorded.folder.gone()
    shutil.rmtree(path)
    assert recorded.folder.gone()
    recorded.folder.again()
    recorded.segment()
    recorded.folder.close()
    assert verify(Recording(path)).verdict == "proven"
    assert segments_of(path) == [1]


def test_a_segment_of_a_newer_format_is_refused_and_an_empty_one_is_a_crash(
    pair: tuple[Path, Path], short_dir: Path
) -> None:
    path = Path(shutil.copytree(pair[0], short_dir / "day"))
    segment_path(path, 4).touch()
    verdict = verify(Recording(path))
    assert verdict.verdict == "incomplete"
    tape = Tape(Recording(path), 1)
    for _ in tape:
        pass
    assert tape.tally.holes == 0
    recorded = Recorded(path)
    recorded.segment()
    recorded.folder.close()
    assert verify(Recording(path)).segments == (1, 2, 3, 4, 5)
    assert "of another recording" not in verify(Recording(path)).said

    for number in (2, 3, 4, 5):
        segment_path(path, number).unlink()
    data = segment_path(path, 1).read_bytes().replace(b"kalshi-bus/1", b"kalshi-bus/9")
    segment_path(path, 1).write_bytes(data)
    with pytest.raises(RecordingError, match="upgrade"):
        Recording(path)


def test_a_day_of_chunks_leaves_the_memory_of_a_writer_as_it_is(short_dir: Path) -> None:
    """Two chunks a second; each message is small, so that what is measured is what stays of a chunk."""
    recorded = Recorded(short_dir / "day")
    recorded.segment()
    frame = recorded.publisher.stream()[0]
    _, envelope = decode(frame)
    writer = recorded.folder.writer
    assert writer is not None

    def chunks(count: int) -> int:
        for _ in range(count):
            writer.frame(frame, envelope.published_ns, envelope.seq, envelope.epoch)
            writer.flush()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = chunks(200)
        assert chunks(2_000) - before < 20_000, "bytes; an index took a thousand a chunk"
    finally:
        tracemalloc.stop()
    recorded.folder.close()
