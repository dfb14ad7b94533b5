"""Polls the trader once a second in a thread of its own: its status, and its lists when they grow."""

from typing import Any, Final, Protocol, TypeVar

import msgspec
import structlog

from bus.process.lifecycle import Stop
from bus.protocol.answers import Refusal
from bus.threads import Owner
from bus.trading.shapes import FillsAnswer, OrdersAnswer, SettlementsAnswer, TraderStatus, told
from markets.errors import KalshiBusError

from .seen import TraderSeen

log = structlog.get_logger()

EVERY_S: Final = 1.0
TIMEOUT_MS: Final = 1_000
ROWS: Final = 500
"""The newest of each list: more in one second would not be sent individually anyway."""

T = TypeVar("T")


class Asks(Protocol):
    """What the link needs of a bus.ask.Asker."""

    def ask(self, question: dict[str, Any], timeout_ms: int) -> dict[str, Any]: ...

    def close(self) -> None: ...


class TraderLink:
    """Any thread may read `seen`; all else belongs to the thread that runs."""

    def __init__(self, asker: Asks) -> None:
        self.seen = TraderSeen()
        self._asker = asker
        self._counts: tuple[object, ...] = ()
        self._problem: str | None = None
        self._owner = Owner("the alerts' link to the trader")

    def run(self, stop: Stop) -> None:
        """Ask until `stop`."""
        try:
            while not stop.is_set():
                self.refresh()
                stop.wait(EVERY_S)
        finally:
            self._asker.close()

    def refresh(self) -> None:
        """Ask once; if there is no answer, the last one is kept and marked as such."""
        self._owner.check()
        try:
            self.seen = self._look(self.seen)
            self._problem = None
        except KalshiBusError as error:
            if not isinstance(error, Refusal) and str(error) != self._problem:
                self._problem = str(error)
                log.info("alerts.trader", error=self._problem)
            self._counts = ()
            self.seen = msgspec.structs.replace(self.seen, answers=False)

    def _look(self, before: TraderSeen) -> TraderSeen:
        status = self._take("status", TraderStatus)
        made = msgspec.structs.replace(before, answers=True, status=status)
        counts = (
            status.journal, status.started, status.orders, status.fills, status.settlements,
            status.open_orders, status.unknown_orders,
        )  # fmt: skip
        if counts != self._counts:
            made = msgspec.structs.replace(
                made,
                fills=self._take("fills", FillsAnswer, limit=ROWS).fills,
                orders=self._take("orders", OrdersAnswer, limit=ROWS).orders,
                settlements=self._take("settlements", SettlementsAnswer, limit=ROWS).settlements,
            )
            self._counts = counts
        return made

    def _take(self, op: str, type_: type[T], **parameters: int) -> T:
        return told(self._asker.ask({"op": op, **parameters}, TIMEOUT_MS), type_)
