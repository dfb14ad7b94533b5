"""The scanner: exact edges, sizes by depth, and every reason why not."""

import itertools
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from markets.fees import FeeSchedule, taker_fees_e6
from markets.opportunities import (
    CONSENSUS,
    REASONS,
    EventView,
    MarketView,
    Opportunity,
    ScanLimits,
    candidates,
    consensus_values,
    event_values,
    exhaustiveness,
    opportunity_json,
)
from markets.opportunities.kinds.kind import NOTE_VOID, NOTE_VOID_ALLOWED
from markets.records import Book, Event, FairValue, Level, Market, Status
from markets.units import HOUR_MS
from tests.markets.builders import CLOSE_MS, FREE, NOW_MS, PLAIN, TIMING, event, market, row, three_way

LIMITS = ScanLimits()
FEES = FeeSchedule("quadratic", 10_000)


def scan(
    view: EventView, fair_values: Mapping[str, FairValue], now_ms: int, limits: ScanLimits = LIMITS
) -> list[Opportunity]:
    """Return the candidates with these fair values."""
    found = candidates(view, fair_values, now_ms, limits)
    assert found.failures == []
    return found.opportunities


def only(found: list[Opportunity], kind: str) -> Opportunity:
    matching = [one for one in found if one.kind == kind]
    assert len(matching) == 1, found
    return matching[0]


# --- no_basket -----------------------------------------------------------------------------------

RICH = ((4_500, 4_600), (4_000, 4_100), (2_500, 2_600))  # bids add up to 1.10


def test_basket_edge_is_exact_to_the_microdollar() -> None:
    basket = only(scan(event(*three_way(*RICH)), {}, NOW_MS), "no_basket")
    assert basket.tradable
    assert [(leg.side, leg.price_e4, leg.count_e2) for leg in basket.legs] == [
        ("no", 5_500, 10_000),
        ("no", 6_000, 10_000),
        ("no", 7_500, 10_000),
    ]
    assert basket.count_e2 == 10_000
    assert basket.gross_edge_e6 == 10_000_000  # 100 baskets pay $200 and cost $190
    fees_e6 = sum(taker_fees_e6(FEES, [(leg.price_e4, leg.count_e2)], time_ms=NOW_MS) for leg in basket.legs)
    assert basket.fees_e6 == fees_e6 == 1_732_500 + 1_680_000 + 1_312_500
    assert basket.net_edge_e6 == basket.ev_e6 == basket.worst_case_e6 == 10_000_000 - fees_e6
    assert basket.capital_e6 == 190_000_000 + fees_e6
    assert basket.as_of_ms == NOW_MS - 1_000
    assert (basket.start_ms, basket.close_ms, basket.volume_e2) == (TIMING.start_ms, CLOSE_MS, 5_000_00)


def test_basket_needs_bids_above_one_and_mutual_exclusion() -> None:
    assert scan(event(*three_way((4_000, 4_600), (4_000, 4_100), (2_000, 2_600))), {}, NOW_MS) == []
    assert scan(event(*three_way(*RICH), exclusive=False), {}, NOW_MS) == []


def test_basket_walks_the_depth_of_every_leg_while_it_pays() -> None:
    rows = (
        row("VAN", (5_000, 10_00), None, book=([(3_000, 500_00), (4_000, 20_00), (5_000, 10_00)], [])),
        row("HOU", (7_000, 30_00), None, book=([(7_000, 30_00)], [])),
    )
    basket = only(scan(event(*rows, series=FREE), {}, NOW_MS), "no_basket")
    # 10 at 0.50 + 0.70, then 20 at 0.40 + 0.70; at 0.30 + 0.70 nothing is left to earn.
    assert [(leg.count_e2, leg.price_e4) for leg in basket.legs] == [(30_00, 6_000), (30_00, 3_000)]
    assert basket.net_edge_e6 == 10_00 * 2_000 + 20_00 * 1_000
    assert basket.legs[0].cost_e6 == 10_00 * 5_000 + 20_00 * 6_000


def test_a_dry_leg_drops_out_and_the_others_go_on() -> None:
    rows = (
        row("VAN", (6_000, 50_00), None),
        row("HOU", (6_000, 50_00), None),
        row("Tie", (1_000, 5_00), None),
    )
    basket = only(scan(event(*rows, series=FREE), {}, NOW_MS), "no_basket")
    assert [leg.count_e2 for leg in basket.legs] == [50_00, 50_00, 5_00]
    assert basket.net_edge_e6 == 50_00 * 2_000 + 5_00 * 1_000


def test_a_leg_that_does_not_earn_its_fee_is_left_out() -> None:
    dear = msgspec.structs.replace(PLAIN, fee_multiplier_e4=150_000)  # a long shot's fee exceeds its bid
    rows = three_way((9_000, 9_100), (9_000, 9_100), (100, 200))
    basket = only(scan(event(*rows, series=dear), {}, NOW_MS), "no_basket")
    assert [leg.label for leg in basket.legs] == ["VAN", "HOU"]
    assert basket.tradable


def test_a_suspect_leg_is_left_out_where_the_others_suffice() -> None:
    rows = (*three_way((6_000, 6_100), (5_000, 5_100), (500, 600)),)
    doubtful = msgspec.structs.replace(rows[2], suspect=True)
    basket = only(scan(event(rows[0], rows[1], doubtful), {}, NOW_MS), "no_basket")
    assert basket.tradable
    assert len(basket.legs) == 2


def test_worst_case_counts_a_voided_match_at_todays_bids() -> None:
    rules = b'{"rules_secondary":"... the market will resolve to the a fair market price."}'
    basket = only(scan(event(*three_way(*RICH, raw=rules), series=FREE), {}, NOW_MS), "no_basket")
    assert basket.net_edge_e6 == 10_000_000
    assert basket.worst_case_e6 == 10_000 * (5_400 + 5_900 + 7_400 - 5_500 - 6_000 - 7_500)
    assert basket.notes == (NOTE_VOID_ALLOWED,)
    assert (basket.floor_e6, basket.floor_void_e6) == (200_000_000, 187_000_000)
    assert (basket.locked_e6, basket.if_void_e6) == (10_000_000, -3_000_000)
    assert basket.riskless


def test_what_a_void_may_cost_is_bought_only_where_that_is_to_be_risked() -> None:
    rich = event(*three_way(*RICH), series=FREE)
    careful = msgspec.structs.replace(LIMITS, void_risk=False)

    assert only(scan(rich, {}, NOW_MS), "no_basket").tradable
    assert only(scan(rich, {}, NOW_MS, careful), "no_basket").reasons == ("void_risk",)
    assert only(scan(rich, {}, NOW_MS), "no_basket").notes == (NOTE_VOID,)
    believed = {rich.markets[0].market.ticker: FairValue(rich.markets[0].market.ticker, 0.6, "file", NOW_MS)}
    bet = only(scan(rich, believed, NOW_MS, careful), "value")
    assert bet.tradable  # nothing of it is locked anyway
    assert (bet.floor_e6, bet.floor_void_e6) == (0, 100_00 * 4_500)
    assert bet.locked_e6 == -bet.capital_e6 == bet.worst_case_e6  # type: ignore[operator]


@given(
    st.lists(
        st.lists(st.tuples(st.integers(1, 99), st.integers(1, 5_000)), min_size=1, max_size=4),
        min_size=2,
        max_size=5,
    ),
    st.sampled_from([0, 5_000, 10_000]),
)
def test_basket_pays_what_it_claims_whichever_leg_wins(
    sides: list[list[tuple[int, int]]], multiplier: int
) -> None:
    rows = []
    for i, levels in enumerate(sides):
        book = sorted({cents * 100: count for cents, count in levels}.items())
        rows.append(row(f"M{i}", book[-1], None, book=(book, [])))
    series = msgspec.structs.replace(PLAIN, fee_multiplier_e4=multiplier)
    for basket in scan(event(*rows, series=series), {}, NOW_MS):
        counts = [leg.count_e2 for leg in basket.legs]
        paid = sum(leg.cost_e6 for leg in basket.legs)
        outcomes = [sum(counts) * 10_000 - paid] + [(sum(counts) - count) * 10_000 - paid for count in counts]
        assert min(outcomes) == basket.gross_edge_e6 > 0
        assert basket.net_edge_e6 == basket.gross_edge_e6 - sum(leg.fee_e6 or 0 for leg in basket.legs)
        assert basket.worst_case_e6 == basket.net_edge_e6
        for leg, view in ((leg, v) for leg in basket.legs for v in rows if v.market.ticker == leg.ticker):
            assert view.book is not None
            assert leg.count_e2 <= sum(
                count for price, count in view.book.yes if 10_000 - price <= leg.price_e4
            )
        if multiplier == 0:
            assert basket.net_edge_e6 >= _best_equal_count_edge(rows)


def _best_equal_count_edge(rows: list[MarketView]) -> int:
    """By brute force: the best profit of any subset of legs bought in equal counts, without fees."""
    best = 0
    books = [[(10_000 - p, c) for p, c in reversed(v.book.yes)] for v in rows if v.book]
    for size in range(2, len(books) + 1):
        for subset in itertools.combinations(books, size):
            ends = {sum(c for _, c in book[: k + 1]) for book in subset for k in range(len(book))}
            for count in ends:
                if all(sum(c for _, c in book) >= count for book in subset):
                    cost = sum(_cost(book, count) for book in subset)
                    best = max(best, (size - 1) * count * 10_000 - cost)
    return best


def _cost(book: list[Level], count: int) -> int:
    cost = 0
    for price, size in book:
        part = min(size, count)
        cost += part * price
        count -= part
    return cost


# --- value ---------------------------------------------------------------------------------------


def fair(name: str, probability: float, margin: float = 0.0, age_ms: int = 1_000) -> dict[str, FairValue]:
    ticker = market(name).ticker
    return {ticker: FairValue(ticker, probability, "file", NOW_MS - age_ms, margin)}


def test_value_buys_yes_below_its_fair_probability() -> None:
    view = event(row("VAN", (4_700, 50_00), (4_900, 100_00)))
    found = only(scan(view, fair("VAN", 0.55), NOW_MS), "value")
    assert found.tradable
    assert (found.legs[0].side, found.legs[0].price_e4, found.count_e2) == ("yes", 4_900, 100_00)
    assert (found.probability, found.value) == (0.55, 0.06)
    assert found.gross_edge_e6 == 6_000_000
    assert found.fees_e6 == taker_fees_e6(FEES, [(4_900, 100_00)], time_ms=NOW_MS) == 1_749_300
    assert found.ev_e6 == found.net_edge_e6 == 6_000_000 - 1_749_300
    assert found.worst_case_e6 == -(49_000_000 + 1_749_300)


def test_value_buys_no_when_yes_is_dear() -> None:
    view = event(row("VAN", (4_700, 50_00), (4_900, 100_00)))
    found = only(scan(view, fair("VAN", 0.40), NOW_MS), "value")
    assert (found.legs[0].side, found.legs[0].price_e4, found.count_e2) == ("no", 5_300, 50_00)
    assert found.probability == 0.6
    assert found.value == 0.07


def test_value_walks_only_levels_that_earn_more_than_their_fee() -> None:
    book: tuple[list[Level], list[Level]] = ([], [(4_500, 70_00), (4_700, 30_00), (5_200, 10_00)])
    view = event(row("VAN", None, (4_800, 10_00), book=book))
    # YES asks: 10 at 0.48, 30 at 0.53, 70 at 0.55; the fee is about 1.75 cents a contract.
    found = only(scan(view, fair("VAN", 0.55), NOW_MS), "value")
    assert [(leg.count_e2, leg.price_e4) for leg in found.legs] == [(40_00, 5_300)]
    assert found.legs[0].cost_e6 == 10_00 * 4_800 + 30_00 * 5_300
    assert found.value == pytest.approx(0.02)


@given(
    st.floats(0, 1),
    st.integers(1, 98),
    st.integers(1, 98),
    st.integers(1, 10**6),
    st.sampled_from([0, 10_000]),
)
def test_value_and_ev_are_consistent(
    probability: float, bid: int, spread: int, count: int, multiplier: int
) -> None:
    ask = min(99, bid + spread)
    view = event(
        row("VAN", (bid * 100, count), (ask * 100, count)),
        series=msgspec.structs.replace(PLAIN, fee_multiplier_e4=multiplier),
    )
    found = scan(view, fair("VAN", probability), NOW_MS)
    assert len(found) <= 1  # never both sides: their asks add up to more than one
    for one in found:
        leg = one.legs[0]
        assert one.gross_edge_e6 > 0 or count < 100
        assert one.probability is not None
        assert one.ev_e6 is not None
        exact = one.probability * leg.count_e2 * 10_000 - leg.cost_e6 - (leg.fee_e6 or 0)
        assert abs(one.ev_e6 - exact) <= 1
        assert one.tradable == (one.ev_e6 > 0 and count >= 100)


# --- consensus -----------------------------------------------------------------------------------


def test_consensus_is_what_the_other_legs_leave_over() -> None:
    values = consensus_values(event(*three_way((4_400, 4_600), (3_000, 3_200), (2_300, 2_500))))
    van = values[market("VAN").ticker]
    assert (van.probability, van.margin, van.source) == (0.45, 0.02, CONSENSUS)


def test_consensus_counts_an_empty_side_as_its_bound() -> None:
    rows = (
        row("VAN", (9_000, 100_00), (9_300, 100_00)),
        row("HOU", None, (600, 100_00)),
        row("Tie", (200, 100_00), (400, 100_00)),
    )
    van = consensus_values(event(*rows))[market("VAN").ticker]
    assert van.probability == pytest.approx(1 - 0.03 - 0.03)
    assert van.margin == pytest.approx(0.03 + 0.01)


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 30)), min_size=3, max_size=3))
def test_consensus_is_never_worth_a_bet_but_where_a_basket_is_locked(
    bids_and_spreads: list[tuple[int, int]],
) -> None:
    prices = [(100 * bid, 100 * (bid + spread)) for bid, spread in bids_and_spreads]
    view = event(*three_way(*prices), series=FREE)
    values = consensus_values(view)
    found = scan(view, {}, NOW_MS)

    assert {one.kind for one in found} <= {"no_basket", "yes_basket"}
    for seen in view.markets:
        fair = values.get(seen.market.ticker)
        if fair is not None and seen.quote.yes_ask_e4 < (fair.probability - fair.margin) * 10_000 - 0.5:
            assert "yes_basket" in {one.kind for one in found}


@pytest.mark.parametrize(
    "view",
    [
        event(*three_way((4_400, 4_600), (3_000, 3_200), (2_300, 2_500)), exclusive=False),
        event(*three_way((4_400, 4_600), (3_000, 3_200), (2_300, 2_500)), raw=b"{}"),
        event(*three_way((4_400, 4_600), (3_000, 3_200), (2_300, 2_500), suspect=True)),
        event(*three_way((4_400, 4_600), (3_000, 3_200), (2_300, 2_500), status=Status.CLOSED)),
        event(*three_way((4_600, 4_400), (3_000, 3_200), (2_300, 2_500))),
        event(row("VAN", (10_000, 100_00), None), *three_way((0, 0), (3_000, 3_200), (2_300, 2_500))[1:]),
        event(row("VAN", (0, 100_00), None), *three_way((0, 0), (3_000, 3_200), (2_300, 2_500))[1:]),
        event(row("VAN", None, (0, 100_00)), *three_way((0, 0), (3_000, 3_200), (2_300, 2_500))[1:]),
        event(row("VAN", None, (10_000, 100_00)), *three_way((0, 0), (3_000, 3_200), (2_300, 2_500))[1:]),
        event(*three_way((4_350, 4_600), (3_000, 3_200), (2_300, 2_500))),
        event(*three_way((4_400, 4_600), (3_000, 3_200), (2_300, 2_500))[:2]),
    ],
    ids=[
        "not exclusive",
        "not a game",
        "suspect",
        "closed",
        "crossed",
        "bid at 100",
        "bid at 0",
        "ask at 0",
        "ask at 100",
        "between cents",
        "leg missing",
    ],
)
def test_no_consensus_without_sound_exhaustive_legs(view: EventView) -> None:
    assert consensus_values(view) == event_values(view) == {}


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 30)), min_size=3, max_size=3))
def test_what_an_event_is_worth_without_its_margin_stays_within_each_leg_s_own_spread(
    bids_and_spreads: list[tuple[int, int]],
) -> None:
    prices = [(100 * bid, 100 * (bid + spread)) for bid, spread in bids_and_spreads]
    view = event(*three_way(*prices))
    values = event_values(view)
    assert len(values) == 3
    for seen in view.markets:
        worth_e4 = values[seen.market.ticker].probability * 10_000
        assert seen.quote.yes_bid_e4 - 1e-6 <= worth_e4 <= seen.quote.yes_ask_e4 + 1e-6
    total = sum(fair.probability for fair in values.values())
    if sum(bid for bid, _ in prices) <= 10_000 <= sum(ask for _, ask in prices):
        assert abs(total - 1) <= abs(sum(bid + ask for bid, ask in prices) / 20_000 - 1) + 1e-9
    assert {fair.source for fair in values.values()} == {CONSENSUS}


def test_a_leg_without_a_bid_or_an_ask_is_worth_what_the_others_leave_over() -> None:
    rows = (
        row("VAN", (8_900, 100_00), (9_100, 100_00)),
        row("HOU", None, (600, 100_00)),
        row("Tie", (200, 100_00), (400, 100_00)),
    )
    view = event(*rows)
    hou = market("HOU").ticker
    assert event_values(view) == {hou: consensus_values(view)[hou]}
    # The middle of an empty side is too far off to say something of the others.
    whole = event(rows[0], row("HOU", (100, 100_00), (600, 100_00)), rows[2])
    assert len(event_values(whole)) == 3


@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
def test_fair_value_outside_zero_to_one_is_refused(probability: float) -> None:
    with pytest.raises(ValueError, match="not within"):
        FairValue("T", probability, "file", 0)


# --- exhaustiveness ------------------------------------------------------------------------------


def strike(kind: str, floor: float | None = None, cap: float | None = None) -> Market:
    return market(f"{kind}{floor}{cap}", strike_type=kind, floor_strike=floor, cap_strike=cap)


WEATHER = event(raw=b"{}", category="Climate and Weather").event
TAILS = (strike("less", cap=80), strike("greater", floor=85))


@pytest.mark.parametrize(
    ("strikes", "known"),
    [
        # As recorded: "79 or below" is less than 80, "80 to 81" is between, "86 or above" is greater than 85.
        ((*TAILS, strike("between", 80, 81), strike("between", 82, 83), strike("between", 84, 85)), True),
        ((*TAILS, strike("between", 80, 81), strike("between", 84, 85)), False),
        ((*TAILS, strike("between", 80, 81), strike("between", 83, 83), strike("between", 84, 85)), False),
        ((strike("less", cap=2.5), strike("between", 2.5, 2.74), strike("greater_or_equal", 2.75)), True),
        ((strike("less", cap=2.5), strike("between", 2.5, 2.74), strike("greater_or_equal", 2.76)), False),
        ((strike("less", cap=80), strike("greater_or_equal", floor=80)), True),
        ((strike("less_or_equal", cap=80), strike("greater", floor=80)), True),
        ((strike("less", cap=80), strike("greater", floor=80)), False),
        ((strike("less", cap=80), strike("greater", floor=79)), False),
        ((strike("less", cap=80), strike("less", cap=85)), False),
        ((strike("greater", floor=80), strike("greater", floor=85)), False),
        ((strike("less"), strike("greater", floor=85)), False),
    ],
)  # fmt: skip
def test_strikes_are_exhaustive_iff_they_tile_the_line(strikes: tuple[Market, ...], known: bool) -> None:
    assert exhaustiveness(WEATHER, strikes).known is known
    assert exhaustiveness(WEATHER, strikes[::-1]).known is known


def _game(competition: str, scope: str = "Game") -> Event:
    raw = msgspec.json.encode({"product_metadata": {"competition": competition, "competition_scope": scope}})
    return event(raw=raw).event


@pytest.mark.parametrize(
    ("what", "labels", "key", "known"),
    [
        (_game("MLS"), ("Vancouver", "Houston", "Tie"), "soccer_team", True),
        (_game("MLS"), ("Vancouver", "Houston"), "soccer_team", False),
        (_game("Pro Baseball"), ("Houston", "San Diego"), "baseball_team", True),
        (_game("ATP"), ("A", "B"), "tennis_competitor", True),
        (_game("NCAA Football"), ("Houston", "Texas Tech"), "football_team", True),
        (_game("Pro Football"), ("Denver", "Kansas City"), "football_team", False),
        (_game("Pro Basketball (M)", "Future"), ("Atlanta", "Boston"), "basketball_team", False),
        (_game("Pro Baseball"), ("Houston", "San Diego", "Tampa"), "baseball_team", False),
    ],
)
def test_match_outcomes_are_exhaustive_when_a_draw_is_listed_or_impossible(
    what: Event, labels: tuple[str, ...], key: str, known: bool
) -> None:
    raw = msgspec.json.encode({"custom_strike": {key: "5a1f4e0e"}})
    verdict = exhaustiveness(what, [market(label, label, raw=raw) for label in labels])
    assert verdict.known is known
    assert verdict.because


# --- reasons -------------------------------------------------------------------------------------


def _with(rows: tuple[MarketView, ...], **changes: Any) -> tuple[MarketView, ...]:
    return (msgspec.structs.replace(rows[0], **changes), *rows[1:])


def _requoted(rows: tuple[MarketView, ...], **changes: Any) -> tuple[MarketView, ...]:
    return _with(rows, quote=msgspec.structs.replace(rows[0].quote, **changes))


# Two legs only, so that no sound pair is left once one of them has a fault.
PAIR = (row("VAN", (6_000, 100_00), (6_100, 100_00)), row("HOU", (6_000, 100_00), (6_100, 100_00)))


@pytest.mark.parametrize(
    ("view", "reason"),
    [
        (event(*_with(PAIR, suspect=True)), "suspect"),
        (event(*_with(PAIR, quote_as_of_ms=NOW_MS - 31_000)), "stale_leg"),
        (event(*_with(PAIR, quote_as_of_ms=NOW_MS - 3_001)), "legs_not_simultaneous"),
        (event(*_requoted(PAIR, yes_ask_e4=6_000, no_bid_e4=4_000)), "crossed_book"),
        (event(*_requoted(PAIR, no_ask_e4=3_900)), "prices_disagree"),
        (event(*_with(PAIR, market=market("VAN", price_ranges=((0, 10_000, 7),)))), "off_grid"),
        (event(*_with(PAIR, market=market("VAN", price_ranges=()))), "off_grid"),
        (event(*_requoted(PAIR, yes_bid_size_e2=99)), "no_depth"),
        (event(*_with(PAIR, market=market("VAN", open_ms=NOW_MS + 1))), "not_active"),
        (event(*_with(PAIR, market=market("VAN", close_ms=NOW_MS + 59_999))), "too_close_to_close"),
        (event(*PAIR, series=None), "fee_unknown"),
        (event(*PAIR, series=msgspec.structs.replace(PLAIN, fee_type="flat")), "fee_unknown"),
        (event(*PAIR, series=msgspec.structs.replace(PLAIN, fee_multiplier_e4=70_000)), "fees_exceed_edge"),
        (event(*PAIR, timing=msgspec.structs.replace(TIMING, start_ms=NOW_MS)), "match_started"),
        (event(*PAIR, timing=msgspec.structs.replace(TIMING, in_play=True)), "match_started"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_fault_keeps_the_basket_listed_with_its_reason(view: EventView, reason: str) -> None:
    basket = only(scan(view, {}, NOW_MS), "no_basket")
    assert reason in basket.reasons
    assert not basket.tradable
    assert reason in REASONS


def test_reasons_of_a_value_candidate() -> None:
    sound = row("VAN", (4_700, 50_00), (4_900, 100_00))
    limits = ScanLimits(min_before_start_ms=25 * HOUR_MS)
    cases = [
        (event(sound), fair("VAN", 0.55, age_ms=3_600_001), ScanLimits(), "fair_value_stale"),
        (event(sound), fair("VAN", 0.55, margin=0.06), ScanLimits(), "edge_within_spread"),
        (event(sound), fair("VAN", 0.50), ScanLimits(), "fees_exceed_edge"),
        (event(sound), fair("VAN", 0.55), limits, "too_close_to_start"),
        (event(sound, series=None), fair("VAN", 0.55), ScanLimits(), "fee_unknown"),
        (event(*_with((sound,), market=market("VAN", market_type="scalar"))), fair("VAN", 0.55), ScanLimits(),
         "scalar_market"),
    ]  # fmt: skip
    for view, values, bounds, reason in cases:
        assert only(scan(view, values, NOW_MS, bounds), "value").reasons == (reason,)


def test_unknown_fees_leave_every_figure_that_rests_on_them_unknown() -> None:
    found = only(scan(event(*PAIR, series=None), {}, NOW_MS), "no_basket")
    assert found.gross_edge_e6 > 0
    assert {found.fees_e6, found.net_edge_e6, found.ev_e6, found.worst_case_e6, found.capital_e6} == {None}
    assert found.annualised_return is None


def test_in_play_is_allowed_when_told() -> None:
    view = event(*PAIR, timing=msgspec.structs.replace(TIMING, start_ms=NOW_MS, in_play=True))
    assert only(scan(view, {}, NOW_MS, ScanLimits(in_play=True)), "no_basket").tradable


def test_every_used_reason_is_documented() -> None:
    assert all(REASONS.values())
    assert len(set(REASONS.values())) == len(REASONS)


# --- books and ages ------------------------------------------------------------------------------


def test_legs_are_of_one_moment_where_a_change_of_each_would_have_been_heard() -> None:
    ages = (20_000, 8_000, 500)
    rows = tuple(
        row(name, (bid, 100_00), (ask, 100_00), age_ms=age)
        for name, (bid, ask), age in zip(("VAN", "HOU", "Tie"), RICH, ages, strict=True)
    )
    heard = tuple(msgspec.structs.replace(seen, vouched=True) for seen in rows)

    assert only(scan(event(*rows), {}, NOW_MS), "no_basket").reasons == ("legs_not_simultaneous",)
    assert only(scan(event(*heard), {}, NOW_MS), "no_basket").tradable
    one_not = only(scan(event(rows[0], *heard[1:]), {}, NOW_MS), "no_basket")
    assert one_not.reasons == ("legs_not_simultaneous",)  # the others hold now, it held 20 s ago
    deeper = msgspec.structs.replace(
        heard[0],
        book=Book(rows[0].market.ticker, NOW_MS - 100, ((4_400, 100_00),), ()),
        book_as_of_ms=NOW_MS - 100,
    )
    unlike = only(scan(event(deeper, *heard[1:]), {}, NOW_MS), "no_basket")
    assert unlike.tradable  # another price than the one that is vouched for, but of this moment


def test_the_newer_of_book_and_quote_decides() -> None:
    deep: tuple[list[Level], list[Level]] = ([(5_000, 10_00), (6_000, 40_00)], [])
    other = row("HOU", (6_000, 100_00), None, age_ms=0)
    cases = {
        # book newer: its depth, its age
        (3_000, 0): (40_00, NOW_MS),
        # quote a little newer and both agree on the price and size of the top: the book's depth and age
        (0, 1_500): (40_00, NOW_MS - 1_500),
        # quote much newer: only its own level
        (0, 60_000): (40_00, NOW_MS),
    }
    for (quote_age_ms, book_age_ms), (count_e2, as_of_ms) in cases.items():
        van = row("VAN", (6_000, 40_00), None, book=deep, age_ms=quote_age_ms, book_age_ms=book_age_ms)
        basket = only(scan(event(van, other, series=FREE), {}, NOW_MS), "no_basket")
        assert (basket.legs[0].count_e2, basket.legs[0].as_of_ms) == (
            50_00 if book_age_ms <= 1_500 else count_e2,
            as_of_ms,
        )


def test_a_book_whose_top_contradicts_a_newer_quote_is_not_used() -> None:
    stale_book: tuple[list[Level], list[Level]] = ([(9_000, 900_00)], [])
    rows = (row("VAN", (6_000, 40_00), None, book=stale_book, age_ms=0, book_age_ms=500), PAIR[1])
    basket = only(scan(event(*rows, series=FREE), {}, NOW_MS), "no_basket")
    assert (basket.legs[0].price_e4, basket.legs[0].count_e2) == (4_000, 40_00)


# --- order and JSON ------------------------------------------------------------------------------


def test_the_list_is_ordered_and_repeatable() -> None:
    view = event(*three_way((6_500, 6_600), (3_000, 3_100), (2_400, 2_500)))
    believed = fair("VAN", 0.9) | fair("HOU", 0.01)
    first, second = scan(view, believed, NOW_MS), scan(view, believed, NOW_MS)
    assert first == second
    assert [one.tradable for one in first] == sorted((one.tradable for one in first), reverse=True)
    assert len({one.key for one in first}) == len(first) > 1


def test_json_form_is_plain_and_exact() -> None:
    found = scan(event(*three_way(*RICH)), {}, NOW_MS)
    for one in found:
        plain = opportunity_json(one)
        assert msgspec.json.decode(msgspec.json.encode(plain)) == plain
    plain = opportunity_json(only(found, "no_basket"))
    assert plain["net_edge_dollars"] == "5.275000"
    assert plain["ev"] == 5.275
    assert plain["legs"][0]["price_dollars"] == "0.5500"
    assert plain["start_time"] == "2027-01-16T08:00:00Z"
    assert plain["tradable"] is True


def test_annualised_return_runs_to_the_expected_payout() -> None:
    basket = only(scan(event(*three_way(*RICH), series=FREE), {}, NOW_MS), "no_basket")
    assert basket.annualised_return == pytest.approx(10 / 190 * 365 * 24 / (27 + 300 / 3600))
