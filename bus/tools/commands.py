"""What ``kalshi-bus record``, ``info``, ``export``, ... do."""

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog
import zmq

from bus.ask import Asker, NoAnswer, ask
from bus.clock import Clock, SystemClock
from bus.curve import Handshakes
from bus.forwarder import run as run_forwarder
from bus.metrics import Figure, Telling
from bus.process.access import make_token
from bus.process.lifecycle import Stop
from bus.process.locks import hold_role, private_dir
from bus.process.programs import to_type
from bus.process.settings import Settings, effective
from bus.protocol.messages import (
    CONTROL_TOPICS,
    RECORD_TYPES,
    TOPIC_HEARTBEAT,
    CycleEnd,
    Envelope,
    Heartbeat,
    decode,
    decode_map,
    decode_record,
)
from bus.sockets import MAX_FEED, connect, keys_of, make, make_context
from bus.tape.export import Part, export_records
from bus.tape.file import Recording, RecordingError
from bus.tape.kalshi_frames import convert
from bus.tape.moments import At, Moments, NotRecorded, parse_at
from bus.tape.player import MAX_SPEED, Player, serve
from bus.tape.recorder import Recorder
from bus.tape.tape import messages
from bus.tape.verify import Verdict, verify
from markets.errors import BadRecord, DecodeError, StartupError

from . import backup as backups

log = structlog.get_logger()

SILENCE_S: Final = 2.5
PROGRESS_S: Final = 60
_IS_UP: Final = f"is everything up? {to_type('doctor')}"

_say: Final = print
_CONTROL: Final[dict[str, type[Any]]] = {"cycle": CycleEnd, "heartbeat": Heartbeat}


def speed(text: str) -> float:
    """Read a replay speed: a positive number, or max."""
    if text == "max":
        return MAX_SPEED
    value = float(text)
    if not 0 < value <= 10_000:
        raise argparse.ArgumentTypeError(f"got {text}, expected a number up to 10000, or max")
    return value


def time_ms(text: str) -> int:
    """Read a time: ms since 1970, or ISO 8601, UTC unless it says otherwise."""
    if text.isdigit():
        return int(text)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"got {text}, expected 2026-08-10T22:45:38 or ms since 1970"
        ) from None
    return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1_000)


def step_s(text: str) -> int:
    """Read a number of seconds between two order books."""
    if not text.isdigit() or not 1 <= int(text) <= 86_400:
        raise argparse.ArgumentTypeError(f"got {text}, expected whole seconds, 1 to 86400")
    return int(text)


def past_moment(text: str) -> At:
    """Read a moment of a recording: a time, or EPOCH:SEQ."""
    try:
        return parse_at(text)
    except BadRecord as error:
        raise argparse.ArgumentTypeError(str(error)) from None


class _RecordProgress:
    """Reports how a recording goes: a line that stays in place on a terminal, else a log event a minute."""

    def __init__(self, recorder: Recorder, settings: Settings, clock: Clock) -> None:
        self._recorder = recorder
        self._where = f"{settings.feed} and {settings.query}"
        self._clock = clock
        self._began_ns = self._said_ns = clock.monotonic_ns()
        self._silence_said = False
        self.terminal = sys.stderr.isatty()

    def __call__(self) -> None:
        now_ns, recorder = self._clock.monotonic_ns(), self._recorder
        seconds = (now_ns - self._began_ns) / 1e9
        if not recorder.keyframes:
            if seconds >= SILENCE_S and not self._silence_said:
                self._silence_said = True
                _say(f"recorder: nothing is heard on {self._where} yet: {_IS_UP}", file=sys.stderr)
        elif now_ns - self._said_ns >= (1 if self.terminal else PROGRESS_S) * 1e9:
            self._said_ns = now_ns
            if self.terminal:
                rate = recorder.size / seconds / 1e3
                said = f"{seconds:.0f} s, {recorder.frames} messages, {recorder.size / 1e6:.1f} MB"
                _say(f"\r{said}, {rate:.1f} kB/s, Ctrl-C ends it \x1b[K", end="", file=sys.stderr, flush=True)
            else:
                log.info("recorder.progress", frames=recorder.frames, bytes=recorder.size)

    def nothing(self) -> str:
        return f"recorder: nothing was heard on {self._where}, nothing was recorded: {_IS_UP}"


def record(settings: Settings, stop: Stop, path: Path | None) -> int:
    """Record until `stop`; 1 if nothing was heard, or the disk did not take it all.

    Args:
        path: the folder; None for the one in the data directory, kept within its budget.
    """
    context, clock = make_context(settings.curve_key), SystemClock()
    budget = None
    if path is None:
        private_dir(settings.data_dir)
        path, budget = settings.recording, int(settings.record_budget_gb * 1e9)
    try:
        recorder = Recorder(context, settings.feed, settings.query, path, clock, random.Random(), budget)
        progress = _RecordProgress(recorder, settings, clock)

        def figures(_asker: Asker) -> Iterable[Figure]:
            yield Figure("recorder_messages", (), recorder.frames)
            yield Figure("recorder_keyframes", (), recorder.keyframes)
            yield Figure("recorder_dropped", (), recorder.dropped)
            yield Figure("recorder_size_bytes", (), recorder.size)

        try:
            with Telling(context, settings, "recorder", figures).while_running(stop):
                recorder.run(stop, progress)
        except OSError as error:
            log.exception("recorder.stopped", folder=str(path), frames=recorder.frames)
            _say(f"recorder: {path}: {error.strerror}: what was recorded can be played", file=sys.stderr)
            return 1
    finally:
        context.term()
    if progress.terminal and recorder.keyframes:
        _say(file=sys.stderr)
    if not recorder.keyframes:
        _say(progress.nothing(), file=sys.stderr)
        return 1
    log.info("recorder.done", frames=recorder.frames, keyframes=recorder.keyframes, dropped=recorder.dropped)
    return 0


def forward(settings: Settings, stop: Stop) -> int:
    """Pass feed and answers on until `stop`."""
    context = make_context(settings.curve_key)
    try:
        return run_forwarder(settings, stop, context, SystemClock())
    finally:
        context.term()


def backup(environ: Mapping[str, str], cwd: Path, folder: Path, *, recording: bool, replace: bool) -> int:
    """Copy what must not be lost into a folder."""
    count = backups.backup(Settings.load(environ, cwd), folder, recording=recording, replace=replace)
    _say(f"{folder}: {count} files")
    return 0


def restore(environ: Mapping[str, str], cwd: Path, folder: Path) -> int:
    """Put a backup in the place of the data directory."""
    found = Settings.load(environ, cwd)
    count = backups.restore(found, folder)
    data_dir = found.data_dir
    _say(f"{data_dir}: {count} files; what was there is in {data_dir.name}.before-restore beside it")
    return 0


def token(path: Path) -> int:
    """Make a token file."""
    make_token(path, f"{random.SystemRandom().getrandbits(256):064x}")
    _say(f"{path} is made: set KALSHI_BUS_TOKEN_FILE to it")
    return 0


def config(environ: Mapping[str, str], cwd: Path) -> int:
    """Print every setting in effect, and where it was set."""
    found, origin = Settings.with_origins(environ, cwd)
    for row in effective(found, origin):
        _say(f"{row.key:<26} {row.value or '-':<40} {row.origin}")
    return 0


def replay(
    settings: Settings,
    stop: Stop,
    path: Path,
    factor: float,
    begin_ms: int | None,
    end_ms: int | None,
    *,
    paused: bool,
    at: At | None = None,
) -> int:
    """Play the publisher's part until `stop`; with `at`, pause at that moment until told to go on."""
    recording = open_recording(path)
    clock = SystemClock()
    if at is not None:
        begin_ms, paused = begin_of(recording, at), True
    # One publisher at a time, real or replayed: consumers could not tell them apart.
    with hold_role(settings.run_dir, "publisher"):
        player = Player(recording, clock, clock.now_ms(), factor, begin_ms, end_ms, paused=paused)
        context = make_context()
        try:
            serve(context, settings.feed, settings.state, player, stop)
        finally:
            context.term()
    return 0


def begin_of(recording: Recording, at: At) -> int:
    """Return where a replay begins that is to pause at a moment."""
    try:
        then = Moments(recording).at(at)
    except NotRecorded as error:
        raise StartupError(str(error)) from None
    # What was published in the same ms as the last message is shown together with it.
    return then.published_ns // 1_000_000 + 1


def control(settings: Settings, action: str, value: str | None) -> int:
    """Send one command to a running replay and print its position."""
    question: dict[str, Any] = {"op": "replay", "action": action}
    try:
        if action == "seek":
            question["to_ms"] = time_ms(value or "")
        elif action == "speed":
            question["speed"] = speed(value or "") or "max"
    except (argparse.ArgumentTypeError, ValueError) as error:
        raise StartupError(f"{action}: {error}") from None
    context = make_context()
    try:
        answer = ask(context, settings.state, question)
    except (NoAnswer, DecodeError) as error:
        raise StartupError(f"{error}: is a replay running?") from None
    except BadRecord as error:
        raise StartupError(f"{action}: {error}") from None
    finally:
        context.term()
    refusal = answer.get("error")
    if isinstance(refusal, dict) and refusal.get("code") == "unknown_op":
        raise StartupError(f"{settings.state}: a publisher answers there that is no replay")
    _say(json.dumps(answer, indent=1, default=_text))
    return 0 if answer.get("ok") is True else 1


def open_recording(path: Path) -> Recording:
    """Open a recording.

    Raises:
        StartupError: it is not one, or cannot be read.
    """
    try:
        return Recording(path)
    except OSError as error:
        raise StartupError(f"{path}: {error.strerror}") from None
    except RecordingError as error:
        raise StartupError(str(error)) from None


def info(path: Path) -> int:
    """Print what is in a recording, and its gaps; 1 if a part of it cannot be read, or is wrong."""
    recording = open_recording(path)
    verdict = _verdict(recording, deep=False)
    kinds: Counter[str] = Counter()
    count = 0
    epochs: set[int] = set()
    begin = end = 0
    for item in recording.play():
        begin = begin or item.time_ns
        end = max(end, item.time_ns)
    problem = recording.problem
    for _, envelope in messages(recording):
        count += 1
        epochs.add(envelope.epoch)
        kinds[envelope.kind] += len(envelope.records)
    segments = [recording.segment(number) for number in recording.segments()]
    _say(
        json.dumps(
            {
                "file": str(path),
                "bytes": sum(segment.stat().st_size for segment in segments),
                "begin": _utc(begin),
                "end": _utc(end),
                "seconds": round((end - begin) / 1e9, 3),
                "keyframes": verdict.keyframes,
                "epochs": sorted(epochs),
                "messages": count,
                "records": dict(sorted(kinds.items())),
                **_account(verdict),
                "problem": problem,
            },
            indent=1,
        )
    )
    return 1 if problem or verdict.wrong is not None else 0


def verify_recording(path: Path) -> int:
    """Print the verdict on a recording; 1 if something in it is wrong."""
    verdict = _verdict(open_recording(path), deep=True)
    _say(json.dumps(_account(verdict) | {"digests_checked": verdict.digests_checked}, indent=1))
    return 1 if verdict.wrong is not None else 0


def _verdict(recording: Recording, *, deep: bool) -> Verdict:
    try:
        return verify(recording, deep=deep)
    except OSError as error:
        raise StartupError(f"{error.filename or recording.path}: {error.strerror}") from error


def _account(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as JSON for people: readable times, and gaps with what they lack."""
    return {
        "verdict": verdict.verdict,
        "said": verdict.said,
        "wrong": None if verdict.wrong is None else msgspec.to_builtins(verdict.wrong),
        "segments": list(verdict.segments),
        "covers": [
            {"epoch": one.epoch, "first": one.first, "last": one.last}
            | {"begin": _utc(one.begin_ns), "end": _utc(one.end_ns)}
            for one in verdict.covers
        ],
        "gaps": [
            {"whose": gap.whose, "why": gap.why, "begin": _utc(gap.begin_ns), "end": _utc(gap.end_ns)}
            | ({"epoch": gap.epoch, "first": gap.first, "last": gap.last} if gap.epoch else {})
            for gap in verdict.gaps
        ],
        "head": verdict.head,
    }


def export(path: Path, folder: Path, format_: str, part: Part) -> int:
    """Write the records of a recording as tables; 1 if a part of it cannot be read, or nothing is in it."""
    recording = open_recording(path)
    written = export_records(recording, folder, format_, part)
    for name, rows in written.items():
        _say(f"{rows:>10} {name}")
    problem = recording.problem or (None if written else f"{path}: nothing that was asked for is in it")
    if problem:
        _say(problem, file=sys.stderr)
    return 1 if problem else 0


def import_frames(frames: Path, path: Path, use_yes_price: str) -> int:
    """Make a recording of Kalshi's own frames; `use_yes_price` is yes, no or auto."""
    try:
        counts = convert(frames, path, {"yes": True, "no": False}.get(use_yes_price))
    except (OSError, ValueError) as error:
        raise StartupError(f"{frames}: {error}") from None
    _say(json.dumps(counts))
    return 0


class _Ear:
    """SUB to the feed. Where it was refused it connects anew, which libzmq does not do by itself."""

    def __init__(self, context: zmq.Context[Any], feed: str, prefixes: Iterable[str], stop: Stop) -> None:
        self._context, self._feed, self._prefixes = context, feed, tuple(prefixes)
        self._poller = zmq.Poller()
        self._poller.register(stop.fileno(), zmq.POLLIN)
        self._open()

    def _open(self) -> None:
        self._socket = make(self._context, zmq.SUB, MAX_FEED)
        self._poller.register(self._socket, zmq.POLLIN)
        for prefix in self._prefixes:
            self._socket.setsockopt(zmq.SUBSCRIBE, prefix.encode())
        secured = self._feed.startswith("tcp://") and keys_of(self._context) is not None
        self._handshakes = Handshakes(self._socket, self._feed) if secured else None
        try:
            connect(self._socket, self._feed)
        except StartupError:
            self.close()
            raise

    def hear(self) -> bytes | None:
        """Return the next message, None if none comes within 250 ms or before the stop."""
        return self._socket.recv() if self._socket in dict(self._poller.poll(250)) else None

    def refused(self) -> str | None:
        """Return why the feed has just refused us, if it did."""
        problem = None if self._handshakes is None else self._handshakes.trouble()
        if problem is not None:
            self.close()
            self._open()
        return problem

    def close(self) -> None:
        """Close the socket."""
        if self._handshakes is not None:
            self._handshakes.close()
        self._poller.unregister(self._socket)
        self._socket.close()


def tap(settings: Settings, stop: Stop, prefixes: Iterable[str]) -> int:
    """Print the feed: a line of JSON per record, until `stop` or a closed pipe.

    Silence is reported on stderr within 3 s, and whether our key is refused, the feed is silent, or only the
    topics asked for are.
    """
    prefixes, clock = tuple(prefixes), SystemClock()
    context = make_context(settings.curve_key)
    try:
        # Heartbeats tell a silent feed from a wrong prefix.
        ear = _Ear(context, settings.feed, {*prefixes, TOPIC_HEARTBEAT}, stop)
        try:
            _tap(ear, settings, stop, prefixes, clock)
        finally:
            ear.close()
    finally:
        context.term()
    return 0


def _tap(ear: _Ear, settings: Settings, stop: Stop, prefixes: tuple[str, ...], clock: Clock) -> None:
    heard_ns, alive, said = clock.monotonic_ns(), False, ""
    while not stop.is_set():
        news = ""
        if (problem := ear.refused()) is not None:
            news = f"tap: {problem}"
        elif not said and clock.monotonic_ns() - heard_ns > SILENCE_S * 1e9:
            news = _silence(settings, prefixes, alive=alive)
        if news and news != said:
            said = news
            _say(said, file=sys.stderr, flush=True)
        if (message := ear.hear()) is None:
            continue
        try:
            topic, envelope = decode(message)
            if not topic.startswith(prefixes):
                alive = True
                continue
            heard_ns, alive, said = clock.monotonic_ns(), False, ""
            for line in lines(topic, envelope):
                _say(line, flush=True)
        except DecodeError as error:
            _say(json.dumps({"undecodable": str(error)}), flush=True)


def _silence(settings: Settings, prefixes: tuple[str, ...], *, alive: bool) -> str:
    if alive:
        asked = " or ".join(f"'{prefix}'" for prefix in prefixes)
        topics = "topics are md.<SERIES>., ref., ex., cycle., hb."
        return f"tap: nothing on {asked} yet, though the feed is alive: {topics}"
    return f"tap: nothing is heard on {settings.feed}: {_IS_UP}"


def lines(topic: str, envelope: Envelope) -> Iterable[str]:
    """Yield a message as lines of JSON, one per record, its fields by name.

    Raises:
        DecodeError: a record is malformed.
    """
    head = {"topic": topic, "epoch": envelope.epoch, "seq": envelope.seq, "kind": envelope.kind}
    for raw in envelope.records:
        if envelope.kind in RECORD_TYPES:
            record_: Any = decode_record(envelope.kind, raw)
            fields = {name: getattr(record_, name) for name in record_.__struct_fields__}
        elif envelope.kind in _CONTROL and topic in CONTROL_TOPICS:
            fields = decode_map(raw, dict[str, Any])
        else:
            fields = {}
        yield json.dumps(head | fields, default=_text)


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _utc(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / 1e9, UTC).isoformat(timespec="milliseconds")
