"""A dashboard that has joined the feed."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bus.clock import ManualClock
from bus.process.settings import Settings
from bus.protocol.join import Stats, Tell
from bus.protocol.state import State
from bus.replica import ReplicaStatus
from tests.ui.stage import cycle_end, fill, world
from ui.app import make_app
from ui.desk import Desk
from ui.hub import UpdateHub
from ui.service import Service


class StillReplica:
    """A replica whose state the test moves."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.state = State(1)
        self.heartbeat: Any = None
        self.published_ns = 0

    def now_ms(self) -> int:
        return self.clock.now_ms()

    def status(self) -> Any:
        raise AssertionError("a pass needs no status")


def joined(state: State | None = None) -> tuple[Service, StillReplica]:
    """Return a dashboard that has scanned a state once: this one, or else the stage's."""
    clock = ManualClock()
    service, replica = Service(Settings.load({}, Path("/tmp")), UpdateHub(), clock), StillReplica(clock)
    if state is None:
        fill(replica.state, world(clock.now_ms()))
    else:
        replica.state = state
    with replica.state.lock:
        replica.state.end_cycle(cycle_end(clock.now_ms(), 1))
    service.follow(replica)
    service.inbox.listen([Tell("live", {"epoch": 1, "seq": replica.state.seq})])
    service._pass(True)
    return service, replica


def shown(service: Service, replica: StillReplica, desk: Desk) -> Any:
    """Return a client of the pages, with a trader that has answered this."""
    standing = ReplicaStatus(1, replica.state.seq, True, "live", False, None, (), "live", Stats())
    replica.status = lambda: standing  # type: ignore[method-assign]
    service.trader = SimpleNamespace(desk=desk)  # type: ignore[assignment]
    return make_app(service, print).test_client()
