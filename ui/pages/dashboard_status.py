"""The status: one account for the header strip, `/api/status` and the event stream."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from bus.health import ExchangeHealth, Problem, Resyncing, health_of, process_problems
from bus.process.settings import Settings
from bus.process.supervised import Processes
from bus.protocol.messages import Heartbeat, PublisherHealth
from bus.protocol.state import State
from bus.replica import ReplicaStatus
from bus.scan.scans import Scan
from ui.desk import TraderSummary


class ShownReplica(Protocol):
    """What the dashboard needs of a bus.replica.Replica."""

    @property
    def state(self) -> State: ...

    @property
    def heartbeat(self) -> Heartbeat | None: ...

    @property
    def published_ns(self) -> int: ...

    def now_ms(self) -> int: ...

    def status(self) -> ReplicaStatus: ...


class DashboardStatus(msgspec.Struct, frozen=True):
    """The state of data, feed, publisher and exchange, as `/api/status` shows it.

    Attributes:
        feed: "starting" (no data yet), "live", "resyncing" (something was lost or the publisher started a new
            epoch; while it is fetched, the last whole state is shown) or "lost" (nothing is received).
        resyncing: since when and how far; None unless something is known to be missing.
        as_of: end of the last complete sweep's fetch, Unix seconds; `age_seconds` counts from there.
        exchange: None until the exchange has said whether it trades.
        publisher: its own account in the last heartbeat, None before one.
        trader: the trader's state (ui.desk.Desk.summary).
        replay: a replay's state and range, None while none plays.
        problems: what is wrong now, worst first, each with a `code` and a sentence.
    """

    mode: str
    env: str
    source: str
    feed: str
    now: float
    as_of: float | None
    age_seconds: float | None
    stale: bool
    stale_after_seconds: float
    epoch: int
    seq: int
    cycle: int
    gaps: int
    resyncs: int
    degraded: tuple[str, ...]
    markets: int
    events: int
    books: int
    quarantined: int
    unjoined: int
    exchange: ExchangeHealth | None
    publisher: PublisherHealth | None
    problems: tuple[Problem, ...]
    trader: TraderSummary | None = None
    replay: dict[str, Any] | None = None
    resyncing: Resyncing | None = None

    def signature(self) -> tuple[Any, ...]:
        """Everything that does not change with time alone; when it changes, pages look different."""
        trader = self.trader and msgspec.structs.replace(
            self.trader, as_of=None, pnl_today_dollars=None, pnl_bid_dollars=None, pnl_settlement_dollars=None
        )
        replay = self.replay and {**self.replay, "position_ms": 0}
        still: dict[str, Any] = {"now": 0.0, "age_seconds": None, "epoch": 0, "seq": 0, "problems": ()}
        still["resyncing"] = None
        still |= {"trader": trader, "replay": replay}
        return msgspec.structs.astuple(msgspec.structs.replace(self, **still))


def status_of(
    replica: ShownReplica,
    scan: Scan,
    settings: Settings,
    processes: Processes | None = None,
    trader: TraderSummary | None = None,
    troubles: Sequence[Problem] = (),
) -> DashboardStatus:
    """Return the status that belongs to a scan.

    Args:
        processes: supervisord's answer, if there is one.
        trader: ui.desk.Desk.summary. troubles: what is wrong with the trader.
    """
    state, now_ms = scan.state, replica.now_ms()
    stale_after_ms = int(settings.stale_after_s * 1000)
    health = health_of(state, replica.status(), replica.heartbeat, now_ms, stale_after_ms, processes)
    problems = health.problems()
    if scan.failed:
        first = "; ".join(
            f"{failure.part} of {failure.event_ticker}: {failure.error}" for failure in scan.failures
        )
        text = f"{scan.failed} events could not be scanned; the log says why. {first}"
        problems.append(Problem("scan_failed", text))
    return DashboardStatus(
        mode=settings.mode,
        env=settings.env,
        source=health.source,
        feed=health.feed if health.epoch else "starting",
        now=now_ms / 1000,
        as_of=health.complete_s,
        age_seconds=health.age_s,
        stale=health.stale,
        stale_after_seconds=settings.stale_after_s,
        epoch=health.epoch,
        seq=health.seq,
        cycle=health.cycle,
        gaps=health.gaps,
        resyncs=health.resyncs,
        degraded=health.degraded,
        markets=len(state.markets),
        events=len(state.events),
        books=len(state.books),
        quarantined=health.quarantined,
        unjoined=health.unjoined,
        exchange=health.exchange,
        publisher=health.publisher,
        problems=(*problems, *troubles, *process_problems(processes)),
        trader=trader,
        resyncing=health.resyncing,
    )


def replay_of(told: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the part of a replay's status that the page shows. `speed` 0.0: as fast as possible."""
    if told is None:
        return None
    names = ("position_ms", "begin_ms", "end_ms", "paused", "ended", "problem")
    speed = told.get("speed")
    return {name: told.get(name) for name in names} | {"speed": 0.0 if speed == "max" else speed}
