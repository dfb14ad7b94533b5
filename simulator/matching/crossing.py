"""Where orders meet: the matching of one request, and what rests afterwards. Pure.

Each side has its own prices here: bids for YES, and bids for NO at one dollar less an ask's price.
"""

from collections.abc import Callable
from random import Random
from typing import Protocol
from uuid import UUID

from markets.units import PRICE_ONE_E4

from .book import Change, OrderBook, opposite, own_price, side_of
from .groups import Group
from .ledger import Ledger
from .orders import Fill, Instrument, Order, OrderSwitches, Party, Reason, Refusal, Side, Status


class Venue(Protocol):
    """What the engine asks of, and tells, the exchange it is part of."""

    def book(self, instrument: Instrument) -> OrderBook:
        """Return a market's book."""

    def resting(self, instrument: Instrument) -> list[Order]:
        """Return the users' orders in a market's book, in no particular order, without making a book."""

    def closed_to(self, instrument: Instrument, opening: bool) -> Refusal | None:
        """Return why new orders (`opening`) or cancels are not accepted in a market now; None if they are."""

    def on_grid(self, instrument: Instrument, price_e4: int) -> bool:
        """Whether a YES price is one that the market trades at."""

    def traded(
        self,
        instrument: Instrument,
        trade_id: str,
        price_e4: int,
        count_e2: int,
        taker: Side,
        users: bool,
        time_ms: int,
    ) -> None:
        """Print a public trade; `users`: whether it was a user's, whose position is already booked."""

    def changed(self, instrument: Instrument, changes: list[Change], time_ms: int) -> None:
        """Show the changes of a book."""

    def at(self, time_ms: int, action: Callable[[Order, int], None], order: Order) -> None:
        """Plan `action(order, time_ms)`."""


class Work:
    """What one request does, until it is announced.

    Attributes:
        changes: of the book.
        trades: (trade id, YES price_e4, count_e2, taker's side, the users' fills) of each match.
        makers: users' orders that were met.
        cancels: orders that ended in the process.
        parties: whose orders were filled.
        filled_e2, cost_e6, fees_e6: those of the taker.
    """

    __slots__ = ("cancels", "changes", "cost_e6", "fees_e6", "filled_e2", "makers", "parties", "trades")

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.cancels: list[Order] = []
        self.makers: list[Order] = []
        self.parties: set[Party] = set()
        self.trades: list[tuple[str, int, int, Side, list[Fill]]] = []
        self.filled_e2 = self.cost_e6 = self.fees_e6 = 0


class Crossing:
    """Matches, and keeps what rests.

    Attributes:
        live: order id -> resting order, earliest first.
        groups: order group id -> group.
    """

    def __init__(
        self,
        venue: Venue,
        ledger: Ledger,
        switches: OrderSwitches,
        rng: Random,
        expire: Callable[[Order, int], None],
    ) -> None:
        self.live: dict[str, Order] = {}
        self.groups: dict[str, Group] = {}
        self._venue = venue
        self._ledger = ledger
        self._switches = switches
        self._rng = rng
        self._expire = expire

    def uuid(self) -> str:
        return str(UUID(int=self._rng.getrandbits(128), version=4))

    def available(self, order: Order) -> tuple[int, bool]:
        """Return what an order would meet at its price or better, and whether one of its own is among it."""
        half = self._venue.book(order.instrument).half(opposite(order.side))
        worst = PRICE_ONE_E4 - own_price(order.side, order.price_e4)
        total = sum(count for price, count in half.rungs if price >= worst)
        own = False
        for price, queue in half.orders.items():
            if price >= worst:
                for other in queue:
                    own = own or other.party[0] == order.party[0]
                    total += other.remaining_e2
        return total, own

    def cross(
        self,
        order: Order | None,
        instrument: Instrument,
        side: Side,
        limit_e4: int,
        count_e2: int,
        work: Work,
        now_ms: int,
    ) -> Reason | None:
        """Take from the other side, best price and then earliest first. `order` is None for the crowd.

        Returns why it stopped early (an order of the same account, or lack of cash), None if it did not.
        """
        other = opposite(side)
        half = self._venue.book(instrument).half(other)
        worst = PRICE_ONE_E4 - own_price(side, limit_e4)
        while count_e2:
            price = half.best()
            if price is None or price < worst:
                break
            queue = half.orders.get(price)
            first = queue[0] if queue else None
            maker: Order | None = None
            if first is not None and first.expires_ms is not None and first.expires_ms <= now_ms:
                self.end(first, Reason.EXPIRY_CANCEL, work, now_ms)
                continue
            if first is None or first.ahead_e2:
                size = min(count_e2, half.crowd_at(price) if first is None else first.ahead_e2)
            else:
                if order is not None and first.party[0] == order.party[0]:
                    if order.self_trade == "taker_at_cross":
                        return Reason.SELF_TRADE_CANCEL
                    self.end(first, Reason.SELF_TRADE_CANCEL, work, now_ms)
                    continue
                size, maker = min(count_e2, first.remaining_e2), first
            price_e4 = own_price(other, price)
            if order is not None and not self._ledger.pays(order, price_e4, size):
                return Reason.MARGIN_CANCEL
            if maker is None:
                half.take_crowd(price, size)
            work.changes.append(Change(side_of(other), price, -size))
            self._trade(instrument, order, maker, side, price_e4, size, work, now_ms)
            count_e2 -= size
        return None

    def meet(self, book: OrderBook, instrument: Instrument, side: Side, work: Work, now_ms: int) -> None:
        """Let the crowd's contracts on `side` take the users' orders that they cross."""
        other = opposite(side)
        crowd, users = book.half(side), book.half(other)
        while crowd.rungs and users.orders:
            (price, count), met = crowd.rungs[-1], max(users.orders)
            if price + met < PRICE_ONE_E4:
                return
            maker = users.orders[met][0]
            if maker.expires_ms is not None and maker.expires_ms <= now_ms:
                self.end(maker, Reason.EXPIRY_CANCEL, work, now_ms)
                continue
            size = min(count, maker.remaining_e2)
            work.changes.append(Change(side_of(side), price, crowd.withdraw_crowd(price, size)))
            work.changes.append(Change(side_of(other), met, -size))
            self._trade(instrument, None, maker, side, own_price(other, met), size, work, now_ms)

    def _trade(
        self,
        instrument: Instrument,
        taker: Order | None,
        maker: Order | None,
        side: Side,
        price_e4: int,
        count_e2: int,
        work: Work,
        now_ms: int,
    ) -> None:
        """Book one match; `price_e4` is the YES price of the maker."""
        trade_id = self.uuid()
        fills: list[Fill] = []
        for order, is_taker in ((taker, True), (maker, False)):
            if order is not None:
                fills.append(self._filled(order, trade_id, price_e4, count_e2, is_taker, work, now_ms))
        if fills:
            for order, bought in ((taker, side), (maker, opposite(side))):
                if order is None:
                    self._ledger.crowd(instrument, bought, price_e4, count_e2)
        work.filled_e2 += count_e2
        work.cost_e6 += price_e4 * count_e2
        work.fees_e6 += fills[0].fee_e6 if taker is not None else 0
        work.trades.append((trade_id, price_e4, count_e2, side, fills))

    def _filled(
        self,
        order: Order,
        trade_id: str,
        price_e4: int,
        count_e2: int,
        is_taker: bool,
        work: Work,
        now_ms: int,
    ) -> Fill:
        resting = not is_taker
        order.remaining_e2 -= count_e2
        order.filled_e2 += count_e2
        order.reason, order.updated_ms = Reason.TRADE, now_ms
        if resting:
            if order.remaining_e2:
                self._ledger.touch(order)
            else:
                price = own_price(order.side, order.price_e4)
                self._venue.book(order.instrument).half(order.side).leave(price, order)
                self.forget_live(order)
                order.status = Status.EXECUTED
            work.makers.append(order)
        fill = self._ledger.book(order, trade_id, price_e4, count_e2, is_taker, now_ms)
        work.parties.add(order.party)
        group = self.groups.get(order.group_id) if order.group_id is not None else None
        if group is not None and self.exceeded(group, group.note(count_e2, now_ms)):
            group.triggered = True
        return fill

    def rest(self, order: Order, work: Work, now_ms: int) -> None:
        price = own_price(order.side, order.price_e4)
        self._venue.book(order.instrument).half(order.side).join(price, order)
        self.live[order.order_id] = order
        self._ledger.add(order)
        if order.group_id is not None:
            self.groups[order.group_id].orders[order.order_id] = order
        work.changes.append(Change(side_of(order.side), price, order.remaining_e2, order))
        order.updated_ms = now_ms
        self.plan_expiry(order)

    def plan_expiry(self, order: Order) -> None:
        if order.expires_ms is not None:
            self._venue.at(order.expires_ms, self._expire, order)

    def reduce(self, order: Order, left_e2: int, work: Work) -> None:
        price = own_price(order.side, order.price_e4)
        work.changes.append(Change(side_of(order.side), price, left_e2 - order.remaining_e2, order))
        order.remaining_e2 = left_e2
        self._ledger.touch(order)

    def withdraw(self, order: Order, work: Work) -> None:
        """Remove an order from the book and from all lists of what rests."""
        price = own_price(order.side, order.price_e4)
        self._venue.book(order.instrument).half(order.side).leave(price, order)
        self.forget_live(order)
        work.changes.append(Change(side_of(order.side), price, -order.remaining_e2, order))

    def forget_live(self, order: Order) -> None:
        del self.live[order.order_id]
        self._ledger.drop(order)
        if order.group_id is not None:
            group = self.groups.get(order.group_id)
            if group is not None:
                group.orders.pop(order.order_id, None)

    def end(self, order: Order, reason: Reason, work: Work, now_ms: int) -> None:
        self.withdraw(order, work)
        order.remaining_e2, order.status, order.reason = 0, Status.CANCELED, reason
        order.updated_ms = now_ms
        work.cancels.append(order)

    def exceeded(self, group: Group, filled_e2: int) -> bool:
        if self._switches.group_triggers_when_met:
            return filled_e2 >= group.limit_e2
        return filled_e2 > group.limit_e2
