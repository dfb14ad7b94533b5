"""The quiet hours: from a time of day to another, by the clock of a named time zone. Pure."""

from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from bus.alerting import Quiet


@lru_cache(8)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def is_quiet(quiet: Quiet, now_ms: int) -> bool:
    """Tell whether only what is urgent is told now: from `begins`, included, to `ends`, not.

    The clock on the wall counts, so that an hour that comes twice in autumn is quiet twice. Equal times are
    no quiet hours.
    """
    if not quiet.begins or quiet.begins == quiet.ends:
        return False
    clock = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(_zone(quiet.zone)).strftime("%H:%M")
    if quiet.begins < quiet.ends:
        return quiet.begins <= clock < quiet.ends
    return clock >= quiet.begins or clock < quiet.ends
