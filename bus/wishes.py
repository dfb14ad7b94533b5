"""Wishes: which markets' order books and price history somebody wants, passed on towards the publisher.

A wish is op `watch` of docs/protocol.md. The dashboard wishes for what people look at, the snapshot server
passes on what it is asked; neither waits for anybody, since a separate thread does the asking.
"""

import threading
from collections.abc import Sequence
from typing import Any, Final

import structlog

from bus.process.lifecycle import Stop
from bus.protocol.answers import MAX_WISHED
from markets.errors import KalshiBusError

from .ask import Asker, NoAnswer
from .threads import Owner

log = structlog.get_logger()

EVERY_S: Final = 0.2
"""The first wish is sent at once, those that follow together after this time."""

MAX_WAITING: Final = 10_000
"""Wishes beyond these are dropped: they would only displace one another at the publisher."""

_TIMEOUT_MS: Final = 1_000


class Wishes:
    """`wish` from any thread; `run` in a thread of its own, which may wait for a server that is away.

    Args:
        endpoints: each answers op `watch` and is sent every wish: `state` or `query`.
    """

    def __init__(self, context: Any, *endpoints: str) -> None:
        self._context = context
        self._endpoints = endpoints
        self._lock = threading.Lock()
        self._waiting: dict[tuple[str, str], float] = {}
        self._wake = threading.Event()
        self._owner = Owner("the passing on of wishes")

    def wish(self, tickers: Sequence[str], ttl_s: float, what: str) -> None:
        """Wish for `what` (one of bus.protocol.answers.WISHES) of these markets for `ttl_s` seconds.

        Of several waiting wishes for one market the longest counts, as it would at the publisher.
        """
        with self._lock:
            for ticker in tickers:
                # Taken out first, so that the latest wish is also the last in order.
                self._waiting[what, ticker] = max(ttl_s, self._waiting.pop((what, ticker), 0.0))
            lost = max(0, len(self._waiting) - MAX_WAITING)
            for _ in range(lost):
                self._waiting.popitem()
        if lost:
            log.warning("wishes.dropped", tickers=lost, waiting=MAX_WAITING)
        self._wake.set()

    def wake(self) -> None:
        """End a wait at once, to stop."""
        self._wake.set()

    def run(self, stop: Stop) -> None:
        """Pass wishes on until `stop`; call `wake` after setting it.

        What cannot be passed on is forgotten: those who still wish for it ask again.
        """
        self._owner.check()
        askers = [Asker(self._context, endpoint) for endpoint in self._endpoints]
        try:
            while not stop.is_set():
                self._wake.wait()
                self._wake.clear()
                for what, ttl_s, tickers in self._take():
                    for asker in askers:
                        if not stop.is_set():
                            self._pass_on(asker, what, ttl_s, tickers)
                stop.wait(EVERY_S)
        finally:
            for asker in askers:
                asker.close()

    def _take(self) -> list[tuple[str, float, list[str]]]:
        """Return what waits, as questions small enough to be answered."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        groups: dict[tuple[str, float], list[str]] = {}
        for (what, ticker), ttl_s in waiting.items():
            groups.setdefault((what, ttl_s), []).append(ticker)
        return [
            (what, ttl_s, tickers[first : first + MAX_WISHED])
            for (what, ttl_s), tickers in groups.items()
            for first in range(0, len(tickers), MAX_WISHED)
        ]

    def _pass_on(self, asker: Asker, what: str, ttl_s: float, tickers: list[str]) -> None:
        question = {"op": "watch", "tickers": tickers, "ttl_s": ttl_s, "what": what}
        try:
            answer = asker.ask(question, _TIMEOUT_MS)
        except NoAnswer:
            log.info("wishes.unanswered", tickers=len(tickers))
        except KalshiBusError as error:
            log.warning("wishes.failed", error=str(error))
        else:
            if not answer.get("ok"):
                log.warning("wishes.refused", error=answer.get("error"))
