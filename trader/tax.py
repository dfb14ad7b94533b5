"""`kalshi-bus trader tax YEAR`: the tax lots closed in a year (UTC), first in first out, as CSV."""

import csv
import io
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bus.spreadsheet import guarded
from markets.errors import BadRecord
from markets.units import format_count, format_money, format_time
from trader.journal.reader import Reader, readable
from trader.ledger.lots import Closed, tax_lots

COLUMNS: Final = (
    "ticker", "side", "contracts", "acquired", "sold", "how", "proceeds_dollars", "cost_dollars",
    "fees_dollars", "gain_dollars",
)  # fmt: skip


def closed_in(path: Path, year: int) -> list[Closed]:
    """Return the journal's tax lots that were closed in a year, in the order it happened.

    Raises:
        StartupError: the journal cannot be read.
        BadRecord: there is no such year.
    """
    if not 1970 <= year <= 9998:
        raise BadRecord("year", str(year), "a year from 1970 to 9998")
    begin_ms, end_ms = (round(datetime(one, 1, 1, tzinfo=UTC).timestamp() * 1000) for one in (year, year + 1))
    with readable(path), closing(Reader(path)) as reader:
        closed = tax_lots(reader.record()).closed
    return [part for part in closed if begin_ms <= part.disposed_ms < end_ms]


def as_csv(closed: Iterable[Closed]) -> str:
    """Return them as CSV: exact amounts, times in UTC, nothing that a spreadsheet would execute."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for part in closed:
        row = (
            part.ticker,
            part.side,
            format_count(part.count_e2),
            format_time(part.acquired_ms),
            format_time(part.disposed_ms),
            part.how,
            format_money(part.proceeds_e6),
            format_money(part.cost_e6),
            format_money(part.fees_e6),
            format_money(part.gain_e6),
        )
        writer.writerow([guarded(cell) for cell in row])
    return text.getvalue()
