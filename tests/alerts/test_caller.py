"""Rules and commands through the socket's answers, and what is sent: real files, fake senders."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from alerts.caller import DROPPED_LOG_MS, REPLAY, TEST, Caller
from alerts.couriers import Couriers
from alerts.heartbeat import Heart, held_back
from alerts.kept import rules_file, told_file
from alerts.outbox import RETRY_MS, WAITING_MOST
from alerts.parcels import Order
from alerts.seen import TraderSeen
from alerts.ways import Way, Ways
from bus.alerting import RULES, AlertsAnswer, DoneAnswer
from bus.clock import ManualClock
from bus.process.programs import to_install
from bus.protocol.answers import Answers, Refusal
from bus.protocol.messages import encode_map, unpack_map
from bus.trading.shapes import told
from tests.alerts.world import TICKER, a_health, a_moment, at_bid
from tests.bus.trading.disk import full_disk
from tests.bus.trading.samples import a_status

SECRET = "s3cr3tT0ken"
PHONE = Way("phone", "ntfy", f"ntfy://{SECRET}")
BEAT = Way("heartbeat", "https", f"https://hc/{SECRET}")
PRICE = {"kind": "price", "ticker": TICKER, "at_dollars": "0.6000"}


class Postmen(Couriers):
    """Couriers without processes: orders wait in `orders` until the test gives their outcome."""

    def __init__(self) -> None:
        self.orders: dict[str, Order] = {}
        self.over: list[tuple[str, str | None]] = []

    @property
    def busy(self) -> frozenset[str]:
        return frozenset(self.orders)

    def start(self, name: str, order: Order) -> None:
        assert name not in self.orders
        self.orders[name] = order

    def done(self) -> list[tuple[str, str | None]]:
        over, self.over = self.over, []
        for name, _ in over:
            del self.orders[name]
        return over

    def stop(self) -> None:
        self.orders = {}


class Desk:
    """A caller with its files, its socket's answers, and a clock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock()
        self.ways = Ways((PHONE,), BEAT)
        self.begin()

    def begin(self, *, apprise: bool = True) -> None:
        self.post = Postmen()
        self.caller = Caller(
            rules_file(self.folder), told_file(self.folder), lambda: self.ways, self.post, Heart(60_000),
            self.clock, "trader", apprise=apprise,
        )  # fmt: skip
        self.answers = Answers(lambda: None)
        self.caller.add_to(self.answers)

    def raw(self, question: Mapping[str, Any]) -> bytes:
        (frame,) = self.answers.answer(encode_map({"id": 1, **question}), self.clock.now_ms())
        return frame

    def do(self, op: str, **parameters: Any) -> int:
        return told(unpack_map(self.raw({"op": op, **parameters})), DoneAnswer).number

    def look(self, after: int = 0) -> AlertsAnswer:
        return told(unpack_map(self.raw({"op": "alerts", "after": after})), AlertsAnswer)

    def see(self, later_ms: int = 1_000, **changes: Any) -> None:
        self.clock.advance(later_ms)
        self.caller.turn(a_moment(self.clock.now_ms(), **changes))

    def cross(self) -> None:
        self.see(quotes=at_bid(5_000))
        self.see(quotes=at_bid(6_500))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_rule_is_added_edited_tested_judged_and_removed(desk: Desk) -> None:
    number = desk.do("set_rule", rule=PRICE)
    desk.cross()
    (row,) = desk.look().rules
    assert (row.title, row.problem, len(row.holds)) == ("Price crosses", None, 1)
    assert desk.post.orders["phone"].body.startswith(f"{TICKER} (Will Vancouver win?): bid of YES is 65c")
    desk.post.over = [("phone", None)]
    desk.see(quotes=at_bid(6_500))
    assert desk.look().messages[0].ways == {"phone": "delivered"}

    assert desk.do("set_rule", rule={**PRICE, "number": number, "at_dollars": "0.7000"}) == number
    assert desk.do("test", number=number) == desk.look().last
    desk.see()
    assert (
        "Test of rule 1: KXMLSGAME-26AUG19VANHOU-VAN: bid of YES above 70c" in desk.post.orders["phone"].body
    )
    desk.do("remove_rule", number=number)
    assert desk.look().rules == ()
    assert desk.do("set_rule", rule={"kind": "fill"}) == number + 1, "no number is given twice"


@pytest.mark.parametrize(
    ("op", "parameters", "names"),
    [
        ("set_rule", {}, "kind"),
        ("set_rule", {"rule": {"kind": "nothing"}}, "kind"),
        ("set_rule", {"rule": {"kind": []}}, "kind"),
        ("set_rule", {"rule": {"kind": {}}}, "kind"),
        ("set_rule", {"rule": ["kind"]}, "kind"),
        ("set_rule", {"rule": {**PRICE, "number": 2**40}}, "number"),
        ("set_rule", {"rule": {**PRICE, "at_dollars": "-0.6000"}}, "at_dollars"),
        ("set_rule", {"rule": {**PRICE, "at_dollars": None}}, "at_dollars"),
        ("set_rule", {"rule": {**PRICE, "at_dollars": "1.0000"}}, "at_dollars"),
        ("set_rule", {"rule": {**PRICE, "at_dollars": "sixty"}}, "at_dollars"),
        ("set_rule", {"rule": {**PRICE, "ticker": ""}}, "ticker"),
        ("set_rule", {"rule": {**PRICE, "ticker": "x" * 10_000}}, "ticker"),
        ("set_rule", {"rule": {**PRICE, "ticker": "A\nB"}}, "ticker"),
        ("set_rule", {"rule": {**PRICE, "note": "a\x00"}}, "note"),
        ("set_rule", {"rule": {**PRICE, "number": 7}}, "number"),
        ("set_rule", {"rule": {**PRICE, "surprise": 7}}, "surprise"),
        ("set_rule", {"rule": {"kind": "limit", "percent": 101}}, "percent"),
        ("set_rule", {"rule": {"kind": "edge", "least_dollars": "-1.000000"}}, "least_dollars"),
        ("remove_rule", {"number": 7}, "number"),
        ("remove_rule", {"number": True}, "number"),
        ("test", {"number": 7}, "number"),
        ("set_quiet", {"quiet": {"begins": "22:00", "ends": "7", "zone": "UTC"}}, "ends"),
        ("set_quiet", {"quiet": {"begins": "22:00", "ends": "07:00", "zone": "Berlin"}}, "zone"),
        ("set_quiet", {"quiet": 3}, "quiet: got 3, expected begins, ends and zone"),
        ("set_quiet", {"quiet": {"begins": None}}, "begins: got None, expected text"),
        ("set_quiet", {"quiet": {"start": "22:00"}}, "start: got '22:00', expected only begins, ends, zone"),
        ("set_quiet", {"quiet": {"begins": "22:00", "ends": "07:00", "zone": "x" * 10_000}}, "zone"),
        ("set_quiet", {"quiet": {"begins": "22:00", "ends": "07:00", "zone": "\x00"}}, "zone"),
        ("set_quiet", {"quiet": {"begins": "", "ends": "", "zone": ""}}, "zone"),
        ("alerts", {"after": "x"}, "after"),
    ],
)
def test_wrong_input_is_refused_by_name_and_changes_nothing(
    desk: Desk, op: str, parameters: dict[str, Any], names: str
) -> None:
    with pytest.raises(Refusal, match=names):
        desk.do(op, **parameters)
    assert desk.look().rules == ()
    desk.see()


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
MEMBERS = ("kind", "number", "on", "urgent", "ends", "note", "ticker", "of", "crosses", "at_dollars",
           "back_dollars", "least_dollars", "series", "percent", "begins", "zone")  # fmt: skip


def test_whatever_is_asked_is_done_or_refused_and_nothing_crashes(desk: Desk) -> None:
    @settings(max_examples=50)
    @given(
        st.sampled_from(["set_rule", "remove_rule", "set_quiet", "test", "alerts"]),
        st.dictionaries(st.sampled_from(["rule", "number", "quiet", "after"]), ANYTHING, max_size=2),
        st.dictionaries(st.sampled_from(MEMBERS), ANYTHING, max_size=4),
        st.sampled_from([None, *RULES]),
    )
    def ask(op: str, parameters: dict[str, Any], members: dict[str, Any], kind: str | None) -> None:
        if kind is not None:
            parameters |= {"rule": {**members, "kind": kind}, "quiet": members}
        parameters = {name: said for name, said in parameters.items() if name in _TAKES[op]}
        try:
            question = encode_map({"id": 1, "op": op, **parameters})
        except (OverflowError, ValueError):
            return  # cannot be encoded as a message
        before = len(desk.look().rules)
        (frame,) = desk.answers.answer(question, 0)
        answer = unpack_map(frame)
        assert answer["ok"] or answer["error"]["code"] == "bad_request", answer
        desk.see()
        assert abs(len(desk.look().rules) - before) <= 1

    ask()


_TAKES = {
    "set_rule": ("rule",), "remove_rule": ("number",), "set_quiet": ("quiet",), "test": ("number",),
    "alerts": ("after",),
}  # fmt: skip


def test_over_a_restart_rules_are_kept_and_nothing_is_sent_twice(desk: Desk) -> None:
    desk.do("set_rule", rule=PRICE)
    desk.cross()
    desk.post.over = [("phone", None)]
    desk.see(quotes=at_bid(6_500))
    desk.begin()
    assert len(desk.look().rules) == 1
    desk.see(quotes=at_bid(6_500))
    assert "phone" not in desk.post.orders
    assert desk.look().last == 1


def test_a_message_being_sent_at_a_kill_is_not_sent_again(desk: Desk) -> None:
    desk.do("set_rule", rule=PRICE)
    desk.cross()
    assert "phone" in desk.post.orders
    desk.begin()  # as after SIGKILL
    desk.see()
    assert "phone" not in desk.post.orders
    assert desk.look().messages[0].ways == {"phone": "uncertain"}


def test_a_way_that_fails_is_reported_and_retried(desk: Desk) -> None:
    desk.do("test")
    desk.see()
    desk.post.over = [("phone", "it answered 500")]
    desk.see()
    (way,) = desk.look().ways
    assert (way.state, way.error, way.waiting) == ("fails", "it answered 500", 1)
    desk.see(RETRY_MS)
    assert desk.post.orders["phone"].body == TEST


def test_urls_are_in_no_answer_and_no_file(desk: Desk) -> None:
    desk.ways = Ways((PHONE,), BEAT, ("urls, line 3: expected a URL",))
    desk.do("set_rule", rule=PRICE)
    desk.do("test")
    desk.see()
    desk.post.over = [("phone", "it answered 500")]
    desk.see()
    said = desk.raw({"op": "alerts"}) + repr(desk.caller.figures()).encode()
    files = [path.read_bytes() for path in (desk.folder / "alerts").iterdir()]
    assert SECRET.encode() not in b"".join([said, *files])
    assert desk.look().problems == ("urls, line 3: expected a URL",)


def test_without_apprise_the_page_works_and_says_so(desk: Desk) -> None:
    desk.begin(apprise=False)
    desk.do("test")
    desk.see()
    assert "phone" not in desk.post.orders
    assert desk.look().messages[0].ways == {}
    assert desk.look().problems == ("No alerts are sent: Apprise is not installed: " + to_install("alerts"),)


def test_the_heartbeat_is_sent_while_all_is_well_and_held_back_otherwise(desk: Desk) -> None:
    desk.see()
    assert desk.post.orders == {"heartbeat": Order("beat", BEAT.url)}
    desk.post.over = [("heartbeat", None)]
    desk.see()
    assert desk.look().heartbeat.state == "beats"
    desk.see(60_000, health=a_health(stale=True))
    assert desk.post.orders == {}
    assert desk.look().heartbeat.why == "the data is old"
    desk.see(60_000, trader=TraderSeen(answers=False, status=a_status()))
    assert desk.look().heartbeat.why == "the trader does not answer"
    desk.see()
    desk.post.over = [("heartbeat", "it answered 404")]
    desk.see()
    assert (desk.look().heartbeat.state, desk.look().heartbeat.why) == ("fails", "it answered 404")
    desk.see(5_000)
    assert "heartbeat" in desk.post.orders, "a failed beat is retried soon"


def test_what_the_heartbeat_requires() -> None:
    silent = TraderSeen()
    assert held_back(a_moment(trader=silent), "feed") is None
    assert held_back(a_moment(health=a_health(feed="lost")), "feed") == "nothing is heard from the publisher"
    assert held_back(a_moment(health=a_health(epoch=0)), "feed") == "there is no data yet"
    paused = TraderSeen(answers=True, status=a_status(state="paused"))
    assert held_back(a_moment(trader=paused), "trader") is None, "somebody paused it"
    halted = TraderSeen(answers=True, status=a_status(state="halted"))
    assert "journal" in (held_back(a_moment(trader=halted), "trader") or "")


def test_a_replay_sends_no_alerts(desk: Desk) -> None:
    desk.do("set_rule", rule=PRICE)
    desk.see(quotes=at_bid(5_000), health=a_health(source="replay"))
    desk.see(quotes=at_bid(6_500), health=a_health(source="replay"))
    assert desk.post.orders == {}
    assert REPLAY in desk.look().problems


def test_messages_dropped_because_too_many_wait_are_told_on_the_page_and_in_the_log(desk: Desk) -> None:
    def put(number: int) -> None:
        for _ in range(number):
            desk.do("test")

    desk.see()  # the first message is being sent from now on, and its way does not answer
    with capture_logs() as logged:
        put(WAITING_MOST + 2)
        assert desk.look().problems == (
            "The oldest 2 messages that were waiting had to be dropped: more than 1,000 waited.",
        )
        desk.see()
        put(3)
        desk.see()
        desk.see(DROPPED_LOG_MS)
        desk.see(DROPPED_LOG_MS)

    told = [entry["messages"] for entry in logged if entry["event"] == "alerts.dropped"]
    assert told == [2, 3], "once, and a minute later what has been dropped since"
    assert {figure.name: figure.value for figure in desk.caller.figures()}["alerts_undelivered"] == 5
    with capture_logs() as logged:
        desk.begin()
        desk.see()
    assert any("5 messages" in problem for problem in desk.look().problems), "after a restart, too"
    assert not [entry for entry in logged if entry["event"] == "alerts.dropped"]


def test_a_rule_that_cannot_be_saved_is_refused(desk: Desk) -> None:
    desk.do("set_rule", rule={"kind": "fill"})
    with capture_logs(), full_disk(), pytest.raises(Refusal, match=r"not changed: .*cannot be written"):
        desk.do("set_rule", rule=PRICE)
    assert len(desk.look().rules) == 1
    assert any("rules.json: cannot be written" in problem for problem in desk.look().problems)
    desk.see()
    assert desk.look().problems == (), "there is space again"


def test_a_full_disk_stops_no_alert(desk: Desk) -> None:
    desk.do("set_rule", rule=PRICE)
    with capture_logs(), full_disk():
        desk.cross()
    assert "phone" in desk.post.orders
    assert any("cannot be written" in problem for problem in desk.look().problems)


def test_two_threads_can_use_the_caller_at_once(desk: Desk) -> None:
    desk.caller.add_to(answers := Answers(lambda: None))
    numbers = []

    def commands() -> None:
        for _ in range(20):
            (frame,) = answers.answer(encode_map({"op": "set_rule", "id": 1, "rule": {"kind": "fill"}}), 0)
            numbers.append(unpack_map(frame)["number"])

    thread = threading.Thread(target=commands)
    thread.start()
    while thread.is_alive():
        desk.see(0)
    thread.join()
    assert numbers == list(range(1, 21))
    assert msgspec.json.decode((desk.folder / "alerts" / "rules.json").read_bytes())["last"] == 20
