"""A tape tells what a replica is told of a player of the same recording, at any pace."""

import random
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq

import bus.line
import bus.replica
from bus.clock import SystemClock
from bus.process.lifecycle import Stop
from bus.protocol.answers import Answers
from bus.protocol.join import Action, Tell
from bus.protocol.memory import Keeping, Slim
from bus.protocol.messages import Envelope, decode, encode_map
from bus.protocol.state import Changed, State
from bus.replica import SteppedReplica
from bus.tape.file import Recording, RecordingWriter
from bus.tape.player import MAX_SPEED, Player, serve
from bus.tape.tape import Tape
from markets.records import ExchangeStatus, Trade
from tests.bus.world import START_MS, Publisher
from tests.support import ROOT, eventually

TICKERS = ("A-1-X", "A-1-Y", "B-1-X", "C-1-X")
EPOCH = START_MS + 10_000_000
DIGEST_EVERY = 5
SNAPSHOT = encode_map({"op": "snapshot", "id": 0})

Said = tuple[Sequence[Action], int, int]
"""(actions, now in ms, digest of the state behind them, now and then)."""


def trade(publisher: Publisher) -> list[bytes]:
    return streamed(publisher, "md.A.", Trade("t", "A-1-X", 4_000, 100, "yes", publisher.now_ms))


def exchange(publisher: Publisher) -> list[bytes]:
    trading = publisher.rng.random() < 0.5
    return streamed(publisher, "ex.", ExchangeStatus(True, trading, None, (), publisher.now_ms))


def streamed(publisher: Publisher, topic: str, record: Trade | ExchangeStatus) -> list[bytes]:
    publisher.now_ms += 1
    ns = publisher.now_ms * 1_000_000
    kind = "trade" if isinstance(record, Trade) else "exchange"
    return publisher.writer.stream(topic, kind, [record], ns, ns)


def write(
    writer: RecordingWriter,
    publisher: Publisher,
    acts: int,
    spoil: Callable[[Envelope, bytes], bytes | None] = lambda _envelope, data: data,
) -> None:
    """Record a publisher's acts, keyframes before some; `spoil` may change a frame, or lose it."""
    answers = Answers(lambda: publisher.writer.state)
    rng = random.Random(3)
    for number in range(acts):
        if number % 40 == 0:
            writer.keyframe(answers.answer(SNAPSHOT, 0), publisher.now_ms * 1_000_000)
        act: Callable[[], list[bytes]] = rng.choice(
            [publisher.commit] * 2
            + [publisher.stream] * 5
            + [publisher.quotes] * 5
            + [lambda: trade(publisher), lambda: exchange(publisher)]
        )
        frames = act()
        if number % 20 == 19:
            frames += publisher.heartbeat()
        for data in frames:
            envelope = decode(data)[1]
            kept = spoil(envelope, data)
            if kept is not None:
                writer.frame(kept, envelope.published_ns, envelope.seq)


def a_publisher(epoch: int = START_MS) -> Publisher:
    return Publisher(epoch, random.Random(7), TICKERS)


@pytest.fixture
def day(short_dir: Path) -> Path:
    """One epoch without holes, of two seconds."""
    path = short_dir / "day.mcap"
    with path.open("wb") as file:
        writer = RecordingWriter(file)
        write(writer, a_publisher(), 100)
        writer.finish()
    return path


def noted(steps: Iterable[tuple[Sequence[Action], int, State]]) -> list[Said]:
    """What was told, and each time that it was, from `live` on."""
    said: list[Said] = []
    for actions, now_ms, state in steps:
        told = [action for action in actions if not (isinstance(action, Tell) and action.event == "epoch")]
        if told or (said and now_ms != said[-1][1]):
            said.append((told, now_ms, 0 if len(said) % DIGEST_EVERY else state.digest()))
    return said


def noted_of(tape: Tape) -> list[Said]:
    """The same of a tape."""
    return noted((moment.actions, moment.now_ns // 1_000_000, tape.state) for moment in tape)


def of_tape(path: Path, keeping: Keeping | None = None, **part: Any) -> list[Said]:
    tape = Tape(Recording(path), EPOCH, keeping=keeping, **part)
    said = noted_of(tape)
    assert tape.tally.checked
    assert tape.tally.mismatches == 0
    return said


OfPlayer = Callable[..., list[Said]]


@pytest.fixture
def of_player(zmq_context: zmq.Context[Any], short_dir: Path) -> OfPlayer:
    """What a stepped replica is told that joined a player before it went on."""
    feed, state = f"ipc://{short_dir}/r-feed", f"ipc://{short_dir}/r-state"

    @contextmanager
    def playing(player: Player) -> Iterator[None]:
        stop = Stop()
        thread = threading.Thread(target=serve, args=(zmq_context, feed, state, player, stop))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            stop.close()

    def steps(
        player: Player, replica: SteppedReplica, slow: bool
    ) -> Iterator[tuple[Sequence[Action], int, State]]:
        end_ns = SystemClock().monotonic_ns() + 40e9
        while not (player.ended and (replica.state.epoch, replica.state.seq) == player.position):
            assert SystemClock().monotonic_ns() < end_ns, (player.status(), replica.status())
            if player.tempo.paused and replica.status().live:
                player.control({"action": "resume"}, 0)
            if slow and replica.status().live and not player.ended:
                eventually(lambda: replica.backlog >= 10 or player.ended)
            yield replica.step(0.02), replica.now_ms(), replica.state

    def play(
        path: Path, speed: float, keeping: Keeping | None = None, slow: bool = False, **part: Any
    ) -> list[Said]:
        player = Player(Recording(path), SystemClock(), EPOCH, speed, paused=True, **part)
        with playing(player):
            replica = SteppedReplica(
                zmq_context, feed, state, SystemClock(), random.Random(2), keeping=keeping
            )
            replica.start()
            try:
                said = noted(steps(player, replica, slow))
            finally:
                replica.stop()
        assert (replica.dropped, player.tally.mismatches) == (0, 0)
        return said

    return play


@pytest.mark.parametrize("speed", [MAX_SPEED, 10, 1], ids=["max", "10", "1"])
def test_a_tape_and_a_replica_of_a_player_are_told_the_same(
    day: Path, of_player: OfPlayer, speed: float
) -> None:
    told = of_tape(day)
    changes = [actions for actions, *_ in told[1:] if actions]
    assert [len(actions) for actions in changes] == [1] * 100, "each message or commit by itself"
    assert {kind for (change,) in changes for kind, _ in change.groups} > {"trade", "exchange", "book"}  # type: ignore[union-attr]
    assert of_player(day, speed) == told


def test_the_same_of_a_part_kept_slim(day: Path, of_player: OfPlayer) -> None:
    part = {"from_ms": START_MS + 500, "to_ms": START_MS + 1_500}
    told = of_tape(day, Slim(), **part)
    assert 20 < len(told) < 90
    assert told[0][1] < START_MS + 500 <= told[1][1]
    assert of_player(day, MAX_SPEED, Slim(), **part) == told


def test_owner_that_is_slower_than_the_replay_misses_nothing(
    day: Path, of_player: OfPlayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus.line, "DRAIN", 10)
    monkeypatch.setattr(bus.replica, "MAX_WAITING_BYTES", 500)
    assert of_player(day, MAX_SPEED, slow=True) == of_tape(day)


def test_the_same_of_a_state_behind_which_nothing_comes(
    day: Path, short_dir: Path, of_player: OfPlayer
) -> None:
    path, publisher = short_dir / "state.mcap", a_publisher()
    with path.open("wb") as file:
        writer = RecordingWriter(file)
        head, *chunks = Answers(lambda: publisher.writer.state).answer(SNAPSHOT, 0)
        writer.keyframe([head, *chunks], publisher.now_ms * 1_000_000)
        writer.finish()
    beyond = START_MS + 1_000_000
    for told, played in (
        (noted_of(Tape(Recording(path), EPOCH)), of_player(path, MAX_SPEED)),
        (noted_of(Tape(Recording(day), EPOCH, beyond)), of_player(day, MAX_SPEED, from_ms=beyond)),
    ):
        assert [action.event for actions, *_ in told for action in actions] == ["live"]  # type: ignore[union-attr]
        assert played == told


def test_the_same_of_what_can_be_read_of_a_damaged_recording(
    day: Path, short_dir: Path, of_player: OfPlayer
) -> None:
    whole, path, lengths = day.read_bytes(), short_dir / "damaged.mcap", set()
    for share in (0.4, 0.6, 0.8):
        data = bytearray(whole)
        data[int(share * len(data))] ^= 1
        path.write_bytes(data)
        told = noted_of(Tape(Recording(path), EPOCH))
        lengths.add(len(told))
        assert of_player(path, MAX_SPEED) == told
    assert min(lengths) < max(lengths)


def test_a_tape_of_nothing_tells_nothing(day: Path, short_dir: Path) -> None:
    empty = short_dir / "empty.mcap"
    with empty.open("wb") as file:
        RecordingWriter(file).finish()

    for tape in (Tape(Recording(empty), EPOCH), Tape(Recording(day), EPOCH, to_ms=START_MS - 1)):
        assert list(tape) == []
        assert (tape.state.epoch, tape.now_ns, tape.status().live) == (0, 0, False)


@pytest.mark.parametrize("spoiled", ["lost", "unreadable", "end of a commit"])
def test_the_same_at_a_hole(short_dir: Path, of_player: OfPlayer, spoiled: str) -> None:
    path, publisher = short_dir / "day.mcap", a_publisher()
    found: list[int] = []

    def spoil(envelope: Envelope, data: bytes) -> bytes | None:
        wanted = envelope.kind == "cycle" if spoiled == "end of a commit" else not envelope.cycle
        if envelope.seq < 40 or found or not wanted or envelope.kind == "heartbeat":
            return data
        found.append(envelope.seq)
        return data[:-3] if spoiled == "unreadable" else None

    with path.open("wb") as file:
        writer = RecordingWriter(file)
        write(writer, publisher, 100, spoil)
        writer.finish()
    assert found
    told = of_tape(path)
    events = [action.event for actions, *_ in told for action in actions if isinstance(action, Tell)]
    assert events == ["live", "gap", "resynced"]
    assert of_player(path, MAX_SPEED) == told
    tape = Tape(Recording(path), EPOCH)
    *_, last = tape
    assert isinstance(last.actions[0], Changed)
    assert tape.state.digest() == publisher.writer.state.digest()
    assert tape.tally.holes == 1
    assert tape.status().live


@pytest.mark.parametrize("speed", [MAX_SPEED, 10], ids=["max", "10"])
def test_the_same_where_the_publisher_began_anew(short_dir: Path, of_player: OfPlayer, speed: float) -> None:
    path, first = short_dir / "day.mcap", a_publisher()
    with path.open("wb") as file:
        writer = RecordingWriter(file)
        write(writer, first, 50)
        again = first.succeed(START_MS + 5_000)
        again.now_ms = first.now_ms + 2_000
        write(writer, again, 50)
        writer.finish()
    told = of_tape(path)
    lives = [action.detail["epoch"] for actions, *_ in told for action in actions if isinstance(action, Tell)]
    assert lives == [EPOCH + 1, EPOCH + 2]
    assert of_player(path, speed) == told


def test_recordings_put_one_behind_the_other_are_told_one_after_the_other(
    short_dir: Path, of_player: OfPlayer
) -> None:
    """In the wrong order: the second file is the older one."""
    path = short_dir / "day.mcap"
    with path.open("wb") as file:
        for epoch, acts in ((START_MS, 50), (START_MS - 1_000_000, 30)):
            writer, publisher = RecordingWriter(file), a_publisher(epoch)
            publisher.now_ms = epoch
            write(writer, publisher, acts)
            writer.finish()
    told = of_tape(path)
    assert len([actions for actions, *_ in told if actions]) == 50 + 30 + 2
    assert told[-1][1] < START_MS - 500_000
    assert of_player(path, 10) == told


def test_a_keyframe_that_cannot_be_read_is_a_hole(short_dir: Path) -> None:
    path, publisher = short_dir / "day.mcap", a_publisher()
    answers = Answers(lambda: publisher.writer.state)
    with path.open("wb") as file:
        writer = RecordingWriter(file)
        write(writer, publisher, 10)
        publisher.stream()  # is missing
        head, *chunks = answers.answer(SNAPSHOT, 0)
        writer.keyframe([head, *[b"no zstd"] * len(chunks)], publisher.now_ms * 1_000_000)
        write(writer, publisher, 10)
        writer.finish()
    tape = Tape(Recording(path), EPOCH)
    for _ in tape:
        pass
    assert tape.state.digest() == publisher.writer.state.digest()
    assert tape.tally.holes == 2


def test_a_recording_of_an_earlier_version_is_told_the_same(of_player: OfPlayer) -> None:
    """Of real processes, with a restart of the publisher."""
    path = ROOT / "tests/data/formats/v1/stack/recording.mcap"
    told = of_tape(path)
    assert len(told) > 200
    assert of_player(path, MAX_SPEED) == told
