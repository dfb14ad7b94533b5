"""What a query of opportunities selects, and how a wrong one is refused."""

from typing import Any
from urllib.parse import parse_qsl

import pytest

from markets.errors import BadRecord
from markets.opportunities import Opportunity
from tests.ui.pages.opportunities import HOUR_MS, NOW_MS, opportunity
from ui.pages.filters import LIMIT_DEFAULT, LIMIT_MAX, PARAMETERS, SORTS, Filters, parse


def select(query: str, *found: Opportunity) -> list[str]:
    return [one.title.removeprefix("Event ") for one in parse(parse_qsl(query)).select(found, NOW_MS)]


def test_without_parameters_the_tradable_ones_come_in_order() -> None:
    found = [opportunity("a"), opportunity("b"), opportunity("c", reasons=("no_depth",))]

    assert select("", *found) == ["a", "b"]
    assert select("why_not=1", *found) == ["a", "b", "c"]
    assert parse([]).limit == LIMIT_DEFAULT


@pytest.mark.parametrize(
    ("query", "passing", "failing"),
    [
        ("min_value=0.05", {"value": 0.05}, {"value": 0.0499}),
        ("min_value=0.05", {"value": 0.9}, {"value": None}),
        ("min_ev=2.50", {"ev_e6": 2_500_000}, {"ev_e6": 2_499_999}),
        ("min_ev=0", {"ev_e6": 0}, {"ev_e6": None}),
        ("max_hours=1.5", {"close_ms": NOW_MS + 90 * 60_000}, {"close_ms": NOW_MS + 90 * 60_000 + 1}),
        ("max_hours=2", {"start_ms": NOW_MS + HOUR_MS}, {"start_ms": NOW_MS + 3 * HOUR_MS}),
        ("max_hours=20", {"start_ms": NOW_MS - HOUR_MS}, {"start_ms": NOW_MS + 21 * HOUR_MS}),
        ("max_hours=5", {"start_ms": NOW_MS + HOUR_MS}, {"start_ms": NOW_MS - HOUR_MS}),
        ("min_volume=500.5", {"volume_e2": 500_50}, {"volume_e2": 500_49}),
        ("kind=no_basket", {"kind": "no_basket"}, {"kind": "value"}),
        ("q=ATLANTA+event", {}, {"title": "Event", "legs": ()}),
        ("q=e-x-a", {"event_ticker": "e-x-a"}, {"event_ticker": "other", "legs": ()}),
    ],
)
def test_each_filter_keeps_candidates_that_reach_its_bound(
    query: str, passing: dict[str, Any], failing: dict[str, Any]
) -> None:
    good, bad = opportunity("good", **passing), opportunity("bad", **failing)

    assert parse(parse_qsl(query)).select([bad, good], NOW_MS) == [good]


def test_both_directions_of_sorting_put_unknown_values_last() -> None:
    found = [
        opportunity("low", ev_e6=1),
        opportunity("none", ev_e6=None),
        opportunity("high", ev_e6=5),
    ]

    assert select("sort=ev", *found) == ["low", "high", "none"]
    assert select("sort=-ev", *found) == ["high", "low", "none"]


def test_net_edge_sorts_per_contract() -> None:
    small = opportunity("small", net_edge_e6=100, count_e2=100)
    large = opportunity("large", net_edge_e6=1_000, count_e2=10_000)

    assert select("sort=-net", large, small) == ["small", "large"]


@pytest.mark.parametrize("name", SORTS)
def test_every_sort_works_with_unknown_values(name: str) -> None:
    unknown = "net_edge_e6 value ev_e6 capital_e6 fees_e6 worst_case_e6 annualised_return close_ms volume_e2"
    empty = opportunity("empty", **dict.fromkeys(unknown.split()))

    assert set(select(f"sort={name}", empty, opportunity("full"))) == {"empty", "full"}


def test_limit_cuts_after_sorting() -> None:
    assert select("limit=1&sort=-ev", opportunity("a", ev_e6=1), opportunity("b", ev_e6=2)) == ["b"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("nonsense=1", "nonsense"),
        ("limit=0", "limit"),
        (f"limit={LIMIT_MAX + 1}", "limit"),
        ("limit=1.5", "limit"),
        ("limit=ten", "limit"),
        ("limit=1&limit=2", "limit"),
        ("min_value=1.01", "min_value"),
        ("min_value=nan", "min_value"),
        ("min_value=-0.1", "min_value"),
        ("min_ev=1e3", "min_ev"),
        ("min_ev=-1", "min_ev"),
        ("min_ev=0.0000001", "min_ev"),
        ("max_hours=inf", "max_hours"),
        ("min_volume=-1", "min_volume"),
        ("kind=arbitrage", "kind"),
        ("sort=nothing", "sort"),
        ("sort=--ev", "sort"),
        ("why_not=yes", "why_not"),
        ("q=" + "x" * 101, "q"),
        ("limit=" + "9" * 5_000, "limit"),
        ("min_value=%D9%A1", "min_value"),
    ],
)
def test_a_wrong_parameter_is_named(query: str, field: str) -> None:
    with pytest.raises(BadRecord) as error:
        parse(parse_qsl(query))

    assert error.value.field == field
    assert len(str(error.value)) < 600


def test_an_empty_value_counts_as_not_given() -> None:
    assert parse([(name, "") for name in PARAMETERS]) == Filters()
    assert not Filters(sort="-ev", why_not=True).narrowed
    assert Filters(q="x").narrowed
