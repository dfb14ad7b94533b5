"""What a journal in memory returns to the next session."""

import msgspec

from laboratory.memory_journal import MemoryJournal
from markets.orders import OrderState
from tests.trader.ledger.builders import intent
from trader.engine.inputs import Tick
from trader.engine.outputs import Booked, Cancel, DailyLoss, Day, Place


def test_a_latched_daily_loss_outlives_a_session_until_the_next_day() -> None:
    journal, tick = MemoryJournal(1_000_000), Tick(0, 0)
    journal.write(tick, [Day(5, 0), DailyLoss(5, -7, latched=True)])
    again = journal.recover()
    assert (again.day, again.loss_base_e6, again.loss_latched) == (5, -7, True)
    journal.write(tick, [Day(6, -9)])
    again = journal.recover()
    assert (again.day_start_e6, again.loss_base_e6, again.loss_latched) == (-9, None, False)


def test_the_next_session_hears_what_is_known_of_open_orders_and_whose_end_was_asked_for() -> None:
    journal, tick = MemoryJournal(1_000_000), Tick(0, 0)
    for number in (1, 2, 3):
        journal.write(tick, [Place(intent(number))])
        journal.ledger.place(msgspec.structs.replace(intent(number), time_in_force="gtc"))
    sent, rests = (2, OrderState.SENT, ""), (1, OrderState.RESTING, "")
    for number, state, reason in (sent, rests):
        journal.write(tick, [Booked(number, state, reason, (), 0)])
    journal.write(tick, [Cancel(1, "expired")])
    again = journal.recover()
    assert (again.known, again.cancelling) == ((rests, sent), (1,))
    assert again.places == {1: None}  # the others have not arrived
    journal.write(tick, [Booked(1, OrderState.CANCELLED, "cancelled", (), 0)])
    again = journal.recover()
    assert (again.known, again.cancelling, again.places) == ((sent,), (), {})
