"""The process: a thread hears the feed, the bus thread owns our sockets, the main thread runs the engine."""

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import msgspec
import structlog

from bus.clock import Clock, Rng, SystemClock
from bus.metrics import Telling, of_trader
from bus.process.lifecycle import EXIT_STRATEGY, Stop
from bus.process.settings import Settings, money_e6
from bus.protocol.memory import Slim
from bus.protocol.messages import PublisherHealth
from bus.replica import SteppedReplica
from bus.scan.membership import scan_limits
from bus.server import FeedServer
from bus.sockets import make_context
from bus.trading.ended import EndedStrategies
from bus.trading.killswitch import KillSwitch
from bus.trading.link import GatewayLink
from bus.wishes import Wishes
from markets.errors import StartupError
from markets.records import FairValue, TraderEvent
from trader.journal.journal import Journal, Recovered
from trader.journal.reader import Reader
from trader.journal.schema import build_id, journal_path

from .announcer import Published
from .brokers.base import Broker
from .brokers.gateway import GatewayBroker
from .brokers.paper import PaperBroker
from .control import Control, Events
from .fair_values import ValuesFile
from .fair_values.hosted import hosted, names_taken, start_sources
from .fair_values.judge import Judge
from .last_line import LastLine
from .lineup import line_up
from .manual import ManualCommands
from .minder import Minder, Watch, ender, remember
from .opening import Books, GatewayPort, open_books
from .report import report
from .session import Probe
from .worker import PAPER, Follows, Surroundings, ValuesProvider, Worker, risk_limits

log = structlog.get_logger()

REPORT_MS = 250


class Voice:
    """Publishes what the worker says; `news` asks for a new status."""

    def __init__(self) -> None:
        self.events: Events | None = None
        self.news = True

    def fair_values(self, set_: Sequence[FairValue], removed: Sequence[str]) -> None:
        """Publish changes of fair values."""
        if self.events is not None:
            self.events.fair_values(set_, removed)

    def event(self, what: str, *, state: str | None = None, number: int | None = None) -> None:
        """Publish that something has happened."""
        self.news = True
        if self.events is not None:
            self.events.event(TraderEvent(what, state, number))


def live(settings: Settings, stop: Stop) -> int:
    """Trade until `stop`, in a process that a stuck strategy may end; see `run`."""
    return run(settings, stop, end=lambda: os._exit(EXIT_STRATEGY))


def run(
    settings: Settings,
    stop: Stop,
    clock: Clock | None = None,
    rng: Callable[[], Rng] = Rng,
    probe: Probe = lambda _point: None,
    end: Callable[[], None] | None = None,
) -> int:
    """Trade until `stop`; return the exit code. See bus.process.lifecycle.main.

    Args:
        end: ends the process at once if a strategy does not return; without it nobody checks.

    Raises:
        StartupError: a strategy, the journal or a socket cannot be used.
    """
    ticking = clock or SystemClock()
    voice = Voice()
    minder = Minder(ticking)
    with ExitStack() as stack:
        if end is not None:
            ended = EndedStrategies(settings.data_dir)
            minder.last_line = stack.enter_context(closing(_last_line(settings)))
            if (stuck := minder.last_line.take(ticking.now_ms())) is not None:
                remember(stuck, ended)
            watch = Watch(minder, ender(minder, ended, ticking, end))
            watch.thread.start()
            stack.callback(watch.stop)
        context = make_context(settings.curve_key)
        stack.callback(context.term)
        replica = SteppedReplica(
            context, settings.feed, settings.query, ticking, rng(), keeping=Slim(), spare=settings.state
        )
        stack.callback(replica.stop)
        commands = ManualCommands(replica.rouse)
        sources = start_sources(
            settings.fair_values,
            lambda text: hosted(text, settings, ticking, Path.cwd()),
            names_taken(settings),
            stack,
        )
        link, books = None, None
        if settings.mode != "paper":
            link = GatewayLink(context, settings.orders, settings.order_events, ticking, replica.rouse)
            link.start()
            stack.callback(link.stop)
            books = open_books(link, settings.data_dir, settings.mode, settings.env, ticking, rng(), stop)
            if books is None:
                return 0
        # Asked of the publisher itself: what is held must not depend on a third process.
        # Asked of the snapshot server too, which keeps the history of wished-for markets longest.
        wishes = Wishes(context, settings.state, settings.query)
        around = on_disk(
            settings,
            ticking,
            rng(),
            replica,
            commands,
            voice,
            probe,
            minder=minder,
            sources=sources,
            wish=wishes.wish,
            gateway=link,
            books=books,
        )
        worker = Worker(settings, around)
        stack.callback(worker.close)
        passing_on = threading.Thread(target=wishes.run, args=(stop,), name="wishes")

        def end_wishes() -> None:
            stop.set()
            wishes.wake()
            passing_on.join()

        passing_on.start()
        stack.callback(end_wishes)
        server = FeedServer(
            context,
            settings.trader_events,
            settings.trader_control,
            ticking,
            lambda: PublisherHealth(started_ms=worker.started_ms, sweep="none"),
            names=("trader_events", "trader_control"),
        )
        control = Control(commands, KillSwitch(settings.data_dir), lambda: Reader(worker.around.journal_path))
        control.add_to(server.answers)
        control.add_for_agents(server.also_answer(settings.trader_agents, "trader_agents"))
        telling = Telling(context, settings, "trader", of_trader, settings.trader_control)
        with telling.while_running(stop):
            _run(stop, ticking, replica, worker, server, control, voice)
        if worker.anew is not None:
            raise StartupError(worker.anew)
    return 0


def _last_line(settings: Settings) -> LastLine:
    try:
        return LastLine(settings.data_dir)
    except OSError as error:
        raise StartupError(f"{settings.data_dir}: cannot be used: {error}") from error


def on_disk(
    settings: Settings,
    clock: Clock,
    rng: Rng,
    follows: Follows,
    commands: ManualCommands,
    published: Published,
    probe: Probe = lambda _point: None,
    cpu_ns: Callable[[], int] = time.thread_time_ns,
    minder: Minder | None = None,
    sources: Sequence[ValuesProvider] = (),
    wish: Callable[[Sequence[str], float, str], None] = lambda _tickers, _ttl_s, _what: None,
    gateway: GatewayPort | None = None,
    books: Books | None = None,
) -> Surroundings:
    """Return the surroundings of a worker whose journal and files are in the data directory.

    Args:
        gateway, books: the way to the order gateway, and its account's journal; None in mode paper.

    Raises:
        StartupError: a strategy cannot be loaded.
    """
    minder = Minder(clock) if minder is None else minder
    ended = EndedStrategies(settings.data_dir)
    lineup = line_up(settings.strategies, Path.cwd(), ended, minder, clock.now_ms())
    for left_out in lineup.left_out:
        log.warning("strategy.left_out", reason=left_out.reason, **msgspec.structs.asdict(left_out))
    build = lineup.build(build_id())
    account = PAPER if books is None else books.account
    owner = {"mode": settings.mode, "env": settings.env, "account": account}
    if books is None:
        path = journal_path(settings.data_dir, settings.mode, settings.env, account)
    else:
        path, owner["exchange"] = books.path, books.exchange
    start_e6, values_path = money_e6(settings.paper_cash), settings.fair_values_file
    scan, leg_age_ms = scan_limits(settings), risk_limits(settings).leg_age_ms

    def broker(recovered: Recovered) -> Broker:
        if books is None:
            return PaperBroker(settings.paper_latency_ms, leg_age_ms, scan, recovered.taken, recovered.places)
        return GatewayBroker(
            recovered.journal_id,
            books.exchange,
            books.account,
            recovered.heard,
            lambda: "live" if follows.status().source == "live" else "replay",
            settings.live_confirmation,
            recovered.amending,
        )

    return Surroundings(
        clock=clock,
        cpu_ns=cpu_ns,
        follows=follows,
        commands=commands,
        published=published,
        open_journal=lambda now_ms: Journal(
            path, owner, start_e6, rng, now_ms, probe, build, None if books is None else books.opening
        ),
        journal_path=path,
        kill_switch=KillSwitch(settings.data_dir),
        values_file=None if values_path is None else ValuesFile(values_path),
        sources=sources,
        lineup=lineup,
        minder=minder,
        make_broker=broker,
        wish=wish,
        probe=probe,
        account=account,
        gateway=gateway,
        exchange="" if books is None else books.exchange,
        judge=Judge(settings.data_dir / f"fair-values-{settings.env}.trials"),
    )


def _run(
    stop: Stop,
    clock: Clock,
    replica: SteppedReplica,
    worker: Worker,
    server: FeedServer,
    control: Control,
    voice: Voice,
) -> None:
    voice.events = Events(server, clock)
    voice.events.open()

    def serve() -> None:
        # The server's sockets move to this thread before any other has used them.
        try:
            server.serve(stop)
        finally:
            control.close()

    bus = threading.Thread(target=serve, name="bus")
    made_ms = 0

    def after_turn() -> None:
        nonlocal made_ms
        now_ms = clock.monotonic_ns() // 1_000_000
        # Not after each waiting message, since that would make the others wait longer.
        if (voice.news and not replica.backlog) or now_ms - made_ms >= REPORT_MS:
            voice.news, made_ms = False, now_ms
            state = replica.state
            # For people a recording's time goes on between its messages; for decisions it does not.
            recorded = replica.heartbeat is not None and replica.heartbeat.source != "live"
            shown_ms = replica.published_ns // 1_000_000 if recorded else replica.now_ms()
            control.report = report(worker, shown_ms, state.epoch, state.seq)

    bus.start()
    try:
        replica.start()
        worker.run(stop, after_turn)
    finally:
        stop.set()
        bus.join()
