"""Polls the snapshot server, and a replay, for their status."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from bus.ask import ask
from bus.health import HealthAnswer
from bus.process.lifecycle import Stop
from bus.threads import Owner
from markets.errors import KalshiBusError

EVERY_S: Final = 1.0
WATCHED_NS: Final = 15_000_000_000
"""How long the snapshot server is polled after somebody looked."""

_TIMEOUT_MS: Final = 1_000


class Monitor:
    """Polls the snapshot server while somebody looks at the system page, and a replay while one plays.

    Call `run` in a thread of its own; everything else from any.
    """

    def __init__(self, context: Any, query: str, state: str) -> None:
        self._context = context
        self._query = query
        self._state = state
        self._looked_ns: int | None = None
        self._owner = Owner("the monitor")
        self.snapshot_server: HealthAnswer | None = None
        """Its last answer to `health`; None while it does not answer or nobody looks."""
        self.replay: Mapping[str, Any] | None = None
        """The replay's last status; None while none plays."""

    def look(self, now_ns: int) -> None:
        """Note that somebody is looking."""
        self._looked_ns = now_ns

    def command_replay(self, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        """Send a command to the replay; return its status, or its refusal.

        Raises:
            NoAnswer: nothing answers.
        """
        answer = ask(self._context, self._state, {"op": "replay", "id": 1, **parameters}, _TIMEOUT_MS)
        if answer.get("ok"):
            self.replay = answer
        return answer

    def run(self, stop: Stop, steady_ns: Callable[[], int], replaying: Callable[[], bool]) -> None:
        """Ask until `stop`."""
        self._owner.check()
        while not stop.wait(EVERY_S):
            looked_ns = self._looked_ns
            watched = looked_ns is not None and steady_ns() - looked_ns <= WATCHED_NS
            self.snapshot_server = self._health() if watched else None
            status = {"op": "replay", "id": 1, "action": "status"}
            self.replay = self._ask(self._state, status) if replaying() else None

    def _health(self) -> HealthAnswer | None:
        answer = self._ask(self._query, {"op": "health", "id": 1})
        try:
            return None if answer is None else msgspec.convert(answer, HealthAnswer)
        except msgspec.ValidationError:
            return None

    def _ask(self, endpoint: str, question: dict[str, Any]) -> Mapping[str, Any] | None:
        try:
            answer = ask(self._context, endpoint, question, _TIMEOUT_MS)
        except KalshiBusError:
            return None
        return answer if answer.get("ok") else None
