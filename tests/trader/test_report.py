"""What the trader says of itself, over its control socket's shapes."""

import contextlib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bus.protocol.messages import decode_map, encode_map
from bus.trading.shapes import PositionsAnswer, Shape, TradeRow, TraderStatus, TradesAnswer, told
from markets.opportunities import EventView
from markets.orders import Proposal
from markets.records import Remove, Status
from markets.units import HOUR_MS
from tests.trader.saying import said
from tests.trader.saying import stand as stand  # noqa: PLC0414  a fixture
from tests.trader.stand import Stand
from tests.trader.world import basket, event_of, leg, settled, view_of
from trader.attribution import account_of
from trader.journal.reader import Reader
from trader.report import equity_point
from trader.strategies.strategy import Quiet, Update, proposal
from trader.trades import trade_rows


def over_the_wire(answer: Shape) -> dict[str, Any]:
    sent = encode_map({"ok": True, "id": 1, **msgspec.structs.asdict(answer)})
    heard: dict[str, Any] = decode_map(sent, dict[str, Any])
    return heard


@pytest.fixture
def baskets(tmp_path: Path) -> Iterator[Stand]:
    made = Stand(tmp_path)
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

    assert now.status.positions == now.status.orders == len(now.positions) == 3
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


def test_a_trade_in_an_event_that_is_gone_is_no_longer_listed_as_refused(stand: Stand) -> None:
    engine, view = stand.worker.engine, basket()
    engine.limits = msgspec.structs.replace(engine.limits, payout_ms=HOUR_MS)
    stand.commit(view)
    stand.turns()
    assert [one.reason for one in said(stand).status.refused] == ["payout_too_late"]

    gone = [Remove("market", seen.market.ticker) for seen in view.markets]
    gone.append(Remove("event", view.event.event_ticker))
    now_ns = stand.clock.now_ms() * 1_000_000
    stand.feed.writer.stream("ref.", "remove", gone, now_ns, now_ns)

    assert said(stand).status.refused == ()


def trades(stand: Stand) -> tuple[TradeRow, ...]:
    with contextlib.closing(Reader(stand.worker.around.journal_path)) as reader:
        account = account_of(reader.tail().read())
    return trade_rows(account, said(stand).worths, 100, 2**62)


def test_of_a_locked_basket_all_figures_say_what_it_pays_before_and_after_the_close(baskets: Stand) -> None:
    baskets.commit(basket())
    baskets.turns(5)
    (bought,) = trades(baskets)
    promised = Decimal(bought.promised_dollars or 0)
    assert promised > 0
    assert Decimal(bought.locked_dollars or 0) >= promised
    assert bought.settlement_dollars == bought.locked_dollars == said(baskets).status.pnl.locked_dollars
    assert Decimal(bought.bid_dollars or 0) < 0 < promised  # bids alone would show a loss
    assert bought.settled_dollars is None
    assert told(over_the_wire(TradesAnswer(trades=(bought,))), TradesAnswer).trades == (bought,)

    baskets.commit(emptied())
    baskets.turns(5, ms=200)
    assert trades(baskets) == (bought,)
    for row in said(baskets).positions:
        assert row.mark_age_seconds is not None
        assert row.expected_from == ("floor",)
        assert Decimal(row.settlement_dollars or 0) > Decimal(row.cost_dollars)
    pnl = said(baskets).status.pnl
    assert pnl.today_dollars == pnl.settlement_dollars == pnl.locked_dollars == bought.locked_dollars

    baskets.commit(settled(basket(), "HOM"))
    baskets.turns(5)
    (over,) = trades(baskets)
    assert over.settled_dollars == bought.locked_dollars
    assert (over.floor_dollars, over.locked_dollars, over.bid_dollars) == (None, None, None)
    assert over.ended is not None
    pnl = said(baskets).status.pnl
    assert pnl.total_dollars == pnl.today_dollars == pnl.settlement_dollars == over.settled_dollars


def emptied() -> EventView:
    event = event_of(1)
    return view_of(event, *(leg(event, name, status=Status.CLOSED) for name in ("HOM", "AWY", "TIE")))


def test_a_point_has_equity_at_bid_and_at_settlement(baskets: Stand) -> None:
    baskets.commit(basket())
    baskets.turns(5)
    baskets.journal.commit()

    with contextlib.closing(Reader(baskets.worker.around.journal_path)) as reader:
        point = equity_point(reader.equity(0, 100)[-1])

    status = said(baskets).status
    assert point.settlement_equity_dollars == status.settlement_equity_dollars
    assert Decimal(point.settlement_equity_dollars or 0) > Decimal(point.equity_dollars or 0)


def test_rows_add_up_to_the_totals(baskets: Stand) -> None:
    baskets.commit(basket())
    baskets.turns(5)
    now = said(baskets)

    settlement = sum(Decimal(row.settlement_dollars or 0) for row in now.positions)
    assert settlement == Decimal(now.status.settlement_equity_dollars or 0) - Decimal(now.status.cash_dollars)
    floors = sum(Decimal(row.floor_dollars or 0) for row in now.positions)
    assert floors == settlement
