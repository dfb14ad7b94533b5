"""The journal's file: whose it is, when it is refused, and that it is never made again."""

import random
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard

from markets.errors import StartupError
from tests.support import ROOT
from tests.trader.world import NOW_MS, start, tick
from trader.command import command
from trader.engine import Engine
from trader.journal.journal import KEEP_INPUTS_MS, Journal, JournalError
from trader.journal.reader import Reader
from trader.journal.schema import VERSION, build_id, journal_path
from trader.ledger import Ledger

OWNER = {"mode": "paper", "env": "sim", "account": "paper"}


def opened(folder: Path, seed: int = 1, **changes: Any) -> Journal:
    fields: dict[str, Any] = {
        "path": journal_path(folder / "data", **OWNER),
        "owner": OWNER,
        "start_e6": 5_000_000,
    }
    return Journal(**{**fields, "rng": random.Random(seed), "now_ms": NOW_MS, **changes})


def test_a_new_journal_has_an_id_of_its_own_and_keeps_it(tmp_path: Path) -> None:
    first = opened(tmp_path)
    made = first.recover()
    first.close()
    again = opened(tmp_path, seed=2, start_e6=9)

    assert made.ledger == Ledger.new(5_000_000)
    assert again.recover() == made
    assert again.path.stat().st_mode & 0o777 == 0o600
    again.close()


@pytest.mark.parametrize("key", list(OWNER))
def test_it_is_refused_elsewhere(tmp_path: Path, key: str) -> None:
    opened(tmp_path).close()

    with pytest.raises(StartupError, match=f"belongs to {key}"):
        opened(tmp_path, owner={**OWNER, key: "other"})


def test_what_is_committed_is_on_the_disk(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    try:
        (mode,) = journal._db.execute("PRAGMA journal_mode").fetchone()
        (synchronous,) = journal._db.execute("PRAGMA synchronous").fetchone()
    finally:
        journal.close()

    assert (mode, synchronous) == ("wal", 2)  # 2 is FULL: an fsync at each commit


def test_a_checkpoint_empties_the_log_into_the_file(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    try:
        journal.write(start(), [])
        for _ in range(400):
            journal.write(tick(), [])
        journal.checkpoint()
        journal.write(tick(), [])
        journal.commit()
        grown = (tmp_path / "data").joinpath(f"{journal.path.name}-wal").stat().st_size
        journal.checkpoint()
        for _ in range(3):
            journal.write(tick(), [])
            journal.commit()
        assert (tmp_path / "data").joinpath(f"{journal.path.name}-wal").stat().st_size == grown
    finally:
        journal.close()


def test_there_is_one_writer(tmp_path: Path) -> None:
    first = opened(tmp_path)

    with pytest.raises(StartupError, match="already running"):
        opened(tmp_path)
    first.close()
    opened(tmp_path).close()


def test_a_damaged_journal_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    for number in range(300):
        journal.write(start(killed="x" * 1_000) if number == 0 else tick(number), [])
    journal.close()
    body = bytearray(journal.path.read_bytes())
    body[4096 * 3 : 4096 * 5] = b"\xa5" * 8192
    journal.path.write_bytes(body)

    with pytest.raises(StartupError, match=str(journal.path)):
        opened(tmp_path).recover()
    assert journal.path.read_bytes() == body


@pytest.mark.parametrize("body", [b"", b"not a database, but long enough to look like something" * 100])
def test_what_is_no_journal_is_refused_and_not_replaced(tmp_path: Path, body: bytes) -> None:
    opened(tmp_path).close()
    path = journal_path(tmp_path / "data", **OWNER)
    path.write_bytes(body)

    with pytest.raises(StartupError, match="cannot be used"):
        opened(tmp_path)
    assert path.read_bytes() == body


def test_a_journal_that_is_gone_but_for_its_wal_is_not_made_anew(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.write(tick(), [])
    journal.commit()
    wal = journal.path.with_name(journal.path.name + "-wal").read_bytes()
    journal.close()
    journal.path.rename(tmp_path / "elsewhere")
    journal.path.with_name(journal.path.name + "-wal").write_bytes(wal)

    with pytest.raises(StartupError, match="-wal"):
        opened(tmp_path)
    assert not journal.path.exists()


def test_another_version_is_refused(tmp_path: Path) -> None:
    opened(tmp_path).close()
    with sqlite3.connect(journal_path(tmp_path / "data", **OWNER)) as db:
        db.execute("UPDATE meta SET value = '99' WHERE key = 'version'")
    db.close()

    with pytest.raises(StartupError, match="version '99'"):
        opened(tmp_path)


def test_a_journal_of_version_1_is_migrated_when_it_is_opened_and_its_fills_keep_their_order(
    tmp_path: Path,
) -> None:
    path = journal_path(tmp_path / "data", **OWNER)
    path.parent.mkdir(mode=0o700)
    packed = ROOT / "tests/data/formats/v1/bench" / f"{path.name}.zst"
    path.write_bytes(zstandard.decompress(packed.read_bytes()))
    before = Reader(path)
    version, ledger, fills = before.meta()["version"], before.ledger(), before.fills(10**9, 10**9)
    before.close()
    assert version == "1"

    for _ in range(2):  # once is enough, and again does nothing
        opened(tmp_path).close()
    after = Reader(path)
    assert after.meta()["version"] == str(VERSION)
    assert after.ledger() == ledger
    ended = {row["number"]: row["ended_step"] for row in after.orders(10**9, 10**9)}
    assert after.fills(10**9, 10**9) == [{**fill, "step": ended[fill["number"]]} for fill in fills]
    after.close()


def test_a_half_made_journal_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    path = journal_path(tmp_path / "data", **OWNER)
    path.with_name(path.name + ".new").write_bytes(b"half")

    opened(tmp_path).close()
    assert path.exists()


def test_an_unwritable_directory_refuses_the_start(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")

    with pytest.raises(StartupError):
        opened(tmp_path)


def test_what_was_not_committed_is_gone_and_the_rest_is_whole(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.write(tick(1), [])
    journal.commit()
    journal.write(tick(2), [])
    reader = Reader(journal.path)

    assert [one for _, one, _ in reader.inputs(1)] == [tick(1)]
    journal.close()
    assert [one for _, one, _ in reader.inputs(1)] == [tick(1), tick(2)]
    reader.close()


def test_inputs_of_long_ago_are_dropped_and_nothing_else(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.write(start(), [])
    journal.close()
    later = opened(tmp_path, now_ms=NOW_MS + KEEP_INPUTS_MS + 1)
    later.write(tick(), [])
    later.close()

    reader = Reader(later.path)
    assert list(reader.sessions()) == [2]
    reader.close()


def test_a_write_after_the_end_is_an_error_of_the_journal(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.close()

    with pytest.raises(JournalError):
        journal.write(tick(), [])


def test_reading_a_journal_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="no such journal"):
        Reader(tmp_path / "none.sqlite")


def test_a_session_of_an_older_build_that_cannot_be_read_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("DATA", "RUN"):
        monkeypatch.setenv(f"KALSHI_BUS_{name}_DIR", str(tmp_path / name.lower()))
    older = opened(tmp_path)
    older.write(start(), [])
    older.commit()
    older._db.execute(
        "UPDATE inputs SET input = ?", (msgspec.msgpack.encode(["Start", 1, "of another shape"]),)
    )
    older._db.execute("UPDATE sessions SET build = 'older'")
    older.close()
    newer = opened(tmp_path)
    newer.write(start(), Engine().step(start()))
    newer.close()

    assert command(["verify"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "CANNOT BE DECIDED AGAIN" in first
    assert "another build (older" in first
    assert second == "session 2: 1 inputs, 0 orders, identical"
    with sqlite3.connect(newer.path) as db:
        db.execute("UPDATE sessions SET build = ?", (build_id(),))
    assert command(["verify"]) == 1
