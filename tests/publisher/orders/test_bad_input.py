"""A gateway that cannot send says why in one sentence, where people look, and sends nothing."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat

from bus.clock import Rng, SystemClock
from bus.process.lifecycle import Stop
from bus.process.locks import private_dir
from bus.process.settings import Settings
from bus.tools.doctor import gateway_ready
from bus.trading.gateway import GatewayStatus
from bus.trading.reasons import why_ended
from markets.errors import StartupError
from publisher.orders import records
from publisher.orders.log import OrderLog
from publisher.orders.run import Gateway
from tests.publisher.orders.drills import Way
from tests.publisher.orders.floor import START_S, Floor
from tests.support import Runner, eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def floor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Floor]:
    runner = Runner(tmp_path_factory.mktemp("kb"))
    floor = Floor(runner)
    yield floor
    floor.close()
    runner.close()


class Running:
    """A gateway in a thread of this process, with settings of its own. `refused`: why it has ended."""

    def __init__(self, floor: Floor, **env: str) -> None:
        self.refused: str | None = None
        folder = floor.runner.folder
        environ = {k: v for k, v in (floor.runner.env | env).items() if k.startswith("KALSHI_")}
        self.settings = Settings.load(environ, folder)
        self._stop = Stop()
        self._thread = threading.Thread(target=self._run, name="gateway")
        self._thread.start()

    def _run(self) -> None:
        try:
            Gateway(self.settings, self._stop, SystemClock(), Rng, lambda _point: None).run()
        except StartupError as error:
            self.refused = str(error)

    def ends(self) -> str:
        """Wait until it has ended by itself; return why."""
        with self:
            eventually(lambda: self.refused is not None, START_S, "it ends by itself")
        assert self.refused is not None
        return self.refused

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._stop.close()


def says(floor: Floor, word: str) -> GatewayStatus:
    """Wait until the gateway's error has a word in it; the doctor says the same, and finds it wrong."""
    found: list[GatewayStatus] = []

    def said() -> bool:
        status = floor.status()
        if status is not None and word in (status.error or ""):
            found.append(status)
        return bool(found)

    eventually(said, START_S, word)
    environ = {k: v for k, v in floor.runner.env.items() if k.startswith("KALSHI_")}
    finding = gateway_ready(floor.context, Settings.load(environ, floor.runner.folder))
    assert finding.ok is False
    assert word in finding.said
    return found[0]


def test_a_wrong_key_is_said_and_nothing_is_taken(floor: Floor, tmp_path: Path) -> None:
    run_dir = floor.runner.run_dir
    other = tmp_path / "other.pem"
    other.touch(0o600)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    other.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, serialization.NoEncryption()))
    key_id = (run_dir / "sim_key_id").read_text().strip()
    with Running(floor, KALSHI_PRIVATE_KEY_PATH=str(other), KALSHI_API_KEY_ID=key_id):
        status = says(floor, "INCORRECT_API_KEY_SIGNATURE")
        assert status.state == "starting"
        answer = floor.ask({"op": "place", "journal": floor.journal, "intents": [], "source": "live"})
        assert answer["error"]["code"] == "not_ready"
        assert "INCORRECT_API_KEY_SIGNATURE" in answer["error"]["message"]


def test_a_key_that_may_not_trade_and_one_past_its_attestation_are_said(floor: Floor) -> None:
    floor.post("/sim/switches", {"attestation_expires_s": 1})
    way = Way(floor.runner.sim_port, (b'["read","write"]', b'["read"]        '))
    try:
        with Running(floor, KALSHI_BUS_API_URL=f"http://127.0.0.1:{way.port}/trade-api/v2"):
            status = says(floor, "the API key may not trade (scopes: read): make one with the scope write")
            eventually(lambda: getattr(floor.status(), "state", "") == "key_may_not_trade", START_S)
            assert "key_may_not_trade" in status.reasons
            intent = floor.intent()
            floor.place(intent)
            ended = eventually(lambda: floor.ended(intent.number), what="it is refused")
            assert ended is not None
            assert ended.reason == "key_may_not_trade"
            assert why_ended(ended.reason).startswith("the API key may not trade")
        with Running(floor):
            says(floor, "attestation of where you are has run out: orders in Sports, Elections")
    finally:
        way.close()
        floor.post("/sim/switches", {"attestation_expires_s": None})
    assert floor.resting() == []


def test_a_second_gateway_names_the_first(floor: Floor, tmp_path: Path) -> None:
    with Running(floor):
        floor.wait_ready()
        run_dir = floor.runner.run_dir
        second = Running(
            floor,
            KALSHI_BUS_RUN_DIR=str(private_dir(tmp_path / "run")),
            KALSHI_PRIVATE_KEY_PATH=str(run_dir / "sim_private_key.pem"),
            KALSHI_API_KEY_ID=(run_dir / "sim_key_id").read_text().strip(),
        )
        assert f"gateway already running, pid {os.getpid()}" in second.ends()


def test_a_log_that_is_damaged_or_none_refuses_the_start_and_is_left_alone_and_a_long_one_is_read_in_pieces(
    floor: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Running(floor):
        floor.wait_ready()
        floor.place(*(floor.intent() for _ in range(3)))
    (log,) = (floor.runner.folder / "data").glob("orders-sim-*/log")
    whole = log.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 3] ^= 0xFF
    log.write_bytes(damaged)
    assert "is damaged at byte" in (said := Running(floor).ends())
    assert "nothing is sent; put a whole copy in its place" in said
    assert log.read_bytes() == damaged
    log.unlink()
    log.mkdir()
    assert f"{log}: Is a directory: nothing is sent" in Running(floor).ends()
    log.rmdir()
    log.write_bytes(whole)
    seen, kept = threading.Event(), OrderLog.records

    def long(opened: OrderLog) -> Iterator[bytes]:
        yield from kept(opened)
        while not seen.is_set():
            yield records.encode(records.Joined(floor.journal, 1))

    monkeypatch.setattr(OrderLog, "records", long)
    with Running(floor):
        says(floor, "the log of the orders is being read")
        seen.set()
        floor.wait_ready()
        numbers = range(floor.number - 2, floor.number + 1)
        for number in numbers:
            floor.cancel(number)
        eventually(lambda: all(floor.ended(number) for number in numbers), 30, "nothing was lost")
    assert floor.resting() == []
