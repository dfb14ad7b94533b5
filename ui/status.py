"""How things stand: one account for the header strip, `/api/status` and the event stream."""

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from bus import replica
from bus.process.settings import Settings
from bus.process.supervised import Processes
from bus.protocol.state import State
from markets.records import ExchangeStatus

from .scan import Scan


class Follows(Protocol):
    """What the dashboard needs of a bus.replica.Replica."""

    @property
    def state(self) -> State: ...

    @property
    def heartbeat(self) -> Any: ...

    @property
    def published_ns(self) -> int: ...

    def now_ms(self) -> int: ...

    def status(self) -> replica.Standing: ...


class DashboardStatus(msgspec.Struct, frozen=True):
    """The state of data, feed, publisher and exchange, as `/api/status` shows it.

    Attributes:
        feed: "starting" (no data yet), "joining" (a new epoch opens, the old one is shown), "live",
            "repairing" (something was lost and is fetched again) or "lost" (nothing is heard).
        as_of: end of the last complete sweep's fetch, Unix seconds; `age_seconds` counts from there.
        exchange: None until the exchange has said whether it trades.
        publisher: its own account in the last heartbeat, None before one.
        trader: how the trader stands (ui.trader.Desk.summary).
        replay: where a replay stands and what it may be told, None while none plays.
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
    exchange: dict[str, Any] | None
    publisher: dict[str, Any] | None
    problems: tuple[dict[str, str], ...]
    trader: dict[str, Any] | None = None
    replay: dict[str, Any] | None = None

    def signature(self) -> tuple[Any, ...]:
        """Everything but the passing of time: when it changes, pages look different."""
        trader = self.trader and {**self.trader, "as_of": None, "pnl_today_dollars": None}
        replay = self.replay and {**self.replay, "position_ms": 0}
        still: dict[str, Any] = {"now": 0.0, "age_seconds": None, "epoch": 0, "seq": 0, "problems": ()}
        still |= {"trader": trader, "replay": replay}
        return msgspec.structs.astuple(msgspec.structs.replace(self, **still))


def status_of(
    follows: Follows,
    scan: Scan,
    settings: Settings,
    processes: Processes | None = None,
    trader: dict[str, Any] | None = None,
) -> DashboardStatus:
    """Return the status that belongs to a scan.

    Args:
        processes: what supervisord says, if there is one.
        trader: ui.trader.Desk.summary.
    """
    standing, heartbeat, now_ms = follows.status(), follows.heartbeat, follows.now_ms()
    state, cycle, as_of_ms = scan.state, scan.state.cycle, scan.as_of_ms
    age_ms = None if as_of_ms is None else max(0, now_ms - as_of_ms)
    exchange: ExchangeStatus | None = state.exchange.get("")
    feed = _feed(standing, scan)
    publisher = None if heartbeat is None else msgspec.to_builtins(heartbeat.publisher)
    stale = age_ms is None or age_ms > settings.stale_after_s * 1000
    return DashboardStatus(
        mode=settings.mode,
        env=settings.env,
        source=standing.source,
        feed=feed,
        now=now_ms / 1000,
        as_of=None if as_of_ms is None else as_of_ms / 1000,
        age_seconds=None if age_ms is None else age_ms / 1000,
        stale=stale,
        stale_after_seconds=settings.stale_after_s,
        epoch=scan.epoch,
        seq=scan.seq,
        cycle=cycle.cycle if cycle else 0,
        gaps=standing.stats.gaps,
        resyncs=standing.stats.resyncs,
        degraded=standing.degraded,
        markets=len(state.markets),
        events=len(state.events),
        books=len(state.books),
        quarantined=cycle.quarantined if cycle else 0,
        unjoined=cycle.unjoined if cycle else 0,
        exchange=None if exchange is None else _exchange(exchange),
        publisher=publisher,
        problems=(
            *_problems(feed, stale, standing, exchange, publisher, scan),
            *_process_problems(processes or {}),
        ),
        trader=trader,
    )


def replay_of(told: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return of a replay's account of itself what the page shows. `speed` 0.0: as fast as it is taken."""
    if told is None:
        return None
    names = ("position_ms", "begin_ms", "end_ms", "paused", "ended", "problem")
    speed = told.get("speed")
    return {name: told.get(name) for name in names} | {"speed": 0.0 if speed == "max" else speed}


def _feed(standing: replica.Standing, scan: Scan) -> str:
    if not scan.epoch:
        return "starting"
    return "lost" if standing.lost else standing.phase


def _exchange(exchange: ExchangeStatus) -> dict[str, Any]:
    return {
        "exchange_active": exchange.exchange_active,
        "trading_active": exchange.trading_active,
        "estimated_resume_at": None if exchange.resume_ms is None else exchange.resume_ms / 1000,
        "shards": [
            {"exchange_index": index, "exchange_active": active, "trading_active": trading}
            for index, active, trading in exchange.shards
        ],
        "as_of": exchange.as_of_ms / 1000,
    }


def _problems(
    feed: str,
    stale: bool,
    standing: replica.Standing,
    exchange: ExchangeStatus | None,
    publisher: dict[str, Any] | None,
    scan: Scan,
) -> list[dict[str, str]]:
    found: list[tuple[str, str]] = []
    if feed == "lost":
        found.append(("feed_lost", "Nothing is heard from the publisher. Shown is the last data it sent."))
    elif publisher is not None:
        detail = f" ({publisher['error']})" if publisher["error"] else ""
        if publisher["key"] == "refused":
            found.append(("key_refused", f"The exchange refuses the API key: no new data comes in.{detail}"))
        elif not publisher["exchange_reachable"] and publisher["sweep"] != "starting":
            found.append(("exchange_unreachable", f"The publisher cannot reach the exchange.{detail}"))
        elif detail:
            found.append(("publisher_error", f"The publisher's last sweep failed.{detail}"))
    if scan.epoch and stale:
        found.append(("stale", "The data is old. Nothing in it counts as tradable."))
    if standing.degraded:
        found.append(
            ("degraded", f"Could not be brought to agree with the publisher: {', '.join(standing.degraded)}")
        )
    if exchange is not None and not exchange.trading_active:
        paused = "closed" if not exchange.exchange_active else "not trading now"
        found.append(("exchange_closed", f"The exchange is {paused}."))
    if scan.failed:
        first = "; ".join(f"{one.part} of {one.event_ticker}: {one.error}" for one in scan.failures)
        found.append(("scan_failed", f"{scan.failed} events could not be scanned; the log says why. {first}"))
    return [{"code": code, "text": text} for code, text in found]


def _process_problems(processes: Processes) -> list[dict[str, str]]:
    return [
        {"code": f"process_{name}", "text": f"The {name} process {one.trouble}."}
        for name, one in processes.items()
        if one.trouble is not None
    ]
