"""The order gateway's process around its core: docs/orders.md.

Threads:

* bus (the main thread): the sockets, the log, and sole owner of the core;
* send-0 and up: one connection to the exchange each;
* terms: asks whose account it is, and checks again now and then;
* replica: hears the feed.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final, TypeVar

import msgspec
import structlog

from bus.clock import Clock, Rng, SystemClock
from bus.metrics import Telling, of_gateway
from bus.process.lifecycle import Deadline, Stop
from bus.process.locks import holder, lock_path, private_dir, take_role
from bus.process.settings import Settings, money_e6
from bus.process.settings_table import LIVE_CONFIRMATION
from bus.protocol.answers import Later, Question, Refusal
from bus.protocol.messages import TOPIC_EX, PublisherHealth, convert_map
from bus.protocol.writer import Writer
from bus.replica import Replica
from bus.server import FeedServer
from bus.sockets import make_context
from bus.trading.gateway import (
    STANDS_STILL,
    AccountAsk,
    AmendAsk,
    CancelAsk,
    GatewayBudget,
    GatewayStatus,
    OrderAsk,
    OrderEventsAsk,
    PlaceAsk,
    Source,
    TransferAsk,
)
from bus.trading.killswitch import KillSwitch as KillFile
from bus.trading.shapes import Shape
from markets.errors import DecodeError, StartupError
from markets.records import TraderEvent
from publisher.kalshi.hosts import endpoints
from publisher.kalshi.signing import KeySource

from .core import Core
from .fence import ROLE, Fence
from .log import OrderLog
from .sender import Sender
from .steps import (
    Answered,
    Append,
    CoreSettings,
    ExchangeTime,
    FeedHeard,
    Fenced,
    KillSwitch,
    Limits,
    Now,
    Reply,
    Request,
    Send,
    Tell,
    TradingStatus,
)
from .terms import READ_SHARE, Terms, TermsSource

log = structlog.get_logger()
T = TypeVar("T")

SWITCH_S: Final = 0.0001
"""Threads hand over the interpreter after this rather than 5 ms, so that what is logged leaves at once."""

TURN_MS: Final = 50
"""How often, at least, feed, fence and kill file are checked."""

JOIN_S: Final = 3.0
LOOK_MS: Final = 1_000
WATCHDOG_NOTE: Final = "watchdog"
"""A file beside the log: what the watchdog last did."""

WATCHDOG_STILL_MS: Final = 15_000
"""The longest time between two touches of its lock, even while waiting for an answer."""

NOTE_MOST: Final = 300
COMPACT_MS: Final = 60_000
PIECE: Final = 1_000
"""Records of the log that are read in one go, some 50 ms."""

ENDED: Final = object()
TOPIC_ORDERS: Final = "orders."
WRITES: Final = frozenset({"create", "renew"})
"""What the kill file holds back; cancels and reads go on."""

Probe = Callable[[str], None]
"""Called at each step of an order's life with the step's name: tests end the process there."""


class Gateway:
    """One gateway's life. The thread that made it runs it.

    Raises:
        StartupError: key, directory or socket cannot be used; nothing was started.
    """

    def __init__(
        self, settings: Settings, stop: Stop, clock: Clock, rng: Callable[[], Rng], probe: Probe
    ) -> None:
        self._settings = settings
        self._stop = stop
        self._clock = clock
        self._probe = probe
        self._core: Core | None = None
        self._opening: Iterator[None] | None = None
        self._log: OrderLog | None = None
        self._fence: Fence | None = None
        self._lock: int | None = None
        self._terms: Terms | None = None
        self._failed: str | None = None
        self._kill_file = KillFile(private_dir(settings.data_dir))
        self._killed: bool | None = None
        self._generation = 0
        self._fenced = False
        self._served = False
        """The sockets are closed: what is recorded now is told by the next gateway."""
        self._heard: tuple[int, int, int | None, str] | None = None
        self._heartbeat: object = None
        self._status: object = None
        self._looked_ms = 0
        self._compacted_ms = clock.monotonic_ns() // 1_000_000
        self._watchdog: str | None = None
        self._touched = 0, 0
        self._keys = KeySource.of(settings)
        self._source = TermsSource(settings, self._keys, clock, rng(), stop)
        self._context = make_context()
        try:
            self._server = FeedServer(
                self._context,
                settings.order_events,
                settings.orders,
                clock,
                lambda: PublisherHealth(sweep="none"),
                names=("order_events", "orders"),
                turn=self._turn,
            )
        except BaseException:
            self._context.term()
            raise
        # From the publisher itself: it is a single record, and must not depend on a third process.
        self._replica = Replica(
            self._context, settings.feed, settings.state, clock, rng(), topics=(TOPIC_EX,)
        )
        self._writer = Writer(clock.now_ms())
        self._server.open(self._writer)
        self._sender = Sender(endpoints(settings).rest, self._keys, clock, self._check, self._on_reply)
        self._add_answers()

    def run(self) -> None:
        """Serve until the stop.

        Raises:
            StartupError: the log cannot be read or written, or belongs to another account.
        """
        asking = threading.Thread(target=self._ask_terms, name="terms", daemon=True)
        try:
            self._replica.start()
            self._sender.start()
            asking.start()
            telling = Telling(self._context, self._settings, "orders", of_gateway, self._settings.orders)
            with telling.while_running(self._stop):
                self._server.serve(self._stop)
        finally:
            self._served = True
            self._stop.set()
            deadline = Deadline(JOIN_S)
            self._sender.stop(deadline.remaining_s())
            self._replica.stop()
            asking.join(deadline.remaining_s())
            self._finish()
            self._context.term()
        if self._failed is not None:
            raise StartupError(self._failed)

    # -- other threads

    def _ask_terms(self) -> None:
        terms = self._source.wait()
        if terms is None:
            return
        self._server.submit(lambda _server: self._guarded(lambda: self._begin(terms)))
        self._source.follow(
            terms, lambda new: self._server.submit(lambda _server: self._guarded(lambda: self._changed(new)))
        )

    def _check(self, request: Request) -> str | None:
        """Say, at the last moment, why a request must not leave. For the thread that sends it."""
        assert self._fence is not None
        try:
            if self._fence.read() != self._generation:
                return "fenced"
        except StartupError:
            return "fenced"
        if request.urgency in WRITES:
            if self._kill_file.read() is not None:
                return "killed"
            if request.urgency == "create" and self._terms is not None and self._terms.barred is not None:
                return "key_may_not_trade"
        self._probe(f"send_{request.what}")
        return None

    def _on_reply(self, request: Request, reply: Reply) -> None:
        self._probe(f"replied_{request.what}")
        self._server.submit(lambda _server: self._guarded(lambda: self._take_reply(request, reply)))

    # -- bus thread

    def _guarded(self, work: Callable[[], None]) -> None:
        """Do something that may find the log unusable: if so, end and say why."""
        if self._failed is not None:
            return
        try:
            work()
        except StartupError as error:
            self._failed = str(error)
            self._stop.set()

    def _begin(self, terms: Terms) -> None:
        """Take the account's log and lock, and open the core."""
        folder = private_dir(terms.folder)
        self._lock = take_role(folder, ROLE)
        fence = Fence(folder)
        try:
            opened = OrderLog(folder / "log")
        except OSError as error:
            raise StartupError(f"{folder / 'log'}: {error.strerror}: nothing is sent") from error
        self._log, self._fence, self._terms = opened, fence, terms
        self._opening = self._open(opened, fence, terms)

    def _open(self, opened: OrderLog, fence: Fence, terms: Terms) -> Iterator[None]:
        """Read the log into a core, a piece at a time: heartbeats and questions go on, however long it is.

        Raises:
            StartupError: it cannot be read, or another one has taken over.
        """
        folder, settings = fence.folder, self._settings
        core = Core(
            CoreSettings(
                env=settings.env,
                confirmation="" if settings.env == "sim" else LIVE_CONFIRMATION,
                order_e6=money_e6(settings.gateway_limit_order),
                market_e6=money_e6(settings.gateway_limit_market),
                total_e6=money_e6(settings.gateway_limit_total),
                orders_per_minute=settings.gateway_limit_orders_per_minute,
                lease_ms=settings.order_lease_s * 1000,
                stale_after_ms=int(settings.stale_after_s * 1000),
                resend=settings.gateway_resend == "yes",
            )
        )
        try:
            kept = opened.records()
            while piece := tuple(islice(kept, PIECE)):
                core.replay(piece)
                yield
        except DecodeError as error:
            raise StartupError(f"{folder / 'log'}: {error}: nothing is sent") from error
        self._generation = fence.raise_()
        core.open(self._generation, terms.exchange, terms.account, self._now())
        self._core = core
        self._limit(self._terms or terms)
        log.info(
            "orders.opened",
            exchange=terms.exchange,
            account=terms.account,
            generation=self._generation,
            log=str(folder / "log"),
            cut=opened.cut,
        )
        for said in filter(None, (terms.barred, terms.warning)):
            log.warning("orders.key", error=said)

    def _changed(self, terms: Terms) -> None:
        before, self._terms = self._terms, terms
        if before is not None and (terms.exchange, terms.account) != (before.exchange, before.account):
            raise StartupError(
                f"the exchange is {terms.exchange!r} and the account {terms.account!r} now, they were "
                f"{before.exchange!r} and {before.account!r}: the gateway begins anew"
            )
        self._limit(terms)

    def _limit(self, terms: Terms) -> None:
        if self._core is not None:
            limits = Limits(
                write_per_s=terms.write.refill_per_s,
                write_capacity=terms.write.capacity,
                read_per_s=terms.read.refill_per_s * READ_SHARE,
                read_capacity=terms.read.capacity * READ_SHARE,
                subaccount=terms.subaccount,
            )
            self._core.take(limits, self._now())

    def _take_reply(self, request: Request, reply: Reply) -> None:
        if self._core is not None:
            now = self._now()
            if reply.status == 401 and reply.date_ms is not None:  # perhaps signed by a wrong clock
                self._core.take(ExchangeTime(reply.date_ms), now)
            self._core.take(Answered(request.id, reply), now)

    def _turn(self) -> int | None:
        """Look around, do what needs doing, and return when to look again."""
        if self._opening is not None and self._failed is None:
            self._guarded(self._go_on)
            return self._now().steady_ms
        if self._core is not None and self._failed is None:
            self._guarded(self._look_and_act)
        return None if self._core is None else self._next_ms(self._core)

    def _next_ms(self, core: Core) -> int:
        now = self._now()
        due_ms = core.next_ms(now)
        latest_ms = now.steady_ms + TURN_MS
        return latest_ms if due_ms is None else max(now.steady_ms, min(due_ms, latest_ms))

    def _go_on(self) -> None:
        """Read the next piece of the log."""
        assert self._opening is not None
        if next(self._opening, ENDED) is ENDED:
            self._opening = None

    def _look_and_act(self) -> None:
        self._look()
        self._act()

    def _look(self) -> None:
        assert self._core is not None
        assert self._fence is not None
        core, now = self._core, self._now()
        generation = self._fence.read()
        if generation != self._generation and not self._fenced:
            self._fenced = True
            log.warning("orders.fenced", ours=self._generation, generation=generation)
            core.take(Fenced(generation), now)
        heartbeat, replica = self._replica.heartbeat, self._replica.status()
        if heartbeat is not None and heartbeat is not self._heartbeat and replica.live:
            self._heartbeat = heartbeat
            cycle = self._replica.state.cycle
            complete_ms = None if cycle is None else cycle.complete_ms
            source: Source = "live" if replica.source == "live" else "replay"
            core.take(FeedHeard(replica.epoch, replica.seq, complete_ms, source), now)
        status = self._replica.state.exchange.get("")
        if status is not self._status and status is not None:
            self._status = status
            active = None
            if status.exchange_active is not None or status.trading_active is not None:
                active = status.exchange_active is not False and status.trading_active is not False
            shards = {
                index: exchange is not False and trading is not False
                for index, exchange, trading in status.shards
            }
            core.take(TradingStatus(active, shards), now)
        if now.steady_ms - self._looked_ms >= LOOK_MS:
            self._looked_ms = now.steady_ms
            self._watchdog = self._ask_after_watchdog()

    def _ask_after_watchdog(self) -> str | None:
        """Return whether it runs or hangs, and what it last did; None if there is none."""
        run_dir, steady_ms = self._settings.run_dir, self._now().steady_ms
        if holder(run_dir, "watchdog") is None:
            return None
        assert self._terms is not None
        try:
            touched_ns = lock_path(run_dir, "watchdog").stat().st_mtime_ns
        except OSError:
            return None
        if touched_ns != self._touched[0]:
            self._touched = touched_ns, steady_ms
        elif steady_ms - self._touched[1] > WATCHDOG_STILL_MS:
            return STANDS_STILL
        try:
            return f"running; {(self._terms.folder / WATCHDOG_NOTE).read_text()[:NOTE_MOST].strip()}"
        except (OSError, ValueError):
            return "running"

    def _act(self) -> None:
        """Carry out what the core wants: first the records are made durable, then the rest happens."""
        assert self._core is not None
        assert self._log is not None
        core, now = self._core, self._now()
        killed = self._kill_file.read() is not None
        if killed is not self._killed:
            self._killed = killed
            core.take(KillSwitch(killed), now)
        actions = core.actions(now)
        records = [action.record for action in actions if isinstance(action, Append)]
        if records:
            self._probe("append")
            try:
                self._log.append(records)
            except OSError as error:
                raise StartupError(
                    f"{self._terms.folder if self._terms else ''}/log: cannot be written: {error.strerror}: "
                    "nothing is sent until it can, and what was not answered is asked again"
                ) from error
            self._probe("appended")
        self._sender.ahead_ms = core.exchange_ms(now) - now.wall_ms
        hint: int | None = None
        for action in actions:
            if isinstance(action, Send):
                self._sender.send(action.request)
            elif isinstance(action, Tell):
                hint = action.event.number
        if hint is not None and not self._served:
            now_ns = self._clock.now_ns()
            told = [TraderEvent("order", number=hint)]
            self._server.send(self._writer.stream(TOPIC_ORDERS, "trader", told, now_ns, now_ns))
        if now.steady_ms - self._compacted_ms >= COMPACT_MS and not actions:
            self._compacted_ms = now.steady_ms
            self._compact(core, now)

    def _compact(self, core: Core, now: Now) -> None:
        assert self._log is not None
        if core.compactable(now) or self._log.grown:
            try:
                self._log.compact(core.base(now), core.keeps)
            except OSError as error:
                log.warning("orders.not_compacted", error=str(error))

    def _finish(self) -> None:
        """Take the last answers, and release log and lock."""
        if self._core is not None and self._failed is None:
            self._guarded(self._write_last)
        if self._log is not None:
            self._log.close()
        if self._lock is not None:
            os.close(self._lock)

    def _write_last(self) -> None:
        self._server.run_jobs()
        self._act()  # what it sends now is answered at once: it never left
        self._server.run_jobs()
        self._act()

    def _now(self) -> Now:
        return Now(self._clock.now_ms(), self._clock.monotonic_ns() // 1_000_000)

    # -- questions

    def _add_answers(self) -> None:
        def add(type_: type[T], answer: Callable[[Core, T], Shape | Later]) -> None:
            info = msgspec.inspect.type_info(type_)
            assert isinstance(info, msgspec.inspect.StructType)
            parameters = [field.encode_name for field in info.fields]

            def handle(question: Question, _now_ms: int) -> dict[str, Any] | Later:
                try:
                    ask = convert_map({name: question[name] for name in question if name != "id"}, type_)
                except DecodeError as error:
                    raise Refusal("bad_request", str(error)) from None
                result = answer(self._ready(), ask)
                self._guarded(self._act)
                if self._failed is not None:
                    raise Refusal("internal", self._failed)
                return result if isinstance(result, Later) else _plain(result)

            self._server.answers.add(str(info.tag), handle, *parameters)

        add(PlaceAsk, lambda core, ask: core.place(ask, self._now()))
        add(CancelAsk, lambda core, ask: core.cancel(ask, self._now()))
        add(AmendAsk, lambda core, ask: core.amend(ask, self._now()))
        add(OrderEventsAsk, lambda core, ask: core.order_events(ask, self._now()))
        add(OrderAsk, lambda core, ask: core.order(ask))
        add(AccountAsk, self._account)
        add(TransferAsk, self._transfer)
        self._server.answers.add("gateway", lambda _question, _now_ms: _plain(self._gateway()))

    def _ready(self) -> Core:
        if self._core is None:
            why = self._starting or "the order gateway is starting"
            raise Refusal("not_ready", why, retry_ms=250)
        return self._core

    @property
    def _starting(self) -> str | None:
        return "the log of the orders is being read" if self._opening is not None else self._source.problem

    def _account(self, core: Core, ask: AccountAsk) -> Later:
        asked_ms = self._now().steady_ms

        def look() -> dict[str, Any] | None:
            found = core.account(ask, asked_ms, self._now())
            return None if found is None else _plain(found)

        look()  # so that the listing starts now
        return Later(look)

    def _transfer(self, core: Core, ask: TransferAsk) -> Later:
        def look() -> dict[str, Any] | None:
            found = core.transfer(ask, self._now())
            return None if found is None else _plain(found)

        look()
        return Later(look)

    def _gateway(self) -> GatewayStatus:
        if self._core is None:
            nothing = GatewayBudget(refill=0.0, left=0.0, reserved=0.0)
            return GatewayStatus(
                state="starting",
                reasons=("starting",),
                generation=0,
                exchange="",
                account="",
                env=self._settings.env,
                open_orders=0,
                in_flight=0,
                unknown=0,
                exposure_e6=0,
                writes=nothing,
                reads=nothing,
                error=self._starting,
                watchdog=self._watchdog,
            )
        status = self._core.gateway(self._now())
        terms = self._terms
        barred = terms is not None and terms.barred is not None
        reasons = (*status.reasons, "key_may_not_trade") if barred else status.reasons
        return msgspec.structs.replace(
            status,
            state=status.state if status.reasons or not barred else "key_may_not_trade",
            reasons=reasons,
            error=status.error or (terms and (terms.barred or terms.warning)),
            watchdog=self._watchdog,
        )


def _plain(answer: Shape) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(answer)
    return plain


def check_mode(settings: Settings) -> None:
    """Refuse to run in a mode that sends no orders.

    Raises:
        StartupError: mode is "paper".
    """
    if settings.mode == "paper":
        raise StartupError(
            "mode 'paper' sends no orders: set KALSHI_BUS_MODE=sim on env sim, or live on env demo or prod"
        )


def run(
    settings: Settings,
    stop: Stop,
    clock: Clock | None = None,
    rng: Callable[[], Rng] = Rng,
    probe: Probe = lambda _point: None,
) -> int:
    """Run the gateway until `stop`; return the exit code.

    Raises:
        StartupError: the mode sends no orders; key, directory, log or socket is unusable.
    """
    check_mode(settings)
    sys.setswitchinterval(SWITCH_S)
    Gateway(settings, stop, clock or SystemClock(), rng, probe).run()
    return 0
