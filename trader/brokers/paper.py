"""The paper broker: fills an order against the book as it is when the order would have arrived. Pure.

An order that crosses takes every level up to its limit, as far as the book shows it. Each level is a fill
with its fee; an order has one fee accumulator, as at the exchange (a new one after a restart, which can only
overstate fees). Nobody else sees our orders, so what they took stays on display: it is remembered as taken
until the level goes away or shrinks.

What is left is cancelled, or, of an order that is good till cancelled, rests (brokers/queue.py): trades fill
it by its place in the queue, and so does whoever offers at its price or below it, at its price. As at an
exchange, it rests whatever its trader does: neither a kill nor the loss of the feed keeps it from being
filled, only its cancellation, its expiry, or the end of the market. A cancel or amend takes as long as an
order does, and a fill may be quicker.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, NamedTuple

import msgspec

from bus.trading import reasons
from markets.fees import OrderFees, fill_fee
from markets.opportunities import MarketView, ScanLimits
from markets.opportunities.legs import ladder, top
from markets.orders import (
    Accepted,
    Amended,
    AmendRefused,
    AnyOrderEvent,
    Ended,
    Fill,
    Filled,
    Intent,
    OrderState,
    reserve_e6,
)
from markets.records import Status, Trade
from markets.timing import is_open
from trader.engine.inputs import Present
from trader.engine.risk import FUTURE_MS
from trader.engine.taken import observe

from .base import LevelKey, Markets, OpenOrder, QueuePlace
from .queue import MarketQueue, Resting

_OVER: Final = frozenset(
    {Status.CLOSED, Status.DETERMINED, Status.DISPUTED, Status.AMENDED, Status.FINALIZED}
)
"""In a market with one of these statuses no order rests any more; in a paused one orders do."""


class _Arrival(NamedTuple):
    """Something on its way: an order or a change to one; `count_e2` 0 is its cancellation."""

    due_ms: int
    number: int
    intent: Intent | None
    price_e4: int = 0
    count_e2: int = 0


class _Order(msgspec.Struct):
    """An order that has arrived, with its current limits and its fills."""

    intent: Intent
    fees: OrderFees
    got_e2: int = 0
    paid_e6: int = 0
    until_ms: int | None = None
    """When it expires, by the steady clock."""


class PaperBroker:
    """Holds orders on their way, resting orders, and what past orders took.

    Args:
        latency_ms: from `place` to arrival.
        leg_age_ms: prices older than this fill nothing.
        taken: contracts taken of each level before, from the journal.
        places: orders that rested when the previous process ended -> what was ahead of each, None if unknown.
    """

    def __init__(
        self,
        latency_ms: int,
        leg_age_ms: int,
        scan: ScanLimits,
        taken: Iterable[tuple[LevelKey, int]] = (),
        places: Mapping[int, int | None] | None = None,
    ) -> None:
        self._latency_ms = latency_ms
        self._leg_age_ms = leg_age_ms
        self._scan = scan
        self._pending: list[_Arrival] = []
        self._cancelled: set[int] = set()
        self._taken: dict[str, dict[tuple[str, int], int]] = {}
        self._places = {} if places is None else places
        self._queues: dict[str, MarketQueue] = {}
        self._orders: dict[int, _Order] = {}
        self._waiting: list[AnyOrderEvent] = []
        self._waiting_ms: int | None = None
        self._until_ms: int | None = None
        self._watched: set[str] = set()
        for (ticker, side, price_e4), count_e2 in taken:
            self._take(ticker, side, price_e4, count_e2)

    @property
    def next_ms(self) -> int | None:
        """When the next order arrives or expires, or something waits to be reported, by the steady clock."""
        known = [ms for ms in (self._waiting_ms, self._until_ms) if ms is not None]
        if self._pending:
            known.append(self._pending[0].due_ms)
        return min(known, default=None)

    @property
    def taken(self) -> tuple[tuple[LevelKey, int], ...]:
        """Contracts taken of each level that is still there, as the constructor takes them."""
        return tuple(
            ((ticker, side, price_e4), count_e2)
            for ticker, levels in self._taken.items()
            for (side, price_e4), count_e2 in levels.items()
        )

    @property
    def places(self) -> dict[int, int]:
        """What is ahead of each resting order, as far as it is known."""
        resting = (order for queue in self._queues.values() for order in queue.orders.values())
        return {order.number: order.ahead_e2 for order in resting if order.ahead_e2 is not None}

    @property
    def queued(self) -> dict[int, QueuePlace]:
        """The same with each change of its market."""
        return {number: QueuePlace(ahead_e2) for number, ahead_e2 in self.places.items()}

    @property
    def watched(self) -> AbstractSet[str]:
        """Tickers of the markets in which something was taken or an order rests."""
        return self._watched

    def place(self, intent: Intent, present: Present) -> None:
        """Send an order on its way."""
        self._pending.append(_Arrival(present.steady_ms + self._latency_ms, intent.number, intent))

    def cancel(self, number: int, present: Present) -> None:
        """Cancel an order: one on its way when it arrives, a resting one when the cancellation arrives."""
        if any(arrival.number == number and arrival.intent is not None for arrival in self._pending):
            self._cancelled.add(number)
        elif number in self._orders:
            self._pending.append(_Arrival(present.steady_ms + self._latency_ms, number, None))

    def amend(self, number: int, price_e4: int, count_e2: int, present: Present) -> None:
        """Change a resting order when the change arrives; if the order has ended, its end says so."""
        due_ms = present.steady_ms + self._latency_ms
        self._pending.append(_Arrival(due_ms, number, None, price_e4, count_e2))

    def carry_out(self) -> None:
        """Do nothing: each order is on its way already."""

    @property
    def heard(self) -> int:
        """There is no gateway."""
        return 0

    def recover(self, standing: Sequence[OpenOrder]) -> list[AnyOrderEvent]:
        """Take over the orders that rested; the others have not arrived, and never will.

        One that rested keeps its place as far as it was written down; otherwise it goes to the end of the
        queue.
        """
        events: list[AnyOrderEvent] = []
        for order in standing:
            intent, got_e2 = order.before or order.intent, order.progress.count_e2
            if intent.number not in self._places or intent.time_in_force != "gtc":
                events.append(Ended(intent.number, reasons.RESTARTED))
                continue
            kept = _Order(intent, OrderFees(), got_e2, order.progress.paid_e6)
            self._rest(kept, None, self._places[intent.number])
            events.append(Accepted(intent.number))
            if order.before is not None:
                events.append(AmendRefused(intent.number, reasons.RESTARTED))
            self._until_ms = 0  # its expiry is worked out once the present is known
        return events

    def observe(self, market: MarketView, present: Present) -> None:
        """Look at a changed market: at what was taken of its levels, and what crosses resting orders."""
        ticker = market.market.ticker
        levels = self._taken.get(ticker)
        if levels is not None:
            observe(levels, market, self._scan)
            if not levels:
                del self._taken[ticker]
                self._forget(ticker)
        queue = self._queues.get(ticker)
        if queue is None:
            return
        if self._end_with(market, present):
            return
        queue.observe(market, present.steady_ms)
        if not _can_be_met(market):
            return
        for order in list(queue.orders.values()):
            self._meet(self._orders[order.number], market, present, maker=True)

    def traded(self, trade: Trade, present: Present) -> None:
        """Hear of a public trade in a market that is watched."""
        queue = self._queues.get(trade.ticker)
        for hit in [] if queue is None else queue.trade(trade, present.steady_ms):
            order = self._orders[hit.number]
            self._fill(order, order.intent.price_e4, hit.count_e2, trade.count_e2, present, maker=True)
            self._end_if_whole(order, present)

    def due(
        self, present: Present, market: Markets, refuse: str | None, floor_ms: int
    ) -> list[AnyOrderEvent]:
        """Carry out what arrives by `present`; return what has become of orders."""
        steady_ms = present.steady_ms
        arrived = [arrival for arrival in self._pending if arrival.due_ms <= steady_ms]
        if arrived:
            self._pending = [arrival for arrival in self._pending if arrival.due_ms > steady_ms]
        for arrival in arrived:
            if arrival.intent is not None:
                self._arrive(arrival.intent, market(arrival.intent.ticker), present, refuse, floor_ms)
            elif (order := self._orders.get(arrival.number)) is not None:
                if arrival.count_e2:
                    self._amend(order, arrival, market(order.intent.ticker), present, refuse)
                else:
                    self._end(order, reasons.CANCELLED, present, OrderState.CANCELLED)
        if self._until_ms is not None and self._until_ms <= steady_ms:
            self._end_by_time(market, present)
        events, self._waiting, self._waiting_ms = self._waiting, [], None
        return events

    # -- arriving

    def _arrive(
        self, intent: Intent, view: MarketView | None, present: Present, refuse: str | None, floor_ms: int
    ) -> None:
        reason = refuse or self._refusal(intent, view, present.now_ms, floor_ms)
        if reason is not None or view is None:
            self._say(Ended(intent.number, reason or reasons.MARKET_UNKNOWN), present)
            return
        if intent.post_only and self._crosses(intent.ticker, intent.side, intent.price_e4, view):
            self._say(Ended(intent.number, reasons.WOULD_TAKE, OrderState.REJECTED), present)
            return
        order = _Order(intent, OrderFees())
        if intent.time_in_force == "gtc":
            self._rest(order, view)
            self._time(order, view, present)
            self._say(Accepted(intent.number), present)
        if self._meet(order, view, present, maker=False) and intent.time_in_force != "gtc":
            self._say(Ended(intent.number, reasons.NOTHING_LEFT), present)

    def _refusal(self, intent: Intent, view: MarketView | None, now_ms: int, floor_ms: int) -> str | None:
        if intent.number in self._cancelled:
            self._cancelled.discard(intent.number)
            return reasons.CANCELLED
        if view is None:
            return reasons.MARKET_UNKNOWN
        if now_ms > intent.valid_until_ms:
            return reasons.EXPIRED
        if view.quote.status is not Status.ACTIVE or not is_open(view.market, now_ms):
            return reasons.NOT_ACTIVE
        if view.suspect or top(view).crossed:
            return reasons.SUSPECT
        seen_ms = ladder(view, intent.side, self._scan).as_of_ms
        if not floor_ms <= seen_ms or now_ms - seen_ms > self._leg_age_ms or seen_ms - now_ms > FUTURE_MS:
            return reasons.STALE
        return None

    def _meet(self, order: _Order, view: MarketView, present: Present, *, maker: bool) -> bool:
        """Fill an order from what is offered up to its limit; return whether something of it is left.

        One that arrives pays the price asked; one that rested already fills at its own price.
        """
        intent = order.intent
        for price_e4, shown_e2 in ladder(view, intent.side, self._scan).levels:
            if price_e4 > intent.price_e4 or order.got_e2 >= intent.count_e2:
                break
            taken_e2 = self._taken.get(intent.ticker, {}).get((intent.side, price_e4), 0)
            count_e2 = min(intent.count_e2 - order.got_e2, shown_e2 - taken_e2)
            if count_e2 <= 0:
                continue
            paid_e4 = intent.price_e4 if maker else price_e4
            if not self._fill(order, paid_e4, count_e2, shown_e2, present, maker=maker):
                break
            self._take(intent.ticker, intent.side, price_e4, count_e2)
            if intent.number in self._orders:
                self._queues[intent.ticker].hit(intent.number, count_e2)
        return not self._end_if_whole(order, present)

    def _fill(
        self, order: _Order, price_e4: int, count_e2: int, shown_e2: int, present: Present, *, maker: bool
    ) -> bool:
        """Fill a part of an order; return whether the money held for it covers that."""
        intent = order.intent
        before_e6 = order.fees.accumulated_e6
        fee = order.fees.add(fill_fee(intent.fees, price_e4, count_e2, time_ms=present.now_ms, maker=maker))
        paid_e6 = price_e4 * count_e2 + fee.total_e6
        if order.paid_e6 + paid_e6 > intent.reserve_e6:  # an order never costs more than was held for it
            order.fees.accumulated_e6 = before_e6
            return False
        order.got_e2 += count_e2
        order.paid_e6 += paid_e6
        fill = Fill(price_e4, count_e2, fee.total_e6, shown_e2, present.now_ms, maker=maker)
        self._say(Filled(intent.number, fill), present)
        return True

    def _amend(
        self,
        order: _Order,
        wanted: _Arrival,
        view: MarketView | None,
        present: Present,
        refuse: str | None,
    ) -> None:
        intent = order.intent
        if refuse is not None or wanted.count_e2 <= order.got_e2:
            self._say(AmendRefused(intent.number, refuse or reasons.BAD_SIZE), present)
            return
        price_e4, count_e2 = wanted.price_e4, wanted.count_e2
        moved = price_e4 != intent.price_e4 or count_e2 > intent.count_e2
        if moved and intent.post_only and self._crosses(intent.ticker, intent.side, price_e4, view):
            self._say(AmendRefused(intent.number, reasons.WOULD_TAKE), present)
            return
        reserve = reserve_e6(intent.fees, price_e4, count_e2, present.now_ms)
        order.intent = msgspec.structs.replace(
            intent, price_e4=price_e4, count_e2=count_e2, reserve_e6=reserve
        )
        self._queues[intent.ticker].change(intent.number, price_e4, count_e2 - order.got_e2, view)
        self._say(Amended(intent.number, price_e4, count_e2), present)
        if moved and view is not None and _can_be_met(view):
            self._meet(order, view, present, maker=False)

    def _crosses(self, ticker: str, side: str, price_e4: int, view: MarketView | None) -> bool:
        """Whether an order would take something now."""
        taken = self._taken.get(ticker, {})
        levels = () if view is None else ladder(view, side, self._scan).levels
        return any(
            ask_e4 <= price_e4 and shown_e2 > taken.get((side, ask_e4), 0) for ask_e4, shown_e2 in levels
        )

    # -- resting

    def _rest(self, order: _Order, view: MarketView | None, ahead_e2: int | None = None) -> None:
        intent = order.intent
        self._orders[intent.number] = order
        self._watched.add(intent.ticker)
        left_e2 = intent.count_e2 - order.got_e2
        resting = Resting(intent.number, intent.side, intent.price_e4, left_e2, ahead_e2)
        self._queues.setdefault(intent.ticker, MarketQueue()).join(resting, view)

    def _time(self, order: _Order, view: MarketView | None, present: Present) -> None:
        """Work out when an order expires."""
        ends = [order.intent.expires_ms, None if view is None else view.market.close_ms]
        known = [ms for ms in ends if ms is not None]
        order.until_ms = present.steady_ms + max(0, min(known) - present.now_ms) if known else None
        times = [one.until_ms for one in self._orders.values() if one.until_ms is not None]
        self._until_ms = min(times, default=None)

    def _end_by_time(self, market: Markets, present: Present) -> None:
        for order in list(self._orders.values()):
            intent, view = order.intent, market(order.intent.ticker)
            if intent.expires_ms is not None and present.now_ms >= intent.expires_ms:
                self._end(order, reasons.EXPIRED, present, OrderState.EXPIRED)
            elif view is not None and not is_open(view.market, present.now_ms):
                self._end(order, reasons.NOT_ACTIVE, present, OrderState.CANCELLED)
            else:
                self._time(order, view, present)
        if not self._orders:
            self._until_ms = None

    def _end_with(self, view: MarketView, present: Present) -> bool:
        """End what rests in a market that stopped trading, and what expired; return whether all ended."""
        over = view.quote.status in _OVER or not is_open(view.market, present.now_ms)
        queue = self._queues[view.market.ticker]
        for number in list(queue.orders):
            if over:
                self._end(self._orders[number], reasons.NOT_ACTIVE, present, OrderState.CANCELLED)
            else:
                self._time(self._orders[number], view, present)
        return over

    def _end_if_whole(self, order: _Order, present: Present) -> bool:
        if order.got_e2 < order.intent.count_e2:
            return False
        self._end(order, reasons.COMPLETE, present)
        return True

    def _end(self, order: _Order, reason: str, present: Present, state: OrderState | None = None) -> None:
        number, ticker = order.intent.number, order.intent.ticker
        self._say(Ended(number, reason, state), present)
        if self._orders.pop(number, None) is None:
            return
        queue = self._queues[ticker]
        queue.leave(number)
        if not queue.orders:
            del self._queues[ticker]
            self._forget(ticker)
        if not self._orders:
            self._until_ms = None

    # -- telling

    def _say(self, event: AnyOrderEvent, present: Present) -> None:
        self._waiting.append(event)
        if self._waiting_ms is None:
            self._waiting_ms = present.steady_ms

    def _take(self, ticker: str, side: str, price_e4: int, count_e2: int) -> None:
        self._watched.add(ticker)
        levels = self._taken.setdefault(ticker, {})
        levels[side, price_e4] = levels.get((side, price_e4), 0) + count_e2

    def _forget(self, ticker: str) -> None:
        if ticker not in self._taken and ticker not in self._queues:
            self._watched.discard(ticker)


def _can_be_met(view: MarketView) -> bool:
    """Whether what is shown of a market can be traded on: nothing about it is in doubt."""
    return view.quote.status is Status.ACTIVE and not view.suspect and not top(view).crossed
