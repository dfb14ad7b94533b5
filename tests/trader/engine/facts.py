"""Facts for the gate of risk."""

from typing import Any

from tests.trader.world import NOW_MS
from trader.engine.risk import Facts
from trader.ledger.ledger import Ledger


def facts(**changes: Any) -> Facts:
    fields: dict[str, Any] = {
        "now_ms": NOW_MS,
        "paced_ms": NOW_MS,
        "halts": (),
        "floor_ms": 0,
        "ledger": Ledger.new(1_000_000_000),
        "sent_ms": (),
        "lost_today_e6": 0,
        "idle_shards": (),
        "degraded": (),
        "retry_at_ms": {},
    }
    return Facts(**{**fields, **changes})
