"""A journal that is damaged, or another thing in its place: one sentence, and not a byte of it is changed."""

import contextlib
import os
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from bus.trading.killswitch import KillSwitch
from markets.errors import StartupError
from tests.trader.journal.files import OWNER, a_journal, opened
from tests.trader.ledger.builders import intent
from tests.trader.world import NOW_MS, start
from trader.command import command
from trader.engine.outputs import Day, Place
from trader.fair_values import ValuesFile
from trader.journal.schema import journal_path


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return a_journal(tmp_path)


def changed(path: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def refusal(path: Path) -> str:
    """What the start says; nothing in the directory is another than before, but for the lock."""
    before = {entry.name: entry.read_bytes() for entry in path.parent.iterdir() if entry.is_file()}
    with pytest.raises(StartupError) as refused:
        opened(path.parents[1])
    after = {entry.name: entry.read_bytes() for entry in path.parent.iterdir() if entry.is_file()}
    assert {name: body for name, body in after.items() if not name.endswith(".lock")} == {
        name: body for name, body in before.items() if not name.endswith(".lock")
    }
    said = str(refused.value)
    assert said.startswith(str(path))
    assert "\n" not in said
    return said


@pytest.mark.parametrize(
    ("nonsense", "said"),
    [
        ("UPDATE meta SET value = 'much' WHERE key = 'start_e6'", "does not add up"),
        ("UPDATE meta SET value = 'today' WHERE key = 'day'", "does not add up"),
        ("UPDATE meta SET value = '1:2:3' WHERE key = 'day'", "does not add up"),
        ("UPDATE meta SET value = x'ff' WHERE key = 'day'", "meta.value"),
        ("DELETE FROM meta WHERE key = 'id'", "does not add up"),
        ("DELETE FROM meta WHERE key = 'version'", "version None"),
        ("UPDATE orders SET intent = x'c1'", "does not add up"),
        ("UPDATE orders SET intent = 'text'", "orders.intent"),
        ("UPDATE orders SET status = x'ff'", "orders.status"),
        ("UPDATE fills SET price_e4 = 'cheap'", "fills.price_e4"),
        ("UPDATE fills SET count_e2 = 1.5", "fills.count_e2"),
        ("UPDATE fills SET count_e2 = -1", "fill is missing of order"),
        ("UPDATE fills SET step = 'then'", "fills.step"),
        ("UPDATE orders SET ticker = CAST(x'ff' AS TEXT)", ""),
        ("DELETE FROM fills WHERE id = 1", "fill is missing"),
        ("DELETE FROM fills WHERE id = 4", "fill is missing of order 2"),
        ("DELETE FROM orders WHERE number = 1", "order is missing"),
        ("DROP TABLE settlements", "no table settlements"),
        ("ALTER TABLE fills RENAME COLUMN fee_e6 TO fees", "no column fee_e6"),
        ("ALTER TABLE inputs RENAME COLUMN output TO outputs", "no column output"),
    ],
)
def test_rows_of_nonsense_and_rows_that_are_gone_are_refused(path: Path, nonsense: str, said: str) -> None:
    changed(path, nonsense)
    if not said:
        opened(path.parents[1]).close()  # nothing is worked out from that column
        return
    assert said in refusal(path)


@pytest.mark.parametrize("cut", [1, 1_000, 4_096, 9_000])
def test_a_journal_that_is_cut_off_is_refused(path: Path, cut: int) -> None:
    path.write_bytes(path.read_bytes()[:-cut])
    assert "cut off" in refusal(path)


def test_a_damaged_schema_is_told_in_one_line(path: Path) -> None:
    body = path.read_bytes()
    path.write_bytes(body.replace(b"CREATE TABLE inputs (", b'CREATE TABLE "inputs(', 1))
    assert "malformed database schema" in refusal(path)


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_another_database_is_refused(path: Path, mode: str) -> None:
    path.unlink()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"PRAGMA journal_mode={mode}")
        db.execute("CREATE TABLE notes (text)")
    assert "not a trader's journal" in refusal(path)


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


IN_ITS_PLACE: Final[dict[str, Callable[[Path], None]]] = {
    "a pipe": os.mkfifo,
    "a socket": a_socket,
    "a directory": Path.mkdir,
}


@pytest.mark.parametrize("kind", IN_ITS_PLACE)
@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_what_is_no_file_is_named_and_not_waited_for(short_dir: Path, kind: str, suffix: str) -> None:
    path = journal_path(short_dir / "data", **OWNER)
    opened(short_dir).close()
    placed = path.with_name(path.name + suffix)
    placed.unlink(missing_ok=True)
    IN_ITS_PLACE[kind](placed)
    with pytest.raises(StartupError, match=f"{placed.name}: cannot be read: is {kind}"):
        opened(short_dir)


@pytest.mark.parametrize("kind", IN_ITS_PLACE)
def test_other_files_of_the_trader_are_not_waited_for_either(short_dir: Path, kind: str) -> None:
    make = IN_ITS_PLACE[kind]
    switch, values = KillSwitch(short_dir), ValuesFile(short_dir / "values.csv")
    make(switch.path)
    make(values.path)
    killed = switch.read()
    assert killed is not None
    assert kind in killed.reason
    assert not values.look(NOW_MS)
    assert kind in values.loaded.errors[0]


def test_a_log_that_was_not_taken_over_is_read_with_the_journal(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.write(start(), [Day(1, 0), Place(intent(1))])
    journal.commit()
    copy = tmp_path / "copy" / "data"
    copy.mkdir(parents=True, mode=0o700)
    for suffix in ("", "-wal"):
        beside = journal.path.with_name(journal.path.name + suffix)
        (copy / beside.name).write_bytes(beside.read_bytes())
    journal.close()
    again = opened(copy.parent)
    assert again.recover().next_order == 2
    again.close()


@pytest.mark.parametrize("name", ["verify", "reconcile"])
def test_commands_refuse_what_cannot_be_read_in_a_sentence(
    path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("DATA", "RUN"):
        monkeypatch.setenv(f"KALSHI_BUS_{folder}_DIR", str(path.parents[1] / folder.lower()))
    monkeypatch.setenv("KALSHI_BUS_MODE", "paper")
    path.write_bytes(b"not a database" * 1_000)
    assert command([name]) == 2
    assert capsys.readouterr().err.startswith(f"trader: {path}: cannot be")
