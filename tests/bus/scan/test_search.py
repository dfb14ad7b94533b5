"""Search finds what one types, also mistyped, and is the same whichever way its parts came to be."""

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.protocol.state import State
from bus.scan.search import (
    BUCKETS,
    EVENT,
    LIMIT_MAX,
    LINE_MAX,
    MARKET,
    SERIES,
    TEXT_MAX,
    IndexPart,
    SearchHit,
    SearchIndex,
    fold,
    named,
    parse_search,
    title_of,
)
from markets.errors import BadRecord
from tests.ui.stage import DULL, MATCH, PAIR, fill, world

EMPTY = SearchIndex.of(State())


def index() -> SearchIndex:
    state = State(1)
    fill(state, world(1_800_000_000_000))
    return SearchIndex.of(state)


def found(query: str, limit: int = 50) -> list[str]:
    return [hit.ticker for hit in index().find(query, limit).hits]


def of_lines(*texts: str) -> SearchIndex:
    """An index of events with these titles, spread over buckets."""
    hits = [(SearchHit(EVENT, f"KX{number}"), f"KX{number} {text}") for number, text in enumerate(texts)]
    return SearchIndex().moved({number: IndexPart([line]) for number, line in enumerate(hits)})


def test_the_exact_ticker_comes_first_whatever_its_case() -> None:
    assert found(f"{MATCH}-tie")[0] == f"{MATCH}-TIE"
    assert found(MATCH)[0] == MATCH
    assert index().find("kxmlsgame", 1).hits == (SearchHit(SERIES, "KXMLSGAME"),)


def test_all_words_must_occur_in_any_order() -> None:
    assert set(found("chicago orleans")) == {PAIR, f"{PAIR}-NOP", f"{PAIR}-CHI"}
    assert found("chicago vancouver") == []


def test_accents_do_not_matter() -> None:
    assert found("atletico 7") == found("ATLÉTICO 7") != []


def test_nothing_and_separators_find_nothing() -> None:
    assert found("") == found(" \n ") == []
    assert found("zzz") == []
    assert EMPTY.find("x", 5).hits == ()


def test_the_number_of_hits_is_bounded() -> None:
    assert len(found("plain", 7)) == 7


def test_titles_of_other_lines_do_not_match_together() -> None:
    assert found(f"{DULL.lower()}\n{MATCH.lower()}") == []


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("Trmup", "trump"), ("bitcon", "bitcoin"), ("bostn", "boston"), ("chcago", "chicago"),
        ("temprature", "temperature"), ("tempreatuer", "temperature"), ("ATLETIKO", "atletico"),
    ],
)  # fmt: skip
def test_a_typing_error_is_forgiven_and_said(typed: str, meant: str) -> None:
    made = of_lines(
        "Trump 2028", "Bitcoin price", "Boston at Chicago", "Highest temperature", "Atlético", "Trumpet"
    )

    answer = made.find(f"{typed}", 5)
    assert answer.read_as == {fold(typed): (meant,)}
    assert answer.hits == made.find(meant, 5).hits != ()


def test_short_words_and_words_that_are_held_are_taken_as_they_are() -> None:
    made = of_lines("Cat", "Car race", "Trumpet")

    assert made.find("cas", 5).hits == ()
    assert made.find("trump", 5).read_as == {}, "it begins another word"
    assert made.find("trumpxyz", 5).hits == ()


def test_one_mistyped_word_of_several_is_read_with_the_others() -> None:
    made = of_lines("Boston at Chicago", "Boston at Denver", "Denver at Chicago")

    answer = made.find("bostno chicago", 5)
    assert [hit.ticker for hit in answer.hits] == ["KX0"]
    assert answer.read_as == {"bostno": ("boston",)}


def test_of_what_is_found_equally_well_the_busiest_comes_first() -> None:
    made = of_lines("Boston at Chicago", "Boston at Denver", "Boston at Miami")

    traded = {"KX2": 5, "KX1": 9}
    hits = made.find("boston", 2, lambda hit: traded.get(hit.ticker, 0)).hits
    assert [hit.ticker for hit in hits] == ["KX1", "KX2"]


ALPHABET = "ab -é\n"
TEXTS = st.lists(st.text(ALPHABET, max_size=12), max_size=12)


@settings(max_examples=60)
@given(TEXTS, st.text(ALPHABET, max_size=6), st.randoms(use_true_random=False))
def test_an_index_moved_part_by_part_finds_what_a_plain_look_does(
    texts: list[str], query: str, order: random.Random
) -> None:
    lines = [(SearchHit(MARKET, f"T{n}"), f"T{n} {text}") for n, text in enumerate(texts)]
    made = SearchIndex()
    parts = list(enumerate(lines))
    order.shuffle(parts)
    for number, line in parts:
        made = made.moved({number: IndexPart([(line[0], "T0 stale")])})
        made = made.moved({number: IndexPart([line])})

    words = fold(query).split()
    folded = {hit.ticker: fold(text).replace("\n", " ") for hit, text in lines}
    held = {ticker for ticker, line in folded.items() if words and all(word in line for word in words)}
    answer = made.find(query, 100)
    if held:
        assert {hit.ticker for hit in answer.hits} == held
        assert answer.read_as == {}
    else:
        assert all(word not in "\n".join(folded.values()) for word in answer.read_as)


@settings(max_examples=200)
@given(st.text(max_size=40))
def test_any_text_can_be_searched_for(query: str) -> None:
    assert len(index().find(query, 5).hits) <= 5


def test_a_title_of_ten_thousand_characters_makes_no_line_long() -> None:
    state = State(1)
    fill(state, world(1_800_000_000_000, fillers=1))
    number = next(iter(state.events))
    event = state.events[number]
    state.events[number] = msgspec.structs.replace(event, title="x" * 10_000, category="y" * 10_000)

    made = SearchIndex.of(state)
    assert max(len(bucket.text) for bucket in made._buckets) < 10 * LINE_MAX
    assert len(made._buckets) == BUCKETS


def test_a_query_has_a_text_and_a_limit() -> None:
    assert parse_search([], 20) == ("", 20)
    assert parse_search([("q", "  a\u202eb "), ("limit", ""), ("q", "c")], 20) == ("ab", 20)
    assert parse_search([("limit", str(LIMIT_MAX)), ("q", "x" * TEXT_MAX)], 20) == ("x" * TEXT_MAX, LIMIT_MAX)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Q", "a"),
        ("q", "x" * (TEXT_MAX + 1)),
        *(("limit", text) for text in ("0", "-1", "1.5", "٣", str(LIMIT_MAX + 1), "9" * 99)),
    ],
)
def test_a_query_that_is_wrong_is_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(BadRecord, match=f"^{name}: "):
        parse_search([(name, text)], 20)


def test_what_is_found_has_a_title_whatever_it_is() -> None:
    state = State(1)
    fill(state, world(1_800_000_000_000))
    market = state.markets[f"{MATCH}-TIE"]
    event = state.events[MATCH]

    assert title_of(state, SearchHit(MARKET, market.ticker)) == (market.title, market.yes_sub_title)
    assert title_of(state, SearchHit(EVENT, MATCH)) == (event.title, event.sub_title)
    assert title_of(state, SearchHit(SERIES, event.series_ticker))[0]
    for kind in (MARKET, EVENT, SERIES):
        assert title_of(state, SearchHit(kind, "GONE")) == ("GONE", "")


def test_the_index_takes_what_one_would_type_of_each_record() -> None:
    state = State(1)
    fill(state, world(1_800_000_000_000))

    assert MATCH in (named(state, "market", f"{MATCH}-TIE") or ())
    assert state.events[MATCH].title in (named(state, "event", MATCH) or ())
    assert named(state, "series", state.events[MATCH].series_ticker)
    assert [named(state, kind, "GONE") for kind in ("market", "event", "series", "quote")] == [None] * 4
