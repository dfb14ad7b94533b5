"""Where the exchange departs from its documents, as `/health`, doctor, metrics and system page show it."""

from collections import Counter
from collections.abc import Mapping
from typing import Final

import msgspec

from markets.records import Drift

ROWS_MOST: Final = 100


class DriftRow(msgspec.Struct, frozen=True):
    """One member; `first_seen` in Unix seconds, the rest as in `Drift`."""

    route: str
    member: str
    what: str
    count: int
    first_seen: float
    example: str

    @property
    def text(self) -> str:
        """All of it in a line."""
        example = f", such as {self.example}" if self.example else ""
        return f"{self.route}: {self.member}: {self.what}, {self.count} times{example}"


def drift_rows(drifts: Mapping[str, Drift]) -> tuple[tuple[DriftRow, ...], int]:
    """Return what to show, newest first, and how many more there are."""
    newest = sorted(drifts.values(), key=lambda row: (-row.first_seen_ms, row.route, row.member, row.what))
    return tuple(
        DriftRow(row.route, row.member, row.what, row.count, row.first_seen_ms / 1000, row.example)
        for row in newest[:ROWS_MOST]
    ), max(0, len(newest) - ROWS_MOST)


def drift_counts(drifts: Mapping[str, Drift]) -> dict[tuple[str, str], int]:
    """Return how often members differed from the documents, by (what, route)."""
    counts: Counter[tuple[str, str]] = Counter()
    for row in drifts.values():
        counts[row.what, row.route] += row.count
    return dict(counts)
