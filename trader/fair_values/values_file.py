"""Fair values from the user's CSV or JSON file, read again whenever it changes.

CSV: a header line with ``ticker,probability`` and optionally ``margin`` and ``as_of`` (RFC 3339), in any
order. JSON: a list of objects with these members. A value without ``as_of`` is as old as the file. A bad row,
or one from the future, is refused by number and name; the others count.
"""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from bus.clock import SystemClock
from bus.files import open_regular
from bus.notebook import Connection
from markets.errors import BadRecord
from markets.records import FairValue
from markets.texts import utf8
from markets.units import parse_time_ms
from trader.extensions.params import Parameters

from .source import Estimate, Estimator

log = structlog.get_logger()

SOURCE: Final = "file"
MAX_BYTES: Final = 64 * 1_048_576
FUTURE_MS: Final = 5_000
"""How far ahead of our clock a row may be: one further ahead would never grow stale."""

_FIELDS: Final = frozenset({"ticker", "probability", "margin", "as_of"})


class Loaded(msgspec.Struct, frozen=True):
    """A file's contents: values by ticker, and one line for each refused row."""

    values: Mapping[str, FairValue] = {}
    errors: tuple[str, ...] = ()


def parse(text: str, name: str, modified_ms: int, now_ms: int | None = None) -> Loaded:
    """Return the values in the text of a file called `name`, which was last changed at `modified_ms`.

    Args:
        now_ms: the present; None: the time of that change.

    Raises:
        ValueError: it is not such a file at all.
    """
    try:
        rows = _json_rows(text) if name.endswith(".json") else _csv_rows(text)
    except (csv.Error, RecursionError) as error:
        raise ValueError(str(error)) from None
    now_ms = modified_ms if now_ms is None else now_ms
    values: dict[str, FairValue] = {}
    errors: list[str] = []
    for where, row in rows:
        try:
            value = _value(row, min(modified_ms, now_ms))
            if value.as_of_ms > now_ms + FUTURE_MS:
                raise BadRecord("as_of", row.get("as_of"), "a time that is not after now")
            if value.ticker in values:
                raise BadRecord("ticker", value.ticker, "a ticker once")
            values[value.ticker] = value
        except BadRecord as error:
            ticker = row.get("ticker") if isinstance(row, Mapping) else None
            errors.append(utf8(f"{name} {where} ({str(ticker)[:80]}): {error}"))
    return Loaded(values, tuple(errors))


def _csv_rows(text: str) -> Iterable[tuple[str, Any]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), restkey="beyond the header", strict=True)
    header = set(reader.fieldnames or ())
    if not {"ticker", "probability"} <= header <= _FIELDS:
        raise ValueError(
            f"got columns {sorted(header)}, expected ticker, probability and maybe margin, as_of"
        )
    rows = []
    for row in reader:
        values: dict[str, Any] = {name: value for name, value in row.items() if value != ""}
        rows.append((f"line {reader.line_num}", values))
    return rows


def _json_rows(text: str) -> Iterable[tuple[str, Any]]:
    rows = json.loads(text)
    if not isinstance(rows, list):
        raise ValueError("expected a list of objects")
    return [(f"item {number}", row) for number, row in enumerate(rows, 1)]


def _value(row: Any, modified_ms: int) -> FairValue:
    if not isinstance(row, Mapping):
        raise BadRecord("item", row, "an object")
    unknown = sorted(set(map(str, row)) - _FIELDS)
    if unknown:
        raise BadRecord(unknown[0], row.get(unknown[0]), f"only {', '.join(sorted(_FIELDS))}")
    ticker = row.get("ticker")
    if not isinstance(ticker, str) or not 0 < len(ticker.strip()) <= 200 or utf8(ticker) != ticker:
        raise BadRecord("ticker", ticker, "a market's ticker")
    as_of = row.get("as_of")
    return FairValue(
        ticker=ticker.strip(),
        probability=_share(row.get("probability"), "probability"),
        source=SOURCE,
        as_of_ms=modified_ms if as_of is None else parse_time_ms(as_of, "as_of"),
        margin=0.0 if row.get("margin") is None else _share(row["margin"], "margin"),
    )


def _share(value: object, field: str) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0.0 <= number <= 1.0:
        raise BadRecord(field, value, "a number from 0 to 1")
    return number


class ValuesFile:
    """One file, looked at now and then. While it cannot be read, its last values hold."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.loaded = Loaded()
        self.loaded_ms: int | None = None
        self._stamp: tuple[int, int, int] | None = None

    def look(self, now_ms: int) -> bool:
        """Read the file if it has changed since the last look; return whether it was read."""
        try:
            found = self.path.stat()
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
            if stamp == self._stamp:
                return False
            self._stamp = stamp
            if found.st_size > MAX_BYTES:
                raise ValueError(f"{found.st_size} bytes, at most {MAX_BYTES} are read")
            with open_regular(self.path) as file:
                text = file.read().decode("utf-8")
            self.loaded = parse(text, self.path.name, found.st_mtime_ns // 1_000_000, now_ms)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else error
            problem = utf8(f"{self.path}: cannot be read: {why}")
            if self.loaded.errors != (problem,):
                self.loaded = Loaded(self.loaded.values, (problem,))
            return False
        self.loaded_ms = now_ms
        return True


class FileSource(Estimator):
    """The same kind of file in its own process: for further files, or for one that takes long to read."""

    name = SOURCE

    class Params(Parameters, frozen=True, kw_only=True):
        path: str

        def __post_init__(self) -> None:
            if not self.path.endswith((".csv", ".json")):
                raise ValueError(f"path: got {self.path!r}, expected a .csv or .json file")

    params: Params

    def __init__(self, params: Params) -> None:
        super().__init__(params)
        self._file = ValuesFile(Path(params.path).expanduser())
        self._said: tuple[str, ...] = ()

    def values(self, bus: Connection) -> Mapping[str, Estimate]:
        now_ms = bus.replica.now_ms()  # in a replay this is not the file's time
        self._file.look(SystemClock().now_ms())
        loaded = self._file.loaded
        if loaded.errors != self._said:
            self._said = loaded.errors
            for error in loaded.errors[:20]:
                log.warning("fair_values.refused", error=error)
        return {
            ticker: Estimate(value.probability, value.margin, min(value.as_of_ms, now_ms))
            for ticker, value in loaded.values.items()
        }
