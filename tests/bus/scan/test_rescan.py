"""What is scanned again finds all that a scan of everything would, for trader and dashboard alike."""

import random
from collections.abc import Collection, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.protocol.join import Tell
from bus.protocol.messages import CycleEnd
from bus.protocol.state import Changed, State
from bus.protocol.writer import Writer
from bus.scan.failures import NEWS_MAX
from bus.scan.membership import Membership
from bus.scan.rescan import CALM_COMMITS, Batch, Heed, Rescan, batch_of
from bus.scan.scans import Scans
from markets.opportunities import KINDS, EventView, Opportunity, candidates, rank
from markets.opportunities.kinds.no_basket import NoBasketKind
from markets.records import Book, Event, FairValue
from tests.bus.scan.changes import batch_with, changes_of
from tests.trader.world import NOW_MS, SCAN, SERIES, basket, event_of, quiet, quote_of


def commit(
    writer: Writer, views: list[EventView], now_ms: int, more: Sequence[Any] = ()
) -> tuple[tuple[str, str], ...]:
    changes = [change for view in views for change in changes_of(view)] + list(more)
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
    rescan: Rescan,
    state: State,
    batch: Batch,
    values: dict[str, FairValue],
    held: Collection[str],
    now_ms: int,
) -> list[EventView]:
    return rescan.views(state, rescan.events(state, batch, values, held), now_ms)


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
    writer, rescan, now_ms = Writer(1), Rescan(SCAN), NOW_MS
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
        batch = batch_with(
            (*records, *(("fair_value", ticker) for ticker, _ in told)), commit=True, whole=whole
        )
        whole = False

        looked_at = looks(rescan, writer.state, batch, values, (), now_ms)
        passed_on = [view for view, _ in rescan.relevant(looked_at, values, (), now_ms)]

        tradable = [one for one in everything(writer.state, values, now_ms) if one.tradable]
        assert {view.event.event_ticker for view in passed_on} == {one.event_ticker for one in tradable}
        best = [one.event_ticker for one in tradable]
        assert [view.event.event_ticker for view in passed_on] == list(dict.fromkeys(best))


def test_what_is_held_is_passed_on_though_nothing_is_to_gain() -> None:
    writer, rescan = Writer(1), Rescan(SCAN)
    records = commit(writer, [quiet(1), quiet(2)], NOW_MS)
    held = {event_of(2).event_ticker}

    views = looks(rescan, writer.state, batch_with(records, commit=True, whole=True), {}, held, NOW_MS)

    assert [view.event.event_ticker for view, _ in rescan.relevant(views, {}, held, NOW_MS)] == list(held)


def put_quote(writer: Writer, ticker: str, bid_e4: int, size_e2: int, at_ms: int) -> Batch:
    quote = quote_of(ticker, (bid_e4, size_e2), (bid_e4 + 600, size_e2), as_of_ms=at_ms)
    with writer.state.lock:
        writer.state.put("md.KXMLSGAME.", writer.state.seq, "quote", [quote])
    return batch_with((("quote", ticker),))


def test_what_is_held_is_looked_at_when_prices_move_and_as_often_as_it_is_to_be_heeded() -> None:
    writer, rescan = Writer(1), Rescan(SCAN)
    records = commit(writer, [quiet(1)], NOW_MS)
    held, state = {event_of(1).event_ticker}, writer.state
    whole = batch_with(records, commit=True, whole=True)
    rescan.relevant(looks(rescan, state, whole, {}, held, NOW_MS), {}, held, NOW_MS)
    ticker, bid_e4 = records[-1][1], quiet(1).markets[-1].quote.yes_bid_e4

    larger = put_quote(writer, ticker, bid_e4, 77_700, NOW_MS + 1)
    assert rescan.events(state, larger, {}, held) == []
    assert rescan.events(state, larger, {}, held, heed=lambda _event: Heed.CHANGES) == list(held)
    assert rescan.events(state, Batch(commit=True), {}, held, heed=lambda _event: Heed.CHANGES) == list(held)
    assert rescan.events(state, Batch(commit=True), {}, held) == list(held)
    calm = [
        rescan.events(state, Batch(commit=True), {}, held, heed=lambda _event: Heed.PRICES)
        for _ in range(2 * CALM_COMMITS)
    ]
    assert [len(events) for events in calm] == 2 * [1, *(CALM_COMMITS - 1) * [0]]
    moved = put_quote(writer, ticker, bid_e4 - 100, 77_700, NOW_MS + 2)
    assert rescan.events(state, moved, {}, held) == list(held)


def test_where_nothing_could_pay_a_move_after_which_nothing_can_either_is_no_reason_to_look() -> None:
    writer, rescan = Writer(1), Rescan(SCAN)
    records = commit(writer, [quiet(1)], NOW_MS)
    state, event_ticker = writer.state, event_of(1).event_ticker
    whole = batch_with(records, commit=True, whole=True)
    assert rescan.relevant(looks(rescan, state, whole, {}, (), NOW_MS), {}, (), NOW_MS) == ()
    ticker, bid_e4 = records[-1][1], quiet(1).markets[-1].quote.yes_bid_e4

    assert rescan.events(state, put_quote(writer, ticker, bid_e4 - 100, 10_000, NOW_MS + 1), {}) == []
    pays = put_quote(writer, ticker, 9_000, 10_000, NOW_MS + 2)
    assert rescan.events(state, pays, {}) == [event_ticker]


def test_a_streamed_update_scans_its_own_event_only() -> None:
    writer, rescan = Writer(1), Rescan(SCAN)
    records = commit(writer, [basket(1), basket(2)], NOW_MS)
    rescan.relevant(
        looks(rescan, writer.state, batch_with(records, whole=True), {}, (), NOW_MS), {}, (), NOW_MS
    )
    (ticker, *_) = (one.market.ticker for one in basket(1).markets)

    views = looks(rescan, writer.state, batch_with((("quote", ticker),)), {}, (), NOW_MS)

    assert [view.event.event_ticker for view in views] == [event_of(1).event_ticker]


def test_events_whose_bids_add_up_to_more_than_one_come_first() -> None:
    writer, rescan = Writer(1), Rescan(SCAN)
    records = commit(writer, [quiet(1), quiet(2), basket(3), quiet(4), basket(5)], NOW_MS)

    with writer.state.lock:
        events = rescan.events(writer.state, batch_with(records, commit=True, whole=True), {}, ())

    assert events == [event_of(number).event_ticker for number in (3, 5, 1, 2, 4)]


def test_dashboard_and_trader_find_the_same_list() -> None:
    # The same state, time and (no) fair values of one's own: what the page shows is what the trader sees.
    rng = random.Random(7)
    writer = Writer(1)
    views = [basket(n, bid_e4=rng.choice([3_300, 3_500, 4_200])) if n % 2 else quiet(n) for n in range(1, 12)]
    commit(writer, views, NOW_MS)

    page = Scans(SCAN).advance(writer.state, Batch(whole=True), NOW_MS)

    ours = everything(writer.state, {}, NOW_MS)
    assert list(page.opportunities) == ours
    assert len(ours) > 2


def test_a_batch_has_each_record_once_and_a_resync_makes_everything_new() -> None:
    first = Changed(6, 0, (("quote", ("A",)),))
    again = Changed(7, 2, (("quote", ("A", "B")),))

    assert batch_of([first]) == batch_with((("quote", "A"),))
    assert batch_of([first, again]) == batch_with((("quote", "A"), ("quote", "B")), commit=True)
    assert batch_of([first, Tell("gap", {})]) == batch_with((("quote", "A"),))
    assert batch_of([first, Tell("resynced", {"epoch": 1, "seq": 9})]) == Batch(whole=True)
    assert batch_of([]) == Batch()


def test_a_commit_alone_can_make_the_quote_the_newer_and_so_something_tradable() -> None:
    writer, rescan = Writer(1), Rescan(SCAN)
    poor = [
        Book(seen.market.ticker, NOW_MS + 1, ((3_000, 500),), ((6_000, 500),)) for seen in basket().markets
    ]
    with_books = [("md.KXMLSGAME.", "book", poor)]
    records = commit(writer, [basket()], NOW_MS, with_books)
    views = looks(rescan, writer.state, batch_with(records, whole=True), {}, (), NOW_MS + 1)
    assert rescan.relevant(views, {}, (), NOW_MS + 1) == ()

    commit(writer, [], NOW_MS + 2)
    views = looks(rescan, writer.state, Batch(commit=True), {}, (), NOW_MS + 2)

    ((view, _),) = rescan.relevant(views, {}, (), NOW_MS + 2)
    assert view.event.event_ticker == event_of().event_ticker


moves = st.lists(
    st.tuples(
        st.integers(1, 3),  # of which event
        st.sampled_from(["HOM", "AWY", "TIE"]),
        st.sampled_from([2_900, 3_300, 3_400, 3_500, 4_000]),  # its bid
        st.sampled_from([1, 5_000, 90_000]),
        st.sampled_from(["quote", "book", "vouch", "commit"]),
        st.integers(0, 9_000),
    ),
    max_size=25,
)


@given(moves)
@settings(max_examples=40)
def test_whether_candidates_of_what_is_held_are_found_changes_nothing_else(moved: list[Any]) -> None:
    writer, now_ms = Writer(1), NOW_MS
    held = (event_of(1).event_ticker, event_of(2).event_ticker)
    both = {curious: Rescan(SCAN) for curious in (True, False)}
    batch = batch_with(commit(writer, [quiet(1), basket(2), quiet(3)], now_ms), commit=True, whole=True)
    for number, name, bid_e4, size_e2, what, wait_ms in [(1, "HOM", 4_000, 100, "commit", 0), *moved]:
        now_ms += wait_ms
        ticker = f"{event_of(number).event_ticker}-{name}"
        if what == "commit" and not batch.whole:
            commit(writer, [], now_ms)
            batch = Batch(commit=True)
        elif not batch.whole:
            batch = put_quote(writer, ticker, bid_e4, size_e2, now_ms)
        told = {
            curious: [
                (view, [one for one in found if one.tradable], len(found))
                for view, found in rescan.relevant(
                    looks(rescan, writer.state, batch, {}, held, now_ms), {}, held, now_ms, curious=curious
                )
            ]
            for curious, rescan in both.items()
        }
        assert [one[:2] for one in told[True]] == [one[:2] for one in told[False]]
        assert all(every >= some for (*_, every), (*_, some) in zip(told[True], told[False], strict=True))
        batch = Batch()


@given(moves)
@settings(max_examples=80)
def test_what_is_left_out_while_its_prices_stand_had_nothing_to_say(moved: list[Any]) -> None:
    writer, now_ms = Writer(1), NOW_MS
    rescan, scans = Rescan(SCAN), Scans(SCAN)
    rescan.refuses = lambda view, now_ms: now_ms + (view.event.event_ticker == event_of(3).event_ticker)
    records = commit(writer, [quiet(1), basket(2), quiet(3)], now_ms)
    first = batch_with(records, commit=True, whole=True)
    rescan.relevant(looks(rescan, writer.state, first, {}, (), now_ms), {}, (), now_ms)
    scans.advance(writer.state, first, now_ms)
    topic = f"md.{SERIES.ticker}."
    for number, name, bid_e4, size_e2, what, wait_ms in moved:
        now_ms += wait_ms
        ticker = f"{event_of(number).event_ticker}-{name}"
        level = (bid_e4, size_e2)
        with writer.state.lock:
            if what == "quote":
                quote = quote_of(ticker, level, (bid_e4 + 200, size_e2), as_of_ms=now_ms)
                writer.state.put(topic, writer.state.seq, "quote", [quote])
            elif what == "book":
                behind = ((100, 7_000), level)
                book = Book(ticker, now_ms, behind, ((9_800 - bid_e4, size_e2),))
                writer.state.put(topic, writer.state.seq, "book", [book])
            elif what == "vouch":
                books = [msgspec.structs.replace(one, as_of_ms=now_ms) for one in writer.state.books.values()]
                writer.state.put(topic, writer.state.seq, "book", books)
        if what == "commit":
            commit(writer, [], now_ms)
            batch = Batch(commit=True)
        elif what == "vouch":
            batch = batch_with(tuple(("book", ticker) for ticker in writer.state.books))
        else:
            batch = batch_with(((what, ticker),))

        looked_at = looks(rescan, writer.state, batch, {}, (), now_ms)
        passed_on = {view.event.event_ticker for view, _ in rescan.relevant(looked_at, {}, (), now_ms)}
        page = scans.advance(writer.state, batch, now_ms)

        ours = everything(writer.state, {}, now_ms)
        assert list(page.opportunities) == ours
        events = {rescan.membership.event_of[key] for keys in batch.keys.values() for key in keys}
        tradable = {one.event_ticker for one in ours if one.tradable}
        due = tradable if batch.commit else tradable & events
        assert passed_on <= tradable
        assert due - {event_of(3).event_ticker} <= passed_on


def test_what_an_event_offers_that_risk_refuses_is_passed_on_when_prices_move_and_once_it_may_be_bought() -> (
    None
):
    writer, rescan = Writer(1), Rescan(SCAN)
    rescan.refuses = lambda _view, _now_ms: NOW_MS + 10
    records = commit(writer, [basket(1)], NOW_MS)
    seen = []
    for at_ms, bid_e4, batch in (
        (NOW_MS, 4_000, batch_with(records, commit=True, whole=True)),
        (NOW_MS + 1, 4_000, batch_with((records[-1],))),
        (NOW_MS + 2, 3_900, batch_with((records[-1],))),
        (NOW_MS + 3, 3_900, batch_with((records[-1],))),
        (NOW_MS + 9, 3_900, Batch(commit=True)),
        (NOW_MS + 10, 3_900, Batch(commit=True)),
    ):
        if batch.commit:
            commit(writer, [], at_ms)
        quote = quote_of(records[-1][1], (bid_e4, 10_000), (bid_e4 + 200, 10_000), as_of_ms=at_ms)
        with writer.state.lock:
            writer.state.put("md.KXMLSGAME.", writer.state.seq, "quote", [quote])
        views = looks(rescan, writer.state, batch, {}, (), at_ms)
        seen.append(len(rescan.relevant(views, {}, (), at_ms)))
    assert seen == [1, 0, 1, 0, 0, 1]


# --- who asks for an event -----------------------------------------------------------------------


def loose(number: int) -> EventView:
    """An event in which no kind of opportunity can see anything."""
    return msgspec.structs.replace(quiet(number), event=event_of(number, mutually_exclusive=False))


@pytest.fixture
def only_baskets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(KINDS):
        if name != "no_basket":
            monkeypatch.delitem(KINDS, name)


@pytest.mark.usefixtures("only_baskets")
def test_an_event_that_somebody_wants_is_passed_on_at_each_change() -> None:
    wanted = event_of(2).event_ticker
    writer, rescan = Writer(1), Rescan(SCAN, lambda event: event.event_ticker == wanted)
    records = commit(writer, [loose(1), loose(2)], NOW_MS)

    views = looks(rescan, writer.state, batch_with(records, commit=True, whole=True), {}, (), NOW_MS)
    ((view, found),) = rescan.relevant(views, {}, (), NOW_MS)

    assert (view.event.event_ticker, found) == (wanted, [])
    ticker = view.markets[0].market.ticker
    assert len(looks(rescan, writer.state, batch_with((("quote", ticker),)), {}, (), NOW_MS)) == 1
    assert (
        looks(
            rescan, writer.state, batch_with((("quote", f"{event_of(1).event_ticker}-HOM"),)), {}, (), NOW_MS
        )
        == []
    )


def test_who_changes_his_mind_hears_of_an_event_when_its_price_moves_and_soon_if_none_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bus.scan.rescan.ASKED_AT_ONCE", 1)
    writer, wanted, asked = Writer(1), set[str](), list[str]()

    def wants(event: Event) -> bool:
        asked.append(event.event_ticker)
        return event.event_ticker in wanted

    rescan = Rescan(SCAN, wants)
    one, two, three = (event_of(number).event_ticker for number in (1, 2, 3))
    books = [Book(f"{two}-HOM", NOW_MS, ((2_700, 10_000),), ((6_500, 10_000),))]
    more = [("md.KXMLSGAME.", "book", books)]
    records = commit(writer, [quiet(1), quiet(2), quiet(3)], NOW_MS, more)

    def told(batch: Batch) -> list[str]:
        views = looks(rescan, writer.state, batch, {}, (), NOW_MS)
        return [view.event.event_ticker for view, _ in rescan.relevant(views, {}, (), NOW_MS)]

    assert told(batch_with(records, commit=True, whole=True)) == []
    wanted.add(one)
    assert told(put_quote(writer, f"{one}-HOM", 3_000, 77_700, NOW_MS + 1)) == []
    assert told(put_quote(writer, f"{one}-HOM", 3_100, 77_700, NOW_MS + 2)) == [one]
    wanted.remove(one)
    assert told(put_quote(writer, f"{one}-HOM", 3_200, 77_700, NOW_MS + 3)) == []

    wanted.add(two)  # which has a book, so that each commit may move its prices
    assert [one for _ in range(4) for one in told(Batch(commit=True))].count(two) >= 2
    wanted.remove(two)
    assert told(Batch(commit=True)) == []
    asked.clear()
    assert [told(Batch(commit=True)) for _ in range(3)] == [[], [], []]
    assert sorted(asked) == [one, two, three]  # a few with each commit


@pytest.mark.parametrize("why", ["refused", "held"])
def test_who_begins_to_want_what_is_left_alone_for_another_reason_hears_of_it_with_each_commit(
    why: str,
) -> None:
    writer, wanted, event_ticker = Writer(1), set[str](), event_of(1).event_ticker
    rescan = Rescan(SCAN, lambda event: event.event_ticker in wanted)
    if why == "refused":
        rescan.refuses = lambda _view, _now_ms: NOW_MS + 1_000
    held = frozenset([event_ticker] if why == "held" else [])
    records = commit(writer, [basket(1) if why == "refused" else quiet(1)], NOW_MS)

    def told(batch: Batch) -> int:
        found = rescan.events(writer.state, batch, {}, held, heed=lambda _: Heed.PRICES)
        return len(
            rescan.relevant(rescan.views(writer.state, found, NOW_MS), {}, held, NOW_MS, curious=False)
        )

    assert told(batch_with(records, commit=True, whole=True)) == 1
    assert told(Batch(commit=True)) == 0
    wanted.add(event_ticker)
    assert [told(Batch(commit=True)) for _ in range(4)] == [1, 1, 1, 1]
    wanted.remove(event_ticker)
    told(Batch(commit=True))
    assert told(Batch(commit=True)) == 0


# --- errors --------------------------------------------------------------------------------------


class Odd(NoBasketKind):
    """Cannot stand one event."""

    def find(self, view: EventView, *rest: Any) -> list[Opportunity]:
        if view.event.event_ticker == event_of(1).event_ticker:
            raise ZeroDivisionError("odd")
        return super().find(view, *rest)


@pytest.fixture
def odd_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "no_basket", Odd())


@pytest.mark.usefixtures("odd_kind")
def test_an_event_over_which_a_kind_raises_costs_the_trader_nothing_else() -> None:
    writer, rescan = Writer(1), Rescan(SCAN)
    records = commit(writer, [basket(1), basket(2)], NOW_MS)

    views = looks(rescan, writer.state, batch_with(records, commit=True, whole=True), {}, (), NOW_MS)
    kinds = {
        view.event.event_ticker: {one.kind for one in found}
        for view, found in rescan.relevant(views, {}, (), NOW_MS)
    }

    assert kinds == {event_of(2).event_ticker: {"no_basket"}}
    assert list(rescan.failed) == [event_of(1).event_ticker]
    (failure,) = rescan.take_failures()
    assert (failure.part, failure.error) == ("no_basket", "ZeroDivisionError: odd")
    assert "in find" in failure.trace


@pytest.mark.usefixtures("odd_kind")
def test_an_event_over_which_a_kind_raises_costs_the_dashboard_nothing_else() -> None:
    writer, scans = Writer(1), Scans(SCAN)
    commit(writer, [basket(1), basket(2)], NOW_MS)

    scan = scans.advance(writer.state, Batch(whole=True), NOW_MS)

    assert scan.failed == 1
    assert [one.event_ticker for one in scan.opportunities if one.kind == "no_basket"] == [
        event_of(2).event_ticker
    ]


def test_a_failure_is_news_once_and_stands_until_it_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    writer, rescan = Writer(1), Rescan(SCAN)
    records = commit(writer, [basket(1)], NOW_MS)

    def pass_(batch: Batch) -> int:
        views = looks(rescan, writer.state, batch, {}, (), NOW_MS)
        rescan.relevant(views, {}, (), NOW_MS)
        return len(rescan.take_failures())

    with monkeypatch.context() as patched:
        patched.setitem(KINDS, "no_basket", Odd())
        assert [pass_(batch_with(records, whole=True)), pass_(Batch(commit=True))] == [1, 0]
        assert len(rescan.failed) == 1
    assert pass_(Batch(commit=True)) == 0  # tried again without having changed
    assert rescan.failed == {}


class Mute(NoBasketKind):
    """Raises when it is asked which events may matter."""

    def may_matter(self, event: Event, *, valued: bool) -> bool:
        raise KeyError(event.event_ticker)


def test_a_kind_that_raises_everywhere_is_counted_everywhere_and_told_a_few_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    writer, rescan = Writer(1), Rescan(SCAN)
    number = NEWS_MAX + 5
    records = commit(writer, [basket(n) for n in range(number)], NOW_MS)
    monkeypatch.setitem(KINDS, "no_basket", Mute())

    events = rescan.events(writer.state, batch_with(records, whole=True), {})

    assert len(events) == len(rescan.failed) == number  # the other kind still matters
    assert len(rescan.take_failures()) == NEWS_MAX
    rescan.events(writer.state, Batch(commit=True), {})
    assert rescan.take_failures() == []


@pytest.mark.usefixtures("only_baskets")
def test_who_wants_an_event_may_raise_and_an_event_gone_fails_no_more() -> None:
    def wants(event: Event) -> bool:
        raise LookupError(event.event_ticker)

    writer, rescan = Writer(1), Rescan(SCAN, wants)
    records = commit(writer, [loose(1), basket(2)], NOW_MS)
    views = looks(rescan, writer.state, batch_with(records, whole=True), {}, (), NOW_MS)
    assert [view.event.event_ticker for view in views] == [event_of(2).event_ticker]
    assert [failure.part for failure in rescan.take_failures()] == ["wants"]

    state = State(2)
    assert rescan.events(state, Batch(whole=True), {}) == []
    assert rescan.failed == {}


def test_an_event_that_cannot_even_be_read_is_named() -> None:
    writer, rescan = Writer(1), Rescan(SCAN)
    records = commit(writer, [basket(1), basket(2)], NOW_MS)
    ticker = f"{event_of(1).event_ticker}-HOM"
    odd = msgspec.structs.replace(writer.state.markets[ticker], close_ms="soon")
    writer.state.markets[ticker] = odd

    views = looks(rescan, writer.state, batch_with(records, whole=True), {}, (), NOW_MS)

    assert [view.event.event_ticker for view in views] == [event_of(2).event_ticker]
    assert [failure.part for failure in rescan.take_failures()] == ["view"]
