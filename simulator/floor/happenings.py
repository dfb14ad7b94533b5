"""What happens in public, and who is told: the WebSocket side listens."""

from dataclasses import dataclass
from typing import Any, Protocol

from simulator.matching.book import Change

from .model import Event, Market


@dataclass(slots=True, eq=False)
class Trade:
    """One public trade, which never changes. `taker` is the outcome the taker bought, "yes" or "no"."""

    trade_id: str
    market: Market
    yes_price_e4: int
    count_e2: int
    taker: str
    time_ms: int
    number: int


class Listener(Protocol):
    """Somebody who wants to hear what happens: the WebSocket side."""

    def quoted(self, market: Market, changes: list[Change], time_ms: int) -> None:
        """A market's quote changed; `changes` are those of its book, empty if nobody ever looked at it."""

    def deepened(self, market: Market, changes: list[Change], time_ms: int) -> None:
        """Levels behind the best changed."""

    def emptied(self, market: Market, time_ms: int) -> None:
        """The book of a closed market is shown empty."""

    def traded(self, trade: Trade) -> None: ...

    def announced(
        self, event_type: str, subject: Market | Event, fields: dict[str, Any], time_ms: int
    ) -> None:
        """A step in the life cycle: an `event_type` of contract 15.5, or "event_created"."""


class Herald:
    """Tells all `listeners`, in the order in which they came.

    Attributes:
        detailed: whether somebody wants to know which levels of a book have changed. If not, what the crowd
            changes is told without them.
    """

    def __init__(self) -> None:
        self.listeners: list[Listener] = []
        self.detailed = True

    def quoted(self, market: Market, changes: list[Change], time_ms: int) -> None:
        """See Listener."""
        for listener in self.listeners:
            listener.quoted(market, changes, time_ms)

    def deepened(self, market: Market, changes: list[Change], time_ms: int) -> None:
        """See Listener."""
        for listener in self.listeners:
            listener.deepened(market, changes, time_ms)

    def emptied(self, event: Event, time_ms: int) -> None:
        """Announce that the books of an event's markets are empty."""
        for market in event.markets:
            for listener in self.listeners:
                listener.emptied(market, time_ms)

    def traded(self, trade: Trade) -> None:
        """See Listener."""
        for listener in self.listeners:
            listener.traded(trade)

    def announced(
        self, event_type: str, subject: Market | Event, fields: dict[str, Any], time_ms: int
    ) -> None:
        """See Listener."""
        for listener in self.listeners:
            listener.announced(event_type, subject, fields, time_ms)

    def of_each_market(self, event: Event, time_ms: int, event_type: str, **fields: Any) -> None:
        """Announce something about every market of an event; callable fields are evaluated per market."""
        if not self.listeners:
            return
        for market in event.markets:
            own = {key: value(market) if callable(value) else value for key, value in fields.items()}
            self.announced(event_type, market, own, time_ms)
