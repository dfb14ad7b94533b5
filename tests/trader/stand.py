"""A worker without sockets: a state that the test writes, a clock that it moves, a journal on disk."""

import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bus.clock import Clock, ManualClock
from bus.process.lifecycle import Stop
from bus.process.settings import Settings
from bus.protocol.join import Action, ReplicaStatus, Stats, Tell
from bus.protocol.messages import CycleEnd
from bus.protocol.state import Changed, State
from bus.protocol.writer import Writer
from bus.trading.killswitch import KillSwitch
from markets.opportunities import EventView
from markets.records import ExchangeStatus, FairValue
from tests.trader.brokers.fake_gateway import FakePort
from tests.trader.world import NOW_MS, SERIES
from trader.brokers.base import Broker
from trader.journal.journal import Journal
from trader.manual import ManualCommands
from trader.opening import open_books
from trader.run import on_disk
from trader.session import Probe
from trader.worker import Surroundings, Worker


class Feed:
    """Stands for a stepped replica: its state is the writer's own, and moves before it is stepped.

    Attributes:
        meanwhile: called in each step, as what happens while it waits.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.heard_ns = clock.monotonic_ns()
        self.heard: deque[tuple[Action, int]] = deque()
        self.writer = Writer(clock.now_ms())
        self.live = True
        self.lost = False
        self.degraded: tuple[str, ...] = ()
        self.source = "live"
        self.meanwhile: Callable[[], object] = lambda: None

    @property
    def state(self) -> State:
        return self.writer.state

    @property
    def backlog(self) -> int:
        return len(self.heard)

    def say(self, action: Action) -> None:
        """Let the next step but those waiting do this."""
        self.heard.append((action, self.clock.monotonic_ns()))

    def step(self, timeout_s: float) -> Sequence[Action]:
        self.meanwhile()
        if not self.heard:
            self.heard_ns = self.clock.monotonic_ns()
            return ()
        action, self.heard_ns = self.heard.popleft()
        return (action,)

    def now_ms(self) -> int:
        return self.clock.now_ms()

    def status(self) -> ReplicaStatus:
        state = self.state
        return ReplicaStatus(
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


class Told:
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
        around: Callable[[Surroundings], Surroundings] = lambda real: real,
        gateway: FakePort | None = None,
    ) -> None:
        environ = {
            "KALSHI_BUS_DATA_DIR": str(folder / "data"),
            "KALSHI_BUS_RUN_DIR": str(folder / "run"),
            "KALSHI_BUS_STRATEGIES": "no_basket",
            "KALSHI_BUS_LIMIT_POSITIONS_PER_EVENT": "1",
            "KALSHI_BUS_MODE": "paper" if gateway is None else "sim",
            **(env or {}),
        }
        self.clock = ManualClock(now_ms)
        self.feed = Feed(self.clock)
        self.heard = Told()
        self.commands = ManualCommands()
        self.stop = Stop()
        settings = Settings.load(environ, folder)
        books = None
        if gateway is not None:
            gateway.gateway.now_ms = self.clock.now_ms
            rng, folder = random.Random(now_ms), settings.data_dir
            books = open_books(gateway, folder, "sim", "sim", self.clock, rng, self.stop, again_s=0)
            assert books is not None
        real = on_disk(
            settings,
            self.clock,
            random.Random(1),
            self.feed,
            self.commands,
            self.heard,
            probe,
            cpu_ns=lambda: 0,
            gateway=gateway,
            books=books,
        )
        if broker is not None:
            real = msgspec.structs.replace(real, make_broker=lambda _recovered: broker)
        self.worker = Worker(settings, around(real))
        self.worker.begin()

    @property
    def journal(self) -> Journal:
        journal = self.worker._journal
        assert isinstance(journal, Journal)
        return journal

    @property
    def kill_switch(self) -> KillSwitch:
        switch = self.worker.around.kill_switch
        assert isinstance(switch, KillSwitch)
        return switch

    def commit(self, *views: EventView, now_ms: int | None = None) -> None:
        """Publish these events in one commit, and everything else as confirmed now."""
        now_ms = self.clock.now_ms() if now_ms is None else now_ms
        trades = ExchangeStatus(True, True, None, (), now_ms)
        changes: list[Any] = [("ex.", "exchange", [trades]), ("ref.", "series", [SERIES])]
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
        self.feed.say(Changed(state.seq, state.cycle.cycle, groups))

    def tell(self, event: str) -> None:
        self.feed.say(Tell(event, {}))

    def turns(self, count: int = 1, ms: int = 100) -> None:
        for _ in range(count):
            self.clock.advance(ms)
            self.worker.turn()
            while self.feed.backlog:
                self.worker.turn()

    def close(self) -> None:
        self.worker.close()
        self.stop.close()


def _key(kind: str, record: Any) -> str:
    return "" if kind == "exchange" else str(record.event_ticker if kind == "event" else record.ticker)
