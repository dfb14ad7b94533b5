"""The engine's thread: gathers inputs, has them decided, journals them, then carries them out. In this order.

It is the only one that touches engine, broker and journal. When the journal cannot be written, or the ledger
does not add up, it trades no more, says so, and begins anew from the journal once that can be written again.
"""

from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Final, Protocol

import msgspec
import structlog

from bus import replica
from bus.clock import Clock, Rng
from bus.process.lifecycle import Stop
from bus.process.settings import Settings, money_e6
from bus.protocol.state import State
from bus.scan.membership import market_view, scan_limits
from bus.scan.rescan import Batch, Rescan
from bus.trading.killswitch import KillSwitch
from markets.errors import StartupError
from markets.opportunities import Failure, MarketView
from markets.records import ExchangeStatus, FairValue
from trader.journal.journal import Journal, JournalError, Probe, Recovered
from trader.journal.schema import journal_path

from .brokers.base import Broker, OpenOrder
from .brokers.paper import PaperBroker
from .engine import Engine
from .fair_values import ValuesFile
from .inbox import Inbox
from .inputs import AnyInput, Command, Data, Exchange, Feed, Orders, Present, Start, Tick, TimeGap, Values
from .ledger import LedgerError
from .outputs import OPEN, AnyOutput, Booked, Cancel, Day, Equity, Place, Refused, Settled, Switch
from .risk import Limits

log = structlog.get_logger()

TURN_S: Final = 0.25
TICK_MS: Final = 1_000
LOOK_MS: Final = 500
COMMIT_MS: Final = 1_000
RECONCILE_MS: Final = 30_000
SESSION_MS: Final = 86_400_000
"""After so long a session is followed by another, so that the journal may drop the inputs of old ones."""

GAP_MS: Final = 3_000
"""Standing still for longer than this is a gap in time: nothing heard before it is acted on."""

RETRY_MS: Final = 2_000
RATE_MS: Final = 10_000
LATENCIES_KEPT: Final = 1_000
EVENTS_AT_ONCE: Final = 8
"""So many events are read and scanned together; then what they offer is traded."""

TRADER: Final = "trader"
ACCOUNT: Final = "paper"


class Follows(Protocol):
    """What the trader needs of a bus.replica.Replica."""

    @property
    def state(self) -> State: ...

    def now_ms(self) -> int: ...

    def status(self) -> replica.ReplicaStatus: ...


class Published(Protocol):
    """What the trader tells the world. Called in the engine's thread."""

    def fair_values(self, set_: Sequence[FairValue], removed: Sequence[str]) -> None: ...

    def event(self, what: str, *, state: str | None = None, number: int | None = None) -> None: ...


class Watchdog:
    """Notices that this thread, or the whole machine, stood still.

    Args:
        cpu_ns: this thread's own use of the processor: being busy is not standing still.
    """

    def __init__(self, clock: Clock, cpu_ns: Callable[[], int]) -> None:
        self._clock = clock
        self._cpu_ns = cpu_ns
        self._last = self._read()

    def _read(self) -> tuple[int, int, int]:
        clock = self._clock
        return clock.monotonic_ns() // 1_000_000, clock.now_ms(), self._cpu_ns() // 1_000_000

    def gap_ms(self) -> int:
        """Return for how long it stood still since the last call, 0 if it did not.

        A suspended machine stops the steady clock too (CLOCK_MONOTONIC): only the wall clock has moved on.
        """
        last, self._last = self._last, self._read()
        steady_ms, wall_ms, cpu_ms = (now - before for now, before in zip(self._last, last, strict=True))
        idle_ms = max(steady_ms, wall_ms) - cpu_ms
        return idle_ms if idle_ms > GAP_MS else 0


def risk_limits(settings: Settings) -> Limits:
    """Return the limits that the settings state."""
    return Limits(
        order_e6=money_e6(settings.limit_order),
        market_e6=money_e6(settings.limit_market),
        event_e6=money_e6(settings.limit_event),
        total_e6=money_e6(settings.limit_total),
        daily_loss_e6=money_e6(settings.limit_daily_loss),
        open_orders=settings.limit_open_orders,
        orders_per_minute=settings.limit_orders_per_minute,
        positions_per_event=settings.limit_positions_per_event,
        price_collar_e4=money_e6(settings.limit_price_collar) // 100,
        leg_age_ms=round(settings.limit_leg_age_s * 1000),
        min_edge_e6=money_e6(settings.min_edge),
        stale_after_ms=round(settings.stale_after_s * 1000),
        payout_ms=round(settings.limit_payout_hours * 3_600_000),
    )


class Worker:
    """Trades until told to stop. All but the inbox belongs to the thread that made it.

    Attributes:
        halted: why nothing is traded or journaled, None if all is well.
        latencies_ns: from hearing of a change to the order in the journal, of the last orders.
        values: fair values of the file, by ticker.
        counts: how many orders, fills and settlements the journal has.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        rng: Rng,
        follows: Follows,
        inbox: Inbox,
        published: Published,
        cpu_ns: Callable[[], int],
        probe: Probe = lambda _point: None,
        make_broker: Callable[[Recovered], Broker] | None = None,
    ) -> None:
        self.settings = settings
        self.inbox = inbox
        self.limits = risk_limits(settings)
        self.kill_switch = KillSwitch(settings.data_dir)
        self.path = journal_path(settings.data_dir, settings.mode, settings.env, ACCOUNT)
        self.values_file = (
            None if settings.fair_values_file is None else ValuesFile(settings.fair_values_file)
        )
        self.halted: str | None = None
        self.started_ms = clock.now_ms()
        self.latencies_ns: deque[int] = deque(maxlen=LATENCIES_KEPT)
        self.engine = Engine()
        self.values: dict[str, FairValue] = {}
        self._clock = clock
        self._rng = rng
        self._follows = follows
        self._published = published
        self._probe = probe
        self._make_broker = make_broker or self._paper
        self._scan = scan_limits(settings)
        self._rescandog = Watchdog(clock, cpu_ns)
        self._halted_for_good = False
        self._retry_ms = 0
        self._journal = self._open_journal()
        self._journal_open = True
        self.counts: dict[str, int] = {}
        self._rates: deque[tuple[int, int]] = deque()

    # -- a session: from the opening of the journal to its end

    def _open_journal(self) -> Journal:
        settings = self.settings
        owner = {"mode": settings.mode, "env": settings.env, "account": ACCOUNT}
        start_e6 = money_e6(settings.paper_cash)
        return Journal(self.path, owner, start_e6, self._rng, self._clock.now_ms(), self._probe)

    def _paper(self, recovered: Recovered) -> Broker:
        latency_ms, leg_age_ms = self.settings.paper_latency_ms, self.limits.leg_age_ms
        return PaperBroker(latency_ms, leg_age_ms, self._scan, recovered.taken)

    def begin(self) -> None:
        """Take up where the journal ends."""
        recovered, killed = self._journal.recover(), self.kill_switch.read()
        self.engine = Engine()
        self.counts = self._journal.counts()
        self._rescan = Rescan(self._scan)
        self._broker = self._make_broker(recovered)
        self._state: State | None = None
        self._feed: tuple[str, tuple[str, ...]] = ("starting", ())
        self._exchange: tuple[bool, tuple[int, ...]] = (True, ())
        self._floor_ms = 0
        self._next_tick_ms = self._next_look_ms = self._next_commit_ms = self._next_reconcile_ms = 0
        self._renew_ms = self._steady_ms() + SESSION_MS
        self._step(
            Start(
                *self._present(),
                journal_id=recovered.journal_id,
                ledger=recovered.ledger,
                limits=self.limits,
                scan=self._scan,
                strategies=self.settings.strategies,
                next_order=recovered.next_order,
                next_trade=recovered.next_trade,
                day=recovered.day,
                day_start_e6=recovered.day_start_e6,
                killed=None if killed is None else killed.reason,
                paused=recovered.paused,
                trader=TRADER,
                account=ACCOUNT,
            )
        )
        ledger = self.engine.ledger
        open_orders = [
            OpenOrder(ledger.open[number], ledger.filled(number)) for number in sorted(ledger.open)
        ]
        if events := self._broker.recover(open_orders):
            self._step(Orders(*self._present(), events=tuple(events)))
        if self.values:
            self._step(Values(*self._present(), set=tuple(self.values.values()), removed=()))
        self._journal.commit()
        log.info(
            "trader.ready",
            positions=len(ledger.positions),
            cash_e6=ledger.cash_e6,
            next_order=recovered.next_order,
        )

    def run(self, stop: Stop, after_turn: Callable[[], None] = lambda: None) -> None:
        """Trade until `stop`; `after_turn` is called in this thread after each turn.

        Raises:
            StartupError: the journal's rows contradict each other, or it cannot be opened again.
        """
        try:
            self.begin()
            while not stop.is_set():
                try:
                    self.turn()
                except (JournalError, LedgerError) as error:
                    self.halt(error)
                after_turn()
                while self.halted is not None and not stop.wait(TURN_S):
                    self.try_again()
                    after_turn()
                self.inbox.wait(self._wait_s())
        finally:
            self.close()

    def halt(self, error: JournalError | LedgerError) -> None:
        self.halted = str(error)
        self._halted_for_good = isinstance(error, LedgerError)
        self._retry_ms = self._steady_ms() + RETRY_MS
        log.error("trader.halted", error=self.halted)
        self._published.event("state", state="halted")

    def try_again(self) -> None:
        """While halted: begin anew from the journal as soon as it can be written."""
        for request in self.inbox.requests():
            request.answer("halted")
        self.inbox.take()
        if self._halted_for_good or self._steady_ms() < self._retry_ms:
            return
        self._retry_ms = self._steady_ms() + RETRY_MS
        try:
            if self._journal_open:
                self._claim()
                self._journal.try_out()
            self._begin_anew()
        except (JournalError, StartupError) as error:
            self.halted = str(error)
            return
        self.halted = None
        log.info("trader.resumed_from_journal")
        self._published.event("state", state="starting")

    def _begin_anew(self) -> None:
        """Close the journal and take up where it ends, as a restart does."""
        if self._journal_open:
            self._journal_open = False
            self._journal.close()
        self._journal = self._open_journal()
        self._journal_open = True
        self.begin()

    def _wait_s(self) -> float:
        due_ms = self._broker.next_ms
        if due_ms is None:
            return TURN_S
        return min(TURN_S, max(0, due_ms - self._steady_ms()) / 1000)

    # -- one turn

    def turn(self) -> None:
        """Take everything that is there, once.

        Raises:
            JournalError: the journal cannot be written, or is of another source; nothing of this step was
                carried out.
            LedgerError: the ledger does not add up.
        """
        self._claim()
        if self._steady_ms() >= self._renew_ms and not self.engine.ledger.open:
            self._begin_anew()
        gap_ms = self._rescandog.gap_ms()
        if gap_ms:
            log.warning("time.gap", ms=gap_ms)
            self._step(TimeGap(*self._present(), ms=gap_ms))
            self._floor_ms = self.engine.now_ms
        self._take_requests()
        steady_ms = self._steady_ms()
        if steady_ms >= self._next_look_ms:
            self._next_look_ms = steady_ms + LOOK_MS
            self._look_at_kill_switch()
            changed_values = self._look_at_values()
        else:
            changed_values = ()
        self._take_feed()
        self._take_data(changed_values)
        self._arrivals()
        if steady_ms >= self._next_tick_ms:
            self._next_tick_ms = steady_ms + TICK_MS
            self._step(Tick(*self._present()))
            self._count_decisions(steady_ms)
        if steady_ms >= self._next_reconcile_ms:
            self._next_reconcile_ms = steady_ms + RECONCILE_MS
            self._reconcile()
            self._journal.checkpoint()
        if steady_ms >= self._next_commit_ms:
            self._next_commit_ms = steady_ms + COMMIT_MS
            self._journal.commit()

    def _claim(self) -> None:
        """Refuse the journal if its ledger is that of a live feed and this is a replay, or the reverse."""
        status = self._follows.status()
        if status.live:
            self._journal.claim(status.source)

    def _reconcile(self) -> None:
        """Hold all of the ledger against itself and against the sums of the journal's rows.

        Raises:
            LedgerError: they differ.
        """
        ledger, sums = self.engine.ledger, self._journal.sums()
        ledger.check_whole()
        ours = {
            "start_e6": ledger.start_e6,
            "spent_e6": ledger.spent_e6,
            "fees_e6": ledger.fees_e6,
            "payouts_e6": ledger.payouts_e6,
        }
        if ours != sums:
            raise LedgerError(f"the ledger says {ours}, the journal's rows {sums}")

    def _take_requests(self) -> None:
        for request in self.inbox.requests():
            try:
                if request.op == "resume":
                    self.kill_switch.clear()
                self._command(request.op, request.reason)
            except OSError as error:
                log.warning("kill_switch.stays", error=str(error))
            request.answer(self.state)

    def _look_at_kill_switch(self) -> None:
        killed = self.kill_switch.read()
        if killed is not None and self.engine.killed is None:
            self._command("kill", killed.reason)

    def _command(self, op: str, reason: str) -> None:
        log.warning("trader.command", op=op, reason=reason)
        self._step(Command(*self._present(), op=op, reason=reason))

    def _look_at_values(self) -> tuple[tuple[str, str], ...]:
        """Read the file of fair values if it has changed; return its changes as records of the feed."""
        file = self.values_file
        if file is None or not file.look(self._clock.now_ms()):
            return ()
        for error in file.loaded.errors[:20]:
            log.warning("fair_values.refused", error=error)
        new = dict(file.loaded.values)
        changed = tuple(value for ticker, value in new.items() if self.values.get(ticker) != value)
        removed = tuple(sorted(set(self.values) - set(new)))
        self.values = new
        log.info("fair_values.loaded", values=len(new), changed=len(changed), removed=len(removed))
        if not changed and not removed:
            return ()
        self._step(Values(*self._present(), set=changed, removed=removed))
        self._published.fair_values(changed, removed)
        return tuple(("fair_value", ticker) for ticker in (*(value.ticker for value in changed), *removed))

    def _take_feed(self) -> None:
        status = self._follows.status()
        if status.live:
            word = "live"
        elif status.lost:
            word = "lost"
        else:
            word = "gap" if status.epoch else "starting"
        degraded = tuple(topic.removeprefix("md.").removesuffix(".") for topic in status.degraded)
        if (word, degraded) != self._feed:
            self._feed = (word, degraded)
            self._step(Feed(*self._present(), word=word, degraded=degraded))

    def _take_data(self, changed_values: tuple[tuple[str, str], ...]) -> None:
        batch, heard_ns = self.inbox.take()
        state = self._follows.state
        if state is not self._state:
            self._state, batch = state, Batch(whole=True)
        if changed_values:
            batch = msgspec.structs.replace(batch, records=(*batch.records, *changed_values))
        if not state.epoch or not (batch.whole or batch.commit or batch.records):
            return
        engine = self.engine
        held = engine.ledger.events()
        with state.lock:
            status: ExchangeStatus | None = state.exchange.get("")
            events = self._rescan.events(state, batch, engine.fair_values, held)
            for ticker in list(self._broker.watched):
                if (one := market_view(state, ticker)) is not None:
                    self._broker.observe(one)
        self._take_exchange(status)
        # A few at a time: after a commit of hundreds the first trade does not wait for the last scan.
        for first in range(0, len(events) or 1, EVENTS_AT_ONCE):
            if first:
                # Nor does a kill wait for it, or an order that arrives meanwhile.
                self._take_requests()
                self._arrivals()
            self._look_at(state, events[first : first + EVENTS_AT_ONCE], held, heard_ns)
        for failure in self._rescan.take_failures():
            log.error("scan.failed", **msgspec.structs.asdict(failure))

    def _look_at(
        self, state: State, events: Sequence[str], held: Collection[str], heard_ns: int | None
    ) -> None:
        engine, (now_ms, steady_ms) = self.engine, self._present()
        with state.lock:
            # One position for all that is read here: an update takes the lock to change anything.
            epoch, seq, cycle = state.epoch, state.seq, state.cycle
            seen = self._rescan.views(state, events, now_ms)
        relevant = self._rescan.relevant(seen, engine.fair_values, held, now_ms)
        complete_ms = cycle.complete_ms if cycle else None
        if relevant or complete_ms != engine.complete_ms or epoch != engine.epoch:
            views = tuple(view for view, _ in relevant)
            data = Data(now_ms, steady_ms, epoch=epoch, seq=seq, complete_ms=complete_ms, views=views)
            engine.scanned = {view.event.event_ticker: found for view, found in relevant}
            try:
                self._step(data, heard_ns)
            finally:
                engine.scanned = {}

    def _take_exchange(self, status: ExchangeStatus | None) -> None:
        trading = status is None or (status.exchange_active and status.trading_active)
        shards = () if status is None else status.shards
        idle = tuple(sorted(index for index, active, trades in shards if not (active and trades)))
        if (trading, idle) != self._exchange:
            self._exchange = (trading, idle)
            self._step(Exchange(*self._present(), trading=trading, idle_shards=idle))

    def _arrivals(self) -> None:
        present = self._present()
        due_ms = self._broker.next_ms
        if due_ms is None or due_ms > present.steady_ms:
            return
        if self.kill_switch.read() is not None:
            self._look_at_kill_switch()
        halts = [word for word in self.engine.halts() if word != "paused"]
        state = self._follows.state

        def live(ticker: str) -> MarketView | None:
            return market_view(state, ticker)

        with state.lock:
            events = self._broker.due(present, live, halts[0] if halts else None, self._floor_ms)
        if events:
            self._probe("arrived")
            # In one input: the legs of a basket are booked together or not at all.
            self._step(Orders(*present, events=tuple(events)))

    # -- one step

    def _present(self) -> Present:
        return Present(self._follows.now_ms(), self._steady_ms())

    def _steady_ms(self) -> int:
        return self._clock.monotonic_ns() // 1_000_000

    def _step(self, one: AnyInput, heard_ns: int | None = None) -> None:
        """Have an input decided, write it down, make it last if it matters, then carry it out."""
        decided = self.engine.step(one)
        self._probe("decided")
        self._journal.write(one, decided)
        if any(not isinstance(output, Refused | Equity | Day) for output in decided):
            self._journal.commit()
        present = Present(one.now_ms, one.steady_ms)
        for output in decided:
            if isinstance(output, Cancel):
                self._broker.cancel(output.number, present)
            elif isinstance(output, Place):
                self._broker.place(output.intent, present)
                self._probe("placed")
                if heard_ns is not None:
                    self.latencies_ns.append(self._clock.monotonic_ns() - heard_ns)
        for output in decided:
            self._tell(output)

    def _tell(self, output: AnyOutput) -> None:
        """Count, log and publish what has happened; orders are on their way already."""
        publish, counts = self._published.event, self.counts
        if isinstance(output, Place):
            intent = output.intent
            counts["orders"] += 1
            log.info(
                "order.placed",
                number=intent.number,
                trade=intent.trade,
                strategy=intent.strategy,
                ticker=intent.ticker,
                side=intent.side,
                price_e4=intent.price_e4,
                count_e2=intent.count_e2,
                edge_e6=intent.edge_e6,
            )
            publish("order", number=intent.number)
        elif isinstance(output, Booked):
            counts["fills"] += len(output.fills)
            log.info(
                "order.filled" if output.status == OPEN else "order.ended",
                number=output.number,
                status=output.status,
                reason=output.reason,
                filled_e2=sum(fill.count_e2 for fill in output.fills),
            )
            publish("fill" if output.fills else "order", number=output.number)
        elif isinstance(output, Settled):
            one = output.settlement
            counts["settlements"] += 1
            log.info("position.settled", ticker=one.ticker, result=one.result, payout_e6=one.payout_e6)
            publish("settlement")
        elif isinstance(output, Switch):
            publish("state", state=self.state)
        elif isinstance(output, Equity):
            publish("equity")
        elif isinstance(output, Refused):
            log.info(
                "trade.refused",
                strategy=output.strategy,
                event_ticker=output.event_ticker,
                reason=output.reason,
            )

    # -- how things stand

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why nothing is traded, worst first; empty if trading is allowed."""
        halts = self.engine.halts()
        if self.halted is None:
            return halts
        killed = ("killed",) if "killed" in halts else ()
        return (*killed, "halted", *(word for word in halts if word != "killed"))

    @property
    def state(self) -> str:
        """The worst of `reasons`, or "running"."""
        return next(iter(self.reasons), "running")

    def _count_decisions(self, steady_ms: int) -> None:
        rates = self._rates
        rates.append((steady_ms, self._rescan.scanned))
        while rates[0][0] < steady_ms - RATE_MS:
            rates.popleft()

    @property
    def reconciled(self) -> bool:
        """Whether the ledger add up and agree with the journal, as far as was looked."""
        return not self._halted_for_good

    def close(self) -> None:
        """Free the journal; again does nothing."""
        try:
            self._journal.close()
        except JournalError as error:
            log.warning("journal.last_steps_lost", error=str(error))

    @property
    def failed(self) -> dict[str, tuple[Failure, ...]]:
        """What could not be scanned when last tried, by event ticker."""
        return self._rescan.failed

    @property
    def decisions(self) -> int:
        """Events scanned since the session began."""
        return self._rescan.scanned

    @property
    def decisions_per_second(self) -> float:
        """Events scanned per second, over the last ten seconds."""
        if len(self._rates) < 2:
            return 0.0
        (first_ms, first), (last_ms, last) = self._rates[0], self._rates[-1]
        return (last - first) * 1000 / max(1, last_ms - first_ms)
