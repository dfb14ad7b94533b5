"""Times as Kalshi writes them: in tickers, in texts (New York time) and in fields (UTC)."""

from datetime import UTC, datetime, timedelta
from typing import Final

SECOND_MS: Final = 1000
MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000
ZERO_TIME: Final = "0001-01-01T00:00:00Z"
"""What Kalshi sends for a time that was never set."""


def utc(time_ms: int) -> datetime:
    """Return `time_ms` as an aware UTC datetime."""
    return datetime.fromtimestamp(time_ms / 1000, UTC)


def to_ms(moment: datetime) -> int:
    """Return an aware datetime as milliseconds since the epoch."""
    return round(moment.timestamp() * 1000)


def eastern(time_ms: int) -> tuple[datetime, str]:
    """Return `time_ms` on New York's clock (naive) and the zone's letters, EDT or EST.

    The rule since 2007: daylight time from the second Sunday of March to the first Sunday of November,
    2:00 local time.
    """
    moment = utc(time_ms)
    march, november = datetime(moment.year, 3, 8, 7, tzinfo=UTC), datetime(moment.year, 11, 1, 6, tzinfo=UTC)
    begin = march + timedelta(days=(6 - march.weekday()) % 7)
    end = november + timedelta(days=(6 - november.weekday()) % 7)
    hours, zone = (-4, "EDT") if begin <= moment < end else (-5, "EST")
    return (moment + timedelta(hours=hours)).replace(tzinfo=None), zone


def first_of(year: int, month: int) -> int:
    """Return when a month begins in New York; the 13th is the January after."""
    begin = to_ms(datetime(year + (month - 1) // 12, (month - 1) % 12 + 1, 1, tzinfo=UTC))
    zone = eastern(begin + 5 * HOUR_MS)[1]
    return begin + (4 if zone == "EDT" else 5) * HOUR_MS


def ticker_date(time_ms: int, with_clock: bool = False) -> str:
    """Return New York's date as tickers carry it, ``26AUG09`` or, with the clock, ``26AUG092020``."""
    local, _ = eastern(time_ms)
    return local.strftime("%y%b%d%H%M" if with_clock else "%y%b%d").upper()


def short_day(time_ms: int) -> str:
    """Return New York's date as ``Aug 9``."""
    local, _ = eastern(time_ms)
    return f"{local:%b} {local.day}"


def short_date(time_ms: int) -> str:
    """Return New York's date as ``Aug 9, 2026``."""
    return f"{short_day(time_ms)}, {eastern(time_ms)[0].year}"


def long_date(time_ms: int) -> str:
    """Return New York's date as ``August 9, 2026``."""
    local, _ = eastern(time_ms)
    return f"{local:%B} {local.day}, {local.year}"


def clock(time_ms: int, space: bool = True) -> str:
    """Return New York's time of day as ``8:20 PM EDT`` (or ``8:20PM EDT``)."""
    local, zone = eastern(time_ms)
    return f"{(local.hour - 1) % 12 + 1}:{local:%M}{' ' if space else ''}{local:%p} {zone}"
