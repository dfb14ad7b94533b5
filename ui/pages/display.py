"""Numbers and times for people. Exact integers in, short text out; a dash for unknown values.

Minus signs are typographic (U+2212), as wide as a plus in a column of figures.
"""

from datetime import UTC, datetime, tzinfo
from typing import Final

UNKNOWN: Final = "–"  # noqa: RUF001 - an en dash

_STEPS_S: Final = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


def price(price_e4: int | None) -> str:
    """A price in cents: ``41¢``, ``41.5¢``, ``0.25¢``."""
    return UNKNOWN if price_e4 is None else f"{_trim(price_e4, 2)}¢"


def quoted(price_e4: int | None) -> str:
    """A price in cents; a dash for 0 and 1, which the exchange uses for "none" (no order, never traded)."""
    return price(price_e4 if price_e4 is not None and 0 < price_e4 < 10_000 else None)


def together(text: str) -> str:
    """A sentence in which no line breaks between the sign of an amount and the amount."""
    return text.replace("\u2212$", "\u2212\u2060$").replace("+$", "+\u2060$")


def change(change_e4: int | None) -> str:
    """A change of price in cents with its sign: ``+3¢``, ``0¢``."""
    return UNKNOWN if change_e4 is None else _signed(change_e4, f"{_trim(abs(change_e4), 2)}¢", sign=True)


def count(count_e2: int | None) -> str:
    """Contracts: ``861,265``, ``12.5``."""
    return UNKNOWN if count_e2 is None else _trim(count_e2, 2)


def whole(count_e2: int | None) -> str:
    """Contracts without their fraction, for large numbers: ``1,204,511``."""
    return UNKNOWN if count_e2 is None else f"{count_e2 // 100:,}"


def money(money_e6: int | None, *, sign: bool = False) -> str:
    """Dollars and cents, ``$1,240.50``; four decimals below a cent, which must not read as zero."""
    if money_e6 is None:
        return UNKNOWN
    places = 2 if money_e6 == 0 or abs(money_e6) >= 10_000 else 4
    text = f"${_rounded(abs(money_e6), 6, places)}"
    return _signed(money_e6, text, sign)


def dollars(money_e6: int | None) -> str:
    """Whole dollars with their sign, for narrow places: ``+$1,240``, ``$0``."""
    if money_e6 is None:
        return UNKNOWN
    size = (abs(money_e6) + 500_000) // 1_000_000
    return _signed(money_e6 if size else 0, f"${size:,}", sign=True)


def cents(money_e6: int | None, per_count_e2: int) -> str:
    """Money per contract in cents with its sign: ``+2.41¢``."""
    if money_e6 is None or per_count_e2 == 0:
        return UNKNOWN
    # Micro-dollars per contract are 1e-4 cents.
    each = round(abs(money_e6) * 100 / per_count_e2)
    return _signed(money_e6, f"{_rounded(each, 4, 2)}¢", sign=True)


def points(probability: float | None, *, sign: bool = False) -> str:
    """A probability (or a difference of two) in percentage points: ``54.2``, ``+3.1``."""
    if probability is None:
        return UNKNOWN
    return _signed(probability, f"{abs(probability) * 100:.1f}", sign)


def rate(fraction: float | None) -> str:
    """A yearly return in percent: ``38 %``, ``4.2 %``; above 9,999 % the number is meaningless."""
    if fraction is None:
        return UNKNOWN
    size = abs(fraction) * 100
    text = "9,999" if size > 9_999 else f"{size:.1f}" if size < 10 else f"{size:,.0f}"
    return f"{'>' if size > 9_999 else ''}{_signed(fraction, text, sign=False)} %"


def duration(ms: int | None) -> str:
    """A length of time in its two largest units: ``4 s``, ``2 m 5 s``, ``3 d 4 h``."""
    if ms is None:
        return UNKNOWN
    left = max(0, ms) // 1000
    parts: list[str] = []
    for size, unit in _STEPS_S:
        number, left = divmod(left, size)
        if number or (unit == "s" and not parts):
            parts.append(f"{number} {unit}")
        elif parts:
            break
        if len(parts) == 2:
            break
    return " ".join(parts)


def countdown(time_ms: int | None, now_ms: int) -> str:
    """How far away a time is: ``in 3 h 12 m``, ``5 m 1 s ago``."""
    if time_ms is None:
        return UNKNOWN
    return f"in {duration(time_ms - now_ms)}" if time_ms >= now_ms else f"{duration(now_ms - time_ms)} ago"


def moment(time_ms: int | None, zone: tzinfo = UTC) -> str:
    """A time: ``22 Nov 2026 18:00``."""
    if time_ms is None:
        return UNKNOWN
    return f"{_at(time_ms, zone):%d %b %Y %H:%M}".lstrip("0")


def instant(time_ms: int, zone: tzinfo = UTC) -> str:
    """A time to the second, as the scripts write it: ``22 Nov 2026 18:00:05``."""
    return f"{_at(time_ms, zone):%d %b %Y %H:%M:%S}".lstrip("0")


def stamp(time_ms: int | None, now_ms: int, zone: tzinfo = UTC) -> str:
    """A time, as short as is clear: ``18:00:05`` today, else ``21 Nov 18:00``."""
    if time_ms is None:
        return UNKNOWN
    at, now = _at(time_ms, zone), _at(now_ms, zone)
    if at.date() == now.date():
        return f"{at:%H:%M:%S}"
    return f"{at:%d %b %H:%M}".lstrip("0")


def megabytes(size: int | None) -> str:
    """A size in memory: ``84 MB``."""
    return UNKNOWN if size is None else f"{size / 1e6:,.0f} MB"


def plain(text: str) -> str:
    """A title without the asterisks with which Kalshi marks some words."""
    return text.replace("**", "")


def brief(text: str, most: int = 140) -> str:
    """A text cut to fit a row, with an ellipsis."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def _at(time_ms: int, zone: tzinfo) -> datetime:
    """A time in a zone, or in UTC if it would be past the last representable year there."""
    at = datetime.fromtimestamp(time_ms / 1000, UTC)
    try:
        return at.astimezone(zone)
    except OverflowError:
        return at


def _trim(value: int, places: int) -> str:
    """An integer in units of 10**-places, without trailing zeros, with thousands separators."""
    whole, fraction = divmod(value, 10**places)
    digits = f"{fraction:0{places}d}".rstrip("0")
    return f"{whole:,}.{digits}" if digits else f"{whole:,}"


def _rounded(value: int, places: int, shown: int) -> str:
    """A positive integer in units of 10**-places, rounded half up to `shown` decimals."""
    step = 10 ** (places - shown)
    whole, fraction = divmod((value + step // 2) // step, 10**shown)
    return f"{whole:,}.{fraction:0{shown}d}"


def _signed(value: float, text: str, sign: bool) -> str:
    if value < 0:
        return f"−{text}"  # noqa: RUF001 - see above
    return f"+{text}" if sign and value > 0 else text
