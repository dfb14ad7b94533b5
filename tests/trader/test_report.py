"""What the trader says of itself, over its control socket's shapes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bus.protocol.messages import decode_map, encode_map
from bus.trading.shapes import PositionsAnswer, Shape, TraderStatus, told
from markets.opportunities import EventView
from markets.orders import Proposal
from tests.trader.stand import Stand
from tests.trader.world import basket
from trader.report import Report, report
from trader.strategies.strategy import Quiet, Update, proposal


def said(stand: Stand) -> Report:
    return report(stand.worker, stand.clock.now_ms(), 1, 1)


def over_the_wire(answer: Shape) -> dict[str, Any]:
    sent = encode_map({"ok": True, "id": 1, **msgspec.structs.asdict(answer)})
    heard: dict[str, Any] = decode_map(sent, dict[str, Any])
    return heard


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    made = Stand(tmp_path, env={"KALSHI_BUS_STRATEGIES": "value,no_basket"})
    yield made
    made.close()


class Mine(Quiet):
    """A strategy of one's own, with a name of its own."""

    name = "my_baskets"

    def on_update(self, update: Update) -> list[Proposal]:
        return [proposal(self.name, found) for found in update.opportunities if len(found.legs) == 3]


def test_what_it_says_arrives_as_it_was_said(stand: Stand) -> None:
    stand.commit(basket())
    stand.turns(5)
    now = said(stand)

    assert now.status.positions == now.status.orders == len(now.positions) == 1
    assert told(over_the_wire(now.status), TraderStatus) == now.status
    positions = PositionsAnswer(positions=now.positions)
    assert told(over_the_wire(positions), PositionsAnswer) == positions


def test_strategies_stand_in_the_order_in_which_they_come_first(stand: Stand) -> None:
    assert said(stand).status.strategies == ("value", "no_basket")


def test_a_refused_trade_says_what_it_wanted_whatever_its_strategy_is_called(stand: Stand) -> None:
    engine = stand.worker.engine
    engine.roster.active = {Mine.name: Mine()}
    engine.limits = msgspec.structs.replace(engine.limits, order_e6=1)
    view: EventView = basket()
    stand.commit(view)
    stand.turns()

    (refused,) = said(stand).status.refused

    assert (refused.strategy, refused.event_ticker, refused.reason) == (
        "my_baskets", view.event.event_ticker, "no_room"
    )  # fmt: skip
    assert {(leg.ticker, leg.side) for leg in refused.legs} == {
        (seen.market.ticker, "no") for seen in view.markets
    }
