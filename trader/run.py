"""The process: the replica's thread, the bus thread with our own sockets, the engine in the main one."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from bus.clock import Clock, Rng, SystemClock
from bus.process.lifecycle import Stop
from bus.process.settings import Settings
from bus.protocol.memory import Slim
from bus.protocol.messages import PublisherHealth
from bus.replica import Replica
from bus.server import FeedServer
from bus.sockets import make_context
from markets.errors import StartupError
from markets.records import FairValue, TraderEvent
from trader.journal.journal import Probe
from trader.journal.reader import Reader

from .control import Desk, Events
from .inbox import Inbox
from .status import snapshot
from .worker import Worker

SNAPSHOT_MS = 250


class Voice:
    """What the worker says to the world; `news` asks for a new status."""

    def __init__(self) -> None:
        self.events: Events | None = None
        self.news = True

    def fair_values(self, set_: Sequence[FairValue], removed: Sequence[str]) -> None:
        """Publish changes of fair values."""
        if self.events is not None:
            self.events.fair_values(set_, removed)

    def event(self, what: str, *, state: str | None = None, number: int | None = None) -> None:
        """Say that something has happened."""
        self.news = True
        if self.events is not None:
            self.events.event(TraderEvent(what, state, number))


def run(
    settings: Settings,
    stop: Stop,
    clock: Clock | None = None,
    rng: Callable[[], Rng] = Rng,
    probe: Probe = lambda _point: None,
) -> int:
    """Trade until `stop`; return the exit code. See bus.process.lifecycle.main.

    Raises:
        StartupError: the mode needs an order gateway; the journal or a socket cannot be used.
    """
    if settings.mode != "paper":
        raise StartupError(
            f"mode {settings.mode!r} needs the order gateway, which this build does not have:"
            " set KALSHI_BUS_MODE=paper"
        )
    ticking = clock or SystemClock()
    inbox, voice = Inbox(), Voice()
    with ExitStack() as stack:
        context = make_context()
        stack.callback(context.term)
        replica = Replica(
            context,
            settings.feed,
            settings.query,
            ticking,
            rng(),
            listener=lambda actions: inbox.listen(actions, ticking.monotonic_ns()),
            keeping=Slim(),
        )
        stack.callback(replica.stop)
        worker = Worker(settings, ticking, rng(), replica, inbox, voice, time.thread_time_ns, probe)
        stack.callback(worker.close)
        server = FeedServer(
            context,
            settings.trader_events,
            settings.trader_control,
            ticking,
            lambda: PublisherHealth(started_ms=worker.started_ms, sweep="none"),
            names=("trader_events", "trader_control"),
        )
        _run(stop, ticking, replica, worker, server, inbox, voice)
    return 0


def _run(
    stop: Stop, clock: Clock, replica: Replica, worker: Worker, server: FeedServer, inbox: Inbox, voice: Voice
) -> None:
    desk = Desk(inbox, worker.kill_switch, lambda: Reader(worker.path))
    desk.add_to(server.answers)
    voice.events = Events(server, clock)
    voice.events.open()

    def serve() -> None:
        # The server's sockets move to this thread, before any other has used them.
        try:
            server.serve(stop)
        finally:
            desk.close()

    bus = threading.Thread(target=serve, name="bus")
    made_ms = 0

    def after_turn() -> None:
        nonlocal made_ms
        now_ms = clock.monotonic_ns() // 1_000_000
        if voice.news or now_ms - made_ms >= SNAPSHOT_MS:
            voice.news, made_ms = False, now_ms
            state = replica.state
            desk.snapshot = snapshot(worker, replica.now_ms(), state.epoch, state.seq)

    bus.start()
    try:
        replica.start()
        worker.run(stop, after_turn)
    finally:
        stop.set()
        bus.join()
