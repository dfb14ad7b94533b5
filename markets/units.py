"""Exact units: integers inside, Kalshi's decimal strings at the edge, never a float.

* price: ``price_e4``, int of $0.0001 per contract, 0..10000
* count: ``count_e2``, int of 0.01 contract
* money: ``*_e6``, int of $0.000001; a price times a count is exactly money
* time: ``*_ms``, int of milliseconds since the Unix epoch, UTC

Source: Kalshi API reference, FixedPointDollars and FixedPointCount (spec 3.34.0, October 2026):
responses carry prices with 4 decimals and counts with 2; money reaches 6 decimals.
"""

import re
from datetime import UTC, datetime
from typing import Final

from .errors import BadRecord

PRICE_ONE_E4: Final = 10_000
"""The payout of one winning contract, $1."""

COUNT_ONE_E2: Final = 100
"""One contract."""

MONEY_ONE_E6: Final = 1_000_000
CENT_E6: Final = 10_000
"""One dollar."""

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
YEAR_MS: Final = 365 * DAY_MS

MAX_COUNT_E2: Final = 10**15
"""Ten trillion contracts: a larger count is noise, not size."""

MIN_TIME_MS: Final = -62_135_596_800_000
MAX_TIME_MS: Final = 253_402_300_799_999
"""Year 1 to year 9999: what an RFC 3339 time, and a calendar, can say."""

_PRICE_TEXT: Final = tuple(f"{p // 10_000}.{p % 10_000:04d}" for p in range(PRICE_ONE_E4 + 1))
PRICE_OF_TEXT: Final = {text: price_e4 for price_e4, text in enumerate(_PRICE_TEXT)}
"""Every price in its canonical form, for decoders in a hurry."""

_DECIMAL: Final = re.compile(r"(-?)([0-9]{1,18})(?:\.([0-9]{1,18}))?", re.ASCII)
_TIME: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?(Z|[+-][0-9]{2}:[0-9]{2})",
    re.ASCII,
)


def parse_decimal(text: object, places: int, field: str) -> int:
    """Return the decimal string `text` as an integer of 10**-places.

    Raises:
        BadRecord: it is not a plain decimal string, or has significant digits beyond `places`.
    """
    match = _DECIMAL.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise BadRecord(field, text, "a decimal string")
    sign, whole, fraction = match[1], match[2], match[3] or ""
    if fraction[places:].strip("0"):
        raise BadRecord(field, text, f"a decimal string with at most {places} decimals")
    value = int(whole + fraction[:places].ljust(places, "0"))
    return -value if sign else value


def parse_price_e4(text: object, field: str = "price") -> int:
    """Return a price in dollars, a string from 0 to 1, as an int of $0.0001.

    Raises:
        BadRecord: it is not a decimal string in 0..1 with at most 4 decimals.
    """
    price_e4 = PRICE_OF_TEXT.get(text) if isinstance(text, str) else None
    if price_e4 is not None:
        return price_e4
    price_e4 = parse_decimal(text, 4, field)
    if not 0 <= price_e4 <= PRICE_ONE_E4:
        raise BadRecord(field, text, "a price from 0.0000 to 1.0000")
    return price_e4


def parse_count_e2(text: object, field: str = "count") -> int:
    """Return a count of contracts, a string, as an int of 0.01 contract.

    Raises:
        BadRecord: it is not a decimal string >= 0 with at most 2 decimals, or is absurdly large.
    """
    if isinstance(text, str) and text[-3:-2] == "." and len(text) <= 16:
        digits = text[:-3] + text[-2:]  # the canonical form, without the regular expression
        if len(digits) > 2 and digits.isdecimal() and digits.isascii():
            return int(digits)
    count_e2 = parse_decimal(text, 2, field)
    if not 0 <= count_e2 <= MAX_COUNT_E2:
        raise BadRecord(field, text, f"a count from 0 to {format_count(MAX_COUNT_E2)}")
    return count_e2


def parse_signed_count_e2(text: object, field: str = "count") -> int:
    """Return a signed count (a delta, a position), a string, as an int of 0.01 contract.

    Raises:
        BadRecord: it is not a decimal string with at most 2 decimals, or is absurdly large.
    """
    count_e2 = parse_decimal(text, 2, field)
    if not -MAX_COUNT_E2 <= count_e2 <= MAX_COUNT_E2:
        raise BadRecord(field, text, f"a count within +-{format_count(MAX_COUNT_E2)}")
    return count_e2


def parse_time_ms(text: object, field: str = "time") -> int:
    """Return an RFC 3339 time as milliseconds since the epoch (finer digits cut).

    Raises:
        BadRecord: it is not an RFC 3339 time with a zone.
    """
    match = _TIME.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise BadRecord(field, text, "an RFC 3339 time such as 2026-10-19T18:00:00Z")
    zone = "+00:00" if match[3] == "Z" else match[3]
    try:
        seconds = int(datetime.fromisoformat(match[1] + zone).timestamp())
    except ValueError:
        raise BadRecord(field, text, "an RFC 3339 time such as 2026-10-19T18:00:00Z") from None
    time_ms = seconds * 1000 + int((match[2] or "0")[:3].ljust(3, "0"))
    if not MIN_TIME_MS <= time_ms <= MAX_TIME_MS:
        raise BadRecord(field, text, "a time from year 1 to year 9999, UTC")
    return time_ms


def format_price(price_e4: int) -> str:
    """Return a price in Kalshi's canonical form: dollars with 4 decimals, ``"0.5600"``."""
    return _PRICE_TEXT[price_e4]


def format_count(count_e2: int) -> str:
    """Return a count in Kalshi's canonical form: contracts with 2 decimals, ``"10.00"``."""
    sign, count_e2 = ("-", -count_e2) if count_e2 < 0 else ("", count_e2)
    return f"{sign}{count_e2 // 100}.{count_e2 % 100:02d}"


def format_money(money_e6: int) -> str:
    """Return money in Kalshi's canonical form: dollars with 6 decimals, ``"0.173900"``."""
    sign, money_e6 = ("-", -money_e6) if money_e6 < 0 else ("", money_e6)
    return f"{sign}{money_e6 // 1_000_000}.{money_e6 % 1_000_000:06d}"


def format_time(time_ms: int) -> str:
    """Return milliseconds since the epoch as RFC 3339 UTC, trailing zeros of the fraction cut."""
    # isoformat, not strftime: the exchange's unset time is in year 1, which strftime does not pad
    whole = datetime.fromtimestamp(time_ms // 1000, UTC).replace(tzinfo=None).isoformat(timespec="seconds")
    fraction = f"{time_ms % 1000:03d}".rstrip("0")
    return f"{whole}.{fraction}Z" if fraction else f"{whole}Z"


def opposite(price_e4: int) -> int:
    """Return the same price seen from the other outcome: YES at p is NO at 1 - p."""
    return PRICE_ONE_E4 - price_e4
