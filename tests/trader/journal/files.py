"""A journal in a folder of the test's own."""

import random
from pathlib import Path
from typing import Any

from tests.trader.world import NOW_MS
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
