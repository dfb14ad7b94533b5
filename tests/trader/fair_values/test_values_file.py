"""Fair values from a file: what it says, what is refused, and when it is read again."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from markets.records import FairValue
from trader.fair_values import ValuesFile, parse

T = 1_800_000_000_000


def test_csv_with_all_columns() -> None:
    text = "ticker,probability,margin,as_of\nKX-1,0.25,0.02,2027-01-15T08:00:00Z\nKX-2,1,,\n"

    loaded = parse(text, "mine.csv", T)

    assert loaded.errors == ()
    assert loaded.values == {
        "KX-1": FairValue("KX-1", 0.25, "file", 1_800_000_000_000, 0.02),
        "KX-2": FairValue("KX-2", 1.0, "file", T, 0.0),
    }


def test_json_list() -> None:
    loaded = parse(
        '[{"ticker": "KX-1", "probability": 0.5}, {"ticker": "KX-2", "probability": "0.75"}]', "a.json", T
    )

    assert [(one.ticker, one.probability) for one in loaded.values.values()] == [
        ("KX-1", 0.5),
        ("KX-2", 0.75),
    ]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("KX-9,1.5,,", "probability: got '1.5'"),
        ("KX-9,nan,,", "probability: got 'nan'"),
        ("KX-9,,,", "probability: got None"),
        ("KX-9,0.5,-1,", "margin: got '-1'"),
        ("KX-9,0.5,,yesterday", "as_of: got 'yesterday'"),
        (
            "KX-9,0.5,,2027-01-15T08:00:06Z",
            "as_of: got '2027-01-15T08:00:06Z', expected a time that is not after",
        ),
        ("KX-9,0.5,,9999-12-31T00:00:00Z", "as_of: got '9999-12-31T00:00:00Z'"),
        (",0.5,,", "ticker: got None"),
        ("KX-1,0.5,,", "ticker: got 'KX-1', expected a ticker once"),
        ("KX-9,0.5,,,7", "beyond the header"),
    ],
)
def test_a_bad_row_is_refused_by_line_and_name_and_the_rest_counts(row: str, problem: str) -> None:
    loaded = parse(f"ticker,probability,margin,as_of\nKX-1,0.25,,\n{row}\nKX-3,0.75,,\n", "mine.csv", T)

    assert list(loaded.values) == ["KX-1", "KX-3"]
    (error,) = loaded.errors
    assert error.startswith("mine.csv line 3 (")
    assert problem in error


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "name,price\nKX-1,0.5\n"),
        ("a.csv", 'ticker,probability\n"KX-1,0.5\n'),
        ("a.csv", ""),
        ("a.json", "{}"),
        ("a.json", "[" * 100_000),
        ("a.json", '[{"ticker": "KX-1", "probab'),
    ],
)
def test_a_file_that_is_none_is_refused_whole(name: str, text: str) -> None:
    with pytest.raises(ValueError):
        parse(text, name, T)


@pytest.mark.parametrize(
    "item",
    [
        "7",
        "null",
        '{"ticker": 1}',
        '{"ticker": "A\\ud800", "probability": 0.5}',
        '{"ticker": "A", "\\udfff": 0.5}',
        f'{{"ticker": "A", "{"x" * 100_000}": 0.5}}',
        '{"ticker": "A", "probability": true}',
        '{"ticker": "A", "probability": 1e400}',
        '{"ticker": "A", "probability": 0.5, "odds": 2}',
    ],
)
def test_a_bad_item_is_refused_by_number(item: str) -> None:
    loaded = parse(f'[{{"ticker": "KX-1", "probability": 0.5}}, {item}]', "a.json", T)

    assert (len(loaded.values), len(loaded.errors)) == (1, 1)
    assert loaded.errors[0].startswith("a.json item 2 (")
    assert len(loaded.errors[0].encode()) < 1_000


@given(st.text(max_size=300), st.sampled_from(["a.csv", "a.json"]))
def test_any_text_gives_values_or_one_error(text: str, name: str) -> None:
    try:
        loaded = parse(text, name, T)
    except ValueError:
        return
    assert all(0 <= one.probability <= 1 for one in loaded.values.values())


def test_a_file_is_read_when_it_changes_and_keeps_what_it_said_when_it_is_broken(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    file = ValuesFile(path)
    assert not file.look(T)
    assert "cannot be read" in file.loaded.errors[0]

    path.write_text("ticker,probability\nKX-1,0.5\n")
    assert file.look(T)
    assert not file.look(T)
    assert file.loaded.errors == ()

    path.write_text("ticker,probability\nKX-1,0.5\nKX-2,0.5\n")
    assert file.look(T)
    for spoil in (lambda: path.write_text("half of a fi"), path.unlink):
        spoil()
        assert not file.look(T)
        assert set(file.loaded.values) == {"KX-1", "KX-2"}
        assert file.loaded.errors


def test_a_file_of_the_future_is_of_now_and_grows_stale(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("ticker,probability\nKX-1,0.5\n")
    os.utime(path, (4_000_000_000, 4_000_000_000))
    file = ValuesFile(path)
    assert file.look(T)
    assert file.loaded.values["KX-1"].as_of_ms == T
