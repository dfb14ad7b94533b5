"""The gateway's core against the simulated exchange, in one process, on a virtual clock."""

from typing import Any

import msgspec
import pytest

from bus.trading.gateway import PlaceAsk
from markets.orders import OrderState
from publisher.orders.steps import Limits
from simulator.universe import templates
from simulator.universe.templates import Recorded

from .world import FAULTS, JOURNAL, LOST, SETTINGS, SWITCHES, Told, World


@pytest.fixture(scope="session")
def universe() -> Recorded:
    return templates.load()


def test_without_faults_every_order_ends_and_the_money_adds_up(universe: Recorded) -> None:
    world = World(universe, 1, faults=())
    world.live(150)
    assert not world.counts["unknown"]
    assert world.counts["queues"], "the exchange says where orders stand in their queues"


def test_what_is_done_in_another_subaccount_is_nobodys(universe: Recorded) -> None:
    world = World(universe, 1, faults=())
    holdings = world.exchange.ledger.holdings
    assert world.exchange.ledger.create_subaccount(1) == 1
    for shard in holdings.shards:
        holdings.purse(holdings.holders[1, 1], shard).cash_e6 = 100_000_000
    for how in ("immediate_or_cancel", "good_till_canceled"):
        world.hand_made(subaccount=1, time_in_force=how, price="0.0100" if how[0] == "g" else "0.9900")
    assert sum(1 for _ in world.exchange.ledger.statements.fills(1).newest()) > 0
    world.run(world.now_ms + 61_000)
    world.listen()

    assert world.foreign == {}
    assert world.account().orders == ()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
def test_whatever_the_exchange_does_no_order_is_lost_or_doubled(universe: Recorded, seed: int) -> None:
    world = World(universe, seed, fault_rate=0.15)
    world.live(130)
    assert world.counts["unknown"]


@pytest.mark.slow
def test_a_gateway_that_dies_again_and_again_goes_on_from_its_log(universe: Recorded) -> None:
    world = World(universe, 4, fault_rate=0.1, restarts=0.04)
    world.live(100)
    assert world.counts["restarts"] > 10


@pytest.mark.slow
def test_what_was_placed_is_found_at_once_and_what_was_not_is_known_within_the_bound(
    universe: Recorded,
) -> None:
    basic = Limits(write_per_s=100, write_capacity=100, read_per_s=24, read_capacity=72)
    world = World(universe, 5, faults=LOST, fault_rate=0.3, limits=basic)
    world.live(130)
    found, not_placed = sorted(world.longest["found"]), world.longest["not_placed"]
    assert len(found) > 10
    assert len(not_placed) > 5
    assert found[int(len(found) * 0.99) - 1] <= 2_000
    assert max(not_placed) <= 45_000


@pytest.mark.slow
def test_a_wall_clock_that_jumps_expires_nothing_and_doubles_nothing(universe: Recorded) -> None:
    world = World(universe, 6, faults=("reply_lost", "request_late"), wall_steps=True)
    world.live(80)
    assert world.counts["rejected header_timestamp_expired"] == 0


@pytest.mark.slow
def test_sent_once_more_under_the_same_id_there_is_still_one_order(universe: Recorded) -> None:
    resend = msgspec.structs.replace(SETTINGS, resend=True)
    world = World(universe, 8, faults=(*LOST, "request_late", "reply_late"), fault_rate=0.3, settings=resend)
    world.live(80)
    assert max(world.sent.values()) == 2


FLIPPED: list[dict[str, Any]] = [{name: value} for name, (_, *others) in SWITCHES.items() for value in others]


@pytest.mark.slow
@pytest.mark.parametrize("switches", FLIPPED, ids=str)
def test_it_is_right_under_every_switch(universe: Recorded, switches: dict[str, Any]) -> None:
    world = World(universe, 7, switches=switches, fault_rate=0.1, restarts=0.01, faults=FAULTS)
    world.live(40)


def test_a_market_that_closes_under_an_order_ends_it_and_takes_no_other(universe: Recorded) -> None:
    world = World(universe, 9, faults=())
    world.account()
    world.listen()
    market = world.market()
    assert market is not None
    rests = msgspec.structs.replace(
        world.intent(market), side="yes", price_e4=100, count_e2=500, time_in_force="gtc", expires_ms=None
    )
    late = msgspec.structs.replace(rests, number=rests.number + 1, client_order_id="late")
    for intent in (rests, late):
        world.told[intent.number] = Told(intent)
    world.core.place(PlaceAsk(journal=JOURNAL, intents=(rests,), source="live"), world.now)
    world.run(world.now_ms + 1_000)
    world.listen()
    assert world.told[rests.number].accepted

    market.event.close_ms = world.now_ms
    world.exchange.lifecycle.close(market.event, world.now_ms)
    late = msgspec.structs.replace(late, created_ms=world.now_ms, valid_until_ms=world.now_ms + 5_000)
    world.core.place(PlaceAsk(journal=JOURNAL, intents=(late,), source="live"), world.now)
    for _ in range(60):
        world.run(world.now_ms + 1_000)
        world.listen()
    ends = [world.told[intent.number].ended for intent in (rests, late)]
    assert [end and end.state for end in ends] == [OrderState.CANCELLED, OrderState.REJECTED]
    world.settle()
    world.compare()
