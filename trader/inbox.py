"""What the engine's thread has been told and has not yet taken: changes of the feed, commands of people."""

import threading
from collections import deque
from collections.abc import Sequence

import msgspec

from bus.protocol.join import Action, Tell
from bus.protocol.state import Changed
from bus.scan.rescan import MOVED, Batch, batch_of


class Request:
    """A command of a person, and its answer: the trader's state, once the engine has taken it."""

    def __init__(self, op: str, reason: str) -> None:
        self.op = op
        self.reason = reason
        self._done = threading.Event()
        self._state: str | None = None

    def answer(self, state: str) -> None:
        """Say that it is done."""
        self._state = state
        self._done.set()

    def wait(self, timeout_s: float) -> str | None:
        """Return the state afterwards, None if the engine has not taken it in time."""
        self._done.wait(timeout_s)
        return self._state


class Inbox:
    """A queue between threads. `take` and `wait` belong to the engine's thread."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._changed: list[Changed] = []
        self._whole = False
        self._heard_ns: int | None = None
        self._requests: deque[Request] = deque()

    def listen(self, actions: Sequence[Action], now_ns: int) -> None:
        """Take what a replica did at `now_ns`. The replica's thread calls this."""
        with self._condition:
            for action in actions:
                if isinstance(action, Changed):
                    self._changed.append(action)
                elif isinstance(action, Tell) and action.event in MOVED:
                    self._changed, self._whole = [], True
                else:
                    continue
                if self._heard_ns is None:
                    self._heard_ns = now_ns
            self._condition.notify_all()

    def ask(self, request: Request) -> None:
        """Hand over a command. Any thread."""
        with self._condition:
            self._requests.append(request)
            self._condition.notify_all()

    def wake(self) -> None:
        """Let the engine's thread look around. Any thread."""
        with self._condition:
            self._condition.notify_all()

    def wait(self, timeout_s: float) -> None:
        """Wait until there is something, or for so long."""
        with self._condition:
            if not (self._changed or self._whole or self._requests):
                self._condition.wait(timeout_s)

    def requests(self) -> list[Request]:
        """Take the commands."""
        with self._condition:
            taken, self._requests = list(self._requests), deque()
        return taken

    def take(self) -> tuple[Batch, int | None]:
        """Take the changes, and when the first of them was heard."""
        with self._condition:
            changed, self._changed = self._changed, []
            whole, self._whole = self._whole, False
            heard_ns, self._heard_ns = self._heard_ns, None
        return msgspec.structs.replace(batch_of(changed), whole=whole), heard_ns
