"""Prices that mean "none", and amounts that do not break across lines."""

from ui.pages.display import UNKNOWN, quoted, together


def test_a_price_never_quoted_or_traded_is_shown_as_a_dash() -> None:
    assert [quoted(price_e4) for price_e4 in (None, 0, 10_000)] == [UNKNOWN] * 3
    assert quoted(50) == "0.5¢"
    assert quoted(9_990) == "99.9¢"


def test_an_amount_is_not_broken_after_its_sign() -> None:
    assert together("called off, \u2212$0.57 in all") == "called off, \u2212\u2060$0.57 in all"
