"""The dashboard's link to the trader: whatever that answers, the pages have something true to show."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from bus.ask import NoAnswer
from bus.clock import ManualClock
from bus.process.lifecycle import Stop
from bus.protocol.answers import Refusal
from bus.protocol.join import Action, Tell
from bus.protocol.state import Changed
from bus.trading.killswitch import KillSwitch
from bus.trading.shapes import (
    CommandAnswer,
    ConfirmCommand,
    EquityAnswer,
    FillsAnswer,
    OrderRow,
    OrdersAnswer,
    PauseCommand,
    PositionsAnswer,
    SettlementsAnswer,
    Shape,
    TraderStatus,
    TradesAnswer,
)
from markets.errors import BadRecord, DecodeError
from tests.bus.trading.disk import full_disk
from tests.bus.trading.samples import a_fill, a_point, a_position, a_status, a_trade, an_order
from ui.desk import AWAY_MS, CUT_TRIES, ROWS_PER_QUESTION, Absent, CommandResult, TraderLink

NOT_READY = {"ok": False, "error": {"code": "not_ready", "message": "the trader is starting"}}


class Trader:
    """A trader that gives set answers at once; an answer that is an exception is raised."""

    def __init__(self, status: TraderStatus) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[str] = []
        self.pages: dict[str, list[Shape]] = {}
        self.befores: list[int | None] = []
        self.say("status", status)
        self.say("positions", PositionsAnswer(positions=(a_position(),)))
        self.say("orders", OrdersAnswer(orders=(an_order(),)))
        self.say("fills", FillsAnswer(fills=(a_fill(),)))
        self.say("settlements", SettlementsAnswer(settlements=()))
        self.say("equity", EquityAnswer(points=(a_point(),)))
        self.say("trades", TradesAnswer(trades=(a_trade(),)))

    def say(self, op: str, said: Shape) -> None:
        self.answers[op] = {"ok": True, "id": 1, **msgspec.to_builtins(said)}

    def ask(self, question: dict[str, Any], timeout_ms: int) -> dict[str, Any]:
        op = question["op"]
        self.asked.append(op)
        if question.get("limit") == ROWS_PER_QUESTION and self.pages.get(op):
            self.befores.append(question.get("before"))
            self.say(op, self.pages[op].pop(0))
        answer = self.answers[op]
        if isinstance(answer, Exception):
            raise answer
        found: dict[str, Any] = answer
        return found

    def close(self) -> None:
        """Do nothing: nothing is open."""


@pytest.fixture
def trader() -> Trader:
    return Trader(a_status())


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def link(trader: Trader, clock: ManualClock, tmp_path: Path) -> TraderLink:
    return TraderLink(trader, tmp_path, clock)


def states(link: TraderLink, clock: ManualClock) -> tuple[str, str, bool]:
    summary = link.desk.summary(clock.now_ms(), 90_000)
    return summary.state, summary.sign, summary.answers


def test_it_holds_what_the_trader_answers(link: TraderLink, clock: ManualClock) -> None:
    assert states(link, clock) == ("not running", "idle", False)

    link.refresh()

    assert states(link, clock) == ("running", "good", True)
    desk = link.desk
    assert (desk.status, desk.positions, desk.orders) == (a_status(), (a_position(),), (an_order(),))
    assert (desk.fills, desk.settlements, desk.points) == ((a_fill(),), (), (a_point(),))


def test_a_starting_trader_has_a_state_but_no_status(
    link: TraderLink, trader: Trader, clock: ManualClock
) -> None:
    trader.answers["status"] = NOT_READY

    link.refresh()

    assert link.desk.status is None
    assert states(link, clock) == ("starting", "fair", True)


@pytest.mark.parametrize(
    ("op", "answer", "names"),
    [
        ("status", {"ok": True}, "TraderStatus"),
        ("status", DecodeError("answer: no msgpack map"), "no msgpack map"),
        ("positions", {"ok": True, "positions": [{}]}, r"positions\[0\]"),
        ("orders", {"ok": True, "orders": None}, r"OrdersAnswer: .*orders"),
        ("equity", {"ok": False, "error": {"code": "internal", "message": "its log says why"}}, "its log"),
    ],
)
def test_a_faulty_answer_is_reported_and_the_last_valid_one_is_kept(
    link: TraderLink, trader: Trader, clock: ManualClock, op: str, answer: Any, names: str
) -> None:
    link.refresh()
    known = link.desk
    trader.answers[op] = answer
    link.nudge([Tell("gap", {})])

    with capture_logs() as logs:
        link.refresh()
        link.refresh()

    assert [line["event"] for line in logs] == ["trader.answer"]  # once, not every second
    assert states(link, clock) == ("not answering", "bad", False)
    error = link.desk.summary(clock.now_ms(), 90_000).error
    assert error == link.desk.problem
    assert re.search(names, error or "")
    assert (link.desk.status, link.desk.orders) == (known.status, known.orders)
    assert link.desk.version > known.version

    trader.say("status", a_status())
    trader.say("positions", PositionsAnswer(positions=()))
    trader.say("orders", OrdersAnswer(orders=()))
    trader.say("equity", EquityAnswer(points=()))
    link.refresh()
    assert states(link, clock) == ("running", "good", True)
    assert link.desk.problem is None


def test_a_silent_trader_is_first_not_answering_then_not_running(
    link: TraderLink, trader: Trader, clock: ManualClock
) -> None:
    link.refresh()
    trader.answers["status"] = NoAnswer("nobody is there")
    clock.advance(AWAY_MS)
    link.refresh()
    assert states(link, clock) == ("not answering", "bad", False)

    clock.advance(1)

    assert states(link, clock) == ("not running", "idle", False)


def test_lists_are_asked_for_when_they_may_have_changed(link: TraderLink, trader: Trader) -> None:
    def asked(*actions: Action) -> list[str]:
        trader.asked.clear()
        if actions:
            link.nudge(actions)
        link.refresh()
        return trader.asked

    cut = ["status", "positions", "trades", "trades", "status"]
    everything = [*cut, "orders", "fills", "settlements", "equity"]
    assert asked() == everything
    assert asked() == cut
    assert asked(Changed(1, 0, [("fair_value", ("X",))])) == cut
    # An order whose fate is unknown changes no count.
    assert asked(Changed(2, 0, [("fair_value", ("X",)), ("trader", ("order",))])) == everything
    assert asked(Tell("gap", {})) == everything
    trader.say("status", a_status(orders=1))
    assert asked() == everything


class Moving(Trader):
    """A trader that moves between two answers, `times` times; a position is worth its seq."""

    def __init__(self, times: int) -> None:
        super().__init__(a_status(seq=0))
        self.left, self.seq = times, 0

    def ask(self, question: dict[str, Any], timeout_ms: int) -> dict[str, Any]:
        answer = super().ask(question, timeout_ms)
        if question["op"] == "positions" and self.left:
            self.left -= 1
            self.seq += 1
            self.say("status", a_status(seq=self.seq))
            worth = a_position(value_dollars=f"{self.seq}.000000")
            self.say("positions", PositionsAnswer(positions=(worth,)))
        return answer


@pytest.mark.parametrize("times", [0, 1, 3])
def test_status_and_positions_are_of_one_moment(times: int, clock: ManualClock, tmp_path: Path) -> None:
    link = TraderLink(Moving(times), tmp_path, clock)

    link.refresh()

    assert link.desk.status is not None
    assert link.desk.status.seq == times
    if times:
        assert link.desk.positions[0].value_dollars == f"{times}.000000"


def test_a_trader_that_keeps_moving_is_shown_nevertheless(clock: ManualClock, tmp_path: Path) -> None:
    trader = Moving(10_000)
    link = TraderLink(trader, tmp_path, clock)

    link.refresh()

    assert trader.asked.count("positions") == CUT_TRIES
    assert link.desk.answers


def test_the_curve_ends_at_the_status(link: TraderLink, trader: Trader) -> None:
    trader.say("status", a_status(now=a_point().time + 30, equity_dollars="777.000000"))
    link.refresh()

    assert link.desk.curve[-1].equity_dollars == "777.000000"
    assert link.desk.curve[:-1] == (a_point(),)


def test_a_kill_not_yet_seen_by_the_trader_is_shown(
    link: TraderLink, clock: ManualClock, tmp_path: Path
) -> None:
    tmp_path.chmod(0o700)
    KillSwitch(tmp_path).set("enough")

    link.refresh()

    assert states(link, clock) == ("killed", "bad", True)
    assert link.desk.killed is not None
    assert link.desk.killed.reason == "enough"


def test_figures_that_change_with_time_make_no_new_version(link: TraderLink, trader: Trader) -> None:
    link.refresh()
    version = link.desk.version
    trader.say(
        "status", a_status(now=1_790_000_009.0, seq=9, decisions=9_999, backlog=3, data_age_seconds=9.0)
    )
    link.refresh()
    assert link.desk.version == version

    trader.say("status", a_status(cash_dollars="1.000000"))
    link.refresh()
    assert link.desk.version == version + 1


@pytest.fixture
def running(link: TraderLink) -> Iterator[TraderLink]:
    stop = Stop()
    thread = threading.Thread(target=link.run, args=(stop,))
    thread.start()
    yield link
    stop.set()
    thread.join()
    stop.close()


def test_a_kill_writes_the_file_first_then_sends_the_command(
    running: TraderLink, trader: Trader, tmp_path: Path
) -> None:
    tmp_path.chmod(0o700)
    trader.say("kill", CommandAnswer(state="killed"))

    assert running.kill("enough") == CommandResult("killed")
    killed = KillSwitch(tmp_path).read()
    assert killed is not None
    assert killed.reason == "enough"


def test_a_kill_on_a_full_disk_works_and_says_what_it_may_have_lost(
    running: TraderLink, trader: Trader, tmp_path: Path
) -> None:
    tmp_path.chmod(0o700)
    for answer, answered in (({"ok": True, "state": "killed"}, True), (NoAnswer("nobody is there"), False)):
        trader.answers["kill"] = answer
        with capture_logs(), full_disk():
            result = running.kill("enough")

        assert (result.state, result.answered) == ("killed", answered)
        assert "its reason may be lost" in (result.warning or "")


def test_a_kill_without_file_and_trader_fails(running: TraderLink, trader: Trader, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    trader.answers["kill"] = NoAnswer("nobody is there")

    with pytest.raises(Absent, match="nobody is there; and the kill switch cannot be set"):
        running.kill("enough")

    error = {"code": "internal", "message": "killed, but not beyond a restart"}
    trader.answers["kill"] = {"ok": False, "error": error}
    with pytest.raises(Refusal, match="not beyond a restart"):
        running.kill("enough")


def test_a_faulty_answer_to_a_command_or_for_a_file_raises_absent(
    running: TraderLink, trader: Trader
) -> None:
    trader.answers |= {"pause": {"ok": True}, "orders": {"ok": True, "orders": "all"}}

    with pytest.raises(Absent, match=r"gives a faulty answer: CommandAnswer: .*state"):
        running.command(PauseCommand())
    with pytest.raises(Absent, match=r"gives a faulty answer: OrdersAnswer: .*orders"):
        running.rows("orders")


def test_a_question_that_cannot_be_sent_costs_itself_alone(running: TraderLink, trader: Trader) -> None:
    trader.answers["confirm"] = BadRecord("ticket", 2**70, "what a message can carry")
    with pytest.raises(BadRecord, match="ticket: got 1180591620717411303424"):
        running.by_hand(ConfirmCommand(ticket=2**70))
    trader.answers["confirm"] = OverflowError("what nobody thought of")
    with capture_logs() as logs, pytest.raises(Absent, match="log says why"):
        running.by_hand(ConfirmCommand(ticket=1))
    assert [line["event"] for line in logs] == ["question.crashed"]

    trader.say("pause", CommandAnswer(state="paused"))
    assert running.command(PauseCommand()) == CommandResult("paused")


def test_a_file_includes_all_pages(running: TraderLink, trader: Trader) -> None:
    pages = [tuple(an_order(number=number) for number in range(2_000, 1_000, -1)), (an_order(number=7),)]
    trader.pages = {"orders": [OrdersAnswer(orders=page) for page in pages]}

    assert [row.number for row in running.rows("orders") if isinstance(row, OrderRow)] == [
        *range(2_000, 1_000, -1), 7
    ]  # fmt: skip
    assert trader.befores == [None, 1_001]
