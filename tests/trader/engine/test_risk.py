"""The choke point: every reason, and sizes that never exceed a limit."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from markets.fees import fee_schedule
from markets.opportunities import EventView, ScanLimits
from markets.orders import Proposal, Wanted, reserve_e6
from markets.records import Status
from markets.units import HOUR_MS
from tests.trader.engine.facts import facts
from tests.trader.ledger.builders import intent
from tests.trader.world import LIMITS, NOW_MS, SCAN, SERIES, START_MS, basket, event_of, leg, view_of
from trader.engine.risk import Facts, check, fit
from trader.ledger.ledger import Ledger

EVENT = event_of()
TICKER = f"{EVENT.event_ticker}-HOM"
BOOK = ([(3_000, 50_000)], [(5_000, 50_000), (5_800, 10_000)])  # YES asks: 4200 x 100, 5000 x 500
COST_E6 = reserve_e6(fee_schedule(EVENT, SERIES) or pytest.fail("no fees"), 4_200, 1_000, NOW_MS)


def view(*, start_ms: int | None = START_MS, **changes: Any) -> EventView:
    return view_of(EVENT, leg(EVENT, "HOM", **{"book": BOOK, **changes}), start_ms=start_ms)


def wants(price_e4: int = 4_200, count_e2: int = 1_000, edge_e6: int = 1_000_000, **changes: Any) -> Proposal:
    fields = {"ticker": TICKER, "side": "yes", "price_e4": price_e4, "count_e2": count_e2, **changes}
    return Proposal("value", EVENT.event_ticker, (Wanted(**fields),), edge_e6, 0.5)


def verdict(
    proposal: Proposal | None = None, seen: EventView | None = None, known: Facts | None = None, **limits: Any
) -> str | None:
    proposal = proposal or wants()
    bounds = msgspec.structs.replace(LIMITS, **limits)
    return check(proposal.legs, proposal, seen or view(), known or facts(), bounds, SCAN)


def test_what_is_known_to_be_fine_passes() -> None:
    assert verdict() is None


def busy(count: int) -> Ledger:
    ledger = Ledger.new(1_000_000_000)
    for number in range(count):
        ledger.place(intent(number, ticker=f"OTHER-{number}"))
    return ledger


def holding(cost_e6: int, ticker: str = TICKER, event_ticker: str = EVENT.event_ticker) -> Ledger:
    ledger = Ledger.new(1_000_000_000)
    ledger.place(msgspec.structs.replace(intent(1, ticker), event_ticker=event_ticker, reserve_e6=cost_e6))
    return ledger


@pytest.mark.parametrize(
    ("reason", "known"),
    [
        ("killed", facts(halts=("killed", "stale"))),
        ("retry_later", facts(retry_at_ms={EVENT.event_ticker: NOW_MS + 1})),
        ("one_position_per_event", facts(ledger=holding(1))),
        ("daily_loss", facts(lost_today_e6=LIMITS.daily_loss_e6)),
        ("open_orders", facts(ledger=busy(LIMITS.open_orders))),
        ("orders_per_minute", facts(sent_ms=[NOW_MS - 59_999] * LIMITS.orders_per_minute)),
        ("degraded", facts(degraded=(SERIES.ticker,))),
        ("exchange_closed", facts(idle_shards=(0,))),
        ("seen_before_a_gap", facts(floor_ms=NOW_MS + 1)),
        ("cash", facts(ledger=Ledger.new(1_000_000))),
    ],
)
def test_a_reason_outside_the_market(reason: str, known: Facts) -> None:
    assert verdict(known=known) == reason


@pytest.mark.parametrize(
    "known",
    [
        facts(retry_at_ms={EVENT.event_ticker: NOW_MS}),
        facts(lost_today_e6=LIMITS.daily_loss_e6 - 1),
        facts(ledger=busy(LIMITS.open_orders - 1)),
        facts(sent_ms=[NOW_MS - 59_999] * (LIMITS.orders_per_minute - 1)),
        facts(sent_ms=[NOW_MS - 60_000] * LIMITS.orders_per_minute),
        facts(floor_ms=NOW_MS),
        facts(ledger=Ledger.new(COST_E6)),
    ],
)
def test_exactly_at_the_limit_it_passes(known: Facts) -> None:
    assert verdict(known=known) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"as_of_ms": NOW_MS - 30_000},
        {"as_of_ms": NOW_MS + 5_000},
        {"close_ms": NOW_MS + 1},
        {"open_ms": NOW_MS},
        {"start_ms": NOW_MS + 1},
        {"book": ([], [(5_800, 1_000)])},
    ],
)
def test_a_market_that_is_just_fine_passes(changes: dict[str, Any]) -> None:
    assert verdict(seen=view(**changes)) is None


def test_each_leg_has_an_age_of_its_own() -> None:
    old = leg(EVENT, "AWY", (4_000, 9_000), (4_200, 9_000), as_of_ms=NOW_MS - 30_001)
    seen = view_of(EVENT, leg(EVENT, "HOM", book=BOOK), old)
    legs = (*wants().legs, Wanted(old.market.ticker, "yes", 4_200, 1_000))

    assert verdict(wants(), seen) is None
    assert verdict(msgspec.structs.replace(wants(), legs=legs), seen) == "stale_leg"


def test_a_price_at_the_collar_passes() -> None:
    assert verdict(wants(price_e4=5_200)) is None


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("not_active", {"status": Status.INACTIVE}),
        ("not_active", {"close_ms": NOW_MS}),
        ("not_active", {"open_ms": NOW_MS + 1}),
        ("suspect", {"suspect": True}),
        ("crossed_book", {"book": ([(4_300, 100)], BOOK[1])}),
        ("stale_leg", {"as_of_ms": NOW_MS - 30_001}),
        ("price_from_the_future", {"as_of_ms": NOW_MS + 5_001}),
        ("off_grid", {"price_ranges": ((0, 10_000, 500),)}),
        ("no_depth", {"book": ([], [])}),
        ("no_depth", {"book": ([], [(5_800, 900)])}),
        ("match_started", {"start_ms": NOW_MS}),
    ],
)
def test_a_reason_in_the_market(reason: str, changes: dict[str, Any]) -> None:
    assert verdict(seen=view(**changes)) == reason


@pytest.mark.parametrize(
    ("reason", "proposal"),
    [
        ("bad_size", wants(count_e2=0)),
        ("bad_size", wants(count_e2=150)),
        ("bad_size", wants(side="maybe")),
        ("off_grid", wants(price_e4=0)),
        ("off_grid", wants(price_e4=10_000)),
        ("off_grid", wants(price_e4=4_250)),
        ("price_collar", wants(price_e4=5_300)),
        ("market_unknown", wants(ticker="KXOTHER-1")),
        ("no_room", Proposal("value", EVENT.event_ticker, (), 1, None)),
        ("wrong_event", msgspec.structs.replace(wants(), event_ticker="KXOTHER")),
        ("same_market_twice", msgspec.structs.replace(wants(), legs=wants().legs * 2)),
        ("order_limit", wants(price_e4=5_000, count_e2=20_000)),
    ],
)
def test_a_reason_in_the_proposal(reason: str, proposal: Proposal) -> None:
    assert verdict(proposal) == reason


def test_fees_unknown_means_no_trade() -> None:
    seen = msgspec.structs.replace(view(), series=None)

    assert verdict(seen=seen) == "fee_unknown"


@pytest.mark.parametrize(
    ("limit", "reason", "room"),
    [
        ("order_e6", "order_limit", COST_E6),
        ("market_e6", "market_limit", COST_E6 + 1_000),
        ("event_e6", "event_limit", COST_E6 + 1_000),
        ("total_e6", "total_limit", COST_E6 + 1_000),
    ],
)
def test_a_money_limit_holds_to_the_micro_dollar(limit: str, reason: str, room: int) -> None:
    def with_room(room_e6: int) -> str | None:
        limits: Any = {"positions_per_event": 2, limit: room_e6}
        return verdict(known=facts(ledger=holding(1_000)), **limits)

    assert with_room(room) is None
    assert with_room(room - 1) == reason


def test_what_pays_out_too_late_is_not_bought() -> None:
    payout_ms = START_MS + 3 * HOUR_MS + 300_000 - NOW_MS  # the expected expiration and the settlement timer

    assert verdict(payout_ms=payout_ms) is None
    assert verdict(payout_ms=payout_ms - 1) == "payout_too_late"


def test_the_least_edge_counts_for_the_size_that_is_left() -> None:
    whole = wants(count_e2=1_000, edge_e6=1_000_000)
    tenth = (msgspec.structs.replace(whole.legs[0], count_e2=100),)

    limits = msgspec.structs.replace(LIMITS, min_edge_e6=100_000)
    assert check(tenth, whole, view(), facts(), limits, SCAN) is None
    limits = msgspec.structs.replace(LIMITS, min_edge_e6=100_001)
    assert check(tenth, whole, view(), facts(), limits, SCAN) == "min_edge"


money = st.integers(0, 400_000_000)


@given(
    counts=st.lists(st.integers(0, 100_000), min_size=3, max_size=3),
    held_e6=st.integers(0, 50_000_000),
    order_e6=money,
    market_e6=money,
    event_e6=money,
    total_e6=money,
    cash_e6=money,
)
def test_sizes_are_the_largest_that_fit(
    counts: list[int], held_e6: int, order_e6: int, market_e6: int, event_e6: int, total_e6: int, cash_e6: int
) -> None:
    seen = basket(size_e2=200_000)
    limits = msgspec.structs.replace(
        LIMITS,
        order_e6=order_e6,
        market_e6=market_e6,
        event_e6=event_e6,
        total_e6=total_e6,
        positions_per_event=9,
    )
    ledger = holding(held_e6, seen.markets[0].market.ticker)
    ledger.cash_e6 = cash_e6
    legs = tuple(
        Wanted(one.market.ticker, "no", 6_000, count_e2)
        for one, count_e2 in zip(seen.markets, counts, strict=True)
    )
    proposal = Proposal("no_basket", seen.event.event_ticker, legs, 10**9, None)

    fitted = fit(proposal, seen, ledger, limits, NOW_MS)

    if fitted:
        assert check(fitted, proposal, seen, facts(ledger=ledger), limits, SCAN) is None
        most_e2 = max(one.count_e2 for one in fitted)
        # All legs are cut to one count, so that a basket stays a basket.
        assert [one.count_e2 for one in fitted] == [min(c - c % 100, most_e2) for c in counts]
        larger = tuple(
            msgspec.structs.replace(one, count_e2=min(c - c % 100, most_e2 + 100))
            for one, c in zip(fitted, counts, strict=True)
        )
        if larger != fitted:
            assert check(larger, proposal, seen, facts(ledger=ledger), limits, SCAN) is not None


MARGIN = msgspec.structs.replace(SCAN, min_before_start_ms=30_000)


@pytest.mark.parametrize(
    ("before_ms", "changes", "reason"),
    [
        (30_000, {}, None),
        (29_999, {}, "too_close_to_start"),
        (1, {}, "too_close_to_start"),
        (0, {}, "match_started"),
        (29_999, {"by_hand": True}, None),
        (0, {"by_hand": True}, "match_started"),
    ],
)
def test_nothing_is_bought_shortly_before_a_start_that_may_come_early(
    before_ms: int, changes: dict[str, Any], reason: str | None
) -> None:
    proposal = msgspec.structs.replace(wants(), **changes)
    seen = view(start_ms=NOW_MS + before_ms)
    assert check(proposal.legs, proposal, seen, facts(), LIMITS, MARGIN) == reason


def test_what_may_lose_if_it_is_void_is_refused_to_every_strategy_where_that_is_not_to_be_risked() -> None:
    careful = msgspec.structs.replace(SCAN, void_risk=False)
    seen = basket()  # three NO at 60 cents pay 2 dollars; their bids are 58 cents
    legs = tuple(Wanted(one.market.ticker, "no", 6_000, 1_000) for one in seen.markets)
    proposal = Proposal("mine", seen.event.event_ticker, legs, 10**6, None)

    def judged(proposal: Proposal, scan: ScanLimits, view: EventView = seen) -> str | None:
        return check(proposal.legs, proposal, view, facts(), LIMITS, scan)

    assert judged(proposal, SCAN) is None
    assert judged(proposal, careful) == "void_risk"
    # An opinion is no promise, and a single contract is not locked.
    assert judged(msgspec.structs.replace(proposal, probability=0.9), careful) is None
    assert judged(msgspec.structs.replace(proposal, legs=legs[:1]), careful) is None
