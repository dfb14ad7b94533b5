"""The worker: from a commit to a fill, through restarts, gaps, kills and a journal that cannot be written."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from bus.clock import ManualClock
from bus.process.lifecycle import Stop
from bus.trading.killswitch import Killed
from markets.errors import StartupError
from markets.opportunities import EventView
from markets.orders import Filled, Intent
from tests.trader.stand import Stand
from tests.trader.world import JOURNAL_ID, NOW_MS, basket, event_of, quiet, settled
from trader.brokers.base import LevelKey
from trader.brokers.paper import PaperBroker
from trader.engine.inputs import AnyInput, Orders, Present
from trader.engine.legrisk import Learnt
from trader.engine.marks import KeptMark
from trader.engine.outputs import AnyOutput, encode_outputs
from trader.engine.replay import replay
from trader.journal.journal import JournalError, Recovered
from trader.journal.reader import Reader
from trader.ledger.ledger import Ledger, LedgerError
from trader.manual import ManualCommand
from trader.report import report
from trader.session import EVENTS_AT_ONCE
from trader.worker import SESSION_MS, WISH_TTL_S, JournalFile, Surroundings

Make = Callable[..., Stand]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Stand] = []

    def stand(**changes: object) -> Stand:
        made.append(Stand(tmp_path, **changes))  # type: ignore[arg-type]
        return made[-1]

    yield stand
    for one in made:
        one.close()


def rows(stand: Stand) -> Reader:
    return Reader(stand.worker.around.journal_path)


def test_from_a_commit_to_fills_after_the_latency(make: Make) -> None:
    stand = make()
    stand.commit(basket())
    stand.turns()
    assert len(stand.worker.engine.ledger.open) == 3

    stand.turns(1)
    assert stand.worker.engine.ledger.positions == {}
    stand.turns(3)
    positions = stand.worker.engine.ledger.positions
    assert len(positions) == 3
    assert len({one.count_e2 for one in positions.values()}) == 1
    assert stand.heard.events.count("order") == 3
    assert stand.heard.events.count("fill") == 3
    assert stand.worker.state == "running"
    assert len(stand.worker.announcer.latencies) == 3


def test_fills_are_those_of_the_book_at_arrival(make: Make) -> None:
    stand = make()
    stand.commit(basket())
    stand.turns()
    stand.commit(quiet(as_of_ms=stand.clock.now_ms()))
    stand.turns(5)

    assert stand.worker.engine.ledger.positions == {}
    assert stand.worker.engine.ledger.open == {}
    assert {row["reason"] for row in rows(stand).orders(10, 99)} == {"nothing_left"}


def test_a_restart_goes_on_with_the_same_books_and_buys_nothing_twice(make: Make) -> None:
    stand = make()
    stand.commit(basket())
    stand.turns(6)
    before = stand.worker.engine.ledger
    stand.close()

    again = make(now_ms=NOW_MS + 1_000)
    again.commit(basket(as_of_ms=NOW_MS + 1_000))
    again.turns(10)

    assert again.worker.engine.ledger == before
    assert again.worker.engine.taken.levels.keys() == before.lots.keys()  # all that is shown there
    assert len(rows(again).orders(10, 99)) == 3


def test_an_order_on_its_way_at_a_restart_got_nothing_and_is_tried_anew(make: Make) -> None:
    stand = make()
    stand.commit(basket())
    stand.turns()
    stand.close()

    again = make()
    assert again.worker.engine.ledger.open == {}
    assert {row["reason"] for row in rows(again).orders(10, 99)} == {"restarted"}
    again.commit(basket(as_of_ms=again.clock.now_ms()))
    again.turns(6)
    assert [row["number"] for row in rows(again).fills(10, 99)] == [6, 5, 4]


def test_settlement_is_paid_once_through_a_restart(make: Make) -> None:
    stand = make()
    stand.commit(basket())
    stand.turns(6)
    stand.commit(settled(basket(), "HOM"))
    stand.turns()
    ledger = stand.worker.engine.ledger
    assert ledger.positions == {}
    stand.close()

    again = make()
    again.commit(settled(basket(), "HOM"))
    again.turns(3)
    assert again.worker.engine.ledger == ledger
    assert len(rows(again).settlements(10, 99)) == 3


def test_the_journal_replays_to_the_same_bytes(make: Make) -> None:
    stand = make()
    for number in range(1, 4):
        stand.commit(basket(number, as_of_ms=stand.clock.now_ms()))
        stand.turns(6)
    stand.commit(settled(basket(), "AWY"))
    stand.turns(12)
    stand.close()

    reader = Reader(stand.worker.around.journal_path)
    (session,) = reader.sessions()
    result = replay(reader.inputs(session))
    reader.close()
    assert (result.differs_at, result.orders) == (None, 9)


def test_a_replay_notices_a_changed_decision(make: Make, tmp_path: Path) -> None:
    stand = make()
    stand.commit(basket())
    stand.turns(6)
    stand.close()
    with closing(sqlite3.connect(stand.worker.around.journal_path)) as db, db:
        db.execute("UPDATE inputs SET output = x'90' WHERE length(output) > 200")

    reader = Reader(stand.worker.around.journal_path)
    assert replay(reader.inputs(1)).differs_at is not None
    reader.close()


def test_a_gap_on_the_feed_stops_trading_until_it_is_repaired(make: Make) -> None:
    stand = make()
    stand.feed.live = False
    stand.commit(basket())
    stand.turns(2)
    assert stand.worker.state == "gap"
    assert stand.worker.engine.ledger.open == {}

    stand.feed.live = True
    stand.tell("resynced")
    stand.turns(2)
    assert len(stand.worker.engine.ledger.open) == 3


def test_an_order_that_arrives_in_a_gap_is_not_filled(make: Make) -> None:
    stand = make()
    stand.commit(basket())
    stand.turns()
    stand.feed.lost = True
    stand.turns(5)

    assert stand.worker.engine.ledger.open == {}
    assert stand.worker.engine.ledger.positions == {}


def test_after_standing_still_it_acts_on_nothing_that_is_queued(make: Make) -> None:
    stand = make()
    stand.commit(quiet())
    stand.turns(3)

    stand.commit(basket())  # heard, and then the process was stopped for half a minute
    stand.clock.advance(30_000)
    stand.worker.turn()
    stand.turns(5)
    assert stand.worker.engine.ledger.open == {}
    assert stand.worker.state == "stale"

    stand.commit(basket(as_of_ms=stand.clock.now_ms()))
    stand.turns()
    assert len(stand.worker.engine.ledger.open) == 3


def test_an_order_on_its_way_when_it_stood_still_is_not_filled(make: Make) -> None:
    stand = make()
    stand.commit(basket())
    stand.turns()
    stand.clock.advance(4_000)
    stand.turns(3)

    assert stand.worker.engine.ledger.positions == {}
    assert stand.worker.engine.ledger.open == {}


def test_a_jump_of_the_wall_clock_trades_nothing_old(make: Make) -> None:
    stand = make()
    stand.commit(quiet())
    stand.turns(3)
    stand.clock.set_wall(NOW_MS - 3_600_000)
    stand.commit(basket(), now_ms=NOW_MS)
    stand.turns(3)

    assert stand.worker.engine.ledger.open == {}
    assert stand.worker.state == "stale"
    stand.commit(basket(as_of_ms=stand.clock.now_ms()))
    stand.turns(6)
    assert len(stand.worker.engine.ledger.positions) == 3


@pytest.mark.parametrize("hours", [1, -1])
def test_an_order_on_its_way_when_the_wall_clock_jumps_is_not_filled_and_trading_goes_on(
    make: Make, hours: int
) -> None:
    stand = make()
    stand.commit(basket())
    stand.turns()
    stand.clock.set_wall(NOW_MS + hours * 3_600_000)
    stand.turns(5)
    assert stand.worker.engine.ledger.positions == {}
    assert stand.worker.engine.ledger.open == {}

    stand.commit(basket(2, as_of_ms=stand.clock.now_ms()))
    stand.turns(5)
    assert len(stand.worker.engine.ledger.positions) == 3


def test_what_is_held_or_ordered_is_wished_for_until_it_is_settled(make: Make) -> None:
    wished: list[tuple[int, str, frozenset[str]]] = []
    stand = make(
        around=lambda real: msgspec.structs.replace(
            real,
            wish=lambda tickers, ttl_s, what: wished.append(
                (stand_clock().monotonic_ns() // 1_000_000_000, what, frozenset(tickers))
            ),
        )
    )

    def stand_clock() -> ManualClock:
        return stand.clock

    stand.turns(20)
    assert wished == []
    stand.commit(basket())
    stand.turns(600)
    held = frozenset(stand.worker.engine.ledger.positions)
    assert len(held) == 3
    assert {(what, tickers) for _, what, tickers in wished} == {
        ("book", held),
        ("market", held),
        ("candles", held),
    }
    seconds = sorted({at_s for at_s, _, _ in wished})
    assert seconds[0] <= 3
    assert 2 <= len(seconds) <= 4  # a minute
    assert max(after - before for before, after in pairwise(seconds)) * 2 < WISH_TTL_S

    stand.commit(settled(basket(as_of_ms=stand.clock.now_ms()), "HOM"))
    stand.turns(1)
    wished.clear()
    stand.turns(600)
    assert wished == []


def without_grid(view: EventView) -> EventView:
    """The same event with a market whose prices cannot be compared with its grid: a step of nothing."""
    first, *others = view.markets
    odd = msgspec.structs.replace(first.market, price_ranges=((0, 10_000, 0),))
    return msgspec.structs.replace(view, markets=(msgspec.structs.replace(first, market=odd), *others))


def test_an_odd_event_costs_nothing_but_itself_held_or_not(make: Make) -> None:
    stand = make()
    stand.commit(basket(1))
    stand.turns(5)
    assert len(stand.worker.engine.ledger.positions) == 3

    now_ms = stand.clock.now_ms()
    odd = [without_grid(basket(number, as_of_ms=now_ms)) for number in (1, 2)]
    stand.commit(*odd, basket(3, as_of_ms=now_ms))
    stand.turns(5)

    held = {position.event_ticker for position in stand.worker.engine.ledger.positions.values()}
    assert held == {event_of(1).event_ticker, event_of(3).event_ticker}
    status = report(stand.worker, stand.clock.now_ms(), 1, 1).status
    assert (status.state, status.failed) == ("running", 2)
    assert {failure.event_ticker for failure in status.failures} == {view.event.event_ticker for view in odd}
    assert {failure.error.split(":")[0] for failure in status.failures} == {"ZeroDivisionError"}

    stand.close()
    again = make()  # a restart meets the same events
    now_ms = again.clock.now_ms()
    again.commit(*odd, basket(4, as_of_ms=now_ms))
    again.turns(5)
    assert event_of(4).event_ticker in again.worker.engine.ledger.events()


@pytest.mark.parametrize("text", ["", '{"reason": "st\\udcf6p"}'])
def test_the_kill_file_stops_orders_on_their_way_and_survives(make: Make, text: str) -> None:
    stand = make()
    stand.commit(basket())
    stand.turns()
    stand.kill_switch.path.write_text(text)
    stand.turns(5)
    assert stand.worker.state == "killed"
    assert stand.worker.engine.ledger.positions == {}
    assert {row["reason"] for row in rows(stand).orders(10, 99)} == {"killed"}
    stand.close()

    again = make()
    again.commit(basket(2))
    again.turns(3)
    assert again.worker.state == "killed"
    assert again.worker.engine.ledger.open == {}

    again.commands.put(request := ManualCommand("resume", ""))
    again.turns()
    assert request.wait(0) == "running"
    assert not again.worker.around.kill_switch.read()


def test_the_kill_file_is_read_before_each_arrival_also_when_a_message_comes_with_it(make: Make) -> None:
    stand = make()
    stand.commit(basket())
    stand.turns()
    # Until the next message comes the orders have arrived, and are due.
    stand.feed.meanwhile = lambda: stand.clock.advance(300)
    stand.kill_switch.path.touch()
    stand.commit(quiet(2, as_of_ms=stand.clock.now_ms()))
    stand.worker.turn()

    assert stand.worker.engine.ledger.open == {}
    assert {row["reason"] for row in rows(stand).orders(10, 99)} == {"killed"}


def test_a_pause_survives_a_restart(make: Make) -> None:
    stand = make()
    stand.commands.put(ManualCommand("pause", "lunch at K\udcf6nig's"))
    stand.turns()
    stand.close()

    again = make()
    assert again.worker.engine.conditions.paused == "lunch at K\ufffdnig's"


def test_fair_values_of_a_file_are_traded_on_and_published(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    ticker = f"{event_of().event_ticker}-HOM"
    path.write_text(f"ticker,probability,as_of\n{ticker},0.7,2027-01-15T08:00:00Z\nKX-BAD,2,\n")
    stand = make(env={"KALSHI_BUS_STRATEGIES": "value", "KALSHI_BUS_FAIR_VALUES_FILE": str(path)})
    stand.commit(quiet())
    stand.turns(6)

    (position,) = stand.worker.engine.ledger.positions.values()
    assert (position.ticker, position.side) == (ticker, "yes")
    assert set(stand.heard.values) == {ticker}
    values_file = stand.worker.around.values_file
    assert values_file is not None
    assert len(values_file.loaded.errors) == 1

    path.write_text("ticker,probability\n")
    stand.turns(10)
    assert stand.heard.values == {}


# -- when the journal cannot be written


def fill_disk(stand: Stand) -> Callable[[], None]:
    """Leave the journal no page to grow: what a full disk does; return how to make room."""
    db = stand.journal._db
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count = {pages}")
    return lambda: db.execute("PRAGMA max_page_count = 1000000").close()


def trade_until_it_breaks(stand: Stand) -> None:
    for number in range(2, 200):
        stand.commit(basket(number, as_of_ms=stand.clock.now_ms()))
        stand.turns(4)


def test_on_a_full_disk_there_is_no_order_without_a_row(make: Make) -> None:
    stand = make()
    stand.turns(3)
    make_room = fill_disk(stand)
    with pytest.raises(JournalError, match="full"):
        trade_until_it_breaks(stand)

    journaled = {row["number"] for row in rows(stand).orders(1_000, 10**6)}
    broker = stand.worker.session.broker
    assert isinstance(broker, PaperBroker)
    sent = {arrival.number for arrival in broker._pending}
    assert sent <= journaled
    make_room()


def test_a_halted_trader_says_so_and_begins_anew_when_there_is_room(make: Make) -> None:
    stand = make()
    stand.commit(basket())
    stand.turns(6)
    ledger = stand.worker.engine.ledger.copy()
    make_room = fill_disk(stand)
    worker = stand.worker
    with pytest.raises(JournalError) as caught:
        trade_until_it_breaks(stand)
    worker.halt(caught.value)
    assert worker.state == "halted"
    assert stand.heard.events[-1] == "state:halted"

    stand.clock.advance(5_000)
    worker.try_again()
    assert worker.state == "halted"
    make_room()
    stand.clock.advance(5_000)
    worker.try_again()
    assert worker.halted is None
    assert worker.engine.ledger.positions.keys() >= ledger.positions.keys()
    worker.engine.ledger.check()
    assert rows(stand).ledger() == worker.engine.ledger


def test_what_a_person_wants_while_it_is_halted_is_not_forgotten(make: Make) -> None:
    stand = make()
    worker = stand.worker
    for ops, paused in ((["pause"], "lunch"), (["resume", "pause", "resume"], None)):
        worker.halt(JournalError("no room"))
        commands = [ManualCommand(op, "lunch") for op in ops]
        for command in commands:
            stand.commands.put(command)
        worker.try_again()
        assert {command.wait(0) for command in commands} == {"halted"}
        stand.clock.advance(5_000)
        worker.try_again()
        assert (worker.halted, worker.engine.conditions.paused) == (None, paused)
        worker.session.command("resume", "", Present(stand.clock.now_ms(), 0))


class Prompt(Stop):
    """Waits for nothing: the test's clock is not the machine's."""

    def wait(self, timeout_s: float | None = None) -> bool:
        return self.is_set()


def test_a_journal_that_cannot_be_opened_for_the_next_session_halts_until_it_can(make: Make) -> None:
    def on_a_disk_that_may_be_full(real: Surroundings) -> Surroundings:
        def open_(now_ms: int) -> JournalFile:
            if full:
                raise StartupError("no room")
            return real.open_journal(now_ms)

        return msgspec.structs.replace(real, open_journal=open_)

    full = False
    stand = make(around=on_a_disk_that_may_be_full)
    worker = stand.worker
    seen: list[str | None] = []

    def after_turn() -> None:
        nonlocal full
        seen.append(worker.halted)
        stand.clock.advance(SESSION_MS if len(seen) == 1 else 5_000)
        full = len(seen) < 4
        if len(seen) > 20 or (len(seen) > 5 and worker.halted is None):
            stop.set()

    worker.close()
    with closing(Prompt()) as stop:
        worker.run(stop, after_turn)

    assert seen[0] is None
    assert "no room" in seen
    assert seen[-1] is None
    assert len(seen) <= 20


def test_a_locked_journal_halts(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trader.journal.schema.BUSY_S", 0.05)
    stand = make()
    stand.turns(20)
    with closing(sqlite3.connect(stand.worker.around.journal_path, isolation_level=None)) as other, other:
        stand.journal.commit()
        other.execute("BEGIN IMMEDIATE")
        stand.commit(basket())
        with pytest.raises(JournalError, match="locked"):
            stand.turns(20)
        assert stand.worker.session.broker.next_ms is None
        other.execute("ROLLBACK")
    other.close()


def test_a_replay_leaves_the_books_of_a_live_feed_alone_until_that_is_back(make: Make) -> None:
    stand = make()
    stand.commit(basket())
    stand.turns(6)
    worker = stand.worker
    ledger = worker.engine.ledger.copy()
    points, orders = len(rows(stand).equity(0, 10**6)), len(rows(stand).orders(1_000, 10**6))
    assert ledger.positions

    stand.feed.source = "replay"
    with pytest.raises(JournalError, match=r"ledger of a live feed.*KALSHI_BUS_DATA_DIR") as caught:
        stand.turns(1)
    worker.halt(caught.value)
    stand.clock.advance(5_000)
    worker.try_again()
    assert worker.state == "halted"
    assert (len(rows(stand).equity(0, 10**6)), len(rows(stand).orders(1_000, 10**6))) == (points, orders)

    stand.feed.source = "live"
    stand.clock.advance(5_000)
    worker.try_again()
    assert worker.halted is None
    assert worker.engine.ledger == ledger


def test_a_recording_played_from_an_earlier_point_begins_a_session_whose_time_does_not_go_back(
    make: Make,
) -> None:
    stand = make(env={"KALSHI_BUS_PAPER_LATENCY_MS": "250"})
    stand.feed.source = "replay"
    stand.turns(2)
    stand.commit(basket())
    stand.turns(1)
    assert len(stand.worker.engine.ledger.open) == 3

    stand.clock.set_wall(NOW_MS - 3_600_000)
    stand.tell("epoch")
    stand.turns(1)
    assert {row["reason"] for row in rows(stand).orders(10, 99)} == {"restarted"}
    stand.commit(basket(2, as_of_ms=stand.clock.now_ms()))
    stand.turns(6)

    assert {one.event_ticker for one in stand.worker.engine.ledger.positions.values()} == {
        event_of(2).event_ticker
    }
    for session in rows(stand).sessions():
        times = [taken.steady_ms for _, taken, _ in rows(stand).inputs(session)]
        assert times == sorted(times)


def test_looking_around_writes_into_the_journal_of_the_session_that_has_just_begun(make: Make) -> None:
    stand = make()
    stand.turns(31, ms=1_000)
    stand.clock.advance(40_000)
    stand.feed.source = "replay"
    with closing(sqlite3.connect(stand.worker.around.journal_path)) as db, db:
        db.execute("DELETE FROM meta WHERE key = 'source'")
    db.close()
    stand.journal._meta.pop("source")

    stand.worker._look_around()

    assert len(rows(stand).sessions()) == 2


def test_a_session_of_a_day_is_followed_by_another_and_inputs_of_a_week_ago_are_dropped(make: Make) -> None:
    stand = make()
    stand.commit(basket())
    stand.turns(6)
    ledger = stand.worker.engine.ledger.copy()
    assert ledger.positions
    assert not ledger.open

    for _ in range(9):
        stand.clock.advance(SESSION_MS)
        stand.turns(2)

    sessions, inputs = (
        [row[0] for row in stand.journal._db.execute(f"SELECT DISTINCT session FROM {table}")]
        for table in ("sessions", "inputs")
    )
    assert sessions == list(range(1, 11))
    assert min(inputs) > 1
    assert stand.worker.engine.ledger == ledger
    assert rows(stand).ledger() == ledger


def test_books_that_disagree_with_the_rows_halt_for_good(make: Make) -> None:
    stand = make()
    stand.commit(basket())
    stand.turns(6)
    with closing(sqlite3.connect(stand.worker.around.journal_path)) as other, other:
        stand.journal.commit()
        other.execute("UPDATE fills SET fee_e6 = fee_e6 + 1 WHERE id = 1")
    other.close()

    with pytest.raises(LedgerError, match="rows") as caught:
        stand.turns(31, ms=1_000)
    stand.worker.halt(caught.value)
    stand.clock.advance(60_000)
    stand.worker.try_again()
    assert stand.worker.state == "halted"
    assert not stand.worker.reconciled


def test_a_kill_and_arrivals_do_not_wait_for_the_last_scan_of_a_commit(make: Make) -> None:
    asked: list[ManualCommand] = []

    def at_the_first_order(point: str) -> None:
        if point == "placed" and not asked:
            asked.append(ManualCommand("kill", "enough"))
            stand.commands.put(asked[0])
            stand.clock.advance(500)  # scanning the rest takes a while

    stand = make(probe=at_the_first_order, env={"KALSHI_BUS_LIMIT_OPEN_ORDERS": "1000"})
    stand.commit(*(basket(number, size_e2=1_000) for number in range(1, 3 * EVENTS_AT_ONCE + 1)))
    stand.turns()

    engine = stand.worker.engine
    assert asked[0].wait(0) == "killed"
    assert stand.worker.announcer.counts["orders"] <= 3 * EVENTS_AT_ONCE
    assert 1 not in engine.ledger.open  # it arrived, and was refused, before the last events were scanned
    stand.turns(10)
    assert not engine.ledger.open
    assert not engine.ledger.positions
    (session,) = rows(stand).sessions()
    assert replay(rows(stand).inputs(session)).differs_at is None


class MemoryJournal:
    """A journal that a simulation might have: nothing of it is on a disk."""

    def __init__(self) -> None:
        self.steps: list[tuple[AnyInput, bytes]] = []
        self.closed = False

    def recover(self) -> Recovered:
        return Recovered(JOURNAL_ID, Ledger.new(1_000_000_000), 1, 1, 0, 0, None, ())

    def order(self, number: int) -> Intent | None:
        return None

    def counts(self) -> dict[str, int]:
        return {"orders": 0, "fills": 0, "settlements": 0}

    def sums(self) -> dict[str, int]:
        ledger = Ledger.new(1_000_000_000)
        for taken, _ in self.steps:
            for event in taken.events if isinstance(taken, Orders) else ():
                if isinstance(event, Filled):
                    ledger.spent_e6 += event.fill.cost_e6
                    ledger.fees_e6 += event.fill.fee_e6
        names = ("start_e6", "spent_e6", "fees_e6", "payouts_e6")
        return {name: getattr(ledger, name) for name in names}

    def write(self, taken: AnyInput, outputs: Sequence[AnyOutput]) -> None:
        self.steps.append((taken, encode_outputs(outputs)))

    def keep_places(self, places: Mapping[int, int]) -> None: ...

    def keep_marks(self, marks: Sequence[KeptMark]) -> None: ...

    def keep_taken(self, levels: Sequence[tuple[LevelKey, int]]) -> None:
        pass

    def keep_leg_risk(self, learnt: Sequence[Learnt]) -> None:
        pass

    def commit(self) -> None:
        pass

    def claim(self, source: str) -> None:
        pass

    def checkpoint(self) -> None:
        pass

    def try_out(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def test_no_order_leaves_before_the_journal_has_it(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another connection reads is committed, and a commit of the journal lasts (synchronous FULL)."""
    stand, there = make(), []
    place = PaperBroker.place

    def looked(broker: PaperBroker, intent: Intent, at: Present) -> None:
        path = stand.worker.around.journal_path
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            there.append(
                db.execute("SELECT count(*) FROM orders WHERE number = ?", (intent.number,)).fetchone()
            )
        place(broker, intent, at)

    monkeypatch.setattr(PaperBroker, "place", looked)
    stand.commit(basket())
    stand.turns(40)

    assert there == [(1,)] * 3


class MemoryKillFile:
    def read(self) -> Killed | None:
        return None

    def clear(self) -> None:
        pass


def test_a_worker_needs_nothing_but_what_it_is_handed(make: Make, tmp_path: Path) -> None:
    journal = MemoryJournal()
    stand = make(
        around=lambda real: msgspec.structs.replace(
            real,
            open_journal=lambda _now_ms: journal,
            journal_path=tmp_path / "nowhere",
            kill_switch=MemoryKillFile(),
        )
    )
    stand.commit(basket())
    stand.turns(400)

    assert len(stand.worker.engine.ledger.positions) == 3
    assert stand.worker.reconciled
    assert replay((number, *step) for number, step in enumerate(journal.steps)).differs_at is None
    assert not list(tmp_path.iterdir())
    stand.worker.close()
    assert journal.closed
