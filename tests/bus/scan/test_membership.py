"""However it came about, the same members give the same groups, and a group once given out never changes."""

from hypothesis import given
from hypothesis import strategies as st

from bus.protocol.state import State
from bus.scan.membership import Membership, events_of, market_view, moves_of, regroup
from markets.records import Milestone, Remove
from tests.ui.stage import MATCH, PAIR, fill, milestone, world

NOW_MS = 1_800_000_000_000
groups_of = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("XYZ"), max_size=6)


@given(st.lists(groups_of, max_size=5))
def test_moves_give_what_grouping_anew_would(history: list[dict[str, str]]) -> None:
    groups: dict[str, tuple[str, ...]] = {}
    known: dict[str, str] = {}
    for wanted in history:
        before = dict(groups)
        touched = regroup(groups, [(m, known.get(m), wanted.get(m)) for m in known | wanted])

        anew = {group: tuple(sorted(m for m in wanted if wanted[m] == group)) for group in wanted.values()}
        assert groups == anew
        assert touched >= {group for group in before | groups if before.get(group) != groups.get(group)}
        known = wanted


@given(st.sets(st.sampled_from("XYZ")), st.sets(st.sampled_from("XYZ")))
def test_a_member_of_several_groups_leaves_and_enters_only_what_differs(
    before: set[str], after: set[str]
) -> None:
    groups: dict[str, tuple[str, ...]] = dict.fromkeys(before, ("m",))

    regroup(groups, moves_of("m", before, after))

    assert groups == dict.fromkeys(after, ("m",))


def test_long_work_pauses() -> None:
    pauses: list[None] = []

    regroup({}, ((f"m{n}", None, f"g{n}") for n in range(2_000)), lambda: pauses.append(None))

    assert len(pauses) == 4


def test_a_milestone_belongs_to_each_event_that_it_names() -> None:
    named = milestone("m1", MATCH, NOW_MS)
    assert isinstance(named, Milestone)
    assert MATCH in events_of(named)
    assert events_of(None) == ()


def test_a_milestone_that_is_renamed_or_goes_moves_the_times_of_its_events() -> None:
    state, membership = State(1), Membership()
    fill(state, world(NOW_MS, fillers=0))
    membership.rebuild(state)
    for changes in (
        [("ref.", "milestone", [milestone("m9", PAIR, NOW_MS + 5)])],
        [("ref.", "milestone", [milestone("m9", MATCH, NOW_MS + 5)])],
        [("ref.", "remove", [Remove("milestone", "m9")])],
    ):
        touched = {
            event for kind, key in fill(state, changes) for event in membership.update(state, kind, key)
        }
        fresh = Membership()
        fresh.rebuild(state)
        assert touched <= {MATCH, PAIR}
        for event in (MATCH, PAIR):
            assert membership.view(state, event, NOW_MS) == fresh.view(state, event, NOW_MS)


def test_a_quote_is_vouched_for_if_it_was_seen_since_every_change_is_heard() -> None:
    state = State(1)
    fill(state, world(NOW_MS, fillers=0))
    ticker = f"{PAIR}-NOP"

    def vouched(since_ms: int | None) -> bool:
        state.stream_since_ms = since_ms
        seen = market_view(state, ticker)
        assert seen is not None
        assert state.frozen().stream_since_ms == since_ms
        return seen.vouched

    as_of_ms = state.quote_as_of_ms(ticker)
    assert as_of_ms is not None
    assert [vouched(since) for since in (None, as_of_ms - 1, as_of_ms, as_of_ms + 1)] == [
        False, True, True, False,
    ]  # fmt: skip
