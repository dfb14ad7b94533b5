"""Errors raised while scanning an event, which cost that event alone: which stand, and which are news."""

from collections.abc import Sequence
from typing import Final

import msgspec

from markets.opportunities import Failure

NEWS_MAX: Final = 20
"""How much is kept for `take`: an error that every event raises must not flood the log."""


class Failures:
    """What failed on each event when last tried. A caller that tries again reports what fails then.

    Attributes:
        standing: by event ticker; without tracebacks.
    """

    def __init__(self) -> None:
        self.standing: dict[str, tuple[Failure, ...]] = {}
        self._news: list[Failure] = []

    def note(self, event_ticker: str, failures: Sequence[Failure]) -> None:
        """Replace an event's failures with these; what is new among them is news."""
        if not failures:
            self.standing.pop(event_ticker, None)
            return
        known = {failure.part for failure in self.standing.get(event_ticker, ())}
        news = [failure for failure in failures if failure.part not in known]
        self._news += news[: max(0, NEWS_MAX - len(self._news))]
        self.standing[event_ticker] = tuple(
            msgspec.structs.replace(failure, trace="") for failure in failures
        )

    def take(self) -> list[Failure]:
        """Return what has begun to fail since the last call, for a log: each once, at most NEWS_MAX."""
        news, self._news = self._news, []
        return news
