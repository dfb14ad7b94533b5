"""A person who trades by hand beside the strategies."""

from typing import Any

from markets.opportunities import EventView
from markets.orders import Intent
from tests.trader.world import (
    EPOCH,
    NOW_MS,
    data,
    filled,
    live,
    quiet,
    start,
)
from trader.engine.asks import AnyAsk, Confirm, Prepare, Ticket
from trader.engine.engine import Engine
from trader.engine.inputs import ByHand
from trader.engine.outputs import AnyOutput, Place, Prepared, Undone, encode_outputs

HOME = "KXMLSGAME-26AUG19E1-HOM"


class Person:
    """An engine, a person before it, and the log of both."""

    def __init__(self, **changes: Any) -> None:
        self.engine = Engine()
        self.log: list[tuple[int, Any, bytes]] = []
        self.now_ms = NOW_MS
        self.step(start(**changes))
        self.step(live())
        self.step(data(quiet(9)))

    def step(self, taken: Any) -> list[AnyOutput]:
        outputs = self.engine.step(taken)
        self.log.append((len(self.log) + 1, taken, encode_outputs(outputs)))
        return outputs

    def ask(self, ask: AnyAsk, *views: EventView) -> list[AnyOutput]:
        at = (self.now_ms, self.now_ms - NOW_MS)
        return self.step(ByHand(*at, epoch=EPOCH, seq=7, complete_ms=self.now_ms, views=views, ask=ask))

    def ticket(self, ask: Prepare, *views: EventView) -> Ticket:
        (ticket,) = [one.ticket for one in self.ask(ask, *views) if isinstance(one, Prepared)]
        return ticket

    def place(self, ask: Prepare, *views: EventView) -> Intent:
        (intent,) = placed(self.ask(Confirm(self.ticket(ask, *views).number), *views))
        return intent

    def hold(self, ask: Prepare, *views: EventView) -> Intent:
        intent = self.place(ask, *views)
        self.step(filled(intent, self.now_ms))
        return intent


def placed(outputs: list[AnyOutput]) -> list[Intent]:
    return [output.intent for output in outputs if isinstance(output, Place)]


def undone(outputs: list[AnyOutput]) -> list[tuple[str, int]]:
    return [(output.reason, output.count_e2) for output in outputs if isinstance(output, Undone)]


def wanted(count_e2: int = 1_000, price_e4: int = 3_600, **changes: Any) -> Prepare:
    return Prepare(**{"ticker": HOME, "side": "yes", "count_e2": count_e2, "price_e4": price_e4, **changes})
