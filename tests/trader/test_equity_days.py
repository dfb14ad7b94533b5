"""The equity curve by days is that of its points."""

from hypothesis import given
from hypothesis import strategies as st

from markets.units import DAY_MS, format_money
from trader.attribution import day_of
from trader.equity_days import EquityDays

points_of = st.lists(st.tuples(st.integers(0, 20), st.integers(-(10**9), 10**9)), max_size=40)


@given(points_of, st.integers(0, 6), st.integers(0, 6))
def test_the_largest_fall_is_that_of_all_points_also_across_days(
    steps: list[tuple[int, int]], first: int, days: int
) -> None:
    now_ms, points = 0, []
    for number, (hours, equity_e6) in enumerate(steps, 1):
        now_ms += hours * 3_600_000
        points.append((number, now_ms, equity_e6))
    found = EquityDays()
    for point in points:
        found.take([point])
    begin, end = day_of(first * DAY_MS), day_of((first + days) * DAY_MS)
    within = [equity_e6 for _, time_ms, equity_e6 in points if begin <= day_of(time_ms) <= end]
    falls = [later - before for i, before in enumerate(within) for later in within[i:]]

    assert found.drawdown_e6(begin, end) == (min(falls) if falls else None)
    rows = found.within(begin, end)
    assert [row.last_dollars for row in rows[-1:]] == [format_money(dollars) for dollars in within[-1:]]
    assert found.read_to == len(points)
