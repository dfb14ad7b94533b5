"""What every broker can do: the seam between the session, which decides, and whatever carries orders out.

A broker neither blocks nor calls back: it reports what has become of orders when it is asked what is due. An
order may fill in parts over minutes, rest, be cancelled, or be lost sight of and found later; whatever
happens, each fill is reported exactly once and each order ends at most once. What is reported about an order
that is not open is logged as an error, and booked only if it is a fill with an exchange's id. A broker keeps
nothing that must survive the process: the journal does, and `recover` starts from what the journal has.
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

    `before` is the order as it was before a change that was requested but not yet answered; None without one.
    """

    intent: Intent
    progress: Progress
    before: Intent | None = None


class QueuePlace(NamedTuple):
    """How many contracts of others were ahead of an order at its price, at that time; None: now."""

    ahead_e2: int
    as_of_ms: int | None = None


class Broker(Protocol):
    """Carries orders out for one session, by the session's clock: in a replay that of the recording."""

    @property
    def next_ms(self) -> int | None:
        """When something is due at the earliest, by the session's steady clock; None if unknown."""
        ...

    @property
    def watched(self) -> AbstractSet[str]:
        """Tickers of the markets whose every change `observe` must be given."""
        ...

    @property
    def queued(self) -> Mapping[int, QueuePlace]:
        """The place in the queue of each resting order, as far as it is known; for display only."""
        ...

    def place(self, intent: Intent, present: Present) -> None:
        """Send an order on its way. It is already in the journal, durably."""
        ...

    def cancel(self, number: int, present: Present) -> None:
        """Request the cancellation of an order. `due` says what came of it: a fill may have been quicker."""
        ...

    def amend(self, number: int, price_e4: int, count_e2: int, present: Present) -> None:
        """Request another price or count for a resting order. `due` says what came of it."""
        ...

    def carry_out(self) -> None:
        """Take note that everything decided in one step has been passed on."""
        ...

    @property
    def heard(self) -> int:
        """Number of the order gateway's last event that was passed on; 0 without a gateway."""
        ...

    def due(
        self, present: Present, market: Markets, refuse: str | None, floor_ms: int
    ) -> Sequence[AnyOrderEvent | ForeignFill]:
        """Return, in order, what has become of orders up to `present`, and forget it.

        A gateway also reports fills of orders that nobody placed here.

        Args:
            market: the markets as they are at `present`.
            refuse: why nothing may be filled now, None if it may. Only the paper broker obeys it.
            floor_ms: prices seen before this fill nothing; again, with the paper broker only.
        """
        ...

    def observe(self, market: MarketView, present: Present) -> None:
        """Look at a market that has changed."""
        ...

    def traded(self, trade: Trade, present: Present) -> None:
        """Take a public trade in a watched market."""
        ...

    def recover(self, standing: Sequence[OpenOrder]) -> Sequence[AnyOrderEvent | ForeignFill]:
        """Take over the open orders of the previous process; return what is known of them at once.

        An order of which nothing is known yet stays open, and `due` says more. What the journal has not
        booked yet is reported as if it had just happened; if an order's fate is unknown, that is reported
        again.
        """
        ...
