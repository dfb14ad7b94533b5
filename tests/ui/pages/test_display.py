"""Numbers written for people."""
# ruff: noqa: RUF001

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ui.pages import display


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (display.price(4_100), "41¢"),
        (display.price(4_150), "41.5¢"),
        (display.price(25), "0.25¢"),
        (display.price(10_000), "100¢"),
        (display.price(None), "–"),
        (display.count(86_126_522), "861,265.22"),
        (display.count(1_250), "12.5"),
        (display.whole(1_250), "12"),
        (display.money(1_240_500_000), "$1,240.50"),
        (display.money(-66_589_200), "−$66.59"),
        (display.money(159_850, sign=True), "+$0.16"),
        (display.money(400), "$0.0004"),
        (display.money(0, sign=True), "$0.00"),
        (display.money(None), "–"),
        (display.cents(159_850, 6_917), "+0.23¢"),
        (display.dollars(40_690_000), "+$41"),
        (display.dollars(-1_281_790_000), "−$1,282"),
        (display.dollars(-499_999), "$0"),
        (display.dollars(None), "–"),
        (display.cents(-1, 100), "−0.00¢"),
        (display.cents(None, 100), "–"),
        (display.change(300), "+3¢"),
        (display.change(-150), "−1.5¢"),
        (display.change(0), "0¢"),
        (display.points(0.542), "54.2"),
        (display.points(0.031, sign=True), "+3.1"),
        (display.rate(0.042), "4.2 %"),
        (display.rate(-4.93), "−493 %"),
        (display.rate(1e6), ">9,999 %"),
        (display.duration(4_999), "4 s"),
        (display.duration(125_000), "2 m 5 s"),
        (display.duration(3_600_000), "1 h"),
        (display.duration(3 * 86_400_000 + 4 * 3_600_000 + 59_000), "3 d 4 h"),
        (display.duration(86_400_000 + 5_000), "1 d"),
        (display.countdown(1_000, 61_000), "1 m ago"),
        (display.countdown(61_000, 1_000), "in 1 m"),
        (display.moment(1_795_387_290_076), "22 Nov 2026 22:41"),
        (display.instant(1_795_387_290_076), "22 Nov 2026 22:41:30"),
        (display.plain("the **high** of it"), "the high of it"),
    ],
)
def test_numbers_are_written_as_people_write_them(text: str, expected: str) -> None:
    assert text == expected


@given(st.integers(1, 10**15))
def test_money_is_never_shown_as_zero_and_never_off_by_more_than_half_its_last_digit(
    money_e6: int,
) -> None:
    text = display.money(money_e6).removeprefix("$").replace(",", "")
    shown_e6 = round(float(text) * 10**6)

    assert abs(shown_e6 - money_e6) <= max(5_000, money_e6 // 10**12) if money_e6 >= 10_000 else 50
    assert text.strip("0.") or money_e6 < 50
