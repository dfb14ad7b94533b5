"""The loss of the day on a bench: in the journal, through restarts, and decided again."""

import contextlib
import shutil
from pathlib import Path

from bus.trading import reasons
from bus.trading.shapes import PositionRow
from markets.opportunities import EventView
from markets.records import Status
from tests.trader.stand import Stand
from tests.trader.world import NOW_MS, event_of, leg, settled, view_of
from trader.engine.replay import replay
from trader.journal.reader import Reader
from trader.lineup import load_strategy
from trader.report import report

EVENT = event_of(9)
MINE = '''
from markets.orders import Proposal, Wanted
from trader.strategies import Quiet


class Ten(Quiet):
    """Buys once in a life: a single contract, as long as the source has not stood trial."""

    name = "ten"
    bought = False

    def wants(self, event):
        return event.event_ticker.endswith("E9")

    def on_update(self, update):
        if self.bought or not self.wants(update.view.event):
            return []
        self.bought = True
        wanted = Wanted(update.view.markets[0].market.ticker, "yes", 7_000, 1_000)
        return [Proposal(self.name, update.view.event.event_ticker, (wanted,), 1_000_000, 0.8)]
'''


def at(bid_e4: int, stand: Stand) -> EventView:
    bid, ask = (bid_e4, 5_000), (bid_e4 + 200, 5_000)
    return view_of(EVENT, leg(EVENT, "HOM", bid, ask, as_of_ms=stand.clock.now_ms()))


def empty(stand: Stand) -> EventView:
    return view_of(EVENT, leg(EVENT, "HOM", None, (6_500, 5_000), as_of_ms=stand.clock.now_ms()))


def standing(folder: Path, now_ms: int = NOW_MS, limit: str = "0.5") -> Stand:
    file = folder / "mine.py"
    file.write_text(MINE)
    values = folder / "mine.csv"
    values.write_text(f"ticker,probability,as_of\n{EVENT.event_ticker}-HOM,0.8,2027-01-15T08:00:00Z\n")
    env = {
        "KALSHI_BUS_LIMIT_DAILY_LOSS": limit,
        "KALSHI_BUS_STRATEGIES": f"{file}:Ten",
        "KALSHI_BUS_FAIR_VALUES_FILE": str(values),
    }
    return Stand(folder, env=env, now_ms=now_ms)


def holding(folder: Path) -> Stand:
    """A trader that bought a contract and then saw a bid of 60 cents for it."""
    stand = standing(folder, limit="250")
    stand.turns(6)
    stand.commit(at(6_800, stand))
    stand.turns(5)
    stand.commit(at(6_000, stand))
    stand.turns(15)
    assert len(stand.worker.engine.ledger.positions) == 1
    return stand


def said(stand: Stand) -> PositionRow:
    (row,) = report(stand.worker, stand.clock.now_ms(), 1, 1).positions
    return row


def killed(stand: Stand, folder: Path) -> Path:
    """A folder as a kill leaves it: what is not committed is gone."""
    folder.mkdir()
    shutil.copytree(stand.worker.around.journal_path.parent, folder / "data")
    return folder


def test_it_is_latched_through_a_restart_resumed_by_the_word_and_decided_again(tmp_path: Path) -> None:
    stand = standing(tmp_path)
    stand.turns(6)  # the fair values are read
    stand.commit(at(6_800, stand))
    stand.turns(5)
    assert len(stand.worker.engine.ledger.positions) == 1
    stand.commit(at(500, stand))
    stand.turns()
    assert stand.worker.state == reasons.DAILY_LOSS
    assert f"state:{reasons.DAILY_LOSS}" in stand.heard.events
    stand.close()

    stand = standing(tmp_path)
    stand.commit(at(6_800, stand))
    stand.turns(5)
    assert stand.worker.state == reasons.DAILY_LOSS  # though the bid is back
    stand.worker._command("resume", "UNLOCK")
    assert stand.worker.state == reasons.RUNNING
    stand.close()

    stand = standing(tmp_path)
    stand.commit(at(500, stand))
    stand.turns()
    # The loss since the resume, at which the position stood at 68 cents.
    assert stand.worker.engine.worth.lost_today_e6() == 630_000
    assert stand.worker.state == reasons.DAILY_LOSS
    stand.close()

    with contextlib.closing(Reader(stand.worker.around.journal_path)) as reader:
        again = [replay(reader.inputs(session), load_strategy) for session in reader.sessions()]
    assert [one.differs_at for one in again] == [None] * 3


def test_after_a_restart_the_last_good_bid_stands_and_the_loss_counts_as_before(tmp_path: Path) -> None:
    stand = holding(tmp_path)
    lost_e6, row = stand.worker.engine.worth.lost_today_e6(), said(stand)
    assert (row.bid_dollars, row.mark_age_seconds) == ("0.6000", None)
    stand.close()

    again = standing(tmp_path, stand.clock.now_ms() + 5_000, limit="250")
    again.turns(3)  # nothing of it has been seen yet
    assert again.worker.engine.worth.lost_today_e6() == lost_e6
    row = said(again)
    assert (row.bid_dollars, row.expected_from) == ("0.6000", ("file",))
    assert row.mark_age_seconds is not None
    again.close()


def test_time_without_a_bid_goes_on_counting_through_a_kill(tmp_path: Path, short_dir: Path) -> None:
    stand = holding(tmp_path)
    (lot,) = stand.worker.engine.ledger.lots[f"{EVENT.event_ticker}-HOM"].values()
    at_bid_e6 = stand.worker.engine.worth.least_profit_e6()
    stand.commit(empty(stand))
    stand.turns(90, ms=1_000)
    assert stand.worker.engine.worth.least_profit_e6() == at_bid_e6
    folder = killed(stand, short_dir / "killed")
    stand.close()

    again = standing(folder, stand.clock.now_ms() + 20_000, limit="250")
    again.commit(empty(again))
    again.turns(5, ms=1_000)
    age = said(again).mark_age_seconds
    assert age is not None
    assert 114 <= age <= 117
    assert again.worker.engine.worth.least_profit_e6() == at_bid_e6
    again.turns(6, ms=1_000)
    assert again.worker.engine.worth.least_profit_e6() == at_bid_e6 - 6_000 * lot.count_e2 // 2
    again.turns(480, ms=1_000)
    assert again.worker.engine.worth.least_profit_e6() == at_bid_e6 - 6_000 * lot.count_e2
    again.close()

    with contextlib.closing(Reader(again.worker.around.journal_path)) as reader:
        decided = [replay(reader.inputs(session), load_strategy) for session in reader.sessions()]
    assert [one.differs_at for one in decided] == [None, None]


def test_a_result_that_was_determined_counts_after_a_restart_before_it_is_seen_again(tmp_path: Path) -> None:
    stand = holding(tmp_path)
    stand.commit(settled(at(6_000, stand), "HOM", Status.DETERMINED))
    stand.turns(15)
    assert (said(stand).bid_dollars, said(stand).determined) == ("1.0000", True)
    least_e6 = stand.worker.engine.worth.least_profit_e6()
    stand.close()

    again = standing(tmp_path, stand.clock.now_ms() + 3_600_000, limit="250")
    again.turns(3)
    assert (said(again).bid_dollars, said(again).determined) == ("1.0000", True)
    assert again.worker.engine.worth.least_profit_e6() == least_e6
    again.close()
