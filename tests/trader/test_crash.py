"""Killed with SIGKILL at every step of its work, the trader goes on from its journal: nothing twice."""

import os
import resource
import signal
import traceback
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.trader.stand import Stand
from tests.trader.world import NOW_MS, basket, event_of, settled
from trader.engine.replay import replay
from trader.journal.journal import JournalError
from trader.journal.reader import Reader

POINTS = [
    *(("decided", nth) for nth in (1, 2, 3, 4, 5, 9, 14)),
    *(("before_commit", nth) for nth in (1, 2, 3, 5, 7)),
    *(("after_commit", nth) for nth in (1, 2, 3, 4, 5, 6, 7)),
    *(("placed", nth) for nth in (1, 2, 3, 4, 9)),
    *(("arrived", nth) for nth in (1, 2, 3)),
]


EVENTS = (1, 2, 3)


def script(folder: Path, point: str, nth: int, events: Iterable[int] = EVENTS) -> None:
    """A trader's life: three baskets, one after the other; the first is paid out. It may die on the way."""
    seen = 0

    def probe(name: str) -> None:
        nonlocal seen
        seen += name == point
        if name == point and seen == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    # Each life begins later than the one before, as it does outside.
    lives = folder / "lives"
    life = int(lives.read_text()) + 1 if lives.exists() else 0
    lives.write_text(str(life))
    stand = Stand(folder, probe, now_ms=NOW_MS + life * 120_000)
    for number in events:
        for turns in (3, 4):
            stand.commit(basket(number, as_of_ms=stand.clock.now_ms()))
            stand.turns(turns)
    stand.commit(settled(basket(1), "HOM"))
    stand.turns(2)
    stand.close()


def play(folder: Path, point: str = "", nth: int = 0) -> int:
    """Play the script in a process of its own; return how that ended: 0, or a signal's number negated."""
    pid = os.fork()
    if pid == 0:
        try:
            script(folder, point, nth)
            os._exit(0)
        except BaseException:  # noqa: BLE001 - the copy of pytest in this process must never go on
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def check(folder: Path) -> Reader:
    """Hold the journal against what must be true whatever was killed when."""
    reader = Reader(folder / "data" / "trader-paper-sim-paper.sqlite")
    ledger = reader.ledger()
    ledger.check()
    orders = reader.orders(1_000, 10**9)
    assert len({row["client_order_id"] for row in orders}) == len(orders)
    assert sorted(row["number"] for row in orders) == list(range(1, len(orders) + 1))
    # One trade has fills in an event, all its legs of one size: nothing twice, nothing by half.
    for number in EVENTS:
        event_ticker = event_of(number).event_ticker
        filled = [row for row in orders if row["event_ticker"] == event_ticker and row["filled_e2"]]
        assert len({row["trade"] for row in filled}) <= 1
        assert set(Counter(row["ticker"] for row in filled).values()) <= {1}
        assert len({row["filled_e2"] for row in filled}) <= 1
        assert len(filled) in (0, 3)
    for session in reader.sessions():
        assert replay(reader.inputs(session)).differs_at is None
    return reader


def die_and_go_on(folder: Path, kills: Iterable[tuple[str, int]]) -> int:
    """Kill it at each of `kills`, then let it live; check it each time. Returns how many kills it met."""
    met = 0
    for point, nth in kills:
        ended = play(folder, point, nth)
        assert ended in (0, -signal.SIGKILL)
        met += ended != 0
        check(folder).close()
    assert play(folder) == 0
    reader = check(folder)
    ledger = reader.ledger()
    # Whatever it missed it has traded since: all events are held, and the first was paid out once.
    assert {one.event_ticker for one in ledger.positions.values()} == {
        event_of(n).event_ticker for n in (2, 3)
    }
    assert sorted(row["ticker"] for row in reader.settlements(10, 99)) == [
        f"{event_of(1).event_ticker}-{name}" for name in ("AWY", "HOM", "TIE")
    ]
    assert ledger.open == {}
    reader.close()
    return met


@pytest.mark.parametrize(("point", "nth"), POINTS)
def test_killed_at_any_step_it_goes_on_and_trades_nothing_twice(tmp_path: Path, point: str, nth: int) -> None:
    assert die_and_go_on(tmp_path, [(point, nth)]) == 1


def test_killed_again_and_again_it_ends_the_same(tmp_path: Path) -> None:
    """At random steps, many times more: make soak crash."""
    steps = [("after_commit", 2), ("placed", 2), ("before_commit", 4), ("arrived", 1), ("decided", 3)]
    assert die_and_go_on(tmp_path, steps) >= 1


def test_a_file_system_that_takes_no_more_halts_it_and_loses_nothing(tmp_path: Path) -> None:
    script(tmp_path, "", 0)
    largest = max(path.stat().st_size for path in (tmp_path / "data").iterdir())
    pid = os.fork()
    if pid == 0:
        # No file may grow beyond this from here on: the kernel's own refusal (EFBIG), as of a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest + 8_192, largest + 8_192))
        try:
            script(tmp_path, "", 0, events=range(4, 200))
            os._exit(0)
        except JournalError:
            os._exit(3)
        except BaseException:  # noqa: BLE001 - the copy of pytest in this process must never go on
            traceback.print_exc()
            os._exit(1)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
    check(tmp_path).close()
    assert play(tmp_path) == 0
    check(tmp_path).close()
