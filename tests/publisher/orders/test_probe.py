"""The probe against the simulated exchange: it finds every switch as it is set, and leaves nothing behind."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.clock import Rng, SystemClock
from bus.process.lifecycle import Stop
from bus.process.locks import hold_role, private_dir
from bus.process.settings import Settings
from bus.trading.killswitch import KillSwitch
from markets.errors import StartupError
from markets.units import format_time, parse_count_e2, parse_price_e4
from publisher.orders.probe.__main__ import confirmed, wanted
from publisher.orders.probe.desk import Desk
from publisher.orders.probe.questions import questions
from publisher.orders.probe.report import Finding, Report, as_text, conduct, plan
from publisher.orders.probe.run import Wanted, probe
from publisher.orders.probe.talk import Ask, Pause, Talk, Told
from publisher.orders.probe.venue import Spot, Venue
from publisher.orders.steps import Reply
from publisher.orders.terms import account_name
from simulator.front.api import Api
from simulator.matching.orders import NewOrder, OrderSwitches, Outcome
from tests.support import child, eventually

from .served import Served, serve

T = TypeVar("T")

SCALAR = ("KXHIGHCHI", "KXHIGHNY")
"""Events that may be settled at parts of a dollar: 10.63 contracts pay parts of a cent then."""


class World:
    """A served exchange and the settings of whoever trades there."""

    def __init__(self, served: Served, folder: Path) -> None:
        self.served = served
        self.environ = {
            "KALSHI_BUS_RUN_DIR": str(folder / "run"),
            "KALSHI_BUS_DATA_DIR": str(folder / "data"),
            "KALSHI_BUS_SIM_PORT": str(served.port),
        }
        self.settings = Settings.of({}, self.environ, folder)[0]
        self.stop = Stop()
        self.lines: list[str] = []

    def probe(
        self,
        *only: str,
        confirm: Callable[[], bool] = lambda: False,
        say: Callable[[str], None] | None = None,
        **wanted: Any,
    ) -> Report:
        """Run a probe; it must come to its end and leave nothing."""
        asked = Wanted(**{"only": only, "yes": True, **wanted})
        heard = say if say is not None else self.lines.append
        code = probe(self.settings, asked, self.stop, SystemClock(), Rng(), confirm, heard)
        report = self.report()
        assert (code, report.left) == (0, None)
        assert self.served.resting() == []
        return report

    def report(self) -> Report:
        """The newest report."""
        files = sorted(
            (self.settings.data_dir / "probe").glob("*.json"), key=lambda path: path.stat().st_mtime_ns
        )
        return msgspec.json.decode(files[-1].read_bytes(), type=Report)

    def switch(self, **values: Any) -> None:
        self.served.local("/sim/switches", **values)


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[World]:
    with serve(folder / "run") as served:
        world = World(served, folder)
        yield world
        world.stop.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with opened(tmp_path_factory.mktemp("probe")) as world:
        yield world


@pytest.fixture
def new_world(tmp_path: Path) -> Iterator[World]:
    """An exchange of which nobody has asked or settled anything yet."""
    with opened(tmp_path) as world:
        yield world


@pytest.fixture(autouse=True)
def by_default(world: World) -> Iterator[None]:
    world.lines.clear()
    defaults = OrderSwitches()
    world.switch(**{name: getattr(defaults, name) for name in OrderSwitches.__slots__})
    world.switch(read_lag_ms=0)  # no test waits for lists, but those that say so
    world.served.does(lambda api: api.exchange.matching._caught_until_ms.clear())
    yield
    KillSwitch(world.settings.data_dir).clear()


def close_a_market(world: World) -> None:
    """Let an event close whose result is not known for a long time."""

    def event(api: Api) -> str:
        return next(m.event.ticker for m in api.exchange.markets.values() if m.ticker.startswith("KXU3MAX"))

    world.served.local("/sim/faults", settings={"stages": {world.served.does(event): "closed"}})


def settle_parts_of_a_cent(world: World) -> None:
    """Let the account hold contracts of an event that is settled at parts of a dollar."""
    world.served.local("/sim/faults", settings={"scalar_rate": 1.0})

    def buy(api: Api) -> str:
        markets = [m for m in api.exchange.markets.values() if m.event.ticker.startswith(SCALAR)]
        event = next(m.event for m in markets if m.status == "active" and m.ask_e2)
        for market in event.markets:
            order = NewOrder((1, 0), market, "bid", 9_900, 1_063, "immediate_or_cancel", "taker_at_cross")
            api.exchange.matching.place(order, api.exchange.now_ms)
        return event.ticker

    world.served.local("/sim/faults", settings={"stages": {world.served.does(buy): "settled"}})


def new_subaccount(world: World) -> None:
    world.served.does(lambda api: api.exchange.ledger.create_subaccount(1))


def nothing(_world: World) -> None:
    """Most questions need no more than the exchange as it is."""


FLIPPED: dict[str, tuple[str, Any, Callable[[World], None]]] = {
    "ioc_remaining_full": ("unfilled", True, nothing),
    "killed_fok_uses_id": ("killed", False, nothing),
    "reduce_only_without_position_refused": ("reduce_only", True, nothing),
    "group_triggers_when_met": ("group", True, nothing),
    "over_decrease_refused": ("over_decrease", True, nothing),
    "wrong_shard_cancel_404": ("wrong_shard", False, nothing),
    "balance_reduced_by_resting": ("balance_at_rest", True, nothing),
    "resting_value": ("admission", "max", nothing),
    "collateral_return": ("netting", True, new_subaccount),
    "amend_keeps_id": ("amend", False, nothing),
    "code_after_close": ("after_close", "market_closed", close_a_market),
    "client_order_id_scope": ("cancelled_id", "open_only", nothing),
    "user_orders_initial_snapshot": ("first_frames", True, nothing),
    "resting_before_immediate_fill": ("states_of_a_fill", True, nothing),
    "fill_before_trade": ("fill_and_trade", "last", nothing),
    "maker_cancel_before_fill": ("self_trade", False, nothing),
    "member": ("grid", "intermediary", nothing),
    "cancel_all_catches_later": ("cancel_all", True, nothing),
    "settle_whole_cents": ("settlements", False, settle_parts_of_a_cent),
}
"""Switch -> (the question that finds it, another value than its default, what must be so before)."""

OF_THEIR_OWN = {"read_lag_ms", "attestation_expires_s"}
"""Switches that are numbers."""


def test_every_switch_is_asked_for() -> None:
    assert set(FLIPPED) | OF_THEIR_OWN == set(OrderSwitches.__slots__)


@pytest.mark.parametrize("name", FLIPPED)
def test_a_flipped_switch_is_found(world: World, name: str) -> None:
    question, value, prepare = FLIPPED[name]
    world.switch(**{name: value})
    prepare(world)

    (found,) = world.probe(question).findings

    assert found.switch == {name: value}, found.did
    assert not found.as_assumed


def test_how_late_reads_are_is_measured(world: World) -> None:
    world.switch(read_lag_ms=0)
    (at_once,) = world.probe("read_lag").findings
    world.switch(read_lag_ms=400)
    (late,) = world.probe("read_lag").findings

    assert at_once.switch == {"read_lag_ms": 0}
    assert int(late.switch["read_lag_ms"]) > 0
    assert late.as_assumed


@pytest.mark.parametrize(("until_s", "answer"), [(1, "403 forbidden"), (4_000_000_000, "201")])
def test_an_attestation_is_read_and_tried(world: World, until_s: int, answer: str) -> None:
    world.switch(attestation_expires_s=until_s)

    (found,) = world.probe("attestation").findings

    assert answer in found.did
    assert (found.as_assumed, found.switch) == (True, {"attestation_expires_s": until_s})


@pytest.mark.parametrize(("scope", "setting"), [("recent_30d", "yes"), ("open_only", "no")])
def test_the_resend_follows_from_the_id_of_a_filled_order(world: World, scope: str, setting: str) -> None:
    world.switch(client_order_id_scope=scope)

    (found,) = world.probe("filled_id").findings

    assert f"KALSHI_BUS_GATEWAY_RESEND={setting}" in found.follows
    assert found.switch == {"client_order_id_scope": scope}


@pytest.mark.slow
def test_a_whole_probe_finds_the_exchange_as_it_is_assumed(new_world: World) -> None:
    world = new_world
    close_a_market(world)
    settle_parts_of_a_cent(world)
    new_subaccount(world)
    world.switch(read_lag_ms=400)

    report = world.probe()

    assert {found.question: found.did for found in report.findings if not found.as_assumed} == {}
    assert report.kept == {}
    defaults = OrderSwitches()
    measured = {"read_lag_ms": report.switches["read_lag_ms"]}
    assert report.switches == measured | {
        name: getattr(defaults, name) for name in OrderSwitches.__slots__ if name not in OF_THEIR_OWN
    }
    world.switch(**report.switches)  # what the report says can be set
    text = as_text(report)
    assert "0 otherwise, 0 unknown" in text
    key_id = (world.settings.run_dir / "sim_key_id").read_text().strip()
    assert all(key_id not in path.read_text() for path in (world.settings.data_dir / "probe").iterdir())


# -- what it may cost, and who is asked


def test_what_may_cost_more_than_is_allowed_is_left_out(world: World) -> None:
    report = world.probe("unfilled", "admission", most_e6=1_000_000)

    asked = {found.question: found.as_assumed for found in report.findings}
    assert asked == {"admission": None, "unfilled": True}
    assert float(report.most) <= 1


def test_nothing_is_placed_before_it_was_confirmed(world: World) -> None:
    before = world.served.does(lambda api: len(api.exchange.matching.orders[1]))

    with pytest.raises(StartupError, match="not confirmed: nothing was placed"):
        world.probe(yes=False)

    assert "costs at most $" in world.lines[0].replace("\n", " ")
    assert world.served.does(lambda api: len(api.exchange.matching.orders[1])) == before


def test_yes_is_not_taken_from_the_command_line_where_orders_are_real(world: World, tmp_path: Path) -> None:
    environ = world.environ | {
        "KALSHI_BUS_ENV": "demo",
        "KALSHI_BUS_API_URL": f"{world.served.root}/trade-api/v2",
        "KALSHI_API_KEY_ID": (world.settings.run_dir / "sim_key_id").read_text().strip(),
        "KALSHI_PRIVATE_KEY_PATH": str(world.settings.run_dir / "sim_private_key.pem"),
        "KALSHI_BUS_WS_URL": f"{world.served.root.replace('http', 'ws')}/trade-api/ws/v2",
    }
    settings = Settings.of({}, environ, tmp_path)[0]

    def run(wanted: Wanted, confirm: Callable[[], bool]) -> int:
        return probe(settings, wanted, world.stop, SystemClock(), Rng(), confirm, world.lines.append)

    with pytest.raises(StartupError, match="yes must be typed"):
        run(Wanted(yes=True), lambda: True)
    with pytest.raises(StartupError, match="not confirmed"):
        run(Wanted(), lambda: False)
    assert run(Wanted(only=("unfilled", "admission")), lambda: True) == 0
    assert (
        "admission" in world.lines[0] or "admission" in world.lines[1]
    )  # more than the 20 dollars by default


def test_a_name_that_is_no_question_is_refused(world: World) -> None:
    with pytest.raises(StartupError, match=r"--only: got 'nonsense', expected some of: signatures, "):
        world.probe("nonsense")


# -- who else is there


def test_it_does_not_run_beside_the_gateway_of_the_account(world: World) -> None:
    exchange_id = world.served.does(lambda api: api.exchange_id)
    key_id = (world.settings.run_dir / "sim_key_id").read_text().strip()
    folder = private_dir(world.settings.data_dir / f"orders-sim-{account_name(key_id)}-{exchange_id[:8]}")

    with (
        hold_role(folder, "gateway"),
        pytest.raises(StartupError, match=rf"the order gateway of this account runs \(pid {os.getpid()}\)"),
    ):
        world.probe("unfilled")


def test_it_does_not_run_beside_the_watchdog(world: World) -> None:
    with (
        hold_role(world.settings.run_dir, "watchdog"),
        pytest.raises(StartupError, match="the watchdog runs"),
    ):
        world.probe("unfilled")


def test_killed_before_it_begins_nothing_is_asked(world: World) -> None:
    KillSwitch(world.settings.data_dir).set("enough")

    with pytest.raises(StartupError, match=r"trading is killed \(enough\)"):
        world.probe()


def test_killed_meanwhile_it_places_nothing_more_and_cancels_what_rests(world: World) -> None:
    def say(line: str) -> None:
        if line.startswith("unfilled"):
            KillSwitch(world.settings.data_dir).set("enough")

    report = world.probe("unfilled", "cancelled_id", "amend", say=say)

    assert [found.as_assumed for found in report.findings] == [True, None, None]
    assert "killed (enough)" in report.findings[1].did
    after = report.exchanged[
        [e.request for e in report.exchanged].index("POST /portfolio/events/orders") + 1 :
    ]
    assert all(exchanged.request.startswith(("GET", "DELETE")) for exchanged in after)


def test_orders_that_others_have_are_left_alone(world: World) -> None:
    def place(api: Api) -> str:
        market = next(m for m in api.exchange.markets.values() if m.status == "active" and m.bid_e2)
        order = NewOrder((1, 0), market, "bid", 100, 100, "good_till_canceled", "taker_at_cross", "by-hand")
        outcome = api.exchange.matching.place(order, api.exchange.now_ms)
        assert isinstance(outcome, Outcome)
        return outcome.order.order_id

    order_id = world.served.does(place)
    code = probe(
        world.settings,
        Wanted(only=("cancelled_id", "cancel_all"), yes=True),
        world.stop,
        SystemClock(),
        Rng(),
        lambda: False,
        world.lines.append,
    )

    assert code == 0
    assert world.served.resting() == ["by-hand"]
    assert [found.as_assumed for found in world.report().findings] == [True, None]
    world.served.does(lambda api: api.exchange.matching.cancel(1, order_id, api.exchange.now_ms))


@pytest.mark.slow
def test_what_it_placed_is_over_by_itself_when_it_is_killed_between(world: World) -> None:
    world.switch(read_lag_ms=5_000)  # so long an order rests that is looked for
    command = [sys.executable, "-m", "publisher.orders.probe", "--yes", "--only", "read_lag"]
    with child(command, env=os.environ | world.environ, stdout=subprocess.DEVNULL):
        eventually(world.served.resting, 20)
    assert world.served.resting() != []

    world.served.does(lambda api: api.exchange.advance(api.exchange.now_ms + 30_000))

    assert world.served.resting() == []


# -- without an exchange


class Script:
    """An exchange of words alone: answers what it is told to, and never lets a request rest."""

    def __init__(self, answer: Callable[[Ask, int], Reply]) -> None:
        self.now_ms = 1_795_000_000_000
        self.asked: list[Ask] = []
        self._answer = answer

    def drive(self, talk: Talk[T]) -> T:
        try:
            step = next(talk)
            while True:
                self.now_ms += step.ms if isinstance(step, Pause) else 7
                told = Told(self.now_ms)
                if isinstance(step, Ask):
                    self.asked.append(step)
                    told = Told(self.now_ms, self._answer(step, self.now_ms))
                step = talk.send(told)
        except StopIteration as end:
            result: T = end.value
            return result


SPOT = Spot("KX-1", 2, "Sports", 3_000, 3_300, 10_000, False)
VENUE = Venue(SPOT, SPOT, SPOT, SPOT, ("KX-2", 0), {2: 9_000_000}, {}, 1_795_000_000_000)


def body(**members: Any) -> bytes:
    return msgspec.json.encode(members)


def lists(at_ms: int, step: Ask) -> Reply | None:
    if step.asked.what == "moment":
        return Reply(200, body(as_of_time=format_time(at_ms - 300)))
    return Reply(200, body(orders=[], cursor="")) if step.asked.what == "resting" else None


def test_an_order_without_an_answer_is_looked_for_as_long_as_it_may_still_arrive() -> None:
    def answer(step: Ask, now_ms: int) -> Reply:
        return lists(now_ms, step) or Reply(None, trouble="timeout")

    script, desk = Script(answer), Desk(lambda: "probe-1")
    script.drive(desk.place(SPOT))
    lost_ms = script.now_ms

    assert script.drive(desk.prove()) is None
    assert 30_000 < script.now_ms - lost_ms < 31_000


def test_what_a_list_shows_is_cancelled_and_what_it_goes_on_showing_is_said() -> None:
    ours = {"order_id": "o", "client_order_id": "probe-1", "ticker": "KX-1", "exchange_index": 2}
    other = {"order_id": "x", "client_order_id": "other", "ticker": "KX-1", "exchange_index": 2}

    def answer(step: Ask, now_ms: int) -> Reply:
        if step.asked.what == "resting":
            return Reply(200, body(orders=[ours, other], cursor=""))
        return lists(now_ms, step) or Reply(500)

    script, desk = Script(answer), Desk(lambda: "probe-1")
    script.drive(desk.place(SPOT))

    left = script.drive(desk.prove())

    assert left is not None
    assert "1 still listed" in left
    cancels = {step.asked.path for step in script.asked if step.asked.method == "DELETE"}
    assert cancels == {"/portfolio/events/orders/o"}


answers = st.sampled_from(
    [
        Reply(None, trouble="timeout"),
        Reply(500, b"<html>"),
        Reply(400, body(error={"code": "invalid_order", "message": "no"})),
        Reply(409, body(error={"code": "order_already_exists", "message": "no"})),
        Reply(404, body(error={"code": "not_found", "message": "no"})),
        Reply(201, body(order_id="o", fill_count="0.00", remaining_count="1.00", ts_ms=1)),
        Reply(201, body(order_id="p", fill_count="0.01", remaining_count="0.00")),
        Reply(200, body(order_id=None, balance_dollars="-1", balance_breakdown=[None, {"balance": "1e3"}])),
        Reply(200, body(balance_breakdown=[{"exchange_index": 2, "balance": "8.99"}])),
        Reply(200, b"\xff\xfe"),
        Reply(201, b"[]"),
        Reply(204),
        Reply(401, body(error={"code": "authentication_error", "message": "no"})),
    ]
)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_is_answered_each_question_ends_and_no_order_stays_longer_than_it_may(
    data: st.DataObject,
) -> None:
    def answer(step: Ask, now_ms: int) -> Reply:
        return lists(now_ms, step) or data.draw(answers)

    script, desk = Script(answer), Desk(iter(map(str, range(1_000_000))).__next__)
    found: list[Finding] = []
    every = questions(0)
    chosen = plan(every, (), VENUE, None)

    script.drive(conduct(chosen, VENUE, desk, found.append))

    assert {finding.question for finding in found} == {question.name for question in every}
    at_stake_e6 = 0
    for step in script.asked:
        if step.asked.what == "create":
            order = msgspec.json.decode(step.asked.body)
            price_e4, count_e2 = parse_price_e4(order["price"]), parse_count_e2(order["count"])
            if order["time_in_force"] == "good_till_canceled":
                assert order["expiration_time"] * 1000 <= script.now_ms + 30_000
                assert order["post_only"]
            if not order.get("reduce_only") or order["side"] == "bid":
                at_stake_e6 += count_e2 * (price_e4 if order["side"] == "bid" else 10_000 - price_e4)
    assert at_stake_e6 <= chosen.most_e6


def test_without_a_terminal_nobody_has_typed_yes() -> None:
    assert not confirmed()


@pytest.mark.parametrize("text", ["-1", "nan", "1e99", "0.0000001", "twenty", ""])
def test_an_amount_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(SystemExit):
        wanted(["--most", text])
