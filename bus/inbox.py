"""Hands what a replica reports from its thread to another, exactly up to a position."""

import sys
import threading
from collections.abc import Sequence
from typing import Final

from bus.protocol.join import Action, Tell
from bus.protocol.state import Changed
from bus.scan.rescan import MOVED, Batch, batch_of
from bus.threads import Owner

MAX_KEYS: Final = 500_000
"""How many changed records may wait for a reader: some 10 MB. Beyond that anything may have changed."""


class Inbox:
    """What the replica has reported and the reader has not yet taken."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._pending: list[Changed] = []
        self._keys = 0
        self._whole = False
        self._dropped = 0
        """Everything up to here that is not pending may have changed."""
        self._heard = (0, 0)
        self._owner = Owner("what an inbox hears")

    def __len__(self) -> int:
        return len(self._pending)

    def listen(self, actions: Sequence[Action]) -> None:
        """Take note of what the replica did. The replica's thread calls this."""
        self._owner.check()
        with self._condition:
            for action in actions:
                if isinstance(action, Changed):
                    self._add(action)
                    self._heard = (self._heard[0], action.seq)
                elif isinstance(action, Tell) and action.event in MOVED:
                    self._pending, self._keys, self._whole, self._dropped = [], 0, True, 0
                    # Without a position (a snapshot shown unconfirmed) it reaches as far as the state.
                    self._heard = (action.detail["epoch"], action.detail.get("seq", sys.maxsize))
            self._condition.notify_all()

    def _add(self, changed: Changed) -> None:
        self._pending.append(changed)
        self._keys += _keys(changed)
        if self._keys > MAX_KEYS:
            self._pending, self._keys, self._whole, self._dropped = [], 0, True, changed.seq

    def wait(self, timeout_s: float) -> bool:
        """Wait for something to take; return whether there is."""
        with self._condition:
            return self._condition.wait_for(lambda: bool(self._pending or self._whole), timeout_s)

    def take(self, epoch: int, seq: int, timeout_s: float) -> Batch | None:
        """Return everything that led to (epoch, seq) since the last call; None if that does not come in time.

        A replica changes its state a moment before it reports the change, so a position may be ahead of its
        changes.
        """
        with self._condition:
            if not self._condition.wait_for(
                lambda: self._heard[0] == epoch and self._heard[1] >= seq, timeout_s
            ):
                return None
            taken = [changed for changed in self._pending if changed.seq <= seq]
            self._pending = self._pending[len(taken) :]
            self._keys = sum(map(_keys, self._pending))
            whole, self._whole = self._whole, self._whole and seq < self._dropped
        batch = batch_of(taken)
        return Batch(commit=batch.commit, whole=True) if whole else batch


def _keys(changed: Changed) -> int:
    return 5 + sum(len(keys) for _, keys in changed.groups)
