"""Whether anything may be traded at all: what people, the feed, the exchange and time say to that. Pure."""

from bus.trading import reasons

from .risk import FUTURE_MS


class Conditions:
    """What must be right before anything is traded.

    Attributes:
        killed, paused: why people do not want it, None if they do.
        gateway: how the order gateway stands: starting, answers, silent or other; None where none is needed.
        reconciled: whether the exchange's account was the ledger's once since the start.
        drift: what of it is not any more, and nothing explains.
        lost: whether the loss of the day has reached its limit.
        alarm: what must not happen and has, until a person says to resume; None if nothing.
        feed: live, starting, gap or lost. degraded: series in doubt.
        trading: whether the exchange does; known: whether it says so. idle_shards: those of its shards that
            do not.
        epoch, seq: position of the last data; 0 before there is any.
        complete_ms: when the last complete sweep ended, None before one.
        floor_ms: data seen before this is not acted on.
    """

    def __init__(self) -> None:
        self.killed: str | None = None
        self.paused: str | None = None
        self.gateway: str | None = None
        self.reconciled = True
        self.drift: tuple[str, ...] = ()
        self.lost = False
        self.alarm: str | None = None
        self.feed = "starting"
        self.degraded: tuple[str, ...] = ()
        self.trading = True
        self.known = True
        self.idle_shards: tuple[int, ...] = ()
        self.epoch = 0
        self.seq = 0
        self.complete_ms: int | None = None
        self.floor_ms = 0

    def command(self, op: str, reason: str) -> None:
        """Do what a person says: kill, pause or resume."""
        if op == "kill":
            self.killed = reason
        elif op == "pause":
            self.paused = reason
        else:
            self.killed = self.paused = self.alarm = None

    def halts(self, now_ms: int, stale_after_ms: int) -> tuple[str, ...]:
        """Return why nothing may be traded now, worst first; empty if trading is allowed."""
        halts = []
        if self.killed is not None:
            halts.append(reasons.KILLED)
        if self.drift or self.alarm is not None:
            halts.append(reasons.DRIFT)
        if self.gateway == "other":
            halts.append(reasons.OTHER_ACCOUNT)
        if self.paused is not None:
            halts.append(reasons.PAUSED)
        if self.lost:
            halts.append(reasons.DAILY_LOSS)
        if self.gateway in ("starting", "silent"):
            halts.append(reasons.NO_GATEWAY)
        if not self.reconciled:
            halts.append(reasons.RECONCILING)
        if self.feed == "starting" or not self.epoch:
            halts.append(reasons.STARTING)
        if self.feed in ("gap", "lost"):
            halts.append(reasons.GAP)
        if self._stale(now_ms, stale_after_ms):
            halts.append(reasons.STALE)
        if not self.trading:
            halts.append(reasons.CLOSED if self.known else reasons.STATUS_UNKNOWN)
        return tuple(halts)

    def _stale(self, now_ms: int, stale_after_ms: int) -> bool:
        seen_ms = self.complete_ms
        return (
            seen_ms is None
            or now_ms - seen_ms > stale_after_ms
            or seen_ms - now_ms > FUTURE_MS
            or seen_ms < self.floor_ms
        )
