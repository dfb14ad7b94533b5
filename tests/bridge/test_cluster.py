"""Three servers on loopback; the one that leads the stream is killed."""

import asyncio
from pathlib import Path

import nats
import pytest

from bridge.store import Limits
from tests.bridge.clusters import cluster
from tests.bridge.world import LEAVES_OPEN, NatsServer, World, stored_numbers, world
from tests.support import eventually

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings(LEAVES_OPEN)]


def leader_of(url: str) -> int:
    """Return the number of the server that leads the stream."""

    async def ask() -> str:
        client = await nats.connect(url.split(","))
        info = await client.jetstream().stream_info("kalshi-bus")
        await client.close()
        assert info.cluster is not None
        return info.cluster.leader or ""

    return int(asyncio.run(ask()).removeprefix("n"))


def test_the_leader_of_a_cluster_is_lost_and_nothing_else(tmp_path: Path) -> None:
    servers = cluster(tmp_path)
    try:
        with world(tmp_path) as at:
            check_leader_lost(at, servers)
    finally:
        for server in servers:
            server.kill()


def check_leader_lost(at: World, servers: list[NatsServer]) -> None:
    url = "nats://" + ",".join(server.url.removeprefix("nats://") for server in servers)
    bridge = at.start(url, Limits(3, max_bytes=50_000_000, duplicate_window_s=0.1, watch_s=0.6))
    replicas = [at.replica(url=url), at.replica(url=url)]
    at.publish()
    at.agree(*replicas, timeout_s=20)
    with at.pour():
        leader = leader_of(url)
        servers[leader].kill()
        before = bridge.bridge.stored
        eventually(lambda: bridge.bridge.stored > before + 200, 20, "the others have a leader")
    at.agree(*replicas, timeout_s=20)
    assert bridge.bridge.repairs == 0
    numbers = stored_numbers(servers[(leader + 1) % 3].url)
    assert [seq for _, seq in numbers] == list(range(numbers[0][1], numbers[0][1] + len(numbers)))
