"""The interface between engine and strategy."""

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Protocol

import msgspec

from markets.book import NO, YES
from markets.opportunities import EventView, MarketView, Opportunity
from markets.opportunities.legs import top
from markets.orders import AnyWanted, Fill, Intent, Proposal, Wanted
from markets.records import FairValue
from markets.units import COUNT_ONE_E2, opposite
from trader.extensions.params import Parameters
from trader.ledger.lots import Lot


class Update(msgspec.Struct, frozen=True):
    """One event has changed: its view and all its candidates, best first, tradable or not.

    Attributes:
        lots: what the strategy's own trades hold in this event.
        orders: its own orders there that have not ended.
        cash_e6: the account's cash that no order reserves.
        fair_values: the published ones of the event's markets, by ticker.
        filled: its orders with fills, by number -> hundredths of contracts.
        asked: its orders with a pending change or cancellation, by number.
        accepted: sources of fair values that have passed their trial.
    """

    view: EventView
    opportunities: Sequence[Opportunity]
    now_ms: int
    lots: tuple[Lot, ...] = ()
    orders: tuple[Intent, ...] = ()
    cash_e6: int = 0
    fair_values: Mapping[str, FairValue] = {}
    filled: Mapping[int, int] = {}
    asked: frozenset[int] = frozenset()
    accepted: frozenset[str] = frozenset()


class Strategy(Protocol):
    """What the engine calls, in the order of its inputs.

    It is pure: it keeps no state except what follows from what it was told, reads no clock, file or socket,
    and uses no random numbers. The same calls give the same proposals, so a journal can be decided again.

    Attributes:
        name: appears in orders, journal and pages; it never changes.
    """

    name: str

    def on_start(self, now_ms: int) -> None:
        """Begin. Positions from an earlier process are already held."""
        ...

    def on_update(self, update: Update) -> Sequence[AnyWanted]:
        """Return what to buy, amend or cancel now that an event has changed, best first."""
        ...

    def on_fill(self, intent: Intent, fills: Sequence[Fill], now_ms: int) -> None:
        """Take note that an order of this strategy was filled or has ended."""
        ...

    def on_timer(self, now_ms: int) -> Sequence[AnyWanted] | None:
        """Take note that time passes, about once a second; may return proposals for events with positions."""
        ...


class StrategyMaker(Protocol):
    """Makes a strategy whenever a session begins."""

    @property
    def name(self) -> str:
        """The strategy's name."""
        ...

    def make(self) -> Strategy:
        """Return a new strategy. Any error raised is the strategy's."""
        ...


LoadStrategy = Callable[[str], StrategyMaker]
"""Finds the strategy that a text of the settings names. Raises StartupError if there is none."""


class Quiet:
    """Base of strategies: keeps its parameters and does nothing.

    Override `on_update`, the others if needed, and `Params` if there are parameters. `wants` decides which
    events a strategy hears of, whatever the kinds of opportunity see there; without it, it hears of events
    with something tradable or something held.

    A class that looks only at tradable candidates says so with `only_tradable = True`, for itself and not for
    its subclasses. Then it may be told of no candidates where none can be tradable: nobody has to find them.
    In the same way, one that only ever wants to buy such candidates says `only_buys = True`. Then it is not
    asked about an event that offers none.
    """

    name: str
    Params: ClassVar[type[Parameters]] = Parameters
    wants: ClassVar[Callable[..., bool] | None] = None
    only_tradable: ClassVar[bool] = False
    only_buys: ClassVar[bool] = False

    def __init__(self, params: Parameters | None = None) -> None:
        self.params = self.Params() if params is None else params

    def on_start(self, now_ms: int) -> None:
        pass

    def on_update(self, update: Update) -> Sequence[AnyWanted]:
        return ()

    def on_fill(self, intent: Intent, fills: Sequence[Fill], now_ms: int) -> None:
        pass

    def on_timer(self, now_ms: int) -> Sequence[AnyWanted] | None:
        return None


def exit_of(lot: Lot, seen: MarketView) -> Proposal | None:
    """Return a proposal to sell as many whole contracts of a lot as its best bid takes; None if none."""
    bid = top(seen).bid(lot.side)
    count_e2 = 0 if bid is None else min(bid[1], lot.count_e2) // COUNT_ONE_E2 * COUNT_ONE_E2
    if bid is None or count_e2 <= 0:
        return None
    wanted = Wanted(lot.ticker, NO if lot.side == YES else YES, opposite(bid[0]), count_e2)
    return Proposal(lot.strategy, lot.event_ticker, (wanted,), 0, None, lot.trade, exits=True)


def proposal(strategy: str, opportunity: Opportunity) -> Proposal:
    """Return a proposal to buy all of an opportunity."""
    return Proposal(
        strategy=strategy,
        event_ticker=opportunity.event_ticker,
        legs=tuple([Wanted(leg.ticker, leg.side, leg.price_e4, leg.count_e2) for leg in opportunity.legs]),
        edge_e6=opportunity.net_edge_e6 or 0,
        probability=opportunity.probability,
        kind=opportunity.kind,
    )
