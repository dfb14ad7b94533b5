"""The dashboard's link to the trader: its latest answers, kept fresh by one thread, and commands to it.

Answers are kept in the shapes they arrive in (bus/trading/shapes.py), with exact decimal strings. A kill is
done in two steps, as on the command line: first the file, which applies whatever happens to the trader, then
the command.
"""

import itertools
import queue
import threading
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import msgspec
import structlog

from bus.ask import NoAnswer
from bus.clock import Clock
from bus.process.lifecycle import Stop
from bus.protocol.answers import Refusal
from bus.protocol.join import Action
from bus.protocol.state import Changed
from bus.threads import Owner
from bus.trading import reasons
from bus.trading.killswitch import KillSwitch
from bus.trading.shapes import (
    AnyCommand,
    AnyPrepareCommand,
    ByHandAnswer,
    ByHandCommand,
    CommandAnswer,
    EquityAnswer,
    EquityPoint,
    FillRow,
    FillsAnswer,
    KillCommand,
    KilledStatus,
    LatencyStatus,
    OrderRow,
    OrdersAnswer,
    PositionRow,
    PositionsAnswer,
    RefusedLeg,
    ReportAnswer,
    RisksAnswer,
    SettlementRow,
    SettlementsAnswer,
    TicketAnswer,
    TradeRow,
    TraderStatus,
    TradesAnswer,
    told,
)
from markets.errors import BadRecord, DecodeError, KalshiBusError
from markets.opportunities import Leg, Opportunity
from markets.orders import OrderState

log = structlog.get_logger()

EVERY_S: Final = 1.0
"""How often the trader is asked for its status; its events make it sooner."""

LEAST_S: Final = 0.25
EQUITY_EVERY_NS: Final = 15_000_000_000
STATUS_MS: Final = 1_000
COMMAND_MS: Final = 3_000
COMMAND_WAIT_S: Final = 6.0
AWAY_MS: Final = 30_000
"""A silent trader is "not answering" up to this long after its last answer, then "not running"."""

ROWS: Final = 200
ROWS_PER_QUESTION: Final = 1_000
CSV_ROWS_MAX: Final = 100_000
POINTS: Final = 2_000
TRADES: Final = 100
HELD_TRADES: Final = 500

CUT_TRIES: Final = 4
"""How many times the trader is asked again because it moved between two answers."""

FRESH_NS: Final = 2_000_000_000
"""The greatest age of a report that a page may show."""

READS_MAX: Final = 20
"""How many times a trader that is still reading its journal is asked again; each question lets it read on."""

KEPT_MAX: Final = 16

OLD_FACTOR: Final = 3
"""Prices older than this many times the stale limit are left out of profit and loss."""

NOT_RUNNING: Final = "not running"
NOT_ANSWERING: Final = "not answering"

SIGNS: Final = {
    reasons.RUNNING: "good",
    NOT_RUNNING: "idle",
    reasons.HALTED: "bad",
    reasons.KILLED: "bad",
    NOT_ANSWERING: "bad",
}
"""How bad a state is; those not listed are "fair"."""

Row = PositionRow | OrderRow | FillRow | SettlementRow | TradeRow
Said = dict[str, object]
"""A question or an answer as sent over the socket; only `told` reads it."""

T = TypeVar("T")


class Profit(msgspec.Struct, frozen=True):
    """Profit and equity as shown, in dollars, at bid and at settlement; None where not known."""

    realised_dollars: str | None = None
    unrealised_dollars: str | None = None
    fees_dollars: str | None = None
    total_dollars: str | None = None
    today_dollars: str | None = None
    equity_dollars: str | None = None
    settlement_dollars: str | None = None
    locked_dollars: str | None = None
    settlement_equity_dollars: str | None = None


class TraderSummary(msgspec.Struct, frozen=True):
    """What every page shows of the trader.

    Attributes:
        state: its own, or "not running", "not answering". sign: how bad that is.
        as_of: when it last answered, Unix seconds. left_out: positions left out of `pnl_bid_dollars`.
        pnl_today_dollars: as counted for the daily loss. pnl_bid_dollars, pnl_settlement_dollars: total.
        error: why it is halted, or what is wrong with its answers.
    """

    state: str
    sign: str
    answers: bool
    as_of: float | None
    reasons: tuple[str, ...]
    pnl_today_dollars: str | None
    pnl_bid_dollars: str | None
    pnl_settlement_dollars: str | None
    left_out: int
    killed: KilledStatus | None
    error: str | None


class Desk(msgspec.Struct, frozen=True):
    """The trader's latest answers.

    Attributes:
        answers: whether it gave a valid answer to the last question.
        problem: what was wrong with its last answer; None if nothing was, or if there was none.
        heard_ms: when it last answered, None if never; all that follows is as of then.
        status: None before its first answer, and while it is starting.
        killed: why trading is killed and since when, from the trader or, without one, from the kill file.
        trades: the newest with fills. held: all that still hold something.
        version: grows whenever anything but an age changes.
    """

    answers: bool = False
    problem: str | None = None
    heard_ms: int | None = None
    status: TraderStatus | None = None
    positions: Sequence[PositionRow] = ()
    orders: Sequence[OrderRow] = ()
    fills: Sequence[FillRow] = ()
    settlements: Sequence[SettlementRow] = ()
    points: Sequence[EquityPoint] = ()
    trades: Sequence[TradeRow] = ()
    held: Sequence[TradeRow] = ()
    killed: KilledStatus | None = None
    version: int = 0

    @property
    def curve(self) -> Sequence[EquityPoint]:
        """The equity curve up to now; its last point is made from `status`."""
        status, points = self.status, self.points
        if status is None or (points and points[-1].time >= status.now):
            return points
        now = EquityPoint(
            time=status.now,
            cash_dollars=status.cash_dollars,
            positions_dollars=None,
            realised_dollars=status.pnl.realised_dollars,
            fees_dollars=status.pnl.fees_dollars,
            equity_dollars=status.equity_dollars,
            settlement_equity_dollars=status.settlement_equity_dollars,
        )
        return (*points, now)

    def pnl(self, now_ms: int, oldest_ms: int) -> tuple[Profit, int]:
        """Return profit and equity, and how many positions are left out because of unknown or old prices.

        Such positions are valued at cost in the figures at bid: what they would fetch now is not known. A
        market that no longer trades does not grow old.

        Args:
            oldest_ms: greatest age of a price that counts.
        """
        old = [
            row
            for row in self.positions
            if row.stale and (row.as_of is None or now_ms - row.as_of * 1000 > oldest_ms)
        ]
        if self.status is None:
            return Profit(), len(old)
        out = sum((Decimal(row.unrealised_dollars or 0) for row in old), Decimal(0))

        def without(dollars: str | None) -> str | None:
            return f"{Decimal(dollars) - out:.6f}" if dollars is not None and out else dollars

        pnl = self.status.pnl
        return Profit(
            realised_dollars=pnl.realised_dollars,
            unrealised_dollars=without(pnl.unrealised_dollars),
            fees_dollars=pnl.fees_dollars,
            total_dollars=without(pnl.total_dollars),
            today_dollars=pnl.today_dollars,  # has its own rule for old prices: docs/trader.md
            equity_dollars=without(self.status.equity_dollars),
            settlement_dollars=pnl.settlement_dollars,
            locked_dollars=pnl.locked_dollars,
            settlement_equity_dollars=self.status.settlement_equity_dollars,
        ), len(old)

    def summary(self, now_ms: int, oldest_ms: int) -> TraderSummary:
        """Return what every page shows of the trader; see `pnl`."""
        status = self.status if self.answers else None
        profit, left_out = self.pnl(now_ms, oldest_ms)
        state = self._state(now_ms)
        return TraderSummary(
            state=state,
            sign=SIGNS.get(state, "fair"),
            answers=self.answers,
            as_of=None if self.heard_ms is None else self.heard_ms / 1000,
            reasons=status.reasons if status is not None else (),
            pnl_today_dollars=profit.today_dollars,
            pnl_bid_dollars=profit.total_dollars,
            pnl_settlement_dollars=profit.settlement_dollars,
            left_out=left_out,
            killed=self.killed,
            error=status.error if status is not None else self.problem,
        )

    def _state(self, now_ms: int) -> str:
        if self.killed is not None:
            return reasons.KILLED
        if self.answers:
            return reasons.STARTING if self.status is None else self.status.state
        if self.problem is not None:
            return NOT_ANSWERING
        away_ms = AWAY_MS + 1 if self.heard_ms is None else max(0, now_ms - self.heard_ms)
        return NOT_RUNNING if away_ms > AWAY_MS else NOT_ANSWERING

    def marks(self) -> "Marks":
        """Return what the trader did about events and markets."""
        status = self.status
        missed: dict[tuple[str, str], OrderRow] = {}
        for order in self.orders:  # the newest first
            missed.setdefault((order.ticker, order.side), order)
        alone = status is not None and status.limits.positions_per_event == 1
        return Marks(
            {(row.ticker, row.side): row for row in self.positions},
            {_legs(trade.legs): trade.reason for trade in (status.refused if status is not None else ())},
            missed,
            frozenset(row.event_ticker for row in self.positions) if alone else frozenset(),
        )


class Mark(msgspec.Struct, frozen=True):
    """What the trader did about an opportunity: contracts held of each leg that is held, or why none are.

    `why` is `refused` in words; `by_risk`: refused by risk, not by an order that got no fill.
    """

    held: tuple[str, ...] = ()
    refused: str | None = None
    why: str | None = None
    by_risk: bool = False


Legs = frozenset[tuple[str, str]]
"""(ticker, side) of each leg of a trade."""


class Marks(msgspec.Struct, frozen=True):
    """What the trader holds by (ticker, side), what it refused by the legs to be bought, its last orders.

    Which strategy wanted it does not matter. `full` are the events that may have no second position.
    """

    held: Mapping[tuple[str, str], PositionRow]
    refused: Mapping[Legs, str]
    last: Mapping[tuple[str, str], OrderRow]
    full: Collection[str] = frozenset()

    def of(self, opportunity: Opportunity) -> Mark:
        """Return what the trader did about an opportunity."""
        legs = [(leg.ticker, leg.side) for leg in opportunity.legs]
        held = tuple(self.held[leg].count_fp for leg in legs if leg in self.held)
        because = self.refused.get(_legs(opportunity.legs))
        if because is None and not held and opportunity.event_ticker in self.full:
            because = reasons.ONE_POSITION_PER_EVENT
        if because is not None:
            return Mark(held, because, reasons.why_refused(because), by_risk=True)
        if held:
            return Mark(held)
        for order in map(self.last.get, legs):
            if order is not None and order.reason and order.status in _GOT_NOTHING:
                return Mark((), order.reason, reasons.why_ended(order.reason))
        return Mark()


_GOT_NOTHING: Final = (OrderState.CANCELLED, OrderState.REJECTED)


def _legs(legs: Sequence[Leg | RefusedLeg]) -> Legs:
    return frozenset((leg.ticker, leg.side) for leg in legs)


class Absent(KalshiBusError):
    """The trader did not answer, or its answer was faulty."""


class CommandResult(msgspec.Struct, frozen=True):
    """The outcome of a command; `answered`: whether a trader accepted it."""

    state: str
    answered: bool = True
    warning: str | None = None


_Lists = type[OrdersAnswer] | type[FillsAnswer] | type[SettlementsAnswer] | type[TradesAnswer]
_LISTS: Final[Mapping[str, _Lists]] = {
    "orders": OrdersAnswer,
    "fills": FillsAnswer,
    "settlements": SettlementsAnswer,
    "trades": TradesAnswer,
}
_NUMBERED: Final = {"orders": "number", "trades": "trade"}
"""The member that numbers the rows of a list, where it is not `id`."""


class TraderSocket(Protocol):
    """What the link needs of a bus.ask.Asker."""

    def ask(self, question: Said, timeout_ms: int) -> Said: ...

    def close(self) -> None: ...


class TraderLink:
    """Call `run` in a thread of its own, the only one to use the socket; everything else from any thread."""

    def __init__(self, asker: TraderSocket, data_dir: Path, clock: Clock) -> None:
        self.desk = Desk()
        self._asker = asker
        self._kill_switch = KillSwitch(data_dir)
        self._clock = clock
        # A kill goes first, all others in order of arrival; a nudge carries no job.
        self._jobs: queue.PriorityQueue[tuple[bool, int, tuple[Said, Future[Said]] | None]] = (
            queue.PriorityQueue()
        )
        self._numbers = itertools.count()
        self._nudged = threading.Event()
        self._moved = threading.Event()
        self._counts: tuple[float | int, ...] = ()
        self._equity_ns = 0
        self._signature = b""
        self._fresh_lock = threading.Lock()
        self._kept: dict[bytes, tuple[int, Any]] = {}
        self._owner = Owner("the dashboard's link to the trader")

    # -- any thread

    def nudge(self, actions: Sequence[Action]) -> None:
        """Ask for the trader's status soon, because this happened on its feed."""
        if not all(isinstance(action, Changed) and _only_values(action) for action in actions):
            self._moved.set()
        if not self._nudged.is_set():
            self._nudged.set()
            self._jobs.put((True, next(self._numbers), None))

    def command(self, command: AnyCommand) -> CommandResult:
        """Have the trader carry out a command.

        Raises:
            Absent: it does not answer.
            Refusal: it refuses.
        """
        answer = self._ask(msgspec.to_builtins(command), CommandAnswer)
        return CommandResult(answer.state, warning=answer.warning)

    def by_hand(self, command: ByHandCommand) -> TicketAnswer | ByHandAnswer:
        """Ask the trader for an order by hand; a refusal by risk is part of the answer.

        Raises:
            Absent: it does not answer.
            Refusal: it refuses.
        """
        question = msgspec.to_builtins(command)
        if isinstance(command, AnyPrepareCommand):
            return self._ask(question, TicketAnswer)
        return self._ask(question, ByHandAnswer)

    def kill(self, reason: str) -> CommandResult:
        """Kill: the file first, then the command.

        Raises:
            Absent: there is no trader, and no file that would apply to the next one.
            Refusal: it is killed, but not beyond a restart.
        """
        outcome = self._kill_switch.set(reason)
        if outcome.trouble is not None:
            log.warning("kill_switch.trouble", holds=outcome.holds, error=outcome.trouble)
        try:
            result = self.command(KillCommand(reason=reason))
        except Absent as error:
            if outcome.holds:
                return CommandResult(reasons.KILLED, answered=False, warning=outcome.trouble)
            raise Absent(f"{error}; and {outcome.trouble}") from None
        return msgspec.structs.replace(result, warning=outcome.trouble or result.warning)

    def report(self, since: str | None, until: str | None) -> ReportAnswer:
        """Return what was earned, and by what, from one day (YYYY-MM-DD) to another; a moment old at most.

        Raises:
            Absent: the trader does not answer, or is still reading its journal.
            Refusal: these are not days.
        """
        return self._fresh({"op": "report", "since": since, "until": until}, ReportAnswer)

    def risks(self) -> RisksAnswer:
        """Return what is held by event, and its possible outcomes; a moment old at most.

        Raises:
            Absent: the trader does not answer.
        """
        return self._fresh({"op": "risks"}, RisksAnswer)

    def _fresh(self, question: Said, type_: type[T]) -> T:
        """Return an answer, asked for again once it is older than FRESH_NS, however many pages want it."""
        key = msgspec.json.encode(question)
        now_ns = self._clock.monotonic_ns()
        with self._fresh_lock:
            kept = self._kept.get(key)
        if kept is not None and now_ns - kept[0] < FRESH_NS:
            answer: T = kept[1]
            return answer
        for _ in range(READS_MAX):
            try:
                found = self._ask(question, type_)
                break
            except Refusal as refusal:
                if refusal.code != "not_ready":
                    raise
        else:
            raise Absent("the trader is still reading its journal")
        with self._fresh_lock:
            self._kept[key] = (self._clock.monotonic_ns(), found)
            while len(self._kept) > KEPT_MAX:
                self._kept.pop(next(iter(self._kept)))
        return found

    def rows(self, name: str) -> list[Row]:
        """Return a whole list for a file: newest first, up to CSV_ROWS_MAX.

        Raises:
            Absent: the trader does not answer.
        """
        try:
            if name == "positions":
                return list(self._ask({"op": name}, PositionsAnswer).positions)
            found: list[Row] = []
            question: Said = {"op": name, "limit": ROWS_PER_QUESTION}
            while len(found) < CSV_ROWS_MAX:
                page = getattr(self._ask(question, _LISTS[name]), name)
                found += page
                if len(page) < ROWS_PER_QUESTION:
                    break
                question["before"] = getattr(page[-1], _NUMBERED.get(name, "id"))
            return found
        except Refusal as refusal:
            raise Absent(str(refusal)) from None

    def _ask(self, question: Said, type_: type[T]) -> T:
        future: Future[Said] = Future()
        self._jobs.put((question["op"] != "kill", next(self._numbers), (question, future)))
        try:
            return told(future.result(COMMAND_WAIT_S), type_)
        except NotInTime:
            future.cancel()  # if it has not been sent yet, it never will be
            raise Absent(f"the trader has not answered {question['op']!r} in {COMMAND_WAIT_S:g} s") from None
        except DecodeError as error:
            raise Absent(f"the trader gives a faulty answer: {error}") from None

    # -- its own thread

    def run(self, stop: Stop) -> None:
        """Ask the trader, and pass commands on, until `stop`."""
        self._owner.check()
        due_ns = 0
        try:
            while not stop.is_set():
                left_s = (due_ns - self._clock.monotonic_ns()) / 1e9
                if left_s <= 0:
                    self._nudged.clear()
                    self.refresh()
                    due_ns = self._clock.monotonic_ns() + round(EVERY_S * 1e9)
                    continue
                try:
                    _, _, job = self._jobs.get(timeout=min(left_s, LEAST_S))
                except queue.Empty:
                    continue
                if job is None:
                    due_ns = min(due_ns, self._clock.monotonic_ns() + round(LEAST_S * 1e9))
                else:
                    self._serve(*job)
                    due_ns = 0
        finally:
            self._asker.close()

    def _serve(self, question: Said, future: "Future[Said]") -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(self._asker.ask(question, COMMAND_MS))
        except (BadRecord, DecodeError) as error:
            future.set_exception(error)
        except KalshiBusError as error:
            future.set_exception(Absent(str(error)))
        except Exception:
            # One question must not end the dashboard for the others.
            log.exception("question.crashed", op=question.get("op"))
            future.set_exception(Absent("the trader could not be asked; the dashboard's log says why"))

    def refresh(self) -> None:
        """Ask for the trader's status, and replace `desk`."""
        self._owner.check()
        desk = self.desk
        try:
            made = self._read(desk)
        except NoAnswer:
            made = msgspec.structs.replace(desk, answers=False, problem=None)
        except KalshiBusError as error:
            problem = str(error)
            if problem != desk.problem:
                log.warning("trader.answer", error=problem)
            made = msgspec.structs.replace(desk, answers=False, problem=problem)
        if not made.answers:
            self._counts = ()
        # The trader may not have seen a kill file written a moment ago.
        killed = made.status.killed if made.answers and made.status is not None else None
        killed = killed or KilledStatus.of(self._kill_switch.read())
        made = msgspec.structs.replace(made, killed=killed)
        signature = _signature(made)
        self.desk = msgspec.structs.replace(made, version=desk.version + (signature != self._signature))
        self._signature = signature

    def _read(self, desk: Desk) -> Desk:
        """Return the desk as the trader now reports it.

        Raises:
            NoAnswer: there is none.
            DecodeError: it is faulty.
            Refusal: the trader could not answer.
        """
        now_ms = self._clock.now_ms()
        try:
            status = self._take("status", TraderStatus)
        except Refusal as refusal:
            if refusal.code != "not_ready":
                raise
            return msgspec.structs.replace(desk, answers=True, problem=None, heard_ms=now_ms, status=None)
        moved = self._moved.is_set()
        self._moved.clear()
        for _ in range(CUT_TRIES):
            positions = self._take("positions", PositionsAnswer).positions
            trades, held = self._trades(desk)
            before, status = status, self._take("status", TraderStatus)
            if (before.now, before.epoch, before.seq) == (status.now, status.epoch, status.seq):
                break  # nothing has moved meanwhile, so all of it is of one moment
        made = msgspec.structs.replace(
            desk,
            answers=True,
            problem=None,
            heard_ms=now_ms,
            status=status,
            positions=positions,
            trades=trades,
            held=held,
        )
        counts = (
            status.started, status.orders, status.fills, status.settlements, status.open_orders,
            status.positions,
        )  # fmt: skip
        moved = moved or counts != self._counts
        if moved:
            made = msgspec.structs.replace(
                made,
                orders=self._take("orders", OrdersAnswer, limit=ROWS).orders,
                fills=self._take("fills", FillsAnswer, limit=ROWS).fills,
                settlements=self._take("settlements", SettlementsAnswer, limit=ROWS).settlements,
            )
        now_ns = self._clock.monotonic_ns()
        if moved or now_ns - self._equity_ns >= EQUITY_EVERY_NS:
            points = self._take("equity", EquityAnswer, limit=POINTS).points
            made = msgspec.structs.replace(made, points=points)
            self._equity_ns = now_ns
        self._counts = counts
        return made

    def _trades(self, desk: Desk) -> tuple[Sequence[TradeRow], Sequence[TradeRow]]:
        """Return the newest trades, and those that hold something."""
        try:
            newest = self._take("trades", TradesAnswer, limit=TRADES).trades
            return newest, self._take("trades", TradesAnswer, limit=HELD_TRADES, held=True).trades
        except Refusal as refusal:
            if refusal.code != "not_ready":
                raise
            return desk.trades, desk.held  # it is still reading its journal

    def _take(self, op: str, type_: type[T], **parameters: int | bool) -> T:
        return told(self._asker.ask({"op": op, **parameters}, STATUS_MS), type_)


def _only_values(changed: Changed) -> bool:
    """Whether only fair values changed, which are in no list of orders."""
    return all(kind != "trader" for kind, _ in changed.records)


def _signature(desk: Desk) -> bytes:
    status = desk.status and msgspec.structs.replace(
        desk.status,
        now=0.0,
        uptime_seconds=0.0,
        data_age_seconds=None,
        seq=0,
        decisions=0,
        decisions_per_second=0.0,
        backlog=0,
        latency_ms=LatencyStatus(p50=None, p99=None, count=0),
    )
    positions = [msgspec.structs.replace(row, as_of=None, mark_age_seconds=None) for row in desk.positions]
    shown = (desk.answers, desk.problem, status, positions, desk.orders, desk.fills, desk.settlements)
    return msgspec.msgpack.encode((*shown, len(desk.points), desk.killed, desk.trades, desk.held))
