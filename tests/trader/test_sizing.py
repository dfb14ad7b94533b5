"""Sizes: all that is offered, a fixed count, by the edge, a part of Kelly's with what is not known off it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from markets.errors import StartupError
from markets.opportunities import candidates
from markets.orders import Proposal, Wanted
from markets.records import FairValue
from tests.trader.world import NOW_MS, SCAN, basket, event_of, leg, view_of
from trader.lineup import load_strategy
from trader.strategies import Update
from trader.strategies.sizing import SizeParams, contracts_of, cut, kelly_part

EVENT = event_of()
TICKER = f"{EVENT.event_ticker}-HOM"


def wanted(params: SizeParams, **changes: Any) -> int:
    fields: dict[str, Any] = {"offered_e2": 10_000, "paid_e6": 40_000_000, "edge_e6": 5_000_000, **changes}
    return contracts_of(
        params, fields.pop("offered_e2"), fields.pop("paid_e6"), fields.pop("edge_e6"), **fields
    )


def test_all_that_is_offered_a_fixed_count_or_so_many_for_each_cent_of_edge() -> None:
    assert wanted(SizeParams()) == 100
    assert wanted(SizeParams(size="fixed", contracts=30)) == 30
    assert wanted(SizeParams(size="fixed", contracts=300)) == 100
    assert wanted(SizeParams(size="edge", contracts=3)) == 15  # 5 cents a contract
    assert wanted(SizeParams(size="edge", contracts=3), edge_e6=-1) == 0


def test_a_part_of_kelly_is_taken_at_the_worse_end_of_the_belief() -> None:
    half = SizeParams(size="kelly", kelly=0.5)
    rich = {"cash_e6": 100_000_000}

    # Believed 0.52 at 0.40: a fifth of what is had, half of which is $10, or 25 contracts.
    assert wanted(half, fair=0.52, **rich) == 25
    assert wanted(half, fair=0.52, margin=0.06, **rich) == 12
    assert wanted(half, fair=0.52, margin=0.12, **rich) == 0
    assert wanted(half, fair=0.30, **rich) == 0
    assert wanted(half, fair=1.0, **rich) == 100
    assert wanted(half, fair=0.52, cash_e6=-5) == 0


@given(
    st.sampled_from(["depth", "fixed", "edge", "kelly"]),
    st.integers(0, 10**7),
    st.integers(0, 10**9),
    st.integers(-(10**9), 10**9),
    st.floats(0, 1),
    st.floats(0, 1),
    st.integers(-(10**12), 10**12),
)
def test_no_size_is_negative_or_more_than_is_offered(
    size: Any, offered_e2: int, paid_e6: int, edge_e6: int, fair: float, margin: float, cash_e6: int
) -> None:
    params = SizeParams(size=size)
    got = contracts_of(params, offered_e2, paid_e6, edge_e6, fair=fair, margin=margin, cash_e6=cash_e6)

    assert 0 <= got <= offered_e2 // 100
    assert 0 <= kelly_part(fair - margin, min(1.0, paid_e6 / 10**9)) <= 1


def test_a_proposal_is_cut_with_what_it_earns_and_none_of_nothing() -> None:
    legs = (Wanted("A", "no", 6_000, 1_000), Wanted("B", "no", 3_000, 2_000))
    whole = Proposal("value", "E", legs, 1_000, None)

    part = cut(whole, 5)
    assert part is not None
    assert ([one.count_e2 for one in part.legs], part.edge_e6) == ([500, 500], 250)
    assert cut(whole, 20) is whole
    assert cut(whole, 0) is None


def test_value_buys_as_much_as_its_size_says() -> None:
    view = view_of(EVENT, leg(EVENT, "HOM", (4_000, 50_000), (4_200, 50_000)))
    values = {TICKER: FairValue(TICKER, 0.6, "mine", NOW_MS)}
    found = tuple(candidates(view, values, NOW_MS, SCAN).opportunities)
    update = Update(view, found, NOW_MS, cash_e6=100_000_000, fair_values=values)
    counts = {
        text: sum(
            leg_.count_e2
            for one in load_strategy(text).make().on_update(update)
            if isinstance(one, Proposal)
            for leg_ in one.legs
        )
        for text in ("value", "value(size='fixed', contracts=7)", "value(size='kelly', kelly=0.1)")
    }

    assert list(counts.values())[:2] == [50_000, 700]
    assert 0 < counts["value(size='kelly', kelly=0.1)"] < 10_000


def test_baskets_are_cut_to_so_many_sets() -> None:
    view = basket()
    update = Update(view, tuple(candidates(view, {}, NOW_MS, SCAN).opportunities), NOW_MS)

    def sets_e2(text: str) -> list[int]:
        wanted = load_strategy(text).make().on_update(update)
        return [one.legs[0].count_e2 for one in wanted if isinstance(one, Proposal)]

    assert sets_e2("baskets") == [10_000]
    assert sets_e2("baskets(size='fixed', contracts=7)") == [700]
    assert 0 < sets_e2("baskets(size='edge', contracts=2)")[0] < 10_000
    with pytest.raises(StartupError, match="no belief is involved"):
        load_strategy("baskets(size='kelly')").make()


@pytest.mark.parametrize("bad", ["contracts=0", "kelly=0.0", "kelly=1.5", "size='all'", "target_e4=0"])
def test_a_size_out_of_range_refuses_the_start(bad: str) -> None:
    with pytest.raises(StartupError):
        load_strategy(f"value({bad})").make()
