"""The view of the opportunities table: columns and pins in the address."""

import pytest

from markets.errors import BadRecord
from tests.ui.pages.opportunities import opportunity
from ui.pages.columns import COLUMNS, PINS_MAX, TableView, parse_view, without_view
from ui.pages.filters import Filters

KEYS = [column.key for column in COLUMNS]


def key_of(name: str) -> str:
    return opportunity(name).key


def test_by_default_all_columns_are_shown_and_a_choice_keeps_their_order_and_the_title() -> None:
    assert [column.key for column in TableView(Filters()).columns] == KEYS
    view = parse_view([("cols", "age,net"), ("cols", "ev"), ("min_ev", "2")])
    assert [column.key for column in view.columns] == ["title", "net", "ev", "age"]
    assert view.filters.min_ev_e6 == 2_000_000


def test_a_pin_is_added_last_and_removed_again() -> None:
    view = parse_view([("pin", key_of("a"))])

    assert view.toggled(key_of("b")) == f"{key_of('a')},{key_of('b')}"
    assert view.toggled(key_of("a")) is None
    assert view.toggled("another", {key_of("a"), "another"}) is None
    full = TableView(Filters(), pins=tuple(str(n) for n in range(PINS_MAX)))
    assert (full.toggled("more") or "").split(",") == [*(str(n) for n in range(1, PINS_MAX)), "more"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cols", "nonsense"),
        ("cols", "title"),
        ("pin", ",".join(str(n) for n in range(PINS_MAX + 1))),
        ("pin", "x" * 200),
        ("nonsense", "1"),
    ],
)
def test_a_wrong_parameter_is_named(name: str, text: str) -> None:
    with pytest.raises(BadRecord) as error:
        parse_view([(name, text)])
    assert error.value.field == name


def test_a_file_uses_only_the_filters_and_the_order() -> None:
    assert without_view({"q": "x", "sort": "-ev", "cols": "age", "pin": "a"}) == {"q": "x", "sort": "-ev"}
