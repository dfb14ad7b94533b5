"""The ages of messages on arrival: those of the last minute, bounded in number."""

from ui.arrivals import SAMPLES, Arrivals

MS = 1_000_000


def test_ages_cover_the_last_minute() -> None:
    arrivals = Arrivals()
    assert arrivals.ages(0).p50_ms is None
    arrivals.add(0, -900 * MS)  # old by the time of the question
    for number in range(100):
        arrivals.add(60_001 * MS, (60_001 - number) * MS)
    found = arrivals.ages(60_001 * MS)
    assert (found.count, found.p50_ms, found.p99_ms) == (100, 50.0, 99.0)
    for _ in range(SAMPLES + 1):
        arrivals.add(60_001 * MS, 60_001 * MS)
    assert arrivals.ages(60_001 * MS).count == SAMPLES
