"""The doctor finds what is wrong, says what to do, and is content with what is well."""

import contextlib
import socket
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq

from bus.clock import SystemClock
from bus.drift import DriftRow
from bus.process.lifecycle import Stop
from bus.process.locks import hold_role, private_dir
from bus.process.programs import to_type
from bus.process.settings import Settings
from bus.protocol.answers import Answers
from bus.protocol.messages import PublisherHealth
from bus.protocol.writer import Writer
from bus.server import FeedServer
from bus.sockets import make_context
from bus.tools import doctor
from bus.tools.doctor import run
from bus.trading.ended import EndedStrategies, EndedStrategy
from bus.trading.shapes import StrategyStatus
from tests.bus.trading.samples import a_status
from tests.certificates import make_certificate
from tests.support import free_ports

pytestmark = pytest.mark.slow


@pytest.fixture(name="environ")
def _environ(short_dir: Path) -> dict[str, str]:
    ui, snapshot = free_ports(2)
    return {
        "KALSHI_BUS_RUN_DIR": str(short_dir / "run"),
        "KALSHI_BUS_DATA_DIR": str(short_dir / "data"),
        "KALSHI_BUS_UI_PORT": str(ui),
        "KALSHI_BUS_SNAPSHOT_PORT": str(snapshot),
    }


def examined(environ: dict[str, str], cwd: Path) -> tuple[int, dict[str, str]]:
    lines: list[str] = []
    code = run(environ, cwd, lines.append)
    return code, {line[7:].split(":")[0]: line for line in lines}


def test_wrong_settings_are_all_named(short_dir: Path) -> None:
    lines: list[str] = []
    environ = {"KALSHI_BUS_UI_PORT": "0", "KALSHI_BUS_NONSENSE": "1"}
    assert run(environ, short_dir, lines.append) == 1
    assert len(lines) == 2
    assert "KALSHI_BUS_UI_PORT" in "".join(lines)
    assert "KALSHI_BUS_NONSENSE" in "".join(lines)


def test_what_is_down_is_a_problem_with_its_remedy(environ: dict[str, str], short_dir: Path) -> None:
    code, found = examined(environ, short_dir)
    assert code == 1
    for what in ("feed", "state", "query", "health", "dashboard"):
        assert found[what].startswith("WRONG"), found[what]
    assert "is the publisher up?" in found["state"]
    assert "KALSHI_BUS_SNAPSHOT_PORT" in found["health"]
    for what in ("publisher", "key"):
        assert found[what].startswith("-"), "a replay has none"
    assert any("make run starts everything" in line for line in found.values())


def test_a_trader_that_waits_for_the_gateway_is_said(environ: dict[str, str], short_dir: Path) -> None:
    context = make_context()
    try:
        found, status = doctor.trader_begun(
            context, Settings.load({**environ, "KALSHI_BUS_MODE": "sim"}, short_dir), timeout_ms=50
        )
    finally:
        context.term()
    assert (found.ok, status) == (False, None)
    assert "it begins once the order gateway has said whose account it has" in found.said


@pytest.mark.parametrize(
    ("reasons", "ok", "said"),
    [
        ((), True, "the trader answers, running"),
        (
            ("daily_loss", "stale"),
            None,
            "daily_loss: the daily loss has reached its limit; the data is too old",
        ),
        (("halted",), False, "does not add up: /d/j.sqlite: the disk is full. It tries again by itself"),
    ],
)
def test_a_trader_that_does_not_trade_is_said_and_a_problem_if_it_needs_a_person(
    reasons: tuple[str, ...], ok: bool | None, said: str
) -> None:
    error = "/d/j.sqlite: the disk is full" if ok is False else None
    status = a_status(state=next(iter(reasons), "running"), reasons=reasons, error=error)

    found = doctor.trader_trades(status)

    assert (found.ok, found.what) == (ok, "trader_control")
    assert said in found.said


def test_open_directories_and_keys_are_problems(environ: dict[str, str], short_dir: Path) -> None:
    run_dir = private_dir(short_dir / "run")
    key = run_dir / "sim_private_key.pem"
    key.write_text("x")
    key.chmod(0o644)
    run_dir.chmod(0o755)
    _, found = examined(environ, short_dir)
    assert f"chmod 700 {run_dir}" in found["run_dir"]
    assert f"chmod 600 {key}" in found["key"]


def test_a_certificate_that_ends_soon_or_cannot_be_used_is_a_problem(
    environ: dict[str, str], short_dir: Path
) -> None:
    certificate, key = make_certificate(short_dir, days=60)
    environ |= {"KALSHI_BUS_TLS_CERTIFICATE": str(certificate), "KALSHI_BUS_TLS_KEY": str(key)}
    settings = Settings.load(environ, short_dir)

    def found() -> list[tuple[bool | None, str]]:
        return [
            (finding.ok, finding.said) for finding in doctor.certificate_findings(settings, SystemClock())
        ]

    said = f"{certificate} is for localhost, 127.0.0.1"
    assert found() == [(True, said)]
    make_certificate(short_dir, days=3.5)
    assert found() == [(False, f"{said}, and ends in 3 days: renew it")]
    key.chmod(0o644)
    [(ok, said)] = found()
    assert not ok
    assert f"chmod 600 {key}" in said


def test_strategies_that_cannot_be_loaded_and_those_left_out_are_problems(
    environ: dict[str, str], short_dir: Path
) -> None:
    _, found = examined({**environ, "KALSHI_BUS_STRATEGIES": "no_baskt"}, short_dir)
    assert found["strategies"].startswith("WRONG  strategies: KALSHI_BUS_STRATEGIES: got 'no_baskt'")
    _, found = examined(environ, short_dir)
    assert found["strategies"] == "ok     strategies: baskets"
    EndedStrategies(short_dir / "data").add(EndedStrategy("value", "value", "on_update", 7))

    lines: list[str] = []
    run(environ, short_dir, lines.append)

    allow = to_type("trader allow value")
    said = f"WRONG  strategies: value is not loaded: on_update did not return: {allow}"
    assert said in lines


def test_the_strategies_named_are_those_of_the_running_trader(
    environ: dict[str, str], short_dir: Path, zmq_context: Any
) -> None:
    def a_strategy(name: str, **changes: Any) -> StrategyStatus:
        fields = {"text": f"{name}(hours=6)", "state": "trades", "call": None, "error": None}
        return StrategyStatus(name=name, **{**fields, "slow_calls": 0, "slowest_ms": None, **changes})

    status = a_status(
        reasons=("paused",),
        strategy_states=(
            a_strategy("mine"),
            a_strategy("odd", state="dropped", call="on_update", error="ValueError: no"),
            a_strategy("value", state="ended", call="on_update", error="on_update did not return"),
        ),
    )
    settings = Settings.load(environ, private_dir(short_dir))
    private_dir(settings.run_dir)
    answers = Answers(lambda: None)
    answers.add("status", lambda _question, _now_ms: msgspec.structs.asdict(status))
    with zmq_context.socket(zmq.REP) as trader, hold_role(settings.run_dir, "trader"):
        trader.bind(settings.trader_control)

        def answer() -> None:
            trader.send(answers.answer(trader.recv(), 0)[0])

        thread = threading.Thread(target=answer)
        thread.start()
        lines: list[str] = []
        run(environ, short_dir, lines.append)
        thread.join()

    assert [line for line in lines if "strateg" in line or "trader_control" in line] == [
        "-      trader_control: the trader answers, running: trading is paused",
        (
            "WRONG  strategies: odd is dropped until the next session: on_update failed (ValueError: no): "
            "the trader's log says where"
        ),
        "WRONG  strategies: value is not loaded: on_update did not return: " + to_type("trader allow value"),
        "ok     strategies: the trader trades with mine(hours=6)",
    ]


@pytest.mark.parametrize(("key", "word"), [("ok", "ok"), ("refused", "WRONG")])
def test_a_publisher_that_is_up_is_heard(
    environ: dict[str, str], short_dir: Path, key: str, word: str
) -> None:
    run_dir = private_dir(short_dir / "run")
    context, stop = make_context(), Stop()
    error = "401 INCORRECT_API_KEY_SIGNATURE" if key == "refused" else None
    health = PublisherHealth(sweep="complete", key=key, exchange_reachable=True, error=error)

    def serve() -> None:
        feed, state = f"ipc://{run_dir}/feed.sock", f"ipc://{run_dir}/state.sock"
        server = FeedServer(context, feed, state, SystemClock(), lambda: health, lambda *_: None)
        server.open(Writer(SystemClock().now_ms()))
        up.set()
        server.serve(stop)

    up = threading.Event()
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        assert up.wait(30)
        with hold_role(run_dir, "publisher"):
            _, found = examined(environ, short_dir)
    finally:
        stop.set()
        thread.join()
        stop.close()
        context.term()
    assert found["feed"].startswith("ok")
    assert found["state"].startswith("ok")
    assert found["publisher"].startswith("ok")
    assert found["sweep"].startswith(word)
    assert found["query"].startswith("WRONG")


def test_what_the_exchange_sends_otherwise_is_named_and_is_no_problem() -> None:
    rows = tuple(DriftRow("GET /events", f"markets.m{n}", "unknown", 7, 5.0, "1") for n in range(12))
    found = list(doctor.drift_findings(rows, 3, "http://health"))
    assert [finding.ok for finding in found] == [None] * 11
    assert found[0].said == (
        "Kalshi sends what it does not document: GET /events: markets.m0: unknown, 7 times, such as 1"
    )
    assert found[-1].said.startswith("5 more")
    assert not list(doctor.drift_findings((), 0, ""))


NAMES_THE_PORT = "KALSHI_BUS_SNAPSHOT_PORT sets its port"
TOO_MANY = b'{"error": {"code": "too_many", "message": "too many wrong tokens"}}'


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"garbage\r\n\r\n", NAMES_THE_PORT),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", NAMES_THE_PORT),
        (b"HTTP/1.1 200 OK\r\n\r\n<html>", NAMES_THE_PORT),
        (b"HTTP/1.1 429 Too Many\r\n\r\n" + TOO_MANY, "/health answers 429: too many wrong tokens"),
    ],
)
def test_something_else_on_a_port_is_a_problem_and_no_crash(
    environ: dict[str, str], short_dir: Path, sent: bytes, said: str
) -> None:
    stopped = threading.Event()
    with socket.create_server(("127.0.0.1", int(environ["KALSHI_BUS_SNAPSHOT_PORT"]))) as server:
        server.settimeout(0.05)

        def serve() -> None:
            while not stopped.is_set():
                with contextlib.suppress(TimeoutError):
                    client, _ = server.accept()
                    with client:
                        client.recv(65_536)
                        client.sendall(sent)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            (found,) = doctor._health(Settings.load(environ, short_dir))
        finally:
            stopped.set()
            thread.join()
    assert (found.ok, found.what) == (False, "health")
    assert found.said.endswith(said)
