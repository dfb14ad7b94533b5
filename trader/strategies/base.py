"""The interface between engine and strategy."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from markets.opportunities import EventView, Opportunity
from markets.orders import Fill, Intent, Proposal, Wanted


class Update(msgspec.Struct, frozen=True):
    """One event has changed: its view and all its candidates, best first, tradable or not."""

    view: EventView
    opportunities: Sequence[Opportunity]
    now_ms: int


class Strategy(Protocol):
    """What the engine calls, in one thread and in the order of its inputs."""

    name: str

    def on_start(self, now_ms: int) -> None:
        """Begin. Positions of an earlier process are held already."""
        ...

    def on_update(self, update: Update) -> Sequence[Proposal]:
        """Say what to buy now that an event has changed, best first."""
        ...

    def on_fill(self, intent: Intent, fills: Sequence[Fill], now_ms: int) -> None:
        """Hear how an order of this strategy has ended; without fills it got nothing."""
        ...

    def on_timer(self, now_ms: int) -> None:
        """Hear that time passes, about once a second."""
        ...


class Quiet:
    """A strategy that keeps no state: only `on_update` says anything."""

    def on_start(self, now_ms: int) -> None:
        pass

    def on_fill(self, intent: Intent, fills: Sequence[Fill], now_ms: int) -> None:
        pass

    def on_timer(self, now_ms: int) -> None:
        pass


def proposal(strategy: str, opportunity: Opportunity) -> Proposal:
    """Return an opportunity as a proposal to buy all of it."""
    return Proposal(
        strategy=strategy,
        event_ticker=opportunity.event_ticker,
        legs=tuple(Wanted(leg.ticker, leg.side, leg.price_e4, leg.count_e2) for leg in opportunity.legs),
        edge_e6=opportunity.net_edge_e6 or 0,
        probability=opportunity.probability,
    )
