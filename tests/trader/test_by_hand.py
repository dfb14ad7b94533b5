"""A person's orders from the control socket to the journal: asked, decided, carried out, opened again."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bus.protocol.answers import Refusal
from bus.trading.shapes import TicketAnswer, told
from tests.trader.by_hand import BUY, HOME, Person
from tests.trader.docs import DOCS
from tests.trader.stand import Stand
from tests.trader.world import basket, event_of, leg, quiet, view_of
from trader.by_hand import adopt, ticket_lines
from trader.engine.replay import replay
from trader.journal.reader import Reader
from trader.lineup import load_strategy
from trader.manual import ManualCommand
from trader.tickets import BY_HAND_OPS, answer_of, ask_of


@pytest.fixture
def person(tmp_path: Path) -> Iterator[Person]:
    stand = Stand(tmp_path)
    yield Person(stand)
    stand.close()


def test_a_ticket_is_confirmed_filled_and_sold_by_the_broker_of_the_mode(person: Person) -> None:
    ticket = person.ask("prepare", **BUY).ticket
    assert (ticket.cost_dollars, ticket.payout_dollars, ticket.refused) == ("3.600000", "10.000000", None)

    (bought,) = person.ask("confirm", ticket=ticket.number).orders
    person.stand.turns(5)
    assert person.status().positions == 1
    (sold,) = person.do("sell", ticker=HOME).orders
    person.stand.turns(5)

    assert sold > bought
    assert person.status().positions == 0
    journal = person.stand.journal.path
    person.stand.close()
    with closing(Reader(journal)) as reader:
        states = {row["number"]: (row["status"], row["strategy"]) for row in reader.orders(10, 99)}
        assert states == {bought: ("filled", "manual"), sold: ("filled", "manual")}
        reader.ledger().check_whole()
        (session,) = reader.sessions()
        assert replay(reader.inputs(session), load_strategy).differs_at is None


def test_flattening_pauses_sells_what_strategies_bought_too_and_says_that_it_is_flat(person: Person) -> None:
    person.stand.commit(basket(2))
    person.stand.turns(5)
    person.buy()
    assert person.status().positions == 4

    answer = person.do("flatten")
    person.stand.turns(30)
    status = person.status()

    assert answer.state == status.state == "paused"
    assert (status.positions, status.open_orders) == (0, 0)
    assert (status.flatten.state, status.flatten.left) == ("flat", ())
    assert answer.flattening == status.flatten.number == 1
    assert not status.uneven


def test_a_flattening_that_is_confirmed_twice_is_one(person: Person) -> None:
    person.buy()
    ticket = person.ask("prepare", what="flatten").ticket

    first, again = (person.ask("confirm", ticket=ticket.number) for _ in range(2))
    person.stand.turns(30)
    later = person.ask("confirm", ticket=ticket.number)

    assert (first.flattening, again.flattening, later.flattening) == (1, 1, 1)
    assert (len(first.orders), again.orders, later.orders) == (1, (), ())
    assert person.status().flatten.number == 1


def test_every_ticket_is_answered_in_exact_dollars_and_says_what_it_is(person: Person) -> None:
    person.buy()
    person.stand.commit(quiet(2))
    person.stand.turns(1)
    resting = person.buy(ticker=HOME.replace("E1", "E2"), price_dollars="0.32", rest_seconds=600)
    sale = person.ask("prepare", what="sell", ticker=HOME).ticket
    cancel = person.ask("prepare", what="cancel", number=resting).ticket
    flatten = person.ask("prepare", what="flatten").ticket

    assert (sale.sale.side, sale.sale.count_fp, sale.sale.price_dollars) == ("yes", "10.00", "0.3000")
    assert (sale.sale.brings_dollars, sale.sale.left_fp, sale.refused) == ("3.000000", "0.00", None)
    earned = float(sale.sale.brings_dollars) - float(sale.sale.fees_dollars) - float(sale.sale.cost_dollars)
    assert round(earned * 1e6) == round(float(sale.sale.realised_dollars) * 1e6) < 0
    assert (cancel.order.number, cancel.order.rests_fp, cancel.ahead_fp) == (resting, "10.00", "0.00")
    assert [order.number for order in flatten.orders] == [resting]
    assert flatten.realised_dollars == sale.sale.realised_dollars
    for ticket, word in ((sale, "sell"), (cancel, "cancel"), (flatten, "flatten")):
        wire = {"ok": True, "state": "running", "ticket": msgspec.to_builtins(ticket)}
        assert (wire["ticket"]["what"], told(wire, TicketAnswer).ticket) == (word, ticket)
        assert any(f"confirm {ticket.number}" in line for line in ticket_lines(ticket))
    (ended,) = person.ask("confirm", ticket=cancel.number).orders
    assert ended == resting


def test_flattening_says_what_stays_and_why_and_ends_when_somebody_resumes(person: Person) -> None:
    person.buy()
    event = event_of()
    person.stand.commit(view_of(event, leg(event, "HOM", None, (3_600, 10_000))))
    person.stand.turns(2)

    line = person.ask("prepare", what="flatten").ticket.sales[0]
    assert (line.count_fp, line.left_fp, line.price_dollars, line.refused) == (
        "0.00",
        "10.00",
        None,
        "no_depth",
    )
    person.do("flatten")
    assert person.status().flatten.state == "works"
    person.stand.turns(50)

    flatten = person.status().flatten
    assert flatten.state == "left"
    assert [(left.ticker, left.count_fp, left.reason) for left in flatten.left] == [
        (HOME, "10.00", "no_depth")
    ]
    person.do("flatten")
    person.stand.commands.put(ManualCommand("resume", ""))
    person.stand.turns(1)
    assert person.status().flatten.state == "left"
    assert person.status().state == "running"


def test_a_flattening_counts_nothing_as_sold_that_risk_refuses_and_can_be_confirmed(person: Person) -> None:
    person.buy()
    person.stand.turns(2, ms=60_000)

    ticket = person.ask("prepare", what="flatten").ticket

    (line,) = ticket.sales
    assert (line.count_fp, line.left_fp, line.price_dollars) == ("0.00", "10.00", "0.3000")
    assert (line.refused, ticket.refused, ticket.why) == ("stale", "stale", line.why)
    assert ticket.brings_dollars == ticket.realised_dollars == "0.000000"
    assert ticket.worst_after_dollars == ticket.worst_before_dollars
    said = "\n".join(ticket_lines(ticket))
    assert f"sell none of 10.00 YES of {HOME} now: {line.why} (stale); later at 0.3000 or better" in said
    assert "risk lets nothing be sold now" in said
    assert "risk allows" not in said
    assert f"confirm {ticket.number}" in said

    person.ask("confirm", ticket=ticket.number)
    person.stand.turns(20, ms=1_000)
    assert person.status().flatten.state == "works"
    person.stand.commit(quiet(as_of_ms=person.stand.clock.now_ms()))
    person.stand.turns(30)
    assert person.status().flatten.state == "flat"


def bids(person: Person, bid_e4: int) -> None:
    event, now_ms = event_of(), person.stand.clock.now_ms()
    sides = (bid_e4, 10_000), (bid_e4 + 600, 10_000)
    person.stand.commit(view_of(event, leg(event, "HOM", *sides, as_of_ms=now_ms)))


def test_a_flattening_keeps_to_its_prices_whatever_becomes_of_the_session(person: Person) -> None:
    person.buy()
    bids(person, 3_000)
    worker = person.stand.worker
    ticket = person.ask("prepare", what="flatten").ticket
    assert ticket.sales[0].price_dollars == "0.3000"
    bids(person, 400)
    person.ask("confirm", ticket=ticket.number)
    session = worker.session

    worker._renew_ms = 0  # a day is over
    person.stand.turns(5)
    assert worker.session is session

    worker._begin_anew()  # as after the journal could not be written for a moment
    assert worker.session is not session
    bids(person, 400)
    person.stand.turns(60)
    flatten = person.status().flatten
    assert [(left.count_fp, left.reason) for left in flatten.left] == [("10.00", "price_moved")]
    assert flatten.state == "left"


def test_a_ticket_of_before_a_restart_is_not_confirmed_by_accident(person: Person, tmp_path: Path) -> None:
    number = person.ask("prepare", **BUY).ticket.number
    now_ms = person.stand.clock.now_ms()
    person.stand.close()

    stand = Stand(tmp_path, now_ms=now_ms + 100)
    again = Person(stand)
    other = again.ask("prepare", **BUY).ticket.number
    answer = again.ask("confirm", ticket=number)
    stand.close()

    assert other != number
    assert (answer.refused, answer.orders) == ("ticket_unknown", ())


@pytest.mark.parametrize(
    ("op", "parameters", "named"),
    [
        ("prepare", {**BUY, "count_fp": "1.5"}, "count_fp"),
        ("prepare", {**BUY, "count_fp": "-1"}, "count_fp"),
        ("prepare", {**BUY, "count_fp": "10\n"}, "count_fp"),
        ("prepare", {**BUY, "count_fp": 10}, "count_fp"),
        ("prepare", {**BUY, "price_dollars": "1.00"}, "price_dollars"),
        ("prepare", {**BUY, "price_dollars": "nan"}, "price_dollars"),
        ("prepare", {**BUY, "side": "both"}, "side"),
        ("prepare", {**BUY, "rest_seconds": 0}, "rest_seconds"),
        ("prepare", {"ticker": HOME}, "side"),
        ("confirm", {"ticket": "7"}, "ticket"),
        ("confirm", {"ticket": None}, "ticket"),
        ("confirm", {"ticket": -1}, "ticket"),
        ("confirm", {"ticket": 2**60}, "ticket"),
        ("prepare", {**BUY, "what": "short"}, "what"),
        ("prepare", {**BUY, "what": None}, "what"),
        ("prepare", {**BUY, "number": 7}, "number: not a parameter of prepare buy"),
        ("prepare", {"what": "sell", **BUY}, "side: not a parameter of prepare sell"),
        ("prepare", {"what": b"sell\xff", "ticker": HOME}, "what"),
        ("prepare", {"what": "sell", "ticker": b"\xff"}, "ticker"),
        ("prepare", {"what": "sell", "ticker": ""}, "ticker"),
        ("prepare", {"what": "sell", "ticker": "x" * 201}, "ticker"),
        ("prepare", {"what": "sell", "ticker": HOME, "count_fp": "-3"}, "count_fp"),
        ("prepare", {"what": "sell", "ticker": HOME, "count_fp": "1" * 10}, "count_fp"),
        ("prepare", {"what": "sell", "ticker": HOME, "count_fp": "0.50"}, "count_fp"),
        ("prepare", {"what": "sell", "ticker": HOME, "price_dollars": "-0.10"}, "price_dollars"),
        ("prepare", {"what": "cancel", "number": 2**60}, "number"),
        ("prepare", {"what": "cancel", "number": -1}, "number"),
        ("prepare", {"what": "cancel"}, "number"),
        ("prepare", {"what": "flatten", "ticker": HOME}, "ticker: not a parameter of prepare flatten"),
    ],
)
def test_a_bad_parameter_is_named(op: str, parameters: dict[str, Any], named: str) -> None:
    with pytest.raises(Refusal, match=named) as refused:
        ask_of(op, parameters)
    assert refused.value.code == "bad_request"
    assert set(parameters) <= set(BY_HAND_OPS[op])


def test_before_there_is_data_nothing_is_prepared(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    command = ManualCommand("prepare", "", ask_of("prepare", BUY))
    stand.commands.put(command)
    stand.turns(1)
    stand.close()

    with pytest.raises(Refusal, match=f"{HOME}: the market is not known"):
        answer_of("starting", command)


def test_a_halted_trader_says_that_nothing_is_done() -> None:
    command = ManualCommand("confirm", "", ask_of("confirm", {"ticket": 1}))

    with pytest.raises(Refusal, match="confirm: the journal cannot be written or does not add up: nothing"):
        answer_of("halted", command)


LINE = "cash of the account: the journal has 10.000000, the exchange 9.000000"


@pytest.mark.parametrize(
    ("word", "refused", "code", "said"),
    [
        ("", None, 2, "trade on: adopt ADOPT"),
        ("adopt", None, 2, "trade on: adopt ADOPT"),
        ("ADOPT", None, 0, "adopted: the journal now has what the exchange lists"),
        ("ADOPT", "drift_changed", 2, "not done: look (drift_changed)"),
    ],
)
def test_drift_is_shown_and_accepted_with_the_word_alone(
    word: str, refused: str | None, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[dict[str, Any]] = []

    def ask(question: dict[str, Any]) -> dict[str, Any]:
        asked.append(question)
        if question["op"] == "status":
            status = json.loads(DOCS[DOCS.index("### `status`") :].split("```json\n")[1].split("```")[0])
            status["exchange_account"]["drift"] = [LINE]
            return {"ok": True, **status}
        return {"ok": True, "state": "drift", "refused": refused, "why": refused and "look"}

    assert adopt(ask, word) == code
    assert capsys.readouterr().out.startswith(f"{LINE}\n")
    assert asked[1:] == ([{"op": "adopt", "lines": (LINE,), "word": "ADOPT"}] if word == "ADOPT" else [])
    adopt(ask, word)
    assert said in capsys.readouterr().out
