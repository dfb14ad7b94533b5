"""Plays a recording to a subscriber, for the tests of programs that use the bus: see docs/recording.md."""

import random
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import zmq

from bus.process.lifecycle import Stop
from bus.tape.file import Recording
from bus.tape.player import MAX_SPEED, Player, serve

from .clock import SystemClock
from .replica import Replica
from .sockets import make_context


class Replayed:
    """A replay running in this process, paused at its beginning.

    Attributes:
        feed, state: its endpoints.
        player: its controls and counters.
    """

    def __init__(self, context: zmq.Context[Any], folder: Path, player: Player) -> None:
        self.feed = f"ipc://{folder}/feed.sock"
        self.state = f"ipc://{folder}/state.sock"
        self.player = player
        self._context = context
        self._replicas: list[Replica] = []

    def replica(self, **options: Any) -> Replica:
        """Return a started replica of the replay, already live; `options` as for `Replica`."""
        replica = Replica(self._context, self.feed, self.state, SystemClock(), random.Random(1), **options)
        self._replicas.append(replica)
        replica.start()
        assert replica.wait(lambda r: r.status().live, 10), replica.status()
        return replica

    def resume(self) -> None:
        """Start playing."""
        self.player.control({"action": "resume"}, 0)

    def wait_end(self, timeout_s: float = 60) -> None:
        """Wait until the recording has ended and every replica from `replica` has all of it."""
        assert self.player.wait_end(timeout_s), self.player.status()
        epoch, seq = self.player.position
        for replica in self._replicas:
            assert replica.wait(lambda r: (r.state.epoch, r.state.seq) == (epoch, seq), timeout_s), (
                replica.status()
            )

    def close(self) -> None:
        for replica in self._replicas:
            replica.stop()


@contextmanager
def replay_of(path: str | Path, speed: float = MAX_SPEED) -> Iterator[Replayed]:
    """Replay a recording in this process until the block ends; it waits for `resume`."""
    clock = SystemClock()
    player = Player(Recording(Path(path)), clock, clock.now_ms(), speed, paused=True)
    context, stop = make_context(), Stop()
    with tempfile.TemporaryDirectory(prefix="kb-") as folder:
        replayed = Replayed(context, Path(folder), player)
        thread = threading.Thread(target=serve, args=(context, replayed.feed, replayed.state, player, stop))
        thread.start()
        try:
            yield replayed
        finally:
            replayed.close()
            stop.set()
            thread.join()
            stop.close()
            context.term()
