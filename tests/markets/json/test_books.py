"""Order books as the REST API sends them."""

import json
from typing import Any

import pytest

from markets.errors import BadRecord
from markets.json.books import decode_books
from markets.json.write import book_json
from markets.records import Book
from tests.markets.json.recorded import (
    EVENTS,
    encode,
)


def only(orderbook: dict[str, Any], as_of_ms: int = 0) -> Book:
    """Return the book of a reply with one; raise what it is refused for."""
    body = encode({"orderbooks": [{"ticker": "T", "orderbook_fp": orderbook}]})
    books, refused = decode_books(body, as_of_ms)
    if refused:
        raise refused[0].error
    return books[0]


def test_recorded_book_comes_back() -> None:
    sent = EVENTS["orderbook"]["orderbook_fp"]
    book = only(sent, 5)
    assert book.yes[-1] == (500, 70_800)
    assert json.loads(book_json(book)) == sent


@pytest.mark.parametrize(
    ("yes", "field"),
    [
        ([["0.0200", "1.00"], ["0.0100", "1.00"]], "yes_dollars"),
        ([["0.0200", "1.00"], ["0.0200", "1.00"]], "yes_dollars"),
        ([["0.0000", "1.00"]], "yes_dollars"),
        ([["1.0000", "1.00"]], "yes_dollars"),
        ([["0.0200", "0.00"]], "yes_dollars"),
        ([["0.0200", "-1.00"]], "yes_dollars"),
        ([["0.0200", 1]], "yes_dollars[0][1]"),
        ([["0.0200"]], "yes_dollars[0]"),
    ],
)
def test_bad_levels_are_refused(yes: list[Any], field: str) -> None:
    with pytest.raises(BadRecord) as refused:
        only({"yes_dollars": yes, "no_dollars": []})
    assert refused.value.field.removeprefix("orderbook_fp.") == field


def test_wrong_envelope_is_not_an_empty_book() -> None:
    with pytest.raises(BadRecord):
        only({"yes": [], "no": []})
    assert only({"yes_dollars": None, "no_dollars": []}) == Book("T", 0, (), ())


def test_a_bad_book_does_not_lose_the_others() -> None:
    good = {"ticker": "A", "orderbook_fp": {"yes_dollars": [["0.0100", "1.00"]], "no_dollars": []}}
    refusable = {"ticker": "B", "orderbook_fp": {"yes_dollars": [["0.0100", "-1.00"]], "no_dollars": []}}
    nameless = {"orderbook_fp": good["orderbook_fp"]}
    books, refused = decode_books(
        encode({"orderbooks": [good, refusable, nameless, {**good, "ticker": "C"}]}), 9
    )
    assert [book.ticker for book in books] == ["A", "C"]
    assert [(bad.ticker, bad.error.field) for bad in refused] == [
        ("B", "yes_dollars"),
        (None, "ticker"),
    ]
    assert json.loads(refused[0].raw) == refusable
