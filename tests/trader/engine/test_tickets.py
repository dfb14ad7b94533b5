"""Selling, cancelling, flattening by ticket: what is shown, done once, and refused when the world moved."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from markets.opportunities import EventView
from markets.orders import Amended, Fill, Filled, Intent
from markets.records import Status
from tests.trader.engine.persons import HOME, Person, placed, undone, wanted
from tests.trader.world import (
    EPOCH,
    LIMITS,
    NOW_MS,
    basket,
    data,
    event_of,
    filled,
    leg,
    quiet,
    settled,
    unfilled,
    view_of,
)
from trader.engine.asks import (
    CancelTicket,
    Confirm,
    Flatten,
    FlattenTicket,
    PrepareCancel,
    PrepareFlatten,
    PrepareSale,
    SaleTicket,
)
from trader.engine.inputs import RULES, ByHand, Command, Decoder, Encoder, Orders
from trader.engine.outputs import (
    AnyOutput,
    Cancel,
    CancelPrepared,
    Confirmed,
    FlattenConfirmed,
    FlattenPrepared,
    SalePrepared,
)
from trader.engine.replay import replay

OTHER = "KXMLSGAME-26AUG19E2-HOM"
THREE = msgspec.structs.replace(LIMITS, positions_per_event=3)


def selling(person: Person, *views: EventView, **asked: Any) -> SaleTicket:
    (ticket,) = [
        one.ticket
        for one in person.ask(PrepareSale(**{"ticker": HOME, **asked}), *views)
        if isinstance(one, SalePrepared)
    ]
    return ticket


def cancelling(person: Person, number: int, **asked: Any) -> CancelTicket:
    (ticket,) = [
        one.ticket for one in person.ask(PrepareCancel(number, **asked)) if isinstance(one, CancelPrepared)
    ]
    return ticket


def flattening(person: Person, *views: EventView) -> FlattenTicket:
    (ticket,) = [
        one.ticket for one in person.ask(PrepareFlatten(), *views) if isinstance(one, FlattenPrepared)
    ]
    return ticket


def bids(*levels: tuple[int, int], ask: tuple[int, int] = (6_400, 10_000), **changes: Any) -> EventView:
    """The event with these bids for HOME; a NO bid at 64 is an ask at 36."""
    event = event_of()
    return view_of(event, leg(event, "HOM", book=(sorted(levels), [ask]), **changes))


def of_epoch(person: Person, ask: Any, *views: EventView, epoch: int = EPOCH + 1) -> list[AnyOutput]:
    at = (person.now_ms, person.now_ms - NOW_MS)
    return person.step(ByHand(*at, epoch=epoch, seq=1, complete_ms=person.now_ms, views=views, ask=ask))


def orders(outputs: list[AnyOutput]) -> list[int]:
    return [one.order for one in outputs if isinstance(one, Confirmed)]


def partly(intent: Intent, count_e2: int) -> Orders:
    """So much of it is filled, and the rest goes on."""
    fill = Fill(intent.price_e4, count_e2, 10_000, intent.count_e2, NOW_MS)
    return Orders(NOW_MS, 0, (Filled(intent.number, fill),))


# -- selling


def test_a_sale_says_exactly_what_it_brings_against_cost_and_settlement_and_places_nothing() -> None:
    person = Person()
    person.hold(wanted(count_e2=2_000), quiet())
    lot = next(iter(person.engine.ledger.lots[HOME].values()))

    ticket = selling(person, bids((3_000, 500), (2_900, 1_000)))
    sale = ticket.sale

    assert (sale.side, sale.held_e2, sale.count_e2, sale.reason) == ("yes", 2_000, 1_500, "no_depth")
    assert (sale.best_e4, sale.price_e4) == (3_000, 2_900)
    assert sale.brings_e6 == 5 * 300_000 + 10 * 290_000
    assert sale.fees_e6 > 0
    assert sale.cost_e6 == lot.cost_e6 * 1_500 // 2_000 + lot.fees_e6 * 1_500 // 2_000
    assert sale.realised_e6 == sale.brings_e6 - sale.fees_e6 - sale.cost_e6
    assert sale.settlement_e6 is not None
    assert sale.against_settlement_e6 == sale.brings_e6 - sale.fees_e6 - sale.settlement_e6
    assert sale.sources
    assert ticket.reason == ""
    assert not person.engine.ledger.open


def test_a_sale_says_the_worst_case_of_its_event_as_it_is_held_and_once_it_is_sold() -> None:
    person = Person()
    person.hold(wanted(count_e2=1_000), quiet())
    lot = next(iter(person.engine.ledger.lots[HOME].values()))

    whole = selling(person, quiet())
    half = selling(person, quiet(), count_e2=500)

    assert whole.worst_before_e6 == half.worst_before_e6 == -(lot.cost_e6 + lot.fees_e6)
    assert whole.worst_after_e6 == whole.sale.realised_e6
    assert whole.worst_before_e6 < half.worst_after_e6 < whole.worst_after_e6


def test_selling_a_leg_of_a_locked_basket_says_what_of_its_floor_is_given_up() -> None:
    person = Person()
    for intent in placed(person.step(data(basket()))):
        person.step(filled(intent))
    ticker = next(iter(person.engine.ledger.positions))

    ticket = selling(person, basket(), ticker=ticker)

    assert ticket.worst_before_e6 > 0 > ticket.worst_after_e6


def test_a_confirmed_sale_sells_what_was_shown_and_said_again_it_is_the_same() -> None:
    person = Person()
    person.hold(wanted(count_e2=1_000), quiet())
    ticket = selling(person, quiet(), count_e2=400)

    first = person.ask(Confirm(ticket.number), quiet())
    again = person.ask(Confirm(ticket.number), quiet())
    (sold,) = placed(first)
    person.step(filled(sold))
    later = person.ask(Confirm(ticket.number), quiet())

    assert (sold.side, sold.price_e4, sold.count_e2) == ("no", 7_000, 400)
    assert not placed(again) + placed(later)
    assert orders(first) == orders(again) == orders(later) == [sold.number]
    assert person.engine.ledger.positions[HOME].count_e2 == 600


def test_the_lots_of_two_trades_are_sold_by_an_order_each() -> None:
    person = Person(limits=THREE)
    first = person.hold(wanted(count_e2=300), quiet())
    second = person.hold(wanted(count_e2=400), quiet())

    ticket = selling(person, bids((3_000, 500), (2_900, 500)))
    outputs = person.ask(Confirm(ticket.number), bids((3_000, 500), (2_900, 500)))

    assert [(one.trade, one.count_e2, one.price_e4) for one in placed(outputs)] == [
        (first.trade, 300, 7_000),
        (second.trade, 400, 7_100),
    ]
    assert orders(outputs) == [one.number for one in placed(outputs)]
    assert ticket.sale.brings_e6 == 5 * 300_000 + 2 * 290_000


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"ticker": "NONE"}, "nothing_held"),
        ({"count_e2": 0}, "bad_size"),
        ({"count_e2": -100}, "bad_size"),
        ({"count_e2": 150}, "bad_size"),
        ({"count_e2": 1_100}, "more_than_held"),
        ({"count_e2": 2**60 - 2**60 % 100}, "more_than_held"),
        ({"price_e4": 0}, "off_grid"),
        ({"price_e4": -1}, "off_grid"),
        ({"price_e4": 2**60}, "off_grid"),
    ],
)
def test_nonsense_makes_no_ticket_to_sell(asked: dict[str, Any], reason: str) -> None:
    person = Person()
    person.hold(wanted(), quiet())

    assert undone(person.ask(PrepareSale(**{"ticker": HOME, **asked}), quiet())) == [(reason, 0)]
    assert undone(person.ask(PrepareSale(HOME))) == [("market_unknown", 0)]


def test_where_nobody_bids_the_ticket_says_so_and_cannot_be_confirmed_even_when_somebody_does() -> None:
    person = Person()
    person.hold(wanted(), quiet())
    event = event_of()
    nobody = view_of(event, leg(event, "HOM", None, (3_600, 10_000)))

    none = selling(person, nobody)
    low = selling(person, quiet(), price_e4=3_100)

    assert (none.sale.count_e2, none.sale.price_e4, none.reason) == (0, None, "no_depth")
    assert (low.sale.count_e2, low.sale.best_e4, low.reason) == (0, 3_000, "price_moved")
    assert undone(person.ask(Confirm(none.number), quiet())) == [("no_depth", 0)]
    assert undone(person.ask(Confirm(low.number), bids((3_200, 9_000)))) == [("price_moved", 0)]


def test_a_sale_is_refused_where_less_is_bid_than_was_shown_and_done_where_more_is() -> None:
    person = Person()
    person.hold(wanted(), quiet())
    ticket = selling(person, quiet())

    assert undone(person.ask(Confirm(ticket.number), bids((2_900, 10_000)))) == [("price_moved", 0)]
    assert undone(person.ask(Confirm(ticket.number), bids((3_000, 900), (2_900, 10_000)))) == [
        ("price_moved", 0)
    ]
    (sold,) = placed(person.ask(Confirm(ticket.number), bids((3_100, 10_000))))
    assert (sold.price_e4, sold.count_e2) == (6_900, 1_000)


def test_a_sale_is_refused_where_more_or_less_is_held_than_was_shown() -> None:
    person = Person(limits=THREE)
    person.hold(wanted(count_e2=500), quiet())
    ticket = selling(person, quiet())
    person.hold(wanted(count_e2=500), quiet())
    more = undone(person.ask(Confirm(ticket.number), quiet()))

    (part,) = placed(person.ask(Confirm(selling(person, quiet(), count_e2=300).number), quiet()))
    ticket = selling(person, quiet(), count_e2=100)
    person.step(filled(part))
    less = undone(person.ask(Confirm(ticket.number), quiet()))

    assert more == less == [("size_moved", 0)]


def test_what_was_settled_between_prepare_and_confirm_is_not_sold() -> None:
    person = Person()
    person.hold(wanted(), quiet())
    ticket = selling(person, quiet())
    whole = flattening(person, quiet())

    person.step(data(settled(quiet(), "HOM")))

    assert HOME not in person.engine.ledger.positions
    assert undone(person.ask(Confirm(ticket.number), settled(quiet(), "HOM"))) == [("nothing_held", 0)]
    # Of all there is, there is now less to do.
    assert person.ask(Confirm(whole.number)) == [FlattenConfirmed(whole.number)]


def test_what_is_determined_and_not_settled_is_refused_as_not_trading() -> None:
    person = Person()
    person.hold(wanted(), quiet())
    ticket = selling(person, quiet())
    event = event_of()
    closed = view_of(event, leg(event, "HOM", (3_000, 10_000), (3_600, 10_000), status=Status.CLOSED))

    assert undone(person.ask(Confirm(ticket.number), closed)) == [("not_active", 0)]
    assert not person.engine.ledger.open


@pytest.mark.parametrize("what", ["buy", "sell", "flatten"])
def test_a_ticket_of_another_epoch_is_refused(what: str) -> None:
    person = Person(limits=THREE)
    person.hold(wanted(), quiet())
    number = {
        "buy": lambda: person.ticket(wanted(), quiet()).number,
        "sell": lambda: selling(person, quiet()).number,
        "flatten": lambda: flattening(person, quiet()).number,
    }[what]()

    outputs = of_epoch(person, Confirm(number), quiet())

    assert undone(outputs) == [("other_epoch", 0)]
    assert not person.engine.ledger.open


def test_a_ticket_to_sell_expires_and_one_of_nobody_is_unknown() -> None:
    person = Person()
    person.hold(wanted(), quiet())
    ticket = selling(person, quiet())
    person.now_ms += 60_001
    fresh = quiet(as_of_ms=person.now_ms)

    assert undone(person.ask(Confirm(ticket.number), fresh)) == [("ticket_expired", 0)]
    for number in (ticket.number + 1, -1, 2**60):
        assert undone(person.ask(Confirm(number), fresh)) == [("ticket_unknown", 0)]


def test_risk_speaks_on_a_ticket_to_sell_and_at_its_confirmation() -> None:
    person = Person()
    person.hold(wanted(), quiet())
    before = selling(person, quiet())
    person.step(Command(NOW_MS, 0, "kill", "enough"))
    killed = selling(person, quiet())
    stale = selling(person, quiet(as_of_ms=NOW_MS - 30_001))

    assert (before.reason, killed.reason, stale.reason) == ("", "killed", "killed")
    assert undone(person.ask(Confirm(before.number), quiet())) == [("killed", 0)]
    person.step(Command(NOW_MS, 0, "resume", "UNLOCK"))
    assert selling(person, quiet(as_of_ms=NOW_MS - 30_001)).reason == "stale_leg"
    assert placed(person.ask(Confirm(before.number), quiet()))


# -- cancelling


def rests(person: Person, **changes: Any) -> Intent:
    return person.place(wanted(**{"price_e4": 3_200, "rest_ms": 600_000, **changes}), quiet())


def test_a_ticket_to_cancel_says_what_rests_what_was_filled_and_its_place_in_the_queue() -> None:
    person = Person()
    intent = rests(person)
    person.step(partly(intent, 300))

    known = cancelling(person, intent.number, ahead_e2=12_000, ahead_ms=NOW_MS - 5_000)
    unknown = cancelling(person, intent.number)

    order = known.order
    assert (order.number, order.count_e2, order.filled_e2, order.price_e4) == (
        intent.number,
        1_000,
        300,
        3_200,
    )
    assert 0 < order.frees_e6 < intent.reserve_e6
    assert (known.ahead_e2, known.ahead_ms) == (12_000, NOW_MS - 5_000)
    assert (unknown.ahead_e2, unknown.ahead_ms) == (None, None)
    assert intent.number in person.engine.ledger.open


def test_a_confirmed_cancel_ends_the_order_once_in_any_state_and_through_an_epoch() -> None:
    person = Person()
    intent = rests(person)
    ticket = cancelling(person, intent.number)
    person.step(partly(intent, 300))  # no reason against taking the rest back
    person.step(Command(NOW_MS, 0, "pause", "a walk"))

    first = of_epoch(person, Confirm(ticket.number))
    again = person.ask(Confirm(ticket.number))
    person.step(unfilled(intent, reason="cancelled"))
    later = person.ask(Confirm(ticket.number))

    assert Cancel(intent.number, "cancelled") in first
    assert not any(isinstance(one, Cancel) for one in again + later)
    assert orders(first) == orders(again) == orders(later) == [intent.number]


def test_an_order_that_has_ended_or_become_another_is_not_cancelled() -> None:
    person = Person(limits=THREE)
    intent, other = rests(person), rests(person)
    ended, changed = cancelling(person, intent.number), cancelling(person, other.number)
    person.step(unfilled(intent))
    person.engine.ledger.ask_amend(other.number, 3_300, 1_000, other.reserve_e6 + 100_000)
    person.step(Orders(NOW_MS, 0, (Amended(other.number, 3_300, 1_000),)))

    assert undone(person.ask(Confirm(ended.number))) == [("order_ended", 0)]
    assert undone(person.ask(Confirm(changed.number))) == [("size_moved", 0)]
    assert undone(person.ask(PrepareCancel(intent.number))) == [("order_ended", 0)]
    for number in (99, 0, -1, 2**60):
        assert undone(person.ask(PrepareCancel(number))) == [("order_unknown", 0)]


# -- flattening


def test_a_ticket_to_flatten_names_every_order_and_position_and_does_nothing() -> None:
    person = Person(limits=THREE)
    person.hold(wanted(), quiet())
    person.hold(wanted(ticker=OTHER), quiet(2))
    resting = rests(person)
    event = event_of(2)
    nobody = view_of(event, leg(event, "HOM", None, (3_600, 10_000)))

    ticket = flattening(person, quiet(), nobody)

    assert [order.number for order in ticket.orders] == [resting.number]
    assert [(one.ticker, one.count_e2, one.price_e4, one.reason) for one in ticket.sales] == [
        (HOME, 1_000, 3_000, ""),
        (OTHER, 0, None, "no_depth"),
    ]
    assert set(person.engine.ledger.open) == {resting.number}
    kept, other = selling(person, quiet()), selling(person, quiet(2), ticker=OTHER)
    assert ticket.worst_before_e6 == kept.worst_before_e6 + other.worst_before_e6 < 0
    assert ticket.worst_after_e6 == kept.worst_after_e6 + other.worst_before_e6  # of it nothing is sold
    assert flattening(person).worst_before_e6 == ticket.worst_before_e6  # nobody knows the markets any more


@pytest.mark.parametrize(("rules", "shown"), [(3, (1_000, 3_000_000)), (RULES, (0, 0))])
def test_a_flattening_shows_what_risk_refuses_as_sold_only_to_sessions_of_before_rules_4(
    rules: int, shown: tuple[int, int]
) -> None:
    person = Person(rules=rules)
    person.hold(wanted(), quiet())
    person.now_ms += 3_600_000

    (line,) = flattening(person, quiet()).sales

    assert (line.reason, line.price_e4) == ("stale_leg", 3_000)
    assert (line.count_e2, line.brings_e6) == shown


def test_a_confirmed_flattening_is_begun_once_and_sells_for_no_less_than_was_shown() -> None:
    person = Person(limits=THREE)
    person.hold(wanted(), quiet())
    person.hold(wanted(ticker=OTHER), quiet(2))
    event = event_of(2)
    nobody = view_of(event, leg(event, "HOM", None, (3_600, 10_000)))
    ticket = flattening(person, quiet(), nobody)

    assert person.ask(Confirm(ticket.number), quiet(), quiet(2)) == [FlattenConfirmed(ticket.number)]
    assert person.ask(Confirm(ticket.number), quiet(), quiet(2)) == [
        FlattenConfirmed(ticket.number, again=True)
    ]
    lower = person.ask(Flatten(1), bids((2_900, 10_000)), quiet(2))
    part = person.ask(Flatten(2), bids((3_000, 600), (2_900, 10_000)), quiet(2))

    assert not placed(lower)
    # For the other nobody bid when it was shown: it stays, whatever is bid now.
    assert sorted(undone(lower)) == [("no_depth", 1_000), ("price_moved", 1_000)]
    assert [(one.ticker, one.price_e4, one.count_e2) for one in placed(part)] == [(HOME, 7_000, 600)]
    assert sorted(undone(part)) == [("no_depth", 1_000), ("price_moved", 400)]


def test_a_flattening_is_refused_where_more_is_held_than_was_shown_and_not_where_less_is() -> None:
    person = Person(limits=THREE)
    person.hold(wanted(), quiet())
    before = flattening(person, quiet())
    person.hold(wanted(count_e2=100), quiet())
    more = undone(person.ask(Confirm(before.number), quiet()))
    person.hold(wanted(ticker=OTHER), quiet(2))
    old = flattening(person, quiet(), quiet(2))
    (sold,) = placed(person.ask(Confirm(selling(person, quiet(2), ticker=OTHER).number), quiet(2)))
    person.step(filled(sold))

    assert more == [("size_moved", 0)]
    assert person.ask(Confirm(old.number), quiet()) == [FlattenConfirmed(old.number)]


def test_what_an_order_of_the_ticket_still_gets_is_sold_too() -> None:
    person = Person()
    intent = rests(person)
    ticket = flattening(person, quiet())
    person.ask(Confirm(ticket.number), quiet())

    first = person.ask(Flatten(1), quiet())
    person.step(filled(intent))
    second = person.ask(Flatten(2), quiet())

    assert Cancel(intent.number, "cancelled") in first
    assert [(one.side, one.count_e2) for one in placed(second)] == [("no", 1_000)]


LEVELS = st.dictionaries(st.integers(15, 35), st.integers(1, 12), max_size=5).map(
    lambda sizes: [(price * 100, size * 100) for price, size in sizes.items()]
)


@settings(max_examples=60, deadline=None)
@given(shown=LEVELS, then=LEVELS, count=st.none() | st.integers(1, 30), least=st.none() | st.integers(15, 35))
def test_whatever_the_book_becomes_no_more_is_sold_than_was_shown_and_never_for_less(
    shown: list[tuple[int, int]], then: list[tuple[int, int]], count: int | None, least: int | None
) -> None:
    person = Person()
    person.hold(wanted(count_e2=2_000), quiet())
    asked = {
        "count_e2": None if count is None else count * 100,
        "price_e4": None if least is None else least * 100,
    }
    outputs = person.ask(PrepareSale(HOME, **asked), bids(*shown))
    if count is not None and count > 20:
        assert undone(outputs) == [("more_than_held", 0)]
        return
    (ticket,) = [one.ticket for one in outputs if isinstance(one, SalePrepared)]
    sale = ticket.sale

    first = person.ask(Confirm(ticket.number), bids(*then))
    again = person.ask(Confirm(ticket.number), bids(*then))

    high = max((price for price, _ in then), default=0)
    enough = sale.price_e4 is not None and sale.count_e2 <= sum(
        size for price, size in then if price >= max(sale.price_e4, high - LIMITS.price_collar_e4)
    )
    assert bool(placed(first)) == enough, (sale, first)
    assert not placed(again)
    assert orders(first) == orders(again) == [one.number for one in placed(first)]
    if enough:
        assert sale.price_e4 is not None
        assert sum(one.count_e2 for one in placed(first)) == sale.count_e2
        assert all(10_000 - one.price_e4 >= sale.price_e4 for one in placed(first))
    else:
        assert len(undone(first)) == 1
    if sale.count_e2:
        by_price = sorted(((price, size) for price, size in shown), reverse=True)
        left_e2, brings_e6 = sale.count_e2, 0
        for price, size in by_price:
            taken_e2 = min(left_e2, size)
            left_e2, brings_e6 = left_e2 - taken_e2, brings_e6 + taken_e2 * price
        assert (left_e2, brings_e6) == (0, sale.brings_e6)


def test_tickets_and_what_became_of_them_are_in_the_log_and_decided_again_to_the_same_bytes() -> None:
    person = Person(limits=THREE)
    person.hold(wanted(), quiet())
    intent = rests(person, count_e2=100)
    person.ask(Confirm(cancelling(person, intent.number, ahead_e2=5, ahead_ms=NOW_MS).number))
    person.step(unfilled(intent))
    ticket = selling(person, quiet(), count_e2=300, price_e4=2_000)
    person.ask(Confirm(ticket.number), quiet())
    person.ask(Confirm(flattening(person, quiet()).number), quiet())
    person.ask(Flatten(1), quiet())
    statics: dict[int, tuple[str, bytes]] = {}

    def save(kind: str, body: bytes) -> int:
        statics[len(statics)] = kind, body
        return len(statics) - 1

    encoder = Encoder(save)
    bodies = [(number, encoder.encode(taken), written) for number, taken, written in person.log]
    decoder = Decoder(statics)

    assert (
        replay([(number, decoder.decode(body), written) for number, body, written in bodies]).differs_at
        is None
    )
