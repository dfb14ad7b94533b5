"""The dashboard's link to the trader: whatever that answers, the pages have something true to show."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from bus.ask import NoAnswer
from bus.clock import ManualClock
from bus.protocol.join import Action, Tell
from bus.protocol.state import Changed
from bus.trading.killswitch import KillSwitch
from bus.trading.shapes import (
    EquityAnswer,
    FillsAnswer,
    OrdersAnswer,
    PositionsAnswer,
    SettlementsAnswer,
    Shape,
    TraderStatus,
)
from markets.errors import DecodeError
from tests.bus.trading.samples import a_fill, a_point, a_position, a_status, an_order
from ui.desk import AWAY_MS, TraderLink

NOT_READY = {"ok": False, "error": {"code": "not_ready", "message": "the trader is starting"}}


class Trader:
    """A trader that answers what it is told to, at once; an answer that is an error is raised."""

    def __init__(self, status: TraderStatus) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[str] = []
        self.say("status", status)
        self.say("positions", PositionsAnswer(positions=(a_position(),)))
        self.say("orders", OrdersAnswer(orders=(an_order(),)))
        self.say("fills", FillsAnswer(fills=(a_fill(),)))
        self.say("settlements", SettlementsAnswer(settlements=()))
        self.say("equity", EquityAnswer(points=(a_point(),)))

    def say(self, op: str, said: Shape) -> None:
        self.answers[op] = {"ok": True, "id": 1, **msgspec.to_builtins(said)}

    def ask(self, question: dict[str, Any], timeout_ms: int) -> dict[str, Any]:
        self.asked.append(question["op"])
        answer = self.answers[question["op"]]
        if isinstance(answer, Exception):
            raise answer
        found: dict[str, Any] = answer
        return found

    def close(self) -> None:
        """Nothing is open."""


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


def test_it_shows_what_the_trader_says(link: TraderLink, clock: ManualClock) -> None:
    assert states(link, clock) == ("not running", "idle", False)

    link.refresh()

    assert states(link, clock) == ("running", "good", True)
    desk = link.desk
    assert (desk.status, desk.positions, desk.orders) == (a_status(), (a_position(),), (an_order(),))
    assert (desk.fills, desk.settlements, desk.points) == ((a_fill(),), (), (a_point(),))


def test_a_trader_that_starts_has_a_state_but_no_status(
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
def test_one_that_answers_wrongly_is_said_to_and_what_it_said_last_stays(
    link: TraderLink, trader: Trader, clock: ManualClock, op: str, answer: Any, names: str
) -> None:
    link.refresh()
    known = link.desk
    trader.answers[op] = answer
    link.nudge([Tell("gap", {})])

    with capture_logs() as logs:
        link.refresh()
        link.refresh()

    assert [line["event"] for line in logs] == ["trader.answer"]  # once, not each second
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


def test_silence_is_first_not_answering_then_not_running(
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

    everything = ["status", "positions", "orders", "fills", "settlements", "equity"]
    assert asked() == everything
    assert asked() == everything[:2]
    assert asked(Changed(1, 0, [("fair_value", ("X",))])) == everything[:2]
    # An order of whose fate nobody knows changes no count.
    assert asked(Changed(2, 0, [("fair_value", ("X",)), ("trader", ("order",))])) == everything
    assert asked(Tell("gap", {})) == everything
    trader.say("status", a_status(orders=1))
    assert asked() == everything


def test_a_kill_that_the_trader_does_not_know_yet_is_shown(
    link: TraderLink, clock: ManualClock, tmp_path: Path
) -> None:
    tmp_path.chmod(0o700)
    KillSwitch(tmp_path).set("enough")

    link.refresh()

    assert states(link, clock) == ("killed", "bad", True)
    assert link.desk.killed is not None
    assert link.desk.killed.reason == "enough"


def test_passing_figures_make_no_new_version(link: TraderLink, trader: Trader) -> None:
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
