"""Orders of the last minute, and events that are left alone."""

from tests.trader.world import NOW_MS
from trader.engine.throttle import MINUTE_MS, Throttle


def test_a_minute_after_it_was_sent_an_order_counts_no_more() -> None:
    throttle = Throttle()
    throttle.sent(3, NOW_MS)
    throttle.sent(1, NOW_MS + 30_000)

    assert throttle.last_minute(NOW_MS + MINUTE_MS - 1) == 4
    assert throttle.last_minute(NOW_MS + MINUTE_MS) == 1
    throttle.sent(1, NOW_MS + MINUTE_MS)
    assert list(throttle.sent_ms) == [NOW_MS + 30_000, NOW_MS + MINUTE_MS]


def test_events_that_have_rested_are_forgotten() -> None:
    throttle = Throttle()
    throttle.rest("A", NOW_MS, NOW_MS + 10)
    throttle.rest("B", NOW_MS + 20, NOW_MS + 30)

    assert throttle.retry_at_ms == {"B": NOW_MS + 30}
