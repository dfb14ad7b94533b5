"""A market and a venue to match on without an exchange around them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from simulator.matching.book import Change, Half, OrderBook
from simulator.matching.engine import Matching
from simulator.matching.ledger import Ledger
from simulator.matching.orders import (
    GTC,
    Fill,
    Instrument,
    NewOrder,
    Order,
    OrderSwitches,
    Party,
    Refusal,
    SelfTradePrevention,
    Side,
    TimeInForce,
)

from .trades import Market

MARKET = Market("EVENT-A", "EVENT", exclusive=True, fee_type="quadratic_with_maker_fees")


@dataclass
class Venue:
    """A venue of cent prices. `told` is what the public saw, in order."""

    books: dict[str, OrderBook] = field(default_factory=dict)
    closed: dict[str, Refusal] = field(default_factory=dict)
    cancels_closed: dict[str, Refusal] = field(default_factory=dict)
    told: list[object] = field(default_factory=list)
    planned: list[tuple[int, Callable[[Order, int], None], Order]] = field(default_factory=list)

    def book(self, instrument: Instrument) -> OrderBook:
        return self.books.setdefault(instrument.ticker, OrderBook())

    def resting(self, instrument: Instrument) -> list[Order]:
        return list(self.book(instrument).resting())

    def closed_to(self, instrument: Instrument, opening: bool) -> Refusal | None:
        return (self.closed if opening else self.cancels_closed).get(instrument.ticker)

    def on_grid(self, instrument: Instrument, price_e4: int) -> bool:
        return 0 < price_e4 < 10_000 and price_e4 % 100 == 0

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
        self.told.append((instrument.ticker, price_e4, count_e2, taker))

    def changed(self, instrument: Instrument, changes: list[Change], time_ms: int) -> None:
        self.told.extend(changes)

    def at(self, time_ms: int, action: Callable[[Order, int], None], order: Order) -> None:
        self.planned.append((time_ms, action, order))

    def advance(self, now_ms: int) -> None:
        """Run what is planned until then."""
        due = sorted((plan for plan in self.planned if plan[0] <= now_ms), key=lambda plan: plan[0])
        self.planned = [plan for plan in self.planned if plan[0] > now_ms]
        for time_ms, action, order in due:
            action(order, time_ms)


class Ears:
    """Writes down all that is told of accounts; fills also in `aloud`, among what the public sees."""

    def __init__(self) -> None:
        self.aloud: list[object] = []
        self.heard: list[tuple[object, ...]] = []
        self.fills: list[Fill] = []

    def order_changed(self, order: Order, time_ms: int) -> None:
        self.heard.append(("order", order.client_order_id, str(order.status), str(order.reason)))

    def filled(self, fill: Fill) -> None:
        self.fills.append(fill)
        self.aloud.append("fill")
        self.heard.append(("fill", fill.order.client_order_id, fill.price_e4, fill.count_e2))

    def position_changed(self, party: Party, instrument: Instrument, time_ms: int) -> None:
        self.heard.append(("position", party, instrument.ticker))

    def group_changed(self, party: Party, group_id: str, what: str, time_ms: int) -> None:
        self.heard.append(("group", what))


class Floor:
    """An engine with two rich accounts on one venue."""

    def __init__(self, switches: OrderSwitches | None = None, cash_e6: int = 10**15) -> None:
        self.switches = switches or OrderSwitches()
        self.venue = Venue()
        self.ledger = Ledger(self.switches, (0, 1, 2, 3))
        self.matching = Matching(self.venue, self.ledger, self.switches, Random(1))
        self.ears = Ears()
        self.matching.listeners.append(self.ears)
        for account in (1, 2):
            self.ledger.open(account, cash_e6)
            self.matching.open(account)

    def crowd(
        self, side: Side, levels: dict[int, int], instrument: Instrument = MARKET, now_ms: int = 1
    ) -> None:
        """Let the crowd have exactly these levels on a side, in its own prices."""
        half: Half = self.venue.book(instrument).half(side)
        name = "yes" if side == "bid" else "no"
        changes = [
            Change(name, price, half.set_crowd(price, levels.get(price, 0)))
            for price in sorted({*half.crowd, *levels})
        ]
        self.matching.follow(instrument, changes, now_ms)


def wish(
    side: Side,
    price_e4: int,
    count_e2: int,
    name: str = "",
    account: int = 1,
    time_in_force: TimeInForce = GTC,
    self_trade: SelfTradePrevention = "taker_at_cross",
    instrument: Instrument = MARKET,
    **members: object,
) -> NewOrder:
    """Return an order to place."""
    return NewOrder(
        (account, 0),
        instrument,
        side,
        price_e4,
        count_e2,
        time_in_force,
        self_trade,
        client_order_id=name,
        **members,  # type: ignore[arg-type]
    )
