"""Exact units: parse and format are inverse, and nothing else gets in."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from markets.errors import BadRecord
from markets.units import (
    MAX_COUNT_E2,
    format_count,
    format_money,
    format_price,
    format_time,
    opposite,
    parse_count_e2,
    parse_decimal,
    parse_price_e4,
    parse_signed_count_e2,
    parse_time_ms,
)

times_ms = st.integers(-62_135_596_800_000, 253_402_300_799_999)


@given(st.integers(0, 10_000))
def test_price_round_trip(price_e4: int) -> None:
    text = format_price(price_e4)
    assert parse_price_e4(text) == price_e4
    assert Decimal(text) * 10_000 == price_e4
    assert opposite(opposite(price_e4)) == price_e4


@given(st.integers(0, MAX_COUNT_E2))
def test_count_round_trip(count_e2: int) -> None:
    text = format_count(count_e2)
    assert parse_count_e2(text) == count_e2
    assert Decimal(text) * 100 == count_e2
    assert parse_signed_count_e2("-" + text) == -count_e2
    assert format_count(-count_e2) == (f"-{text}" if count_e2 else text)


@given(st.integers(-(10**18), 10**18))
def test_money_is_written_exactly(money_e6: int) -> None:
    text = format_money(money_e6)
    assert Decimal(text) * 1_000_000 == money_e6


@given(times_ms)
def test_time_round_trip(time_ms: int) -> None:
    text = format_time(time_ms)
    assert parse_time_ms(text) == time_ms
    assert text.endswith("Z")
    assert not text.endswith("0Z") or "." not in text


@given(times_ms.filter(lambda ms: abs(ms) < 10**14), st.integers(-14 * 60, 14 * 60), st.integers(0, 999_999))
def test_time_with_any_zone_and_fraction(time_ms: int, offset_min: int, micros: int) -> None:
    time = datetime.fromtimestamp(time_ms // 1000, UTC)
    sign, minutes = "-" if offset_min < 0 else "+", abs(offset_min)
    local = (time + timedelta(minutes=offset_min)).strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
    text = f"{local}.{micros:06d}{sign}{minutes // 60:02d}:{minutes % 60:02d}"
    assert parse_time_ms(text) == time_ms // 1000 * 1000 + micros // 1000


@given(st.decimals(0, 1, allow_nan=False, places=4))
def test_price_accepts_every_spelling_of_a_decimal(value: Decimal) -> None:
    for text in (f"{value:.4f}", f"{value:.6f}", f"{value:.4f}".rstrip("0").rstrip(".")):
        assert parse_price_e4(text) == int(value * 10_000)


@given(st.one_of(st.text(max_size=8), st.integers(), st.floats(), st.none(), st.binary(max_size=4)))
def test_whatever_is_no_decimal_is_refused(value: object) -> None:
    try:
        parsed = parse_decimal(value, 2, "f")
    except BadRecord:
        return
    assert isinstance(value, str)
    assert set(value) <= set("0123456789.-")
    assert parsed == Decimal(value) * 100


@given(st.text(st.sampled_from("0123456789.-+_eE \u0663"), max_size=10))
def test_count_reads_only_plain_decimals(text: str) -> None:
    try:
        count_e2 = parse_count_e2(text)
    except BadRecord:
        return
    assert set(text) <= set("0123456789.-")
    assert Decimal(text) * 100 == count_e2 >= 0


@pytest.mark.parametrize(
    "text", ["1.0001", "-0.0001", "0.00001", "NaN", "1e-1", "0,5", "", ".5", "5.", "\u0660.\u0665"]
)
def test_price_out_of_range_or_form_is_refused(text: str) -> None:
    with pytest.raises(BadRecord):
        parse_price_e4(text)


@pytest.mark.parametrize(
    "text",
    [
        "2026-10-19",
        "2026-10-19T18:00:00",
        "2026-13-01T00:00:00Z",
        "2026-10-19 18:00:00Z",
        "x",
        "",
        1792432800,
        None,
    ],
)
def test_time_without_zone_or_sense_is_refused(text: object) -> None:
    with pytest.raises(BadRecord):
        parse_time_ms(text)


def test_unset_time_of_the_exchange_is_a_time() -> None:
    assert format_time(parse_time_ms("0001-01-01T00:00:00Z")) == "0001-01-01T00:00:00Z"
