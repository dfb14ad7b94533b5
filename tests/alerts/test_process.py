"""The process on a real feed, with a fake trader, sending to a real server."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from alerts.following import EVERYTHING, wanted_by
from bus.alerting import AlertsAnswer, DoneAnswer, EdgeRule, FillRule, PriceRule
from bus.ask import ask
from bus.clock import SystemClock
from bus.process.lifecycle import Stop
from bus.process.settings import Settings
from bus.protocol.answers import Answers
from bus.server import QueryServer
from bus.tools.doctor import alerts_well
from bus.trading.shapes import FillsAnswer, OrdersAnswer, SettlementsAnswer, Shape, told
from markets.errors import KalshiBusError
from tests.alerts.world import a_server
from tests.bus.trading.samples import a_fill, a_status, an_order
from tests.support import Process, Runner, eventually
from tests.ui.stage import MATCH, Stage, quote

TICKER = f"{MATCH}-VAN"
SECRET = "s3cr3tT0ken"
WAIT_S = 30.0


class Trader:
    """Gives set answers on the trader's control socket."""

    def __init__(self) -> None:
        self.said: dict[str, Shape] = {}
        self.say()

    def say(self, fills: int = 1, **changes: Any) -> None:
        self.said = {
            "status": a_status(fills=fills, **changes),
            "fills": FillsAnswer(fills=tuple(a_fill(id=number) for number in range(fills, 0, -1))),
            "orders": OrdersAnswer(orders=(an_order(),)),
            "settlements": SettlementsAnswer(settlements=()),
        }

    def add_to(self, answers: Answers) -> None:
        def add(op: str) -> None:
            answers.add(op, lambda _asked, _now_ms: msgspec.structs.asdict(self.said[op]), "limit")

        for op in self.said:
            add(op)


@contextmanager
def trading(context: Any, run_dir: Path) -> Iterator[Trader]:
    trader, answers, stop = Trader(), Answers(lambda: None), Stop()
    trader.add_to(answers)
    clock = SystemClock()
    server = QueryServer(
        context, f"ipc://{run_dir}/trader_control.sock", answers, clock.now_ms, "trader_control"
    )
    thread = threading.Thread(target=server.serve, args=(stop,))
    thread.start()
    try:
        yield trader
    finally:
        stop.set()
        thread.join()
        stop.close()


class Alerts:
    """The process and its socket."""

    def __init__(self, context: Any, runner: Runner, urls: str) -> None:
        self.context = context
        self.runner = runner
        self.urls = runner.folder / "urls"
        self.urls.touch(mode=0o600)
        self.urls.write_text(urls)
        runner.env["KALSHI_BUS_ALERTS_URLS"] = str(self.urls)
        runner.env["KALSHI_BUS_ALERTS_HEARTBEAT_S"] = "5"
        self.start()

    def start(self) -> None:
        self.process: Process = self.runner.start("alerts")
        eventually(lambda: self.look() is not None, WAIT_S, "it answers")

    def ask(self, op: str, **parameters: Any) -> dict[str, Any]:
        endpoint = f"ipc://{self.runner.run_dir}/alerts_control.sock"
        return ask(self.context, endpoint, {"op": op, "id": 1, **parameters}, 5_000)

    def do(self, op: str, **parameters: Any) -> int:
        return told(self.ask(op, **parameters), DoneAnswer).number

    def look(self) -> AlertsAnswer | None:
        try:
            return told(self.ask("alerts"), AlertsAnswer)
        except KalshiBusError:
            return None

    def problem_of(self, number: int) -> str | None:
        answer = self.look()
        assert answer is not None
        return next(row.problem for row in answer.rules if row.rule["number"] == number)


def test_rules_are_judged_on_the_feed_and_the_trader_and_alerted_once(
    stage: Stage,
    zmq_context: Any,
    runner: Runner,
) -> None:
    stage.open()
    stage.start_feed()
    stage.start_query()
    with a_server() as server, trading(zmq_context, runner.run_dir) as trader:
        place = f"127.0.0.1:{server.port}/{SECRET}"
        alerts = Alerts(zmq_context, runner, f"mine json://{place}\nheartbeat http://{place}-beat\n")
        price = alerts.do(
            "set_rule", rule={"kind": "price", "ticker": TICKER, "crosses": "above", "at_dollars": "0.6000"}
        )
        alerts.do("set_rule", rule={"kind": "fill"})
        alerts.do("set_rule", rule={"kind": "edge", "least_dollars": "1.000000"})
        alerts.do("set_rule", rule={"kind": "price", "ticker": "KXNONE-1", "at_dollars": "0.6000"})

        def messages() -> list[str]:
            return [body for body in server.bodies if body.startswith(f"/{SECRET} ")]

        def heard(*words: str) -> bool:
            text = " ".join(json.loads(body.partition(" ")[2])["message"] for body in messages())
            return all(word in text for word in words)

        eventually(lambda: alerts.problem_of(4) == "there is no market KXNONE-1", WAIT_S)
        eventually(lambda: heard("Vancouver vs Houston"), WAIT_S, "what is tradable is told")
        assert alerts.problem_of(price) is None
        eventually(lambda: f"/{SECRET}-beat " in server.bodies, WAIT_S, "the heart beats")

        stage.commit(quote(TICKER, (6_500, 100), (6_700, 100), stage.clock.now_ms()))
        trader.say(fills=2)
        eventually(lambda: heard("bid of YES is 65c, above 60c", "Filled: "), WAIT_S, "both are told")

        count = len(messages())
        alerts.process.kill()
        alerts.start()
        eventually(lambda: alerts.problem_of(price) is None and alerts.problem_of(2) is None, WAIT_S)
        trader.say(fills=3)
        eventually(lambda: len(messages()) > count, WAIT_S, "what is new is told")
        assert sum(body.count("above 60c") for body in messages()) == 1
        answer = alerts.look()
        assert answer is not None
        assert answer.messages[-1].ways == {"mine": "delivered"}
        assert alerts.process.stop(10) == 0

        outputs = "".join(process.output() for process in runner.processes)
        kept = b"".join(path.read_bytes() for path in (runner.folder / "data" / "alerts").iterdir())
        assert SECRET not in outputs
        assert SECRET.encode() not in kept + msgspec.msgpack.encode(answer)


def test_damaged_files_are_reported_and_do_no_harm(zmq_context: Any, runner: Runner) -> None:
    folder = runner.folder / "data" / "alerts"
    (runner.folder / "data").mkdir(mode=0o700)
    folder.mkdir(mode=0o700)
    for name in ("rules.json", "told.json"):
        (folder / name).write_bytes(b'{"rules": [{"kind": "\xff')
    alerts = Alerts(zmq_context, runner, "what is this\n")
    answer = alerts.look()
    assert answer is not None
    assert answer.rules == ()
    for problem, named in zip(answer.problems, ("rules.json", "told.json", "urls, line 1"), strict=True):
        assert named in problem
    assert alerts.do("set_rule", rule={"kind": "stale"}) == 1
    settings = Settings.load(runner.env, runner.folder)
    findings = [(one.ok, one.said) for one in alerts_well(zmq_context, settings)]
    assert findings[0] == (True, "1 rules, 0 ways out, heartbeat off")
    assert findings[1:] == [(False, problem) for problem in answer.problems]
    assert alerts.process.stop(10) == 0
    (silent,) = alerts_well(zmq_context, settings, 100)
    assert silent.ok is False


def test_only_what_rules_need_is_followed() -> None:
    price = PriceRule(number=1, ticker="KXNBA-1-A", at_dollars="0.5000")
    assert wanted_by([]).topics == ("ex.",)
    assert wanted_by([price, FillRule(number=2)]) == (("ex.", "md.KXNBA.", "md._."), False)
    edges = EdgeRule(number=3, least_dollars="1.000000", series="KXMLB")
    assert wanted_by([edges]) == (("ex.", "md.KXMLB.", "md._.", "ref."), True)
    assert wanted_by([price, EdgeRule(number=3, least_dollars="1.000000")]) == ((EVERYTHING,), True)
    assert wanted_by([EdgeRule(number=3, least_dollars="1.000000", on=False)]) == (("ex.",), False)
