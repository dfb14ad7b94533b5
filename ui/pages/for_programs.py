"""Opportunities as JSON for programs and as CSV for spreadsheets."""

import csv
import io
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Final, get_args, get_type_hints

import msgspec

from bus.spreadsheet import guarded
from bus.trading.shapes import UnixTime
from markets.opportunities import REASONS, Opportunity, explain, opportunity_json
from markets.units import format_count, format_money, format_price, format_time

from . import display
from .board import NO_BOUND, Room

_REST: Final = (
    "count_fp", "gross_edge_dollars", "fees_dollars", "net_edge_dollars", "ev_dollars", "locked_dollars",
    "if_void_dollars", "worst_case_dollars", "floor_dollars", "floor_void_dollars",
    "capital_dollars", "annualised_return", "probability", "margin", "value", "volume_fp", "start_time",
    "close_time", "as_of", "reasons", "notes", "explanation",
)  # fmt: skip

COLUMNS: Final = (
    "kind", "tradable", "title", "event_ticker", "series_ticker", "legs", *_REST,
)  # fmt: skip


def to_json(opportunity: Opportunity, now_ms: int, room: Room = NO_BOUND) -> dict[str, Any]:
    """Return an opportunity as the API gives it: exact strings and, under `display`, texts for people.

    Args:
        room: what a trade may cost within the limits.
    """
    return opportunity_json(opportunity) | {
        "explanation": explain(opportunity),
        "within_limits": {
            "capital_dollars": _money(room.capital_e6(opportunity)),
            "ev_dollars": _money(room.expected_e6(opportunity)),
            "ev_per_day_dollars": _money(room.per_day_e6(opportunity)),
        },
        "age_seconds": max(0, now_ms - opportunity.as_of_ms) / 1000,
        "reasons_text": [REASONS[reason] for reason in opportunity.reasons],
        "url": f"/e/{opportunity.event_ticker}"
        if len(opportunity.legs) > 1
        else f"/m/{opportunity.legs[0].ticker}",
        "display": {
            "net_edge_per_contract": display.cents(opportunity.net_edge_e6, opportunity.count_e2),
            "net_edge": display.money(opportunity.net_edge_e6, sign=True),
            "gross_edge": display.money(opportunity.gross_edge_e6, sign=True),
            "ev": display.money(opportunity.ev_e6, sign=True),
            "fees": display.money(opportunity.fees_e6),
            "capital": display.money(opportunity.capital_e6),
            "locked": display.money(opportunity.locked_e6, sign=True),
            "if_void": display.money(opportunity.if_void_e6, sign=True),
            "worst_case": display.money(opportunity.worst_case_e6, sign=True),
            "size": display.count(opportunity.count_e2),
            "value_points": display.points(opportunity.value, sign=True),
            "annualised_return": display.rate(opportunity.annualised_return),
            "starts": display.countdown(opportunity.start_ms, now_ms),
            "closes": display.countdown(opportunity.close_ms, now_ms),
            "legs": [
                f"Buy {leg.side.upper()} {leg.label}: "
                f"{display.count(leg.count_e2)} at {display.price(leg.price_e4)}"
                for leg in opportunity.legs
            ],
        },
    }


def _money(money_e6: int | None) -> str | None:
    return None if money_e6 is None else format_money(money_e6)


def to_csv(opportunities: Sequence[Opportunity]) -> str:
    """Return opportunities as CSV with a header line. No cell starts a formula."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for opportunity in opportunities:
        sent = opportunity_json(opportunity)
        legs = "; ".join(
            f"buy {leg.side} {leg.ticker} {format_count(leg.count_e2)} @ {format_price(leg.price_e4)}"
            for leg in opportunity.legs
        )
        row = {**sent, "legs": legs, "as_of": format_time(opportunity.as_of_ms)}
        row |= {"reasons": " ".join(opportunity.reasons), "notes": "; ".join(opportunity.notes)}
        row["explanation"] = explain(opportunity)
        writer.writerow([cell(row[column]) for column in COLUMNS])
    return out.getvalue()


def rows_to_csv(columns: Sequence[str], rows: Sequence[msgspec.Struct]) -> str:
    """Return rows from the trader as CSV with a header line. No cell starts a formula.

    Times are ISO 8601 in UTC, as in every CSV of the project.
    """
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    for row in rows:
        times = _times(type(row))
        values = ((column, getattr(row, column)) for column in columns)
        writer.writerow([cell(_iso(value) if column in times else value) for column, value in values])
    return out.getvalue()


def table_to_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return rows of values as CSV with a header line. No cell starts a formula."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([cell(value) for value in row])
    return out.getvalue()


@cache
def _times(row: type[msgspec.Struct]) -> frozenset[str]:
    hints = get_type_hints(row, include_extras=True)
    return frozenset(name for name, hint in hints.items() if UnixTime in (hint, *get_args(hint)))


def _iso(time_s: float | None) -> str | None:
    return None if time_s is None else format_time(round(time_s * 1_000))


def cell(value: object) -> str:
    """Return a value as a CSV cell that a spreadsheet takes as text or number, never as a formula."""
    return guarded("" if value is None else str(value).lower() if isinstance(value, bool) else str(value))
