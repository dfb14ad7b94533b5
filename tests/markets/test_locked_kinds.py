"""What is locked: YES baskets, ladders and ranges, and that no end pays less than the floors say."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from markets.book import NO, YES
from markets.opportunities import (
    KINDS,
    EventView,
    MarketView,
    Opportunity,
    ScanLimits,
    candidates,
    floor_e6,
    void_e6,
)
from markets.opportunities.strikes import interval
from markets.opportunities.types import Leg
from markets.records import Level
from tests.markets.builders import FREE, NOW_MS, PLAIN, above, bucket, event, ladder, row, three_way

LIMITS = ScanLimits()


def scan(view: EventView) -> list[Opportunity]:
    found = candidates(view, {}, NOW_MS, LIMITS)
    assert found.failures == []
    return found.opportunities


def only(view: EventView, kind: str) -> Opportunity:
    (found,) = [one for one in scan(view) if one.kind == kind]
    return found


# -- YES baskets


def test_a_yes_basket_costs_less_than_the_dollar_that_one_of_it_pays() -> None:
    found = only(event(*three_way((3_500, 3_600), (3_000, 3_100), (2_400, 2_500))), "yes_basket")

    assert found.tradable
    assert [(leg.side, leg.price_e4, leg.count_e2) for leg in found.legs] == [
        (YES, 3_600, 100_00),
        (YES, 3_100, 100_00),
        (YES, 2_500, 100_00),
    ]
    assert found.gross_edge_e6 == 100_00 * (10_000 - 9_200)
    assert (found.floor_e6, found.floor_void_e6) == (100_000_000, 100_00 * 8_900)
    assert found.net_edge_e6 == found.locked_e6 == found.worst_case_e6
    assert found.riskless
    assert found.exhaustive_because == "both sides of the match and the tie are listed"
    assert found.key == "yes_basket:KXMLSGAME-26AUG19VANHOU"


@pytest.mark.parametrize(
    "view",
    [
        event(*three_way((3_500, 3_600), (3_000, 3_100), (2_400, 2_500))[:2]),
        event(*three_way((3_500, 3_600), (3_000, 3_100), (2_400, 2_500)), exclusive=False),
        event(*three_way((3_500, 3_600), (3_000, 3_100), (2_400, 2_500)), raw=b"{}"),
        event(*three_way((3_500, 3_600), (3_000, 3_100), (2_400, 2_500))[:2], row("Tie", (2_400, 1), None)),
        event(*three_way((3_500, 3_600), (3_000, 3_100), (3_200, 3_300))),
    ],
    ids=["outcome missing", "not exclusive", "list unknown", "one not for sale", "a dollar"],
)
def test_no_yes_basket_where_an_outcome_may_be_missing_or_nothing_is_gained(view: EventView) -> None:
    assert "yes_basket" not in {one.kind for one in scan(view)}


def test_sets_are_bought_while_one_more_earns_after_fees() -> None:
    # NO bids make YES asks: 10 at 0.30, then 50 at 0.34, then 100 at 0.38.
    deep: tuple[list[Level], list[Level]] = ([], [(6_200, 100_00), (6_600, 50_00), (7_000, 10_00)])
    rows = (
        row("VAN", None, (3_000, 10_00), book=deep),
        row("HOU", None, (3_000, 300_00)),
        row("Tie", None, (3_000, 300_00)),
    )

    priced, free = only(event(*rows), "yes_basket"), only(event(*rows, series=FREE), "yes_basket")

    # A set costs 0.90 and 0.0441 of fees, then 0.94 and 0.0452, then 0.98 and 0.0459.
    assert [leg.count_e2 for leg in priced.legs] == [60_00] * 3
    assert [leg.count_e2 for leg in free.legs] == [160_00] * 3
    assert priced.legs[0].cost_e6 == 10_00 * 3_000 + 50_00 * 3_400
    assert priced.net_edge_e6 == priced.gross_edge_e6 - sum(leg.fee_e6 or 0 for leg in priced.legs)


def test_a_yes_basket_that_fees_take_is_listed_with_the_reason() -> None:
    found = only(event(*three_way((3_300, 3_400), (3_300, 3_400), (2_900, 3_100))), "yes_basket")

    assert found.reasons == ("fees_exceed_edge",)
    assert not found.riskless


# -- ladders and ranges


def test_two_strikes_the_wrong_way_round_are_a_ladder() -> None:
    view = ladder(above(50, 3_000, 3_100), above(60, 3_600, 3_700), above(70, 1_000, 1_100))

    found = only(view, "ladder")

    assert found.tradable
    assert [(leg.label, leg.side, leg.price_e4) for leg in found.legs] == [
        ("Above 50", YES, 3_100),
        ("Above 60", NO, 6_400),
    ]
    assert (found.floor_e6, found.floor_void_e6) == (100_000_000, 100_00 * (3_000 + 6_300))
    assert found.riskless
    said = '"Above 50" includes "Above 60", so YES of the one or NO of the other pays in any case'
    assert said in found.notes
    assert found.key == "ladder:KXMLSGAME-26AUG19VANHOU:T50:yes~T60:no"


def test_each_market_is_in_one_pair_the_one_that_is_furthest_apart() -> None:
    view = ladder(above(50, 1_000, 1_100), above(60, 3_000, 3_100), above(70, 4_500, 4_600), series=FREE)

    assert only(view, "ladder").key.endswith(":T50:yes~T70:no")


def test_a_doubtful_strike_hides_no_sound_pair() -> None:
    broken = msgspec.structs.replace(above(50, 100, 200), suspect=True)
    view = ladder(broken, above(60, 3_000, 3_100), above(70, 4_500, 4_600), series=FREE)

    assert only(view, "ladder").key.endswith(":T60:yes~T70:no")
    alone = only(ladder(broken, above(60, 3_000, 3_100), series=FREE), "ladder")
    assert alone.reasons == ("suspect",)


@pytest.mark.parametrize(
    "rungs",
    [
        (above(50, 3_000, 3_100, "A wins by over {}"), above(60, 3_600, 3_700, "B wins by over {}")),
        (above(50, 3_000, 3_100), above(60, 3_600, 3_700, title="Of another city")),
        (above(50, 3_000, 3_100, "In the 4th quarter"), above(60, 3_600, 3_700, "In the 4th quarter")),
        (above(4.5, 3_000, 3_100, "Over {} in the 4th"), above(5.5, 3_600, 3_700, "Over {} in the 5th")),
        (above(50, 3_000, 3_100), above(60, 3_600, 3_700, market_type="scalar")),
        (above(50, 3_000, 3_100), row("T60", (3_600, 1), None, label="Above 60", strike_type="custom")),
    ],
    ids=["another team", "another city", "no strike in the words", "two numbers", "scalar", "no strike"],
)
def test_no_ladder_of_what_may_be_about_different_numbers(rungs: tuple[MarketView, ...]) -> None:
    assert scan(ladder(*rungs, series=FREE)) == []


def test_thresholds_below_include_those_further_below() -> None:
    def below(strike: float, bid: int, ask: int) -> MarketView:
        return row(
            f"L{strike:g}", (bid, 500), (ask, 500), label=f"Below {strike:g}", strike_type="less",
            cap_strike=strike,
        )  # fmt: skip

    found = only(ladder(below(60, 3_000, 3_100), below(50, 3_600, 3_700), series=FREE), "ladder")

    assert [(leg.label, leg.side) for leg in found.legs] == [("Below 60", YES), ("Below 50", NO)]


def test_a_bucket_above_its_threshold_is_a_range() -> None:
    view = ladder(above(50, 3_000, 3_100), bucket(60, 65, 3_600, 3_700), bucket(40, 45, 4_000, 4_100))

    found = only(view, "range")

    assert [(leg.label, leg.side) for leg in found.legs] == [("Above 50", YES), ("60 to 65", NO)]
    assert found.riskless
    assert "ladder" not in {one.kind for one in scan(view)}


def test_a_strike_at_the_end_of_another_is_in_it_only_if_both_say_so() -> None:
    def covers(kind: str, floor: float | None = None, cap: float | None = None) -> Any:
        return interval(row("A", None, None, strike_type=kind, floor_strike=floor, cap_strike=cap).market)

    assert covers("between", 50, 60).within(covers("greater_or_equal", 50))
    assert not covers("between", 50, 60).within(covers("greater", 50))
    assert covers("greater", 50).within(covers("greater_or_equal", 50))
    assert not covers("greater_or_equal", 50).within(covers("greater", 50))
    assert covers("less", None, 50).within(covers("less_or_equal", None, 50))
    assert covers("between", 60, 50) is None
    assert covers("greater") is None
    assert covers("greater", float("inf")) is None


def test_uneven_legs_pay_what_all_of_them_have() -> None:
    whole = event(*three_way((3_500, 3_600), (3_000, 3_100), (2_400, 2_500)))
    rungs = ladder(above(50, 3_000, 3_100), above(60, 3_600, 3_700))
    van, hou, tie = (seen.market.ticker for seen in whole.markets)
    low, high = (seen.market.ticker for seen in rungs.markets)
    yes, ladders = KINDS["yes_basket"], KINDS["ladder"]

    assert yes.least_payout_e6(whole, [(van, YES, 300), (hou, YES, 200), (tie, YES, 0)]) == 0
    assert yes.least_payout_e6(whole, [(van, YES, 300), (hou, YES, 200), (tie, YES, 100)]) == 1_000_000
    assert yes.least_payout_e6(whole, [(van, YES, 300), (hou, YES, 200)]) is None
    assert yes.least_payout_e6(whole, [(van, NO, 300), (hou, YES, 200), (tie, YES, 100)]) is None
    assert ladders.least_payout_e6(rungs, [(low, YES, 300), (high, NO, 200)]) == 2_000_000
    assert ladders.least_payout_e6(rungs, [(high, YES, 300), (low, NO, 200)]) is None
    assert ladders.least_payout_e6(rungs, [(low, YES, 300), (high, YES, 200)]) is None


# -- implications


SOURCED = b'{"settlement_sources":[{"name":"MLB"}],"product_metadata":{"competition_scope":"Game"}}'


def related(
    bid: int, label: str = "VAN wins by over 1.5 runs", strike: float = 1.5, raw: bytes = SOURCED
) -> EventView:
    winner = event(*three_way((3_000, 3_100), (3_500, 3_900), (2_600, 2_900)), raw=SOURCED)
    margin = row(
        "S-VAN2", (bid, 50_00), (bid + 100, 50_00), label=label, strike_type="greater", floor_strike=strike
    )
    spread = event(margin, exclusive=False, raw=raw)
    return msgspec.structs.replace(winner, related=(spread,))


def test_a_margin_dearer_than_the_win_that_it_implies_is_shown_and_not_traded() -> None:
    found = only(related(3_600), "implication")

    assert [(leg.label, leg.side, leg.price_e4, leg.count_e2) for leg in found.legs] == [
        ("VAN", YES, 3_100, 50_00),
        ("VAN wins by over 1.5 runs", NO, 6_400, 50_00),
    ]
    assert found.reasons == ("two_events",)
    assert found.riskless
    assert (found.floor_e6, found.floor_void_e6) == (50_000_000, 50_00 * (3_000 + 6_300))


@pytest.mark.parametrize(
    "view",
    [
        related(3_100),
        related(3_600, "VAN wins the first half by over 1.5 runs"),
        related(3_600, "VANCOUVER B wins by over 1.5 runs"),
        related(3_600, "VAN wins by over -1.5 runs", -1.5),
        msgspec.structs.replace(related(3_600), related=()),
    ],
    ids=[
        "in order",
        "another thing",
        "another team",
        "a head start",
        "alone",
    ],
)
def test_no_implication_that_is_not_proved(view: EventView) -> None:
    assert "implication" not in {one.kind for one in scan(view)}


@pytest.mark.parametrize("raw", [SOURCED.replace(b"MLB", b"Fox"), b"{}", b'{"settlement_sources":7}'])
def test_an_implication_is_sure_only_where_both_are_settled_alike(raw: bytes) -> None:
    rules = b'{"rules_secondary":"a fair price"}'
    view = related(3_600)
    told = row("VAN", (3_000, 100_00), (3_100, 100_00), raw=rules)
    other_rule = msgspec.structs.replace(view, markets=(told, *view.markets[1:]))

    assert only(related(3_600, raw=raw), "implication").reasons == ("two_events", "settled_apart")
    assert only(other_rule, "implication").reasons == ("two_events", "settled_apart")


# -- whatever comes


CENTS, TENTHS, FINE = ((0, 10_000, 100),), ((0, 10_000, 10),), ((0, 10_000, 1),)
STRIKES = (
    ("greater", "Above {floor:g}"),
    ("greater_or_equal", "Above {floor:g}"),
    ("between", "{floor:g} to {cap:g}"),
    ("less", "Below {cap:g}"),
)
sizes = st.integers(1, 500_00)


@st.composite
def worlds(draw: st.DrawFn) -> EventView:
    """An event of one to six markets: outcomes of a match, or thresholds and buckets on one number."""
    grid = draw(st.sampled_from([CENTS, TENTHS, FINE]))
    step = grid[0][2]
    line = draw(st.booleans())
    rows = []
    count = draw(st.sampled_from([1, 2, 3, 3, 3, 4, 5, 6]))
    most = (10_000 if line else draw(st.sampled_from([10_000, 12_000 // count]))) // step
    for number in range(count):
        low = draw(st.integers(1, min(most, 10_000 // step - 2)))
        high = draw(st.integers(low + 1, max(low + 1, min(most, 10_000 // step - 1))))
        bid = (low * step, draw(sizes)) if draw(st.integers(0, 9)) else None
        ask = (high * step, draw(sizes)) if draw(st.integers(0, 9)) else None
        book = None
        if draw(st.booleans()):
            more = draw(st.lists(sizes, max_size=2))
            yes = [(bid[0] - step * n, size) for n, size in enumerate(more, 1) if bid and bid[0] > step * n]
            no = [(10_000 - ask[0] - step * n, size) for n, size in enumerate(more, 1) if ask]
            book = (
                [*reversed(yes), *([bid] if bid else [])],
                [*reversed([level for level in no if level[0] > 0])]
                + ([(10_000 - ask[0], ask[1])] if ask else []),
            )
        changes: dict[str, Any] = {"price_ranges": grid, "book": book}
        if line:
            kind, words = draw(st.sampled_from(STRIKES))
            floor = draw(st.integers(0, 4)) * 10.0
            cap = floor + 10 * draw(st.integers(1, 3))
            changes |= {
                "strike_type": kind,
                "label": words.format(floor=floor, cap=cap),
                "floor_strike": None if kind == "less" else floor,
                "cap_strike": None if kind.startswith("greater") else cap,
            }
        else:
            changes["label"] = ("VAN", "HOU", "Tie", "D", "E", "F")[number]
        rows.append(row(f"M{number}", bid, ask, **changes))
    multiplier = draw(st.sampled_from([0, 2_500, 10_000, 20_000]))
    series = msgspec.structs.replace(PLAIN, fee_multiplier_e4=multiplier)
    exclusive = draw(st.booleans()) and not line
    return event(*rows, series=series, exclusive=exclusive)


def ends_of(view: EventView) -> list[dict[str, float]]:
    """All that the event may come to: what YES of each market is worth, 0 to 1."""
    tickers = [seen.market.ticker for seen in view.markets]
    covers = [interval(seen.market) for seen in view.markets]
    if view.event.mutually_exclusive:
        none = {} if known_exhaustive(view) else {"": 1.0}
        wins = [{ticker: 1.0} for ticker in tickers] + ([none] if none else [])
        heats = [{a: 0.5, b: 0.5} for a in tickers for b in tickers if a < b]
        return wins + heats
    if all(one is not None for one in covers):
        return [
            {
                t: float(one is not None and one.covers(Decimal(value)))
                for t, one in zip(tickers, covers, strict=True)
            }
            for value in sorted({end + shift for end in range(-10, 90, 10) for shift in (-1, 0, 1)})
        ]
    return [dict.fromkeys(tickers, 1.0), {}]


def known_exhaustive(view: EventView) -> bool:
    labels = sorted(seen.market.yes_sub_title for seen in view.markets)
    return labels == ["HOU", "Tie", "VAN"]


def paid_e6(legs: tuple[Leg, ...], worth: dict[str, float]) -> float:
    return sum(
        leg.count_e2 * 10_000 * (value if leg.side == YES else 1 - value)
        for leg in legs
        for value in [worth.get(leg.ticker, 0.0)]
    )


@given(worlds(), st.data())
def test_no_end_and_no_void_pays_less_than_the_floors(view: EventView, data: st.DataObject) -> None:
    quotes = {
        seen.market.ticker: (
            seen.quote.yes_bid_e4 / 10_000 if seen.quote.yes_bid_size_e2 else 0.0,
            seen.quote.yes_ask_e4 / 10_000 if seen.quote.yes_ask_size_e2 else 1.0,
        )
        for seen in view.markets
    }
    voids = [{ticker: data.draw(st.floats(*ends)) for ticker, ends in quotes.items()} for _ in range(2)]
    voids += [{ticker: ends[side] for ticker, ends in quotes.items()} for side in (0, 1)]
    for found in scan(view):
        assert found.gross_edge_e6 > 0
        assert found.floor_e6 - sum(leg.cost_e6 for leg in found.legs) == found.gross_edge_e6
        assert all(paid_e6(found.legs, worth) >= found.floor_e6 - 1e-3 for worth in ends_of(view))
        assert all(paid_e6(found.legs, worth) >= found.floor_void_e6 - 1e-3 for worth in voids)
        legs = [(leg.ticker, leg.side, leg.count_e2) for leg in found.legs]
        assert floor_e6(view, legs) >= found.floor_e6 or found.kind == "range"
        assert void_e6(view.markets, legs) == found.floor_void_e6
        assert found.tradable <= found.riskless


@given(worlds(), st.data())
def test_the_floor_of_any_legs_is_the_worst_of_all_ends(view: EventView, data: st.DataObject) -> None:
    legs = [
        (seen.market.ticker, side, data.draw(st.integers(0, 500)))
        for seen in view.markets
        for side in (YES, NO)
    ]
    worst = min(
        sum(
            count_e2 * (worth.get(ticker, 0.0) if side == YES else 1 - worth.get(ticker, 0.0))
            for ticker, side, count_e2 in legs
        )
        for worth in ends_of(view)
    )

    assert floor_e6(view, legs) <= worst * 10_000
