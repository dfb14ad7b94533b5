"""`explain`, `tax` and the cash plan: from a journal, and from what an exchange lists of an account."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bus.protocol.answers import Refusal
from bus.trading.gateway import AccountAnswer, Movement, ShardCash, TransferAsk
from markets.errors import BadRecord, StartupError
from markets.units import format_time
from tests.trader.by_hand import HOME, Person
from tests.trader.stand import Stand
from tests.trader.world import JOURNAL_ID, NOW_MS, basket, quiet, settled
from trader.cash import Plan, moving, plan, wanted
from trader.command import parser
from trader.explain import explain_order, explain_untraded, order_text, untraded_text
from trader.ledger.lots import Closed
from trader.tax import COLUMNS, as_csv, closed_in


@pytest.fixture
def person(tmp_path: Path) -> Iterator[Person]:
    stand = Stand(tmp_path)
    yield Person(stand)
    stand.close()


def no_gateway(_journal: str, _number: int) -> None:
    return None


def test_an_order_of_a_strategy_is_explained_from_what_it_was_decided_on(person: Person) -> None:
    person.stand.commit(basket(2))
    person.stand.turns(5)
    path = person.stand.journal.path

    found = explain_order(path, 2, no_gateway)

    decision = found["decision"]
    assert (decision["kind"], decision["epoch"]) == ("Data", found["intent"]["basis"][0])
    assert decision["market"]["no_asks"] == ["100.00 at 0.6000"]
    assert decision["market"]["yes_bid"] == "100.00 at 0.4000"
    assert decision["risk"]["at_stake_before"]["total"]["dollars"] == "0.000000"
    assert [fill["price_dollars"] for fill in found["fills"]] == ["0.6000"]
    assert [one["order"] for one in found["trade_orders"]] == [1, 2, 3]
    assert json.loads(json.dumps(found)) == found
    assert "a trade of strategy no_basket" in order_text(found)
    assert "None" not in order_text(found)


def test_a_person_s_order_is_explained_to_its_settlement_and_money(person: Person) -> None:
    number = person.buy()
    person.stand.commit(settled(quiet(), "HOM"))
    person.stand.turns(5)

    found = explain_order(person.stand.journal.path, number, no_gateway)

    assert found["decision"]["kind"] == "ByHand"
    assert found["decision"]["ask"].startswith("Confirm(")
    assert found["settlement"]["value_dollars"] == "1.0000"
    assert found["money"]["trade_here"]["sold_or_settled_fp"] == "10.00"
    assert found["money"]["trade_here"]["gain_dollars"] == "6.238700"
    text = order_text(found)
    assert "a person's own order" in text
    assert "none answers: the order was filled on paper" in text


def test_what_the_gateway_knows_is_shown_raw(person: Person) -> None:
    number = person.buy()
    known: dict[str, Any] = {
        "found": True,
        "state": "filled",
        "order_id": "abc",
        "exchanged": [
            {
                "what": "create", "path": "/portfolio/orders", "body": "{}", "signed_ms": NOW_MS - 900,
                "sent_ms": NOW_MS, "status": 201, "reply": '{"order": 1}', "trouble": "",
            },
            {
                "what": "cancel", "path": "/x", "body": "", "signed_ms": NOW_MS, "status": None, "reply": "",
                "trouble": "timeout",
            },
        ],
    }  # fmt: skip

    text = order_text(explain_order(person.stand.journal.path, number, lambda _journal, _number: known))

    assert f'{format_time(NOW_MS)} create /portfolio/orders {{}}\n    201 {{"order": 1}}' in text
    assert "no answer timeout" in text


def test_without_the_inputs_the_rest_is_explained_all_the_same(person: Person) -> None:
    number = person.buy()
    journal = person.stand.journal
    journal.commit()
    journal._db.execute("DELETE FROM inputs")

    found = explain_order(journal.path, number, no_gateway)

    assert found["decision"] is None
    assert "of that session are gone" in order_text(found)
    with pytest.raises(StartupError, match="order 99: there is none"):
        explain_order(journal.path, 99, no_gateway)


def test_what_was_not_traded_is_counted_by_who_wanted_it_and_why(person: Person) -> None:
    for _ in range(2):
        with pytest.raises(Refusal, match="nothing is held there"):
            person.ask("prepare", what="sell", ticker=HOME)
    person.stand.journal.commit()
    path = person.stand.journal.path

    found = explain_untraded(path, HOME)

    (one,) = found["refused"]
    assert (one["strategy"], one["reason"], one["times"]) == ("manual: prepare", "nothing_held", 2)
    assert explain_untraded(path, HOME.rsplit("-", 1)[0])["refused"] == found["refused"]
    assert "2 x manual: prepare: nothing is held there" in untraded_text(found)
    assert "nothing was ordered there" in untraded_text(explain_untraded(path, "OTHER"))


def test_the_tax_lots_of_a_year_are_those_given_up_in_it_and_their_sums_add_up(person: Person) -> None:
    person.buy()
    person.do("sell", ticker=HOME)
    person.stand.turns(5)
    path, year = person.stand.journal.path, int(format_time(NOW_MS)[:4])

    closed = closed_in(path, year)
    (row,) = csv.DictReader(io.StringIO(as_csv(closed)))

    assert tuple(row) == COLUMNS
    assert (row["ticker"], row["contracts"], row["how"]) == (HOME, "10.00", "sold")
    assert (row["cost_dollars"], row["proceeds_dollars"]) == ("3.600000", "3.000000")
    amounts = [round(float(row[f"{name}_dollars"]) * 1e6) for name in ("proceeds", "cost", "fees", "gain")]
    assert amounts[0] - amounts[1] - amounts[2] == amounts[3] < 0
    assert closed_in(path, year - 1) == closed_in(path, year + 1) == []
    for wrong in (0, 99_999):
        with pytest.raises(BadRecord, match="year"):
            closed_in(path, wrong)


def test_a_ticker_that_begins_like_a_formula_is_text_in_the_file() -> None:
    part = Closed(1, "=cmd|' /C calc'!A0", "yes", 100, 500_000, 400_000, 0, NOW_MS, NOW_MS, "sold")

    (row,) = csv.DictReader(io.StringIO(as_csv([part])))

    assert row["ticker"].startswith("'=")
    assert row["gain_dollars"] == "-0.100000"  # a number stays one


# -- cash


def shard(at: int, free_e6: int) -> ShardCash:
    return ShardCash(exchange_index=at, cash_e6=50_000_000, held_e6=0, free_e6=free_e6)


def movement(id_: str) -> Movement:
    return Movement(id=id_, kind="transfer", exchange_index=0, amount_e6=1, time_ms=1)


def listed(*shards: tuple[int, int], moved: tuple[str, ...] = ()) -> AccountAnswer:
    return AccountAnswer(
        exchange="sim-1", account="a", as_of_ms=1, asked_ms=1, in_flight=0, last_event=0,
        shards=tuple(shard(at, free_e6) for at, free_e6 in shards),
        movements=tuple(map(movement, moved)),
    )  # fmt: skip


def amounts(made: Plan) -> list[tuple[int, int, int]]:
    return [(one.from_shard, one.to_shard, one.amount_e6) for one in made.transfers]


def test_the_plan_fills_what_orders_lack_from_the_shards_with_most_to_spare_in_whole_cents() -> None:
    made = plan(listed((0, 40_005_000), (1, -10_000_001), (2, 5_000_000)), JOURNAL_ID)

    assert amounts(made) == [(0, 1, 10_010_000)]
    assert not made.missing_e6
    assert amounts(plan(listed((0, 1), (1, 0)), JOURNAL_ID)) == []


def test_what_nobody_has_is_said_to_be_missing() -> None:
    made = plan(listed((0, 3_000_000), (1, -10_000_000)), JOURNAL_ID, wanted(["2=1.50"]))

    assert amounts(made) == [(0, 1, 3_000_000)]
    assert made.missing_e6 == {1: 7_000_000, 2: 1_500_000}


def test_the_same_plan_has_the_same_id_until_cash_has_moved() -> None:
    def ids(answer: AccountAnswer) -> list[str]:
        found: tuple[TransferAsk, ...] = plan(answer, JOURNAL_ID).transfers
        return [one.transfer_id for one in found]

    before = listed((0, 9_000_000), (1, -1_000_000))

    assert ids(before) == ids(listed((1, -1_000_000), (0, 9_000_000)))
    assert ids(before) != ids(listed((0, 9_000_000), (1, -1_000_000), moved=("x",)))


def test_the_command_that_moves_it_has_the_same_wishes() -> None:
    asked = parser().parse_args(moving(["1=20", "2=1.50"]).split()[2:])

    assert (asked.command, asked.want, asked.move, asked.yes) == ("cash", ["1=20", "2=1.50"], True, True)


@pytest.mark.parametrize("text", ["1", "x=5", "1=", "1=-5", "1=nan", "99999=1", "=5"])
def test_what_a_shard_is_to_have_is_named_if_it_is_wrong(text: str) -> None:
    with pytest.raises(BadRecord, match="want"):
        wanted([text])
