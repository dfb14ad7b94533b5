"""What is kept of an exchange when disks are full, files damaged, processes killed: never half of a thing."""

import json
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from markets.errors import StartupError
from simulator.floor.exchange import Exchange
from simulator.floor.model import ACTIVE, Market
from simulator.front.wire import Request
from simulator.persistence.lock import alone
from simulator.persistence.log import InputLog
from simulator.persistence.restart import save_in_a_child
from simulator.universe.templates import Recorded
from tests.simulator.venue import START_MS
from tests.simulator.whole import BASE, ORDERS, Life

ID = "00000000-0000-4000-8000-000000000001"


@pytest.fixture(name="log")
def _log(tmp_path: Path) -> InputLog:
    return InputLog(tmp_path, ID, "build")


def asked(log: InputLog) -> list[Any]:
    return [what["n"] for what in log.inputs(0)]


@pytest.fixture(name="full_after")
def _full_after() -> Iterator[Any]:
    """A disk on which files end at a size: the kernel refuses what is beyond, as it does on a full one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_what_a_full_disk_refused_is_in_no_log_and_what_comes_after_is(
    log: InputLog, tmp_path: Path, full_after: Any
) -> None:
    log.append({"n": 1})
    size = (tmp_path / "sim_inputs.0.jsonl").stat().st_size
    for room in range(12):  # from no byte of the line to all but the last
        full_after(size + room)
        with pytest.raises(OSError, match=r"space|large"):
            log.append({"n": 'a"b'})
        full_after(resource.RLIM_INFINITY)
        assert (tmp_path / "sim_inputs.0.jsonl").read_bytes().strip() == b'{"n":1}'
    log.append({"n": 2})
    assert asked(InputLog(tmp_path, ID, "build")) == [1, 2]


def test_a_damaged_line_is_named_and_the_others_are_done(log: InputLog, tmp_path: Path) -> None:
    for number in range(1, 4):
        log.append({"n": number})
    path = tmp_path / "sim_inputs.0.jsonl"
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], b"\xff\x00{", b"[1]", lines[2], b'{"n":']))
    again = InputLog(tmp_path, ID, "build")
    assert asked(again) == [1, 3]
    assert [text.split(": ")[0] for text in again.damaged] == ["sim_inputs.0.jsonl:2", "sim_inputs.0.jsonl:3"]


def quoted(life: Life) -> Market:
    return next(
        m for m in life.exchange.markets.values() if m.status == ACTIVE and m.bid_e2 and m.depth is None
    )


def test_without_room_for_the_log_orders_are_refused_and_market_data_goes_on(
    recorded: Recorded, tmp_path: Path
) -> None:
    life = Life(recorded, tmp_path, seed=3)
    market = quoted(life)
    order = {
        "ticker": market.ticker, "side": "bid", "count": "1.00", "price": "0.9900",
        "time_in_force": "immediate_or_cancel", "self_trade_prevention_type": "maker",
    }  # fmt: skip
    request = Request("POST", BASE + ORDERS, (), {"x-account": "1"}, json.dumps(order).encode(), "")
    books = life.local("GET", "/sim/accounts").body
    in_the_way = tmp_path / f"sim_inputs.{life.log.next()}.jsonl"
    in_the_way.mkdir()
    assert life.api.handle(request, life.now_ms).status == 503
    served = life.api.handle(Request("GET", f"{BASE}/markets/{market.ticker}/orderbook"), life.now_ms)
    assert served.status == 200
    session = life.hub.connect(1)
    other = quoted(life)
    session.receive(
        json.dumps(
            {"id": 1, "cmd": "subscribe",
             "params": {"channels": ["orderbook_delta"], "market_tickers": [other.ticker]}}
        ),
        life.now_ms,
    )  # fmt: skip
    assert '"orderbook_snapshot"' in session.outgoing[-1]
    life.now_ms += 60_000
    life.exchange.advance(life.now_ms)
    assert life.local("GET", "/sim/accounts").body == books
    in_the_way.rmdir()
    assert life.api.handle(request, life.now_ms).status == 201
    life.restart(1, saved=False)  # the books that were looked at meanwhile have the same depth


def test_the_second_simulator_of_a_directory_is_refused(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    with alone(keys), pytest.raises(StartupError, match="another simulator"), alone(keys):
        pass
    with alone(tmp_path / "keys"):
        pass


def ended(pid: int) -> int:
    return os.waitpid(pid, 0)[1]


def test_a_child_that_is_killed_leaves_the_old_state_and_all_that_was_asked(
    recorded: Recorded, tmp_path: Path
) -> None:
    exchange = Exchange(recorded, 60, 1, START_MS)
    log = InputLog(tmp_path, ID, "build")
    log.append({"n": 1})
    for _ in range(3):
        pid, number = save_in_a_child(exchange, log)
        log.append({"n": number + 1})
        os.kill(pid, signal.SIGKILL)
        assert ended(pid)
    again = InputLog(tmp_path, ID, "build")
    assert list(again.saved()) == []
    assert asked(again) == [1, 2, 3, 4]
    (tmp_path / ".sim_saved.9.123").write_bytes(b"half")  # as one leaves that is killed while it writes
    pid, number = save_in_a_child(exchange, log)
    log.append({"n": 5})
    assert ended(pid) == 0
    log.drop_before(number)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"sim_inputs.{number}.jsonl",
        f"sim_saved.{number}",
    ]
    again = InputLog(tmp_path, ID, "build")
    assert [found for found, _ in again.saved()] == [number]
    assert [what["n"] for what in again.inputs(number)] == [5]


def test_a_child_that_saves_keeps_no_connection_open_and_no_lock(recorded: Recorded, tmp_path: Path) -> None:
    exchange = Exchange(recorded, 60, 1, START_MS)
    reading, writing = os.pipe()
    with alone(tmp_path):
        pid, _ = save_in_a_child(exchange, InputLog(tmp_path, ID, "build"))
        os.kill(pid, signal.SIGSTOP)  # wherever it is by now
        os.close(writing)
        os.kill(pid, signal.SIGCONT)
        assert os.read(reading, 1) == b""  # it would wait for the child
    assert ended(pid) == 0
    os.close(reading)
