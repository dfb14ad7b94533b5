"""The bridge and its remote replicas, with a real nats-server: what is killed or cut off comes back whole."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bridge.world import World, stored_numbers, world

pytestmark = pytest.mark.slow


@pytest.fixture(name="at")
def _at(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def test_a_remote_replica_is_what_a_local_one_is(at: World) -> None:
    at.start()
    whole, some = at.replica(), at.replica(("md.A.",))
    at.publish()
    at.agree(whole, some)
    at.publish(500)
    at.agree(whole, some)

    assert whole.status().stats.gaps == 0
    assert set(some.state.streams) <= {"md.A.", "cycle."}
    numbers = stored_numbers(at.url)
    assert numbers == sorted(set(numbers))
