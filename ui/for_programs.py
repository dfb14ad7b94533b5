"""Opportunities as JSON for programs and as CSV for spreadsheets."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

from bus.spreadsheet import guarded
from markets.opportunities import REASONS, Opportunity, opportunity_json
from markets.units import format_count, format_price, format_time

from . import display

_REST: Final = (
    "count_fp", "gross_edge_dollars", "fees_dollars", "net_edge_dollars", "ev_dollars", "worst_case_dollars",
    "capital_dollars", "annualised_return", "probability", "margin", "value", "volume_fp", "start_time",
    "close_time", "as_of", "reasons", "notes",
)  # fmt: skip

COLUMNS: Final = (
    "kind", "tradable", "title", "event_ticker", "series_ticker", "legs", *_REST,
)  # fmt: skip


def to_json(one: Opportunity, now_ms: int) -> dict[str, Any]:
    """Return an opportunity as the API gives it: exact strings and, under `display`, as people read them."""
    return opportunity_json(one) | {
        "age_seconds": max(0, now_ms - one.as_of_ms) / 1000,
        "reasons_text": [REASONS[reason] for reason in one.reasons],
        "url": f"/e/{one.event_ticker}" if len(one.legs) > 1 else f"/m/{one.legs[0].ticker}",
        "display": {
            "net_edge_per_contract": display.cents(one.net_edge_e6, one.count_e2),
            "net_edge": display.money(one.net_edge_e6, sign=True),
            "gross_edge": display.money(one.gross_edge_e6, sign=True),
            "ev": display.money(one.ev_e6, sign=True),
            "fees": display.money(one.fees_e6),
            "capital": display.money(one.capital_e6),
            "worst_case": display.money(one.worst_case_e6, sign=True),
            "size": display.count(one.count_e2),
            "value_points": display.points(one.value, sign=True),
            "annualised_return": display.rate(one.annualised_return),
            "starts": display.countdown(one.start_ms, now_ms),
            "closes": display.countdown(one.close_ms, now_ms),
            "legs": [
                f"Buy {leg.side.upper()} {leg.label}: "
                f"{display.count(leg.count_e2)} at {display.price(leg.price_e4)}"
                for leg in one.legs
            ],
        },
    }


def to_csv(opportunities: Sequence[Opportunity]) -> str:
    """Return opportunities as CSV with a header line. No cell starts a formula."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for one in opportunities:
        sent = opportunity_json(one)
        legs = "; ".join(
            f"buy {leg.side} {leg.ticker} {format_count(leg.count_e2)} @ {format_price(leg.price_e4)}"
            for leg in one.legs
        )
        row = {**sent, "legs": legs, "as_of": format_time(one.as_of_ms)}
        row |= {"reasons": " ".join(one.reasons), "notes": "; ".join(one.notes)}
        writer.writerow([cell(row[column]) for column in COLUMNS])
    return out.getvalue()


def rows_to_csv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows of the trader's as CSV with a header line. No cell starts a formula."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([cell(row.get(column)) for column in columns])
    return out.getvalue()


def cell(value: object) -> str:
    """Return a value as a CSV cell that a spreadsheet takes as text or number, never as a formula."""
    return guarded("" if value is None else str(value).lower() if isinstance(value, bool) else str(value))
