"""Markets, orders and trades for tests of the exchange's books."""

from dataclasses import dataclass, field
from itertools import count
from typing import Literal

from simulator.matching.ledger import Ledger
from simulator.matching.orders import Fill, Order, OrderSwitches, Party, Side
from simulator.matching.transfers import Transfer

OPENING_E6 = 10_000_000_000
NOW_MS = 1_795_000_000_000


@dataclass(frozen=True)
class Market:
    """An instrument."""

    ticker: str
    event_ticker: str = "E"
    exchange_index: int = 0
    exclusive: bool = False
    fee_type: str = "quadratic"
    fee_multiplier_e4: int = 10_000


def an_order(number: int, party: Party, market: Market, side: Side, price_e4: int, count_e2: int) -> Order:
    """Return an order as it has just been placed."""
    return Order(
        order_id=f"o{number}",
        client_order_id=f"c{number}",
        party=party,
        instrument=market,
        side=side,
        price_e4=price_e4,
        initial_e2=count_e2,
        remaining_e2=count_e2,
        time_in_force="good_till_canceled",
        self_trade="taker_at_cross",
        created_ms=NOW_MS,
        updated_ms=NOW_MS,
        number=number,
    )


@dataclass
class Desk:
    """A ledger, and orders that are filled by word of mouth."""

    switches: OrderSwitches = field(default_factory=OrderSwitches)
    accounts: int = 2
    cash_e6: int = OPENING_E6

    def __post_init__(self) -> None:
        self.numbers = count(1)
        self.ledger = Ledger(self.switches, (0, 1))
        for account in range(1, self.accounts + 1):
            self.ledger.open(account, self.cash_e6)

    def order(
        self, market: Market, side: Side, price_e4: int, count_e2: int, party: Party = (1, 0), **more: object
    ) -> Order:
        order = an_order(next(self.numbers), party, market, side, price_e4, count_e2)
        for name, value in more.items():
            setattr(order, name, value)
        return order

    def rest(self, market: Market, side: Side, price_e4: int, count_e2: int, party: Party = (1, 0)) -> Order:
        order = self.order(market, side, price_e4, count_e2, party)
        assert self.ledger.admit(order)
        self.ledger.add(order)
        return order

    def fill(self, order: Order, count_e2: int, price_e4: int | None = None, taker: bool = True) -> Fill:
        """Fill an order against the crowd."""
        price_e4 = order.price_e4 if price_e4 is None else price_e4
        fill = self.ledger.book(order, f"t{next(self.numbers)}", price_e4, count_e2, taker, NOW_MS)
        other: Literal["bid", "ask"] = "ask" if order.side == "bid" else "bid"
        self.ledger.crowd(order.instrument, other, price_e4, count_e2)
        order.remaining_e2 -= count_e2
        order.filled_e2 += count_e2
        self.ledger.audit()
        return fill

    def trade(self, market: Market, side: Side, price_e4: int, count_e2: int, party: Party = (1, 0)) -> Fill:
        """Buy or sell as a taker."""
        return self.fill(self.order(market, side, price_e4, count_e2, party), count_e2)

    def move(self, amount_e6: int, account: int = 1) -> None:
        """Take cash away from shard 0."""
        number = next(self.numbers)
        moved = self.ledger.transfer(
            account,
            "shards",
            (0, 0),
            (0, 1),
            amount_e6,
            transfer_id=f"m{number}",
            client_transfer_id=None,
            time_ms=NOW_MS,
        )
        assert isinstance(moved, Transfer)

    def cash(self, party: Party = (1, 0), shard: int = 0) -> int:
        return self.ledger.statements.cash_e6(party, shard)
