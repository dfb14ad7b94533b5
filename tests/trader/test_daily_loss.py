"""The loss of the day on a bench: in the journal, through restarts, and decided again."""

import contextlib
from pathlib import Path

from bus.trading import reasons
from markets.opportunities import EventView
from tests.trader.stand import Stand
from tests.trader.world import event_of, leg, view_of
from trader.engine.replay import replay
from trader.journal.reader import Reader
from trader.lineup import load_strategy

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


def standing(folder: Path) -> Stand:
    file = folder / "mine.py"
    file.write_text(MINE)
    values = folder / "mine.csv"
    values.write_text(f"ticker,probability,as_of\n{EVENT.event_ticker}-HOM,0.8,2027-01-15T08:00:00Z\n")
    env = {
        "KALSHI_BUS_LIMIT_DAILY_LOSS": "0.5",
        "KALSHI_BUS_STRATEGIES": f"{file}:Ten",
        "KALSHI_BUS_FAIR_VALUES_FILE": str(values),
    }
    return Stand(folder, env=env)


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
