"""A recording gives one input log, played over sockets at any speed or read in-process: the same decisions.

The recording is of real processes, with a restart of its publisher in it: tests/data/formats/README.md.
"""

import random
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq
import zstandard

from bus.clock import SystemClock
from bus.process.settings import Settings
from bus.protocol.memory import Slim
from bus.replica import SteppedReplica
from bus.scan.membership import scan_limits
from bus.scan.rescan import Rescan
from bus.tape.file import Recording
from bus.tape.player import MAX_SPEED
from bus.tape.tape import Tape
from bus.testing import replay_of
from markets.records import FairValue
from tests.support import ROOT, eventually
from tests.trader.stand import Told
from trader.brokers.paper import PaperBroker
from trader.engine.engine import Engine
from trader.engine.inputs import AnyInput, Encoder, Present, Start
from trader.engine.outputs import AnyOutput, Booked, Place, decode_outputs, encode_outputs
from trader.journal.reader import Reader
from trader.manual import ManualCommands
from trader.run import on_disk
from trader.session import Session
from trader.worker import Worker, risk_limits

DAY = ROOT / "tests" / "data" / "formats" / "v1" / "stack" / "recording.mcap"
BELIEFS = 40
LATENCY_MS = 300
LATE_UNTIL = 350

Step = tuple[bytes, bytes]
"""An input and its outputs, as they are written down."""


class Log:
    """What a session wrote, byte for byte: records that rarely change, and each step."""

    def __init__(self) -> None:
        self.statics: list[tuple[str, bytes]] = []
        self.steps: list[Step] = []
        self._encoder = Encoder(self._save)

    def _save(self, kind: str, body: bytes) -> int:
        self.statics.append((kind, body))
        return len(self.statics)

    def write(self, taken: AnyInput, outputs: Sequence[AnyOutput]) -> None:
        self.steps.append((self._encoder.encode(taken), encode_outputs(outputs)))

    def commit(self) -> None:
        pass

    def decided(self, taken: AnyInput, outputs: Sequence[AnyOutput]) -> None:
        pass


def written(path: Path) -> tuple[Log, Start]:
    """The last session of a journal, and its start."""
    unpack = zstandard.ZstdDecompressor().decompress

    def whole(body: bytes) -> bytes:
        return unpack(body[1:]) if body[:1] == b"\0" else body

    log = Log()
    with closing(Reader(path)) as reader:
        last = max(reader.sessions())
        start = next(reader.inputs(last))[1]
    assert isinstance(start, Start)
    with closing(sqlite3.connect(path)) as db:
        statics = db.execute("SELECT kind, body FROM statics WHERE session = ? ORDER BY number", (last,))
        log.statics = [(kind, whole(body)) for kind, body in statics]
        steps = db.execute("SELECT input, output FROM inputs WHERE session = ? ORDER BY number", (last,))
        log.steps = [(whole(taken), outputs) for taken, outputs in steps]
    return log, start


def beliefs() -> dict[str, FairValue]:
    """Fair values that make it trade: of markets that cost less than two thirds, that they are worth more."""
    tape = Tape(Recording(DAY), 0)
    for moment in tape:
        if tape.status().live:
            asks = {ticker: quote.yes_ask_e4 for ticker, quote in sorted(tape.state.quotes.items())}
            cheap = [ticker for ticker, ask_e4 in asks.items() if 1_000 < ask_e4 < 6_600][:BELIEFS]
            now_ms = moment.now_ns // 1_000_000
            return {ticker: FairValue(ticker, 0.8, "file", now_ms, 0.0) for ticker in cheap}
    raise AssertionError("the recording never goes live")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load(
        {
            "KALSHI_BUS_DATA_DIR": str(tmp_path / "data"),
            "KALSHI_BUS_RUN_DIR": str(tmp_path / "run"),
            "KALSHI_BUS_MODE": "paper",
            "KALSHI_BUS_STRATEGIES": "no_basket,value",
            "KALSHI_BUS_PAPER_LATENCY_MS": str(LATENCY_MS),
            "KALSHI_BUS_LIMIT_PAYOUT_HOURS": "8760",
            "KALSHI_BUS_LIMIT_OPEN_ORDERS": "1000",
            "KALSHI_BUS_LIMIT_ORDERS_PER_MINUTE": "1000",
        },
        tmp_path,
    )


def read_in_process(settings: Settings, epoch: int, like: Start, values: dict[str, FairValue]) -> Log:
    """Decide the recording without threads, sockets or clocks."""
    log, tape, scan = Log(), Tape(Recording(DAY), epoch, keeping=Slim()), scan_limits(settings)
    broker = PaperBroker(LATENCY_MS, risk_limits(settings).leg_age_ms, scan)
    session = Session(Engine(), broker, Rescan(scan), log, log)
    begun = False
    for moment in tape:
        now_ms = moment.now_ns // 1_000_000
        present = Present(now_ms, now_ms)
        if not begun:
            if not tape.status().live:
                continue
            begun = True
            session.begin(
                msgspec.structs.replace(like, now_ms=now_ms, steady_ms=now_ms), tuple(values.values())
            )
        session.feed(tape.status(), present)
        session.hear(tape.state, moment.actions, present)
        while session.pending:
            session.look(present)
    assert tape.tally.mismatches == 0
    return log


def played(
    context: zmq.Context[Any],
    settings: Settings,
    speed: float,
    values: dict[str, FairValue],
    *,
    late: bool,
) -> tuple[Log, Start, int]:
    """Play the recording to a worker; return what it wrote, its start, and the epoch before the first."""
    with replay_of(DAY, speed) as replayed:
        clock, player = SystemClock(), replayed.player
        replica = SteppedReplica(
            context, replayed.feed, replayed.state, clock, random.Random(2), keeping=Slim()
        )
        around = on_disk(settings, clock, random.Random(1), replica, ManualCommands(), Told())
        worker = Worker(settings, around)
        worker.values = values
        worker.begin()
        replica.start()
        epoch = 0
        end_ns = clock.monotonic_ns() + 50e9
        try:
            while not (player.ended and (replica.state.epoch, replica.state.seq) == player.position):
                assert clock.monotonic_ns() < end_ns, (player.status(), replica.status())
                # As an engine is that has much to scan. At a restart none may be later than a second.
                if late and epoch and replica.state.seq < LATE_UNTIL and not player.ended:
                    eventually(lambda: replica.backlog >= 10 or player.ended)
                worker.turn()
                if not epoch and replica.status().live:
                    epoch = replica.state.epoch - 1
                    replayed.resume()
        finally:
            worker.close()
            replica.stop()
        assert worker.halted is None
        log, start = written(around.journal_path)
        return log, start, epoch


@pytest.mark.parametrize(
    ("speed", "late"), [(MAX_SPEED, False), (MAX_SPEED, True), (10, False)], ids=["max", "max, late", "10"]
)
def test_a_recording_played_over_sockets_and_read_in_process_give_the_same_log(
    zmq_context: zmq.Context[Any], settings: Settings, speed: float, late: bool
) -> None:
    values = beliefs()
    live, start, epoch = played(zmq_context, settings, speed, values, late=late)
    read = read_in_process(settings, epoch, start, values)

    assert read.statics == live.statics
    for number, (ours, theirs) in enumerate(zip(read.steps, live.steps, strict=False)):
        assert ours == theirs, f"step {number} of {len(live.steps)}"
    assert len(read.steps) == len(live.steps)
    outputs = [output for _, body in live.steps for output in decode_outputs(body)]
    assert sum(isinstance(output, Place) for output in outputs) >= 10
    assert {output.status for output in outputs if isinstance(output, Booked)} >= {"filled"}
    epochs = {output.intent.epoch for output in outputs if isinstance(output, Place)}
    assert epochs <= {epoch + 1, epoch + 2}, "a restart of the publisher is in it"
