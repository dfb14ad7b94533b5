"""A person's own orders: tickets, limits at their boundaries, closing what strategies bought, flattening."""

import msgspec
import pytest

from bus.trading.gateway import ForeignFill
from markets.orders import Fill, Filled
from tests.trader.engine.persons import HOME, Person, placed, undone, wanted
from tests.trader.world import (
    EPOCH,
    LIMITS,
    NOW_MS,
    START_MS,
    basket,
    data,
    event_of,
    filled,
    leg,
    over,
    quiet,
    unfilled,
    view_of,
)
from trader.engine.asks import CancelOrder, ClosePosition, Confirm, Flatten, Prepare
from trader.engine.inputs import RULES, Command, Decoder, Encoder, Orders
from trader.engine.outputs import Alarm, Cancel, Confirmed
from trader.engine.replay import replay


def test_a_ticket_says_what_an_order_would_cost_and_places_nothing() -> None:
    person = Person()

    ticket = person.ticket(wanted(), quiet())

    assert (ticket.best_e4, ticket.fillable_e2, ticket.cost_e6, ticket.reason) == (
        3_600,
        1_000,
        3_600_000,
        "",
    )
    assert ticket.fees_e6 == 161_300  # 0.07 x 10 x 0.36 x 0.64, rounded up to 0.0001 of a dollar
    assert ticket.worst_e6 >= ticket.cost_e6 + ticket.fees_e6
    assert not person.engine.ledger.open


def test_a_confirmed_ticket_is_an_order_of_strategy_manual_and_said_again_it_is_the_same() -> None:
    person = Person()
    ticket = person.ticket(wanted(), quiet())

    first = person.ask(Confirm(ticket.number), quiet())
    again = person.ask(Confirm(ticket.number), quiet())

    (intent,) = placed(first)
    assert (intent.strategy, intent.side, intent.price_e4, intent.count_e2) == ("manual", "yes", 3_600, 1_000)
    assert (intent.epoch, intent.seq, intent.edge_e6) == (EPOCH, 7, 0)
    assert not placed(again)
    said = Confirmed(ticket.number, intent.number)
    assert said in first
    assert said in again


@pytest.mark.parametrize(("ms", "reasons"), [(60_000, []), (60_001, [("ticket_expired", 0)])])
def test_a_ticket_holds_for_sixty_seconds(ms: int, reasons: list[tuple[str, int]]) -> None:
    person = Person()
    ticket = person.ticket(wanted(), quiet())
    person.now_ms += ms

    outputs = person.ask(Confirm(ticket.number), quiet(as_of_ms=person.now_ms))

    assert (undone(outputs), len(placed(outputs))) == (reasons, int(not reasons))


def test_a_ticket_whose_price_has_moved_beyond_its_limit_is_refused() -> None:
    person = Person()
    ticket = person.ticket(wanted(), quiet())
    event = event_of()
    dearer = view_of(event, leg(event, "HOM", (3_100, 10_000), (3_700, 10_000)))

    assert undone(person.ask(Confirm(ticket.number), dearer)) == [("price_moved", 0)]
    assert undone(person.ask(Confirm(ticket.number + 1), dearer)) == [("ticket_unknown", 0)]
    # It came back within its time.
    assert placed(person.ask(Confirm(ticket.number), quiet()))


def test_limits_hold_at_their_boundaries_for_people_too() -> None:
    exact_e6 = Person().ticket(wanted(), quiet()).worst_e6
    for member, reason in (
        ("order_e6", "order_limit"),
        ("market_e6", "market_limit"),
        ("event_e6", "event_limit"),
        ("total_e6", "total_limit"),
    ):
        for limit_e6, expected in ((exact_e6, ""), (exact_e6 - 1, reason)):
            limits = msgspec.structs.replace(LIMITS, **{member: limit_e6})
            assert Person(limits=limits).ticket(wanted(), quiet()).reason == expected


def test_an_order_of_a_person_needs_no_edge_but_every_other_limit_holds() -> None:
    limits = msgspec.structs.replace(LIMITS, min_edge_e6=1_000_000)
    person = Person(limits=limits)

    assert person.ticket(wanted(), quiet()).reason == ""
    assert person.ticket(wanted(price_e4=3_605), quiet()).reason == "off_grid"
    assert person.ticket(wanted(count_e2=1_050), quiet()).reason == "bad_size"
    assert person.ticket(wanted(count_e2=10_100), quiet()).reason == "no_depth"
    assert person.ticket(wanted(price_e4=4_700), quiet()).reason == "price_collar"
    assert person.ticket(wanted(), quiet(as_of_ms=NOW_MS - 30_001)).reason == "stale_leg"
    person.hold(wanted(), quiet())
    assert person.ticket(wanted(), quiet()).reason == "one_position_per_event"


@pytest.mark.parametrize(
    ("ask", "reason"),
    [
        (wanted(ticker="NONE"), "market_unknown"),
        (wanted(side="maybe"), "bad_size"),
        (wanted(count_e2=0), "bad_size"),
        (wanted(count_e2=-100), "bad_size"),
        (wanted(count_e2=2**53), "unreal"),
        (wanted(price_e4=0), "off_grid"),
        (wanted(price_e4=10_000), "off_grid"),
    ],
)
def test_nonsense_makes_no_ticket(ask: Prepare, reason: str) -> None:
    person = Person()

    assert undone(person.ask(ask, quiet())) == [(reason, 0)]
    assert undone(person.ask(ClosePosition("NONE"), quiet())) == [("nothing_held", 0)]


def test_an_order_that_rests_ends_by_itself_when_the_match_starts() -> None:
    person = Person()

    short = person.place(wanted(price_e4=3_200, rest_ms=600_000), quiet())
    person.step(unfilled(short))
    long = person.place(wanted(price_e4=3_200, rest_ms=86_400_000), quiet())

    assert (short.time_in_force, short.expires_ms) == ("gtc", NOW_MS + 600_000)
    assert long.expires_ms == START_MS


def test_cancelling_works_whatever_the_state_and_says_what_there_is_to_cancel() -> None:
    person = Person()
    intent = person.place(wanted(price_e4=3_200, rest_ms=600_000), quiet())
    person.step(Command(NOW_MS, 0, "kill", "enough"))

    assert Cancel(intent.number, "cancelled") in person.ask(CancelOrder(intent.number))
    person.step(unfilled(intent, reason="cancelled"))
    assert undone(person.ask(CancelOrder(intent.number))) == [("order_ended", 0)]
    assert undone(person.ask(CancelOrder(99))) == [("order_unknown", 0)]


def test_closing_sells_by_the_other_outcome_while_paused_in_play_and_at_the_loss_of_the_day() -> None:
    limits = msgspec.structs.replace(LIMITS, daily_loss_e6=0)
    person = Person()
    bought = person.hold(wanted(count_e2=1_500), quiet())
    person.step(Command(NOW_MS, 0, "pause", "a walk"))
    person.engine.limits = limits
    person.now_ms = START_MS + 1

    (sold,) = placed(person.ask(ClosePosition(HOME), quiet(as_of_ms=person.now_ms)))

    assert (sold.strategy, sold.trade, sold.side) == ("manual", bought.trade, "no")
    assert (sold.price_e4, sold.count_e2) == (7_000, 1_500)  # YES is bid for at 0.30
    assert undone(person.ask(ClosePosition(HOME), quiet(as_of_ms=person.now_ms))) == [("retry_later", 1_500)]
    person.step(filled(sold, person.now_ms))
    assert not person.engine.ledger.positions
    assert not person.engine.ledger.lots
    person.engine.ledger.check_whole()


def test_nothing_is_sold_while_trading_is_killed() -> None:
    person = Person()
    person.hold(wanted(), quiet())
    person.step(Command(NOW_MS, 0, "kill", "enough"))

    assert undone(person.ask(ClosePosition(HOME), quiet())) == [("killed", 1_000)]
    assert undone(person.ask(Flatten(1), quiet())) == [("killed", 1_000)]


def test_what_is_bid_for_within_the_collar_is_sold_and_the_rest_said_to_stay() -> None:
    person = Person()
    person.hold(wanted(count_e2=3_000), quiet())
    event = event_of()
    bids = [(1_900, 5_000), (2_000, 500), (2_900, 700), (3_000, 800)]  # 0.19 is beyond the collar of 0.10
    thin = view_of(event, leg(event, "HOM", book=(bids, [(6_400, 10_000)])))

    outputs = person.ask(ClosePosition(HOME), thin)
    (sold,) = placed(outputs)

    assert (sold.price_e4, sold.count_e2) == (8_000, 2_000)
    assert undone(outputs) == [("no_depth", 1_000)]
    person.step(over(sold.number, reason="nothing_left"))
    assert placed(person.ask(ClosePosition(HOME, price_e4=2_900), thin))[0].count_e2 == 1_500


def test_a_sale_dearer_than_the_order_limit_and_the_cash_still_takes_risk_off() -> None:
    person = Person()
    person.hold(wanted(count_e2=10_000), quiet())
    event = event_of()
    fallen = view_of(event, leg(event, "HOM", (200, 20_000), (300, 10_000)))
    person.engine.limits = msgspec.structs.replace(LIMITS, order_e6=50_000_000, total_e6=1)

    (sold,) = placed(person.ask(ClosePosition(HOME), fallen))

    assert sold.reserve_e6 > 98_000_000
    person.step(filled(sold))
    assert not person.engine.ledger.positions


def test_a_basket_of_which_a_person_sold_a_leg_is_left_alone() -> None:
    person = Person()
    legs = placed(person.step(data(basket())))
    for intent in legs:
        person.step(filled(intent))
    ticker = legs[0].ticker

    (sold,) = placed(person.ask(ClosePosition(ticker), basket()))
    person.step(filled(sold))
    later = person.step(data(basket(as_of_ms=NOW_MS + 1_000), now_ms=NOW_MS + 1_000))

    assert ticker not in person.engine.ledger.positions
    assert not placed(later)  # nobody buys it again to even the basket out
    person.engine.ledger.check_whole()


@pytest.mark.parametrize(("rules", "alarms", "fees_e6"), [(3, 1, 30), (RULES, 0, 70)])
def test_a_listed_fill_of_nothing_is_decided_by_the_rules_of_its_session(
    rules: int, alarms: int, fees_e6: int
) -> None:
    person = Person(rules=rules)
    intent = person.place(wanted(), quiet())
    empty, foreign = (Fill(3_600, 0, fee_e6, 0, NOW_MS, id=str(fee_e6)) for fee_e6 in (30, 40))
    told = ForeignFill("x", HOME, intent.event_ticker, 0, "yes", foreign)

    outputs = person.step(Orders(NOW_MS, 0, (Filled(intent.number, empty),), foreign=(told,)))

    assert sum(isinstance(one, Alarm) for one in outputs) == alarms
    assert person.engine.ledger.fees_e6 == fees_e6


def test_flattening_cancels_first_and_closes_what_no_order_can_add_to() -> None:
    person = Person(limits=msgspec.structs.replace(LIMITS, positions_per_event=3))
    person.hold(wanted(), quiet())
    person.hold(wanted(ticker="KXMLSGAME-26AUG19E2-HOM"), quiet(2))
    resting = person.place(wanted(price_e4=3_200, rest_ms=600_000), quiet())

    first = person.ask(Flatten(1), quiet(), quiet(2))
    (sold,) = placed(first)
    person.step(unfilled(resting, reason="cancelled"))
    person.step(filled(sold))
    second = person.ask(Flatten(2), quiet(), quiet(2))
    person.step(filled(placed(second)[0]))

    assert Cancel(resting.number, "cancelled") in first
    assert sold.event_ticker == "KXMLSGAME-26AUG19E2"
    assert undone(first) == [("retry_later", 1_000)]
    assert not any(isinstance(output, Cancel) for output in second)
    assert not person.engine.ledger.positions
    assert not person.engine.ledger.open


def test_all_that_people_ask_is_in_the_log_and_decided_again_to_the_same_bytes() -> None:
    person = Person()
    person.hold(wanted(), quiet())
    person.ask(ClosePosition(HOME, 2_000), quiet())
    person.ask(CancelOrder(3))
    person.ask(Flatten(1), quiet())
    statics: dict[int, tuple[str, bytes]] = {}

    def save(kind: str, body: bytes) -> int:
        statics[len(statics)] = kind, body
        return len(statics) - 1

    encoder = Encoder(save)
    bodies = [(number, encoder.encode(taken), written) for number, taken, written in person.log]
    decoder = Decoder(statics)

    read = [(number, decoder.decode(body), written) for number, body, written in bodies]

    assert [taken for _, taken, _ in read] == [taken for _, taken, _ in person.log]
    assert replay(read).differs_at is None
