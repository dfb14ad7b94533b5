"""The publisher's threads: the bus (main thread), the sweep, the enrichment.

The sweep reads on a fixed schedule and hands what it read to the bus thread, which alone changes the state
and publishes. Whatever fails at the exchange fails one sweep: the state goes on being served and ages.
"""

import threading
from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from bus.clock import Clock, Rng, SystemClock
from bus.process.lifecycle import Deadline, Stop
from bus.process.locks import private_dir
from bus.process.settings import Settings
from bus.protocol.memory import release_memory
from bus.protocol.messages import PublisherHealth
from bus.protocol.writer import Writer
from bus.server import FeedServer, Job
from bus.sockets import make_context
from markets.json.pages import decode_tier
from publisher.books.candles import CandlePlanner
from publisher.books.fetch import Enrichment
from publisher.books.planner import Planner

from . import checkpoint
from .held import Held
from .intake import Intake
from .kalshi.budget import BASIC, Budget
from .kalshi.client import Client, ExchangeError, KeyRefused, Stopped
from .kalshi.hosts import endpoints
from .kalshi.signing import KeySource
from .kalshi.stream import Stream
from .live import Live
from .quarantine import Quarantine
from .reading import Reading, Universe
from .sweep import Sweep

log = structlog.get_logger()

CHECKPOINT_EVERY_NS: Final = 30_000_000_000
CHECKPOINT_SHARE: Final = 40
"""Pause between checkpoints, in times of what one takes: with 130,000 markets that is seconds."""

JOIN_S: Final = 3.0
KEY_WAIT_S: Final = 0.25
CONNECTIONS_MAX: Final = 8
TIER_EVERY_NS: Final = 600_000_000_000
TIER_AGAIN_NS: Final = 60_000_000_000


class Publisher:
    """One publisher's life.

    Args:
        settings: of this process.
        stop: ends it.

    Raises:
        StartupError: it cannot take its place; nothing was started.
    """

    def __init__(self, settings: Settings, stop: Stop, clock: Clock, rng: Rng) -> None:
        self._settings = settings
        self._stop = stop
        self._clock = clock
        self._keys = KeySource.of(settings)
        self._data_dir = private_dir(settings.data_dir)
        base_url = endpoints(settings).rest
        universe = Universe(
            frozenset(settings.series), frozenset(settings.categories), frozenset(settings.tickers)
        )
        self._source = _source(settings.env, base_url, universe)
        self._account = PublisherHealth(
            started_ms=clock.now_ms(),
            poll_interval_ms=round(settings.poll_interval_s * 1000),
            key="none" if not self._keys.configured else "refused" if self._keys.missing() else "ok",
        )
        found = checkpoint.load(self._data_dir, self._source)
        # No epoch twice: what is heard of an older one is dropped by everybody.
        self._writer = Writer(max(clock.now_ms(), found.epoch + 1))
        self._opened = found.cycle is not None
        self._writer.load(found.changes)
        self._planner = Planner(settings.enriched_books_max)
        self._candles = CandlePlanner()
        self._context = make_context()
        self.server = FeedServer(
            self._context, settings.feed, settings.state, clock, lambda: self.health, self._wish
        )
        if found.cycle is not None:
            log.info("checkpoint.loaded", epoch=found.epoch, complete_ms=found.cycle.complete_ms)
            self.server.open(self._writer)
            now_ns = clock.now_ns()
            self.server.send(self._writer.commit((), found.cycle, found.cycle.ended_ms * 1_000_000, now_ns))
        self._budget = Budget(BASIC, rng, clock.monotonic_ns() / 1e9)
        quarantine = Quarantine(self._data_dir / "quarantine")
        self._held = Held(self._writer.state)
        self._client = Client(base_url, self._keys, self._budget, clock, Rng(rng.random()), stop)
        self._clients = [
            self._client,
            *(
                Client(base_url, self._keys, self._budget, clock, Rng(rng.random()), stop)
                for _ in range(CONNECTIONS_MAX)
            ),
        ]
        self._sweep = Sweep(
            self._client,
            Intake(self._held, universe, quarantine),
            self._held,
            clock,
            self._clients[1:],
            lambda: self._budget.rate_per_s,
        )
        self._tier_due_ns = 0
        self._stream: Stream | None = None
        self._live: Live | None = None
        if self._keys.configured and settings.stream == "yes":
            url = endpoints(settings).websocket
            self._stream = Stream(url, self._keys, clock, Rng(rng.random()), stop)
            self._live = Live(self._held, self.server.submit, self._stream.want, self._stream.verify, clock)
        self._enrichment = Enrichment(
            self._planner,
            self._candles,
            Client(base_url, self._keys, self._budget, clock, Rng(rng.random()), stop),
            self._budget,
            self.server.submit,
            self._writer.state,
            quarantine,
            clock,
            stop,
            settings.poll_interval_s,
            self._live,
        )
        self._saving: threading.Thread | None = None
        self._checkpointed_ns: int | None = None
        self._checkpoint_pause_ns = CHECKPOINT_EVERY_NS

    @property
    def health(self) -> PublisherHealth:
        """The account for heartbeats: the last sweep's outcome, and at once the running one's trouble."""
        account = self._with_stream(self._account)
        trouble = next((client.trouble for client in self._clients if client.trouble), None)
        if trouble is None or account.error is not None:
            return account
        return msgspec.structs.replace(account, error=trouble, exchange_reachable=self._client.reachable)

    def _wish(self, tickers: list[str], ttl_s: float, now_ms: int, what: str) -> None:
        (self._candles.wish if what == "candles" else self._planner.wish)(tickers, ttl_s, now_ms)

    def _with_stream(self, account: PublisherHealth) -> PublisherHealth:
        stream, live = self._stream, self._live
        older = self._held.older
        if stream is None or live is None:
            return msgspec.structs.replace(account, stream_older=older)
        return msgspec.structs.replace(
            account,
            stream=stream.state,
            stream_books=stream.books,
            stream_unsure=stream.unsure,
            stream_gaps=stream.counters.gaps,
            stream_reconnects=stream.reconnects,
            stream_healed=stream.counters.healed + live.healed,
            stream_confirmed=stream.counters.confirmed + live.confirmed,
            stream_older=older + live.older,
        )

    def run(self) -> None:
        """Serve until the stop; the thread that made this object only."""
        # Daemons: a name lookup that hangs must not keep the process from its end. They own nothing that
        # needs one: the checkpoint is replaced by rename.
        threads = [
            threading.Thread(target=self._sweep_on_schedule, name="sweep", daemon=True),
            threading.Thread(target=self._enrichment.run, name="enrichment", daemon=True),
        ]
        if self._stream is not None:
            threads.append(threading.Thread(target=self._listen, name="stream", daemon=True))
        for thread in threads:
            thread.start()
        try:
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

    # -- the stream's thread

    def _listen(self) -> None:
        assert self._stream is not None
        assert self._live is not None
        while self._keys.missing():
            if self._stop.wait(KEY_WAIT_S):
                return
        self._stream.run(self._live.sink)

    # -- the sweep's thread

    def _sweep_on_schedule(self) -> None:
        """Start sweeps at fixed times; one that takes longer costs the times it runs over."""
        interval_ns = round(self._settings.poll_interval_s * 1e9)
        try:
            self._wait_for_key()
            next_ns = self._clock.monotonic_ns()
            while True:
                for client in self._clients:
                    client.no_retry_after_ns = next_ns + interval_ns * 9 // 10
                self._sweep_once()
                late_ns = self._clock.monotonic_ns() - next_ns
                skipped = late_ns // interval_ns
                if skipped:
                    log.warning("sweep.overran", late_ms=late_ns // 1_000_000, skipped=skipped)
                next_ns += (skipped + 1) * interval_ns
                if self._stop.wait(max(0, next_ns - self._clock.monotonic_ns()) / 1e9):
                    return
        except Stopped:
            return
        finally:
            for client in self._clients:
                client.close()

    def _wait_for_key(self) -> None:
        """Wait for the simulator's key files, before the first sweep only."""
        if not self._keys.missing():
            return
        path = self._settings.private_key_path
        log.info("key.waiting", path=str(path))
        self._say(sweep="waiting_for_key", error=f"{path}: waiting for the simulator to write its key")
        while self._keys.missing():
            if self._stop.wait(KEY_WAIT_S):
                raise Stopped

    def _sweep_once(self) -> None:
        log.info("FETCHING FROM KALSHI")
        bytes_before = sum(client.bytes_received for client in self._clients)
        reading = Reading(self._clock.now_ms())
        self._ask_tier()
        error = self._sweep.run(reading)
        key = self._key_word(error)
        if error is None:
            self._say(sweep="complete", key=key, exchange_reachable=True, error=None)
        else:
            partly = reading.as_of_ms is not None and self._opened
            outcome = "key_refused" if isinstance(error, KeyRefused) else "partial" if partly else "failed"
            self._say(sweep=outcome, key=key, exchange_reachable=self._client.reachable, error=str(error))
        handed_ns = self._clock.monotonic_ns()
        self._in_bus_thread(lambda server: self._commit(server, reading))
        log.info(
            "sweep.done",
            outcome=self.health.sweep,
            error=self.health.error,
            ms=reading.ended_ms - reading.started_ms,
            commit_ms=(self._clock.monotonic_ns() - handed_ns) // 1_000_000,
            requests=self._sweep.last_requests,
            connections=self._sweep.last_connections,
            refused_429=self._budget.refusals,
            bytes=sum(client.bytes_received for client in self._clients) - bytes_before,
            confirmed=len(reading.confirmed),
            read=len(reading.candidates),
            refused=len(reading.bad),
            older=self._held.older,
        )
        if self._opened:
            self._enrichment.begin(self._sweep.last_requests)
        release_memory()  # a sweep's pages, some megabytes each, and what was made of them
        if reading.complete and (self._saving is None or not self._saving.is_alive()):
            # In a thread of its own: with 130,000 markets it takes seconds, and the next sweep is due.
            self._saving = threading.Thread(target=self._checkpoint, name="checkpoint", daemon=True)
            self._saving.start()

    def _ask_tier(self) -> None:
        """Learn the account's read limits, now and then; without a key they are those of Basic."""
        now_ns = self._clock.monotonic_ns()
        if not self._keys.configured or now_ns < self._tier_due_ns:
            return
        try:
            tier, _ = self._client.get("/account/limits", read=decode_tier, attempts=1)
        except ExchangeError as error:
            log.info("tier.unknown", outcome=error.outcome, error=str(error))
            self._tier_due_ns = now_ns + TIER_AGAIN_NS
            return
        self._budget.resize(tier, self._clock.monotonic_ns() / 1e9)
        self._tier_due_ns = now_ns + TIER_EVERY_NS
        log.info("tier.known", refill_per_s=tier.refill_per_s, capacity=tier.capacity)

    def _key_word(self, error: ExchangeError | None) -> str:
        if not self._keys.configured:
            return "none"
        if isinstance(error, KeyRefused):
            return "refused"
        # No answer says nothing about the key.
        return "ok" if error is None or self._client.reachable else self._account.key

    def _say(self, **changes: object) -> None:
        self._account = msgspec.structs.replace(self._account, **changes)

    def _in_bus_thread(self, job: Job) -> None:
        done = threading.Event()

        def run(server: FeedServer) -> None:
            try:
                job(server)
            finally:
                done.set()

        self.server.submit(run)
        while not done.wait(0.1):
            if self._stop.is_set():
                raise Stopped

    # -- the checkpoint's thread

    def _checkpoint(self) -> None:
        now_ns = self._clock.monotonic_ns()
        if self._checkpointed_ns is not None and now_ns - self._checkpointed_ns < self._checkpoint_pause_ns:
            return
        self._checkpointed_ns = now_ns
        try:
            size = checkpoint.save(self._data_dir, self._writer.state, self._source, self._clock.now_ms())
        except OSError as error:
            log.warning("checkpoint.failed", error=str(error))
            return
        taken_ns = self._clock.monotonic_ns() - now_ns
        self._checkpoint_pause_ns = max(CHECKPOINT_EVERY_NS, CHECKPOINT_SHARE * taken_ns)
        log.info("checkpoint.saved", bytes=size, ms=taken_ns // 1_000_000)

    # -- the bus thread

    def _commit(self, server: FeedServer, reading: Reading) -> None:
        writer, state, now_ns = self._writer, self._writer.state, self._clock.now_ns()
        now_ms, source_ns = now_ns // 1_000_000, reading.ended_ms * 1_000_000
        if not self._opened:
            if reading.complete:
                with state.lock:
                    diff = self._held.diff(reading, now_ms)
                writer.load(diff.changes)
                server.open(writer)
                server.send(writer.commit((), diff.cycle, source_ns, now_ns))
                self._opened = True
            return
        if reading.as_of_ms is not None:
            with state.lock:
                diff = self._held.diff(reading, now_ms)
                server.send(writer.commit(diff.changes, diff.cycle, source_ns, now_ns))
        elif reading.exchange is not None:
            server.send(writer.stream("ex.", "exchange", [reading.exchange], source_ns, now_ns))
        for topic, kind, records in self._held.rotate(now_ms):
            server.send(writer.stream(topic, kind, records, source_ns, now_ns))


def _source(env: str, base_url: str, universe: Universe) -> str:
    """Return what a checkpoint must be of to be used: exchange and universe."""
    narrowed = [f"{name}={','.join(sorted(names))}" for name, names in universe._asdict().items() if names]
    return " ".join([env, base_url, *narrowed])


def run(settings: Settings, stop: Stop, clock: Clock | None = None, rng: Callable[[], Rng] = Rng) -> int:
    """Run the publisher until `stop`; return the exit code.

    Raises:
        StartupError: key file, directory or socket cannot be used.
    """
    Publisher(settings, stop, clock or SystemClock(), rng()).run()
    return 0
