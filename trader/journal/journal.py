"""The journal: a SQLite file with one writer, and the only place that knows what the trader owns.

It uses WAL with synchronous=FULL: when `commit` returns, what was written survives a power cut. The engine's
inputs and outputs are written in the order they happened; the rows of orders, fills and settlements are
derived from the outputs in the same transaction.

Steps are numbered across sessions: session x 2^32 + the number within it. Wall time may jump; this cannot.
"""

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import zstandard

from bus.clock import Rng
from bus.process.locks import hold_role, private_dir
from bus.threads import Owner
from markets.errors import KalshiBusError, StartupError
from markets.orders import Intent, OrderState
from trader.brokers.base import LevelKey
from trader.engine.inputs import AnyInput, Encoder, Orders
from trader.engine.legrisk import Learnt
from trader.engine.marks import KeptMark
from trader.engine.outputs import (
    Alarm,
    Amend,
    Amended,
    AnyOutput,
    Booked,
    Cancel,
    Corrected,
    DailyLoss,
    Day,
    Equity,
    External,
    Foreign,
    Place,
    Rehomed,
    Settled,
    Switch,
    encode_outputs,
)
from trader.engine.standing import KnownOrder
from trader.ledger.ledger import Ledger
from trader.session import Probe

from . import schema
from .reader import readable, replayed_ledger, rounded_e6, row_sums

KEEP_INPUTS_MS: Final = 7 * 86_400_000
"""When a session begins, inputs of sessions older than this are dropped; everything else is kept for ever."""

COMPRESS_ABOVE: Final = 1_000
"""Inputs up to this size are not compressed, because a decision waits for it."""

_INSERT_ORDER: Final = (
    "INSERT INTO orders (number, client_order_id, trade, strategy, ticker, event_ticker, side, price_e4,"
    " count_e2, created_ms, intent, status) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'intended')"
)
_SAY_OF_ORDER: Final = (
    "UPDATE orders SET status = ?, reason = ?, ended_ms = ?, ended_step = ?"
    " WHERE number = ? AND ended_ms IS NULL"
)
_RESTING: Final = (
    "SELECT number FROM orders WHERE ended_ms IS NULL AND status IN ('resting', 'partial') ORDER BY number"
)
_INSERT_FILL: Final = (
    "INSERT INTO fills (number, part, ticker, event_ticker, side, price_e4, count_e2, cost_e6, fee_e6,"
    " shown_e2, time_ms, step, fill_id, maker)"
    " SELECT number, (SELECT count(*) FROM fills f WHERE f.number = o.number),"
    " ticker, event_ticker, side, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM orders o WHERE number = ?"
)
_INSERT_AMEND: Final = (
    "INSERT INTO amends (number, price_e4, count_e2, reserve_e6, state, step) VALUES (?, ?, ?, ?, ?, ?)"
)
_ASKED: Final = (
    "SELECT price_e4, count_e2 FROM amends WHERE number = ? AND state = 'asked' ORDER BY id DESC LIMIT 1"
)
_KEEP: Final = "INSERT OR REPLACE INTO meta VALUES (?, ?)"
_INSERT_SETTLEMENT: Final = (
    "INSERT INTO settlements (ticker, event_ticker, side, count_e2, result, value_e4, cost_e6, payout_e6,"
    " time_ms, step) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_INSERT_CORRECTION: Final = (
    "INSERT INTO corrections (ticker, event_ticker, side, count_e2, result, value_e4, cost_e6, payout_e6,"
    " time_ms, fee_e6, payout_before_e6, fee_before_e6, step) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_DROP: Final = "DELETE FROM {} WHERE session IN (SELECT session FROM sessions WHERE started_ms < ?)"
_TAKEN: Final = (
    "SELECT ticker, side, price_e4, sum(count_e2) FROM fills WHERE id > ? AND {} ticker NOT IN"
    " (SELECT ticker FROM settlements) GROUP BY ticker, side, price_e4"
)


class JournalError(KalshiBusError):
    """The journal cannot be written, so no order may be sent. Make room, or find out who holds the file."""


class Recovered(msgspec.Struct, frozen=True):
    """What a journal contains when it is opened.

    Attributes:
        taken: contracts taken of each level that may still be shown.
        heard: number of the gateway's last event that is booked. alarm: what a person must look at.
        adopted: ids of the cash movements that are booked.
        loss_base_e6, loss_latched: see `Start`, whose day is the same.
        places: orders that rested -> what was ahead of each in its queue, None if that was not stored.
        marks: the last bids for what is held. leg_risk: what was learnt about missed legs.
        known: what was last reported of open orders. cancelling: those whose end was asked for.
        rounded_e6: see `Reconciliation`; too much where the exchange's cash agreed in between.
        amending: open order -> the price and count to which it was last asked to change, if unanswered.
    """

    journal_id: str
    ledger: Ledger
    next_order: int
    next_trade: int
    day: int
    day_start_e6: int
    paused: str | None
    taken: tuple[tuple[LevelKey, int], ...]
    heard: int = 0
    alarm: str | None = None
    created_ms: int = 0
    adopted: tuple[str, ...] = ()
    loss_base_e6: int | None = None
    loss_latched: bool = False
    places: dict[int, int | None] = {}
    marks: tuple[KeptMark, ...] = ()
    leg_risk: tuple[Learnt, ...] = ()
    known: tuple[KnownOrder, ...] = ()
    cancelling: tuple[int, ...] = ()
    amending: dict[int, tuple[int, int]] = {}
    rounded_e6: int = 0


class Journal:
    """The only writer. Opened, used and closed by one thread.

    Args:
        owner: mode, env and account, which must be those of the file.
        start_e6: cash of a new journal.
        rng: makes the id of a new journal.
        build: identifies the deciding code; by default the project's own.
        opening: what a new journal of an exchange's account begins with.

    Raises:
        StartupError: the file is damaged, belongs elsewhere, has an unknown version, or has another writer.
    """

    def __init__(
        self,
        path: Path,
        owner: Mapping[str, str],
        start_e6: int,
        rng: Rng,
        now_ms: int,
        probe: Probe = lambda _point: None,
        build: str = "",
        opening: schema.Opening | None = None,
    ) -> None:
        self.path = path
        self._probe = probe
        self._dirty = False
        self._number = 0
        self._statics = 0
        self._compress = zstandard.ZstdCompressor(level=1)
        self._encoder = Encoder(self._save_static)
        self._owner = Owner("the trader's journal")
        private_dir(path.parent)
        with contextlib.ExitStack() as stack:
            stack.enter_context(hold_role(path.parent, path.name))
            if not path.exists():
                schema.create(path, owner, start_e6, rng, now_ms, opening)
            # The whole file is checked before a byte of it is changed.
            with readable(path), contextlib.closing(schema.read_only(path)) as db:
                meta = schema.checked(db, path, owner)
                self._found: Recovered | None = _recovered(db, meta, schema.version_of(meta, path))
            try:
                # The driver begins no transactions by itself: each begins and ends explicitly.
                self._db = sqlite3.connect(path, timeout=schema.BUSY_S, isolation_level=None)
                stack.callback(self._db.close)
                self._meta = schema.prepared(self._db, meta, path)
                self._cancelling = set(_cancelling(self._meta))
                self._session = self._begin(now_ms, build or schema.build_id())
            except sqlite3.Error as error:
                raise StartupError(f"{path}: cannot be used as the trader's journal: {error}") from error
            self._stack = stack.pop_all()

    def _begin(self, now_ms: int, build: str) -> int:
        old_ms = (now_ms - KEEP_INPUTS_MS,)
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute(_DROP.format("inputs"), old_ms)
        self._db.execute(_DROP.format("statics"), old_ms)
        session = self._db.execute(
            "INSERT INTO sessions (started_ms, build) VALUES (?, ?)", (now_ms, build)
        ).lastrowid
        self._db.execute("COMMIT")
        assert session is not None
        return session

    def recover(self) -> Recovered:
        """Return what the journal contains, with the ledger that its rows make.

        Raises:
            StartupError: the rows contradict each other, make no sense, or cannot be read.
        """
        found, self._found = self._found, None
        if found is not None:
            return found
        with readable(self.path):
            return _recovered(self._db, self._meta, schema.VERSION)

    # -- writing

    def write(self, taken: AnyInput, outputs: Sequence[AnyOutput]) -> None:
        """Write one step: input, outputs and the rows that follow from them. `commit` makes it durable.

        Raises:
            JournalError: it cannot be written; everything since the last commit is lost.
        """
        with self._guard():
            if not self._dirty:
                self._db.execute("BEGIN IMMEDIATE")
                self._dirty = True
            body = self._pack(self._encoder.encode(taken))
            self._number += 1
            self._db.execute(
                "INSERT INTO inputs VALUES (?, ?, ?, ?)",
                (self._session, self._number, body, encode_outputs(outputs)),
            )
            for output in outputs:
                self._row(output)
            if outputs:
                self._keep_cancelling(outputs)
            if isinstance(taken, Orders) and taken.heard:
                self._db.execute(_KEEP, ("heard", str(taken.heard)))

    def commit(self) -> None:
        """Make everything written so far durable, whatever dies next.

        Raises:
            JournalError: it could not be.
        """
        if not self._dirty:
            return
        self._probe("before_commit")
        with self._guard():
            self._db.execute("COMMIT")
            self._dirty = False
        self._probe("after_commit")

    def order(self, number: int) -> Intent | None:
        """Return an order as it was placed, None if there is none with this number."""
        with self._guard():
            row = self._db.execute("SELECT intent FROM orders WHERE number = ?", (number,)).fetchone()
        return None if row is None else msgspec.msgpack.decode(row[0], type=Intent)

    def keep_taken(self, levels: Sequence[tuple[LevelKey, int]]) -> None:
        """Store what still counts as taken of each level; later fills are added to that.

        Without it, everything ever taken would count after a restart, though the level may have been renewed.

        Raises:
            JournalError: it cannot be written.
        """
        with self._guard():
            if not self._dirty:
                self._db.execute("BEGIN IMMEDIATE")
                self._dirty = True
            (last,) = self._db.execute("SELECT coalesce(max(id), 0) FROM fills").fetchone()
            body = msgspec.json.encode(_Taken(last, tuple(levels))).decode()
            self._db.execute(_KEEP, ("taken", body))

    def keep_leg_risk(self, learnt: Sequence[Learnt]) -> None:
        """Store what was learnt about missed legs.

        Raises:
            JournalError: it cannot be written.
        """
        with self._guard():
            if not self._dirty:
                self._db.execute("BEGIN IMMEDIATE")
                self._dirty = True
            self._db.execute(_KEEP, ("leg_risk", msgspec.json.encode(learnt).decode()))

    def keep_places(self, places: Mapping[int, int]) -> None:
        """Store what is ahead of resting paper orders, by number: it can only decrease.

        Raises:
            JournalError: it cannot be written.
        """
        with self._guard():
            if not self._dirty:
                self._db.execute("BEGIN IMMEDIATE")
                self._dirty = True
            self._db.execute(_KEEP, ("places", msgspec.json.encode(places).decode()))

    def keep_marks(self, marks: Sequence[KeptMark]) -> None:
        """Store the last bids for what is held, and since when nobody bids.

        Raises:
            JournalError: it cannot be written.
        """
        with self._guard():
            if not self._dirty:
                self._db.execute("BEGIN IMMEDIATE")
                self._dirty = True
            self._db.execute(_KEEP, ("marks", msgspec.json.encode(marks).decode()))

    def checkpoint(self) -> None:
        """Move what is committed from the WAL into the file, as far as readers allow.

        Raises:
            JournalError: it cannot be written.
        """
        self.commit()
        with self._guard():
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def claim(self, source: str) -> None:
        """Tie the ledger to feeds of this `source` (live or replay); a new journal takes the first it gets.

        A recording's past must not settle, mark or follow trades that were made live.

        Raises:
            JournalError: the ledger belongs to the other source, or this cannot be written.
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
        """Check that the journal can be written.

        Raises:
            JournalError: it cannot.
        """
        with self._guard():
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('probe', ?)", ("x" * 8192,))
            self._db.execute("COMMIT")

    def close(self) -> None:
        """Commit what is uncommitted, and free the file.

        Raises:
            JournalError: the last steps could not be written; the file is free nevertheless.
        """
        try:
            self.commit()
        finally:
            self._stack.close()

    def sums(self) -> dict[str, int]:
        """Return the sums over the rows written so far."""
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
        self._owner.check()
        try:
            yield
        # OverflowError: a number too large for a column; the other: a text that is not UTF-8
        except (sqlite3.Error, OverflowError, UnicodeEncodeError) as error:
            self._dirty = False
            with contextlib.suppress(sqlite3.Error):
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
            raise JournalError(f"{self.path}: cannot be written: {error}") from error

    @property
    def _step(self) -> int:
        return self._session << 32 | self._number

    def _pack(self, body: bytes) -> bytes:
        # The zero byte marks compression: a msgpack array never begins with one.
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
            intent = output.intent
            names = (intent.strategy, intent.ticker, intent.event_ticker, intent.side)
            numbers = (intent.price_e4, intent.count_e2, intent.created_ms)
            body = msgspec.msgpack.encode(intent)
            db.execute(
                _INSERT_ORDER, (intent.number, intent.client_order_id, intent.trade, *names, *numbers, body)
            )
        elif isinstance(output, Booked):
            ended = (output.time_ms, self._step) if output.status.ended else (None, None)
            row = (output.status, output.reason or None, *ended, output.number)
            if db.execute(_SAY_OF_ORDER, row).rowcount != 1 and not output.late:
                raise sqlite3.IntegrityError(f"order {output.number} is not open")
            for fill in output.fills:
                money = (fill.price_e4, fill.count_e2, fill.cost_e6, fill.fee_e6)
                named = (fill.id, int(fill.maker), output.number)
                db.execute(_INSERT_FILL, (*money, fill.shown_e2, fill.time_ms, self._step, *named))
        elif isinstance(output, Amend):
            wanted = (output.price_e4, output.count_e2, output.reserve_e6)
            db.execute(_INSERT_AMEND, (output.number, *wanted, "asked", self._step))
        elif isinstance(output, Amended):
            now = (output.price_e4, output.count_e2, output.reserve_e6)
            state = "refused" if output.refused else "done"
            db.execute(_INSERT_AMEND, (output.number, *now, state, self._step))
            shown = "UPDATE orders SET price_e4 = ?, count_e2 = ? WHERE number = ?"
            db.execute(shown, (*now[:2], output.number))
        elif isinstance(output, Foreign):
            foreign, fill = output.fill, output.fill.fill
            where = (foreign.ticker, foreign.event_ticker, foreign.exchange_index, foreign.side)
            made = (fill.price_e4, fill.count_e2, fill.fee_e6, fill.time_ms, int(fill.maker), self._step)
            db.execute(schema.INSERT_FOREIGN, (fill.id, foreign.order_id, *where, *made))
        elif isinstance(output, External):
            db.execute(schema.INSERT_EXTERNAL, (*msgspec.structs.astuple(output), self._step))
        elif isinstance(output, Rehomed):
            known = "UPDATE foreign_fills SET event_ticker = ? WHERE ticker = ?"
            db.execute(known, (output.event_ticker, output.ticker))
        elif isinstance(output, Alarm):
            db.execute(_KEEP, ("alarm", output.line))
        elif isinstance(output, Settled):
            paid = msgspec.structs.astuple(output.settlement)[:-1]  # the fee follows from the other columns
            db.execute(_INSERT_SETTLEMENT, (*paid, self._step))
        elif isinstance(output, Corrected):
            now, before = msgspec.structs.astuple(output.settlement), output.before
            row = (*now, before.payout_e6, before.fee_e6, self._step)
            db.execute(_INSERT_CORRECTION, row)
        elif isinstance(output, Equity):
            columns = "time_ms, cash_e6, positions_e6, realised_e6, fees_e6, settlement_e6"
            point = msgspec.structs.astuple(output)
            db.execute(f"INSERT INTO equity ({columns}) VALUES (?, ?, ?, ?, ?, ?)", point)  # noqa: S608
        elif isinstance(output, Day):
            value = f"{output.day}:{output.start_e6}"
            db.execute("INSERT OR REPLACE INTO meta VALUES ('day', ?)", (value,))
        elif isinstance(output, DailyLoss):
            value = f"{output.day}:{output.base_e6}:{int(output.latched)}"
            db.execute(_KEEP, ("daily_loss", value))
        elif isinstance(output, Switch):
            self._keep_switch(output)

    def _keep_cancelling(self, outputs: Sequence[AnyOutput]) -> None:
        asked = {output.number for output in outputs if isinstance(output, Cancel)}
        ended = {output.number for output in outputs if isinstance(output, Booked) and output.status.ended}
        now = (self._cancelling | asked) - ended
        if now != self._cancelling:
            self._cancelling = now
            self._db.execute(_KEEP, ("cancelling", msgspec.json.encode(sorted(now)).decode()))

    def _keep_switch(self, output: Switch) -> None:
        db = self._db
        if output.paused is None:
            db.execute("DELETE FROM meta WHERE key = 'paused'")
        else:
            db.execute(_KEEP, ("paused", output.paused))
        if output.paused is None and output.killed is None:
            db.execute("DELETE FROM meta WHERE key = 'alarm'")


class _Taken(msgspec.Struct, frozen=True):
    """What counted as taken of each level when this was stored, after the fill with this id."""

    fill: int = 0
    levels: tuple[tuple[LevelKey, int], ...] = ()


def _taken(db: sqlite3.Connection, meta: Mapping[str, str], version: int) -> tuple[tuple[LevelKey, int], ...]:
    kept = msgspec.json.decode(meta["taken"], type=_Taken) if "taken" in meta else _Taken()
    settled = {ticker for (ticker,) in db.execute("SELECT ticker FROM settlements")}
    # Orders that rested took nothing of what others offer at that price.
    query = _TAKEN.format("maker = 0 AND" if version >= schema.WITH_FOREIGN else "")
    taken = Counter({key: count for key, count in kept.levels if key[0] not in settled})
    for ticker, side, price_e4, count_e2 in db.execute(query, (kept.fill,)):
        taken[ticker, side, price_e4] += count_e2
    return tuple(taken.items())


def _places(db: sqlite3.Connection, meta: Mapping[str, str]) -> dict[int, int | None]:
    kept = msgspec.json.decode(meta.get("places", "{}"), type=dict[int, int])
    return {number: kept.get(number) for (number,) in db.execute(_RESTING)}


def _known(db: sqlite3.Connection) -> tuple[KnownOrder, ...]:
    rows = db.execute("SELECT number, status, reason FROM orders WHERE ended_ms IS NULL ORDER BY number")
    return tuple((number, OrderState(status), reason or "") for number, status, reason in rows)


def _cancelling(meta: Mapping[str, str]) -> list[int]:
    return msgspec.json.decode(meta.get("cancelling", "[]"), type=list[int])


def _recovered(db: sqlite3.Connection, meta: Mapping[str, str], version: int) -> Recovered:
    """Return what a journal of this version contains; to be called within `readable`."""
    ledger = replayed_ledger(db, meta, version)
    ledger.check_whole()
    day, _, day_start_e6 = meta.get("day", "0:0").partition(":")
    loss_day, base_e6, latched = meta.get("daily_loss", "-1:0:0").split(":")
    lost = loss_day == day  # otherwise it belongs to a day that is over
    next_order, next_trade = db.execute(
        "SELECT coalesce(max(number), 0) + 1, coalesce(max(trade), 0) + 1 FROM orders"
    ).fetchone()
    return Recovered(
        journal_id=meta["id"],
        ledger=ledger,
        next_order=next_order,
        next_trade=next_trade,
        day=int(day),
        day_start_e6=int(day_start_e6),
        paused=meta.get("paused"),
        taken=_taken(db, meta, version),
        heard=int(meta.get("heard", "0")),
        alarm=meta.get("alarm"),
        created_ms=int(meta["created_ms"]),
        adopted=()
        if version < schema.WITH_FOREIGN
        else tuple(name for (name,) in db.execute("SELECT name FROM external_cash ORDER BY id")),
        loss_base_e6=int(base_e6) if lost else None,
        loss_latched=lost and latched == "1",
        places=_places(db, meta),
        marks=msgspec.json.decode(meta.get("marks", "[]"), type=tuple[KeptMark, ...]),
        leg_risk=msgspec.json.decode(meta.get("leg_risk", "[]"), type=tuple[Learnt, ...]),
        known=_known(db),
        cancelling=tuple(number for number in _cancelling(meta) if number in ledger.open),
        rounded_e6=0 if version < schema.WITH_CORRECTIONS else rounded_e6(db),
        amending={number: db.execute(_ASKED, (number,)).fetchone() for number in ledger.amending},
    )
