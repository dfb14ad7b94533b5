"""A journal in memory, with only what a worker must find again when it begins another session."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from markets.orders import Fill, Intent, OrderState, Settlement
from trader.brokers.base import LevelKey
from trader.engine.inputs import AnyInput
from trader.engine.legrisk import Learnt
from trader.engine.marks import KeptMark
from trader.engine.outputs import AnyOutput, Booked, Cancel, Corrected, DailyLoss, Day, Place, Settled
from trader.engine.standing import KnownOrder
from trader.journal.journal import Recovered
from trader.ledger.ledger import Ledger

JOURNAL_ID: Final = "6f0c1f0e-54b5-4a0a-8f4c-2f1f6d2c9a11"


class MemoryJournal:
    """Takes the place of the journal's file, over several sessions.

    To record more, override `placed`, `filled`, `ended`, `settled`, `taken_back` and `other`.

    Args:
        start_e6: starting cash.

    Attributes:
        ledger: set by the caller before another session begins.
    """

    def __init__(self, start_e6: int) -> None:
        self.ledger = Ledger.new(start_e6)
        self._start_e6 = start_e6
        self._sums = Counter({"spent_e6": 0, "fees_e6": 0, "payouts_e6": 0})
        self._counts = {"orders": 0, "fills": 0, "settlements": 0}
        self._next_order = self._next_trade = 1
        self._day, self._day_start_e6 = 0, 0
        self._loss: DailyLoss | None = None
        self._marks: tuple[KeptMark, ...] = ()
        self._places: dict[int, int] = {}
        self._taken: tuple[tuple[LevelKey, int], ...] = ()
        self._leg_risk: tuple[Learnt, ...] = ()
        self._intents: dict[int, Intent] = {}
        self._known: dict[int, KnownOrder] = {}
        self._cancelling: set[int] = set()

    # -- decisions

    def placed(self, intent: Intent) -> None:
        """Take an order that is being sent."""

    def filled(self, intent: Intent, fill: Fill) -> None:
        """Take a fill."""

    def ended(self, intent: Intent) -> None:
        """Take the end of an order, after its fills."""

    def settled(self, settlement: Settlement) -> None:
        """Take a settlement."""

    def taken_back(self, settlement: Settlement) -> None:
        """Take the reversal of a settlement, which is followed by its correction."""

    def other(self, output: AnyOutput) -> None:
        """Take any other output."""

    def write(self, taken: AnyInput, outputs: Sequence[AnyOutput]) -> None:
        """See StepLog."""
        for output in outputs:
            match output:
                case Place():
                    self._place(output.intent)
                case Booked():
                    self._book(output)
                case Cancel():
                    self._cancelling.add(output.number)
                case Settled():
                    self._settle(output.settlement, 1)
                    self.settled(output.settlement)
                case Corrected():
                    self._settle(output.before, -1)
                    self.taken_back(output.before)
                    self._settle(output.settlement, 1)
                    self.settled(output.settlement)
                case Day():
                    self._day, self._day_start_e6 = output.day, output.start_e6
                case DailyLoss():
                    self._loss = output
                case _:
                    self.other(output)

    def _place(self, intent: Intent) -> None:
        self._next_order = max(self._next_order, intent.number + 1)
        self._next_trade = max(self._next_trade, intent.trade + 1)
        self._intents[intent.number] = intent
        self._counts["orders"] += 1
        self.placed(intent)

    def _book(self, booked: Booked) -> None:
        intent = self._intents.get(booked.number)
        if intent is None:
            return
        for fill in booked.fills:
            self._counts["fills"] += 1
            self._sums["spent_e6"] += fill.cost_e6
            self._sums["fees_e6"] += fill.fee_e6
            self.filled(intent, fill)
        if booked.status.ended:
            del self._intents[booked.number]
            self._known.pop(booked.number, None)
            self._cancelling.discard(booked.number)
            self.ended(intent)
        else:
            self._known[booked.number] = (booked.number, booked.status, booked.reason)

    def _settle(self, settlement: Settlement, times: int) -> None:
        self._counts["settlements"] += times
        self._sums["payouts_e6"] += times * (settlement.payout_e6 + settlement.fee_e6)
        self._sums["fees_e6"] += times * settlement.fee_e6

    # -- what a worker needs of a journal

    def recover(self) -> Recovered:
        """Return where the previous session ended."""
        loss = self._loss if self._loss is not None and self._loss.day == self._day else None
        return Recovered(
            journal_id=JOURNAL_ID,
            ledger=self.ledger.copy(),
            next_order=self._next_order,
            next_trade=self._next_trade,
            day=self._day,
            day_start_e6=self._day_start_e6,
            paused=None,
            taken=self._taken,
            marks=self._marks,
            places={
                number: self._places.get(number)
                for number, state, _ in self._known.values()
                if state in (OrderState.RESTING, OrderState.PARTIAL)
            },
            leg_risk=self._leg_risk,
            loss_base_e6=None if loss is None else loss.base_e6,
            loss_latched=loss is not None and loss.latched,
            known=tuple(known for _, known in sorted(self._known.items())),
            cancelling=tuple(sorted(self._cancelling)),
        )

    def order(self, number: int) -> Intent | None:
        return self._intents.get(number)

    def counts(self) -> dict[str, int]:
        return self._counts

    def sums(self) -> dict[str, int]:
        return {"start_e6": self._start_e6, **self._sums}

    def claim(self, source: str) -> None: ...

    def keep_marks(self, marks: Sequence[KeptMark]) -> None:
        self._marks = tuple(marks)

    def keep_places(self, places: Mapping[int, int]) -> None:
        self._places = dict(places)

    def keep_taken(self, levels: Sequence[tuple[LevelKey, int]]) -> None:
        self._taken = tuple(levels)

    def keep_leg_risk(self, learnt: Sequence[Learnt]) -> None:
        self._leg_risk = tuple(learnt)

    def commit(self) -> None: ...

    def checkpoint(self) -> None: ...

    def try_out(self) -> None: ...

    def close(self) -> None: ...
