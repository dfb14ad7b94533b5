"""A journal in a folder of the test's own."""

import random
from pathlib import Path
from typing import Any

from markets.orders import Fill, OrderState
from tests.trader.ledger.builders import intent
from tests.trader.world import NOW_MS, start, tick
from trader.engine.outputs import Booked, Day, Place
from trader.journal.journal import Journal
from trader.journal.schema import journal_path

OWNER = {"mode": "paper", "env": "sim", "account": "paper"}


def opened(folder: Path, seed: int = 1, **changes: Any) -> Journal:
    fields: dict[str, Any] = {
        "path": journal_path(folder / "data", **OWNER),
        "owner": OWNER,
        "start_e6": 5_000_000,
    }
    return Journal(**{**fields, "rng": random.Random(seed), "now_ms": NOW_MS, **changes})


def a_journal(folder: Path) -> Path:
    """A journal with two orders, each filled in two parts, closed in good order."""
    journal = opened(folder)
    journal.write(start(), [Day(1, 0), *(Place(intent(number)) for number in (1, 2))])
    for number in (1, 2):
        order = intent(number)
        half = Fill(order.price_e4, order.count_e2 // 2, 0, 100, NOW_MS)
        journal.write(tick(), [Booked(number, OrderState.OPEN, "", (half,), NOW_MS)])
        journal.write(tick(), [Booked(number, OrderState.FILLED, "", (half,), NOW_MS)])
    journal.close()
    return journal.path
