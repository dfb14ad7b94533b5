"""Export: the records of a recording as tables, a file per kind, for pandas, a spreadsheet or DuckDB.

Columns are `time_ms`, `seq` and the record's fields with their units in their names; Kalshi's raw JSON is
left out. The records of the first keyframe come first, so that a table begins with the state that the rest
changes.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Protocol

from bus.protocol.join import known
from bus.protocol.messages import RECORD_TYPES, unpack_chunk
from bus.protocol.state import decode_all
from bus.spreadsheet import guarded
from markets.errors import DecodeError, StartupError

from .file import Keyframe, Recording
from .tape import messages


class _Table(Protocol):
    def add(self, rows: Sequence[Sequence[Any]]) -> None: ...

    def close(self) -> None: ...


class _Csv:
    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._file: IO[str] = path.open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file)
        self._writer.writerow(columns)

    def add(self, rows: Sequence[Sequence[Any]]) -> None:
        self._writer.writerows([[_cell(value) for value in row] for row in rows])

    def close(self) -> None:
        self._file.close()


class _Parquet:
    """Needs the package pyarrow, which is not among our dependencies."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        try:
            self._pa = import_module("pyarrow")
            self._parquet = import_module("pyarrow.parquet")
        except ImportError:
            raise StartupError(
                "parquet needs the package pyarrow: pip install pyarrow, or --format csv"
            ) from None
        self._path = path
        self._columns = columns
        self._rows: list[Sequence[Any]] = []

    def add(self, rows: Sequence[Sequence[Any]]) -> None:
        self._rows += rows

    def close(self) -> None:
        columns = {
            name: [_plain(row[index]) for row in self._rows] for index, name in enumerate(self._columns)
        }
        self._parquet.write_table(self._pa.table(columns), self._path)


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
            fields = [name for name in RECORD_TYPES[kind].__struct_fields__ if name != "raw"]
            name = f"{kind}.{format_}"
            if kind not in tables:
                make = _Csv if format_ == "csv" else _Parquet
                tables[kind] = make(folder / name, ["time_ms", "seq", *fields])
            tables[kind].add([[time_ms, seq, *(getattr(one, field) for field in fields)] for one in records])
            counts[name] = counts.get(name, 0) + len(records)
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


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (tuple, list, dict)) else value


def _cell(value: Any) -> Any:
    value = _plain(value)
    return guarded(value) if isinstance(value, str) else value
