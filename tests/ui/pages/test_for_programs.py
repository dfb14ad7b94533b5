"""Opportunities in the API and as CSV."""

import csv
import io

import pytest

from bus.trading.shapes import FillRow
from markets.opportunities import KINDS
from tests.bus.trading.samples import a_position
from tests.ui.pages.opportunities import NOW_MS, opportunity
from tests.ui.stage import NASTY
from ui.pages.for_programs import COLUMNS, cell, rows_to_csv, to_csv, to_json


@pytest.mark.parametrize("text", ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "-", NASTY])
def test_no_cell_starts_a_formula(text: str) -> None:
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize(
    ("value", "expected"),
    [("-0.500000", "-0.500000"), (-0.5, "-0.5"), (None, ""), (True, "true"), ("plain", "plain")],
)
def test_numbers_stay_numbers(value: object, expected: str) -> None:
    assert cell(value) == expected


def test_csv_reads_back_with_exact_amounts() -> None:
    one = opportunity("a", title=NASTY, reasons=("no_depth", "stale_leg"), net_edge_e6=-173_900)

    rows = list(csv.reader(io.StringIO(to_csv([one]))))

    assert rows[0] == list(COLUMNS)
    row = dict(zip(COLUMNS, rows[1], strict=True))
    assert row["title"] == "'" + NASTY
    assert row["net_edge_dollars"] == "-0.173900"
    assert row["reasons"] == "no_depth stale_leg"
    assert row["legs"] == "buy yes E-a-A 100.00 @ 0.4000"
    assert len(rows) == 2


def test_rows_of_the_trader_are_written_the_same_way() -> None:
    rows = [a_position(title=NASTY, unrealised_dollars="-1.500000"), a_position(title=None, stale=True)]

    assert list(csv.reader(io.StringIO(rows_to_csv(("title", "unrealised_dollars", "stale"), rows)))) == [
        ["title", "unrealised_dollars", "stale"],
        ["'" + NASTY, "-1.500000", "false"],
        ["", "-0.120000", "true"],
    ]


def test_times_are_written_the_same_way_in_all_files() -> None:
    fill = FillRow(
        id=1, order=2, ticker="A-1-X", event_ticker="A-1", side="yes", price_dollars="0.4000",
        count_fp="1.00",        cost_dollars="0.400000", fee_dollars="0.020000", time=1_790_000_000.25,
    )  # fmt: skip

    written = list(csv.reader(io.StringIO(rows_to_csv(("id", "time"), [fill]))))[1]

    assert written == ["1", "2026-09-21T14:13:20.25Z"]
    assert list(csv.reader(io.StringIO(rows_to_csv(("close_time",), [a_position(close_time=None)]))))[1] == [
        ""
    ]


def test_the_api_gives_exact_amounts_and_texts_for_people() -> None:
    sent = to_json(opportunity("a", as_of_ms=NOW_MS - 2_500), NOW_MS)

    assert sent["net_edge_dollars"] == "2.000000"
    assert sent["display"]["net_edge_per_contract"] == "+2.00¢"
    assert sent["age_seconds"] == 2.5
    assert sent["url"] == "/m/E-a-A"
    assert sent["kind"] in KINDS
    assert (sent["start_time"], sent["close_time"]) == (None, "2027-01-15T18:00:00Z")
