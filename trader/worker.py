"""The shell around a session: the engine's thread, journal, kill switch, clocks, and the file of fair values.

The session (trader/session.py) determines what is decided, and when. This follows the feed, one message at a
time, takes people's commands and keeps the journal. All of these are passed in, so that a simulation can pass
its own. If the journal cannot be written, or the ledger does not add up, the trader stops trading and says
so; once the journal can be written again, it starts again from there.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import is_not
from pathlib import Path
from typing import Final, Protocol

import msgspec
import structlog

from bus.clock import Clock
from bus.process.lifecycle import Stop
from bus.process.settings import Settings, money_e6
from bus.protocol.join import Action, ReplicaStatus, Tell
from bus.protocol.state import State
from bus.scan.membership import scan_limits
from bus.scan.rescan import Rescan
from bus.threads import Owner
from bus.trading import reasons
from bus.trading.killswitch import Killed
from markets.errors import StartupError
from markets.opportunities import Failure
from markets.orders import Intent
from markets.records import FairValue
from trader.engine.asks import AnyAsk, Flatten
from trader.engine.engine import Engine
from trader.engine.inputs import RULES, Present, Start
from trader.engine.legrisk import Learnt
from trader.engine.marks import KeptMark
from trader.engine.outputs import AnyOutput, FlattenConfirmed
from trader.engine.risk import Limits
from trader.engine.roster import DroppedStrategy
from trader.journal.journal import JournalError, Recovered
from trader.ledger.ledger import Ledger, LedgerError

from .announcer import Announcer, Published
from .brokers.base import Broker, LevelKey
from .brokers.gateway import GatewayBroker
from .brokers.paper import PaperBroker
from .fair_values import Loaded
from .fair_values.hosted import SourceState
from .fair_values.judge import Judge
from .fair_values.merge import difference, merged
from .flatten import Flattening
from .lineup import Lineup
from .manual import ManualCommands
from .minder import Minder
from .opening import GatewayPort
from .session import Probe, Session, StepLog
from .watchdog import GAP_MS, Watchdog

log = structlog.get_logger()

TURN_S: Final = 0.25
LOOK_MS: Final = 500
COMMIT_MS: Final = 1_000
RECONCILE_MS: Final = 30_000
SESSION_MS: Final = 86_400_000
"""How long a session lasts before the next, so that the journal can drop the inputs of old ones."""

RETRY_MS: Final = 2_000
MANY_WAITING: Final = 10_000
"""If more messages than this wait, the trader reports that it is behind."""

HISTORIES_MOST: Final = 200
"""How many markets' price history to wish for, at most: the publisher keeps 250."""

WISH_TTL_S: Final = 60.0
WISH_EVERY_MS: Final = 20_000
"""How often a wish is renewed; for a new holding the wish comes at the next look around."""

FLATTENED: Final = "flattened by hand"
"""Why trading is paused after everything was closed."""

TRADER: Final = "trader"
PAPER: Final = "paper"
"""The account in mode paper, which exists at no exchange."""

LOOK_AT_ACCOUNT_MS: Final = 60_000
LOOK_AGAIN_MS: Final = 2_000
"""How soon the account is looked at again while it differs, or was not quiet."""

LOOK_BACK_MS: Final = 3_600_000
RENEW_LATE_MS: Final = 3_600_000
"""How long a session that is over waits for its orders to end before the next one begins anyway."""


class Follows(Protocol):
    """The part of bus.replica.SteppedReplica that the trader needs."""

    @property
    def state(self) -> State: ...

    @property
    def heard_ns(self) -> int: ...

    @property
    def backlog(self) -> int: ...

    def now_ms(self) -> int: ...

    def status(self) -> ReplicaStatus: ...

    def step(self, timeout_s: float) -> Sequence[Action]: ...


class KillFile(Protocol):
    """The part of bus.trading.killswitch.KillSwitch that the trader needs."""

    def read(self) -> Killed | None: ...

    def clear(self) -> None: ...


class ValuesSource(Protocol):
    """The part of trader.fair_values.ValuesFile that the trader needs."""

    @property
    def path(self) -> Path: ...

    @property
    def loaded(self) -> Loaded: ...

    @property
    def loaded_ms(self) -> int | None: ...

    def look(self, now_ms: int) -> bool: ...


class ValuesProvider(Protocol):
    """The part of trader.fair_values.hosted.HostedSource that the trader needs."""

    @property
    def text(self) -> str: ...

    @property
    def state(self) -> SourceState: ...


class JournalFile(StepLog, Protocol):
    """The part of trader.journal.journal.Journal that the trader needs."""

    def recover(self) -> Recovered: ...

    def order(self, number: int) -> Intent | None: ...

    def counts(self) -> dict[str, int]: ...

    def sums(self) -> dict[str, int]: ...

    def claim(self, source: str) -> None: ...

    def keep_taken(self, levels: Sequence[tuple[LevelKey, int]]) -> None: ...
    def keep_leg_risk(self, learnt: Sequence[Learnt]) -> None: ...

    def keep_places(self, places: Mapping[int, int]) -> None: ...

    def keep_marks(self, marks: Sequence[KeptMark]) -> None: ...

    def checkpoint(self) -> None: ...

    def try_out(self) -> None: ...

    def close(self) -> None: ...


def log_dropped(dropped: DroppedStrategy) -> None:
    """Log a strategy that is no longer called, with its traceback."""
    log.error("strategy.dropped", **msgspec.structs.asdict(dropped))


class Surroundings(msgspec.Struct, frozen=True):
    """Everything through which a worker meets the world. It waits in `follows.step` and `Stop.wait` only.

    Attributes:
        cpu_ns: returns this thread's processor time.
        open_journal: opens the journal for a session that begins at this wall time.
        journal_path: where the journal is, for people to know.
        sources: sources of fair values other than the file, in order of precedence.
        lineup: the strategies. minder: is told of their calls.
        make_broker: makes a session's broker from the journal's contents.
        wish: wishes for something of markets (op `watch`) for some seconds, without waiting.
        probe: see trader.session.Probe.
        account, exchange: whose the journal is.
        gateway: the way to the order gateway; None if nothing leaves this machine.
        judge: compares sources of fair values with what markets show; None: all are believed.
        lasting: whether the journal outlives the process; if not, what the next session needs of the engine
            is kept only when a session ends.
        tell_dropped: is told of each strategy that is no longer called, once the look is over.
    """

    clock: Clock
    cpu_ns: Callable[[], int]
    follows: Follows
    commands: ManualCommands
    published: Published
    open_journal: Callable[[int], JournalFile]
    journal_path: Path
    kill_switch: KillFile
    values_file: ValuesSource | None
    sources: Sequence[ValuesProvider]
    lineup: Lineup
    minder: Minder
    make_broker: Callable[[Recovered], Broker]
    wish: Callable[[Sequence[str], float, str], None]
    probe: Probe
    account: str = PAPER
    gateway: GatewayPort | None = None
    exchange: str = ""
    judge: Judge | None = None
    lasting: bool = True
    tell_dropped: Callable[[DroppedStrategy], None] = log_dropped


class Halt(msgspec.Struct, frozen=True):
    """Why nothing is traded or journaled, whether for good, and if not, when to try again."""

    reason: str
    for_good: bool
    retry_ms: int


def risk_limits(settings: Settings) -> Limits:
    """Return the limits from the settings."""
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
        match_e6=money_e6(settings.limit_match),
        series_e6=money_e6(settings.limit_series),
        day_e6=money_e6(settings.limit_day),
        shard_e6=money_e6(settings.limit_shard),
        strategy_e6=money_e6(settings.limit_strategy),
        daily_return_ppm=round(settings.min_daily_return * 10_000),
    )


def claim(journal: JournalFile, status: ReplicaStatus) -> None:
    """Refuse a journal that belongs to a live feed if this feed is a replay, and the other way round.

    Raises:
        JournalError: it does.
    """
    if status.live:
        journal.claim(status.source)


def reconcile(ledger: Ledger, journal: JournalFile) -> None:
    """Check the whole ledger against itself and against the sums of the journal's rows.

    Raises:
        LedgerError: they differ.
    """
    sums = journal.sums()
    ledger.check_whole()
    ours = {
        "start_e6": ledger.start_e6,
        "spent_e6": ledger.spent_e6,
        "fees_e6": ledger.fees_e6,
        "payouts_e6": ledger.payouts_e6,
    }
    if ledger.external_e6:
        ours["external_e6"] = ledger.external_e6
    if ours != sums:
        raise LedgerError(f"the ledger says {ours}, the journal's rows {sums}")


class Worker:
    """Trades until told to stop. Opened and run by one thread.

    Attributes:
        session: a new one begins every day, after a halt, and when the feed's source changes.
        values: fair values from the file and the sources, by ticker.
        announcer: counts what happened, and how long it took.
        owner: the thread that owns all of this.
        gateway_answers_ms: since when the order gateway answers this session, None while it does not.
        anew: why the process must end and start again, None while it need not.
    """

    def __init__(self, settings: Settings, around: Surroundings) -> None:
        self.settings = settings
        self.limits = risk_limits(settings)
        self.around = around
        self.started_ms = around.clock.now_ms()
        self.values: dict[str, FairValue] = {}
        self.flattening: Flattening | None = None
        self.anew: str | None = None
        self.announcer = Announcer(around.published, around.clock, lambda: self.state)
        self.session: Session
        self._begun = False
        self._halt: Halt | None = None
        self._pause: str | None = None
        self._scan = scan_limits(settings)
        self._watchdog = Watchdog(around.clock, around.cpu_ns)
        self.owner = Owner("the trader's worker")
        self._journal: JournalFile | None = around.open_journal(self.started_ms)
        self._source = "live"
        self._given: list[Mapping[str, FairValue]] = [{} for _ in around.sources]
        self._renew_ms = 0
        self._look_ms = self._commit_ms = self._reconcile_ms = self._wish_ms = 0
        self._mark_changes = 0
        self._wished: frozenset[str] = frozenset()
        self._wish_decisions = -1
        self._created_ms = 0
        self._gateway_said = ("starting", "")
        self.gateway_answers_ms: int | None = None
        self._generation = self._account_ms = 0
        self._told_drift: tuple[str, ...] = ()

    # -- a session: from the opening of the journal to its end

    def begin(self) -> None:
        """Begin a session where the journal ends.

        It has one time: the machine's, or, while a recording is replayed, the recording's.
        """
        self.owner.check()
        around, journal = self.around, self._open()
        recovered, killed = journal.recover(), around.kill_switch.read()
        self.announcer.counts = journal.counts()
        status = around.follows.status()
        self._source = status.source if status.live else "live"
        self._begun = True
        self.session = Session(
            Engine(around.lineup.load, around.minder),
            around.make_broker(recovered),
            Rescan(self._scan),
            journal,
            self.announcer,
            around.probe,
            journal.order,
        )
        if isinstance(self.session.broker, GatewayBroker):
            self.session.broker.urge = self._ask_gateway
        self._mark_changes = 0
        self._wish_decisions = -1
        self._created_ms, self._gateway_said, self._account_ms = recovered.created_ms, ("starting", ""), 0
        self.gateway_answers_ms = None
        present = self._present()
        self._renew_ms = present.steady_ms + SESSION_MS
        self.session.begin(
            Start(
                *present,
                journal_id=recovered.journal_id,
                ledger=recovered.ledger,
                limits=self.limits,
                scan=self._scan,
                strategies=tuple(around.lineup.makers),
                next_order=recovered.next_order,
                next_trade=recovered.next_trade,
                day=recovered.day,
                day_start_e6=recovered.day_start_e6,
                killed=None if killed is None else killed.reason,
                paused=recovered.paused,
                trader=TRADER,
                account=around.account,
                rules=RULES,
                taken=tuple((*level, count_e2) for level, count_e2 in recovered.taken),
                marks=recovered.marks,
                gateway=around.gateway is not None,
                heard=recovered.heard,
                alarm=recovered.alarm,
                adopted=recovered.adopted,
                loss_base_e6=recovered.loss_base_e6,
                loss_latched=recovered.loss_latched,
                leg_risk=recovered.leg_risk,
                known=recovered.known,
                cancelling=recovered.cancelling,
                rounded_e6=recovered.rounded_e6,
            ),
            tuple(self.values.values()),
        )
        ledger = self.engine.ledger
        log.info(
            "trader.ready",
            positions=len(ledger.positions),
            cash_e6=ledger.cash_e6,
            next_order=recovered.next_order,
        )

    def run(self, stop: Stop, after_turn: Callable[[], None] = lambda: None) -> None:
        """Trade until `stop`; `after_turn` is called in this thread after each turn.

        Raises:
            StartupError: the journal's rows contradict each other.
            JournalError: it cannot be written at the start.
        """
        self.owner.check()
        try:
            self.begin()
            while not stop.is_set() and self.anew is None:
                try:
                    self.turn()
                except (JournalError, LedgerError, StartupError) as error:
                    self.halt(error)
                after_turn()
                while self._halt is not None and not stop.wait(TURN_S):
                    self.try_again()
                    after_turn()
        finally:
            self.close()

    def halt(self, error: JournalError | LedgerError | StartupError) -> None:
        """Stop trading, and say so; for good if the ledger does not add up."""
        self._halt = Halt(str(error), isinstance(error, LedgerError), self._steady_ms() + RETRY_MS)
        log.error("trader.halted", error=self._halt.reason)
        self.around.published.event("state", state=reasons.HALTED)

    def try_again(self) -> None:
        """While halted: start again from the journal as soon as it can be written."""
        halt = self._halt
        assert halt is not None, "it is not halted"
        for command in self.around.commands.take():
            # A kill is in its file; a pause cannot be stored now, and must not be forgotten.
            if command.op in ("pause", "resume"):
                self._pause = command.reason if command.op == "pause" else None
            command.answer(reasons.HALTED)
        follows = self.around.follows
        for _ in range(follows.backlog + 1):  # keep the state moving; the next session takes it whole
            follows.step(0)
        if halt.for_good or self._steady_ms() < halt.retry_ms:
            return
        try:
            if self._journal is not None:
                claim(self._journal, self.around.follows.status())
                self._journal.try_out()
            self._begin_anew()
            if self._pause is not None:
                self._command("pause", self._pause)
                self._pause = None
        except (JournalError, StartupError) as error:
            self._halt = Halt(str(error), for_good=False, retry_ms=self._steady_ms() + RETRY_MS)
            return
        self._halt = None
        log.info("trader.resumed_from_journal")
        self.around.published.event("state", state=reasons.STARTING)

    def _open(self) -> JournalFile:
        if self._journal is None:
            self._journal = self.around.open_journal(self.around.clock.now_ms())
        return self._journal

    def _begin_anew(self) -> None:
        """Close the journal and begin a session where it ends, as a restart does."""
        journal, self._journal = self._journal, None
        if journal is not None:
            if self._halt is None:
                self._keep(journal)
            journal.close()
        self.begin()

    # -- one turn

    def turn(self) -> None:
        """Take the next message, and do what has become due.

        Raises:
            JournalError: the journal cannot be written, or belongs to another source; nothing of this step
                was carried out.
            LedgerError: the ledger does not add up.
            StartupError: the journal cannot be opened for the next session.
        """
        self.owner.check()
        self._take_commands()
        self._pass_time()
        actions = self.around.follows.step(self._wait_s())
        self._hear(actions, self._pass_time())
        self._look_around()
        for stray in self.engine.take_strays():
            log.error("order.stray", what=type(stray).__name__, **msgspec.structs.asdict(stray))

    def _wait_s(self) -> float:
        if self._source != "live":
            return TURN_S  # a recording's time passes with its messages
        next_ms, broker = self.session.next_ms, self.session.broker
        if isinstance(broker, GatewayBroker):
            next_ms = min(next_ms, broker.ask_ms or 0)
        return min(TURN_S, max(0, next_ms - self._steady_ms()) / 1000)

    def _pass_time(self) -> Present:
        """Do what is due by now; return the present."""
        self._mind_the_gap()
        if self.around.gateway is not None:
            self._hear_gateway(self.around.gateway)
        present, due_ms = self._present(), self.session.broker.next_ms
        if due_ms is not None and due_ms <= present.steady_ms:
            self._look_at_kill_switch()
        self.session.pass_time(present)
        return present

    def _mind_the_gap(self) -> None:
        gap_ms = self._watchdog.gap_ms()
        if gap_ms and self._source == "live":  # in a recording nothing happens meanwhile
            log.warning("time.gap", ms=gap_ms)
            self.session.time_gap(gap_ms, self._present())
            self._account_ms = 0

    def _hear_gateway(self, port: GatewayPort) -> None:
        """Take the order gateway's answers, and ask it what is due."""
        session, steady_ms = self.session, self._steady_ms()
        broker = session.broker
        if not isinstance(broker, GatewayBroker):
            return
        for id_, answer in port.take():
            wrong = broker.hear(id_, answer, steady_ms)
            if wrong is not None:
                log.warning("gateway.answer_refused", error=wrong)
        if port.take_hint():
            broker.hint()
        if broker.generation != self._generation:
            self._generation, self._account_ms = broker.generation, 0
            log.info("gateway.generation", generation=broker.generation)
        if steady_ms >= self._account_ms:
            self._account_ms = steady_ms + LOOK_AGAIN_MS
            broker.look(self._listed_since_ms())
        self._ask_gateway()
        said = broker.word(steady_ms)
        if said != self._gateway_said:
            self._gateway_said = said
            self.gateway_answers_ms = self.around.clock.now_ms() if said[0] == "answers" else None
            log.log(20 if said[0] == "answers" else 40, "gateway.stands", word=said[0], said=said[1])
            session.gateway(*said, self._present())
            self.around.published.event("state", state=self.state)
            if broker.moved and self.settings.env == "sim":
                self.anew = f"{said[1]}: it is another simulated exchange, so the trader begins a new journal"
        listed = broker.take_account()
        if listed is not None:
            session.account(listed, self._present())
            self._tell_of_account()

    def _ask_gateway(self) -> None:
        port, broker = self.around.gateway, self.session.broker
        if port is not None and isinstance(broker, GatewayBroker):
            for id_, ask in broker.questions(self.around.clock.now_ms(), self._steady_ms()):
                port.ask(id_, msgspec.to_builtins(ask))

    def _listed_since_ms(self) -> int:
        """Return the time from which settlements and movements are news: nothing held is older."""
        ledger, books = self.engine.ledger, self.engine.books
        opened_ms = (lot.opened_ms for lots in ledger.lots.values() for lot in lots.values())
        since_ms = min(opened_ms, default=self.around.clock.now_ms())
        if not books.as_of_ms:
            return max(0, self._created_ms - LOOK_BACK_MS)
        return max(0, self._created_ms - LOOK_BACK_MS, min(since_ms, books.as_of_ms) - LOOK_BACK_MS)

    def _tell_of_account(self) -> None:
        books = self.engine.books
        if self.engine.conditions.reconciled and not books.differing:
            self._account_ms = self._steady_ms() + LOOK_AT_ACCOUNT_MS
        if books.drift != self._told_drift:
            self._told_drift = books.drift
            for line in books.drift:
                log.error("account.drift", line=line)
            if not books.drift:
                log.info("account.reconciled")
            self.around.published.event("state", state=self.state)
        for line in books.odd_orders:
            log.error("account.odd_order", line=line)

    def _hear(self, actions: Sequence[Action], present: Present) -> None:
        """Take what a step of the replica did, and look at everything that it concerns."""
        follows = self.around.follows
        if not actions or not self.session.live or Tell in map(type, actions):
            self._take_feed()
            present = self._present()  # a new session may have another time
        if actions or follows.state is not self.session.state:
            self.announcer.heard_ns = follows.heard_ns
            self.session.hear(follows.state, actions, present)
            self._look_through(present)
            self.announcer.heard_ns = None

    def _look_through(self, present: Present) -> None:
        session = self.session
        while session.pending:
            session.look(present)
            if session.pending:
                # Neither a kill nor an order that arrives meanwhile waits for the last scan.
                self._take_commands()
                present = self._pass_time()
        for failure in (*session.rescan.take_failures(), *session.engine.failures.take()):
            log.error("scan.failed", **msgspec.structs.asdict(failure))

    def _tell_of_dropped(self) -> None:
        for dropped in self.engine.roster.take_news():
            self.around.tell_dropped(dropped)

    def _take_feed(self) -> None:
        status = self.around.follows.status()
        if status.live:
            self._open().claim(status.source)
        if (status.live and status.source != self._source) or self._rewound():
            self._begin_anew()
        self.session.feed(status, self._present())

    def _rewound(self) -> bool:
        """Whether a recording now plays from an earlier point: a session's time never goes back."""
        if self._source == "live":
            return False
        return self._present().steady_ms < self.session.present.steady_ms - GAP_MS

    def _take_commands(self) -> None:
        for command in self.around.commands.take():
            if command.ask is not None:
                outputs = self._by_hand(command.ask)
                if self.flattening is not None and any(isinstance(one, FlattenConfirmed) for one in outputs):
                    command.flattening = self.flattening.number
                command.answer(self.state, outputs)
                continue
            try:
                if command.op == "resume":
                    self.around.kill_switch.clear()
                    if self.flattening is not None:
                        self.flattening.stop(self._steady_ms())
                self._command(command.op, command.reason)
            except OSError as error:
                log.warning("kill_switch.stays", error=str(error))
            command.answer(self.state)

    def _command(self, op: str, reason: str) -> None:
        log.warning("trader.command", op=op, reason=reason)
        self.session.command(op, reason, self._present())

    def _by_hand(self, ask: AnyAsk) -> Sequence[AnyOutput]:
        """Do what a person asks for. Flattening pauses first, since strategies would otherwise buy again."""
        outputs = self.session.by_hand(ask, self._present())
        log.warning("trader.by_hand", ask=repr(ask), outputs=[repr(output) for output in outputs])
        if not any(isinstance(output, FlattenConfirmed) and not output.again for output in outputs):
            return outputs
        if self.engine.conditions.paused is None:
            self._command("pause", FLATTENED)
        if self.flattening is None or self.flattening.ended_ms is not None:
            number = 1 if self.flattening is None else self.flattening.number + 1
            self.flattening = Flattening(number, self._steady_ms())
        self.flattening.least_e4 = self.engine.people.least_e4
        return [*outputs, *self._flatten(self.flattening)]

    def _flatten(self, flattening: Flattening) -> Sequence[AnyOutput]:
        """Do one round of flattening."""
        ask = Flatten(flattening.rounds + 1, flattening.least_e4)
        outputs = self.session.by_hand(ask, self._present())
        flattening.note(outputs, self.engine.ledger, self._steady_ms())
        left = [f"{left.ticker}: {left.reason}" for left in flattening.left]
        ended = flattening.ended_ms is not None
        log.warning("trader.flatten", round=flattening.rounds, open=flattening.open, left=left, ended=ended)
        if ended:
            self.around.published.event("state", state=self.state)
        return outputs

    # -- now and then

    def _look_around(self) -> None:
        steady_ms = self._steady_ms()
        self._tell_of_dropped()
        flattening = self.flattening
        flattens = flattening is not None and flattening.ended_ms is None
        if flattening is not None and flattens and steady_ms >= flattening.due_ms:
            self._flatten(flattening)
        if steady_ms >= self._look_ms:
            self._look_ms = steady_ms + LOOK_MS
            self._look_at_kill_switch()
            self._take_feed()
            self._look_at_values()
            self._judge_values()
            self._wish()
            if self.around.follows.backlog > MANY_WAITING:
                log.warning("feed.behind", waiting=self.around.follows.backlog)
        journal = self._open()  # it may be another one by now
        if steady_ms >= self._reconcile_ms:
            self._reconcile_ms = steady_ms + RECONCILE_MS
            reconcile(self.engine.ledger, journal)
            if self.around.lasting:
                self._keep(journal)
            journal.checkpoint()
        if steady_ms >= self._commit_ms:
            self._commit_ms = steady_ms + COMMIT_MS
            if self.around.lasting and self.engine.worth.mark_changes != self._mark_changes:
                self._keep_marks(journal)
            journal.commit()
        over_ms = self.session.present.steady_ms - self._renew_ms
        waits = bool(self.engine.ledger.open) and over_ms < RENEW_LATE_MS
        if over_ms >= 0 and not waits and not flattens:  # a new session sells nothing before it is reconciled
            self._begin_anew()

    def _wish(self) -> None:
        """Wish for what is held or ordered: its books are followed, and it is read until it settles.

        Also wish for its price history; if that is too much, for the most expensive positions, since pages
        wish for some too.
        """
        steady_ms, decisions = self._steady_ms(), self.session.decisions
        if steady_ms < self._wish_ms and decisions == self._wish_decisions:
            return
        self._wish_decisions = decisions
        ledger, wished = self.engine.ledger, self._wished
        ordered = {intent.ticker for intent in ledger.open.values()}
        if self._source != "live" or not (ledger.lots or ordered):
            return
        if steady_ms < self._wish_ms and wished.issuperset(ledger.lots) and wished.issuperset(ordered):
            return
        held = ordered.union(ledger.lots)
        self._wished, self._wish_ms = frozenset(held), steady_ms + WISH_EVERY_MS
        tickers = sorted(held)
        for what in ("book", "market"):
            self.around.wish(tickers, WISH_TTL_S, what)
        costs_e6 = {position.ticker: position.cost_e6 for position in ledger.positions.values()}
        dearest = sorted(held, key=lambda ticker: (-costs_e6.get(ticker, 0), ticker))
        self.around.wish(dearest[:HISTORIES_MOST], WISH_TTL_S, "candles")

    def _look_at_kill_switch(self) -> None:
        killed = self.around.kill_switch.read()
        if killed is not None and self.engine.conditions.killed is None:
            self._command("kill", killed.reason)

    def _look_at_values(self) -> None:
        """Take the fair values of the file if it has changed, and of sources with new ones."""
        file, given = self.around.values_file, [source.state.values for source in self.around.sources]
        read = file is not None and file.look(self.around.clock.now_ms())
        said = any(map(is_not, given, self._given))
        if not read and not said:
            return
        self._given = given
        if file is not None:
            given = [file.loaded.values, *given]
        new = merged(given)
        changed, removed = difference(self.values, new)
        self.values = new
        if read and file is not None:
            for error in file.loaded.errors[:20]:
                log.warning("fair_values.refused", error=error)
            log.info("fair_values.loaded", values=len(new), changed=len(changed), removed=len(removed))
        if changed or removed:
            present = self._present()
            self.session.values(changed, removed, present)
            self.around.published.fair_values(changed, removed)
            self._look_through(present)

    def _judge_values(self) -> None:
        """Compare what the sources say with what markets show, and trade on those that pass."""
        judge, file = self.around.judge, self.around.values_file
        if judge is None or self._source != "live" or not self.session.live:
            return
        given = [source.state.values for source in self.around.sources]
        if file is not None:
            given = [file.loaded.values, *given]
        judge.look(lambda: self.around.follows.state, given, self.around.clock.now_ms(), self._steady_ms())
        accepted = judge.accepted
        if accepted != self.engine.accepted:
            log.info("fair_values.accepted", sources=sorted(accepted))
            self.session.trust(sorted(accepted), self._present())

    def close(self) -> None:
        """Free the journal; calling it again does nothing."""
        if self.around.judge is not None:
            self.around.judge.save()
        journal, self._journal = self._journal, None
        try:
            if journal is not None:
                if self._begun and self._halt is None:
                    self._keep(journal)
                journal.close()
        except JournalError as error:
            log.warning("journal.last_steps_lost", error=str(error))

    def _keep_marks(self, journal: JournalFile) -> None:
        present, worth = self.session.present, self.engine.worth
        self._mark_changes = worth.mark_changes
        journal.keep_marks(worth.kept_marks(present.now_ms, present.steady_ms))

    def _keep(self, journal: JournalFile) -> None:
        """Store for the next session the last bids for what is held, and what was learnt about missed legs.

        For paper orders also what they took of the levels shown, and their places in queues.
        """
        self._keep_marks(journal)
        journal.keep_leg_risk(self.engine.leg_risk.learnt)
        if isinstance(self.session.broker, PaperBroker):
            journal.keep_taken(self.session.broker.taken)
            journal.keep_places(self.session.broker.places)

    # -- time

    def _present(self) -> Present:
        if self._source == "live":
            clock = self.around.clock
            return Present(clock.now_ms(), clock.monotonic_ns() // 1_000_000)
        now_ms = self.around.follows.now_ms()
        return Present(now_ms, now_ms)

    def _steady_ms(self) -> int:
        return self.around.clock.monotonic_ns() // 1_000_000

    # -- the present status

    @property
    def engine(self) -> Engine:
        """The engine of the present session."""
        return self.session.engine

    @property
    def failed(self) -> Mapping[str, tuple[Failure, ...]]:
        """What could not be scanned or decided when last tried, by event ticker."""
        scanned, judged = self.session.rescan.failed, self.engine.failures.standing
        return {key: scanned.get(key, ()) + judged.get(key, ()) for key in scanned.keys() | judged.keys()}

    @property
    def halted(self) -> str | None:
        """Why nothing is traded or journaled, None if both are."""
        return None if self._halt is None else self._halt.reason

    @property
    def error(self) -> str | None:
        """What is wrong, in a sentence; None if nothing is."""
        conditions = self.engine.conditions
        if self._halt is not None:
            return self._halt.reason
        if conditions.alarm is not None:
            return conditions.alarm
        if conditions.drift:
            return "; ".join(conditions.drift)
        broker = self.session.broker
        trouble = broker.trouble if isinstance(broker, GatewayBroker) else ""
        return self._gateway_said[1] or trouble or None

    @property
    def reconciled(self) -> bool:
        """Whether the ledger adds up and agrees with the exchange's account, as last checked."""
        conditions = self.engine.conditions
        compared = conditions.reconciled and not conditions.drift
        return compared and (self._halt is None or not self._halt.for_good)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why nothing is traded, worst first; empty if trading is allowed."""
        halts = self.engine.halts()
        if self._halt is None:
            return halts
        killed = (reasons.KILLED,) if reasons.KILLED in halts else ()
        return (*killed, reasons.HALTED, *(word for word in halts if word != reasons.KILLED))

    @property
    def state(self) -> str:
        """The worst of `reasons`, or RUNNING."""
        return next(iter(self.reasons), reasons.RUNNING)
