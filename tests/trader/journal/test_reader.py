"""Reading a journal beside its writer."""

import contextlib
import sqlite3
from pathlib import Path

import msgspec
import pytest

from markets.errors import StartupError
from tests.trader.journal.files import opened
from tests.trader.world import start, tick
from trader.command import command
from trader.engine.engine import Engine
from trader.journal.reader import Reader
from trader.journal.schema import build_id


def test_reading_a_journal_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="no such journal"):
        Reader(tmp_path / "none.sqlite")


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


def test_a_session_of_an_older_build_that_cannot_be_read_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("DATA", "RUN"):
        monkeypatch.setenv(f"KALSHI_BUS_{name}_DIR", str(tmp_path / name.lower()))
    monkeypatch.setenv("KALSHI_BUS_MODE", "paper")
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

    assert command(["verify"]) == 1  # whatever build decided it
    first, second = capsys.readouterr().out.splitlines()
    assert "CANNOT BE DECIDED AGAIN" in first
    assert "another build (older" in first
    assert second == "session 2: 1 inputs, 0 orders, identical"
    with contextlib.closing(sqlite3.connect(newer.path)) as db, db:
        db.execute("UPDATE sessions SET build = ?", (build_id(),))
    assert command(["verify"]) == 1
