"""What is known of orders that have not ended, beyond what the ledger has of them. Pure."""

from collections.abc import Callable, Sequence
from typing import Final

from bus.trading import reasons
from markets.orders import Intent, OrderState

KnownOrder = tuple[int, OrderState, str]
"""An open order's number and state, and why its fate is unknown, as the journal has them."""

_TAKING_OFF: Final = (reasons.PAUSED, reasons.DAILY_LOSS)
"""During these, orders that only sell a lot go on resting."""


class Standing:
    """Orders that were sent: which rest, which an exchange has accepted, whose fate is unknown.

    Attributes:
        unknown: order -> why its fate is unknown.
        until_ms: unknown order -> when it counts as not placed unless it is found, if that is known.
    """

    def __init__(self) -> None:
        self.unknown: dict[int, str] = {}
        self.until_ms: dict[int, int] = {}
        self._resting: dict[int, Intent] = {}
        self._sent: set[int] = set()
        self._accepted: set[int] = set()
        self._cancelled: set[int] = set()
        self._cancelling: set[int] = set()

    @property
    def rests(self) -> bool:
        """Whether any order may rest."""
        return bool(self._resting)

    def add(self, intent: Intent) -> None:
        """Take an order that is being sent, or had been when the process began."""
        if intent.time_in_force == "gtc":
            self._resting[intent.number] = intent

    def restore(self, known: KnownOrder) -> None:
        """Take what was reported of an order before the process began; it will not be reported again."""
        number, state, reason = known
        if state in (OrderState.RESTING, OrderState.PARTIAL):
            self.accept(number)
        elif state is OrderState.SENT:
            self.send(number)
        elif state is OrderState.UNKNOWN:
            self.lose(number, reason)

    def cancel_again(self, number: int) -> None:
        """Have `to_cancel` yield an order whose end was asked for before the process began."""
        self._cancelling.add(number)

    def send(self, number: int) -> None:
        """Note that whoever carries the order out has it."""
        self._sent.add(number)

    def state(self, number: int, got_e2: int) -> OrderState:
        """Return the state of an order that has not ended and has filled `got_e2`."""
        if number in self.unknown:
            return OrderState.UNKNOWN
        if got_e2:
            return OrderState.PARTIAL
        if number in self._accepted and number in self._resting:
            return OrderState.RESTING
        return OrderState.SENT if number in self._sent or number in self._accepted else OrderState.INTENDED

    def accept(self, number: int) -> None:
        """Note that an exchange has, or had, the order."""
        self._accepted.add(number)
        self.unknown.pop(number, None)
        self.until_ms.pop(number, None)

    def lose(self, number: int, reason: str, until_ms: int | None = None) -> None:
        """Note that an order's fate is unknown; if it is not found by `until_ms`, it was not placed."""
        self.unknown[number] = reason
        if until_ms is not None:
            self.until_ms[number] = until_ms

    def end(self, number: int) -> bool:
        """Forget an order that has ended; return whether it had been accepted."""
        accepted = number in self._accepted
        self.unknown.pop(number, None)
        self.until_ms.pop(number, None)
        self._resting.pop(number, None)
        self._sent.discard(number)
        self._accepted.discard(number)
        self._cancelled.discard(number)
        self._cancelling.discard(number)
        return accepted

    def withdraw(self, number: int) -> bool:
        """Note that an order's cancellation is requested; return whether this is the first time."""
        if number in self._cancelled:
            return False
        self._cancelled.add(number)
        return True

    def withdrawn(self, number: int) -> bool:
        """Whether an order's cancellation was requested."""
        return number in self._cancelled

    def ask_again(self) -> None:
        """Let `to_cancel` yield again what it has yielded before."""
        self._cancelled.clear()

    def to_cancel(
        self,
        now_ms: int,
        *,
        killed: bool,
        lost: bool = False,
        halts: Sequence[str] = (),
        closes: Callable[[Intent], bool] = lambda _intent: False,
    ) -> list[tuple[int, str]]:
        """Return each order that must not rest any longer, and why: once, until `ask_again`.

        Args:
            killed: no order may rest. lost: the daily loss has reached its limit; only what `closes` may.
            halts: why nothing is traded, worst first; no quote (`post_only`) may rest then, except, in a
                pause or at the daily loss, one that `closes`.
            closes: whether an order only sells a lot.
        """
        stands = not (killed or lost or halts or self._cancelling)
        found: list[tuple[int, str]] = []
        for number, intent in self._resting.items():
            if stands and (intent.expires_ms is None or now_ms < intent.expires_ms):
                continue  # the usual case
            if number in self._cancelled:
                continue
            expired = intent.expires_ms is not None and now_ms >= intent.expires_ms
            past_loss = lost and not killed and not closes(intent)
            pulls = halts if intent.post_only else ()
            if pulls and closes(intent):
                pulls = [word for word in pulls if word not in _TAKING_OFF]
            why = reasons.KILLED if killed else reasons.DAILY_LOSS if past_loss else None
            why = why or (reasons.EXPIRED if expired else next(iter(pulls), None))
            why = why or (reasons.CANCELLED if number in self._cancelling else None)
            if why is not None:
                self._cancelled.add(number)
                self._cancelling.discard(number)
                found.append((number, why))
        return found
