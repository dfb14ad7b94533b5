"""The journal's writer: what is committed lasts, and there is one of it."""

from pathlib import Path

import pytest

from markets.errors import StartupError
from tests.trader.journal.files import opened
from tests.trader.world import NOW_MS, start, tick
from trader.engine.outputs import Equity
from trader.journal.journal import KEEP_INPUTS_MS, JournalError
from trader.journal.reader import Reader


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


def test_what_was_found_of_missed_legs_is_there_again(tmp_path: Path) -> None:
    learnt = (("latency", 250.0, 1.0), ("several/0", 3.9701, 9.801))
    journal = opened(tmp_path)
    assert journal.recover().leg_risk == ()
    journal.keep_leg_risk(learnt)
    journal.close()
    again = opened(tmp_path)
    try:
        assert again.recover().leg_risk == learnt
    finally:
        again.close()


def test_there_is_one_writer(tmp_path: Path) -> None:
    first = opened(tmp_path)

    with pytest.raises(StartupError, match="already running"):
        opened(tmp_path)
    first.close()
    opened(tmp_path).close()


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


def test_a_number_that_no_column_holds_is_an_error_of_the_journal_and_leaves_it_as_it_was(
    tmp_path: Path,
) -> None:
    journal = opened(tmp_path)
    journal.write(start(), [])
    journal.commit()
    with pytest.raises(JournalError, match="too large"):
        journal.write(tick(), [Equity(2**63, 0, None, 0, 0)])
    journal.commit()
    journal.close()

    reader = Reader(journal.path)
    assert len(list(reader.inputs(1))) == 1
    reader.close()
