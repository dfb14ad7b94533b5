"""`kalshi-bus trader cash --move`: from the command, over the gateway's socket, to the exchange's books."""

import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import requests

from bus.ask import NoAnswer
from bus.clock import Rng, SystemClock
from bus.process.lifecycle import Stop
from bus.process.settings import Settings
from bus.protocol.answers import Refusal
from bus.trading.gateway import AnyAsk
from publisher.orders.run import Gateway
from tests.publisher.orders.served import Served, serve
from tests.support import eventually
from trader.cash import cash
from trader.journal import schema


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[Served]:
    with serve(tmp_path / "run", markets=20) as served:
        yield served


@pytest.fixture
def settings(exchange: Served, tmp_path: Path) -> Iterator[Settings]:
    """Those of a running order gateway, with a trader's journal beside it."""
    environ = {
        "KALSHI_BUS_RUN_DIR": str(tmp_path / "run"),
        "KALSHI_BUS_DATA_DIR": str(tmp_path / "data"),
        "KALSHI_BUS_SIM_PORT": str(exchange.port),
    }
    settings, stop = Settings.load(environ, tmp_path), Stop()

    def run() -> None:
        Gateway(settings, stop, SystemClock(), Rng, lambda _point: None).run()

    thread = threading.Thread(target=run, name="gateway")
    thread.start()
    try:
        eventually(settings.data_dir.exists)
        path = schema.journal_path(settings.data_dir, "sim", "sim", "account")
        schema.create(path, {"mode": "sim", "env": "sim", "account": "account"}, 0, random.Random(1), 1)
        yield settings
    finally:
        stop.set()
        thread.join()
        stop.close()


def test_what_is_missing_on_a_shard_is_moved_there_once(
    exchange: Served, settings: Settings, zmq_context: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def held() -> dict[str, int]:
        books = requests.get(f"{exchange.root}/sim/accounts", timeout=5).json()
        cash_e6: dict[str, int] = books["accounts"][0]["cash_e6"]
        return cash_e6

    before = held()
    want = [f"1={before['1'] // 1_000_000 + 500}"]

    def moved() -> bool:
        try:
            return cash(settings, want, zmq_context, move=True, yes=True) == 0
        except (Refusal, NoAnswer):  # the gateway is starting
            return False

    eventually(moved)
    assert held()["1"] == before["1"] + 500_000_000
    assert sum(held().values()) == sum(before.values())
    assert "500.000000 to shard 1: done" in capsys.readouterr().out


def test_no_question_to_the_gateway_has_a_member_that_its_envelope_has() -> None:
    for ask in get_args(AnyAsk):
        assert not {"id", "op"} & set(ask.__struct_fields__), ask
