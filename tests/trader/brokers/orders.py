"""Orders for the paper broker."""

from typing import Any

import msgspec

from markets.orders import Intent
from tests.trader.ledger.builders import intent
from tests.trader.world import NOW_MS, event_of

EVENT = event_of()
TICKER = f"{EVENT.event_ticker}-HOM"


def order(number: int = 1, price_e4: int = 5_000, count_e2: int = 1_000, **changes: Any) -> Intent:
    made = intent(number, TICKER, "yes", price_e4, count_e2)
    return msgspec.structs.replace(made, valid_until_ms=NOW_MS + 5_000, **changes)
