"""What there is to answer from at one moment, over HTTP and REQ/REP alike."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from bus.health import HealthAnswer, age_of, answer_of, health_of, is_stale
from bus.metrics import Figure
from bus.process.supervised import Processes
from bus.protocol.messages import Heartbeat
from bus.replica import ReplicaStatus

from .edition import Edition
from .elsewhere import NOWHERE, Elsewhere
from .history.store import Store
from .websocket.figures import Figures

NOTHING: Final = Store(0, lambda: None)
"""A history of nothing."""


class View(msgspec.Struct, frozen=True):
    """What there is to answer from.

    Attributes:
        edition: None before the first snapshot.
        replica: its status.
        heartbeat: the last one heard.
        stale_after_ms: data older than this is stale.
        requests: answers so far by (route, status), for /metrics.
        processes: what supervisord says; None if it does not answer.
        history: what happened. elsewhere: what the exchange has beyond the feed.
        past_port: that of the time machine's HTTP server; None if nothing is recorded.
        told: returns what processes have sent about themselves, for /metrics.
        websocket: returns the WebSocket server's figures, None before its first client. For HTTP's thread.
    """

    edition: Edition | None
    replica: ReplicaStatus
    heartbeat: Heartbeat | None
    stale_after_ms: int
    requests: Mapping[tuple[str, int], int] = {}
    processes: Processes | None = None
    history: Store = NOTHING
    past_port: int | None = None
    elsewhere: Elsewhere = NOWHERE
    websocket: Callable[[], Figures | None] = lambda: None
    told: Callable[[], Sequence[tuple[str, Figure]]] = tuple

    def age_ms(self, now_ms: int) -> int | None:
        """Return the age of the whole: the present less the end of the last complete sweep's fetch."""
        return age_of(self.edition.complete_ms if self.edition is not None else None, now_ms)

    def stale(self, now_ms: int) -> bool:
        """Tell whether the data is too old, or its age unknown."""
        return is_stale(self.age_ms(now_ms), self.stale_after_ms)

    def health(self, now_ms: int) -> HealthAnswer:
        """Return what `/health` and op `health` say."""
        edition = self.edition
        state = edition.state if edition is not None else None
        health = health_of(state, self.replica, self.heartbeat, now_ms, self.stale_after_ms, self.processes)
        if edition is None:
            return answer_of(health, markets=0, books=0, digest=0)
        return answer_of(health, len(edition.tickers), edition.enriched, edition.digest)
