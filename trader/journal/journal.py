"""The journal: a SQLite file with one writer, and the only place that knows what the trader owns.

WAL with synchronous=FULL: when `commit` returns, what was written survives a power cut. Inputs and outputs of
the engine are written in the order they happened; the rows of orders, fills and settlements are derived from
the outputs in the same transaction. A journal belongs to one mode, environment and account, and is refused
elsewhere. It is never recreated: a damaged one refuses the start.

A step is numbered over all sessions: session x 2^32 + its number in it. Wall time may jump; this cannot.
"""

import contextlib
import functools
import sqlite3
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import xxhash
import zstandard

from bus.clock import Rng
from bus.process.locks import hold_role, private_dir
from markets.errors import DecodeError, KalshiBusError, StartupError
from markets.orders import Fill, Intent, Settlement
from trader.brokers.paper import LevelKey
from trader.inputs import AnyInput, Decoder, Encoder
from trader.ledger import Ledger, LedgerError
from trader.outputs import AnyOutput, Booked, Day, Equity, Place, Settled, Switch, encode_outputs

VERSION: Final = 1
BUSY_S: Final = 2.0
KEEP_INPUTS_MS: Final = 7 * 86_400_000
"""Inputs of older sessions are dropped when one begins; everything else is kept for ever."""

COMPRESS_ABOVE: Final = 1_000
"""Smaller inputs stay as they are: a decision waits for this."""


_SCHEMA: Final = """
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
    time_ms INTEGER NOT NULL, UNIQUE (number, part));
CREATE TABLE settlements (id INTEGER PRIMARY KEY, ticker TEXT NOT NULL UNIQUE, event_ticker TEXT NOT NULL,
    side TEXT NOT NULL, count_e2 INTEGER NOT NULL, result TEXT NOT NULL, value_e4 INTEGER NOT NULL,
    cost_e6 INTEGER NOT NULL, payout_e6 INTEGER NOT NULL, time_ms INTEGER NOT NULL, step INTEGER NOT NULL);
CREATE TABLE equity (id INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, cash_e6 INTEGER NOT NULL,
    positions_e6 INTEGER, realised_e6 INTEGER NOT NULL, fees_e6 INTEGER NOT NULL);
CREATE INDEX equity_time ON equity (time_ms);
"""
_INSERT_ORDER: Final = (
    "INSERT INTO orders (number, client_order_id, trade, strategy, ticker, event_ticker, side, price_e4,"
    " count_e2, created_ms, intent, status) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'open')"
)
_END_ORDER: Final = (
    "UPDATE orders SET status = ?, reason = ?, ended_ms = ?, ended_step = ?"
    " WHERE number = ? AND status = 'open'"
)
_INSERT_FILL: Final = (
    "INSERT INTO fills (number, part, ticker, event_ticker, side, price_e4, count_e2, cost_e6, fee_e6,"
    " shown_e2, time_ms) SELECT number, ?, ticker, event_ticker, side, ?, ?, ?, ?, ?, ? FROM orders"
    " WHERE number = ?"
)
_INSERT_SETTLEMENT: Final = (
    "INSERT INTO settlements (ticker, event_ticker, side, count_e2, result, value_e4, cost_e6, payout_e6,"
    " time_ms, step) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_SETTLEMENTS: Final = (
    "SELECT step, ticker, event_ticker, side, count_e2, result, value_e4, cost_e6, payout_e6, time_ms"
    " FROM settlements"
)
_ORDERS: Final = (
    "SELECT o.*, f.filled_e2, f.cost_e6, f.fees_e6 FROM orders o LEFT JOIN (SELECT number,"
    " sum(count_e2) AS filled_e2, sum(cost_e6) AS cost_e6, sum(fee_e6) AS fees_e6 FROM fills"
    " GROUP BY number) f USING (number) WHERE o.number < ? ORDER BY o.number DESC LIMIT ?"
)
_DROP: Final = "DELETE FROM {} WHERE session IN (SELECT session FROM sessions WHERE started_ms < ?)"
_TAKEN: Final = (
    "SELECT ticker, side, price_e4, sum(count_e2) FROM fills WHERE ticker NOT IN"
    " (SELECT ticker FROM settlements) GROUP BY ticker, side, price_e4"
)

Probe = Callable[[str], None]
"""Called with the name of each point between two steps that matter to a crash; tests die there."""


class JournalError(KalshiBusError):
    """The journal cannot be written: no order may be sent. Make room, or find out who holds the file."""


class Recovered(msgspec.Struct, frozen=True):
    """What a journal says when opened. `taken`: contracts taken of each level of markets not settled."""

    journal_id: str
    ledger: Ledger
    next_order: int
    next_trade: int
    day: int
    day_start_e6: int
    paused: str | None
    taken: tuple[tuple[LevelKey, int], ...]


def journal_path(data_dir: Path, mode: str, env: str, account: str) -> Path:
    """Return where the journal of a mode, environment and account lies."""
    return data_dir / f"trader-{mode}-{env}-{account}.sqlite"


class Journal:
    """The one writer. Opened, used and closed by one thread.

    Args:
        owner: mode, env and account, which must be those of the file.
        start_e6: cash of a new journal.
        rng: makes the id of a new journal.

    Raises:
        StartupError: the file is damaged, belongs elsewhere, is of another version, or has another writer.
    """

    def __init__(
        self,
        path: Path,
        owner: Mapping[str, str],
        start_e6: int,
        rng: Rng,
        now_ms: int,
        probe: Probe = lambda _point: None,
    ) -> None:
        self.path = path
        self._probe = probe
        self._dirty = False
        self._number = 0
        self._statics = 0
        self._compress = zstandard.ZstdCompressor(level=1)
        self._encoder = Encoder(self._save_static)
        private_dir(path.parent)
        with contextlib.ExitStack() as stack:
            stack.enter_context(hold_role(path.parent, path.name))
            if not path.exists():
                self._create(path, owner, start_e6, rng, now_ms)
            self._check_magic()
            try:
                # No transactions of the driver's own: each begins and ends where it says so.
                self._db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
                stack.callback(self._db.close)
                self._check(owner)
                self._session = self._begin(now_ms)
            except sqlite3.Error as error:
                raise StartupError(f"{path}: cannot be used as the trader's journal: {error}") from error
            self._stack = stack.pop_all()

    @staticmethod
    def _create(path: Path, owner: Mapping[str, str], start_e6: int, rng: Rng, now_ms: int) -> None:
        """Make a new journal: whole, under another name, then renamed, so that none is ever half made."""
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
                db.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
                db.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
            draft.rename(path)
        except (sqlite3.Error, OSError) as error:
            raise StartupError(f"{path}: cannot make the trader's journal: {error}") from error

    def _check_magic(self) -> None:
        # SQLite takes an empty file for a new database and begins to write.
        try:
            with self.path.open("rb") as file:
                magic = file.read(16)
        except OSError as error:
            raise StartupError(f"{self.path}: cannot be read: {error.strerror}") from error
        if magic != b"SQLite format 3\0":
            raise StartupError(f"{self.path}: cannot be used: it is no SQLite file: restore a copy of it")

    def _check(self, owner: Mapping[str, str]) -> None:
        db, path = self._db, self.path
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("PRAGMA wal_autocheckpoint=0")  # `checkpoint` does it, between decisions
        db.execute("PRAGMA foreign_keys=ON")
        found = [row[0] for row in db.execute("PRAGMA integrity_check(5)")]
        if found != ["ok"]:
            raise StartupError(f"{path}: damaged ({'; '.join(found)[:300]}): restore a copy of it")
        meta = dict(db.execute("SELECT key, value FROM meta"))
        if meta.get("version") != str(VERSION):
            got = meta.get("version")
            raise StartupError(
                f"{path}: version {got!r}, this build writes {VERSION}: use the one that wrote it"
            )
        for key, value in owner.items():
            if meta.get(key) != value:
                got = meta.get(key)
                raise StartupError(
                    f"{path}: belongs to {key} {got!r}, not {value!r}: use another data directory"
                )
        self._meta = meta

    def _begin(self, now_ms: int) -> int:
        old_ms = (now_ms - KEEP_INPUTS_MS,)
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute(_DROP.format("inputs"), old_ms)
        self._db.execute(_DROP.format("statics"), old_ms)
        session = self._db.execute(
            "INSERT INTO sessions (started_ms, build) VALUES (?, ?)", (now_ms, build_id())
        ).lastrowid
        self._db.execute("COMMIT")
        assert session is not None
        return session

    def recover(self) -> Recovered:
        """Return the ledger as the rows make it.

        Raises:
            StartupError: the rows contradict each other.
        """
        db = self._db
        try:
            ledger = replayed_ledger(db, int(self._meta["start_e6"]))
            ledger.check()
        except (LedgerError, msgspec.MsgspecError) as error:
            raise StartupError(f"{self.path}: the ledger does not add up: {error}") from error
        day, _, day_start_e6 = self._meta.get("day", "0:0").partition(":")
        next_order, next_trade = db.execute(
            "SELECT coalesce(max(number), 0) + 1, coalesce(max(trade), 0) + 1 FROM orders"
        ).fetchone()
        return Recovered(
            journal_id=self._meta["id"],
            ledger=ledger,
            next_order=next_order,
            next_trade=next_trade,
            day=int(day),
            day_start_e6=int(day_start_e6),
            paused=self._meta.get("paused"),
            taken=tuple(((ticker, side, price), count) for ticker, side, price, count in db.execute(_TAKEN)),
        )

    # -- writing

    def write(self, one: AnyInput, outputs: list[AnyOutput]) -> None:
        """Write one step down: input, outputs and the rows they mean. `commit` makes it last.

        Raises:
            JournalError: it cannot be written; nothing since the last commit was.
        """
        with self._guard():
            if not self._dirty:
                self._db.execute("BEGIN IMMEDIATE")
                self._dirty = True
            body = self._pack(self._encoder.encode(one))
            self._number += 1
            self._db.execute(
                "INSERT INTO inputs VALUES (?, ?, ?, ?)",
                (self._session, self._number, body, encode_outputs(outputs)),
            )
            for output in outputs:
                self._row(output)

    def commit(self) -> None:
        """Make all that was written last, whatever dies next.

        Raises:
            JournalError: it does not.
        """
        if not self._dirty:
            return
        self._probe("before_commit")
        with self._guard():
            self._db.execute("COMMIT")
            self._dirty = False
        self._probe("after_commit")

    def checkpoint(self) -> None:
        """Move what is committed from the WAL into the file, as far as no reader is in the way.

        Raises:
            JournalError: it cannot be written.
        """
        self.commit()
        with self._guard():
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def claim(self, source: str) -> None:
        """Make the ledger those of a feed of this `source` (live or replay); a new journal takes the first.

        A recording's past must not settle, mark or follow trades that were made live.

        Raises:
            JournalError: they are those of the other, or that cannot be written.
        """
        ours = self._meta.get("source")
        if ours is None:
            with self._guard():
                self._db.execute("INSERT OR REPLACE INTO meta VALUES ('source', ?)", (source,))
            self._meta["source"] = source
        elif ours != source:
            raise JournalError(
                f"{self.path}: has the ledger of a {ours} feed, this one is {source}: "
                "set KALSHI_BUS_DATA_DIR to another directory"
            )

    def try_out(self) -> None:
        """Find out whether the journal can be written.

        Raises:
            JournalError: it cannot.
        """
        with self._guard():
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('probe', ?)", ("x" * 8192,))
            self._db.execute("COMMIT")

    def close(self) -> None:
        """Commit what can be, and free the file.

        Raises:
            JournalError: the last steps could not be written; the file is free all the same.
        """
        try:
            self.commit()
        finally:
            self._stack.close()

    def sums(self) -> dict[str, int]:
        """Return the sums of the rows written so far."""
        with self._guard():
            return row_sums(self._db)

    def counts(self) -> dict[str, int]:
        """Return how many orders, fills and settlements there are."""
        with self._guard():
            orders, fills, settlements = self._db.execute(
                "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM fills),"
                " (SELECT count(*) FROM settlements)"
            ).fetchone()
        return {"orders": orders, "fills": fills, "settlements": settlements}

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            self._dirty = False
            with contextlib.suppress(sqlite3.Error):
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
            raise JournalError(f"{self.path}: cannot be written: {error}") from error

    @property
    def _step(self) -> int:
        return self._session << 32 | self._number

    def _pack(self, body: bytes) -> bytes:
        # One byte says which: msgpack of an array never begins with a zero.
        return b"\0" + self._compress.compress(body) if len(body) > COMPRESS_ABOVE else body

    def _save_static(self, kind: str, body: bytes) -> int:
        self._statics += 1
        self._db.execute(
            "INSERT INTO statics VALUES (?, ?, ?, ?)", (self._session, self._statics, kind, self._pack(body))
        )
        return self._statics

    def _row(self, output: AnyOutput) -> None:
        db = self._db
        if isinstance(output, Place):
            one = output.intent
            names = (one.strategy, one.ticker, one.event_ticker, one.side)
            numbers = (one.price_e4, one.count_e2, one.created_ms)
            body = msgspec.msgpack.encode(one)
            db.execute(_INSERT_ORDER, (one.number, one.client_order_id, one.trade, *names, *numbers, body))
        elif isinstance(output, Booked):
            ended = (output.status, output.reason, output.time_ms, self._step, output.number)
            if db.execute(_END_ORDER, ended).rowcount != 1:
                raise sqlite3.IntegrityError(f"order {output.number} is not open")
            for part, fill in enumerate(output.fills):
                money = (fill.price_e4, fill.count_e2, fill.cost_e6, fill.fee_e6)
                db.execute(_INSERT_FILL, (part, *money, fill.shown_e2, fill.time_ms, output.number))
        elif isinstance(output, Settled):
            db.execute(_INSERT_SETTLEMENT, (*msgspec.structs.astuple(output.settlement), self._step))
        elif isinstance(output, Equity):
            columns = "time_ms, cash_e6, positions_e6, realised_e6, fees_e6"
            point = msgspec.structs.astuple(output)
            db.execute(f"INSERT INTO equity ({columns}) VALUES (?, ?, ?, ?, ?)", point)  # noqa: S608
        elif isinstance(output, Day):
            value = f"{output.day}:{output.start_e6}"
            db.execute("INSERT OR REPLACE INTO meta VALUES ('day', ?)", (value,))
        elif isinstance(output, Switch):
            if output.paused is None:
                db.execute("DELETE FROM meta WHERE key = 'paused'")
            else:
                db.execute("INSERT OR REPLACE INTO meta VALUES ('paused', ?)", (output.paused,))


@functools.cache
def build_id() -> str:
    """Return what names the code that decides: a hash of the sources of markets and trader."""
    root = Path(__file__).resolve().parents[2]
    sources = sorted(path for name in ("markets", "trader") for path in (root / name).rglob("*.py"))
    return xxhash.xxh3_64_hexdigest(b"".join(path.read_bytes() for path in sources))


def row_sums(db: sqlite3.Connection) -> dict[str, int]:
    """Return start cash and the sums over fills and settlements, without any logic of the ledger."""
    (start_e6,) = db.execute("SELECT value FROM meta WHERE key = 'start_e6'").fetchone()
    spent_e6, fees_e6 = db.execute("SELECT sum(cost_e6), sum(fee_e6) FROM fills").fetchone()
    (payouts_e6,) = db.execute("SELECT sum(payout_e6) FROM settlements").fetchone()
    return {
        "start_e6": int(start_e6),
        "spent_e6": spent_e6 or 0,
        "fees_e6": fees_e6 or 0,
        "payouts_e6": payouts_e6 or 0,
    }


def replayed_ledger(db: sqlite3.Connection, start_e6: int) -> Ledger:
    """Return the ledger that orders, fills and settlements make, in the order they happened.

    Raises:
        LedgerError: they contradict each other.
    """
    ledger = Ledger.new(start_e6)
    for (body,) in db.execute("SELECT intent FROM orders ORDER BY number"):
        ledger.place(msgspec.msgpack.decode(body, type=Intent))
    fills: dict[int, list[Fill]] = {}
    for number, *fill in db.execute(
        "SELECT number, price_e4, count_e2, fee_e6, shown_e2, time_ms FROM fills ORDER BY id"
    ):
        fills.setdefault(number, []).append(Fill(*fill))
    happened: list[tuple[int, int | Settlement]] = [
        *db.execute("SELECT ended_step, number FROM orders WHERE status <> 'open'"),
        *((step, Settlement(*row)) for step, *row in db.execute(_SETTLEMENTS)),
    ]
    for _, what in sorted(happened, key=lambda entry: entry[0]):
        if isinstance(what, int):
            ledger.end(what, tuple(fills.get(what, ())))
            continue
        made = ledger.settle(what.ticker, what.result, what.value_e4, what.time_ms)
        if made != what:
            raise LedgerError(f"settlement of {what.ticker}: the fills make {made}, the row says {what}")
    return ledger


class Reader:
    """Reads a journal beside its writer, for the control socket and the command line. One thread uses it.

    Raises:
        StartupError: there is no such journal.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise StartupError(f"{path}: no such journal: has the trader run with these settings?")
        self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_S)
        self._db.row_factory = sqlite3.Row

    def close(self) -> None:
        """Free the file."""
        self._db.close()

    def meta(self) -> dict[str, str]:
        """Return what the journal says of itself."""
        return {row["key"]: row["value"] for row in self._db.execute("SELECT key, value FROM meta")}

    def orders(self, limit: int, before: int) -> list[dict[str, Any]]:
        """Return orders numbered below `before` with the sums of their fills, newest first."""
        return self._rows(_ORDERS, before, limit)

    def fills(self, limit: int, before: int) -> list[dict[str, Any]]:
        """Return fills with an id below `before`, newest first."""
        return self._rows("SELECT * FROM fills WHERE id < ? ORDER BY id DESC LIMIT ?", before, limit)

    def settlements(self, limit: int, before: int) -> list[dict[str, Any]]:
        """Return settlements with an id below `before`, newest first."""
        return self._rows("SELECT * FROM settlements WHERE id < ? ORDER BY id DESC LIMIT ?", before, limit)

    def equity(self, since_ms: int, limit: int) -> list[dict[str, Any]]:
        """Return the newest points of the equity curve after `since_ms`, oldest first."""
        query = "SELECT * FROM equity WHERE time_ms > ? ORDER BY id DESC LIMIT ?"
        return self._rows(query, since_ms, limit)[::-1]

    def sums(self) -> dict[str, int]:
        """Return the sums of the rows, without any logic of the ledger."""
        return row_sums(self._db)

    def ledger(self) -> Ledger:
        """Return the ledger that the rows make.

        Raises:
            LedgerError: they contradict each other.
        """
        return replayed_ledger(self._db, int(self.meta()["start_e6"]))

    def sessions(self) -> dict[int, str]:
        """Return the sessions whose inputs are kept, oldest first, each with the build that decided them."""
        query = "SELECT session, build FROM sessions WHERE session IN (SELECT session FROM inputs) ORDER BY 1"
        return dict(self._db.execute(query))

    def inputs(self, session: int) -> Iterator[tuple[int, AnyInput, bytes]]:
        """Yield number, input and output bytes of each step of a session.

        Raises:
            DecodeError: a row is damaged.
        """
        decompress = zstandard.ZstdDecompressor()

        def unpacked(body: bytes) -> bytes:
            try:
                return decompress.decompress(body[1:]) if body[:1] == b"\0" else body
            except zstandard.ZstdError as error:
                raise DecodeError(f"journal: {error}") from None

        statics = {
            number: (kind, unpacked(body))
            for number, kind, body in self._db.execute(
                "SELECT number, kind, body FROM statics WHERE session = ?", (session,)
            )
        }
        decoder = Decoder(statics)
        for number, body, output in self._db.execute(
            "SELECT number, input, output FROM inputs WHERE session = ? ORDER BY number", (session,)
        ):
            yield number, decoder.decode(unpacked(body)), output

    def _rows(self, query: str, *values: int) -> list[dict[str, Any]]:
        return [dict(row) for row in self._db.execute(query, values)]
