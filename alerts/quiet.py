"""The quiet hours: from one time of day to another in a named time zone. Pure."""

from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from bus.alerting import Quiet


@lru_cache(8)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def is_quiet(quiet: Quiet, now_ms: int) -> bool:
    """Return whether only urgent alerts are sent now: from `begins` (inclusive) to `ends` (exclusive).

    Wall-clock time counts, so an hour that occurs twice in autumn is quiet twice. Equal times mean no quiet
    hours.
    """
    if not quiet.begins or quiet.begins == quiet.ends:
        return False
    clock = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(_zone(quiet.zone)).strftime("%H:%M")
    if quiet.begins < quiet.ends:
        return quiet.begins <= clock < quiet.ends
    return clock >= quiet.begins or clock < quiet.ends
