"""What every broker can do: the seam between the session, which decides, and whatever carries orders out.

A broker neither waits nor calls back: it says what has become of orders when it is asked what is due. An
order may fill in parts over minutes, rest, be cancelled, or end in the unknown and be found later; whatever
it does, each fill is told exactly once and each order ends at most once: what is told of an order that is not
open goes to the log as an error, and only a fill with an exchange's id is booked all the same. A broker keeps
nothing that must survive the process: the journal does, and `recover` begins from what that has.
"""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple, Protocol

import msgspec

from bus.trading.gateway import ForeignFill
from markets.opportunities import MarketView
from markets.orders import AnyOrderEvent, Intent
from markets.records import Trade
from trader.engine.inputs import Present
from trader.ledger.ledger import Progress

LevelKey = tuple[str, str, int]
"""(ticker, side, price_e4) of a level of asks."""

Markets = Callable[[str], MarketView | None]
"""The market of a ticker as it is at that moment, None if it is not known."""


class OpenOrder(msgspec.Struct, frozen=True):
    """An order that the journal holds as open, and what it has booked of it.

    `before` is the order as it was before a change that was asked for and not answered, None without one.
    """

    intent: Intent
    progress: Progress
    before: Intent | None = None


class QueuePlace(NamedTuple):
    """So many contracts of others are before an order at its price, as of then; None: as of now."""

    ahead_e2: int
    as_of_ms: int | None = None


class Broker(Protocol):
    """Carries orders out, for one session and at its times: in a replay those of the recording."""

    @property
    def next_ms(self) -> int | None:
        """When something is due at the earliest, by the session's steady clock; None: nothing known."""
        ...

    @property
    def watched(self) -> AbstractSet[str]:
        """Tickers of the markets that `observe` is to be told of whenever they change."""
        ...

    @property
    def queued(self) -> Mapping[int, QueuePlace]:
        """The place in the queue of each order that rests, as far as it is known: to be shown, no more."""
        ...

    def place(self, intent: Intent, present: Present) -> None:
        """Send an order on its way. It is in the journal, and lasts."""
        ...

    def cancel(self, number: int, present: Present) -> None:
        """Ask for the end of an order. `due` says what came of it: a fill may have been quicker."""
        ...

    def amend(self, number: int, price_e4: int, count_e2: int, present: Present) -> None:
        """Ask for another price or count of an order that rests. `due` says what came of it."""
        ...

    def carry_out(self) -> None:
        """Take note that all is told that was decided in one step."""
        ...

    @property
    def heard(self) -> int:
        """Number of the last event of an order gateway that was told, 0 where there is none."""
        ...

    def due(
        self, present: Present, market: Markets, refuse: str | None, floor_ms: int
    ) -> Sequence[AnyOrderEvent | ForeignFill]:
        """Return what has become of orders up to `present`, in order, and forget it.

        A gateway tells of fills, too, that are of nobody's orders here.

        Args:
            market: the markets as they are at `present`.
            refuse: why nothing may be filled now, None if it may. Only a broker that plays obeys it.
            floor_ms: prices seen before this fill nothing; the same holds.
        """
        ...

    def observe(self, market: MarketView, present: Present) -> None:
        """Look at a market that has changed."""
        ...

    def traded(self, trade: Trade, present: Present) -> None:
        """Hear of a public trade in a market that is watched."""
        ...

    def recover(self, standing: Sequence[OpenOrder]) -> Sequence[AnyOrderEvent | ForeignFill]:
        """Take over the open orders of the process before; return what is known of them at once.

        Where that is nothing, say nothing: they stay open, and `due` says more. What the journal has not
        booked yet is told as if it had just happened; of what nobody knows, that is told again.
        """
        ...
