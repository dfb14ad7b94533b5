"""The journal's file: its tables, whose it is, which version it has, and how a new one is made.

A journal belongs to one mode, environment and account, and is refused elsewhere. It is never recreated: a
damaged one refuses the start.
"""

import contextlib
import functools
import sqlite3
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import xxhash

from bus.clock import Rng
from markets.errors import StartupError

VERSION: Final = 2
BUSY_S: Final = 2.0
"""How long reader and writer wait for each other."""

TABLES: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE sessions (session INTEGER PRIMARY KEY, started_ms INTEGER NOT NULL, build TEXT NOT NULL);
CREATE TABLE statics (session INTEGER NOT NULL, number INTEGER NOT NULL, kind TEXT NOT NULL,
    body BLOB NOT NULL, PRIMARY KEY (session, number)) WITHOUT ROWID;
CREATE TABLE inputs (session INTEGER NOT NULL, number INTEGER NOT NULL, input BLOB NOT NULL,
    output BLOB NOT NULL, PRIMARY KEY (session, number)) WITHOUT ROWID;
CREATE TABLE orders (number INTEGER PRIMARY KEY, client_order_id TEXT NOT NULL UNIQUE, trade INTEGER NOT NULL,
    strategy TEXT NOT NULL, ticker TEXT NOT NULL, event_ticker TEXT NOT NULL, side TEXT NOT NULL,
    price_e4 INTEGER NOT NULL, count_e2 INTEGER NOT NULL, created_ms INTEGER NOT NULL, intent BLOB NOT NULL,
    status TEXT NOT NULL, reason TEXT, ended_ms INTEGER, ended_step INTEGER);
CREATE TABLE fills (id INTEGER PRIMARY KEY, number INTEGER NOT NULL REFERENCES orders, part INTEGER NOT NULL,
    ticker TEXT NOT NULL, event_ticker TEXT NOT NULL, side TEXT NOT NULL, price_e4 INTEGER NOT NULL,
    count_e2 INTEGER NOT NULL, cost_e6 INTEGER NOT NULL, fee_e6 INTEGER NOT NULL, shown_e2 INTEGER NOT NULL,
    time_ms INTEGER NOT NULL, step INTEGER NOT NULL DEFAULT 0, UNIQUE (number, part));
CREATE TABLE settlements (id INTEGER PRIMARY KEY, ticker TEXT NOT NULL UNIQUE, event_ticker TEXT NOT NULL,
    side TEXT NOT NULL, count_e2 INTEGER NOT NULL, result TEXT NOT NULL, value_e4 INTEGER NOT NULL,
    cost_e6 INTEGER NOT NULL, payout_e6 INTEGER NOT NULL, time_ms INTEGER NOT NULL, step INTEGER NOT NULL);
CREATE TABLE equity (id INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, cash_e6 INTEGER NOT NULL,
    positions_e6 INTEGER, realised_e6 INTEGER NOT NULL, fees_e6 INTEGER NOT NULL);
CREATE INDEX equity_time ON equity (time_ms);
"""

MIGRATIONS: Final = {
    # Orders may be filled in parts over minutes: the step of each fill says what came before what.
    1: """
ALTER TABLE fills ADD COLUMN step INTEGER NOT NULL DEFAULT 0;
UPDATE fills SET step = (SELECT ended_step FROM orders WHERE orders.number = fills.number);
""",
}
"""What makes the next version of each older one."""

FILLS: Final = {
    1: "SELECT o.ended_step, number, f.price_e4, f.count_e2, fee_e6, shown_e2, time_ms"
    " FROM fills f JOIN orders o USING (number) ORDER BY id",
    VERSION: "SELECT step, number, price_e4, count_e2, fee_e6, shown_e2, time_ms FROM fills ORDER BY id",
}
"""Step, order and the parts of each fill, as it happened, by version: a reader migrates nothing."""


def journal_path(data_dir: Path, mode: str, env: str, account: str) -> Path:
    """Return where the journal of a mode, environment and account lies."""
    return data_dir / f"trader-{mode}-{env}-{account}.sqlite"


@functools.cache
def build_id() -> str:
    """Return what names the code that decides: a hash of the sources of markets and trader."""
    root = Path(__file__).resolve().parents[2]
    sources = sorted(path for name in ("markets", "trader") for path in (root / name).rglob("*.py"))
    return xxhash.xxh3_64_hexdigest(b"".join(path.read_bytes() for path in sources))


def create(path: Path, owner: Mapping[str, str], start_e6: int, rng: Rng, now_ms: int) -> None:
    """Make a new journal: whole, under another name, then renamed, so that none is ever half made.

    Args:
        owner: mode, env and account that it is to belong to.
        start_e6: cash at its beginning.
        rng: makes its id.

    Raises:
        StartupError: it cannot be made.
    """
    if path.with_name(path.name + "-wal").exists():
        raise StartupError(f"{path}: is gone but its -wal is there: restore it, or move the -wal away")
    meta = {
        **owner,
        "version": str(VERSION),
        "id": str(uuid.UUID(int=rng.getrandbits(128), version=4)),
        "created_ms": str(now_ms),
        "start_e6": str(start_e6),
    }
    draft = path.with_name(path.name + ".new")
    try:
        draft.unlink(missing_ok=True)
        draft.touch(mode=0o600)
        with contextlib.closing(sqlite3.connect(draft, isolation_level=None)) as db:
            db.executescript(f"BEGIN; {TABLES} COMMIT;")
            db.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        draft.rename(path)
    except (sqlite3.Error, OSError) as error:
        raise StartupError(f"{path}: cannot make the trader's journal: {error}") from error


def check_magic(path: Path) -> None:
    """Refuse what is no SQLite file: SQLite takes an empty one for a new database and begins to write.

    Raises:
        StartupError: it is none, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(16)
    except OSError as error:
        raise StartupError(f"{path}: cannot be read: {error.strerror}") from error
    if magic != b"SQLite format 3\0":
        raise StartupError(f"{path}: cannot be used: it is no SQLite file: restore a copy of it")


def prepared(db: sqlite3.Connection, path: Path, owner: Mapping[str, str]) -> dict[str, str]:
    """Make a connection ready to write, and a journal of an older version one of this; return its `meta`.

    Raises:
        StartupError: it is damaged, belongs elsewhere or is of a version that this build does not know.
        sqlite3.Error: it cannot be used.
    """
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("PRAGMA wal_autocheckpoint=0")  # `Journal.checkpoint` does it, between decisions
    db.execute("PRAGMA foreign_keys=ON")
    found = [row[0] for row in db.execute("PRAGMA integrity_check(5)")]
    if found != ["ok"]:
        raise StartupError(f"{path}: damaged ({'; '.join(found)[:300]}): restore a copy of it")
    meta = dict(db.execute("SELECT key, value FROM meta"))
    version = version_of(meta, path)
    for key, value in owner.items():
        if meta.get(key) != value:
            got = meta.get(key)
            raise StartupError(f"{path}: belongs to {key} {got!r}, not {value!r}: use another data directory")
    while version < VERSION:
        # All in one transaction: the script leaves it open.
        db.executescript(f"BEGIN IMMEDIATE; {MIGRATIONS[version]}")
        version += 1
        db.execute("UPDATE meta SET value = ? WHERE key = 'version'", (str(version),))
        db.execute("COMMIT")
    return {**meta, "version": str(version)}


def version_of(meta: Mapping[str, str], path: Path) -> int:
    """Return the version of the journal that says this of itself.

    Raises:
        StartupError: this build cannot read it.
    """
    got = meta.get("version")
    for version in FILLS:
        if got == str(version):
            return version
    raise StartupError(
        f"{path}: version {got!r}, this build reads {min(FILLS)} to {VERSION}: use the one that wrote it"
    )
