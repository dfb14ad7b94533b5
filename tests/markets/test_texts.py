"""What UTF-8 cannot carry is replaced, and nothing else changes."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from markets.texts import carried, utf8


class Inner(msgspec.Struct, frozen=True):
    said: str
    count: int = 0


class Outer(msgspec.Struct, frozen=True):
    inner: Inner
    others: tuple[Inner, ...]
    by_name: dict[str, str]


@given(st.text(st.characters(codec="utf-8")))
def test_a_text_that_utf_8_carries_stays_as_it_is(text: str) -> None:
    assert utf8(text) == text


@given(st.lists(st.sampled_from(["a", "é", "😀", "\ud800", "\ud83d", "\ude00", "\udcff"])).map("".join))
def test_any_text_can_be_written_afterwards(text: str) -> None:
    assert utf8(utf8(text).encode().decode()) == utf8(text)


def test_half_a_character_is_replaced_and_two_halves_are_the_whole() -> None:
    assert utf8("st\udcf6p \ud83d\ude00 é") == "st\ufffdp 😀 é"


def test_every_text_of_a_value_is_replaced_and_the_rest_stays_itself() -> None:
    whole, half = Inner("a"), Inner("b\ud800", 2**70)

    found = carried(Outer(whole, (whole, half), {"k\udcff": "v"}))

    assert found == Outer(whole, (whole, Inner("b\ufffd", 2**70)), {"k\ufffd": "v"})
    assert found.inner is whole
    fine = Outer(whole, (), {})
    assert carried(fine) is fine
