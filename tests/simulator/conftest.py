"""Simulated exchanges for the tests."""

from collections.abc import Callable
from typing import Any

import pytest

from simulator import templates
from simulator.api import Api
from simulator.auth import KeyPair, load_or_create
from simulator.exchange import Activity, Exchange
from simulator.limits import Limits
from simulator.operations import ROUTES
from simulator.templates import Recorded
from tests.simulator.venue import START_MS, Client


@pytest.fixture(scope="session")
def recorded() -> Recorded:
    return templates.load()


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return load_or_create(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="session")
def make_client(recorded: Recorded, keys: KeyPair) -> Callable[..., Client]:
    def make(markets: int = 300, seed: int = 7, tier: str = "none", **activity: Any) -> Client:
        exchange = Exchange(recorded, markets, seed, START_MS, Activity(**activity))
        return Client(Api(exchange, ROUTES, keys, None if tier == "none" else Limits(tier)))

    return make


@pytest.fixture
def client(make_client: Callable[..., Client]) -> Client:
    return make_client()
