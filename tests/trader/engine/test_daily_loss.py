"""The loss of the day: what it counts, that it holds until the day is over, and what goes on meanwhile."""

from typing import Any

import msgspec
import pytest

from bus.trading import reasons
from markets.opportunities import EventView
from markets.orders import Fill, Intent, Proposal, Wanted
from markets.records import FairValue, Status
from tests.trader.ledger.builders import intent
from tests.trader.world import (
    LIMITS,
    NOW_MS,
    basket,
    data,
    event_of,
    filled,
    leg,
    live,
    over,
    quiet,
    start,
    tick,
    view_of,
)
from trader.engine.engine import Engine
from trader.engine.inputs import Command
from trader.engine.outputs import AnyOutput, Cancel, DailyLoss, Day, Place
from trader.ledger.ledger import Ledger

EVENT = event_of(9)
TICKER = f"{EVENT.event_ticker}-HOM"
LIMIT_E6 = 5_000_000
BOUNDS = msgspec.structs.replace(LIMITS, daily_loss_e6=LIMIT_E6, positions_per_event=2)
TOMORROW_MS = (NOW_MS // 86_400_000 + 1) * 86_400_000


def holding(price_e4: int = 6_800, count_e2: int = 1_000) -> Ledger:
    """One position: ten YES at 68 cents."""
    ledger = Ledger.new(1_000_000_000)
    order = intent(1, TICKER, "yes", price_e4, count_e2)
    ledger.place(msgspec.structs.replace(order, event_ticker=EVENT.event_ticker))
    ledger.fill(1, Fill(price_e4, count_e2, 0, count_e2, NOW_MS))
    ledger.end(1)
    return ledger


def at(bid_e4: int | None) -> EventView:
    bid = None if bid_e4 is None else (bid_e4, 5_000)
    return view_of(EVENT, leg(EVENT, "HOM", bid, None if bid_e4 is None else (bid_e4 + 200, 5_000)))


def running(ledger: Ledger | None = None, **changes: Any) -> Engine:
    engine = Engine()
    engine.step(start(ledger, limits=BOUNDS, next_order=2, next_trade=2, **changes))
    engine.step(live())
    return engine


def of_loss(outputs: list[AnyOutput]) -> list[DailyLoss]:
    return [output for output in outputs if isinstance(output, DailyLoss)]


def placed(outputs: list[AnyOutput]) -> list[Intent]:
    return [output.intent for output in outputs if isinstance(output, Place)]


def test_a_planted_fall_counts_within_one_update_and_nothing_is_bought_from_then_on() -> None:
    engine = running(holding())
    assert placed(engine.step(data(at(6_800), basket(1)))) != []

    outputs = engine.step(data(at(500), seq=2))

    assert of_loss(outputs) == [DailyLoss(NOW_MS // 86_400_000, 0, latched=True)]
    assert engine.halts() == (reasons.DAILY_LOSS,)
    assert placed(engine.step(data(at(6_800), basket(2), seq=3))) == []


def test_in_the_same_update_the_next_event_is_refused_already() -> None:
    engine = running(holding())
    engine.step(data(at(6_800)))

    outputs = engine.step(data(at(500), basket(2), seq=2))

    assert placed(outputs) == []
    assert engine.refusals.counts[reasons.DAILY_LOSS] == 1


def test_an_emptied_book_moves_the_limit_by_nothing_until_two_minutes_have_passed() -> None:
    engine = running(holding(count_e2=1_000))
    engine.step(data(at(6_800)))
    engine.step(data(at(None), now_ms=NOW_MS + 1_000, seq=2))

    def lost_at(ms: int) -> tuple[int, int]:
        outputs = engine.step(tick(NOW_MS + 1_000 + ms))
        return engine.worth.lost_today_e6(), len(of_loss(outputs))

    assert lost_at(0) == (0, 0)
    assert lost_at(119_999) == (0, 0)
    assert lost_at(120_000) == (3_400_000, 0)
    assert lost_at(599_999) == (3_400_000, 0)
    assert lost_at(600_000) == (6_800_000, 1)  # by a tick alone


def test_a_wall_clock_that_is_set_ages_no_mark() -> None:
    engine = running(holding())
    engine.step(data(at(6_800)))
    engine.step(data(at(None), now_ms=NOW_MS + 1_000, seq=2))

    ahead = msgspec.structs.replace(tick(NOW_MS + 86_400_000 // 4), steady_ms=2_000)

    assert of_loss(engine.step(ahead)) == []
    assert engine.worth.lost_today_e6() == 0


def test_a_locked_basket_never_costs_the_limit_anything() -> None:
    engine = running()
    for order in placed(engine.step(data(basket(1)))):
        engine.step(filled(order, fee_e6=0))
    earned_e6 = engine.worth.today_e6()
    assert earned_e6 > 0

    names = [seen.market.ticker.rsplit("-", 1)[1] for seen in basket(1).markets]
    closed = view_of(event_of(1), *(leg(event_of(1), name, status=Status.CLOSED) for name in names))
    for seq, view in enumerate((basket(1, bid_e4=9_000), closed), 2):
        engine.step(data(view, seq=seq))
        assert engine.worth.today_e6() == earned_e6
    engine.step(tick(NOW_MS + 3_600_000))
    assert engine.worth.today_e6() == earned_e6


def test_it_ends_with_the_day() -> None:
    engine = running(holding())
    engine.step(data(at(6_800)))
    engine.step(data(at(500), seq=2))
    engine.step(tick(TOMORROW_MS - 1))
    assert reasons.DAILY_LOSS in engine.halts()

    outputs = engine.step(tick(TOMORROW_MS))

    assert [output for output in outputs if isinstance(output, Day)] == [
        Day(TOMORROW_MS // 86_400_000, (500 - 6_800) * 1_000)
    ]
    assert reasons.DAILY_LOSS not in engine.halts()
    assert engine.worth.today_e6() == 0


def test_a_resume_counts_the_loss_anew_and_leaves_the_profit_of_today_as_it_is() -> None:
    engine = running(holding())
    engine.step(data(at(6_800)))
    engine.step(data(at(500), seq=2))
    lost_e6 = (6_800 - 500) * 1_000

    assert of_loss(engine.step(Command(NOW_MS, 0, op="resume", reason=""))) == []  # of a pause only
    assert engine.halts() == (reasons.DAILY_LOSS,)
    outputs = engine.step(Command(NOW_MS, 0, op="resume", reason="UNLOCK"))

    assert of_loss(outputs) == [DailyLoss(NOW_MS // 86_400_000, -lost_e6, latched=False)]
    assert engine.halts() == ()
    assert (engine.worth.today_e6(), engine.worth.lost_today_e6()) == (-lost_e6, 0)
    assert placed(engine.step(data(basket(2), seq=3))) != []


def test_a_resume_without_a_loss_gives_no_room() -> None:
    engine = running(holding())
    engine.step(data(at(6_800)))
    engine.step(data(at(2_000), seq=2))

    assert of_loss(engine.step(Command(NOW_MS, 0, op="resume", reason="UNLOCK"))) == []
    assert engine.worth.lost_today_e6() == 4_800_000


@pytest.mark.parametrize("base_e6", [None, -1_000_000])
def test_it_survives_a_restart(base_e6: int | None) -> None:
    engine = running(holding(), loss_base_e6=base_e6, loss_latched=True)

    engine.step(data(at(6_800)))

    assert engine.halts() == (reasons.DAILY_LOSS,)
    assert engine.worth.lost_today_e6() == (base_e6 or 0)


def test_a_loss_is_not_latched_on_what_has_not_been_seen_yet() -> None:
    ledger = Ledger.new(1_000_000_000)
    engine = running(ledger)
    for order in placed(engine.step(data(basket(1)))):
        engine.step(filled(order, fee_e6=0))
    earned_e6 = engine.worth.today_e6()

    # At the restart the floor is not known yet: the baskets count at their cost.
    again = running(engine.ledger, day_start_e6=earned_e6 + LIMIT_E6 - 1)
    assert again.worth.lost_today_e6() == earned_e6 + LIMIT_E6 - 1
    assert not again.worth.latched
    assert of_loss(again.step(data(basket(1)))) == []
    assert again.worth.lost_today_e6() == LIMIT_E6 - 1


def test_evening_out_goes_on_and_a_new_trade_does_not() -> None:
    engine = running(holding())
    engine.step(data(at(6_800)))
    orders = placed(engine.step(data(basket(1), seq=2)))
    for order in orders[:2]:
        engine.step(filled(order))
    engine.step(data(at(500), seq=3))
    assert reasons.DAILY_LOSS in engine.halts()

    short = orders[2]
    outputs = engine.step(over(short.number, reason=reasons.NOTHING_LEFT))

    (evens,) = placed(outputs)
    assert (evens.trade, evens.attempt) == (short.trade, 1)


def test_what_rests_is_taken_back_but_not_what_only_gives_a_lot_up() -> None:
    engine = running(holding())
    engine.step(data(at(6_800), quiet(1)))
    buys = Proposal(
        "value", quiet(1).event.event_ticker, (rests("yes", quiet(1)),), 1_000_000, 0.5, None, "gtc"
    )
    engine.fair_values[buys.legs[0].ticker] = FairValue(buys.legs[0].ticker, 0.5, "mine", NOW_MS)
    assert engine.place_trade(buys, quiet(1))
    (buying,) = engine.ledger.open.values()
    selling = msgspec.structs.replace(
        buying,
        number=77,
        client_order_id="x",
        trade=1,
        ticker=TICKER,
        event_ticker=EVENT.event_ticker,
        side="no",
    )
    engine.ledger.place(msgspec.structs.replace(selling, count_e2=100))
    engine.standing.add(msgspec.structs.replace(selling, count_e2=100))

    engine.step(data(at(500), seq=2))
    outputs = engine.step(tick(NOW_MS + 1_000))

    cancels = [output for output in outputs if isinstance(output, Cancel)]
    assert cancels == [Cancel(buying.number, reasons.DAILY_LOSS)]


def rests(side: str, view: EventView) -> Wanted:
    return Wanted(view.markets[0].market.ticker, side, 3_000, 100)


def test_by_the_rules_of_before_it_lifts_when_bids_return_and_stops_evening_out() -> None:
    engine = running(holding(), rules=1)
    engine.step(data(at(6_800)))
    orders = placed(engine.step(data(basket(1), seq=2)))
    for order in orders[:2]:
        engine.step(filled(order))

    outputs = engine.step(data(at(None), seq=3))  # an empty book is a bid of 0
    assert of_loss(outputs) == []
    assert placed(engine.step(over(orders[2].number, reason=reasons.NOTHING_LEFT))) == []
    assert engine.refusals.counts[reasons.DAILY_LOSS] > 0
    assert engine.halts() == ()

    engine.step(data(at(6_800), seq=4))
    assert placed(engine.step(data(basket(2), seq=5))) != []
