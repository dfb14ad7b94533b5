"""What is held is worth its bid, of the side that is held."""

import msgspec

from markets.orders import Fill
from markets.records import Status
from tests.trader.ledger.test_ledger import intent
from tests.trader.world import NOW_MS, event_of, leg, view_of
from trader.engine.worth import Worth
from trader.ledger.ledger import Ledger


def test_a_bid_for_one_side_says_nothing_of_the_other() -> None:
    event = event_of()
    view = view_of(event, leg(event, "HOM", (4_000, 500), (4_200, 500)))
    ticker = view.markets[0].market.ticker
    ledger = Ledger.new(1_000_000_000)
    worth = Worth(ledger)
    for number, side, count_e2 in ((1, "yes", 100), (2, "no", 300)):
        order = intent(number, ticker, side, 6_000, count_e2)
        ledger.place(msgspec.structs.replace(order, event_ticker=event.event_ticker, trade=number))
    ledger.fill(1, Fill(4_200, 100, 0, 500, NOW_MS))
    worth.mark(view)
    assert worth.value_e6() == 4_000 * 100

    closed = leg(event, "HOM", None, None, status=Status.CLOSED)
    ledger.fill(2, Fill(6_000, 300, 0, 500, NOW_MS))  # heard of after the market has closed
    worth.mark(view_of(event, closed))

    assert worth.value_e6() is None
    worth.mark(view)
    assert worth.value_e6() == (10_000 - 4_200) * 200
