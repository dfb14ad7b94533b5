"""Rates and latencies."""

import pytest

from trader.figures import LATENCIES_KEPT, Latencies, Rate


def test_a_rate_is_that_of_the_last_ten_seconds() -> None:
    rate = Rate()
    assert rate.per_second == 0
    rate.note(0, 1_000)
    assert rate.per_second == 0
    for second in range(1, 31):
        rate.note(second * 1_000, 1_000 + 7 * second if second > 15 else 1_000)

    assert rate.per_second == pytest.approx(7)


def test_percentiles_are_those_of_the_last_latencies() -> None:
    latencies = Latencies()
    assert latencies.percentiles_ms(50, 99) == [None, None]
    for taken_us in range(10_000):
        latencies.note(taken_us * 1_000)

    assert len(latencies) == LATENCIES_KEPT
    assert latencies.percentiles_ms(50, 99, 100) == [9.5, 9.99, 9.999]
    assert latencies.last_ns == 9_999_000
