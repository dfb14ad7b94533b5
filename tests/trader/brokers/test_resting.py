"""The broker protocol with orders that rest: through engine, journal and worker, over a restart."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from markets.orders import Proposal
from tests.trader.brokers.resting import RestingBroker, Venue
from tests.trader.stand import Stand
from tests.trader.world import NOW_MS, basket
from trader.engine.replay import replay
from trader.journal.reader import Reader
from trader.manual import ManualCommand
from trader.report import report
from trader.strategies import BUILT_IN, NoBasket, Update

MINUTE_MS = 60_000


class Patient(NoBasket):
    """Wants its baskets at orders that rest for ten minutes."""

    def on_update(self, update: Update) -> Sequence[Proposal]:
        expires_ms = update.now_ms + 10 * MINUTE_MS
        return [
            msgspec.structs.replace(wanted, time_in_force="gtc", expires_ms=expires_ms)
            for wanted in super().on_update(update)
        ]


Make = Callable[[], Stand]


@pytest.fixture
def venue() -> Venue:
    return Venue()


@pytest.fixture
def make(tmp_path: Path, venue: Venue, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    monkeypatch.setitem(BUILT_IN, "no_basket", Patient)
    made: list[Stand] = []

    def stand() -> Stand:
        now_ms = NOW_MS if not made else made[-1].clock.now_ms() + 1_000
        made.append(Stand(tmp_path, now_ms=now_ms, broker=RestingBroker(venue)))
        return made[-1]

    yield stand
    for stand_ in made:
        stand_.close()


def wait(stand: Stand, ms: int) -> None:
    """Let so much time pass, with a feed that says every five seconds that nothing has changed."""
    for _ in range(ms // 5_000):
        stand.clock.advance(2_500)
        stand.worker.turn()
        stand.commit(basket(as_of_ms=stand.clock.now_ms()))
        stand.turns(1, ms=2_500)


def orders(stand: Stand) -> dict[int, dict[str, Any]]:
    reader = Reader(stand.worker.around.journal_path)
    try:
        return {row["number"]: row for row in reader.orders(100, 10**9)}
    finally:
        reader.close()


def check(stand: Stand) -> None:
    """Hold ledger, rows and the log against each other."""
    stand.worker.engine.ledger.check()
    stand.journal.commit()
    reader = Reader(stand.worker.around.journal_path)
    try:
        assert reader.ledger() == stand.worker.engine.ledger
        for session in reader.sessions():
            assert replay(reader.inputs(session)).differs_at is None
    finally:
        reader.close()


def resting(make: Make) -> Stand:
    stand = make()
    stand.commit(basket())
    stand.turns(2)
    assert sorted(stand.worker.engine.ledger.open) == [1, 2, 3]
    return stand


def test_an_order_fills_in_parts_over_minutes_and_then_is_whole(make: Make, venue: Venue) -> None:
    stand = resting(make)
    ledger = stand.worker.engine.ledger
    intent, held_e6 = ledger.open[1], ledger.reserved_e6
    assert (intent.exchange_index, intent.trader, intent.account) == (0, "trader", "paper")

    for _ in range(3):
        venue.fill(1, intent.count_e2 // 4)
        wait(stand, MINUTE_MS)
        check(stand)
    row = orders(stand)[1]
    assert (row["status"], row["reason"], row["ended_ms"]) == ("partial", None, None)
    assert row["filled_e2"] == ledger.positions[intent.ticker].count_e2 == 3 * (intent.count_e2 // 4)
    paid_e6 = 3 * (intent.price_e4 * (intent.count_e2 // 4) + 1_000)
    assert ledger.reserved_e6 == held_e6 - paid_e6

    venue.fill(1, intent.count_e2 - 3 * (intent.count_e2 // 4))
    venue.end(1, "complete")
    stand.turns()
    row = orders(stand)[1]
    assert (row["status"], row["reason"], row["filled_e2"]) == ("filled", "complete", intent.count_e2)
    assert sorted(ledger.open) == [2, 3]
    assert stand.heard.events.count("fill") == 4
    check(stand)


def test_a_kill_cancels_what_rests_once_and_a_fill_may_be_quicker(make: Make, venue: Venue) -> None:
    stand = resting(make)
    stand.commands.put(ManualCommand("kill", "enough"))
    stand.turns(20)
    assert venue.asked_to_cancel == [1, 2, 3]

    count_e2 = stand.worker.engine.ledger.open[1].count_e2
    venue.fill(1, count_e2)
    venue.end(1, "complete")
    venue.fill(2, count_e2 // 2)
    for number in (2, 3):
        venue.end(number, "cancelled")
    stand.turns(3)
    found = orders(stand)
    assert [found[number]["status"] for number in (1, 2, 3)] == ["filled", "cancelled", "cancelled"]
    assert not stand.worker.engine.ledger.open
    check(stand)


def test_an_order_that_outlives_its_expiry_is_cancelled(make: Make, venue: Venue) -> None:
    stand = resting(make)
    wait(stand, 9 * MINUTE_MS)
    assert venue.asked_to_cancel == []

    wait(stand, MINUTE_MS)
    stand.turns(1, ms=1_000)
    assert venue.asked_to_cancel == [1, 2, 3]


def test_an_unknown_order_holds_its_money_and_says_why_until_it_is_found(make: Make, venue: Venue) -> None:
    stand = resting(make)
    ledger = stand.worker.engine.ledger
    held_e6 = ledger.reserved_e6
    venue.lose(1, "no_answer")
    stand.turns()

    assert (ledger.reserved_e6, len(ledger.open)) == (held_e6, 3)
    assert stand.worker.engine.standing.unknown == {1: "no_answer"}
    status = report(stand.worker, stand.clock.now_ms(), 1, 1).status
    assert (status.open_orders, status.unknown_orders) == (3, 1)
    row = orders(stand)[1]
    assert (row["status"], row["reason"]) == ("unknown", "no_answer")

    wait(stand, MINUTE_MS)
    venue.find(1)
    stand.turns()
    assert (orders(stand)[1]["reason"], stand.worker.engine.standing.unknown) == (None, {})

    venue.lose(1, "no_answer")
    venue.lose(2, "no_answer")
    stand.turns()
    venue.fill(1, ledger.open[1].count_e2)
    venue.end(1, "complete")
    venue.end(2, "not_placed")
    stand.turns(2)
    found = orders(stand)
    assert (found[1]["status"], found[2]["status"]) == ("filled", "cancelled")
    assert (stand.worker.engine.standing.unknown, sorted(ledger.open)) == ({}, [3])
    check(stand)


def test_a_restart_takes_open_orders_over_and_hears_what_it_missed_once(make: Make, venue: Venue) -> None:
    stand = resting(make)
    count_e2 = stand.worker.engine.ledger.open[1].count_e2
    venue.fill(1, count_e2 // 4)
    stand.turns()
    before = stand.worker.engine.ledger.copy()
    stand.close()
    venue.fill(1, count_e2 // 2)  # while no trader listens
    venue.end(2, "cancelled")

    again = make()
    ledger = again.worker.engine.ledger
    assert again.worker.engine.halts() == ("starting", "stale")
    assert sorted(ledger.open) == [1, 3]
    assert ledger.filled(1).count_e2 == count_e2 // 4 + count_e2 // 2
    assert ledger.cash_e6 < before.cash_e6
    assert orders(again)[2]["status"] == "cancelled"
    check(again)

    wait(again, 10 * MINUTE_MS)
    again.turns(1, ms=1_000)
    assert venue.asked_to_cancel == [1, 3]
    for number in (1, 3):
        venue.end(number, "cancelled")
    again.turns()
    assert [orders(again)[number]["status"] for number in (1, 3)] == ["cancelled", "cancelled"]
    check(again)


def test_a_kill_that_holds_at_the_start_cancels_what_still_rests(make: Make, venue: Venue) -> None:
    stand = resting(make)
    stand.close()
    stand.kill_switch.set("while it was down")

    again = make()
    again.turns(2)
    assert venue.asked_to_cancel == [1, 2, 3]


def test_an_order_that_never_left_is_ended_by_its_broker_after_a_restart(make: Make, venue: Venue) -> None:
    stand = make()
    stand.commit(basket())
    stand.turns()
    assert [row["status"] for row in orders(stand).values()] == ["intended"] * 3
    stand.close()
    del venue.orders[3]

    again = make()
    assert sorted(again.worker.engine.ledger.open) == [1, 2]
    row = orders(again)[3]
    assert (row["status"], row["reason"]) == ("rejected", "not_placed")
    check(again)
