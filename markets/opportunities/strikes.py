"""Strikes: which values of its number a market's YES covers, and which markets are about the same number.

Two markets of one event are about the same number when they are worded alike but for their strikes: "Seattle
wins by over 1.5 runs" and "Seattle wins by over 3.5 runs". Money rests on it, so only a number that is the
strike is taken out of the words; if that is not plain, there is no answer.
"""

import math
import re
from decimal import Decimal
from functools import lru_cache
from typing import Final

import msgspec

from markets.records import Market

_LOWER: Final = {"less": False, "less_or_equal": True}
_UPPER: Final = {"greater": False, "greater_or_equal": True}
BETWEEN: Final = "between"
ON_A_LINE: Final = frozenset({*_LOWER, *_UPPER, BETWEEN})

_NUMBER: Final = re.compile(r"(?<![\w.,])[-+]?\d+(?:[.,]\d+)*", re.ASCII)
_NO_LETTERS: Final = re.compile(r"[\W\d_]+")
_COMPARING: Final = frozenset(
    {"above", "and", "at", "below", "between", "greater", "higher", "in", "least", "less", "lower", "more",
     "most", "of", "or", "over", "range", "than", "the", "to", "under"}
)  # fmt: skip
"""Words in which a threshold and a bucket differ, whatever they are about."""

_NEAR: Final = Decimal(1)
"""A label may say 25+ for a strike above 24.5, and "79 or below" for one below 80."""


class Interval(msgspec.Struct, frozen=True):
    """What a strike covers; an end of None is open, the flags say whether the ends belong to it."""

    low: Decimal | None
    low_in: bool
    high: Decimal | None
    high_in: bool

    def within(self, other: "Interval") -> bool:
        """Whether `other` covers everything that this covers."""
        return _starts_before(other, self) and _ends_after(other, self)

    def covers(self, value: Decimal) -> bool:
        """Whether it contains a value."""
        return (self.low is None or self.low < value or (self.low_in and self.low == value)) and (
            self.high is None or value < self.high or (self.high_in and self.high == value)
        )


def interval(market: Market) -> Interval | None:
    """Return what a market's YES covers; None if it has no strike, or one that lacks a bound.

    A person's number may have strike type "structured" and be named after the person: "Ketel Marte: 2+" with
    a floor of 1.5.
    """
    strike, floor, cap = market.strike_type or "", market.floor_strike, market.cap_strike
    if strike == "structured" and floor is not None and cap is None:
        words = words_of(market)
        if words is not None and words[0].endswith("#+"):
            strike = "greater"
    return _interval(strike, floor, cap)


@lru_cache(maxsize=1 << 14)
def same_number(label: str, title: str, floor: float | None, cap: float | None) -> tuple[str, str] | None:
    """Return what all strikes on one number share: the words with # for the strike. None if not plain."""
    strikes = [strike for strike in (_decimal(floor), _decimal(cap)) if strike is not None]
    words, count = _without(label, strikes)
    if not count or count > len(strikes):
        return None
    titled, count = _without(title, strikes)
    return words, titled if count <= len(strikes) else title


@lru_cache(maxsize=1 << 14)
def alike(words: tuple[str, str]) -> tuple[str, ...]:
    """Return the words of `same_number` without those in which thresholds and buckets differ."""
    return tuple(
        " ".join(word for word in _NO_LETTERS.sub(" ", text.lower()).split() if word not in _COMPARING)
        for text in words
    )


def words_of(market: Market) -> tuple[str, str] | None:
    """Return `same_number` for a market."""
    return same_number(market.yes_sub_title, market.title, market.floor_strike, market.cap_strike)


@lru_cache(maxsize=1 << 14)
def _interval(strike: str, floor: float | None, cap: float | None) -> Interval | None:
    low, high = _decimal(floor), _decimal(cap)
    if strike in _LOWER:
        return None if high is None else Interval(None, False, high, _LOWER[strike])
    if strike in _UPPER:
        return None if low is None else Interval(low, _UPPER[strike], None, False)
    if strike != BETWEEN or low is None or high is None or low > high:
        return None
    return Interval(low, True, high, True)


def _decimal(strike: float | None) -> Decimal | None:
    return None if strike is None or not math.isfinite(strike) else Decimal(repr(strike)).normalize()


def _starts_before(wide: Interval, narrow: Interval) -> bool:
    if wide.low is None or narrow.low is None:
        return wide.low is None
    return wide.low < narrow.low or (wide.low == narrow.low and (wide.low_in or not narrow.low_in))


def _ends_after(wide: Interval, narrow: Interval) -> bool:
    if wide.high is None or narrow.high is None:
        return wide.high is None
    return wide.high > narrow.high or (wide.high == narrow.high and (wide.high_in or not narrow.high_in))


def _without(text: str, strikes: list[Decimal]) -> tuple[str, int]:
    """Return a text with # for each number that is a strike, and the number of such strikes."""
    count = 0

    def taken_out(found: re.Match[str]) -> str:
        nonlocal count
        try:
            number = Decimal(found[0].replace(",", ""))
        except ArithmeticError:
            return found[0]
        if any(abs(number - strike) <= _NEAR for strike in strikes):
            count += 1
            return "#"
        return found[0]

    return _NUMBER.sub(taken_out, text), count
