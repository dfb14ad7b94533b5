"""What there is to answer from at one moment, over HTTP and REQ/REP alike."""

from collections.abc import Mapping
from typing import Any

import msgspec

from bus.process.supervised import Processes
from bus.protocol.messages import Heartbeat
from bus.replica import Standing
from markets.records import ExchangeStatus

from .edition import Edition


class View(msgspec.Struct, frozen=True):
    """What there is to answer from.

    Attributes:
        edition: None before the first snapshot.
        standing: where the replica stands.
        heartbeat: the last one heard.
        stale_after_ms: from this age on data is stale.
        requests: answers so far by (route, status), for /metrics.
        processes: what supervisord says; None if none answers.
    """

    edition: Edition | None
    standing: Standing
    heartbeat: Heartbeat | None
    stale_after_ms: int
    requests: Mapping[tuple[str, int], int] = {}
    processes: Processes | None = None

    def age_ms(self, now_ms: int) -> int | None:
        """Return the age of the whole: now less the end of the last complete sweep's fetch."""
        complete_ms = self.edition.complete_ms if self.edition is not None else None
        return None if complete_ms is None else max(0, now_ms - complete_ms)

    def stale(self, now_ms: int) -> bool:
        """Tell whether the data is too old, or its age unknown."""
        age_ms = self.age_ms(now_ms)
        return age_ms is None or age_ms > self.stale_after_ms


def health(view: View, now_ms: int) -> dict[str, Any]:
    """Return what `/health` and op `health` say. Ages and `generated_at` are in seconds."""
    edition, standing, heartbeat = view.edition, view.standing, view.heartbeat
    age_ms = view.age_ms(now_ms)
    cycle = edition.cycle if edition is not None else None
    exchange: ExchangeStatus | None = edition.state.exchange.get("") if edition is not None else None
    publisher = msgspec.to_builtins(heartbeat.publisher) if heartbeat is not None else None
    return {
        "status": "starting" if edition is None else "stale" if view.stale(now_ms) else "ok",
        "age_seconds": None if age_ms is None else age_ms / 1000,
        "generated_at": None if cycle is None or cycle.complete_ms is None else cycle.complete_ms / 1000,
        "stale_after_seconds": view.stale_after_ms / 1000,
        "complete": cycle is not None and cycle.complete,
        "market_count": len(edition.tickers) if edition is not None else 0,
        "enriched_count": edition.enriched if edition is not None else 0,
        "quarantined_count": cycle.quarantined if cycle is not None else 0,
        "unjoined_count": cycle.unjoined if cycle is not None else 0,
        "epoch": edition.epoch if edition is not None else 0,
        "seq": edition.seq if edition is not None else 0,
        "digest": f"{edition.digest if edition is not None else 0:016x}",
        "feed": "lost" if standing.lost else standing.phase,
        "source": standing.source,
        "gaps": standing.stats.gaps,
        "resyncs": standing.stats.resyncs,
        "degraded": list(standing.degraded),
        "publisher": publisher,
        "exchange": msgspec.to_builtins(_exchange(exchange)) if exchange is not None else None,
        "processes": msgspec.to_builtins(view.processes),
    }


class _Exchange(msgspec.Struct):
    exchange_active: bool
    trading_active: bool
    estimated_resume_at: float | None
    shards: list[dict[str, Any]]
    as_of: float


def _exchange(status: ExchangeStatus) -> _Exchange:
    return _Exchange(
        exchange_active=status.exchange_active,
        trading_active=status.trading_active,
        estimated_resume_at=None if status.resume_ms is None else status.resume_ms / 1000,
        shards=[
            {"exchange_index": index, "exchange_active": exchange, "trading_active": trading}
            for index, exchange, trading in status.shards
        ],
        as_of=status.as_of_ms / 1000,
    )
