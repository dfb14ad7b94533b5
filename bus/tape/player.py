"""Replay: plays the publisher's part from a recording, on the publisher's own sockets. See docs/recording.md.

The messages are those recorded, including numbers, chains, records and times; only the epoch is new, since
this is a new life of the state, and the heartbeats are made afresh (`source: replay`). Consumers take the
time of the last message as the present. bus/tape/tape.py reads what is played; pace, control and sockets are
here. A reading thread keeps the pace; the bus thread applies and sends, a commit as one.
"""

import threading
from collections.abc import Callable
from typing import Any, Final

import structlog
import zmq

from bus.clock import Clock
from bus.process.lifecycle import Stop
from bus.protocol.answers import Answers, Question, Refusal
from bus.protocol.messages import PublisherHealth
from bus.protocol.writer import Writer
from bus.server import FeedServer
from bus.threads import Owner, assert_held

from .file import Recording
from .tape import Opening, Run, Tally, TapeReader, renumbered

log = structlog.get_logger()

MAX_SPEED: Final = 0.0
"""As fast as the slowest subscriber takes it in."""

BATCH: Final = 128
EARLY_NS: Final = 2_000_000
SETTLE_S: Final = 1.0
"""How long the replay pauses at a state that does not go on from the previous one, for consumers to fetch
it."""

SETTLE_MOST_S: Final = 15.0
"""The most it pauses, until as many have fetched it as fetched the previous one."""

_LOOK_S: Final = 0.05


class VirtualClock:
    """The recording's clock, advanced by the player; monotonic time is the machine's."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ns = 0

    def now_ns(self) -> int:
        return self._ns

    def now_ms(self) -> int:
        return self._ns // 1_000_000

    def monotonic_ns(self) -> int:
        return self._clock.monotonic_ns()

    def set(self, now_ns: int) -> None:
        """Move it to `now_ns`."""
        self._ns = now_ns


class Tempo:
    """When what was recorded is due.

    Attributes:
        lock: held to change the pace, or to wait until something is due.
        speed: 1.0 is the recorded pace, MAX_SPEED no waiting.
    """

    def __init__(self, clock: Clock, speed: float, *, paused: bool) -> None:
        self.clock = VirtualClock(clock)
        self.lock = threading.RLock()
        self.speed = speed
        self.paused = paused
        self._anchor: tuple[int, int] | None = None

    def restart(self) -> None:
        """Start counting from here and now."""
        assert_held(self.lock)
        self._anchor = None

    def left_s(self, time_ns: int) -> float | None:
        """Move the clock to now, at most to `time_ns`; return the time left until then, None while paused."""
        assert_held(self.lock)
        if self.paused:
            return None
        if self.speed == MAX_SPEED:
            return 0.0
        clock, wall_ns = self.clock, self.clock.monotonic_ns()
        if self._anchor is None:
            self._anchor = (wall_ns, clock.now_ns())
        wall0, virtual0 = self._anchor
        now_ns = virtual0 + int((wall_ns - wall0) * self.speed)
        clock.set(max(clock.now_ns(), min(now_ns, time_ns)))
        return max(0.0, (time_ns - now_ns) / self.speed / 1e9)


class Player:
    """Plays a recording into a FeedServer.

    Args:
        speed: 1.0 is the recorded pace, MAX_SPEED no waiting.
        from_ms, to_ms: what part of the recording; None: all of it.

    Attributes:
        epoch: the epoch of the last state shown, larger than any earlier one.
        tally: what has been played, and how well it agrees with what was recorded.
    """

    def __init__(
        self,
        recording: Recording,
        clock: Clock,
        epoch: int,
        speed: float = 1.0,
        from_ms: int | None = None,
        to_ms: int | None = None,
        paused: bool = False,
    ) -> None:
        self.recording = recording
        self.tempo = Tempo(clock, speed, paused=paused)
        self.epoch = epoch
        self.tally = Tally()
        self.ended = False
        self._keyframes = recording.keyframes()
        self._begin_ns = self._keyframes[0][0] if self._keyframes else 0
        self._to_ns = None if to_ms is None else to_ms * 1_000_000
        self._changed = threading.Condition(self.tempo.lock)
        self._seek_ns: int | None = 0 if from_ms is None else from_ms * 1_000_000
        self._stopping = False
        self._writer: Writer | None = None
        self._recorded_epoch = 0
        self._owner = Owner("the reading of a replay")

    def health(self) -> PublisherHealth:
        """Return the publisher's account of itself at this point of the recording."""
        return self.tally.health

    # -- control, any thread

    def control(self, question: Question, _now_ms: int) -> dict[str, Any]:
        """Answer op `replay`: pause, resume, seek, speed, status."""
        action, warning = question.get("action", "status"), None
        with self._changed:
            if action in ("pause", "resume"):
                self.tempo.paused = action == "pause"
            elif action == "speed":
                self.tempo.speed = _speed(question.get("speed"))
            elif action == "seek":
                to_ms = question.get("to_ms")
                if isinstance(to_ms, bool) or not isinstance(to_ms, int):
                    raise Refusal("bad_request", f"to_ms: got {to_ms!r:.50}, expected ms since 1970")
                self._seek_ns = to_ms * 1_000_000
                self.ended = False
                if to_ms < self._begin_ns // 1_000_000:
                    warning = f"nothing was recorded at {to_ms} ms yet: it plays from the beginning"
                elif to_ms > self.recording.end_ns // 1_000_000:
                    warning = f"nothing was recorded at {to_ms} ms any more: it goes to the end"
            elif action != "status":
                raise Refusal(
                    "bad_request", f"action: got {action!r:.50}, expected pause, resume, seek, speed, status"
                )
            self.tempo.restart()
            self._changed.notify_all()
            return self.status() | ({} if warning is None else {"warning": warning})

    def status(self) -> dict[str, Any]:
        """Return the replay's position; times in ms since 1970."""
        tempo, tally = self.tempo, self.tally
        return {
            "position_ms": tempo.clock.now_ms(),
            "begin_ms": self._begin_ns // 1_000_000,
            "end_ms": self.recording.end_ns // 1_000_000,
            "speed": tempo.speed or "max",
            "paused": tempo.paused,
            "ended": self.ended,
            "messages": tally.messages,
            "holes": tally.holes,
            "digests_checked": tally.checked,
            "digest_mismatches": tally.mismatches,
            "problem": self.recording.problem,
        }

    @property
    def position(self) -> tuple[int, int]:
        """(epoch, seq) of the state being played; (0, 0) before the first."""
        writer = self._writer
        return (writer.state.epoch, writer.state.seq) if writer is not None else (0, 0)

    def wait_end(self, timeout_s: float) -> bool:
        """Wait until the recording has ended; return whether it has."""
        with self._changed:
            return self._changed.wait_for(lambda: self.ended, timeout_s)

    def stop(self) -> None:
        """End `run`."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    # -- the reading thread

    def run(self, server: FeedServer) -> None:
        """Play until `stop`; at the end of the recording, wait for a seek."""
        self._owner.take()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._seek_ns is not None)
                if self._stopping:
                    return
                target_ns, self._seek_ns = self._seek_ns, None
            assert target_ns is not None
            if self._play(server, target_ns):
                log.info("replay.ended", **self.status())

    def _play(self, server: FeedServer, target_ns: int) -> bool:
        """Play from `target_ns` on; return True at the end, False if there is something else to do."""
        batch: list[Run] = []  # what is due now
        opened, before_ns = False, 0
        followers = _Followers(server.answers)
        for part in TapeReader(self.recording, self._keyframes, self.tally, target_ns, self._to_ns):
            if isinstance(part, Opening):
                self._submit(server, batch)
                batch, before_ns = [], part.at_ns
                if opened and not self._wait(part.at_ns):
                    return False
                followers.count()
                followers.whole = self._open(server, part)
                if opened and not self._settle(followers):
                    return False
                opened = True
            if isinstance(part, Run):
                if self._is_later(part.time_ns, before_ns, batch):
                    self._submit(server, batch)
                    batch = []
                    if not self._wait(part.time_ns):
                        return False
                batch.append(part)
                before_ns = part.end_ns
        self._submit(server, batch)
        with self._changed:
            self.ended = True
            self._changed.notify_all()
        return True

    def _is_later(self, time_ns: int, before_ns: int, batch: list[Run]) -> bool:
        if not batch or len(batch) >= BATCH:
            return True
        return self.tempo.speed != MAX_SPEED and time_ns > before_ns + EARLY_NS

    def _open(self, server: FeedServer, opening: Opening) -> bool:
        """Make this the state being played; return whether in a new epoch, because it does not go on."""
        self._owner.check()
        before, writer = self._writer, opening.writer
        new = (
            before is None
            or opening.recorded_epoch != self._recorded_epoch
            or writer.state.seq < before.state.seq
        )
        self.epoch += new
        writer.state.epoch = self.epoch
        self._writer, self._recorded_epoch = writer, opening.recorded_epoch
        self.tempo.clock.set(opening.at_ns)
        self._run_there(server, lambda bus: bus.open(writer))
        return new

    def _submit(self, server: FeedServer, batch: list[Run]) -> None:
        """Have the bus thread apply and send these, and wait until it has done so."""
        self._owner.check()
        writer = self._writer
        if not batch or writer is None:
            return

        def send(bus: FeedServer) -> None:
            epoch, seq = writer.state.epoch, writer.state.seq
            with writer.state.lock:
                for run in batch:
                    for topic in self.tally.take(writer, run):
                        log.error("replay.digest_differs", topic=topic, seq=writer.state.seq)
                self.tempo.clock.set(batch[-1].end_ns)
            bus.send(renumbered(data, epoch) for run in batch if run.messages for data in run.frames)
            self.tally.messages += writer.state.seq - seq

        self._run_there(server, send)

    def _run_there(self, server: FeedServer, job: Callable[[FeedServer], None]) -> None:
        done = threading.Event()

        def run(bus: FeedServer) -> None:
            job(bus)
            done.set()

        server.submit(run)
        while not done.wait(0.1):
            if self._stopping:
                return

    def _wait(self, time_ns: int) -> bool:
        """Wait until `time_ns` of the recording is due; return False if there is something else to do."""
        with self._changed:
            while not self._stopping and self._seek_ns is None:
                left_s = self.tempo.left_s(time_ns)
                if left_s == 0:
                    return True
                self._changed.wait(None if left_s is None else min(left_s, 0.1))
            return False

    def _settle(self, followers: "_Followers") -> bool:
        """Pause for a while, until all followers have fetched what is new.

        Return False if there is something else to do.
        """
        left_s = SETTLE_MOST_S
        with self._changed:
            interrupted = self._changed.wait_for(
                lambda: self._stopping or self._seek_ns is not None, SETTLE_S
            )
            while not interrupted and not followers.have_it() and left_s > 0:
                left_s -= _LOOK_S
                interrupted = self._changed.wait_for(
                    lambda: self._stopping or self._seek_ns is not None, _LOOK_S
                )
            self.tempo.restart()
            return not interrupted


class _Followers:
    """How many follow a replay, counted by their questions, since followers do not announce themselves.

    Attributes:
        whole: whether the state opened last has to be fetched whole. After a hole within an epoch, only what
            changed is fetched.
    """

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._many = 0
        self._wholes, self._repairs = answers.wholes, answers.repairs
        self.whole = True

    def count(self) -> None:
        """Count those that fetched the state opened last; later questions are for the next one."""
        answers = self._answers
        new, self._wholes, self._repairs = answers.wholes - self._wholes, answers.wholes, answers.repairs
        self._many = new if self.whole else self._many + new

    def have_it(self) -> bool:
        """Tell whether as many have asked since as there are followers."""
        wholes = self._answers.wholes - self._wholes
        repairs = self._answers.repairs - self._repairs
        return (wholes if self.whole else wholes + repairs) >= self._many


def _speed(value: object) -> float:
    if value == "max":
        return MAX_SPEED
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 10_000:
        raise Refusal("bad_request", f"speed: got {value!r:.50}, expected a number up to 10000, or max")
    return float(value)


def serve(context: zmq.Context[Any], feed: str, state: str, player: Player, stop: Stop) -> None:
    """Play on these endpoints until `stop`.

    Raises:
        StartupError: an endpoint is taken.
    """
    server = FeedServer(context, feed, state, player.tempo.clock, player.health, lossless=True)
    server.answers.add("replay", player.control, "action", "to_ms", "speed")
    thread = threading.Thread(target=player.run, args=(server,), name="player")
    thread.start()
    try:
        server.serve(stop)
    finally:
        player.stop()
        thread.join()
