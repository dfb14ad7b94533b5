"""What a source returned: a bad row costs itself, what is no answer at all the answer."""

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trader.fair_values import Estimate
from trader.fair_values.checked import answer_of

NOW_MS = 1_800_000_000_000


def test_numbers_and_estimates_are_values() -> None:
    answer = answer_of(
        {"A": 0.25, "B": 1, "C": Estimate(0.5, 0.01), "D": Estimate(0.5, as_of_ms=7), "E": Fraction(1, 4)},
        NOW_MS,
    )

    assert answer.values == (
        ("A", 0.25, 0.0, NOW_MS),
        ("B", 1.0, 0.0, NOW_MS),
        ("C", 0.5, 0.01, NOW_MS),
        ("D", 0.5, 0.0, 7),
        ("E", 0.25, 0.0, NOW_MS),
    )
    assert (answer.refused, answer.errors) == (0, ())


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("ticker", "estimate", "says"),
    [
        ("X", float("nan"), "probability: got nan"),
        ("X", float("inf"), "probability: got inf"),
        ("X", 1.01, "probability: got 1.01"),
        ("X", -0.01, "probability: got -0.01"),
        ("X", True, "probability: got True"),
        ("X", "0.5", "probability: got '0.5'"),
        ("X", None, "probability: got None"),
        ("X", 1j, "probability"),
        ("X", 10**400, "probability"),
        ("X", Unspeakable(), "got Unspeakable"),
        ("X", Estimate(0.5, margin=2.0), "margin: got 2.0"),
        ("X", Estimate(0.5, as_of_ms=NOW_MS + 1), "as_of_ms"),
        ("X", Estimate(0.5, as_of_ms=-1), "as_of_ms"),
        (7, 0.5, "ticker"),
        ("", 0.5, "ticker"),
        ("x" * 201, 0.5, "ticker"),
        ("X\ud800", 0.5, "ticker"),
        (None, 0.5, "ticker"),
        (("A", "B"), 0.5, "ticker"),
    ],
)
def test_a_bad_row_is_refused_by_its_ticker(ticker: Any, estimate: Any, says: str) -> None:
    answer = answer_of({"A": 0.5, ticker: estimate, "B": 0.5}, NOW_MS)

    assert [value[0] for value in answer.values] == ["A", "B"]
    assert answer.refused == 1
    assert says in answer.errors[0]


@pytest.mark.parametrize("returned", [None, 7, [("A", 0.5)], "A", {f"T{n}": 0.5 for n in range(200_001)}])
def test_what_is_no_answer_is_refused_whole(returned: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        answer_of(returned, NOW_MS)


def test_only_the_first_errors_are_told() -> None:
    answer = answer_of({f"T{number}": 2.0 for number in range(100)}, NOW_MS)

    assert (answer.refused, len(answer.errors)) == (100, 20)


@given(st.dictionaries(st.text() | st.integers(), st.floats() | st.text() | st.none() | st.integers()))
def test_any_rows_are_values_or_refused(rows: dict[Any, Any]) -> None:
    answer = answer_of(rows, NOW_MS)

    assert len(answer.values) + answer.refused == len(rows)
    assert all(0 <= probability <= 1 for _, probability, _, _ in answer.values)
