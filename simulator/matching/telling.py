"""Who hears what of a request: the public through the venue, accounts through the listeners."""

from random import Random

from .book import combined
from .crossing import Venue, Work
from .groups import Group
from .orders import Instrument, Order, OrderSwitches, PrivateListener


class Telling:
    """Tells everybody what has happened, in one order.

    Attributes:
        listeners: who hears what happens to accounts.
    """

    def __init__(self, venue: Venue, switches: OrderSwitches, rng: Random) -> None:
        self.listeners: list[PrivateListener] = []
        self._venue = venue
        self._switches = switches
        self._rng = rng

    def tell(self, work: Work, order: Order | None, instrument: Instrument, now_ms: int) -> None:
        """Announce what one request did; `order` is the one it was about, None for the crowd's."""
        own = any(fills for *_, fills in work.trades)
        first = own and (
            self._switches.fill_before_trade == "first"
            or (self._switches.fill_before_trade == "random" and self._rng.random() < 0.5)
        )
        if not first:
            self._tell_public(work, instrument, now_ms)
        self._tell_private(work, order, now_ms)
        if first:
            self._tell_public(work, instrument, now_ms)
        changes = combined(work.changes)
        if changes or work.trades:
            self._venue.changed(instrument, changes, now_ms)

    def _tell_public(self, work: Work, instrument: Instrument, now_ms: int) -> None:
        for trade_id, price_e4, count_e2, side, fills in work.trades:
            self._venue.traded(instrument, trade_id, price_e4, count_e2, side, bool(fills), now_ms)

    def _tell_private(self, work: Work, order: Order | None, now_ms: int) -> None:
        if self._switches.maker_cancel_before_fill:
            self.orders(work.cancels, now_ms)
        for *_, fills in work.trades:
            for fill in fills:
                for listener in self.listeners:
                    listener.filled(fill)
                    listener.position_changed(fill.order.party, fill.order.instrument, now_ms)
        self.orders(work.makers, now_ms)
        if not self._switches.maker_cancel_before_fill:
            self.orders(work.cancels, now_ms)
        if order is not None:
            self.order(order, now_ms)

    def orders(self, orders: list[Order], now_ms: int) -> None:
        for order in orders:
            self.order(order, now_ms)

    def order(self, order: Order, now_ms: int) -> None:
        for listener in self.listeners:
            listener.order_changed(order, now_ms)

    def group(self, group: Group, what: str, now_ms: int) -> None:
        for listener in self.listeners:
            listener.group_changed(group.party, group.group_id, what, now_ms)
