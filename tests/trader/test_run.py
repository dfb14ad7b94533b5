"""The whole trader on real sockets: a feed in, orders into the journal, answers and fair values out."""

import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from bus.ask import NoAnswer, ask
from bus.clock import SystemClock
from bus.process.lifecycle import Stop
from bus.process.settings import Settings
from bus.protocol.messages import CycleEnd, PublisherHealth
from bus.protocol.writer import Writer
from bus.replica import Replica
from bus.server import FeedServer
from bus.trading.killswitch import WORD, KillSwitch
from markets.errors import StartupError
from markets.opportunities import EventView
from markets.records import ExchangeStatus, FairValue
from tests.bus.heard import a_server
from tests.bus.scan.changes import changes_of
from tests.support import ROOT, eventually
from tests.trader.brokers.fake_gateway import FakeGateway, served
from tests.trader.world import NOW_MS, basket, event_of, quiet, settled
from trader.engine.inputs import Values
from trader.engine.replay import replay
from trader.journal.reader import Reader
from trader.run import run
from trader.worker import WISH_TTL_S

Context = zmq.Context[zmq.Socket[bytes]]


class WorldClock(SystemClock):
    """Runs like the system's, but in the days of tests/trader/world.py."""

    def __init__(self) -> None:
        self._ahead_ns = NOW_MS * 1_000_000 - super().now_ns()

    def now_ns(self) -> int:
        return super().now_ns() + self._ahead_ns

    def now_ms(self) -> int:
        return self.now_ns() // 1_000_000


class Publisher:
    """A publisher without an exchange: `commit` publishes events whose prices were seen just now."""

    def __init__(self, context: Context, folder: Path) -> None:
        self.clock = WorldClock()
        self.stop = Stop()
        self.feed = f"ipc://{folder}/feed.sock"
        self.state = f"ipc://{folder}/snapshots.sock"
        self.writer = Writer(self.clock.now_ms())
        self._made = threading.Event()
        self._context = context
        self._thread = threading.Thread(target=self._serve, name="publisher")
        self._thread.start()
        assert self._made.wait(30)

    def _serve(self) -> None:
        self.server = FeedServer(self._context, self.feed, self.state, self.clock, PublisherHealth)
        self.server.open(self.writer)
        self._made.set()
        self.server.serve(self.stop)

    def commit(self, *views: EventView) -> None:
        now_ms = self.clock.now_ms()
        changes = [change for view in views for change in changes_of(view)]
        changes.append(("ex.", "exchange", [ExchangeStatus(True, True, None, (), now_ms)]))
        cycle = CycleEnd(0, 0, 0, 0, True, now_ms, now_ms, as_of_ms=now_ms, complete_ms=now_ms)
        done = threading.Event()

        def job(server: FeedServer) -> None:
            server.send(self.writer.commit(changes, cycle, now_ms * 1_000_000, now_ms * 1_000_000))
            done.set()

        self.server.submit(job)
        assert done.wait(30)

    def close(self) -> None:
        self.stop.set()
        self._thread.join()
        self.stop.close()


class Trader:
    """The trader in threads of this process."""

    def __init__(self, folder: Path, publisher: Publisher, env: dict[str, str]) -> None:
        self.settings = Settings.load(
            {
                "KALSHI_BUS_RUN_DIR": str(folder),
                "KALSHI_BUS_DATA_DIR": str(folder / "data"),
                "KALSHI_BUS_FEED": publisher.feed,
                "KALSHI_BUS_QUERY": publisher.state,
                "KALSHI_BUS_STRATEGIES": "no_basket",
                "KALSHI_BUS_PAPER_LATENCY_MS": "50",
                "KALSHI_BUS_MODE": "paper",
                **env,
            },
            folder,
        )
        self.stop = Stop()
        self.code: int | None = None
        self._clock = publisher.clock
        self._thread = threading.Thread(target=self._run, name="trader")
        self._thread.start()

    def _run(self) -> None:
        self.code = run(self.settings, self.stop, self._clock, lambda: random.Random(3))

    def close(self) -> None:
        self.stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()
        self.stop.close()


@pytest.fixture
def publisher(zmq_context: Context, short_dir: Path) -> Iterator[Publisher]:
    publisher = Publisher(zmq_context, short_dir)
    yield publisher
    publisher.close()


@pytest.fixture
def start(publisher: Publisher, short_dir: Path) -> Iterator[Callable[..., Trader]]:
    started: list[Trader] = []

    def make(**env: str) -> Trader:
        started.append(Trader(short_dir, publisher, env))
        return started[-1]

    yield make
    for trader in started:
        if trader.code is None:
            trader.close()


@pytest.fixture
def question(zmq_context: Context, short_dir: Path) -> Callable[..., dict[str, Any]]:
    def put(op: str, **parameters: Any) -> dict[str, Any]:
        try:
            return ask(
                zmq_context, f"ipc://{short_dir}/trader_control.sock", {"op": op, "id": 1, **parameters}
            )
        except NoAnswer:
            return {}

    return put


Question = Callable[..., dict[str, Any]]


def now_basket(publisher: Publisher, number: int = 1) -> EventView:
    return basket(number, as_of_ms=publisher.clock.now_ms())


def test_it_trades_on_what_the_feed_says_and_answers_for_it(
    publisher: Publisher, start: Callable[..., Trader], question: Question
) -> None:
    trader = start()
    publisher.commit(quiet(2, as_of_ms=publisher.clock.now_ms()))
    eventually(lambda: question("status").get("state") == "running")

    publisher.commit(now_basket(publisher))
    eventually(lambda: question("status").get("fills"))
    status = question("status")

    assert (status["positions"], status["open_orders"], status["orders"]) == (3, 0, 3)
    assert status["latency_ms"]["count"] == 3
    assert status["reconciled"] is True
    positions = question("positions")["positions"]
    assert {one["side"] for one in positions} == {"no"}
    assert positions[0]["average_price_dollars"] == "0.6000"
    assert positions[0]["bid_dollars"] == "0.5800"
    orders = question("orders", limit=2)["orders"]
    assert [one["number"] for one in orders] == [3, 2]
    assert orders[0]["status"] == "filled"
    assert [one["number"] for one in question("orders", before=2)["orders"]] == [1]
    fills = question("fills")["fills"]
    assert {one["order"] for one in fills} == {1, 2, 3}
    points = eventually(lambda: question("equity")["points"])
    assert points[-1]["equity_dollars"] == status["equity_dollars"]

    publisher.commit(settled(basket(), "HOM"))
    eventually(lambda: question("status")["settlements"] == 3)
    assert {one["result"] for one in question("settlements")["settlements"]} == {"yes", "no"}

    trader.close()
    assert trader.code == 0
    reader = Reader(trader.settings.data_dir / "trader-paper-sim-paper.sqlite")
    assert replay(reader.inputs(1)).differs_at is None
    reader.ledger().check()
    reader.close()


def test_what_it_holds_is_wished_for_at_the_publisher(
    zmq_context: Context,
    publisher: Publisher,
    start: Callable[..., Trader],
    question: Question,
    short_dir: Path,
) -> None:
    with a_server(zmq_context, f"ipc://{short_dir}/state.sock") as heard:
        start()
        publisher.commit(now_basket(publisher))
        eventually(lambda: question("status").get("fills"))
        held = sorted(one["ticker"] for one in question("positions")["positions"])
        eventually(lambda: len(heard) >= 2)
    assert heard[:2] == [(held, WISH_TTL_S, "book"), (held, WISH_TTL_S, "market")]


def test_pause_resume_and_kill_from_the_socket(
    publisher: Publisher, start: Callable[..., Trader], question: Question, short_dir: Path
) -> None:
    trader = start()
    publisher.commit(quiet(2, as_of_ms=publisher.clock.now_ms()))
    eventually(lambda: question("status").get("state") == "running")

    assert question("pause", reason="lunch")["state"] == "paused"
    publisher.commit(now_basket(publisher))
    assert question("resume")["state"] == "running"
    assert question("kill", reason="enough")["state"] == "killed"
    assert KillSwitch(short_dir / "data").read() is not None
    assert question("resume")["error"]["code"] == "bad_request"
    assert question("resume", word="please")["error"]["code"] == "bad_request"
    trader.close()

    start()
    eventually(lambda: question("status").get("state") == "killed")
    publisher.commit(now_basket(publisher, 3))
    assert question("status")["killed"]["reason"] == "enough"
    assert question("resume", word=WORD)["state"] in ("running", "stale", "starting", "gap")
    assert KillSwitch(short_dir / "data").read() is None
    publisher.commit(now_basket(publisher, 3))
    eventually(lambda: question("status")["positions"] >= 3)


def test_bad_questions_get_an_answer_each(
    publisher: Publisher, start: Callable[..., Trader], question: Question
) -> None:
    start()
    eventually(lambda: question("status").get("ok"))

    bad: list[tuple[str, dict[str, Any]]] = [
        ("orders", {"limit": 0}),
        ("orders", {"limit": True}),
        ("fills", {"before": "x"}),
        ("equity", {"since": -1}),
        ("pause", {"reason": 7}),
        ("kill", {"reason": 7}),
        ("status", {"verbose": 1}),
    ]
    for op, parameters in bad:
        assert question(op, **parameters)["error"]["code"] == "bad_request", (op, parameters)
    assert question("buy")["error"]["code"] == "unknown_op"
    assert question("status")["state"] != "killed"


def test_fair_values_reach_a_replica_of_the_traders_own_feed(
    publisher: Publisher, start: Callable[..., Trader], short_dir: Path, zmq_context: Context
) -> None:
    path = short_dir / "mine.csv"
    ticker = f"{event_of().event_ticker}-HOM"
    path.write_text(f"ticker,probability,margin\n{ticker},0.7,0.01\n{ticker}X,0.5,\n")
    trader = start(KALSHI_BUS_FAIR_VALUES_FILE=str(path), KALSHI_BUS_STRATEGIES="value")
    heard: list[Any] = []
    replica = Replica(
        zmq_context,
        trader.settings.trader_events,
        trader.settings.trader_control,
        SystemClock(),
        random.Random(1),
        listener=heard.extend,
    )
    replica.start()
    try:
        values = eventually(lambda: replica.state.fair_values)
        assert values[ticker] == FairValue(ticker, 0.7, "file", values[ticker].as_of_ms, 0.01)
        path.write_text(f"ticker,probability,margin\n{ticker},0.8,0.01\n")
        eventually(lambda: [one.probability for one in replica.state.fair_values.values()] == [0.8])
        assert replica.status().stats.digest_mismatches == 0
        assert heard
    finally:
        replica.stop()


MINE = """
import os
from pathlib import Path
from trader.extensions.params import Parameters
from trader.fair_values import Estimator


class Mine(Estimator):
    name = "mine"
    every_s = 0.1

    class Params(Parameters, frozen=True, kw_only=True):
        share: float
        dies: str

    def values(self, bus):
        print("this goes to the log")
        if (told := Path(self.params.dies)).exists():
            told.unlink()
            os._exit(5)
        return {ticker: self.params.share for ticker in bus.quotes()}
"""


def test_a_source_of_ones_own_runs_in_a_process_of_its_own_and_what_it_believes_is_published(
    publisher: Publisher,
    start: Callable[..., Trader],
    short_dir: Path,
    question: Question,
    zmq_context: Context,
) -> None:
    path, dies, own = short_dir / "mine.py", short_dir / "dies", short_dir / "own.csv"
    path.write_text(MINE)
    ticker = f"{event_of(2).event_ticker}-HOM"
    own.write_text(f"ticker,probability\n{ticker},0.25\n")
    trader = start(
        KALSHI_BUS_FAIR_VALUES=f"{path}:Mine(share=0.75, dies={str(dies)!r})",
        KALSHI_BUS_FAIR_VALUES_FILE=str(own),
    )
    publisher.commit(quiet(2, as_of_ms=publisher.clock.now_ms()))

    def source() -> dict[str, Any]:
        (status,) = question("status")["fair_values"]["sources"]
        return dict(status)

    eventually(lambda: question("status").get("ok"), 20)
    eventually(lambda: source()["values"] == 3, 20)
    assert (source()["name"], source()["state"], source()["failures"]) == ("mine", "answers", 0)
    # Of a market that both know of, the file holds.
    replica = Replica(
        zmq_context,
        trader.settings.trader_events,
        trader.settings.trader_control,
        SystemClock(),
        random.Random(1),
    )
    replica.start()
    try:
        assert replica.wait(lambda replica: len(replica.state.fair_values) == 3, 30)
        held = dict(replica.state.fair_values)
    finally:
        replica.stop()
    assert {one.source: one.probability for one in held.values()} == {"mine": 0.75, "file": 0.25}
    assert held[ticker].source == "file"

    dies.touch()
    eventually(lambda: source()["restarts"] == 1 and source()["state"] == "answers", 30)
    assert source()["values"] == 3
    trader.close()
    reader = Reader(trader.settings.data_dir / "trader-paper-sim-paper.sqlite")
    inputs = [taken for _, taken, _ in reader.inputs(1) if isinstance(taken, Values)]
    assert {value.source for taken in inputs for value in taken.set} == {"mine", "file"}
    assert replay(reader.inputs(1)).differs_at is None
    reader.close()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nobody", "got a text (6 characters, hidden), expected any of elo, file, mixture"),
        ("file", "Object missing required field `path`"),
        ("file(path='x.txt')", "expected a .csv or .json file"),
        ("{}/mine.py:Mine(share='x', dies='')", "Expected `float`, got `str` - at `$.share`"),
        ("{}/none.py:Mine", "none.py: cannot be read"),
        ("{}/raises.py:Mine", "raises.py:2: cannot be imported: ZeroDivisionError"),
        ("{}/consensus.py:Mine(share=0.5, dies='')", "two sources named 'consensus'"),
    ],
)
def test_a_source_that_cannot_be_loaded_refuses_the_start(short_dir: Path, text: str, says: str) -> None:
    for name, source in (
        ("mine.py", MINE),
        ("raises.py", "\n1 / 0\n"),
        ("consensus.py", MINE.replace('"mine"', '"consensus"')),
    ):
        (short_dir / name).write_text(source)
    settings = Settings.load(
        {
            "KALSHI_BUS_RUN_DIR": str(short_dir),
            "KALSHI_BUS_DATA_DIR": str(short_dir / "data"),
            "KALSHI_BUS_FAIR_VALUES": text.format(short_dir),
        },
        short_dir,
    )
    stop = Stop()

    with pytest.raises(StartupError) as caught:
        run(settings, stop)

    stop.close()
    assert str(caught.value).startswith("KALSHI_BUS_FAIR_VALUES: ")
    assert says in str(caught.value)


def test_the_example_of_a_strategy_trades(
    publisher: Publisher, start: Callable[..., Trader], short_dir: Path, question: Question
) -> None:
    own = short_dir / "own.csv"
    narrow, wide = (f"{event_of(number).event_ticker}-HOM" for number in (1, 2))
    as_of = "2027-01-15T08:00:00Z"  # of world.NOW_MS
    own.write_text(f"ticker,probability,as_of\n{narrow},0.9,{as_of}\n{wide},0.9,{as_of}\n")
    example = ROOT / "examples" / "strategy.py"
    start(
        KALSHI_BUS_STRATEGIES=f"no_basket, {example}:NarrowValue(max_spread_e4=300)",
        KALSHI_BUS_FAIR_VALUES_FILE=str(own),
    )
    eventually(lambda: question("status").get("fair_values", {}).get("file", {}).get("values") == 2)

    # Asks are 0.06 above the bids in a quiet event, 0.02 in one of low bids.
    now_ms = publisher.clock.now_ms()
    publisher.commit(quiet(2, as_of_ms=now_ms), basket(1, as_of_ms=now_ms, bid_e4=3_000))

    eventually(lambda: question("status")["fills"])
    orders = question("orders")["orders"]
    assert {(order["ticker"], order["strategy"]) for order in orders} == {(narrow, "narrow_value")}


def test_the_example_of_a_source_believes_in_averages(
    publisher: Publisher, start: Callable[..., Trader], question: Question, zmq_context: Context
) -> None:
    trader = start(KALSHI_BUS_FAIR_VALUES=f"{ROOT / 'examples' / 'source.py'}:Average(margin=0.05)")
    publisher.commit(quiet(1, as_of_ms=publisher.clock.now_ms()))
    eventually(lambda: question("status").get("ok"), 20)

    replica = Replica(
        zmq_context,
        trader.settings.trader_events,
        trader.settings.trader_control,
        SystemClock(),
        random.Random(1),
    )
    replica.start()
    try:
        assert replica.wait(lambda replica: len(replica.state.fair_values) == 3, 30)
        held = set(replica.state.fair_values.values())
    finally:
        replica.stop()
    assert {(value.probability, value.source, value.margin) for value in held} == {(0.33, "average", 0.05)}


def test_it_stops_while_it_waits_for_a_feed(
    zmq_context: Context, short_dir: Path, question: Question
) -> None:
    nobody = Publisher(zmq_context, short_dir)
    nobody.close()
    trader = Trader(short_dir, nobody, {})
    eventually(lambda: question("status").get("state") == "starting")
    trader.close()
    assert trader.code == 0


def test_it_waits_for_the_order_gateway_and_says_so(
    publisher: Publisher, short_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trader = Trader(short_dir, publisher, {"KALSHI_BUS_MODE": "sim"})
    said: list[str] = []

    def waits() -> bool:
        said.append(capsys.readouterr().out)
        return "gateway.waited_for" in "".join(said)

    eventually(waits)
    trader.close()
    assert trader.code == 0


def test_it_trades_through_an_order_gateway(
    publisher: Publisher,
    start: Callable[..., Trader],
    question: Question,
    zmq_context: Context,
    short_dir: Path,
) -> None:
    gateway = FakeGateway()
    gateway.now_ms = publisher.clock.now_ms
    endpoint = f"ipc://{short_dir}/orders.sock"
    with served(zmq_context, endpoint, gateway):
        start(KALSHI_BUS_MODE="sim", KALSHI_BUS_LIMIT_POSITIONS_PER_EVENT="1")
        publisher.commit(quiet(2, as_of_ms=publisher.clock.now_ms()))
        eventually(lambda: question("status").get("state") == "running")
        assert question("status")["account"] == "key-1"

        publisher.commit(now_basket(publisher))
        eventually(lambda: question("status").get("fills") == 3)
    eventually(lambda: "no_gateway" in question("status")["reasons"])
    with served(zmq_context, endpoint, gateway):
        eventually(lambda: question("status")["state"] != "no_gateway")
        publisher.commit(now_basket(publisher, 3))
        eventually(lambda: question("status").get("fills") == 6)
    status = question("status")
    assert status["reconciled"]
    assert int(status["cash_dollars"].replace(".", "")) == gateway.cash_e6[0]


def test_a_taken_socket_refuses_the_start_and_frees_the_journal(
    publisher: Publisher, start: Callable[..., Trader], question: Question, short_dir: Path
) -> None:
    (short_dir / "trader_control.sock").write_text("not a socket")
    settings = Settings.load(
        {
            "KALSHI_BUS_RUN_DIR": str(short_dir),
            "KALSHI_BUS_DATA_DIR": str(short_dir / "data"),
            "KALSHI_BUS_MODE": "paper",
        },
        short_dir,
    )
    stop = Stop()
    with pytest.raises(StartupError, match="TRADER_CONTROL"):
        run(settings, stop)
    stop.close()

    (short_dir / "trader_control.sock").unlink()
    start()
    eventually(lambda: question("status").get("ok"))
