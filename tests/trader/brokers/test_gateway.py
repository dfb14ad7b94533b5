"""Orders through an order gateway, from the decision to the books: journal, ledger, exchange are one."""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bus.protocol.answers import Refusal
from bus.trading import reasons
from bus.trading.gateway import AmendAsk, CancelAsk, OrderAsk, OrderEventsAsk, PlaceAsk
from bus.trading.shapes import TicketAnswer
from markets.orders import Accepted, AmendWanted, AnyWanted, Filled, OrderState, Unknown
from tests.trader.brokers.fake_gateway import FakeGateway, FakePort
from tests.trader.brokers.patient import Patient, check
from tests.trader.brokers.patient import gateway as gateway  # noqa: PLC0414  a fixture
from tests.trader.stand import Stand
from tests.trader.world import NOW_MS, basket, event_of, leg, quiet, view_of
from trader.engine.engine import SHOWN_MS
from trader.journal.reader import Reader
from trader.ledger.lots import trade_lots
from trader.manual import ManualCommand
from trader.reconcile import books_of, compare, whole
from trader.report import report
from trader.strategies import BUILT_IN, Quiet, Update
from trader.tickets import answer_of, ask_of

Make = Callable[[], Stand]


@pytest.fixture
def port(gateway: FakeGateway) -> FakePort:
    return FakePort(gateway)


@pytest.fixture
def make(tmp_path: Path, port: FakePort) -> Iterator[Make]:
    made: list[Stand] = []

    def stand() -> Stand:
        now_ms = NOW_MS if not made else made[-1].clock.now_ms() + 1_000
        if made:
            made[-1].close()
        made.append(Stand(tmp_path, now_ms=now_ms, gateway=port))
        return made[-1]

    yield stand
    made[-1].close()


@pytest.fixture
def resting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUILT_IN, "no_basket", Patient)


def follow(stand: Stand, *views: Any) -> None:
    """Let the trader begin, look at the account, and hear of these events."""
    stand.commit(*views)
    stand.turns(12)


def pass_by(stand: Stand, seconds: int) -> None:
    """Let time pass, with a feed that confirms that nothing has changed."""
    for _ in range(seconds):
        stand.commit()
        stand.turns(10)


def by_hand(stand: Stand, op: str, **parameters: Any) -> Any:
    """Do what a person asks for, and return the answer."""
    command = ManualCommand(op, "", ask_of(op, parameters))
    stand.commands.put(command)
    stand.turns(1)
    return answer_of(stand.worker.state, command)


def rows(stand: Stand, table: str = "orders") -> list[dict[str, Any]]:
    stand.journal.commit()
    reader = Reader(stand.worker.around.journal_path)
    try:
        found: list[dict[str, Any]] = getattr(reader, table)(100, 10**9)
        return found
    finally:
        reader.close()


def test_nothing_is_traded_before_the_account_is_compared(gateway: FakeGateway, make: Make) -> None:
    gateway.in_flight = 0
    stand = make()
    gateway.in_flight = 1
    follow(stand, basket())

    assert stand.worker.reasons == (reasons.RECONCILING,)
    assert not gateway.orders

    gateway.in_flight = 0
    pass_by(stand, 3)
    stand.commit(basket(as_of_ms=stand.clock.now_ms()))
    stand.turns(10)
    assert stand.worker.state == reasons.RUNNING
    assert len(gateway.orders) == 3


def test_a_basket_is_filled_and_booked_as_the_exchange_has_it(gateway: FakeGateway, make: Make) -> None:
    stand = make()
    follow(stand, quiet(), basket(2))
    follow(stand, basket(2))

    assert [row["status"] for row in rows(stand)] == ["filled"] * 3
    assert {row["fill_id"] for row in rows(stand, "fills")} == {"f1", "f2", "f3"}
    assert stand.worker.engine.ledger.start_e6 == 1_000_000_000
    assert len([ask for ask in gateway.asked if isinstance(ask, PlaceAsk)]) == 1, "one question for a basket"
    engine = stand.worker.engine
    rests_ms = engine.throttle.retry_at_ms[basket(2).event.event_ticker] - engine.paced_ms
    assert 0 < rests_ms <= SHOWN_MS, "the feed may yet show what was taken"
    check(stand, gateway)


@pytest.mark.parametrize("lost", [1, 2, 3, 5])
def test_lost_answers_lose_and_double_nothing(
    gateway: FakeGateway, port: FakePort, make: Make, lost: int
) -> None:
    stand = make()
    follow(stand)
    port.lose = lost
    follow(stand, basket())
    pass_by(stand, 4)

    assert len(gateway.orders) == 3
    assert [row["status"] for row in rows(stand)] == ["filled"] * 3
    check(stand, gateway)


def test_what_the_gateway_never_had_is_over_at_its_end_and_not_before(
    gateway: FakeGateway, port: FakePort, make: Make
) -> None:
    stand = make()
    follow(stand)
    stand.commit(basket())
    port.up = False
    stand.turns(2)
    (first, *_) = stand.worker.engine.ledger.open.values()
    pass_by(stand, 4)
    assert stand.worker.reasons == (reasons.NO_GATEWAY,)
    pass_by(stand, 6)
    assert len(stand.worker.engine.ledger.open) == 3, "nobody has said that it is not there"

    port.up = True
    pass_by(stand, 2)

    assert first.valid_until_ms < stand.clock.now_ms()
    assert any(isinstance(ask, OrderAsk) for ask in gateway.asked)
    assert {(row["status"], row["reason"]) for row in rows(stand)} == {("expired", "expired")}
    assert not gateway.orders
    check(stand, gateway)


def test_after_any_crash_each_event_is_booked_once(gateway: FakeGateway, make: Make, resting: None) -> None:
    gateway.plan = lambda _intent: []
    stand = make()
    follow(stand)
    follow(stand, basket())
    numbers = sorted(number for _, number in gateway.orders)
    for at, number in enumerate(numbers):
        gateway.fill(number, 5_000, 300)
        if at:
            stand.turns(10)
        stand = make()
        gateway.fill(number, 6_000, 200)
        stand.turns(12)
        check(stand, gateway)

    assert [row["filled_e2"] for row in rows(stand)] == [500] * 3
    assert {row["status"] for row in rows(stand)} == {"partial"}
    assert all(row["maker"] for row in rows(stand, "fills"))


def test_an_order_is_amended_and_what_it_may_cost_is_held(
    gateway: FakeGateway, make: Make, resting: None
) -> None:
    gateway.plan = lambda _intent: []
    stand = make()
    follow(stand)
    follow(stand, basket())
    engine = stand.worker.engine
    number, intent = next(iter(engine.ledger.open.items()))
    before_e6 = engine.ledger.reserved_e6

    def amend(price_e4: int, count_e2: int) -> None:
        gateway.answer(
            {
                "op": "amend",
                "journal": next(iter(gateway.events)),
                "number": number,
                "price_e4": price_e4,
                "count_e2": count_e2,
            }
        )
        stand.turns(10)

    amend(intent.price_e4 - 500, intent.count_e2)
    assert engine.ledger.open[number].price_e4 == intent.price_e4 - 500
    assert engine.ledger.reserved_e6 < before_e6
    check(stand, gateway)
    gateway.fill(number, intent.price_e4 - 500, 100)
    amend(intent.price_e4, 100)  # refused: as much as it has got
    assert engine.ledger.open[number].price_e4 == intent.price_e4 - 500
    check(stand, gateway)

    again = make()
    again.turns(12)
    assert again.worker.engine.ledger.open[number].price_e4 == intent.price_e4 - 500
    check(again, gateway)


def test_a_fill_beyond_its_order_is_booked_and_stops_trading_until_a_person_has_looked(
    gateway: FakeGateway, make: Make
) -> None:
    stand = make()
    follow(stand)
    gateway.plan = lambda intent: [(intent.price_e4 + 300, intent.count_e2)]
    follow(stand, basket())

    check(stand, gateway)
    assert stand.worker.state == reasons.DRIFT
    assert "beyond its limit" in str(stand.worker.error)

    stand = make()
    stand.turns(12)
    assert "beyond its limit" in str(stand.worker.error), "a restart forgets nothing"
    stand.worker.session.command("resume", "", stand.worker._present())
    assert reasons.DRIFT not in stand.worker.reasons
    check(stand, gateway)


def test_a_journal_that_lacks_events_which_the_gateway_has_left_out_trades_nothing_and_says_so(
    gateway: FakeGateway, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand = make()
    follow(stand, quiet(), basket(2))
    (name,) = gateway.events
    arrived = len(gateway.events[name])
    for _ in range(3):
        gateway.by_hand("KXZ-1", "KXZ", "yes", 5_000, 100)
    say = gateway.answer

    def without(question: Mapping[str, Any]) -> dict[str, Any]:
        answer = dict(say(question))
        if question["op"] == "order_events":
            answer["events"] = [event for event in answer["events"] if event[0] > arrived + 2]
        return answer

    monkeypatch.setattr(gateway, "answer", without)
    asked = len(gateway.asked)
    pass_by(stand, 10)

    assert stand.worker.reasons == (reasons.OTHER_ACCOUNT,)
    said = f"the order gateway has left out events {arrived + 1} to {arrived + 2} of this journal"
    assert said in str(stand.worker.error)
    assert sum(isinstance(ask, OrderEventsAsk) for ask in gateway.asked[asked:]) < 40


def test_a_fill_of_an_order_that_has_ended_is_booked(gateway: FakeGateway, make: Make) -> None:
    stand = make()
    follow(stand)
    gateway.plan = lambda intent: [(intent.price_e4, 100)]
    follow(stand, basket())
    (journal, number), order = next(iter(gateway.orders.items()))
    late = gateway.trade(order.intent.ticker, order.intent.side, 5_500, 200)
    for again in (False, True):
        if again:
            stand = make()
            follow(stand)
            late = gateway.trade(order.intent.ticker, order.intent.side, 5_500, 100)
        gateway.tell(journal, Filled(number, late))
        stand.turns(12)
        check(stand, gateway)
    assert stand.worker.state == reasons.RUNNING


def test_what_others_trade_on_the_account_is_booked_apart_and_ends_what_it_closes(
    gateway: FakeGateway, make: Make
) -> None:
    stand = make()
    follow(stand)
    follow(stand, basket())
    engine = stand.worker.engine
    trade, lots = 1, engine.ledger.lots
    ticker = next(iter(lots))
    event_ticker = lots[ticker][trade].event_ticker
    ours_e2 = lots[ticker][trade].count_e2

    gateway.by_hand("KXOTHER-1-A", "KXOTHER-1", "yes", 4_000, 700)
    gateway.by_hand(ticker, event_ticker, "yes", 5_000, ours_e2 - 100)
    stand.turns(10)
    assert lots["KXOTHER-1-A"][0].count_e2 == 700
    assert lots[ticker][trade].count_e2 == 100
    assert trade not in engine.ledger.baskets, "what was closed elsewhere is not opened again"
    check(stand, gateway)

    gateway.by_hand(ticker, event_ticker, "yes", 5_000, 300)
    gateway.deposit(25_000_000)
    pass_by(stand, 62)
    assert lots[ticker][0].count_e2 == 200
    assert engine.ledger.external_e6 == 25_000_000
    assert stand.worker.reconciled
    check(stand, gateway)
    again = make()
    pass_by(again, 3)
    check(again, gateway)


def test_what_nobody_can_explain_stops_trading_and_a_lag_does_not(gateway: FakeGateway, make: Make) -> None:
    stand = make()
    follow(stand)
    gateway.cash_e6[0] -= 12_340_000
    pass_by(stand, 61)
    gateway.cash_e6[0] += 12_340_000  # the list was late
    pass_by(stand, 62)
    assert stand.worker.state == reasons.RUNNING

    gateway.positions["KXGONE-1-A"] = -500
    pass_by(stand, 75)
    assert stand.worker.state == reasons.DRIFT
    assert stand.worker.error == "position in KXGONE-1-A: the journal has 0.00, the exchange -5.00"
    assert not stand.worker.reconciled

    del gateway.positions["KXGONE-1-A"]
    pass_by(stand, 5)
    assert stand.worker.state == reasons.RUNNING


def test_a_person_accepts_what_nobody_can_explain_and_it_is_booked(gateway: FakeGateway, make: Make) -> None:
    stand = make()
    follow(stand)
    follow(stand, basket())
    bought, lost, gained = gateway.positions
    gateway.positions |= {bought: gateway.positions[bought] // 2, lost: 0, "KXNEW-1-A": 700}
    gateway.positions[gained] *= 3
    gateway.cash_e6[0] -= 12_340_000
    pass_by(stand, 80)
    lines = stand.worker.engine.conditions.drift
    assert len(lines) == 5
    assert stand.worker.state == reasons.DRIFT

    def adopt(*shown: str) -> Any:
        return by_hand(stand, "adopt", lines=shown, word="ADOPT")

    assert adopt(*lines[:-1]).refused == reasons.DRIFT_CHANGED
    assert stand.worker.state == reasons.DRIFT
    assert adopt(*lines).refused is None
    check(stand, gateway)
    stand.commit()
    stand.turns(1)
    assert stand.worker.state == reasons.RUNNING
    assert adopt(*lines).refused == reasons.NO_DRIFT
    assert whole(books_of(stand.worker.around.journal_path), None)
    assert whole(
        books_of(stand.worker.around.journal_path), compare(stand.worker.around.journal_path, gateway.answer)
    )
    stand = make()
    follow(stand)
    check(stand, gateway)


def test_what_others_hold_is_of_the_event_that_the_feed_says_and_not_of_a_guess(
    gateway: FakeGateway, make: Make
) -> None:
    event = msgspec.structs.replace(event_of(7), event_ticker="KXPROP-26AUG19")
    view = view_of(event, leg(event, "PLAYER-2", (3_000, 10_000), (3_600, 10_000)))
    ticker, guessed = view.markets[0].market.ticker, "KXPROP-26AUG19-PLAYER"
    gateway.positions[ticker] = 300
    stand = make()
    follow(stand)
    assert stand.worker.engine.ledger.events() == {guessed}, "nobody knows better yet"
    follow(stand, view)
    pass_by(stand, 62)
    assert stand.worker.engine.ledger.events() == {event.event_ticker}
    gateway.by_hand(ticker, guessed, "yes", 3_500, 200)
    stand.turns(12)
    ticket = by_hand(stand, "prepare", what="sell", ticker=ticker).ticket
    assert by_hand(stand, "confirm", ticket=ticket.number).orders
    stand.turns(12)
    gateway.by_hand(ticker, guessed, "no", 3_500, 900)
    stand.turns(12)
    assert stand.worker.engine.ledger.events() == {event.event_ticker}
    check(stand, gateway)
    gateway.settle(ticker, guessed, 10_000)
    pass_by(stand, 62)
    assert not stand.worker.engine.ledger.events()
    check(stand, gateway)
    stand = make()
    follow(stand)
    check(stand, gateway)


@pytest.mark.parametrize("bad", [{"word": "adopt"}, {"lines": "x"}, {"lines": [1]}, {"lines": None}])
def test_drift_is_not_accepted_by_accident(bad: dict[str, Any]) -> None:
    with pytest.raises(Refusal, match=r"lines|word"):
        ask_of("adopt", {"lines": ["a"], "word": "ADOPT", **bad})


@pytest.mark.usefixtures("resting")
def test_places_in_the_queue_are_what_the_exchange_said_last_and_of_no_order_that_has_ended(
    gateway: FakeGateway, make: Make
) -> None:
    stand = make()
    follow(stand)
    gateway.plan = lambda _intent: ()
    follow(stand, basket())
    first, second, third = sorted(stand.worker.engine.ledger.open)
    broker = stand.worker.session.broker
    assert by_hand(stand, "prepare", what="cancel", number=first).ticket.ahead_fp is None

    gateway.queues, gateway.queues_ms = ((first, 12_000), (second, 0), (third, 500)), NOW_MS - 3_000
    pass_by(stand, 1)
    gateway.end(third, OrderState.CANCELLED, "cancelled")
    pass_by(stand, 1)

    assert broker.queued == {first: (12_000, NOW_MS - 3_000), second: (0, NOW_MS - 3_000)}
    ticket = by_hand(stand, "prepare", what="cancel", number=first).ticket
    assert (ticket.ahead_fp, ticket.ahead_as_of) == ("120.00", (NOW_MS - 3_000) / 1000)
    assert [ask.queues_ms for ask in gateway.asked if isinstance(ask, OrderEventsAsk)][-1] == NOW_MS - 3_000
    gateway.queues, gateway.queues_ms = (), NOW_MS
    pass_by(stand, 1)
    assert broker.queued == {}


def test_another_simulated_exchange_ends_the_trader_which_begins_a_new_journal(
    gateway: FakeGateway, make: Make
) -> None:
    stand = make()
    follow(stand)
    gateway.exchange = "sim-2"
    stand.turns(10)
    assert "another simulated exchange, so the trader begins a new journal" in str(stand.worker.anew)
    stand = make()
    follow(stand)
    assert stand.worker.state == reasons.RUNNING


def holding_parts(gateway: FakeGateway, make: Make, *, whole_cents: bool) -> Stand:
    """Return a trader that holds a basket with parts of contracts, so that payouts have parts of a cent."""
    gateway.whole_cents = whole_cents
    gateway.plan = lambda intent: [(intent.price_e4, intent.count_e2 - 67)]
    stand = make()
    follow(stand)
    follow(stand, basket())
    return stand


def settle(gateway: FakeGateway, stand: Stand, *values_e4: int) -> None:
    """Settle what is held, by ticker, at these values, and have the trader see it."""
    for ticker, value_e4 in zip(sorted(stand.worker.engine.ledger.lots), values_e4, strict=True):
        gateway.settle(ticker, ticker.rsplit("-", 1)[0], value_e4)
    pass_by(stand, 62)


@pytest.mark.parametrize("whole_cents", [True, False])
def test_what_the_exchange_has_paid_is_booked_from_its_list(
    gateway: FakeGateway, make: Make, *, whole_cents: bool
) -> None:
    stand = holding_parts(gateway, make, whole_cents=whole_cents)
    lots = stand.worker.engine.ledger.lots
    settle(gateway, stand, 10_000, 0, 3_333)

    assert not lots
    assert {row["result"] for row in rows(stand, "settlements")} == {"yes", "no", "scalar"}
    assert stand.worker.reconciled
    check(stand, gateway)


@pytest.mark.parametrize("whole_cents", [True, False])
def test_parts_of_a_cent_are_no_drift_although_the_trader_restarts_before_it_can_compare(
    gateway: FakeGateway, make: Make, *, whole_cents: bool
) -> None:
    stand = holding_parts(gateway, make, whole_cents=whole_cents)
    lots = stand.worker.engine.ledger.lots
    gateway.in_flight = 1
    settle(gateway, stand, 10_000, 0, 5_000)
    assert not lots
    assert stand.worker.engine.books.rounded_e6 > 0

    gateway.in_flight = 0
    for _ in range(2):
        again = make()
        follow(again)
        pass_by(again, 20)
        assert again.worker.state == reasons.RUNNING
        assert again.worker.engine.books.rounded_e6 == 0
        check(again, gateway)


def test_a_result_that_the_exchange_corrects_is_booked_anew_once(gateway: FakeGateway, make: Make) -> None:
    stand = make()
    follow(stand)
    follow(stand, basket())
    settle(gateway, stand, 10_000, 0, 0)
    first, second = (one.ticker for one in gateway.settlements[:2])
    before = {row["ticker"]: row["payout_e6"] for row in rows(stand, "settlements")}

    gateway.settle_anew(first, 0)
    gateway.settle_anew(second, 10_000)
    pass_by(stand, 130)  # what was listed first is listed still

    ledger = stand.worker.engine.ledger
    assert stand.worker.reconciled
    assert stand.worker.state == reasons.RUNNING
    with contextlib.closing(Reader(stand.worker.around.journal_path)) as reader:
        now = {row["ticker"]: row for row in reader.settlements(9, 9)}
        how = [part.how for part in trade_lots(reader.record()).closed]
    assert how.count("corrected") == 2
    assert (now[first]["result"], now[second]["result"]) == ("no", "yes")
    # All of it is of NO, three of one size: what the one is paid more, the other is paid less.
    assert (before[first], now[second]["payout_e6"]) == (0, 0)
    assert now[first]["payout_e6"] == before[second] > 0
    assert {paid.settlement.ticker for paid in ledger.recent.values()} == now.keys()
    check(stand, gateway)
    again = make()
    follow(again)
    assert again.worker.engine.ledger == ledger
    check(again, gateway)


def test_collateral_that_is_given_back_explains_itself(gateway: FakeGateway, make: Make) -> None:
    gateway.netting = True
    stand = make()
    follow(stand)
    follow(stand, basket())
    held = sorted(-signed for signed in gateway.positions.values())
    returned_e6 = sum(held[:-1]) * 10_000
    gateway.cash_e6[0] += returned_e6
    pass_by(stand, 80)

    ledger = stand.worker.engine.ledger
    assert returned_e6 > 0
    assert ledger.cash_e6 + returned_e6 == gateway.cash_e6[0]
    assert stand.worker.state == reasons.RUNNING


def test_an_account_that_holds_something_begins_with_it(gateway: FakeGateway, make: Make) -> None:
    gateway.positions["KXOLD-1-A"] = -400
    gateway.deposit(5_000_000)
    stand = make()
    follow(stand)

    ledger = stand.worker.engine.ledger
    assert (ledger.start_e6, ledger.external_e6) == (1_005_000_000, 2_000_000)
    assert stand.worker.reconciled
    check(stand, gateway)


def test_cash_on_another_shard_buys_nothing(gateway: FakeGateway, make: Make) -> None:
    gateway.cash_e6 = {0: 30_000_000, 1: 900_000_000}
    stand = make()
    follow(stand)
    follow(stand, basket())
    assert sum(order.intent.reserve_e6 for order in gateway.orders.values()) <= 30_000_000
    check(stand, gateway)
    view = quiet(2)
    follow(stand, view)
    wanted = {
        "ticker": view.markets[0].market.ticker,
        "side": "no",
        "count_fp": "50",
        "price_dollars": "0.80",
    }
    answer = by_hand(stand, "prepare", **wanted, rest_seconds=60)
    assert isinstance(answer, TicketAnswer)
    assert re.search(
        r"trader cash says what to move: 4\d\.\d+ needed, \d+\.\d+ free on shard 0: move \d+\.\d+ there, "
        r"shard 1 has 900\.000000 free",
        str(answer.ticket.why),
    )


def test_a_new_exchange_begins_a_new_journal_and_keeps_the_old_one(port: FakePort, make: Make) -> None:
    stand = make()
    follow(stand)
    follow(stand, basket())
    path = stand.worker.around.journal_path
    assert path.name == "trader-sim-sim-key-1.sqlite"

    port.gateway = gateway = FakeGateway(2_000_000_000)
    gateway.exchange = "sim-2"
    stand = make()
    follow(stand)
    assert stand.worker.engine.ledger.cash_e6 == 2_000_000_000
    assert path.with_name("trader-sim-sim-key-1.sim-1.sqlite").exists()
    check(stand, gateway)


def test_a_gateway_of_another_account_is_refused(gateway: FakeGateway, make: Make) -> None:
    stand = make()
    follow(stand)
    gateway.account = "key-2"
    stand.turns(10)
    follow(stand, basket())

    assert stand.worker.state == reasons.OTHER_ACCOUNT
    assert "sim-1 key-2" in str(stand.worker.error)
    assert not gateway.orders


def test_a_gateway_that_has_lost_its_log_is_refused(gateway: FakeGateway, make: Make) -> None:
    stand = make()
    follow(stand)
    follow(stand, basket())
    gateway.events.clear()
    pass_by(stand, 2)

    assert stand.worker.state == reasons.OTHER_ACCOUNT
    assert "its log is another one" in str(stand.worker.error)


def test_an_unknown_order_holds_what_it_may_cost(gateway: FakeGateway, make: Make) -> None:
    stand = make()
    follow(stand)
    gateway.plan = lambda _intent: None
    follow(stand, basket())
    pass_by(stand, 20)

    ledger = stand.worker.engine.ledger
    assert {row["status"] for row in rows(stand)} == {"sent"}
    assert ledger.reserved_e6 == sum(order.intent.reserve_e6 for order in gateway.orders.values())
    number = min(ledger.open)
    gateway.end(number, OrderState.EXPIRED, "not_placed")
    pass_by(stand, 1)
    assert number not in ledger.open
    check(stand, gateway)


def test_an_order_that_rested_at_a_restart_is_not_taken_for_one_on_its_way(
    gateway: FakeGateway, make: Make
) -> None:
    stand = make()
    views = quiet(), quiet(2)
    follow(stand, *views)
    gateway.plan = lambda _intent: []
    wanted = {"side": "yes", "count_fp": "5", "price_dollars": "0.10", "rest_seconds": 600}
    for view in views:
        ticker = view.markets[0].market.ticker
        ticket = by_hand(stand, "prepare", what="buy", ticker=ticker, **wanted).ticket
        assert by_hand(stand, "confirm", ticket=ticket.number).orders
        stand.turns(5)
    (journal,) = gateway.events
    gateway.tell(journal, Unknown(2, "no_answer"))
    stand.turns(5)
    assert [row["status"] for row in rows(stand)] == ["unknown", "resting"]

    again = make()
    follow(again, *views)
    assert again.worker.engine.standing.unknown == {2: "no_answer"}
    assert again.worker.state == reasons.RECONCILING
    account = report(again.worker, again.clock.now_ms(), 1, 1).status.exchange_account
    assert account is not None
    assert account.comparing_since is not None
    assert NOW_MS / 1000 < account.comparing_since < again.clock.now_ms() / 1000

    gateway.tell(journal, Accepted(2, "o2"))
    pass_by(again, 2)
    account = report(again.worker, again.clock.now_ms(), 1, 1).status.exchange_account
    assert account is not None
    assert account.comparing_since is None
    assert again.worker.state == reasons.RUNNING
    assert again.worker.engine.books.matched_ms is not None
    check(again, gateway)


class Lowering(Quiet):
    """Asks once for a lower price of each of its orders."""

    name = Patient.name

    def on_update(self, update: Update) -> Sequence[AnyWanted]:
        lowered = [
            AmendWanted(self.name, one.event_ticker, one.number, one.price_e4 - 100, one.count_e2)
            for one in update.orders
            if one.number not in update.asked and one.price_e4 == 6_000
        ]
        return lowered or Patient().on_update(update)


def test_a_cancel_or_an_amend_that_the_gateway_has_not_heard_of_is_asked_for_after_a_restart(
    gateway: FakeGateway, port: FakePort, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BUILT_IN, "no_basket", Lowering)
    gateway.plan = lambda _intent: []
    stand = make()
    follow(stand, basket(1, as_of_ms=NOW_MS), quiet(2))
    ticker = quiet(2).markets[0].market.ticker
    wanted = {"side": "yes", "count_fp": "5", "price_dollars": "0.10", "rest_seconds": 3_600}
    ticket = by_hand(stand, "prepare", what="buy", ticker=ticker, **wanted).ticket
    (number,) = by_hand(stand, "confirm", ticket=ticket.number).orders
    stand.turns(5)

    port.up = False  # it restarts, and so does the trader
    stand.commit(basket(1, as_of_ms=stand.clock.now_ms()))
    stand.turns(1)
    ticket = by_hand(stand, "prepare", what="cancel", number=number).ticket
    assert by_hand(stand, "confirm", ticket=ticket.number).orders == (number,)
    amending = [*stand.worker.engine.ledger.amending]
    assert len(amending) == 3
    assert not any(isinstance(ask, CancelAsk | AmendAsk) for ask in gateway.asked)

    port.up = True
    again = make()
    follow(again)
    ledger = again.worker.engine.ledger
    assert number not in ledger.open
    assert not ledger.amending
    assert {ledger.open[one].price_e4 for one in amending} == {5_900}
    check(again, gateway)

    third = make()  # nothing is asked for twice
    asked = len([ask for ask in gateway.asked if isinstance(ask, CancelAsk | AmendAsk)])
    follow(third)
    assert len([ask for ask in gateway.asked if isinstance(ask, CancelAsk | AmendAsk)]) == asked


def test_an_amend_that_was_made_while_the_trader_was_away_is_not_asked_for_again(
    gateway: FakeGateway, port: FakePort, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BUILT_IN, "no_basket", Lowering)
    gateway.plan = lambda _intent: []
    stand = make()
    follow(stand, basket(1, as_of_ms=NOW_MS))
    port.lose = 1_000  # it does everything, and no answer arrives before the trader restarts
    stand.commit(basket(1, as_of_ms=stand.clock.now_ms()))
    stand.turns(1)
    amending = [*stand.worker.engine.ledger.amending]
    assert amending
    assert sum(isinstance(ask, AmendAsk) for ask in gateway.asked) == len(amending)

    port.lose = 0
    again = make()
    follow(again)
    ledger = again.worker.engine.ledger
    assert not ledger.amending
    assert {ledger.open[one].price_e4 for one in amending} == {5_900}
    assert sum(isinstance(ask, AmendAsk) for ask in gateway.asked) == len(amending)


def test_an_amend_is_not_asked_for_again_once_what_became_of_it_is_heard(
    gateway: FakeGateway, port: FakePort, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BUILT_IN, "no_basket", Lowering)
    gateway.plan = lambda _intent: []
    stand = make()
    follow(stand, basket(1, as_of_ms=NOW_MS))
    answer = gateway.answer

    def silently(question: dict[str, Any]) -> dict[str, Any]:
        done = answer(question)
        return {} if isinstance(gateway.asked[-1], AmendAsk) else done  # cannot be read

    monkeypatch.setattr(gateway, "answer", silently)
    stand.commit(basket(1, as_of_ms=stand.clock.now_ms()))
    pass_by(stand, 3)
    assert not stand.worker.engine.ledger.amending
    amends = [ask.number for ask in gateway.asked if isinstance(ask, AmendAsk)]
    assert amends == sorted({*amends})
    assert amends


def test_why_the_account_cannot_be_listed_is_said_as_long_as_it_lasts(
    make: Make, gateway: FakeGateway
) -> None:
    stand = make()
    gateway.trouble = "the account could not be listed whole: resting: orders['o9'].status: got None"
    stand.turns(12)
    assert stand.worker.error == gateway.trouble
    gateway.trouble = ""
    stand.turns(12)
    assert stand.worker.error is None
