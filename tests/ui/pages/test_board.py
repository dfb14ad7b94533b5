"""One row per event: its best way first, held or refused ones folded away, ranked by profit per day."""

from typing import Any

import msgspec
import pytest

from bus.trading.shapes import RefusedLeg, RefusedTrade
from markets.opportunities import Leg, Opportunity
from markets.orders import OrderState
from tests.bus.trading.samples import a_position, a_status, an_order
from tests.ui.pages.opportunities import NOW_MS, opportunity
from ui.desk import Desk
from ui.pages.board import NO_BOUND, Board, Room, board, informs

DAY = 1 / 365


def way(name: str, event: str, ev_e6: int = 2_000_000, **changes: Any) -> Opportunity:
    """Return a way to trade an event; `name` is that of its market."""
    leg = Leg(f"{event}-{name}", "no", 4_000, 100_00, 40_000_000, 0, NOW_MS, name)
    fields = {"event_ticker": event, "key": f"value:{event}-{name}:no", "legs": (leg,), "ev_e6": ev_e6}
    yearly = ev_e6 / 40_000_000 / DAY  # pays out in a day
    return opportunity(name, **(fields | {"annualised_return": yearly, "net_edge_e6": ev_e6} | changes))


def refused(found: Opportunity, reason: str) -> RefusedTrade:
    legs = tuple(RefusedLeg(ticker=leg.ticker, side="no") for leg in found.legs)
    return RefusedTrade(strategy="x", event_ticker=found.event_ticker, reason=reason, legs=legs)


def shown(found: Board) -> list[str]:
    return [row.best.key for row in found.rows]


def test_an_event_is_one_row_with_its_best_way_and_the_others_inside() -> None:
    small, large, other = way("a", "E1", 1_000_000), way("b", "E1", 3_000_000), way("c", "E2", 2_000_000)

    found = board([small, large, other], Desk().marks(), NO_BOUND)

    assert [(row.best, row.others) for row in found.rows] == [(large, (small,)), (other, ())]
    assert found.rows[0].keys == {small.key, large.key}
    assert found.folded == ()


def test_rows_are_ranked_by_profit_per_day_not_by_profit() -> None:
    soon = way("soon", "E1", 1_000_000)
    late = way("late", "E2", 90_000_000, annualised_return=90 / 40 / 2)  # in two years
    never = way("never", "E3", 5_000_000, annualised_return=None)

    assert shown(board([late, never, soon], Desk().marks(), NO_BOUND)) == [soon.key, late.key, never.key]
    by_ev = board([late, never, soon], Desk().marks(), NO_BOUND, sort="-ev")
    assert shown(by_ev) == [late.key, never.key, soon.key]


def test_size_beyond_the_limits_counts_for_nothing() -> None:
    leg = Leg("E1-a", "no", 4_000, 10_000_00, 4_000_000_000, 0, NOW_MS, "a")
    vast = way("a", "E1", 40_000_000, legs=(leg,), capital_e6=4_000_000_000, annualised_return=0.01 / DAY)
    tight = way("b", "E2", 2_000_000)
    room = Room.of(a_status())  # $50 per order, $100 per market, $200 per event

    assert (room.leg_e6, room.share(vast)) == (50_000_000, 0.0125)
    assert (room.capital_e6(vast), room.expected_e6(vast), room.per_day_e6(vast)) == (
        50_000_000,
        500_000,
        500_000,
    )
    assert shown(board([vast, tight], Desk().marks(), NO_BOUND)) == [vast.key, tight.key]
    assert shown(board([vast, tight], Desk().marks(), room)) == [tight.key, vast.key]


def test_with_no_room_left_every_profit_is_zero_and_nothing_breaks() -> None:
    status = a_status()
    full = msgspec.structs.replace(status.exposure, total_dollars="99999.000000")
    room = Room.of(msgspec.structs.replace(status, exposure=full))

    assert room.trade_e6 == 0
    assert room.per_day_e6(way("a", "E1")) == 0
    unknown = way("b", "E2", capital_e6=None, fees_e6=None, annualised_return=None)
    assert room.per_day_e6(unknown) is None


def test_events_held_or_refused_by_risk_are_folded_away_and_counted() -> None:
    held, late, poor, new = (way(name, f"E{name}") for name in "abcd")
    late_too = way("e", "Ee")
    desk = Desk(
        status=a_status(
            refused=(
                refused(late, "payout_too_late"),
                refused(late_too, "payout_too_late"),
                refused(poor, "cash"),
            )
        ),
        positions=[a_position(ticker=held.legs[0].ticker, event_ticker="Ea", side="no")],
    )

    found = board([held, late, poor, new, late_too], desk.marks(), NO_BOUND)

    assert shown(found) == [new.key]
    assert {row.best.key for row in found.folded} == {held.key, late.key, poor.key, late_too.key}
    assert dict(found.because) == {"held": 1, "payout_too_late": 2, "cash": 1}
    assert found.because[0] == ("payout_too_late", 2)


def test_an_event_is_folded_only_if_every_way_is() -> None:
    held, new = way("a", "E1", 5_000_000), way("b", "E1", 1_000_000)
    desk = Desk(status=a_status(), positions=[a_position(ticker="E1-a", event_ticker="E9", side="no")])

    (row,) = board([held, new], desk.marks(), NO_BOUND).rows

    assert (row.best, row.others, row.folded) == (new, (held,), "")


@pytest.mark.parametrize("reason", ["killed", "paused", "stale", "no_gateway"])
def test_a_halt_of_all_trading_folds_nothing_away(reason: str) -> None:
    found = way("a", "E1")
    desk = Desk(status=a_status(refused=(refused(found, reason),)))

    assert shown(board([found], desk.marks(), NO_BOUND)) == [found.key]


def test_an_order_without_fills_folds_nothing_away() -> None:
    found = way("a", "E1")
    lost = an_order(ticker="E1-a", side="no", status=OrderState.CANCELLED, reason="nothing_left")

    assert shown(board([found], Desk(orders=[lost]).marks(), NO_BOUND)) == [found.key]


def test_a_pinned_event_comes_first_even_if_held_or_filtered_out() -> None:
    first, second, hidden = way("a", "E1", 3_000_000), way("b", "E2"), way("c", "E3")
    also = way("d", "E2", 1_000_000)
    desk = Desk(status=a_status(), positions=[a_position(ticker="E2-b", event_ticker="E2", side="no")])
    passing = [first, second, also]

    found = board(
        passing, desk.marks(), NO_BOUND, pins=[hidden.key, also.key, "gone"], pinned=[*passing, hidden]
    )

    assert [row.event_ticker for row in found.rows] == ["E3", "E2", "E1"]
    assert found.pinned == 2
    assert found.folded == ()


def test_events_that_are_not_tradable_come_last_and_are_not_folded() -> None:
    doubtful, sound = way("a", "E1", 9_000_000, reasons=("stale_leg",)), way("b", "E2")

    found = board([doubtful, sound], Desk().marks(), NO_BOUND)

    assert shown(found) == [sound.key, doubtful.key]


def test_a_yearly_return_is_shown_if_the_payout_is_a_day_away_or_more() -> None:
    assert informs(way("a", "E1"))  # in a day
    assert not informs(way("a", "E1", annualised_return=0.05 / DAY * 1.01))
    for nothing in ({"annualised_return": None}, {"annualised_return": 0.0}, {"capital_e6": None}):
        assert not informs(way("a", "E1", **nothing))
