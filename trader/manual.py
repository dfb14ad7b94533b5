"""Hands people's commands from the thread that receives them to the engine's thread."""

import threading
from collections import deque
from collections.abc import Callable, Sequence

from trader.engine.asks import AnyAsk
from trader.engine.outputs import AnyOutput


class ManualCommand:
    """A person's command, and its answer: the trader's state once the engine has taken it.

    Attributes:
        ask: what it asks of the engine; None for pause, resume and kill.
        outputs: what the engine decided about it, once answered.
        flattening: the number of the flattening that it began, or that is under way.
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
        """Mark it as done; `wait` returns."""
        self.outputs = outputs
        self._state = state
        self._done.set()

    def wait(self, timeout_s: float) -> str | None:
        """Return the state afterwards; None if the engine did not take it in time."""
        self._done.wait(timeout_s)
        return self._state


class ManualCommands:
    """A queue of commands. Any thread puts, the engine's thread takes.

    Args:
        rouse: wakes the engine's thread.
    """

    def __init__(self, rouse: Callable[[], None] = lambda: None) -> None:
        self._rouse = rouse
        self._waiting: deque[ManualCommand] = deque()

    def put(self, command: ManualCommand) -> None:
        """Hand over a command."""
        self._waiting.append(command)
        self._rouse()

    def take(self) -> list[ManualCommand]:
        """Return the waiting commands, oldest first."""
        waiting = self._waiting
        return [waiting.popleft() for _ in range(len(waiting))] if waiting else []
