"""The matching engine against a slow reference, and each of its rules by itself."""

from dataclasses import replace
from itertools import groupby
from typing import Any, Literal, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.matching import refusals
from simulator.matching.book import Change, opposite
from simulator.matching.orders import (
    ASK,
    BID,
    FOK,
    GTC,
    IOC,
    Amendment,
    NewOrder,
    OrderSwitches,
    Outcome,
    Reason,
    Refusal,
    SelfTradePrevention,
    Side,
    Status,
)

from .market import MARKET, Floor, wish
from .reference import ReferenceBook
from .trades import Market


def place(floor: Floor, order: NewOrder, now_ms: int = 1) -> Outcome:
    """Place an order that must be taken."""
    outcome = floor.matching.place(order, now_ms)
    assert isinstance(outcome, Outcome), outcome
    return outcome


def refused(floor: Floor, order: NewOrder, now_ms: int = 1) -> Refusal:
    """Place an order that must be refused, and see that nothing changed."""
    before = (floor.ledger.statements.books(), dict(floor.matching.orders[1]), list(floor.ears.heard))
    refusal = floor.matching.place(order, now_ms)
    assert isinstance(refusal, Refusal), refusal
    assert before == (floor.ledger.statements.books(), dict(floor.matching.orders[1]), list(floor.ears.heard))
    return refusal


# -- against the reference

NEAR = st.integers(44, 56).map(lambda cents: cents * 100)
COUNTS = st.integers(1, 900)
SIDES_OF_A_BOOK: tuple[Side, Side] = (BID, ASK)
SIDES: st.SearchStrategy[Side] = st.sampled_from((BID, ASK))


class Step(NamedTuple):
    """One thing done: `pick` chooses an order placed before, or what sort of order is placed."""

    kind: str
    side: Side
    price_e4: int
    count_e2: int
    pick: int
    account: int


KINDS = st.sampled_from(("place", "place", "place", "amend", "decrease", "cancel", "crowd", "take"))
STEPS = st.lists(
    st.builds(Step, KINDS, SIDES, NEAR, COUNTS, st.integers(0, 30), st.integers(1, 2)), max_size=25
)


def merged(
    fills: list[tuple[str | None, str | None, int, int]],
) -> list[tuple[str | None, str | None, int, int]]:
    """Add up neighbours with the same parties and price: how the crowd's contracts are cut says nothing."""
    return [(*key, sum(f[3] for f in run)) for key, run in groupby(fills, key=lambda f: f[:3])]


@given(STEPS, st.sampled_from(("taker_at_cross", "maker")))
def test_whatever_is_done_the_book_and_the_fills_are_those_of_the_reference(
    script: list[Step], stp: SelfTradePrevention
) -> None:
    floor, reference = Floor(), ReferenceBook()
    placed: list[tuple[str, int, str]] = []
    for number, (kind, side, price, count, pick, account) in enumerate(script):
        own_price = price if side == "bid" else 10_000 - price
        name = f"n{number}"
        chosen = placed[pick % len(placed)] if placed else None
        if kind == "place":
            order = wish(side, price, count, name, account, GTC if pick % 4 else IOC, stp)
            outcome = place(floor, order)
            left, stopped = reference.take(name, account, side, price, count, stp)
            if left and pick % 4 and not stopped:
                reference.rest(name, account, side, price, left)
            assert outcome.filled_e2 == count - left
            placed.append((name, account, outcome.order.order_id))
        elif kind == "crowd":
            half, other = side, opposite(side)
            levels = {own_price: count, max(own_price - 300, 100): 50}
            facing = floor.venue.book(MARKET).half(other).crowd
            levels = {p: c for p, c in levels.items() if p + max(facing, default=0) < 10_000}
            for p in {*floor.venue.book(MARKET).half(half).crowd, *levels}:
                reference.set_crowd(half, p, levels.get(p, 0))
            floor.crowd(half, levels)
            reference.meet()
        elif kind == "take":
            floor.matching.take(MARKET, side, price, count, 1)
            reference.take(None, 0, side, price, count, "")
        elif chosen is not None:
            _change(floor, reference, kind, chosen, price, count, pick)
        for half in SIDES_OF_A_BOOK:
            kept = floor.venue.book(MARKET).half(half)
            assert dict(kept.levels()) == reference.levels(half)
            assert kept.ladder() == tuple(sorted(reference.levels(half).items()))
            assert kept.rungs == sorted(kept.crowd.items())
        floor.ledger.check()
    assert merged(_fills(floor)) == merged(reference.fills)


def _change(
    floor: Floor,
    reference: ReferenceBook,
    kind: str,
    chosen: tuple[str, int, str],
    price: int,
    count: int,
    pick: int,
) -> None:
    name, account, order_id = chosen
    order = floor.matching.find(account, order_id)
    assert order is not None
    if not order.live:
        assert floor.matching.cancel(account, order_id, 1) == refusals.NOT_FOUND
    elif kind == "cancel":
        floor.matching.cancel(account, order_id, 1)
        reference.drop(name)
    elif kind == "decrease":
        left = max(order.remaining_e2 - count, 0)
        own = order.price_e4 if order.side == "bid" else 10_000 - order.price_e4
        floor.matching.decrease(account, order_id, count, None, 1)
        for entry in reference.sides[order.side][own]:
            if entry.name == name:
                entry.count = left
        if not left:
            reference.drop(name)
    else:
        rest = count
        change = Amendment(MARKET.ticker, order.side, price, order.filled_e2 + rest)
        keeps = price == order.price_e4 and rest <= order.remaining_e2
        outcome = floor.matching.amend(account, order_id, change, 1)
        if isinstance(outcome, Refusal):
            assert outcome == refusals.invalid_order("self cross")
            return
        if keeps:
            own = order.price_e4 if order.side == "bid" else 10_000 - order.price_e4
            for entry in reference.sides[order.side][own]:
                if entry.name == name:
                    entry.count = rest
            return
        reference.drop(name)
        left, _ = reference.take(name, account, order.side, price, rest, "maker")
        if left:
            reference.rest(name, account, order.side, price, left)


def _fills(floor: Floor) -> list[tuple[str | None, str | None, int, int]]:
    """Return (taker, maker, price, count) of each match with a user, the crowd as None."""
    found: list[tuple[str | None, str | None, int, int]] = []
    for _, run in groupby(floor.ears.fills, key=lambda fill: fill.trade_id):
        fills = {fill.is_taker: fill for fill in run}
        one = next(iter(fills.values()))
        taker = fills[True].order.client_order_id if True in fills else None
        maker = fills[False].order.client_order_id if False in fills else None
        found.append((taker, maker, one.price_e4, one.count_e2))
    return found


# -- rules, one by one


def test_an_order_trades_at_the_price_of_what_it_meets_and_rests_with_what_is_left() -> None:
    floor = Floor()
    floor.crowd("ask", {4_800: 500, 4_700: 1_000})  # NO bids: asks at 0.52 and 0.53
    outcome = place(floor, wish("bid", 5_300, 2_000, "a"))
    assert (outcome.filled_e2, outcome.remaining_e2) == (1_500, 500)
    assert outcome.cost_e6 == 5_200 * 500 + 5_300 * 1_000
    assert outcome.order.status is Status.RESTING
    assert floor.venue.book(MARKET).quote() == ((5_300, 500), (10_000, 0))


def test_what_is_immediate_never_rests() -> None:
    floor = Floor()
    floor.crowd("ask", {4_800: 500})
    outcome = place(floor, wish("bid", 9_900, 2_000, "a", time_in_force=IOC))
    assert (outcome.filled_e2, outcome.remaining_e2, outcome.order.status) == (500, 0, Status.CANCELED)
    assert not floor.matching.live


def test_an_order_that_is_answered_with_its_whole_count_when_nobody_knows_better() -> None:
    floor = Floor(OrderSwitches(ioc_remaining_full=True))
    outcome = place(floor, wish("bid", 9_900, 2_000, "a", time_in_force=IOC))
    assert outcome.remaining_e2 == 2_000


def test_fill_or_kill_needs_the_whole_size_and_leaves_no_order() -> None:
    floor = Floor()
    floor.crowd("ask", {4_800: 500})
    assert refused(floor, wish("bid", 5_200, 501, "a", time_in_force=FOK)) == refusals.FOK_VOLUME
    assert refused(floor, wish("bid", 5_200, 1, "a", time_in_force=FOK)) == refusals.ALREADY_EXISTS
    assert place(floor, wish("bid", 5_200, 500, "b", time_in_force=FOK)).filled_e2 == 500


def test_a_killed_order_may_leave_its_id_free() -> None:
    floor = Floor(OrderSwitches(killed_fok_uses_id=False))
    assert refused(floor, wish("bid", 5_200, 501, "a", time_in_force=FOK)) == refusals.FOK_VOLUME
    place(floor, wish("bid", 5_200, 1, "a"))


def test_post_only_that_would_cross_is_refused() -> None:
    floor = Floor()
    floor.crowd("ask", {4_800: 500})
    assert refused(floor, wish("bid", 5_200, 100, "a", post_only=True)) == refusals.POST_ONLY_CROSS
    assert place(floor, wish("bid", 5_100, 100, "a", post_only=True)).remaining_e2 == 100


def test_reduce_only_takes_no_more_than_the_position() -> None:
    floor = Floor()
    floor.crowd("ask", {4_800: 500})
    floor.crowd("bid", {5_000: 500})
    none = place(floor, wish("ask", 5_000, 100, "a", time_in_force=IOC, reduce_only=True))
    assert (none.filled_e2, none.remaining_e2) == (0, 0)
    assert none.order.reason is Reason.REDUCE_ONLY_CANCEL
    place(floor, wish("bid", 5_200, 100, "b"))
    some = place(floor, wish("ask", 5_000, 300, "c", time_in_force=IOC, reduce_only=True))
    assert (some.filled_e2, some.order.initial_e2) == (100, 100)


def test_taker_at_cross_keeps_what_it_got_and_cancels_its_rest() -> None:
    floor = Floor()
    place(floor, wish("ask", 5_200, 100, "own"))
    floor.crowd("ask", {4_900: 300})
    outcome = place(floor, wish("bid", 5_300, 1_000, "a"))
    assert (outcome.filled_e2, outcome.remaining_e2, outcome.order.status) == (300, 0, Status.CANCELED)
    assert outcome.order.reason is Reason.SELF_TRADE_CANCEL
    assert [order.client_order_id for order in floor.matching.resting(1)] == ["own"]


def test_maker_prevention_cancels_the_resting_order_and_goes_on() -> None:
    floor = Floor()
    place(floor, wish("ask", 5_200, 100, "own"))
    floor.crowd("ask", {4_700: 300})
    outcome = place(floor, wish("bid", 5_300, 1_000, "a", self_trade="maker"))
    assert (outcome.filled_e2, outcome.remaining_e2) == (300, 700)
    heard = [entry for entry in floor.ears.heard if entry[0] != "position"]
    assert heard[1:3] == [("order", "own", "canceled", "SelfTradeCancel"), ("fill", "a", 5_300, 300)]


def test_orders_of_one_price_are_filled_in_their_order_with_the_crowd_between() -> None:
    floor = Floor()
    floor.crowd("bid", {5_000: 300})
    first = place(floor, wish("bid", 5_000, 200, "a")).order
    floor.crowd("bid", {5_000: 400})
    second = place(floor, wish("bid", 5_000, 200, "b", account=2)).order
    assert (floor.matching.ahead_e2(first), floor.matching.ahead_e2(second)) == (300, 600)
    floor.matching.take(MARKET, "ask", 5_000, 450, 2)
    assert (first.filled_e2, second.filled_e2, floor.matching.ahead_e2(second)) == (150, 0, 150)
    floor.matching.take(MARKET, "ask", 5_000, 200, 3)
    assert (first.filled_e2, second.filled_e2) == (200, 50)


def test_less_of_the_crowd_brings_an_order_forward_in_proportion() -> None:
    floor = Floor()
    floor.crowd("bid", {5_000: 400})
    order = place(floor, wish("bid", 5_000, 200, "a")).order
    floor.crowd("bid", {5_000: 800})
    floor.crowd("bid", {5_000: 400})
    assert floor.matching.ahead_e2(order) == 200


def test_the_crowd_trades_with_the_order_that_its_new_quote_meets() -> None:
    floor = Floor()
    order = place(floor, wish("ask", 5_200, 200, "a")).order
    floor.crowd("bid", {5_500: 1_000})
    assert (order.filled_e2, order.status) == (200, Status.EXECUTED)
    assert floor.venue.book(MARKET).quote() == ((5_500, 800), (10_000, 0))
    assert floor.ledger.position_e2((1, 0), MARKET.ticker) == -200


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"price_e4": 5_050}, refusals.INVALID_PRICE),
        ({"count_e2": 0}, refusals.INVALID_SIZE),
        ({"expires_ms": 1}, refusals.invalid_order("expiration_time must be in the future")),
        (
            {"expires_ms": 10, "time_in_force": IOC},
            refusals.invalid_order("expiration_time requires good_till_canceled"),
        ),
        ({"reduce_only": True}, refusals.invalid_order("reduce_only requires immediate_or_cancel")),
        ({"group_id": "none"}, refusals.invalid_order("order group not found")),
        ({"client_order_id": "used"}, refusals.ALREADY_EXISTS),
        ({"count_e2": 10**15}, refusals.INSUFFICIENT),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(change: dict[str, Any], expected: Refusal) -> None:
    floor = Floor()
    place(floor, wish("bid", 100, 1, "used"))
    assert refused(floor, replace(wish("bid", 5_000, 100, "a"), **change)) == expected


def test_an_id_stays_used_when_its_order_is_over_unless_only_open_orders_count() -> None:
    scopes: list[tuple[Literal["recent_30d", "open_only"], bool]] = [
        ("recent_30d", False),
        ("open_only", True),
    ]
    for scope, again in scopes:
        floor = Floor(OrderSwitches(client_order_id_scope=scope))
        order = place(floor, wish("bid", 5_000, 100, "a")).order
        assert refused(floor, wish("bid", 5_000, 100, "a")) == refusals.ALREADY_EXISTS
        floor.matching.cancel(1, order.order_id, 2)
        assert isinstance(floor.matching.place(wish("bid", 5_000, 100, "a"), 3), Outcome) is again


def test_ids_are_free_again_after_thirty_days() -> None:
    floor = Floor()
    order = place(floor, wish("bid", 5_000, 100, "a")).order
    floor.matching.cancel(1, order.order_id, 2)
    later = 31 * 86_400_000
    floor.matching.forget(later)
    place(floor, wish("bid", 5_000, 100, "a"), later)
    assert list(floor.matching.archived[1]) == [order]


def test_an_order_ends_at_its_time_and_not_before() -> None:
    floor = Floor()
    order = place(floor, wish("bid", 5_000, 100, "a", expires_ms=1_000)).order
    floor.venue.advance(999)
    assert order.live
    floor.venue.advance(1_000)
    assert (order.status, order.reason) == (Status.CANCELED, Reason.EXPIRY_CANCEL)


def test_in_the_millisecond_of_its_end_an_order_is_not_filled_any_more() -> None:
    floor = Floor()
    order = place(floor, wish("bid", 5_000, 100, "a", expires_ms=1_000)).order
    floor.matching.take(MARKET, "ask", 5_000, 100, 1_000)
    assert (order.filled_e2, order.reason) == (0, Reason.EXPIRY_CANCEL)
    floor.venue.advance(1_000)


def test_a_shrunk_order_keeps_its_place_and_a_grown_or_moved_one_loses_it() -> None:
    for change, behind in (((5_000, 50), False), ((5_000, 150), True), ((5_000, 100), False)):
        floor = Floor()
        first = place(floor, wish("bid", 5_000, 100, "a")).order
        place(floor, wish("bid", 5_000, 100, "b", account=2))
        floor.matching.amend(1, first.order_id, Amendment(MARKET.ticker, "bid", *change), 2)
        assert (floor.matching.ahead_e2(first) == 100) is behind


def test_an_amendment_counts_what_was_filled() -> None:
    floor = Floor()
    order = place(floor, wish("bid", 5_000, 300, "a")).order
    floor.matching.take(MARKET, "ask", 5_000, 100, 2)
    change = Amendment(MARKET.ticker, "bid", 5_000, 99)
    assert floor.matching.amend(1, order.order_id, change, 3) == refusals.INVALID_SIZE
    outcome = floor.matching.amend(1, order.order_id, replace(change, count_e2=150), 3)
    assert isinstance(outcome, Outcome)
    assert (outcome.remaining_e2, order.initial_e2) == (50, 150)
    floor.matching.amend(1, order.order_id, replace(change, count_e2=100), 4)
    assert (order.status, order.remaining_e2) == (Status.CANCELED, 0)


def test_an_amendment_that_crosses_trades_and_one_that_cannot_be_leaves_the_order_alone() -> None:
    floor = Floor()
    floor.crowd("ask", {4_800: 50})
    order = place(floor, wish("bid", 5_000, 100, "a")).order
    for wrong, expected in (
        (Amendment("OTHER", "bid", 5_000, 100), refusals.TICKER_MISMATCH),
        (Amendment(MARKET.ticker, "ask", 5_000, 100), refusals.SIDE_MISMATCH),
        (Amendment(MARKET.ticker, "bid", 5_000, 100, client_order_id="z"), refusals.ID_MISMATCH),
        (Amendment(MARKET.ticker, "bid", 5_050, 100), refusals.INVALID_PRICE),
        (Amendment(MARKET.ticker, "bid", 9_900, 10**15), refusals.INSUFFICIENT),
    ):
        assert floor.matching.amend(1, order.order_id, wrong, 2) == expected
        assert (order.price_e4, order.remaining_e2, floor.matching.ahead_e2(order)) == (5_000, 100, 0)
    crossing = Amendment(MARKET.ticker, "bid", 5_200, 100, new_client_order_id="b")
    outcome = floor.matching.amend(1, order.order_id, crossing, 2)
    assert isinstance(outcome, Outcome)
    assert (outcome.filled_e2, outcome.remaining_e2, order.client_order_id) == (50, 50, "b")
    assert refused(floor, wish("bid", 100, 1, "a")) == refusals.ALREADY_EXISTS


def test_an_amended_order_may_get_another_id() -> None:
    floor = Floor(OrderSwitches(amend_keeps_id=False))
    order = place(floor, wish("bid", 5_000, 100, "a")).order
    before = order.order_id
    floor.matching.amend(1, before, Amendment(MARKET.ticker, "bid", 4_900, 100), 2)
    assert order.order_id != before
    assert floor.matching.cancel(1, before, 3) == refusals.NOT_FOUND
    assert floor.matching.cancel(1, order.order_id, 3) == (order, 100)


def test_a_decrease_clamps_and_to_nothing_cancels() -> None:
    floor = Floor()
    order = place(floor, wish("bid", 5_000, 300, "a")).order
    floor.matching.decrease(1, order.order_id, None, 200, 2)
    assert (order.remaining_e2, order.reason) == (200, Reason.DECREASE)
    floor.matching.decrease(1, order.order_id, 500, None, 3)
    assert order.status is Status.CANCELED
    strict = Floor(OrderSwitches(over_decrease_refused=True))
    order = place(strict, wish("bid", 5_000, 300, "a")).order
    assert strict.matching.decrease(1, order.order_id, 500, None, 3) == refusals.INVALID_SIZE


def test_of_another_account_nothing_can_be_touched() -> None:
    floor = Floor()
    order = place(floor, wish("bid", 5_000, 300, "a")).order
    change = Amendment(MARKET.ticker, "bid", 4_000, 300)
    assert floor.matching.cancel(2, order.order_id, 2) == refusals.NOT_FOUND
    assert floor.matching.decrease(2, order.order_id, 1, None, 2) == refusals.NOT_FOUND
    assert floor.matching.amend(2, order.order_id, change, 2) == refusals.NOT_FOUND


def test_cancel_all_leaves_other_accounts_and_subaccounts() -> None:
    floor = Floor()
    floor.ledger.create_subaccount(1)
    place(floor, wish("bid", 5_000, 100, "a"))
    place(floor, wish("bid", 5_000, 100, "b", account=2))
    assert floor.matching.cancel_all(1, 1, 2) == 0
    assert floor.matching.cancel_all(1, None, 2) == 1
    assert [order.client_order_id for order in floor.matching.resting(2)] == ["b"]


def test_cancel_all_may_catch_what_is_placed_in_the_minute_after_it() -> None:
    floor = Floor(OrderSwitches(cancel_all_catches_later=True))
    floor.matching.cancel_all(1, None, 0)
    assert place(floor, wish("bid", 5_000, 100, "a"), 59_999).order.status is Status.CANCELED
    assert place(floor, wish("bid", 5_000, 100, "b"), 60_000).order.live


def test_a_pause_cancels_what_asked_for_it() -> None:
    floor = Floor()
    asked = place(floor, wish("bid", 5_000, 100, "a", cancel_on_pause=True)).order
    other = place(floor, wish("bid", 5_000, 100, "b")).order
    floor.matching.halt(1, 2)
    assert asked.live
    floor.matching.halt(0, 3)
    assert (asked.reason, other.live) == (Reason.HALT_CANCEL, True)


def test_a_closed_market_takes_nothing_and_a_paused_one_takes_cancels() -> None:
    floor = Floor()
    order = place(floor, wish("bid", 5_000, 100, "a")).order
    floor.venue.closed[MARKET.ticker] = refusals.TRADING_PAUSED
    assert refused(floor, wish("bid", 5_000, 100, "b")) == refusals.TRADING_PAUSED
    change = Amendment(MARKET.ticker, "bid", 4_000, 100)
    assert floor.matching.amend(1, order.order_id, change, 2) == refusals.TRADING_PAUSED
    inactive = Refusal(400, "market_inactive", "market inactive")
    floor.venue.cancels_closed[MARKET.ticker] = inactive
    assert floor.matching.cancel(1, order.order_id, 2) == inactive
    assert floor.matching.cancel_all(1, None, 2) == 0
    floor.venue.cancels_closed.clear()
    assert floor.matching.cancel(1, order.order_id, 3) == (order, 100)


def test_a_group_over_its_limit_loses_its_orders_and_takes_none_until_it_is_reset() -> None:
    floor = Floor()
    group = floor.matching.create_group((1, 0), 0, 100, 0)
    assert not isinstance(group, Refusal)
    resting = place(floor, wish("bid", 4_000, 100, "a", group_id=group.group_id)).order
    place(floor, wish("bid", 5_000, 200, "b", group_id=group.group_id))
    floor.matching.take(MARKET, "ask", 5_000, 100, 1)
    assert resting.live
    floor.matching.take(MARKET, "ask", 5_000, 1, 15_000)
    assert resting.status is Status.CANCELED
    assert not group.orders
    wanted = wish("bid", 4_000, 100, "c", group_id=group.group_id)
    assert refused(floor, wanted, 15_000) == refusals.invalid_order("order group triggered")
    floor.matching.reset_group(group, 15_001)
    place(floor, wanted, 15_001)
    assert [entry[1] for entry in floor.ears.heard if entry[0] == "group"] == [
        "created",
        "triggered",
        "reset",
    ]


def test_fills_of_more_than_fifteen_seconds_ago_do_not_count_for_a_group() -> None:
    floor = Floor()
    group = floor.matching.create_group((1, 0), 0, 100, 0)
    assert not isinstance(group, Refusal)
    place(floor, wish("bid", 5_000, 500, "b", group_id=group.group_id))
    floor.matching.take(MARKET, "ask", 5_000, 100, 1)
    floor.matching.take(MARKET, "ask", 5_000, 100, 15_001)
    assert not group.triggered


def test_the_rest_of_an_order_that_triggers_its_own_group_does_not_stand() -> None:
    floor = Floor()
    floor.crowd("ask", {4_800: 500})
    group = floor.matching.create_group((1, 0), 0, 100, 0)
    assert not isinstance(group, Refusal)
    outcome = place(floor, wish("bid", 5_200, 900, "a", group_id=group.group_id))
    assert (outcome.filled_e2, outcome.remaining_e2) == (500, 0)
    assert not floor.matching.live


def test_a_settled_market_pays_and_nothing_rests_there() -> None:
    floor = Floor()
    floor.crowd("ask", {4_800: 500})
    place(floor, wish("bid", 5_200, 500, "a"))
    place(floor, wish("bid", 5_200, 100, "b"))
    floor.matching.settle(MARKET, 10_000, 2)
    assert not floor.matching.live
    assert floor.ledger.position_e2((1, 0), MARKET.ticker) == 0
    floor.ledger.check()


def test_what_can_no_longer_be_paid_is_cancelled() -> None:
    floor = Floor(cash_e6=100_000_000)
    other = Market("EVENT-B", "EVENT")
    place(floor, wish("bid", 5_000, 9_000, "a"))
    order = place(floor, wish("bid", 5_000, 9_000, "b", instrument=other)).order
    assert order.live
    floor.ledger.transfer(
        1, "shards", (0, 0), (0, 1), 30_000_000, transfer_id="t", client_transfer_id=None, time_ms=2
    )
    floor.matching.pay((1, 0), 0, 2)
    assert (order.status, order.reason) == (Status.CANCELED, Reason.MARGIN_CANCEL)


@pytest.mark.parametrize(("setting", "order"), [("first", ["fill", "trade"]), ("last", ["trade", "fill"])])
def test_own_fill_and_public_trade_come_in_the_order_that_is_set(
    setting: Literal["first", "last"], order: list[str]
) -> None:
    floor = Floor(OrderSwitches(fill_before_trade=setting))
    floor.crowd("ask", {4_800: 500})
    floor.venue.told.clear()
    floor.ears.aloud = floor.venue.told
    place(floor, wish("bid", 5_200, 100, "a"))
    heard = [
        "fill" if what == "fill" else "trade" for what in floor.venue.told if not isinstance(what, Change)
    ]
    assert heard == order
