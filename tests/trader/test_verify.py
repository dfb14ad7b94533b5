"""`verify`: a difference is loud, whatever build decided it."""

import contextlib
import sqlite3
from pathlib import Path

import msgspec
import pytest

from tests.trader.stand import Stand
from tests.trader.world import basket
from trader.command import command
from trader.engine.outputs import Place, decode_outputs, encode_outputs


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A journal with three orders."""
    stand = Stand(tmp_path)
    stand.commit(basket())
    stand.turns(6)
    stand.close()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KALSHI_BUS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("KALSHI_BUS_MODE", "paper")
    return stand.worker.around.journal_path


def change(path: Path, statement: str, *values: object) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute(statement, values)


def test_another_build_that_decides_the_same_is_no_difference(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(path, "UPDATE sessions SET build = 'another'")
    assert command(["verify"]) == 0
    assert "identical, decided by another build (another, this is" in capsys.readouterr().out


@pytest.mark.parametrize("build", [None, "another"])
def test_a_difference_fails_though_another_build_has_decided_it(
    path: Path, capsys: pytest.CaptureFixture[str], build: str | None
) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT number, output FROM inputs WHERE output <> x''").fetchall()
    decided = {number: list(decode_outputs(body)) for number, body in rows}
    number = next(at for at, outputs in decided.items() if any(isinstance(one, Place) for one in outputs))
    outputs = decided[number]
    at = next(at for at, one in enumerate(outputs) if isinstance(one, Place))
    placed = outputs[at]
    assert isinstance(placed, Place)
    outputs[at] = Place(msgspec.structs.replace(placed.intent, price_e4=placed.intent.price_e4 - 100))
    change(path, "UPDATE inputs SET output = ? WHERE number = ?", encode_outputs(outputs), number)
    if build is not None:
        change(path, "UPDATE sessions SET build = ?", build)

    assert command(["verify"]) == 1
    said = capsys.readouterr()
    assert f"DIFFERS at input {number}" in said.out
    assert ("decided by another build" in said.out) == (build is not None)
    assert "does not decide everything as it was decided then" in said.err
