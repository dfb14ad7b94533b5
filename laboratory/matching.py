"""A broker whose orders go to the simulated exchange's own matching, in the same process. Otherwise pure.

A latency stands in for gateway and network: an order, a cancel or an amend arrives that long after it was
decided. What happens to the account's orders at the exchange is reported in sequence, each event once. No
message is lost: other tests prove that orders survive losses.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, Literal

import msgspec

from bus.trading import reasons
from markets.opportunities import MarketView
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
    Sent,
    TimeInForce,
)
from markets.records import Trade
from markets.units import opposite
from simulator.floor.exchange import Exchange
from simulator.matching import orders as exchange_orders
from simulator.matching.orders import (
    ASK,
    BID,
    FOK,
    GTC,
    IOC,
    Amendment,
    NewOrder,
    Order,
    Party,
    Reason,
    Refusal,
)
from trader.brokers.base import Markets, OpenOrder, QueuePlace
from trader.engine.inputs import Present

ACCOUNT: Final = 1
PARTY: Final[Party] = (ACCOUNT, 0)

_LASTS: Final[dict[TimeInForce, exchange_orders.TimeInForce]] = {"ioc": IOC, "fok": FOK, "gtc": GTC}


class _Errand(msgspec.Struct):
    """Something on its way to the exchange; it arrives at `due_ms` by the steady clock."""

    due_ms: int
    what: Literal["place", "cancel", "amend"]
    intent: Intent
    price_e4: int = 0
    count_e2: int = 0


class MatchingBroker:
    """Carries orders to an exchange whose time the caller moves; `hear` must be among its listeners.

    Args:
        latency_ms: of every request to the exchange.

    Attributes:
        exchange: where the orders go.
        intents: the orders that have not ended, by number.
    """

    def __init__(self, exchange: Exchange, latency_ms: int) -> None:
        self.intents: dict[int, Intent] = {}
        self.exchange = exchange
        self._latency_ms = latency_ms
        self._way: deque[_Errand] = deque()
        self._numbers: dict[str, int] = {}
        self._ids: dict[int, str] = {}
        self._told: deque[AnyOrderEvent] = deque()
        self._amending: set[int] = set()
        self._now_ms = 0

    # -- the session's side

    @property
    def next_ms(self) -> int | None:
        """When the next errand arrives, by the steady clock; now if events are waiting to be reported."""
        if self._told:
            return self._now_ms
        return self._way[0].due_ms if self._way else None

    @property
    def queued(self) -> Mapping[int, QueuePlace]:
        """Nothing: the exchange itself fills."""
        return {}

    @property
    def watched(self) -> AbstractSet[str]:
        """No market: the exchange itself fills."""
        return frozenset()

    @property
    def heard(self) -> int:
        """0: there is no gateway."""
        return 0

    def place(self, intent: Intent, present: Present) -> None:
        """Send an order on its way."""
        self.intents[intent.number] = intent
        self._send(_Errand(present.steady_ms + self._latency_ms, "place", intent))
        self._told.append(Sent(intent.number))

    def cancel(self, number: int, present: Present) -> None:
        """Send a cancel on its way."""
        intent = self.intents.get(number)
        if intent is not None:
            self._send(_Errand(present.steady_ms + self._latency_ms, "cancel", intent))

    def amend(self, number: int, price_e4: int, count_e2: int, present: Present) -> None:
        """Send an amend of price or count on its way."""
        intent = self.intents.get(number)
        if intent is not None:
            due_ms = present.steady_ms + self._latency_ms
            self._send(_Errand(due_ms, "amend", intent, price_e4, count_e2))

    def carry_out(self) -> None:
        """Do nothing: every order is on its way already."""

    def due(
        self, present: Present, market: Markets, refuse: str | None, floor_ms: int
    ) -> Sequence[AnyOrderEvent]:
        """Let due requests arrive; return the events since the last call."""
        self._now_ms = present.steady_ms
        while self._way and self._way[0].due_ms <= present.steady_ms:
            self._arrive(self._way.popleft(), present.now_ms)
        events = list(self._told)
        self._told.clear()
        return events

    def observe(self, market: MarketView, present: Present) -> None:
        """Do nothing: the exchange itself fills."""

    def traded(self, trade: Trade, present: Present) -> None:
        """Do nothing: the exchange itself fills."""

    def recover(self, standing: Sequence[OpenOrder]) -> Sequence[AnyOrderEvent]:
        """Continue with the same orders in another session of the same process."""
        self.intents = {order.intent.number: order.intent for order in standing}
        return []

    # -- the exchange's side

    def order_changed(self, order: Order, time_ms: int) -> None:
        """See PrivateListener."""
        number = self._number(order)
        if number is None or order.live or number not in self.intents:
            return
        del self.intents[number]
        self._told.append(Ended(number, *_end(order)))

    def filled(self, fill: exchange_orders.Fill) -> None:
        """See PrivateListener."""
        number = self._number(fill.order)
        if number is None:
            return
        price_e4 = fill.price_e4 if fill.side == BID else opposite(fill.price_e4)
        told = Fill(
            price_e4,
            fill.count_e2,
            fill.fee_e6,
            fill.count_e2,
            fill.time_ms,
            fill.trade_id,
            not fill.is_taker,
        )
        self._told.append(Filled(number, told))

    def position_changed(self, party: Party, instrument: object, time_ms: int) -> None:
        """See PrivateListener."""

    def group_changed(self, party: Party, group_id: str, what: str, time_ms: int) -> None:
        """See PrivateListener."""

    # -- on the way

    def _send(self, errand: _Errand) -> None:
        self._way.append(errand)

    def _number(self, order: Order) -> int | None:
        return self._numbers.get(order.client_order_id) if order.party == PARTY else None

    def _arrive(self, errand: _Errand, now_ms: int) -> None:
        if errand.intent.number not in self.intents:
            return  # it has ended in the meantime
        if errand.what == "place":
            self._place(errand.intent, now_ms)
        elif errand.what == "cancel":
            self._cancel(errand.intent, now_ms)
        else:
            self._amend(errand, now_ms)

    def _place(self, intent: Intent, now_ms: int) -> None:
        instrument = self.exchange.markets.get(intent.ticker)
        if now_ms > intent.valid_until_ms or instrument is None:
            late = instrument is not None
            reason = reasons.EXPIRED if late else reasons.MARKET_UNKNOWN
            self._end(intent.number, reason, OrderState.EXPIRED if late else OrderState.REJECTED)
            return
        self._numbers[intent.client_order_id] = intent.number
        yes = intent.side == "yes"
        wish = NewOrder(
            PARTY,
            instrument,
            BID if yes else ASK,
            intent.price_e4 if yes else opposite(intent.price_e4),
            intent.count_e2,
            _LASTS[intent.time_in_force],
            "taker_at_cross",
            intent.client_order_id,
            intent.expires_ms if intent.time_in_force == "gtc" else None,
            post_only=intent.post_only,
        )
        outcome = self.exchange.matching.place(wish, now_ms)
        if isinstance(outcome, Refusal):
            self._end(intent.number, outcome.code, OrderState.REJECTED)
            return
        self._ids[intent.number] = outcome.order.order_id
        if outcome.order.live:
            self._told.append(Accepted(intent.number, outcome.order.order_id))

    def _cancel(self, intent: Intent, now_ms: int) -> None:
        order_id = self._ids.get(intent.number)
        if order_id is not None:  # `order_changed` reports its end; if refused, it has ended already
            self.exchange.matching.cancel(ACCOUNT, order_id, now_ms)

    def _amend(self, errand: _Errand, now_ms: int) -> None:
        intent, order_id = errand.intent, self._ids.get(errand.intent.number)
        if order_id is None:
            return
        yes = intent.side == "yes"
        price_e4 = errand.price_e4 if yes else opposite(errand.price_e4)
        wish = Amendment(intent.ticker, BID if yes else ASK, price_e4, errand.count_e2)
        outcome = self.exchange.matching.amend(ACCOUNT, order_id, wish, now_ms)
        if isinstance(outcome, Refusal):
            self._told.append(AmendRefused(intent.number, outcome.code))
        else:
            self._ids[intent.number] = outcome.order.order_id
            self._told.append(
                Amended(intent.number, errand.price_e4, errand.count_e2, outcome.order.order_id)
            )

    def _end(self, number: int, reason: str, state: OrderState) -> None:
        self.intents.pop(number, None)
        self._told.append(Ended(number, reason, state))


def _end(order: Order) -> tuple[str, OrderState]:
    if order.filled_e2 >= order.initial_e2:
        return reasons.COMPLETE, OrderState.FILLED
    if order.reason is Reason.EXPIRY_CANCEL:
        return reasons.EXPIRED, OrderState.EXPIRED
    if order.time_in_force != GTC:
        return reasons.NOTHING_LEFT, OrderState.CANCELLED
    return reasons.CANCELLED, OrderState.CANCELLED
