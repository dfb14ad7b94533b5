"""What a trade is expected to earn: risk works it out and takes nobody's word."""

from typing import Any

import msgspec
import pytest

from markets.orders import Proposal, Wanted
from markets.records import FairValue, Status
from tests.trader.world import LIMITS, NOW_MS, SCAN, basket, data, event_of, leg, live, start, view_of
from trader.engine.edge import Edge, basket_edge, edge_of, evened_e6, had, thin_first
from trader.engine.engine import Engine
from trader.engine.outputs import Place

EVENT = event_of()
VIEW = basket()
TICKERS = [seen.market.ticker for seen in VIEW.markets]
ALL_NO = tuple(Wanted(ticker, "no", 6_000, 1_000) for ticker in TICKERS)


def proposal(legs: tuple[Wanted, ...] = ALL_NO, probability: float | None = None) -> Proposal:
    return Proposal("mine", EVENT.event_ticker, legs, 10**9, probability)


def edge(legs: tuple[Wanted, ...] = ALL_NO, **values: float) -> Any:
    fair = {
        f"{EVENT.event_ticker}-{name}": FairValue(f"{EVENT.event_ticker}-{name}", worth, "mine", NOW_MS)
        for name, worth in values.items()
    }
    wanted = proposal(legs, 0.5 if values else None)
    return edge_of(legs, wanted, VIEW, fair, SCAN, NOW_MS)


def test_a_basket_earns_its_floor_less_cost_and_fees() -> None:
    # Three NOs at 60 cents pay at least 2 dollars; each ten cost 6 dollars and 16.8 cents of fees.
    assert edge() == Edge(2_000_000 - 3 * 168_000, 2_000_000, (6_168_000,) * 3)


def evened(view: Any, *gone: int) -> int:
    found = basket_edge(ALL_NO, VIEW, SCAN, NOW_MS)
    assert isinstance(found, Edge)
    left_e6 = evened_e6(view, ALL_NO, found.paid_e6, gone, SCAN, NOW_MS)
    assert left_e6 is not None
    return found.whole_e6 - left_e6


def test_where_a_missed_leg_is_not_offered_the_rest_is_sold() -> None:
    gone = view_of(EVENT, leg(EVENT, "HOM", None, (4_200, 9_000)), *VIEW.markets[1:])

    # Two legs cost 2 cents each and the fees of both ways, and what all would have earned is lost.
    sold_e6 = 2 * (10_000_000 - 4_200_000 - 170_600 - 6_000_000 - 168_000)
    assert evened(gone, 0) == 20_000_000 - 18_000_000 - 3 * 168_000 - sold_e6


def test_where_it_can_be_had_a_little_dearer_it_is_completed() -> None:
    dearer = view_of(EVENT, leg(EVENT, "HOM", (3_900, 9_000), (4_200, 9_000)), *VIEW.markets[1:])

    assert evened(dearer, 0) == 100_000 - 1_400  # one leg for a cent more, with lower fees


def test_of_what_nobody_knows_nobody_says_what_it_leaves() -> None:
    assert evened_e6(view_of(EVENT, VIEW.markets[0]), ALL_NO, (1, 1, 1), (0,), SCAN, NOW_MS) is None


def test_a_leg_can_be_had_while_so_much_is_offered_at_its_price_in_an_open_market() -> None:
    wanted = Wanted(TICKERS[0], "no", 6_000, 10_000)
    shut = leg(EVENT, "HOM", (4_000, 10_000), (4_200, 9_000), status=Status.INACTIVE)

    assert had(wanted, VIEW, SCAN)
    assert not had(msgspec.structs.replace(wanted, count_e2=10_100), VIEW, SCAN)
    assert not had(msgspec.structs.replace(wanted, price_e4=5_900), VIEW, SCAN)
    assert not had(wanted, view_of(EVENT, shut), SCAN)
    assert not had(wanted, view_of(EVENT), SCAN)


def test_an_opinion_earns_what_the_published_value_says_not_what_the_proposal_does() -> None:
    cheap = (Wanted(TICKERS[0], "yes", 4_200, 1_000),)

    assert edge(cheap, HOM=0.5) == Edge(5_000_000 - 4_200_000 - 170_600, 0, (4_370_600,))
    assert edge(cheap, AWY=0.5) == "no_fair_value"
    assert edge(cheap, HOM=0.1).whole_e6 < 0


def running(**changes: Any) -> Engine:
    engine = Engine()
    engine.step(start(limits=msgspec.structs.replace(LIMITS, min_edge_e6=50_000), **changes))
    engine.step(live())
    engine.step(data())
    return engine


@pytest.mark.parametrize(("probability", "reason"), [(None, "min_edge"), (0.995, "no_fair_value")])
def test_a_declared_edge_is_not_believed(probability: float | None, reason: str) -> None:
    engine, view = running(), view_of(EVENT, leg(EVENT, "HOM", (100, 10_000), (9_900, 10_000)))
    engine.place_trade(proposal((Wanted(TICKERS[0], "yes", 9_900, 5_000),), probability), view)

    assert engine.refusals.counts == {reason: 1}


def test_a_session_of_old_believes_it() -> None:
    engine = running(rules=1)
    dear = view_of(EVENT, leg(EVENT, "HOM", (100, 10_000), (9_900, 10_000)))

    assert engine.place_trade(proposal((Wanted(TICKERS[0], "yes", 9_900, 5_000),), 0.995), dear)


def test_the_leg_that_takes_most_of_what_is_offered_goes_first() -> None:
    sizes = {"HOM": 9_000, "AWY": 1_000, "TIE": 3_000}
    view = view_of(EVENT, *(leg(EVENT, name, (4_000, size), (4_200, 9_000)) for name, size in sizes.items()))

    assert [one.ticker[-3:] for one in thin_first(ALL_NO, view, SCAN)] == ["AWY", "TIE", "HOM"]


def test_orders_carry_what_is_expected_a_miss_considered() -> None:
    outputs = running().step(data(basket(size_e2=5_000)))

    (expected_e6,) = {one.intent.edge_e6 for one in outputs if isinstance(one, Place)}
    assert (
        0 < expected_e6 < edge(tuple(msgspec.structs.replace(one, count_e2=5_000) for one in ALL_NO)).whole_e6
    )
