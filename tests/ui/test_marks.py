"""What the list of opportunities shows of the trader's actions on each."""

from typing import Any

import msgspec
import pytest

from bus.trading.shapes import RefusedLeg, RefusedTrade
from markets.opportunities import Leg, Opportunity
from markets.orders import OrderState
from tests.bus.trading.samples import a_position, a_status, an_order
from tests.ui.pages.opportunities import NOW_MS, opportunity
from ui.desk import Desk, Mark

EVENT = "E-a"


def basket(*names: str, side: str = "no") -> Opportunity:
    legs = tuple(Leg(f"{EVENT}-{name}", side, 4_000, 100, 400_000, 0, NOW_MS, name) for name in names)
    return opportunity("a", kind="no_basket", key=f"no_basket:{EVENT}", legs=legs, probability=None)


def refused(strategy: str, reason: str, *legs: tuple[str, Any]) -> RefusedTrade:
    wanted = tuple(RefusedLeg(ticker=f"{EVENT}-{name}", side=side) for name, side in legs)
    return RefusedTrade(strategy=strategy, event_ticker=EVENT, reason=reason, legs=wanted)


def of(desk: Desk, found: Opportunity) -> Mark:
    return desk.marks().of(found)


@pytest.mark.parametrize("strategy", ["no_basket", "my_baskets"])
def test_a_refusal_is_found_whatever_the_strategy_s_name(strategy: str) -> None:
    desk = Desk(status=a_status(refused=(refused(strategy, "cash", ("B", "no"), ("A", "no")),)))

    assert of(desk, basket("A", "B")) == Mark(refused="cash", why="not enough cash", by_risk=True)


def test_a_refusal_of_something_else_in_the_event_is_not_shown() -> None:
    desk = Desk(status=a_status(refused=(refused("value", "cash", ("A", "no")),)))

    assert of(desk, basket("A")).refused == "cash"
    for other in (basket("A", "B"), basket("A", side="yes"), basket("B")):
        assert of(desk, other) == Mark()


def test_two_candidates_of_one_strategy_have_separate_reasons() -> None:
    stand = (refused("value", "cash", ("A", "yes")), refused("value", "min_edge", ("B", "yes")))
    desk = Desk(status=a_status(refused=stand))

    assert of(desk, basket("A", side="yes")).refused == "cash"
    assert of(desk, basket("B", side="yes")).refused == "min_edge"


def test_holding_a_leg_takes_precedence_over_why_nothing_was_bought() -> None:
    held = a_position(ticker=f"{EVENT}-A", event_ticker=EVENT, side="no")
    lost = an_order(ticker=f"{EVENT}-A", side="no", status=OrderState.CANCELLED, reason="nothing_left")

    assert of(Desk(positions=[held], orders=[lost]), basket("A", "B")) == Mark(held=("12.00",))


def test_an_event_at_its_position_limit_says_so() -> None:
    held = a_position(ticker=f"{EVENT}-C", event_ticker=EVENT)
    status = a_status()
    more = msgspec.structs.replace(status.limits, positions_per_event=2)

    full = Desk(status=status, positions=[held])
    assert of(full, basket("A", "B")).refused == "one_position_per_event"
    assert of(msgspec.structs.replace(full, status=a_status(limits=more)), basket("A", "B")) == Mark()


@pytest.mark.parametrize("word", ["nothing_left", "no_depth"])
def test_an_order_without_fills_says_what_happened_to_it(word: str) -> None:
    lost = an_order(ticker=f"{EVENT}-A", side="no", status=OrderState.CANCELLED, reason=word)

    assert of(Desk(orders=[lost]), basket("A", "B")) == Mark(
        refused=word, why="nothing was left at the price when it arrived"
    )
    refusal = Desk(status=a_status(refused=(refused("x", "no_depth", ("A", "no"), ("B", "no")),)))
    assert of(refusal, basket("A", "B")).why == "not enough is offered at the price"
