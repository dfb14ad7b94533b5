"""A ticker that is not listed: what was meant, what became of it, what is similar."""

import pytest

from bus.market_history import HistoryQuote, MarketHistory
from bus.protocol.state import State
from tests.ui.settled import SETTLED
from tests.ui.stage import MATCH, PAIR, fill, world
from ui.pages.missing import NEAR_MAX, missing, near, spelled

NOW_MS = 1_796_385_600_000


@pytest.fixture(scope="module")
def state() -> State:
    state = State(1)
    fill(state, world(NOW_MS))
    return state


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (f"{MATCH}-VAN".lower(), ("market", f"{MATCH}-VAN")),
        (f"  {MATCH}-Van ", ("market", f"{MATCH}-VAN")),
        (PAIR.lower(), ("event", PAIR)),
        (f"{PAIR}-NOP", ("market", f"{PAIR}-NOP")),
        ("KXFILL", None),
        ("vancouver", None),
        ("", None),
        ("\x00", None),
    ],
)
def test_a_ticker_is_found_in_any_case(state: State, text: str, meant: tuple[str, str] | None) -> None:
    assert spelled(state, text) == meant


def test_similar_tickers_come_from_the_same_event_first(state: State) -> None:
    found = [hit.ticker for hit in near(state, f"{MATCH}-VAX")]
    assert found[0] == MATCH
    assert set(found[1:]) == {f"{MATCH}-VAN", f"{MATCH}-HOU", f"{MATCH}-TIE"}
    assert found[1] == f"{MATCH}-VAN"


def test_a_misspelled_series_is_recognised(state: State) -> None:
    assert near(state, "KXMLSGMAE-26AUG19VANHOU")[0].ticker == MATCH
    assert near(state, "KXQQQQQQQQ-1") == ()
    assert near(state, "") == ()
    assert len(near(state, "KXFILL-7" + "A" * 10_000)) == NEAR_MAX


def test_a_gone_market_is_shown_by_its_last_quote_and_settlement(state: State) -> None:
    quotes = [HistoryQuote(NOW_MS - n, 9_800, 10_000, 100, 0, 9_900, 500, 100, "determined") for n in (9, 5)]
    past = MarketHistory(SETTLED.ticker, quotes, [], NOW_MS - 9, None, False, False, [], [])

    found = missing(state, "market", SETTLED.ticker.lower(), past, [SETTLED])
    assert found.was
    assert (found.last, found.settled) == (quotes[-1], (SETTLED,))
    assert found.near[0].ticker == MATCH  # of the same series

    of_event = missing(state, "event", SETTLED.event_ticker, None, [SETTLED])
    assert of_event.settled == (SETTLED,)
    nothing = missing(state, "market", "NOPE", None, [SETTLED])
    assert (nothing.was, nothing.near) == (False, ())
