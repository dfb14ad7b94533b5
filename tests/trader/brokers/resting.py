"""A broker that only tests have: its orders rest on an exchange that outlives it.

They fill in parts over minutes, are cancelled, end unknown and are found later, and are taken over by the
broker of the next process. Nothing happens of itself: the test says what does.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

import msgspec

from markets.opportunities import MarketView
from markets.orders import Accepted, AnyOrderEvent, Ended, Fill, Filled, Intent, Unknown
from markets.records import Trade
from trader.brokers.base import Markets, OpenOrder, QueuePlace
from trader.engine.inputs import Present


class Order(msgspec.Struct):
    """An order as the exchange has it."""

    intent: Intent
    fills: list[Fill] = []
    ended: str | None = None


class Venue:
    """The exchange. What it does is heard by the broker that listens, at the time that is said."""

    def __init__(self) -> None:
        self.orders: dict[int, Order] = {}
        self.asked_to_cancel: list[int] = []
        self.asked_to_amend: list[tuple[int, int, int]] = []
        self.broker: RestingBroker | None = None

    def fill(self, number: int, count_e2: int, *, at_ms: int = 0, fee_e6: int = 1_000) -> None:
        """Fill a part, at the order's limit."""
        order = self.orders[number]
        order.fills.append(Fill(order.intent.price_e4, count_e2, fee_e6, count_e2, at_ms))
        self._say(at_ms, Filled(number, order.fills[-1]))

    def end(self, number: int, reason: str, *, at_ms: int = 0) -> None:
        self.orders[number].ended = reason
        self._say(at_ms, Ended(number, reason))

    def lose(self, number: int, reason: str, *, at_ms: int = 0) -> None:
        """Give no answer, for whatever reason."""
        self._say(at_ms, Unknown(number, reason))

    def find(self, number: int, *, at_ms: int = 0) -> None:
        """Say of an order that it rests after all."""
        self._say(at_ms, Accepted(number, f"V{number}"))

    def _say(self, at_ms: int, event: AnyOrderEvent) -> None:
        if self.broker is not None:
            self.broker.hear(at_ms, event)


class RestingBroker:
    """Sends orders to a venue, where they rest."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._heard: list[tuple[int, AnyOrderEvent]] = []
        venue.broker = self

    def hear(self, at_ms: int, event: AnyOrderEvent) -> None:
        self._heard.append((at_ms, event))

    @property
    def next_ms(self) -> int | None:
        return min((at_ms for at_ms, _ in self._heard), default=None)

    @property
    def queued(self) -> Mapping[int, QueuePlace]:
        return {}

    @property
    def watched(self) -> AbstractSet[str]:
        return frozenset()

    def place(self, intent: Intent, present: Present) -> None:
        assert intent.number not in self._venue.orders, f"order {intent.number} was sent twice"
        self._venue.orders[intent.number] = Order(intent)
        self.hear(present.steady_ms, Accepted(intent.number, f"V{intent.number}"))

    def cancel(self, number: int, present: Present) -> None:
        self._venue.asked_to_cancel.append(number)

    def amend(self, number: int, price_e4: int, count_e2: int, present: Present) -> None:
        self._venue.asked_to_amend.append((number, price_e4, count_e2))

    def carry_out(self) -> None:
        pass

    @property
    def heard(self) -> int:
        return 0

    def due(
        self, present: Present, market: Markets, refuse: str | None, floor_ms: int
    ) -> list[AnyOrderEvent]:
        told = [event for at_ms, event in self._heard if at_ms <= present.steady_ms]
        self._heard = [entry for entry in self._heard if entry[0] > present.steady_ms]
        return told

    def observe(self, market: MarketView, present: Present) -> None:
        raise AssertionError("it watches nothing")

    def traded(self, trade: Trade, present: Present) -> None:
        raise AssertionError("it watches nothing")

    def recover(self, standing: Sequence[OpenOrder]) -> list[AnyOrderEvent]:
        events: list[AnyOrderEvent] = []
        for known in standing:
            number = known.intent.number
            order = self._venue.orders.get(number)
            if order is None:  # the process died between the journal and the wire
                events.append(Ended(number, "not_placed"))
                continue
            booked_e2 = 0
            events.append(Accepted(number, f"V{number}"))
            for fill in order.fills:
                booked_e2 += fill.count_e2
                if booked_e2 > known.progress.count_e2:
                    events.append(Filled(number, fill))
            if order.ended is not None:
                events.append(Ended(number, order.ended))
        return events
