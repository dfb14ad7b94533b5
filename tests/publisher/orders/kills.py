"""A gateway that is killed at every step of an order's life, and what must be true whatever was killed.

What follows is checked against the exchange's own books: never two orders of an intent, no fill lost or
booked twice, every intent at its end, cash and positions as the fills say.
"""

import signal
import time
from collections import Counter
from collections.abc import Iterable
from typing import Final

from bus.trading.gateway import CancelAsk, PlaceAsk
from markets.orders import Ended, Fill, Filled, Intent
from tests.publisher.orders.floor import Floor, Gateways
from tests.support import Runner, eventually

POINTS: Final = (
    ("send_create", 1), ("append", 2), ("appended", 2), ("append", 3), ("appended", 3), ("replied_create", 1),
    ("send_create", 2), ("replied_create", 2), ("append", 4), ("appended", 4), ("append", 5), ("appended", 5),
    ("send_cancel", 1), ("replied_cancel", 1), ("replied_create", 3), ("append", 6), ("appended", 6),
    ("append", 7), ("appended", 7), ("append", 8),
)  # fmt: skip
"""Steps of an order's life, and which time it is come to. What takes longest to be known comes first."""

CASH_E6: Final = 4 * 10_000_000_000
"""What an account of the simulated exchange begins with, on its four shards."""

PATIENCE_S: Final = 4.0
"""A gateway that has not come to its point by then is killed where it is."""


class Hand:
    """A trader's hand: says everything until it is answered, and never anything else."""

    def __init__(self, floor: Floor) -> None:
        self.floor = floor
        self.intents: dict[int, Intent] = {}
        self.unlogged: dict[int, Intent] = {}
        self.to_cancel: set[int] = set()

    def wants(self, *intents: Intent) -> None:
        for intent in intents:
            self.intents[intent.number] = self.unlogged[intent.number] = intent
            if intent.time_in_force == "gtc":
                self.to_cancel.add(intent.number)

    def say(self) -> None:
        """Say once what was not answered yet."""
        floor = self.floor
        status = floor.status(300)
        if status is None or status.state != "ready":
            return
        if self.unlogged:
            asked = PlaceAsk(journal=floor.journal, intents=tuple(self.unlogged.values()), source="live")
            for number in floor.ask(asked, 300).get("logged", ()):
                self.unlogged.pop(number, None)
        else:
            for number in sorted(self.to_cancel):
                if floor.ask(CancelAsk(journal=floor.journal, number=number), 300).get("ok"):
                    self.to_cancel.discard(number)

    def done(self) -> bool:
        """Whether everything was said and has come to its end."""
        self.say()
        if self.unlogged or self.to_cancel:
            return False
        ended = {e.event.number for e in self.floor.events() if isinstance(e.event, Ended)}
        return ended == {*self.intents}


def one_life(floor: Floor, gateways: Gateways, hand: Hand, point: str, nth: int) -> None:
    """Let a gateway live until a point of its orders' lives."""
    gateways.start(point, nth)
    hand.wants(floor.intent(), floor.intent("ioc", 9_900, 10), floor.intent("fok", 9_900, 10))
    end = time.monotonic() + PATIENCE_S
    while gateways.alive and time.monotonic() < end:
        hand.say()
    gateways.end(signal.SIGKILL)


def kill_again_and_again(runner: Runner, kills: Iterable[tuple[str, int]], settle_s: float = 60.0) -> int:
    """Kill a gateway at each of `kills`, then let one live; check all. Return how many met their point."""
    floor = Floor(runner, "--tier", "prime")
    gateways = Gateways(runner)
    try:
        hand = Hand(floor)
        gateways.start()
        floor.wait_ready()  # no life is spent on waiting for a feed
        assert gateways.end(signal.SIGTERM) == 0
        for point, nth in kills:
            one_life(floor, gateways, hand, point, nth)
        gateways.start()
        eventually(hand.done, settle_s, "every intent comes to its end")
        check(floor, hand)
        assert gateways.end(signal.SIGTERM) == 0
        return gateways.deaths
    finally:
        floor.close()


def check(floor: Floor, hand: Hand) -> None:
    """Hold all that was told against the exchange's books."""
    events = [event.event for event in floor.events()]
    ends = Counter(event.number for event in events if isinstance(event, Ended))
    assert ends == dict.fromkeys(hand.intents, 1)
    fills: list[Fill] = [event.fill for event in events if isinstance(event, Filled)]
    assert len({fill.id for fill in fills}) == len(fills)
    assert floor.resting() == []
    names = Counter(order["client_order_id"] for order in floor.orders())
    assert max(names.values(), default=0) <= 1, "two orders of one intent"
    assert set(names) <= {intent.client_order_id for intent in hand.intents.values()}
    filled_e2 = sum(fill.count_e2 for fill in fills)
    spent_e6 = sum(fill.cost_e6 + fill.fee_e6 for fill in fills)

    def as_the_exchange_says() -> bool:
        listed = floor.account()  # which may be as old as the exchange's lists are
        held_e2 = sum(position.signed_e2 for position in listed.positions)
        cash_e6 = sum(shard.cash_e6 for shard in listed.shards)
        return (listed.orders, held_e2, cash_e6) == ((), filled_e2, CASH_E6 - spent_e6)

    eventually(as_the_exchange_says, what="cash and positions as the fills say")
