"""Collections whose copies share what does not differ: held against dict and sorted list."""

from hypothesis import given
from hypothesis import strategies as st

from snapshot_server.shared import BLOCK, SHARD, SharedDict, SharedOrder, changes

KEYS = st.integers(0, 400).map(str)
CHANGES = st.lists(st.tuples(KEYS, st.one_of(st.none(), st.integers())), max_size=60)


def no_pause() -> None:
    pass


@given(st.dictionaries(KEYS, st.integers()), st.lists(CHANGES, max_size=5), st.integers(0, 40 * SHARD))
def test_a_shared_dict_is_a_dict_and_its_copies_leave_it_alone(
    first: dict[str, int], rounds: list[list[tuple[str, int | None]]], size: int
) -> None:
    shared, plain = SharedDict.of(first, no_pause), dict(first)
    held: list[tuple[SharedDict[int], dict[str, int]]] = []
    for round_ in rounds:
        held.append((shared, plain))
        shared, plain = shared.copy(no_pause, size), plain.copy()
        for key, value in round_:
            if value is not None:
                shared[key] = plain[key] = value
            else:
                assert shared.pop(key, None) == plain.pop(key, None)
    for old, before in held:
        found = dict(changes(shared, old))
        assert {key: value for key, value in found.items() if value is not None} == {
            key: value for key, value in plain.items() if before.get(key) is not value
        }
        assert {key for key, value in found.items() if value is None} == before.keys() - plain.keys()
    for copy, expected in (*held, (shared, plain)):
        assert copy == expected
        assert len(copy) == len(expected)
        assert set(copy) == set(copy.keys()) == set(expected)
        assert sorted(copy.items()) == sorted(expected.items())
        assert sorted(copy.values()) == sorted(expected.values())
        assert all(copy.get(key) == expected.get(key) for key in map(str, range(400)))
        assert all((key in copy) == (key in expected) for key in map(str, range(400)))


def test_a_shared_dict_that_outgrows_its_shards_gets_more_and_pauses_meanwhile() -> None:
    pauses: list[None] = []
    many = {str(number): number for number in range(100 * SHARD)}
    grown = SharedDict[int](1)
    grown.fill(many, no_pause)
    copy = grown.copy(lambda: pauses.append(None))
    assert copy == many == grown
    assert len(copy.shards()) > len(grown.shards())
    assert max(map(len, copy.shards())) < 4 * SHARD
    assert pauses


def test_a_copy_lives_on_when_the_one_before_is_let_go_of() -> None:
    many = {str(number): number for number in range(100 * SHARD)}
    first = SharedDict.of(many, no_pause)
    second = first.copy(no_pause)
    pauses: list[None] = []
    first.release(lambda: pauses.append(None))
    assert (len(first), dict(first), dict(second)) == (0, {}, many)
    assert pauses


@given(
    st.sets(st.integers(0, 3_000), max_size=3_000),
    st.lists(st.tuples(st.sets(st.integers(0, 3_000)), st.sets(st.integers(0, 3_000))), max_size=4),
)
def test_a_shared_order_is_a_sorted_list(first: set[int], rounds: list[tuple[set[int], set[int]]]) -> None:
    order, plain = SharedOrder.of(first), set(first)
    for gone, come in rounds:
        before, expected = order, sorted(plain)
        order, plain = order.exchanged(gone, come, no_pause), plain - gone | come
        assert before == expected
    expected = sorted(plain)
    assert order == expected
    assert [order[index] for index in range(-len(order), len(order))] == expected * 2
    for start in range(0, len(expected), 7):
        assert order[start : start + 500] == expected[start : start + 500]
    assert order[::-1] == expected[::-1]


def test_a_block_of_an_order_that_grows_is_split() -> None:
    order = SharedOrder.of(range(0, 100 * BLOCK, 100))
    for start in range(1, 90):
        order = order.exchanged((), range(start, start + 1_000, 100), no_pause)
    assert order == sorted(order)
    start_ns = len(order)
    assert order[start_ns - 1] == 100 * BLOCK - 100
