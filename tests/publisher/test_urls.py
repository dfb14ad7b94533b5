"""Lists of tickers, cut to what fits into a URL."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from publisher.urls import (
    EVENTS_PER_PAGE,
    MARKETS_PER_SLICE,
    SLICE_URL_BUDGET,
    URL_BUDGET,
    batches,
    created_markets,
    open_events,
    slices,
)


def test_slices_hold_every_event_once_within_the_bounds_of_a_request() -> None:
    random = Random(1)
    events = {f"KX{'E' * random.randrange(5, 40)}-{n}": random.randrange(1, 400) for n in range(3_000)}

    found = list(slices(events))

    assert sorted(ticker for part in found for ticker in part) == sorted(events)
    for part in found:
        assert len(part) <= EVENTS_PER_PAGE
        assert sum(map(len, part)) <= SLICE_URL_BUDGET
        assert len(part) == 1 or sum(events[ticker] for ticker in part) <= MARKETS_PER_SLICE


@given(st.lists(st.text("A-", min_size=1, max_size=200), max_size=200), st.integers(1, 100))
def test_batches_hold_all_in_order_within_the_bounds_of_a_request(tickers: list[str], limit: int) -> None:
    found = list(batches(tickers, limit))

    assert [ticker for batch in found for ticker in batch] == tickers
    assert all(0 < len(batch) <= limit for batch in found)
    assert all(len(",".join(batch)) <= URL_BUDGET for batch in found)


def test_a_list_is_narrowed_to_a_series_and_goes_on_at_a_cursor() -> None:
    assert open_events() == [("status", "open"), ("limit", 200)]
    assert open_events(nested=True, series="S", cursor="c")[-2:] == [("series_ticker", "S"), ("cursor", "c")]
    assert ("series_ticker", "S") in created_markets(7, "S")
    assert created_markets(7)[1] == ("min_created_ts", 7)
