"""No request leaves before the gateway's log has it on disk."""

import sys
from collections.abc import Iterator

import pytest

from bus.trading.gateway import PlaceAsk
from tests.publisher.orders.floor import Floor
from tests.support import Runner, eventually

pytestmark = pytest.mark.slow

HELD = """
import os, sys, time
from bus.process.lifecycle import main
from publisher.orders.run import run

synced = os.fdatasync

def held(file):
    if os.path.exists(sys.argv[1]):
        print("syncs", flush=True)
        while os.path.exists(sys.argv[1]):
            time.sleep(0.01)
    synced(file)

os.fdatasync = held
sys.exit(main("orders", run))
"""
"""A gateway on a disk that takes its time while a file is there."""


@pytest.fixture
def floor(runner: Runner) -> Iterator[Floor]:
    floor = Floor(runner, "--tier", "none")
    yield floor
    floor.close()


def test_an_order_waits_for_the_disk_and_then_leaves(floor: Floor) -> None:
    hold = floor.runner.folder / "hold"
    process = floor.runner.start_command([sys.executable, "-c", HELD, str(hold)])
    floor.wait_ready()
    intent = floor.intent()
    hold.touch()
    floor.ask(PlaceAsk(journal=floor.journal, intents=(intent,), source="live"), 200)
    eventually(lambda: "syncs" in process.output())

    seen = [floor.books()["resting_orders"] for _ in range(50)]  # longer than an order is on its way
    assert seen == [[]] * 50

    hold.unlink()
    eventually(lambda: floor.resting() == [intent.client_order_id], what="the order leaves")
