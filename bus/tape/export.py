"""Export: the records of a recording as tables, a file per kind, for pandas, a spreadsheet or DuckDB.

Columns are `published_time`, `seq` and the record's fields with their units in their names; Kalshi's raw JSON
is left out, but candlesticks are rows of their own. Times are ISO 8601 in UTC, as in every CSV of the
project, and timestamps in Parquet: `as_of_ms` of a record is the column `as_of`, `close_ms` is `close_time`.
The records of the first keyframe come first, so that a table begins with the state that the rest changes.
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

from bus.protocol.join import known
from bus.protocol.messages import RECORD_TYPES, unpack_chunk
from bus.protocol.state import decode_all
from bus.spreadsheet import guarded
from markets.errors import BadRecord, DecodeError, StartupError
from markets.json.books import Candlestick, candlesticks
from markets.records import Candles
from markets.units import format_time

from .file import Keyframe, Recording
from .tape import messages

BATCH_ROWS: Final = 20_000
"""So many rows of a kind are held before they are written to Parquet."""

_NAMES: Final = {
    "as_of_ms": "as_of", "time_ms": "time", "strike_date_ms": "strike_date", "first_seen_ms": "first_seen",
}  # fmt: skip
"""Columns whose names are not the field's with _time for _ms."""


class _Column(NamedTuple):
    """A column: its name, and what is in it: "time" (ms since 1970), "int", "float", "bool" or "text"."""

    name: str
    type: str


def _columns(struct: type[Any]) -> list[_Column]:
    hints = get_type_hints(struct)
    return [_column(field, hints[field]) for field in struct.__struct_fields__ if field != "raw"]


def _column(field: str, hint: Any) -> _Column:
    if field.endswith("_ms"):
        return _Column(_NAMES.get(field) or f"{field.removesuffix('_ms')}_time", "time")
    if get_origin(hint) in (Union, UnionType):
        (hint,) = (
            [one for one in get_args(hint) if one is not type(None)] if len(get_args(hint)) == 2 else [str]
        )
    return _Column(field, {int: "int", float: "float", bool: "bool"}.get(hint, "text"))


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
    """Needs the package pyarrow, which is not among our dependencies."""

    def __init__(self, path: Path, columns: Sequence[_Column]) -> None:
        try:
            self._pa = import_module("pyarrow")
            parquet = import_module("pyarrow.parquet")
        except ImportError:
            raise StartupError(
                "parquet needs the package pyarrow: pip install pyarrow, or --format csv"
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


def export_records(
    recording: Recording, folder: Path, format_: str = "csv", kinds: Sequence[str] | None = None
) -> dict[str, int]:
    """Write one table per kind into `folder`; return the number of rows of each file.

    Raises:
        StartupError: an unknown kind or format, or the folder cannot be written to.
    """
    unknown = sorted(set(kinds or ()) - set(RECORD_TYPES))
    if unknown or format_ not in ("csv", "parquet"):
        raise StartupError(
            f"export: got {(*unknown, format_)[0]!r}, expected csv or parquet, and kinds among "
            f"{', '.join(RECORD_TYPES)}"
        )
    tables: dict[str, _Table] = {}
    counts: dict[str, int] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for time_ms, seq, kind, records in _records(recording):
            if kinds and kind not in kinds:
                continue
            rows = [[time_ms, seq, *row] for record in records for row in _rows(record)]
            name = f"{kind}.{format_}"
            if kind not in tables:
                make = _Csv if format_ == "csv" else _Parquet
                tables[kind] = make(folder / name, _table_columns(kind))
            tables[kind].add(rows)
            counts[name] = counts.get(name, 0) + len(rows)
    except OSError as error:
        raise StartupError(f"{error.filename or folder}: {error.strerror}") from error
    finally:
        for table in tables.values():
            table.close()
    return counts


def _records(recording: Recording) -> Iterator[tuple[int, int, str, list[Any]]]:
    """Yield (time_ms, seq, kind, records) of each message; what cannot be read is left out and said."""
    left_out: list[str] = []
    for item in recording.play():
        if isinstance(item, Keyframe):
            time_ms = item.time_ns // 1_000_000
            for packed in item.chunks:
                try:
                    chunk = unpack_chunk(packed)
                    found = [(kind, decode_all(kind, raws)) for kind, raws in known(chunk)]
                except DecodeError as error:
                    left_out.append(str(error))
                    continue
                yield from ((time_ms, chunk.last, kind, records) for kind, records in found)
            break
    for _, envelope in messages(recording):
        if envelope.kind not in RECORD_TYPES:
            continue
        try:
            records = decode_all(envelope.kind, envelope.records)
        except DecodeError as error:
            left_out.append(str(error))
            continue
        yield envelope.published_ns // 1_000_000, envelope.seq, envelope.kind, records
    if left_out and recording.problem is None:
        said = f"{len(left_out)} messages or parts of keyframes cannot be read and are left out"
        recording.problem = f"{recording.path}: {said}: {left_out[0]}"


def _table_columns(kind: str) -> list[_Column]:
    columns = [_Column("published_time", "time"), _Column("seq", "int"), *_columns(RECORD_TYPES[kind])]
    return [*columns, *_columns(Candlestick)] if RECORD_TYPES[kind] is Candles else columns


def _rows(record: Any) -> list[list[Any]]:
    """Return the rows of a record: one, but of candles one for each candlestick."""
    row = [getattr(record, field) for field in record.__struct_fields__ if field != "raw"]
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
    except (ValueError, OverflowError):  # no year that a calendar has
        return str(time_ms)


def _text(value: Any) -> str | None:
    """Return a value as the text of a cell; what has parts, as JSON."""
    if value is None or isinstance(value, str):
        return value if value is None else str(value)  # of a status, its word
    return json.dumps(value)


def _cell(value: Any) -> Any:
    if isinstance(value, (tuple, list, dict)):
        value = json.dumps(value)
    return guarded(value) if isinstance(value, str) else value
