"""Flattening: rounds of cancelling and selling until nothing is held or ordered, or no more can be done.

A round asks the engine (trader.engine.asks.Flatten), which cancels and sells through the one choke point.
Whatever it cannot sell yet is tried again in the next round: an order must end before its fills can be sold,
and the number of orders per minute is limited. Pure.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from bus.trading import reasons
from trader.engine.outputs import AnyOutput, Cancel, Place, Undone
from trader.ledger.ledger import Ledger

ROUND_MS: Final = 1_000
GIVE_UP_MS: Final = 90_000
IDLE_ROUNDS: Final = 3
"""How many rounds without anything to do end it."""

_LASTING: Final = {reasons.KILLED, reasons.HALTED, reasons.DRIFT, reasons.OTHER_ACCOUNT}
"""Why nothing is traded until a person does something about it."""

_LATER: Final = frozenset(
    {reasons.RETRY_LATER, reasons.ORDERS_PER_MINUTE, reasons.OPEN_ORDERS, reasons.STALE_LEG, reasons.DEGRADED}
) | (reasons.HALTS.keys() - _LASTING)
"""Reasons that pass with time."""


class Left(msgspec.Struct, frozen=True):
    """What is left of a position, `count_e2` contracts in `ticker`, and why."""

    ticker: str
    count_e2: int
    reason: str


class Flattening:
    """One flattening, from its first round on.

    Attributes:
        number: counts flattenings since the trader started, from 1.
        least_e4: the least prices on the ticket confirmed last (`People.least_e4`); they hold for as long as
            it goes on, also if a session ends meanwhile.
        began_ms, ended_ms: by the steady clock; the latter None while it goes on.
        due_ms: when the next round is due.
        rounds, cancels, sales: how many there have been.
        left: what was left after the last round. open: how many orders had not ended after it.
    """

    def __init__(self, number: int, steady_ms: int) -> None:
        self.number = number
        self.least_e4: dict[str, int | None] = {}
        self.began_ms = self.due_ms = steady_ms
        self.ended_ms: int | None = None
        self.rounds = self.cancels = self.sales = self.open = 0
        self.left: tuple[Left, ...] = ()
        self._idle = 0

    @property
    def flat(self) -> bool:
        """Whether it is over, and nothing is held or ordered."""
        return self.ended_ms is not None and not self.open and not self.left

    def stop(self, steady_ms: int) -> None:
        """End it early: somebody wants trading to go on."""
        if self.ended_ms is None:
            self.ended_ms = steady_ms

    def note(self, outputs: Sequence[AnyOutput], ledger: Ledger, steady_ms: int) -> None:
        """Note what a round did, and the ledger after it."""
        self.rounds += 1
        self.due_ms = steady_ms + ROUND_MS
        sales = sum(isinstance(output, Place) for output in outputs)
        cancels = sum(isinstance(output, Cancel) for output in outputs)
        self.sales += sales
        self.cancels += cancels
        because: dict[str, str] = {}
        for output in outputs:
            if isinstance(output, Undone):
                because.setdefault(output.subject, output.reason)
        self.left = tuple(
            Left(ticker, position.count_e2, because.get(ticker, reasons.RETRY_LATER))
            for ticker, position in sorted(ledger.positions.items())
        )
        self.open = len(ledger.open)
        waits = self.open or any(left.reason in _LATER for left in self.left)
        self._idle = 0 if sales or cancels or waits else self._idle + 1
        flat = not self.open and not self.left
        if flat or self._idle >= IDLE_ROUNDS or steady_ms - self.began_ms >= GIVE_UP_MS:
            self.ended_ms = steady_ms
