"""Carries `watch` wishes on to the publisher: for order books, or for price history."""

import contextlib
import queue
from typing import Any, Final

import structlog

from bus.ask import NoAnswer, ask
from bus.process.lifecycle import Stop
from markets.errors import KalshiBusError

log = structlog.get_logger()

MAX_WAITING: Final = 100
_TIMEOUT_MS: Final = 1_000


class Demand:
    """`wish` from any thread, `run` in a thread of its own, which may wait for a publisher that is away."""

    def __init__(self, context: Any, state: str) -> None:
        self._context = context
        self._state = state
        self._wishes: queue.Queue[tuple[list[str], float, str] | None] = queue.Queue(MAX_WAITING)

    def wish(self, tickers: list[str], ttl_s: float, _now_ms: int, what: str) -> None:
        """Pass a wish on, soon. While the publisher is away those beyond MAX_WAITING are lost."""
        try:
            self._wishes.put_nowait((tickers, ttl_s, what))
        except queue.Full:
            log.warning("watch.dropped", waiting=MAX_WAITING)

    def wake(self) -> None:
        """End a wait at once, for the stop."""
        with contextlib.suppress(queue.Full):  # then it is not waiting
            self._wishes.put_nowait(None)

    def run(self, stop: Stop) -> None:
        """Carry wishes until `stop`; call `wake` after setting it."""
        while (wish := self._wishes.get()) is not None and not stop.is_set():
            tickers, ttl_s, what = wish
            question = {"op": "watch", "id": 0, "tickers": tickers, "ttl_s": ttl_s, "what": what}
            try:
                answer = ask(self._context, self._state, question, _TIMEOUT_MS)
            except NoAnswer:
                log.info("watch.unanswered", tickers=len(tickers))
            except KalshiBusError as error:
                log.warning("watch.failed", error=str(error))
            else:
                if not answer.get("ok"):
                    log.warning("watch.refused", error=answer.get("error"))
