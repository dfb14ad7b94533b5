"""What changed between two views of an event, and as the batch that a rescan takes."""

from collections.abc import Iterable
from typing import Any

from bus.scan.rescan import Batch
from markets.opportunities import EventView
from tests.trader.world import SERIES


def changes_of(view: EventView) -> list[Any]:
    topic = f"md.{view.event.series_ticker}."
    return [
        ("ref.", "series", [SERIES]),
        ("ref.", "event", [view.event]),
        (topic, "market", [one.market for one in view.markets]),
        (topic, "quote", [one.quote for one in view.markets]),
    ]


def batch_with(records: Iterable[tuple[str, str]], commit: bool = False, *, whole: bool = False) -> Batch:
    """Return a batch with these records, each (kind, key)."""
    keys: dict[str, dict[str, None]] = {}
    for kind, key in records:
        keys.setdefault(kind, {})[key] = None
    return Batch({**keys}, commit, whole)
