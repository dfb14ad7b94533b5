"""When a match starts, and whether it is being played.

Kalshi states the start of a match in one place only: `start_date` of the milestone the event belongs to. The
market's own times are something else: `close_time` is a trading bound days later, `occurrence_datetime` on
the markets of a match was found to be the scheduled start plus 3 hours. So, in this order:

1. ``"milestone"``: a milestone that names the event, as primary before as related;
2. ``"occurrence"``: the earliest `occurrence_datetime` of the event's markets less its series' offset, for
   sports matches only;
3. ``"unknown"``. The close time is never taken for a start.

What is a sports match: category Sports, a ticker that carries a date (``KXMLSGAME-26AUG19PORSD``; a season's
``KXNBA-27`` does not), a scope that is not a season's, and a resulting start near that date.

How long a match lasts is not known beforehand: none of these times is its end. It is in play from its start
for as long as a market of the event trades and nothing says that it is over.

Source: recorded probe of 8 August 2026 (15 pairs of series), contract notes of October 2026.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import msgspec

from markets.json.read import competition_of

from .records import Event, Market, Milestone, Status
from .units import DAY_MS, HOUR_MS, format_time

MILESTONE: Final = "milestone"
OCCURRENCE: Final = "occurrence"
UNKNOWN: Final = "unknown"


DEFAULT_OFFSET_MS: Final = 3 * HOUR_MS
"""`occurrence_datetime` less scheduled start, on the markets of a match (MLB, WNBA, NFL, soccer, ...)."""

SERIES_OFFSET_MS: Final = {"KXMLBF5": 5 * HOUR_MS, "KXKLEAGUE1H": 3 * HOUR_MS + HOUR_MS // 2}
"""Series measured to deviate from `DEFAULT_OFFSET_MS`."""

IN_PLAY_STATUSES: Final = frozenset({"inprogress", "in_progress", "halftime", "live"})
OVER_STATUSES: Final = frozenset(
    {"closed", "complete", "completed", "ended", "finished", "final", "cancelled", "canceled", "postponed",
     "abandoned", "unnecessary", "walkover"}
)  # fmt: skip
"""Words of a milestone's status that settle the question, in small letters.

Others ("created", "scheduled") leave it to clock and markets: milestones are fetched rarely and the match may
have begun meanwhile. Recorded at Kalshi: "created", "inprogress"; the rest of Sportradar's vocabulary is
assumed.
"""

TRADING_STATUSES: Final = frozenset({Status.ACTIVE, Status.INACTIVE, Status.UNKNOWN})
"""A market of a match in play has one of these: the exchange pauses markets during it, and nothing follows
from a word that we do not know."""

UNSET_BEFORE_MS: Final = 946_684_800_000
"""A time before the year 2000 counts as unset: Kalshi sends year 1 or 1970 for it."""

_TRADING: Final = tuple(TRADING_STATUSES)
_SEASON_SCOPES: Final = frozenset({"future", "futures", "awards"})
_DATED: Final = re.compile(r"-([0-9]{2})([A-Z]{3})([0-9]{2})", re.ASCII)
_MONTHS: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")


class MatchTiming(msgspec.Struct, frozen=True, gc=False):
    """The times of an event, each kept separate; None is unknown.

    `source` says where `start_ms` comes from: "milestone", "occurrence" or "unknown". `in_play` is None when
    the start is unknown and no status says.
    """

    start_ms: int | None
    source: str
    close_ms: int | None
    expected_expiration_ms: int | None
    in_play: bool | None


NO_TIMING: Final = MatchTiming(None, UNKNOWN, None, None, None)


def match_timing(
    event: Event,
    markets: Sequence[Market],
    milestones: Iterable[Milestone],
    *,
    now_ms: int,
    statuses: Iterable[Status] = (),
) -> MatchTiming:
    """Return the times of an event's match.

    `in_play` of a match is False once all markets are finalized; else what the milestone's status says (see
    `IN_PLAY_STATUSES`); else whether the start is past and a market still trades.

    Args:
        event: the event.
        markets: its markets.
        milestones: any milestones; those that do not name the event are ignored.
        now_ms: the present.
        statuses: those of its markets, as far as known; without any, a market is assumed to trade.
    """
    return schedule_of(event, markets, milestones).at(now_ms, tuple(statuses))


class Schedule(msgspec.Struct, frozen=True):
    """What in `match_timing` does not depend on the present, and the milestone the event belongs to."""

    start_ms: int | None
    source: str
    close_ms: int | None
    expected_expiration_ms: int | None
    milestone: Milestone | None

    def at(self, now_ms: int, statuses: Sequence[Status]) -> MatchTiming:
        """Return the times as of the present."""
        return MatchTiming(
            start_ms=self.start_ms,
            source=self.source,
            close_ms=self.close_ms,
            expected_expiration_ms=self.expected_expiration_ms,
            in_play=_in_play(self.milestone, self.start_ms, statuses, now_ms),
        )


def schedule_of(event: Event, markets: Sequence[Market], milestones: Iterable[Milestone]) -> Schedule:
    """Return the schedule of an event's match; see `match_timing`."""
    occurrence_ms = _earliest([market.occurrence_ms for market in markets])
    milestone = milestone_of(event.event_ticker, milestones)
    start_ms, source = None if milestone is None else believed(milestone.start_ms), MILESTONE
    if start_ms is None:
        start_ms, source = _start_from_occurrence(event, occurrence_ms)
    return Schedule(
        start_ms=start_ms,
        source=source,
        close_ms=_earliest([market.close_ms for market in markets]),
        expected_expiration_ms=_earliest([market.expected_expiration_ms for market in markets]),
        milestone=milestone,
    )


def is_over(milestone: Milestone, now_ms: int | None = None) -> bool:
    """Tell whether a milestone says that it is over, or that it does not take place as scheduled.

    Without a status, an end before `now_ms` says so; beside a status, the end is only a plan.
    """
    if milestone.status is not None:
        return milestone.status.lower() in OVER_STATUSES
    end_ms = believed(milestone.end_ms)
    return now_ms is not None and end_ms is not None and end_ms <= now_ms


def believed(time_ms: int | None) -> int | None:
    """Return a time of the exchange, None for what it sends when none is set."""
    return None if time_ms is None or time_ms < UNSET_BEFORE_MS else time_ms


def match_time_json(timing: MatchTiming) -> dict[str, Any]:
    """Return one value of `match_times`: RFC 3339 strings or None, `source` and `in_play`."""
    return {
        "start_time": _text(timing.start_ms),
        "source": timing.source,
        "close_time": _text(timing.close_ms),
        "expected_expiration_time": _text(timing.expected_expiration_ms),
        "in_play": timing.in_play,
    }


def is_open(market: Market, now_ms: int) -> bool:
    """Tell whether a market's own times let it be traded now: not if its close is unknown."""
    open_ms, close_ms = market.open_ms, market.close_ms
    return (open_ms is None or open_ms <= now_ms) and close_ms is not None and now_ms < close_ms


def occurrence_offset_ms(series_ticker: str) -> int:
    """Return how long after the scheduled start a match's `occurrence_datetime` lies, by series."""
    return SERIES_OFFSET_MS.get(series_ticker, DEFAULT_OFFSET_MS)


def milestone_of(event_ticker: str, milestones: Iterable[Milestone]) -> Milestone | None:
    """Return the milestone that an event belongs to, None if there is none.

    Of several, one that is not over, postponed or cancelled comes first, then one that has a start, then the
    one with the event as primary, then the earliest: it is safer to stop early.
    """
    named = [
        (
            is_over(milestone),
            believed(milestone.start_ms) is None,
            event_ticker not in milestone.primary_event_tickers,
            milestone.start_ms or 0,
            milestone.id,
            milestone,
        )
        for milestone in milestones
        if event_ticker in milestone.primary_event_tickers or event_ticker in milestone.related_event_tickers
    ]
    return min(named, key=lambda entry: entry[:5])[5] if named else None


def _start_from_occurrence(event: Event, occurrence_ms: int | None) -> tuple[int | None, str]:
    date_ms = _ticker_date_ms(event.event_ticker)
    if event.category != "Sports" or date_ms is None or occurrence_ms is None:
        return None, UNKNOWN
    if competition_of(event).competition_scope.lower() in _SEASON_SCOPES:
        return None, UNKNOWN
    start_ms = occurrence_ms - occurrence_offset_ms(event.series_ticker)
    # The ticker's date is the venue's or New York's; a match may be put off (tennis: up to two weeks).
    if not date_ms - DAY_MS // 2 <= start_ms <= date_ms + 15 * DAY_MS:
        return None, UNKNOWN
    return start_ms, OCCURRENCE


@lru_cache(maxsize=1024)  # the same events change again and again
def _ticker_date_ms(event_ticker: str) -> int | None:
    match = _DATED.search(event_ticker)
    if match is None or match[2] not in _MONTHS:
        return None
    try:
        date = datetime(2000 + int(match[1]), _MONTHS.index(match[2]) + 1, int(match[3]), tzinfo=UTC)
    except ValueError:
        return None
    return int(date.timestamp()) * 1000


def _in_play(
    milestone: Milestone | None, start_ms: int | None, statuses: Sequence[Status], now_ms: int
) -> bool | None:
    trades = False
    for status in statuses:  # nearly always the first one trades
        if status in _TRADING:  # no set: the hash of an enum's member is a call
            trades = True
            break
    if statuses and not trades and statuses.count(Status.FINALIZED) == len(statuses):
        return None if milestone is None and start_ms is None else False
    if milestone is not None:
        if (milestone.status or "").lower() in IN_PLAY_STATUSES:
            return True
        # A time that was set as the end is a plan, too, while a market is known to trade.
        if is_over(milestone, None if trades else now_ms):
            return False
    if start_ms is None:
        return None
    return start_ms <= now_ms and (not statuses or trades)


def _earliest(times_ms: Iterable[int | None]) -> int | None:
    return min([time_ms for time_ms in map(believed, times_ms) if time_ms is not None], default=None)


def _text(time_ms: int | None) -> str | None:
    return None if time_ms is None else format_time(time_ms)
