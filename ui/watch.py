"""Tells the snapshot server which markets somebody looks at: their books and price history come first."""

import threading
from typing import Any, Final

import structlog

from bus.ask import NoAnswer, ask
from bus.process.lifecycle import Stop
from markets.errors import KalshiBusError

log = structlog.get_logger()

TTL_S: Final = 60.0
EVERY_S: Final = 1.0
MOST: Final = 200
_TIMEOUT_MS: Final = 1_000


class Watch:
    """`look` from any thread, `run` in a thread of its own, which may wait for a server that is away."""

    def __init__(self, context: Any, query: str) -> None:
        self._context = context
        self._query = query
        self._lock = threading.Lock()
        self._looked: set[str] = set()

    def look(self, ticker: str) -> None:
        """Note that a market is being looked at now."""
        with self._lock:
            if len(self._looked) < MOST:
                self._looked.add(ticker)

    def run(self, stop: Stop) -> None:
        """Pass on what is looked at until `stop`. What cannot be passed on is forgotten: pages ask again."""
        while not stop.wait(EVERY_S):
            with self._lock:
                tickers, self._looked = sorted(self._looked), set()
            if not tickers:
                continue
            for what in ("book", "candles"):
                self._wish({"op": "watch", "id": 0, "tickers": tickers, "ttl_s": TTL_S, "what": what})

    def _wish(self, question: dict[str, Any]) -> None:
        try:
            answer = ask(self._context, self._query, question, _TIMEOUT_MS)
        except NoAnswer:
            return  # the snapshot server is away; the pages say so by other signs
        except KalshiBusError as error:
            log.warning("watch.failed", error=str(error))
            return
        if not answer.get("ok"):
            log.warning("watch.refused", error=answer.get("error"))
