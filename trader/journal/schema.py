"""The journal's file: its tables, owner and version, and how a new one is made.

A journal belongs to one mode, environment and account, and is refused elsewhere. It is never recreated: a
damaged one refuses the start.
"""

import contextlib
import functools
import os
import sqlite3
import struct
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
import xxhash

from bus.clock import Rng
from bus.files import open_regular, require_regular
from bus.trading.gateway import ListedPosition
from markets.errors import StartupError
from markets.units import PRICE_ONE_E4

VERSION: Final = 4
WITH_FOREIGN: Final = 3
"""From this version on there are rows for fills and cash that are not ours."""

WITH_CORRECTIONS: Final = 4
"""From this version on there are rows for corrected settlements."""

BUSY_S: Final = 2.0
"""How long reader and writer wait for each other, at most."""

_SINCE_1: Final = """
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
    time_ms INTEGER NOT NULL, step INTEGER NOT NULL DEFAULT 0, fill_id TEXT NOT NULL DEFAULT '',
    maker INTEGER NOT NULL DEFAULT 0, UNIQUE (number, part));
CREATE TABLE settlements (id INTEGER PRIMARY KEY, ticker TEXT NOT NULL UNIQUE, event_ticker TEXT NOT NULL,
    side TEXT NOT NULL, count_e2 INTEGER NOT NULL, result TEXT NOT NULL, value_e4 INTEGER NOT NULL,
    cost_e6 INTEGER NOT NULL, payout_e6 INTEGER NOT NULL, time_ms INTEGER NOT NULL, step INTEGER NOT NULL);
CREATE TABLE equity (id INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, cash_e6 INTEGER NOT NULL,
    positions_e6 INTEGER, realised_e6 INTEGER NOT NULL, fees_e6 INTEGER NOT NULL, settlement_e6 INTEGER);
CREATE INDEX equity_time ON equity (time_ms);
"""
_SINCE_3: Final = """
CREATE TABLE amends (id INTEGER PRIMARY KEY, number INTEGER NOT NULL REFERENCES orders,
    price_e4 INTEGER NOT NULL, count_e2 INTEGER NOT NULL, reserve_e6 INTEGER NOT NULL, state TEXT NOT NULL,
    step INTEGER NOT NULL);
CREATE TABLE foreign_fills (id INTEGER PRIMARY KEY, fill_id TEXT NOT NULL UNIQUE, order_id TEXT NOT NULL,
    ticker TEXT NOT NULL, event_ticker TEXT NOT NULL, exchange_index INTEGER NOT NULL, side TEXT NOT NULL,
    price_e4 INTEGER NOT NULL, count_e2 INTEGER NOT NULL, fee_e6 INTEGER NOT NULL, time_ms INTEGER NOT NULL,
    maker INTEGER NOT NULL, step INTEGER NOT NULL);
CREATE TABLE external_cash (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,
    exchange_index INTEGER NOT NULL, amount_e6 INTEGER NOT NULL, time_ms INTEGER NOT NULL,
    step INTEGER NOT NULL);
CREATE UNIQUE INDEX fills_by_id ON fills (fill_id) WHERE fill_id <> '';
"""
_SINCE_4: Final = """
CREATE TABLE corrections (id INTEGER PRIMARY KEY, ticker TEXT NOT NULL, event_ticker TEXT NOT NULL,
    side TEXT NOT NULL, count_e2 INTEGER NOT NULL, result TEXT NOT NULL, value_e4 INTEGER NOT NULL,
    cost_e6 INTEGER NOT NULL, payout_e6 INTEGER NOT NULL, time_ms INTEGER NOT NULL, fee_e6 INTEGER NOT NULL,
    payout_before_e6 INTEGER NOT NULL, fee_before_e6 INTEGER NOT NULL, step INTEGER NOT NULL);
"""
TABLES: Final = _SINCE_1 + _SINCE_3 + _SINCE_4

MIGRATIONS: Final = {
    # Orders may fill in parts over minutes: the step of each fill gives their order.
    1: """
ALTER TABLE fills ADD COLUMN step INTEGER NOT NULL DEFAULT 0;
UPDATE fills SET step = (SELECT ended_step FROM orders WHERE orders.number = fills.number);
""",
    # Fills at an exchange have its ids; there are rows for what is not ours, and for amended orders.
    2: f"""
ALTER TABLE fills ADD COLUMN fill_id TEXT NOT NULL DEFAULT '';
ALTER TABLE fills ADD COLUMN maker INTEGER NOT NULL DEFAULT 0;
ALTER TABLE equity ADD COLUMN settlement_e6 INTEGER;
{_SINCE_3}""",
    # A result may be corrected after it was booked.
    3: _SINCE_4,
}
"""How to make the next version from each older one."""

_MAGIC: Final = b"SQLite format 3\0"
_HEAD_BYTES: Final = 96
_HEAD: Final = struct.Struct(">16xH6xII60xI")
"""Page size, change counter, pages, and the change at which they were counted (sqlite.org/fileformat2)."""

_LARGE: Final = ("inputs", "statics")
"""Tables that only `verify` reads, which itself reports what it cannot read."""

_NEW: Final = {"amends": 3, "foreign_fills": 3, "external_cash": 3, "corrections": 4}
"""Tables that earlier versions lack: the first version that has each."""

_MISSING: Final = {
    # Rows are only ever added, one after another.
    "a fill is missing before number": "SELECT max(id) FROM fills HAVING max(id) <> count(*)",
    "a settlement is missing before number": "SELECT max(id) FROM settlements HAVING max(id) <> count(*)",
    "an order is missing that was filled, number": "SELECT f.number FROM fills f LEFT JOIN orders o"
    " USING (number) WHERE o.number IS NULL LIMIT 1",
    "a fill is missing of order": "SELECT o.number FROM orders o LEFT JOIN fills f USING (number)"
    " WHERE o.status = 'filled' GROUP BY o.number HAVING coalesce(sum(f.count_e2), 0) < o.count_e2 LIMIT 1",
}
"""Queries that show that a row was deleted; each returns its number."""

_CORRECTION_MISSING: Final = {
    "a correction is missing before number": "SELECT max(id) FROM corrections HAVING max(id) <> count(*)",
}

_FILLS: Final = (
    "SELECT step, number, price_e4, count_e2, fee_e6, shown_e2, time_ms, fill_id, maker FROM fills"
    " ORDER BY id"
)
FILLS: Final = {
    1: "SELECT o.ended_step, number, f.price_e4, f.count_e2, fee_e6, shown_e2, time_ms"
    " FROM fills f JOIN orders o USING (number) ORDER BY id",
    2: "SELECT step, number, price_e4, count_e2, fee_e6, shown_e2, time_ms FROM fills ORDER BY id",
    3: _FILLS,
    4: _FILLS,
}
"""By version, the query for step, order and members of each fill, in order: a reader migrates nothing."""


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """What the journal of an exchange's account begins with.

    Attributes:
        journal_id: a random UUID, by which the gateway knows the journal.
        cash_e6: the account's cash on all shards together.
        heard: number of the gateway's newest event that is already included.
        positions: what the account holds; none of it is ours.
        movements: ids of the cash movements that are already included.
    """

    journal_id: str
    cash_e6: int
    heard: int = 0
    positions: tuple[ListedPosition, ...] = ()
    movements: tuple[str, ...] = ()


def journal_path(data_dir: Path, mode: str, env: str, account: str) -> Path:
    """Return the path of the journal of a mode, environment and account."""
    return data_dir / f"trader-{mode}-{env}-{account}.sqlite"


@functools.cache
def build_id() -> str:
    """Return the id of the deciding code: a hash of the sources of markets and trader."""
    root = Path(__file__).resolve().parents[2]
    sources = sorted(path for name in ("markets", "trader") for path in (root / name).rglob("*.py"))
    return xxhash.xxh3_64_hexdigest(b"".join(path.read_bytes() for path in sources))


def create(
    path: Path,
    owner: Mapping[str, str],
    start_e6: int,
    rng: Rng,
    now_ms: int,
    opening: Opening | None = None,
) -> None:
    """Make a new journal: complete, under another name, then renamed, so that none is ever half made.

    Args:
        owner: the mode, env and account that it belongs to.
        start_e6: its cash at the beginning.
        rng: makes its id.
        opening: for an exchange's account; its cash and id are used instead.

    Raises:
        StartupError: it cannot be made.
    """
    if path.with_name(path.name + "-wal").exists():
        raise StartupError(f"{path}: is gone, but its -wal is there: restore it, or move the -wal away")
    meta = {
        **owner,
        "version": str(VERSION),
        "id": str(uuid.UUID(int=rng.getrandbits(128), version=4)),
        "created_ms": str(now_ms),
        "start_e6": str(start_e6),
    }
    if opening is not None:
        began = {"id": opening.journal_id, "start_e6": opening.cash_e6, "heard": opening.heard}
        # A recording's past must not settle, mark or follow what is real.
        meta |= {"source": "live"} | {key: str(value) for key, value in began.items()}
    draft = path.with_name(path.name + ".new")
    try:
        draft.unlink(missing_ok=True)
        draft.touch(mode=0o600)
        with contextlib.closing(sqlite3.connect(draft, isolation_level=None)) as db:
            db.executescript(f"BEGIN; {TABLES} COMMIT;")
            db.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
            for position in () if opening is None else opening.positions:
                _open(db, position, now_ms)
            for name in () if opening is None else opening.movements:
                db.execute(INSERT_EXTERNAL, (name, "before", 0, 0, now_ms, 0))
        draft.rename(path)
    except (sqlite3.Error, OSError) as error:
        raise StartupError(f"{path}: cannot make the trader's journal: {error}") from error


INSERT_FOREIGN: Final = (
    "INSERT INTO foreign_fills (fill_id, order_id, ticker, event_ticker, exchange_index, side, price_e4,"
    " count_e2, fee_e6, time_ms, maker, step) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
INSERT_EXTERNAL: Final = (
    "INSERT INTO external_cash (name, kind, exchange_index, amount_e6, time_ms, step)"
    " VALUES (?, ?, ?, ?, ?, ?)"
)


def _open(db: sqlite3.Connection, position: ListedPosition, now_ms: int) -> None:
    """Store a position held before, as bought at its cost with cash that came in for it."""
    count_e2 = abs(position.signed_e2)
    if not count_e2:
        return
    price_e4 = min(PRICE_ONE_E4, round(position.exposure_e6 / count_e2))
    name, side = f"opening:{position.ticker}", "yes" if position.signed_e2 > 0 else "no"
    where = (position.ticker, position.event_ticker, position.exchange_index)
    db.execute(INSERT_FOREIGN, (name, "", *where, side, price_e4, count_e2, 0, now_ms, 0, 0))
    moved = (position.exchange_index, price_e4 * count_e2, now_ms, 0)
    db.execute(INSERT_EXTERNAL, (name, "opening", *moved))


def read_only(path: Path) -> sqlite3.Connection:
    """Open a journal without changing a byte of it, or of another file in its place.

    Raises:
        StartupError: it is not a SQLite file, is cut off, or cannot be read.
        sqlite3.Error: it cannot be opened.
    """
    try:
        with open_regular(path) as file:
            head, size = file.read(_HEAD_BYTES), os.fstat(file.fileno()).st_size
        logged = [path.with_name(path.name + suffix) for suffix in ("-wal", "-shm", "-journal")]
        for beside in logged:
            if beside.exists():
                require_regular(beside)
        # Without a log the file is complete: SQLite then needs no files beside it, and makes none.
        logs = any(beside.exists() and beside.stat().st_size for beside in logged)
    except OSError as error:
        raise StartupError(f"{error.filename or path}: cannot be read: {error.strerror}") from error
    if head[: len(_MAGIC)] != _MAGIC or len(head) < _HEAD_BYTES:
        raise StartupError(f"{path}: cannot be used: it is not a SQLite file: restore a copy of it")
    page, changes, pages, counted = _HEAD.unpack(head)
    whole = (page if page > 1 else 65_536) * pages
    if not logs and changes == counted and size < whole:
        raise StartupError(f"{path}: is cut off at {size} of {whole} bytes: restore a copy of it")
    uri = f"{path.absolute().as_uri()}?mode=ro" + ("" if logs else "&immutable=1")
    return sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None)


def checked(db: sqlite3.Connection, path: Path, owner: Mapping[str, str]) -> dict[str, str]:
    """Check, without writing, that a journal is whole and belongs to this owner; return its `meta`.

    Raises:
        StartupError: it is damaged, belongs elsewhere, has a version that this build does not know, or is
            somebody else's database.
        sqlite3.Error: it cannot be read.
    """
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "meta" not in tables:
        raise StartupError(f"{path}: is a SQLite database, but not a trader's journal: move it away")
    found = [str(row[0]) for row in db.execute("PRAGMA integrity_check(5)")]
    if found != ["ok"]:
        raise _damaged(path, "; ".join(found)[:300])
    meta = dict(db.execute("SELECT key, value FROM meta"))
    version = version_of(meta, path)
    for key, value in owner.items():
        if meta.get(key) != value:
            got = meta.get(key)
            raise StartupError(f"{path}: belongs to {key} {got!r}, not {value!r}: use another data directory")
    for table, columns in _columns().items():
        if table not in tables and version < _NEW.get(table, 0):
            continue
        if table not in tables:
            raise _damaged(path, f"it has no table {table}")
        known = {row[1] for row in db.execute(f"PRAGMA table_info({table})")}
        for column, types in columns.items():
            if column not in known:
                if version < VERSION:
                    continue
                raise _damaged(path, f"{table} has no column {column}")
            if table in _LARGE:
                continue
            odd = db.execute(
                f"SELECT typeof({column}) FROM {table} WHERE typeof({column}) NOT IN ({types}) LIMIT 1"  # noqa: S608
            ).fetchone()
            if odd is not None:
                raise _damaged(path, f"{table}.{column} has a value of type {odd[0]}, expected {types}")
    looked_for = _MISSING if version < WITH_CORRECTIONS else _MISSING | _CORRECTION_MISSING
    for what, query in looked_for.items():
        if (missing := db.execute(query).fetchone()) is not None:
            raise _damaged(path, f"{what} {missing[0]}")
    return meta


def prepared(db: sqlite3.Connection, meta: Mapping[str, str], path: Path) -> dict[str, str]:
    """Make a connection to a checked journal ready for writing, migrate an older version, return its `meta`.

    Raises:
        sqlite3.Error: it cannot be used.
    """
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("PRAGMA wal_autocheckpoint=0")  # `Journal.checkpoint` does this, between decisions
    db.execute("PRAGMA foreign_keys=ON")
    version = version_of(meta, path)
    while version < VERSION:
        # One transaction for all: the script leaves it open.
        db.executescript(f"BEGIN IMMEDIATE; {MIGRATIONS[version]}")
        version += 1
        db.execute("UPDATE meta SET value = ? WHERE key = 'version'", (str(version),))
        db.execute("COMMIT")
    return {**meta, "version": str(version)}


def _damaged(path: Path, why: str) -> StartupError:
    return StartupError(f"{path}: damaged ({' '.join(why.split())}): restore a copy of it")


@functools.cache
def _columns() -> dict[str, dict[str, str]]:
    """Return for each table its columns, and the SQL types that a value may have there."""
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        db.executescript(TABLES)
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            table: {
                name: f"'{type_.lower()}'" + ("" if not_null or key else ", 'null'")
                for _, name, type_, not_null, _, key in db.execute(f"PRAGMA table_info({table})")
            }
            for table in tables
        }


def version_of(meta: Mapping[str, str], path: Path) -> int:
    """Return the version of the journal with this `meta`.

    Raises:
        StartupError: this build cannot read it.
    """
    got = meta.get("version")
    for version in FILLS:
        if got == str(version):
            return version
    raise StartupError(
        f"{path}: has version {got!r}, this build reads {min(FILLS)} to {VERSION}: use the one that wrote it"
    )
