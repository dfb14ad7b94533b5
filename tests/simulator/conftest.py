"""Simulated exchanges for the tests."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from simulator.floor.exchange import Exchange
from simulator.floor.halts import Activity
from simulator.front import auth
from simulator.front.api import Api
from simulator.front.auth import KeyPair, load_or_create
from simulator.front.limits import RequestLimits
from simulator.front.operations import ROUTES
from simulator.universe import templates
from simulator.universe.templates import Recorded
from tests.simulator.served import private_key
from tests.simulator.trader import Trader
from tests.simulator.venue import START_MS, Client


@pytest.fixture(scope="session")
def recorded() -> Recorded:
    return templates.load()


@pytest.fixture(scope="session")
def key_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="session")
def keys(key_directory: Path) -> dict[str, KeyPair]:
    return load_or_create(key_directory, 2)


@pytest.fixture(scope="session")
def make_client(recorded: Recorded, keys: dict[str, KeyPair]) -> Callable[..., Client]:
    def make(markets: int = 300, seed: int = 7, tier: str = "none", **activity: Any) -> Client:
        exchange = Exchange(recorded, markets, seed, START_MS, Activity(**activity))
        return Client(Api(exchange, ROUTES, keys, None if tier == "none" else RequestLimits(tier)))

    return make


@pytest.fixture
def client(make_client: Callable[..., Client]) -> Client:
    return make_client()


@pytest.fixture(scope="session")
def signed(key_directory: Path, keys: dict[str, KeyPair]) -> Callable[..., dict[str, str]]:
    """A signer with the accounts' own private keys: (method, path, timestamp, account) -> headers."""
    ids = {pair.account: pair.key_id for pair in keys.values()}
    names = {1: auth.PRIVATE_KEY_FILE, 2: auth.PRIVATE_KEY_FILE.replace(".", "_2.")}
    private = {n: private_key((key_directory / name).read_bytes()) for n, name in names.items()}

    def sign(method: str, path: str, timestamp: int = START_MS, account: int = 1) -> dict[str, str]:
        pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
        signature = private[account].sign(f"{timestamp}{method}{path}".encode(), pss, hashes.SHA256())
        return {
            auth.KEY: ids[account],
            auth.TIMESTAMP: str(timestamp),
            auth.SIGNATURE: base64.b64encode(signature).decode(),
        }

    return sign


@pytest.fixture
def trader(client: Client, signed: Callable[..., dict[str, str]]) -> Trader:
    return Trader(client, signed)
