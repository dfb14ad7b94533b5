"""Amounts for the sentences that explain an opportunity: short, as people say them."""

from typing import Final

from markets.units import MONEY_ONE_E6

from .types import Opportunity

_MINUS: Final = "−"  # noqa: RUF001 - as wide as a plus in a column of figures
_CENT_E4: Final = 10_000


def dollars(money_e6: int) -> str:
    """Dollars and cents, with a sign only if negative: ``$2.97``, ``−$0.50``."""  # noqa: RUF002
    cents = (abs(money_e6) + 5_000) // 10_000
    sign = _MINUS if money_e6 < 0 and cents else ""
    return f"{sign}${cents // 100:,}.{cents % 100:02d}"


def cents(money_e6: int, *, sign: bool = False) -> str:
    """Cents to a tenth of one, or to a hundredth below one: ``1.3¢``, ``83¢``, ``0.25¢``."""
    step = 100 if abs(money_e6) < _CENT_E4 else 1_000
    rounded_e4 = (abs(money_e6) + step // 2) // step * step
    whole, rest = divmod(rounded_e4, _CENT_E4)
    fraction = f"{rest:04d}".rstrip("0")
    text = f"{whole}.{fraction}¢" if fraction else f"{whole}¢"
    if not rounded_e4:
        return text
    return f"{_MINUS if money_e6 < 0 else '+' if sign else ''}{text}"


def price(money_e6: int) -> str:
    """What one set costs: in dollars from $1 up, else in cents."""
    return dollars(money_e6) if abs(money_e6) >= MONEY_ONE_E6 else cents(money_e6)


def each_e6(money_e6: int, count_e2: int) -> int:
    """Return an amount per contract, or per set; 0 if there are none."""
    return round(money_e6 * 100 / count_e2) if count_e2 else 0


def sure_profit(opportunity: Opportunity, *, even: bool) -> str:
    """Return what a locked trade earns whatever happens, and what it earns if it is called off.

    Args:
        even: whether all legs have the same size, so that one can speak of a set.
    """
    earns_e6, void_e6 = opportunity.locked_e6, opportunity.if_void_e6
    if earns_e6 is None:
        return "what is left after fees is not known"
    if even:
        amount = f"{cents(each_e6(earns_e6, opportunity.count_e2))} a set after fees"
    else:
        amount = f"{dollars(earns_e6)} after fees"
    if earns_e6 <= 0:
        return f"{amount}, so nothing is left"
    if void_e6 is None or void_e6 >= earns_e6:
        return f"{amount}, whatever happens"
    return f"{amount}, whatever happens; if it is called off, {dollars(void_e6)} at worst in total"
