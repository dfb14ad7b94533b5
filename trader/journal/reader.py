"""Reads a journal: the ledger and sums that its rows make, its lists, and its inputs for `verify`."""

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from bus.files import require_regular
from bus.protocol.messages import DECODE_FAULTS, unpack
from bus.threads import Owner
from bus.trading.gateway import ForeignFill
from markets.errors import DecodeError, StartupError
from markets.orders import Fill, Intent, Settlement
from markets.units import CENT_E6
from trader.engine.inputs import AnyInput, Decoder, Start, Values
from trader.engine.outputs import AnyOutput, decode_outputs
from trader.engine.replay import BookedRow
from trader.ledger.ledger import Ledger, LedgerError, foreign_bought
from trader.ledger.lots import Bought, Fresh, Got, Lot, Paid, Recorded, after_purchase, bought, split_foreign

from . import schema

_KEPT: Final = "count_e2 * (CASE side WHEN 'yes' THEN value_e4 ELSE 10000 - value_e4 END) - payout_e6"
"""What a settlement withheld of its value to pay whole cents: 0 before that was done."""

MAX_BODY: Final = 256 * 1_048_576
"""The most bytes of an unpacked input."""

_SETTLEMENTS: Final = (
    "SELECT step, ticker, event_ticker, side, count_e2, result, value_e4, cost_e6, payout_e6, time_ms,"  # noqa: S608
    f" {_KEPT} FROM settlements"
)
_ROWS: Final = f"SELECT *, {_KEPT} AS fee_e6 FROM settlements WHERE id < ? ORDER BY id DESC LIMIT ?"  # noqa: S608
_PAID: Final = f"SELECT sum(payout_e6), sum({_KEPT}) FROM settlements"  # noqa: S608
_CORRECTIONS: Final = (
    "SELECT step, ticker, event_ticker, side, count_e2, result, value_e4, cost_e6, payout_e6, time_ms, fee_e6"
    " FROM corrections ORDER BY id"
)
_CORRECTED: Final = "SELECT sum(payout_e6 - payout_before_e6), sum(fee_e6 - fee_before_e6) FROM corrections"
_CORRECTION: Final = "SELECT * FROM corrections WHERE ticker = ? ORDER BY id DESC LIMIT 1"
_ENDED: Final = "SELECT ended_step, number FROM orders WHERE ended_ms IS NOT NULL ORDER BY number"
MAX_STEP: Final = 2**63 - 1

_SAID: Final = tuple(msgspec.msgpack.encode(type_.__name__) for type_ in (Start, Values))
"""How inputs of these kinds begin, after the head of their array."""

_ORDERS: Final = (
    "SELECT o.*, f.filled_e2, f.cost_e6, f.fees_e6 FROM orders o LEFT JOIN (SELECT number,"
    " sum(count_e2) AS filled_e2, sum(cost_e6) AS cost_e6, sum(fee_e6) AS fees_e6 FROM fills"
    " GROUP BY number) f USING (number) WHERE o.number < ? ORDER BY o.number DESC LIMIT ?"
)


_CAME: Final = "(SELECT number FROM fills WHERE id > :fills AND id <= :fills_to)"
_BUYERS: Final = f"SELECT number, intent FROM orders WHERE number IN {_CAME}"  # noqa: S608
_GOT: Final = (
    "SELECT number, sum(count_e2), sum(cost_e6), sum(CASE WHEN id <= :fills THEN count_e2 ELSE 0 END),"  # noqa: S608
    " sum(CASE WHEN id <= :fills THEN cost_e6 ELSE 0 END) FROM fills WHERE id <= :fills_to AND number IN"
    f" {_CAME} GROUP BY number ORDER BY number"
)
_TABLES_SINCE: Final = {"foreign_fills": schema.WITH_FOREIGN, "corrections": schema.WITH_CORRECTIONS}
_FOREIGN: Final = (
    "SELECT step, fill_id, order_id, ticker, event_ticker, exchange_index, side, price_e4, count_e2, fee_e6,"
    " time_ms, maker FROM foreign_fills ORDER BY id"
)
_EXTERNAL: Final = "SELECT step, amount_e6 FROM external_cash ORDER BY id"
_FEES: Final = (
    "SELECT ticker, sum(fee_e6) FROM (SELECT ticker, fee_e6 FROM fills UNION ALL SELECT ticker, fee_e6 FROM"
    " foreign_fills) WHERE ticker NOT IN (SELECT ticker FROM foreign_fills WHERE fill_id LIKE 'opening:%' OR"
    " fill_id LIKE 'adopted:%')"
    " GROUP BY ticker"
)
# At bid before figures at settlement existed. Later, a missing one stays missing: at bid it would be a fall.
_BEFORE: Final = "e.id < coalesce((SELECT min(id) FROM equity WHERE settlement_e6 IS NOT NULL), e.id + 1)"
_EQUITY: Final = f"coalesce(settlement_e6, CASE WHEN {_BEFORE} THEN positions_e6 END)"
_WITHOUT: Final = " - (SELECT coalesce(sum(amount_e6), 0) FROM external_cash x WHERE x.time_ms <= e.time_ms)"
_EQUITY_AFTER: Final = (
    f"SELECT id, time_ms, cash_e6 + {_EQUITY}{_WITHOUT} FROM equity e"  # noqa: S608
    f" WHERE id > ? AND {_EQUITY} IS NOT NULL ORDER BY id LIMIT ?"
)
_EQUITY_ALONE: Final = _EQUITY_AFTER.replace(_WITHOUT, "")
_AMENDS: Final = "SELECT step, number, price_e4, count_e2, reserve_e6, state FROM amends ORDER BY id"


def row_sums(db: sqlite3.Connection) -> dict[str, int]:
    """Return start cash and the sums over fills and settlements, without using the ledger's code."""
    meta = dict(db.execute("SELECT key, value FROM meta WHERE key IN ('start_e6', 'version')"))
    spent_e6, fees_e6 = db.execute("SELECT sum(cost_e6), sum(fee_e6) FROM fills").fetchone()
    paid_e6, kept_e6 = db.execute(_PAID).fetchone()
    foreign_e6 = foreign_fees_e6 = external_e6 = 0
    if int(meta["version"]) >= schema.WITH_FOREIGN:
        foreign_e6, foreign_fees_e6 = db.execute(
            "SELECT coalesce(sum(price_e4 * count_e2), 0), coalesce(sum(fee_e6), 0) FROM foreign_fills"
        ).fetchone()
        (external_e6,) = db.execute("SELECT coalesce(sum(amount_e6), 0) FROM external_cash").fetchone()
    more_e6 = more_kept_e6 = None
    if int(meta["version"]) >= schema.WITH_CORRECTIONS:
        more_e6, more_kept_e6 = db.execute(_CORRECTED).fetchone()
    paid_e6, kept_e6 = (paid_e6 or 0) + (more_e6 or 0), (kept_e6 or 0) + (more_kept_e6 or 0)
    sums = {
        "start_e6": int(meta["start_e6"]),
        "spent_e6": (spent_e6 or 0) + foreign_e6,
        "fees_e6": (fees_e6 or 0) + kept_e6 + foreign_fees_e6,
        "payouts_e6": paid_e6 + kept_e6,
    }
    return sums | ({"external_e6": external_e6} if external_e6 else {})


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn whatever cannot be read in a journal, while the block runs, into a refusal that names the file.

    Raises:
        StartupError: a row is damaged or missing, or rows contradict each other.
    """
    try:
        yield
    except sqlite3.Error as error:
        said = " ".join(str(error).split())[:300]  # errors of a damaged schema have several lines
        raise StartupError(f"{path}: cannot be read: {said}: restore a copy of it") from error
    except LedgerError as error:
        raise StartupError(f"{path}: the ledger does not add up: {error}") from error
    except (DecodeError, *DECODE_FAULTS, LookupError, AttributeError) as error:
        said = f"{type(error).__name__}: {error}"[:300]
        raise StartupError(f"{path}: the ledger does not add up: {said}") from error


class OrderEnded(msgspec.Struct, frozen=True):
    """The order with this number has ended."""

    number: int


class OrderAmended(msgspec.Struct, frozen=True):
    """An amendment of an order: `state` is asked, done or refused."""

    number: int
    price_e4: int
    count_e2: int
    reserve_e6: int
    state: str


class CashMoved(msgspec.Struct, frozen=True):
    """Cash came or went other than by our trading."""

    amount_e6: int


class Repaid(msgspec.Struct, frozen=True):
    """A settlement was corrected; this is the new one."""

    settlement: Settlement


Happened = tuple[int, Fill] | OrderEnded | OrderAmended | ForeignFill | CashMoved | Settlement | Repaid
"""A fill with the number of its order, or whatever else moves money or changes an order's reserve."""


def happened(db: sqlite3.Connection, version: int, before_step: int = MAX_STEP) -> list[Happened]:
    """Return everything that moved money or changed an order's reserve, in the order it happened.

    Args:
        before_step: stop before this step, counted across all sessions.
    """
    steps: list[tuple[int, int, Happened]] = [
        *((step, 0, (number, _fill(*fill))) for step, number, *fill in db.execute(schema.FILLS[version])),
        *((step, 2, OrderEnded(number)) for step, number in db.execute(_ENDED)),
        *((step, 5, Settlement(*row)) for step, *row in db.execute(_SETTLEMENTS)),
    ]
    if version >= schema.WITH_FOREIGN:
        steps += [
            *((step, 1, OrderAmended(*row)) for step, *row in db.execute(_AMENDS)),
            *((step, 3, _foreign(*row)) for step, *row in db.execute(_FOREIGN)),
            *((step, 4, CashMoved(amount_e6)) for step, amount_e6 in db.execute(_EXTERNAL)),
        ]
    if version >= schema.WITH_CORRECTIONS:
        steps += [(step, 6, Repaid(Settlement(*row))) for step, *row in db.execute(_CORRECTIONS)]
    steps.sort(key=lambda entry: entry[:2])
    return [entry for step, _, entry in steps if step < before_step]


def _fill(
    price_e4: int, count_e2: int, fee_e6: int, shown_e2: int, time_ms: int, id_: str = "", maker: int = 0
) -> Fill:
    return Fill(price_e4, count_e2, fee_e6, shown_e2, time_ms, id_, bool(maker))


def _foreign(fill_id: str, *row: Any) -> ForeignFill:
    order_id, ticker, event_ticker, exchange_index, side, price_e4, count_e2, fee_e6, time_ms, maker = row
    fill = _fill(price_e4, count_e2, fee_e6, count_e2, time_ms, fill_id, maker)
    return ForeignFill(order_id, ticker, event_ticker, exchange_index, side, fill)


def intents(db: sqlite3.Connection) -> list[Intent]:
    """Return all orders, oldest first."""
    bodies = db.execute("SELECT intent FROM orders ORDER BY number")
    return [msgspec.msgpack.decode(body, type=Intent) for (body,) in bodies]


def replayed_ledger(
    db: sqlite3.Connection,
    meta: Mapping[str, str],
    version: int,
    before_step: int = MAX_STEP,
    before_order: int = MAX_STEP,
) -> Ledger:
    """Return the ledger that follows from orders, fills and settlements, in the order they happened.

    Args:
        before_step, before_order: the first step and order to leave out.

    Raises:
        LedgerError: they contradict each other.
    """
    ledger = Ledger.new(int(meta["start_e6"]))
    placed = {intent.number: intent for intent in intents(db)}
    for intent in placed.values():
        if intent.number < before_order:
            ledger.place(intent)
    for entry in happened(db, version, before_step):
        if isinstance(entry, tuple):
            if ledger.fill(*entry) is None and entry[1].id:
                ledger.fill_late(placed[entry[0]], entry[1])
        elif isinstance(entry, OrderEnded):
            ledger.end(entry.number)
        elif isinstance(entry, OrderAmended):
            amend = ledger.ask_amend if entry.state == "asked" else ledger.end_amend
            amend(entry.number, entry.price_e4, entry.count_e2, entry.reserve_e6)
        elif isinstance(entry, ForeignFill):
            ledger.fill_foreign(entry)
        elif isinstance(entry, CashMoved):
            ledger.adopt(entry.amount_e6)
        else:
            _settle(ledger, entry, meta)
    return ledger


def rounded_e6(db: sqlite3.Connection) -> int:
    """Return what was withheld to pay whole cents since any of that, or drift, was last booked as cash."""
    last = "SELECT coalesce(max(step), -1) FROM external_cash WHERE kind IN ('rounding', 'adopted')"
    since = db.execute(last).fetchone()
    withheld = f"SELECT coalesce(sum({_KEPT}), 0) FROM settlements WHERE step > ?"  # noqa: S608
    corrected = "SELECT coalesce(sum(fee_e6 - fee_before_e6), 0) FROM corrections WHERE step > ?"
    return sum(int(db.execute(query, since).fetchone()[0]) for query in (withheld, corrected))


def _settle(ledger: Ledger, entry: Settlement | Repaid, meta: Mapping[str, str]) -> None:
    """Book the settlement or correction in a row; raises LedgerError if the result differs from the row."""
    row = entry.settlement if isinstance(entry, Repaid) else entry
    # Before settlements had a fee, fractions of a cent were paid.
    whole = row.payout_e6 % CENT_E6 == 0
    paid_e6 = row.payout_e6 if "exchange" in meta else None
    told = row.ticker, row.result, row.value_e4, row.time_ms
    if isinstance(entry, Repaid):
        pair = ledger.correct(*told, whole_cents=whole, paid_e6=paid_e6)
        made = None if pair is None else pair[1]
    else:
        made = ledger.settle(*told, whole_cents=whole, paid_e6=paid_e6)
    # Before each trade had its own lot, the cost was an average over all trades in the market.
    if made is None or msgspec.structs.replace(made, cost_e6=row.cost_e6) != row:
        raise LedgerError(f"settlement of {row.ticker}: the fills make {made}, the row says {row}")


class Tail:
    """Reads a growing journal's orders and record: each time what was added since the last.

    Attributes:
        whole: whether the last reading reached the end.
    """

    def __init__(self, db: sqlite3.Connection, version: int) -> None:
        self.whole = False
        self._db = db
        self._version = version
        self._order = 0
        self._ids = dict.fromkeys(("fills", "settlements", "foreign_fills", "corrections"), 0)
        self._held: dict[str, dict[int, Lot]] = {}

    def read(self, fills: int | None = None) -> Fresh:
        """Return what was added, all as of one moment.

        Args:
            fills: read at most about this many, with everything that happened before the next; None: all.
        """
        self._db.execute("BEGIN")
        try:
            return self._read(MAX_STEP if fills is None else self._step_after(fills))
        finally:
            self._db.execute("COMMIT")

    def _step_after(self, fills: int) -> int:
        query = "SELECT step FROM fills WHERE id > ? ORDER BY id LIMIT 1 OFFSET ?"
        row = self._db.execute(query, (self._ids["fills"], fills)).fetchone()
        return MAX_STEP if row is None else row[0] + 1

    def _read(self, end: int) -> Fresh:
        """Return what was added up to a step."""
        ids, bound = self._ids, {"end": end}
        for table, last in ids.items():
            bound |= {table: last, f"{table}_to": last}
            if self._version >= _TABLES_SINCE.get(table, 0):
                bound[f"{table}_to"] = self._last(table, last, end)
        orders = self._orders(bound["fills_to"], end)
        bought_by = {
            number: msgspec.msgpack.decode(body, type=Intent)
            for number, body in self._db.execute(_BUYERS, bound)
        }
        got = [Got(bought_by[number], *sums) for number, *sums in self._db.execute(_GOT, bound)]
        steps: list[tuple[int, int, tuple[int, Fill] | ForeignFill | Settlement]] = [
            *(
                (step, 0, (number, _fill(*fill)))
                for step, number, *fill in self._came(schema.FILLS[self._version], "fills", bound)
            ),
            *((step, 5, Settlement(*row)) for step, *row in self._came(_SETTLEMENTS, "settlements", bound)),
        ]
        if self._version >= schema.WITH_FOREIGN:
            rows = self._came(_FOREIGN, "foreign_fills", bound)
            steps += [(step, 3, _foreign(*row)) for step, *row in rows]
        if self._version >= schema.WITH_CORRECTIONS:
            rows = self._came(_CORRECTIONS, "corrections", bound)
            steps += [(step, 6, Settlement(*row)) for step, *row in rows]
        steps.sort(key=lambda entry: entry[:2])
        record: list[Recorded] = []
        for _, _, entry in steps:
            if isinstance(entry, Settlement):
                self._held.pop(entry.ticker, None)
                record.append(Paid(entry.ticker, entry.value_e4, entry.time_ms, entry.fee_e6))
            elif isinstance(entry, ForeignFill):
                lots = self._held.get(entry.ticker, {})
                record += map(self._buy, split_foreign(lots.values(), foreign_bought(entry)))
            else:
                record.append(self._buy(bought(bought_by[entry[0]], entry[1])))
        self._order = orders[-1].number if orders else self._order
        self._ids = {table: bound[f"{table}_to"] for table in ids}
        self.whole = end == MAX_STEP
        return Fresh(orders, got, record)

    def _last(self, table: str, after: int, end: int) -> int:
        """Return the id of a table's last row before a step."""
        if end == MAX_STEP:  # also in a version whose fills have no step
            query = f"SELECT coalesce(max(id), 0) FROM {table}"  # noqa: S608
            return int(self._db.execute(query).fetchone()[0])
        query = f"SELECT coalesce(max(id), ?) FROM {table} WHERE id > ? AND step < ?"  # noqa: S608
        return int(self._db.execute(query, (after, after, end)).fetchone()[0])

    def _orders(self, fills_to: int, end: int) -> list[Intent]:
        """Return new orders: those up to the last one with fills, or all."""
        bound = "" if end == MAX_STEP else " AND number <= (SELECT max(number) FROM fills WHERE id <= ?)"
        query = f"SELECT intent FROM orders WHERE number > ?{bound} ORDER BY number"  # noqa: S608
        values = (self._order,) if end == MAX_STEP else (self._order, fills_to)
        return [msgspec.msgpack.decode(body, type=Intent) for (body,) in self._db.execute(query, values)]

    def _came(self, query: str, table: str, bound: Mapping[str, int]) -> sqlite3.Cursor:
        """Run a query over a table's rows for the added rows only."""
        plain = query.removesuffix(" ORDER BY id")
        return self._db.execute(f"{plain} WHERE id > :{table} AND id <= :{table}_to ORDER BY id", bound)

    def _buy(self, purchase: Bought) -> Bought:
        lots = self._held.setdefault(purchase.ticker, {})
        lot, _ = after_purchase(lots.pop(purchase.trade, None), purchase)
        if lot is not None:
            lots[purchase.trade] = lot
        return purchase


def _unpacked(body: bytes) -> bytes:
    if not isinstance(body, bytes):
        raise DecodeError(f"journal: got {type(body).__name__} in a row, expected bytes")
    return unpack(body[1:], MAX_BODY) if body[:1] == b"\0" else body


def _head_bytes(body: bytes) -> int:
    """Return the length of the head of the msgpack array with which a body begins."""
    return {0xDC: 3, 0xDD: 5}.get(body[0], 1) if body else 0


class Step(msgspec.Struct, frozen=True):
    """An input of a session, its number there, and the decisions about it."""

    number: int
    taken: AnyInput
    outputs: tuple[AnyOutput, ...]


class Reader:
    """Reads a journal while it is being written, for control socket and command line. One thread uses it.

    Raises:
        StartupError: there is no such journal.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise StartupError(f"{path}: no such journal: has the trader run with these settings?")
        try:
            require_regular(path)
        except OSError as error:
            raise StartupError(f"{path}: cannot be read: {error.strerror}") from error
        self._path = path
        self._owner = Owner("a journal's reader")
        self._connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=schema.BUSY_S
        )
        self._connection.row_factory = sqlite3.Row

    def close(self) -> None:
        """Free the file."""
        self._db.close()

    @property
    def _db(self) -> sqlite3.Connection:
        self._owner.check()
        return self._connection

    def meta(self) -> dict[str, str]:
        """Return the journal's facts about itself."""
        return {row["key"]: row["value"] for row in self._db.execute("SELECT key, value FROM meta")}

    def orders(self, limit: int, before: int) -> list[dict[str, Any]]:
        """Return orders numbered below `before` with the sums of their fills, newest first."""
        return self._rows(_ORDERS, before, limit)

    def fills(self, limit: int, before: int) -> list[dict[str, Any]]:
        """Return fills with an id below `before`, newest first."""
        return self._rows("SELECT * FROM fills WHERE id < ? ORDER BY id DESC LIMIT ?", before, limit)

    def settlements(self, limit: int, before: int) -> list[dict[str, Any]]:
        """Return settlements with an id below `before`, newest first, as last corrected.

        `corrected_ms`: when that was; None if never.
        """
        return self._as_said_last(self._rows(_ROWS, before, limit))

    def _as_said_last(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        corrects = schema.version_of(self.meta(), self._path) >= schema.WITH_CORRECTIONS
        for row in rows:
            now = self._rows(_CORRECTION, row["ticker"]) if corrects else []
            row["corrected_ms"] = now[0]["time_ms"] if now else None
            row |= {name: now[0][name] for name in ("result", "value_e4", "payout_e6", "fee_e6") if now}
        return rows

    def equity(self, since_ms: int, limit: int) -> list[dict[str, Any]]:
        """Return the newest points of the equity curve after `since_ms`, oldest first."""
        query = "SELECT * FROM equity WHERE time_ms > ? ORDER BY id DESC LIMIT ?"
        return self._rows(query, since_ms, limit)[::-1]

    def equity_after(self, id_: int, limit: int) -> list[tuple[int, int, int]]:
        """Return the oldest points of the equity curve after one: id, time and equity without external cash.

        Equity is at settlement, or at bid from before that was recorded; points without either are left out.
        """
        external = schema.version_of(self.meta(), self._path) >= schema.WITH_FOREIGN
        rows = self._db.execute(_EQUITY_AFTER if external else _EQUITY_ALONE, (id_, limit))
        return [tuple(row) for row in rows]

    def sums(self) -> dict[str, int]:
        """Return the sums over the rows, without using the ledger's code."""
        return row_sums(self._db)

    def fees_by_market(self) -> dict[str, int]:
        """Return the fees of fills by market, without markets held from before the journal or adopted."""
        meta = self.meta()
        if schema.version_of(meta, self._path) < schema.WITH_FOREIGN:
            return {}
        return dict(self._db.execute(_FEES))

    def ledger(self, before_step: int = MAX_STEP, before_order: int = MAX_STEP) -> Ledger:
        """Return the ledger that follows from the rows; `before_*` as for `replayed_ledger`.

        Raises:
            LedgerError: they contradict each other.
        """
        meta = self.meta()
        version = schema.version_of(meta, self._path)
        return replayed_ledger(self._db, meta, version, before_step, before_order)

    def record(self) -> list[Recorded]:
        """Return every fill and settlement, in the order they happened."""
        return list(self.tail().read().record)

    def tail(self) -> Tail:
        """Return a reader of the growing orders and record."""
        return Tail(self._db, schema.version_of(self.meta(), self._path))

    def moved(self) -> tuple[int, ...]:
        """Return numbers that grow whenever something is ordered, bought, sold or paid out."""
        tables = ("fills", "settlements", "foreign_fills", "corrections")
        counts = [f"(SELECT coalesce(max(id), 0) FROM {table})" for table in tables]  # noqa: S608
        counts += ["(SELECT coalesce(max(number), 0) FROM orders)"]
        return tuple(self._db.execute(f"SELECT {', '.join(counts)}").fetchone())

    def sessions(self) -> dict[int, str]:
        """Return the sessions whose inputs are kept, oldest first, each with its deciding build."""
        query = "SELECT session, build FROM sessions WHERE session IN (SELECT session FROM inputs) ORDER BY 1"
        return dict(self._db.execute(query))

    def inputs(self, session: int) -> Iterator[tuple[int, AnyInput, bytes]]:
        """Yield number, input and output bytes of each step of a session.

        Raises:
            DecodeError: a row is damaged.
        """
        decoder = Decoder(self._statics(session))
        rows = self._db.execute(
            "SELECT number, input, output FROM inputs WHERE session = ? ORDER BY number", (session,)
        )
        for expected, (number, body, output) in enumerate(rows, 1):
            if number != expected:
                raise DecodeError(f"journal: got input {number}, expected {expected}: rows are missing")
            yield number, decoder.decode(_unpacked(body)), output

    # -- what was decided and why, for `explain`

    def order(self, number: int) -> dict[str, Any] | None:
        """Return an order's row, None if there is none."""
        return next(iter(self._rows("SELECT * FROM orders WHERE number = ?", number)), None)

    def orders_of(self, trade: int) -> list[dict[str, Any]]:
        """Return the orders of a trade, oldest first."""
        return self._rows("SELECT * FROM orders WHERE trade = ? ORDER BY number", trade)

    def orders_about(self, name: str) -> list[dict[str, Any]]:
        """Return the newest hundred orders in a market or an event."""
        query = "SELECT * FROM orders WHERE ticker = ? OR event_ticker = ? ORDER BY number DESC LIMIT 100"
        return self._rows(query, name, name)

    def fills_of(self, number: int) -> list[dict[str, Any]]:
        """Return the fills of an order, oldest first."""
        return self._rows("SELECT * FROM fills WHERE number = ? ORDER BY id", number)

    def settlement_of(self, ticker: str) -> dict[str, Any] | None:
        """Return a market's settlement as last corrected; None if it has not settled."""
        rows = self._rows("SELECT * FROM settlements WHERE ticker = ?", ticker)
        return next(iter(self._as_said_last(rows)), None)

    def sessions_around(self, time_ms: int) -> list[int]:
        """Return the sessions with kept inputs; first those that began before a time, the latest first."""
        query = "SELECT session FROM sessions WHERE session IN (SELECT session FROM inputs)"
        query += " ORDER BY started_ms > ?, started_ms DESC"
        return [session for (session,) in self._db.execute(query, (time_ms,))]

    def session_began_ms(self, session: int) -> int:
        """Return when a session began."""
        query = "SELECT started_ms FROM sessions WHERE session = ?"
        return int(self._db.execute(query, (session,)).fetchone()[0])

    def steps_with(self, session: int, *names: str) -> Iterator[Step]:
        """Yield the steps of a session that may have outputs with these names.

        Raises:
            DecodeError: a row is damaged.
        """
        found = " OR ".join(["instr(output, CAST(? AS BLOB))"] * len(names))
        query = f"SELECT number, input, output FROM inputs WHERE session = ? AND ({found}) ORDER BY number"  # noqa: S608
        decoder: Decoder | None = None
        for number, body, output in self._db.execute(query, (session, *names)):
            decoder = decoder or Decoder(self._statics(session))
            yield Step(number, decoder.decode(_unpacked(body)), decode_outputs(output))

    def said_before(self, session: int, number: int) -> Iterator[AnyInput]:
        """Yield the start of a session and its inputs of fair values, up to a step.

        Raises:
            DecodeError: a row is damaged.
        """
        decoder = Decoder({})
        query = "SELECT input FROM inputs WHERE session = ? AND number <= ? ORDER BY number"
        for (body,) in self._db.execute(query, (session, number)):
            plain = _unpacked(body)
            if plain[_head_bytes(plain) :].startswith(_SAID):
                yield decoder.decode(plain)

    def _statics(self, session: int) -> dict[int, tuple[str, bytes]]:
        query = "SELECT number, kind, body FROM statics WHERE session = ?"
        rows = self._db.execute(query, (session,))
        return {number: (kind, _unpacked(body)) for number, kind, body in rows}

    def booked(self, session: int) -> Counter[BookedRow]:
        """Return the fills and settlements in a session's rows, for comparison with its decisions."""
        db, version = self._db, schema.version_of(self.meta(), self._path)
        rows = [
            *(
                (step, number, msgspec.structs.astuple(_fill(*fill)))
                for step, number, *fill in db.execute(schema.FILLS[version])
            ),
            *((step, 0, tuple(settled)) for step, *settled in db.execute(_SETTLEMENTS)),
        ]
        if version >= schema.WITH_CORRECTIONS:
            rows += [(step, 0, tuple(corrected)) for step, *corrected in db.execute(_CORRECTIONS)]
        return Counter((step & 0xFFFFFFFF, *row) for step, *row in rows if step >> 32 == session)

    def _rows(self, query: str, *values: int | str) -> list[dict[str, Any]]:
        return [dict(row) for row in self._db.execute(query, values)]
