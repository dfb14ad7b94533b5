"""Checks what a source returned: bad rows are refused by ticker, the others count. Pure."""

import contextlib
import math
from collections.abc import Mapping
from numbers import Real
from typing import Final

from markets.texts import utf8

from .pipe import MAX_VALUES, SourceAnswer
from .source import Estimate

MAX_TICKER: Final = 200
MAX_ERRORS: Final = 20


def answer_of(returned: object, now_ms: int) -> SourceAnswer:
    """Return as an answer what a source returned.

    Raises:
        ValueError: it is not an answer at all.
    """
    if not isinstance(returned, Mapping):
        raise ValueError(f"got {type(returned).__name__}, expected a dict of ticker to probability")
    if len(returned) > MAX_VALUES:
        raise ValueError(f"got {len(returned)} values, expected at most {MAX_VALUES}")
    values: list[tuple[str, float, float, int]] = []
    errors: list[str] = []
    refused = 0
    for ticker, estimate in returned.items():
        try:
            values.append(_value(ticker, estimate, now_ms))
        except ValueError as error:
            refused += 1
            if len(errors) < MAX_ERRORS:
                errors.append(f"{_shown(ticker)}: {error}")
    return SourceAnswer(tuple(values), refused, tuple(errors))


def _value(ticker: object, estimate: object, now_ms: int) -> tuple[str, float, float, int]:
    if not isinstance(ticker, str) or not 0 < len(ticker) <= MAX_TICKER:
        raise ValueError(f"expected a market's ticker of at most {MAX_TICKER} characters")
    if utf8(ticker) != ticker:
        raise ValueError("expected a market's ticker, without halves of characters")
    whole = estimate if isinstance(estimate, Estimate) else None
    probability = _share("probability", estimate if whole is None else whole.probability)
    margin = 0.0 if whole is None else _share("margin", whole.margin)
    as_of_ms = None if whole is None else whole.as_of_ms
    if as_of_ms is None:
        as_of_ms = now_ms
    elif type(as_of_ms) is not int or not 0 <= as_of_ms <= now_ms:
        raise ValueError(f"as_of_ms: got {_shown(as_of_ms)}, expected ms since 1970, not after now")
    return str(ticker), probability, margin, as_of_ms


def _share(member: str, value: object) -> float:
    number = math.nan
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        if not isinstance(value, bool) and isinstance(value, Real):
            number = float(value)
    if not 0.0 <= number <= 1.0:
        raise ValueError(f"{member}: got {_shown(value)}, expected a number from 0 to 1")
    return number


def _shown(value: object) -> str:
    try:
        return repr(value)[:80]
    except Exception:  # noqa: BLE001, it is the user's code
        return type(value).__name__
