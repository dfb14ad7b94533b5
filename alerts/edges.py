"""What is tradable now, found the same way as by dashboard and trader, while a rule asks for it."""

from collections.abc import Sequence
from typing import Final

import structlog

from bus.clock import Clock
from bus.inbox import Inbox
from bus.process.lifecycle import Stop
from bus.protocol.state import State
from bus.replica import Replica
from bus.scan.rescan import Batch, Rescan
from bus.threads import Owner
from markets.opportunities import Opportunity, ScanLimits, explain
from markets.records import FairValue

from .seen import Edge

log = structlog.get_logger()

TICK_S: Final = 0.5
REST: Final = 9
"""After a look it rests for this many times its duration: at most a tenth of one core is used."""

REST_MOST_S: Final = 20.0
AT_ONCE: Final = 200
"""How many events are read under one lock."""


class Edges:
    """Any thread may read `found`; all else belongs to the thread that runs.

    Args:
        replica: what to scan; `inbox` is its listener.
        values: a replica of the trader's fair values.
    """

    def __init__(
        self, replica: Replica, inbox: Inbox, limits: ScanLimits, values: Replica, clock: Clock
    ) -> None:
        self.found: Sequence[Edge] | None = None
        """The best of each event that has something tradable, best first; None before the first look."""
        self._replica = replica
        self._inbox = inbox
        self._values = values
        self._clock = clock
        self._rescan = Rescan(limits, related=True)
        self._tradable: dict[str, Edge] = {}
        self._published: dict[str, FairValue] = {}
        self._owner = Owner("what is tradable")

    def run(self, stop: Stop) -> None:
        """Look until `stop`."""
        self._owner.check()
        while not stop.is_set():
            began_ns = self._clock.monotonic_ns()
            self.look()
            spent_s = (self._clock.monotonic_ns() - began_ns) / 1e9
            stop.wait(min(REST_MOST_S, max(TICK_S, REST * spent_s)))

    def look(self) -> None:
        """Scan what has changed since the last time."""
        self._owner.check()
        state = self._replica.state
        with state.lock:
            epoch, seq = state.epoch, state.seq
        if not epoch:
            return
        batch = self._inbox.take(epoch, seq, 1.0)
        if batch is None:
            return
        published = self._fair_values()
        revalued = [
            ticker
            for ticker in self._published.keys() | published.keys()
            if self._published.get(ticker) != published.get(ticker)
        ]
        self._published = published
        self._scan(state, batch.also("fair_value", sorted(revalued)))

    def _fair_values(self) -> dict[str, FairValue]:
        state = self._values.state
        with state.lock:
            return dict(state.fair_values)

    def _scan(self, state: State, batch: Batch) -> None:
        rescan, now_ms = self._rescan, self._replica.now_ms()
        with state.lock:
            events = rescan.events(state, batch, self._published, aged=True)
        for at in range(0, len(events), AT_ONCE):
            some = events[at : at + AT_ONCE]
            with state.lock:
                views = rescan.views(state, some, now_ms, unknown=False)
            for event_ticker in some:
                self._tradable.pop(event_ticker, None)
            for view in views:
                candidates = rescan.candidates(view, self._published, now_ms)
                found = [_edge(one) for one in candidates if one.tradable]
                if found:
                    self._tradable[view.event.event_ticker] = max(found, key=_worth)
        for failure in rescan.take_failures():
            log.error(
                "scan.failed", event_ticker=failure.event_ticker, part=failure.part, error=failure.error
            )
        self.found = tuple(sorted(self._tradable.values(), key=_worth, reverse=True))


def _worth(edge: Edge) -> int:
    return edge.net_edge_e6


def _edge(one: Opportunity) -> Edge:
    text = f"{one.title}: {explain(one)}"
    return Edge(one.event_ticker, one.series_ticker, one.net_edge_e6 or 0, text)
