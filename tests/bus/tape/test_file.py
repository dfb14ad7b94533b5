"""Recording and replaying, over real sockets: what comes out is what went in."""

import random
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bus.ask import ask
from bus.clock import SystemClock
from bus.health import publisher_problem
from bus.process.lifecycle import Stop
from bus.protocol.answers import Answers
from bus.protocol.messages import Envelope, decode, encode, encode_map
from bus.tape.export import export_records
from bus.tape.file import Frame, Keyframe, Recording, RecordingError, RecordingWriter
from bus.tape.player import MAX_SPEED, Player, serve
from bus.tape.recorder import Recorder
from bus.tape.tape import messages, renumbered
from bus.testing import replay_of
from markets.errors import StartupError
from tests.bus.protocol.damage import HUGE
from tests.bus.tape.recorded import TICKERS, Context, Live, a_day, following, record_a_day
from tests.bus.tape.recorded import live as live  # noqa: PLC0414  a fixture
from tests.bus.world import START_MS, Publisher
from tests.support import eventually

Replaying = Callable[..., AbstractContextManager[tuple[Player, str, str]]]


@pytest.fixture
def replaying(zmq_context: Context, short_dir: Path) -> Replaying:
    @contextmanager
    def play(path: Path, speed: float = MAX_SPEED, **options: Any) -> Iterator[tuple[Player, str, str]]:
        player = Player(Recording(path), SystemClock(), START_MS + 10_000_000, speed, **options)
        feed, state = f"ipc://{short_dir}/r-feed", f"ipc://{short_dir}/r-state"
        stop = Stop()
        thread = threading.Thread(target=serve, args=(zmq_context, feed, state, player, stop))
        thread.start()
        try:
            yield player, feed, state
        finally:
            stop.set()
            thread.join()
            stop.close()

    return play


def heard(path: Path) -> list[tuple[int, int, str, int, list[bytes]]]:
    """What a recording says, without the epoch."""
    return [
        (envelope.seq, envelope.prev, topic, envelope.published_ns, [bytes(raw) for raw in envelope.records])
        for topic, envelope in messages(Recording(path))
    ]


def test_replay_gives_the_recorded_messages_and_the_same_state(
    zmq_context: Context, live: Live, short_dir: Path, replaying: Replaying
) -> None:
    path, again = short_dir / "day.mcap", short_dir / "again.mcap"
    record_a_day(zmq_context, live, path)
    truth = live.publisher.writer.state
    assert len(heard(path)) >= 40

    with replaying(path, paused=True) as (player, feed, state):
        stop = Stop()
        recorder = Recorder(zmq_context, feed, state, again, SystemClock(), random.Random(1))
        thread = threading.Thread(target=recorder.run, args=(stop,))
        thread.start()
        with following(zmq_context, feed, state) as replica:
            eventually(lambda: recorder.keyframes and replica.status().live)
            heartbeat = replica.heartbeat
            assert heartbeat is not None
            assert publisher_problem(heartbeat.publisher) is None, "it stands at the beginning"
            assert ask(zmq_context, state, {"op": "replay", "action": "resume"})["ok"]
            eventually(lambda: player.ended)
            assert replica.wait(lambda r: r.state.seq == truth.seq and r.status().live, 30)
            assert replica.state.digest() == truth.digest()
            assert replica.state.records == truth.records
            assert replica.status().source == "replay"
            assert replica.status().stats.gaps == 0
            eventually(lambda: replica.now_ms() >= player.tempo.clock.now_ms())
            assert replica.now_ms() < START_MS + 1_000_000, "now is the recording's"
        stop.set()
        thread.join()
        stop.close()
        assert player.tally.checked
        assert player.tally.mismatches == 0
        assert player.tally.holes == 0
    assert heard(again) == heard(path)


def test_recording_starts_with_the_whole_state_and_can_be_joined_late(
    zmq_context: Context, live: Live, short_dir: Path, replaying: Replaying
) -> None:
    a_day(live)
    path = short_dir / "day.mcap"
    record_a_day(zmq_context, live, path)
    assert isinstance(next(Recording(path).play()), Keyframe)
    with replaying(path) as (player, feed, state):
        eventually(lambda: player.ended)
        with following(zmq_context, feed, state) as late:
            assert late.wait(lambda r: r.status().live, 30)
            assert late.state.digest() == live.publisher.writer.state.digest()


def test_backward_seek_is_a_new_epoch_and_forward_goes_on(
    zmq_context: Context, live: Live, short_dir: Path, replaying: Replaying
) -> None:
    path = short_dir / "day.mcap"
    record_a_day(zmq_context, live, path)
    digest = live.publisher.writer.state.digest()
    times = [time_ns for _, _, _, time_ns, _ in heard(path)]
    middle_ms, seq = times[20] // 1_000_000, heard(path)[20][0]
    with replaying(path) as (player, feed, state), following(zmq_context, feed, state) as replica:
        eventually(lambda: player.ended)
        assert replica.wait(lambda r: r.status().live and r.state.digest() == digest, 30)
        before = replica.state.epoch

        def tell(action: str, **more: Any) -> dict[str, Any]:
            return ask(zmq_context, state, {"op": "replay", "action": action, **more})

        tell("pause")
        assert tell("seek", to_ms=middle_ms)["ok"]
        assert replica.wait(lambda r: r.status().live and r.state.epoch > before, 30)
        epoch = replica.state.epoch
        assert replica.state.seq < live.publisher.writer.state.seq
        assert abs(replica.state.seq - seq) < 20
        assert not tell("status")["ended"]
        later_ms, seq = times[30] // 1_000_000, heard(path)[30][0]
        assert tell("seek", to_ms=later_ms)["ok"]
        assert replica.wait(lambda r: r.status().live and abs(r.state.seq - seq) < 5, 30)
        assert replica.state.epoch == epoch, "a way forward goes on in the same epoch"
        tell("resume")
        assert replica.wait(lambda r: r.status().live and r.state.digest() == digest, 30)
        assert replica.state.epoch == epoch
        assert "warning" not in tell("seek", to_ms=times[0] // 1_000_000)
        assert "yet: it plays from the beginning" in tell("seek", to_ms=0)["warning"]
        assert "any more: it goes to the end" in tell("seek", to_ms=10**13)["warning"]
        assert tell("seek", to_ms="noon")["error"]["code"] == "bad_request"
        assert tell("dance")["error"]["code"] == "bad_request"


@pytest.mark.parametrize("in_commit", [False, True], ids=["streamed", "of a commit"])
def test_message_that_cannot_be_read_is_a_hole_up_to_the_next_keyframe(
    short_dir: Path, in_commit: bool
) -> None:
    path, publisher = short_dir / "day.mcap", Publisher(START_MS, random.Random(7), TICKERS)
    snapshot = encode_map({"op": "snapshot", "id": 0})
    answers = Answers(lambda: publisher.writer.state)
    bad_at = 0
    with path.open("wb") as file:
        writer = RecordingWriter(file)
        for number in range(60):
            if number in (0, 40):
                writer.flush()
                writer.keyframe(answers.answer(snapshot, 0), publisher.now_ms * 1_000_000)
            frames = publisher.commit() if number % 4 == 0 else publisher.stream()
            for data in [*frames, *publisher.heartbeat()]:
                topic, envelope = decode(data)
                wanted = topic.startswith("md.") and bool(envelope.cycle) == in_commit
                if wanted and number >= 20 and not bad_at:
                    bad_at = envelope.seq
                    envelope.records = [msgspec.Raw(b"\x91\x01")]
                    data = encode(topic, envelope)
                writer.frame(data, envelope.published_ns, envelope.seq)
        writer.finish()
    assert bad_at
    with replay_of(path) as replayed:
        replica = replayed.replica()
        replayed.resume()
        replayed.wait_end()
        assert (replayed.player.tally.holes, replayed.player.tally.mismatches) == (1, 0)
        assert replayed.player.tally.checked
        assert replica.state.seq == publisher.writer.state.seq
        assert replica.state.digest() == publisher.writer.state.digest()
    with replay_of(path) as replayed:
        replayed.resume()
        assert replayed.player.wait_end(60)
        assert replayed.player.tally.messages < publisher.writer.state.seq, "what follows it is left out"


def test_part_of_a_recording_at_the_recorded_pace(
    zmq_context: Context, live: Live, short_dir: Path, replaying: Replaying
) -> None:
    path = short_dir / "day.mcap"
    record_a_day(zmq_context, live, path)
    times = [time_ns // 1_000_000 for _, _, _, time_ns, _ in heard(path)]
    with replaying(path, 1.0, from_ms=times[10], to_ms=times[20]) as (player, feed, state):
        eventually(lambda: player.ended)
        with following(zmq_context, feed, state) as replica:
            assert replica.wait(lambda r: r.status().live, 30)
            assert times[10] <= replica.now_ms() <= times[20]


def a_frame(number: int) -> bytes:
    publisher = Publisher(START_MS, random.Random(number), TICKERS)
    return publisher.stream()[0]


def a_file(path: Path, chunks: int = 5) -> list[bytes]:
    """A recording of `chunks` chunks with ten frames each."""
    written = []
    with path.open("wb") as file:
        writer = RecordingWriter(file)
        for number in range(chunks * 10):
            data = a_frame(number)
            written.append(data)
            writer.frame(data, START_MS + number, number)
            if number % 10 == 9:
                writer.flush()
        writer.finish()
    return written


def frames_of(recording: Recording) -> list[bytes]:
    return [item.data for item in recording.play() if isinstance(item, Frame)]


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.95])
def test_truncated_file_plays_to_its_last_good_chunk_and_says_so(short_dir: Path, share: float) -> None:
    path = short_dir / "day.mcap"
    written = a_file(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    recording = Recording(path)
    got = frames_of(recording)
    assert recording.problem
    assert str(path) in recording.problem
    assert len(got) % 10 == 0
    assert got == written[: len(got)]


def test_flipped_bit_ends_the_play_before_it(short_dir: Path) -> None:
    path = short_dir / "day.mcap"
    written = a_file(path)
    whole = bytearray(path.read_bytes())
    for at in range(100, len(whole) * 2 // 3, 97):
        damaged = bytearray(whole)
        damaged[at] ^= 0x10
        path.write_bytes(damaged)
        try:
            recording = Recording(path)
        except RecordingError:
            continue
        got = frames_of(recording)
        assert all(data in written for data in got), "what is damaged is never played"
        assert recording.problem or len(got) == len(written) or len(got) % 10 == 0
    path.write_bytes(whole)
    assert frames_of(Recording(path)) == written


def test_recordings_put_one_behind_the_other_play_one_after_the_other(short_dir: Path) -> None:
    first, second, both = (short_dir / name for name in ("1.mcap", "2.mcap", "both.mcap"))
    written = a_file(first, 2) + a_file(second, 3)
    both.write_bytes(first.read_bytes() + second.read_bytes())
    recording = Recording(both)
    assert frames_of(recording) == written
    assert recording.problem is None


@pytest.mark.parametrize("content", [b"", b"\x89MCAP0\r\n", b"not a recording at all", bytes(5_000)])
def test_what_is_no_recording_is_refused_by_name(short_dir: Path, content: bytes) -> None:
    path = short_dir / "x.mcap"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match=r"x\.mcap"):
        Recording(path)


def test_a_chunk_that_is_huge_unpacked_ends_the_play_before_room_is_made(short_dir: Path) -> None:
    path = short_dir / "x.mcap"
    with path.open("wb") as file:
        writer = RecordingWriter(file)
        writer.frame(a_frame(1), 1, 1)
        writer.flush()
        writer.frame(bytes(200_000_000), 2, 2)
        writer.finish()
    assert path.stat().st_size < 50_000
    tracemalloc.start()
    try:
        recording = Recording(path)
        assert frames_of(recording) == [a_frame(1)]
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    assert recording.problem
    assert "expected at most" in recording.problem


def test_what_cannot_be_read_is_left_out_of_tables_and_said(short_dir: Path) -> None:
    path = short_dir / "x.mcap"
    bad = Envelope(
        1, START_MS, 2, 1, "book", 0, 1, 1, [msgspec.Raw(encode_map(["A-1", 0, [[70_000, 1]], []]))]
    )
    head = {"epoch": START_MS, "as_of": 0, "streams": {}, "chunks": 1, "now_ms": START_MS}
    with path.open("wb") as file:
        writer = RecordingWriter(file)
        writer.keyframe([encode_map(head), HUGE], 1)
        for number, frame in enumerate((a_frame(1), encode("md.A.", bad)), 1):
            writer.frame(frame, number, number)
        writer.finish()
    recording = Recording(path)
    counts = export_records(recording, short_dir / "tables")
    (rows,) = counts.values()
    assert rows == 1
    assert recording.problem
    assert "2 messages or parts of keyframes cannot be read" in recording.problem


def test_newer_format_is_refused_with_what_to_do(short_dir: Path) -> None:
    path = short_dir / "x.mcap"
    a_file(path, 1)
    path.write_bytes(path.read_bytes().replace(b"kalshi-bus/1", b"kalshi-bus/9"))
    with pytest.raises(RecordingError, match="upgrade"):
        Recording(path)


def test_recording_never_overwrites(zmq_context: Context, short_dir: Path) -> None:
    path = short_dir / "x.mcap"
    path.write_bytes(b"precious")
    with pytest.raises(StartupError, match=r"x\.mcap"):
        Recorder(zmq_context, "ipc:///x", "ipc:///y", path, SystemClock(), random.Random(1))
    assert path.read_bytes() == b"precious"


def test_renumbered_frame_differs_in_its_epoch_only() -> None:
    data = a_frame(1)
    topic, envelope = decode(data)
    topic2, again = decode(renumbered(data, START_MS + 99))
    assert (topic2, again.epoch) == (topic, START_MS + 99)
    again.epoch = envelope.epoch
    assert again == envelope
    small = Envelope(1, 7, 1, 0, "trade", 0, 0, 0, [])
    from bus.protocol.messages import encode

    assert decode(renumbered(encode("x.", small), START_MS))[1].epoch == START_MS
