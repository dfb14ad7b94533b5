"""The process: twice a second, observations are gathered and judged.

Threads: main gathers, judges and sends; `control` answers; `trader` polls the trader; `replica` (two if a
rule is about edges) follows the feed, `edges` looks for edges; `supervised` polls supervisord. Each message
and each heartbeat is sent by a process of its own.
"""

import os
import threading
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from bus.alerting import PriceRule
from bus.ask import Asker
from bus.clock import Clock, SystemClock
from bus.drift import drift_rows
from bus.health import health_of
from bus.metrics import Telling
from bus.process.lifecycle import Stop
from bus.process.locks import holder, private_dir
from bus.process.settings import Settings
from bus.process.supervised import Processes, ProcessMonitor
from bus.protocol.answers import Answers
from bus.server import QueryServer
from bus.sockets import make_context
from bus.threads import main_thread

from .caller import Caller
from .couriers import Couriers
from .following import Following, wanted_by
from .heartbeat import Heart
from .kept import rules_file, told_file
from .seen import Seen, Up
from .trader_link import TraderLink
from .ways import Ways, exchange_of, read_ways

TURN_S: Final = 0.5
LAST_S: Final = 2.0
"""How long a stop waits for messages being sent."""

BY_HAND_MS: Final = 2_000
ROLES: Final = ("publisher", "snapshot_server", "trader", "ui", "orders", "watchdog")


class WaysFile:
    """The file of URLs, read again when it has changed. Any thread may call it."""

    def __init__(self, settings: Settings) -> None:
        self._path = settings.alerts_urls
        self._refused = exchange_of(settings)
        self._at: tuple[int, ...] | None = (0,)
        self._ways = Ways()
        self._lock = threading.Lock()

    def __call__(self) -> Ways:
        """Return the ways that it lists now."""
        with self._lock:
            at = _mark(self._path)
            if at != self._at:
                self._at = at
                self._ways = read_ways(self._path, self._refused)
            return self._ways


def _mark(path: Path | None) -> tuple[int, ...] | None:
    if path is None:
        return None
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_mode


class ByHand:
    """Which processes of a run directory have disappeared, if there is no supervisord to ask."""

    def __init__(self, run_dir: Path, clock: Clock) -> None:
        self._run_dir = run_dir
        self._clock = clock
        self._known: set[str] = set()
        self._next_ms = 0
        self._found: dict[str, Up] = {}

    def look(self) -> dict[str, Up]:
        """Return the state of every process that has ever been there."""
        now_ms = self._clock.monotonic_ns() // 1_000_000
        if now_ms >= self._next_ms:
            self._next_ms = now_ms + BY_HAND_MS
            held = {role for role in ROLES if holder(self._run_dir, role) is not None}
            self._known |= held
            self._found = {role: Up(None if role in held else "is not running") for role in self._known}
        return self._found


def processes_of(supervised: Processes | None, by_hand: ByHand) -> dict[str, Up]:
    """Return the state of each process."""
    if supervised is None:
        return by_hand.look()
    return {name: Up(one.trouble, one.restarts) for name, one in supervised.items()}


class Looking:
    """Gathers the observations of one moment. The main thread's."""

    def __init__(
        self,
        settings: Settings,
        following: Following,
        link: TraderLink,
        monitor: ProcessMonitor,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._following = following
        self._link = link
        self._monitor = monitor
        self._clock = clock
        self._by_hand = ByHand(settings.run_dir, clock)
        self._began_ms = clock.monotonic_ns() // 1_000_000

    def look(self, tickers: set[str]) -> Seen:
        """Return the present observations, with the quotes of these markets."""
        replica, edges = self._following.replica, self._following.edges
        processes = self._monitor.processes
        state, status, heartbeat = replica.state, replica.status(), replica.heartbeat
        stale_after_ms = round(self._settings.stale_after_s * 1000)
        with state.lock:
            health = health_of(state, status, heartbeat, replica.now_ms(), stale_after_ms, processes)
            quotes = {ticker: quote for ticker in tickers if (quote := state.quotes.get(ticker)) is not None}
            markets = [state.markets.get(ticker) for ticker in tickers]
            drift, _ = drift_rows(state.drifts)
        return Seen(
            now_ms=self._clock.now_ms(),
            up_ms=self._clock.monotonic_ns() // 1_000_000 - self._began_ms,
            health=health,
            whole=bool(state.epoch) and status.live and health.complete,
            quotes=quotes,
            titles={market.ticker: market.title for market in markets if market is not None},
            edges=None if edges is None else edges.found,
            trader=self._link.seen,
            processes=processes_of(processes, self._by_hand),
            drift={
                f"{row.route} {row.member} {row.what}": f"{row.route}: {row.member}: {row.what}"
                for row in drift
            },
        )


def run(settings: Settings, stop: Stop) -> int:
    """Judge and send until `stop`; return the exit code. Main thread only.

    Raises:
        StartupError: the endpoint is taken, or the data directory cannot be used.
    """
    main_thread.check()
    os.umask(0o077)
    private_dir(settings.data_dir)
    clock = SystemClock()
    context = make_context(settings.curve_key)
    couriers = Couriers(clock)
    caller = Caller(
        rules_file(settings.data_dir),
        told_file(settings.data_dir),
        WaysFile(settings),
        couriers,
        Heart(round(settings.alerts_heartbeat_s * 1000)),
        clock,
        settings.alerts_heartbeat_needs,
        apprise=find_spec("apprise") is not None,
    )
    following = Following(context, settings, clock)
    link = TraderLink(Asker(context, settings.trader_control))
    monitor = ProcessMonitor(settings.run_dir)
    looking = Looking(settings, following, link, monitor, clock)
    answers = Answers(lambda: None)
    caller.add_to(answers)
    with ExitStack() as stack:
        stack.callback(context.term)
        server = QueryServer(context, settings.alerts_control, answers, clock.now_ms, "alerts_control")
        telling = Telling(context, settings, "alerts", lambda _asker: caller.figures())
        threads = [
            threading.Thread(target=server.serve, args=(stop,), name="control"),
            threading.Thread(target=link.run, args=(stop,), name="trader"),
            threading.Thread(target=telling.run, args=(stop,), name="metrics"),
        ]

        def end() -> None:
            stop.set()
            for thread in threads:
                thread.join()
            following.stop()
            caller.stop()

        stack.callback(end)
        for thread in threads:
            thread.start()
        monitor.thread(stop).start()
        while not stop.wait(TURN_S):
            rules = caller.rules
            following.follow(wanted_by(rules))
            tickers = {rule.ticker for rule in rules if isinstance(rule, PriceRule) and rule.on}
            caller.turn(looking.look(tickers))
        _end_well(caller, clock)
    return 0


def _end_well(caller: Caller, clock: Clock) -> None:
    """Wait a moment for messages being sent, so that fewer end as uncertain."""
    until_ns = clock.monotonic_ns() + round(LAST_S * 1e9)
    pause = threading.Event()
    while caller.busy() and clock.monotonic_ns() < until_ns:
        pause.wait(0.05)
        caller.take_done()
