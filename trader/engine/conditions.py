"""Whether anything may be traded at all, given people, the feed, the exchange and the time. Pure."""

from bus.trading import reasons

from .risk import FUTURE_MS


class Conditions:
    """The conditions that must hold before anything is traded.

    Attributes:
        killed, paused: why people have stopped it, None if they have not.
        gateway: how the order gateway stands: starting, answers, silent or other; None where none is needed.
        reconciled: whether the exchange's account has agreed with the ledger once since the start.
        drift: where it no longer agrees and nothing explains it.
        lost: whether the day's loss has reached its limit.
        alarm: what happened that must not happen, until a person resumes trading; None if nothing did.
        feed: live, starting, gap or lost. degraded: series in doubt.
        trading: whether the exchange trades; known: whether it has said so. idle_shards: those of its shards
            that do not trade.
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
        """Carry out a person's command: kill, pause or resume."""
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
        seen_ms = self.complete_ms
        if (
            seen_ms is None
            or now_ms - seen_ms > stale_after_ms
            or seen_ms - now_ms > FUTURE_MS
            or seen_ms < self.floor_ms
        ):
            halts.append(reasons.STALE)
        if not self.trading:
            halts.append(reasons.CLOSED if self.known else reasons.STATUS_UNKNOWN)
        return tuple(halts)
