"""Commands of people, from the thread that hears them to the engine's."""

import threading
from collections import deque
from collections.abc import Callable, Sequence

from trader.engine.asks import AnyAsk
from trader.engine.outputs import AnyOutput


class ManualCommand:
    """A command of a person, and its answer: the trader's state, once the engine has taken it.

    Attributes:
        ask: what a person asks of the engine, None for pause, resume and kill.
        outputs: what was decided on it, once it is answered.
        flattening: the number of the flattening that it began, or that goes on.
    """

    def __init__(self, op: str, reason: str, ask: AnyAsk | None = None) -> None:
        self.op = op
        self.reason = reason
        self.ask = ask
        self.outputs: Sequence[AnyOutput] = ()
        self.flattening: int | None = None
        self._done = threading.Event()
        self._state: str | None = None

    def answer(self, state: str, outputs: Sequence[AnyOutput] = ()) -> None:
        """Say that it is done."""
        self.outputs = outputs
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
