"""The publisher, put together.

Its threads pass work to one another through queues:

* bus (the main thread): the sockets, and sole owner of the state and its only writer;
* sweep: reads on a fixed schedule, with fetch-0 to fetch-7 beside it while it reads slices;
* enrichment: reads order books and price history;
* stream: the exchange's WebSocket;
* checkpoint: exists while the state is written to disk.
"""

import sys
import threading
from collections.abc import Callable
from typing import Final

import structlog

from bus.clock import Clock, Rng, SystemClock
from bus.metrics import Telling
from bus.process.lifecycle import Deadline, Stop, release_memory
from bus.process.locks import hold_data_dir, private_dir
from bus.process.settings import Settings
from bus.protocol.messages import PublisherHealth
from bus.protocol.writer import Writer
from bus.server import FeedServer
from bus.sockets import make_context
from bus.threads import Owner
from publisher.books.candles import CandlePlanner
from publisher.books.fetch import Enrichment
from publisher.books.planner import MAX_WISHED, Planner
from publisher.books.wished import Wished

from . import checkpoint
from .account import Account
from .commits import Commits
from .drift import DriftWatch
from .held import Held
from .intake import Intake
from .kalshi.budget import BASIC, Budget
from .kalshi.client import Client
from .kalshi.faults import Ahead, Place
from .kalshi.hosts import endpoints
from .kalshi.signing import KeySource
from .kalshi.stream import KalshiStream
from .live import Live
from .quarantine import Quarantine
from .reading import Reading, Universe
from .schedule import Schedule
from .slow import SlowLists, SlowReader
from .sweep import Sweep

log = structlog.get_logger()

JOIN_S: Final = 3.0
CONNECTIONS_MAX: Final = 8

SWITCH_S: Final = 0.0005
"""How long a thread may keep the interpreter while another waits for it. A snapshot is made in many slices,
and each gives the interpreter to a computing sweep, for 5 ms at Python's default."""


class Publisher:
    """One publisher's life.

    Args:
        settings: of this process.
        stop: ends it.

    Raises:
        StartupError: it cannot take its place; nothing has been started.
    """

    def __init__(self, settings: Settings, stop: Stop, clock: Clock, rng: Rng) -> None:
        self._stop = stop
        self._clock = clock
        self._settings = settings
        self._thread = Owner("the publisher's sockets")
        self._thread.take()
        self._keys = KeySource.of(settings)
        data_dir = private_dir(settings.data_dir)
        hosts = endpoints(settings)
        universe = Universe(
            frozenset(settings.series), frozenset(settings.categories), frozenset(settings.tickers)
        )
        source = _source(settings.env, hosts.rest, universe)
        started_ms = clock.now_ms()
        found = checkpoint.load(data_dir, source)
        # Never the same epoch twice: replicas drop what they hear of an older one.
        self._writer = Writer(max(clock.now_ms(), found.epoch + 1))
        self._writer.load(found.changes)
        self._planner = Planner(settings.enriched_books_max)
        self._candles = CandlePlanner()
        self._kept = Wished(MAX_WISHED)
        self._context = make_context()
        self.server = FeedServer(
            self._context, settings.feed, settings.state, clock, lambda: self.health, self._wish
        )
        self.server.announce(self._writer)
        held = Held(self._writer.state)
        drift = DriftWatch(clock)
        self._commits = Commits(self.server, self._writer, held, drift, clock)
        if found.cycle is not None:
            log.info("checkpoint.loaded", epoch=found.epoch, complete_ms=found.cycle.complete_ms)
            self._commits.open_from(found.cycle)
        quarantine = Quarantine(data_dir / "quarantine")
        budget = Budget(BASIC, rng, clock.monotonic_ns() / 1e9)
        ahead = Ahead()
        clients = [
            Client(hosts.rest, self._keys, budget, clock, Rng(rng.random()), stop, drift, ahead)
            for _ in range(2 + CONNECTIONS_MAX)
        ]
        sweeping, enriching = clients[:-1], clients[-1]
        sweep = Sweep(
            sweeping[0],
            Intake(held, universe, quarantine, drift),
            held,
            clock,
            sweeping[1:],
            lambda: budget.rate_per_s,
            kept=lambda: self._kept.at(clock.monotonic_ns() // 1_000_000),
        )
        self._stream: KalshiStream | None = None
        self._live: Live | None = None
        if self._keys.configured and settings.stream == "yes":
            self._stream = KalshiStream(
                hosts.websocket, self._keys, clock, Rng(rng.random()), stop, drift, lambda: ahead.ms
            )
            self._live = Live(held, self.server.submit, self._stream.want, self._stream.verify, clock)
        self._account = Account(
            self._keys,
            sweeping,
            held,
            self._stream,
            self._live,
            Place.of(settings.env, hosts.rest),
            started_ms=started_ms,
            poll_interval_s=settings.poll_interval_s,
        )
        lists = SlowLists()
        lists.add_to(self.server.answers)
        self._enrichment = Enrichment(
            self._planner,
            self._candles,
            enriching,
            budget,
            self.server.submit,
            self._writer.state,
            quarantine,
            clock,
            stop,
            settings.poll_interval_s,
            self._live,
            SlowReader(lists, enriching, clock),
        )
        self._saver = checkpoint.Saver(data_dir, self._writer.state, source, clock)
        self._schedule = Schedule(
            sweep,
            sweeping,
            budget,
            self._keys,
            self._account,
            held,
            self._commits,
            self._after_sweep,
            settings,
            clock,
            stop,
        )

    @property
    def health(self) -> PublisherHealth:
        """The account for heartbeats. Any thread."""
        return self._account.health

    def run(self) -> None:
        """Serve until the stop, in the thread that created this object."""
        self._thread.check()
        # Daemons, since a hanging name lookup must not keep the process from ending. They own nothing that
        # needs an orderly end: the checkpoint is replaced by rename.
        threads = [
            threading.Thread(target=self._schedule.run, name="sweep", daemon=True),
            threading.Thread(target=self._enrichment.run, name="enrichment", daemon=True),
        ]
        if self._stream is not None:
            threads.append(threading.Thread(target=self._listen, name="stream", daemon=True))
        for thread in threads:
            thread.start()
        try:
            with Telling(self._context, self._settings, "publisher").while_running(self._stop):
                self.server.serve(self._stop)
        finally:
            self._stop.set()
            self._enrichment.end()
            deadline = Deadline(JOIN_S)
            for thread in threads:
                thread.join(deadline.remaining_s())
                if thread.is_alive():
                    log.warning("thread.busy", thread=thread.name)
            self._context.term()

    def _wish(self, tickers: list[str], ttl_s: float, now_ms: int, what: str) -> None:
        if what == "market":
            self._kept.wish(tickers, ttl_s, self._clock.monotonic_ns() // 1_000_000)
        else:
            planner = self._candles if what == "candles" else self._planner
            planner.wish(tickers, ttl_s, now_ms)

    def _listen(self) -> None:
        assert self._stream is not None
        assert self._live is not None
        if self._keys.wait(self._stop):
            self._stream.run(self._live.sink)

    def _after_sweep(self, reading: Reading, requests: int) -> None:
        if self._commits.opened:
            self._enrichment.begin(requests)
        release_memory()  # a sweep's pages, some megabytes each, and what was made from them
        if reading.complete:
            self._saver.begin()


def _source(env: str, base_url: str, universe: Universe) -> str:
    """Return what a checkpoint must be from to be used: exchange and universe."""
    narrowed = [f"{name}={','.join(sorted(names))}" for name, names in universe._asdict().items() if names]
    return " ".join([env, base_url, *narrowed])


def run(settings: Settings, stop: Stop, clock: Clock | None = None, rng: Callable[[], Rng] = Rng) -> int:
    """Run the publisher until `stop`; return the exit code.

    Raises:
        StartupError: key file, directory or socket cannot be used.
    """
    sys.setswitchinterval(SWITCH_S)
    with hold_data_dir(settings.data_dir):
        Publisher(settings, stop, clock or SystemClock(), rng()).run()
    return 0
