"""Clones keep what was recorded and change only what must differ."""

import gzip
import json
import re
from calendar import month_name
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from markets.errors import StartupError
from markets.units import parse_time_ms
from simulator.floor.exchange import Exchange
from simulator.floor.grid import GRIDS
from simulator.front.render import event_json
from simulator.universe import dates, templates
from simulator.universe.catalogue import Catalogue
from simulator.universe.templates import BUNDLED, Recorded
from tests.simulator.venue import START_MS, Client

Make = Callable[..., Client]

DOCUMENT: dict[str, Any] = json.loads(gzip.decompress(BUNDLED.read_bytes()))


@pytest.fixture(scope="module")
def universe(make_client: Make) -> list[dict[str, Any]]:
    client = make_client(markets=3000)
    return client.walk("/events?with_nested_markets=true", "events")


def test_a_clone_has_exactly_the_members_of_its_original(universe: list[dict[str, Any]]) -> None:
    originals: dict[str, set[frozenset[str]]] = {}
    for event in DOCUMENT["events"]:
        for market in event["markets"]:
            members = frozenset(key for key, value in market.items() if value is not None)
            originals.setdefault(event["series_ticker"], set()).add(members)
    compared = 0
    for event in universe:
        known = originals.get(event["series_ticker"])
        for market in event["markets"] if known is not None else ():
            keys = frozenset(market) - {"settlement_ts", "settlement_value_dollars", "floor_strike"}
            assert keys in {k - {"floor_strike"} for k in known or ()}, market["ticker"]
            compared += 1
    assert compared > 300


def test_no_hole_stays_open_and_every_text_is_of_its_own_match(universe: list[dict[str, Any]]) -> None:
    for event in universe:
        text = json.dumps(event)
        assert not re.search(r"%\(|\\u000[01]|LEAGUE:", text)
        if " vs " not in event["title"]:
            continue
        a, b = re.match(r"(.+?) vs (.+?)(?:: .*)?$", event["title"]).groups()  # type: ignore[union-attr]
        for market in event["markets"]:
            assert market["ticker"].startswith(event["event_ticker"] + "-")
            rules = market["rules_primary"]
            if " vs " in rules:
                assert f"{a} vs {b}" in rules, market["ticker"]
            assert any(name in market["title"] + market["yes_sub_title"] + rules for name in (a, b))
            day = re.search(r"originally scheduled for (\w{3} \d{1,2}, \d{4})", rules)
            if day is not None:
                start = _start(market)
                assert day[1] == dates.short_date(start)
                assert dates.ticker_date(start) in event["event_ticker"]


@pytest.mark.parametrize(("size", "seed"), [(1, 1), (40, 2), (1500, 3), (20_000, 1)])
def test_every_object_of_a_catalogue_is_whole_json_with_plausible_names(
    recorded: Recorded, size: int, seed: int
) -> None:
    exchange = Exchange(recorded, size, seed, START_MS)
    titles = Counter[str]()
    for event in exchange.events.values():
        body = json.loads(event_json(event, START_MS, event.markets))
        series = exchange.series[event.series.ticker]
        assert re.fullmatch(r"KX[A-Z0-9&]+", series.ticker), series.ticker
        assert event.ticker.startswith(series.ticker + "-")
        texts = [body["title"], body["sub_title"], series.body["title"]]
        texts += [m[key] for m in body["markets"] for key in ("title", "yes_sub_title", "rules_primary")]
        assert not [t for t in texts if re.search(r"[{}]|%\(|LEAGUE:| · (?!\$|TBD)|KX|\x00", t)], event.ticker
        titles[body["title"] + body["sub_title"]] += event.group.kind in ("options", "ladder")
    assert titles.most_common(1)[0][1] <= 1
    for series in exchange.series.values():
        assert series.body["title"]
        assert " · " not in series.body["title"]


def _start(market: dict[str, Any]) -> int:
    return parse_time_ms(market["occurrence_datetime"]) - templates.START_BEFORE_OCCURRENCE_MS


def test_tickers_are_unique(universe: list[dict[str, Any]]) -> None:
    counts = Counter(market["ticker"] for event in universe for market in event["markets"])
    counts += Counter(event["event_ticker"] for event in universe)
    assert [ticker for ticker, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("wanted", [1, 40, 1500, 8000])
def test_a_universe_has_the_size_and_proportions_asked_for(recorded: Recorded, wanted: int) -> None:
    catalogue = Catalogue(recorded, Random(1))
    groups = list(catalogue.universe(wanted, START_MS))
    markets = sum(len(group.markets()) for group in groups)
    events = [event for group in groups for event in group.events]
    assert wanted <= markets <= wanted + 45
    if wanted >= 1500:
        assert 5 < markets / len(events) < 12
        assert 1 < len(catalogue.series) / len(events) < 1.5
        assert 0.4 < sum(event.template.exclusive for event in events) / len(events) < 0.7


@pytest.mark.parametrize("begin", ["2026-12-01T00:30:00Z", "2026-09-21T13:33:20Z", "2027-02-28T23:00:00Z"])
def test_what_is_asked_about_a_time_is_asked_before_it_and_until_its_end(
    recorded: Recorded, begin: str
) -> None:
    begin_ms = parse_time_ms(begin)
    seen = Counter[str]()
    for group in Catalogue(recorded, Random(1)).universe(6000, begin_ms):
        body = json.loads(event_json(group.events[0], begin_ms, ()))
        month = re.search(rf"\b({'|'.join(month_name[1:])}) (20\d\d)\?", body["title"])
        year = re.search(r"\b(20\d\d)\b", body["title"])
        if month is not None:
            first = list(month_name).index(month[1])
            last, year = first, month
        elif re.search(r"Australian Open|Grammys", body["title"]):
            first = last = 1 if "Open" in body["title"] else 2
        elif body["title"].startswith("When in "):
            first, last = 1, 12
        elif "at the end of" in body["title"]:
            first = last = 12
        else:
            continue
        assert year is not None
        number = int(year[year.re.groups])
        first_ms, end_ms = dates.first_of(number, first), dates.first_of(number, last + 1)
        assert begin_ms < first_ms < end_ms == group.events[0].close_ms == group.events[0].expected_ms, body
        assert body["event_ticker"].endswith(f"-{number % 100}")
        seen[body["title"].split()[0]] += 1
    assert len(seen) > 10, seen


def test_a_month_begins_at_midnight_in_new_york() -> None:
    assert dates.first_of(2027, 3) == parse_time_ms("2027-03-01T05:00:00Z")
    assert dates.first_of(2026, 11) == parse_time_ms("2026-11-01T04:00:00Z")
    assert dates.first_of(2026, 12) == parse_time_ms("2026-12-01T05:00:00Z")
    assert dates.first_of(2026, 13) == parse_time_ms("2027-01-01T05:00:00Z")


def test_a_catalogue_of_ones_own_is_cloned(tmp_path: Path) -> None:
    wanted = [e for e in DOCUMENT["events"] if e["series_ticker"] in ("KXNBA", "KXU3MAX")]
    (tmp_path / "catalogue.json").write_text(json.dumps({**DOCUMENT, "events": wanted}))
    catalogue = Catalogue(templates.load(tmp_path), Random(1))
    groups = list(catalogue.universe(200, START_MS))
    assert {group.kind for group in groups} == {"options", "ladder"}
    assert sum(len(group.markets()) for group in groups) >= 200


@pytest.mark.parametrize(
    "content",
    [
        b"no json",
        b"{}",
        b"[]",
        b'{"events": [{}]}',
        json.dumps({**DOCUMENT, "events": [{"series_ticker": "A"}]}).encode(),
    ],
)
def test_a_broken_catalogue_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "catalogue.json").write_bytes(content)
    with pytest.raises(StartupError, match="not a readable catalogue"):
        templates.load(tmp_path)


def test_an_empty_catalogue_is_refused(tmp_path: Path) -> None:
    (tmp_path / "catalogue.json").write_text(json.dumps({**DOCUMENT, "events": []}))
    with pytest.raises(StartupError, match="no events"):
        templates.load(tmp_path)


@pytest.mark.parametrize(
    ("utc", "clock", "ticker"),
    [
        ("2026-08-10T00:20:00Z", "8:20 PM EDT", "26AUG092020"),
        ("2026-11-01T05:30:00Z", "1:30 AM EDT", "26NOV010130"),
        ("2026-11-01T06:30:00Z", "1:30 AM EST", "26NOV010130"),
        ("2027-03-14T06:59:00Z", "1:59 AM EST", "27MAR140159"),
        ("2027-03-14T07:00:00Z", "3:00 AM EDT", "27MAR140300"),
        ("2027-01-01T17:00:00Z", "12:00 PM EST", "27JAN011200"),
        ("2027-01-01T05:00:00Z", "12:00 AM EST", "27JAN010000"),
    ],
)
def test_new_york_time(utc: str, clock: str, ticker: str) -> None:
    time_ms = parse_time_ms(utc)
    assert (dates.clock(time_ms), dates.ticker_date(time_ms, True)) == (clock, ticker)


@pytest.mark.parametrize("name", sorted(GRIDS))
def test_a_grid_steps_as_its_ranges_say(name: str) -> None:
    grid = GRIDS[name]
    assert grid.prices[0] > 0
    assert grid.prices[-1] < 10_000
    assert all(cents in grid.prices for cents in range(100, 10_000, 100))
    for price in (grid.prices[0], 5_000, grid.prices[-1]):
        assert grid.at_or_below(price) == grid.at_or_above(price) == price
        assert grid.at_or_below(price + 0.5) == price
    assert grid.at_or_below(0) is None
    assert grid.at_or_above(10_000) is None
    assert grid.below(grid.prices[0]) is None
    assert grid.above(grid.prices[-1]) is None


def test_tags_and_sources_of_a_series_fit_it_and_its_events_have_the_same(recorded: Recorded) -> None:
    exchange = Exchange(recorded, 6_000, 1, START_MS)
    known = recorded.tags_by_categories["tags_by_categories"]
    for series in exchange.series.values():
        body, category = series.body, series.category
        assert set(body["tags"] or ()) <= {*(known.get(category) or ()), "Gold", "Silver"}
        urls = " ".join(source["url"] for source in body["settlement_sources"])
        if category != "Sports":
            assert not re.search(r"nba|espn|nfl|mlb", urls)
            assert "players" not in " ".join(body["additional_prohibitions"] or ())
        if category not in ("Economics", "Sports"):
            assert "bls.gov" not in urls
        if re.search(r"KX(NBA|EPL|LALIGA|ATP)[A-Z]*(GAME|SPREAD|TOTAL|MATCH)$", series.ticker):
            assert re.search(r"www\.(nba|premierleague|laliga|atptour)\.", urls)
        for event in series.events:
            sources = json.loads(event_json(event, START_MS))["settlement_sources"]
            if series.ticker not in recorded.series:
                assert sources == body["settlement_sources"]
    (chicago,) = [s for s in exchange.series.values() if s.ticker == "KXHIGHCHI"]
    assert "issuedby=MDW" in chicago.body["settlement_sources"][0]["url"]
    assert exchange.series["KXCPICANADA"].body["tags"] == ["Inflation"]
