"""A worker without sockets: a state that the test writes, a clock that it moves, a journal on disk."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bus import replica
from bus.clock import Clock, ManualClock
from bus.process.lifecycle import Stop
from bus.process.settings import Settings
from bus.protocol.join import Stats, Tell
from bus.protocol.messages import CycleEnd
from bus.protocol.state import Changed, State
from bus.protocol.writer import Writer
from markets.opportunities import EventView
from markets.records import FairValue
from tests.trader.world import NOW_MS, SERIES
from trader.brokers.base import Broker
from trader.inbox import Inbox
from trader.journal.journal import Probe
from trader.worker import Worker


class Feed:
    """Stands for a replica: its state is the writer's own."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.writer = Writer(clock.now_ms())
        self.live = True
        self.lost = False
        self.degraded: tuple[str, ...] = ()
        self.source = "live"

    @property
    def state(self) -> State:
        return self.writer.state

    def now_ms(self) -> int:
        return self.clock.now_ms()

    def status(self) -> replica.ReplicaStatus:
        state = self.state
        return replica.ReplicaStatus(
            epoch=state.epoch,
            seq=state.seq,
            live=self.live and not self.lost,
            phase="live" if self.live else "repairing",
            lost=self.lost,
            age_ms=None,
            degraded=self.degraded,
            source=self.source,
            stats=Stats(),
        )


class Heard:
    """Takes down what the worker publishes."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.values: dict[str, FairValue] = {}

    def fair_values(self, set_: Sequence[FairValue], removed: Sequence[str]) -> None:
        self.values.update({value.ticker: value for value in set_})
        for ticker in removed:
            del self.values[ticker]

    def event(self, what: str, *, state: str | None = None, number: int | None = None) -> None:
        self.events.append(what if state is None else f"{what}:{state}")


class Stand:
    """A trader on a bench. `turns` moves the clock and lets it work."""

    def __init__(
        self,
        folder: Path,
        probe: Probe = lambda _point: None,
        now_ms: int = NOW_MS,
        env: Mapping[str, str] | None = None,
        broker: Broker | None = None,
    ) -> None:
        environ = {
            "KALSHI_BUS_DATA_DIR": str(folder / "data"),
            "KALSHI_BUS_RUN_DIR": str(folder / "run"),
            "KALSHI_BUS_STRATEGIES": "no_basket",
            **(env or {}),
        }
        self.clock = ManualClock(now_ms)
        self.feed = Feed(self.clock)
        self.heard = Heard()
        self.inbox = Inbox()
        self.stop = Stop()
        self.worker = Worker(
            Settings.load(environ, folder),
            self.clock,
            random.Random(1),
            self.feed,
            self.inbox,
            self.heard,
            lambda: 0,
            probe,
            None if broker is None else lambda _recovered: broker,
        )
        self.worker.begin()

    def commit(self, *views: EventView, now_ms: int | None = None) -> None:
        """Publish these events in one commit, and everything else as confirmed now."""
        now_ms = self.clock.now_ms() if now_ms is None else now_ms
        changes: list[Any] = [("ref.", "series", [SERIES])]
        for view in views:
            topic = f"md.{view.event.series_ticker}."
            changes.append(("ref.", "event", [view.event]))
            changes.append((topic, "market", [one.market for one in view.markets]))
            changes.append((topic, "quote", [one.quote for one in view.markets]))
            books = [one.book for one in view.markets if one.book is not None]
            if books:
                changes.append((topic, "book", books))
        cycle = CycleEnd(0, 0, 0, 0, True, now_ms, now_ms, as_of_ms=now_ms, complete_ms=now_ms)
        self.feed.writer.commit(changes, cycle, now_ms * 1_000_000, now_ms * 1_000_000)
        state = self.feed.state
        groups = [(kind, [_key(kind, one) for one in ones]) for _, kind, ones in changes]
        assert state.cycle is not None
        self.inbox.listen([Changed(state.seq, state.cycle.cycle, groups)], self.clock.monotonic_ns())

    def tell(self, event: str) -> None:
        self.inbox.listen([Tell(event, {})], self.clock.monotonic_ns())

    def turns(self, count: int = 1, ms: int = 100) -> None:
        for _ in range(count):
            self.clock.advance(ms)
            self.worker.turn()

    def close(self) -> None:
        self.worker.close()
        self.stop.close()


def _key(kind: str, record: Any) -> str:
    return str(record.event_ticker if kind == "event" else record.ticker)
