"""Commands of people, from the thread that hears them to the engine's."""

import threading
from collections import deque
from collections.abc import Callable


class ManualCommand:
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


class ManualCommands:
    """A queue of commands. Any thread puts, the engine's takes.

    Args:
        rouse: ends what the engine's thread waits in.
    """

    def __init__(self, rouse: Callable[[], None] = lambda: None) -> None:
        self._rouse = rouse
        self._waiting: deque[ManualCommand] = deque()

    def put(self, command: ManualCommand) -> None:
        """Hand over a command."""
        self._waiting.append(command)
        self._rouse()

    def take(self) -> list[ManualCommand]:
        """Return the commands that wait, oldest first."""
        waiting = self._waiting
        return [waiting.popleft() for _ in range(len(waiting))] if waiting else []
