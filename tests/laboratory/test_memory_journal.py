"""What a journal in memory returns to the next session."""

from laboratory.memory_journal import MemoryJournal
from trader.engine.inputs import Tick
from trader.engine.outputs import DailyLoss, Day


def test_a_latched_daily_loss_outlives_a_session_until_the_next_day() -> None:
    journal, tick = MemoryJournal(1_000_000), Tick(0, 0)
    journal.write(tick, [Day(5, 0), DailyLoss(5, -7, latched=True)])
    again = journal.recover()
    assert (again.day, again.loss_base_e6, again.loss_latched) == (5, -7, True)
    journal.write(tick, [Day(6, -9)])
    again = journal.recover()
    assert (again.day_start_e6, again.loss_base_e6, again.loss_latched) == (-9, None, False)
