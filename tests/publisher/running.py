"""A publisher that runs in a thread of the test."""

import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from bus.clock import SystemClock
from bus.process.lifecycle import Stop
from bus.process.settings import Settings
from markets.errors import StartupError
from publisher.kalshi import client
from publisher.run import Publisher
from tests.publisher.exchange import FakeExchange, event, market
from tests.publisher.world import all_markets

INTERVAL_S = "0.5"


class Running:
    """A publisher in a thread of its own (which makes and owns its sockets)."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._stop = Stop()
        self._made = threading.Event()
        self._refused: list[StartupError] = []
        self._thread = threading.Thread(target=self._run, name="bus")
        self._thread.start()
        assert self._made.wait(30)
        if self._refused:
            self._thread.join()
            self._stop.close()
            raise self._refused[0]

    def _run(self) -> None:
        try:
            self.publisher = Publisher(self.settings, self._stop, SystemClock(), Random(1))
        except StartupError as error:
            self._refused.append(error)
            self._made.set()
            return
        self._made.set()
        self.publisher.run()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()
        self._stop.close()

    @property
    def sweep(self) -> str:
        return self.publisher.health.sweep


@pytest.fixture
def exchange() -> Iterator[FakeExchange]:
    with FakeExchange() as made:
        made.list_event(event("E1", "S1", market("E1-A", "E1"), market("E1-B", "E1", bid=50, ask=52)))
        made.list_event(event("E2", "S2", market("E2-A", "E2"), mutually_exclusive=False))
        for listed in all_markets(made):
            made.books[listed["ticker"]] = {"yes_dollars": [["0.4000", "100.00"]], "no_dollars": []}
        yield made


@pytest.fixture
def settings(exchange: FakeExchange, short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(client, "ATTEMPTS", 2)  # troubles are to be lasting ones soon
    run_dir = short_dir / ".run"
    run_dir.mkdir(0o700)
    exchange.make_key(run_dir)
    environ = {
        "KALSHI_BUS_SIM_PORT": str(exchange.port),
        "KALSHI_BUS_POLL_INTERVAL_S": INTERVAL_S,
    }
    return Settings.load(environ, short_dir)
