"""The journal's file: whose it is, when it is refused, and that it is never made again."""

import contextlib
import sqlite3
from pathlib import Path

import pytest
import zstandard

from markets.errors import StartupError
from tests.support import ROOT
from tests.trader.journal.files import OWNER, opened
from tests.trader.world import start, tick
from trader.journal.reader import Reader
from trader.journal.schema import VERSION, journal_path
from trader.ledger.ledger import Ledger


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
    with contextlib.closing(sqlite3.connect(journal_path(tmp_path / "data", **OWNER))) as db, db:
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
    since = {"fill_id": "", "maker": 0}
    assert after.fills(10**9, 10**9) == [{**fill, "step": ended[fill["number"]], **since} for fill in fills]
    after.close()


def test_a_journal_of_version_3_gets_a_place_for_corrections_and_is_read_without_it(tmp_path: Path) -> None:
    opened(tmp_path).close()
    path = journal_path(tmp_path / "data", **OWNER)
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("DROP TABLE corrections")
        db.execute("UPDATE meta SET value = '3' WHERE key = 'version'")

    with contextlib.closing(Reader(path)) as before:
        assert before.settlements(9, 9) == []
        assert before.sums()["payouts_e6"] == 0
        assert before.ledger() == Ledger.new(5_000_000)
    opened(tmp_path).close()
    with contextlib.closing(Reader(path)) as after:
        assert after.meta()["version"] == str(VERSION)


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
