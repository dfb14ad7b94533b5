"""What the exchange says of itself, the key and the limits, when it says nonsense."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bus.clock import ManualClock, Rng
from bus.process.settings import Settings
from markets.errors import BadRecord
from markets.json.pages import decode_tier
from publisher.kalshi.client import ExchangeError, KeyRefused
from publisher.kalshi.signing import KeySource
from publisher.orders.budget import Bucket
from publisher.orders.terms import Terms, TermsSource, exchange_id, keys_of, rights

DEEP = b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize(
    ("read", "body"),
    [
        (exchange_id, DEEP),
        (exchange_id, b'{"exchange_id":"../x"}'),
        (exchange_id, b'{"exchange_id":"a\\u0000b"}'),
        (keys_of, DEEP),
        (decode_tier, b'{"read":{"refill_rate":1e-320,"bucket_capacity":100}}'),
    ],
)
def test_nonsense_is_refused_as_such(read: Callable[[bytes], object], body: bytes) -> None:
    with pytest.raises(BadRecord):
        read(body)


def test_the_slowest_limits_are_waited_for() -> None:
    least = decode_tier(b'{"read":{"refill_rate":0.001,"bucket_capacity":100}}')
    bucket = Bucket(least.refill_per_s, least.capacity, 0)
    bucket.pay(100)
    assert bucket.wait_ms(10, 20, 0) > 3_600_000


@pytest.mark.parametrize(("told", "subaccount"), [("", 0), (',"subaccount":null', 0), (',"subaccount":7', 7)])
def test_a_key_trades_for_the_subaccount_that_it_is_restricted_to(told: str, subaccount: int) -> None:
    other = '{"api_key_id":"other","name":"","scopes":["read"],"subaccount":3}'
    keys = keys_of(
        f'{{"api_keys":[{other},{{"api_key_id":"k","name":"","scopes":["write"]{told}}}]}}'.encode()
    )
    assert rights(keys, "k", 0).subaccount == subaccount
    assert rights(keys, "unlisted", 0).subaccount is None


class Waits:
    """A stop that comes after some waits, and never lets any time pass."""

    def __init__(self, most: int) -> None:
        self.waited: list[float | None] = []
        self._most = most

    def is_set(self) -> bool:
        return len(self.waited) >= self._most

    def wait(self, timeout_s: float | None = None) -> bool:
        self.waited.append(timeout_s)
        return self.is_set()


@pytest.mark.parametrize(
    ("error", "pause_s"), [(KeyRefused("key_refused", "401"), 10.0), (ExchangeError("timeout", "none"), 1.0)]
)
def test_a_refused_key_is_not_shown_again_and_again(
    error: ExchangeError, pause_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(_source: TermsSource) -> Terms:
        raise error

    monkeypatch.setattr(TermsSource, "ask", ask)
    stop = Waits(2)
    settings = Settings.load({}, tmp_path)
    keys = KeySource(None, None, None)
    source = TermsSource(settings, keys, ManualClock(), Rng(1), stop)  # type: ignore[arg-type]

    assert source.wait() is None
    assert stop.waited == [pause_s, pause_s]
    assert str(error) in (source.problem or "")
