"""What is worth a look: the incremental scan finds what a whole one would, and what the dashboard shows."""

import random
from collections.abc import Collection
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bus.protocol.messages import CycleEnd
from bus.protocol.state import State
from bus.protocol.writer import Writer
from bus.scan.membership import Membership
from markets.opportunities import EventView, Opportunity, candidates, rank
from markets.records import FairValue
from tests.trader.world import NOW_MS, SCAN, SERIES, basket, event_of, quiet
from trader.watch import Batch, Watch
from ui.scan import Batch as PageBatch
from ui.scan import Scans


def changes_of(view: EventView) -> list[Any]:
    topic = f"md.{view.event.series_ticker}."
    return [
        ("ref.", "series", [SERIES]),
        ("ref.", "event", [view.event]),
        (topic, "market", [one.market for one in view.markets]),
        (topic, "quote", [one.quote for one in view.markets]),
    ]


def commit(writer: Writer, views: list[EventView], now_ms: int) -> tuple[tuple[str, str], ...]:
    changes = [change for view in views for change in changes_of(view)]
    cycle = CycleEnd(0, 0, 0, 0, True, now_ms, now_ms, as_of_ms=now_ms, complete_ms=now_ms)
    writer.commit(changes, cycle, now_ms * 1_000_000, now_ms * 1_000_000)
    return tuple(
        (kind, one.event_ticker if kind == "event" else one.ticker)
        for _, kind, ones in changes
        for one in ones
    )


def everything(state: State, values: dict[str, FairValue], now_ms: int) -> list[Opportunity]:
    membership = Membership()
    membership.rebuild(state)
    found = []
    for event_ticker in membership.markets_of:
        view = membership.view(state, event_ticker, now_ms)
        assert view is not None
        found += candidates(view, values, now_ms, SCAN).opportunities
    return sorted(found, key=rank)


def looks(
    watch: Watch,
    state: State,
    batch: Batch,
    values: dict[str, FairValue],
    held: Collection[str],
    now_ms: int,
) -> list[EventView]:
    return watch.views(state, watch.events(state, batch, values, held), now_ms)


steps = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(1, 5), st.booleans(), st.integers(34, 44)), max_size=3),
        st.lists(st.tuples(st.integers(1, 5), st.floats(0, 1)), max_size=2),
        st.integers(0, 40_000),
    ),
    max_size=8,
)


@given(steps)
@settings(max_examples=60)
def test_everything_tradable_is_passed_on_at_every_change(steps: list[Any]) -> None:
    writer, watch, now_ms = Writer(1), Watch(SCAN), NOW_MS
    values: dict[str, FairValue] = {}
    whole = True
    for baskets, beliefs, wait_ms in steps:
        now_ms += wait_ms
        views = [
            basket(number, as_of_ms=now_ms, bid_e4=cents * 100) if priced else quiet(number, as_of_ms=now_ms)
            for number, priced, cents in {number: (number, p, c) for number, p, c in baskets}.values()
        ]
        records = commit(writer, views, now_ms)
        told = [(f"{event_of(number).event_ticker}-HOM", belief) for number, belief in beliefs]
        values |= {ticker: FairValue(ticker, belief, "file", now_ms) for ticker, belief in told}
        batch = Batch((*records, *(("fair_value", ticker) for ticker, _ in told)), commit=True, whole=whole)
        whole = False

        looked_at = looks(watch, writer.state, batch, values, (), now_ms)
        passed_on = [view for view, _ in watch.relevant(looked_at, values, (), now_ms)]

        tradable = [one for one in everything(writer.state, values, now_ms) if one.tradable]
        assert {view.event.event_ticker for view in passed_on} == {one.event_ticker for one in tradable}
        best = [one.event_ticker for one in tradable]
        assert [view.event.event_ticker for view in passed_on] == list(dict.fromkeys(best))


def test_what_is_held_is_passed_on_though_nothing_is_to_gain() -> None:
    writer, watch = Writer(1), Watch(SCAN)
    records = commit(writer, [quiet(1), quiet(2)], NOW_MS)
    held = {event_of(2).event_ticker}

    views = looks(watch, writer.state, Batch(records, commit=True, whole=True), {}, held, NOW_MS)

    assert [view.event.event_ticker for view, _ in watch.relevant(views, {}, held, NOW_MS)] == list(held)


def test_a_streamed_update_scans_its_own_event_only() -> None:
    writer, watch = Writer(1), Watch(SCAN)
    records = commit(writer, [basket(1), basket(2)], NOW_MS)
    watch.relevant(looks(watch, writer.state, Batch(records, whole=True), {}, (), NOW_MS), {}, (), NOW_MS)
    (ticker, *_) = (one.market.ticker for one in basket(1).markets)

    views = looks(watch, writer.state, Batch((("quote", ticker),)), {}, (), NOW_MS)

    assert [view.event.event_ticker for view in views] == [event_of(1).event_ticker]


def test_events_whose_bids_add_up_to_more_than_one_come_first() -> None:
    writer, watch = Writer(1), Watch(SCAN)
    records = commit(writer, [quiet(1), quiet(2), basket(3), quiet(4), basket(5)], NOW_MS)

    with writer.state.lock:
        events = watch.events(writer.state, Batch(records, commit=True, whole=True), {}, ())

    assert events == [event_of(number).event_ticker for number in (3, 5, 1, 2, 4)]


def test_dashboard_and_trader_find_the_same_list() -> None:
    # The same state, time and (no) fair values of one's own: what the page shows is what the trader sees.
    rng = random.Random(7)
    writer = Writer(1)
    views = [basket(n, bid_e4=rng.choice([3_300, 3_500, 4_200])) if n % 2 else quiet(n) for n in range(1, 12)]
    commit(writer, views, NOW_MS)

    page = Scans(SCAN).advance(writer.state, PageBatch(whole=True), NOW_MS)

    ours = everything(writer.state, {}, NOW_MS)
    assert list(page.opportunities) == ours
    assert len(ours) > 5
