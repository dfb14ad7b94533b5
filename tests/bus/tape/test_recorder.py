"""The recorder where it hurts: killed, on a full disk, on a slow one. What it leaves behind can be played."""

import os
import random
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Self

import pytest
import zmq
from structlog.testing import capture_logs

import bus.tape.recorder
from bus.clock import SystemClock
from bus.process.lifecycle import Stop
from bus.process.supervised import last_words
from bus.protocol.messages import VERSION, Envelope, Header, Quotes
from bus.tape.file import Frame, Recording, segments_of
from bus.tape.recorder import Recorder
from bus.tape.tape import messages
from bus.tape.verify import verify
from bus.testing import replay_of
from tests.bus.tape.recorded import Live, following, last_seq, live, recording
from tests.support import Process, Runner, eventually

pytestmark = pytest.mark.slow

__all__ = ["live"]  # a fixture

Context = zmq.Context[Any]
LOSS_S = 1.0


class Load:
    """A publisher that publishes about 2,000 messages a second, stamped with the wall clock.

    Attributes:
        stall_s: the longest that this machine kept us from running: what no recorder can help.
    """

    def __init__(self, live: Live) -> None:
        self.live = live
        self.stall_s = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load")

    def _run(self) -> None:
        publisher = self.live.publisher
        while not self._stop.is_set():
            before = time.monotonic()
            publisher.now_ms = max(publisher.now_ms, time.time_ns() // 1_000_000)
            self.live.do(*[publisher.stream] * 19, publisher.commit)
            time.sleep(0.01)
            self.stall_s = max(self.stall_s, time.monotonic() - before - 0.01)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def record_process(runner: Runner, live: Live, path: Path, *before: str) -> Process:
    runner.env |= {"KALSHI_BUS_FEED": live.feed, "KALSHI_BUS_QUERY": live.state}
    return runner.start_command([*before, sys.executable, "-m", "bus", "record", str(path)])


def assert_plays_to(path: Path, live: Live) -> int:
    """Fail unless the recording plays without a hole to a state the publisher had; return its number."""
    with replay_of(path) as replayed:
        replica = replayed.replica()
        replayed.resume()
        replayed.wait_end()
        status = replayed.player.status()
        assert (status["holes"], status["digest_mismatches"]) == (0, 0)
        assert status["digests_checked"] > 0
        state = replica.state
        assert state.digest() == live.publisher.history[live.publisher.writer.state.epoch, state.seq]
        return state.seq


@pytest.mark.alone
def test_killed_recorder_loses_at_most_a_second_and_the_file_plays(
    live: Live, runner: Runner, short_dir: Path
) -> None:
    path = short_dir / "day.mcap"
    recorder = record_process(runner, live, path)
    recorder.wait_event("feed.live")
    with Load(live) as load:
        start = live.publisher.writer.state.seq
        eventually(lambda: last_seq(path) > start + 2_000, 20)
        recorder.signal(signal.SIGKILL)
        killed_ns = time.time_ns()
        assert recorder.wait() == -signal.SIGKILL
    played = Recording(path)
    heard = [item for item in played.play() if isinstance(item, Frame)]
    lost_s = (killed_ns - max(frame.time_ns for frame in heard)) / 1e9
    assert lost_s <= LOSS_S + 2 * load.stall_s, (
        f"not within {LOSS_S:g} s: {lost_s:.2f} s lost, this machine stood {load.stall_s:.2f} s"
    )
    assert played.problem, "it says that it was not ended"
    assert assert_plays_to(path, live) > start + 2_000


def test_full_disk_stops_the_recording_loudly_and_nothing_else(
    zmq_context: Context, live: Live, runner: Runner, short_dir: Path
) -> None:
    path = short_dir / "day.mcap"
    with following(zmq_context, live.feed, live.state) as replica, Load(live):
        # A limit on the size of a file does to write() what a full disk does, for this process only.
        recorder = record_process(runner, live, path, "sh", "-c", 'ulimit -f 400; exec "$@"', "sh")
        assert recorder.wait(30) == 1
        output = recorder.output()
        assert f"recorder: {path}: File too large: what was recorded can be played" in output
        (stopped,) = recorder.events("recorder.stopped")
        assert stopped["level"] == "error"
        assert "Exception ignored" not in output
        why = last_words(recorder.log_path)
        assert why == "recorder.stopped OSError: [Errno 27] File too large", "as the page shows it"
        before = live.publisher.writer.state.seq
        assert replica.wait(lambda r: r.status().live and r.state.seq > before, 30)
        assert replica.status().stats.gaps == 0
    (segment,) = path.iterdir()
    assert 100_000 < segment.stat().st_size <= 400 * 1_024
    assert assert_plays_to(path, live) > 0


def test_what_is_heard_while_a_keyframe_is_made_is_not_lost_to_who_plays_on(
    zmq_context: Context, live: Live, short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, publisher = short_dir / "day.mcap", live.publisher
    monkeypatch.setattr(bus.tape.recorder, "KEYFRAME_MS", 0)
    with recording(zmq_context, live, path) as recorder:
        answer = recorder._answers.answer

        def answer_late(question: bytes, now_ms: int) -> list[bytes]:
            live.do(*[publisher.stream] * 5)
            seq = publisher.writer.state.seq
            assert recorder._replica.wait(lambda r: r.state.seq == seq, 30)
            return answer(question, now_ms)

        monkeypatch.setattr(recorder._answers, "answer", answer_late)
        before = recorder.keyframes
        eventually(lambda: recorder.keyframes >= before + 3)
        monkeypatch.undo()
        live.do(publisher.heartbeat)
    played = Recording(path)
    recorded = [envelope.seq for _, envelope in messages(played)]
    assert recorded == list(range(1, recorded[-1] + 1))
    assert len(played.keyframes()) >= 4
    with replay_of(path) as replayed:
        replica = replayed.replica()
        replayed.resume()
        replayed.wait_end()
        assert (replayed.player.tally.messages, replayed.player.tally.holes) == (len(recorded), 0)
        assert (replica.status().stats.gaps, replayed.player.tally.mismatches) == (0, 0)


class SlowFile:
    """A file on a disk that takes its time for every write, which `gate` can hold up for good."""

    def __init__(self, file: IO[bytes], delay_s: float) -> None:
        self._file = file
        self._delay_s = delay_s
        self.gate = threading.Event()
        self.gate.set()

    def write(self, data: bytes) -> int:
        self.gate.wait(20)
        time.sleep(self._delay_s)
        return self._file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


@contextmanager
def slow_recording(
    context: Context, live: Live, path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Recorder, SlowFile]]:
    made: list[SlowFile] = []

    def slowly(file: Any, mode: str) -> SlowFile:
        made.append(SlowFile(real(file, mode), 0.05))
        return made[-1]

    real = os.fdopen
    monkeypatch.setattr(os, "fdopen", slowly)
    with recording(context, live, path) as recorder:
        monkeypatch.undo()
        yield recorder, made[0]


def test_slow_disk_of_a_recorder_blocks_nobody_and_loses_nothing(
    zmq_context: Context, live: Live, short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = short_dir / "day.mcap"
    with (
        following(zmq_context, live.feed, live.state) as replica,
        slow_recording(zmq_context, live, path, monkeypatch) as (recorder, _),
    ):
        live.do(*[live.publisher.stream] * 2_000, live.publisher.commit)
        truth = live.publisher.writer.state
        assert replica.wait(lambda r: r.state.seq == truth.seq, 30)
        assert recorder._replica.wait(lambda r: r.state.seq == truth.seq, 30), "its own copy does not wait"
        eventually(lambda: recorder.frames > 2_000)
        assert (replica.status().stats.gaps, recorder._replica.status().stats.gaps) == (0, 0)
        assert recorder.dropped == 0
    assert assert_plays_to(path, live) == truth.seq


def test_who_is_stopped_at_once_has_recorded_what_was_heard(
    zmq_context: Context, live: Live, short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus.tape.recorder, "CHUNK_MS", 60_000)  # no turn before the end
    path = short_dir / "day.mcap"
    stop = Stop()
    recorder = Recorder(zmq_context, live.feed, live.state, path, SystemClock(), random.Random(1))
    thread = threading.Thread(target=recorder.run, args=(stop,))
    thread.start()
    eventually(lambda: recorder._replica.status().live)
    live.do(live.publisher.stream, live.publisher.commit)
    seq = live.publisher.writer.state.seq
    eventually(lambda: recorder._replica.state.seq == seq)
    stop.set()
    thread.join()
    stop.close()
    assert recorder.keyframes == 1
    with replay_of(path) as replayed:
        assert replayed.replica().state.seq == seq


def test_what_a_standing_disk_makes_a_recorder_drop_is_counted_and_healed_by_a_keyframe(
    zmq_context: Context, live: Live, short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = short_dir / "day.mcap"
    publisher = live.publisher
    with (
        following(zmq_context, live.feed, live.state) as replica,
        slow_recording(zmq_context, live, path, monkeypatch) as (recorder, file),
    ):
        monkeypatch.setattr(bus.tape.recorder, "MAX_QUEUED_BYTES", 20_000)
        live.do(publisher.stream)
        eventually(lambda: recorder.frames)
        file.gate.clear()
        live.do(*[publisher.stream] * 500, publisher.commit)
        eventually(lambda: recorder.dropped)
        assert replica.wait(lambda r: r.state.seq == publisher.writer.state.seq, 30)
        assert recorder._replica.status().stats.gaps == 0
        keyframes = recorder.keyframes
        file.gate.set()
        eventually(lambda: recorder.keyframes > keyframes)
        live.do(*[publisher.stream] * 20, publisher.commit)
        truth = publisher.writer.state
        assert recorder._replica.wait(lambda r: r.state.seq == truth.seq, 30)
        eventually(lambda: last_seq(path) == truth.seq)
    with replay_of(path) as replayed:
        replica = replayed.replica()
        replayed.resume()
        replayed.wait_end()
        assert replayed.player.tally.holes == 1
        assert replayed.player.tally.mismatches == 0
        assert replica.state.digest() == truth.digest()


def test_what_is_kept_for_behind_a_keyframe_is_bounded_while_the_state_stands_still(
    zmq_context: Context, live: Live, short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As without an answer to a repair, for hours: what comes is written, and not kept as well."""
    path = short_dir / "day.mcap"
    with recording(zmq_context, live, path) as recorder:
        monkeypatch.setattr(bus.tape.recorder, "MAX_TAIL_BYTES", 5_000)
        state, keyframes, frames = live.publisher.writer.state, recorder.keyframes, recorder.frames
        monkeypatch.setattr(recorder, "_position", lambda: (0, 0))
        live.do(*[live.publisher.stream] * 200)
        eventually(lambda: recorder.frames >= frames + 200)
        assert sum(len(heard[0]) for heard in list(recorder._tail)) <= 5_000
        forgotten = recorder._dropped_at
        assert forgotten > (state.epoch, state.seq - 200)
        assert recorder.keyframes == keyframes
        monkeypatch.undo()
        eventually(lambda: recorder.keyframes > keyframes)
        live.do(live.publisher.stream, live.publisher.heartbeat)
        eventually(lambda: last_seq(path) == state.seq)
    assert assert_plays_to(path, live) == state.seq


def test_no_keyframe_is_made_before_what_was_dropped_is_in_the_state(
    zmq_context: Context, live: Live, short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message dropped in the middle of a commit is in no state before the commit's end."""
    with recording(zmq_context, live, short_dir / "day.mcap") as recorder:
        state, keyframes = live.publisher.writer.state, recorder.keyframes

        def hear(frame: bytes, header: Header | Quotes) -> None:
            if not recorder.dropped:
                with monkeypatch.context() as patch:
                    patch.setattr(bus.tape.recorder, "MAX_QUEUED_BYTES", -1)
                    lost = Envelope(VERSION, state.epoch, state.seq + 1, 0, "quote", 1, 0, 0, [])
                    recorder._hear(b"", lost)
            recorder._hear(frame, header)

        recorder._replica._tap = hear
        eventually(lambda: recorder.dropped)
        frames = recorder.frames
        eventually(lambda: recorder.frames >= frames + 3, what="heartbeats are written")
        assert recorder.keyframes == keyframes
        live.do(live.publisher.stream)
        eventually(lambda: recorder.keyframes > keyframes)


def test_segments_follow_each_other_without_a_hole_while_much_is_published(
    zmq_context: Context, live: Live, short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = short_dir / "day"
    for name in ("KEYFRAME_MS", "SEGMENT_MS"):
        monkeypatch.setattr(bus.tape.recorder, name, 0)
    live.publisher.now_ms = time.time_ns() // 1_000_000
    with recording(zmq_context, live, path), Load(live):
        eventually(lambda: len(segments_of(path)) >= 4)
    verdict = verify(Recording(path))
    assert (verdict.verdict, verdict.gaps) == ("proven", ()), verdict.said
    assert len(verdict.covers) == 1
    assert len(verdict.segments) >= 4
    with replay_of(path) as replayed:
        replica = replayed.replica()
        replayed.resume()
        replayed.wait_end()
        assert (replayed.player.tally.holes, replayed.player.tally.mismatches) == (0, 0)
        assert replayed.player.tally.messages == verdict.covers[0].last - verdict.covers[0].first + 1
        assert replica.state.seq == verdict.covers[0].last


def test_a_recording_that_is_deleted_while_it_is_made_begins_anew_and_says_so(
    zmq_context: Context, live: Live, short_dir: Path
) -> None:
    path = short_dir / "day"
    with capture_logs() as logs, recording(zmq_context, live, path) as recorder:
        live.do(*[live.publisher.stream] * 20)
        shutil.rmtree(path)
        keyframes = recorder.keyframes
        eventually(lambda: recorder.keyframes > keyframes)
        live.do(*[live.publisher.stream] * 20, live.publisher.heartbeat)
        eventually(lambda: last_seq(path) == live.publisher.writer.state.seq)
    assert [log["event"] for log in logs if log["log_level"] == "error"] == ["recorder.deleted"]
    verdict = verify(Recording(path))
    assert (verdict.verdict, verdict.segments) == ("proven", (1,))
    assert assert_plays_to(path, live) == live.publisher.writer.state.seq


@pytest.mark.e2e
def test_without_a_folder_it_goes_into_the_data_directory_and_goes_on_there(
    live: Live, runner: Runner
) -> None:
    runner.env |= {"KALSHI_BUS_FEED": live.feed, "KALSHI_BUS_QUERY": live.state}
    path = runner.folder / "data" / "recording"
    for life in (1, 2):
        recorder = runner.start("bus", "record")
        recorder.wait_event("feed.live")
        eventually(lambda: path.exists() and len(segments_of(path)) == life)  # noqa: B023
        live.do(live.publisher.stream)
        seq = live.publisher.writer.state.seq
        eventually(lambda: last_seq(path) == seq)  # noqa: B023
        assert recorder.stop() == 0
    verdict = verify(Recording(path))
    assert (verdict.verdict, verdict.segments, verdict.gaps) == ("proven", (1, 2), ())
