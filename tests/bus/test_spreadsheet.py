"""No cell starts a formula, and a number stays one."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.spreadsheet import guarded


@pytest.mark.parametrize(
    "text",
    ["=1", "+1", "-1+1", "@SUM(A1)", "\t@x", "\r=1", "\n=1+1", "-", "-1\n", "--1", "-1e5", "-.5", "-\uff11"],
)
def test_what_begins_like_a_formula_is_text(text: str) -> None:
    assert guarded(text) == f"'{text}"


@pytest.mark.parametrize("text", ["-1", "-0.500000", "0", "12.5", "", "plain", "a=1", "'=1", " =1", "1\n=1"])
def test_numbers_and_plain_text_stay_as_they_are(text: str) -> None:
    assert guarded(text) == text


@given(st.text())
def test_a_cell_reads_back_and_begins_harmlessly(text: str) -> None:
    out = io.StringIO()
    csv.writer(out).writerow([guarded(text), "end"])
    cell, _ = next(csv.reader(io.StringIO(out.getvalue(), newline="")))
    assert cell.removeprefix("'") == text.removeprefix("'")
    assert cell[:1] not in ("=", "+", "@", "\t", "\r", "\n")
    assert cell[:1] != "-" or float(cell) <= 0
