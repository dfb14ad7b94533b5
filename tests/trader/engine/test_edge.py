"""What a trade is expected to earn: risk works it out and takes nobody's word."""

from typing import Any

import msgspec
import pytest

from markets.orders import Proposal, Wanted
from markets.records import FairValue
from tests.trader.world import LIMITS, NOW_MS, SCAN, basket, data, event_of, leg, live, start, view_of
from trader.engine.edge import Edge, edge_of, thin_first
from trader.engine.engine import Engine
from trader.engine.legrisk import GAP_MS, YOUNG_MS, LegRisk
from trader.engine.outputs import Place

EVENT = event_of()
VIEW = basket()
TICKERS = [seen.market.ticker for seen in VIEW.markets]
ALL_NO = tuple(Wanted(ticker, "no", 6_000, 1_000) for ticker in TICKERS)


def proposal(legs: tuple[Wanted, ...] = ALL_NO, probability: float | None = None) -> Proposal:
    return Proposal("mine", EVENT.event_ticker, legs, 10**9, probability)


def edge(legs: tuple[Wanted, ...] = ALL_NO, miss_ppm: int = 0, view: Any = VIEW, **values: float) -> Any:
    fair = {
        f"{EVENT.event_ticker}-{name}": FairValue(f"{EVENT.event_ticker}-{name}", worth, "mine", NOW_MS)
        for name, worth in values.items()
    }
    wanted = proposal(legs, 0.5 if values else None)
    return edge_of(legs, wanted, view, fair, SCAN, NOW_MS, miss_ppm)


def test_a_basket_earns_its_floor_less_cost_and_fees() -> None:
    # Three NOs at 60 cents pay at least 2 dollars; each ten cost 6 dollars and 16.8 cents of fees.
    assert edge() == Edge(*[20_000_000 - 18_000_000 - 3 * 168_000] * 2)


def test_a_missed_leg_is_in_what_is_expected() -> None:
    whole_e6, expected_e6 = edge(miss_ppm=500_000)

    # Nothing is offered beyond, so the two others are sold: they cost 2 cents each and the fees of both ways.
    sold_e6 = 2 * (10_000_000 - 4_200_000 - 170_600 - 6_000_000 - 168_000)
    assert expected_e6 == (whole_e6 + sold_e6) // 2


def test_where_a_leg_can_be_had_a_little_dearer_a_miss_costs_little() -> None:
    deep = view_of(
        EVENT,
        *(
            leg(EVENT, name, book=([(3_900, 9_000), (4_000, 1_000)], [(5_800, 9_000)]))
            for name in ("HOM", "AWY", "TIE")
        ),
    )
    whole_e6, expected_e6 = edge(miss_ppm=1_000_000, view=deep)

    assert whole_e6 - expected_e6 == 100_000 - 1_400  # one leg for a cent more, with lower fees


def test_an_opinion_earns_what_the_published_value_says_not_what_the_proposal_does() -> None:
    cheap = (Wanted(TICKERS[0], "yes", 4_200, 1_000),)

    assert edge(cheap, HOM=0.5) == Edge(*[5_000_000 - 4_200_000 - 170_600] * 2)
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


def test_the_chance_of_a_miss_is_learnt_from_own_baskets_by_age_and_series() -> None:
    risk = LegRisk()
    prior = risk.miss_ppm("young:A")
    for trade in range(200):
        risk.sent(trade, "young:A")
        risk.ended(trade, missed=trade % 2 == 0, over=False)
        risk.ended(trade, missed=False, over=True)
        risk.sent(1_000 + trade, "old:B")
        risk.ended(1_000 + trade, missed=False, over=True)

    assert prior == 200_000
    assert 400_000 < risk.miss_ppm("young:A") < 500_000
    assert risk.miss_ppm("old:B") < 30_000
    assert risk.miss_ppm("old:B") < risk.miss_ppm("old:C") < risk.miss_ppm("young:C") < 500_000


def test_an_event_is_young_until_it_has_offered_something_for_a_while() -> None:
    risk = LegRisk()
    assert risk.bucket("E", "A", 0) == "young:A"
    risk.see("E", 0)
    risk.see("E", YOUNG_MS)
    assert risk.bucket("E", "A", YOUNG_MS - 1) == "young:A"
    assert risk.bucket("E", "A", YOUNG_MS) == "old:A"
    risk.see("E", YOUNG_MS + GAP_MS + 1)
    assert risk.bucket("E", "A", YOUNG_MS + GAP_MS + 1) == "young:A"
