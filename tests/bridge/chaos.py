"""A bridge and its surroundings, killed and cut again and again, with twenty remote replicas."""

import random
import tempfile
from pathlib import Path
from typing import Final

from tests.bridge.world import World, stored_numbers, world
from tests.bus.proxy import FaultProxy
from tests.support import eventually

REPLICAS: Final = 20
ROUNDS: Final = 6
AGREE_S: Final = 60.0
TOPICS: Final = (("",), ("",), ("",), ("md.A.",), ("md.B.", "ref."))


def endure(seed: int) -> int:
    """Break one thing after the other while messages flow; return how often a replica agreed afterwards.

    After each, every replica has the publisher's digests, and nothing is stored twice or out of order.
    """
    rng = random.Random(seed)
    agreed = 0
    with tempfile.TemporaryDirectory() as folder, world(Path(folder)) as at:
        proxy = FaultProxy(at.server.port)
        try:
            url = f"nats://127.0.0.1:{proxy.port}"
            bridge = at.start(url)
            replicas = [
                at.replica(rng.choice(TOPICS), url if rng.random() < 0.5 else at.url) for _ in range(REPLICAS)
            ]
            at.publish()
            at.agree(*replicas, timeout_s=AGREE_S)
            for _ in range(ROUNDS):
                what = rng.choice(("bridge", "server", "cut", "swallowed", "epoch", "late"))
                with at.pour():
                    at.wait_published(rng.randrange(2_000))
                    if what == "bridge":
                        bridge.close()
                        at.wait_published(rng.randrange(2_000))
                        bridge = at.start(url)
                    elif what == "server":
                        at.server.kill()
                        at.wait_published(rng.randrange(2_000))
                        at.server.start()
                    elif what == "cut":
                        proxy.cut()
                    elif what == "swallowed":
                        proxy.black_hole = True
                        at.wait_published(rng.randrange(2_000))
                        proxy.cut()
                        proxy.black_hole = False
                    at.wait_published(rng.randrange(2_000))
                if what == "epoch":
                    at.succeed()
                if what == "late":
                    replicas.append(at.replica())
                at.publish()
                assert bridge.error is None, (what, bridge.error)
                at.agree(*replicas, timeout_s=AGREE_S)
                agreed += len(replicas)
                in_order(at)
        finally:
            proxy.close()
    return agreed


def in_order(at: World) -> None:
    numbers = eventually(lambda: stored_numbers(at.url))
    assert numbers == sorted(set(numbers))
