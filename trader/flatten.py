"""Flattening: rounds of cancelling and closing until nothing is held or ordered, or no more can be done.

A round asks the engine (trader.engine.asks.Flatten), which cancels and sells through the one choke point.
What it does not get away with it tries again in the next round: an order has to end before what it got can
be sold, and only so many orders are sent in a minute. Pure.
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
"""After so many rounds in which nothing could be done it is over."""

_LATER: Final = frozenset({reasons.RETRY_LATER, reasons.ORDERS_PER_MINUTE, reasons.OPEN_ORDERS})
"""Reasons that pass with time."""


class Left(msgspec.Struct, frozen=True):
    """What stays, and why: `count_e2` of the position in `ticker`."""

    ticker: str
    count_e2: int
    reason: str


class Flattening:
    """One flattening, from its first round on.

    Attributes:
        number: counts those since the trader started, from 1.
        began_ms, ended_ms: by the steady clock; the latter None while it goes on.
        due_ms: when the next round is.
        rounds, cancels, sales: how many there were so far.
        left: what stayed in the last round. open: orders that had not ended after it.
    """

    def __init__(self, number: int, steady_ms: int) -> None:
        self.number = number
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
        """End it as it is: somebody wants trading to go on."""
        if self.ended_ms is None:
            self.ended_ms = steady_ms

    def note(self, outputs: Sequence[AnyOutput], ledger: Ledger, steady_ms: int) -> None:
        """Take what a round has done, and the ledger after it."""
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
