"""The whole publisher on real sockets: a small exchange on one side, a replica on the other."""

import json
import signal
import threading
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest
import zmq
from cryptography.hazmat.primitives.asymmetric import rsa

from bus.ask import ask
from bus.clock import SystemClock
from bus.process.settings import Settings
from bus.protocol.messages import PublisherHealth
from bus.replica import Replica
from markets.errors import StartupError
from publisher.kalshi import client
from tests.bus.trading.disk import full_disk
from tests.publisher.exchange import BROKEN, HTML, Answer, FakeExchange, candle, event, market, on, write_key
from tests.publisher.running import Running
from tests.publisher.running import exchange as exchange  # noqa: PLC0414  a fixture
from tests.publisher.running import settings as settings  # noqa: PLC0414  a fixture
from tests.support import Runner, eventually

pytestmark = pytest.mark.slow


Start = Callable[[], Running]


@pytest.fixture
def start(settings: Settings) -> Iterator[Start]:
    running: list[Running] = []

    def begin() -> Running:
        running.append(Running(settings))
        return running[-1]

    yield begin
    for one in running:
        one.stop()


@pytest.fixture
def replica(settings: Settings, zmq_context: zmq.Context[Any]) -> Iterator[Replica]:
    made = Replica(zmq_context, settings.feed, settings.state, SystemClock(), Random(1))
    made.start()
    yield made
    made.stop()


def health(replica: Replica) -> PublisherHealth:
    """What the publisher last said of itself."""
    return replica.heartbeat.publisher if replica.heartbeat else PublisherHealth()


def wait(replica: Replica, predicate: Callable[[], object]) -> None:
    assert replica.wait(lambda _: bool(predicate()), 30)


def live(replica: Replica) -> bool:
    """Whether it follows, and has been told how the publisher is."""
    return replica.status().live and len(replica.state.markets) == 3 and replica.heartbeat is not None


def test_replica_gets_markets_reference_data_books_and_changes_exactly(
    exchange: FakeExchange, settings: Settings, start: Start, replica: Replica, zmq_context: zmq.Context[Any]
) -> None:
    start()
    wait(replica, lambda: live(replica) and len(replica.state.books) == 3)
    assert set(replica.state.events) == {"E1", "E2"}
    assert set(replica.state.series) == {"S1", "S2"}
    assert replica.state.exchange[""].trading_active

    exchange.events["E1"]["markets"][0]["yes_bid_size_fp"] = "77.00"
    wait(replica, lambda: replica.state.quotes["E1-A"].yes_bid_size_e2 == 7700)

    def same() -> bool:
        answer = ask(zmq_context, settings.state, {"op": "digest", "id": 1})
        with replica.state.lock:
            mine = (replica.state.epoch, replica.state.seq, f"{replica.state.digest():016x}")
        return mine == (answer["epoch"], answer["seq"], answer["digest"])

    eventually(same)
    assert replica.status().stats.gaps == 0


def test_books_of_one_event_come_in_one_message(
    exchange: FakeExchange, start: Start, zmq_socket: Callable[..., Any], settings: Settings
) -> None:
    start()
    subscriber = zmq_socket(zmq.SUB)
    subscriber.subscribe(b"md.S1.")
    subscriber.connect(settings.feed)

    def book_message() -> bool:
        body = subscriber.recv().partition(b"\0")[2]
        return b"book" in body and b"E1-A" in body and b"E1-B" in body

    eventually(book_message)


def test_book_that_is_not_kept_fresh_is_removed(
    exchange: FakeExchange, start: Start, replica: Replica
) -> None:
    start()
    wait(replica, lambda: len(replica.state.books) == 3)

    exchange.events["E2"]["markets"][0]["status"] = "closed"

    wait(replica, lambda: set(replica.state.books) == {"E1-A", "E1-B"})
    assert "E2-A" in replica.state.markets


def test_broken_key_stops_the_sweeps_and_heals_by_itself(
    exchange: FakeExchange, settings: Settings, start: Start, replica: Replica
) -> None:
    running = start()
    wait(replica, lambda: live(replica))
    key = settings.run_dir / "sim_private_key.pem"
    good = key.read_bytes()

    write_key(settings.run_dir, rsa.generate_private_key(65537, 2048))
    wait(replica, lambda: health(replica).key == "refused")
    eventually(lambda: running.sweep == "key_refused", 20)  # what is read slowly may be refused before it
    wait(replica, lambda: "401" in (health(replica).error or ""))
    age_ms = replica.status().age_ms
    assert age_ms is not None
    wait(replica, lambda: (replica.status().age_ms or 0) > age_ms + 700)
    assert len(replica.state.markets) == 3

    key.write_bytes(b"garbage")
    wait(replica, lambda: "not a private key" in (health(replica).error or ""))
    unsigned = [headers for headers in exchange.headers if "KALSHI-ACCESS-SIGNATURE" not in headers]
    assert unsigned == []

    key.write_bytes(good)
    wait(replica, lambda: health(replica).key == "ok")
    wait(replica, lambda: health(replica).sweep == "complete")
    wait(replica, lambda: (replica.status().age_ms or 0) < age_ms + 700)


@pytest.mark.parametrize(
    "trouble", [BROKEN, HTML, Answer(200, b'{"other":[]}')], ids=["503", "html", "other"]
)
def test_exchange_in_trouble_fails_sweeps_and_nothing_else(
    exchange: FakeExchange, start: Start, replica: Replica, trouble: Answer
) -> None:
    start()
    wait(replica, lambda: live(replica))
    complete_ms = replica.state.cycle.complete_ms if replica.state.cycle else None
    exchange.faults.append(on("", trouble))
    wait(replica, lambda: health(replica).sweep == "failed")
    assert health(replica).error
    assert not health(replica).exchange_reachable
    assert len(replica.state.markets) == 3
    assert live(replica)

    exchange.faults.clear()
    exchange.events["E1"]["markets"][0]["yes_bid_size_fp"] = "77.00"

    wait(replica, lambda: replica.state.quotes["E1-A"].yes_bid_size_e2 == 7700)
    cycle = replica.state.cycle
    assert cycle is not None
    assert cycle.complete_ms is not None
    assert complete_ms is not None
    assert cycle.complete_ms > complete_ms


def test_trouble_is_told_before_the_sweep_gives_up_which_it_does_by_the_next_start(
    exchange: FakeExchange, settings: Settings, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "ATTEMPTS", 50)
    running = Running(settings.model_copy(update={"poll_interval_s": 1.5}))
    try:
        wait(replica, lambda: live(replica))
        exchange.faults.append(on("", BROKEN))

        wait(replica, lambda: "503" in (health(replica).error or ""))
        assert health(replica).sweep == "complete"
        assert not health(replica).exchange_reachable
        wait(replica, lambda: health(replica).sweep == "failed")
    finally:
        running.stop()


def test_outage_tells_the_exchange_status_it_sends(
    exchange: FakeExchange, start: Start, replica: Replica
) -> None:
    start()
    wait(replica, lambda: live(replica))

    exchange.faults.append(
        on("/exchange/status", Answer(503, b'{"exchange_active":false,"trading_active":false}'))
    )

    wait(replica, lambda: not replica.state.exchange[""].exchange_active)


def test_restart_opens_from_the_checkpoint_with_true_age_while_the_exchange_is_down(
    exchange: FakeExchange, start: Start, replica: Replica
) -> None:
    first = start()
    wait(replica, lambda: live(replica))
    eventually((first.settings.data_dir / "checkpoint").exists)
    epoch, complete_ms = replica.state.epoch, first.publisher._writer.state.cycle
    first.stop()
    exchange.faults.append(on("", BROKEN))

    second = start()

    wait(replica, lambda: replica.state.epoch > epoch and live(replica))
    assert second.sweep in ("starting", "failed")
    assert complete_ms is not None
    cycle = replica.state.cycle
    assert cycle is not None
    assert cycle.complete_ms is not None
    assert cycle.complete_ms <= (complete_ms.complete_ms or 0)

    exchange.faults.clear()
    wait(replica, lambda: health(replica).sweep == "complete" and live(replica))


def test_on_a_full_disk_there_is_no_checkpoint_and_the_data_go_on(
    exchange: FakeExchange, start: Start, replica: Replica, capsys: pytest.CaptureFixture[str]
) -> None:
    with full_disk():
        data_dir = start().settings.data_dir
        wait(replica, lambda: live(replica))
        eventually(lambda: "checkpoint.failed" in capsys.readouterr().out)
        for size in (7700, 8800):
            exchange.events["E1"]["markets"][0]["yes_bid_size_fp"] = f"{size // 100}.00"
            wait(replica, lambda size=size: replica.state.quotes["E1-A"].yes_bid_size_e2 == size)  # type: ignore[misc]
        assert not (data_dir / "checkpoint").exists()
        assert health(replica).sweep == "complete"


def test_without_a_checkpoint_the_epoch_opens_with_the_first_complete_sweep(
    exchange: FakeExchange, start: Start, replica: Replica, settings: Settings, zmq_context: zmq.Context[Any]
) -> None:
    exchange.faults.append(on("/events", BROKEN))
    running = start()
    eventually(lambda: running.sweep == "failed", 20)
    answer = ask(zmq_context, settings.state, {"op": "snapshot", "id": 1})
    assert answer["error"]["code"] == "not_ready"
    assert replica.state.epoch == 0

    exchange.faults.clear()

    wait(replica, lambda: live(replica))


def test_simulator_key_is_waited_for(
    exchange: FakeExchange, settings: Settings, start: Start, replica: Replica
) -> None:
    (settings.run_dir / "sim_private_key.pem").unlink()
    running = start()
    eventually(lambda: running.sweep == "waiting_for_key")
    assert exchange.paths == []
    assert running.publisher.health.key == "ok", "nobody has refused it"
    exchange.faults.append(on("/events", BROKEN))

    exchange.make_key(settings.run_dir)

    eventually(lambda: running.sweep == "failed", 20)
    assert running.publisher.health.key == "ok"
    exchange.faults.clear()
    wait(replica, lambda: live(replica))


def test_wish_reaches_the_planner_of_books(
    exchange: FakeExchange, start: Start, settings: Settings, zmq_context: zmq.Context[Any]
) -> None:
    running = start()
    answer = ask(zmq_context, settings.state, {"op": "watch", "id": 1, "tickers": ["E1-A"], "ttl_s": 5})

    assert answer["watched"] == 1
    assert running.publisher._planner.wished.at(SystemClock().now_ms()) == {"E1-A"}


def test_what_the_trader_holds_has_book_and_history_within_a_sweep_of_its_wish(
    exchange: FakeExchange,
    settings: Settings,
    start: Start,
    replica: Replica,
    zmq_context: zmq.Context[Any],
) -> None:
    tickers = [f"E9-M{number:03}" for number in range(400)]
    exchange.list_event(event("E9", "S1", *(market(ticker, "E9") for ticker in tickers)))
    held = tickers[7::40]
    for ticker in held:
        exchange.candles[ticker] = [candle(3_600)]
    start()
    wait(replica, lambda: replica.status().live and len(replica.state.markets) > 400)
    before = replica.state.cycle.cycle if replica.state.cycle else 0
    for what in ("book", "market", "candles"):
        question = {"op": "watch", "id": 1, "tickers": held, "ttl_s": 60, "what": what}
        assert ask(zmq_context, settings.state, question)["watched"] == len(held)

    wait(
        replica,
        lambda: all(ticker in replica.state.books and ticker in replica.state.candles for ticker in held),
    )

    # What follows the commit under way was planned without it; what follows the next asks for both, and while
    # it does the next sweep may end.
    assert replica.state.cycle is not None
    assert replica.state.cycle.cycle - before <= 4


def test_price_history_comes_for_whom_it_is_wished_and_goes_with_the_wish(
    exchange: FakeExchange,
    start: Start,
    settings: Settings,
    replica: Replica,
    zmq_context: zmq.Context[Any],
) -> None:
    exchange.candles["E1-A"] = [candle(3_600), candle(7_200)]
    start()
    wait(replica, lambda: live(replica))
    assert exchange.calls["markets/candlesticks"] == 0
    question = {"op": "watch", "id": 1, "tickers": ["E1-A", "NOT-HELD"], "ttl_s": 5, "what": "candles"}
    assert ask(zmq_context, settings.state, question)["watched"] == 2

    wait(replica, lambda: "E1-A" in replica.state.candles)
    held = replica.state.candles["E1-A"]
    assert json.loads(held.raw) == exchange.candles["E1-A"]
    assert replica.state.candles.keys() == {"E1-A"}
    wait(replica, lambda: json.loads(replica.state.candles["E1-A"].minutes) == exchange.candles["E1-A"])

    wait(replica, lambda: not replica.state.candles)
    assert exchange.calls["markets/candlesticks"] == 3  # of hours, minutes and days


def test_failing_price_history_costs_nobody_its_books(
    exchange: FakeExchange,
    start: Start,
    settings: Settings,
    replica: Replica,
    zmq_context: zmq.Context[Any],
) -> None:
    exchange.faults.append(on("/markets/candlesticks", BROKEN))
    start()
    wait(replica, lambda: live(replica) and len(replica.state.books) == 3)
    question = {"op": "watch", "id": 1, "tickers": ["E1-A"], "ttl_s": 60, "what": "candles"}
    assert ask(zmq_context, settings.state, question)["watched"] == 1
    eventually(lambda: any(path.startswith("/markets/candlesticks") for path in list(exchange.paths)))
    exchange.books["E1-A"] = {"yes_dollars": [["0.3900", "7.00"]], "no_dollars": []}

    wait(replica, lambda: replica.state.books["E1-A"].yes == ((3_900, 700),))


def test_world_readable_key_refuses_the_start(settings: Settings) -> None:
    (settings.run_dir / "sim_private_key.pem").chmod(0o644)

    with pytest.raises(StartupError, match="chmod 600"):
        Running(settings)


@pytest.mark.e2e
def test_process_fetches_on_schedule_and_ends_on_sigterm_during_a_hanging_request(runner: Runner) -> None:
    hanging, over = threading.Event(), threading.Event()
    with FakeExchange(runner.sim_port) as exchange:
        exchange.list_event(event("E1", "S1", market("E1-A", "E1")))
        runner.run_dir.mkdir(0o700)
        exchange.make_key(runner.run_dir)
        process = runner.start("publisher", env={"KALSHI_BUS_POLL_INTERVAL_S": "0.5"})
        process.wait_event("epoch.opened")
        eventually(lambda: len(process.events("sweep.done")) >= 3)
        fetched = len(process.events("FETCHING FROM KALSHI"))
        assert 0 <= fetched - len(process.events("sweep.done")) <= 1
        assert abs(exchange.calls["exchange/status"] - fetched) <= 1
        swept = [path for path in exchange.paths if path.startswith("/series") and "volume" not in path]
        assert len(swept) == 1

        def hang(_path: str) -> None:
            hanging.set()
            over.wait(60)

        exchange.faults.append(hang)
        assert hanging.wait(30)
        process.signal(signal.SIGTERM)

        assert process.wait(6) == 0  # less than a read may take
        over.set()
    output = process.output()
    assert "PRIVATE KEY" not in output
    assert "KALSHI-ACCESS" not in output
