"""What changed between two views of an event."""

from typing import Any

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
