"""The control socket's answers and the events socket's messages: docs/trader.md.

`Control` stands between two threads: the engine's thread hands it reports and events; the bus thread answers
from them, and reads history from the journal through its own connection.
"""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import msgspec
import structlog

from bus.clock import Clock
from bus.protocol.answers import Answers, Later, Question, Refusal
from bus.protocol.writer import Writer
from bus.server import FeedServer
from bus.threads import Owner
from bus.trading import reasons
from bus.trading.killswitch import BY_HAND, WORD, KillSwitch, cut_reason
from bus.trading.shapes import (
    ByHandAnswer,
    CommandAnswer,
    EquityAnswer,
    FillsAnswer,
    OrdersAnswer,
    PositionsAnswer,
    ReportAnswer,
    RisksAnswer,
    SettlementsAnswer,
    Shape,
    TicketAnswer,
    TradesAnswer,
)
from markets.records import FairValue, Record, Remove, TraderEvent
from markets.units import MINUTE_MS, format_money
from trader.journal.reader import Reader, Tail

from .attribution import Account, days_in, days_of
from .equity_days import EquityDays
from .manual import ManualCommand, ManualCommands
from .report import Report, equity_point, fill_row, order_row, settlement_row
from .risks import risk_rows
from .tickets import BY_HAND_OPS, answer_of, ask_of
from .trades import trade_rows

log = structlog.get_logger()

COMMAND_WAIT_S: Final = 2.0
MAX_ROWS: Final = 1_000
MAX_POINTS: Final = 5_000
MAX_DAYS: Final = 1_000
"""How many days of equity a report has, the newest."""

FILLS_AT_ONCE: Final = 2_000
POINTS_AT_ONCE: Final = 50_000
"""How much of the journal one question reads at most: whoever asks too early asks again, so nobody waits
long."""
PREPARE_OPS: Final = ("prepare",)
"""Those of `BY_HAND_OPS` that change nothing except to make a ticket: what agents may ask for."""

COMMANDS: Final = ("pause", "resume", "kill")
PREPARES_PER_MINUTE: Final = 30
BY_AGENT: Final = "by an agent"
TOPIC_VALUES: Final = "fv."
TOPIC_TRADER: Final = "trader."


class Control:
    """Questions and commands. `report` is replaced by the engine's thread; the rest is the bus thread's."""

    def __init__(
        self, commands: ManualCommands, kill_switch: KillSwitch, reader: Callable[[], Reader]
    ) -> None:
        self.report: Report | None = None
        self._commands = commands
        self._kill_switch = kill_switch
        self._open = reader
        self._reader: Reader | None = None
        self._tail: Tail | None = None
        self._moved: tuple[int, ...] = ()
        self._account = Account()
        self._days = EquityDays()
        self._prepared_ms: deque[int] = deque()
        self._owner = Owner("the trader's control socket")

    def add_to(self, answers: Answers) -> None:
        """Register the trader's questions and commands with `answers`."""
        self._add_reads(answers)
        add = partial(self._add, answers)
        add("pause", self._pause, "reason")
        add("resume", self._resume, "word")
        add("kill", self._kill, "reason")
        for op, parameters in BY_HAND_OPS.items():
            add(op, partial(self._by_hand, op), *parameters)

    def add_for_agents(self, answers: Answers) -> None:
        """Register what an agent may ask: questions, and to have an order worked out.

        Nothing here places, cancels or stops anything, whatever is asked: a person confirms at the control
        socket what an agent has prepared.
        """
        self._add_reads(answers)
        for op in PREPARE_OPS:
            answers.add(op, partial(self._prepare_for_agent, op), *BY_HAND_OPS[op])
        for op in (*COMMANDS, *BY_HAND_OPS):
            if op not in PREPARE_OPS:
                answers.add(op, partial(_refuse_to_agent, op), *BY_HAND_OPS.get(op, ("reason", "word")))

    def _add(self, answers: Answers, op: str, answer: Callable[[Question], Shape], *parameters: str) -> None:
        def handle(question: Question, _now_ms: int) -> dict[str, Any]:
            self._owner.check()
            return msgspec.structs.asdict(answer(question))

        answers.add(op, handle, *parameters)

    def _add_reads(self, answers: Answers) -> None:
        add = partial(self._add, answers)
        add("status", lambda _question: self._ready().status)
        add("positions", lambda _question: PositionsAnswer(positions=self._ready().positions))
        add("orders", self._orders, "limit", "before")
        add("fills", self._fills, "limit", "before")
        add("settlements", self._settlements, "limit", "before")
        add("trades", self._trades, "limit", "before", "held")
        add("report", self._report, "since", "until")
        add("risks", self._risks)
        add("equity", self._equity, "since", "limit")

    def close(self) -> None:
        """Close the reading connection. Bus thread only."""
        self._owner.check()
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _ready(self) -> Report:
        if self.report is None:
            raise Refusal("not_ready", "the trader is starting", retry_ms=250)
        return self.report

    def _journal(self) -> Reader:
        self._ready()
        if self._reader is None:
            self._reader = self._open()
        return self._reader

    # -- history

    def _orders(self, question: Question) -> OrdersAnswer:
        return OrdersAnswer(orders=tuple(map(order_row, self._journal().orders(*_page(question)))))

    def _fills(self, question: Question) -> FillsAnswer:
        return FillsAnswer(fills=tuple(map(fill_row, self._journal().fills(*_page(question)))))

    def _settlements(self, question: Question) -> SettlementsAnswer:
        rows = self._journal().settlements(*_page(question))
        return SettlementsAnswer(settlements=tuple(map(settlement_row, rows)))

    def _trades(self, question: Question) -> TradesAnswer:
        account = self._record()
        held = question.get("held", False)
        if not isinstance(held, bool):
            raise Refusal("bad_request", f"held: got {held!r:.50}, expected true or false")
        rows = trade_rows(account, self._ready().worths, *_page(question), held=held)
        return TradesAnswer(trades=rows)

    def _risks(self, _question: Question) -> RisksAnswer:
        report = self._ready()
        now_ms = round(report.status.now * 1000)
        return RisksAnswer(risks=risk_rows(report.worths, report.views, now_ms))

    def _report(self, question: Question) -> ReportAnswer:
        since, until = days_in(question)
        account, report = self._record(), self._ready()
        seen = report.status.pnl.settlement_dollars is not None
        journal = self._journal()
        points = journal.equity_after(self._days.read_to, POINTS_AT_ONCE)
        self._days.take(points)
        if len(points) == POINTS_AT_ONCE:
            raise Refusal("not_ready", "the equity of earlier days is being read", retry_ms=50)
        first, last = days_of(since, until)
        drawdown_e6 = self._days.drawdown_e6(first, last)
        return msgspec.structs.replace(
            account.report(report.worths if seen else None, since, until),
            equity_days=self._days.within(first, last)[-MAX_DAYS:],
            drawdown_dollars=None if drawdown_e6 is None else format_money(drawdown_e6),
        )

    def _record(self) -> Account:
        """Return what the journal says of trades, reading on if there is more."""
        journal = self._journal()
        if self._tail is None:
            self._tail = journal.tail()
        moved = journal.moved()
        if self._moved != moved or not self._tail.whole:
            self._account.take(self._tail.read(FILLS_AT_ONCE))
            self._moved = moved
        if not self._tail.whole:
            raise Refusal("not_ready", "the trades of earlier days are being read", retry_ms=50)
        return self._account

    def _equity(self, question: Question) -> EquityAnswer:
        since = question.get("since", 0)
        if isinstance(since, bool) or not isinstance(since, (int, float)) or not 0 <= since < 1e11:
            raise Refusal("bad_request", f"since: got {since!r:.50}, expected Unix seconds")
        limit = _integer(question, "limit", 1_000, MAX_POINTS)
        return EquityAnswer(points=tuple(map(equity_point, self._journal().equity(int(since * 1000), limit))))

    # -- commands

    def _pause(self, question: Question) -> CommandAnswer:
        reason, said = cut_reason(_reason(question))
        return msgspec.structs.replace(self._command("pause", reason), warning=said)

    def _kill(self, question: Question) -> CommandAnswer:
        # The file first: whatever happens to the engine, nothing is traded from now on.
        reason = _reason(question)
        outcome = self._kill_switch.set(reason)
        if outcome.trouble is not None:
            log.warning("kill_switch.trouble", holds=outcome.holds, error=outcome.trouble)
        answer = self._command("kill", cut_reason(reason)[0])
        if not outcome.holds:
            raise Refusal("internal", f"killed, but only until a restart: {outcome.trouble}")
        return msgspec.structs.replace(answer, warning=outcome.trouble)

    def _resume(self, question: Question) -> CommandAnswer:
        killed = self._kill_switch.read() is not None or reasons.KILLED in self._ready().status.reasons
        lost = self.report is not None and reasons.DAILY_LOSS in self.report.status.reasons
        typed = question.get("word") == WORD
        if (killed or lost) and not typed:
            because = "trading was killed" if killed else "the daily loss has reached its limit"
            raise Refusal("bad_request", f"word: {because}; resume with the word {WORD}")
        return self._command("resume", WORD if typed else "")

    def _command(self, op: str, reason: str) -> CommandAnswer:
        return CommandAnswer(state=self._answered(ManualCommand(op, reason)))

    def _by_hand(self, op: str, question: Question) -> TicketAnswer | ByHandAnswer:
        self._ready()
        command = ManualCommand(op, BY_HAND, ask_of(op, question))
        return answer_of(self._answered(command), command)

    def _prepare_for_agent(self, op: str, question: Question, now_ms: int) -> Later:
        """Have a ticket made. Their number per minute is limited, since each is an input in the journal.

        This must not wait for the engine, because people's commands come through the same thread.
        """
        self._owner.check()
        self._ready()
        ask = ask_of(op, question)
        prepared = self._prepared_ms
        while prepared and not 0 <= now_ms - prepared[0] < MINUTE_MS:
            prepared.popleft()
        if len(prepared) >= PREPARES_PER_MINUTE:
            message = f"{op}: agents may prepare at most {PREPARES_PER_MINUTE} orders a minute"
            raise Refusal("busy", message, retry_ms=MINUTE_MS - (now_ms - prepared[0]))
        prepared.append(now_ms)
        command = ManualCommand(op, BY_AGENT, ask)
        self._commands.put(command)

        def look() -> dict[str, Any] | None:
            state = command.wait(0)
            return None if state is None else msgspec.structs.asdict(answer_of(state, command))

        return Later(look)

    def _answered(self, command: ManualCommand) -> str:
        self._commands.put(command)
        state = command.wait(COMMAND_WAIT_S)
        if state is None:
            raise Refusal(
                "busy", f"{command.op}: the trader has not answered in {COMMAND_WAIT_S:g} s", retry_ms=1_000
            )
        return state


def _refuse_to_agent(op: str, _question: Question, _now_ms: int) -> dict[str, Any]:
    raise Refusal("forbidden", f"{op}: agents may only read and prepare here: a person has to do this")


def _page(question: Question) -> tuple[int, int]:
    return _integer(question, "limit", 100, MAX_ROWS), _integer(question, "before", 2**62, 2**62)


def _integer(question: Question, name: str, default: int, most: int) -> int:
    value = question.get(name, default)
    if value is None:
        value = default
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise Refusal("bad_request", f"{name}: got {value!r:.50}, expected 1..{most}")
    return value


def _reason(question: Question) -> str:
    reason = question.get("reason") or BY_HAND
    if not isinstance(reason, str):
        raise Refusal("bad_request", f"reason: got {reason!r:.50}, expected text")
    return reason


class Events:
    """Publishes fair values and events on the trader's own feed. Any thread may call it."""

    def __init__(self, server: FeedServer, clock: Clock) -> None:
        self._server = server
        self._clock = clock
        self._writer = Writer(clock.now_ms())

    def open(self) -> None:
        """Open the epoch before the server starts: nothing is published yet."""
        self._server.open(self._writer)

    def fair_values(self, set_: Sequence[FairValue], removed: Sequence[str]) -> None:
        """Publish changes of fair values."""
        self._stream(TOPIC_VALUES, "remove", [Remove("fair_value", ticker) for ticker in removed])
        self._stream(TOPIC_VALUES, "fair_value", set_)

    def event(self, event: TraderEvent) -> None:
        """Publish that something has happened."""
        self._stream(TOPIC_TRADER, "trader", [event])

    def _stream(self, topic: str, kind: str, records: Sequence[Record]) -> None:
        if not records:
            return

        def send(server: FeedServer) -> None:
            now_ns = self._clock.now_ns()
            server.send(self._writer.stream(topic, kind, records, now_ns, now_ns))

        self._server.submit(send)
