"""A backup is made beside what writes, is whole or refused, and what is restored opens and verifies."""

import contextlib
import json
import os
import sqlite3
import threading
from pathlib import Path

import pytest
import zstandard

from bus.process.locks import hold_role
from bus.process.settings import Settings
from bus.tools.backup import LIST, backup, check, restore
from markets.errors import StartupError
from trader.journal.reader import Reader

FORMATS = Path(__file__).parents[2] / "data" / "formats"
JOURNAL = "trader-paper-sim-paper.sqlite"


COUNT = "SELECT (SELECT count(*) FROM one), (SELECT count(*) FROM other)"


@pytest.fixture(name="settings")
def _settings(tmp_path: Path) -> Settings:
    settings = Settings.load({}, tmp_path)
    for path in (settings.run_dir, settings.data_dir):
        path.mkdir(mode=0o700)
    for name in (
        "curve/server.key",
        "orders-sim-1/1.log",
        "history/x/1",
        "recording/1.mcap",
        "checkpoint",
        "K\udcf6nig",
    ):
        path = settings.data_dir / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(f"what is in {name}"))
    return settings


def held(data_dir: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(data_dir)): path.read_bytes() for path in data_dir.rglob("*") if path.is_file()
    }


JOURNALS = sorted(FORMATS.glob(f"v*/*/{JOURNAL}.zst"))


@pytest.mark.parametrize("folder", JOURNALS, ids=lambda path: f"{path.parts[-3]}-{path.parts[-2]}")
def test_a_journal_of_any_version_comes_back_as_it_was_and_opens(settings: Settings, folder: Path) -> None:
    journal = settings.data_dir / JOURNAL
    with folder.open("rb") as packed, journal.open("wb") as unpacked:
        zstandard.ZstdDecompressor().copy_stream(packed, unpacked)
    with contextlib.closing(sqlite3.connect(journal)) as db:
        before = [*db.iterdump()]
    target = settings.data_dir.parent / "backup"
    backup(settings, target)
    journal.write_bytes(b"the disk has forgotten")
    restore(settings, target)
    with contextlib.closing(sqlite3.connect(journal)) as db:
        assert [*db.iterdump()] == before
    with contextlib.closing(Reader(journal)):
        pass


def test_what_must_not_be_lost_comes_back_and_what_was_there_is_kept(
    settings: Settings, tmp_path: Path
) -> None:
    before = held(settings.data_dir)
    target = tmp_path / "backup"
    assert backup(settings, target) == 4
    assert target.stat().st_mode & 0o777 == 0o700
    (settings.data_dir / "curve" / "server.key").write_text("another")
    assert restore(settings, target) == 4
    kept = {name: text for name, text in before.items() if not name.startswith(("history", "recording"))}
    assert held(settings.data_dir) == kept
    assert (settings.data_dir / "curve" / "server.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / ".data.before-restore" / "curve" / "server.key").read_text() == "another"
    with pytest.raises(StartupError, match="from a restore before"):
        restore(settings, target)


def test_the_recording_comes_along_when_it_is_asked_for(settings: Settings, tmp_path: Path) -> None:
    backup(settings, tmp_path / "all", recording=True)
    assert (tmp_path / "all" / "recording" / "1.mcap").exists()


def test_a_journal_that_is_being_written_is_copied_as_of_one_moment(
    settings: Settings, tmp_path: Path
) -> None:
    """Both sides of each row are written in one transaction: a copy never has one of them alone."""
    journal, stop = settings.data_dir / JOURNAL, threading.Event()
    with contextlib.closing(sqlite3.connect(journal)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("CREATE TABLE one (n)")
        db.execute("CREATE TABLE other (n)")

    def write() -> None:
        with contextlib.closing(sqlite3.connect(journal, timeout=10)) as db:
            number = 0
            while not stop.is_set():
                with db:
                    for table in ("one", "other"):
                        db.execute(f"INSERT INTO {table} VALUES (?)", (number,))
                number += 1

    writer = threading.Thread(target=write)
    writer.start()
    counts = []
    try:
        for number in range(10):
            backup(settings, tmp_path / f"{number}")
            with contextlib.closing(sqlite3.connect(tmp_path / f"{number}" / JOURNAL)) as db:
                counts.append(db.execute(COUNT).fetchone())
    finally:
        stop.set()
        writer.join()
    assert all(one == other for one, other in counts)
    assert counts[-1] > counts[0]


def test_an_older_backup_gives_way_only_to_a_whole_one(settings: Settings, tmp_path: Path) -> None:
    target = tmp_path / "latest"
    backup(settings, target)
    with pytest.raises(StartupError, match="is there already: --replace replaces it"):
        backup(settings, target)
    (settings.data_dir / JOURNAL).write_bytes(b"SQLite format 3\0 and no more")
    with pytest.raises(StartupError, match="no backup was made"):
        backup(settings, target, replace=True)
    check(target)
    (settings.data_dir / JOURNAL).unlink()
    (settings.data_dir / "new").write_text("new")
    backup(settings, target, replace=True)
    assert "new" in check(target).files
    precious = tmp_path / "precious"
    precious.mkdir()
    with pytest.raises(StartupError, match="is there already: name a new folder"):
        backup(settings, precious, replace=True)


def test_nothing_is_restored_while_something_runs(settings: Settings, tmp_path: Path) -> None:
    backup(settings, tmp_path / "backup")
    with hold_role(settings.run_dir, "trader"), pytest.raises(StartupError, match="trader runs, pid"):
        restore(settings, tmp_path / "backup")


@pytest.mark.parametrize("harm", ["flip", "lose", "list", "format", "escape", "nothing"])
def test_a_backup_that_is_not_whole_is_refused_and_changes_nothing(
    settings: Settings, tmp_path: Path, harm: str
) -> None:
    target = tmp_path / "backup"
    backup(settings, target)
    listed = json.loads((target / LIST).read_text())
    match harm:
        case "flip":
            (target / "checkpoint").write_text("something else")
        case "lose":
            (target / "checkpoint").unlink()
        case "list":
            (target / LIST).write_bytes(b"\xff{")
        case "format":
            (target / LIST).write_text(json.dumps(listed | {"format": 2}))
        case "escape":
            (target / LIST).write_text(json.dumps(listed | {"files": {"../../etc/passwd": "x"}}))
        case _:
            (target / LIST).unlink()
    before = held(settings.data_dir)
    with pytest.raises(StartupError):
        restore(settings, target)
    assert held(settings.data_dir) == before
