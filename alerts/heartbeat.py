"""The dead man's switch: a URL requested while all is well; its service alerts when requests stop. Pure."""

from typing import Final, Literal, NamedTuple

from bus.alerting import HeartbeatRow
from bus.trading import reasons

from .seen import Seen

Needs = Literal["feed", "trader"]

UNWELL: Final = frozenset({reasons.HALTED, reasons.STARTING, reasons.NO_GATEWAY, reasons.DRIFT})
"""States of a trader that nobody asked for."""

RETRY_MS: Final = 5_000


def held_back(seen: Seen, needs: Needs) -> str | None:
    """Return why the heart must not beat now, None if all is well."""
    health = seen.health
    if not health.epoch:
        return "there is no data yet"
    if health.feed == "lost":
        return "nothing is heard from the publisher"
    if health.stale:
        return "the data is old"
    if health.source != "live":
        return "a recording is being played"
    if needs == "feed":
        return None
    if not seen.trader.answers or seen.trader.status is None:
        return "the trader does not answer"
    state = seen.trader.status.state
    return f"the trader is not trading: {reasons.HALTS.get(state, state)}" if state in UNWELL else None


class Beat(NamedTuple):
    """The outcome of the beats: when the last one succeeded, and what has been wrong since."""

    beaten_ms: int | None = None
    error: str | None = None


class Heart:
    """Decides when to beat. One thread's. `every_ms`: time between beats; a failed one is retried soon."""

    def __init__(self, every_ms: int) -> None:
        self._every_ms = every_ms
        self._next_ms = 0
        self._last = Beat()
        self._why: str | None = None

    def due(self, why: str | None, steady_ms: int) -> bool:
        """Return whether to beat now. `why`: what forbids it at any time; None if all is well."""
        self._why = why
        if why is not None or steady_ms < self._next_ms:
            return False
        self._next_ms = steady_ms + self._every_ms
        return True

    def done(self, error: str | None, now_ms: int, steady_ms: int) -> None:
        """Take the outcome of a beat."""
        self._last = Beat(now_ms if error is None else self._last.beaten_ms, error)
        if error is not None:
            self._next_ms = min(self._next_ms, steady_ms + RETRY_MS)

    def row(self, *, there: bool) -> HeartbeatRow:
        """Return its state; `there`: whether a URL is given."""
        beaten = None if self._last.beaten_ms is None else self._last.beaten_ms / 1000
        if not there:
            return HeartbeatRow(state="off", why=None, beaten=None)
        if self._why is not None:
            return HeartbeatRow(state="held back", why=self._why, beaten=beaten)
        if self._last.error is not None:
            return HeartbeatRow(state="fails", why=self._last.error, beaten=beaten)
        return HeartbeatRow(state="beats", why=None, beaten=beaten)
