"""Updates: what changes, at the reader's pace, with what was passed over said."""

import asyncio
import threading
from typing import Any

import pytest
from structlog.testing import capture_logs

import bus
from bus.protocol.join import Tell
from bus.protocol.state import Changed, State
from bus.updates import ANY, Update, Updates
from markets.records import Trade
from tests.bus.followed import live as live  # noqa: PLC0414  a fixture
from tests.bus.live import Live
from tests.bus.world import START_MS, a_quote
from tests.support import eventually

TRADE = Trade("t-1", "A-1-X", 4_500, 100, "yes", START_MS)


def updates(*kinds: str, **more: Any) -> tuple[State, Updates]:
    state = State(START_MS)
    state.quotes["A-1-X"] = a_quote("A-1-X")
    return state, Updates(lambda: state, lambda: False, kinds, **more)


def quotes(seq: int, *tickers: str) -> Changed:
    return Changed(seq, 0, [("quote", list(tickers))])


def test_a_record_that_changes_again_before_it_is_read_is_given_out_once_and_that_is_said() -> None:
    state, found = updates()
    for seq in (1, 2, 3):
        found.listen([quotes(seq, "A-1-X")])
    state.quotes["A-1-X"] = latest = a_quote("A-1-X", 6_000)

    assert found.get(0) == Update("quote", "A-1-X", latest, 3, conflated=2)
    assert found.get(0) is None
    assert found.conflated == 2
    found.listen([quotes(4, "A-1-X")])
    assert found.get(0) == Update("quote", "A-1-X", latest, 4)


def test_what_is_gone_is_given_out_as_none_and_trades_each_by_itself() -> None:
    _, found = updates()
    found.listen([quotes(1, "GONE"), Changed(2, 0, [("trade", ["A-1-X"])], [TRADE])])
    assert found.get(0) == Update("quote", "GONE", None, 1)
    assert found.get(0) == Update("trade", "A-1-X", TRADE, 2)
    assert found.get(0) is None


def test_only_what_was_asked_for_is_given_out() -> None:
    _, found = updates("quote", keys=["A-1-X"])
    found.listen([quotes(1, "B", "A-1-X"), Changed(2, 0, [("book", ["A-1-X"])], [TRADE])])
    assert [found.get(0), found.get(0)] == [Update("quote", "A-1-X", a_quote("A-1-X"), 1), None]


def test_beyond_its_limit_all_gives_way_to_one_word_that_says_how_much() -> None:
    _, found = updates(limit=3)
    found.listen([quotes(1, "A", "B", "C"), quotes(2, "D")])
    assert found.waiting == 1
    found.listen([quotes(3, "E")])
    assert found.get(0) == Update(ANY, "", None, 2, dropped=4)
    assert found.get(0) == Update("quote", "E", None, 3)
    assert found.dropped == 4
    assert "4 dropped" in repr(found)


def test_after_a_repair_anything_may_have_changed() -> None:
    _, found = updates("book")
    found.listen([Changed(1, 0, [("book", ["A"])]), Tell("resynced", {"epoch": START_MS, "seq": 9})])
    assert found.get(0) == Update(ANY, "", None, 9)
    assert found.get(0) is None


def test_a_kind_that_there_is_not_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="got 'quotes', expected 'quote'"):
        updates("quotes")


def test_a_loop_follows_the_feed_and_ends_with_the_connection(live: Live) -> None:
    heard: list[Update] = []
    with bus.connect(feed=live.feed, snapshots=live.state) as connection:
        found = connection.updates()
        reading = threading.Thread(target=lambda: heard.extend(found))
        reading.start()
        live.do(live.publisher.commit, live.publisher.stream)
        eventually(lambda: len(heard) >= 2)
    reading.join(30)
    assert not reading.is_alive()
    assert {one.kind for one in heard} - {ANY}
    assert found.closed


def test_an_async_loop_does_the_same_and_waits_for_nothing_when_it_is_closed(live: Live) -> None:
    async def follow() -> list[Update]:
        heard = []
        found = connection.updates()
        asyncio.get_running_loop().run_in_executor(None, live.do, live.publisher.commit)
        async for update in found:
            heard.append(update)
            if len(heard) == 2:
                asyncio.get_running_loop().call_later(0.05, found.close)
        return heard

    with bus.connect(feed=live.feed, snapshots=live.state) as connection:
        assert len(asyncio.run(asyncio.wait_for(follow(), 20))) >= 2


def test_a_slow_callback_holds_up_nobody_and_one_that_raises_ends_and_is_said(live: Live) -> None:
    let_go = threading.Event()
    slow: list[Update] = []

    def slowly(update: Update) -> None:
        slow.append(update)
        let_go.wait(20)

    def badly(_update: Update) -> None:
        raise ZeroDivisionError("mine")

    with capture_logs() as logs, bus.connect(feed=live.feed, snapshots=live.state) as connection:
        waits = connection.on_update(slowly)
        fails = connection.on_update(badly)
        for _ in range(20):
            live.do(live.publisher.commit)
        eventually(lambda: live.agrees(connection.replica))
        eventually(lambda: fails.closed)
        assert isinstance(fails.error, ZeroDivisionError)
        eventually(lambda: slow)
        assert len(slow) == 1
        assert waits.conflated > 0
        let_go.set()
        eventually(lambda: waits.waiting == 0)
    assert "callback.failed" in [log["event"] for log in logs]


def test_readers_that_have_ended_are_forgotten(live: Live) -> None:
    with bus.connect(feed=live.feed, snapshots=live.state) as connection:
        for _ in range(3):
            connection.updates().close()
        connection.updates()
        assert len(connection._updates) == 1
