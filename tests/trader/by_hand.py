"""A person at a console, and the trader they speak to."""

from typing import Any

from tests.trader.stand import Stand
from tests.trader.world import quiet
from trader.manual import ManualCommand
from trader.report import report
from trader.tickets import answer_of, ask_of

HOME = "KXMLSGAME-26AUG19E1-HOM"
BUY = {"ticker": HOME, "side": "yes", "count_fp": "10", "price_dollars": "0.36"}


class Person:
    """Asks a trader on a bench, as the control socket does."""

    def __init__(self, stand: Stand) -> None:
        self.stand = stand
        stand.commit(quiet())
        stand.turns(1)

    def ask(self, op: str, **parameters: Any) -> Any:
        command = ManualCommand(op, "", ask_of(op, parameters))
        self.stand.commands.put(command)
        self.stand.turns(1, ms=10)
        state = command.wait(0)
        assert state is not None
        return answer_of(state, command)

    def status(self) -> Any:
        worker = self.stand.worker
        return report(worker, self.stand.clock.now_ms(), 1, 1).status

    def do(self, what: str, **parameters: Any) -> Any:
        """Prepare something and confirm it."""
        ticket = self.ask("prepare", what=what, **parameters).ticket
        return self.ask("confirm", ticket=ticket.number)

    def buy(self, **changes: Any) -> int:
        (order,) = self.do("buy", **{**BUY, **changes}).orders
        self.stand.turns(5)
        return int(order)
