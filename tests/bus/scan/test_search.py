"""Search finds what one types."""

from bus.protocol.state import State
from bus.scan.search import SearchIndex
from tests.ui.stage import DULL, MATCH, PAIR, fill, world


def index() -> SearchIndex:
    state = State(1)
    fill(state, world(1_800_000_000_000))
    return SearchIndex(state)


def test_the_exact_ticker_comes_first_whatever_its_case() -> None:
    assert index().find(f"{MATCH}-tie", 5)[0].ticker == f"{MATCH}-TIE"
    assert index().find(MATCH, 9)[0].ticker == MATCH


def test_all_words_must_occur_in_any_order() -> None:
    hits = index().find("chicago orleans", 20)

    assert {hit.ticker for hit in hits} == {PAIR, f"{PAIR}-NOP", f"{PAIR}-CHI"}
    assert index().find("chicago vancouver", 20) == []


def test_accents_do_not_matter() -> None:
    assert index().find("atletico 7", 50) == index().find("ATLÉTICO 7", 50) != []


def test_nothing_and_separators_find_nothing() -> None:
    assert index().find("", 5) == index().find(" \n ", 5) == []
    assert index().find("zzz", 5) == []
    assert SearchIndex(State()).find("x", 5) == []


def test_the_number_of_hits_is_bounded() -> None:
    assert len(index().find("plain", 7)) == 7


def test_titles_of_other_lines_do_not_match_together() -> None:
    assert index().find(f"{DULL.lower()}\n{MATCH.lower()}", 5) == []
