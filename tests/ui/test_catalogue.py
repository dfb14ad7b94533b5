"""A catalogue updated change by change equals one built from scratch."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.clock import ManualClock
from bus.protocol.state import State
from bus.scan.scans import Scan
from bus.scan.search import EVENT, MARKET, SERIES, SearchHit
from markets.records import Remove
from tests.bus.scan.changes import batch_with
from tests.ui.stage import event, fill, market, quote, series
from ui.catalogue import INDEX_NS, MarketCatalogue
from ui.pages.explore import UNKNOWN, Columns

NOW_MS = 1_790_000_000_000


class Kept:
    """A catalogue, and the state that it covers."""

    def __init__(self) -> None:
        self.state = State(1)
        self.markets_of: dict[str, tuple[str, ...]] = {}
        self.catalogue = MarketCatalogue(ManualClock(), lambda: self.markets_of)
        self._now_ns = 1

    def take(self, changes: list[tuple[str, str, list[object]]], *, whole: bool = False) -> None:
        records = fill(self.state, changes)  # type: ignore[arg-type]
        frozen = self.state.frozen()
        groups: dict[str, list[str]] = {}
        for ticker, one in frozen.markets.items():
            groups.setdefault(one.event_ticker, []).append(ticker)
        self.markets_of = {name: tuple(sorted(tickers)) for name, tickers in groups.items()}
        self._now_ns += INDEX_NS
        self.catalogue.offer(Scan(frozen, NOW_MS), batch_with(() if whole else tuple(records), whole=whole))
        self.catalogue.update(self._now_ns)


def told(kept: Kept) -> tuple[object, ...]:
    """Return the whole content of a catalogue, sorted."""
    shelf = kept.catalogue.latest
    columns = shelf.columns
    numbers = {
        ticker: {key: column[place] for key, column in columns._numbers.items()}
        for ticker, place in columns.place_of.items()
    }
    lines = sorted(
        (hit, bucket.line(number))
        for bucket in shelf.index._buckets
        for number, hit in enumerate(bucket.hits)
    )
    tree = shelf.tree
    return (
        numbers, lines, columns.event_volume_e2, columns.series_volume_e2, dict(shelf.index._used),
        sorted(map(repr, tree.categories)), {name: sorted(map(repr, of)) for name, of in tree.series.items()},
        tree.events, tree.whole,
    )  # fmt: skip


NAMES = st.sampled_from(["KXA-1", "KXA-2", "KXB-1", "KXC"])
CATEGORIES = st.sampled_from(["Sports", "", "World", "\u202e x"])
STEPS = st.one_of(
    st.tuples(st.just("event"), NAMES, st.sampled_from(["Boston", "Denver at Boston", ""]), CATEGORIES),
    st.tuples(st.just("market"), NAMES, st.sampled_from("XY"), st.sampled_from(["Up", "Down"])),
    st.tuples(st.just("quote"), NAMES, st.sampled_from("XY"), st.integers(0, 9_000)),
    st.tuples(st.just("series"), st.sampled_from(["KXA", "KXB", "KXC"]), CATEGORIES, st.just("")),
    st.tuples(st.just("gone"), NAMES, st.sampled_from("XY"), st.just("")),
    st.tuples(st.just("no event"), NAMES, st.just(""), st.just("")),
)


def changes_of(step: tuple[str, str, object, object]) -> list[tuple[str, str, list[object]]]:
    what, name, first, second = step
    if what == "event":
        return [("ref.", "event", [event(name, str(first), category=str(second))])]
    if what == "series":
        return [("ref.", "series", [msgspec.structs.replace(series(name), category=str(first))])]
    if what == "no event":
        return [("ref.", "remove", [Remove("event", name)])]
    topic = f"md.{name.partition('-')[0]}."
    if what == "market":
        return [(topic, "market", [market(name, str(first), str(second), NOW_MS)])]
    if what == "gone":
        return [(topic, "remove", [Remove("market", f"{name}-{first}")])]
    volume = int(str(second))
    return [(topic, "quote", [quote(f"{name}-{first}", (volume, 10), None, NOW_MS, volume_24h_e2=volume)])]


@settings(max_examples=120, deadline=None)
@given(st.lists(st.lists(STEPS, min_size=1, max_size=5), min_size=1, max_size=8))
def test_updated_or_built_from_scratch_it_is_the_same(
    batches: list[list[tuple[str, str, object, object]]],
) -> None:
    kept, anew = Kept(), Kept()
    kept.take([], whole=True)
    for batch in batches:
        for step in batch:
            known = set(kept.state.markets)
            # On the bus, a quote is always of a known market.
            if step[0] == "quote" and f"{step[1]}-{step[2]}" not in known:
                continue
            kept.take(changes_of(step))
            fill(anew.state, changes_of(step))  # type: ignore[arg-type]
    kept.take([("ref.", "event", [event("KXZ-1", "The last")])])
    anew.take([("ref.", "event", [event("KXZ-1", "The last")])], whole=True)

    assert told(kept) == told(anew)


def test_a_removed_market_leaves_its_place_to_another() -> None:
    columns = Columns()
    for name in ("A", "B"):
        columns.put(market("KX-1", name, name, NOW_MS), None, None)
        columns.put_quote(quote(f"KX-1-{name}", (100, 10), None, NOW_MS, volume_24h_e2=7))
    columns.drop("KX-1-A")
    columns.drop("KX-1-A")
    columns.put(market("KX-2", "C", "C", NOW_MS), None, None)

    assert len(columns.tickers) == 2
    assert columns._numbers["day_volume"][columns.place_of["KX-2-C"]] == UNKNOWN
    assert columns.event_volume_e2 == {"KX-1": 7}
    assert columns.activity(SearchHit(EVENT, "KX-2")) == columns.activity(SearchHit(MARKET, "KX-9")) == 0
    assert columns.activity(SearchHit(SERIES, "KX")) == 7


def test_after_an_error_the_catalogue_is_rebuilt() -> None:
    kept = Kept()
    kept.take([("ref.", "event", [event("KXA-1", "Boston")])], whole=True)
    kept.catalogue._begin()
    kept.take([("ref.", "event", [event("KXA-2", "Denver")])])

    assert {hit.ticker for hit in kept.catalogue.latest.find("kxa", 9).hits} == {"KXA-1", "KXA-2", "KXA"}


def test_an_update_without_news_changes_nothing() -> None:
    kept = Kept()
    kept.catalogue.update(1)
    kept.take([("ref.", "event", [event("KXA-1", "Boston")])])

    assert kept.catalogue.latest.ready, "the first scan is taken whole, whatever its batch"
    latest = kept.catalogue.latest
    kept.catalogue.update(10**12)
    assert kept.catalogue.latest is latest
