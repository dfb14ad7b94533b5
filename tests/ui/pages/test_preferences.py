"""Display settings: valid cookies, and all others."""

from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from markets.units import MAX_TIME_MS
from ui.pages import display
from ui.pages.preferences import COOKIE_MAX, ET, USUAL, Zone, parse_preferences, zone_named

WINTER_MS = 1_796_385_600_000  # 2026-12-04 12:00 UTC
SUMMER_MS = 1_785_844_800_000  # 2026-08-04 12:00 UTC


def test_a_cookie_holds_zone_theme_and_density() -> None:
    said = parse_preferences("zone=local%3AEurope%2FBerlin&theme=dark&density=compact")
    assert (said.zone, said.theme, said.density) == (Zone("local", "Europe/Berlin"), "dark", "compact")
    assert parse_preferences("zone=et").zone == Zone("et", ET)
    assert parse_preferences("zone=utc&theme=system&density=comfortable") == USUAL


@pytest.mark.parametrize(
    "cookie",
    [
        None,
        "",
        "zone",
        "zone=&theme=&density=",
        "zone=local",
        "zone=local:",
        "zone=local:../../etc/passwd",
        "zone=local:/etc/localtime",
        "zone=local:%00",
        "zone=ET",
        "theme=pink&density=0",
        "\x00\xff",
        "theme=dark" * 100,
        "theme=dark&" + "x" * COOKIE_MAX,
    ],
)
def test_an_invalid_cookie_counts_as_none(cookie: str | None) -> None:
    assert parse_preferences(cookie) == USUAL


def test_an_invalid_part_does_not_affect_the_others() -> None:
    said = parse_preferences("zone=local:../..&theme=dark&density=huge&more=1")
    assert (said.zone, said.theme, said.density) == (USUAL.zone, "dark", "comfortable")


def test_a_zone_unknown_to_this_machine_becomes_utc_and_says_so() -> None:
    for name in ("Mars/Olympus", "America"):
        zone = parse_preferences(f"zone=local:{name}").zone
        assert (zone.info, zone.unknown) == (UTC, name)
        assert zone.words(WINTER_MS) == f"UTC, because this machine does not know the zone {name}"
        assert zone_named(name) is None


@given(st.text(max_size=COOKIE_MAX))
def test_no_cookie_breaks_anything(text: str) -> None:
    said = parse_preferences(text)
    assert said.zone.words(WINTER_MS)
    assert display.moment(WINTER_MS, said.zone.info)


def test_a_zone_has_its_present_name() -> None:
    eastern, nepal = Zone("et", ET), Zone("local", "Asia/Kathmandu")
    assert (eastern.short(WINTER_MS), eastern.short(SUMMER_MS), USUAL.zone.short(0)) == ("EST", "EDT", "UTC")
    assert eastern.words(WINTER_MS) == "US Eastern (EST, UTC-05:00)"
    assert eastern.words(SUMMER_MS) == "US Eastern (EDT, UTC-04:00)"
    assert nepal.words(WINTER_MS) == "Asia/Kathmandu (UTC+05:45)"
    assert USUAL.zone.words(WINTER_MS) == "UTC"


def test_a_time_is_on_its_day_in_the_zone() -> None:
    late_ms = WINTER_MS + 15 * 3_600_000  # 5 Dec 03:00 UTC, still the fourth in New York
    eastern = Zone("et", ET).info
    assert display.moment(late_ms, eastern) == "4 Dec 2026 22:00"
    assert display.stamp(WINTER_MS, late_ms, eastern) == "07:00:00"
    assert display.stamp(WINTER_MS, late_ms) == "4 Dec 12:00"


def test_the_last_representable_time_can_be_shown_in_every_zone() -> None:
    assert display.moment(MAX_TIME_MS, Zone("local", "Pacific/Kiritimati").info) == "31 Dec 9999 23:59"
    assert display.moment(MAX_TIME_MS, Zone("et", ET).info) == "31 Dec 9999 18:59"
