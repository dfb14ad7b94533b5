"""The dashboard's link to the alerts: their latest answer, kept fresh by one thread, and commands to them."""

from contextlib import suppress
from typing import Any, Final

import structlog

from bus.alerting import AlertsAnswer, DoneAnswer
from bus.ask import Asker, ask
from bus.process.lifecycle import Stop
from bus.threads import Owner
from bus.trading.shapes import told
from markets.errors import KalshiBusError

log = structlog.get_logger()

EVERY_S: Final = 1.0
LOOK_MS: Final = 1_000
COMMAND_MS: Final = 3_000


class AlertsLink:
    """Call `run` in a thread of its own; everything else from any.

    Args:
        endpoint: that of the alerts; nothing is asked if `on` is False.
    """

    def __init__(self, context: Any, endpoint: str, *, on: bool) -> None:
        self.on = on
        self.answer: AlertsAnswer | None = None
        """Their last answer; it is kept when they stop answering (see `answers`)."""
        self.answers = False
        self._context = context
        self._endpoint = endpoint
        self._owner = Owner("the dashboard's link to the alerts")
        self._problem: str | None = None

    def run(self, stop: Stop) -> None:
        """Ask until `stop`."""
        self._owner.check()
        asker = Asker(self._context, self._endpoint)
        try:
            while self.on and not stop.is_set():
                self._look(asker)
                stop.wait(EVERY_S)
        finally:
            asker.close()

    def command(self, op: str, **parameters: Any) -> DoneAnswer:
        """Have something done, and fetch the result.

        Raises:
            NoAnswer: nothing answers.
            Refusal: the alerts refuse.
            DecodeError: the answer is faulty.
        """
        question = {"op": op, "id": 1, **parameters}
        done = told(ask(self._context, self._endpoint, question, COMMAND_MS), DoneAnswer)
        # The command is done: a user told that nothing answers would repeat it.
        with suppress(KalshiBusError):
            self._take(ask(self._context, self._endpoint, {"op": "alerts", "id": 1}, LOOK_MS))
        return done

    def _look(self, asker: Asker) -> None:
        try:
            self._take(asker.ask({"op": "alerts"}, LOOK_MS))
        except KalshiBusError as error:
            self.answers = False
            if str(error) != self._problem:
                self._problem = str(error)
                log.info("alerts.unanswered", error=self._problem)

    def _take(self, answer: dict[str, Any]) -> None:
        self.answer = told(answer, AlertsAnswer)
        self.answers, self._problem = True, None
