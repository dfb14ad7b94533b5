"""Export: the records of a recording as tables, a file per kind, for pandas, a spreadsheet or DuckDB.

Columns are `published_time`, `seq` and the record's fields with their units in their names; Kalshi's raw JSON
is left out, but candlesticks are rows of their own. Times are ISO 8601 in UTC, as in every CSV of the
project, and timestamps in Parquet: `as_of_ms` of a record becomes the column `as_of`, `close_ms` becomes
`close_time`. The records of the initial state come first. In addition to the kinds there are `result`, what
markets were determined to, and `book_at`, the order books at regular steps.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from types import UnionType
from typing import (
    IO,
    Any,
    Final,
    NamedTuple,
    Protocol,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec

from bus.process.programs import to_install
from bus.protocol.join import known
from bus.protocol.messages import RECORD_TYPES, TOPIC_REF, unpack_chunk
from bus.protocol.state import STATE_KINDS, State, decode_all
from bus.spreadsheet import guarded
from markets.errors import BadRecord, DecodeError, StartupError
from markets.json.books import Candlestick, candlesticks
from markets.records import Candles, Remove
from markets.units import format_time

from .file import Keyframe, Recording
from .moments import Moments, NotRecorded, Then
from .tape import Opening, Tally, TapeReader, messages

BATCH_ROWS: Final = 20_000
"""How many rows of a kind are held before they are written to Parquet."""

_NAMES: Final = {
    "as_of_ms": "as_of", "time_ms": "time", "strike_date_ms": "strike_date", "first_seen_ms": "first_seen",
}  # fmt: skip
"""Columns named otherwise than by the field's name with _time for _ms."""


class _Column(NamedTuple):
    """A column: its name, and what is in it: "time" (ms since 1970), "int", "float", "bool" or "text"."""

    name: str
    type: str


_JSON: Final = frozenset({"raw", "minutes", "days"})
"""Fields that hold JSON; the candlesticks in `raw` become rows of their own."""


def _columns(struct: type[Any]) -> list[_Column]:
    hints = get_type_hints(struct)
    return [_column(field, hints[field]) for field in struct.__struct_fields__ if field not in _JSON]


def _column(field: str, hint: Any) -> _Column:
    if field.endswith("_ms"):
        return _Column(_NAMES.get(field) or f"{field.removesuffix('_ms')}_time", "time")
    if get_origin(hint) in (Union, UnionType):
        (hint,) = (
            [one for one in get_args(hint) if one is not type(None)] if len(get_args(hint)) == 2 else [str]
        )
    return _Column(field, {int: "int", float: "float", bool: "bool"}.get(hint, "text"))


RESULT: Final = "result"
BOOK_AT: Final = "book_at"

_MADE: Final = {
    RESULT: {
        "published_time": "time", "seq": "int", "ticker": "text", "event_ticker": "text",
        "series_ticker": "text", "result": "text", "settlement_value_e4": "int",
    },
    BOOK_AT: {
        "time": "time", "seq": "int", "ticker": "text", "as_of": "time", "side": "text", "level": "int",
        "price_e4": "int", "count_e2": "int",
    },
}  # fmt: skip
"""Columns of the tables that are not kinds of record."""


class _Table(Protocol):
    def add(self, rows: Sequence[Sequence[Any]]) -> None: ...

    def close(self) -> None: ...


class _Csv:
    def __init__(self, path: Path, columns: Sequence[_Column]) -> None:
        self._file: IO[str] = path.open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file)
        self._writer.writerow([column.name for column in columns])
        self._times = frozenset(index for index, column in enumerate(columns) if column.type == "time")

    def add(self, rows: Sequence[Sequence[Any]]) -> None:
        times = self._times
        self._writer.writerows(
            [_time(value) if index in times else _cell(value) for index, value in enumerate(row)]
            for row in rows
        )

    def close(self) -> None:
        self._file.close()


class _Parquet:
    """Needs the package pyarrow, which is an extra."""

    def __init__(self, path: Path, columns: Sequence[_Column]) -> None:
        try:
            self._pa = import_module("pyarrow")
            parquet = import_module("pyarrow.parquet")
        except ImportError:
            raise StartupError(
                f"parquet needs the package pyarrow: {to_install('parquet')}, or --format csv"
            ) from None
        types = {
            "time": self._pa.timestamp("ms", tz="UTC"),
            "int": self._pa.int64(),
            "float": self._pa.float64(),
            "bool": self._pa.bool_(),
            "text": self._pa.string(),
        }
        self._schema = self._pa.schema([(column.name, types[column.type]) for column in columns])
        self._text = frozenset(index for index, column in enumerate(columns) if column.type == "text")
        self._writer = parquet.ParquetWriter(path, self._schema)
        self._rows: list[Sequence[Any]] = []

    def add(self, rows: Sequence[Sequence[Any]]) -> None:
        self._rows += rows
        if len(self._rows) >= BATCH_ROWS:
            self._write()

    def close(self) -> None:
        self._write()
        self._writer.close()

    def _write(self) -> None:
        columns = [
            self._pa.array(
                [_text(row[index]) for row in self._rows]
                if index in self._text
                else [row[index] for row in self._rows],
                field.type,
            )
            for index, field in enumerate(self._schema)
        ]
        self._writer.write_table(self._pa.table(columns, schema=self._schema))
        self._rows = []


class Part(msgspec.Struct, frozen=True):
    """Which part of a recording is wanted.

    Attributes:
        kinds: only these; None: all.
        from_ms, to_ms: only what was published between these; None: from the beginning, to the end.
        markets, events, series: only records of these markets, and of their events and series; all empty:
            everything.
        step_s: the order books at this interval in seconds, too; None: no order books.
    """

    kinds: Sequence[str] | None = None
    from_ms: int | None = None
    to_ms: int | None = None
    markets: frozenset[str] = frozenset()
    events: frozenset[str] = frozenset()
    series: frozenset[str] = frozenset()
    step_s: int | None = None


ALL: Final = Part()


def export_records(
    recording: Recording, folder: Path, format_: str = "csv", part: Part = ALL
) -> dict[str, int]:
    """Write one table per kind into `folder`; return the number of rows of each file.

    Raises:
        StartupError: a kind or format is unknown, the recording has no such part, or the folder cannot be
            written to.
    """
    known_kinds = (*RECORD_TYPES, RESULT)
    unknown = sorted(set(part.kinds or ()) - set(known_kinds))
    if unknown or format_ not in ("csv", "parquet"):
        raise StartupError(
            f"export: got {(*unknown, format_)[0]!r}, expected csv or parquet, and kinds among "
            f"{', '.join(known_kinds)}"
        )
    tables = _Tables(folder, format_, part.kinds)
    wanted = _Wanted(part)
    results: dict[str, tuple[str, int | None]] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for time_ms, seq, kind, records in _records(recording, part):
            chosen = wanted.of(kind, records)
            tables.add(kind, [[time_ms, seq, *row] for record in chosen for row in _rows(record)])
            if kind == "market":
                tables.add(RESULT, _results(time_ms, seq, chosen, results))
        if part.step_s is not None:
            for rows in _books(recording, part, wanted, part.step_s * 1_000_000_000):
                tables.add(BOOK_AT, rows)
    except NotRecorded as error:
        raise StartupError(f"export: {str(error).replace('at: ', 'from: ', 1)}") from None
    except OSError as error:
        raise StartupError(f"{error.filename or folder}: {error.strerror}") from error
    finally:
        tables.close()
    return tables.counts


class _Tables:
    """The files, made when the first row comes."""

    def __init__(self, folder: Path, format_: str, kinds: Sequence[str] | None) -> None:
        self._folder = folder
        self._format = format_
        self._kinds = None if kinds is None else {*kinds, BOOK_AT}
        self._tables: dict[str, _Table] = {}
        self.counts: dict[str, int] = {}

    def add(self, kind: str, rows: Sequence[Sequence[Any]]) -> None:
        if not rows or (self._kinds is not None and kind not in self._kinds):
            return
        name = f"{kind}.{self._format}"
        if kind not in self._tables:
            make = _Csv if self._format == "csv" else _Parquet
            self._tables[kind] = make(self._folder / name, _table_columns(kind))
        self._tables[kind].add(rows)
        self.counts[name] = self.counts.get(name, 0) + len(rows)

    def close(self) -> None:
        for table in self._tables.values():
            table.close()


class _Wanted:
    """Which records are wanted. What a market belongs to is learnt from its record, which comes first."""

    def __init__(self, part: Part) -> None:
        self._everything = not (part.markets or part.events or part.series)
        self._markets, self._events, self._series = part.markets, part.events, part.series
        self._of_event: set[str] = set()
        self._of_series: set[str] = set()
        self._tickers: set[str] = set(part.markets)

    def of(self, kind: str, records: Sequence[Any]) -> Sequence[Any]:
        if self._everything:
            return records
        return [record for record in records if self.has(kind, record)]

    def has(self, kind: str, record: Any) -> bool:
        if self._everything:
            return True
        if kind == "market":
            wanted = (
                record.ticker in self._markets
                or record.event_ticker in self._events
                or record.series_ticker in self._series
            )
            if wanted:
                self._tickers.add(record.ticker)
                self._of_event.add(record.event_ticker)
                self._of_series.add(record.series_ticker or "")
            return wanted
        if kind == "event":
            named = record.event_ticker in self._events or record.series_ticker in self._series
            return named or record.event_ticker in self._of_event
        if kind == "series":
            return record.ticker in self._series or record.ticker in self._of_series
        ticker = record.key if isinstance(record, Remove) else getattr(record, "ticker", None)
        return ticker in self._tickers


def _records(recording: Recording, part: Part) -> Iterator[tuple[int, int, str, list[Any]]]:
    """Yield (time_ms, seq, kind, records) of each message; what cannot be read is left out and reported."""
    left_out: list[str] = []
    seen, place = (0, 0), 0
    if part.from_ms is None:
        yield from _first_keyframe(recording, left_out)
    else:
        then = _begin(recording, part.from_ms * 1_000_000)
        state = then.state
        seen = (state.epoch, state.seq)
        places = recording.keyframes()
        place = max((place for time_ns, place in places if time_ns <= then.published_ns), default=0)
        for kind in STATE_KINDS:
            records = list(state.records[kind].values())
            for first in range(0, len(records), BATCH_ROWS):
                batch = records[first : first + BATCH_ROWS]
                yield then.published_ns // 1_000_000, state.seq, kind, batch
        del then, state
    for _, envelope in messages(recording, place):
        time_ms = envelope.published_ns // 1_000_000
        if part.to_ms is not None and time_ms > part.to_ms:
            break
        if envelope.kind not in RECORD_TYPES or (envelope.epoch, envelope.seq) <= seen:
            continue
        try:
            records = decode_all(envelope.kind, envelope.records)
        except DecodeError as error:
            left_out.append(str(error))
            continue
        yield time_ms, envelope.seq, envelope.kind, records
    if left_out and recording.problem is None:
        said = f"{len(left_out)} messages or parts of keyframes cannot be read and are left out"
        recording.problem = f"{recording.path}: {said}: {left_out[0]}"


def _begin(recording: Recording, from_ns: int) -> Then:
    """Return the state with which an export from that time begins: the first there is, if that is later."""
    moments = Moments(recording)
    return moments.at(max(from_ns, moments.span()[0]))


def _first_keyframe(recording: Recording, left_out: list[str]) -> Iterator[tuple[int, int, str, list[Any]]]:
    for item in recording.play():
        if not isinstance(item, Keyframe):
            continue
        time_ms = item.time_ns // 1_000_000
        later: list[tuple[int, int, str, list[Any]]] = []
        for packed in item.chunks:
            try:
                chunk = unpack_chunk(packed)
                found = [(kind, decode_all(kind, raws)) for kind, raws in known(chunk)]
            except DecodeError as error:
                left_out.append(str(error))
                continue
            told = [(time_ms, chunk.last, kind, records) for kind, records in found]
            if chunk.topic == TOPIC_REF:  # after the markets it is about
                later += told
            else:
                yield from told
        yield from later
        return


def _results(
    time_ms: int, seq: int, markets: Sequence[Any], known_results: dict[str, tuple[str, int | None]]
) -> list[list[Any]]:
    """Return the rows of markets whose result is new."""
    rows: list[list[Any]] = []
    for market in markets:
        result = (market.result, market.settlement_value_e4)
        if market.result and known_results.get(market.ticker) != result:
            known_results[market.ticker] = result
            rows.append([time_ms, seq, market.ticker, market.event_ticker, market.series_ticker, *result])
    return rows


def _books(recording: Recording, part: Part, wanted: _Wanted, step_ns: int) -> Iterator[list[list[Any]]]:
    """Yield, for each step of the recording's time, the levels of all order books as they were then."""
    from_ns = None if part.from_ms is None else part.from_ms * 1_000_000
    to_ns = None if part.to_ms is None else part.to_ms * 1_000_000
    tally, writer, next_ns = Tally(), None, 0
    for one in TapeReader(recording, recording.keyframes() if from_ns else (), tally, from_ns, to_ns):
        if isinstance(one, Opening):
            writer = one.writer
            next_ns = -(-max(one.at_ns, from_ns or 0) // step_ns) * step_ns
            continue
        assert writer is not None
        while next_ns < one.end_ns and (to_ns is None or next_ns <= to_ns):
            yield _levels(writer.state, next_ns // 1_000_000, wanted)
            next_ns += step_ns
        if one.heartbeat is None:
            with writer.state.lock:
                tally.take(writer, one)


def _levels(state: State, time_ms: int, wanted: _Wanted) -> list[list[Any]]:
    return [
        [time_ms, state.seq, book.ticker, book.as_of_ms, side, level, price_e4, count_e2]
        for book in state.books.values()
        if wanted.has("book", book)
        for side, levels in (("yes", book.yes), ("no", book.no))
        for level, (price_e4, count_e2) in enumerate(reversed(levels))
    ]


def _table_columns(kind: str) -> list[_Column]:
    if kind in _MADE:
        return [_Column(name, type_) for name, type_ in _MADE[kind].items()]
    columns = [_Column("published_time", "time"), _Column("seq", "int"), *_columns(RECORD_TYPES[kind])]
    return [*columns, *_columns(Candlestick)] if RECORD_TYPES[kind] is Candles else columns


def _rows(record: Any) -> list[list[Any]]:
    """Return the rows of a record: one, or for candles one for each candlestick."""
    row = [getattr(record, field) for field in record.__struct_fields__ if field not in _JSON]
    if not isinstance(record, Candles):
        return [row]
    try:
        candles = candlesticks(record.raw)
    except BadRecord:
        return [[*row, *(None for _ in Candlestick.__struct_fields__)]]
    return [[*row, *(getattr(candle, field) for field in candle.__struct_fields__)] for candle in candles]


def _time(time_ms: int | None) -> str | None:
    try:
        return None if time_ms is None else format_time(time_ms)
    except (ValueError, OverflowError):  # not a year in any calendar
        return str(time_ms)


def _text(value: Any) -> str | None:
    """Return a value as the text of a cell; composite values become JSON."""
    if value is None or isinstance(value, str):
        return value if value is None else str(value)  # a status as its word
    return json.dumps(value)


def _cell(value: Any) -> Any:
    if isinstance(value, (tuple, list, dict)):
        value = json.dumps(value)
    return guarded(value) if isinstance(value, str) else value
