"""What the front keeps of editions: the parts shown and no others, whatever is still to be settled."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.protocol.memory import Keeping, Packed
from bus.protocol.messages import decode_chunk, encode_chunk
from bus.protocol.state import State
from snapshot_server.edition import Edition, next_edition
from snapshot_server.front import parts, templates
from snapshot_server.front.parts import Shelf
from tests.snapshot_server.front.tables import (
    COLD,
    NUMBER,
    answered,
    cold_table,
    expected,
    request,
    tell_parts,
    whole,
)
from tests.snapshot_server.venue import a_catalogue, a_writer
from tests.snapshot_server.views import NOW_MS, WRITER, edition_of, view_of

TRUTH = WRITER.state
KEYS = st.integers(0, 30).map(str)
CHANGES = st.dictionaries(KEYS, st.one_of(st.none(), st.binary(max_size=2)))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("coming"), CHANGES),
        st.tuples(st.just("show"), st.none()),
        st.tuples(st.just("told late"), st.lists(KEYS)),
        st.tuples(st.just("settle"), st.integers(1, 50)),
    ),
    max_size=30,
)


@given(STEPS)
def test_a_shelf_has_what_is_shown_however_much_of_it_has_settled(steps: list[tuple[str, Any]]) -> None:
    shelf, shown, coming = Shelf(), dict[str, bytes](), dict[str, bytes | None]()
    for step, given_ in steps:
        if step == "coming":
            shelf.put(dict(given_), coming=True)
            coming.update(given_)
        elif step == "show":
            shelf.show()
            for key, part in coming.items():
                shown.pop(key, None)
                if part is not None:
                    shown[key] = part
            coming = {}
        elif step == "told late":
            shelf.put({key: shown[key] for key in given_ if key in shown}, coming=False)
        else:
            left = shelf.settle(given_)
            assert 0 <= left <= given_
        for key in map(str, range(31)):
            assert shelf.get(key) == shown.get(key)
    shelf.settle(10_000)
    assert shelf._settled == shown
    assert not shelf._layers


def kept(keeping: Keeping | None) -> State:
    """The state of a replica that has joined."""
    state = State(NOW_MS, keeping)
    with state.lock:
        for topic in TRUTH.streams:
            for chunk in TRUTH.chunk(topic):
                state.put_chunk(decode_chunk(encode_chunk(chunk)))
        state.set_cycle(TRUTH.cycle, {})
    state.seq = TRUTH.seq
    return state


def edition_from(state: State) -> Edition:
    return next_edition(state.frozen(), state.digest(), None, NOW_MS, lambda: None)


@pytest.mark.parametrize(
    "keeping",
    [None, Keeping(), Packed(sample_bytes=20_000), Packed()],
    ids=["plain", "shared", "packed", "waits"],
)
def test_markets_are_told_as_they_are_kept_and_answered_as_they_came(keeping: Keeping | None) -> None:
    edition, truth = edition_from(kept(keeping)), view_of(edition_from(TRUTH))
    table = cold_table(edition)
    for ticker in edition.tickers:
        for path in COLD:
            names = {"ticker": ticker, "other": edition.tickers[0], "event": "none"}
            asked = request(path.format(**names, first=ord(ticker[0]), rest=ticker[1:]))
            answer = table.answer(asked, NOW_MS + 700, 0.0)
            assert whole(answer) == expected(answered(asked, truth, NOW_MS + 700))


def test_an_edition_that_changed_little_is_told_in_little() -> None:
    edition = edition_from(TRUTH)
    assert not list(parts.changed(edition, edition))
    told = [(kind, key) for kind, slice_ in parts.everything(edition) for key in slice_]
    assert len(told) == len(set(told)) >= 2 * len(edition.tickers)


def test_a_new_epoch_replaces_all_parts() -> None:
    old = edition_from(TRUTH)
    catalogue = a_catalogue(100, NOW_MS + 9)
    new = edition_of(a_writer(catalogue, NOW_MS + 9, NOW_MS + 9), old, NOW_MS + 9)
    table, number = cold_table(old), NUMBER + 1
    tell_parts(table, number, parts.changed(new, old), None)
    table.take(templates.shown(number, new), 0.0)
    for ticker in old.tickers:
        asked = request(f"/markets?tickers={ticker}")
        answer = table.answer(asked, NOW_MS + 10, 0.0)
        if ticker in new.moving:
            assert whole(answer) == expected(answered(asked, view_of(new), NOW_MS + 10))
        else:
            assert answer is None
