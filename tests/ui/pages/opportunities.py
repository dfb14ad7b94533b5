"""An opportunity for the list on the page."""

from typing import Any

from markets.opportunities import Leg, Opportunity

NOW_MS = 1_800_000_000_000
HOUR_MS = 3_600_000


def opportunity(name: str, **changes: Any) -> Opportunity:
    fields: dict[str, Any] = {
        "kind": "value",
        "event_ticker": f"E-{name}",
        "series_ticker": "E",
        "key": f"value:{name}",
        "title": f"Event {name}",
        "legs": (Leg(f"E-{name}-A", "yes", 4_000, 100_00, 40_000_000, 0, NOW_MS, "Atlanta"),),
        "count_e2": 100_00,
        "gross_edge_e6": 2_000_000,
        "fees_e6": 0,
        "net_edge_e6": 2_000_000,
        "ev_e6": 2_000_000,
        "worst_case_e6": -40_000_000,
        "capital_e6": 40_000_000,
        "annualised_return": 1.0,
        "probability": 0.42,
        "value": 0.02,
        "start_ms": None,
        "close_ms": NOW_MS + 10 * HOUR_MS,
        "as_of_ms": NOW_MS,
        "volume_e2": 500_00,
        "exhaustive_because": None,
        "reasons": (),
    }
    return Opportunity(**(fields | changes))
