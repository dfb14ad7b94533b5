"""Hands what a replica says from its thread to another one's, exactly up to a position."""

import sys
import threading
from collections.abc import Sequence

from bus.protocol.join import Action, Tell
from bus.protocol.state import Changed
from bus.scan.rescan import MOVED, Batch, batch_of
from bus.threads import Owner


class Inbox:
    """What the replica told and the reader has not yet taken."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._pending: list[Changed] = []
        self._whole = False
        self._heard = (0, 0)
        self._owner = Owner("what an inbox hears")

    def __len__(self) -> int:
        return len(self._pending)

    def listen(self, actions: Sequence[Action]) -> None:
        """Take what the replica did. The replica's thread calls this."""
        self._owner.check()
        with self._condition:
            for action in actions:
                if isinstance(action, Changed):
                    self._pending.append(action)
                    self._heard = (self._heard[0], action.seq)
                elif isinstance(action, Tell) and action.event in MOVED:
                    self._pending, self._whole = [], True
                    # Without a position (a snapshot shown unconfirmed) it is as far as the state is.
                    self._heard = (action.detail["epoch"], action.detail.get("seq", sys.maxsize))
            self._condition.notify_all()

    def wait(self, timeout_s: float) -> bool:
        """Wait for something to take; return whether there is."""
        with self._condition:
            return self._condition.wait_for(lambda: bool(self._pending or self._whole), timeout_s)

    def take(self, epoch: int, seq: int, timeout_s: float) -> Batch | None:
        """Return all that led to (epoch, seq) since the last call; None if that is not heard of in time.

        A replica changes its state a moment before it says so, so a position may be ahead of its changes.
        """
        with self._condition:
            if not self._condition.wait_for(
                lambda: self._heard[0] == epoch and self._heard[1] >= seq, timeout_s
            ):
                return None
            taken = [changed for changed in self._pending if changed.seq <= seq]
            self._pending = self._pending[len(taken) :]
            whole, self._whole = self._whole, False
        batch = batch_of(taken)
        return Batch(commit=batch.commit, whole=True) if whole else batch
