"""Files that earlier versions left open, verify and replay for ever: tests/data/formats/README.md.

Beside them lies `holds.json`: what they hold, as the version that made them said. It is never changed to fit.
"""

import contextlib
import hashlib
import random
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard

from bus.protocol.state import State
from bus.protocol.writer import Writer
from bus.tape.file import Keyframe, Recording
from bus.tape.tape import messages
from bus.testing import replay_of
from markets.orders import Intent
from publisher import checkpoint
from tests.trader.stand import Stand
from trader.command import command
from trader.engine.replay import replay
from trader.journal.journal import Journal
from trader.journal.reader import Reader

FORMATS = Path(__file__).parent / "data" / "formats"
NAME = "trader-paper-sim-paper.sqlite"
JOURNALS = sorted(path.parent for path in FORMATS.glob(f"v*/*/{NAME}.zst"))
CHECKPOINTS = sorted(path.parent for path in FORMATS.glob("v*/*/checkpoint"))
RECORDINGS = sorted(path.parent for path in FORMATS.glob("v*/*/recording.mcap"))
OWNER = {"mode": "paper", "env": "sim", "account": "paper"}
ALL = 10**9

Held = dict[str, Any]
"""What a file holds, as plain JSON."""


def name_of(folder: Path) -> str:
    return f"{folder.parent.name}-{folder.name}"


def written_down(folder: Path, what: str) -> Held:
    held: Held = msgspec.json.decode((folder / "holds.json").read_bytes())[what]
    return held


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


# -- the trader's journal


def unpacked(folder: Path, data_dir: Path) -> Path:
    """A copy of the folder's journal, where a trader with this data directory looks for it."""
    data_dir.mkdir(mode=0o700)
    path = data_dir / NAME
    path.write_bytes(zstandard.decompress((folder / f"{NAME}.zst").read_bytes()))
    return path


def rows_of(path: Path) -> Held:
    """What the rows of a journal say, summed up, and how its sessions are decided again."""
    with contextlib.closing(Reader(path)) as reader:
        sessions, inputs = {}, Counter[str]()
        for session in reader.sessions():
            again = replay(reader.inputs(session))
            sessions[str(session)] = [again.steps, again.orders, again.differs_at]
            inputs.update(str(entry.__struct_config__.tag) for _, entry, _ in reader.inputs(session))
        meta, orders, equity = reader.meta(), reader.orders(ALL, ALL), reader.equity(0, ALL)
        intents = [msgspec.msgpack.decode(row["intent"], type=Intent) for row in orders]
        settlements = reader.settlements(ALL, ALL)
        ledger = reader.ledger()
        ledger.check()
        return {
            "sha256": sha256(path.read_bytes()),
            "id": meta["id"],
            "created_ms": int(meta["created_ms"]),
            "sessions": sessions,
            "inputs": dict(inputs),
            "orders": dict(Counter(f"{row['status']} {row['reason']}" for row in orders)),
            "orders_that_even_out": sum(intent.attempt > 0 for intent in intents),
            "fills": len(reader.fills(ALL, ALL)),
            "settlements": dict(Counter(f"{row['side']} held, {row['result']}" for row in settlements)),
            "equity_points": len(equity),
            "last_equity": [equity[-1]["time_ms"], equity[-1]["cash_e6"], equity[-1]["positions_e6"]],
            "sums": reader.sums(),
            "netted_e6": ledger.netted_e6,
            "realised_e6": ledger.realised_e6,
        }


def recovered_by(path: Path, now_ms: int) -> Held:
    """What a trader that starts at `now_ms` takes up from a journal; it becomes one session longer."""
    with contextlib.closing(Journal(path, OWNER, 0, random.Random(1), now_ms)) as journal:
        found = journal.recover()
    ledger = found.ledger
    return {
        "now_ms": now_ms,
        "cash_e6": ledger.cash_e6,
        "positions": {
            ticker: [held.side, held.count_e2, held.cost_e6]
            for ticker, held in sorted(ledger.positions.items())
        },
        "open_orders": {
            str(number): [open_.client_order_id, open_.ticker, open_.side, open_.price_e4, open_.count_e2]
            for number, open_ in sorted(ledger.open.items())
        },
        "reserved_e6": ledger.reserved_e6,
        "uneven": {
            str(trade): [[leg.ticker, leg.side, leg.planned_e2, leg.got_e2] for leg in basket.legs]
            for trade, basket in sorted(ledger.baskets.items())
            if len({leg.got_e2 for leg in basket.legs}) > 1
        },
        "next_order": found.next_order,
        "next_trade": found.next_trade,
        "day": [found.day, found.day_start_e6],
        "paused": found.paused,
        "taken": sorted([*level, count_e2] for level, count_e2 in found.taken),
    }


journals = pytest.mark.parametrize("folder", JOURNALS, ids=name_of)


def test_every_version_has_its_files() -> None:
    versions = sorted(path.name for path in FORMATS.glob("v*"))

    assert versions[0] == "v1"
    assert {path.parent.name for path in JOURNALS} == set(versions)
    assert {"v1-bench", "v1-stack"} <= set(map(name_of, JOURNALS))
    assert "v1-stack" in map(name_of, CHECKPOINTS)
    assert "v1-stack" in map(name_of, RECORDINGS)


@journals
def test_a_journal_reads_and_every_session_decides_again_to_the_same_bytes(
    folder: Path, tmp_path: Path
) -> None:
    held, expected = rows_of(unpacked(folder, tmp_path / "data")), written_down(folder, "journal")
    # Of version 1 the end of an order is told today as what a broker said of it.
    expected["inputs"]["Orders"] = expected["inputs"].pop("Ended", 0) + expected["inputs"].get("Orders", 0)

    assert held == expected
    assert [differs_at for _, _, differs_at in held["sessions"].values()] == [None] * len(held["sessions"])


@journals
def test_verify_notices_a_row_that_was_deleted_or_changed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = unpacked(folder, tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KALSHI_BUS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("KALSHI_BUS_MODE", "paper")
    assert command(["verify"]) == 0
    assert "NO ROW" not in capsys.readouterr().out

    for damage in (
        "UPDATE fills SET fee_e6 = fee_e6 + 1 WHERE id = (SELECT max(id) FROM fills)",
        "DELETE FROM fills WHERE id = (SELECT max(id) FROM fills)",
    ):
        with contextlib.closing(sqlite3.connect(path)) as db, db:
            db.execute(damage)
        assert command(["verify"]) == 1
        printed = capsys.readouterr().out
        assert "HAS NO ROW of a fill of order" in printed


@journals
def test_a_journal_opens_for_writing_with_the_same_books(folder: Path, tmp_path: Path) -> None:
    expected = written_down(folder, "recovered")

    assert recovered_by(unpacked(folder, tmp_path / "data"), expected["now_ms"]) == expected


@journals
def test_a_journal_reconciles_to_the_micro_dollar(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    unpacked(folder, tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KALSHI_BUS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("KALSHI_BUS_MODE", "paper")

    assert command(["reconcile"]) == 0

    printed = capsys.readouterr().out
    assert "reconciled to the micro-dollar" in printed
    assert f"{written_down(folder, 'recovered')['cash_e6'] / 1e6:.6f}" in printed


@journals
def test_a_trader_takes_up_a_journal_and_its_own_session_decides_again(folder: Path, tmp_path: Path) -> None:
    path, expected = unpacked(folder, tmp_path / "data"), written_down(folder, "recovered")
    with contextlib.closing(Stand(tmp_path, now_ms=expected["now_ms"])) as stand:
        stand.turns(20)
        ledger = stand.worker.engine.ledger

    assert ledger.cash_e6 == expected["cash_e6"]
    assert set(ledger.positions) == set(expected["positions"])
    with contextlib.closing(Reader(path)) as reader:
        orders = {row["number"]: row["reason"] for row in reader.orders(ALL, ALL)}
        assert {orders[int(number)] for number in expected["open_orders"]} == {"restarted"}
        assert (ledger.open, reader.ledger()) == ({}, ledger)
        assert replay(reader.inputs(max(reader.sessions()))).differs_at is None


# -- the publisher's checkpoint and the recording


def counts_of(state: State) -> Held:
    return {kind: len(records) for kind, records in state.records.items() if records}


def digests_of(state: State) -> Held:
    """Of each stream the digests by lane, in hex: JSON's readers differ above 2^53."""
    return {
        topic: [f"{digest:016x}" for digest in state.position(topic)[1:]] for topic in sorted(state.streams)
    }


FIELDS = {"event": 11, "exchange": 5}
"""Of kinds that have more by now, how many fields a checkpoint of v1 has; it does not say so itself."""


def state_of(found: checkpoint.Checkpoint) -> State:
    """The state that a publisher opens its next epoch with, as one that passes on what was written."""
    assert found.cycle is not None
    writer = Writer(found.epoch + 1)
    writer.state.expect_fields(FIELDS)
    with writer.state.lock:
        for topic, kind, records in found.changes:
            fields = FIELDS.get(kind)
            raws = [msgspec.msgpack.encode(msgspec.structs.astuple(record)[:fields]) for record in records]
            writer.state.apply(topic, 0, kind, raws)
    writer.commit((), found.cycle, 1, 1)
    return writer.state


def checkpoint_holds(folder: Path, source: str) -> Held:
    found = checkpoint.load(folder, source)
    state = state_of(found)
    assert found.cycle is not None
    return {
        "sha256": sha256((folder / checkpoint.NAME).read_bytes()),
        "source": source,
        "epoch": found.epoch,
        "complete_ms": found.cycle.complete_ms,
        "records": counts_of(state),
        "digest": f"{state.digest():016x}",
        "streams": digests_of(state),
    }


@pytest.mark.parametrize("folder", CHECKPOINTS, ids=name_of)
def test_a_checkpoint_opens_to_the_same_records(folder: Path) -> None:
    expected = written_down(folder, "checkpoint")

    assert checkpoint_holds(folder, expected["source"]) == expected


def state_at(keyframe: Keyframe) -> State:
    state = State(keyframe.head.epoch)
    state.expect_fields(keyframe.head.fields)
    with state.lock:
        for chunk in keyframe.decoded():
            state.put_chunk(chunk)
    return state


def recording_holds(folder: Path) -> Held:
    path = folder / "recording.mcap"
    recording = Recording(path)
    keyframes = [entry for entry in recording.play() if isinstance(entry, Keyframe)]
    places = recording.keyframes()
    problem = recording.problem
    said = [envelope for _, envelope in messages(recording)]
    records = Counter[str]()
    for envelope in said:
        records[envelope.kind] += len(envelope.records)
    with replay_of(path) as replayed:
        replica = replayed.replica()
        replayed.resume()
        replayed.wait_end()
        player, state = replayed.player, replica.state
        replay_ = [player.tally.mismatches, player.tally.holes, player.tally.checked]
        end = {
            "seq": state.seq,
            "digest": f"{state.digest():016x}",
            "records": counts_of(state),
            "streams": digests_of(state),
        }
    return {
        "sha256": sha256(path.read_bytes()),
        "problem": problem,
        "begin_ns": places[0][0],
        "end_ns": recording.end_ns,
        "keyframes": [
            [entry.head.epoch, entry.head.as_of, f"{state_at(entry).digest():016x}"] for entry in keyframes
        ],
        "messages": len(said),
        "epochs": sorted({envelope.epoch for envelope in said}),
        "records": dict(sorted(records.items())),
        "mismatches_holes_digests_checked": replay_,
        "end": end,
    }


@pytest.mark.parametrize("folder", RECORDINGS, ids=name_of)
def test_a_recording_replays_without_a_hole_to_the_digests_of_its_publisher(folder: Path) -> None:
    held = recording_holds(folder)

    assert held == written_down(folder, "recording")
    assert held["mismatches_holes_digests_checked"][:2] == [0, 0]
    assert held["problem"] is None
