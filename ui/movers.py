"""Asks the snapshot server, whose history is the only one, which markets have moved."""

from collections.abc import Callable, Mapping
from typing import Final

import structlog

from bus.market_history import HistoryRefused, Movers
from bus.process.lifecycle import Stop
from bus.threads import Owner
from markets.errors import KalshiBusError

from .pages.explore import SHOWS

log = structlog.get_logger()

WINDOWS_S: Final = tuple(sorted({show.window_s for show in SHOWS.values() if show.window_s is not None}))

LOOKED_NS: Final = 60_000_000_000
"""How long movers are kept current after somebody looked."""

EVERY_S: Final = 5.0
SELDOM_S: Final = 60.0
"""How often it is asked about a window while somebody looks, and otherwise, for the first look."""

SOON_S: Final = 0.3
"""When to ask again after it said that it is still working them out."""

Ask = Callable[[int], Movers]
"""Asks for the movers of a window (seconds)."""


class MoversLink:
    """Call `run` in a thread of its own; everything else from any.

    Attributes:
        latest: window (seconds) -> its latest movers.
        silent: why there may be nothing newer; "" while the server answers.
    """

    def __init__(self, ask: Ask, steady_ns: Callable[[], int]) -> None:
        self.latest: Mapping[int, Movers] = {}
        self.silent = ""
        self._ask = ask
        self._steady_ns = steady_ns
        self._looked_ns: dict[int, int] = {}
        self._asked_ns: dict[int, int] = {}
        self._owner = Owner("the asking for movers")

    def look(self, window_s: int) -> None:
        """Note that somebody is looking at the movers of a window."""
        self._looked_ns[window_s] = self._steady_ns()

    def run(self, stop: Stop) -> None:
        """Ask until `stop`."""
        self._owner.check()
        while not stop.wait(SOON_S):
            self.update()

    def update(self) -> None:
        """Ask about the windows that are due."""
        now_ns = self._steady_ns()
        for window_s in WINDOWS_S:
            looked_ns, asked_ns = self._looked_ns.get(window_s), self._asked_ns.get(window_s)
            looks = looked_ns is not None and now_ns - looked_ns <= LOOKED_NS
            every_ns = int((EVERY_S if looks else SELDOM_S) * 1e9)
            if asked_ns is None or now_ns - asked_ns >= every_ns:
                self._asked_ns[window_s] = now_ns
                self._ask_about(window_s)

    def _ask_about(self, window_s: int) -> None:
        try:
            found = self._ask(window_s)
        except HistoryRefused as refused:
            self.silent = str(refused)
            if refused.code == "not_ready":
                del self._asked_ns[window_s]
        except KalshiBusError as error:
            if not self.silent:
                log.info("movers.unanswered", error=str(error))
            self.silent = "the snapshot server does not answer"
        else:
            self.latest, self.silent = {**self.latest, window_s: found}, ""
